"""Packing: the window that a box sees of the source as a dense buffer.

After this there is no padding, stride, dilation, group or rank: tiles see tables of offsets. The
buffer is channels-last, or one plane after another where lanes lie along pixels.
"""

from __future__ import annotations

from typing import Any

from .compile import compiled, inlined, kernel
from .job import (
    BUFFER_AT,
    CHANNELS,
    DIRECT,
    ENTER,
    FORM,
    GOALS_AT,
    HEADER,
    LANES,
    LINES,
    LINES_AT,
    MULTIPLIER,
    PLANAR,
    PLANE,
    POSITION,
    SOURCE_CHANNEL,
    SOURCE_GROUP,
)
from .lowering import (
    AXIS_WORDS,
    BOX,
    BOXES,
    COUNT,
    FIRST,
    GATHERED,
    MODE,
    OFFSETS_AT,
    PITCH,
    SIZE,
    SOURCE,
    SPAN,
    STEP,
    TAPS,
    TARGET,
    WHERE_AT,
)
from .memory import call, clear, copy, load, room, set_word, shift, store, word
from .rows import copy_rows, pad_rows, pick_rows
from .transpose import interleave, lanes_of, transpose

# Rows are turned by way of a panel of so many neighbours of each where they do not lie side by
# side, and filters a multiple of 4096 bytes apart: read together, their lines would push each other
# out of the cache. 512 filters of 2048 channels: 0.35 ms without, 0.22 with (Zen 4, 2026-11).
PANEL, PITCHED = 64, 80
PANEL_SIZE = 16 * PITCHED  # rows as many as a vector has lanes


@compiled
def axis_of(job: int, a: int) -> int:
    """Address of the words of an axis."""
    return job + 8 * (HEADER + a * AXIS_WORDS)


@kernel
def fill_box(element: Any, job: int, source: int, box: int, group: int, work: int) -> None:
    """Prepare box number `box` for its tiles; the first word of `work` becomes its lines.

    A kernel that other kernels call by its address, which their job holds: compiled into each of
    them it would be the larger part of their code.
    """
    n, d, h, w = axis_of(job, 0), axis_of(job, 1), axis_of(job, 2), axis_of(job, 3)
    firsts = box_firsts(job, box)
    counts = box_counts(job, firsts)
    if not word(job, DIRECT):
        rows = (
            _fill_positions(job, n, firsts[0], counts[0], work),
            _fill_positions(job, d, firsts[1], counts[1], work),
            _fill_positions(job, h, firsts[2], counts[2], work),
        )
        origin = shift(element, source, group * word(job, SOURCE_GROUP))
        unbroken = word(w, STEP) == word(w, SOURCE) == 1 and word(w, GATHERED) == word(w, MODE) == 0
        if word(job, FORM) == PLANAR and unbroken:
            _pad_planes(element, job, origin, rows, firsts[3], counts[3], work)
        else:
            count = _fill_positions(job, w, firsts[3], counts[3], work)
            _fill_window(element, job, origin, (*rows, count), work)
    set_word(work, 0, _fill_lines(job, firsts, counts, work))


@compiled
def enter_box(job: int, source: int, box: int, group: int, work: int) -> int:
    """Have a box prepared; returns the number of its lines."""
    call(word(job, ENTER), job, source, box, group, work)
    return word(work, 0)


@compiled
def box_firsts(job: int, box: int) -> Any:
    """The first output of a box along each axis."""
    n, d, h, w = axis_of(job, 0), axis_of(job, 1), axis_of(job, 2), axis_of(job, 3)
    first_w, box = box % word(w, BOXES) * word(w, BOX), box // word(w, BOXES)
    first_h, box = box % word(h, BOXES) * word(h, BOX), box // word(h, BOXES)
    first_d = box % word(d, BOXES) * word(d, BOX)
    return box // word(d, BOXES) * word(n, BOX), first_d, first_h, first_w


