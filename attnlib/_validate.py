"""Checks of arguments, so that bad input is answered by name and shape."""

import numpy as np


def floating(name, x, min_ndim=1):
    """``x`` as an array of a real floating dtype with at least ``min_ndim`` axes."""
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(
            f"{name} must be an array of real floating-point numbers, got dtype {x.dtype}"
            + ("; use .astype(float)" if x.dtype.kind in "iub" else "")
        )
    if x.ndim < min_ndim:
        raise ValueError(f"{name} needs at least {min_ndim} axes, got shape {x.shape}")
    return x


def computing_dtype(*arrays):
    """(dtype to compute in, dtype to return): float16 is computed in float32."""
    returned = np.result_type(*arrays)
    return np.promote_types(returned, np.float32), returned


def integer(name, n):
    """``n`` as an int; bools and floats are refused."""
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {n!r}")
    return int(n)


def positive_integer(name, n):
    """``n`` as an int ≥ 1."""
    n = integer(name, n)
    if n < 1:
        raise ValueError(f"{name} must be at least 1, got {n}")
    return n


def seed_number(name, seed):
    """``seed`` as an int ≥ 0."""
    if integer(name, seed) < 0:
        raise ValueError(f"{name} must be at least 0, got {seed}")
    return int(seed)


def finite_number(name, x, minimum=None):
    """``x`` as a finite float, at least ``minimum``."""
    if isinstance(x, (bool, np.bool_)) or not isinstance(x, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a real number, got {x!r}")
    try:
        number = float(x)
    except OverflowError:  # an int beyond the largest float
        number = np.inf
    if not np.isfinite(number) or (minimum is not None and number < minimum):
        bound = "" if minimum is None else f" and at least {minimum}"
        raise ValueError(f"{name} must be finite{bound}, got {number}")
    return number
