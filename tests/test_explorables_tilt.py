"""Correlated entries of chapter 6: what the page shows is what attnlib computes."""

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

from attnlib.dot_product import row_variance_moments

needs_browser = pytest.mark.needs_browser
WIDTHS, RHOS = [2**i for i in range(2, 9)], [i / 10 for i in range(10)]


@pytest.fixture(scope="module")
def data():
    """As the chapter stores them."""
    return explored.data(stored("tilt"))


def covariances(kind, rho, width):
    one, signs = np.eye(width), (-1.0) ** np.arange(width)
    shared = (1 - rho) * one + rho
    steps = np.arange(width)
    decaying = rho ** abs(steps[:, None] - steps)
    return [
        (shared, one),
        (shared, shared),
        (shared, signs[:, None] * shared * signs),
        (decaying, decaying),
    ][kind]


@pytest.fixture(scope="module")
def expected():
    """By kind, correlation and width: the mean of σ²/dₖ, the effective width."""

    def numbers(kind, rho, width):
        law = covariances(kind, rho, width)
        mean, variance = row_variance_moments(np.zeros(width), *law)
        return mean / width, 2 * mean**2 / variance

    return np.array(
        [
            [
                [numbers(kind, rho, width) for width in WIDTHS]
                for rho in RHOS
            ]
            for kind in range(4)
        ]
    )


GRID = """const get = (key) => argument[key];
return [0, 1, 2, 3].map((kind) => argument.rhos.map((rho) => {
  const { means, effective } = m.law(get, { kind, rho });
  return means.map((mean, i) => [mean, effective[i]]);
}));"""


@needs_browser
def test_every_number_is_attnlibs(blank, data, expected):
    assert data["widths"] == WIDTHS and data["rhos"] == RHOS
    found = computed(blank, "tilt", GRID, data)
    assert np.shape(found) == (4, 10, 7, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@needs_browser
@pytest.mark.parametrize("key", ["mean", "effective"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_data_shifted_by_one_are_noticed(blank, data, expected, key, axis):
    shifted = data | {key: np.roll(data[key], 1, axis).tolist()}
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            computed(blank, "tilt", GRID, shifted), expected, rtol=1e-6
        )


@needs_browser
def test_only_a_direction_shared_in_both_tilts(blank, data):
    found = computed(
        blank,
        "tilt",
        "return [0, 1, 2, 3].map((kind) => argument.rhos.map((rho) => m.isLevel(m.law((key) => argument[key], { kind, rho }))));",
        data,
    )
    tilts = [[kind == 1 and rho > 0 for rho in RHOS] for kind in range(4)]
    np.testing.assert_array_equal(found, np.logical_not(tilts))


def test_the_lines_are_the_closed_forms(expected):
    rho, width = np.array(RHOS)[:, None], np.array(WIDTHS)
    mean, effective = np.moveaxis(expected, 3, 0)
    np.testing.assert_allclose(mean[0], 1)
    np.testing.assert_allclose(mean[1], 1 + (width - 1) * rho**2)
    np.testing.assert_allclose(mean[2], (1 - rho**2) + 0 * width)
    assert (effective[0, 1:, -1] < 1 / rho[1:, 0] ** 2).all()


# --- the hand ----------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with site_of("tilt", folder, lost="effective") as address:
        yield address


def slider(page):
    return page.locator("explorable-tilt input[type=range]")


@needs_browser
def test_it_starts_as_the_still_figure_shows_and_says_what_attnlib_says(
    visit, expected
):
    page = visit()
    assert not page.locator("explorable-tilt > img").is_visible()
    for where, kind, i, verdict in (
        ("", 1, 3, "tilts"),
        ("#tilt?kind=3&rho=0.9", 3, 9, "becomes level"),
        ("#tilt?kind=0&rho=0.5", 0, 5, "becomes level"),
    ):
        page.evaluate("(hash) => { location.hash = hash; }", where)
        page.wait_for_timeout(600)
        said = page.locator("explorable-tilt [role=status]").text_content()
        mean, effective = expected[kind, i].T
        assert f"is {mean[0]:.3g} at width 4, {mean[-2]:.3g} at 128" in said
        assert f"and {mean[-1]:.3g} at 256; the line {verdict}" in said
        assert f"effective width is {effective[-1]:.3g}, and" in said
        scatter = 100 * np.sqrt(2 / effective[-1])
        assert f"deviation is {scatter:.0f} % of that mean" in said
        dots = page.locator("explorable-tilt .dot").get_attribute("d")
        ys = [
            float(dot.split("h")[0].split()[1])
            for dot in dots.split("M")[1:]
        ]
        down = 100 - 100 * np.log(mean / 0.1) / np.log(3000)
        np.testing.assert_allclose(ys, down, atol=0.006)


@needs_browser
def test_a_mouse_drags_it_and_it_speaks_once(visit):
    page = visit()
    listen(page, "tilt")
    drag(page, slider(page), 1 / 3, 0)
    assert resting_address(page) == "#tilt?kind=1&rho=0"
    [said] = page.evaluate("spoken")
    assert said.startswith("No correlation: ")


@needs_browser
def test_a_finger_and_keys_move_it(visit):
    page = visit(width=390, has_touch=True)
    box = slider(page).bounding_box()
    slider(page).tap(position={"x": box["width"] - 4, "y": 22})
    assert resting_address(page) == "#tilt?kind=1&rho=0.9"
    slider(page).press("ArrowLeft")
    assert resting_address(page) == "#tilt?kind=1&rho=0.8"
    assert slider(page).get_attribute("aria-valuetext") == "0.8"
    page.locator("explorable-tilt label").nth(2).tap()
    assert resting_address(page) == "#tilt?kind=2&rho=0.8"
    page.locator("explorable-tilt input[type=radio]").nth(2).press(
        "ArrowRight"
    )
    assert resting_address(page) == "#tilt?kind=3&rho=0.8"


@needs_browser
@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_can_be_touched(visit, name, width):
    page = visit(width=width, name=name, reduced_motion="reduce")
    slider(page).press("End")
    page.wait_for_timeout(30)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert motions(page) == []
    for target in page.locator("explorable-tilt :is(button, input)").all():
        box = target.bounding_box()
        assert min(box["width"], box["height"]) >= 24


@needs_browser
def test_where_no_script_runs_the_still_figure_stands(visit):
    still_stands(visit, "tilt")
