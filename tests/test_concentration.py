"""attnlib.concentration against scipy, exact small cases, the Jacobian itself and mpmath."""

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from attnlib import (
    entropy,
    inverse_participation_ratio,
    jacobian_norm,
    jacobian_trace,
    max_weight,
    softmax,
    softmax_jacobian,
)

pytestmark = pytest.mark.filterwarnings("error")

FUNCTIONS = [
    entropy,
    inverse_participation_ratio,
    jacobian_norm,
    jacobian_trace,
    max_weight,
]
EVERY = pytest.mark.parametrize("function", FUNCTIONS)


def drawn(*shape, spread=2.0, seed=0):
    return softmax(spread * np.random.default_rng(seed).normal(size=shape))


def value(function, *a):
    return float(function(np.array(a)))


@pytest.mark.parametrize("n", [1, 2, 5, 1000])
def test_uniform_weights(n):
    a = np.full((2, n), 1 / n)
    assert_allclose(entropy(a), np.log(n), atol=1e-15, rtol=1e-13)
    assert_allclose(max_weight(a), 1 / n)
    assert_allclose(inverse_participation_ratio(a), 1 / n)
    assert_allclose(jacobian_trace(a), 1 - 1 / n, atol=1e-15)
    # n - 1 eigenvalues of 1/n
    assert_allclose(
        jacobian_norm(a), np.sqrt(n - 1) / n, atol=1e-15, rtol=1e-12
    )


def test_a_single_winner_and_an_empty_row():
    for function, winner in zip(FUNCTIONS, [0, 1, 0, 0, 1], strict=True):
        assert_array_equal(
            function(np.array([[0.0, 1, 0], [0, 0, 0]])), [winner, 0]
        )


def test_two_weights_by_hand():
    a = 0.75, 0.25
    assert value(entropy, *a) == pytest.approx(
        2 * np.log(2) - 0.75 * np.log(3), rel=1e-15
    )
    assert value(max_weight, *a) == 0.75
    assert value(inverse_participation_ratio, *a) == 0.625
    assert value(jacobian_trace, *a) == 0.375
    assert value(jacobian_norm, *a) == 0.375  # J = 3/16 (1 -1; -1 1)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 9), st.floats(0, 40), st.integers(0, 2**32 - 1))
def test_identities_with_the_jacobian(n, spread, seed):
    a = drawn(3, n, spread=spread, seed=seed)
    jacobian = softmax_jacobian(a)
    trace = np.trace(jacobian, axis1=-2, axis2=-1)
    assert_allclose(jacobian_trace(a), trace, rtol=1e-12, atol=1e-15)
    assert_allclose(
        jacobian_trace(a),
        1 - inverse_participation_ratio(a),
        atol=1e-15 * n,
    )
    norm = np.sqrt((jacobian**2).sum(axis=(-2, -1)))
    assert_allclose(jacobian_norm(a), norm, rtol=1e-12, atol=1e-15)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 50), st.floats(0, 80), st.integers(0, 2**32 - 1))
def test_the_trace_lies_between_what_the_winner_lacks_and_twice_that(
    n, spread, seed
):
    a = drawn(3, n, spread=spread, seed=seed)
    trace, lacking = jacobian_trace(a), 1 - max_weight(a)
    rounding = 1e-15 * n
    assert (lacking - rounding <= trace).all()
    assert (trace <= 2 * lacking + rounding).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 50), st.floats(0, 40), st.integers(0, 2**32 - 1))
def test_entropy_equals_scipy(n, spread, seed):
    a = drawn(3, n, spread=spread, seed=seed)
    assert_allclose(
        entropy(a), scipy.stats.entropy(a, axis=-1), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize(
    "losers", [(1,), (0.5, 0.5), (0.7, 0.2, 0.1), (1, 1e-7)]
)
@pytest.mark.parametrize(
    "dtype, rest",
    [
        (np.float64, 1e-3),
        (np.float64, 1e-16),
        (np.float64, 1e-30),
        (np.float64, 1e-200),
        (np.float32, 1e-3),
        (np.float32, 1e-9),
        (np.float32, 1e-30),
    ],
)
def test_trace_and_norm_keep_their_digits_beside_a_winner(
    dtype, rest, losers
):
    """1 - a is 0 in floating point long before the other weights are."""
    small = (rest * np.array(losers)).astype(dtype)
    mpmath.mp.dps = 450
    tail = [mpmath.mpf(float(x)) for x in small]
    exact = [1 - sum(tail), *tail]
    trace = sum(p * (1 - p) for p in exact)
    square = sum(
        (p * ((i == j) - q)) ** 2
        for i, p in enumerate(exact)
        for j, q in enumerate(exact)
    )
    a = np.array(
        [*small, exact[0]], dtype=dtype
    )  # the winner last, rounded
    relative = 4 * np.finfo(dtype).eps
    assert_allclose(float(jacobian_trace(a)), float(trace), rtol=relative)
    assert_allclose(
        float(jacobian_norm(a)), float(mpmath.sqrt(square)), rtol=relative
    )


@EVERY
def test_rows_are_independent_and_their_order_does_not_matter(function):
    a = drawn(2, 3, 7)
    result = function(a)
    assert result.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        assert_allclose(result[i, j], function(a[i, j]), rtol=1e-15)
    shuffled = np.random.default_rng(1).permuted(a, axis=-1)
    assert_allclose(function(shuffled), result, rtol=1e-13)


@EVERY
def test_float16_is_computed_in_float32(function):
    a = np.full(
        (2, 4096), 1 / 4096, np.float16
    )  # Σa in steps of float16 would stop early
    result = function(a)
    assert result.dtype == np.float16
    assert_allclose(
        result.astype(float), function(a.astype(float)), rtol=1e-3
    )


@EVERY
def test_float16_is_rounded_once(function):
    """1/3000 is none of float16's numbers, so that its sums would round."""
    a = np.full(3000, 1 / 3000, np.float16)
    exact = function(a.astype(float))
    assert function(a) == exact.astype(np.float16)


@EVERY
def test_the_argument_is_left_alone(function):
    a = drawn(3, 5)
    a.setflags(write=False)
    function(a)


@EVERY
def test_errors(function):
    with pytest.raises(
        TypeError, match="a must hold real numbers, got dtype bool"
    ):
        function([True, False])
    for logits in ([1.0, 2.0], [-0.25, 1.25], [0.5, 0.48], [0.5, 0.52]):
        with pytest.raises(
            ValueError, match="a must hold weights, the output of softmax"
        ):
            function(logits)
    with pytest.raises(ValueError, match=r"a needs .*\(\)"):
        function(np.array(1.0))
    with pytest.raises(ValueError, match=r"a needs .*\(3, 0\)"):
        function(np.empty((3, 0)))


@EVERY
def test_lists_rounding_and_masked_rows_are_taken(function):
    assert function([0, 1]) == function(np.array([0.0, 1.0]))
    assert function([0, 0]) == 0
    assert np.isfinite(function([[0.5, 0.491], [0.5, 0.509]])).all()
    assert np.isfinite(function(np.full(1000, 1.009 / 1000)))
    assert np.isnan(function([np.nan, 0.5]))


def test_entropy_keeps_its_digits_when_a_winner_is_rounded_to_one():
    """Weights 1 and e^-40: -ln of the winner is e^-40, which 1 - e^-40 rounded to 1 has lost."""
    loser = np.exp(-40.0)
    assert value(entropy, 1.0, loser) == pytest.approx(
        loser * 40 + loser, rel=1e-12, abs=0
    )
