"""The dot product of two random vectors: its moments and its exact law (chapter 06)."""

import numpy as np
from scipy.special import gammaln, kve, xlogy

from attnlib._validate import finite_number, floating, positive_integer


def dot_product_variance(query_mean, query_cov, key_mean, key_cov):
    """Var(q·k) = Tr(Σ_q Σ_k) + μ_qᵀ Σ_k μ_q + μ_kᵀ Σ_q μ_k.

    Assumes only that q and k are independent of each other with finite second
    moments: no normality, and entries within a vector may be correlated.

    Parameters
    ----------
    query_mean, key_mean : arrays (d,) of floating dtype
    query_cov, key_cov : arrays (d, d) of floating dtype

    Returns a float. Raises ValueError naming the shapes if they do not fit,
    TypeError for non-floating input. Source: chapter 06, equation (dot-variance).
    """
    mean_q, mean_k = floating("query_mean", query_mean), floating("key_mean", key_mean)
    cov_q, cov_k = floating("query_cov", query_cov, 2), floating("key_cov", key_cov, 2)
    d = mean_q.shape[-1]
    if mean_q.shape != (d,) or mean_k.shape != (d,) or {cov_q.shape, cov_k.shape} != {(d, d)}:
        raise ValueError(
            "query_mean, key_mean must be (d,) and query_cov, key_cov (d, d) with one d, got "
            f"{mean_q.shape}, {mean_k.shape} and {cov_q.shape}, {cov_k.shape}"
        )
    # Σ_ij A_ij B_ij is Tr(A B) for a symmetric B, without the matrix product.
    return float(np.sum(cov_q * cov_k) + mean_q @ cov_k @ mean_q + mean_k @ cov_q @ mean_k)


def dot_product_excess_kurtosis(d, query_kurtosis=3.0, key_kurtosis=3.0):
    """Excess kurtosis (m_q m_k - 3)/d of q·k; 6/d for Gaussian entries.

    Assumes 2d independent, centred entries, of one variance within each vector.
    ``query_kurtosis`` and ``key_kurtosis`` are E x⁴ / (E x²)² of one entry: 3 for a
    Gaussian, 1 for ±1. Returns a float.
    Source: chapter 06.
    """
    d = positive_integer("d", d)
    product = finite_number("query_kurtosis", query_kurtosis, 1) * finite_number(
        "key_kurtosis", key_kurtosis, 1
    )
    return (product - 3) / d


def dot_product_density(x, d):
    """Exact density of q·k at ``x`` for 2d independent standard normal entries.

    |x|^ν K_ν(|x|) / (√π 2^ν Γ(d/2)) with ν = (d - 1)/2: the variance-gamma law,
    with characteristic function (1 + t²)^(-d/2).

    Parameters
    ----------
    x : array of floating dtype, any shape
    d : int ≥ 1, the width of the two vectors

    Returns an array of x's shape, float64, to a relative error of 1e-8 or better.
    At x = 0 it is infinite for d = 1 and the finite limit for d ≥ 2. Raises
    TypeError or ValueError for a bad ``d``.
    Source: chapter 06; the law of a sum of products of normal pairs.
    """
    d = positive_integer("d", d)
    r = np.abs(floating("x", x, 0)).astype(float)
    log_density = _log_density_bessel if d < 100 else _log_density_debye
    return np.exp(log_density(r, (d - 1) / 2))


def _log_density_bessel(r, order):
    r = np.minimum(r, 1e4)  # where the density is 0 already, and kve still works
    # kve is exp(r) K(r): the exponential goes into the logarithm, nothing underflows.
    bessel = kve(order, r)
    with np.errstate(invalid="ignore"):  # at 0: -inf + inf, replaced below
        log_kernel = xlogy(order, r) + np.log(bessel) - r
    if order > 0:
        # The limit at 0, also where kve overflows: r^ν K_ν(r) → 2^(ν-1) Γ(ν).
        limit = (order - 1) * np.log(2) + gammaln(order)
        log_kernel = np.where(np.isposinf(bessel), limit, log_kernel)
    return log_kernel - 0.5 * np.log(np.pi) - order * np.log(2) - gammaln(order + 0.5)


def _log_density_debye(r, order):
    """Debye's uniform expansion of K_ν(νz) (DLMF 10.41.4), for large ν: kve overflows there.

    Stirling's series of Γ(d/2) is subtracted by hand, so that no large terms cancel.
    """
    z = np.minimum(r, 1e300) / order
    w = np.hypot(1, z)
    rise = z * (z / (1 + w))  # w - 1, without its rounding error
    t = 1 / w
    u1 = (3 * t - 5 * t**3) / 24
    u2 = (81 * t**2 - 462 * t**4 + 385 * t**6) / 1152
    u3 = (30375 * t**3 - 369603 * t**5 + 765765 * t**7 - 425425 * t**9) / 414720
    debye = np.log1p(-u1 / order + u2 / order**2 - u3 / order**3)
    stirling = 1 / (24 * order) - 7 / (2880 * order**3)
    gaussian = order * (np.log1p(rise / 2) - rise) - 0.5 * np.log(4 * np.pi * order * w)
    return gaussian + debye + stirling
