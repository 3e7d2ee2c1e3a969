"""Scaled dot-product attention, forward and backward (chapters 2, 6, 7).

Arrays are laid out (..., length, width), at least two axes; leading axes
(batch, heads) broadcast. L counts queries, S counts keys and values.

Masks. ``attn_mask`` broadcasts to (..., L, S). A boolean mask keeps where
it is True; a floating one is added to the scaled scores. ``is_causal`` and
rows of different lengths, ``np.arange(S) < lengths[:, None, None, None]``,
combine with it. A query with every key masked, or with no key at all (S =
0), gets weights, output and gradients of exactly 0. A mask adds -inf, so a
NaN behind it stays a NaN.

Scale. ``scale`` multiplies q·k; None means 1/√d_k; 1 is the unscaled
attention that the book is about. It multiplies the query before the
product, so that with a scale below 1 a raw score too large for the dtype
need not exist on the way (partial sums of the product can still overflow).

Dtypes. The common dtype of the arguments is returned; lists and integers
become float64; float16 is computed in float32, and rounded once at the end.
Truth values, complex numbers and text raise TypeError. Shapes that do not
fit raise ValueError naming both. Overflow and NaN show in the result, with
numpy's warning.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from attnlib._validate import (
    Array,
    computing,
    conversion,
    floating,
    output_gradient,
    per_head,
    positive_integer,
)

Causal = bool | Literal["lower_right"]
# Scores held at a time: 2 MB in float32, so that they stay in cache.
BLOCK = 2**19
# Scores within ±60 need no shift: float32 holds the sum of exponentials.
BOUNDED = 60


def default_scale(d_k: int) -> float:
    """The factor in front of q·k that this book is about: 1/√d_k.

    Parameters
    ----------
    d_k : int ≥ 1
        Width of one head's queries and keys, not of the model.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If ``d_k`` is no integer, or below 1.

    Notes
    -----
    Source: chapter 6; Vaswani et al. (2017), section 3.2.1.
    """
    d_k = positive_integer("d_k", d_k)
    return 1 / math.sqrt(d_k)


def dot_product_scores(
    query: ArrayLike,
    key: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Scores of every query against every key: s_ij = scale · q_i·k_j.

    Parameters
    ----------
    query : array_like, shape (..., L, d_k)
    key : array_like, shape (..., S, d_k)
    scale : float ≥ 0 or array_like, shape (heads, 1, 1), optional
        1/√d_k (`default_scale`) unless told; an array has one for each head
        of the query.
    enable_gqa : bool
        Query (..., H, L, d_k) and key (..., G, S, d_k): H/G consecutive
        heads of the query share a head of the key.

    Returns
    -------
    ndarray, shape (..., L, S)
        Row i holds the scores of query i: scale · Q Kᵀ.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit, see the module's notes.

    Notes
    -----
    Source: chapter 2; Vaswani et al. (2017), equation 1.
    """
    query, key, dtype = computing(query=query, key=key, min_ndim=2)
    query, key = _broadcast_lead(enable_gqa, query=query, key=key)
    scale = _scale(scale, query, key)
    scores = (scale * query) @ np.swapaxes(key, -1, -2)
    return scores.astype(dtype, copy=False)


def masked_scores(
    scores: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    is_causal: Causal = False,
) -> Array:
    """A copy of the scores with -inf where a key may not be seen.

    Parameters
    ----------
    scores : array_like, shape (..., L, S)
    attn_mask : array_like, broadcasts to (..., L, S), optional
        Boolean (True keeps) or floating (added).
    is_causal : bool or "lower_right"
        True: query i sees keys 0 … i, aligned at the top left.
        "lower_right": query i sees keys 0 … S - L + i, so that the last
        query sees all, as when L queries continue a cache.

    Returns
    -------
    ndarray, shape (..., L, S)
        In the scores' dtype; -inf, or the floating mask, is added.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit, see the module's notes.

    Notes
    -----
    Source: chapter 7.
    """
    scores = np.array(floating("scores", scores, 2))
    mask = _broadcast_mask(attn_mask, scores.shape)
    _mask_in_place(
        scores, mask, _last_key_seen(is_causal, *scores.shape[-2:])
    )
    return scores


