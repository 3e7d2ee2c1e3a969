"""attnlib.random_energy against Monte Carlo, mpmath, exact small cases and asymptotic forms."""

import functools

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import digamma, entr, expit

from attnlib import concentration, random_energy, softmax
from attnlib.random_energy import (
    expected_entropy,
    expected_inverse_participation_ratio,
    expected_jacobian_trace,
    expected_log_partition,
    expected_squared_jacobian_norm,
    frozen_entropy,
    frozen_jacobian_trace,
    frozen_max_weight,
    frozen_squared_jacobian_norm,
    lead_density_at_zero,
)

pytestmark = pytest.mark.filterwarnings("error")

EXPECTED = [
    expected_inverse_participation_ratio,
    expected_jacobian_trace,
    expected_log_partition,
    expected_entropy,
]
EVERY = [*EXPECTED, expected_squared_jacobian_norm]
FROZEN = [
    frozen_jacobian_trace,
    frozen_entropy,
    frozen_max_weight,
    frozen_squared_jacobian_norm,
]
ACCURACY, OF_NORM = 1e-10, 1e-9  # relative, as the module promises


def accuracy(expected):
    return ACCURACY if expected in EXPECTED else OF_NORM


def critical(n):
    return np.sqrt(2 * np.log(n))


# --- against high precision ----------------------------------------------------------


def reference(n, sigma, mp):
    """What EXPECTED computes, by other integrals and by nested tanh-sinh quadrature.

    E Σa² = n ∫ t φ''(t) φ^{n-1} dt and E ln Z = ∫ (e^{-t} - φⁿ) dt/t at t = e^x; the other
    two as differences, 1 - E Σa² and E ln Z - σ² E Tr J, so that more digits are needed
    than are kept. ``mp``: mpmath.mp with its precision set, or mpmath.fp (doubles).
    """
    sigma = mp.mpf(sigma)

    # mp.quad stops at an absolute error: every integrand below is scaled to be about 1.
    def mean(f, x):
        turn = -x / sigma  # where the logit reaches ln 1/t
        cuts = [
            -12,
            turn - 40 / sigma,
            turn - 6 / sigma,
            turn + 4.5 / sigma,
            12,
        ]
        cuts = sorted({min(max(cut, -12), 12) for cut in cuts})
        total = mp.quad(
            lambda g: f(mp.exp(x + sigma * g)) * mp.exp(-g * g / 2), cuts
        )
        return total / mp.sqrt(2 * mp.pi)

    @functools.cache
    def log_phi(x):
        tail = mean(lambda w: -n * mp.expm1(-w), x) / n
        if tail < 0.5:
            return mp.log1p(-tail)
        return mp.log(max(mean(lambda w: mp.exp(-w), x), 1e-300))

    z = mp.sqrt(2 * mp.log(n))
    typical = mp.log(n) + sigma**2 / 2 if sigma < z else sigma * z
    last = (
        8 * sigma + 5 if n < 60 else mp.mpf(5)
    )  # Z > 1, but for a chance of 2^{-60}
    cuts = [
        -typical - 8 * sigma - 30,
        -typical - 2 * sigma - 8,
        -typical + sigma + 2,
        3,
        last,
    ]
    cuts = sorted({min(cut, last) for cut in cuts})
    scale = n / min(1, mp.exp(sigma**2) / n)

    def pair(x):
        return mean(lambda w: scale * w * w * mp.exp(-w), x) * mp.exp(
            (n - 1) * log_phi(x)
        )

    ipr = n / scale * mp.quad(pair, cuts)
    log_z = mp.quad(
        lambda x: mp.exp(-mp.exp(x)) - mp.exp(n * log_phi(x)), cuts
    )
    return ipr, 1 - ipr, log_z, log_z - sigma**2 * (1 - ipr)


