"""Chapter 10's figure of all stored runs: every number and every curve that it shows, in a browser."""

import re

import matplotlib
import numpy as np
import pytest
from browser import serve
from explored import data, listen, motions, rest, stored, write_pages

from attnlib import retrieval
from attnlib.book import training_runs
from attnlib.book.explorables import explorable

matplotlib.use("Agg")
import matplotlib.pyplot as plt

needs_browser = pytest.mark.needs_browser
RUNS = training_runs()
SETTINGS = ("n", "steps", "d_k", "arm", "optimizer")
COLUMNS = [RUNS[name].tolist() for name in SETTINGS]
STORED = sorted(set(zip(*COLUMNS, strict=True)))  # 42 of 96 combinations
ARMS, OPTIMIZERS = ["scaled", "1/d_k", "raw"], ["sgd", "adam"]
TASKS = sorted({(n, steps) for n, steps, *_ in STORED})
WIDTHS = [16, 64, 256, 1024]
WITH = dict(
    zip(ARMS, ["With 1/√dₖ", "With 1/dₖ", "Without a factor"], strict=True)
)


def made(shift=0):
    """As the chapter makes it; shifted, each curve comes a look late."""
    correct = np.int64(retrieval.TEST_SIZE * RUNS["accuracy"])
    return explorable(
        "runs",
        plt.figure(figsize=(2, 1)),
        "Curves.",
        samples=retrieval.TEST_SIZE,
        correct=np.roll(correct, shift, axis=1),
        **{name: RUNS[name] for name in SETTINGS},
    )._repr_html_()


def accuracies(n, steps, d_k, arm, optimizer):
    wanted = n, steps, d_k, arm, optimizer
    fits = [
        RUNS[name] == x for name, x in zip(SETTINGS, wanted, strict=True)
    ]
    return np.float64(RUNS["accuracy"][np.all(fits, axis=0)])


def looks(steps):
    return RUNS["checkpoint"][RUNS["steps"] == steps][0]


def address(n, steps, d_k, arm, optimizer):
    return (
        f"#runs?dk={d_k}&task={TASKS.index((n, steps))}"
        f"&arm={ARMS.index(arm)}&optimizer={OPTIMIZERS.index(optimizer)}"
    )


def halves(setting, verb=""):
    y = accuracies(*setting)
    when = sorted(
        looks(setting[1])[np.argmax(c >= 0.5)] for c in y if max(c) >= 0.5
    )
    who = {0: "none", len(y): "all"}.get(len(when), f"{len(when)} of")
    who += f" of {len(y)}" if not when else f" {len(y)}"
    if verb:
        who += f" runs {'reach' if len(when) > 1 else 'reaches'} one half"
    if not when:
        return who
    if when[0] == when[-1]:
        return f"{who}, by step {when[0]}"
    return (
        f"{who}, the first by step {when[0]}, the last by step {when[-1]}"
    )


def sentence(setting):
    n, steps, d_k, arm, optimizer = setting
    name = {"sgd": "SGD", "adam": "Adam"}[optimizer]
    ends = sorted({f"{y:.3f}" for y in accuracies(*setting)[:, -1]})
    said = (
        f"{WITH[arm]}, width {d_k}, {n} tokens, {name}: {halves(setting, 'reach')}. "
        f"At the end they find {' to '.join(ends[:: max(1, len(ends) - 1)])} of the targets; "
        f"guessing finds {1 / n:.3f}."
    )
    other = "raw" if arm == "scaled" else "scaled"
    rest = n, steps, d_k, other, optimizer
    return said + (
        f" {WITH[other]}: {halves(rest)}." if rest in STORED else ""
    )


def points(path):
    """The polylines of a path, as an array (lines, points, 2)."""
    return [
        [[float(x) for x in point.split()] for point in piece.split("L")]
        for piece in path.split("M")[1:]
    ]


SEEN = """() => {
  const root = document.querySelector("explorable-runs").shadowRoot;
  const d = (selector) => [...root.querySelectorAll(selector)].map((path) => path.getAttribute("d"));
  return {
    own: d(".runs path.own:not(.dots)")[0], others: d(".runs path.other"),
    tips: d(".runs .dots")[0], dots: d(".ends .dots"), column: d(".ends .column")[0],
    listed: root.querySelector("p b").textContent, said: root.querySelector(".said").textContent,
    foot: root.querySelector(".runs .left:last-child").textContent,
    chosen: [...root.querySelectorAll("input")].flatMap((input) => (input.checked ? [input.parentNode.textContent] : [])),
    absent: [...root.querySelectorAll(".absent")].map((label) => label.textContent),
  };
}"""


def as_curves(y):
    x = np.broadcast_to(np.linspace(0, 100, y.shape[1]), y.shape)
    return np.stack([x, 100 - 100 * y], axis=2)


def dots(path):
    pairs = re.findall(r"M(\S+) (\S+?)h0", path)
    return np.array(pairs, float).reshape(-1, 2)


