"""The dot product of random vectors: of one pair, and along a row."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gamma, kve, log_ndtr, xlogy

from attnlib._validate import (
    Array,
    finite_number,
    floating,
    positive_integer,
)

LARGEST_N = 10**9  # of match_probability, as its accuracy was tested
# The integrand is analytic, so the trapezoid rule converges exponentially:
# 0.02 is less than an eighth of the steepest rise, 1/√(2 ln n) at n = 10⁹.
STEP = 0.02


def dot_product_variance(
    query_mean: ArrayLike,
    query_cov: ArrayLike,
    key_mean: ArrayLike,
    key_cov: ArrayLike,
) -> float:
    """Var(q·k) = Tr(Σ_q Σ_k) + μ_qᵀ Σ_k μ_q + μ_kᵀ Σ_q μ_k.

    Assumes only that q and k are independent of each other with finite
    second moments: no normality, and entries within a vector may be
    correlated.

    Parameters
    ----------
    query_mean, key_mean : array_like, shape (d,)
    query_cov, key_cov : array_like, shape (d, d)

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Naming the shapes if they do not fit.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Source: chapter 6, equation (dot-variance).
    """
    mean_q, mean_k, cov_q, cov_k = _moments(
        {"query_mean": query_mean, "key_mean": key_mean},
        {"query_cov": query_cov, "key_cov": key_cov},
    )
    # Σ_ij A_ij B_ij is Tr(A B) for a symmetric B, without the product.
    trace = np.sum(cov_q * cov_k)
    return float(trace + mean_q @ cov_k @ mean_q + mean_k @ cov_q @ mean_k)


def dot_product_excess_kurtosis(
    d: int, query_kurtosis: float = 3.0, key_kurtosis: float = 3.0
) -> float:
    """Excess kurtosis (m_q m_k - 3)/d of q·k; 6/d for Gaussian entries.

    Assumes 2d independent, centred entries, of one variance within each
    vector.

    Parameters
    ----------
    d : int ≥ 1
        Width of the two vectors.
    query_kurtosis, key_kurtosis : float ≥ 1
        m = E x⁴ / (E x²)² of one entry: 3 for a Gaussian, 1 for ±1.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        Naming the bad argument.

    Notes
    -----
    Source: chapter 6, equation (score-kurtosis).
    """
    d = positive_integer("d", d)
    m_q = finite_number("query_kurtosis", query_kurtosis, 1)
    m_k = finite_number("key_kurtosis", key_kurtosis, 1)
    return (m_q * m_k - 3) / d


def row_variance_moments(
    query_mean: ArrayLike, query_cov: ArrayLike, key_cov: ArrayLike
) -> tuple[float, float]:
    """Mean and variance of qᵀ Σ_k q, a row's variance, for normal q.

    Given q, the scores of independent keys of one covariance Σ_k have this
    variance within the row, whatever the keys' mean. Over queries it has
    the mean Tr(Σ_q Σ_k) + μ_qᵀ Σ_k μ_q and the variance
    2 Tr((Σ_q Σ_k)²) + 4 μ_qᵀ Σ_k Σ_q Σ_k μ_q.

    Assumes q normal for the variance; the mean needs second moments only.

    Parameters
    ----------
    query_mean : array_like, shape (d,)
    query_cov, key_cov : array_like, shape (d, d)

    Returns
    -------
    mean, variance : float

    Raises
    ------
    ValueError
        Naming the shapes if they do not fit.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Source: chapter 6, equation (row-theorem).
    """
    mean_q, cov_q, cov_k = _moments(
        {"query_mean": query_mean},
        {"query_cov": query_cov, "key_cov": key_cov},
    )
    product, pull = cov_q @ cov_k, cov_k @ mean_q
    mean = np.trace(product) + mean_q @ pull
    variance = 2 * np.sum(product * product.T) + 4 * pull @ cov_q @ pull
    return float(mean), float(variance)


def match_probability(d: int, n: int, rho: float) -> float:
    """Chance that a match is the largest of n scores.

    The query q has length √d. The match ρ q + √(1 - ρ²) ε and the n - 1
    other keys differ in ρ alone: ε and the others have independent N(0, 1)
    entries. Then the chance is ∫ Φ(ρ√d + √(1 - ρ²) z)^(n-1) Φ'(z) dz.

    Parameters
    ----------
    d : int ≥ 1
        Width of queries and keys.
    n : int from 1 to 10⁹
        Keys of the row, the match among them.
    rho : float from 0 to 1
        Correlation ρ of the match with the query.

    Returns
    -------
    float
        To a relative error of 1e-10 or better wherever it is above 1e-290.
        It is 1/n at ρ = 0. As n → ∞ at a fixed ρ < 1 it tends to 1 where
        ρ√d = c √(2 ln n) with c > 1, and to 0 with c < 1.

    Raises
    ------
    TypeError, ValueError
        Naming the bad argument and its range.

    Notes
    -----
    Source: chapter 6, equation (match). At a small ρ it is the "proportion
    correct" of forced choice: Hacker and Ratcliff, Percept. Psychophys. 26,
    168 (1979).
    """
    d, n = positive_integer("d", d), positive_integer("n", n, LARGEST_N)
    rho = finite_number("rho", rho, 0)
    if rho > 1:
        raise ValueError(f"rho must be at most 1, got {rho}")
    # Below, e^{-72} is missed; above, what does not underflow is not.
    z = STEP * np.arange(-600, 1900)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    # The match's score, in units of |q|, in which the others' are N(0, 1).
    score = rho * np.sqrt(d) + np.sqrt(1 - rho**2) * z
    wins = np.exp((n - 1) * log_ndtr(score))
    return float(STEP * (wins @ density))


def dot_product_density(x: ArrayLike, d: int) -> Array:
    """Exact density of q·k at x, for 2d independent N(0, 1) entries.

    ``|x|^ν K_ν(|x|) / (√π 2^ν Γ(d/2))`` with ν = (d - 1)/2: the
    variance-gamma law, whose characteristic function is (1 + t²)^(-d/2).

    Parameters
    ----------
    x : array_like, any shape
    d : int ≥ 1
        Width of the two vectors.

    Returns
    -------
    ndarray, shape of ``x``
        float64, to a relative error of 1e-8 or better. At x = 0 it is
        infinite for d = 1 and the finite limit for d ≥ 2.

    Raises
    ------
    TypeError, ValueError
        If ``x`` does not hold real numbers; for a bad ``d``.

    Notes
    -----
    Source: chapter 6, equation (score-density).
    """
    d = positive_integer("d", d)
    r = np.abs(floating("x", x, 0)).astype(float)
    order = (d - 1) / 2
    if d >= 100:  # K_ν(r) overflows, and not only near 0
        return density_of_large_order(order, r)
    normalization = np.sqrt(np.pi) * 2**order * gamma(d / 2)
    return bessel_kernel(order, r) / normalization


def bessel_kernel(order: float, r: Array) -> Array:
    """r^ν K_ν(r), also where K_ν(r) itself overflows or underflows.

    Parameters
    ----------
    order : float from 0 to 50
        ν of the modified Bessel function of the second kind.
    r : ndarray of float64, any shape
        Numbers ≥ 0.

    Returns
    -------
    ndarray, shape of ``r``

    Notes
    -----
    Source: DLMF 10.30.2 for the limit at 0, 2^(ν-1) Γ(ν).
    """
    r = np.minimum(r, 1e4)  # where e^{-r} is 0 already, and kve still works
    bessel = kve(order, r)  # e^r K_ν(r), which does not underflow
    with np.errstate(
        invalid="ignore"
    ):  # 0 · ∞ at 0, where the limit stands
        kernel = np.exp(xlogy(order, r) - r) * bessel
    limit = 2 ** (order - 1) * gamma(order)
    return np.where(np.isposinf(bessel), limit, kernel)


def density_of_large_order(order: float, r: Array) -> Array:
    """r^ν K_ν(r) / (√π 2^ν Γ(ν+½)) for a large order ν.

    Parameters
    ----------
    order : float ≥ 49.5
    r : ndarray of float64, any shape
        Numbers ≥ 0.

    Returns
    -------
    ndarray, shape of ``r``

    Notes
    -----
    Debye's uniform expansion of K_ν(νz), DLMF 10.41.4, with Stirling's
    series of Γ(ν+½). Their large terms cancel and are left out by hand.
    """
    z = np.minimum(r, 1e300) / order
    w = np.hypot(1, z)
    rise = z * (z / (1 + w))  # w - 1, without its rounding error
    t = 1 / w
    u1 = (3 * t - 5 * t**3) / 24
    u2 = (81 * t**2 - 462 * t**4 + 385 * t**6) / 1152
    u3 = 30375 * t**3 - 369603 * t**5 + 765765 * t**7 - 425425 * t**9
    u3 = u3 / 414720
    debye = 1 - u1 / order + u2 / order**2 - u3 / order**3
    stirling = np.exp(1 / (24 * order) - 7 / (2880 * order**3))
    body = np.exp(order * (np.log1p(rise / 2) - rise))
    return body * debye * stirling / np.sqrt(4 * np.pi * order * w)


def _moments(means, covs):
    """Named means (d,) and covariance matrices (d, d), of one d."""
    vectors = [floating(name, x) for name, x in means.items()]
    matrices = [floating(name, x, 2) for name, x in covs.items()]
    d = len(vectors[0])
    if any(v.shape != (d,) for v in vectors) or any(
        m.shape != (d, d) for m in matrices
    ):
        got = " and ".join(
            ", ".join(str(x.shape) for x in arrays)
            for arrays in (vectors, matrices)
        )
        raise ValueError(
            f"{', '.join(means)} must be (d,) and {', '.join(covs)} (d, d) "
            f"with one d, got {got}"
        )
    return *vectors, *matrices