# (n, sigma, reference(n, sigma, ...)). (3, 0.5), (64, 1), (10⁹, 6) and (10⁹, 100) by mpmath.mp
# at 20 digits, two minutes each; the others on mpmath's tanh-sinh nodes in 80-bit gmpy2 numbers.
TABLE = [
    (
        2,
        100,
        [
            0.99435856811173,
            0.0056414318882696,
            56.423598360995,
            0.0092794782994035,
        ],
    ),
    (
        3,
        0.01,
        [
            0.33335555444448,
            0.66664444555552,
            1.0986456214458,
            1.0985789570013,
        ],
    ),
    (
        3,
        0.5,
        [
            0.38262291619934,
            0.61737708380066,
            1.1787417560665,
            1.0243974851163,
        ],
    ),
    (
        64,
        1,
        [
            0.038804239796806,
            0.96119576020319,
            4.6459422203271,
            3.6847464601239,
        ],
    ),
    (
        64,
        30,
        [
            0.9219517272642,
            0.078048272735796,
            70.378391251141,
            0.13494578892448,
        ],
    ),
    (
        1024,
        3,
        [
            0.13494586777346,
            0.86505413222654,
            11.214744314077,
            3.4292571240384,
        ],
    ),
    (
        65536,
        5,
        [
            0.21709201440527,
            0.78290798559473,
            22.640062205934,
            3.0673625660659,
        ],
    ),
    (
        10**6,
        10,
        [
            0.52070535461333,
            0.47929464538667,
            49.155232136639,
            1.2257675979718,
        ],
    ),
    (
        10**9,
        0.01,
        [
            1.0001000050001e-09,
            0.9999999989999,
            20.723315836946,
            20.723215836946,
        ],
    ),
    (
        10**9,
        1,
        [
            2.7182818077369e-09,
            0.99999999728172,
            21.223265836087,
            20.223265838806,
        ],
    ),
    (
        10**9,
        6,
        [
            0.093783607362801,
            0.9062163926372,
            38.36326143668,
            5.7394713017412,
        ],
    ),
    (
        10**9,
        30,
        [
            0.7973064581571,
            0.2026935418429,
            182.81582504139,
            0.39163738278386,
        ],
    ),
    (
        10**9,
        100,
        [
            0.93912846756586,
            0.060871532434144,
            608.82003066121,
            0.10470631977521,
        ],
    ),
]


@pytest.mark.parametrize("n, sigma, exact", TABLE)
def test_agrees_with_high_precision(n, sigma, exact):
    computed = [expected(n, sigma) for expected in EXPECTED]
    assert computed == pytest.approx(exact, rel=ACCURACY, abs=0)


def test_agrees_with_the_reference_evaluated_here():
    n, sigma = 64, 1
    computed = [expected(n, sigma) for expected in EXPECTED]
    assert computed == pytest.approx(
        reference(n, sigma, mpmath.fp), rel=ACCURACY, abs=0
    )


# --- against Monte Carlo -------------------------------------------------------------

SAMPLES = {1: 1_000, 2: 400_000, 3: 400_000, 64: 50_000, 1024: 12_000}
SIGMAS = [0.1, 1, 3, 10]


def measures(logits):
    """(4, rows): what EXPECTED averages, from the weights themselves."""
    gap = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(gap)
    z = e.sum(axis=-1)
    ipr = np.einsum("ij,ij->i", e, e) / z**2
    entropy = np.log(z) - np.einsum("ij,ij->i", e, gap) / z
    log_z = np.log(z) + logits.max(axis=-1)
    return np.stack([ipr, 1 - ipr, log_z, entropy])


