"""Filters of one output channel: rows of the source slide past the sums of several output rows.

A planar tile of one channel loads a vector of pixels for every multiply-add, and most of its loads
cross a cache line. Here a vector that has been loaded meets one weight of every kernel row: in R
output rows and V vectors of pixels, V loads and R weights serve R * V multiply-adds. The R - 1
first and last rows of the source meet fewer sums; nothing is multiplied by a zero of padding of the
kernel, so a NaN stays within its windows.

| registers | rows x vectors | sums   | loads per fma | GFLOP/s, two cores of Zen 4, float32      |
|-----------|----------------|--------|---------------|-------------------------------------------|
| 32        | 6 x 4          | 24     | 10 / 24       | 135 at 15x15, 190 at 31x31               |
| 32        | 3 x 8          | 24     | 11 / 24       | kernels of 3 to 5 rows                    |
| 16        | 6 x 2, 3 x 3   | 12, 9  | 8/12, 6/9     | not measured                              |

A long row has the same structure: as many samples as a vector has lanes are its columns, every
further lot of them a row (output q * lanes + i meets tap j * lanes + u in sample
(q + j) * lanes + u + i). Its last taps, fewer than lanes, are summed one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from ..machine import Machine, machine
from .compile import compiled, kernel
from .emit import Emit, emitter, outlined
from .job import (
    ACTIVATION,
    BLOCKS,
    BUFFER_AT,
    DIRECT,
    EXTRA_AT,
    GOALS_AT,
    GROUPS,
    LINES,
    LINES_AT,
    SOURCE_GROUP,
    TARGET_CHANNEL,
    TARGETS,
    THREAD_BYTES,
)
from .job import LANES as SPREAD
from .lowering import TARGET
from .memory import call, load, set_word, shift, store, word
from .pack import axis_of, box_counts, box_firsts, enter_box

# Words behind the job. HEIGHT and ROW_STEP: output rows in all and elements between them, if the
# rows of a tile are rows of the image, else ROW_STEP is that between vectors of a row.
(ROWS, PLANES, COLUMNS, REST, FULL, PITCH, WEIGHTS, HEIGHT, ROW_STEP) = range(9)
(PLANES_AT, COLUMNS_AT, REST_AT, ENDS_AT, OUT_AT, LANES, EXTRA_WORDS) = range(9, 16)

# Rows of a tile, most first.
HEIGHTS = (6, 3)


def sliding_vectors(cpu: Machine, rows: int) -> int:
    """Vectors of pixels beside `rows` output rows."""
    return {6: 4, 3: 8}[rows] if cpu.vector_registers >= 32 else {6: 2, 3: 3}[rows]


@contextmanager
def _loop_or_none(e: Emit, count: Any, carried: list[Any]) -> Iterator[Any]:
    """`Emit.loop` for a count that may be zero."""
    b, start = e.builder, list(carried)
    before, entered = b.block, b.append_basic_block("some")
    after = b.append_basic_block("none")
    b.cbranch(b.icmp_signed(">", count, ir.IntType(64)(0)), entered, after)
    b.position_at_end(entered)
    with e.loop(count, carried) as index:
        yield index
    last = b.block
    b.branch(after)
    b.position_at_end(after)
    for i, (skipped, value) in enumerate(zip(start, carried)):
        phi = b.phi(value.type)
        phi.add_incoming(skipped, before)
        phi.add_incoming(value, last)
        carried[i] = phi


def _sliding(height: int) -> Any:
    """An intrinsic for a tile of `height` output rows."""

    @intrinsic
    def tile(
        typing: Any,
        element: Any,
        ends: Any,
        bias: Any,
        x: Any,
        lines: Any,
        planes: Any,
        plane_count: Any,
        columns: Any,
        column_count: Any,
        rest: Any,
        rest_count: Any,
        pitch: Any,
        full: Any,
        weights: Any,
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            ends, bias, x, lines, planes, plane_count, columns, column_count = args[:8]
            rest, rest_count, pitch, full, weights = args[8:]
            vectors = sliding_vectors(machine(), height)
            ends, lines, planes = e.at(ends), e.at(lines), e.at(planes)
            columns, rest = e.at(columns), e.at(rest)
            starts = [e.shift(e.at(x), e.integer(lines, v)) for v in range(vectors)]
            first = e.broadcast(e.at(bias))
            state = [e.at(weights), *[first] * (height * vectors)]

            def walk(row: list[Any], sums: range) -> None:
                """One row of the source meets some rows of sums."""
                with e.loop(column_count, state) as s:
                    at, acc = e.integer(columns, s), state[1:]
                    factors = [e.broadcast(state[0], i) for i in range(len(sums))]
                    for v in range(vectors):
                        pixels = e.load(e.shift(row[v], at))
                        for factor, r in zip(factors, sums):
                            i = r * vectors + v
                            acc[i] = e.fma(pixels, factor, acc[i])
                    state[:] = [e.shift(state[0], len(sums)), *acc]

            with e.loop(plane_count, state) as p:
                plane = e.integer(planes, p)
                here = [e.shift(start, plane) for start in starts]
                for r in range(height - 1):
                    walk([e.shift(h, e.times(pitch, r)) for h in here], range(r + 1))
                here = [e.shift(h, e.times(pitch, height - 1)) for h in here]
                state[:0] = here
                with e.loop(full, state):
                    here, state[:vectors] = state[:vectors], []
                    walk(here, range(height))
                    state[:0] = [e.shift(h, pitch) for h in here]
                here, state[:vectors] = state[:vectors], []
                for r in range(1, height):
                    walk(here, range(r, height))
                    here = [e.shift(h, pitch) for h in here]
                here = [e.shift(start, plane) for start in starts]
                with _loop_or_none(e, rest_count, state) as t:
                    at, factor, acc = e.integer(rest, t), e.broadcast(state[0]), state[1:]
                    for r in range(height):
                        for v in range(vectors):
                            pixels = e.load(e.shift(e.shift(here[v], at), e.times(pitch, r)))
                            i = r * vectors + v
                            acc[i] = e.fma(pixels, factor, acc[i])
                    state[:] = [e.shift(state[0], 1), *acc]
            for i, value in enumerate(state[1:]):
                e.store(value, e.at(e.integer(ends, i)))

        names = (ends, bias, x, lines, planes, plane_count, columns, column_count)
        return outlined(
            f"sliding_{height}", emit, element, *names, rest, rest_count, pitch, full, weights
        )

    return tile


# ends[r * V + v] points to where this goes, for one vector of pixels:
# bias + sum over p, k, s of w[p, k, s] * x[lines[v] + planes[p] + (r + k) * pitch + columns[s]]
#      + sum over p, t of w[p, t] * x[lines[v] + planes[p] + r * pitch + rest[t]]
# with the weights in the order in which they are met. `full` is the number of kernel rows less
# those of the tile, plus 1.
_sliding_6, _sliding_3 = _sliding(6), _sliding(3)


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
    """All lines of a box: whole ones are stored where they belong, others by way of `out`."""
    rows, lanes, vectors = word(extra, ROWS), word(extra, LANES), word(job, LINES)
    row_step, height, to_pixel = (
        word(extra, ROW_STEP),
        word(extra, HEIGHT),
        word(axis_of(job, 3), TARGET),
    )
    firsts = box_firsts(job, box)
    counts = box_counts(job, firsts)
    width = word(job, SPREAD)  # of a line
    across = (counts[3] + width - 1) // width
    alive = width if word(job, DIRECT) else min(width, counts[3])
    whole = alive == width and word(job, ACTIVATION) == 0 and to_pixel == 1
    ends, out = work + word(extra, ENDS_AT), work + word(extra, OUT_AT)
    planes, columns = job + 8 * word(extra, PLANES_AT), job + 8 * word(extra, COLUMNS_AT)
    rest, pitch, full = job + 8 * word(extra, REST_AT), word(extra, PITCH), word(extra, FULL)
    for first in range(0, lines, vectors):
        here = work + word(job, LINES_AT) + 8 * first
        goals = work + word(job, GOALS_AT) + 8 * first
        for v in range(vectors):
            line = shift(element, target, word(goals, v))
            m = min(first + v, lines - 1)
            straight = whole and rows <= _alive_rows(height, rows, firsts, counts, m, across)
            for r in range(rows):
                end = shift(element, out, (v * rows + r) * lanes)
                if straight:
                    end = shift(element, line, r * row_step)
                set_word(ends, r * vectors + v, end)
        args = planes, word(extra, PLANES), columns, word(extra, COLUMNS), rest, word(extra, REST)
        if rows == 6:
            _sliding_6(element, ends, bias, x, here, *args, pitch, full, weights)
        else:
            _sliding_3(element, ends, bias, x, here, *args, pitch, full, weights)
        if word(job, ACTIVATION):
            call(word(job, ACTIVATION), out, 0, 0, vectors * rows * lanes, 0)
        for v in range(min(vectors, lines - first)):
            present = _alive_rows(height, rows, firsts, counts, first + v, across)
            if whole and rows <= present:
                continue
            for r in range(min(rows, present)):
                count = alive if height else min(lanes, alive - r * lanes)
                sums = shift(element, out, (v * rows + r) * lanes)
                goal = shift(element, target, word(goals, v) + r * row_step)
                for lane in range(count):
                    store(element, goal, lane * to_pixel, load(element, sums, lane))


@compiled
def _alive_rows(height: int, rows: int, firsts: Any, counts: Any, line: int, across: int) -> int:
    """Output rows that a line has; the last lines of an image may hang over it."""
    if height == 0:
        return rows
    return height - (firsts[2] + line // across % counts[2]) * rows
