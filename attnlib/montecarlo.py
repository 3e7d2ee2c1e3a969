"""Monte Carlo over (d_k, n): what random queries and keys do to softmax (chapters 08 and 09).

The model is one query against n keys of width d_k, all entries independent and
standard normal, and new keys for every row. Rows are then independent, so a standard
error is the standard deviation over rows / √rows. (Rows that share their keys are
correlated, and the same formula would promise too much.)

Given the query, its logits are exactly independent N(0, |q|²), and |q|² is chi-squared
with d_k degrees of freedom: n + 1 draws a row replace (n + 1)·d_k.
"""

from concurrent.futures import BrokenExecutor, Executor
from itertools import product
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from attnlib._validate import finite_number, positive_integer, seed_number

# Logits of one task: about 0.1 s of work, so that a scheduler's ms per task do not count.
TASK = 2**22
# Numbers held at a time, logits and results: buffers of half a megabyte stay in cache.
BLOCK = 2**16
# Beyond this the fourth powers of the logits overflow.
LARGEST_SCALE = 1e60
# Exponentials are taken to base 2, which is faster.
LOG2E = np.log2(np.e)
# (count, mean, sum of squared deviations) of no rows at all
EMPTY = 0, 0.0, 0.0

QUANTITIES = (
    "variance",
    "entropy",
    "max_weight",
    "inverse_participation_ratio",
    "jacobian_trace",
    "jacobian_norm",
    "squared_jacobian_norm",
)


class Estimate(NamedTuple):
    """A mean over rows and its standard error, arrays (len(d_ks), len(ns))."""

    mean: np.ndarray
    error: np.ndarray


def sample_logits(rng, d_k, n, samples, *, scale=None, method="conditional"):
    """Rows of logits: scale · q·k_j for one random query and n random keys a row.

    Parameters
    ----------
    rng : numpy Generator, or an integer seed ≥ 0
    d_k, n, samples : int ≥ 1, the width, the keys of a row, the rows
    scale : None for 1/√d_k, a number from 0 to 1e60, or a function d_k -> number
    method : "conditional" draws |q|², then the row given it, in O(n) a row;
        "direct" draws the query and all its keys and multiplies, in O(n · d_k)

    Returns an array (samples, n) of independent rows. The two methods draw from the
    same law, not the same numbers. Source: chapter 09.
    """
    if not isinstance(rng, np.random.Generator):
        rng = np.random.default_rng(seed_number("rng", rng))
    d_k, n = positive_integer("d_k", d_k), positive_integer("n", n)
    logits = np.empty((positive_integer("samples", samples), n))
    scale = _number(scale, d_k)
    if not isinstance(method, str) or method not in ("conditional", "direct"):
        raise ValueError(f"method must be 'conditional' or 'direct', got {method!r}")
    if method == "conditional":
        norm = _draw(rng, d_k, logits)
        logits *= norm[:, None]
    else:
        for row in logits:
            query = rng.standard_normal(d_k)
            np.matmul(rng.standard_normal((n, d_k)), query, out=row)
    logits *= scale
    return logits