def simulated(n):
    """(means, standard errors), each (4 sigmas, 4 measures), from one set of draws."""
    rng, rows = (
        np.random.default_rng(n),
        max(1, min(SAMPLES[n], 100_000 // n)),
    )
    chunks = []
    for _ in range(SAMPLES[n] // rows):
        g = rng.standard_normal((rows, n))
        of_sigma = np.stack([measures(sigma * g) for sigma in SIGMAS])
        chunks.append([of_sigma.mean(axis=-1), (of_sigma**2).mean(axis=-1)])
    mean, square = np.mean(chunks, axis=0)
    return mean, np.sqrt(
        np.maximum(square - mean**2, 0) / (rows * len(chunks))
    )


@pytest.mark.parametrize("n", SAMPLES)
def test_lies_within_four_and_a_half_standard_errors_of_monte_carlo(n):
    measured, error = simulated(n)
    exact = np.array(
        [[expected(n, sigma) for expected in EXPECTED] for sigma in SIGMAS]
    )
    assert (abs(measured - exact) <= 4.5 * error + 1e-12).all()
    if n > 1:  # the power to refuse a result that is 6 % off
        assert (error < 0.012 * exact).all()
        for wrong in (0.94, 1.06):
            assert (abs(measured - wrong * exact) > 4 * error).all()


# --- exact cases ---------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0, 1e-9, 0.5, 1, 17, 100])
def test_one_logit(sigma):
    assert [expected(1, sigma) for expected in EXPECTED] == [1, 0, 0, 0]


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 10**9])
def test_equal_logits(n):
    exact = [1 / n, (n - 1) / n, np.log(n), np.log(n)]
    assert [expected(n, 0) for expected in EXPECTED] == exact
    nearly = [expected(n, 1e-9) for expected in EXPECTED]
    assert nearly == pytest.approx(exact, rel=ACCURACY)  # and no jump there
    assert [expected(n, 5e-324) for expected in EXPECTED] == pytest.approx(
        exact, rel=ACCURACY
    )


@pytest.mark.parametrize("sigma", [0.01, 0.4, 0.6, 1, 5, 20, 100])
def test_two_logits_are_one_logistic_integral(sigma):
    """With the gap Δ = √2 σ g: weights 1/(1 + e^{±Δ}) and ln Z = mean logit + ln(2 cosh(Δ/2))."""

    def over_gap(f):
        spread = np.sqrt(2) * sigma
        cuts = np.minimum([0, 1, 5, 40, 400, 2000], 12 * spread)
        integrand = lambda gap: f(gap) * np.exp(-((gap / spread) ** 2) / 2)  # noqa: E731
        pieces = zip(cuts[:-1], cuts[1:], strict=True)
        total = sum(
            quad(integrand, *ends, epsabs=0, epsrel=1e-12, limit=200)[0]
            for ends in pieces
            if ends[0] < ends[1]
        )
        return 2 * total / (spread * np.sqrt(2 * np.pi))

    trace = over_gap(lambda gap: 2 * expit(gap) * expit(-gap))
    log_z = over_gap(lambda gap: gap / 2 + np.log1p(np.exp(-gap)))
    entropy = over_gap(lambda gap: entr(expit(gap)) + entr(expit(-gap)))
    computed = [expected(2, sigma) for expected in EXPECTED]
    assert computed == pytest.approx(
        [1 - trace, trace, log_z, entropy], rel=ACCURACY, abs=0
    )


# --- the squared norm of the Jacobian ------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 10**9])
def test_norm_at_equal_logits(n):
    exact = (n - 1) / n**2
    assert expected_squared_jacobian_norm(n, 0) == exact
    assert expected_squared_jacobian_norm(n, 1e-9) == pytest.approx(
        exact, rel=OF_NORM, abs=0
    )


@pytest.mark.parametrize("sigma", [0.01, 0.4, 0.6, 1, 5, 20, 100])
def test_norm_for_two_logits_is_one_logistic_integral(sigma):
    """‖J‖² = 4 (a b)² for weights a and b = 1 - a, whose logits differ by √2 σ g."""
    spread = np.sqrt(2) * sigma

    def integrand(gap):
        return (
            4
            * (expit(gap) * expit(-gap)) ** 2
            * np.exp(-((gap / spread) ** 2) / 2)
        )

    cuts = np.minimum(
        [0, 1, 5, 40], 12 * spread
    )  # beyond 40 it is below e^{-80}
    pieces = [
        p for p in zip(cuts[:-1], cuts[1:], strict=True) if p[0] < p[1]
    ]
    total = sum(
        quad(integrand, *p, epsabs=0, epsrel=1e-12, limit=200)[0]
        for p in pieces
    )
    exact = 2 * total / (spread * np.sqrt(2 * np.pi))
    assert expected_squared_jacobian_norm(2, sigma) == pytest.approx(
        exact, rel=OF_NORM, abs=0
    )


@pytest.mark.parametrize("n, sigma", [(3, 0.3), (64, 1), (1024, 3)])
def test_norm_from_the_weights_own_moments(n, sigma):
    """E ‖J‖² = E Σa² - 2 E Σa³ + E (Σa²)², each by a nested integral over x = ln t.

    With m_p = E w^p e^{-w}: E Σa³ = n/2 ∫ m₃ φ^{n-1} dx, and
    E (Σa²)² = n/6 ∫ (m₄ φ^{n-1} + (n-1) m₂² φ^{n-2}) dx.
    """
    g, h = np.linspace(-12, 12, 601, retstep=True)
    density = np.exp(-g * g / 2) * h / np.sqrt(2 * np.pi)
    x, step = np.linspace(-90, 36, 631, retstep=True)
    w = lambda at: np.exp(np.minimum(at + sigma * g, 700))  # noqa: E731
    m = np.array(
        [
            [w(at) ** p * np.exp(-w(at)) @ density for p in range(5)]
            for at in x
        ]
    ).T
    ipr = n * step * (m[2] @ m[0] ** (n - 1))
    cubes = n / 2 * step * (m[3] @ m[0] ** (n - 1))
    squares = (
        n
        / 6
        * step
        * (m[4] @ m[0] ** (n - 1) + (n - 1) * m[2] ** 2 @ m[0] ** (n - 2))
    )
    assert ipr == pytest.approx(
        expected_inverse_participation_ratio(n, sigma), rel=1e-9
    )
    exact = ipr - 2 * cubes + squares
    assert expected_squared_jacobian_norm(n, sigma) == pytest.approx(
        exact, rel=1e-8
    )


@pytest.mark.parametrize(
    "n, sigma", [(2, 1), (64, 0.3), (64, 3), (1024, 1), (1024, 10)]
)
def test_norm_lies_within_four_and_a_half_standard_errors_of_monte_carlo(
    n, sigma
):
    rows = np.random.default_rng(n).standard_normal((2 * 10**6 // n, n))
    norm = concentration.jacobian_norm(softmax(sigma * rows)) ** 2
    error = norm.std() / np.sqrt(len(norm))
    assert error < 0.04 * norm.mean()
    assert (
        abs(norm.mean() - expected_squared_jacobian_norm(n, sigma))
        < 4.5 * error
    )


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 10**9), sigma=st.floats(0, 100))
def test_norm_lies_between_its_bounds(n, sigma):
    """(E Tr J)²/(n-1) ≤ E ‖J‖² ≤ ½ E Tr J: J has rank n - 1 and no eigenvalue above ½."""
    norm, trace = (
        expected_squared_jacobian_norm(n, sigma),
        expected_jacobian_trace(n, sigma),
    )
    assert trace**2 / (n - 1) <= norm * (1 + OF_NORM)
    assert norm <= trace / 2 * (1 + OF_NORM)


def test_norm_at_many_equal_and_at_many_frozen_logits():
    assert 10**9 * expected_squared_jacobian_norm(
        10**9, 1
    ) == pytest.approx(np.e, rel=1e-6)
    limit = frozen_squared_jacobian_norm(0.5)
    gap = [
        abs(expected_squared_jacobian_norm(n, 2 * critical(n)) / limit - 1)
        for n in (10**3, 10**6, 10**9)
    ]
    assert gap == sorted(gap, reverse=True) and gap[-1] < 0.05


# --- a tie at the top ----------------------------------------------------------------

# (n, E of the largest of n): n ∫ x Φ'(x) Φ(x)^{n-1} dx by mpmath.quad at 30 digits.
LARGEST = [
    (2, 0.56418958354775628695),
    (3, 0.84628437532163443042),
    (5, 1.1629644736405196128),
    (64, 2.343733465079439946),
    (128, 2.5945973685994666831),
    (1024, 3.2482396013754123419),
    (10**6, 4.8628974861964627212),
    (10**9, 6.0876845844459586505),
]


@pytest.mark.parametrize("n, exact", LARGEST)
def test_density_of_a_tie_is_the_mean_of_the_largest(n, exact):
    assert lead_density_at_zero(n) == pytest.approx(
        exact, rel=ACCURACY, abs=0
    )


@pytest.mark.parametrize("n", [2, 64, 10**9])
def test_density_of_a_tie_in_many_digits(n):
    mp = mpmath.mp
    with mp.workdps(20):

        def integrand(x):
            below = mp.log1p(-mp.erfc(x / mp.sqrt(2)) / 2)
            return n * (n - 1) * mp.npdf(x) ** 2 * mp.exp((n - 2) * below)

        top = mp.sqrt(2 * mp.log(n))
        cuts = [
            -10,
            -4,
            0,
            top / 2,
            top - 1,
            top,
            top + 1,
            top + 4,
            top + 9,
        ]
        exact = mp.quad(integrand, cuts)
    assert lead_density_at_zero(n) == pytest.approx(
        float(exact), rel=ACCURACY, abs=0
    )


def test_density_of_a_tie_known_by_name():
    assert lead_density_at_zero(1) == 0
    by_name = [
        1,
        3 / 2,
        6 / np.pi * np.arctan(np.sqrt(2)),
        5 / 4 + 15 / (2 * np.pi) * np.arcsin(1 / 3),
    ]
    computed = [lead_density_at_zero(n) for n in (2, 3, 4, 5)]
    assert computed == pytest.approx(
        np.array(by_name) / np.sqrt(np.pi), rel=1e-13, abs=0
    )


@pytest.mark.parametrize("n", [2, 5, 128])
def test_density_of_a_tie_counts_small_leads_of_random_rows(n):
    """P(lead < h) = p₀ h, but for a term of order h², below 2 % here."""
    samples, h = 10**6 // n * 2, 0.01
    rows = np.random.default_rng(n).standard_normal((samples, n))
    second, first = np.partition(rows, (n - 2, n - 1), axis=1)[:, -2:].T
    for measured, allowed in (
        ((first - second < h) / h, 0.02),
        (first, 0),
    ):
        error = measured.std() / np.sqrt(samples)
        p = lead_density_at_zero(n)
        assert error < 0.07 * p
        assert abs(measured.mean() - p) < 4.5 * error + allowed * p


@pytest.mark.parametrize("n", [2, 3, 128, 10**4])
def test_limits_of_trace_and_norm_at_fixed_n(n):
    """σ E Tr J = p₀ (1 - π²/(12 σ²) + …); σ E ‖J‖² = p₀/3 + c/σ + …, c ruled out here."""
    p = lead_density_at_zero(n)
    trace = 100 * expected_jacobian_trace(n, 100)
    assert trace == pytest.approx(
        p * (1 - np.pi**2 / 12 / 100**2), rel=2e-5, abs=0
    )
    half, whole = (
        sigma * expected_squared_jacobian_norm(n, sigma)
        for sigma in (50, 100)
    )
    assert 2 * whole - half == pytest.approx(p / 3, rel=2e-3, abs=0)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 10**9), sigma=st.floats(0.001, 100))
