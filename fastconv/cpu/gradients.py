"""Weight gradient: the register tiles again, now summing over pixels.

The gradient seen as a matrix has a row for each (input channel, tap), a column for each output
channel:

    G[r, k] = sum over pixels p of x[line(p) + row(r)] * grad_output[p, k]

Input channels are cut into parts whose windows fit a cache, blocks of columns into spans, boxes of
pixels into chunks; how many there are of each depends on the geometry alone. Every chunk sums its
boxes in order into a matrix of its own, and the matrices are added in order. So the result does
not depend on the number of threads.

A depthwise convolution has a row for each tap; its channels lie in the lanes of both operands.
"""

from __future__ import annotations

from typing import Any

from .compile import compiled, inlined, kernel
from .job import (
    BLOCK,
    BLOCKS,
    BUFFER_AT,
    DIRECT,
    FORM,
    GOALS_AT,
    LANES,
    LINES_AT,
    PAIRWISE,
    SOURCE_GROUP,
    SUMS_AT,
    TARGET_CHANNEL,
    TARGETS,
    THREAD_BYTES,
)
from .lowering import BOX, BOXES, COUNT
from .memory import clear, copy, load, set_word, shift, store, word
from .outer import outer, set_steps
from .pack import axis_of, enter_box, line_step
from .pack_weights import block_width
from .rows import narrow_rows, wide_rows
from .tiles import taps_narrow, taps_wide
from .transpose import transpose

# Words of their own that a gradient has beside its job; the x offset of every row follows. G_SHARE
# is the bytes of a thread's packed gradient, G_HEIGHT the rows of a tile.
(G_ROWS, G_PADDED, G_CHUNKS, G_BOXES, G_PARTS, G_SPANS, G_HEIGHT, G_SHARE, G_HEADER) = range(9)