def masked_softmax(
    scores: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    is_causal: Causal = False,
) -> Array:
    """Softmax along the rows, over the keys that each query may see.

    Parameters
    ----------
    scores, attn_mask, is_causal
        As in `masked_scores`; is_causal=True: query i sees keys 0 … i.

    Returns
    -------
    ndarray, shape (..., L, S)
        Each row sums to 1, or is 0 where everything is masked; in the
        scores' dtype.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit, see the module's notes.

    Notes
    -----
    Source: chapters 3 and 7.
    """
    scores, dtype = computing(scores=scores)
    scores = masked_scores(scores, attn_mask, is_causal=is_causal)
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    e = np.exp(scores - np.where(top == -np.inf, 0, top))
    total = e.sum(axis=-1, keepdims=True)
    return (e / np.where(total == 0, 1, total)).astype(dtype, copy=False)


def attention_weights(
    query: ArrayLike,
    key: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Attention weights: softmax along rows of the masked, scaled scores.

    Parameters
    ----------
    query, key, scale, enable_gqa
        As in `dot_product_scores`.
    attn_mask, is_causal
        As in `masked_scores`; is_causal=True: query i sees keys 0 … i.

    Returns
    -------
    ndarray, shape (..., L, S)
        Each row sums to 1, or is 0 where everything is masked.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit, see the module's notes.

    Notes
    -----
    Source: chapters 3 and 6; Vaswani et al. (2017), equation 1.
    """
    query, key, dtype = computing(query=query, key=key)
    scores = dot_product_scores(
        query, key, scale=scale, enable_gqa=enable_gqa
    )
    weights = masked_softmax(scores, attn_mask, is_causal=is_causal)
    return weights.astype(dtype, copy=False)


def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Attention: o_i = Σ_j a_ij v_j with a = softmax(scale · Q Kᵀ) by rows.

    Parameters
    ----------
    query : array_like, shape (..., L, d_k)
    key : array_like, shape (..., S, d_k)
    value : array_like, shape (..., S, d_v)
    attn_mask, is_causal, scale, enable_gqa
        As in `attention_weights`; is_causal=True: query i sees keys 0 … i.

    Returns
    -------
    ndarray, shape (..., L, d_v)
        The weights times the values, in the arguments' common dtype.
        Working memory is a block of rows of weights, however large L is.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit, see the module's notes.

    Notes
    -----
    Source: chapter 7; Vaswani et al. (2017), equation 1.
    """
    query, key, value, scale, dtype = _prepare(
        query, key, value, scale, enable_gqa
    )
    output = np.empty(query.shape[:-1] + value.shape[-1:], query.dtype)
    for head, rows, cols, weights, total in _row_blocks(
        query, key, value, attn_mask, is_causal, scale
    ):
        block = output[head][rows]
        np.matmul(weights, value[head][cols], out=block)
        block /= total
    return output.astype(dtype, copy=False)


def scaled_dot_product_attention_vjp(
    grad_output: ArrayLike,
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
    enable_gqa: bool = False,
) -> tuple[Array, Array, Array]:
    """Gradients of a scalar loss through `scaled_dot_product_attention`.

    Parameters
    ----------
    grad_output : array_like, shape (..., L, d_v)
        Gradient of the loss with respect to the output.
    query, key, value, attn_mask, is_causal, scale, enable_gqa
        As in the forward call; is_causal=True: query i sees keys 0 … i.

    Returns
    -------
    grad_query, grad_key, grad_value : ndarrays
        Each of its argument's own shape: leading axes that were broadcast,
        and heads that were shared, are summed over. The weights are
        recomputed block by block; nothing L × S is stored.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit, see the module's notes.

    Notes
    -----
    Source: chapter 7, derived from chapter 4's softmax gradient.
    """
    shapes = [np.shape(x) for x in (query, key, value)]
    query, key, value, scale, dtype = _prepare(
        query, key, value, scale, enable_gqa
    )
    grad_output = output_gradient(
        grad_output, query.shape[:-1] + value.shape[-1:]
    ).astype(query.dtype, copy=False)
    grads = [np.zeros(x.shape, x.dtype) for x in (query, key, value)]
    grad_query, grad_key, grad_value = grads
    height = min(block_rows(key.shape[-2]), query.shape[-2])
    spare = np.empty(height * key.shape[-2], query.dtype)
    for head, rows, cols, weights, total in _row_blocks(
        query, key, value, attn_mask, is_causal, scale, grad_output
    ):
        weights /= total
        grad = grad_output[head][rows]
        grad_value[head][cols] += weights.T @ grad
        grad_scores = spare[: weights.size].reshape(weights.shape)
        np.matmul(grad, value[head][cols].T, out=grad_scores)
        _softmax_vjp_in_place(weights, grad_scores)
        grad_query[head][rows] = grad_scores @ key[head][cols]
        grad_key[head][cols] += grad_scores.T @ query[head][rows]
    grad_query *= scale
    grad_key *= scale
    return tuple(
        _unbroadcast(grad, shape).astype(dtype)
        for grad, shape in zip(grads, shapes, strict=True)
    )


def block_rows(source: int) -> int:
    """How many rows of scores against so many keys are held at a time.

    Below 64 the products lose speed, above 256 they gain none.
    """
    return min(256, max(64, BLOCK // max(source, 1)))


def _row_blocks(
    query, key, value, attn_mask, is_causal, scale, grad_output=None
):
    """Unnormalised weights and row sums of a head, one block at a time.

    Yields (head, rows, cols, weights, total). ``weights`` is a buffer that
    the next step reuses. Under ``is_causal`` the columns that no row of the
    block may see are left out, unless something there could be NaN or
    overflow: then all are computed, so that the answer never depends on the
    block. ``grad_output`` is what the backward multiplies the values with.
    """
    length, source = query.shape[-2], key.shape[-2]
    mask = _broadcast_mask(attn_mask, query.shape[:-1] + (source,))
    last = _last_key_seen(is_causal, length, source)
    largest = float(scale.max(initial=0))
    skip = last is not None and _all_finite(
        query, key, value, attn_mask, largest, grad_output
    )
    bounded = _are_bounded(query, key, mask, largest)
    height = block_rows(source)
    buffer = np.empty(min(height, length) * source, query.dtype)
    for head in np.ndindex(query.shape[:-2]):
        for start in range(0, length, height):
            rows = slice(start, min(start + height, length))
            seen = max(rows.stop + last, 0) if skip else source
            cols = slice(0, min(seen, source))
            size = rows.stop - start, cols.stop
            weights = buffer[: size[0] * size[1]].reshape(size)
            scaled = scale[head] * query[head][rows]
            np.matmul(scaled, key[head][cols].T, out=weights)
            block_mask = None if mask is None else mask[head][rows, cols]
            _mask_in_place(
                weights, block_mask, None if last is None else start + last
            )
            yield head, rows, cols, weights, _exponentiate(weights, bounded)


def _exponentiate(scores, bounded):
    """exp(scores - row maximum) in place; returns the row sums, 1 where 0.

    Scores that are ``bounded`` are not shifted: it would take time, no
    more.
    """
    if not bounded:
        top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
        top[top == -np.inf] = 0  # a fully masked row: exp(-inf - 0) = 0
        scores -= top
    np.exp(scores, out=scores)
    # A product with ones adds up faster than sum does.
    total = scores @ np.ones((scores.shape[-1], 1), scores.dtype)
    total[total == 0] = 1
    return total


def _softmax_vjp_in_place(weights, grad):
    """Turn the gradient by the weights into the gradient by the scores."""
    mean = np.einsum("ij,ij->i", weights, grad)
    grad -= mean[:, None]
    grad *= weights


def _mask_in_place(scores, mask, last):
    """Add -inf where a boolean mask or the future forbids, or a mask.

    ``last`` is the last key that the first query may see, see
    `_last_key_seen`.
    """
    if mask is not None and mask.dtype == bool:
        np.add(scores, -np.inf, out=scores, where=~mask)
    elif mask is not None:
        scores += mask
    if last is not None:
        # Keys up to that one are in nobody's future.
        square = scores[..., max(last, 0) :]
        future = ~np.tri(*square.shape[-2:], k=min(last, 0), dtype=bool)
        np.add(square, -np.inf, out=square, where=future)


def _last_key_seen(is_causal, length, source):
    """The last key that query 0 sees, below 0 for none; None: no limit."""
    if isinstance(is_causal, bool | np.bool_):
        return 0 if is_causal else None
    if isinstance(is_causal, str) and is_causal == "lower_right":
        return source - length
    raise ValueError(
        f'is_causal must be a bool or "lower_right", got {is_causal!r}'
    )


def _prepare(query, key, value, scale, enable_gqa):
    """The arrays to compute with, the scale, and the dtype to return."""
    query, key, value, dtype = computing(
        query=query, key=key, value=value, min_ndim=2
    )
    if value.shape[-2] != key.shape[-2]:
        raise ValueError(
            "key and value must have one length, "
            f"got shapes {key.shape} and {value.shape}"
        )
    query, key, value = _broadcast_lead(
        enable_gqa, query=query, key=key, value=value
    )
    return query, key, value, _scale(scale, query, key), dtype


def _scale(scale, query, key):
    """The factor of q·k for each head, if both have one width."""
    if query.shape[-1] != key.shape[-1] or query.shape[-1] == 0:
        raise ValueError(
            "query and key must have one width d_k ≥ 1, "
            f"got shapes {query.shape} and {key.shape}"
        )
    if scale is None:
        scale = default_scale(query.shape[-1])
    return per_head("scale", scale, query.shape[:-2], query.dtype, 0)


def _broadcast_lead(enable_gqa, **named):
    """The named arrays, their leading axes broadcast together.

    With ``enable_gqa`` heads are repeated first, to the query's number.
    """
    arrays = list(named.values())
    heads = [x.shape[-3] if x.ndim > 2 else 0 for x in arrays]
    if enable_gqa and all(n and heads[0] % n == 0 for n in heads):
        arrays = [
            x if n == heads[0] else np.repeat(x, heads[0] // n, axis=-3)
            for x, n in zip(arrays, heads, strict=True)
        ]
    try:
        lead = np.broadcast_shapes(*(x.shape[:-2] for x in arrays))
    except ValueError:
        shapes = ", ".join(f"{name} {x.shape}" for name, x in named.items())
        raise ValueError(
            f"leading axes (batch, heads) do not broadcast: {shapes}; "
            "enable_gqa=True repeats heads that divide the query's"
        ) from None
    return [np.broadcast_to(x, lead + x.shape[-2:]) for x in arrays]


def _broadcast_mask(attn_mask, shape):
    if attn_mask is None:
        return None
    mask = np.asarray(attn_mask)
    if mask.dtype != bool and not np.issubdtype(mask.dtype, np.floating):
        raise TypeError(
            f"attn_mask must be boolean or floating, got dtype {mask.dtype}"
            + conversion("attn_mask", mask.dtype)
        )
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"attn_mask of shape {mask.shape} does not broadcast to "
            f"the scores' shape {shape}"
        ) from None


def _are_bounded(query, key, mask, scale):
    """Whether |q·k| ≤ ‖q‖‖k‖ keeps every score in ±BOUNDED, not for NaN."""
    if mask is not None and mask.dtype != bool:
        return False
    with np.errstate(over="ignore"):  # then it is not bounded
        squares = [np.einsum("...i,...i", x, x) for x in (query, key)]
    longest_query, longest_key = (x.max(initial=0) ** 0.5 for x in squares)
    return bool(scale * longest_query * longest_key <= BOUNDED)


def _largest(x):
    """Largest absolute entry, 0 for an empty array, NaN if one is NaN."""
    return float(max(x.max(initial=0), -x.min(initial=0)))


def _all_finite(query, key, value, attn_mask, scale, grad_output):
    """Whether no score and no product with a value can overflow."""
    score = _largest(query) * scale * _largest(key) * query.shape[-1]
    if attn_mask is not None and np.asarray(attn_mask).dtype != bool:
        score += float(
            np.max(attn_mask, initial=0)
        )  # -inf is what a mask is for
    product = _largest(value)
    if grad_output is not None:
        product *= _largest(grad_output) * value.shape[-1]
    largest = float(np.finfo(query.dtype).max)
    return score < largest and product < largest  # False for NaN


def _unbroadcast(grad, shape):
    """Sum over the leading axes along which an argument was broadcast.

    And over the heads of the query that shared one of the argument's.
    """
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    if len(shape) > 2 and 1 < shape[-3] < grad.shape[-3]:
        groups = grad.shape[:-3] + (shape[-3], -1) + shape[-2:]
        grad = grad.reshape(groups).sum(axis=-3)
    stretched = tuple(
        i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1
    )
    return grad.sum(axis=stretched, keepdims=True)
