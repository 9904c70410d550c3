"""Arrays at the doors: what may come in, how it is computed, in which format it goes out."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import recycling
from .arguments import Size
from .device import cuda

# The element types that kernels are compiled for; every other is widened to one of them at the
# door.
COMPUTE = {
    **dict.fromkeys("bhilqBHILQ", "int64"),
    "e": "float32",
    "f": "float32",
    "d": "float64",
}
_NATIVE = frozenset(map(np.dtype, "bhilqBHILQefdFD"))
KINDS = "an integer, float16, float32, float64, complex64 or complex128 array"


def as_operand(op: str, name: str, value: Any, anywhere: bool = False) -> Any:
    """`value` as an aligned array of a supported dtype in native byte order, copied if it must be.

    What lies on the device comes back as a `DeviceArray` if `anywhere`. Raises TypeError for what
    has no such array: strings, objects, booleans, masked arrays, else device arrays.
    """
    if type(value) is np.ndarray:
        if value.dtype in _NATIVE and value.flags.aligned:
            return value
    else:
        if hasattr(value, "__cuda_array_interface__"):
            if anywhere:
                return cuda("arrays").as_operand(op, name, value)
            raise TypeError(
                f"{op}: {name} is on the device and the other operand, or out, on the host; copy "
                "one of them, with fastconv.to_device or copy_to_host()"
            )
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{op}: {name} is a masked array; fill it first: {name}.filled(0)")
        try:
            value = np.asarray(value)
        except Exception as error:  # ragged lists, and whatever foreign objects raise
            raise TypeError(f"{op}: {name} cannot become an array: {error}") from error
    if value.dtype.char not in "bhilqBHILQefdFD":
        raise TypeError(f"{op}: {name} must be {KINDS}, not {value.dtype}")
    if not (value.flags.aligned and value.dtype.isnative):
        value = value.astype(value.dtype.newbyteorder("="))
    return value


def compute_dtype(dtype: np.dtype) -> str:
    """Name of the real element type in which arrays of `dtype` are computed."""
    return COMPUTE["d" if dtype.char == "D" else "f" if dtype.char == "F" else dtype.char]


# Axes of an (N, C, *spatial) array in the order of channels-last memory, and back.
_TO_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
_FROM_LAST = {3: (0, 2, 1), 4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}


def is_channels_last(x: np.ndarray) -> bool:
    """Whether an (N, C, *spatial) array lies in memory as (N, *spatial, C).

    A single channel or a single pixel lies in both ways. It has the format that its strides would
    have with more of them, so that it keeps the format of the array that it was made from.
    """
    strides, size = x.strides, x.itemsize
    if strides[1] != size:
        return False
    if x.flags.c_contiguous:  # then so is the channel before the last axis, or they are units
        return strides[-1] == x.shape[1] * size and x.size > x.shape[0]
    return x.transpose(_TO_LAST[x.ndim]).flags.c_contiguous


# Rows of channels that are added as one long row, and rows that one sum runs over.
_ROW, _TERMS = 2048, 128


def channel_sums(x: np.ndarray, wide: Any) -> np.ndarray:
    """Sums over all axes of (N, C, *spatial) but the channels, the last few of them in `wide`.

    NumPy adds along contiguous axes pairwise and fast. Channels side by side it would add in short
    rows, 12 times as slowly for six channels: there many rows count as one long row.
    """
    if x.size and is_channels_last(x):
        pixels, channels = x.size // x.shape[1], x.shape[1]
        folded = _divisor(pixels, max(1, _ROW // channels))
        terms = _divisor(pixels // folded, _TERMS)
        rows = np.moveaxis(x, 1, -1).reshape(-1, terms, folded * channels)
        partial = np.add.reduce(rows, axis=1)  # (sums, pixels folded * channels)
        return np.add.reduce(partial.reshape(-1, channels), axis=0, dtype=wide)
    planes = np.add.reduce(x, axis=tuple(range(2, x.ndim)))  # (N, C)
    return np.add.reduce(planes, axis=0, dtype=wide)


@functools.lru_cache(maxsize=256)
def _divisor(count: int, most: int) -> int:
    """The largest divisor of `count` that is at most `most`."""
    return next(n for n in range(min(count, most), 0, -1) if count % n == 0)


def empty(shape: Size, dtype: np.dtype, channels_last: bool) -> np.ndarray:
    """An uninitialised (N, C, *spatial) array in a memory format."""
    if not channels_last:
        return recycling.empty(shape, dtype)
    stored = recycling.empty((shape[0], *shape[2:], shape[1]), dtype)
    return stored.transpose(_FROM_LAST[len(shape)])


def maker_of(shape: Size, dtype: np.dtype, channels_last: bool) -> Callable[[], np.ndarray]:
    """`empty` for these arguments, without a look at the size for arrays that are small."""
    if channels_last or math.prod(shape) * dtype.itemsize >= recycling.SMALLEST:
        return partial(empty, shape, dtype, channels_last)
    return partial(np.empty, shape, dtype)


def check_out(op: str, out: Any, shape: Size, dtype: np.dtype, *inputs: np.ndarray | None) -> None:
    """Refuse an `out` that cannot take the result."""
    if type(out) is not np.ndarray:
        raise TypeError(f"{op}: out must be a NumPy array, not {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{op}: out has shape {out.shape}, the result has shape {shape}")
    if out.dtype != dtype:
        raise ValueError(f"{op}: out has dtype {out.dtype}, the result has dtype {dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{op}: out is read-only")
    if not out.flags.aligned:  # its strides may be no multiple of an element
        raise ValueError(f"{op}: out is not aligned to its dtype {dtype}")
    for x in inputs:
        if x is not None and np.may_share_memory(out, x):
            _check_overlap(op, out, x)
    if not out.flags.c_contiguous and out.size > 1 and overlaps_itself(out):
        raise ValueError(f"{op}: elements of out share memory (strides {out.strides})")


# Steps of the search for a common element, some 20 ms; odd strides may take it hours.
OVERLAP_WORK = 10**6


def _check_overlap(op: str, out: np.ndarray, x: np.ndarray) -> None:
    """Refuse an `out` that shares an element with `x`, or may for all that anybody can tell."""
    try:
        overlap = np.shares_memory(out, x, OVERLAP_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        raise ValueError(
            f"{op}: out overlaps an input, or its strides {out.strides} and {x.strides} hide it"
        ) from None
    if overlap:
        raise ValueError(f"{op}: out overlaps an input")


def overlaps_itself(x: Any) -> bool:
    """Whether two indices may mean one address.

    Exact for every array made by slicing and transposing.
    """
    axes = sorted((abs(s), n) for s, n in zip(x.strides, x.shape) if n > 1)
    reach = x.itemsize
    for stride, count in axes:
        if stride < reach:
            return True
        reach += stride * (count - 1)
    return False


def channels_last(x: Any) -> np.ndarray:
    """The same array, its memory in channels-last order.

    Parameters
    ----------
    x : array_like, shape (N, C, *spatial)
        One to three spatial axes.

    Returns
    -------
    ndarray, shape (N, C, *spatial)
        `x` itself if it is channels-last already, else a copy whose strides are those of an
        (N, *spatial, C) array. The shape never changes.

    Raises
    ------
    ValueError
        If `x` has fewer than three or more than five dimensions.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.zeros((2, 3, 4, 5), np.float32)
    >>> fastconv.channels_last(x).shape, fastconv.channels_last(x).strides
    ((2, 3, 4, 5), (240, 4, 60, 12))
    """
    x = np.asarray(x)
    _check_format_ndim("channels_last", x)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def channels_first(x: Any) -> np.ndarray:
    """The same array, its memory in channels-first (C) order.

    Parameters
    ----------
    x : array_like, shape (N, C, *spatial)
        One to three spatial axes.

    Returns
    -------
    ndarray, shape (N, C, *spatial)
        `x` itself if it is C-contiguous, else a copy that is.

    Raises
    ------
    ValueError
        If `x` has fewer than three or more than five dimensions.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = fastconv.channels_last(np.zeros((2, 3, 4, 5), np.float32))
    >>> fastconv.channels_first(x).strides
    (240, 80, 20, 4)
    """
    x = np.asarray(x)
    _check_format_ndim("channels_first", x)
    return np.ascontiguousarray(x)


def _check_format_ndim(op: str, x: np.ndarray) -> None:
    if not 3 <= x.ndim <= 5:
        raise ValueError(
            f"{op}: x must have 3 to 5 dimensions (N, C, *spatial), not shape {x.shape}"
        )