def test_trace_stays_below_its_limit_at_fixed_n(n, sigma):
    """And p₀ rises with n, below √(2 ln n)."""
    p = lead_density_at_zero(n)
    assert sigma * expected_jacobian_trace(n, sigma) < p * SLACK
    assert lead_density_at_zero(n - 1) < p * SLACK
    assert p < critical(n)


def test_density_of_a_tie_does_not_depend_on_the_grid(monkeypatch):
    coarse = [lead_density_at_zero(n) for n in (2, 1000, 10**9)]
    monkeypatch.setattr(random_energy, "STEP", 0.17)
    fine = [lead_density_at_zero(n) for n in (2, 1000, 10**9)]
    assert coarse == pytest.approx(fine, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    "n, error, message",
    [
        (0, ValueError, "n must be at least 1, got 0"),
        (10**9 + 1, ValueError, "n must be at most 1000000000"),
        (64.0, TypeError, "n must be an integer, got 64.0"),
    ],
)
def test_density_of_a_tie_refuses_what_is_no_count(n, error, message):
    with pytest.raises(error, match=message):
        lead_density_at_zero(n)
    assert type(lead_density_at_zero(np.int64(7))) is float


# --- identities and bounds -----------------------------------------------------------

rows = {"n": st.integers(2, 10**9), "sigma": st.floats(0, 100)}
SLACK = 1 + ACCURACY


