"""Figures that answer the hand: their numbers, their state, and what is left where no script runs."""

import base64
import gzip
import io
import json
import re
import runpy
from html import unescape

import matplotlib
import numpy as np
import pytest
import rules
from browser import serve
from explored import (
    computed,
    data,
    listen,
    motions,
    rest,
    stored_explorables,
    write_pages,
)
from oracles import script as load_script
from stored import code, notebook, output_texts, read, shown
from working_tree import ROOT

import attnlib as attn
from attnlib.book import explorables, figures, running_example
from attnlib.book.explorables import explorable, normals

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NAMES = ("bank", "walk", "split")  # that are tried here, on one page
FOLDER = ROOT / "attnlib/book/explorables"
ALL = sorted({x.stem for x in FOLDER.glob("*.js")} - {"parts", "mount"})
SPREADS = np.logspace(-1, 2, 40)
needs_browser = pytest.mark.needs_browser


def scores():
    example = running_example()
    query, key = np.float64(example.query), np.float64(example.key)
    return attn.dot_product_scores(query, key, scale=1)


def made(name, alt="A line.", **more):
    """An explorable as a chapter makes it."""
    if name == "bank":
        tokens = running_example().tokens
        more |= {"digits": 9, "tokens": tokens, "scores": scores()}
    if name == "split":
        a = attn.softmax(SPREADS[:, None, None] * normals(6, 1000, 128))
        low, median, high = np.quantile(
            attn.jacobian_trace(a), [0.1, 0.5, 0.9], axis=1
        )
        more |= {"seed": 6, "spreads": SPREADS, "low": low, "high": high}
        more |= {"median": median, "mean": attn.jacobian_trace(a).mean(1)}
    figures.use_style()
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, 1])
    return explorable(name, figure, alt, **more)


# --- what a cell shows -------------------------------------------------------


def test_a_cell_shows_one_element_with_its_still_figure():
    alt = 'The "first" row & <others>.'
    before = plt.get_fignums()
    made_here = made("bank", alt)
    assert plt.get_fignums() == before  # the figure is not shown again
    assert repr(made_here) == "<explorable bank>"
    html = made_here._repr_html_()
    picture = re.search(r'src="data:image/png;base64,(.*?)"', html)[1]
    image = plt.imread(io.BytesIO(base64.b64decode(picture)))
    assert image.shape[:2] == (150, 300)
    assert unescape(re.search('<img alt="(.*?)"', html)[1]) == alt
    assert html.count("<script") == html.count("</script>") == 1
    assert data(html)["tokens"][2:4] == ["river", "bank"]


def test_data_are_rounded_and_stay_what_they_are():
    figure = plt.figure()
    third = np.float32([[1 / 3, -2e-9]])
    given = {"x": third, "n": 7, "text": "it's <&>", "y": [1]}
    element = explorable("walk", figure, "x", **given).element
    assert data(element) == {
        "x": [[0.3333, -2e-09]],
        "n": 7,
        "text": "it's <&>",
        "y": [1],
    }


@pytest.mark.parametrize("name", ALL)
def test_a_script_is_small_and_holds_only_the_parts_that_it_uses(name):
    text = explorables.script(name)
    style, rest = text.split("\n", 1)
    assert len(gzip.compress(rest.encode())) <= 4096
    assert len(gzip.compress(style.encode())) <= 1536
    assert "</script" not in text and not re.search("^import", text, re.M)
    for part in re.findall(r"^export \w+ (\w+)", rest, re.M):
        assert len(re.findall(rf"\b{part}\b", rest)) > 1 or part == "s"
    draws = name in ("walk", "split", "freeze", "rows")
    assert ("function normals" in text) == draws


def test_colours_are_the_palette():
    style = (ROOT / "attnlib/book/explorables/explorable.css").read_text()
    for name, colour in (
        ("blue", figures.SCALED),
        ("orange", figures.UNSCALED),
        ("green", figures.OVERSCALED),
    ):
        assert f"--{name}: {colour};" in style


def mulberry32(seed, size):
    """The generator as it is usually written, in plain integers."""
    state = seed * 0x9E3779B9
    for _ in range(size):
        state = (state + 0x6D2B79F5) % 2**32
        t = (state ^ state >> 15) * (state | 1) % 2**32
        t ^= (t + (t ^ t >> 7) * (t | 61)) % 2**32
        yield (t ^ t >> 14) / 2**32


