"""attnlib.dot_product against quadrature, mpmath, Monte Carlo and exact enumeration."""

import itertools
import re

import mpmath
import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad

from attnlib import (
    dot_product,
    dot_product_density,
    dot_product_excess_kurtosis,
    dot_product_variance,
)
from attnlib.dot_product import match_probability, row_variance_moments

pytestmark = pytest.mark.filterwarnings("error")

WIDTHS = [1, 2, 3, 4, 7, 32, 99, 100, 128, 399, 512, 4096]
EVERY_WIDTH = pytest.mark.parametrize("d", WIDTHS)


def density(x, d):
    return dot_product_density(np.asarray(x, float), d)


def expectation(function, d):
    """E f(q·k) for even f, over both halves of the line."""
    spread = np.sqrt(d)
    # Pieces: the peak at 0 (a logarithm for d = 1), the body, and the exponential tail.
    edges = [
        0,
        1e-6,
        1e-2,
        0.3 * spread,
        2 * spread,
        8 * spread,
        40 * spread + 40,
    ]
    pieces = [
        quad(
            lambda x: function(x) * density(x, d),
            *ends,
            epsabs=1e-13,
            limit=200,
        )[0]
        for ends in itertools.pairwise(edges)
    ]
    return 2 * sum(pieces)


def exact_density(x, d):
    """The formula itself, in forty digits; K_ν by its recurrence in ν."""
    mpmath.mp.dps = 40
    order, x = mpmath.mpf(d - 1) / 2, mpmath.mpf(float(x))
    norm = mpmath.sqrt(mpmath.pi) * 2**order * mpmath.gamma(order + 0.5)
    if x == 0:
        return 2 ** (order - 1) * mpmath.gamma(order) / norm
    at = mpmath.mpf((d - 1) % 2) / 2
    below, bessel = (mpmath.besselk(abs(nu), x) for nu in (at - 1, at))
    while at < order:
        below, bessel = bessel, below + 2 * at / x * bessel
        at += 1
    return x**order * bessel / norm


def density_by_fourier(x, d):
    """(1/π) ∫ cos(tx) (1 + t²)^(-d/2) dt over t > 0, by the trapezoid rule.

    Exact to 1e-14 of the density at 0.
    """
    u, step = np.linspace(0, 12, 481, retstep=True)  # t in units of 1/√d
    transform = np.exp(-d / 2 * np.log1p(u**2 / d))
    transform[0] /= 2
    waves = np.cos(np.multiply.outer(x / np.sqrt(d), u))
    return step / np.pi * (waves @ transform) / np.sqrt(d)


@EVERY_WIDTH
def test_density_has_mass_one_variance_d_and_excess_kurtosis_six_over_d(d):
    assert expectation(lambda x: 1, d) == pytest.approx(1, rel=1e-7)
    assert expectation(lambda x: x**2, d) == pytest.approx(d, rel=1e-7)
    assert expectation(lambda x: x**4, d) == pytest.approx(
        (3 + 6 / d) * d**2, rel=1e-7
    )


@pytest.mark.parametrize("d", [1, 2, 5, 64, 128])
@pytest.mark.parametrize("t", [0.3, 1.0, 2.0])
def test_characteristic_function(d, t):
    t = t / np.sqrt(d)
    assert expectation(lambda x: np.cos(t * x), d) == pytest.approx(
        (1 + t * t) ** (-d / 2), rel=1e-7
    )


@EVERY_WIDTH
def test_density_equals_the_formula_in_forty_digits(d):
    in_spreads = [0, 1e-300, 1e-12, 1e-7, 1e-5, 1e-3, 0.1, 0.3, 1, 3, 8, 20]
    x = np.sqrt(d) * np.array(in_spreads[d == 1 :])
    exact = [float(exact_density(v, d)) for v in x]
    rtol = 1e-12 if d < 100 else 1e-8
    assert_allclose(density(x, d), exact, rtol=rtol, atol=1e-300)
    assert_array_equal(density(-x, d), density(x, d))


def test_the_recurrence_is_that_of_the_bessel_function():
    for d in (1, 2, 7, 8):
        order = mpmath.mpf(d - 1) / 2
        kernel = mpmath.besselk(order, 3) * mpmath.mpf(3) ** order
        norm = mpmath.sqrt(mpmath.pi) * 2**order * mpmath.gamma(order + 0.5)
        assert abs(exact_density(3, d) / (kernel / norm) - 1) < 1e-30


