"""attnlib beside what a reader would use instead: one run, one table, also as JSON.

    python benchmarks/bench.py [--json FILE] [--only WORD] [--rounds N]

The contenders of a case take turns, one thread each, and the clock is the process's own
CPU time, so that another program on the machine disturbs all of them alike. A ratio is the
median over the rounds of attnlib's time divided by the other's in the same round. Memory
is what numpy allocated at its peak, results included, in a first, uncounted round.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy and torch read them

import argparse
import functools
import gc
import json
import platform
import statistics
import time
import tracemalloc
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import scipy.special

import attnlib as attn
from attnlib.montecarlo import sample_logits, sweep

HEADS, WIDTH = 8, 64


@dataclass
class Case:
    """What is timed, by whom (attnlib first), and the ratios to reach: {other: most}."""

    name: str
    contenders: dict
    targets: dict = field(default_factory=dict)
    memory_targets: dict = field(default_factory=dict)
    rounds: int = 7


def textbook(query, key, value, is_causal=False):
    """Attention as tutorials write it in numpy, with every n × n matrix in memory."""
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return weights @ value


def two_products(query, key, value, exponentiate=False, block=attn.attention.BLOCK):
    """The floor: the two matrix products of attention, and exp if asked, in the same blocks."""
    output = np.empty_like(value)
    weights = np.empty((block, key.shape[-2]), query.dtype)
    for head in np.ndindex(query.shape[:-2]):
        for start in range(0, query.shape[-2], block):
            rows = slice(start, start + block)
            np.matmul(query[head][rows] / 8, key[head].T, out=weights)
            if exponentiate:
                np.exp(weights, out=weights)
            np.matmul(weights, value[head], out=output[head][rows])
    return output


def attention_cases(torch):
    for n in (512, 2048, 8192):
        for dtype in ("float32", "float64"):
            if (n, dtype) == (8192, "float64"):
                continue  # the textbook would need 12 GiB
            rng = np.random.default_rng(n)
            arrays = rng.normal(size=(4, HEADS, n, WIDTH)).astype(dtype)
            yield from forward_cases(n, dtype, arrays[:3], torch)
            if n < 8192:
                yield backward_case(n, dtype, arrays, torch)


def forward_cases(n, dtype, arrays, torch):
    tensors = [torch.from_numpy(x) for x in arrays]
    torch_attention = torch.nn.functional.scaled_dot_product_attention
    to_torch = {512: None, 2048: {"float32": 1.40, "float64": 1.35}[dtype], 8192: None}[n]
    to_textbook = {512: 1 / 2, 2048: 1 / 2.5, 8192: None}[n]
    targets = {"torch": to_torch, "textbook": to_textbook}
    if n == 2048:
        targets["two products"] = 1.25
    yield Case(
        f"forward, n {n}, {dtype}",
        {
            "attnlib": functools.partial(attn.scaled_dot_product_attention, *arrays),
            "torch": functools.partial(torch_attention, *tensors),
            "textbook": functools.partial(textbook, *arrays),
            "two products": functools.partial(two_products, *arrays),
            "products, exp": functools.partial(two_products, *arrays, exponentiate=True),
        },
        targets,
        {"textbook": {512: None, 2048: 1 / 35, 8192: 1 / 150}[n]},
        rounds={512: 21, 2048: 9, 8192: 3}[n],
    )
    if n == 8192:
        return
    yield Case(
        f"causal, n {n}, {dtype}",
        {
            "attnlib": functools.partial(
                attn.scaled_dot_product_attention, *arrays, is_causal=True
            ),
            "torch": functools.partial(torch_attention, *tensors, is_causal=True),
            "textbook": functools.partial(textbook, *arrays, is_causal=True),
        },
        rounds={512: 21, 2048: 9}[n],
    )


def backward_case(n, dtype, arrays, torch):
    query, key, value, grad = (torch.from_numpy(x) for x in arrays)
    leaves = [x.clone().requires_grad_() for x in (query, key, value)]
    output = torch.nn.functional.scaled_dot_product_attention(*leaves)

    def autograd():
        # torch keeps its forward pass: its backward alone is timed, ours includes a recomputation.
        return torch.autograd.grad(output, leaves, grad, retain_graph=True)

    q, k, v, g = arrays
    return Case(
        f"backward, n {n}, {dtype}",
        {
            "attnlib": functools.partial(attn.scaled_dot_product_attention_vjp, g, q, k, v),
            "torch": autograd,
        },
        {"torch": 1.40 if n == 2048 else None},
        rounds={512: 15, 2048: 5}[n],
    )


def softmax_cases():
    x = np.random.default_rng(0).normal(size=(4096, 2048))
    yield Case(
        "softmax, 4096 × 2048, float64",
        {
            "attnlib": lambda: attn.softmax(x),
            "scipy": lambda: scipy.special.softmax(x, axis=-1),
            "exp alone": lambda: np.exp(x),
        },
        {"scipy": 0.45},
    )
    for n in (1024, 4096):
        rng = np.random.default_rng(n)
        a, g = attn.softmax(rng.normal(size=n)), rng.normal(size=n)
        yield Case(
            f"softmax vjp, n {n}",
            {
                "attnlib": functools.partial(repeat, 200, attn.softmax_vjp, a, g),
                "full Jacobian": functools.partial(repeat, 1, jacobian_product, a, g),
            },
            rounds=5,
        )


def repeat(times, function, *arguments):
    """Many calls where one is too short to time; the measured time is divided by it."""
    for _ in range(times):
        function(*arguments)


def jacobian_product(a, g):
    return attn.softmax_jacobian(a).T @ g


def sweep_cases():
    powers = [2**i for i in range(13)], [2**i for i in range(1, 15)]
    yield Case(
        "sweep, 13 × 14 grid, 256 rows each (target 3000 ms)",
        {"attnlib": lambda: sweep(*powers, samples=256, seed=0)},
        rounds=3,
    )
    yield Case(
        "sampling rows, d_k = n = 4096",
        {
            "attnlib": functools.partial(repeat, 1000, sample_logits, 0, 4096, 4096, 1),
            "direct loop": lambda: sample_logits(0, 4096, 4096, 1, method="direct"),
        },
        {"direct loop": 1 / 1000},
        rounds=5,
    )


def calls(function):
    """How often ``function`` repeats its work, see `repeat`."""
    is_repeat = isinstance(function, functools.partial) and function.func is repeat
    return function.args[0] if is_repeat else 1


def peak_memory(function):
    """MiB that numpy allocated at the peak of a call; torch's allocations do not show."""
    gc.collect()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def measure(case, rounds):
    memory = {
        who: None if who == "torch" else peak_memory(function)
        for who, function in case.contenders.items()
    }
    if "torch" in case.contenders:
        case.contenders["torch"]()  # its first call, like the others', is not counted
    times = {who: [] for who in case.contenders}
    for _ in range(rounds or case.rounds):
        for who, function in case.contenders.items():
            start = time.process_time()
            function()
            times[who].append((time.process_time() - start) / calls(function))
    rows = []
    for who, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(times["attnlib"], values, strict=True))
        rows.append(
            {
                "case": case.name,
                "who": who,
                "seconds": statistics.median(values),
                "peak_mib": memory[who],
                "ratio": ratio,
                "target": case.targets.get(who),
                "memory_ratio": memory["attnlib"] / memory[who] if memory[who] else None,
                "memory_target": case.memory_targets.get(who),
            }
        )
    return rows