def test_normals_are_box_and_mullers_of_mulberry32():
    u = np.array(list(mulberry32(5, 8)))
    radius, angle = np.sqrt(-2 * np.log(1 - u[::2])), 2 * np.pi * u[1::2]
    expected = np.c_[radius * np.cos(angle), radius * np.sin(angle)].ravel()
    np.testing.assert_allclose(normals(5, 8), expected, rtol=1e-12)
    np.testing.assert_array_equal(normals(5, 7), normals(5, 8)[:7])
    np.testing.assert_array_equal(normals(5, 2, 4).ravel(), normals(5, 8))
    drawn = normals(0, 100, 1000)
    assert abs(drawn.mean()) < 0.01 and abs(drawn.var() - 1) < 0.01
    assert abs((drawn**4).mean() - 3) < 0.1
    correlations = np.corrcoef(np.r_[drawn[:20], normals(1, 20, 1000)])
    assert np.abs(correlations - np.eye(40)).max() < 0.15


# --- what is stored and compared --------------------------------------------


def sanitised(html):
    """As nbval compares it."""
    patterns = (ROOT / "tests/nbval_sanitize.cfg").read_text()
    for regex, replace in re.findall(
        "^regex: (.*)$\n^replace: (.*)$", patterns, re.M
    ):
        html = re.sub(regex, replace, html)
    return html


def test_scripts_and_pictures_are_not_compared_but_data_and_alt_texts():
    html = made("bank")._repr_html_()
    without_script = html[: html.index("<script")]
    other_picture = html.replace("base64,iVBOR", "base64,jVBOR")
    assert html != other_picture
    assert sanitised(html) == sanitised(without_script)
    assert sanitised(html) == sanitised(other_picture)
    assert sanitised(html) != sanitised(html.replace("river", "rivers"))
    assert sanitised(html) != sanitised(html.replace("A line", "A lane"))


def test_scripts_are_not_stored(tmp_path):
    runner = load_script("run_notebooks")
    html = made("walk")._repr_html_()
    kept = "<p></p><script>1</script>"
    nb = notebook(code("1", shown(html=html), shown(html=kept)))
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(nb))
    path.write_text(runner.normal_form(runner.read(path)))
    stored = list(output_texts(read(path)["cells"][0], "text/html"))
    assert stored == [html[: html.index("<script")], kept]
    runner.check(path)


@pytest.mark.parametrize("name", ["parts.js", "explorable.css"])
def test_cached_outputs_follow_the_scripts(tmp_path, name):
    extension = runpy.run_path(str(ROOT / "extensions/execution_cache.py"))
    path = tmp_path / "attnlib/book/explorables" / name
    path.parent.mkdir(parents=True)
    path.write_text("before")
    before = extension["digest"](tmp_path)
    path.write_text("after")
    assert extension["digest"](tmp_path) != before


def test_an_explorable_is_described():
    settings = {"figure": {"caption": "It grows.", "name": "fig-x"}}

    def said(alt, **metadata):
        output = shown(html=made("walk", alt).element)
        nb = notebook(code("x", output, mystnb=metadata))
        return list(rules.figures_are_described(nb))

    assert said("A line & more.", **settings) == []
    assert said(" ", **settings) == ["code cell 1 (x): no alt"]
    assert "repeats the caption" in said("It grows.", **settings)[0]
    assert len(said("A line.")) == 2


def test_data_in_the_book_are_small():
    found = list(stored_explorables())
    assert found
    for chapter, html in found:
        text = json.dumps(data(html)).encode()
        assert len(gzip.compress(text)) <= 8192, chapter
        assert "<script" not in html, chapter


# --- the numbers, in a browser ----------------------------------------------