@pytest.mark.parametrize("d", [100, 400, 10**6, 10**10, 10**15])
def test_density_of_wide_vectors_equals_the_inverse_fourier_transform(d):
    x = np.sqrt(d) * np.linspace(0, 4, 9)
    assert_allclose(density(x, d), density_by_fourier(x, d), rtol=1e-8)


def debye_polynomials(t, count):
    """u_0 … u_count of DLMF 10.41.9, by the recurrence in 10.41.10."""
    u = [sympy.Integer(1)]
    for _ in range(count):
        grown = t**2 * (1 - t**2) * sympy.diff(u[-1], t) / 2
        under = sympy.expand((1 - 5 * t**2) * u[-1])
        u.append(sympy.expand(grown + sympy.integrate(under, t) / 8))
    return u


@pytest.mark.parametrize("order", [2.0, 50.0, 5e9])
def test_large_orders_are_computed_by_debye_and_stirling(order):
    """Every coefficient: at order 2 the last terms are no longer small."""
    mpmath.mp.dps = 40
    nu, t = mpmath.mpf(order), sympy.Symbol("t")
    numbers = [
        mpmath.bernpoly(k + 1, 0.5) / (k * (k + 1)) for k in (1, 2, 3)
    ]
    stirling = sum(b / nu**k for k, b in enumerate(numbers, 1))
    u = debye_polynomials(t, 3)
    for x in np.sqrt(order) * np.array([0, 0.1, 1, 3]):
        z = mpmath.mpf(float(x)) / nu
        w = mpmath.sqrt(1 + z**2)
        at = {t: sympy.Float(str(1 / w), 40)}
        debye = sum(
            (-1) ** k * mpmath.mpf(str(term.evalf(40, subs=at))) / nu**k
            for k, term in enumerate(u)
        )
        body = mpmath.exp(nu * (1 - w + mpmath.log((1 + w) / 2)))
        size = mpmath.sqrt(4 * mpmath.pi * nu * w)
        exact = body * debye * mpmath.exp(-stirling) / size
        found = dot_product.density_of_large_order(order, np.array(x))
        assert_allclose(found, float(exact), rtol=1e-12)


def test_small_widths_are_known_by_name():
    x = np.array([0.0, 0.5, 3.0])
    assert_allclose(density(x, 2), np.exp(-x) / 2, rtol=1e-14)  # Laplace
    assert_allclose(density(x, 4), (1 + x) * np.exp(-x) / 4, rtol=1e-14)
    assert density(0.0, 1) == np.inf


@EVERY_WIDTH
def test_density_far_out_and_near_zero_is_a_number(d):
    x = np.concatenate([np.geomspace(1e-300, 1e300, 601), [np.inf]])
    p = density(x, d)
    assert np.isfinite(p).all() and (p >= 0).all()
    assert (np.diff(p) <= 1e-12 * p[1:]).all()  # it only falls
    assert p[-1] == 0 and np.isnan(density(np.nan, d))


@EVERY_WIDTH
def test_density_keeps_the_shape(d):
    assert density(np.ones((2, 0, 3)), d).shape == (2, 0, 3)
    for x in (
        np.ones((2, 3), np.float32),
        np.ones((2, 3), int),
        [[1] * 3] * 2,
    ):
        found = dot_product_density(x, d)
        assert found.dtype == float and found.shape == (2, 3)
        assert_array_equal(found, density(1.0, d))


# --- moments -------------------------------------------------------------------------


