"""Packing: a box's window of the source as a dense channels-last buffer, and weights as tile rows.

After this there is no padding, stride, dilation, group or rank: tiles see tables of offsets.
"""

from __future__ import annotations

from typing import Any

from .compile import compiled, kernel
from .lowering import (
    AXIS_PITCH,
    AXIS_STEP,
    AXIS_WORDS,
    BOX,
    BOXES,
    BUFFER_AT,
    CHANNELS,
    COUNT,
    DIRECT,
    FIRST,
    GATHERED,
    HEADER,
    HEIGHT,
    MODE,
    MULTIPLIER,
    OFFSETS_AT,
    PITCH,
    SIZE,
    SOURCE,
    SOURCE_AT,
    SOURCE_CHANNEL,
    SOURCE_GROUP,
    SPAN,
    TAPS,
    TARGET,
    TARGET_AT,
    WHERE_AT,
)
from .memory import clear, copy, load, set_word, shift, store, word


@compiled
def source_position(position: int, size: int, mode: int) -> int:
    """Where a padded position lies in an axis of `size`; -1 for a padding zero."""
    if 0 <= position < size:
        return position
    if mode == 1:  # reflect: the border cell is not repeated
        return -position if position < 0 else 2 * (size - 1) - position
    if mode == 2:  # replicate
        return 0 if position < 0 else size - 1
    if mode == 3:  # circular
        return position + size if position < 0 else position - size
    return -1


@compiled
def _fill_positions(job: int, axis: int, first: int, count: int, where: int) -> int:
    """Source position of each buffer position of one axis of a box; returns how many there are."""
    step, size, mode = word(axis, AXIS_STEP), word(axis, SIZE), word(axis, MODE)
    if word(axis, GATHERED) == 0:
        positions = (count - 1) * step + word(axis, SPAN)
        low = first * step + word(axis, FIRST)
        for j in range(positions):
            set_word(where, j, source_position(low + j, size, mode))
        return positions
    box, taps, offsets = word(axis, BOX), word(axis, TAPS), word(axis, OFFSETS_AT)
    for t in range(taps):
        for j in range(count):
            position = (first + j) * step + word(job, offsets + t)
            set_word(where, t * box + j, source_position(position, size, mode))
        for j in range(count, box):
            set_word(where, t * box + j, -1)
    return taps * box