@settings(max_examples=25, deadline=None)
@given(**rows)
def test_identities_and_bounds(n, sigma):
    ipr, trace, log_z, entropy = (
        expected(n, sigma) for expected in EXPECTED
    )
    assert ipr + trace == pytest.approx(1, rel=ACCURACY)
    # Stein, as far as the difference keeps its digits.
    assert entropy + sigma**2 * trace == pytest.approx(log_z, rel=ACCURACY)
    assert 1 / n <= ipr * SLACK and ipr <= SLACK
    assert (
        -np.log(ipr) <= entropy * SLACK + ACCURACY
        and entropy <= np.log(n) * SLACK
    )
    # Jensen from both sides.
    assert np.log(n) <= log_z * SLACK and log_z <= SLACK * (
        np.log(n) + sigma**2 / 2
    )


@pytest.mark.parametrize("n", [2, 64, 10**9])
@pytest.mark.parametrize("sigma", [0.3, 0.5, 1, 6, 20, 99])
def test_slope_of_the_log_partition_is_sigma_times_the_trace(n, sigma):
    h = 1e-3 * sigma
    ahead, behind = (
        expected_log_partition(n, sigma + h),
        expected_log_partition(n, sigma - h),
    )
    slope = (ahead - behind) / (2 * h)
    assert slope == pytest.approx(
        sigma * expected_jacobian_trace(n, sigma), rel=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(**rows, wider=st.floats(0, 100), longer=st.integers(2, 10**9))
def test_monotone_in_sigma_and_in_n(n, sigma, wider, longer):
    (sigma, wider), (n, longer) = (
        sorted([sigma, wider]),
        sorted([n, longer]),
    )
    for expected, by_sigma, by_n in zip(
        EXPECTED, [1, -1, 1, -1], [-1, 1, 1, 1], strict=True
    ):
        here = expected(n, sigma)
        assert by_sigma * (expected(n, wider) - here) >= -ACCURACY * here
        assert by_n * (expected(longer, sigma) - here) >= -ACCURACY * here


@pytest.mark.parametrize("expected", EVERY)
@pytest.mark.parametrize("n", [2, 1000, 10**9])
def test_no_jump_where_the_quadrature_changes(expected, n):
    assert expected(n, 0.5 - 1e-13) == pytest.approx(
        expected(n, 0.5), rel=accuracy(expected), abs=0
    )


@pytest.mark.parametrize("expected", EVERY)
@pytest.mark.parametrize("n", [2, 3, 1000, 10**6, 10**9])
@pytest.mark.parametrize("sigma", [0.2, 0.7, 4, 9, 14, 40, 100])
def test_a_finer_rule_changes_nothing(expected, n, sigma, monkeypatch):
    coarse = expected(n, sigma)
    monkeypatch.setattr(random_energy, "STEP", 0.17)
    assert coarse == pytest.approx(
        expected(n, sigma), rel=accuracy(expected), abs=0
    )


# --- asymptotic forms, with their errors ---------------------------------------------


@pytest.mark.parametrize("n", [2, 10, 1000, 10**9])
@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.2])
def test_small_sigma(n, sigma):
    """To first order in σ², with an error of at most 0.51 σ⁴ (+ rounding)."""
    change = (1 - 1 / n) * sigma**2
    ipr, trace, log_z, entropy = (
        expected(n, sigma) for expected in EXPECTED
    )
    error = 0.51 * sigma**4 + ACCURACY
    assert n * ipr == pytest.approx(1 + change, abs=error)
    assert trace == pytest.approx(
        1 - (1 + change) / n, abs=error / n + 1e-11
    )
    assert log_z == pytest.approx(np.log(n) + change / 2, abs=error)
    assert entropy == pytest.approx(np.log(n) - change / 2, abs=error)


