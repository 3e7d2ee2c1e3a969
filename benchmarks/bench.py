"""attnlib beside what a reader would use instead: one run, one table, also as JSON.

    python benchmarks/bench.py [--json FILE] [--readme FILE] [--only WORD]

The contenders of a case take turns, one thread each, and the clock is the process's
own CPU time, so that another program on the machine disturbs all of them alike. A
ratio is the median over the rounds of attnlib's time divided by the other's in the
same round. Memory is what numpy allocated at its peak, results included, in a first,
uncounted round. torch is held to its fused kernel, and the run fails where that is
not taken.
"""

import os

for variable in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
):
    os.environ[variable] = "1"  # before numpy and torch read them

import argparse
import gc
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import scipy.special

import attnlib as attn
from attnlib.attention import block_rows

HEADS, WIDTH = 8, 64
LENGTHS = (512, 2048, 8192)
# Most of the other's time that attnlib may take, and of the textbook's memory.
FORWARD = {512: 1.40, 2048: 1.35, 8192: 1.45}
BACKWARD = {"float32": 0.95, "float64": 0.75}
MEMORY = {512: None, 2048: 1 / 60, 8192: 1 / 200}
ROUNDS = {512: 15, 2048: 7, 8192: 3}
START, END = "<!-- make bench writes from here -->\n", "<!-- to here -->\n"


@dataclass
class Case:
    """What is timed, by whom (attnlib first), and the ratios to reach: {other: most}."""

    name: str
    contenders: dict[str, Callable[[], object]]
    rounds: int
    targets: dict[str, float] = field(default_factory=dict)
    memory_target: float | None = None
    calls: dict[str, int] = field(
        default_factory=dict
    )  # that one measurement holds


# --- the contenders --------------------------------------------------------------------


def textbook(query, key, value, is_causal=False):
    """Attention as tutorials write it in numpy, every n × n matrix in memory."""
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
    if is_causal:
        scores = np.where(
            np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf
        )
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return weights @ value


def products_and_exp(query, key, value):
    """The floor: attention's two matrix products and its exponentials, block by block."""
    output = np.empty_like(value)
    height = block_rows(key.shape[-2])
    weights = np.empty((height, key.shape[-2]), query.dtype)
    for head in np.ndindex(query.shape[:-2]):
        for start in range(0, query.shape[-2], height):
            rows = slice(start, start + height)
            block = weights[: len(query[head][rows])]
            np.matmul(query[head][rows] / 8, key[head].T, out=block)
            np.exp(block, out=block)
            np.matmul(block, value[head], out=output[head][rows])
    return output


def backward_products_and_exp(grad, query, key, value):
    """The backward's floor: five matrix products and the exponentials, block by block."""
    grad_query = np.empty_like(query)
    grad_key, grad_value = np.zeros_like(key), np.zeros_like(value)
    height = block_rows(key.shape[-2])
    weights = np.empty((height, key.shape[-2]), query.dtype)
    slopes = np.empty_like(weights)
    for head in np.ndindex(query.shape[:-2]):
        for start in range(0, query.shape[-2], height):
            rows = slice(start, start + height)
            q, g = query[head][rows] / 8, grad[head][rows]
            a, s = weights[: len(q)], slopes[: len(q)]
            np.matmul(q, key[head].T, out=a)
            np.exp(a, out=a)
            np.matmul(g, value[head].T, out=s)
            np.matmul(s, key[head], out=grad_query[head][rows])
            grad_value[head] += a.T @ g
            grad_key[head] += s.T @ q
    return grad_query, grad_key, grad_value


