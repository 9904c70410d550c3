"""Pooling: sums, maxima and the places of maxima over windows of every kind, in one kernel.

`windows` has turned kernel size, stride, dilation, padding, adaptive bins and gradients into runs
of like windows, `strips` makes sheets of outputs. Arrays are (N, C, D, H, W) here; one and two
axes are three with axes of size one. The input may have any strides, outputs are dense,
channels-first or channels-last. No two work items share an output, so the bits do not depend on the
number of threads.

Legend: n image, c channel, x input, y output; a plane is one (n, c), or one n if channels are last;
a cell is a place in a plane, with the channels that lie side by side there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from .compile import inlined, kernel
from .emit import pointer
from .memory import clear, load, shift, store, word
from .pool_job import (
    BANDS,
    BANDS_AT,
    CELLS,
    CHANNEL_COUNT,
    CHANNELS,
    COLUMNS,
    COUNT_PLANES,
    D_AT,
    D_DILATION,
    D_PLACE,
    D_RUNS,
    D_SIZE,
    D_TAP,
    DEPTH,
    DIVISOR,
    FORM,
    H_AT,
    H_DILATION,
    H_PLACE,
    H_RUNS,
    H_SIZE,
    H_TAP,
    INDICES_AT,
    MAX,
    MODE,
    OUT_AT,
    OUTPUTS,
    PARTS,
    PARTS_AT,
    PLANES,
    ROW,
    SCRATCH,
    SUM,
    W_AT,
    W_DILATION,
    W_SIZE,
    W_TAP,
    WIDTH,
    WIDTH_PARTS,
)
from .strips import argmax_sheet, max_sheet, sum_sheet
from .transpose import transpose
from .windows import BEGIN, COUNT, FIRST, GAP, RUN_WORDS, SHARE, STEP, TAPS

# Operands: addresses, and the strides of x in elements.
(X, Y, INDICES, LINES, X_N, X_C, X_D, X_H, X_W) = range(9)


@intrinsic
def words(typing: Any) -> Any:
    """The element that says int64; see `compile`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return pointer(None)

    return types.CPointer(types.int64)(), generate