@pytest.mark.parametrize("n", [300, 10**4, 10**6])
def test_many_logits_at_sigma_one(n):
    """The 1/n terms of E ln Z and E H, with an error of at most 30/n²."""
    error, e = 30 / n**2 + 1e-11, np.e
    log_z, entropy = expected_log_partition(n, 1), expected_entropy(n, 1)
    assert log_z == pytest.approx(
        np.log(n) + 0.5 - (e - 1) / (2 * n), abs=error
    )
    assert entropy == pytest.approx(
        np.log(n) - 0.5 + (e + 1) / (2 * n), abs=error
    )


def test_participation_at_sigma_one_tends_to_e():
    scaled = [
        n * expected_inverse_participation_ratio(n, 1)
        for n in (64, 256, 1024, 4096)
    ]
    assert scaled == pytest.approx(
        [2.4835, 2.6456, 2.6987, 2.7133], abs=1e-4
    )
    assert 10**9 * expected_inverse_participation_ratio(
        10**9, 1
    ) == pytest.approx(np.e, rel=1e-7)


@pytest.mark.parametrize(
    "n, crossing",
    [(64, 19.37), (256, 29.22), (1024, 39.37), (65536, 70.67)],
)
def test_half_the_participation_is_reached_far_above_two_ln_n(n, crossing):
    """E Σa² = ½ at this σ², not at σ_c² = 2 ln n."""
    below, above = (
        expected_inverse_participation_ratio(n, np.sqrt(crossing + off))
        for off in (-0.01, 0.01)
    )
    assert below < 0.5 < above and crossing > 2 * 2 * np.log(n)


