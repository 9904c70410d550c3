"""Pooling: sums, maxima and the places of maxima over windows of every kind, in one kernel.

`windows` has turned kernel size, stride, dilation, padding, adaptive bins and gradients into runs
of like windows, `strips` makes the outputs of a row. Arrays are (N, C, D, H, W) here; one and two
axes are three with axes of size one. The input may have any strides, outputs are dense,
channels-first or channels-last. No two work items share an output, so the bits do not depend on the
number of threads.

Legend: n image, c channel, x input, y output; a plane is one (n, c), or one n if channels are last.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .compile import inlined, kernel
from .launch import run, thread_count
from .memory import address_of, clear, load, shift, store, word
from .pool_job import (
    CHANNELS,
    CHANNELS_LAST,
    COLUMNS,
    D_AT,
    D_DILATION,
    D_PLACE,
    D_RUNS,
    D_SIZE,
    D_TAP,
    DIVISOR,
    H_AT,
    H_DILATION,
    H_PLACE,
    H_RUNS,
    H_SIZE,
    H_TAP,
    ITEMS,
    MAX,
    MODE,
    PARTS,
    PARTS_AT,
    SCRATCH,
    SUM,
    W_AT,
    W_DILATION,
    W_SIZE,
    W_TAP,
    WORK,
    pool_job,
)
from .program import Program, Unwritten, noted
from .strips import argmax_strip, max_strip, sum_strip
from .windows import BEGIN, COUNT, FIRST, GAP, RUN_WORDS, SHARE, STEP, TAPS, AnyPool, axes

# Operands: addresses, and the strides of x in elements.
(X, Y, INDICES, LINES, X_N, X_C, X_D, X_H, X_W) = range(9)


@kernel
def pool(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y[n, c, output] = the sum / divisor or the maximum of x over the output's window.

    Items are (n, c, run of D, run of H, part of a row), without c if channels are last.
    """
    channels = 1 if word(job, CHANNELS_LAST) else word(job, CHANNELS)
    d_runs, h_runs, parts = word(job, D_RUNS), word(job, H_RUNS), word(job, PARTS)
    part, h, d = begin % parts, begin // parts % h_runs, begin // (parts * h_runs) % d_runs
    plane = begin // (parts * h_runs * d_runs)
    c, n = plane % channels, plane // channels
    scratch = shift(element, word(operands, LINES), thread * word(job, SCRATCH))
    for _ in range(begin, end):
        x = shift(element, word(operands, X), n * word(operands, X_N) + c * word(operands, X_C))
        _pool_item(element, job, operands, x, plane, d, h, part, scratch)
        # Counted on by hand: divisions would take as long as a short row.
        part += 1
        if part == parts:
            part, h = 0, h + 1
            if h == h_runs:
                h, d = 0, d + 1
                if d == d_runs:
                    d, plane, c = 0, plane + 1, c + 1
                    if c == channels:
                        c, n = 0, n + 1


@inlined
def _pool_item(
    element: Any,
    job: int,
    operands: int,
    x: int,
    plane: int,
    d: int,
    h: int,
    part: int,
    scratch: int,
) -> None:
    """The outputs of one item; x is the plane's first cell.

    With COLUMNS the rows are first pooled over D and H into scratch, cell by cell, and the windows
    are then pooled from there.
    """
    d_run = job + 8 * (word(job, D_AT) + d * RUN_WORDS)
    h_run = job + 8 * (word(job, H_AT) + h * RUN_WORDS)
    d_taps, h_taps = word(d_run, TAPS), word(h_run, TAPS)
    x_d, x_h, x_w = word(operands, X_D), word(operands, X_H), word(operands, X_W)
    d_move, h_move = word(job, D_DILATION) * x_d, word(job, H_DILATION) * x_h
    w_move = word(job, W_DILATION) * x_w
    x = shift(element, x, word(d_run, FIRST) * x_d + word(h_run, FIRST) * x_h)
    x_row, rows, columns = word(h_run, STEP) * x_h, word(h_run, COUNT), word(job, COLUMNS)
    if columns:
        one, moves = np.int64(1), (d_move, h_move, w_move)
        taps = (d_taps, h_taps, one)
        for row in range(rows):
            here, line = shift(element, x, row * x_row), shift(element, scratch, row * columns)
            _pool_strip(element, job, columns, x_w, here, taps, moves, line, one, 0, 0, 0)
        x, x_row, x_w, w_move = scratch, columns, one, word(job, W_DILATION)
        d_taps, h_taps = one, one
    y = (plane * word(job, D_SIZE) + word(d_run, BEGIN)) * word(job, H_SIZE) + word(h_run, BEGIN)
    place = word(d_run, FIRST) * word(job, D_PLACE) + word(h_run, FIRST) * word(job, H_PLACE)
    bounds = job + 8 * (word(job, PARTS_AT) + part)
    for r in range(word(bounds, 0), word(bounds, 1)):
        w_run = job + 8 * (word(job, W_AT) + r * RUN_WORDS)
        first = word(w_run, FIRST)
        output = y * word(job, W_SIZE) + word(w_run, BEGIN)
        origin = (shift(element, x, first * x_w), output, place + first)
        taps, moves = (d_taps, h_taps, word(w_run, TAPS)), (d_move, h_move, w_move)
        line = shift(element, scratch, rows * columns)
        windows = (d_run, h_run, w_run)
        _pool_run(element, job, operands, origin, windows, x_row, x_w, taps, moves, line)


