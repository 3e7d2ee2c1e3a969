"""The sixteen derivatives of chapter 4: what the page shows is what attnlib computes."""

from itertools import product

import numpy as np
import pytest
from explored import (
    computed,
    drag,
    listen,
    resting_address,
    site_of,
    still_stands,
)

import attnlib as attn

needs_browser = pytest.mark.needs_browser
BETAS = 2 ** (np.arange(-16, 25) / 8)
ROWS = np.array(list(product((-5, -1.3, 0, 4.9), repeat=4)))
START = [0.0, 1.0, 2.0, -1.0]


@pytest.fixture(scope="module")
def grid():
    """Weights and derivatives of every row at every β."""
    a = attn.softmax(BETAS[:, None, None] * ROWS)
    return a, BETAS[:, None, None, None] * attn.softmax_jacobian(a)


@pytest.fixture(scope="module")
def found(blank):
    """The same from the page: a, 1 - a, J and 1 - Σa², in one array."""
    return np.array(
        computed(
            blank,
            "jacobian",
            """return argument.betas.map((beta) => argument.rows.map((row) => {
              const { a, others, J, open } = m.rates(row, beta);
              return [...a, ...others, ...J.flat(), open];
            }));""",
            {"betas": BETAS.tolist(), "rows": ROWS.tolist()},
        )
    )


@needs_browser
def test_every_weight_and_every_rate_is_attnlibs(grid, found):
    a, J = grid
    assert found.shape == (41, 256, 25)
    np.testing.assert_allclose(found[..., :4], a, rtol=1e-6)
    theirs = found[..., 8:24].reshape(J.shape)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(theirs[..., off], J[..., off], rtol=1e-6)
    # 1 - a loses its digits where a is rounded to 1 (here up to two roundings,
    # eight times); what the others have does not.
    np.testing.assert_allclose(theirs, J, rtol=1e-6, atol=8 * 2 * 2**-52)
    own = np.einsum("...ii->...i", theirs)
    lost = -(J * off).sum(axis=-2)
    np.testing.assert_allclose(own, lost, rtol=1e-6)
    others = (a[..., None, :] * off).sum(axis=-1)
    np.testing.assert_allclose(found[..., 4:8], others, rtol=1e-6)
    np.testing.assert_allclose(
        found[..., 24], attn.jacobian_trace(a), rtol=1e-6
    )


@needs_browser
def test_the_curves_are_attnlibs_and_the_rates_are_their_slopes(blank):
    rows = [[0, 1, 2, -1], [5, 5, -5, 0.1], [-5, -5, -5, -5]]
    moved = np.repeat(np.array(rows)[:, None, None], 4, axis=1)
    moved = np.repeat(moved, 101, axis=2)
    for j in range(4):
        moved[:, j, :, j] = np.linspace(-5, 5, 101)
    for beta in (0.25, 1, 8):
        found = computed(
            blank,
            "jacobian",
            "return argument.rows.map((row) => [0, 1, 2, 3].map((j) => m.ways(row, j, argument.beta)));",
            {"rows": rows, "beta": beta},
        )
        a = attn.softmax(beta * moved)
        np.testing.assert_allclose(found, a, rtol=1e-6)
    step = 1e-5
    slope, behind, before = computed(
        blank,
        "jacobian",
        "return [argument.row, argument.behind, argument.before].map((row) => m.rates(row, 2)).map(({ a, J }, i) => (i ? a : J));",
        {
            "row": START,
            "behind": [0, 1 + step, 2, -1],
            "before": [0, 1 - step, 2, -1],
        },
    )
    quotient = (np.array(behind) - before) / (2 * step)
    np.testing.assert_allclose(np.array(slope)[:, 1], quotient, rtol=1e-6)


# --- the hand ----------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with site_of("jacobian", folder, lost="scores") as address:
        yield address


def hash_of(scores, score, beta):
    values = "&".join(f"s{i + 1}={s:.4g}" for i, s in enumerate(scores))
    return f"#jacobian?score={score}&beta={beta}&{values}"


def three(x):
    """As `short` writes it."""
    text = f"{x:.3g}".replace("-", "−")
    return text


