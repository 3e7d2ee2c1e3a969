"""Nine settings of chapter 12 while queries grow: what the page shows is what attnlib computes."""

from functools import partial

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

needs_browser = pytest.mark.needs_browser
LENGTHS = 2 ** (np.arange(7) / 2)
N, D_K = 128, 64
SETTINGS = {
    "raw": partial(attn.attention_weights, scale=1),
    "1/√dₖ": attn.attention_weights,
    "1/dₖ": attn.inverse_width_weights,
    "sink": partial(attn.sink_weights, sink=np.log(N) + 0.5),
    "cap 50": partial(attn.soft_capped_weights, cap=50),
    "cap 5": partial(attn.soft_capped_weights, cap=5),
    "sigmoid": attn.sigmoid_weights,
    "QK-norm, g = 8": partial(attn.qk_norm_weights, gain=8),
    "QK-norm, g = 1": partial(attn.qk_norm_weights, gain=1),
}


@pytest.fixture(scope="module")
def data():
    """As the chapter stores them."""
    return explored.data(stored("gain"))


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(3)
    return rng.normal(size=(150, 1, D_K)), rng.normal(size=(150, N, D_K))


@pytest.fixture(scope="module")
def expected(drawn):
    """By setting, length, and collapse or sensitivity: the median of 150 rows."""
    queries, keys = drawn

    def medians(weights, length):
        q = length * queries
        a = weights(q, keys)[:, 0]
        a = a / a.sum(axis=1, keepdims=True)
        size = np.linalg.norm(q, axis=-1, keepdims=True)
        step = 1e-4 * size * np.eye(D_K)
        rise = weights(q + step, keys) - weights(q - step, keys)
        lengths = np.linalg.norm(weights(q, keys)[:, 0], axis=1)
        slope = np.linalg.norm(rise, axis=(1, 2)) / 2e-4 / np.sqrt(D_K)
        collapse = attn.inverse_participation_ratio(a)
        return np.median(collapse), np.median(slope / lengths)

    return np.array(
        [
            [medians(weights, x) for x in LENGTHS]
            for weights in SETTINGS.values()
        ]
    )


PLACES = """const get = (key) => argument[key];
return argument.lengths.map((length) => m.places(get, length).map((found) => found.map(({ now, start }) => [now, start])));"""


def shown(page, data):
    """By setting, length, collapse or sensitivity, and now or at the start."""
    found = np.array(computed(page, "gain", PLACES, data))
    return found.transpose(2, 0, 1, 3)


@needs_browser
def test_every_place_is_attnlibs(blank, data, expected):
    assert data["names"] == list(SETTINGS)
    np.testing.assert_allclose(data["lengths"], LENGTHS, rtol=1e-6)
    found = shown(blank, data)
    assert found.shape == (9, 7, 2, 2)
    # The data end at eight decimals, where the difference quotient ends, too.
    close = {"rtol": 1e-6, "atol": 1e-8}
    np.testing.assert_allclose(found[..., 0], expected, **close)
    starts = np.repeat(expected[:, :1], 7, axis=1)
    np.testing.assert_allclose(found[..., 1], starts, **close)


@needs_browser
@pytest.mark.parametrize("key", ["collapse", "sensitivity"])
@pytest.mark.parametrize("axis", [0, 1])
def test_data_shifted_by_one_are_noticed(blank, data, expected, key, axis):
    shifted = data | {key: np.roll(data[key], 1, axis).tolist()}
    found = shown(blank, shifted)[..., 0]
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_sensitivity_is_the_jacobians(drawn, expected):
    """The difference quotient beside ∂a/∂q = J K / √dₖ."""
    queries, keys = drawn
    for length, median in zip(LENGTHS, expected[1, :, 1], strict=True):
        a = attn.attention_weights(length * queries, keys)[:, 0]
        slope = attn.softmax_jacobian(a) @ keys / np.sqrt(D_K)
        size = length * np.linalg.norm(queries, axis=-1)[:, 0]
        S = size * np.linalg.norm(slope, axis=(1, 2)) / np.sqrt(D_K)
        S /= np.linalg.norm(a, axis=1)
        assert np.median(S) == pytest.approx(median, rel=1e-5)


