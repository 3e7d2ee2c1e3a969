"""attnlib.montecarlo against exact cases, quadrature, one-shot numpy, and broken executors."""

import io
import itertools
import multiprocessing
import operator
import os
import signal
import sys
import threading
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import mpmath
import numpy as np
import pytest
import scipy.stats
import tqdm
from numpy.testing import assert_allclose, assert_array_equal

import attnlib
from attnlib import montecarlo
from attnlib.montecarlo import QUANTITIES, sample_logits, sweep

pytestmark = pytest.mark.filterwarnings("error")

# Of this process alone: tqdm's own lock is shared with forked children, and one
# that is killed while it holds it would stop all others.
tqdm.tqdm.set_lock(threading.RLock())

SPAWN = multiprocessing.get_context("spawn")
METHODS = pytest.mark.parametrize("method", ["conditional", "direct"])


def assert_same_bits(one, other):
    assert list(one) == list(other) == list(QUANTITIES)
    for name in QUANTITIES:
        assert_array_equal(one[name].mean, other[name].mean, err_msg=name)
        assert_array_equal(one[name].error, other[name].error, err_msg=name)


def by_hand(logits):
    """QUANTITIES of rows of logits, from the rest of attnlib."""
    a = attnlib.softmax(logits)
    norm = attnlib.jacobian_norm(a)
    names = [
        "entropy",
        "max_weight",
        "inverse_participation_ratio",
        "jacobian_trace",
    ]
    found = [getattr(attnlib, name)(a) for name in names]
    return np.array([(logits**2).mean(axis=-1), *found, norm, norm**2])


# exact cases


def test_one_key():
    for name, (mean, error) in sweep(
        [1, 7], [1], samples=9, seed=0
    ).items():
        if name != "variance":
            certain = name in ("max_weight", "inverse_participation_ratio")
            assert_array_equal(mean, [[certain], [certain]], err_msg=name)
            assert_array_equal(error, 0, err_msg=name)


@pytest.mark.parametrize("n", [2, 3, 1000])
def test_scale_zero_is_uniform(n):
    uniform = [
        0,
        np.log(n),
        1 / n,
        1 / n,
        1 - 1 / n,
        np.sqrt(n - 1) / n,
        (n - 1) / n**2,
    ]
    for expected, (mean, error) in zip(
        uniform,
        sweep([5], [n], samples=50, seed=1, scale=0).values(),
        strict=True,
    ):
        assert_allclose(mean, expected, rtol=1e-14)
        assert_allclose(error, 0, atol=1e-15)


@pytest.mark.parametrize("gain", [1e-8, 0.3, 1, 8, 60, 1000, 1e6])
@pytest.mark.parametrize("n", [2, 3, 50])
def test_quantities_of_a_row_keep_their_digits(n, gain):
    normal = np.random.default_rng(n).normal(size=(20, n))
    expected = by_hand(gain * normal)
    mpmath.mp.dps = 60
    for i, row in enumerate(
        gain * normal
    ):  # the entropy of rounded weights misses the winner's
        gaps = [mpmath.mpf(s) for s in row - row.max()]
        e = [mpmath.exp(gap) for gap in gaps]
        z = sum(e)
        expected[1, i] = mpmath.log(z) - sum(map(operator.mul, gaps, e)) / z
    found = montecarlo._quantities(
        normal, np.full(20, gain), np.empty_like(normal)
    )
    assert_allclose(found, expected, rtol=2e-14 * max(1, gain), atol=1e-40)


# the samplers


@METHODS
def test_moments_of_the_logits(method):
    """E s⁴ = 3 E|q|⁴, and within a row E s_1² s_2² = E|q|⁴ = d_k (d_k + 2)."""
    d_k, samples = 3, 40_000
    s = sample_logits(2, d_k, 2, samples, scale=1, method=method)
    fourth = d_k * (d_k + 2)
    for x, expected in [
        (s[:, 0], 0),
        (s[:, 0] ** 2, d_k),
        (s[:, 0] ** 4, 3 * fourth),
        (s[:, 0] * s[:, 1], 0),
        (s[:, 0] ** 2 * s[:, 1] ** 2, fourth),
        (
            s[:-1, 0] ** 2 * s[1:, 0] ** 2,
            d_k**2,
        ),  # rows do not share their keys
    ]:
        assert abs(x.mean() - expected) < 4 * x.std() / np.sqrt(len(x))