def test_participation_at_the_transition():
    """E Σa² → 1/√(π ln n) at σ_c, from above: 10 % over it at n = 1000, 7 % at 10⁹."""
    ns = [10, 10**3, 10**5, 10**7, 10**9]
    ratio = [
        expected_inverse_participation_ratio(n, critical(n))
        * np.sqrt(np.pi * np.log(n))
        for n in ns
    ]
    assert ratio == pytest.approx(
        [1.1186, 1.0992, 1.0838, 1.0744, 1.0678], abs=1e-4
    )


@pytest.mark.parametrize("m", [0.2, 0.5, 0.8])
def test_frozen_limits_are_approached_slowly(m):
    """From below, the gap closing like ln ln n / ln n.

    Most of it is the true edge of n normals, which lies below σ_c by the fraction
    (ln ln n + ln 4π) / (4 ln n).
    """
    gaps, entropies = [], []
    for n in (10**3, 10**6, 10**9):
        sigma, log_n = critical(n) / m, np.log(n)
        trace = expected_jacobian_trace(n, sigma)
        edge = m * (1 - (np.log(log_n) + np.log(4 * np.pi)) / (4 * log_n))
        assert abs(trace - edge) < 0.3 * (m - trace)
        gaps.append((m - trace) * log_n / np.log(log_n) / m)
        entropies.append(expected_entropy(n, sigma))
    assert max(gaps) < 0.7 and min(gaps) > 0.3
    assert sorted(entropies) == entropies and entropies[
        -1
    ] < frozen_entropy(m)


# --- the frozen limits ---------------------------------------------------------------


@pytest.mark.parametrize("m", [0.1, 0.3, 0.45])
def test_frozen_limits_lie_within_four_and_a_half_errors_of_broken_sticks(
    m,
):
    """PD(m, 0) in size-biased order: the k-th weight is Beta(1 - m, k m) of what is left."""
    samples, sticks = 10_000, 200
    rng = np.random.default_rng(int(100 * m))
    share = rng.beta(1 - m, m * np.arange(1, sticks + 1), (samples, sticks))
    left = np.cumprod(1 - share, axis=1)
    a = share * np.hstack([np.ones((samples, 1)), left[:, :-1]])
    # What the last sticks leave out, about 0.002 in the worst case, enters squared.
    draws = [
        (frozen_jacobian_trace, 1 - np.sum(a**2, axis=1)),
        (frozen_max_weight, a.max(axis=1)),
        (
            frozen_squared_jacobian_norm,
            np.sum(a**2 - 2 * a**3, axis=1) + np.sum(a**2, axis=1) ** 2,
        ),
    ]
    if m < 0.4:
        draws.append((frozen_entropy, entr(a).sum(axis=1)))
    for limit, draw in draws:
        error = draw.std() / np.sqrt(samples)
        assert error < 0.05 * limit(m)
        assert abs(draw.mean() - limit(m)) < 4.5 * error


