"""How concentrated a row of weights is, and what gradient passes (5).

Every function takes weights ``a`` of shape (..., n), whose last axis is a
probability vector or, where everything is masked, all zeros; it returns an
array (...) in a's dtype (integers give float64, float16 is computed in
float32). It raises TypeError if ``a`` does not hold real numbers, and
ValueError if it does not hold weights: logits are refused, and a row
without any token too.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from attnlib._validate import Array, weights


def entropy(a: ArrayLike) -> Array:
    """Entropy in nats: H = -Σ a_i ln a_i, from 0 to ln n.

    Parameters
    ----------
    a : array_like, shape (..., n)
        Weights, the output of `softmax`.

    Returns
    -------
    ndarray, shape (...)
        ln n for uniform weights, 0 for a single winner.

    Notes
    -----
    A winner that is rounded to 1 would contribute 0: where it has more than
    half, its logarithm is taken from the sum of the others.
    """
    a, dtype = weights("a", a)
    losers, winner = _losers_and_winner(a)
    rest = losers.sum(axis=-1)
    log_winner = np.log1p(-np.minimum(rest, 0.5))
    of_winner = np.where(rest < 0.5, -winner * log_winner, entr(winner))
    return (entr(losers).sum(axis=-1) + of_winner).astype(dtype)


def max_weight(a: ArrayLike) -> Array:
    """The largest weight: 1/n for uniform weights, 1 for a single winner.

    Parameters
    ----------
    a : array_like, shape (..., n)
        Weights, the output of `softmax`.

    Returns
    -------
    ndarray, shape (...)
        max a_i.
    """
    a, dtype = weights("a", a)
    return a.max(axis=-1).astype(dtype)


def inverse_participation_ratio(a: ArrayLike) -> Array:
    """Σ a_i²: 1/n for uniform weights, 1 for a single winner.

    Parameters
    ----------
    a : array_like, shape (..., n)
        Weights, the output of `softmax`.

    Returns
    -------
    ndarray, shape (...)
        Σ a_i². Its inverse 1/Σa² counts the tokens that take part.
    """
    a, dtype = weights("a", a)
    return (a**2).sum(axis=-1).astype(dtype)


def jacobian_trace(a: ArrayLike) -> Array:
    """Tr J = Σ a_i (1 - a_i) = 1 - Σ a_i², for J = diag(a) - a aᵀ.

    Parameters
    ----------
    a : array_like, shape (..., n)
        Weights, the output of `softmax`.

    Returns
    -------
    ndarray, shape (...)
        1 - 1/n for uniform weights, 0 for a single winner.

    Notes
    -----
    For the winner, 1 - a is taken as the sum of the other weights: the
    difference would be rounded to 0 long before the others underflow.
    Source: chapter 5.
    """
    a, dtype = weights("a", a)
    losers, winner = _losers_and_winner(a)
    of_losers = (losers * (1 - losers)).sum(axis=-1)
    return (winner * losers.sum(axis=-1) + of_losers).astype(dtype)


def jacobian_norm(a: ArrayLike) -> Array:
    """Frobenius norm of J = diag(a) - a aᵀ, without building J.

    Parameters
    ----------
    a : array_like, shape (..., n)
        Weights, the output of `softmax`.

    Returns
    -------
    ndarray, shape (...)
        ‖J‖, from ‖J‖² = Σ a_i² (1 - a_i)² + 2 Σ_{i<j} a_i² a_j².

    Notes
    -----
    For weights this is Σa² - 2Σa³ + (Σa²)², a form that loses every digit
    once a winner is near 1. Here every term is divided by the winner's 1 -
    a, the sum of the other weights, so that no square underflows. Source:
    chapter 5.
    """
    a, dtype = weights("a", a)
    losers, winner = _losers_and_winner(a)
    rest = losers.sum(axis=-1, keepdims=True)
    share = losers / np.where(rest == 0, 1, rest)
    all_squares = (a**2).sum(axis=-1, keepdims=True)
    larger = all_squares - np.cumsum(losers**2, axis=-1)
    of_losers = share**2 * ((1 - losers) ** 2 + 2 * larger)
    square = winner**2 + of_losers.sum(axis=-1)
    return (rest[..., 0] * np.sqrt(square)).astype(dtype)


def _losers_and_winner(a):
    """All weights but the largest in rising order, and the largest."""
    ordered = np.sort(a, axis=-1)
    return ordered[..., :-1], ordered[..., -1]
