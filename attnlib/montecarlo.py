"""Monte Carlo over (d_k, n): what random queries and keys do to softmax.

The model is one query against n keys of width d_k, all entries independent
and standard normal, and new keys for every row. Rows are then independent,
so a standard error is the standard deviation over rows / √rows. (Rows that
share their keys are correlated, and the same formula would promise too
much.)

Given the query, its logits are exactly independent N(0, ‖q‖²), and ‖q‖² is
chi-squared with d_k degrees of freedom: n + 1 draws a row replace
(n + 1)·d_k. Source: chapters 8 and 9.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from attnlib._validate import (
    Array,
    finite_number,
    positive_integer,
    seed_number,
)
from attnlib.attention import default_scale

Scale = float | Callable[[int], float] | None

# Logits of one task: about 0.1 s of work, beside which the milliseconds of
# a scheduler do not count.
TASK = 2**22
# Numbers held at a time, logits and results: half a megabyte, which stays
# in cache.
BLOCK = 2**16
# Beyond this the fourth powers of the logits overflow.
LARGEST_SCALE = 1e60
# Exponentials are taken to base 2, which is faster.
LOG2E = np.log2(np.e)

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
    """A mean over rows and its standard error.

    Attributes
    ----------
    mean, error : ndarray, shape (len(d_ks), len(ns))
    """

    mean: Array
    error: Array


class Task(NamedTuple):
    """Some rows of one pair (d_k, n): what one worker does at a time."""

    seed: int
    d_k: int
    n: int
    number: int
    rows: int
    scale: float


class Moments(NamedTuple):
    """Rows, and of each quantity its mean and sum of squared deviations."""

    count: int
    mean: Array | float
    deviation: Array | float


EMPTY = Moments(0, 0.0, 0.0)


def sample_logits(
    rng: np.random.Generator | int,
    d_k: int,
    n: int,
    samples: int,
    *,
    scale: Scale = None,
    method: str = "conditional",
) -> Array:
    """Rows of logits: scale · q·k_j for a random query and n random keys.

    Parameters
    ----------
    rng : numpy.random.Generator, or an int ≥ 0 as its seed
    d_k, n, samples : int ≥ 1
        The width, the keys of a row, the rows.
    scale : float from 0 to 1e60, or a function d_k -> float, optional
        1/√d_k unless told.
    method : {"conditional", "direct"}
        "conditional" draws ‖q‖², then the row given it, in O(n) a row;
        "direct" draws the query and all its keys and multiplies, in
        O(n · d_k). They draw from the same law, not the same numbers.

    Returns
    -------
    ndarray, shape (samples, n)
        Independent rows of float64.

    Raises
    ------
    TypeError, ValueError
        Naming the bad argument.

    Notes
    -----
    Source: chapter 9.
    """
    if not isinstance(rng, np.random.Generator):
        rng = np.random.default_rng(seed_number("rng", rng))
    d_k, n = positive_integer("d_k", d_k), positive_integer("n", n)
    samples = positive_integer("samples", samples)
    scale = _number(scale, d_k)
    logits = np.empty((samples, n))
    if method == "conditional":
        norm = _draw(rng, d_k, logits)
        logits *= norm[:, None]
    elif method == "direct":
        for row in logits:
            query = rng.standard_normal(d_k)
            np.matmul(rng.standard_normal((n, d_k)), query, out=row)
    else:
        raise ValueError(
            f"method must be 'conditional' or 'direct', got {method!r}"
        )
    logits *= scale
    return logits


def sweep(
    d_ks: Iterable[int],
    ns: Iterable[int],
    *,
    samples: int,
    seed: int,
    scale: Scale = None,
    executor: Executor | None = None,
) -> dict[str, Estimate]:
    """Concentration of a = softmax(scale · q·k) for every pair (d_k, n).

    Parameters
    ----------
    d_ks, ns : iterables of int ≥ 1
    samples : int ≥ 2
        Independent rows for every pair.
    seed : int ≥ 0
    scale : float from 0 to 1e60, or a function d_k -> float, optional
        1/√d_k unless told.
    executor : concurrent.futures.Executor, optional
        Where to compute; here unless told.

    Returns
    -------
    dict
        For each name in ``QUANTITIES`` a `montecarlo.Estimate` of arrays
        (len(d_ks), len(ns)): the logits' variance (the mean of
        scale²(q·k)², the logits being centred), the entropy in nats, the
        largest weight, Σa², Tr J, ‖J‖ and ‖J‖² (Frobenius) of a row.

    Raises
    ------
    TypeError, ValueError
        Naming the bad argument.
    RuntimeError
        If a worker of a process pool died: never a partial result.

    Notes
    -----
    Each task is seeded by what it computes (seed, d_k, n and its number)
    and the tasks' results are merged in their order: on machines of one
    kind every executor gives the same bits, and a pair's numbers do not
    depend on the rest of the grid. The draws do not depend on the scale, so
    arms with the same seed differ by their scale alone. Working memory is
    2 MB, or two rows of logits. On a terminal a progress bar appears after
    two seconds. With dask, three lines scale it to a cluster, where a
    worker that dies loses nothing::

        from dask.distributed import Client
        client = Client("tcp://scheduler:8786")
        sweep([64], [128], samples=10**6, seed=0,
              executor=client.get_executor())

    Source: chapter 8.

    Examples
    --------
    >>> found = sweep([8, 64], [128], samples=1000, seed=0, scale=1)
    >>> mean, error = found["jacobian_trace"]
    >>> mean.shape
    (2, 1)
    """
    d_ks, ns = _sizes("d_ks", d_ks), _sizes("ns", ns)
    samples = positive_integer("samples", samples)
    if samples < 2:
        raise ValueError(
            f"samples must be at least 2, for an error, got {samples}"
        )
    seed = seed_number("seed", seed)
    scales = {d_k: _number(scale, d_k) for d_k in d_ks}
    totals = {(d_k, n): EMPTY for d_k in d_ks for n in ns}
    tasks = [
        task
        for d_k, n in totals
        for task in _tasks(seed, d_k, n, samples, scales[d_k])
    ]
    results = _run(tasks, executor)
    # disable=None: no bar unless stderr is a terminal; none in a notebook.
    bar = tqdm(results, "sweep", len(tasks), disable=None, delay=2)
    for task, part in zip(tasks, bar, strict=True):
        pair = task.d_k, task.n
        totals[pair] = _merge(totals[pair], part)
    means = np.array([[totals[d_k, n].mean for n in ns] for d_k in d_ks])
    squares = np.array(
        [[totals[d_k, n].deviation for n in ns] for d_k in d_ks]
    )
    errors = np.sqrt(squares / samples / (samples - 1))
    return {
        name: Estimate(means[..., i], errors[..., i])
        for i, name in enumerate(QUANTITIES)
    }


def _tasks(seed, d_k, n, samples, scale):
    """The rows of one pair, in tasks of about `TASK` logits."""
    rows = max(1, TASK // n)
    return [
        Task(seed, d_k, n, number, min(rows, samples - start), scale)
        for number, start in enumerate(range(0, samples, rows))
    ]


def _run(tasks, executor):
    """The tasks' results, in their order."""
    if executor is None:
        yield from map(_moments, tasks)
        return
    if not isinstance(executor, Executor):
        raise TypeError(
            "executor must be None or a concurrent.futures.Executor "
            f"(of a dask client: client.get_executor()), got {executor!r}"
        )
    try:
        yield from executor.map(_moments, tasks)
    except BrokenExecutor as error:
        raise RuntimeError(
            "a worker of the executor died, so the sweep has no result: if "
            "memory ran out, use fewer workers or a smaller n; then run it "
            "again with a new executor"
        ) from error


