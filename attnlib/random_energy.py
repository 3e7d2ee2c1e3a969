"""Softmax of n independent N(0, σ²) logits, on average (chapters 8 and 9).

This is the random-energy model: Z = Σ e^(s_i), a_i = e^(s_i) / Z and
J = diag(a) - a aᵀ. Logarithms are natural. Every function takes single
numbers and returns a float.

At finite n, Z^(-p) = ∫ t^(p-1) e^(-tZ) dt / Γ(p) turns each mean over the n
logits into means over one. With t = e^x, w = t e^(σg) for a standard normal
g, and φ = E e^(-w)::

    E Σ a²  = n ∫ E[w² e^(-w)] φ^(n-1) dx
    E Tr J  = n (n-1) ∫ E[w e^(-w)]² φ^(n-2) dx
    E ln Z  = n ∫ (-γ - x) E[w e^(-w)] φ^(n-1) dx
    E H     = n ∫ E[(-γ - ln w) w e^(-w)] φ^(n-1) dx
    E ‖J‖²  = n (n-1)/6 ∫ (2 E[w² e^(-w)]² φ^(n-2)
                   + (n-2) E[w² e^(-w)] E[w e^(-w)]² φ^(n-3)) dx

The second is Σ_{i≠j} a_i a_j; the third comes from
ln Z / Z = ∫ (-γ - ln t) e^(-tZ) dt, and so does the fourth, for
Σ a_i (ln Z - s_i).

Differences would cost digits: 1 - E Tr J nine of them at n = 10⁹,
1 - E Σa² up to three, and E ln Z - σ² E Tr J (= E H, Stein) four at
σ = 100. The third and fourth integrands change sign, but their results stay
above 0.009. All are analytic and vanish at both ends, where the trapezoid
rule converges exponentially.

For 1 ≤ n ≤ 10⁹ and 0 ≤ σ ≤ 100 the relative error is below 1e-10 (E ‖J‖²:
1e-9); outside, ValueError.

As σ → ∞ at fixed n ≥ 2, one pair of near equal leaders is all that is left:
with p₀ = `lead_density_at_zero`, σ E Tr J rises to p₀, so that
E Tr J < p₀/σ at every σ > 0, and σ E ‖J‖² → p₀/3.

As n → ∞ at fixed m = σ_c/σ < 1, σ_c = √(2 ln n), the row freezes: the
law of its weights tends to the Poisson-Dirichlet law PD(m, 0), and the
corrections fall only like ln ln n / ln n.

References
----------
The integrals and the limits at fixed n are derived in chapters 8 and 9. The
model and its transition at σ_c: Derrida, Phys. Rev. B 24, 2613 (1981). Its
frozen weights: Ruelle, Commun. Math. Phys. 108, 225 (1987), and Bovier,
Kurkova and Löwe, Ann. Probab. 30, 605 (2002); by physicists' means,
Bouchaud and Mézard, J. Phys. A 30, 7997 (1997). The law PD(m, 0): Pitman
and Yor, Ann. Probab. 25, 855 (1997).
"""

import numpy as np
from scipy.special import (
    gamma,
    gammainc,
    log_ndtr,
    ndtr,
    ndtri_exp,
    zetac,
)

from attnlib._validate import finite_number, positive_integer

LARGEST_N, LARGEST_SIGMA = 10**9, 100
# In x and in ln w: analytic for |Im| < π/2, so the error is e^{-π²/STEP}.
STEP = 0.3


def expected_inverse_participation_ratio(n: int, sigma: float) -> float:
    """E Σ a², from 1/n to 1.

    1/n at σ = 0, near e^(σ²)/n for σ² well below (2/3) ln n; beyond σ_c it
    tends, slowly, to 1 - σ_c/σ as n grows.

    Parameters
    ----------
    n : int from 1 to 10⁹
        Logits of a row.
    sigma : float from 0 to 100
        Their standard deviation.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        Naming the argument and its range.

    Notes
    -----
    Source: chapter 8, equation (exact-ipr).
    """
    n, sigma = _checked(n, sigma)
    if n == 1 or sigma == 0:
        return 1 / n
    x, mean, log_phi = _quadrature(n, sigma)
    square = mean(lambda w: w**2 * np.exp(-w))
    rivals = np.exp((n - 1) * log_phi)
    return n * float(np.trapezoid(square * rivals, x))


def expected_jacobian_trace(n: int, sigma: float) -> float:
    """E Tr J = 1 - E Σ a², without the difference.

    1 - 1/n at σ = 0; beyond σ_c it tends, slowly, to σ_c/σ as n grows.

    Parameters
    ----------
    n, sigma
        And errors: as in `expected_inverse_participation_ratio`.

    Returns
    -------
    float

    Notes
    -----
    Source: chapter 8.
    """
    n, sigma = _checked(n, sigma)
    if n == 1 or sigma == 0:
        return (n - 1) / n
    x, mean, log_phi = _quadrature(n, sigma)
    single = mean(lambda w: w * np.exp(-w))
    rivals = np.exp((n - 2) * log_phi)
    return n * (n - 1) * float(np.trapezoid(single**2 * rivals, x))


