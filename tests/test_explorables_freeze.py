"""The map of chapter 8: what the page shows is what attnlib computes."""

import explored
import numpy as np
import pytest
from explored import (
    computed,
    listen,
    motions,
    resting_address,
    site_of,
    still_stands,
    stored,
)
from scipy.optimize import brentq

import attnlib as attn
from attnlib import random_energy
from attnlib.book.explorables import normals

needs_browser = pytest.mark.needs_browser
mean_ipr = random_energy.expected_inverse_participation_ratio


@pytest.fixture(scope="module")
def data():
    """As the chapter stores them."""
    return explored.data(stored("freeze"))


@pytest.fixture(scope="module")
def expected(data):
    """For each length and width: the mean, the mean with the factor, the border."""
    numbers = []
    for n in data["lengths"]:
        means = [mean_ipr(n, np.sqrt(width)) for width in data["widths"]]
        border = brentq(lambda s, n=n: mean_ipr(n, s) - 0.5, 0.1, 90) ** 2
        numbers.append([[mean, mean_ipr(n, 1), border] for mean in means])
    return np.array(numbers)


EXACT = """const model = { get: (key) => argument[key] };
return argument.lengths.map((n) => argument.widths.map((dk) => {
  const { mean, divided, border } = m.exact(model, { dk, n });
  return [mean, divided, border];
}));"""


@needs_browser
def test_every_exact_number_is_attnlibs(blank, data, expected):
    found = computed(blank, "freeze", EXACT, data)
    assert np.shape(found) == (29, 36, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@needs_browser
@pytest.mark.parametrize(
    "key, axis", [("mean", 0), ("mean", 1), ("border", 0)]
)
def test_data_shifted_by_one_are_noticed(blank, data, expected, key, axis):
    shifted = data | {key: np.roll(data[key], 1, axis).tolist()}
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            computed(blank, "freeze", EXACT, shifted), expected, rtol=1e-6
        )


def parts(row):
    """The ten largest weights, what the others have together, Σa²."""
    row = np.sort(row)[::-1]
    collapse = attn.inverse_participation_ratio(row)
    return [*row[:10], *[0] * (10 - len(row)), row[10:].sum(), collapse]


@needs_browser
@pytest.mark.parametrize("seed", [6, 999])
def test_every_row_is_attnlibs(blank, data, seed):
    found = computed(
        blank,
        "freeze",
        """const { seed, widths, lengths } = argument;
        const drawn = m.normals(seed, lengths.at(-1));
        return lengths.map((n) => widths.map((dk) => {
          const { weights, rest, collapse } = m.row(drawn, dk, n);
          return [...weights, ...Array(10 - weights.length).fill(0), rest, collapse];
        }));""",
        data | {"seed": seed},
    )
    noise = normals(seed, max(data["lengths"]))
    for n, rows in zip(data["lengths"], found, strict=True):
        for width, row in zip(data["widths"], rows, strict=True):
            a = attn.softmax(np.sqrt(width) * noise[:n])
            np.testing.assert_allclose(row, parts(a), rtol=1e-6)


# --- the hand ----------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with site_of("freeze", folder, lost="border") as address:
        yield address


def place(page, across, up):
    box = page.locator("explorable-freeze .map").bounding_box()
    return (
        box["x"] + across * box["width"],
        box["y"] + (1 - up) * box["height"],
    )


