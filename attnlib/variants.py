"""What is done instead of, or beside, dividing by √d_k: six small changes of the weights.

Every function takes ``query`` (..., L, d_k), ``key`` (..., S, d_k), ``attn_mask`` and
``is_causal`` as in `attention.attention_weights`, and returns weights (..., L, S) with the
same dtype behaviour and errors; parameters of its own must be finite. The statement in each
docstring is exact, and a test holds the function to it.
"""

import numpy as np
from scipy.special import expit, logsumexp

from attnlib._validate import finite_number, floating
from attnlib.attention import attention_weights, dot_product_scores, masked_scores, masked_softmax


def inverse_width_weights(query, key, attn_mask=None, *, is_causal=False):
    """Divide by d_k instead of √d_k, as muP does.

    Exactly: concatenating every query and every key with itself, which doubles d_k and
    changes no angle, leaves the weights as they are. (With √d_k the scores grow by √2.)

    Source: Yang et al. (2022), arXiv 2203.03466.
    """
    scale = 1 / max(np.shape(query)[-1:] + (1,))
    return attention_weights(query, key, attn_mask, is_causal=is_causal, scale=scale)


def qk_norm_weights(query, key, attn_mask=None, *, gain, is_causal=False):
    """Scores are ``gain`` times the cosine of the angle between query and key.

    Exactly: no weight changes when a query or a key is multiplied by a positive number, and
    without a mask no weight exceeds e^g / (e^g + (n - 1) e^-g) with g = gain; a weight of
    0.9 among n needs g ≥ ln(9(n - 1))/2. A query or key of zeros has cosine 0 with all.

    Source: Henry et al. (2020), arXiv 2010.04245, where the gain is learned.
    """
    gain = finite_number("gain", gain, 0)
    query, key = _unit("query", query), _unit("key", key)
    return attention_weights(query, key, attn_mask, is_causal=is_causal, scale=gain)


def soft_capped_weights(query, key, attn_mask=None, *, cap, is_causal=False, scale=None):
    """Scaled scores s are replaced by cap · tanh(s / cap) before the mask and the softmax.

    Exactly: every score lies within ±cap and keeps its order, so the odds of two tokens never
    exceed e^(2 cap); a small change of s is passed on with the factor 1 - tanh²(s / cap).

    Source: Gemma Team (2024), arXiv 2408.00118.
    """
    cap = finite_number("cap", cap, 0)
    if cap == 0:
        raise ValueError("cap must be above 0")
    scores = dot_product_scores(query, key, scale=scale)
    capped = (cap * np.tanh(scores / scores.dtype.type(cap))).astype(scores.dtype)
    return masked_softmax(capped, attn_mask, is_causal=is_causal)


def length_scaled_weights(
    query, key, attn_mask=None, *, reference_length, is_causal=False, scale=None
):
    """Multiply the scaled scores by ln(S) / ln(reference_length), S being the number of keys.

    Exactly: a token that leads S - 1 equal ones by Δ gets 1 / (1 + (S - 1) S^-κ) with
    κ = Δ / ln(reference_length); as S grows this tends to 1 if κ > 1 and to 0 if κ < 1,
    whereas with a fixed scale it always tends to 0. At S = reference_length nothing changes.

    Source: Chiang and Cholak (2022), arXiv 2202.12172, who scale by ln n.
    """
    reference = finite_number("reference_length", reference_length, 2)
    scores = dot_product_scores(query, key, scale=scale)
    factor = np.log(max(scores.shape[-1], 1)) / np.log(reference)
    return masked_softmax(scores * scores.dtype.type(factor), attn_mask, is_causal=is_causal)


def sigmoid_weights(query, key, attn_mask=None, *, bias=None, is_causal=False, scale=None):
    """Every weight is a logistic function of its own score: 1 / (1 + e^-(s + bias)).

    ``bias`` None means -ln S for S keys. Exactly: a weight depends on no other score of its
    row, and rows need not sum to 1; if all scores are 0 the row sums to S / (1 + S).

    Source: Ramapuram et al. (2024), arXiv 2409.04431.
    """
    scores = dot_product_scores(query, key, scale=scale)
    if bias is None:
        bias = -np.log(max(scores.shape[-1], 1))
    bias = scores.dtype.type(finite_number("bias", bias))
    scores = masked_scores(scores + bias, attn_mask, is_causal=is_causal)
    return expit(scores).astype(scores.dtype)


def sink_weights(query, key, attn_mask=None, *, sink, is_causal=False, scale=None):
    """Softmax with one more token that everybody can attend to, with score ``sink`` and no value.

    Exactly: these are the weights of `attention_weights` times Z / (Z + e^sink), where Z is
    the row's sum of exponentials, so a row may decline to attend; a fully masked row gives 0.

    Source: Xiao et al. (2023), arXiv 2309.17453, who keep a real first token for this.
    """
    sink = finite_number("sink", sink)
    scores = dot_product_scores(query, key, scale=scale)
    scores = masked_scores(scores, attn_mask, is_causal=is_causal)
    with np.errstate(divide="ignore"):  # an empty or fully masked row has ln Z = -inf
        log_total = logsumexp(scores, axis=-1, keepdims=True) if scores.shape[-1] else -np.inf
    share = expit(log_total - scores.dtype.type(sink))
    return (share * masked_softmax(scores)).astype(scores.dtype)


def _unit(name, x):
    """Rows of length 1; a row of zeros stays as it is."""
    x = floating(name, x, 2)
    length = np.linalg.norm(x.astype(np.promote_types(x.dtype, np.float32)), axis=-1, keepdims=True)
    return (x / np.where(length == 0, 1, length)).astype(x.dtype)