def expected_squared_jacobian_norm(n: int, sigma: float) -> float:
    """E ‖J‖² (Frobenius).

    (n-1)/n² at σ = 0, near e^(σ²)/n for σ² well below (2/3) ln n and many
    tokens; beyond σ_c it tends, slowly, to m(1-m)/3 with m = σ_c/σ as n
    grows.

    Parameters
    ----------
    n, sigma
        And errors: as in `expected_inverse_participation_ratio`.

    Returns
    -------
    float

    Notes
    -----
    ‖J‖² = Σ_i a_i² (1 - a_i)² + Σ_{i≠j} a_i² a_j², and 1 - a_i is the sum
    of the other weights. Source: chapter 9, equation (exact-norm).
    """
    n, sigma = _checked(n, sigma)
    if n == 1 or sigma == 0:
        return (n - 1) / n**2
    x, mean, log_phi = _quadrature(n, sigma)
    single = mean(lambda w: w * np.exp(-w))
    square = mean(lambda w: w**2 * np.exp(-w))
    of_two = 2 * square**2 * np.exp((n - 2) * log_phi)
    of_three = square * single**2 * np.exp((n - 3) * log_phi)
    integral = np.trapezoid(of_two + (n - 2) * of_three, x)
    return n * (n - 1) / 6 * float(integral)


def expected_log_partition(n: int, sigma: float) -> float:
    """E ln Z, the mean logarithm of a row's sum of exponentials.

    ln n at σ = 0, near ln n + σ²/2 well below σ_c; beyond it the ratio to
    σ σ_c tends, slowly, to 1 as n grows.

    Parameters
    ----------
    n, sigma
        And errors: as in `expected_inverse_participation_ratio`.

    Returns
    -------
    float

    Notes
    -----
    Source: chapter 8.
    """
    n, sigma = _checked(n, sigma)
    if n == 1 or sigma == 0:
        return float(np.log(n))
    x, mean, log_phi = _quadrature(n, sigma)
    single = mean(lambda w: w * np.exp(-w))
    rivals = np.exp((n - 1) * log_phi)
    log_z = -np.euler_gamma - x
    return n * float(np.trapezoid(log_z * single * rivals, x))


def expected_entropy(n: int, sigma: float) -> float:
    """E H in nats, H = -Σ a ln a.

    ln n at σ = 0, near ln n - σ²/2 while σ is small.

    Parameters
    ----------
    n, sigma
        And errors: as in `expected_inverse_participation_ratio`.

    Returns
    -------
    float

    Notes
    -----
    Source: chapter 8.
    """
    n, sigma = _checked(n, sigma)
    if n == 1 or sigma == 0:
        return float(np.log(n))
    x, mean, log_phi = _quadrature(n, sigma)
    surprise = mean(
        lambda w: (-np.euler_gamma - np.log(w)) * w * np.exp(-w)
    )
    rivals = np.exp((n - 1) * log_phi)
    return n * float(np.trapezoid(surprise * rivals, x))


def lead_density_at_zero(n: int) -> float:
    """p₀ = n (n-1) ∫ Φ'(x)² Φ(x)^(n-2) dx, the density of a tie at the top.

    For n independent standard normal numbers it is the density at 0 of the
    lead of the largest over the second, and also the mean of the largest.
    0 at n = 1, 1/√π at n = 2, below √(2 ln n), which it nears slowly: 2.59
    and 3.12 at n = 128.

    Parameters
    ----------
    n : int from 1 to 10⁹
        How many numbers.

    Returns
    -------
    float
        To a relative error below 1e-10.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is no integer from 1 to 10⁹.

    Notes
    -----
    σ E Tr J = E Σ a_i z_i for logits σ z_i, by parts, and this rises to
    E max z. As Φ'' = -x Φ', E max z = n ∫ x Φ' Φ^(n-1) is p₀, once more by
    parts. Source: chapter 8, equation (fixed-n).
    """
    n = positive_integer("n", n, LARGEST_N)
    # Φ'² < e^{-80} at both ends, and n² Φ'² < e^{-58} at the upper one.
    step = STEP / 8
    x = np.arange(-9, 10, step)
    pair = np.exp(-x * x + (n - 2) * log_ndtr(x)) / (2 * np.pi)
    return n * (n - 1) * float(np.trapezoid(pair, x))


def frozen_jacobian_trace(m: float) -> float:
    """lim E Tr J = m.

    Parameters
    ----------
    m : float in (0, 1)
        σ_c/σ.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If ``m`` is no number between 0 and 1.

    Notes
    -----
    Source: chapter 8; Bouchaud and Mézard (1997).
    """
    return _freezing_ratio(m)


