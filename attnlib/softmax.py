"""Softmax, its Jacobian and its vector-Jacobian product (chapters 3, 4)."""

import numpy as np
from numpy.typing import ArrayLike

from attnlib._validate import Array, computing, integer, weights


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """Turn logits into weights: a_i = exp(x_i) / Σ_j exp(x_j).

    Parameters
    ----------
    x : array_like, shape (..., n, ...)
        Logits, in nats: a difference of 1 is a factor e between two
        weights.
    axis : int
        The axis that is turned into weights; the last one unless told.
        (scipy's default is the whole array.)

    Returns
    -------
    ndarray
        Of x's shape, entries in [0, 1] that sum to 1 along ``axis``, in x's
        dtype: integers give float64, float16 is computed in float32.

    Raises
    ------
    TypeError
        For truth values, complex numbers or text, and for an ``axis`` that
        is no integer.
    ValueError
        For a zero-dimensional ``x``; numpy's AxisError (a ValueError) for
        an ``axis`` that x does not have.

    Notes
    -----
    The largest logit is subtracted first, so no exponential overflows. A
    logit of -inf gets weight 0. A slice that holds NaN or +inf, or nothing
    but -inf, gives NaN, with numpy's warning where it computed inf - inf.

    Source: chapter 3, equation (softmax); Bridle (1990).
    """
    x, dtype = computing(x=x)
    axis = integer("axis", axis)
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    e = np.exp(x - top)
    return (e / e.sum(axis=axis, keepdims=True)).astype(dtype, copy=False)


def log_softmax(x: ArrayLike, axis: int = -1) -> Array:
    """Logarithm of `softmax`, accurate where the weight itself underflows.

    Parameters
    ----------
    x, axis
        As in `softmax`.

    Returns
    -------
    ndarray
        x_i - max x - ln Σ_j exp(x_j - max x), of x's shape and dtype.

    Notes
    -----
    Errors and infinities as in `softmax`. Source: chapter 5.
    """
    x, dtype = computing(x=x)
    axis = integer("axis", axis)
    z = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    log_total = np.log(np.exp(z).sum(axis=axis, keepdims=True))
    return (z - log_total).astype(dtype, copy=False)


def softmax_jacobian(a: ArrayLike) -> Array:
    """All partial derivatives of softmax at weights a: J = diag(a) - a aᵀ.

    Parameters
    ----------
    a : array_like, shape (..., n)
        Weights, the *output* of `softmax`: the logits themselves are not
        needed.

    Returns
    -------
    ndarray, shape (..., n, n)
        J[..., i, j] = ∂a_i/∂s_j = a_i (δ_ij - a_j), in a's dtype. It is
        symmetric, so either index may be read as the logit. It takes n²
        numbers a row; `softmax_vjp` needs n.

    Raises
    ------
    TypeError, ValueError
        If ``a`` does not hold real numbers, or does not hold weights.

    Notes
    -----
    Source: chapter 4, derived there with sympy for general n.
    """
    a, dtype = weights("a", a)
    identity = np.eye(a.shape[-1])
    J = a[..., :, None] * (identity - a[..., None, :])
    return J.astype(dtype, copy=False)


def softmax_vjp(a: ArrayLike, grad: ArrayLike) -> Array:
    """Vector-Jacobian product: the gradient of a loss by the logits.

    Parameters
    ----------
    a : array_like, shape (..., n)
        Weights, the output of `softmax` along the last axis.
    grad : array_like, a's shape
        Gradient of a scalar loss with respect to ``a``.

    Returns
    -------
    ndarray, shape (..., n)
        (Jᵀ grad)_j = a_j (grad_j - Σ_i a_i grad_i), without building J, in
        the common dtype of both.

    Raises
    ------
    TypeError, ValueError
        If the shapes differ (both are named), if ``a`` does not hold
        weights, or if either does not hold real numbers.

    Notes
    -----
    Source: chapter 4, equation (softmax-vjp).
    """
    weights("a", a)
    a, grad, dtype = computing(a=a, grad=grad)
    if a.shape != grad.shape:
        raise ValueError(
            "a and grad must have one shape, "
            f"got {a.shape} and {grad.shape}"
        )
    mean = (a * grad).sum(axis=-1, keepdims=True)
    return (a * (grad - mean)).astype(dtype, copy=False)