def _moments(task):
    """`Moments` of every quantity over one task's rows."""
    seed, d_k, n, number, rows, scale = task
    sequence = np.random.SeedSequence(seed, spawn_key=(d_k, n, number))
    rng = np.random.default_rng(sequence)
    height = min(rows, max(1, BLOCK // (n + len(QUANTITIES))))
    normal, weights = np.empty((2, height, n))
    total = EMPTY
    for start in range(0, rows, height):
        block = slice(min(height, rows - start))
        norm = _draw(rng, d_k, normal[block])
        values = _quantities(normal[block], scale * norm, weights[block])
        mean = values.mean(axis=1)
        deviation = ((values - mean[:, None]) ** 2).sum(axis=1)
        total = _merge(total, Moments(values.shape[1], mean, deviation))
    return total


def _draw(rng, d_k, out):
    """Fill ``out`` (rows, n) with standard normals; |q| of each row."""
    norm = np.sqrt(rng.chisquare(d_k, len(out)))
    rng.standard_normal(out=out)
    return norm


def _quantities(normal, gain, weights):
    """`QUANTITIES` of softmax(gain · normal), (7, rows).

    Both buffers (rows, n) are overwritten. With e_j = exp(s_j - max s), the
    winner's e is 1. Everything is written in the sums Σe, Σe², Σe³ over the
    *other* keys so that no digit is lost beside a winner, where 1 - Σa²
    would be 0 long before the losers' weights are.
    """
    n = normal.shape[1]
    variance = gain**2 * np.einsum("ij,ij->i", normal, normal) / n
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
    entropy = np.log1p(first) - mean_gap / z
    max_weight = 1 / z
    ipr = (1 + second) / z**2
    trace = (2 * first + first**2 - second) / z**2
    squared_norm = (first**2 + second) * (1 + second) + 2 * z * excess
    squared_norm /= z**4
    norm = np.sqrt(squared_norm)
    return np.array(
        [variance, entropy, max_weight, ipr, trace, norm, squared_norm]
    )


def _merge(one, other):
    """Two samples together (Chan et al. 1983)."""
    count = one.count + other.count
    step = other.mean - one.mean
    mean = one.mean + step * (other.count / count)
    between = step**2 * (one.count * other.count / count)
    return Moments(count, mean, one.deviation + other.deviation + between)


def _sizes(name, sizes):
    try:
        sizes = list(sizes)
    except TypeError:
        raise TypeError(
            f"{name} must be a sequence of integers, got {sizes!r}"
        ) from None
    if not sizes:
        raise ValueError(
            f"{name} needs at least one integer, got {sizes!r}"
        )
    return [positive_integer(name, size) for size in sizes]


def _number(scale, d_k):
    """The number that multiplies q·k at this width."""
    if scale is None:
        return default_scale(d_k)
    if callable(scale):
        scale = scale(d_k)
    number = finite_number("scale", scale, 0)
    if number > LARGEST_SCALE:
        raise ValueError(
            f"scale must be at most {LARGEST_SCALE:g}, got {number:g}"
        )
    return number