@kernel
def pool(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y[n, c, output] = the sum / divisor or the maximum of x over the output's window.

    Items are (n, c, run of D, run of H, part of a row), with parts of the channels for c if these
    are last; or (planes for the lanes, band).
    """
    scratch = shift(element, word(operands, LINES), thread * word(job, SCRATCH))
    turned, last = word(job, FORM) == PLANES, word(job, FORM) == CHANNELS
    channels = word(job, WIDTH_PARTS) if last else word(job, CHANNEL_COUNT)
    d_runs, h_runs, parts = word(job, D_RUNS), word(job, H_RUNS), word(job, PARTS)
    # Runs of one item, d to d_end and h to h_end; counted on by hand: divisions would take as long
    # as a short row.
    part, h, d = begin % parts, begin // parts % h_runs, begin // (parts * h_runs) % d_runs
    plane = begin // (parts * h_runs * d_runs)
    c, n = plane % channels, plane // channels
    h_end, d_end = h + 1, d + 1
    for item in range(begin, end):
        if turned:
            bands = word(job, BANDS)
            band = job + 8 * (word(job, BANDS_AT) + 4 * (item % bands))
            plane, part, d, d_end = item // bands, 0, 0, d_runs
            h, h_end = word(band, 0), word(band, 1)
            source, width = _turn(element, job, operands, plane, band, scratch)
        else:
            source, width = _in_place(element, job, operands, n, c)
        for h_index in range(h, h_end):
            h_run = job + 8 * (word(job, H_AT) + h_index * RUN_WORDS)
            for d_index in range(d, d_end):
                d_run = job + 8 * (word(job, D_AT) + d_index * RUN_WORDS)
                at = word(d_run, BEGIN) * word(job, H_SIZE) + word(h_run, BEGIN)
                if turned:
                    goal = _turned_goal(element, job, scratch)
                else:
                    goal = _goal(element, job, operands, n if last else plane, at, c)
                runs, lanes_last = (d_run, h_run), turned or last
                _pool_runs(element, job, runs, part, source, goal, width, lanes_last, scratch)
                if turned:
                    _turn_back(element, job, operands, plane, at, h_run, width, goal)
        if not turned:
            part += 1
            if part == parts:
                part, h = 0, h + 1
                if h == h_runs:
                    h, d = 0, d + 1
                    if d == d_runs:
                        d, plane, c = 0, plane + 1, c + 1
                        if c == channels:
                            c, n = 0, n + 1
            h_end, d_end = h + 1, d + 1


@inlined
def _in_place(element: Any, job: int, operands: int, n: int, c: int) -> Any:
    """Address of the first cell of an item, the strides of x, and the channels in a cell."""
    first, width = c, np.int64(1)
    if word(job, FORM) == CHANNELS:  # part c of them
        whole, parts = word(job, WIDTH), word(job, WIDTH_PARTS)
        first = c * whole // parts
        width = (c + 1) * whole // parts - first
    x = shift(element, word(operands, X), n * word(operands, X_N) + first * word(operands, X_C))
    steps = (word(operands, X_D), word(operands, X_H), word(operands, X_W), word(operands, X_C))
    return (x, steps), width


@inlined
def _goal(element: Any, job: int, operands: int, plane: int, at: int, c: int) -> Any:
    """Addresses of the output and index at row `at` of a plane; elements between rows and cells."""
    whole, row = word(job, WIDTH), word(job, W_SIZE) * word(job, WIDTH)
    at = (plane * word(job, D_SIZE) * word(job, H_SIZE) + at) * row
    if word(job, FORM) == CHANNELS:
        at += c * whole // word(job, WIDTH_PARTS)
    return shift(element, word(operands, Y), at), word(operands, INDICES) + 8 * at, row, whole


@inlined
def _turn(element: Any, job: int, operands: int, block: int, band: int, scratch: int) -> Any:
    """As `_in_place`, with as many planes for channels as there are lanes, or fewer at the end.

    The rows of the input that the band looks at are transposed into scratch memory.
    """
    lanes, row, depth = word(job, WIDTH), word(job, ROW), word(job, DEPTH)
    low, rows = word(band, 2), word(band, 3) - word(band, 2)
    cells, first = word(job, CELLS), block * lanes
    planes = min(lanes, word(job, COUNT_PLANES) - first)
    slab = shift(element, scratch, word(job, OUT_AT) - depth * rows * row * lanes)
    x = shift(element, word(operands, X), first * cells + low * row)
    for d in range(depth):
        here, there = d * (cells // depth), d * rows * row * lanes
        goal = shift(element, slab, there)
        transpose(element, shift(element, x, here), cells, planes, rows * row, goal, lanes)
    steps = (rows * row * lanes, row * lanes, lanes, np.int64(1))
    return (shift(element, slab, -low * row * lanes), steps), planes


@inlined
def _turned_goal(element: Any, job: int, scratch: int) -> Any:
    """As `_goal`, in scratch memory."""
    y, indices = word(job, OUT_AT), word(job, INDICES_AT)
    row = word(job, W_SIZE) * word(job, WIDTH)
    return shift(element, scratch, y), shift(element, scratch, indices), row, word(job, WIDTH)


@inlined
def _turn_back(
    element: Any,
    job: int,
    operands: int,
    block: int,
    at: int,
    h_run: int,
    planes: int,
    made: Any,
) -> None:
    """Transpose rows of outputs to where they belong in their planes."""
    y, indices, row, lanes = made
    pixels, outputs = word(job, W_SIZE), word(job, OUTPUTS)
    rows, gap = word(h_run, COUNT), word(h_run, GAP)
    at = block * lanes * outputs + at * pixels
    if gap == 1:
        rows, pixels = np.int64(1), rows * pixels
    for r in range(rows):
        goal, here = at + r * gap * pixels, r * row
        there = shift(element, word(operands, Y), goal)
        transpose(element, shift(element, y, here), lanes, pixels, planes, there, outputs)
        if word(job, MODE) > MAX:
            places = word(operands, INDICES) + 8 * goal
            transpose(words(), indices + 8 * here, lanes, pixels, planes, places, outputs)


@inlined
def _pool_runs(
    element: Any,
    job: int,
    runs: Any,
    part: int,
    source: Any,
    goal: Any,
    width: int,
    last: bool,
    scratch: int,
) -> None:
    """The outputs of one run along D and H and a part of the runs along W.

    With COLUMNS the rows are first pooled over D and H into scratch, cell by cell, and the windows
    are then pooled from there.
    """
    d_run, h_run = runs
    x, (x_d, x_h, x_w, x_c) = source
    one = np.int64(1)
    d_taps, h_taps = word(d_run, TAPS), word(h_run, TAPS)
    d_move, h_move = word(job, D_DILATION) * x_d, word(job, H_DILATION) * x_h
    x = shift(element, x, word(d_run, FIRST) * x_d + word(h_run, FIRST) * x_h)
    x_row, rows, columns = word(h_run, STEP) * x_h, word(h_run, COUNT), word(job, COLUMNS)
    if columns:
        taps, moves = (d_taps, h_taps, one), (d_move, h_move, one)
        whole = word(job, WIDTH)
        line, times, sheet = columns * whole, one, (rows, x_row, columns, one, columns, x_w)
        if last:
            times, sheet = rows, (columns, x_w, whole, one, width, x_c)
        elif x_row == columns and x_w == 1:  # rows that touch are one
            sheet = (one, one, one, one, rows * columns, one)
        for r in range(times):
            row = shift(element, scratch, r * line)
            spot = (shift(element, x, r * x_row), row, row, one)
            _pool_sheet(element, job, sheet, spot, taps, moves, one, one)
        x, x_row, x_w, x_c = scratch, line, whole, one
        d_taps, h_taps = one, one
    place = word(d_run, FIRST) * word(job, D_PLACE) + word(h_run, FIRST) * word(job, H_PLACE)
    bounds = job + 8 * (word(job, PARTS_AT) + part)
    spread = shift(element, scratch, word(job, COLUMNS) * rows)
    for r in range(word(bounds, 0), word(bounds, 1)):
        w_run = job + 8 * (word(job, W_AT) + r * RUN_WORDS)
        taps = (d_taps, h_taps, word(w_run, TAPS))
        moves = (d_move, h_move, word(job, W_DILATION) * x_w)
        windows, steps = (d_run, h_run, w_run), (x_row, x_w, x_c)
        _pool_run(element, job, windows, x, steps, taps, moves, goal, place, width, last, spread)


@inlined
def _pool_run(
    element: Any,
    job: int,
    windows: Any,
    x: int,
    steps: Any,
    taps: Any,
    moves: Any,
    goal: Any,
    place: int,
    width: int,
    last: bool,
    line: int,
) -> None:
    """One run along W in every row of a run along H: a sheet, or with the channels last one a row.

    Pixels that are not neighbours are made in `line` and spread from there.
    """
    d_run, h_run, w_run = windows
    x_row, x_w, x_c = steps
    y, indices, y_row, y_cell = goal
    rows, divisor = word(h_run, COUNT), word(job, DIVISOR)
    y_row *= word(h_run, GAP) if not last or word(job, FORM) == CHANNELS else 1
    if divisor == 0:
        divisor = word(d_run, SHARE) * word(h_run, SHARE) * word(w_run, SHARE)
    count, gap, step = word(w_run, COUNT), word(w_run, GAP), word(w_run, STEP)
    x, place = shift(element, x, word(w_run, FIRST) * x_w), place + word(w_run, FIRST)
    y = shift(element, y, word(w_run, BEGIN) * y_cell)
    indices += 8 * word(w_run, BEGIN) * y_cell
    place_row, spread = word(h_run, STEP) * word(job, H_PLACE), gap > 1 and not last
    times, place_step = np.int64(1), step
    sheet = (rows, x_row, count if spread else y_row, place_row, count, step * x_w)
    if last:
        times, place_step = rows, np.int64(0)
        sheet = (count, step * x_w, gap * y_cell, step, width, x_c)
    target = line if spread else y
    for r in range(times):
        origin, done = shift(element, x, r * x_row), r * y_row
        spot = (origin, shift(element, target, done), indices + 8 * done, place + r * place_row)
        _pool_sheet(element, job, sheet, spot, taps, moves, divisor, place_step)
    if spread:
        for r in range(rows):
            for i in range(count):
                store(element, y, r * y_row + i * gap, load(element, line, r * count + i))


@inlined
def _pool_sheet(
    element: Any,
    job: int,
    sheet: Any,
    spot: Any,
    taps: Any,
    moves: Any,
    divisor: int,
    place_step: int,
) -> None:
    """Strips of outputs; `sheet` and `spot` hold the numbers that `strips` wants first."""
    mode = word(job, MODE)
    strips, x_hop, y_hop, place_hop, count, step = sheet
    x, y, indices, place = spot
    if taps[0] * taps[1] * taps[2] == 0:  # cells of a gradient that no window covers
        for i in range(strips):
            clear(element, shift(element, y, i * y_hop), count)
    elif mode == SUM:
        sum_sheet(
            element,
            strips,
            x_hop,
            y_hop,
            place_hop,
            count,
            step,
            x,
            y,
            indices,
            place,
            taps,
            moves,
            divisor,
        )
    elif mode == MAX:
        max_sheet(
            element, strips, x_hop, y_hop, place_hop, count, step, x, y, indices, place, taps, moves
        )
    else:
        places = (word(job, D_TAP), word(job, H_TAP), word(job, W_TAP))
        argmax_sheet(
            element,
            strips,
            x_hop,
            y_hop,
            place_hop,
            count,
            step,
            x,
            y,
            indices,
            place,
            taps,
            moves,
            place_step,
            places,
        )