@needs_browser
def test_the_sentence_says_what_attnlib_says(visit):
    page = visit()
    assert not page.locator("explorable-freeze > img").is_visible()
    for where, dk, n, seed in (
        ("", 64, 128, 6),
        ("#freeze?dk=64&n=128&row=7", 64, 128, 7),
        ("#freeze?dk=1024&n=16380&row=0", 1024, 16384, 0),
        ("#freeze?dk=1&n=4&row=1", 1, 4, 1),
    ):
        page.evaluate("(hash) => { location.hash = hash; }", where)
        page.wait_for_timeout(400)
        said = page.locator("[role=status]").text_content()
        row = attn.softmax(np.sqrt(dk) * normals(seed, n))
        ipr, mean = (
            attn.inverse_participation_ratio(row),
            mean_ipr(n, np.sqrt(dk)),
        )
        border = brentq(lambda s, n=n: mean_ipr(n, s) - 0.5, 0.1, 90) ** 2
        assert said.startswith(
            f"Width {dk} among {n} tokens: this row gives {row.max():.3g} to "
            f"one token, and its Σa² is {ipr:.3g}; the mean there is {mean:.3g}"
        )
        side = "more" if mean > 0.5 else "less"
        assert (
            f"half frozen at width {border:.3g}: here they are {side}"
            in said
        )
        assert ("this one" in said) == ((mean > 0.5) != (ipr > 0.5))
        assert dk == 1 or f"where the mean is {mean_ipr(n, 1):.3g}." in said
    assert page.problems == []


@needs_browser
def test_a_mouse_drags_the_point_and_it_speaks_once(visit):
    page = visit()
    listen(page, "freeze")
    page.mouse.move(*place(page, 0.6, 5 / 14))
    page.mouse.down()
    for step in range(11):
        page.mouse.move(*place(page, 0.6 + step / 25, 5 / 14 + step / 28))
    page.mouse.up()
    assert page.evaluate("[spoken.length, location.hash]") == [0, ""]
    assert resting_address(page) == "#freeze?dk=1024&n=4096&row=6"
    assert len(page.evaluate("spoken")) == 1
    page.mouse.click(*place(page, 0, 1))
    assert resting_address(page) == "#freeze?dk=1&n=65540&row=6"
    page.mouse.move(*place(page, 0.5, 0.5))  # no button: nothing moves
    assert len(page.evaluate("spoken")) == 2


@needs_browser
def test_a_finger_drags_and_taps_and_can_still_scroll(visit):
    page = visit(width=390, has_touch=True)
    page.touchscreen.tap(*place(page, 0.3, 4 / 14))
    assert resting_address(page) == "#freeze?dk=8&n=64&row=6"
    touch = page.evaluate(
        """() => [".map", ".knob"].map((name) => getComputedStyle(
          document.querySelector("explorable-freeze").shadowRoot.querySelector(name)).touchAction)"""
    )
    assert touch == ["pan-y", "none"]
    client = page.context.new_cdp_session(page)

    def touch_at(kind, *points):
        points = [{"x": x, "y": y} for x, y in points]
        client.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": points},
        )

    touch_at("touchStart", place(page, 0.3, 4 / 14))
    for step in range(9):  # straight up, on the knob
        touch_at("touchMove", place(page, 0.3, (4 + step) / 14))
    touch_at("touchEnd")
    assert resting_address(page) == "#freeze?dk=8&n=16380&row=6"
    assert (
        "among 16384 tokens" in page.locator("[role=status]").text_content()
    )


@needs_browser
def test_keys_and_buttons_move_it(visit):
    page = visit()
    width, length = page.locator("explorable-freeze input").all()
    width.focus()
    page.keyboard.press("ArrowRight")
    assert resting_address(page) == "#freeze?dk=76&n=128&row=6"
    length.focus()
    page.keyboard.press("Home")
    page.get_by_role("button", name="new row").press("Enter")
    assert resting_address(page) == "#freeze?dk=76&n=4&row=7"
    page.get_by_role("button", name="tokens n 2048").click()
    assert resting_address(page) == "#freeze?dk=76&n=2048&row=7"
    assert width.get_attribute("aria-valuetext") == "76"


@needs_browser
@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_can_be_touched(visit, name, width):
    page = visit(width=width, name=name, reduced_motion="reduce")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert motions(page) == []
    for target in page.locator(
        "explorable-freeze :is(button, input)"
    ).all():
        box = target.bounding_box()
        assert min(box["width"], box["height"]) >= 24
    knob = page.locator("explorable-freeze .knob").bounding_box()
    assert min(knob["width"], knob["height"]) >= 44
    assert page.problems == []


@needs_browser
def test_where_no_script_runs_the_still_figure_stands(visit):
    still_stands(visit, "freeze")