@compiled
def box_counts(job: int, firsts: Any) -> Any:
    """The outputs of a box along each axis: the last box may be smaller."""
    return (
        _count(axis_of(job, 0), firsts[0]),
        _count(axis_of(job, 1), firsts[1]),
        _count(axis_of(job, 2), firsts[2]),
        _count(axis_of(job, 3), firsts[3]),
    )


@compiled
def _count(axis: int, first: int) -> int:
    return min(word(axis, BOX), word(axis, COUNT) - first)


# ---- the window -------------------------------------------------------------------------------


@compiled
def source_position(position: int, size: int, mode: int) -> int:
    """Where a padded position lies in an axis of `size`; -1 for a zero.

    Positions beyond all padding, which only tiles that hang over the border ask for, are zero too.
    """
    if 0 <= position < size:
        return position
    if mode == 1:  # reflect: the border cell is not repeated
        position = -position if position < 0 else 2 * (size - 1) - position
    elif mode == 2:  # replicate
        position = 0 if position < 0 else size - 1
    elif mode == 3:  # circular
        position += size if position < 0 else -size
    else:
        return -1
    return position if 0 <= position < size else -1


@compiled
def _fill_positions(job: int, axis: int, first: int, count: int, work: int) -> int:
    """Source position of each buffer position of one axis of a box; returns how many there are."""
    step, size, mode = word(axis, STEP), word(axis, SIZE), word(axis, MODE)
    where = work + word(axis, WHERE_AT)
    if word(axis, GATHERED) == 0:
        positions = (count - 1) * step + word(axis, SPAN)
        low = first * step + word(axis, FIRST)
        inside = min(max(-low, 0), positions)
        beyond = max(min(size - low, positions), inside)
        for j in range(inside):
            set_word(where, j, source_position(low + j, size, mode))
        for j in range(inside, beyond):
            set_word(where, j, low + j)
        for j in range(beyond, positions):
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


@inlined
def _fill_window(element: Any, job: int, source: int, extents: Any, work: int) -> None:
    """Copy a box's window of the source into the buffer, padding included."""
    n_axis, d_axis, h_axis = axis_of(job, 0), axis_of(job, 1), axis_of(job, 2)
    buffer, where_w = work + word(job, BUFFER_AT), work + word(axis_of(job, 3), WHERE_AT)
    for n in range(extents[0]):
        at_n = word(work + word(n_axis, WHERE_AT), n)
        for d in range(extents[1]):
            at_d = word(work + word(d_axis, WHERE_AT), d)
            for h in range(extents[2]):
                at_h = word(work + word(h_axis, WHERE_AT), h)
                offset = n * word(n_axis, PITCH) + d * word(d_axis, PITCH) + h * word(h_axis, PITCH)
                row = shift(element, buffer, offset)
                line = at_n * word(n_axis, SOURCE) + at_d * word(d_axis, SOURCE)
                line = shift(element, source, line + at_h * word(h_axis, SOURCE))
                outside = at_d < 0 or at_h < 0
                if word(job, FORM) == PLANAR:
                    _fill_planes(element, job, line, where_w, extents[3], row, outside)
                elif outside:
                    clear(element, row, extents[3] * word(job, POSITION))
                else:
                    _fill_row(element, job, line, where_w, extents[3], row)


