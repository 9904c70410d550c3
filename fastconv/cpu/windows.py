"""Which cells each output pools, one axis at a time, as runs of like windows.

Nothing after this file knows padding, overhang, adaptive bins or gradients. An axis is a tuple of
numbers. A run is a row of numbers: COUNT outputs BEGIN, BEGIN + GAP, ... whose windows all have
TAPS cells and SHARE in the divisor, and begin at the cells FIRST, FIRST + STEP, ... Only the
outputs at the borders are looked at one by one, so that long axes are cheap.

The gradient of a sum over windows is a sum over windows too: a cell receives from those outputs
whose windows cover it, and they are neighbours. So the gradients of the averages are poolings of
the output's gradient, with the runs of `covering_runs`.

All functions but `axes` take plain numbers and tuples, so that they can be compiled into nopython
code as well as run from Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from ..geometry import AdaptiveGeometry, PoolGeometry
from ..sizes import adaptive_bin, conv_size, phase_count, window_extent

AnyPool = PoolGeometry | AdaptiveGeometry
Axis = tuple[int, int, int, int, int, int, int, int]

# An axis: its cells, its outputs, and how the windows lie. In the divisor PADDED counts the cells
# of the padding too, SLIDING and ADAPTIVE those inside the input only.
(A_SIZE, A_COUNT, A_KERNEL, A_STRIDE, A_DILATION, A_LOW, A_HIGH, A_KIND) = range(8)
(SLIDING, PADDED, ADAPTIVE) = range(3)

# Columns of runs.
(FIRST, TAPS, SHARE, BEGIN, COUNT, GAP, STEP, RUN_WORDS) = range(8)


def axes(geometry: AnyPool, padded: bool = False) -> tuple[Axis, Axis, Axis]:
    """The axes (D, H, W) of a pooling problem; those that it lacks have size one.

    Bins of equal size are sliding windows, and a single tap has no dilation, however large.
    """
    found: list[Axis] = [(1, 1, 1, 1, 1, 0, 0, SLIDING)] * (3 - geometry.rank)
    for a in range(geometry.rank):
        size, count = geometry.in_size[a], geometry.out_size[a]
        if isinstance(geometry, AdaptiveGeometry):
            width, rest = divmod(size, count)
            found.append((size, count, width, width, 1, 0, 0, ADAPTIVE if rest else SLIDING))
        else:
            kernel, stride = geometry.kernel_size[a], geometry.stride[a]
            dilation = geometry.dilation[a] if kernel > 1 else 1
            kind = PADDED if padded else SLIDING
            found.append((size, count, kernel, stride, dilation, *geometry.padding[a], kind))
    return found[0], found[1], found[2]


@register_jitable
def window(axis: Axis, output: int) -> tuple[int, int, int]:
    """First cell and number of taps inside the input, and share in the divisor, of an output."""
    size, count, kernel, stride, dilation, low, high, kind = axis
    if kind == ADAPTIVE:
        first, stop = adaptive_bin(output, size, count)
        return first, stop - first, stop - first
    start = output * stride - low
    stop = start + window_extent(kernel, dilation)
    first = start
    if start < 0:
        first += phase_count(0, start, dilation) * dilation
    taps = phase_count(min(stop, size), first, dilation)
    return first, taps, min(stop, size + high) - start if kind == PADDED else taps


@register_jitable
def cover(axis: Axis, cell: int) -> tuple[int, int]:
    """First output whose window covers a cell, and one past the last; no dilation."""
    size, count, kernel, stride, _, low, _, kind = axis
    if kind == ADAPTIVE:  # floor(i L / o) <= cell < ceil((i + 1) L / o), solved for i
        return adaptive_bin(cell, count, size)
    ended = max(phase_count(cell + low + 1 - kernel, 0, stride), 0)
    begun = min(phase_count(cell + low + 1, 0, stride), count)
    return min(ended, begun), begun


@register_jitable
def window_runs(axis: Axis, limit: int) -> Any:
    """The runs of the outputs' windows, none longer than `limit`, shape (runs, RUN_WORDS).

    Examples
    --------
    Windows of three cells, stride two, one padding cell at either end of six: the first window has
    two cells only, the other two are a run.

    >>> runs = window_runs((6, 3, 3, 2, 1, 1, 1, SLIDING), 100)
    >>> runs[:, [BEGIN, COUNT, FIRST, TAPS]].tolist()
    [[0, 1, 0, 2], [1, 2, 1, 3]]
    """
    size, count, kernel, stride, dilation, low, _, kind = axis
    begin, stop = count, count  # of the windows that lie inside the input
    if kind != ADAPTIVE:
        begin = min(phase_count(0, -low, stride), count)
        stop = min(max(conv_size(size, kernel, stride, dilation, low, 0), begin), count)
    runs = [(0, 0, 0, 0, 0, 0, 0)]
    for output in range(begin):
        _add_run(runs, window(axis, output), output, 1, 1, 0, limit)
    if begin < stop:
        _add_run(runs, window(axis, begin), begin, stop - begin, 1, stride, limit)
    for output in range(stop, count):
        _add_run(runs, window(axis, output), output, 1, 1, 0, limit)
    return np.array(runs[1:], np.int64)


@register_jitable
def shares(axis: Axis) -> Any:
    """What each output contributes to the divisor along this axis, shape (outputs,)."""
    found = np.zeros(axis[A_COUNT], np.int64)
    for run in window_runs(axis, axis[A_COUNT]):
        found[run[BEGIN] : run[BEGIN] + run[COUNT]] = run[SHARE]
    return found


@register_jitable
def covering_runs(axis: Axis, limit: int) -> Any:
    """As `window_runs` with cells for outputs: which outputs' windows cover each cell, of share 1.

    Examples
    --------
    Windows of two cells, stride two, over seven cells: each pair of cells has a window, the last
    cell has none. Cells 0, 2 and 4 are a run, and cells 1, 3 and 5.

    >>> runs = covering_runs((7, 3, 2, 2, 1, 0, 0, SLIDING), 100)
    >>> runs[:, [BEGIN, COUNT, GAP, FIRST, STEP, TAPS]].tolist()
    [[6, 1, 1, 3, 1, 0], [0, 3, 2, 0, 1, 1], [1, 3, 2, 0, 1, 1]]
    """
    size, count, kernel, stride, _, low, _, kind = axis
    runs = [(0, 0, 0, 0, 0, 0, 0)]
    if kind == ADAPTIVE or count <= stride:
        cell = 0
        while cell < size:  # the cover stays until the next window begins or the first one ends
            first, last = cover(axis, cell)
            stop = size
            if last < count:
                stop = min(stop, window(axis, last)[0])
            if first < last:
                start, taps, _ = window(axis, first)
                stop = min(stop, start + taps)
            _add_run(runs, (first, last - first, 1), cell, stop - cell, 1, 0, limit)
            cell = stop
        return np.array(runs[1:], np.int64)
    # Cells a stride apart are covered alike, save those that a missing window would cover.
    begin = min(max(kernel - low - stride, 0), size)
    stop = min(max(count * stride - low, begin), size)
    for cell in range(begin):
        _add_cover(runs, axis, cell, 1, 1, limit)
    for cell in range(stop, size):
        _add_cover(runs, axis, cell, 1, 1, limit)
    for phase in range(begin, min(begin + stride, stop)):
        _add_cover(runs, axis, phase, phase_count(stop, phase, stride), stride, limit)
    return np.array(runs[1:], np.int64)


@register_jitable
def _add_cover(runs: Any, axis: Axis, cell: int, count: int, gap: int, limit: int) -> None:
    """Add `count` cells, each covered by the outputs next to those that cover the one before."""
    first, last = cover(axis, cell)
    _add_run(runs, (first, last - first, 1), cell, count, gap, 1, limit)


@register_jitable
def _add_run(
    runs: Any,
    first: tuple[int, int, int],
    begin: int,
    count: int,
    gap: int,
    step: int,
    limit: int,
) -> None:
    """Add a run whose first window is `first`, in pieces of at most `limit`.

    The step of a single output is 1: then it is loaded as a row is.
    """
    cell, taps, share = first
    for i in range(0, count, limit):
        piece = min(limit, count - i)
        onward = step if piece > 1 else 1
        runs.append((cell + i * step, taps, share, begin + i * gap, piece, gap, onward))
