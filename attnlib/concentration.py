"""How concentrated a row of weights is, and how much gradient it lets through (chapter 05).

Every function takes weights ``a`` of shape (..., n), a floating array whose last
axis is a probability vector or, for a fully masked row, all zeros; it returns an
array (...) in a's dtype (float16 is computed in float32). It raises TypeError for
a non-floating array and ValueError for a zero-dimensional or empty last axis.
"""

import numpy as np
from scipy.special import entr

from attnlib._validate import computing_dtype, floating


def _weights(a):
    a = floating("a", a)
    if a.shape[-1] == 0:
        raise ValueError(f"a needs at least one weight on its last axis, got shape {a.shape}")
    computing, returned = computing_dtype(a)
    return a.astype(computing, copy=False), returned


def entropy(a):
    """H = -Σ a_i ln a_i in nats: ln n for uniform weights, 0 for a single winner."""
    a, returned = _weights(a)
    ordered = np.sort(a, axis=-1)
    losers, winner = ordered[..., :-1], ordered[..., -1]
    rest = losers.sum(axis=-1)
    # A winner rounded to 1 would contribute 0: its logarithm is taken from the others.
    of_winner = np.where(rest < 0.5, -winner * np.log1p(-np.minimum(rest, 0.5)), entr(winner))
    return (entr(losers).sum(axis=-1) + of_winner).astype(returned)


def max_weight(a):
    """The largest weight: 1/n for uniform weights, 1 for a single winner."""
    a, returned = _weights(a)
    return a.max(axis=-1).astype(returned)


def inverse_participation_ratio(a):
    """Σ a_i²: 1/n for uniform weights, 1 for a single winner.

    Its inverse 1/Σa² counts the tokens that take part.
    """
    a, returned = _weights(a)
    return (a * a).sum(axis=-1).astype(returned)


def jacobian_trace(a):
    """Tr J = Σ a_i (1 - a_i) for J = diag(a) - a aᵀ; for weights, 1 - Σ a_i².

    For the winner, 1 - a is taken as the sum of the other weights: 1 - a would be
    rounded to 0 long before the others underflow. Source: chapter 05.
    """
    a, returned = _weights(a)
    ordered = np.sort(a, axis=-1)
    losers, winner = ordered[..., :-1], ordered[..., -1]
    return (winner * losers.sum(axis=-1) + (losers * (1 - losers)).sum(axis=-1)).astype(returned)


def jacobian_norm(a):
    """Frobenius norm of J = diag(a) - a aᵀ, in O(n log n) and without building J.

    ‖J‖² = Σ a_i² (1 - a_i)² + 2 Σ_{i<j} a_i² a_j²; for weights this is
    Σa² - 2Σa³ + (Σa²)², a form that loses every digit once a winner is near 1.
    Here every term is divided by the winner's 1 - a, the sum of the other weights,
    so that no square underflows. Source: chapter 05.
    """
    a, returned = _weights(a)
    ordered = np.sort(a, axis=-1)
    losers, winner = ordered[..., :-1], ordered[..., -1]
    rest = losers.sum(axis=-1, keepdims=True)
    share = losers / np.where(rest == 0, 1, rest)
    larger = (ordered**2).sum(axis=-1, keepdims=True) - np.cumsum(losers**2, axis=-1)
    square = winner**2 + (share**2 * ((1 - losers) ** 2 + 2 * larger)).sum(axis=-1)
    return (rest[..., 0] * np.sqrt(square)).astype(returned)
