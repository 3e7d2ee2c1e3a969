"""Scaled dot-product attention and its vector-Jacobian product (chapters 02, 06, 07).

Arrays are laid out (..., length, width), at least two axes; leading axes (batch,
heads) broadcast. L counts queries, S counts keys and values.

Masks. ``attn_mask`` broadcasts to (..., L, S). A boolean mask keeps where it is
True; a floating one is added to the scaled scores. ``is_causal`` keeps key j for
query i where j ≤ i, aligned at the top left if L ≠ S, and combines with the mask.
A query with every key masked, or with no key at all (S = 0), gets weights, output
and gradients of exactly 0. A mask adds -inf, so a NaN behind it stays a NaN.

Scale. ``scale`` multiplies q·k; None means 1/√d_k; 1 is the unscaled attention
this book is about. It multiplies the query before the product, so that with a scale
below 1 a raw score too large for the dtype need not exist on the way (partial sums
of the product can still overflow).

Dtypes. The common dtype of the arguments is returned; float16 is computed in
float32. Integer, complex and object arrays raise TypeError. Shapes that do not fit
raise ValueError naming both. Overflow and NaN show in the result, without a warning.
"""

import numpy as np

from attnlib._validate import computing_dtype, finite_number, floating

# Rows of scores held at a time: a block of 256 × S stays in cache for usual S.
BLOCK = 256


@np.errstate(over="ignore", invalid="ignore")
def dot_product_scores(query, key, *, scale=None):
    """Scores of every query against every key: s_ij = scale · q_i·k_j.

    Parameters
    ----------
    query : array (..., L, d_k)
    key : array (..., S, d_k)
    scale : float ≥ 0, or None for 1/√d_k

    Returns
    -------
    array (..., L, S), row i holding the scores of query i. S = scale · Q Kᵀ.

    Source: chapter 02; Vaswani et al. (2017), equation 1.
    """
    (query, key), scale, returned = _prepare(scale, query=query, key=key)
    return _scores(query, key, scale).astype(returned, copy=False)


@np.errstate(over="ignore", invalid="ignore")
def attention_weights(query, key, attn_mask=None, *, is_causal=False, scale=None):
    """Attention weights: softmax along the rows of the masked, scaled scores.

    Parameters
    ----------
    query, key, scale : as in `dot_product_scores`
    attn_mask : bool (True keeps) or floating (added), broadcasts to (..., L, S)
    is_causal : bool

    Returns
    -------
    array (..., L, S): each row sums to 1, or is 0 where everything is masked.

    Source: chapters 03 and 06.
    """
    (query, key), scale, returned = _prepare(scale, query=query, key=key)
    weights = _scores(query, key, scale)
    mask = _prepare_mask(attn_mask, weights.shape)
    weights /= _exponentiate(weights, mask, 0 if is_causal else None)
    return weights.astype(returned, copy=False)


@np.errstate(over="ignore", invalid="ignore")
def masked_softmax(scores, attn_mask=None, *, is_causal=False):
    """Weights from scores that are already there: the second half of `attention_weights`.

    ``scores`` is an array (..., L, S) of floating dtype; the result has its shape and dtype.
    """
    scores = floating("scores", scores, 2)
    computing, returned = computing_dtype(scores)
    weights = masked_scores(scores.astype(computing, copy=False), attn_mask, is_causal=is_causal)
    weights /= _exponentiate(weights, None, None)
    return weights.astype(returned, copy=False)


@np.errstate(over="ignore", invalid="ignore")
def masked_scores(scores, attn_mask=None, *, is_causal=False):
    """A copy of ``scores`` (..., L, S) with -inf, or the floating mask, added."""
    scores = np.array(floating("scores", scores, 2))
    mask = _prepare_mask(attn_mask, scores.shape)
    _mask_in_place(scores, mask, 0 if is_causal else None)
    return scores