@inlined
def _pad_planes(
    element: Any, job: int, source: int, rows: Any, first: int, count: int, work: int
) -> None:
    """The same for planes whose rows lie in the source as in the buffer, but for zeros beside them.

    What a row writes behind its end is written again by the next.
    """
    n_axis, d_axis, h_axis, w_axis = (
        axis_of(job, 0),
        axis_of(job, 1),
        axis_of(job, 2),
        axis_of(job, 3),
    )
    where_h, low = work + word(h_axis, WHERE_AT), first + word(w_axis, FIRST)
    width, pitch, step = count - 1 + word(w_axis, SPAN), word(h_axis, PITCH), word(h_axis, SOURCE)
    left = min(max(-low, 0), width)
    run = min(max(word(w_axis, SIZE) - low, left), width) - left
    for c in range(word(job, CHANNELS)):
        plane = shift(element, source, c * word(job, SOURCE_CHANNEL) + low + left)
        buffer = shift(element, work + word(job, BUFFER_AT), c * word(job, PLANE))
        for n in range(rows[0]):
            at_n = word(work + word(n_axis, WHERE_AT), n) * word(n_axis, SOURCE)
            for d in range(rows[1]):
                at_d = word(work + word(d_axis, WHERE_AT), d)
                target = shift(element, buffer, n * word(n_axis, PITCH) + d * word(d_axis, PITCH))
                if at_d < 0:
                    clear(element, target, rows[2] * pitch)
                    continue
                image = shift(element, plane, at_n + at_d * word(d_axis, SOURCE))
                pad_rows(element, target, pitch, width, image, step, where_h, rows[2], left, run)


@compiled
def run_of(where: int, j: int, count: int, hop: int) -> int:
    """How many positions from j on lie `hop` apart in the source."""
    at, run = word(where, j), 1
    while j + run < count and word(where, j + run) == at + run * hop:
        run += 1
    return run


@compiled
def _hop(axis: int) -> int:
    """Source positions between neighbours of a window."""
    return word(axis, STEP) if word(axis, GATHERED) else 1


@compiled
def _run_along(axis: int, where: int, j: int, count: int) -> int:
    """The run from j on; one look tells where no step between positions is longer than 1."""
    at = word(where, j)
    most = min(count - j, word(axis, SIZE) - at)
    if word(axis, GATHERED) == 0 and word(where, j + most - 1) == at + most - 1:
        return most
    return run_of(where, j, count, _hop(axis))


