"""Make book/data/training_runs.npz: the stored runs of chapter 10.

Every arm (1/√d_k, none, 1/d_k) and optimizer is first tuned: each learning
rate of a half-decade grid on tuning seeds; where none is sure, the best
three on further seeds; the highest mean accuracy wins, ties go to the lower
loss. Then it runs at that rate on seeds it has not seen. Each finished run
goes into the cache folder at once, so that a command that was interrupted
continues where it stood when it is given again. The result depends neither
on the order nor on the number of processes. Needs numpy, scipy and tqdm.
"""

import argparse
import hashlib
import inspect
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

# Before numpy is imported.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from tqdm import tqdm

from attnlib.attention import default_scale
from attnlib.concentration import entropy
from attnlib.retrieval import train
from attnlib.softmax import softmax

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "book" / "data" / "training_runs.npz"
CACHE = ROOT / "_build" / "training_runs"
POINTS = 50  # of a stored curve, each the mean over steps / POINTS steps
# Below this accuracy so many rates go through a second round.
SURE, FINALISTS = 0.95, 3
CURVES = ("loss", "gradient_norm", "checkpoint", "accuracy", "mean_entropy")

ARMS = {
    "scaled": default_scale,
    "raw": lambda d_k: 1.0,
    "1/d_k": lambda d_k: 1 / d_k,
}


def half_decades(first, last):
    """10^first … 10^last in steps of √10."""
    return [
        float(f"{10 ** (k / 2):.4g}")
        for k in range(round(2 * first), round(2 * last) + 1)
    ]


class Study(NamedTuple):
    """Cells (d_k × arm × optimizer) of one n and one budget of steps."""

    n: int
    steps: int
    d_ks: tuple
    arms: tuple
    grids: dict  # optimizer: learning rates
    tuning_seeds: range
    further_seeds: range  # of the second round
    seeds: range

    def cells(self):
        return [
            (self.n, self.steps, d_k, arm, optimizer)
            for d_k in self.d_ks
            for arm in self.arms
            for optimizer in self.grids
        ]


WIDE = {"sgd": half_decades(-2.5, 3), "adam": half_decades(-4, 0)}
NARROW = {"sgd": half_decades(-2, 0.5), "adam": half_decades(-4, -1.5)}
TUNING = range(100, 102), range(102, 106)
SHORT = range(100, 101), range(101, 103)  # of the long runs
EVERY = tuple(ARMS)
STUDIES = (
    Study(128, 250, (16, 64, 256, 1024), EVERY, WIDE, *TUNING, range(5)),
    Study(32, 250, (16, 256), EVERY, WIDE, *TUNING, range(5)),
    Study(256, 2000, (256,), ("scaled", "raw"), NARROW, *SHORT, range(3)),
    Study(128, 2000, (1024,), ("raw",), NARROW, *SHORT, range(3)),
)


class Spec(NamedTuple):
    """What identifies one run."""

    n: int
    steps: int
    d_k: int
    arm: str
    optimizer: str
    learning_rate: float
    seed: int

    @property
    def file_name(self):
        name = "_".join(map(str, self))
        return name.replace("/", "-over-") + ".npz"


def run(spec):
    """The stored form of one run: curves of POINTS means.

    They are float32, but for the checkpoints.
    """
    trained = train(
        spec.d_k,
        scale=ARMS[spec.arm](spec.d_k),
        optimizer=spec.optimizer,
        n=spec.n,
        learning_rate=spec.learning_rate,
        steps=spec.steps,
        seed=spec.seed,
    )
    curves = {name: getattr(trained, name) for name in CURVES}
    for name in ("loss", "gradient_norm"):
        curves[name] = curves[name].reshape(POINTS, -1).mean(axis=-1)
    curves = {name: x.astype(np.float32) for name, x in curves.items()}
    return curves | {"checkpoint": trained.checkpoint.astype(np.int32)}


def cache_folder(parent):
    """A folder for what this very code computes.

    Runs of changed code are not mixed in.
    """
    functions = train, softmax, entropy, default_scale
    modules = map(inspect.getmodule, functions)
    sources = [inspect.getsource(part) for part in (*modules, run)]
    text = "".join(sources) + str(POINTS)
    return parent / hashlib.sha256(text.encode()).hexdigest()[:12]