def law(d, seed, mean):
    """Mean and covariance of correlated entries."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) / np.sqrt(d)
    return mean * rng.normal(size=d), root @ root.T + 0.1 * np.eye(d)


@pytest.mark.parametrize("mean", [0.0, 1.5])
@pytest.mark.parametrize("d", [1, 3, 20])
def test_variance_lies_within_five_standard_errors_of_monte_carlo(d, mean):
    samples = 100_000
    rng = np.random.default_rng(d)
    query, key = law(d, 1, mean), law(d, 2, mean)
    dots = np.einsum(
        "ij,ij->i",
        rng.multivariate_normal(*query, samples),
        rng.multivariate_normal(*key, samples),
    )
    centred = dots - dots.mean()
    measured, fourth = np.mean(centred**2), np.mean(centred**4)
    error = np.sqrt((fourth - measured**2) / samples)
    exact = dot_product_variance(*query, *key)
    assert (
        error < 0.02 * exact
    )  # the test has the power to see a missing term
    assert abs(measured - exact) < 5 * error


def test_variance_of_independent_unit_entries_is_d():
    zero, one = np.zeros(12), np.eye(12)
    assert dot_product_variance(zero, one, zero, one) == 12
    assert dot_product_variance(zero + 2, one, zero, one) == 12 + 4 * 12
    assert (
        dot_product_variance(zero + 2, 0 * one, zero, 3 * one) == 3 * 4 * 12
    )
    assert isinstance(dot_product_variance(zero, one, zero, one), float)


def test_each_mean_meets_the_other_covariance():
    up, right = np.diag([1.0, 0]), np.array([0.0, 1])
    zero = np.zeros(2)
    assert dot_product_variance(right, up * 0, zero, up) == 0
    assert dot_product_variance(zero, up, 2 * right[::-1], 0 * up) == 4
    assert dot_product_variance(2 * right[::-1], 0 * up, zero, up) == 4


@pytest.mark.parametrize("d", [1, 2, 3])
def test_kurtosis_of_random_signs_equals_exact_enumeration(d):
    signs = np.array(list(itertools.product([-1, 1], repeat=d)))
    dots = (signs @ signs.T).ravel()
    excess = np.mean(dots**4) / np.mean(dots**2) ** 2 - 3
    assert dot_product_excess_kurtosis(d, 1, 1) == pytest.approx(
        excess, abs=1e-14
    )


def test_kurtosis_of_unequal_entries_equals_exact_enumeration():
    """Signs against a three-valued entry: kurtosis 1 and 1/p."""
    p = 0.25
    law = [(0, 1 - p), (1, p / 2), (-1, p / 2)]
    second = fourth = 0
    for terms in itertools.product(
        itertools.product([-1, 1], law), repeat=2
    ):
        chance = np.prod([weight / 2 for _, (_, weight) in terms])
        dot = sum(sign * entry for sign, (entry, _) in terms)
        second, fourth = second + chance * dot**2, fourth + chance * dot**4
    excess = fourth / second**2 - 3
    assert dot_product_excess_kurtosis(2, 1, 1 / p) == pytest.approx(
        excess, abs=1e-14
    )


def test_moments_take_lists_and_integers():
    eye = [[1, 0], [0, 1]]
    assert dot_product_variance([1, 2], eye, (0, 3), eye) == 2 + 5 + 9


@EVERY_WIDTH
def test_kurtosis_of_gaussian_entries(d):
    assert dot_product_excess_kurtosis(d) == pytest.approx(6 / d, rel=1e-15)


# --- the row -------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.0, 1.5])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_moments_of_the_row_variance_equal_gauss_hermite_quadrature(
    d, mean
):
    """Five nodes an axis integrate the fourth-degree polynomials exactly."""
    (mean_q, cov_q), (_, cov_k) = law(d, 1, mean), law(d, 2, 0)
    nodes, chances = np.polynomial.hermite_e.hermegauss(5)
    grid = np.array(list(itertools.product(nodes, repeat=d)))
    chance = np.prod(list(itertools.product(chances, repeat=d)), axis=1)
    chance /= chance.sum()
    q = mean_q + grid @ np.linalg.cholesky(cov_q).T
    in_row = np.einsum("ic,cd,id->i", q, cov_k, q)
    exact = chance @ in_row
    spread = chance @ (in_row - exact) ** 2
    found = row_variance_moments(mean_q, cov_q, cov_k)
    assert_allclose(found, (exact, spread), rtol=1e-12)
    assert all(isinstance(number, float) for number in found)
    zero = np.zeros(d)
    assert found[0] == pytest.approx(
        dot_product_variance(mean_q, cov_q, zero, cov_k), rel=1e-14
    )


def test_the_spread_of_real_rows_has_these_moments():
    """Keys with a mean of their own: it moves the row, not its variance."""
    d, keys, rows = 6, 40, 20_000
    (mean_q, cov_q), (mean_k, cov_k) = law(d, 3, 0.7), law(d, 4, 2.0)
    rng = np.random.default_rng(5)
    q = rng.multivariate_normal(mean_q, cov_q, rows)
    k = rng.multivariate_normal(mean_k, cov_k, (rows, keys))
    in_row = np.einsum("ijc,ic->ij", k, q).var(axis=1, ddof=1)
    mean, variance = row_variance_moments(mean_q, cov_q, cov_k)
    # A sample variance of normal scores adds 2 σ⁴(q)/(keys - 1).
    variance += 2 / (keys - 1) * (variance + mean**2)
    error = in_row.std() / np.sqrt(rows)
    assert error < 0.02 * mean and abs(in_row.mean() - mean) < 5 * error
    square = (in_row - mean) ** 2
    error = square.std() / np.sqrt(rows)
    assert error < 0.05 * variance
    assert abs(square.mean() - variance) < 5 * error


@pytest.mark.parametrize("d", [1, 8, 512])
def test_white_rows_vary_by_two_over_d_and_that_is_the_kurtosis(d):
    """q·k is normal given q, so its excess kurtosis is 3 Var σ² / (E σ²)²."""
    one = np.eye(d)
    mean, variance = row_variance_moments(np.zeros(d), one, one)
    assert (mean, variance) == (d, 2 * d)
    assert 3 * variance / mean**2 == pytest.approx(
        dot_product_excess_kurtosis(d), rel=1e-14
    )


@pytest.mark.parametrize(
    "shapes",
    [
        ((3,), (3, 3), (2, 2)),
        ((3,), (2, 2), (3, 3)),
        ((2,), (3, 3), (3, 3)),
        ((1, 3), (3, 3), (3, 3)),
        ((3,), (3, 2), (3, 3)),
    ],
)
def test_moments_of_the_row_fit_together(shapes):
    message = (
        "query_mean must be (d,) and query_cov, key_cov (d, d) with one d, "
        f"got {shapes[0]} and {shapes[1]}, {shapes[2]}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        row_variance_moments(*(np.zeros(s) for s in shapes))


@pytest.mark.parametrize("index", range(3))
def test_moments_of_the_row_are_real_numbers_with_axes(index):
    names = ("query_mean", "query_cov", "key_cov")
    good = [np.zeros(2), np.eye(2), np.eye(2)]
    for bad, error in (
        (1j * good[index], TypeError),
        (good[index][0], ValueError),
    ):
        with pytest.raises(
            error, match=f"^{names[index]} (must hold|needs)"
        ):
            row_variance_moments(*good[:index], bad, *good[index + 1 :])


# --- the match -----------------------------------------------------------------------


def exact_match_probability(d, n, rho):
    """The integral in 25 digits, by Gauss and Legendre."""
    size = match_probability(d, n, rho)  # mpmath's error is absolute
    with mpmath.workdps(25):
        lead = mpmath.mpf(rho) * mpmath.sqrt(d)
        width = mpmath.sqrt(1 - mpmath.mpf(rho) ** 2)

        def integrand(z):
            beyond = mpmath.ncdf(-lead - width * z)
            return mpmath.npdf(z) * (1 - beyond) ** (n - 1) / size

        ends = list(range(-14, 40, 2))
        return size * mpmath.quad(
            integrand, ends, method="gauss-legendre", maxdegree=5
        )


@pytest.mark.parametrize(
    "d, n, rho",
    [
        (3, 10**9, 0),
        (16, 16, 0.3),
        (64, 256, 0.3),
        (256, 4096, 0.3),
        (4096, 2, 0.01),
        (1, 10**9, 0.9),
        (1, 10**9, 0.99),
        (4, 256, 1),
    ],
)
def test_match_probability_equals_the_integral_in_25_digits(d, n, rho):
    exact = exact_match_probability(d, n, rho)
    assert abs(match_probability(d, n, rho) / exact - 1) < 1e-10


@pytest.mark.parametrize("n", [1, 2, 16, 4096, 10**9])
def test_a_key_like_any_other_wins_one_row_in_n(n):
    for d in (1, 10**6):
        found = match_probability(d, n, 0)
        assert isinstance(found, float)
        assert found == pytest.approx(1 / n, rel=1e-11)


def test_two_keys_and_a_copy_are_known_in_closed_form():
    for d, rho in ((1, 0.2), (9, 0.5), (64, 0.3)):
        normal = mpmath.ncdf(rho * np.sqrt(d) / np.sqrt(2 - rho**2))
        assert match_probability(d, 2, rho) == pytest.approx(
            float(normal), rel=1e-13
        )
        copy = float(mpmath.ncdf(np.sqrt(d))) ** 99
        assert match_probability(d, 100, 1) == pytest.approx(
            copy, rel=1e-13
        )


@pytest.mark.parametrize("d, n", [(16, 256), (64, 256), (128, 32)])
def test_match_probability_lies_within_four_standard_errors(d, n):
    """Drawn as vectors, with their scores and no shortcut."""
    rows, rho = 2000, 0.3
    rng = np.random.default_rng(d)
    won = 0
    for _ in range(rows):
        q = rng.normal(size=d)
        q *= np.sqrt(d) / np.linalg.norm(q)
        k = rng.normal(size=(n, d))
        k[3] = rho * q + np.sqrt(1 - rho**2) * k[3]
        won += np.argmax(k @ q) == 3
    exact = match_probability(d, n, rho)
    error = np.sqrt(exact * (1 - exact) / rows)
    assert error < 0.012 and abs(won / rows - exact) < 4 * error


def test_the_threshold_is_sharp_for_many_keys_only():
    """At ρ√d = c √(2 ln n): to 0, ½ and 1, and slowly."""
    wide, rho = 10**6, 0.01
    for c, limit in ((0.7, 0), (1, 0.5), (1.4, 1)):
        off = []
        for n in (16, 4096, 10**9):
            d = round((c / rho) ** 2 * 2 * np.log(n))
            assert d < wide
            off.append(abs(match_probability(d, n, rho) - limit))
        assert off[0] > off[1] > off[2], c
    assert match_probability(wide, 10**9, rho) > 0.99


@pytest.mark.parametrize(
    "name, error, value",
    [
        *[(x, TypeError, 2.0) for x in ("d", "n")],
        *[(x, ValueError, 0) for x in ("d", "n")],
        ("n", ValueError, 10**9 + 1),
        ("rho", ValueError, -0.1),
        ("rho", ValueError, 1.1),
        ("rho", ValueError, np.nan),
        ("rho", TypeError, "0.3"),
    ],
)
def test_bad_input_of_the_match_is_named(name, error, value):
    good = {"d": 4, "n": 4, "rho": 0.3}
    with pytest.raises(error, match=f"^{name} must be"):
        match_probability(**{**good, name: value})


# --- errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", [lambda d: density(1.0, d), dot_product_excess_kurtosis]
)
@pytest.mark.parametrize(
    "d, error",
    [
        (0, ValueError),
        (-1, ValueError),
        (2.0, TypeError),
        (True, TypeError),
    ],
)
def test_d_is_a_positive_integer(function, d, error):
    with pytest.raises(error, match="^d must be"):
        function(d)


def test_kurtosis_is_at_least_one():
    message = "_kurtosis must be finite and at least 1, got 0.5"
    with pytest.raises(ValueError, match="^query" + message):
        dot_product_excess_kurtosis(3, 0.5)
    with pytest.raises(ValueError, match="^key" + message):
        dot_product_excess_kurtosis(3, 3, 0.5)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3,), (3, 3), (2,), (3, 3)),
        ((3,), (3, 3), (3,), (2, 2)),
        ((1, 3), (3, 3), (3,), (3, 3)),
        ((3,), (3, 2), (3,), (3, 3)),
        ((3,), (3, 3), (3,), (3, 2)),
        ((3,), (3, 3), (3, 3), (3, 3)),
    ],
)
def test_moments_fit_together(shapes):
    mean_q, cov_q, mean_k, cov_k = shapes
    message = (
        "query_mean, key_mean must be (d,) and query_cov, key_cov (d, d) with "
        f"one d, got {mean_q}, {mean_k} and {cov_q}, {cov_k}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        dot_product_variance(*(np.zeros(s) for s in shapes))


@pytest.mark.parametrize("index", range(4))
def test_moments_are_real_numbers_with_axes(index):
    names = ("query_mean", "query_cov", "key_mean", "key_cov")
    good = [np.zeros(2), np.eye(2), np.zeros(2), np.eye(2)]
    for bad, error in (
        (1j * good[index], TypeError),
        (good[index][0], ValueError),
    ):
        with pytest.raises(
            error, match=f"^{names[index]} (must hold|needs)"
        ):
            dot_product_variance(*good[:index], bad, *good[index + 1 :])


def test_the_density_takes_real_numbers():
    with pytest.raises(TypeError, match="^x must hold real numbers"):
        dot_product_density(1j, 3)
