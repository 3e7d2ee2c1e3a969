"""Single rows of chapter 9: what the page shows is what attnlib computes."""

import explored
import numpy as np
import pytest
from explored import (
    computed,
    drag,
    listen,
    motions,
    resting_address,
    site_of,
    still_stands,
    stored,
)

import attnlib as attn
from attnlib.book.explorables import normals

needs_browser = pytest.mark.needs_browser
N, WIDTHS = 128, [2**i for i in range(2, 13)]
KEYS = ("rms", "median", "share", "scaled_rms", "scaled_median")


@pytest.fixture(scope="module")
def data():
    """As the chapter stores them."""
    return explored.data(stored("rows"))


def noise(row):
    return np.split(normals(row, 2 * N + 4095), [N, 2 * N])


def gradient(row, width, scale):
    """Lead, length of ∂L/∂q and the two largest weights, with every key drawn in full.

    The keys' columns across the query are such that each has the drawn component along Jg.
    """
    z, g, across = noise(row)
    query = np.zeros(width)
    query[0] = np.sqrt(width)
    a = attn.softmax(scale * np.sqrt(width) * z)
    along = attn.softmax_vjp(a, g)
    size = np.linalg.norm(along)
    rng = np.random.default_rng([row, width])
    keys = np.c_[z, rng.normal(size=(N, width - 1))]
    unit = along / size
    keys[:, 1:] += np.outer(unit, across[: width - 1] - unit @ keys[:, 1:])
    a = attn.attention_weights(query[None], keys, scale=scale)
    vjp = attn.softmax_vjp(a, g[None])
    length = np.linalg.norm(scale * vjp @ keys)
    second, first = np.sort(
        attn.dot_product_scores(query[None], keys, scale=scale)[0]
    )[-2:]
    return first - second, length, *np.sort(a[0])[:-3:-1]


GRID = """return argument.rows.map((row) => {
  const one = m.drawn(row);
  return argument.widths.map((width) => [1, width ** -0.5].map((scale) => {
    const { lead, length, weights } = m.gradient(one, width, scale);
    return [lead, length, ...weights];
  }));
});"""


@needs_browser
def test_every_row_is_attnlibs(blank):
    rows = [*range(30), 500, 999]
    found = computed(blank, "rows", GRID, {"rows": rows, "widths": WIDTHS})
    expected = [
        [[gradient(row, w, s) for s in (1, w**-0.5)] for w in WIDTHS]
        for row in rows
    ]
    assert np.shape(found) == (32, 11, 2, 4)
    # attnlib's Jg of a frozen row ends at the last digit of 1; the page's does not.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-13)


@needs_browser
def test_a_frozen_rows_length_is_exact_beyond_the_last_digit_of_one(blank):
    """The leader has all: Jg of another token is its weight times a difference of gradients."""
    [[[[lead, length, _, second], _]]] = computed(
        blank, "rows", GRID, {"rows": [1], "widths": [4096]}
    )
    z, g, across = noise(1)
    weights = np.exp(64 * (z - z.max()))
    jg = weights * (g - g[z.argmax()])
    size = np.hypot(np.linalg.norm(jg), jg.sum())
    expected = np.hypot(jg @ (z - z.max()), size * np.linalg.norm(across))
    assert lead > 60
    np.testing.assert_allclose(second, np.sort(weights)[-2], rtol=1e-6)
    np.testing.assert_allclose(length, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def expected():
    """By width, what the data hold, of the 1000 rows that can be drawn."""
    z, g, across = (
        np.stack(x) for x in zip(*map(noise, range(1000)), strict=True)
    )
    found = []
    for width in WIDTHS:
        numbers = []
        for scale in (1, width**-0.5):
            jg = attn.softmax_vjp(
                attn.softmax(scale * np.sqrt(width) * z), g
            )
            squares = np.sum(across[:, : width - 1] ** 2, axis=1)
            energy = np.sum(z * jg, axis=1) ** 2 + squares * np.sum(
                jg**2, axis=1
            )
            energy = np.sort(scale**2 * energy)[::-1]
            share = np.mean(np.cumsum(energy) < 0.9 * energy.sum()) + 0.001
            numbers += [
                np.sqrt(energy.mean()),
                np.median(np.sqrt(energy)),
                share,
            ]
        found.append(numbers[:5])
    return np.array(found)


ALL = """return argument.widths.map((width) => {
  const found = m.all((key) => argument[key], width);
  return ["rms", "median", "share", "scaled_rms", "scaled_median"].map((key) => found[key]);
});"""


@needs_browser
def test_numbers_of_all_rows_are_attnlibs(blank, data, expected):
    assert data["widths"] == WIDTHS
    found = computed(blank, "rows", ALL, data)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@needs_browser
@pytest.mark.parametrize("key", KEYS)
def test_data_shifted_by_one_are_noticed(blank, data, expected, key):
    shifted = data | {key: np.roll(data[key], 1).tolist()}
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            computed(blank, "rows", ALL, shifted), expected, rtol=1e-6
        )