@compiled
def _fill_row(element: Any, job: int, source: int, where: int, count: int, row: int) -> None:
    """row[j, c] = source[where[j], c] for one line of the window; zero where there is no source."""
    channels, pitch = word(job, CHANNELS), word(job, PITCH)
    source_channel, multiplier = word(job, SOURCE_CHANNEL), word(job, MULTIPLIER)
    step = word(job + 8 * (HEADER + 3 * AXIS_WORDS), SOURCE)
    j = 0
    while j < count:
        at = word(where, j)
        if at < 0:
            clear(element, shift(element, row, j * pitch), pitch)
            j += 1
            continue
        run = 1
        while j + run < count and word(where, j + run) == at + run:
            run += 1
        origin, target = shift(element, source, at * step), shift(element, row, j * pitch)
        if source_channel == 1 and multiplier == 1:
            if step == channels and pitch == channels:
                copy(element, target, origin, run * channels)
            else:
                for i in range(run):
                    copy(
                        element,
                        shift(element, target, i * pitch),
                        shift(element, origin, i * step),
                        channels,
                    )
        else:
            for c in range(channels):
                plane = shift(element, origin, c // multiplier * source_channel)
                for i in range(run):
                    store(element, target, i * pitch + c, load(element, plane, i * step))
        j += run


@compiled
def _fill_window(element: Any, job: int, source: int, extents: Any, work: int) -> None:
    """Copy a box's window of the source into the buffer, padding included."""
    axes = job + 8 * HEADER
    buffer = work + word(job, BUFFER_AT)
    where = work
    images, depth, height = axes, axes + 8 * AXIS_WORDS, axes + 16 * AXIS_WORDS
    width = axes + 24 * AXIS_WORDS
    row_size = extents[3] * word(job, PITCH)
    for n in range(extents[0]):
        at_n = word(where + word(images, WHERE_AT), n)
        for d in range(extents[1]):
            at_d = word(where + word(depth, WHERE_AT), d)
            for h in range(extents[2]):
                at_h = word(where + word(height, WHERE_AT), h)
                offset = n * word(images, AXIS_PITCH) + d * word(depth, AXIS_PITCH)
                row = shift(element, buffer, offset + h * word(height, AXIS_PITCH))
                if at_d < 0 or at_h < 0:
                    clear(element, row, row_size)
                    continue
                line = at_n * word(images, SOURCE) + at_d * word(depth, SOURCE)
                line += at_h * word(height, SOURCE)
                _fill_row(
                    element,
                    job,
                    shift(element, source, line),
                    where + word(width, WHERE_AT),
                    extents[3],
                    row,
                )


@compiled
def _fill_pixels(job: int, firsts: Any, counts: Any, work: int) -> int:
    """Where each pixel of a box is read and written, as offsets; returns the number of pixels.

    The tables go on to a whole number of tiles with copies of the last pixel.
    """
    axes = job + 8 * HEADER
    direct, tile = word(job, DIRECT), word(job, HEIGHT)
    lines, targets = work + word(job, SOURCE_AT), work + word(job, TARGET_AT)
    steps = (line_step(axes, 0, direct), line_step(axes, 1, direct))
    steps2 = (line_step(axes, 2, direct), line_step(axes, 3, direct))
    goals = (word(axes, TARGET), word(axes + 8 * AXIS_WORDS, TARGET))
    goals2 = (word(axes + 16 * AXIS_WORDS, TARGET), word(axes + 24 * AXIS_WORDS, TARGET))
    line0, target0 = 0, 0
    for a in range(4):
        axis = axes + 8 * a * AXIS_WORDS
        target0 += firsts[a] * word(axis, TARGET)
        if direct:
            line0 += firsts[a] * line_step(axes, a, direct)
    m = 0
    for n in range(counts[0]):
        for d in range(counts[1]):
            for h in range(counts[2]):
                line = line0 + n * steps[0] + d * steps[1] + h * steps2[0]
                target = target0 + n * goals[0] + d * goals[1] + h * goals2[0]
                for w in range(counts[3]):
                    set_word(lines, m, line + w * steps2[1])
                    set_word(targets, m, target + w * goals2[1])
                    m += 1
    for i in range(m, -(-m // tile) * tile):
        set_word(lines, i, word(lines, m - 1))
        set_word(targets, i, word(targets, m - 1))
    return m


@compiled
def line_step(axes: int, a: int, direct: int) -> int:
    """Elements between the lines of neighbouring outputs of an axis."""
    axis = axes + 8 * a * AXIS_WORDS
    pitch = word(axis, AXIS_PITCH)
    return pitch if word(axis, GATHERED) and not direct else pitch * word(axis, AXIS_STEP)


@compiled
def enter_box(element: Any, job: int, source: int, box: int, group: int, work: int) -> int:
    """Prepare box number `box` for its tiles; returns the number of its pixels."""
    axes = job + 8 * HEADER
    w = box % word(axes + 24 * AXIS_WORDS, BOXES)
    box //= word(axes + 24 * AXIS_WORDS, BOXES)
    h = box % word(axes + 16 * AXIS_WORDS, BOXES)
    box //= word(axes + 16 * AXIS_WORDS, BOXES)
    d = box % word(axes + 8 * AXIS_WORDS, BOXES)
    n = box // word(axes + 8 * AXIS_WORDS, BOXES)
    firsts = (
        n * word(axes, BOX),
        d * word(axes + 8 * AXIS_WORDS, BOX),
        h * word(axes + 16 * AXIS_WORDS, BOX),
        w * word(axes + 24 * AXIS_WORDS, BOX),
    )
    counts = (
        min(word(axes, BOX), word(axes, COUNT) - firsts[0]),
        min(word(axes + 8 * AXIS_WORDS, BOX), word(axes + 8 * AXIS_WORDS, COUNT) - firsts[1]),
        min(word(axes + 16 * AXIS_WORDS, BOX), word(axes + 16 * AXIS_WORDS, COUNT) - firsts[2]),
        min(word(axes + 24 * AXIS_WORDS, BOX), word(axes + 24 * AXIS_WORDS, COUNT) - firsts[3]),
    )
    if not word(job, DIRECT):
        extents = (
            _positions(job, axes, 0, firsts[0], counts[0], work),
            _positions(job, axes, 1, firsts[1], counts[1], work),
            _positions(job, axes, 2, firsts[2], counts[2], work),
            _positions(job, axes, 3, firsts[3], counts[3], work),
        )
        origin = shift(element, source, group * word(job, SOURCE_GROUP))
        _fill_window(element, job, origin, extents, work)
    return _fill_pixels(job, firsts, counts, work)


@compiled
def _positions(job: int, axes: int, a: int, first: int, count: int, work: int) -> int:
    axis = axes + 8 * a * AXIS_WORDS
    return _fill_positions(job, axis, first, count, work + word(axis, WHERE_AT))


# ---- weights ----------------------------------------------------------------------------------

# Words of a weight job; the row offsets follow.
(W_TARGETS, W_BLOCKS, W_WIDTH, W_LANES, W_ROWS, W_GROUP, W_TARGET, W_HEADER) = range(8)


@kernel
def pack_weights(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """packed[g, b, r, v] = weight[g, b * width + v, row r], zero beyond the last target.

    A last block of at most `lanes` targets has rows of one vector only. Items are (g, b).
    """
    weight, packed = word(operands, 0), word(operands, 1)
    targets, blocks, rows = word(job, W_TARGETS), word(job, W_BLOCKS), word(job, W_ROWS)
    full, lanes = word(job, W_WIDTH), word(job, W_LANES)
    target_step = word(job, W_TARGET)
    for item in range(begin, end):
        first = item % blocks * full
        width = full if targets - first > lanes else lanes
        present = min(width, targets - first)
        origin = item // blocks * word(job, W_GROUP) + first * target_step
        block = shift(element, packed, item * rows * full)
        for r in range(rows):
            row = shift(element, weight, origin + word(job, W_HEADER + r))
            for v in range(present):
                store(element, block, r * width + v, load(element, row, v * target_step))
            for v in range(present, width):
                store(element, block, r * width + v, 0)