def test_what_the_text_says_of_the_paths(expected):
    raw, root, flat, _, _, cap, sigmoid, *norms = expected
    for early, late in ((flat, root), (root, raw)):
        np.testing.assert_allclose(early[-1], late[0], rtol=1e-9)
    for collapse in (cap[:, 0], sigmoid[:, 0]):  # out and back
        assert 0 < np.argmax(collapse) < 6
        assert collapse.max() > 1.5 * max(collapse[0], collapse[-1])
    for norm in norms:
        np.testing.assert_allclose(norm, norm[:1].repeat(7, 0), rtol=1e-9)


# --- the hand ----------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with site_of("gain", folder, lost="sensitivity") as address:
        yield address


@needs_browser
def test_it_starts_as_the_still_figure_shows_and_says_what_attnlib_says(
    visit, expected
):
    page = visit()
    assert not page.locator("explorable-gain > img").is_visible()
    for where, i in (
        ("", 6),
        ("#gain?length=2.828", 3),
        ("#gain?length=1", 0),
    ):
        page.evaluate("(hash) => { location.hash = hash; }", where)
        page.wait_for_timeout(600)
        said = page.locator("[role=status]").text_content()
        numbers = page.locator("explorable-gain .row p span")
        assert numbers.all_text_contents() == [
            f"{collapse:.3f}, {S:.2f}" for collapse, S in expected[:, i]
        ]
        collapse, S = expected[1, i]
        if i:
            before, S_before = expected[1, 0]
            assert f"from Σa² {before:.3g} to {collapse:.3g}, S " in said
            assert f"S from {S_before:.3g} to {S:.3g}; raw" in said
            stays, S_stays = expected[7, i]
            assert f"stays at Σa² {stays:.3g} and S {S_stays:.3g}." in said
        else:
            assert f"is at Σa² {collapse:.3g} and S {S:.3g}, raw" in said
        assert ("is where 1/√dₖ started" in said) == (i == 6)
        left = page.evaluate(
            """() => [...document.querySelector("explorable-gain").shadowRoot
              .querySelectorAll(".track b")].map((dot) => parseFloat(dot.style.left))"""
        )
        across = np.stack(
            [
                100 * (1 + np.log(expected[:, i, 0]) / np.log(128)),
                100 * expected[:, i, 1] / 3,
            ],
            axis=1,
        )
        np.testing.assert_allclose(left, across.ravel(), atol=1e-3)
    assert page.problems == []


@needs_browser
def test_a_mouse_drags_it_and_it_speaks_once(visit):
    page = visit()
    listen(page, "gain")
    drag(page, page.locator("explorable-gain input"), 0.98, 0)
    assert resting_address(page) == "#gain?length=1"
    [said] = page.evaluate("spoken")
    assert said.startswith("At the start")


@needs_browser
def test_a_finger_and_keys_move_it(visit):
    page = visit(width=390, has_touch=True)
    length = page.locator("explorable-gain input")
    length.tap(position={"x": 4, "y": 22})
    assert resting_address(page) == "#gain?length=1"
    length.press("ArrowRight")
    assert resting_address(page) == "#gain?length=1.414"
    assert length.get_attribute("aria-valuetext") == "1.41"
    page.get_by_role(
        "button", name="queries longer by a factor of 4"
    ).click()
    assert resting_address(page) == "#gain?length=4"


@needs_browser
@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_can_be_touched(visit, name, width):
    page = visit(width=width, name=name, reduced_motion="reduce")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert motions(page) == []
    for target in page.locator("explorable-gain :is(button, input)").all():
        box = target.bounding_box()
        assert min(box["width"], box["height"]) >= 24
    dots = [
        dot.bounding_box()
        for dot in page.locator("explorable-gain .track b").all()
    ]
    assert len(dots) == 18
    for dot in dots:
        assert 0 <= dot["x"] and dot["x"] + dot["width"] <= width - 16
    assert page.problems == []


@needs_browser
def test_where_no_script_runs_the_still_figure_stands(visit):
    still_stands(visit, "gain")
