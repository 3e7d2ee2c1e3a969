"""Softmax, its Jacobian and its vector-Jacobian product (chapters 03 and 04)."""

import numpy as np

from attnlib._validate import computing_dtype, floating, integer


def softmax(x, axis=-1):
    """Turn logits into weights: a_i = exp(x_i) / Σ_j exp(x_j).

    Parameters
    ----------
    x : array of floating dtype, any shape (..., n, ...)
        Logits, in nats: a difference of 1 is a factor e between two weights.
    axis : int
        The axis that is turned into weights; the last one unless told.
        (scipy's default is the whole array.)

    Returns
    -------
    array of x's shape and dtype, entries in [0, 1], summing to 1 along ``axis``.
    float16 is computed in float32. The largest logit is subtracted first, so no
    finite input overflows. A logit of -inf gets weight 0; a slice that holds NaN
    or +inf, or nothing but -inf, gives NaN.

    Raises
    ------
    TypeError
        integer, complex or object input, an ``axis`` that is no integer.
    ValueError
        a zero-dimensional ``x``; numpy's AxisError (a ValueError) for a bad axis.

    Source: chapter 03, equation (softmax); Bridle (1990).
    """
    x, axis = floating("x", x), integer("axis", axis)
    computing, returned = computing_dtype(x)
    a = np.array(x, dtype=computing)
    with np.errstate(over="ignore", invalid="ignore"):
        a -= a.max(axis=axis, keepdims=True, initial=-np.inf)
        np.exp(a, out=a)
        a /= a.sum(axis=axis, keepdims=True)
    return a.astype(returned, copy=False)


def log_softmax(x, axis=-1):
    """Logarithm of `softmax`, accurate where the weight itself underflows.

    Shapes, dtypes and errors as in `softmax`: x_i - max x - ln Σ_j exp(x_j - max x).
    A slice that holds nothing but -inf gives NaN. Source: chapter 05.
    """
    x, axis = floating("x", x), integer("axis", axis)
    computing, returned = computing_dtype(x)
    z = np.array(x, dtype=computing)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        z -= z.max(axis=axis, keepdims=True, initial=-np.inf)
        z -= np.log(np.exp(z).sum(axis=axis, keepdims=True))
    return z.astype(returned, copy=False)


def softmax_jacobian(a):
    """All partial derivatives of softmax at weights ``a``: J = diag(a) - a aᵀ.

    Parameters
    ----------
    a : array (..., n) of floating dtype
        Weights, the *output* of `softmax`: the logits themselves are not needed.

    Returns
    -------
    array (..., n, n): J[..., i, j] = ∂a_i/∂s_j = a_i (δ_ij - a_j), in a's dtype.
    It is symmetric, so either index may be read as the logit. It takes n² numbers
    a row; `softmax_vjp` needs n.

    Raises TypeError for a non-floating and ValueError for a zero-dimensional ``a``.
    Source: chapter 04, derived there with sympy for general n.
    """
    a = floating("a", a)
    identity = np.eye(a.shape[-1], dtype=a.dtype)
    return a[..., :, None] * (identity - a[..., None, :])


def softmax_vjp(a, grad):
    """Vector-Jacobian product: the gradient of a loss with respect to the logits.

    Parameters
    ----------
    a : array (..., n) of floating dtype
        Weights, the output of `softmax` along the last axis.
    grad : array of a's shape
        Gradient of a scalar loss with respect to ``a``.

    Returns
    -------
    array (..., n): (Jᵀ grad)_j = a_j (grad_j - Σ_i a_i grad_i), without building J.

    Raises ValueError naming both shapes if they differ, TypeError for non-floating
    input. Source: chapter 04, equation (softmax-vjp).
    """
    a, grad = floating("a", a), floating("grad", grad)
    if a.shape != grad.shape:
        raise ValueError(f"a and grad must have one shape, got {a.shape} and {grad.shape}")
    return a * (grad - (a * grad).sum(axis=-1, keepdims=True))
