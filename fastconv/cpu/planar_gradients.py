"""Planar weight gradient: sums over pixels in the lanes, for few output channels.

With vectors of output channels LeNet's six fill 6 lanes of 16; here a vector holds pixels of a row:

    G[r, k] = sum over vectors of pixels p of x[line(p) + row(r)] * grad_output[k, p]

Chunks and their order are those of `gradients`; a partial matrix has a vector for each element,
whose lanes the reduction adds from first to last.

The last vector of a row overlaps the one before; there an infinite x meets zeros, and makes a NaN
where the sum of products has none. A word says whether there is one, and the work must be done
anew by `gradients`.
"""

from __future__ import annotations

from typing import Any

from .compile import compiled, inlined, kernel
from .gradients import (
    G_BOXES,
    G_CHUNKS,
    G_HEADER,
    G_HEIGHT,
    G_PADDED,
    G_SHARE,
    R_BLOCKS,
    R_CHUNKS,
    R_GROUP,
    R_HEADER,
    R_LANES,
    R_PADDED,
    R_ROWS,
    R_TARGET,
    R_TARGETS,
    R_WIDTH,
)
from .job import (
    BLOCK,
    BLOCKS,
    BUFFER_AT,
    DIRECT,
    GOALS_AT,
    LANES,
    LINES_AT,
    SOURCE_GROUP,
    TARGET_CHANNEL,
    TARGETS,
    THREAD_BYTES,
)
from .lowering import BOX, BOXES, COUNT, TARGET
from .memory import clear, load, set_word, shift, store, word
from .pack import axis_of, enter_box
from .tiles import products_1, products_6, products_8


