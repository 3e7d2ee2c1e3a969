"""Make tests/data/torch_reference.npz: attention and its gradients as PyTorch computes them.

The tests compare attnlib with this file, so that a reader's `make test`
needs no torch; where torch is installed they also make the file's content
again and compare. Needs numpy and torch.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

OUTPUT = (
    Path(__file__).resolve().parents[1]
    / "tests"
    / "data"
    / "torch_reference.npz"
)

# name: shapes of query, key and value; then what differs from the defaults.
ATTENTION = {
    "plain": ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6), {}),
    "two axes": ((5, 4), (7, 4), (7, 3), {}),
    "unscaled": ((2, 5, 4), (2, 5, 4), (2, 5, 4), {"scale": 1.0}),
    "scale 0": ((2, 5, 4), (2, 5, 4), (2, 5, 4), {"scale": 0.0}),
    "scale 0.3": ((2, 5, 4), (2, 5, 4), (2, 5, 4), {"scale": 0.3}),
    "large": ((2, 5, 4), (2, 6, 4), (2, 6, 4), {"magnitude": 10.0}),
    "causal L<S": ((2, 4, 3), (2, 7, 3), (2, 7, 3), {"is_causal": True}),
    "causal L=S": ((2, 6, 3), (2, 6, 3), (2, 6, 3), {"is_causal": True}),
    "causal L>S": ((2, 7, 3), (2, 4, 3), (2, 4, 3), {"is_causal": True}),
    "bool mask": ((2, 5, 4), (2, 6, 4), (2, 6, 4), {"mask": "bool"}),
    "additive mask": (
        (2, 5, 4),
        (2, 6, 4),
        (2, 6, 4),
        {"mask": "additive"},
    ),
    "bool mask, causal": (
        (2, 6, 4),
        (2, 6, 4),
        (2, 6, 4),
        {"mask": "bool", "is_causal": True},
    ),
    "masked rows": ((2, 5, 4), (2, 6, 4), (2, 6, 4), {"mask": "rows"}),
    "broadcast": ((2, 3, 5, 4), (1, 3, 6, 4), (3, 6, 2), {}),
    "broadcast query": (
        (5, 4),
        (2, 6, 4),
        (2, 1, 6, 2),
        {"is_causal": True},
    ),
    "no keys": ((2, 3, 4), (2, 0, 4), (2, 0, 5), {}),
    "no queries": ((2, 0, 4), (2, 3, 4), (2, 3, 5), {}),
    "float32": ((2, 5, 8), (2, 6, 8), (2, 6, 8), {"dtype": "float32"}),
    "float16": (
        (2, 5, 8),
        (2, 6, 8),
        (2, 6, 8),
        {"dtype": "float16", "mask": "bool"},
    ),
}
# name: shape of x, heads, whether causal.
LAYERS = {
    "one head": ((2, 5, 6), 1, False),
    "three heads": ((2, 5, 6), 3, False),
    "causal layer": ((3, 6, 8), 4, True),
}


def attention_case(
    seed, shapes, *, dtype="float64", mask=None, magnitude=1.0, **options
):
    """(arrays by argument name, options, torch's results) of one case."""
    rng = np.random.default_rng(seed)
    lead = np.broadcast_shapes(*(s[:-2] for s in shapes))
    drawn = dict(zip(("query", "key", "value"), shapes, strict=True))
    drawn["grad_output"] = lead + (shapes[0][-2], shapes[2][-1])
    arrays = {
        name: rng.normal(size=s).astype(dtype) for name, s in drawn.items()
    }
    arrays["query"] *= magnitude
    scores_shape = (shapes[0][-2], shapes[1][-2])
    if mask == "additive":
        arrays["attn_mask"] = rng.normal(size=scores_shape).astype(dtype)
        arrays["attn_mask"][0, 0] = -np.inf
    elif mask is not None:
        arrays["attn_mask"] = rng.random(scores_shape) < 0.6
        arrays["attn_mask"][:, 0] = True
        if mask == "rows":
            arrays["attn_mask"][1:3] = False
    return arrays, options, torch_attention(**arrays, **options)


def torch_attention(
    query,
    key,
    value,
    grad_output,
    attn_mask=None,
    is_causal=False,
    scale=None,
):
    """Output and gradients by torch, float16 through float32; leading axes broadcast by hand."""
    dtype = query.dtype
    wide = np.promote_types(dtype, np.float32)
    leaves = [
        torch.tensor(x.astype(wide), requires_grad=True)
        for x in (query, key, value)
    ]
    lead = torch.broadcast_shapes(*(x.shape[:-2] for x in leaves))
    # One more axis at the front: torch asks for a batch axis.
    expanded = [x.expand(1, *lead, *x.shape[-2:]) for x in leaves]
    if attn_mask is not None:
        attn_mask = torch.tensor(
            attn_mask if attn_mask.dtype == bool else attn_mask.astype(wide)
        )
    output = functional.scaled_dot_product_attention(
        *expanded, attn_mask=attn_mask, is_causal=is_causal, scale=scale
    )[0]
    output.backward(torch.tensor(grad_output.astype(wide)))
    results = [
        output.detach(),
        *(
            torch.zeros_like(x) if x.grad is None else x.grad
            for x in leaves
        ),
    ]
    names = ("output", "grad_query", "grad_key", "grad_value")
    return {
        name: x.numpy().astype(dtype)
        for name, x in zip(names, results, strict=True)
    }


def layer_case(seed, shape, heads, is_causal):
    """(arrays by argument name, options, torch's results) of one multi-head layer."""
    rng = np.random.default_rng(seed)
    d = shape[-1]
    arrays = {
        "x": rng.normal(size=shape),
        "grad_output": rng.normal(size=shape),
    }
    weights = ("w_query", "w_key", "w_value", "w_output")
    arrays |= {
        name: rng.normal(size=(d, d)) / np.sqrt(d) for name in weights
    }
    options = {"heads": heads, "is_causal": is_causal}
    return arrays, options, torch_layer(**arrays, **options)


def torch_layer(
    grad_output, x, w_query, w_key, w_value, w_output, heads, is_causal
):
    """Output and gradients of torch's own multi-head attention, which holds transposed weights."""
    n, d = x.shape[-2:]
    leaves = [
        torch.tensor(a, requires_grad=True)
        for a in (x, w_query, w_key, w_value, w_output)
    ]
    sequence_first = leaves[0].transpose(0, 1)
    future = (
        torch.ones(n, n, dtype=torch.bool).triu(1) if is_causal else None
    )  # True: left out
    output, _ = functional.multi_head_attention_forward(
        sequence_first,
        sequence_first,
        sequence_first,
        d,
        heads,
        torch.cat([w.T for w in leaves[1:4]]),
        None,
        None,
        None,
        False,
        0.0,
        leaves[4].T,
        None,
        need_weights=False,
        attn_mask=future,
    )
    output = output.transpose(0, 1)
    output.backward(torch.tensor(grad_output))
    names = (
        "grad_x",
        "grad_w_query",
        "grad_w_key",
        "grad_w_value",
        "grad_w_output",
    )
    grads = {
        name: leaf.grad.numpy()
        for name, leaf in zip(names, leaves, strict=True)
    }
    return {"output": output.detach().numpy()} | grads


def reference():
    """Every array of the file by its name "case/argument", and the manifest."""
    torch.manual_seed(0)
    made = {
        f"attention/{name}": attention_case(seed, shapes[:3], **shapes[3])
        for seed, (name, shapes) in enumerate(ATTENTION.items())
    }
    made |= {
        f"layer/{name}": layer_case(seed, *case)
        for seed, (name, case) in enumerate(LAYERS.items(), start=100)
    }
    manifest = {
        "made by": "scripts/make_torch_reference.py",
        "torch": torch.__version__.partition("+")[
            0
        ],  # without the build's +cpu
        "cases": {case: options for case, (_, options, _) in made.items()},
    }
    arrays = {
        f"{case}/{name}": np.ascontiguousarray(array)
        for case, (inputs, _, results) in made.items()
        for name, array in (inputs | results).items()
    }
    return {"manifest": np.array(json.dumps(manifest)), **arrays}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    path = parser.parse_args().output
    np.savez_compressed(path, **reference())
    print(f"{path.name}: {path.stat().st_size} bytes")
