"""What is expected of a result, by how much it may be missed, and how a result differs from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv import reference

from .operands import Operand, widest

# Relative errors of functions beyond sums of products.
LOOSE = {"float16": 4e-3, "float32": 5e-6, "float64": 1e-13, "complex64": 5e-6, "complex128": 1e-13}


class Unjudged(Exception):
    """The reference has no answer, or would take too long."""


class Expected(NamedTuple):
    """Values in the widest dtype, the dtype of the result, and the largest error of each value."""

    values: np.ndarray
    dtype: np.dtype
    error: Any = 0
    activation: str | None = None
    spreads: bool = False  # whether a NaN of the input may reach more than its windows


def array_of(value: Any) -> np.ndarray:
    """What an argument held before the call."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("masked")
    return value.before if isinstance(value, Operand) else np.asarray(value)


def wide(value: Any) -> np.ndarray:
    """The same in the widest dtype of its kind."""
    return widest(array_of(value))


def common_dtype(*values: Any) -> np.dtype:
    """NumPy's for the result, in native order."""
    return np.result_type(*(array_of(value).dtype.newbyteorder("=") for value in values))


def exact(*values: Any) -> bool:
    """Whether sums of products of these are exact."""
    return all(not isinstance(v, Operand) or v.exact for v in values)


def unit(dtype: np.dtype) -> float:
    """Half a unit in the last place of 1."""
    return float(np.finfo(np.float32 if dtype == np.float16 else dtype).eps) / 2


def loosely(values: np.ndarray, dtype: np.dtype, scale: Any = None) -> Expected:
    """Values that may be missed by a few units, of themselves or of `scale`."""
    size = abs(values) if scale is None else scale
    return Expected(values, dtype, LOOSE[str(dtype)] * size)


def rounded(values: np.ndarray, dtype: np.dtype, *operands: Any) -> Expected:
    """Exact sums, or nearly."""
    if dtype.kind in "iu" or exact(*operands):
        return Expected(values, dtype)
    return Expected(values, dtype, LOOSE[str(dtype)] * 20)


def differs(result: Any, wanted: Expected) -> str | None:
    """How a result differs from what is expected, or None."""
    if not isinstance(result, np.ndarray):
        return f"the result is {type(result).__name__}, no array"
    if result.shape != wanted.values.shape or result.dtype != wanted.dtype:
        return (
            f"{result.dtype} of shape {result.shape}, expected {wanted.dtype} of shape "
            f"{wanted.values.shape}"
        )
    values, error = wanted.values, wanted.error
    with np.errstate(all="ignore"):
        if wanted.activation is not None:
            values = reference.activation(wanted.activation, values)
            # No slope is steeper than 1.2; a sum at a kink may fall on either side.
            error = 1.2 * error + LOOSE[str(wanted.dtype)] * (1 + abs(values))
            if wanted.activation == "softplus":  # the identity beyond 20
                error = error + 3e-9
        if wanted.dtype == np.float16:  # rounded once more
            error = error + abs(values) * 2**-11 if np.any(error) else 0
        target = values.astype(wanted.dtype)
        right = (result == target) | ((result != result) & (target != target))
        if np.any(error):
            found = result.astype(values.dtype)
            right |= abs(found - values) <= error + np.zeros_like(values, float)
        if wanted.spreads:
            right |= ~np.isfinite(result)
    if right.all():
        return None
    at = tuple(np.argwhere(~right)[0].tolist())
    wrong = f"{(~right).sum()} of {right.size} values wrong"
    return f"{wrong}, at {at}: {result[at]!r}, not {target[at]!r}"
