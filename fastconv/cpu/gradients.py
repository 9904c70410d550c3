"""Weight gradient: the register tile again, now summing over pixels.

The gradient seen as a matrix has a row for each (tap, input channel), a column for each output
channel:

    G[r, k] = sum over pixels p of x[line(p) + row(r)] * grad_output[p, k]

Boxes of pixels are shared out to a number of chunks that depends on the geometry alone; each
chunk sums its boxes in order into a matrix of its own, and the matrices are added in order. So
the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

from .compile import compiled, kernel
from .job import (
    BLOCK,
    BLOCKS,
    BOX_PIXELS,
    BUFFER_AT,
    DIRECT,
    GOALS_AT,
    LANES,
    LINES,
    LINES_AT,
    SOURCE_GROUP,
    STEPS_AT,
    TARGET_CHANNEL,
    TARGETS,
    THREAD_BYTES,
)
from .lowering import BOX, BOXES, COUNT
from .memory import clear, copy, load, set_word, shift, store, word
from .outer import set_steps
from .pack import axis_of, block_width, enter_box, line_step
from .tiles import outer_narrow, outer_wide

# Words that follow the job: where its rows stand, how many there are, their number in whole
# tiles, chunks.
(G_ROWS, G_PADDED, G_CHUNKS, G_BOXES, G_HEADER) = range(5)


@kernel
def weight_partials(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """partial[g, chunk, b, r, v] = sum over p of x[line(p) + row(r)] * grad[p, v], p in a chunk

    Items are (group, chunk, block of output channels). Operands: x, grad_output, partials, zeros,
    workspace, packed gradient, address of the gradient's own words.
    """
    x, gradient, partials = word(operands, 0), word(operands, 1), word(operands, 2)
    extra = word(operands, 6)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    width, blocks = word(job, BLOCK), word(job, BLOCKS)
    boxes, chunks, padded = word(extra, G_BOXES), word(extra, G_CHUNKS), word(extra, G_PADDED)
    packed = shift(element, word(operands, 5), thread * word(job, BOX_PIXELS) * width)
    for item in range(begin, end):
        block, chunk = item % blocks, item // blocks % chunks
        group = item // (blocks * chunks)
        partial = shift(element, partials, item * padded * width)
        start, start_step = word(operands, 3), 0
        source = work + word(job, BUFFER_AT)
        if word(job, DIRECT):
            source = shift(element, x, group * word(job, SOURCE_GROUP))
        for box in range(chunk * boxes // chunks, (chunk + 1) * boxes // chunks):
            pixels = enter_box(job, x, box, group, work)
            channel = group * word(job, TARGETS) + block * width
            origin = shift(element, gradient, channel * word(job, TARGET_CHANNEL))
            remaining = word(job, TARGETS) - block * width
            columns = block_width(remaining, width, word(job, LANES))
            _pack_gradient(
                element, job, origin, packed, work, pixels, min(columns, remaining), columns
            )
            run = _run_length(job, box, pixels)
            _add_box(
                element,
                job,
                extra,
                source,
                packed,
                partial,
                start,
                start_step,
                pixels,
                run,
                columns,
                work,
            )
            start, start_step = partial, columns


@compiled
def _run_length(job: int, box: int, pixels: int) -> int:
    """Pixels of one line of a box: they lie at equal distances."""
    axis = axis_of(job, 3)
    first = box % word(axis, BOXES) * word(axis, BOX)
    return min(word(axis, BOX), word(axis, COUNT) - first)


@compiled
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
        for p in range(pixels):
            pixel = shift(element, gradient, word(goals, p))
            copy(element, shift(element, packed, p * columns), pixel, present)
        return
    for v in range(present):
        plane = shift(element, gradient, v * channel)
        for p in range(pixels):
            store(element, packed, p * columns + v, load(element, plane, word(goals, p)))


@compiled
def _add_box(
    element: Any,
    job: int,
    extra: int,
    source: int,
    packed: int,
    partial: int,
    start: int,
    start_step: int,
    pixels: int,
    run: int,
    columns: int,
    work: int,
) -> None:
    """Add the pixels of a box to every row of one block of columns."""
    height, rows = word(job, LINES), extra + 8 * G_HEADER
    runs, lines = pixels // run, work + word(job, LINES_AT)
    for i in range(runs):
        set_word(lines, i, word(lines, i * run))
    step, steps = line_step(job, 3), work + word(job, STEPS_AT)
    set_steps(steps, height, columns)
    for r in range(0, word(extra, G_PADDED), height):
        sums = shift(element, partial, r * columns)
        before = shift(element, start, r * start_step)
        here = rows + 8 * r
        if columns == word(job, LANES):
            outer_narrow(
                element,
                sums,
                steps,
                before,
                start_step,
                source,
                here,
                lines,
                runs,
                run,
                step,
                packed,
            )
        else:
            outer_wide(
                element,
                sums,
                steps,
                before,
                start_step,
                source,
                here,
                lines,
                runs,
                run,
                step,
                packed,
            )


# Words of a reduction job; the weight offset of every row follows.
(
    R_TARGETS,
    R_BLOCKS,
    R_WIDTH,
    R_LANES,
    R_ROWS,
    R_PADDED,
    R_CHUNKS,
    R_GROUP,
    R_TARGET,
    R_HEADER,
) = range(10)


@kernel
def reduce_weight(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """grad_weight[g, b * width + v, row r] = sum over chunks of partial[g, chunk, b, r, v]

    Items are (g, b). Operands: partials, grad_weight. The first chunk's matrix takes the sums.
    """
    partials, weight = word(operands, 0), word(operands, 1)
    targets, blocks, rows = word(job, R_TARGETS), word(job, R_BLOCKS), word(job, R_ROWS)
    full, lanes = word(job, R_WIDTH), word(job, R_LANES)
    chunks, size = word(job, R_CHUNKS), word(job, R_PADDED) * word(job, R_WIDTH)
    for item in range(begin, end):
        group, block = item // blocks, item % blocks
        present = min(full, targets - block * full)
        width = block_width(targets - block * full, full, lanes)
        total = shift(element, partials, (group * chunks * blocks + block) * size)
        for chunk in range(1, chunks):
            other = shift(element, total, chunk * blocks * size)
            for i in range(rows * width):
                store(element, total, i, load(element, total, i) + load(element, other, i))
        origin = group * word(job, R_GROUP) + block * full * word(job, R_TARGET)
        for r in range(rows):
            goal = shift(element, weight, origin + word(job, R_HEADER + r))
            for v in range(present):
                value = load(element, total, r * width + v)
                store(element, goal, v * word(job, R_TARGET), value)