def fused(torch, *tensors, **options):
    """torch's fused attention; a RuntimeError where torch would fall back to another."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return torch.nn.functional.scaled_dot_product_attention(
            *tensors, **options
        )


def jacobian_product(a, g):
    return attn.softmax_jacobian(a).T @ g


def repeat(times, function, *arguments):
    """Many calls where one is too short to time."""
    for _ in range(times):
        function(*arguments)


# --- the cases -------------------------------------------------------------------------


def attention_cases(torch):
    for n in LENGTHS:
        for dtype in ("float32", "float64"):
            if (n, dtype) == (8192, "float64"):
                continue  # the textbook would need 12 GiB
            rng = np.random.default_rng(n)
            arrays = rng.normal(size=(4, HEADS, n, WIDTH)).astype(dtype)
            # Only with a batch axis (4-D) does torch take its fused kernel.
            tensors = [torch.from_numpy(x[None]) for x in arrays]
            yield forward(n, dtype, arrays[:3], tensors[:3], torch)
            yield causal(n, dtype, arrays[:3], tensors[:3], torch)
            if n < 8192:
                yield backward(n, dtype, arrays, tensors, torch)


def forward(n, dtype, arrays, tensors, torch):
    return Case(
        f"forward, n {n}, {dtype}",
        {
            "attnlib": partial(attn.scaled_dot_product_attention, *arrays),
            "torch": partial(fused, torch, *tensors),
            "textbook": partial(textbook, *arrays),
            "products and exp": partial(products_and_exp, *arrays),
        },
        rounds=ROUNDS[n],
        targets={"torch": FORWARD[n]},
        memory_target=MEMORY[n],
    )


def causal(n, dtype, arrays, tensors, torch):
    attention = attn.scaled_dot_product_attention
    return Case(
        f"causal, n {n}, {dtype}",
        {
            "attnlib": partial(attention, *arrays, is_causal=True),
            "torch": partial(fused, torch, *tensors, is_causal=True),
            "textbook": partial(textbook, *arrays, is_causal=True),
        },
        rounds=ROUNDS[n],
        targets={"torch": FORWARD[n]},
        memory_target=MEMORY[n],
    )


def backward(n, dtype, arrays, tensors, torch):
    *leaves, grad = (x.clone().requires_grad_() for x in tensors)
    output = fused(torch, *leaves)
    # torch keeps its forward pass, ours is recomputed: its backward alone is timed.
    autograd = partial(
        torch.autograd.grad, output, leaves, grad, retain_graph=True
    )
    *inputs, grad_output = arrays
    vjp = attn.scaled_dot_product_attention_vjp
    return Case(
        f"backward, n {n}, {dtype}",
        {
            "attnlib": partial(vjp, grad_output, *inputs),
            "torch": autograd,
            "products and exp": partial(
                backward_products_and_exp, grad_output, *inputs
            ),
        },
        rounds=ROUNDS[n],
        targets={"torch": BACKWARD[dtype]} if n == 2048 else {},
    )


def softmax_cases():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4096, 2048))
    yield Case(
        "softmax, 4096 × 2048, float64",
        {
            "attnlib": partial(attn.softmax, x),
            "scipy": partial(scipy.special.softmax, x, axis=-1),
            "exp alone": partial(np.exp, x),
        },
        rounds=5,
    )
    a, g = attn.softmax(rng.normal(size=4096)), rng.normal(size=4096)
    yield Case(
        "softmax vjp, n 4096",
        {
            "attnlib": partial(repeat, 200, attn.softmax_vjp, a, g),
            "full Jacobian": partial(jacobian_product, a, g),
        },
        rounds=5,
        calls={"attnlib": 200},
    )


def sweep_cases():
    powers = [2**i for i in range(13)], [2**i for i in range(1, 15)]
    yield Case(
        "sweep, 13 × 14 grid, 256 rows each",
        {"attnlib": partial(attn.sweep, *powers, samples=256, seed=0)},
        rounds=3,
    )
    one_row = 0, 4096, 4096, 1
    yield Case(
        "sampling rows, d_k = n = 4096",
        {
            "attnlib": partial(repeat, 1000, attn.sample_logits, *one_row),
            "direct": partial(
                attn.sample_logits, *one_row, method="direct"
            ),
        },
        rounds=5,
        targets={"direct": 1 / 1000},
        calls={"attnlib": 1000},
    )


# --- measuring -------------------------------------------------------------------------


def peak_memory(function):
    """MiB that numpy allocated at the peak of a call; torch's do not show."""
    gc.collect()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(case):
    """A row for every contender of a case."""
    memory = {who: peak_memory(f) for who, f in case.contenders.items()}
    times = {who: [] for who in case.contenders}
    for _ in range(case.rounds):
        for who, function in case.contenders.items():
            times[who].append(seconds(function) / case.calls.get(who, 1))
    ours = times["attnlib"]
    return [
        {
            "case": case.name,
            "who": who,
            "seconds": statistics.median(theirs),
            "ratio": statistics.median(np.divide(ours, theirs)),
            "target": case.targets.get(who),
            "peak_mib": None if who == "torch" else memory[who],
            "memory_ratio": memory["attnlib"] / memory[who],
            "memory_target": case.memory_target
            if who == "textbook"
            else None,
        }
        for who, theirs in times.items()
    ]


def agreement(torch):
    """Largest difference from torch in float64, relative to the largest output."""
    arrays = np.random.default_rng(0).normal(size=(3, 1, HEADS, 512, WIDTH))
    ours = attn.scaled_dot_product_attention(*arrays)
    theirs = fused(torch, *map(torch.from_numpy, arrays)).numpy()
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