@inlined
def _fill_row(element: Any, job: int, source: int, where: int, count: int, row: int) -> None:
    """row[j, c] = source[where[j], c] for one line of the window; zero where there is no source."""
    channels, position = word(job, CHANNELS), word(job, POSITION)
    source_channel, multiplier = word(job, SOURCE_CHANNEL), word(job, MULTIPLIER)
    to_next, hop = word(axis_of(job, 3), SOURCE), _hop(axis_of(job, 3))
    step = to_next * hop
    j = 0
    while j < count:
        at, target = word(where, j), shift(element, row, j * position)
        if at < 0:
            clear(element, target, position)
            j += 1
            continue
        run, origin = run_of(where, j, count, hop), shift(element, source, at * to_next)
        if source_channel == 1 and multiplier == 1:
            if step == channels and position == channels:
                copy(element, target, origin, run * channels)
            else:
                for i in range(run):
                    pixel = shift(element, origin, i * step)
                    copy(element, shift(element, target, i * position), pixel, channels)
        elif step == 1 and multiplier == 1 and 2 <= channels <= 4 and position == channels:
            interleave(element, origin, source_channel, channels, run, target)
        elif step == 1 and multiplier == 1:
            transpose(element, origin, source_channel, channels, run, target, position)
        elif multiplier == 1 and run >= lanes_of(element):
            _turn_picked(element, origin, source_channel, channels, step, run, target, position)
        else:
            for c in range(channels):
                plane = shift(element, origin, c // multiplier * source_channel)
                for i in range(run):
                    store(element, target, i * position + c, load(element, plane, i * step))
        j += run


@compiled
def _turn_picked(
    element: Any,
    source: int,
    source_channel: int,
    channels: int,
    step: int,
    count: int,
    target: int,
    position: int,
) -> None:
    """target[j * position + c] = source[c * source_channel + j * step] for j < count.

    Turned by way of a panel, in which the pixels of a plane are neighbours.
    """
    lanes, panel = lanes_of(element), room(element, PANEL_SIZE)
    for c in range(0, channels, lanes):
        rows, plane = min(lanes, channels - c), shift(element, source, c * source_channel)
        for j in range(0, count, PANEL):
            first = min(j, max(count - PANEL, 0))
            width, line = min(count, PANEL), shift(element, plane, first * step)
            pick_rows(element, panel, line, rows, PITCHED, source_channel, width, step)
            goal = shift(element, target, first * position + c)
            transpose(element, panel, PITCHED, rows, width, goal, position)


@inlined
def _fill_planes(
    element: Any, job: int, source: int, where: int, count: int, row: int, outside: bool
) -> None:
    """row[c, j] = source[c, where[j]] for one line of the window; zero where there is no source."""
    to_next, plane = word(axis_of(job, 3), SOURCE), word(job, PLANE)
    step = to_next * _hop(axis_of(job, 3))
    channels, source_channel = word(job, CHANNELS), word(job, SOURCE_CHANNEL)
    if outside:
        for c in range(channels):
            clear(element, shift(element, row, c * plane), count)
        return
    j = 0
    while j < count:
        at, target = word(where, j), shift(element, row, j)
        if at < 0:
            for c in range(channels):
                store(element, target, c * plane, 0)
            j += 1
            continue
        run = _run_along(axis_of(job, 3), where, j, count)
        origin = shift(element, source, at * to_next)
        if source_channel == 1 and channels > 1:
            transpose(element, origin, step, run, channels, target, plane)
        elif step == 1 and run >= lanes_of(element):
            copy_rows(element, target, origin, channels, plane, source_channel, run)
        elif run >= lanes_of(element):
            pick_rows(element, target, origin, channels, plane, source_channel, run, step)
        else:
            for c in range(channels):
                line, goal = c * source_channel, c * plane
                for i in range(run):
                    store(element, target, goal + i, load(element, origin, line + i * step))
        j += run


# ---- the lines --------------------------------------------------------------------------------


@compiled
def line_step(job: int, a: int) -> int:
    """Elements between the lines of neighbouring outputs of an axis."""
    axis = axis_of(job, a)
    pitch = word(axis, PITCH)
    return pitch if word(axis, GATHERED) else pitch * word(axis, STEP)


@inlined
def _fill_lines(job: int, firsts: Any, counts: Any, work: int) -> int:
    """Where each line of a box is read and where it is written; returns the number of lines.

    A line is a pixel, or in planar form as many pixels of a row as there are lanes: the last one of
    a row ends with the row. The tables go on to a whole tile with copies of the last line.
    """
    lines, goals = work + word(job, LINES_AT), work + word(job, GOALS_AT)
    line_0, goal_0 = 0, 0
    for a in range(4):
        goal_0 += firsts[a] * word(axis_of(job, a), TARGET)
        if word(job, DIRECT):
            line_0 += firsts[a] * line_step(job, a)
    step_n, step_d, step_h = line_step(job, 0), line_step(job, 1), line_step(job, 2)
    to_n, to_d = word(axis_of(job, 0), TARGET), word(axis_of(job, 1), TARGET)
    to_h, to_w = word(axis_of(job, 2), TARGET), word(axis_of(job, 3), TARGET)
    step_w, stride = line_step(job, 3), 1
    last = counts[3] - 1
    if word(job, FORM) == PLANAR:
        stride = word(job, LANES)
        if word(job, DIRECT):  # may begin before the box, for its pixels are the same there
            last = word(axis_of(job, 3), COUNT) - firsts[3] - stride
        else:  # a short row's vector ends in the slack of the buffer
            last = max(0, counts[3] - stride)
    m = 0
    for n in range(counts[0]):
        for d in range(counts[1]):
            for h in range(counts[2]):
                line = line_0 + n * step_n + d * step_d + h * step_h
                goal = goal_0 + n * to_n + d * to_d + h * to_h
                for i in range(0, counts[3], stride):
                    w = min(i, last)
                    set_word(lines, m, line + w * step_w)
                    set_word(goals, m, goal + w * to_w)
                    m += 1
    for i in range(m, -(-m // word(job, LINES)) * word(job, LINES)):
        set_word(lines, i, word(lines, m - 1))
        set_word(goals, i, word(goals, m - 1))
    return m