@np.errstate(over="ignore", invalid="ignore")
def scaled_dot_product_attention(
    query, key, value, attn_mask=None, *, is_causal=False, scale=None
):
    """Attention: o_i = Σ_j a_ij v_j with a = softmax(scale · Q Kᵀ) along rows.

    Parameters
    ----------
    query : array (..., L, d_k)
    key : array (..., S, d_k)
    value : array (..., S, d_v)
    attn_mask, is_causal, scale : as in `attention_weights`

    Returns
    -------
    array (..., L, d_v). Working memory is a block of 256 rows of weights, however
    large L is.

    Source: chapter 07; Vaswani et al. (2017), equation 1.
    """
    (query, key, value), scale, returned = _prepare(scale, query=query, key=key, value=value)
    output = np.empty(query.shape[:-1] + value.shape[-1:], query.dtype)
    for head, rows, cols, weights, total in _row_blocks(
        query, key, value, attn_mask, is_causal, scale
    ):
        block = output[head][rows]
        np.matmul(weights, value[head][cols], out=block)
        block /= total
    return output.astype(returned, copy=False)


@np.errstate(over="ignore", invalid="ignore")
def scaled_dot_product_attention_vjp(
    grad_output, query, key, value, attn_mask=None, *, is_causal=False, scale=None
):
    """Gradients of a scalar loss through `scaled_dot_product_attention`.

    Parameters
    ----------
    grad_output : array (..., L, d_v)
        Gradient of the loss with respect to the output.
    query, key, value, attn_mask, is_causal, scale : as in the forward call

    Returns
    -------
    (grad_query, grad_key, grad_value), each of its argument's own shape: leading
    axes that were broadcast are summed over. The weights are recomputed block by
    block; nothing L × S is stored.

    Source: chapter 07, derived from chapter 04's softmax gradient.
    """
    shapes = [np.shape(x) for x in (query, key, value)]
    (query, key, value), scale, returned = _prepare(scale, query=query, key=key, value=value)
    grad_output = floating("grad_output", grad_output, 2)
    expected = query.shape[:-1] + value.shape[-1:]
    if grad_output.shape != expected:
        raise ValueError(
            f"grad_output must have the output's shape {expected}, got {grad_output.shape}"
        )
    grad_output = grad_output.astype(query.dtype, copy=False)
    grad_query, grad_key, grad_value = (np.zeros(x.shape, x.dtype) for x in (query, key, value))
    spare = np.empty(min(BLOCK, query.shape[-2]) * key.shape[-2], query.dtype)
    for head, rows, cols, weights, total in _row_blocks(
        query, key, value, attn_mask, is_causal, scale, grad_output
    ):
        weights /= total
        grad = grad_output[head][rows]
        grad_value[head][cols] += weights.T @ grad
        grad_scores = spare[: weights.size].reshape(weights.shape)
        np.matmul(grad, value[head][cols].T, out=grad_scores)  # of the weights, so far
        grad_scores -= np.einsum("ij,ij->i", weights, grad_scores)[:, None]
        grad_scores *= weights
        grad_query[head][rows] = grad_scores @ key[head][cols]
        grad_key[head][cols] += grad_scores.T @ query[head][rows]
    grad_query *= scale
    grad_key *= scale
    grads = (grad_query, grad_key, grad_value)
    pairs = zip(grads, shapes, strict=True)
    return tuple(_unbroadcast(g, s).astype(returned) for g, s in pairs)


def _row_blocks(query, key, value, attn_mask, is_causal, scale, grad_output=None):
    """Unnormalised weights and row sums of one head, one block of rows at a time.

    Yields (head, rows, cols, weights, total). ``weights`` is a buffer that the next
    step reuses. Under ``is_causal`` the columns that no row
    of the block may see are left out, unless something there could be NaN or
    overflow: then all are computed, so that the answer never depends on the block.
    ``grad_output`` is what the backward multiplies the values with.
    """
    length, source = query.shape[-2], key.shape[-2]
    mask = _prepare_mask(attn_mask, query.shape[:-1] + (source,))
    skip = is_causal and _all_finite(query, key, value, attn_mask, scale, grad_output)
    buffer = np.empty(min(BLOCK, length) * source, query.dtype)
    for head in np.ndindex(query.shape[:-2]):
        for start in range(0, length, BLOCK):
            rows = slice(start, min(start + BLOCK, length))
            cols = slice(0, min(rows.stop, source) if skip else source)
            size = rows.stop - start, cols.stop
            weights = buffer[: size[0] * size[1]].reshape(size)
            scaled_query = query[head][rows] * query.dtype.type(scale)
            np.matmul(scaled_query, key[head][cols].T, out=weights)
            block_mask = None if mask is None else mask[head][rows, cols]
            total = _exponentiate(weights, block_mask, start if is_causal else None)
            yield head, rows, cols, weights, total


