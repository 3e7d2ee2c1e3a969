"""From token ids to a multi-head layer, and back (chapters 1 and 7)."""

import numpy as np
from numpy.typing import ArrayLike

from attnlib._validate import (
    Array,
    floating,
    output_gradient,
    positive_integer,
)
from attnlib.attention import (
    Causal,
    scaled_dot_product_attention,
    scaled_dot_product_attention_vjp,
)


def embed(ids: ArrayLike, embedding: ArrayLike) -> Array:
    """Embedding lookup: x_i = E[id_i].

    Parameters
    ----------
    ids : array_like of int, shape (..., n)
        Token ids, 0 ≤ id < vocabulary size.
    embedding : array_like, shape (vocabulary size, d)

    Returns
    -------
    ndarray, shape (..., n, d)
        In the embedding's dtype.

    Raises
    ------
    TypeError
        For ids that are not integers.
    ValueError
        For an id outside the table (a negative id too: numpy would silently
        count from the end).

    Notes
    -----
    Source: chapter 1.
    """
    ids, embedding = np.asarray(ids), floating("embedding", embedding, 2)
    if embedding.ndim != 2:
        raise ValueError(
            "embedding must be (vocabulary size, d), "
            f"got shape {embedding.shape}"
        )
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"ids must be integers, got dtype {ids.dtype}")
    last = len(embedding) - 1
    if ids.size and not 0 <= ids.min() <= ids.max() <= last:
        raise ValueError(
            f"ids must lie in 0 … {last}, got {ids.min()} … {ids.max()}"
        )
    return embedding[ids]


def project(
    x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None
) -> Array:
    """Linear projection y = x W (+ b): a matrix each for queries and keys.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
    weight : array_like, shape (d, m)
    bias : array_like, shape (m,), optional

    Returns
    -------
    ndarray, shape (..., n, m)
        In the common dtype.

    Raises
    ------
    TypeError, ValueError
        Naming both shapes if they do not fit, or what does not hold real
        numbers.

    Notes
    -----
    Source: chapter 1.
    """
    x, weight = floating("x", x), floating("weight", weight, 2)
    if weight.ndim != 2 or x.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"x and weight do not fit: {x.shape} and {weight.shape}"
        )
    if bias is None:
        return x @ weight
    bias = floating("bias", bias)
    if bias.shape != weight.shape[1:]:
        raise ValueError(
            f"weight and bias do not fit: {weight.shape} and {bias.shape}"
        )
    return x @ weight + bias