@pytest.mark.parametrize("d_k", [1, 2, 16])
def test_both_samplers_have_one_law(d_k):
    samples = 5000
    rows = [
        sample_logits(seed, d_k, 5, samples, scale=1, method=method)
        for seed, method in enumerate(["conditional", "direct"])
    ]
    first, spread = [s[:, 0] for s in rows], [s.std(axis=1) for s in rows]
    assert scipy.stats.ks_2samp(*first).pvalue > 1e-3
    assert scipy.stats.ks_2samp(*spread).pvalue > 1e-3
    one, other = (by_hand(s) for s in rows)
    error = np.sqrt((one.var(axis=1) + other.var(axis=1)) / samples)
    assert np.all(np.abs(one.mean(axis=1) - other.mean(axis=1)) < 4 * error)
    law = scipy.stats.kstest(first[0] / np.sqrt(d_k), "norm").pvalue
    assert (law < 1e-3) == (
        d_k < 16
    )  # the test has the power to see what is not normal


@METHODS
def test_seeds_and_scales_of_the_samplers(method):
    logits = sample_logits(5, 4, 3, 6, method=method)
    assert logits.shape == (6, 3) and logits.dtype == float
    assert_array_equal(
        sample_logits(np.int64(5), 4, 3, 6, method=method), logits
    )
    generator = np.random.default_rng(5)
    assert_array_equal(
        sample_logits(generator, 4, 3, 6, method=method), logits
    )
    assert np.all(
        sample_logits(generator, 4, 3, 6, method=method) != logits
    )
    for scale in 0.25, lambda d_k: 1 / d_k:
        assert_array_equal(
            sample_logits(5, 4, 3, 6, scale=scale, method=method),
            logits / 2,
        )


# the estimates


def test_variance_under_three_scales():
    d_ks = [1, 8, 10**6]
    for scale, expected in [
        (None, [1, 1, 1]),
        (1, d_ks),
        (lambda d_k: 1 / d_k, [1, 1 / 8, 1e-6]),
    ]:
        mean, error = sweep(
            d_ks, [16], samples=20_000, seed=3, scale=scale
        )["variance"]
        assert np.all(np.abs(mean[:, 0] - expected) < 4 * error[:, 0])
        assert np.all(error[:, 0] < 0.03 * np.array(expected))


@pytest.mark.parametrize(
    "d_k, scale", [(1, 1), (3, 2), (50, 1), (10**6, None)]
)
def test_two_keys_by_quadrature(d_k, scale):
    """For n = 2, s_1 - s_2 is N(0, 2|q|²) given q: two integrals give every mean."""
    factor = d_k**-0.5 if scale is None else scale
    quantile = (np.arange(500) + 0.5) / 500
    norm = np.sqrt(scipy.stats.chi2.ppf(quantile, d_k))
    gap = (
        factor * norm[:, None] * np.sqrt(2) * scipy.stats.norm.ppf(quantile)
    )
    expected = by_hand(np.stack([gap / 2, -gap / 2], axis=-1)).mean(
        axis=(1, 2)
    )
    found = sweep([d_k], [2], samples=20_000, seed=4, scale=scale)
    for name, exact in list(zip(QUANTITIES, expected, strict=True))[1:]:
        (mean,), (error,) = found[name].mean[0], found[name].error[0]
        assert abs(mean - exact) < 4 * error + 2e-4, name
        assert error < 0.006, name


def test_known_values_at_unit_variance():
    """n E Σa² for iid N(0, 1) logits: 2.48, 2.65, 2.70, to be e for many keys (theory, B3)."""
    ns = [64, 256, 1024]
    found = sweep([10**8], ns, samples=4000, seed=5)
    mean, error = found["inverse_participation_ratio"]
    assert np.all(
        np.abs(mean[0] * ns - [2.48, 2.65, 2.70])
        < 4 * error[0] * ns + 0.005
    )
    assert np.all(error[0] * ns < 0.02)
    mean, error = found["entropy"]  # E H ≈ ln n - ½ + (e + 1)/2n
    assert (
        abs(mean[0, 2] - np.log(1024) + 0.5 - (np.e + 1) / 2048)
        < 4 * error[0, 2] + 1e-4
    )


def test_standard_errors_are_honest():
    """Over 200 seeds the deviations, in units of their errors, have a standard deviation of 1."""
    runs = [
        sweep([4], [8], samples=400, seed=seed, scale=1)
        for seed in range(200)
    ]
    for name in QUANTITIES:
        mean, error = (
            np.array([run[name] for run in runs]).reshape(200, 2).T
        )
        z = (mean - mean.mean()) / error
        assert 0.85 < z.std() < 1.15, name