@inlined
def _pool_run(
    element: Any,
    job: int,
    operands: int,
    origin: Any,
    windows: Any,
    x_row: int,
    x_w: int,
    taps: Any,
    moves: Any,
    line: int,
) -> None:
    """One run of outputs in every row: a strip of channels for each, or one strip of pixels.

    `origin` is the first output: address of its window in x, its number in y, and its place. If the
    outputs are not neighbours they are made in `line` and spread from there.
    """
    d_run, h_run, w_run = windows
    divisor = word(job, DIVISOR)
    if divisor == 0:
        divisor = word(d_run, SHARE) * word(h_run, SHARE) * word(w_run, SHARE)
    count, gap, step = word(w_run, COUNT), word(w_run, GAP), word(w_run, STEP)
    if word(job, CHANNELS_LAST):
        strips, lanes, width, spread = count, word(job, CHANNELS), word(job, CHANNELS), False
        x_strip, x_lane, place_strip, place_lane = step * x_w, word(operands, X_C), step, 0
    else:
        strips, lanes, width, spread = 1, count, 1, gap > 1
        x_strip, x_lane, place_strip, place_lane = 0, step * x_w, 0, step
    place_row = word(h_run, STEP) * word(job, H_PLACE)
    for row in range(word(h_run, COUNT)):
        x, place = shift(element, origin[0], row * x_row), origin[2] + row * place_row
        output = origin[1] + row * word(h_run, GAP) * word(job, W_SIZE)
        for strip in range(strips):
            at = (output + strip * gap) * width
            y, indices = shift(element, word(operands, Y), at), word(operands, INDICES) + 8 * at
            here, first = shift(element, x, strip * x_strip), place + strip * place_strip
            target = line if spread else y
            _pool_strip(
                element,
                job,
                lanes,
                x_lane,
                here,
                taps,
                moves,
                target,
                divisor,
                indices,
                first,
                place_lane,
            )
            if spread:
                for i in range(count):
                    store(element, y, i * gap, load(element, line, i))


@inlined
def _pool_strip(
    element: Any,
    job: int,
    count: int,
    step: int,
    x: int,
    taps: Any,
    moves: Any,
    y: int,
    divisor: int,
    indices: int,
    place: int,
    place_step: int,
) -> None:
    """Outputs side by side."""
    mode = word(job, MODE)
    if taps[0] * taps[1] * taps[2] == 0:  # cells of a gradient that no window covers
        clear(element, y, count)
    elif mode == SUM:
        sum_strip(element, count, step, x, taps, moves, y, divisor)
    elif mode == MAX:
        max_strip(element, count, step, x, taps, moves, y)
    else:
        places = (word(job, D_TAP), word(job, H_TAP), word(job, W_TAP))
        argmax_strip(element, count, step, x, taps, moves, y, indices, place, place_step, places)


@functools.lru_cache(maxsize=256)
def forward_job(
    geometry: AnyPool, mode: int, padded: bool, divisor: int, channels_last: bool
) -> np.ndarray:
    """Pooling the input; `padded` counts padding in the divisor, unless a `divisor` is given."""
    sizes, along = (geometry.batch, geometry.channels), axes(geometry, padded)
    return pool_job(mode, *sizes, channels_last, along, divisor, False)


@functools.lru_cache(maxsize=256)
def backward_job(geometry: AnyPool, divisor: int, channels_last: bool) -> np.ndarray:
    """Summing the output's gradient over the windows that cover each cell of the input."""
    sizes, along = (geometry.batch, geometry.channels), axes(geometry)
    return pool_job(SUM, *sizes, channels_last, along, divisor, True)


def pool_into(
    job: np.ndarray, x: np.ndarray, y: np.ndarray, indices: np.ndarray | None, threads: int | None
) -> None:
    """Fill `y` and with ARGMAX `indices`, dense in the job's format; all are (N, C, *spatial)."""
    if noted(_pool_steps, job, x, y, indices):
        return
    threads = thread_count(int(job[WORK]), threads)
    scratch = np.empty(threads * int(job[SCRATCH]), x.dtype)
    found = 0 if indices is None else address_of(indices)
    addresses = (address_of(x), address_of(y), found, address_of(scratch))
    run(pool, x.dtype.name, job, (*addresses, *_lifted_steps(x)), int(job[ITEMS]), threads)


def _lifted_steps(x: np.ndarray) -> list[int]:
    """Strides in elements of the axes (N, C, D, H, W)."""
    steps = [stride // x.itemsize for stride in x.strides]
    steps[2:2] = [0] * (5 - x.ndim)
    return steps


def _pool_steps(
    program: Program, job: np.ndarray, x: np.ndarray, y: np.ndarray, indices: np.ndarray | None
) -> None:
    """The same, as a step of a program."""
    if str(x.dtype) not in pool.dtypes:
        raise Unwritten
    found = 0 if indices is None else program.place(indices)
    scratch = program.scratch(program.threads * int(job[SCRATCH]) * x.itemsize)
    operands = program.place(x), program.place(y), found, scratch, *_lifted_steps(x)
    program.launch(pool, x.dtype.name, job, operands, int(job[ITEMS]))
