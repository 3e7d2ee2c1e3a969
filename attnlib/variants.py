"""What is done instead of, or beside, dividing by √d_k (chapter 12).

Every function takes ``query`` (..., L, d_k), ``key`` (..., S, d_k),
``attn_mask``, ``is_causal``, ``scale`` and ``enable_gqa`` as in
`attnlib.attention_weights`, and returns weights (..., L, S) with the same
dtype behaviour and errors; parameters of its own must be finite. The
statement in each docstring is exact, and a test holds the function to it.
(Chapter 12.)
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from attnlib._validate import Array, computing, finite_number, per_head
from attnlib.attention import (
    Causal,
    dot_product_scores,
    masked_scores,
    masked_softmax,
)


def inverse_width_weights(
    query: ArrayLike,
    key: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    is_causal: Causal = False,
    enable_gqa: bool = False,
) -> Array:
    """Divide by d_k instead of √d_k, as muP does.

    Parameters
    ----------
    query, key, attn_mask, is_causal, enable_gqa
        As in `attention_weights`; is_causal=True: query i sees keys 0 … i.

    Returns
    -------
    ndarray, shape (..., L, S)

    Notes
    -----
    Exactly: concatenating every query and every key with itself, which
    doubles d_k and changes no angle, leaves the weights as they are. (With
    √d_k the scores grow by √2.)

    Source: Yang et al. (2022), arXiv 2203.03466.
    """
    query, key, dtype = computing(query=query, key=key)
    scores = dot_product_scores(query, key, scale=1, enable_gqa=enable_gqa)
    scores /= query.shape[-1]
    weights = masked_softmax(scores, attn_mask, is_causal=is_causal)
    return weights.astype(dtype, copy=False)


def qk_norm_weights(
    query: ArrayLike,
    key: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    gain: ArrayLike,
    is_causal: Causal = False,
    enable_gqa: bool = False,
) -> Array:
    """Scores are a gain times the cosine between query and key.

    Parameters
    ----------
    query, key, attn_mask, is_causal, enable_gqa
        As in `attention_weights`; is_causal=True: query i sees keys 0 … i.
    gain : float ≥ 0 or array_like, shape (heads, 1, 1)
        Largest score, in nats; learned in models, also by head.

    Returns
    -------
    ndarray, shape (..., L, S)

    Notes
    -----
    Exactly: no weight changes when a query or a key is multiplied by a
    positive number, and without a mask no weight exceeds e^g / (e^g + (n -
    1) e^-g) with g = gain; a weight of 0.9 among n needs g ≥ ln(9(n -
    1))/2. A query or key of zeros has cosine 0 with all.

    Source: Henry et al. (2020), arXiv 2010.04245.
    """
    query, key, dtype = computing(query=query, key=key)
    scores = dot_product_scores(
        unit(query), unit(key), scale=1, enable_gqa=enable_gqa
    )
    scores *= per_head("gain", gain, scores.shape[:-2], scores.dtype, 0)
    weights = masked_softmax(scores, attn_mask, is_causal=is_causal)
    return weights.astype(dtype, copy=False)


def soft_capped_weights(
    query: ArrayLike,
    key: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    cap: float,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Scaled scores s become cap · tanh(s / cap) before mask and softmax.

    Parameters
    ----------
    query, key, attn_mask, is_causal, scale, enable_gqa
        As in `attention_weights`; is_causal=True: query i sees keys 0 … i.
    cap : float > 0
        Bound of the scores, in nats.

    Returns
    -------
    ndarray, shape (..., L, S)

    Notes
    -----
    Exactly: every score lies within ±cap, so the odds of two tokens never
    exceed e^(2 cap); a small change of s is passed on with the factor
    1 - tanh²(s / cap). Scores keep their order in exact arithmetic; far
    beyond the cap they round to ties.

    Source: Gemma Team (2024), arXiv 2408.00118.
    """
    cap = finite_number("cap", cap, minimum=0)
    if cap == 0:
        raise ValueError("cap must be above 0")
    query, key, dtype = computing(query=query, key=key)
    scores = dot_product_scores(
        query, key, scale=scale, enable_gqa=enable_gqa
    )
    capped = cap * np.tanh(scores / cap)
    weights = masked_softmax(capped, attn_mask, is_causal=is_causal)
    return weights.astype(dtype, copy=False)