@pytest.mark.parametrize("rows_of_task, height", [(24, 7), (24, 1), (1, 1)])
def test_rows_are_merged_as_if_at_once(monkeypatch, rows_of_task, height):
    logits = 10 * rows_of_task if rows_of_task > 1 else 1
    monkeypatch.setattr(montecarlo, "TASK", logits)
    block = height * (10 + len(QUANTITIES)) if height > 1 else 1
    monkeypatch.setattr(montecarlo, "BLOCK", block)
    d_k, n, samples, seed = 3, 10, 101, 6
    rows = []
    for task in range(-(-samples // rows_of_task)):
        rng = np.random.default_rng(
            np.random.SeedSequence(seed, spawn_key=(d_k, n, task))
        )
        left = min(rows_of_task, samples - rows_of_task * task)
        while left > 0:
            rows.append(sample_logits(rng, d_k, n, min(height, left)))
            left -= height
    values = by_hand(np.concatenate(rows))
    assert values.shape == (len(QUANTITIES), samples)
    found = sweep([d_k], [n], samples=samples, seed=seed)
    for name, x in zip(QUANTITIES, values, strict=True):
        assert_allclose(found[name].mean, [[x.mean()]], rtol=1e-12)
        assert_allclose(
            found[name].error, [[scipy.stats.sem(x)]], rtol=1e-12
        )


def test_a_pair_does_not_depend_on_the_grid():
    whole = sweep([2, 8, 4], [3, 5, 9, 3], samples=20, seed=7)
    alone = sweep(np.array([8]), (9, 3), samples=20, seed=7)
    for name, (mean, error) in whole.items():
        assert mean.shape == error.shape == (3, 4)
        assert len(np.unique(mean)) == 9  # every pair has its own draws
        assert_array_equal(mean[:, 0], mean[:, 3])
        assert_array_equal(mean[1, 2:], alone[name].mean[0])
        assert_array_equal(error[1, 2:], alone[name].error[0])


def test_arms_of_scale_share_their_draws():
    scaled, raw = (
        sweep([16], [4], samples=20, seed=8, scale=s)["variance"]
        for s in (None, 1)
    )
    assert_allclose(raw, np.multiply(scaled, 16), rtol=1e-14)
    assert (
        scaled.mean != sweep([16], [4], samples=20, seed=9)["variance"].mean
    )


@pytest.mark.parametrize("n", [1, 64, 4096])
def test_memory_does_not_grow_with_samples(n):
    peaks = []
    for samples in 2**17 // n, 2**22 // n:
        tracemalloc.start()
        sweep([4], [n], samples=samples, seed=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 4e6
    assert peaks[1] < 1.1 * peaks[0] + 1e5


# executors


def test_every_executor_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(montecarlo, "TASK", 2**12)
    grid = {
        "d_ks": [1, 64],
        "ns": [2, 100, 3000],
        "samples": 90,
        "seed": 10,
    }
    serial = sweep(**grid)
    with ThreadPoolExecutor(3) as threads:
        assert_same_bits(sweep(**grid, executor=threads), serial)
    with ProcessPoolExecutor(2, mp_context=SPAWN) as processes:
        assert_same_bits(
            sweep(**grid, scale=lambda d_k: d_k**-0.5, executor=processes),
            serial,
        )


def sweep_and_kill(monkeypatch, executor, pids, **grid):
    """Run a sweep on ``executor``; once a few results are in, kill the first of ``pids()``.

    Returns the future of the sweep, which was still running when the worker died.
    """
    begun, merge = threading.Event(), montecarlo._merge
    seen = []

    def counted(*parts):
        seen.append(1)
        if len(seen) == 5:
            begun.set()
        return merge(*parts)

    with (
        monkeypatch.context() as patched,
        ThreadPoolExecutor(1) as background,
    ):
        patched.setattr(montecarlo, "_merge", counted)
        running = background.submit(sweep, **grid, executor=executor)
        assert begun.wait(60)
        os.kill(pids()[0], signal.SIGKILL)
        assert not running.done()
    return running


def test_a_worker_of_a_process_pool_is_killed(monkeypatch):
    monkeypatch.setattr(montecarlo, "TASK", 2**20)
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        running = sweep_and_kill(
            monkeypatch,
            pool,
            lambda: [p.pid for p in multiprocessing.active_children()],
            d_ks=[4],
            ns=[4096],
            samples=16_384,
            seed=11,
        )
        with pytest.raises(RuntimeError) as raised:
            running.result(60)
        assert str(raised.value) == (
            "a worker of the executor died, so the sweep has no result: if "
            "memory ran out, use fewer workers or a smaller n; then run it "
            "again with a new executor"
        )
        assert isinstance(raised.value.__cause__, BrokenProcessPool)
        # The same pool is of no more use.
        with pytest.raises(RuntimeError, match="^a worker of the executor"):
            sweep([4], [4], samples=2, seed=0, executor=pool)


def test_an_error_in_a_task_is_not_swallowed(monkeypatch):
    def fail(job):
        raise ZeroDivisionError

    monkeypatch.setattr(montecarlo, "_moments", fail)
    for executor in None, ThreadPoolExecutor(1):
        with pytest.raises(ZeroDivisionError):
            sweep([4], [4], samples=2, seed=0, executor=executor)


# the progress bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown_after(monkeypatch, stderr, seconds, tasks=50):
    """What a sweep whose tasks take so many seconds together has written."""
    now = itertools.count(0, seconds / tasks)
    clock = [0.0]
    moments = montecarlo._moments

    def slow(task):
        clock[0] = next(now)
        return moments(task)

    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(tqdm.std, "time", lambda: clock[0])
    monkeypatch.setattr(montecarlo, "_moments", slow)
    next(now)
    sweep(range(1, tasks + 1), [2], samples=2, seed=0)
    monkeypatch.undo()
    return stderr.getvalue()


def test_a_progress_bar_for_a_person_who_waits(monkeypatch):
    assert shown_after(monkeypatch, Terminal(), 1.9) == ""
    bar = shown_after(monkeypatch, Terminal(), 2.1)
    assert bar.split("\r")[-1].startswith("sweep: 100%|")
    assert "50/50 [00:02<00:00" in bar
    # like a notebook's, this stderr answers isatty() with False
    assert shown_after(monkeypatch, io.StringIO(), 60) == ""


# bad input

SAMPLE = {"rng": 0, "d_k": 2, "n": 2, "samples": 2}
SWEEP = {"d_ks": [2], "ns": [2], "samples": 2, "seed": 0}
NOT_INTEGERS = [None, 1.0, "1", True, np.nan, 1j, [1]]
SCALES = [
    (TypeError, "1"),
    (TypeError, True),
    (TypeError, 1j),
    (TypeError, [1.0]),
    (ValueError, -1),
    (ValueError, np.nan),
    (ValueError, np.inf),
    (ValueError, 1e300),
    (TypeError, lambda d_k: None),
    (ValueError, lambda d_k: -d_k),
]
BAD_SAMPLE = [
    *[(n, TypeError, x) for n in SAMPLE for x in NOT_INTEGERS],
    *[(n, ValueError, x) for n in ("d_k", "n", "samples") for x in (0, -1)],
    *[("scale", error, x) for error, x in SCALES],
    ("rng", ValueError, -1),
    ("rng", TypeError, np.random.RandomState(0)),
    *[("method", ValueError, x) for x in (None, "exact", 1, ["direct"])],
]
BAD_SWEEP = [
    *[(n, TypeError, x) for n in ("samples", "seed") for x in NOT_INTEGERS],
    *[("samples", ValueError, x) for x in (1, 0, -1)],
    ("seed", ValueError, -1),
    *[
        (n, TypeError, x)
        for n in ("d_ks", "ns")
        for x in (
            None,
            4,
            2.0,
            "12",
            [1.0],
            [True],
            [2, None],
            [[1, 2]],
            np.array(3),
            np.array([1.0]),
        )
    ],
    *[
        (n, ValueError, x)
        for n in ("d_ks", "ns")
        for x in ([], [0], [4, -1], "")
    ],
    *[("scale", error, x) for error, x in SCALES],
    *[
        ("executor", TypeError, x)
        for x in (0, "threads", object(), ThreadPoolExecutor)
    ],
]


@pytest.mark.parametrize(
    "function, good, bad",
    [(sample_logits, SAMPLE, BAD_SAMPLE), (sweep, SWEEP, BAD_SWEEP)],
    ids=["sample_logits", "sweep"],
)
def test_bad_input_is_named(function, good, bad):
    function(**good)
    for name, error, value in bad:
        with pytest.raises(error, match=rf"^{name} (must|needs)"):
            function(**{**good, name: value})


def test_the_largest_scale():
    found = sweep([1], [3], samples=2, seed=0, scale=1e60)
    assert all(np.isfinite(numbers).all() for numbers in found.values())
    with pytest.raises(ValueError, match="^scale must be at most 1e\\+60"):
        sweep([1], [3], samples=2, seed=0, scale=1.01e60)


def test_a_dask_client_is_not_an_executor():
    class Client:
        submit = map = None

        def __repr__(self):
            return "<Client>"

    with pytest.raises(TypeError) as raised:
        sweep(**SWEEP, executor=Client())
    assert str(raised.value) == (
        "executor must be None or a concurrent.futures.Executor "
        "(of a dask client: client.get_executor()), got <Client>"
    )