def agree(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    return np.size(ours)


@needs_browser
def test_numbers_of_bank_are_attnlibs(blank):
    divisors = 2 ** (np.arange(251) / 50)
    found = computed(
        blank,
        "bank",
        """return argument.scores.map((scores) => argument.divisors.map((divisor) => {
          const { weights, collapse, trace, takingPart } = m.row(scores, divisor);
          return [...weights, collapse, trace, takingPart];
        }));""",
        {
            "scores": data(made("bank").element)["scores"],
            "divisors": divisors.tolist(),
        },
    )
    example = running_example()
    query, key = np.float64(example.query), np.float64(example.key)
    a = np.stack(
        [attn.attention_weights(query, key, scale=1 / d) for d in divisors],
        axis=1,
    )
    collapse = attn.inverse_participation_ratio(a)
    numbers = [collapse, attn.jacobian_trace(a), 1 / collapse]
    assert agree(found, np.concatenate([a, np.stack(numbers, 2)], 2)) > 5e4


@needs_browser
def test_numbers_of_walk_are_attnlibs(blank):
    widths = sorted({int(2 ** (i / 8) + 0.5) for i in range(97)})
    for seed in (0, 1, 2, 999):
        found = computed(
            blank,
            "walk",
            """const sums = m.walks(argument.seed);
            return argument.widths.map((width) => [0, 0.5, 1].map((power) => {
              const { weights, spread, takingPart } = m.row(sums, width, power);
              return [...weights, spread, takingPart];
            }));""",
            {"seed": seed, "widths": widths},
        )
        drawn = normals(seed, 17, 4096)
        for width, rows in zip(widths, found, strict=True):
            query, keys = drawn[:1, :width], drawn[1:, :width]
            for power, row in zip((0, 0.5, 1), rows, strict=True):
                scale = width**-power
                s = attn.dot_product_scores(query, keys, scale=scale)
                a = attn.attention_weights(query, keys, scale=scale)[0]
                part = 1 / attn.inverse_participation_ratio(a)
                assert agree(row, [*a, s.std(), part]) == 18


@needs_browser
def test_numbers_of_split_are_attnlibs(blank):
    spreads = 10 ** (np.arange(-63, 127, 9) / 63)
    which = [0, 1, 2, 500, 999]
    found = computed(
        blank,
        "split",
        """const rows = m.draws(6);
        return argument.spreads.map((spread) => argument.which.map((i) => {
          const { collapse, trace, mean, median } = m.numbers(rows, spread, i);
          return [collapse, trace, mean, median];
        }));""",
        {"spreads": spreads.tolist(), "which": which},
    )
    noise = normals(6, 1000, 128)
    for spread, rows in zip(spreads, found, strict=True):
        a = attn.softmax(spread * noise)
        trace = attn.jacobian_trace(a)
        collapse = attn.inverse_participation_ratio(a)
        for i, row in zip(which, rows, strict=True):
            numbers = collapse[i], trace[i], trace.mean(), np.median(trace)
            assert agree(row, numbers) == 4


# --- the hand, in a browser --------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    body = "".join(made(name)._repr_html_() for name in NAMES)
    write_pages(folder, body, lost="spreads")
    return folder


@pytest.fixture(scope="module")
def site(folder):
    with serve(folder) as address:
        yield address


def status(page, name):
    return page.locator(f"explorable-{name} [role=status]").text_content()


def slider(page, name):
    return page.locator(f"explorable-{name} input[type=range]")


@needs_browser
@pytest.mark.parametrize("disk", [False, True])
def test_it_starts_as_the_still_figure_shows(visit, folder, site, disk):
    page = visit(root=folder.as_uri() if disk else site)
    assert page.problems == []
    assert not page.locator("explorable-bank img").is_visible()
    row = attn.softmax(scores()[3] / np.sqrt(32))
    shown_weights = page.locator("explorable-bank .bars > div").all()
    texts = [
        e.locator(":scope > span").last.text_content()
        for e in shown_weights
    ]
    assert texts == [f"{weight:.3f}" for weight in row]
    assert "divided by √32 = 5.66: “river” gets 0.533" in status(
        page, "bank"
    )
    trace = attn.jacobian_trace(attn.softmax(6 * normals(6, 1000, 128)))
    assert f"{trace[0]:.3f} of the bar is Tr J" in status(page, "split")
    query, *keys = normals(1, 17, 4096)[:, :64]
    spread = np.std(keys @ query)
    assert f"spread by {spread:.3g}; √64 is 8" in status(page, "walk")


@needs_browser
def test_a_drag_moves_it_and_speaks_once_at_rest(visit):
    page = visit()
    listen(page, "bank")
    before = page.evaluate("history.length")
    box = slider(page, "bank").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for step in range(20):
        page.mouse.move(box["x"] + box["width"] / 2 * (1 - step / 19), y)
    said = page.locator("explorable-bank .said").text_content()
    assert "not divided" in said and "0.998" in said
    assert (
        page.evaluate("spoken") == []
        and page.evaluate("location.hash") == ""
    )
    page.mouse.up()
    rest(page)
    assert page.evaluate("spoken") == [said]
    assert page.evaluate("location.hash") == "#bank?divisor=1&token=3"
    assert page.evaluate("history.length") == before
    assert page.problems == []


@needs_browser
def test_keys_and_stops_move_it(visit):
    page = visit()
    slider(page, "bank").focus()
    page.keyboard.press("Home")
    page.locator("explorable-bank input[type=radio]").nth(3).focus()
    page.keyboard.press("ArrowRight")
    rest(page)
    assert page.evaluate("location.hash") == "#bank?divisor=1&token=4"
    page.get_by_role("button", name="divisor √32").click()
    rest(page)
    assert page.evaluate("location.hash") == "#bank?divisor=5.657&token=4"
    page.get_by_role("button", name="resample").click()
    rest(page)
    assert page.evaluate("location.hash") == "#walk?dk=64&draw=2"
    page.get_by_role("button", name="new row").press("Enter")
    rest(page)
    assert page.evaluate("location.hash") == "#split?sigma=6&row=1"
    assert (
        slider(page, "bank").get_attribute("aria-valuetext") == "√32 = 5.66"
    )


@needs_browser
def test_a_finger_moves_it(visit):
    page = visit(width=390, has_touch=True)
    box = slider(page, "walk").bounding_box()
    slider(page, "walk").tap(position={"x": box["width"] - 4, "y": 22})
    rest(page)
    assert page.evaluate("location.hash") == "#walk?dk=4096&draw=1"


@needs_browser
def test_a_shared_address_is_shown_and_others_are_left_alone(visit):
    page = visit("#split?sigma=24&row=1", height=800)
    rest(page)
    assert page.evaluate("location.hash") == "#split?sigma=24&row=1"
    assert "at spread 24" in status(page, "split")
    said = page.locator("explorable-split .said").text_content()
    trace = attn.jacobian_trace(attn.softmax(24 * normals(6, 1000, 128)))
    assert f"{trace[1]:.3g} of the bar is Tr J" in said
    box = slider(page, "split").bounding_box()
    assert 0 < box["y"] < 800
    page.get_by_role("link", name="below").click()
    rest(page)
    assert page.evaluate("location.hash") == "#below"
    assert page.locator("#below").bounding_box()["y"] < 800
    page.evaluate("location.hash = '#bank?divisor=99&token=-5&x=1'")
    rest(page)
    said = page.locator("explorable-bank .said").text_content()
    assert said.startswith("“[CLS]” asks, its scores are divided by 32")
    box = slider(page, "bank").bounding_box()
    assert 0 < box["y"] < 800  # and no other one came into view
    page.evaluate("location.hash = '#bank?divisor=&token=%'")
    rest(page)
    assert page.problems == []


@needs_browser
@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_can_be_touched(visit, name, width):
    page = visit(width=width, name=name, reduced_motion="reduce")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert motions(page) == []
    for explorable_name in NAMES:
        ink = page.evaluate(
            """(name) => getComputedStyle(document.querySelector(`explorable-${name}`)
              .shadowRoot.querySelector(".said")).color""",
            explorable_name,
        )
        assert ink == page.evaluate("getComputedStyle(document.body).color")
        assert slider(page, explorable_name).bounding_box()["height"] >= 44
        targets = page.locator(
            f"explorable-{explorable_name} :is(button, input)"
        )
        for box in [target.bounding_box() for target in targets.all()]:
            assert min(box["width"], box["height"]) >= 20


@needs_browser
def test_without_scripts_the_still_figure_stands(visit):
    page = visit(java_script_enabled=False)
    for name in NAMES:
        assert page.locator(f"explorable-{name} img").is_visible()


@needs_browser
def test_one_that_fails_brings_its_still_figure_back(visit):
    page = visit(name="broken")
    assert len(page.problems) == 1
    assert page.locator("explorable-split img").is_visible()
    assert not page.locator("explorable-bank img").is_visible()
