"""Softmax of n independent N(0, σ²) logits, on average: the random-energy model (chapter 08).

Z = Σ e^{s_i}, a_i = e^{s_i} / Z, J = diag(a) - a aᵀ; logarithms are natural. Every function
takes single numbers and returns a float.

At finite n, Z^{-p} = ∫ t^{p-1} e^{-tZ} dt / Γ(p) turns each mean over the n logits into means
over one. With t = e^x, w = t e^{σg} for a standard normal g, and φ = E e^{-w}:

    E Σ a²  = n ∫ E[w² e^{-w}] φ^{n-1} dx
    E Tr J  = n (n-1) ∫ E[w e^{-w}]² φ^{n-2} dx           as Tr J = Σ_{i≠j} a_i a_j
    E ln Z  = n ∫ (-γ - x) E[w e^{-w}] φ^{n-1} dx         as ln Z / Z = ∫ (-γ - ln t) e^{-tZ} dt
    E H     = n ∫ E[(-γ - ln w) w e^{-w}] φ^{n-1} dx      the same, for Σ a_i (ln Z - s_i)
    E ‖J‖²  = n (n-1)/6 ∫ (2 E[w² e^{-w}]² φ^{n-2} + (n-2) E[w² e^{-w}] E[w e^{-w}]² φ^{n-3}) dx

Differences would cost digits: 1 - E Tr J nine of them at n = 10⁹, 1 - E Σa² up to three, and
E ln Z - σ² E Tr J (= E H, Stein) four at σ = 100. The third and fourth integrands change sign,
but their results stay above 0.009. All are analytic and vanish at both ends, where the
trapezoid rule converges exponentially.

For 1 ≤ n ≤ 10⁹ and 0 ≤ σ ≤ 100 the relative error is below 1e-10 (E ‖J‖²: 1e-9); outside,
ValueError.

As n → ∞ at fixed m = σ_c/σ < 1, σ_c = √(2 ln n), the row freezes: the weights follow the
Poisson-Dirichlet law PD(m, 0), and the corrections fall only like ln ln n / ln n.

Sources: the integrals, derived in chapters 08 and 09. The model and its transition at σ_c: Derrida,
Phys. Rev. B 24, 2613 (1981). Its frozen weights: Bouchaud and Mézard, J. Phys. A 30, 7997
(1997). The law PD(m, 0): Pitman and Yor, Ann. Probab. 25, 855 (1997).
"""

import numpy as np
from scipy.special import gamma, gammainc, ndtr, ndtri_exp, zetac

from attnlib._validate import finite_number, positive_integer

LARGEST_N, LARGEST_SIGMA = 10**9, 100
STEP = 0.3  # in x and in ln w: analytic for |Im| < π/2, so the error is about e^{-π²/STEP}


def expected_inverse_participation_ratio(n, sigma):
    """E Σ a²: 1/n at σ = 0, near e^{σ²}/n for σ² well below (2/3) ln n, 1 - σ_c/σ when frozen.

    ``n``: int from 1 to 10⁹; ``sigma``: number from 0 to 100, the logits' standard
    deviation. Raises TypeError or ValueError naming the argument and its range.
    """
    n, sigma = _row(n, sigma)
    if n == 1 or sigma == 0:
        return 1 / n
    _, step, mean, log_phi = _quadrature(n, sigma)
    pair = mean(lambda y: np.exp(y) * _gumbel(y))
    return float(step * n * (pair @ np.exp((n - 1) * log_phi)))


def expected_jacobian_trace(n, sigma):
    """E Tr J = 1 - E Σ a², without the difference: 1 - 1/n at σ = 0, σ_c/σ when frozen.

    Arguments and errors: as ``expected_inverse_participation_ratio``.
    """
    n, sigma = _row(n, sigma)
    if n == 1 or sigma == 0:
        return (n - 1) / n
    _, step, mean, log_phi = _quadrature(n, sigma)
    return float(step * n * (n - 1) * (mean(_gumbel) ** 2 @ np.exp((n - 2) * log_phi)))


def expected_squared_jacobian_norm(n, sigma):
    """E ‖J‖² (Frobenius): (n-1)/n² at σ = 0, m(1-m)/3 with m = σ_c/σ when frozen.

    In between near e^{σ²}/n, for σ² well below (2/3) ln n and many tokens.

    ‖J‖² = Σ_i a_i² (1 - a_i)² + Σ_{i≠j} a_i² a_j², and 1 - a_i is the sum of the other weights.
    Arguments and errors: as ``expected_inverse_participation_ratio``.
    """
    n, sigma = _row(n, sigma)
    if n == 1 or sigma == 0:
        return (n - 1) / n**2
    _, step, mean, log_phi = _quadrature(n, sigma)
    pair, single = mean(lambda y: np.exp(y) * _gumbel(y)), mean(_gumbel)
    two = 2 * pair**2 @ np.exp((n - 2) * log_phi)
    three = (n - 2) * (pair * single**2) @ np.exp((n - 3) * log_phi)
    return float(step * n * (n - 1) / 6 * (two + three))


def expected_log_partition(n, sigma):
    """E ln Z: ln n at σ = 0, near ln n + σ²/2 for σ < σ_c and σ σ_c when frozen.

    Arguments and errors: as ``expected_inverse_participation_ratio``.
    """
    n, sigma = _row(n, sigma)
    if n == 1 or sigma == 0:
        return float(np.log(n))
    x, step, mean, log_phi = _quadrature(n, sigma)
    weighted = (-np.euler_gamma - x) * mean(_gumbel)
    return float(step * n * (weighted @ np.exp((n - 1) * log_phi)))