@kernel
def weight_partials(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """partial[g, chunk, b, r, v] = sum over p of x[line(p) + row(r)] * grad[p, v], p in a chunk

    Items are (g, chunk, span of blocks b), g a part of the input channels of a group. Operands: x,
    grad_output, partials, zeros, workspace, packed gradient, address of the gradient's own words.
    """
    x, gradient, partials = word(operands, 0), word(operands, 1), word(operands, 2)
    extra = word(operands, 6)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    width, blocks, spans = word(job, BLOCK), word(job, BLOCKS), word(extra, G_SPANS)
    boxes, chunks, padded = word(extra, G_BOXES), word(extra, G_CHUNKS), word(extra, G_PADDED)
    packed = word(operands, 5) + thread * word(extra, G_SHARE)
    for item in range(begin, end):
        span, matrix = item % spans, item // spans
        chunk, part = matrix % chunks, matrix // chunks
        source = work + word(job, BUFFER_AT)
        if word(job, DIRECT):
            source = shift(element, x, part * word(job, SOURCE_GROUP))
        first = part // word(extra, G_PARTS) * word(job, TARGETS)
        origin = shift(element, gradient, first * word(job, TARGET_CHANNEL))
        begun = chunk * boxes // chunks
        for box in range(begun, (chunk + 1) * boxes // chunks):
            pixels = enter_box(job, x, box, part, work)
            run = _gather_runs(job, box, pixels, work)
            for block in range(span * blocks // spans, (span + 1) * blocks // spans):
                partial = shift(element, partials, (matrix * blocks + block) * padded * width)
                start = word(operands, 3) if box == begun else partial
                _add_box(
                    element, job, extra, source, origin, packed, partial, start, block, pixels, run,
                    work,
                )  # fmt: skip


@compiled
def _gather_runs(job: int, box: int, pixels: int, work: int) -> int:
    """Pixels of one line of a box, at equal distances; of the table of lines their first remain."""
    axis, lines = axis_of(job, 3), work + word(job, LINES_AT)
    run = min(word(axis, BOX), word(axis, COUNT) - box % word(axis, BOXES) * word(axis, BOX))
    for i in range(pixels // run):
        set_word(lines, i, word(lines, i * run))
    return run


@inlined
def _add_box(
    element: Any,
    job: int,
    extra: int,
    source: int,
    gradient: int,
    packed: int,
    partial: int,
    start: int,
    block: int,
    pixels: int,
    run: int,
    work: int,
) -> None:
    """Add the pixels of a box to every row of one block of columns; the first box starts at zero.

    `start` is the partial matrix itself, or one row of zeros.
    """
    first, lanes = block * word(job, BLOCK), word(job, LANES)
    remaining = word(job, TARGETS) - first
    columns = block_width(remaining, word(job, BLOCK), lanes)
    gradient = shift(element, gradient, first * word(job, TARGET_CHANNEL))
    _pack_gradient(element, job, gradient, packed, work, pixels, min(columns, remaining), columns)
    start_step = columns if start == partial else 0
    height, table, rows = word(extra, G_HEIGHT), extra + 8 * G_HEADER, word(extra, G_ROWS)
    lines, runs = work + word(job, LINES_AT), pixels // run
    # No sums are kept beside the matrix, so their place takes the table of its rows.
    step, steps = line_step(job, 3), work + word(job, SUMS_AT)
    set_steps(steps, height, columns)
    if word(job, FORM) == PAIRWISE:
        tiles = -(-rows // height)
        if columns == lanes:
            taps_narrow(
                element, partial, steps, height * columns, start, start_step,
                shift(element, source, first), table, lines, runs, run, step, packed, 0, tiles, 0,
            )  # fmt: skip
        else:
            taps_wide(
                element, partial, steps, height * columns, start, start_step,
                shift(element, source, first), table, lines, runs, run, step, packed, 0, tiles, 0,
            )  # fmt: skip
        return
    outer(
        element, partial, steps, height * columns, start, start_step, source, table, rows, lines,
        runs, run, step, packed, height, columns > lanes, 0, False, False,
    )  # fmt: skip


@inlined
def _pack_gradient(
    element: Any,
    job: int,
    gradient: int,
    packed: int,
    work: int,
    pixels: int,
    present: int,
    columns: int,
) -> None:
    """packed[p, v] = grad_output[p, v], zero beyond the last channel."""
    goals, channel = work + word(job, GOALS_AT), word(job, TARGET_CHANNEL)
    if present < columns:
        clear(element, packed, pixels * columns)
    if channel == 1:
        if columns == present and columns == word(job, LANES):
            narrow_rows(element, packed, gradient, goals, pixels)
        elif columns == present:
            wide_rows(element, packed, gradient, goals, pixels)
        else:
            for p in range(pixels):
                pixel = shift(element, gradient, word(goals, p))
                copy(element, shift(element, packed, p * columns), pixel, present)
        return
    p = 0
    while p < pixels:  # goals of neighbours lie side by side, so planes are read in vectors
        goal, run = word(goals, p), 1
        while p + run < pixels and word(goals, p + run) == goal + run:
            run += 1
        line, target = shift(element, gradient, goal), shift(element, packed, p * columns)
        if run >= 4:
            transpose(element, line, channel, present, run, target, columns)
        else:
            for i in range(run):
                for v in range(present):
                    store(element, target, i * columns + v, load(element, line, v * channel + i))
        p += run


# Words of a reduction job; the weight offset of every row follows.
(
    R_TARGETS,
    R_BLOCKS,
    R_WIDTH,
    R_LANES,
    R_ROWS,
    R_PADDED,
    R_CHUNKS,
    R_PARTS,
    R_SLABS,
    R_GROUP,
    R_PART,
    R_TARGET,
    R_HEADER,
) = range(13)


@kernel
def reduce_weight(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """grad_weight[g, b * width + v, row r] = sum over chunks of partial[g, chunk, b, r, v]

    Items are (g, b, slab of rows). Operands: partials, grad_weight. The first chunk's matrix takes
    the sums.
    """
    partials, weight = word(operands, 0), word(operands, 1)
    targets, blocks, rows = word(job, R_TARGETS), word(job, R_BLOCKS), word(job, R_ROWS)
    full, parts, slabs = word(job, R_WIDTH), word(job, R_PARTS), word(job, R_SLABS)
    chunks, size = word(job, R_CHUNKS), word(job, R_PADDED) * full
    for item in range(begin, end):
        slab, block, part = item % slabs, item // slabs % blocks, item // (slabs * blocks)
        first, beyond = slab * rows // slabs, (slab + 1) * rows // slabs
        present = min(full, targets - block * full)
        width = block_width(targets - block * full, full, word(job, R_LANES))
        total = shift(element, partials, (part * chunks * blocks + block) * size)
        for chunk in range(1, chunks):
            other = shift(element, total, chunk * blocks * size)
            for i in range(first * width, beyond * width):
                store(element, total, i, load(element, total, i) + load(element, other, i))
        origin = part // parts * word(job, R_GROUP) + part % parts * word(job, R_PART)
        origin += block * full * word(job, R_TARGET)
        r = first
        while r < beyond:
            offset, run = word(job, R_HEADER + r), 1
            while r + run < beyond and word(job, R_HEADER + r + run) == offset + run:
                run += 1
            goal, line = shift(element, weight, origin + offset), shift(element, total, r * width)
            transpose(element, line, width, run, present, goal, word(job, R_TARGET))
            r += run
