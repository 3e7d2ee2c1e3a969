"""attnlib.softmax against scipy, finite differences, mpmath and the identities of chapter 04."""

import mpmath
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from attnlib import (
    entropy,
    log_softmax,
    softmax,
    softmax_jacobian,
    softmax_vjp,
)

pytestmark = pytest.mark.filterwarnings("error")
# Around a test that computes with infinities: there numpy warns, as it should.
QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")

BOTH = pytest.mark.parametrize("function", [softmax, log_softmax])
THEIRS = {
    softmax: scipy.special.softmax,
    log_softmax: scipy.special.log_softmax,
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def unit_weights(*shape, seed=0, spread=2.0):
    return softmax(spread * normal(*shape, seed=seed))


def tolerance(dtype, size=1.0):
    """Rounding of the returned dtype, and of the computing one for logits up to ``size``."""
    wide = np.promote_types(dtype, np.float32)
    return 4 * np.finfo(dtype).eps + 4 * np.finfo(wide).eps * size


@st.composite
def logits(draw, dtypes=(np.float16, np.float32, np.float64)):
    """(array, axis): any shape with some axis, magnitudes up to 1e4."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6)
    )
    size = 10.0 ** draw(st.integers(-4, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.uniform(-size, size, shape).astype(dtype)
    return x, draw(st.integers(-len(shape), len(shape) - 1))


@BOTH
@settings(deadline=None, max_examples=200)
@given(logits())
def test_equals_scipy_along_any_axis(function, case):
    x, axis = case
    before = x.copy()
    ours = function(x, axis=axis)
    theirs = THEIRS[function](x.astype(float), axis=axis)
    assert ours.dtype == x.dtype and ours.shape == x.shape
    size = np.abs(x.astype(float)).max()
    relative = 0 if function is softmax else 2 * np.finfo(x.dtype).eps
    assert_allclose(
        ours.astype(float),
        theirs,
        rtol=relative,
        atol=tolerance(x.dtype, size),
    )
    assert_array_equal(x, before)


@settings(deadline=None, max_examples=100)
@given(logits())
def test_weights_lie_between_zero_and_one_and_sum_to_one(case):
    x, axis = case
    a = softmax(x, axis=axis).astype(float)
    assert a.min() >= 0 and a.max() <= 1
    assert_allclose(
        a.sum(axis=axis), 1, rtol=0, atol=4 * np.finfo(x.dtype).eps
    )


@BOTH
@settings(deadline=None, max_examples=100)
@given(logits(dtypes=(np.float32, np.float64)), st.integers(-10000, 10000))
def test_adding_a_constant_changes_nothing(function, case, shift):
    x, axis = case
    shifted = function(x + np.asarray(shift, x.dtype), axis=axis)
    size = np.abs(x).max() + abs(shift)
    expected = function(x, axis=axis)
    assert_allclose(
        shifted, expected, rtol=1e-6, atol=tolerance(x.dtype, size)
    )


@BOTH
def test_the_last_axis_is_the_default(function):
    x = normal(3, 4, 5)
    assert_array_equal(function(x), function(x, axis=2))
    assert_allclose(
        function(x, axis=0),
        np.moveaxis(function(np.moveaxis(x, 0, -1)), -1, 0),
    )


def test_a_weight_is_its_share_of_the_exponentials():
    assert_allclose(
        softmax(np.log([1.0, 2.0, 5.0])), [1 / 8, 2 / 8, 5 / 8], rtol=1e-15
    )
    assert_allclose(
        log_softmax(np.log([1.0, 2.0, 5.0])),
        np.log([1 / 8, 2 / 8, 5 / 8]),
        rtol=1e-15,
    )


def test_logarithm_is_accurate_where_the_weight_underflows():
    x = np.array([0.0, -1e4])
    assert softmax(x)[1] == 0
    assert log_softmax(x)[1] == -1e4


@QUIET
def test_no_exponential_of_a_finite_logit_overflows():
    largest = np.finfo(float).max
    assert_array_equal(
        softmax(np.array([largest, -largest, largest])), [0.5, 0, 0.5]
    )
    assert_array_equal(
        softmax(np.float16([65504, -65504])), np.float16([1, 0])
    )


def test_float16_is_computed_in_float32():
    x = np.arange(-2000, 48, dtype=np.float16)[None] / np.float16(256)
    assert_array_equal(
        softmax(x), softmax(x.astype(np.float32)).astype(np.float16)
    )


@BOTH
def test_a_logit_of_minus_infinity_is_left_out(function):
    x = np.array([[1.0, -np.inf, 2.0], [-np.inf, 3.0, -np.inf]])
    nothing = 0.0 if function is softmax else -np.inf
    expected = np.full((2, 3), nothing)
    expected[0, [0, 2]] = function(np.array([1.0, 2.0]))
    expected[1, 1] = function(np.array([3.0]))[0]
    assert_array_equal(function(x), expected)


@BOTH
@pytest.mark.parametrize(
    "bad", [[np.nan, 0], [np.inf, 0], [np.inf, np.inf], [-np.inf, -np.inf]]
)
@QUIET
def test_slices_without_an_answer_are_nan_and_only_they(function, bad):
    answer = function(np.array([bad, [1.0, 2.0]]))
    assert np.isnan(answer[0]).any() and (
        function is log_softmax or np.isnan(answer[0]).all()
    )
    assert_array_equal(answer[1], function(np.array([1.0, 2.0])))


@BOTH
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 4)])
@pytest.mark.parametrize("axis", [0, -1])
@QUIET
def test_empty_arrays_stay_empty(function, shape, axis):
    assert function(np.empty(shape, np.float32), axis=axis).shape == shape


# --- the Jacobian --------------------------------------------------------------------


def test_jacobian_equals_finite_differences():
    x, step = normal(2, 5), 1e-6
    jacobian = softmax_jacobian(softmax(x))
    for j in range(5):
        unit = step * np.eye(5)[j]
        column = (softmax(x + unit) - softmax(x - unit)) / (2 * step)
        assert_allclose(jacobian[..., j], column, atol=1e-9)


def test_jacobian_equals_the_derivative_in_forty_digits():
    mpmath.mp.dps = 40
    x = [mpmath.mpf(v) for v in (0.3, -1.2, 2.5, 0)]

    def weight(i):
        return lambda *s: mpmath.exp(s[i]) / sum(map(mpmath.exp, s))

    exact = [
        [
            mpmath.diff(weight(i), x, tuple(np.eye(4, dtype=int)[j]))
            for j in range(4)
        ]
        for i in range(4)
    ]
    jacobian = softmax_jacobian(softmax(np.array(x, dtype=float)))
    assert_allclose(jacobian, np.array(exact, dtype=float), rtol=1e-13)


@pytest.mark.parametrize("spread", [0, 1, 5, 50])
def test_jacobian_is_a_covariance_with_the_constants_in_its_kernel(spread):
    a = unit_weights(4, 6, spread=spread)
    jacobian = softmax_jacobian(a)
    assert_array_equal(jacobian, np.swapaxes(jacobian, -1, -2))
    assert_allclose(jacobian.sum(axis=-1), 0, atol=1e-15)
    assert np.linalg.eigvalsh(jacobian).min() > -1e-15
    # The covariance of one-hot vectors drawn with probabilities a, summed by definition.
    covariance = (
        sum(
            a[..., k, None, None]
            * np.multiply.outer(np.eye(6)[k], np.eye(6)[k])
            for k in range(6)
        )
        - a[..., :, None] * a[..., None, :]
    )
    assert_allclose(jacobian, covariance, atol=1e-15)


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 8), st.floats(0, 30), st.integers(0, 2**32 - 1))
def test_bounds_of_the_largest_eigenvalue(n, spread, seed):
    a = unit_weights(n, seed=seed, spread=spread)
    jacobian = softmax_jacobian(a)
    largest = np.linalg.eigvalsh(jacobian).max()
    entry = np.diag(jacobian).max()
    second, first = np.sort(a)[-2:]
    assert entry <= largest + 1e-15
    assert largest <= 2 * entry + 1e-15 <= 0.5 + 2e-15
    assert second - 1e-15 <= largest <= first + 1e-15


def test_jacobian_keeps_the_dtype_and_takes_a_single_weight():
    assert softmax_jacobian(np.float32([[0.25, 0.75]])).dtype == np.float32
    assert_array_equal(
        softmax_jacobian(np.ones((3, 1))), np.zeros((3, 1, 1))
    )


# --- the vector-Jacobian product -----------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=6), st.floats(0, 100)
)
def test_vjp_equals_the_transposed_jacobian_times_the_gradient(
    shape, spread
):
    a, grad = unit_weights(*shape, spread=spread), normal(*shape, seed=1)
    expected = np.einsum("...ij,...i->...j", softmax_jacobian(a), grad)
    assert_allclose(softmax_vjp(a, grad), expected, atol=1e-14)


def test_vjp_equals_finite_differences():
    x, grad, direction, step = (
        normal(7),
        normal(7, seed=1),
        normal(7, seed=2),
        1e-6,
    )
    ahead, behind = (
        grad @ softmax(x + sign * step * direction) for sign in (1, -1)
    )
    slope = softmax_vjp(softmax(x), grad) @ direction
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-8)


# --- errors --------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "x", [[1j, 2], ["a"], [None], [True, False], None, "a"]
)
def test_what_is_not_real_numbers_is_refused(function, x):
    with pytest.raises(
        TypeError, match="x must hold real numbers, got dtype"
    ):
        function(x)
    with pytest.raises(TypeError, match="axis must be an integer"):
        function([1.0], axis=0.5)


@BOTH
def test_lists_and_integers_are_taken(function):
    expected = function(np.array([1.0, 2.0, 3.0]))
    for x in ([1, 2, 3], (1.0, 2.0, 3.0), np.array([1, 2, 3], np.uint8)):
        assert function(x).dtype == float
        assert_array_equal(function(x), expected)
    with pytest.raises(ValueError, match="x has rows of different lengths"):
        function([[1, 2], [3]])


@pytest.mark.parametrize(
    "logits",
    [[1.0, 2.0, 3.0], [-0.5, 1.5], [0.2, 0.3], [[0.5, 0.5], [0.6, 0.6]]],
)
def test_logits_in_place_of_weights_are_refused(logits):
    with pytest.raises(
        ValueError, match="a must hold weights, the output of softmax"
    ):
        softmax_jacobian(logits)
    with pytest.raises(
        ValueError, match="a must hold weights, the output of softmax"
    ):
        softmax_vjp(logits, logits)


@pytest.mark.parametrize(
    "a", [[0.0, 0.0], [np.nan, np.nan], [0.999, 0.0], [1.009, 0.0]]
)
def test_a_masked_row_nan_and_rounding_pass_for_weights(a):
    assert softmax_jacobian(a).shape == (2, 2)
    assert softmax_vjp(a, [1, 2]).shape == (2,)


@BOTH
def test_axes_are_checked(function):
    with pytest.raises(
        ValueError, match=r"x needs at least 1 axes, got shape \(\)"
    ):
        function(np.array(1.0))
    with pytest.raises(ValueError, match="axis 2"):
        function(np.ones((2, 2)), axis=2)


def test_vjp_names_both_shapes():
    with pytest.raises(
        ValueError, match=r"^a and grad must .*\(2, 3\) and \(3,\)$"
    ):
        softmax_vjp(np.full((2, 3), 1 / 3), np.ones(3))


@pytest.mark.parametrize("beta", [1 / 8, 1.0, 8.0])
def test_entropy_falls_with_the_sharpness_by_the_variance_of_the_scores(
    beta,
):
    """dH/dβ = -β Var_a(s), frozen rows included: with β = 8 it is near 0."""
    s, step = 3 * normal(5), 1e-5
    a = softmax(beta * s)
    variance = a @ s**2 - (a @ s) ** 2
    after, before = entropy(
        softmax((beta + np.array([[step], [-step]])) * s)
    )
    assert (after - before) / (2 * step) == pytest.approx(
        -beta * variance, rel=1e-4
    )