def compare(seen, setting):
    """Every number that is shown with the stored runs; returns how many."""
    n, steps, d_k, arm, optimizer = setting
    y = accuracies(*setting)
    count = 0

    def same(found, expected, **options):
        nonlocal count
        count += np.size(expected)
        np.testing.assert_allclose(found, expected, **options)

    # A path's coordinates have two decimals.
    same(points(seen["own"]), as_curves(y), atol=0.00501, rtol=0)
    same(dots(seen["tips"])[:, 0], np.full(len(y), 100))
    same(dots(seen["tips"])[:, 1], 100 - 100 * y[:, -1], rtol=1e-6)
    for other, path in zip(ARMS, seen["others"], strict=True):
        kept = (RUNS["steps"] == steps) & (RUNS["arm"] == other)
        if other == arm:
            kept &= ~(
                (RUNS["n"] == n)
                & (RUNS["d_k"] == d_k)
                & (RUNS["optimizer"] == optimizer)
            )
        faint = np.float64(RUNS["accuracy"][kept])
        found = np.reshape(points(path), (len(faint), 11, 2))
        same(found, as_curves(faint), atol=0.00501, rtol=0)
    # Where the task's runs end, each in its column; then the chosen ones.
    for other, path in zip(ARMS, seen["dots"][:3], strict=True):
        kept = (RUNS["n"] == n) & (RUNS["steps"] == steps)
        kept &= RUNS["arm"] == other
        found = dots(path)
        same(found[:, 1], 100 - 100 * RUNS["accuracy"][kept, -1], rtol=1e-6)
        cells = [
            12.5 * (4 * OPTIMIZERS.index(o) + WIDTHS.index(w) + 0.5)
            for o, w in zip(
                RUNS["optimizer"][kept], RUNS["d_k"][kept], strict=True
            )
        ]
        same(
            found[:, 0],
            np.array(cells) + 3.6 * (ARMS.index(other) - 1),
            atol=0.81,
        )
    same(dots(seen["dots"][3])[:, 1], 100 - 100 * y[:, -1], rtol=1e-6)
    left = float(re.match(r"M(\S+) 0", seen["column"])[1])
    same(dots(seen["dots"][3])[:, 0].mean(), left + 1.8)
    assert seen["listed"] == " ".join(f"{x:.3f}" for x in sorted(y[:, -1]))
    assert seen["said"] == sentence(setting)
    assert seen["foot"] == f"{steps} steps"
    factor = {"scaled": "1/√dₖ", "1/d_k": "1/dₖ", "raw": "none"}
    name = {"sgd": "SGD", "adam": "Adam"}
    assert seen["chosen"] == [
        str(d_k),
        factor[arm],
        name[optimizer],
        f"{n} × {steps}",
    ]
    absent = [
        str(w)
        for w in WIDTHS
        if (n, steps, w, arm, optimizer) not in STORED
    ]
    absent += [
        factor[a]
        for a in ARMS
        if (n, steps, d_k, a, optimizer) not in STORED
    ]
    absent += [
        f"{a} × {b}"
        for a, b in TASKS
        if (a, b, d_k, arm, optimizer) not in STORED
    ]
    assert seen["absent"] == absent
    return count + 2 * len(y)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    late, other = made(shift=1), made(shift=-1)
    write_pages(folder, made(), lost="correct", late=late, other=other)
    with serve(folder) as root:
        yield root


def go(page, where):
    """Open an address, and wait for the frame that shows it."""
    page.evaluate(
        """(where) => new Promise((done) => {
          location.hash = where;
          addEventListener("hashchange", () => requestAnimationFrame(() => requestAnimationFrame(done)), { once: true });
        })""",
        where,
    )
    return page.evaluate(SEEN)


def part(page, selector):
    return page.locator(f"explorable-runs {selector}")


def test_the_chapters_data_are_the_stored_runs():
    expected = data(made())
    assert data(stored("runs")) == expected
    shares = np.array(expected["correct"]) / expected["samples"]
    np.testing.assert_array_equal(shares, RUNS["accuracy"])


@needs_browser
def test_every_number_is_a_stored_one(visit):
    page = visit()
    assert len(STORED) == 42
    compared = sum(
        compare(go(page, address(*setting)), setting) for setting in STORED
    )
    assert compared > 150_000
    assert page.problems == []


@needs_browser
@pytest.mark.parametrize("name", ["late", "other"])
def test_a_curve_shifted_by_one_look_is_noticed(visit, name):
    page = visit(name=name)
    for setting in STORED:
        with pytest.raises(AssertionError):
            compare(go(page, address(*setting)), setting)


# --- the hand ----------------------------------------------------------------

FIRST = (128, 250, 64, "raw", "adam")


def seen(page):
    return page.evaluate(SEEN)


@needs_browser
def test_it_starts_as_the_still_figure_shows(visit):
    page = visit()
    compare(seen(page), FIRST)
    assert not part(page, "img").is_visible()
    assert part(page, "[role=status]").text_content() == sentence(FIRST)
    assert page.evaluate("location.hash") == ""


