"""Columns and borders: unfold, fold, pad and the gradient of pad, each a gathering kernel.

No thread writes where another does, so sums have one order. Tables say along each axis where an
element comes from, or which elements it is the sum of.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..arguments import Pairs
from ..cpu.lowering import geometry_words
from ..geometry import ConvGeometry
from . import lowering
from .activation import number
from .arrays import DeviceArray, c_strides, contiguous, empty, memory_order
from .backend import cuda
from .elementwise import compute_type
from .engine import element_strides
from .launch import THREADS, Kernel, blocks_for
from .memory import Table

NOWHERE = lowering.NOWHERE[True]
MODES = {"constant": 0, "reflect": 1, "replicate": 2, "circular": 3}


# --- Gathering ---


@functools.lru_cache(maxsize=64)
def gather(dtype: str) -> Kernel:
    """out[i0, i1, ...] = x[t0[i0] + t1[i1] + ...], or `fill` where that is nowhere."""

    def kernel(x, out, fill, job, axes, count):  # type: ignore[no-untyped-def]
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            rest, offset = i, 0
            for axis in range(axes):
                size = job[2 * axis]
                upper = rest // size
                offset += job[job[2 * axis + 1] + rest - upper * size]
                rest = upper
            out[i] = x[offset] if offset >= 0 else fill[0]

    arguments = [dtype, dtype, dtype, "int64", "number", "number"]
    return Kernel(f"gather_{dtype}", kernel, arguments, THREADS)


def _gather(x: DeviceArray, tables: list[np.ndarray], out: DeviceArray, fill: Any) -> DeviceArray:
    """`out`, which lies without gaps, by one table of element offsets for each of its axes."""
    if not out.size:
        return out
    order = memory_order(out)
    assert order is not None
    words: list[int] = []
    at = 2 * len(tables)
    for axis in order[::-1]:
        words += [len(tables[axis]), at]
        at += len(tables[axis])
    job = np.concatenate([np.array(words, np.int64), *(tables[axis] for axis in order[::-1])])
    value = Table(np.array([fill], x.dtype))
    kernel = gather(x.dtype.name)
    kernel(blocks_for(out.size, 4), x, out, value, Table(job), len(tables), out.size)
    return out


def unfold(geometry: ConvGeometry, x: DeviceArray) -> DeviceArray:
    """columns[n, (c, tap), output] = padded[n, c, output * stride + tap * dilation]

    x (N, C, *in_size), result (N, C * taps, L).
    """
    steps = element_strides(x)
    (c,) = lowering.correlations(geometry_words(geometry), True, steps, steps, True)
    # One table for the taps and outputs of each axis, as (taps, outputs).
    kernel_size, out_size = geometry.kernel_size, geometry.out_size
    where = [table.reshape(-1) for table in c.where[3 - geometry.rank :]]
    tables = [np.arange(n) * step for n, step in zip(x.shape[:2], steps[:2])]
    rank = geometry.rank
    # The result is (N, C, *taps, *outputs); a pair (tap, output) of an axis is one of its table.
    shape = (*x.shape[:2], *(k * o for k, o in zip(kernel_size, out_size)))
    pairs = _gather(x, [*tables, *where], empty(shape, x.dtype), 0)
    split = pairs.reshape(*x.shape[:2], *(n for pair in zip(kernel_size, out_size) for n in pair))
    taps, outputs = range(2, 2 + 2 * rank, 2), range(3, 3 + 2 * rank, 2)
    whole = contiguous(split.transpose(0, 1, *taps, *outputs))
    return whole.reshape(x.shape[0], x.shape[1] * math.prod(kernel_size), math.prod(out_size))


# --- Sums ---


@functools.lru_cache(maxsize=64)
def collect(dtype: str, out: str) -> Kernel:
    """y[a, c, b] = sum over the terms p of cell c of x[a, p, b], in their order."""
    SUM, OUT = number(compute_type(dtype)), number(out)

    def kernel(x, y, job, cells, terms, inner, count):  # type: ignore[no-untyped-def]
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            line = i // inner
            a = line // cells
            c = line - a * cells
            total = SUM(0)
            for p in range(job[c], job[c + 1]):
                total += SUM(x[(a * terms + job[p]) * inner + i - line * inner])
            y[i] = OUT(total)

    arguments = [dtype, out, "int64", "number", "number", "number", "number"]
    return Kernel(f"collect_{dtype}_{out}", kernel, arguments, THREADS)


def _lists(rows: list[np.ndarray]) -> np.ndarray:
    """Lists of numbers as one array: where each begins, then all of them."""
    begins = np.cumsum([len(rows) + 1, *map(len, rows)])
    return np.concatenate([begins, *rows]).astype(np.int64)


def _summed(x: DeviceArray, axis: int, rows: list[np.ndarray], dtype: np.dtype) -> DeviceArray:
    """A C-contiguous `x` with one axis replaced by sums over lists of its cells."""
    shape = (*x.shape[:axis], len(rows), *x.shape[axis + 1 :])
    y = empty(shape, dtype)
    if y.size:
        inner = math.prod(shape[axis + 1 :])
        job = Table(_lists(rows))
        kernel = collect(x.dtype.name, dtype.name)
        kernel(blocks_for(y.size), x, y, job, len(rows), x.shape[axis], inner, y.size)
    return y


def fold(geometry: ConvGeometry, columns: DeviceArray) -> DeviceArray:
    """y[n, c, cell] = sum of columns[n, (c, tap), output] over the pairs that meet in the cell.

    columns (N, C * taps, L), result (N, C, *in_size) in its dtype; axis by axis, each as one axis
    of pairs (tap, output).
    """
    g, dtype = geometry, columns.dtype
    sums = compute_type(dtype)
    lead = (g.batch, g.in_channels)
    y = columns.reshape(*lead, *g.kernel_size, *g.out_size)
    steps = c_strides((*lead, *g.in_size), 1)
    (c,) = lowering.correlations(geometry_words(g), True, steps, steps, True)
    rank = g.rank
    y = contiguous(
        y.transpose(0, 1, *(a for axis in range(rank) for a in (2 + axis, 2 + rank + axis)))
    ).reshape(*lead, *(k * o for k, o in zip(g.kernel_size, g.out_size)))
    for axis in range(rank):
        meets = c.where[3 - rank + axis].reshape(-1)
        # Element offsets back to cells; an axis of one cell has any stride.
        cells = np.where(meets < 0, -1, meets // max(steps[2 + axis], 1))
        rows = [np.flatnonzero(cells == cell) for cell in range(g.in_size[axis])]
        y = _summed(y, 2 + axis, rows, sums)
    return y.astype(dtype, copy=False)


# --- Borders ---


def pad(x: DeviceArray, pairs: Pairs, mode: str, value: Any) -> DeviceArray:
    """`x` with borders in its memory format; one pair for each axis, negative to cut lines off."""
    shape = tuple(size + low + high for size, (low, high) in zip(x.shape, pairs))
    tables = []
    for size, (low, high), stride in zip(x.shape, pairs, element_strides(x)):
        positions = np.arange(-low, size + high)
        cells = lowering.source_positions(positions, size, MODES[mode])
        tables.append(np.where(cells < 0, NOWHERE, cells * stride))
    order = memory_order(x) or tuple(range(x.ndim))
    out = empty(tuple(shape[axis] for axis in order), x.dtype)
    return _gather(x, tables, out.transpose(*np.argsort(order).tolist()), value)


def pad_input(gradient: DeviceArray, pairs: Pairs, mode: str) -> DeviceArray:
    """The gradient of `pad`: a cell receives from itself and from the cells that repeat it."""
    order = memory_order(gradient) or tuple(range(gradient.ndim))
    y, dtype = contiguous(gradient.transpose(*order)), gradient.dtype
    for axis, at in enumerate(order):
        low, high = pairs[at]
        if (low, high) == (0, 0):
            continue
        size = y.shape[axis] - low - high
        cells = lowering.source_positions(np.arange(-low, size + high), size, MODES[mode])
        rows = [np.flatnonzero(cells == cell) for cell in range(size)]
        y = _summed(y, axis, rows, compute_type(dtype))
    y = y.astype(dtype, copy=False)
    return y.transpose(*np.argsort(order).tolist()) if order else y