def _exponentiate(scores, mask, first_row):
    """exp(scores - row maximum) in place, masked; returns the row sums, 1 where 0.

    ``first_row`` is the position of the block's first query under a causal mask,
    None without one.
    """
    _mask_in_place(scores, mask, first_row)
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    top[top == -np.inf] = 0  # a fully masked row: exp(-inf - 0) = 0
    scores -= top
    np.exp(scores, out=scores)
    # A product with ones adds up faster than sum does.
    total = scores @ np.ones((scores.shape[-1], 1), scores.dtype)
    total[total == 0] = 1
    return total


def _mask_in_place(scores, mask, first_row):
    """Add -inf where a boolean mask or the future forbids; add a floating mask."""
    if mask is not None and mask.dtype == bool:
        np.add(scores, -np.inf, out=scores, where=~mask)
    elif mask is not None:
        scores += mask
    if first_row is not None:
        # Keys before the block's first row are in nobody's future.
        square = scores[..., first_row:]
        future = ~np.tri(*square.shape[-2:], dtype=bool)
        np.add(square, -np.inf, out=square, where=future)


def _scores(query, key, scale):
    return np.matmul(query * query.dtype.type(scale), np.swapaxes(key, -1, -2))


def _prepare(scale, **named):
    """The named arrays in the computing dtype, leading axes broadcast; scale; dtype to return."""
    named = {name: floating(name, x, 2) for name, x in named.items()}
    query, key, value = named["query"], named["key"], named.get("value")
    if query.shape[-1] != key.shape[-1] or query.shape[-1] == 0:
        raise ValueError(
            f"query and key must have one width d_k ≥ 1, got shapes {query.shape} and {key.shape}"
        )
    if value is not None and value.shape[-2] != key.shape[-2]:
        raise ValueError(
            f"key and value must have one length, got shapes {key.shape} and {value.shape}"
        )
    try:
        lead = np.broadcast_shapes(*(x.shape[:-2] for x in named.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {x.shape}" for name, x in named.items())
        raise ValueError(f"leading axes (batch, heads) do not broadcast: {shapes}") from None
    scale = query.shape[-1] ** -0.5 if scale is None else finite_number("scale", scale, 0)
    computing, returned = computing_dtype(*named.values())
    arrays = [
        np.broadcast_to(x.astype(computing, copy=False), lead + x.shape[-2:])
        for x in named.values()
    ]
    return arrays, scale, returned


def _prepare_mask(attn_mask, shape):
    if attn_mask is None:
        return None
    mask = np.asarray(attn_mask)
    if mask.dtype != bool and not np.issubdtype(mask.dtype, np.floating):
        raise TypeError(f"attn_mask must be boolean or floating, got dtype {mask.dtype}")
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"attn_mask of shape {mask.shape} does not broadcast to the scores' shape {shape}"
        ) from None


def _largest(x):
    """Largest absolute entry, 0 for an empty array, NaN if one is NaN."""
    return max(x.max(initial=0), -x.min(initial=0))


def _all_finite(query, key, value, attn_mask, scale, grad_output):
    """Whether bounds show that no score, no value and no product with a value can overflow."""
    scores = _largest(query) * query.dtype.type(scale) * _largest(key) * query.shape[-1]
    if attn_mask is not None and np.asarray(attn_mask).dtype != bool:
        scores += np.max(attn_mask, initial=0)  # -inf is what a mask is for
    products = _largest(value)
    if grad_output is not None:
        products = products * _largest(grad_output) * value.shape[-1]
    return bool(np.isfinite(query.dtype.type(scores)) and np.isfinite(products))


def _unbroadcast(grad, shape):
    """Sum ``grad`` over the leading axes along which an argument was broadcast."""
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True)