@pytest.mark.parametrize(
    "m", [1e-300, 1e-12, 1e-3, 0.2, 0.5, 0.8, 0.999, 1 - 1e-12]
)
def test_frozen_limits_in_many_digits(m):
    mp = mpmath.mp
    with mp.workdps(40 + 300 * (m < 1e-20)):
        exact = mp.psi(0, 1) - mp.psi(0, 1 - mp.mpf(m))
    assert frozen_entropy(m) == pytest.approx(
        float(exact), rel=1e-13, abs=0
    )
    with mp.workdps(20):

        def integrand(v):
            rate, inner = (
                mp.exp(v),
                mp.gammainc(1 - mp.mpf(m), 0, mp.exp(v)),
            )
            return rate / (1 + mp.exp(rate) * rate**m * inner)

        low = mp.log(1 - mp.mpf(m))
        exact = mp.quad(integrand, [low - 60, low - 5, low, -1, 1, 4.5])
    assert frozen_max_weight(m) == pytest.approx(
        float(exact), rel=ACCURACY, abs=0
    )


def test_frozen_limits_known_by_name():
    assert frozen_entropy(0.5) == pytest.approx(2 * np.log(2), rel=1e-14)
    assert frozen_max_weight(0.5) == pytest.approx(
        0.6265075987, rel=1e-9
    )  # Brownian excursions
    for m in (0.1, 0.5, 0.9):
        assert frozen_entropy(m) == pytest.approx(
            digamma(1) - digamma(1 - m), rel=1e-13
        )
        assert frozen_jacobian_trace(m) == m
        assert frozen_squared_jacobian_norm(m) == pytest.approx(
            m * (1 - m) / 3, rel=1e-15
        )
        # 1 - a_max ≤ Tr J ≤ 2 (1 - a_max) on average.
        assert 1 - frozen_max_weight(m) < m < 2 * (1 - frozen_max_weight(m))


# --- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("expected", EVERY)
def test_scalars_in_a_float_out(expected):
    for n, sigma in [(1, 0), (7, 0), (7, 2), (np.int64(7), np.float32(2))]:
        assert type(expected(n, sigma)) is float
    assert expected(np.int32(7), np.float16(2)) == expected(7, 2)


@pytest.mark.parametrize("expected", EVERY)
@pytest.mark.parametrize(
    "n, sigma, error, message",
    [
        (0, 1, ValueError, "n must be at least 1, got 0"),
        (-5, 0, ValueError, "n must be at least 1"),
        (
            10**9 + 1,
            1,
            ValueError,
            "n must be at most 1000000000, got 1000000001",
        ),
        (10**400, 0, ValueError, "n must be at most"),
        (64.0, 1, TypeError, "n must be an integer, got 64.0"),
        (True, 1, TypeError, "n must be an integer"),
        (np.array([3]), 1, TypeError, "n must be an integer"),
        (
            3,
            -1e-9,
            ValueError,
            "sigma must be finite and at least 0, got -1e-09",
        ),
        (1, 100.5, ValueError, "sigma must be at most 100, got 100.5"),
        (3, np.nan, ValueError, "sigma must be finite"),
        (3, np.inf, ValueError, "sigma must be finite"),
        (3, 1 + 0j, TypeError, "sigma must be a real number"),
        (3, "1", TypeError, "sigma must be a real number"),
        (3, np.array([1.0]), TypeError, "sigma must be a real number"),
    ],
)
def test_outside_the_trusted_range_is_refused(
    expected, n, sigma, error, message
):
    with pytest.raises(error, match=message):
        expected(n, sigma)


@pytest.mark.parametrize("limit", FROZEN)
@pytest.mark.parametrize(
    "m, error, message",
    [
        (0, ValueError, "m must lie between 0 and 1, both excluded, got 0"),
        (1, ValueError, "m must lie between 0 and 1"),
        (-0.5, ValueError, "m must lie between 0 and 1"),
        (1.5, ValueError, "m must lie between 0 and 1"),
        (np.nan, ValueError, "m must be finite"),
        ("0.5", TypeError, "m must be a real number"),
        (np.array([0.5]), TypeError, "m must be a real number"),
    ],
)
def test_only_the_frozen_phase_has_frozen_limits(limit, m, error, message):
    with pytest.raises(error, match=message):
        limit(m)