@needs_browser
def test_it_starts_as_the_still_figure_shows_and_says_what_attnlib_says(
    visit,
):
    page = visit()
    assert not page.locator("explorable-jacobian > img").is_visible()
    for where, scores, j, beta in (
        ("", START, 1, 1),
        (hash_of(START, 2, 4), START, 1, 4),
        (hash_of([1.9, 1, 2, -1], 3, 8), [1.9, 1, 2, -1], 2, 8),
        (hash_of([5, 1, 2, -5], 1, 2), [5, 1, 2, -5], 0, 2),
    ):
        page.evaluate("(hash) => { location.hash = hash; }", where)
        page.wait_for_timeout(400)
        a = attn.softmax(beta * np.array(scores))
        J = beta * attn.softmax_jacobian(a)
        table = page.locator("explorable-jacobian td").all_text_contents()
        shown = [float(text.replace("−", "-")) for text in table]
        np.testing.assert_allclose(
            shown, J.ravel().round(3), atol=1e-9, rtol=0
        )
        weights = page.locator("explorable-jacobian th[scope=row]")
        assert [x[3:] for x in weights.all_text_contents()] == [
            f"{weight:.3f}" for weight in a
        ]
        own, other = page.locator(
            "explorable-jacobian p:is(.rises, .falls)"
        ).all_text_contents()
        i = np.argmax(np.where(np.arange(4) == j, -1, a))
        assert own.endswith(
            f"{beta} · {three(a[j])} · {three(1 - a[j])} = {three(J[j, j])}"
        )
        assert own.startswith(f"∂a{'₁₂₃₄'[j]}/∂s{'₁₂₃₄'[j]} = β aⱼ(1 − aⱼ)")
        assert other.startswith(f"∂a{'₁₂₃₄'[i]}/∂s{'₁₂₃₄'[j]} = −β aⱼaᵢ")
        assert other.endswith(
            f"−{beta} · {three(a[j])} · {three(a[i])} = {three(J[i, j])}"
        )
        said = page.locator("[role=status]").text_content()
        assert f"weight {j + 1}, which is {a[j]:.3g}" in said
        assert f"1 − Σa² = {attn.jacobian_trace(a):.3g}." in said
        assert ("hardly moves" in said) == (J[j, j] < 0.01)
        assert ("No rate exceeds" in said) == (np.diag(J).max() < 0.01)
        assert ("At β = 1 no rate exceeds 0.25" in said) == (J[j, j] > 0.25)
    assert page.problems == []


@needs_browser
def test_the_picture_shows_these_numbers(visit):
    """Tangents have the slopes, and areas the products, that the table says."""
    page = visit(hash_of(START, 2, 2))
    page.wait_for_timeout(400)
    tangents, column, unused = page.evaluate(
        """() => [".tangents", ".square .column", ".square .rest"].map((name) =>
          document.querySelector("explorable-jacobian").shadowRoot.querySelector(name).getAttribute("d"))"""
    )
    a = attn.softmax(2 * np.array(START))
    J = 2 * attn.softmax_jacobian(a)
    ends = [
        [[float(x) for x in point.split()] for point in part.split("L")]
        for part in tangents.split("M")[1:]
    ]
    slopes = [
        -(y1 - y0) / 100 / ((x1 - x0) / 10) for (x0, y0), (x1, y1) in ends
    ]
    np.testing.assert_allclose(slopes, J[:, 1], atol=1e-2)

    def area(path):
        boxes = path.replace("Z", "").split("M")[1:]
        sides = [box.replace("v", "h").split("h")[1:3] for box in boxes]
        return sum(float(w) * float(h) for w, h in sides) / 1e4

    assert area(column) == pytest.approx(a[1] * (1 - a[1]), rel=1e-6)
    total = area(column) + area(unused)
    assert total == pytest.approx(attn.jacobian_trace(a), rel=1e-6)


@needs_browser
def test_a_mouse_drags_it_and_it_speaks_once(visit):
    page = visit()
    listen(page, "jacobian")
    drag(page, page.get_by_label("sharpness β").first, 0.4, 1)
    assert resting_address(page) == hash_of(START, 2, 8)
    [said] = page.evaluate("spoken")
    assert "No rate exceeds 0.01" in said


@needs_browser
def test_a_finger_and_keys_move_any_of_the_four_scores(visit):
    page = visit(width=390, has_touch=True)
    page.get_by_role("button", name="s₄", exact=True).tap()
    assert resting_address(page) == hash_of(START, 4, 1)
    score, sharpness = page.locator("explorable-jacobian input").all()
    score.tap(position={"x": score.bounding_box()["width"] - 4, "y": 22})
    assert resting_address(page) == hash_of([0, 1, 2, 5], 4, 1)
    score.press("ArrowLeft")
    sharpness.press("End")
    page.get_by_role("button", name="s₁", exact=True).press("Enter")
    score.press("Home")
    assert resting_address(page) == hash_of([-5, 1, 2, 4.9], 1, 8)
    assert score.get_attribute("aria-valuetext") == "s₁ = −5"
    page.get_by_role("button", name="sharpness β 0.25").click()
    assert resting_address(page) == hash_of([-5, 1, 2, 4.9], 1, 0.25)
    pressed = page.locator("explorable-jacobian [aria-pressed=true]")
    assert pressed.all_text_contents() == ["s₁"]


@needs_browser
@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_fits_and_can_be_touched(visit, name, width):
    page = visit(width=width, name=name)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    for target in page.locator(
        "explorable-jacobian :is(button, input)"
    ).all():
        box = target.bounding_box()
        assert min(box["width"], box["height"]) >= 24
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    right = page.locator("explorable-jacobian table").bounding_box()
    assert right["x"] + right["width"] <= width - 16
    assert page.problems == []


@needs_browser
def test_where_no_script_runs_the_still_figure_stands(visit):
    still_stands(visit, "jacobian")