@needs_browser
def test_a_drag_across_the_dots_moves_it_and_speaks_once_at_rest(visit):
    page = visit()
    listen(page, "runs")
    # A drag across all columns may take long on a busy machine: rest takes longer, too.
    page.evaluate(
        """() => {
          const wait = setTimeout;
          window.setTimeout = (work, ms) => wait(work, 10 * ms);
        }"""
    )
    box = part(page, ".ends").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 5, y)
    rest(page)
    assert seen(page)["said"] == sentence(FIRST)  # nothing is pressed
    page.mouse.down()
    for optimizer in OPTIMIZERS:
        for d_k in WIDTHS:
            for arm in ARMS:
                here = (128, 250, d_k, arm, optimizer)
                cell = 4 * OPTIMIZERS.index(optimizer) + WIDTHS.index(d_k)
                x = 12.5 * (cell + 0.5) + 3.6 * (ARMS.index(arm) - 1)
                page.mouse.move(box["x"] + box["width"] * x / 100, y)
                page.evaluate(
                    "() => new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))"
                )
                assert seen(page)["said"] == sentence(here)
    assert page.evaluate("spoken") == []
    page.mouse.up()
    page.wait_for_timeout(9000)
    last = (128, 250, 1024, "raw", "adam")
    assert page.evaluate("spoken") == [sentence(last)]
    assert page.evaluate("location.hash") == address(*last)
    compare(seen(page), last)
    assert page.problems == []


@needs_browser
def test_a_finger_moves_it(visit):
    page = visit(width=390, has_touch=True)
    part(page, ".ends").tap(position={"x": 3, "y": 40})
    part(page, "label").filter(has_text="32 × 250").tap()
    rest(page)
    compare(seen(page), (32, 250, 16, "scaled", "sgd"))


@needs_browser
def test_keys_move_it(visit):
    page = visit()
    part(page, "input").nth(1).focus()
    for key in ("ArrowRight", "ArrowRight", "Tab", "ArrowRight"):
        page.keyboard.press(key)
    rest(page)
    here = (128, 250, 1024, "scaled", "adam")
    assert page.evaluate("location.hash") == address(*here)
    compare(seen(page), here)


@needs_browser
@pytest.mark.parametrize(
    "before, word, after",
    [
        # What was chosen stays; the nearest of what was run gives the rest.
        (FIRST, "128 × 2000", (128, 2000, 1024, "raw", "adam")),
        (FIRST, "256 × 2000", (256, 2000, 256, "raw", "adam")),
        (
            (256, 2000, 256, "raw", "sgd"),
            "16",
            (128, 250, 16, "raw", "sgd"),
        ),
        (
            (128, 2000, 1024, "raw", "sgd"),
            "1/√dₖ",
            (128, 250, 1024, "scaled", "sgd"),
        ),
    ],
)
def test_what_was_not_run_gives_way_and_says_so(visit, before, word, after):
    page = visit(where=address(*before))
    assert word in seen(page)["absent"]
    label = part(page, "label").filter(has_text=re.compile(f"^{word}$"))
    label.locator("input").click()
    rest(page)
    said = seen(page)
    assert said["said"] == (
        "That was not run; this is the closest. " + sentence(after)
    )
    compare(said | {"said": sentence(after)}, after)
    assert page.evaluate("location.hash") == address(*after)


@needs_browser
def test_an_address_of_nothing_stored_shows_the_closest(visit):
    page = visit(where="#runs?dk=16&task=3&arm=2&optimizer=0")
    assert seen(page)["said"].startswith("That was not run; ")
    after = (128, 250, 16, "raw", "sgd")
    assert seen(page)["said"].endswith(sentence(after))
    found = go(page, "#runs?dk=&task=x&arm=99&y=%")
    assert page.problems == []
    assert found["said"]


@needs_browser
@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_can_be_touched(visit, name, width):
    page = visit(name=name, width=width, reduced_motion="reduce")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert motions(page) == []
    ink = part(page, ".said").evaluate("(p) => getComputedStyle(p).color")
    assert ink == page.evaluate("getComputedStyle(document.body).color")
    for target in part(page, "label").all():
        box = target.bounding_box()
        assert box["height"] >= 44 and box["width"] >= 20
    heights = set()
    for setting in STORED:
        go(page, address(*setting))
        heights.add(part(page, "").bounding_box()["height"])
        assert (
            page.evaluate("document.scrollingElement.scrollWidth") <= width
        )
    # The sentence may not push what stands below up and down.
    assert max(heights) - min(heights) < (60 if width == 320 else 1)


@needs_browser
def test_without_scripts_the_still_figure_stands(visit):
    page = visit(java_script_enabled=False)
    assert part(page, "img").is_visible()


@needs_browser
def test_one_that_fails_brings_its_still_figure_back(visit):
    page = visit(name="broken")
    assert len(page.problems) == 1
    assert part(page, "img").is_visible()
