"""From token ids to a multi-head attention layer, forward and backward (chapters 01 and 07)."""

import numpy as np

from attnlib._validate import floating, positive_integer
from attnlib.attention import scaled_dot_product_attention, scaled_dot_product_attention_vjp


def embed(ids, embedding):
    """Embedding lookup: x_i = E[id_i].

    Parameters
    ----------
    ids : integer array (..., n)
        Token ids, 0 ≤ id < vocabulary size.
    embedding : array (vocabulary size, d) of floating dtype

    Returns array (..., n, d) in the embedding's dtype. Raises TypeError for ids that
    are not integers, ValueError for an id outside the table (a negative id too:
    numpy would silently count from the end). Source: chapter 01.
    """
    ids, embedding = np.asarray(ids), floating("embedding", embedding, 2)
    if embedding.ndim != 2:
        raise ValueError(f"embedding must be (vocabulary size, d), got shape {embedding.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"ids must be integers, got dtype {ids.dtype}")
    if ids.size and not 0 <= ids.min() <= ids.max() < len(embedding):
        raise ValueError(
            f"ids must lie in 0 … {len(embedding) - 1}, got {ids.min()} … {ids.max()}"
        )
    return embedding[ids]


def project(x, weight, bias=None):
    """Linear projection y = x W (+ b): one matrix makes queries, another makes keys.

    Parameters
    ----------
    x : array (..., n, d)
    weight : array (d, m)
    bias : array (m,), optional

    Returns array (..., n, m) in the common dtype. Raises ValueError naming both shapes
    if they do not fit, TypeError for non-floating input. Source: chapter 01.
    """
    x, weight = floating("x", x), floating("weight", weight, 2)
    if weight.ndim != 2 or x.shape[-1] != weight.shape[0]:
        raise ValueError(f"x and weight do not fit: {x.shape} and {weight.shape}")
    if bias is None:
        return x @ weight
    bias = floating("bias", bias)
    if bias.shape != weight.shape[1:]:
        raise ValueError(f"weight and bias do not fit: {weight.shape} and {bias.shape}")
    return x @ weight + bias


def split_heads(x, heads):
    """(..., n, heads·width) → (..., heads, n, width): each head takes its own columns."""
    x, heads = floating("x", x, 2), positive_integer("heads", heads)
    if x.shape[-1] % heads:
        raise ValueError(f"width of x {x.shape} is not a multiple of heads = {heads}")
    return np.swapaxes(x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads), -2, -3)


def merge_heads(x):
    """(..., heads, n, width) → (..., n, heads·width): the inverse of `split_heads`."""
    x = np.swapaxes(floating("x", x, 3), -2, -3)
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def multi_head_attention(
    x, w_query, w_key, w_value, w_output, *, heads, attn_mask=None, is_causal=False, scale=None
):
    """Multi-head self-attention without biases.

    Parameters
    ----------
    x : array (..., n, d)
    w_query, w_key : arrays (d, heads·d_k)
    w_value : array (d, heads·d_v)
    w_output : array (heads·d_v, d_out)
    heads : int; attn_mask broadcasts to (..., heads, n, n)
    is_causal, scale : as in `attention.scaled_dot_product_attention`; the default
        scale is 1/√d_k with the *head's* width d_k, not the model's d

    Returns array (..., n, d_out). Errors as in `project`, `split_heads` and the
    attention itself. Source: chapter 07; Vaswani et al. (2017), section 3.2.2.
    """
    q, k, v = _project_to_heads(x, heads, w_query=w_query, w_key=w_key, w_value=w_value)
    o = scaled_dot_product_attention(q, k, v, attn_mask, is_causal=is_causal, scale=scale)
    return merge_heads(o) @ _output_weight(w_output, w_value)


def multi_head_attention_vjp(
    grad_output,
    x,
    w_query,
    w_key,
    w_value,
    w_output,
    *,
    heads,
    attn_mask=None,
    is_causal=False,
    scale=None,
):
    """Gradients of a scalar loss through `multi_head_attention`.

    ``grad_output`` has the output's shape (..., n, d_out). Returns
    (grad_x, grad_w_query, grad_w_key, grad_w_value, grad_w_output), each of its
    argument's shape. Source: chapter 07.
    """
    q, k, v = _project_to_heads(x, heads, w_query=w_query, w_key=w_key, w_value=w_value)
    w_output = _output_weight(w_output, w_value)
    options = {"is_causal": is_causal, "scale": scale}
    o = merge_heads(scaled_dot_product_attention(q, k, v, attn_mask, **options))
    grad_output = floating("grad_output", grad_output, 2)
    expected = o.shape[:-1] + w_output.shape[1:]
    if grad_output.shape != expected:
        raise ValueError(
            f"grad_output must have the output's shape {expected}, got {grad_output.shape}"
        )
    grad_heads = split_heads(grad_output @ w_output.T, heads)
    grads = scaled_dot_product_attention_vjp(grad_heads, q, k, v, attn_mask, **options)
    grads = [merge_heads(g) for g in grads]
    pairs = zip(grads, (w_query, w_key, w_value), strict=True)
    grad_x = sum(g @ np.transpose(w) for g, w in pairs)
    return (grad_x, *(_weight_gradient(x, g) for g in grads), _weight_gradient(o, grad_output))


def _project_to_heads(x, heads, **weights):
    """x W split into heads, for each named W: (d, heads·width)."""
    x, heads = floating("x", x, 2), positive_integer("heads", heads)
    for name, w in weights.items():
        w = floating(name, w, 2)
        if w.ndim != 2 or w.shape[0] != x.shape[-1] or w.shape[1] % heads:
            raise ValueError(
                f"{name} must be ({x.shape[-1]}, a multiple of {heads}) for x of shape "
                f"{x.shape} and {heads} heads, got {w.shape}"
            )
    query, key = np.shape(weights["w_query"]), np.shape(weights["w_key"])
    if query != key or query[1] == 0:
        raise ValueError(f"w_query and w_key must have one width ≥ 1, got {query} and {key}")
    return [split_heads(x @ w, heads) for w in weights.values()]


def _output_weight(w_output, w_value):
    w_output = floating("w_output", w_output, 2)
    if w_output.ndim != 2 or len(w_output) != np.shape(w_value)[1]:
        raise ValueError(
            f"w_output must be (heads·d_v, d_out) with heads·d_v = {np.shape(w_value)[1]}, "
            f"got {w_output.shape}"
        )
    return w_output


def _weight_gradient(x, grad):
    """Gradient of the weight W in y = x W, summed over every leading axis."""
    return np.tensordot(x, grad, axes=(range(np.ndim(x) - 1),) * 2)