def length_scaled_weights(
    query: ArrayLike,
    key: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    reference_length: float,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Multiply the scaled scores by ln S / ln(reference_length).

    Parameters
    ----------
    query, key, attn_mask, is_causal, scale, enable_gqa
        As in `attention_weights`; is_causal=True: query i sees keys 0 … i.
    reference_length : float ≥ 2
        The length at which nothing changes. S counts the keys that a query
        may see: what comes later, or is padding, changes nothing.

    Returns
    -------
    ndarray, shape (..., L, S)

    Notes
    -----
    Exactly: a token that leads S - 1 equal ones by Δ gets 1 / (1 + (S - 1)
    S^-κ) with κ = Δ / ln(reference_length); as S grows this tends to 1 if κ
    > 1 and to 0 if κ < 1, whereas with a fixed scale it always tends to 0.

    Source: Chiang and Cholak (2022), arXiv 2202.12172, who scale by ln n.
    """
    reference = finite_number(
        "reference_length", reference_length, minimum=2
    )
    query, key, dtype = computing(query=query, key=key)
    scores = dot_product_scores(
        query, key, scale=scale, enable_gqa=enable_gqa
    )
    keys = keys_seen(scores.shape, attn_mask, is_causal)
    longer = scores * (np.log(keys) / math.log(reference))
    weights = masked_softmax(longer, attn_mask, is_causal=is_causal)
    return weights.astype(dtype, copy=False)


def sigmoid_weights(
    query: ArrayLike,
    key: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    bias: float | None = None,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Every weight is a logistic function of its own score and a bias.

    Parameters
    ----------
    query, key, attn_mask, is_causal, scale, enable_gqa
        As in `attention_weights`; is_causal=True: query i sees keys 0 … i.
    bias : float, optional
        Added to every scaled score; unless told -ln S for the S keys that a
        query may see.

    Returns
    -------
    ndarray, shape (..., L, S)
        A row need not sum to 1.

    Notes
    -----
    Exactly: a weight depends on no other score of its row; if all scores
    are 0 the row sums to S / (1 + S).

    Source: Ramapuram et al. (2024), arXiv 2409.04431.
    """
    query, key, dtype = computing(query=query, key=key)
    scores = dot_product_scores(
        query, key, scale=scale, enable_gqa=enable_gqa
    )
    if bias is None:
        bias = -np.log(keys_seen(scores.shape, attn_mask, is_causal))
    else:
        bias = finite_number("bias", bias)
    scores = masked_scores(scores + bias, attn_mask, is_causal=is_causal)
    return expit(scores).astype(dtype, copy=False)


def sink_weights(
    query: ArrayLike,
    key: ArrayLike,
    attn_mask: ArrayLike | None = None,
    *,
    sink: ArrayLike,
    is_causal: Causal = False,
    scale: ArrayLike | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Softmax with one more token, which all see and which has no value.

    Parameters
    ----------
    query, key, attn_mask, is_causal, scale, enable_gqa
        As in `attention_weights`; is_causal=True: query i sees keys 0 … i.
    sink : float or array_like, shape (heads, 1, 1)
        The score of that token, in nats; learned in models, by head.

    Returns
    -------
    ndarray, shape (..., L, S)
        The weights of the real tokens alone: a row may sum to less than 1.

    Notes
    -----
    Exactly: these are the weights of `attention_weights` times Z
    / (Z + e^sink), where Z is the row's sum of exponentials, so a row may
    decline to attend; a fully masked row gives 0.

    Source: Xiao et al. (2023), arXiv 2309.17453, who keep a real first
    token.
    """
    query, key, dtype = computing(query=query, key=key)
    scores = dot_product_scores(
        query, key, scale=scale, enable_gqa=enable_gqa
    )
    scores = masked_scores(scores, attn_mask, is_causal=is_causal)
    sink = per_head("sink", sink, scores.shape[:-2], scores.dtype)
    one_more = np.broadcast_to(sink, scores.shape[:-1] + (1,))
    weights = masked_softmax(np.concatenate([scores, one_more], axis=-1))
    return weights[..., :-1].astype(dtype, copy=False)


def keys_seen(
    shape: tuple[int, ...], attn_mask: ArrayLike | None, is_causal: Causal
) -> NDArray[np.integer]:
    """How many keys each query may see, at least 1: shape (..., L, 1)."""
    scores = masked_scores(np.zeros(shape), attn_mask, is_causal=is_causal)
    seen = np.sum(scores > -np.inf, axis=-1, keepdims=True)
    return np.maximum(seen, 1)


def unit(x: Array) -> Array:
    """Rows of length 1; a row of zeros stays as it is."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length == 0, 1, length)