def store(path, arrays):
    """Write an .npz file all at once, or not at all.

    Not compressed, so that the bytes do not depend on the zlib in use.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    with unfinished.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(unfinished, path)


def load(path):
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def leave_with_parent():
    """Let a worker end when the command ends, however it ends.

    Ctrl-C is the command's business.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_all(specs, cache, processes, what):
    """Results in the order of ``specs``, from the cache or computed into it."""
    paths = {spec: cache / spec.file_name for spec in specs}
    missing = [spec for spec, path in paths.items() if not path.exists()]
    if len(missing) < len(paths):
        found = len(paths) - len(missing)
        print(f"{what}: {found} of {len(paths)} runs are in the cache")
    pool = ProcessPoolExecutor(processes, initializer=leave_with_parent)
    try:
        futures = {pool.submit(run, spec): spec for spec in missing}
        done = as_completed(futures)
        if futures:
            done = tqdm(done, what, len(futures), unit="run")
        for future in done:
            store(paths[futures[future]], future.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [load(path) for path in paths.values()]


def outcomes(trials, cache, processes, what):
    """The final accuracy and loss on each seed, by trial.

    ``trials`` are pairs (cell and rate, seeds).
    """
    specs = [
        Spec(*trial, seed) for trial, seeds in trials for seed in seeds
    ]
    results = run_all(specs, cache, processes, what)
    found = {trial: [] for trial, _ in trials}
    for spec, result in zip(specs, results, strict=True):
        end = result["accuracy"][-1], result["loss"][-1]
        found[spec[:-1]].append(end)
    return found


def tuned(studies, cache, processes):
    """(tuning table, {(n, steps, d_k, arm, optimizer): best learning rate})."""
    cells = {cell: study for study in studies for cell in study.cells()}
    rates = {
        cell: [(*cell, rate) for rate in study.grids[cell[-1]]]
        for cell, study in cells.items()
    }
    first = [
        (trial, cells[cell].tuning_seeds)
        for cell in cells
        for trial in rates[cell]
    ]
    found = outcomes(first, cache, processes, "tuning")

    def score(trial):
        accuracy, loss = np.mean(found[trial], axis=0)
        return len(found[trial]), accuracy, -loss, trial[-1]

    ranked = {
        cell: sorted(rates[cell], key=score, reverse=True) for cell in cells
    }
    unsure = [cell for cell in cells if score(ranked[cell][0])[1] < SURE]
    further = [
        (trial, cells[cell].further_seeds)
        for cell in unsure
        for trial in ranked[cell][:FINALISTS]
    ]
    second = outcomes(further, cache, processes, "tuning, second round")
    for trial, more in second.items():
        found[trial] += more
    rows = [
        (*trial, *np.mean(ends, axis=0), len(ends))
        for trial, ends in found.items()
    ]
    table = columns(Spec._fields[:-1] + ("accuracy", "loss", "seeds"), rows)
    best = {cell: max(map(score, rates[cell]))[-1] for cell in cells}
    return {f"tuning_{name}": x for name, x in table.items()}, best


def columns(names, rows):
    """A table's columns by name: text, float or int32 by what they hold."""
    dtypes = {
        str: None,
        int: np.int32,
        float: np.float64,
        np.float32: np.float32,
    }
    return {
        name: np.array(column, dtypes[type(column[0])])
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def training_runs(studies, cache, processes):
    """Every array of the npz file, by key."""
    table, best = tuned(studies, cache, processes)
    specs = [
        Spec(*cell, best[cell], seed)
        for study in studies
        for cell in study.cells()
        for seed in study.seeds
    ]
    results = run_all(specs, cache, processes, "runs at the tuned rate")
    curves = {
        name: np.array([result[name] for result in results])
        for name in CURVES
    }
    return columns(Spec._fields, specs) | curves | table


def main():
    """Make the runs that are missing; write the file, print its checksum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="the .npz file to write"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=CACHE,
        help="where finished runs are kept",
    )
    parser.add_argument(
        "--processes", type=int, default=2, help="how many run at a time"
    )
    options = parser.parse_args()
    cache = cache_folder(options.cache)
    try:
        runs = training_runs(STUDIES, cache, options.processes)
    except KeyboardInterrupt:
        print(f"\nInterrupted: what is finished is in {cache};")
        print("the same command continues.", flush=True)
        os._exit(130)  # a usual exit would wait for the runs under way
    store(options.output, runs)
    content = options.output.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    print(f"{options.output.name}: {len(content)} bytes, sha256 {digest}")


if __name__ == "__main__":
    main()