# --- telling ---------------------------------------------------------------------------


def against(value, target):
    """A ratio, and whether it reaches its target."""
    if target is None:
        return f"{value:.3g}"
    return (
        f"{value:.3g} ({'≤' if value <= target else 'misses'} {target:.3g})"
    )


def inverse(ratio, target):
    """A memory ratio, as one part of so many."""
    text = f"1/{1 / ratio:.0f}"
    if target is None:
        return text
    return f"{text} ({'≤' if ratio <= target else 'misses'} 1/{1 / target:.0f})"


def line(row):
    """A row of the terminal's table."""
    is_ours = row["who"] == "attnlib"
    ratio = "" if is_ours else against(row["ratio"], row["target"])
    peak = row["peak_mib"]
    memory = "" if peak is None else f"{peak:.3g}"
    return f"{row['case']:34s} {row['who']:17s} {1e3 * row['seconds']:10.4g} {ratio:18s} {memory}"


def readme_table(rows, machine):
    """The attention cases as Markdown, and a sentence for each of the others."""
    cases = {}
    for row in rows:
        cases.setdefault(row["case"], {})[row["who"]] = row
    table = [
        f"On {date.today()}: {machine}.\n",
        "| 8 heads of width 64 | attnlib, CPU ms | ÷ torch, fused | ÷ textbook numpy |"
        " ÷ its products and exp | memory ÷ textbook |",
        "|---|---|---|---|---|---|",
    ]
    for name, who in cases.items():
        if "torch" not in who:
            continue
        book, floor = who.get("textbook"), who.get("products and exp")
        cells = [
            name,
            f"{1e3 * who['attnlib']['seconds']:.3g}",
            against(who["torch"]["ratio"], who["torch"]["target"]),
            f"{book['ratio']:.2f}" if book else "",
            f"{floor['ratio']:.2f}" if floor else "",
            inverse(book["memory_ratio"], book["memory_target"])
            if book
            else "",
        ]
        table.append(f"| {' | '.join(cells)} |")
    scipy_ratio = cases["softmax, 4096 × 2048, float64"]["scipy"]["ratio"]
    jacobian = cases["softmax vjp, n 4096"]["full Jacobian"]["ratio"]
    grid = cases["sweep, 13 × 14 grid, 256 rows each"]["attnlib"]["seconds"]
    table += [
        f"\nSoftmax of 4096 × 2048 takes {scipy_ratio:.2f} of scipy's time.",
        f"The vector-Jacobian product at n = 4096 is {1 / jacobian:,.0f} times faster than"
        " building the Jacobian.",
        "A whole Monte-Carlo grid (13 widths × 14 lengths up to 16 384, 256 rows each)"
        f" takes {grid:.1f} s.",
    ]
    return "\n".join(table) + "\n"


def write_readme(path, rows, machine):
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(
            f"{path} has no lines {START.strip()} … {END.strip()}"
        )
    table = readme_table(rows, machine)
    path.write_text(f"{before}{START}{table}{END}{after}", encoding="utf-8")


def processor():
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (
        x.partition(": ")[2] for x in lines if x.startswith("model name")
    )
    return next(names, platform.machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--json", type=Path, help="write the rows there, too"
    )
    parser.add_argument(
        "--readme", type=Path, help="write the table into this file"
    )
    parser.add_argument(
        "--only", default="", help="only cases with this in their name"
    )
    arguments = parser.parse_args()
    if arguments.readme and arguments.only:
        parser.error("--readme needs all cases: leave out --only")
    try:
        import torch
    except ImportError:
        raise SystemExit(
            "torch is not installed: `make bench` installs it"
        ) from None
    torch.set_num_threads(1)

    machine = (
        f"one thread of an {processor()}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}, torch {torch.__version__}"
    )
    print(f"{date.today()}, {machine}\n")
    print(
        f"{'case':34s} {'who':17s} {'CPU ms':>10s} {'attnlib / who':18s} peak MiB"
    )
    rows = []
    for cases in (attention_cases(torch), softmax_cases(), sweep_cases()):
        for case in cases:
            if arguments.only in case.name:
                measured = measure(case)
                print("\n".join(map(line, measured)), flush=True)
                rows += measured
    difference = agreement(torch)
    print(f"\nagreement with torch, float64, relative: {difference:.2g}")
    if arguments.json:
        report = {"machine": machine, "rows": rows, "agreement": difference}
        text = json.dumps(report, indent=1, ensure_ascii=False)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n")
    if arguments.readme:
        write_readme(arguments.readme, rows, machine)


if __name__ == "__main__":
    main()