def frozen_entropy(m: float) -> float:
    """lim E H = ψ(1) - ψ(1-m) in nats; ψ is the digamma function.

    Parameters
    ----------
    m
        And errors: as in `frozen_jacobian_trace`.

    Returns
    -------
    float

    Notes
    -----
    Source: Pitman and Yor (1997).
    """
    m = _freezing_ratio(m)
    k = np.arange(2, 60)
    # Σ ζ(k) m^{k-1}, its slow part summed in closed form: exact also where
    # the difference of two ψ would cancel.
    return float(m / (1 - m) + zetac(k) @ m ** (k - 1))


def frozen_max_weight(m: float) -> float:
    """lim E max a = ∫ e^(-λ) / ψ_m(λ) dλ over λ > 0.

    Parameters
    ----------
    m
        And errors: as in `frozen_jacobian_trace`.

    Returns
    -------
    float
        To a relative error below 1e-10.

    Notes
    -----
    ψ_m(λ) = 1 + m ∫₀¹ (1 - e^(-λx)) x^(-m-1) dx, which is
    e^(-λ) + λ^m Γ(1-m) P(1-m, λ) by parts; P is the regularised lower
    incomplete gamma function. Source: Pitman and Yor (1997).
    """
    m = _freezing_ratio(m)
    log_rate = np.arange(np.log(1 - m) - 40, 4, 0.1)
    rate = np.exp(log_rate)
    psi = np.exp(-rate) + rate**m * gamma(1 - m) * gammainc(1 - m, rate)
    return float(np.trapezoid(rate * np.exp(-rate) / psi, log_rate))


def frozen_squared_jacobian_norm(m: float) -> float:
    """lim E ‖J‖² = m (1-m) / 3 (Frobenius).

    Parameters
    ----------
    m
        And errors: as in `frozen_jacobian_trace`.

    Returns
    -------
    float

    Notes
    -----
    Source: chapter 9, from the law of Pitman and Yor (1997).
    """
    m = _freezing_ratio(m)
    return m * (1 - m) / 3


def _checked(n, sigma):
    n = positive_integer("n", n, LARGEST_N)
    sigma = finite_number("sigma", sigma, 0)
    if sigma > LARGEST_SIGMA:
        raise ValueError(
            f"sigma must be at most {LARGEST_SIGMA}, got {sigma}"
        )
    return n, sigma


def _freezing_ratio(m):
    m = finite_number("m", m)
    if not 0 < m < 1:
        raise ValueError(
            f"m must lie between 0 and 1, both excluded, got {m}"
        )
    return m


def _quadrature(n, sigma):
    """Nodes x, ``mean(f)`` = E f(w) at every x, and ln φ at every x."""
    # No g beyond z matters, even where E Σa² is as small as 1/n:
    # n² P(g > z) < 1e-15.
    z = np.sqrt(2 * (2 * np.log(n) + 34))
    first = -(np.log(n) + min(sigma / 2, z) * sigma + 36)  # t Z < e^{-36}
    # t Z > e^4, but for a chance of e^{-40}.
    last = 4 - sigma * ndtri_exp(-40 / n)
    # φⁿ falls like exp(-e^{xz/σ}) at the steepest.
    step = STEP * max(1, sigma / z)
    x = np.arange(first, last + step, step)
    law = _law_by_logits if sigma < 0.5 else _law_by_log_w
    w, chance, tail = law(x, sigma)
    # log1p, as φ is within 1/n of 1 where it matters.
    log_phi = np.log1p(-np.minimum(tail, 1 - 1e-16))
    return x, lambda f: (chance * f(w)).sum(axis=-1), log_phi


def _law_by_logits(x, sigma):
    """Values of w, their chances and 1 - φ, by a grid of g.

    For σ < ½, where the f of ``mean`` are wider than the law of w.
    """
    g = np.arange(-10, 10, 2 * STEP)
    chance = 2 * STEP * np.exp(-g * g / 2) / np.sqrt(2 * np.pi)
    w = np.exp(x[:, None] + sigma * g)
    return w, chance, -np.expm1(-w) @ chance


def _law_by_log_w(x, sigma):
    """The same by a grid of ln w, for σ ≥ ½, where w's law is wider."""
    # Where w times its density falls to e^{-40}, at the first x.
    excess = -x[0] / sigma - sigma
    lowest = -sigma * (excess + np.sqrt(excess**2 + 80))
    log_w = np.arange(lowest, 4.2, STEP)
    w = np.exp(log_w)
    g = (log_w - x[:, None]) / sigma
    chance = STEP * np.exp(-g * g / 2) / (np.sqrt(2 * np.pi) * sigma)
    # 1 - φ = P(E < w) = P(g > (ln E - x) / σ) for an exponential E, of
    # which w e^{-w} is the density in ln w.
    return w, chance, STEP * (ndtr(-g) @ (w * np.exp(-w)))
