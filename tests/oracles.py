"""What several test files compare with: the textbook formulas and torch's stored results."""

import importlib.util
import json
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def torch_reference(kind):
    """{case: (arrays by name, options)} of tests/data/torch_reference.npz."""
    with np.load(
        ROOT / "tests" / "data" / "torch_reference.npz"
    ) as archive:
        manifest = json.loads(str(archive["manifest"]))
        stored = {
            name: archive[name]
            for name in archive.files
            if name != "manifest"
        }
    cases = {}
    for case, options in manifest["cases"].items():
        prefix = case + "/"
        if case.startswith(kind + "/"):
            arrays = {
                n.removeprefix(prefix): x
                for n, x in stored.items()
                if n.startswith(prefix)
            }
            cases[case.removeprefix(kind + "/")] = arrays, options
    return cases


def script(name):
    """A script of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(
        name, ROOT / "scripts" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def textbook_weights(
    query, key, attn_mask=None, is_causal=False, scale=None
):
    """Softmax of the whole matrix of scores in float64, 0 in fully masked rows."""
    query, key = np.asarray(query, float), np.asarray(key, float)
    scale = 1 / np.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ np.swapaxes(key, -1, -2) * scale
    length, source = scores.shape[-2:]
    rows, columns = np.indices((length, source))
    if is_causal:
        before = source - length if is_causal == "lower_right" else 0
        scores = np.where(columns <= rows + before, scores, -np.inf)
    if attn_mask is not None and attn_mask.dtype == bool:
        scores = np.where(attn_mask, scores, -np.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isneginf(top), 0, top))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def loops_attention(
    query, key, value, scale=None, lengths=None, past=None, sink=None
):
    """What the ONNX operator Attention means, one weight after the other.

    Arrays (batch, heads, length, width). Heads of the query share heads of key
    and value in consecutive groups. ``lengths`` says how many keys of a batch
    entry are real; the others are padding. With ``past``, query i of a batch
    entry sees its keys 0 … past + i. ``scale`` and ``sink`` have one number a
    head; a sink is one more exponential in the sum. No key at all gives zeros.
    """
    batch, heads, length, width = query.shape
    groups, source = key.shape[1:3]
    output = np.zeros((batch, heads, length, value.shape[-1]))
    for b, h, i in np.ndindex(batch, heads, length):
        shared = h // (heads // groups)
        total = 0.0 if sink is None else np.exp(sink[h])
        for j in range(source):
            if lengths is not None and j >= lengths[b]:
                continue
            if past is not None and j > past[b] + i:
                continue
            score = 0.0
            for c in range(width):
                score += query[b, h, i, c] * key[b, shared, j, c]
            score *= width**-0.5 if scale is None else scale[h]
            output[b, h, i] += np.exp(score) * value[b, shared, j]
            total += np.exp(score)
        if total > 0:
            output[b, h, i] /= total
    return output


def textbook_attention(query, key, value, attn_mask=None, **options):
    return textbook_weights(query, key, attn_mask, **options) @ np.asarray(
        value, float
    )


def textbook_gradients(
    grad, query, key, value, attn_mask=None, is_causal=False, scale=None
):
    """Gradients by the product and chain rules, with the whole matrix in memory."""
    a = textbook_weights(query, key, attn_mask, is_causal, scale)
    scale = 1 / np.sqrt(query.shape[-1]) if scale is None else scale
    grad, query, key, value = (
        np.asarray(x, float) for x in (grad, query, key, value)
    )
    grad_weights = grad @ np.swapaxes(value, -1, -2)
    grad_scores = (
        a
        * (grad_weights - np.sum(a * grad_weights, axis=-1, keepdims=True))
        * scale
    )
    full = (
        grad_scores @ key,
        np.swapaxes(grad_scores, -1, -2) @ query,
        np.swapaxes(a, -1, -2) @ grad,
    )
    return [
        sum_to(g, x.shape)
        for g, x in zip(full, (query, key, value), strict=True)
    ]


def sum_to(grad, shape):
    """``grad`` summed over the axes along which an argument of ``shape`` was broadcast."""
    total = np.zeros(shape)
    for index in np.ndindex(grad.shape[:-2]):
        lead = index[len(index) - (len(shape) - 2) :]
        total[
            tuple(
                0 if n == 1 else i
                for i, n in zip(lead, shape, strict=False)
            )
        ] += grad[index]
    return total


def slope(loss, arrays, name, direction, step=1e-5):
    """Central difference of ``loss(**arrays)`` when one array moves along ``direction``."""
    ahead, behind = (
        loss(**{**arrays, name: arrays[name] + sign * step * direction})
        for sign in (1, -1)
    )
    return (ahead - behind) / (2 * step)