@kernel
def planar_partials(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """partial[g, chunk, b, r, k, lane] = sum over vectors of pixels p in a chunk, as above

    Items are (g, chunk). Operands as those of `gradients.weight_partials`, and a word to zero.
    """
    set_word(word(operands, 7), 0, 0)
    x, gradient, partials = word(operands, 0), word(operands, 1), word(operands, 2)
    extra = word(operands, 6)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    width, blocks = word(job, BLOCK), word(job, BLOCKS)
    boxes, chunks = word(extra, G_BOXES), word(extra, G_CHUNKS)
    size = word(extra, G_PADDED) * width * word(job, LANES)
    packed = word(operands, 5) + thread * word(extra, G_SHARE)
    if word(axis_of(job, 3), BOX) < word(job, LANES) and not word(job, DIRECT):
        # Rows end within a vector, whose other lanes are multiplied by zero: no NaN may lie there.
        clear(element, work + word(job, BUFFER_AT), _buffer_size(element, job))
    for item in range(begin, end):
        chunk, group = item % chunks, item // chunks
        source = work + word(job, BUFFER_AT)
        if word(job, DIRECT):
            source = shift(element, x, group * word(job, SOURCE_GROUP))
        begun = chunk * boxes // chunks
        for box in range(begun, (chunk + 1) * boxes // chunks):
            lines = enter_box(job, x, box, group, work)
            for block in range(blocks):
                channel = group * word(job, TARGETS) + block * width
                origin = shift(element, gradient, channel * word(job, TARGET_CHANNEL))
                present = min(width, word(job, TARGETS) - block * width)
                _pack_vectors(element, job, origin, packed, box, lines, present, work)
                partial = shift(element, partials, (item * blocks + block) * size)
                start = word(operands, 3) if box == begun else partial
                _add_lines(element, job, extra, source, packed, partial, start, lines, work)


@compiled
def _buffer_size(element: Any, job: int) -> int:
    """Elements of a thread's buffer, to the end of its workspace."""
    return (word(job, THREAD_BYTES) - word(job, BUFFER_AT)) // shift(element, 0, 1)


@compiled
def _first_and_count(job: int, box: int) -> Any:
    """The first output of a box's rows, and how many a row has."""
    axis = axis_of(job, 3)
    first = box % word(axis, BOXES) * word(axis, BOX)
    return first, min(word(axis, BOX), word(axis, COUNT) - first)


@inlined
def _pack_vectors(
    element: Any,
    job: int,
    gradient: int,
    packed: int,
    box: int,
    lines: int,
    present: int,
    work: int,
) -> None:
    """packed[line, k, lane] = grad_output[k, pixel], zero where another line has the pixel."""
    lanes, width = word(job, LANES), word(job, BLOCK)
    step, channel = word(axis_of(job, 3), TARGET), word(job, TARGET_CHANNEL)
    goals = work + word(job, GOALS_AT)
    first, count = _first_and_count(job, box)
    per_row = -(-count // lanes)
    last = max(0, count - lanes)  # as `pack` has laid out the lines
    if word(job, DIRECT):
        last = word(axis_of(job, 3), COUNT) - first - lanes
    clear(element, packed, lines * width * lanes)
    for m in range(lines):
        own = m % per_row * lanes
        begin = own - min(own, last)
        end = min(lanes, count - min(own, last))
        origin = shift(element, gradient, word(goals, m))
        for k in range(present):
            target = shift(element, packed, (m * width + k) * lanes)
            plane = shift(element, origin, k * channel)
            if step == 1:
                for lane in range(begin, end):
                    store(element, target, lane, load(element, plane, lane))
            else:
                for lane in range(begin, end):
                    store(element, target, lane, load(element, plane, lane * step))


@inlined
def _add_lines(
    element: Any,
    job: int,
    extra: int,
    source: int,
    packed: int,
    partial: int,
    start: int,
    lines: int,
    work: int,
) -> None:
    """Add the lines of a box to every row of a block; `start` is the matrix or one zero vector."""
    width, lanes, height = word(job, BLOCK), word(job, LANES), word(extra, G_HEIGHT)
    table, places = work + word(job, LINES_AT), extra + 8 * G_HEADER
    start_step = lanes if start == partial else 0
    for r in range(0, word(extra, G_PADDED), height):
        sums = shift(element, partial, r * width * lanes)
        before = shift(element, start, r * width * start_step)
        rows = places + 8 * r
        if width == 8:
            products_8(element, sums, before, start_step, source, rows, table, lines, packed)
        elif width == 1:
            products_1(element, sums, before, start_step, source, rows, table, lines, packed)
        else:
            products_6(element, sums, before, start_step, source, rows, table, lines, packed)


@kernel
def reduce_planar(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """grad_weight[g, b * width + k, row r] = sum over chunks and lanes of the partial matrices

    Items are (g, b). Operands: partials, grad_weight, and a word to set if a sum is NaN. The first
    chunk's matrix takes the sums.
    """
    partials, weight = word(operands, 0), word(operands, 1)
    targets, blocks, rows = word(job, R_TARGETS), word(job, R_BLOCKS), word(job, R_ROWS)
    width, lanes, chunks = word(job, R_WIDTH), word(job, R_LANES), word(job, R_CHUNKS)
    size = word(job, R_PADDED) * width * lanes
    for item in range(begin, end):
        block, group = item % blocks, item // blocks
        total = shift(element, partials, (group * chunks * blocks + block) * size)
        for chunk in range(1, chunks):
            other = shift(element, total, chunk * blocks * size)
            for i in range(rows * width * lanes):
                store(element, total, i, load(element, total, i) + load(element, other, i))
        origin = group * word(job, R_GROUP) + block * width * word(job, R_TARGET)
        for r in range(rows):
            goal = shift(element, weight, origin + word(job, R_HEADER + r))
            for k in range(min(width, targets - block * width)):
                value = load(element, total, (r * width + k) * lanes)
                for lane in range(1, lanes):
                    value += load(element, total, (r * width + k) * lanes + lane)
                store(element, goal, k * word(job, R_TARGET), value)
                if value != value:
                    set_word(word(operands, 2), 0, 1)
