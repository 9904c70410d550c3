"""Filters of one output channel: rows of the source slide past the sums of several output rows.

A planar tile of one channel loads a vector of pixels for every multiply-add, and most of its loads
cross a cache line. Here a tile is R output rows of one vector of pixels, and takes up to five taps
of a column of the kernel at once, a *piece*: each of the R + T - 1 vectors that T taps see is
loaded once and enters up to T sums. Nothing is multiplied by a zero of padding of the kernel, so a
NaN stays within its windows.

| registers | R  | loads per fma, T = 5, 4, 3 | share of fma peak, one core of Zen 3 |
|-----------|----|----------------------------|--------------------------------------|
| 16        | 10 | 0.38, 0.42, 0.50           | 0.90, 0.87, 0.81                     |
| 16        | 8  | 0.42, 0.47, 0.54           | 0.83, 0.83, 0.82                     |
| 32        | 16 | 0.31, 0.36, 0.44           | not measured                         |

Those are of the inner loop in the first-level cache; of whole filters 7x7 reach 0.6, 15x15 0.75.

A long row has the same structure: as many samples as a vector has lanes are its columns, every
further lot of them a row (output q * lanes + i meets tap j * lanes + u in sample
(q + j) * lanes + u + i). The last columns may have a row less.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from numba.extending import intrinsic

from ..machine import Machine, machine
from .compile import compiled, kernel
from .emit import emitter, i64, one_of
from .job import (
    ACTIVATION,
    BLOCKS,
    BUFFER_AT,
    CLIP,
    DIRECT,
    EXTRA_AT,
    GOALS_AT,
    GROUPS,
    LINES_AT,
    SOURCE_GROUP,
    TARGET_CHANNEL,
    TARGETS,
    THREAD_BYTES,
)
from .job import LANES as SPREAD
from .lowering import TARGET
from .memory import call, load, shift, store, word
from .pack import axis_of, box_counts, box_firsts, enter_box

# Taps of a piece.
PIECE_TAPS = (5, 4, 3, 2, 1)

# Words behind the job. SIZE: which of the tiles; ROWS: its output rows; ROW_PITCH: elements
# between those of the source. HEIGHT and ROW_STEP: output rows in all and elements between them,
# if the rows of a tile are rows of the image, else ROW_STEP is that between vectors of a row.
# COUNTS: pieces of each of PIECE_TAPS.
(SIZE, ROWS, ROW_PITCH, WEIGHTS, HEIGHT, ROW_STEP, LANES, PIECES_AT, OUT_AT, COUNTS) = range(10)
EXTRA_WORDS = COUNTS + len(PIECE_TAPS)


def tile_rows(cpu: Machine) -> tuple[int, int]:
    """Output rows of the two tiles: with as many sums as registers hold, and of few rows."""
    return (16, 8) if cpu.vector_registers >= 32 else (10, 8)


def _emit_tiles(size: int, builder: Any, element: Any, *args: Any) -> None:
    """Tiles of `tile_rows[size]` output rows."""
    e = emitter(builder, element)
    y, goals, row_step, alive, bias, x, lines, pitch, pieces, counts, weights, clip, tiles = args
    rows = tile_rows(machine())[size]
    goals, lines, pieces, counts = map(e.at, (goals, lines, pieces, counts))
    start = e.broadcast(e.at(bias))
    with e.loop(tiles, []) as tile:
        first = e.shift(e.at(x), e.integer(lines, tile))
        state = [e.at(weights), pieces, *[start] * rows]
        for n, taps in enumerate(PIECE_TAPS):
            with e.loop_or_none(e.integer(counts, n), state):
                factors, table, sums = state[0], state[1], state[2:]
                cell = e.shift(first, e.integer(table, 0))
                weight = [e.broadcast(factors, t) for t in range(taps)]
                for i in range(rows + taps - 1):
                    pixels = e.load(cell)
                    for t in range(max(0, i - rows + 1), min(taps, i + 1)):
                        sums[i - t] = e.fma(pixels, weight[t], sums[i - t])
                    cell = e.shift(cell, pitch)
                table = builder.gep(table, [i64(1)], source_etype=i64)
                state[:] = [e.shift(factors, taps), table, *sums]
        goal = e.shift(e.at(y), e.integer(goals, tile))
        for r, value in enumerate(e.clipped(state[2:], clip)):
            with builder.if_then(builder.icmp_signed("<", i64(r), alive)):
                e.store(value, goal)
            goal = e.shift(goal, row_step)


@intrinsic
def _sliding(
    typing: Any,
    element: Any,
    size: Any,
    y: Any,
    goals: Any,
    row_step: Any,
    alive: Any,
    bias: Any,
    x: Any,
    lines: Any,
    pitch: Any,
    pieces: Any,
    counts: Any,
    weights: Any,
    clip: Any,
    tiles: Any,
) -> Any:
    """y[goals[m] + r * row_step + v] = bias + sum over pieces n, t < T of
                                  weight[n, t] * x[lines[m] + pieces[n] + (r + t) * pitch + v]

    For the first `alive` rows of `tiles` tiles m, clipped as `Emit.clipped` says. `counts` says how
    many pieces have 5, 4, 3, 2 and 1 taps T, and they come in that order.
    """
    sizes = [(f"sliding_{i}", partial(_emit_tiles, i)) for i in range(len(tile_rows(machine())))]
    numbers = y, goals, row_step, alive, bias, x, lines, pitch, pieces, counts
    return one_of(sizes, element, size, *numbers, weights, clip, tiles)


@kernel
def slide(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """The same sums, items and operands as `direct.correlate`, for blocks of one channel."""
    source, target = word(operands, 0), word(operands, 3)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    blocks, groups = word(job, BLOCKS), word(job, GROUPS)
    extra = job + 8 * word(job, EXTRA_AT)
    size = word(extra, WEIGHTS)
    entered, lines = -1, 0
    for item in range(begin, end):
        window, channel = item // blocks, item % blocks
        group = window % groups
        if window != entered:
            lines = enter_box(job, source, window // groups, group, work)
            entered = window
        x = work + word(job, BUFFER_AT)
        if word(job, DIRECT):
            x = shift(element, source, group * word(job, SOURCE_GROUP))
        index = group * blocks + channel
        weights = shift(element, word(operands, 1), index * size)
        bias = shift(element, word(operands, 2), index)
        channel += group * word(job, TARGETS)
        goal = shift(element, target, channel * word(job, TARGET_CHANNEL))
        _box(element, job, extra, x, weights, bias, goal, lines, window // groups, work)


@compiled
def _box(
    element: Any,
    job: int,
    extra: int,
    x: int,
    weights: int,
    bias: int,
    target: int,
    lines: int,
    box: int,
    work: int,
) -> None:
    """All lines of a box, in runs of tiles that have as many rows; the last may hang over."""
    rows, width = word(extra, ROWS), word(job, SPREAD)
    firsts = box_firsts(job, box)
    counts = box_counts(job, firsts)
    alive = width if word(job, DIRECT) else min(width, counts[3])  # of a line
    last, plane, whole = rows, lines, lines
    if word(extra, HEIGHT):
        across = (counts[3] + width - 1) // width
        plane = counts[2] * across
        last = min(rows, word(extra, HEIGHT) - (firsts[2] + counts[2] - 1) * rows)
        whole = plane if last == rows else plane - across
    for first in range(0, lines, plane):
        rest = first + whole, plane - whole
        _run(element, job, extra, x, weights, bias, target, alive, work, first, whole, rows)
        _run(element, job, extra, x, weights, bias, target, alive, work, *rest, last)


@compiled
def _run(
    element: Any,
    job: int,
    extra: int,
    x: int,
    weights: int,
    bias: int,
    target: int,
    alive: int,
    work: int,
    first: int,
    tiles: int,
    rows: int,
) -> None:
    """Tiles of so many rows, from line `first` on.

    Whole ones are stored where they belong, others by way of `out`.
    """
    lanes, row_step, out = word(extra, LANES), word(extra, ROW_STEP), work + word(extra, OUT_AT)
    lines, goals = work + word(job, LINES_AT) + 8 * first, work + word(job, GOALS_AT) + 8 * first
    size, pitch, clip = word(extra, SIZE), word(extra, ROW_PITCH), word(job, CLIP)
    pieces, counts = job + 8 * word(extra, PIECES_AT), extra + 8 * COUNTS
    to_pixel = word(axis_of(job, 3), TARGET)
    if alive == word(job, SPREAD) and word(job, ACTIVATION) == 0 and to_pixel == 1:
        if tiles:
            _sliding(
                element, size, target, goals, row_step, rows, bias, x, lines, pitch, pieces,
                counts, weights, clip, tiles,
            )  # fmt: skip
        return
    for m in range(tiles):
        goal = word(goals, m)
        y, goals_m, lines_m = shift(element, out, -goal), goals + 8 * m, lines + 8 * m
        _sliding(
            element, size, y, goals_m, lanes, rows, bias, x, lines_m, pitch, pieces, counts,
            weights, clip, 1,
        )  # fmt: skip
        if word(job, ACTIVATION):
            call(word(job, ACTIVATION), out, 0, 0, rows * lanes, 0)
        for r in range(rows):
            count = alive if word(extra, HEIGHT) else min(lanes, alive - r * lanes)
            sums, row = shift(element, out, r * lanes), shift(element, target, goal + r * row_step)
            for lane in range(count):
                store(element, row, lane * to_pixel, load(element, sums, lane))