def sweep(d_ks, ns, *, samples, seed, scale=None, executor=None):
    """Concentration of a = softmax(scale · q·k) for every pair (d_k, n), by Monte Carlo.

    Parameters
    ----------
    d_ks, ns : sequences of int ≥ 1
    samples : int ≥ 2, independent rows for every pair
    seed : int ≥ 0
    scale : None for 1/√d_k, a number from 0 to 1e60, or a function d_k -> number
    executor : None to compute here, or any concurrent.futures.Executor

    Returns
    -------
    dict: for each name in `QUANTITIES` an `Estimate` (mean, error) of arrays
    (len(d_ks), len(ns)): the logits' variance (the mean of scale²(q·k)², the logits
    being centred), the entropy, the largest weight, Σa², Tr J, ‖J‖ and ‖J‖² (Frobenius)
    of a row. To plot Tr J against d_k, ``mean, error = sweep(...)["jacobian_trace"]``
    and ``plt.errorbar(d_ks, mean[:, 0], error[:, 0])``.

    Each task is seeded by what it computes (seed, d_k, n and its number) and the tasks'
    results are merged in their order: on machines of one kind every executor gives the
    same bits, and a pair's numbers do not depend on the rest of the grid. The draws do
    not depend on the scale, so arms with the same seed differ by their scale alone.
    Working memory is 2 MB, or two rows of logits. On a terminal a progress bar appears after two
    seconds. Three lines scale it to a cluster:

        from dask.distributed import Client
        client = Client("tcp://scheduler:8786")  # a worker that dies loses nothing
        sweep(d_ks, ns, samples=10**6, seed=0, executor=client.get_executor())

    Raises ValueError or TypeError naming the argument, and RuntimeError if a worker of
    a process pool died: never a partial result. Source: chapter 08.
    """
    d_ks, ns = _sizes("d_ks", d_ks), _sizes("ns", ns)
    samples, seed = positive_integer("samples", samples), seed_number("seed", seed)
    if samples < 2:
        raise ValueError(f"samples must be at least 2 for a standard error, got {samples}")
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            "executor must be None or a concurrent.futures.Executor (of a dask client: "
            f"client.get_executor()), got {executor!r}"
        )
    scales = {d_k: _number(scale, d_k) for d_k in d_ks}
    jobs = [
        (seed, d_k, n, task, min(rows, samples - task * rows), scales[d_k])
        for d_k, n in dict.fromkeys(product(d_ks, ns))
        for rows in [max(1, TASK // n)]
        for task in range(-(-samples // rows))
    ]
    totals = {}
    try:
        results = (map if executor is None else executor.map)(_task, jobs)
        # disable=None: no bar unless stderr is a terminal, so none in a notebook or a log
        bar = tqdm(results, "sweep", len(jobs), disable=None, delay=2)
        for (_, d_k, n, *_), part in zip(jobs, bar, strict=True):
            totals[d_k, n] = _merge(totals.get((d_k, n), EMPTY), part)
    except BrokenExecutor as error:
        raise RuntimeError(
            "a worker of the executor died, so the sweep has no result: if memory ran out, "
            "use fewer workers or a smaller n; then run it again with a new executor"
        ) from error
    grid = np.array([[totals[d_k, n][1:] for n in ns] for d_k in d_ks])
    means, errors = grid[..., 0, :], np.sqrt(grid[..., 1, :] / samples / (samples - 1))
    return {name: Estimate(means[..., i], errors[..., i]) for i, name in enumerate(QUANTITIES)}


def _task(job):
    """(rows, mean, sum of squared deviations) of every quantity over one task's rows."""
    seed, d_k, n, task, rows, scale = job
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(d_k, n, task)))
    height = min(rows, max(1, BLOCK // (n + len(QUANTITIES))))
    normal, weights = np.empty((2, height, n))
    total = EMPTY
    for start in range(0, rows, height):
        block = slice(0, min(height, rows - start))
        norm = _draw(rng, d_k, normal[block])
        values = _quantities(normal[block], scale * norm, weights[block])
        mean = values.mean(axis=1)
        deviation = ((values - mean[:, None]) ** 2).sum(axis=1)
        total = _merge(total, (values.shape[1], mean, deviation))
    return total


def _draw(rng, d_k, out):
    """Fill ``out`` (rows, n) with standard normals; return |q| of each row, (rows,)."""
    norm = np.sqrt(rng.chisquare(d_k, len(out)))
    rng.standard_normal(out=out)
    return norm


def _quantities(normal, gain, weights):
    """`QUANTITIES` of softmax(gain · normal), (7, rows); overwrites both (rows, n) buffers.

    With e_j = exp(s_j - max s), the winner's e is 1. Everything is written in the sums
    Σe, Σe², Σe³ over the *other* keys so that no digit is lost beside a winner, where
    1 - Σa² would be 0 long before the losers' weights are.
    """
    variance = gain**2 * np.einsum("ij,ij->i", normal, normal) / normal.shape[1]
    winner = normal.argmax(axis=1)[:, None]
    normal -= np.take_along_axis(normal, winner, axis=1)
    normal *= gain[:, None] * LOG2E
    np.exp2(normal, out=weights)
    np.put_along_axis(weights, winner, 0, axis=1)
    first = weights.sum(axis=1)
    mean_gap = np.einsum("ij,ij->i", weights, normal) / LOG2E
    np.multiply(weights, weights, out=normal)
    second = normal.sum(axis=1)
    excess = second - np.einsum("ij,ij->i", normal, weights)  # Σe² - Σe³
    z = 1 + first
    squared_norm = ((first**2 + second) * (1 + second) + 2 * z * excess) / z**4
    return np.array([
        variance,
        np.log1p(first) - mean_gap / z,
        1 / z,
        (1 + second) / z**2,
        (2 * first + first**2 - second) / z**2,
        np.sqrt(squared_norm),
        squared_norm,
    ])  # fmt: skip


def _merge(one, other):
    """Count, mean and squared deviations of two samples together (Chan et al. 1983)."""
    (count, mean, deviation), (more, other_mean, other_deviation) = one, other
    total, step = count + more, other_mean - mean
    deviation = deviation + other_deviation + step**2 * (count * more / total)
    return total, mean + step * (more / total), deviation


def _sizes(name, sizes):
    try:
        sizes = list(sizes)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of integers, got {sizes!r}") from None
    if not sizes:
        raise ValueError(f"{name} needs at least one integer, got {sizes!r}")
    return [positive_integer(name, size) for size in sizes]


def _number(scale, d_k):
    """The number that multiplies q·k at this width."""
    if scale is None:
        return d_k**-0.5
    number = finite_number("scale", scale(d_k) if callable(scale) else scale, 0)
    if number > LARGEST_SCALE:
        raise ValueError(f"scale must be at most {LARGEST_SCALE:g}, got {number:g}")
    return number