def expected_entropy(n, sigma):
    """E H in nats, H = -Σ a ln a: ln n at σ = 0, near ln n - σ²/2 while σ is small.

    Arguments and errors: as ``expected_inverse_participation_ratio``.
    """
    n, sigma = _row(n, sigma)
    if n == 1 or sigma == 0:
        return float(np.log(n))
    _, step, mean, log_phi = _quadrature(n, sigma)
    surprise = mean(lambda y: (-np.euler_gamma - y) * _gumbel(y))
    return float(step * n * (surprise @ np.exp((n - 1) * log_phi)))


def frozen_jacobian_trace(m):
    """lim E Tr J = m, for m = σ_c/σ in (0, 1)."""
    return _freezing_ratio(m)


def frozen_entropy(m):
    """lim E H = ψ(1) - ψ(1-m) in nats, for m = σ_c/σ in (0, 1); ψ is the digamma function."""
    m = _freezing_ratio(m)
    k = np.arange(2, 60)
    # Σ ζ(k) m^{k-1}, its slow part summed in closed form: exact also where ψ's would cancel.
    return float(m / (1 - m) + zetac(k) @ m ** (k - 1))


def frozen_max_weight(m):
    """lim E max a = ∫ e^{-λ} / ψ_m(λ) dλ over λ > 0, for m = σ_c/σ in (0, 1).

    ψ_m(λ) = 1 + m ∫₀¹ (1 - e^{-λx}) x^{-m-1} dx = e^{-λ} + λ^m Γ(1-m) P(1-m, λ), by parts;
    P is the regularised lower incomplete gamma function. Relative error below 1e-10.
    """
    m = _freezing_ratio(m)
    step = 0.1
    rate = np.exp(np.arange(np.log(1 - m) - 40, 4, step))
    psi = np.exp(-rate) + rate**m * gamma(1 - m) * gammainc(1 - m, rate)
    return float(step * (rate @ (np.exp(-rate) / psi)))  # in ln λ


def frozen_squared_jacobian_norm(m):
    """lim E ‖J‖² = m (1-m) / 3 (Frobenius norm), for m = σ_c/σ in (0, 1)."""
    m = _freezing_ratio(m)
    return m * (1 - m) / 3


def _row(n, sigma):
    n, sigma = positive_integer("n", n), finite_number("sigma", sigma, 0)
    if n > LARGEST_N:
        raise ValueError(f"n must be at most {LARGEST_N}, got {n}")
    if sigma > LARGEST_SIGMA:
        raise ValueError(f"sigma must be at most {LARGEST_SIGMA}, got {sigma}")
    return n, sigma


def _freezing_ratio(m):
    m = finite_number("m", m)
    if not 0 < m < 1:
        raise ValueError(f"m must lie between 0 and 1, both excluded, got {m}")
    return m


def _gumbel(y):
    """w e^{-w} at w = e^y: the density of ln E for a standard exponential E."""
    return np.exp(y - np.exp(y))


def _quadrature(n, sigma):
    """(nodes x, their step, mean, ln φ at x); mean(f) is E f(x + σg) at every x."""
    # No g beyond z matters, even where E Σa² is as small as 1/n: n² P(g > z) < 1e-15.
    z = np.sqrt(2 * (2 * np.log(n) + 34))
    first = -(np.log(n) + min(sigma / 2, z) * sigma + 36)  # t Z < e^{-36}
    last = 4 - sigma * ndtri_exp(-40 / n)  # t Z > e^4, but for a chance of e^{-40}
    step = STEP * max(1, sigma / z)  # φⁿ falls like exp(-e^{xz/σ}) at the steepest
    x = np.arange(first, last + step, step)
    mean, tail = (_over_logits if sigma < 0.5 else _over_log_w)(x, sigma)
    # log1p, as φ is within 1/n of 1 where it matters.
    return x, step, mean, np.log1p(-np.minimum(tail, 1 - 1e-16))


def _over_logits(x, sigma):
    """E f(x + σg) and 1 - φ by a sum over g; for σ < ½, where f is the wide one."""
    g = np.arange(-10, 10 + STEP, 2 * STEP)
    weights = 2 * STEP * np.exp(-g * g / 2) / np.sqrt(2 * np.pi)
    y = x[:, None] + sigma * g
    return lambda f: f(y) @ weights, -np.expm1(-np.exp(y)) @ weights


def _over_log_w(x, sigma):
    """E f(x + σg) and 1 - φ by a sum over y = ln w; for σ ≥ ½, where f is the narrow one."""
    # Where e^y times the density of y falls to e^{-40}, at the first x.
    excess = -x[0] / sigma - sigma
    lowest = -sigma * (excess + np.sqrt(excess**2 + 80))
    y = np.arange(max(lowest, x[0] - 10 * sigma), 4.2, STEP)
    g = (y - x[:, None]) / sigma
    density = np.exp(-g * g / 2) / (np.sqrt(2 * np.pi) * sigma)
    # 1 - φ = P(E < w) = P(g > (ln E - x) / σ).
    return lambda f: STEP * (density @ f(y)), STEP * (ndtr(-g) @ _gumbel(y))
