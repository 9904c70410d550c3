"""Columns and borders: unfold, fold and pad as copies of slices, one for each tap or side.

NumPy copies slices at the speed of memory, and neither needs arithmetic beyond an addition.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arguments import Pairs, Size
from .arrays import compute_dtype, empty, is_channels_last
from .geometry import ConvGeometry
from .sizes import phase_count

Index = tuple[Any, ...]


# --- Columns ---


def _taps(geometry: ConvGeometry) -> Iterator[tuple[Index, Index]]:
    """For every tap: (..., *tap, *outputs) whose tap is inside, and (..., *cells) where it is."""
    for tap in np.ndindex(geometry.kernel_size):
        outputs, cells = [], []
        for axis, index in enumerate(tap):
            size, stride = geometry.in_size[axis], geometry.stride[axis]
            before = geometry.padding[axis][0] - index * geometry.dilation[axis]
            begin = max(phase_count(before, 0, stride), 0)  # outputs whose tap is before the input
            end = min(phase_count(size + before, 0, stride), geometry.out_size[axis])
            end = max(begin, end)
            first = begin * stride - before
            outputs.append(slice(begin, end))
            cells.append(slice(first, first + (end - begin) * stride, stride))
        yield (..., *tap, *outputs), (..., *cells)


def _columns_shape(geometry: ConvGeometry) -> Size:
    """(N, C, *kernel_size, *out_size)."""
    lead = (geometry.batch, geometry.in_channels)
    return (*lead, *geometry.kernel_size, *geometry.out_size)


def unfold_into(geometry: ConvGeometry, x: np.ndarray, columns: np.ndarray) -> None:
    """columns[n, (c, tap), output] = padded[n, c, output * stride + tap * dilation]

    x (N, C, *in_size), columns (N, C * taps, L) in C order.
    """
    whole = columns.reshape(_columns_shape(geometry))  # (N, C, *kernel_size, *out_size)
    if any(map(any, geometry.padding)):
        whole[...] = 0
    for outputs, cells in _taps(geometry):
        whole[outputs] = x[cells]


def fold_into(geometry: ConvGeometry, columns: np.ndarray, y: np.ndarray) -> None:
    """y[n, c, cell] = sum of columns[n, (c, tap), output] over the pairs that meet in the cell.

    columns (N, C * taps, L), y (N, C, *in_size) of the dtype that sums are made in.
    """
    whole = columns.reshape(_columns_shape(geometry))  # (N, C, *kernel_size, *out_size)
    y[...] = 0
    with np.errstate(all="ignore"):
        for outputs, cells in _taps(geometry):
            y[cells] += whole[outputs].astype(y.dtype, copy=False)  # no sum of int64 and uint64


def sum_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype in which sums of `dtype` are made."""
    return dtype if dtype.kind == "c" else np.dtype(compute_dtype(dtype))


# --- Borders ---


def _grown(pairs: Pairs) -> Pairs:
    """The padding without what it cuts off."""
    return tuple((max(low, 0), max(high, 0)) for low, high in pairs)


def _kept(pairs: Pairs) -> Index:
    """What negative padding leaves of an array."""
    return tuple(slice(max(-low, 0), min(high, 0) or None) for low, high in pairs)


def _inside(grown: Pairs, shape: Size) -> Index:
    """Where an array of `shape` lies in the padded one."""
    return tuple(slice(low, low + size) for (low, _), size in zip(grown, shape))


def _repeats(low: int, high: int, size: int, mode: str) -> list[tuple[slice, slice]]:
    """For both sides of a padded axis: the border's lines, and the lines inside they repeat.

    Under "replicate" one line inside stands for all.
    """
    end = low + size
    borders = slice(0, low), slice(end, end + high)
    if mode == "reflect":  # the outermost line inside is the mirror; None is the stop before 0
        last = end - 2 - high
        sources = slice(2 * low, low, -1), slice(end - 2, last if last >= 0 else None, -1)
    elif mode == "circular":
        sources = slice(size, end), slice(low, low + high)
    else:
        sources = slice(low, low + 1), slice(end - 1, end)
    widths = (low, high)  # a side without a border repeats nothing, even where there is one line
    return [(borders[side], sources[side]) for side in (0, 1) if widths[side]]


def _has_format(x: np.ndarray) -> bool:
    """Whether `x` is channels-last, as far as it has channels."""
    return 3 <= x.ndim <= 5 and is_channels_last(x)


def pad(x: np.ndarray, pairs: Pairs, mode: str, value: Any) -> np.ndarray:
    """`x` with borders in its memory format; one pair for each axis, negative to cut lines off."""
    grown, kept = _grown(pairs), _kept(pairs)
    if mode == "constant":
        x, kept = x[kept], ()
    shape = tuple(low + size + high for size, (low, high) in zip(x.shape, grown))
    padded = empty(shape, x.dtype, _has_format(x))
    padded[_inside(grown, x.shape)] = x
    for axis, ((low, high), size) in enumerate(zip(grown, x.shape)):
        lines = np.moveaxis(padded, axis, 0)
        if mode == "constant":
            lines[:low], lines[low + size :] = value, value
            continue
        for border, source in _repeats(low, high, size, mode):
            lines[border] = lines[source]
    every = (*kept, ...)  # an array also where there is no axis
    return padded[every]


def pad_input(gradient: np.ndarray, pairs: Pairs, mode: str) -> np.ndarray:
    """The gradient of `pad`: a cell receives from itself and from the cells that repeat it."""
    shape = tuple(size - low - high for size, (low, high) in zip(gradient.shape, pairs))
    grown, kept = _grown(pairs), _kept(pairs)
    padded = tuple(size + low + high for size, (low, high) in zip(shape, grown))
    sums = empty(padded, sum_dtype(gradient.dtype), _has_format(gradient))
    sums[...] = 0
    sums[kept] = gradient
    with np.errstate(all="ignore"):
        for axis, ((low, high), size) in enumerate(zip(grown, shape)):
            lines = np.moveaxis(sums, axis, 0)
            for border, source in _repeats(low, high, size, mode) if mode != "constant" else ():
                terms = lines[border]
                lines[source] += terms.sum(axis=0, keepdims=True) if mode == "replicate" else terms
        inside = (*_inside(grown, shape), ...)
        return sums[inside].astype(gradient.dtype)