def test_what_the_text_says(expected):
    rms, median, share, _, scaled = expected.T
    assert (np.diff(rms) > 0).all() and (np.diff(median[4:]) < 0).all()
    assert (np.diff(share) < 0).all()
    assert np.ptp(scaled) < 0.01
    assert rms[-1] / median[-1] > 1e6
    lead, length, *_ = gradient(7, 1024, 1)
    assert lead < 0.5 and length > 5 * rms[8]
    lead, length, *_ = gradient(6, 1024, 1)
    assert lead > 5 and length < 0.01


# --- the hand ----------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with site_of("rows", folder, lost="median") as address:
        yield address


@needs_browser
def test_it_starts_as_the_still_figure_shows_and_says_what_attnlib_says(
    visit, expected
):
    page = visit()
    assert not page.locator("explorable-rows > img").is_visible()
    for where, row, width in (
        ("", 6, 1024),
        ("#rows?dk=64&row=500", 500, 64),
    ):
        page.evaluate("(hash) => { location.hash = hash; }", where)
        page.wait_for_timeout(600)
        said = page.locator("explorable-rows [role=status]").text_content()
        lead, length, _, second = gradient(row, width, 1)
        rms, median, share, scaled_rms, scaled_median = expected[
            WIDTHS.index(width)
        ]
        assert said.startswith(f"Row {row} at width {width}, raw: ")
        assert (
            f"leads by {lead:.3g}, the second token has a weight of {second:.3g}"
            in said
        )
        scaled = gradient(row, width, width**-0.5)[1]
        assert (
            f"length is {length:.3g}; with the factor {scaled:.3g}." in said
        )
        assert f"RMS is {rms:.3g} and the median {median:.3g}, " in said
        assert (
            f"with the factor {scaled_rms:.3g} and {scaled_median:.3g}."
            in said
        )
        assert f"Raw, {100 * share:.3g} % of the rows" in said
        place = page.locator("explorable-rows .picked").get_attribute("d")
        x, y = map(float, place[1:-2].split())
        assert x == pytest.approx(min(100, 5 * lead), abs=0.006)
        assert y == pytest.approx(10 * (2 - np.log10(length)), abs=0.006)
    assert page.problems == []


@needs_browser
def test_a_mouse_drags_it_and_it_speaks_once(visit):
    page = visit()
    listen(page, "rows")
    drag(page, page.locator("explorable-rows input"), 0.8, 0)
    assert resting_address(page) == "#rows?dk=4&row=6"
    [said] = page.evaluate("spoken")
    assert said.startswith("Row 6 at width 4,")


@needs_browser
def test_a_finger_and_keys_move_it(visit):
    page = visit(width=390, has_touch=True)
    width = page.locator("explorable-rows input")
    width.tap(position={"x": 4, "y": 22})
    assert resting_address(page) == "#rows?dk=4&row=6"
    width.press("ArrowRight")
    assert resting_address(page) == "#rows?dk=8&row=6"
    assert width.get_attribute("aria-valuetext") == "8"
    page.get_by_role("button", name="draw another row").tap()
    assert resting_address(page) == "#rows?dk=8&row=7"
    page.get_by_role("button", name="draw another row").press("Enter")
    page.get_by_role("button", name="width dₖ 4096").click()
    assert resting_address(page) == "#rows?dk=4096&row=8"
    assert (
        "length is less than 10⁻⁸"
        in page.locator("explorable-rows .said").text_content()
    )


@needs_browser
@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_can_be_touched(visit, name, width):
    page = visit(width=width, name=name, reduced_motion="reduce")
    page.locator("explorable-rows input").press("End")
    page.wait_for_timeout(30)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert motions(page) == []
    for target in page.locator("explorable-rows :is(button, input)").all():
        box = target.bounding_box()
        assert min(box["width"], box["height"]) >= 24
    words = [
        x.bounding_box()
        for x in page.locator("explorable-rows .name").all()
    ]
    ends = sorted((box["x"], box["x"] + box["width"]) for box in words)
    assert all(
        end < start
        for (_, end), (start, _) in zip(ends, ends[1:], strict=False)
    )


@needs_browser
def test_where_no_script_runs_the_still_figure_stands(visit):
    still_stands(visit, "rows")