def agreement(torch):
    """Largest difference from torch in float64, relative to the largest output."""
    arrays = np.random.default_rng(0).normal(size=(3, HEADS, 512, WIDTH))
    ours = attn.scaled_dot_product_attention(*arrays)
    theirs = torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, arrays))
    return float(np.abs(ours - theirs.numpy()).max() / np.abs(ours).max())


def show(row):
    def shown(value, target):
        if value is None:
            return ""
        text = f"{value:.3g}"
        return (
            text if target is None else f"{text} ({'≤' if value <= target else '>'} {target:.3g})"
        )

    memory = "" if row["peak_mib"] is None else f"{row['peak_mib']:.3g}"
    ratio = "" if row["who"] == "attnlib" else shown(row["ratio"], row["target"])
    memory_ratio = shown(row["memory_ratio"], row["memory_target"]) if row["memory_target"] else ""
    cells = (row["case"], row["who"], f"{1000 * row['seconds']:.4g}", ratio, memory, memory_ratio)
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, help="rounds of every case, instead of its own")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        raise SystemExit("torch is not installed: `make bench` installs it") from None
    torch.set_num_threads(1)

    machine = f"{platform.machine()}, numpy {np.__version__}, torch {torch.__version__}"
    print(f"{date.today()}, {machine}, one thread\n")
    print("| case | who | CPU ms | attnlib / who (target) | peak MiB | memory ratio (target) |")
    print("|---|---|---|---|---|---|")
    rows = []
    for cases in (attention_cases(torch), softmax_cases(), sweep_cases()):
        for case in cases:
            if arguments.only in case.name:
                for row in measure(case, arguments.rounds):
                    rows.append(row)
                    show(row)
    difference = agreement(torch)
    print(f"\nagreement with torch, float64, relative: {difference:.2g} (target 1e-14)")
    if arguments.json:
        report = {"machine": machine, "rows": rows, "agreement": difference}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
