"""Checks of arguments, so that bad input is answered by name and shape."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]

# What rounding may do to the sum of a row of weights, float16's too.
SUM_TOLERANCE = 0.01


def floating(name: str, x: ArrayLike, min_ndim: int = 1) -> Array:
    """``x`` as an array of floats with at least ``min_ndim`` axes.

    Lists are taken, and integers become float64. What numpy would compute
    something unexpected with (truth values, complex numbers, text) is not.
    """
    try:
        x = np.asarray(x)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths") from None
    if x.dtype.kind in "iu":
        x = x.astype(float)
    if x.dtype.kind != "f":
        raise TypeError(
            f"{name} must hold real numbers, got dtype {x.dtype}"
            + conversion(name, x.dtype)
        )
    if x.ndim < min_ndim:
        raise ValueError(
            f"{name} needs at least {min_ndim} axes, got shape {x.shape}"
        )
    return x


def conversion(name: str, dtype: np.dtype[Any]) -> str:
    """What to do about floats that numpy does not know, as bfloat16."""
    float_like = "float" in dtype.name
    return f": pass {name}.astype(np.float32)" if float_like else ""


def computing(*, min_ndim: int = 1, **named: ArrayLike) -> tuple[Any, ...]:
    """The named arrays in the dtype to compute in, and the one to return.

    Their common dtype is returned; float16 is computed in float32.
    """
    arrays = [floating(name, x, min_ndim) for name, x in named.items()]
    returned = np.result_type(*arrays)
    dtype = np.promote_types(returned, np.float32)
    return *(x.astype(dtype, copy=False) for x in arrays), returned


def weights(name: str, a: ArrayLike) -> tuple[Array, np.dtype[Any]]:
    """Softmax's weights along the last axis, and the dtype to return.

    Rows sum to 1, or are all 0 where everything is masked; NaN passes.
    Logits given by mistake would give a number that means nothing, so they
    are refused.
    """
    a, returned = computing(**{name: a})
    if a.shape[-1] == 0:
        raise ValueError(
            f"{name} needs at least one weight a row, got shape {a.shape}"
        )
    total = a.sum(axis=-1)
    if (a < 0).any() or (
        (abs(total - 1) > SUM_TOLERANCE) & (total != 0)
    ).any():
        raise ValueError(
            f"{name} must hold weights, the output of softmax: none "
            "below 0, and each row summing to 1 (or 0 if all masked)"
        )
    return a, returned


def output_gradient(
    grad_output: ArrayLike, shape: tuple[int, ...]
) -> Array:
    """The gradient of a loss by an output of that shape."""
    grad_output = floating("grad_output", grad_output, 2)
    if grad_output.shape != shape:
        raise ValueError(
            f"grad_output must have the output's shape {shape}, "
            f"got {grad_output.shape}"
        )
    return grad_output


def integer(name: str, n: Any) -> int:
    """``n`` as an int; truth values and floats are refused."""
    if isinstance(n, bool | np.bool_) or not isinstance(
        n, int | np.integer
    ):
        raise TypeError(f"{name} must be an integer, got {n!r}")
    return int(n)


def positive_integer(name: str, n: Any, largest: float = np.inf) -> int:
    """``n`` as an int from 1 to ``largest``."""
    n = integer(name, n)
    if n < 1:
        raise ValueError(f"{name} must be at least 1, got {n}")
    if n > largest:
        raise ValueError(f"{name} must be at most {largest}, got {n}")
    return n


def seed_number(name: str, seed: Any) -> int:
    """``seed`` as an int ≥ 0."""
    if integer(name, seed) < 0:
        raise ValueError(f"{name} must be at least 0, got {seed}")
    return int(seed)


def finite_number(name: str, x: Any, minimum: float = -np.inf) -> float:
    """``x`` as a finite float, at least ``minimum``."""
    if isinstance(x, bool | np.bool_) or not isinstance(
        x, int | float | np.integer | np.floating
    ):
        raise TypeError(f"{name} must be a real number, got {x!r}")
    try:
        number = float(x)
    except OverflowError:  # an int beyond the largest float
        number = np.inf
    if not np.isfinite(number) or number < minimum:
        bound = "" if minimum == -np.inf else f" and at least {minimum}"
        raise ValueError(f"{name} must be finite{bound}, got {number}")
    return number


def per_head(
    name: str,
    x: Any,
    lead: tuple[int, ...],
    dtype: np.dtype[Any],
    minimum: float = -np.inf,
) -> Array:
    """A finite number, or one for each head: an array of ``lead`` + (1, 1).

    Numbers for heads have the shape (heads, 1, 1), which numpy broadcasts
    to the scores as it is meant; (heads,) would go along the keys.
    """
    if isinstance(x, np.ndarray | list):
        x = floating(name, x, 0)
        for number in x.flat:
            finite_number(name, number, minimum)
    else:
        x = finite_number(name, x, minimum)
    try:
        return np.broadcast_to(np.asarray(x, dtype), lead + (1, 1))
    except ValueError:
        raise ValueError(
            f"{name} must be a number, or one for each head in the shape "
            f"(heads, 1, 1), got shape {x.shape} for {lead + (1, 1)}"
        ) from None