def split_heads(x: ArrayLike, heads: int) -> Array:
    """Give each head its own columns.

    Parameters
    ----------
    x : array_like, shape (..., n, heads·width)
    heads : int ≥ 1

    Returns
    -------
    ndarray, shape (..., heads, n, width)

    Raises
    ------
    TypeError, ValueError
        If the width is not a multiple of ``heads``.

    Notes
    -----
    Source: chapter 7.
    """
    x, heads = floating("x", x, 2), positive_integer("heads", heads)
    *lead, n, width = x.shape
    if width % heads:
        raise ValueError(
            f"width of x {x.shape} is not a multiple of heads = {heads}"
        )
    return np.swapaxes(x.reshape(*lead, n, heads, width // heads), -2, -3)


def merge_heads(x: ArrayLike) -> Array:
    """Put the heads' columns side by side: the inverse of `split_heads`.

    Parameters
    ----------
    x : array_like, shape (..., heads, n, width)

    Returns
    -------
    ndarray, shape (..., n, heads·width)

    Notes
    -----
    Source: chapter 7.
    """
    x = np.swapaxes(floating("x", x, 3), -2, -3)
    *lead, heads, width = x.shape
    return x.reshape(*lead, heads * width)


def multi_head_attention(
    x: ArrayLike,
    w_query: ArrayLike,
    w_key: ArrayLike,
    w_value: ArrayLike,
    w_output: ArrayLike,
    *,
    heads: int,
    attn_mask: ArrayLike | None = None,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
) -> Array:
    """Multi-head self-attention without biases.

    Parameters
    ----------
    x : array_like, shape (..., n, d)
    w_query, w_key : array_like, shape (d, heads·d_k)
    w_value : array_like, shape (d, heads·d_v)
    w_output : array_like, shape (heads·d_v, d_out)
    heads : int ≥ 1
    attn_mask : array_like, broadcasts to (..., heads, n, n), optional
    is_causal, scale
        As in `scaled_dot_product_attention`; is_causal=True: query i sees
        keys 0 … i. The default scale is 1/√d_k with the *head's* width d_k,
        not the model's d.

    Returns
    -------
    ndarray, shape (..., n, d_out)

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit.

    Notes
    -----
    Source: chapter 7; Vaswani et al. (2017), section 3.2.2.
    """
    q, k, v = _project_to_heads(
        x, heads, w_query=w_query, w_key=w_key, w_value=w_value
    )
    w_output = _output_weight(w_output, w_value)
    o = scaled_dot_product_attention(
        q, k, v, attn_mask, is_causal=is_causal, scale=scale
    )
    return merge_heads(o) @ w_output


def multi_head_attention_vjp(
    grad_output: ArrayLike,
    x: ArrayLike,
    w_query: ArrayLike,
    w_key: ArrayLike,
    w_value: ArrayLike,
    w_output: ArrayLike,
    *,
    heads: int,
    attn_mask: ArrayLike | None = None,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
) -> tuple[Array, Array, Array, Array, Array]:
    """Gradients of a scalar loss through `multi_head_attention`.

    Parameters
    ----------
    grad_output : array_like, shape (..., n, d_out)
        Gradient of the loss with respect to the output.
    x, w_query, w_key, w_value, w_output, heads, attn_mask, is_causal, scale
        As in the forward call; is_causal=True: query i sees keys 0 … i.

    Returns
    -------
    grad_x, grad_w_query, grad_w_key, grad_w_value, grad_w_output : ndarrays
        Each of its argument's shape.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit.

    Notes
    -----
    Source: chapter 7.
    """
    x = floating("x", x)
    q, k, v = _project_to_heads(
        x, heads, w_query=w_query, w_key=w_key, w_value=w_value
    )
    w_output = _output_weight(w_output, w_value)
    options = {"is_causal": is_causal, "scale": scale}
    o = merge_heads(
        scaled_dot_product_attention(q, k, v, attn_mask, **options)
    )
    grad_output = output_gradient(
        grad_output, o.shape[:-1] + w_output.shape[1:]
    )
    grad_o = split_heads(grad_output @ w_output.T, heads)
    grads = scaled_dot_product_attention_vjp(
        grad_o, q, k, v, attn_mask, **options
    )
    grad_q, grad_k, grad_v = (merge_heads(grad) for grad in grads)
    grad_x = (
        grad_q @ np.transpose(w_query)
        + grad_k @ np.transpose(w_key)
        + grad_v @ np.transpose(w_value)
    )
    grads_w = [
        _weight_gradient(x, grad) for grad in (grad_q, grad_k, grad_v)
    ]
    return grad_x, *grads_w, _weight_gradient(o, grad_output)


def _project_to_heads(x, heads, **weights):
    """x W split into heads, for each named W: (d, heads·width)."""
    x, heads = floating("x", x, 2), positive_integer("heads", heads)
    for name, w in weights.items():
        w = floating(name, w, 2)
        if w.ndim != 2 or w.shape[0] != x.shape[-1] or w.shape[1] % heads:
            raise ValueError(
                f"{name} must be ({x.shape[-1]}, a multiple of {heads}) "
                f"for x of shape {x.shape} and {heads} heads, got {w.shape}"
            )
    query, key = np.shape(weights["w_query"]), np.shape(weights["w_key"])
    if query != key or query[1] == 0:
        raise ValueError(
            "w_query and w_key must have one width ≥ 1, "
            f"got {query} and {key}"
        )
    return [split_heads(x @ w, heads) for w in weights.values()]


def _output_weight(w_output, w_value):
    w_output = floating("w_output", w_output, 2)
    if w_output.ndim != 2 or len(w_output) != np.shape(w_value)[1]:
        raise ValueError(
            "w_output must be (heads·d_v, d_out) with heads·d_v = "
            f"{np.shape(w_value)[1]}, got {w_output.shape}"
        )
    return w_output


def _weight_gradient(x, grad):
    """Gradient of W in y = x W, summed over every leading axis."""
    return np.tensordot(x, grad, axes=(range(x.ndim - 1),) * 2)
