"""Planar convolution: the lanes of a vector are pixels of a row, not output channels.

Where there are few output channels (a first layer's gradient, LeNet's six, a single image to be
filtered) vectors of channels would stay empty; a row of pixels fills them.
"""

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic

from .activation import clipped
from .compile import compiled, inlined, kernel
from .emit import emitter, outlined
from .epilogue import begin_planar_block, finish_planar
from .job import (
    ACTIVATION,
    BLOCK,
    BLOCK_SIZE,
    BLOCKS,
    BUFFER_AT,
    CLIP,
    DEPTH,
    DEPTH_STEP,
    DIRECT,
    EPILOGUE,
    GOALS_AT,
    GROUPS,
    LANES,
    LINES,
    LINES_AT,
    SOURCE_GROUP,
    STEPS_AT,
    SUMS_AT,
    TAP_COUNT,
    TAPS_AT,
    TARGET_CHANNEL,
    TARGETS,
    THREAD_BYTES,
)
from .lowering import BOX, BOXES, COUNT, TARGET
from .memory import call, load, shift, store, word
from .outer import set_steps
from .pack import axis_of, enter_box
from .tiles import planar_1, planar_6, planar_even
from .transpose import transpose


@intrinsic
def put_lines(
    typing: Any,
    element: Any,
    target: Any,
    goals: Any,
    to_channel: Any,
    sums: Any,
    channels: Any,
    lines: Any,
    group: Any,
) -> Any:
    """target[goals[s] + k * to_channel + v] = sums[(k * group + s) * lanes + v].

    For s < lines, k < channels, at least one of each. As loops over v, whose count is known at run
    time only, it took as long as some 26 taps of the tile (Zen 3, 2026-11).
    """

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = emitter(builder, element)
        target, goals, to_channel, sums, channels, lines, group = args
        goals, state = e.at(goals), [e.at(target), e.at(sums)]
        with e.loop(channels, state):
            target, sums = state
            with e.loop(lines, []) as s:
                e.store(e.load(sums, e.times(s, e.lanes)), target, e.integer(goals, s))
            state[:] = [e.shift(target, to_channel), e.shift(sums, e.times(group, e.lanes))]

    numbers = (target, goals, to_channel, sums, channels, lines, group)
    return outlined("put_lines", emit, element, *numbers)


@kernel
def correlate_planar(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """The same sums, items and operands as `direct.correlate`."""
    source, target = word(operands, 0), word(operands, 3)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    blocks, groups, block = word(job, BLOCKS), word(job, GROUPS), word(job, BLOCK)
    entered, lines, alive = -1, 0, 0
    for item in range(begin, end):
        window, first = item // blocks, item % blocks * block
        group = window % groups
        if window != entered:
            lines = enter_box(job, source, window // groups, group, work)
            alive = _alive(job, window // groups)
            entered = window
        x = work + word(job, BUFFER_AT)
        if word(job, DIRECT):
            x = shift(element, source, group * word(job, SOURCE_GROUP))
        index = group * blocks + item % blocks
        weights = shift(element, word(operands, 1), index * word(job, BLOCK_SIZE))
        bias = shift(element, word(operands, 2), index * block)
        channel = group * word(job, TARGETS) + first
        goal = shift(element, target, channel * word(job, TARGET_CHANNEL))
        rows = min(block, word(job, TARGETS) - first)
        parameters = word(operands, 6)
        _block(element, job, x, weights, bias, goal, lines, rows, alive, work, parameters, channel)


@compiled
def _alive(job: int, box: int) -> int:
    """Lanes of a line that are pixels of their row; rows that are read in place are never short."""
    w = axis_of(job, 3)
    first = box % word(w, BOXES) * word(w, BOX)
    if word(job, DIRECT):
        return word(job, LANES)
    return min(word(job, LANES), min(word(w, BOX), word(w, COUNT) - first))


@inlined
def _block(
    element: Any,
    job: int,
    x: int,
    weights: int,
    bias: int,
    target: int,
    lines: int,
    rows: int,
    alive: int,
    work: int,
    parameters: int,
    channel: int,
) -> None:
    """All lines of a box for one block of output channels."""
    group, block, lanes = word(job, LINES), word(job, BLOCK), word(job, LANES)
    sums, to_pixel = work + word(job, SUMS_AT), word(axis_of(job, 3), TARGET)
    lines_at, goals_at = work + word(job, LINES_AT), work + word(job, GOALS_AT)
    plain = word(job, ACTIVATION) == 0 and word(job, EPILOGUE) == 0
    if plain and rows == block and to_pixel == 1 and alive == lanes:
        tiles, to_channel = -(-lines // group), word(job, TARGET_CHANNEL)
        _tiles(element, job, target, goals_at, to_channel, bias, x, lines_at, weights, tiles)
        return
    steps = work + word(job, STEPS_AT)
    set_steps(steps, group, lanes)
    if word(job, EPILOGUE):
        begin_planar_block(element, job, parameters, work, rows, channel)
    for first in range(0, lines, group):
        here, goals = lines_at + 8 * first, goals_at + 8 * first
        _tiles(element, job, sums, steps, group * lanes, bias, x, here, weights, 1)
        if word(job, ACTIVATION):
            call(word(job, ACTIVATION), sums, 0, 0, rows * group * lanes, 0)
        count = min(group, lines - first)
        if word(job, EPILOGUE):
            finish_planar(
                element,
                job,
                parameters,
                work,
                sums,
                rows,
                count,
                alive,
                target,
                goals,
                to_pixel,
            )
        if to_pixel != 1 and word(job, TARGET_CHANNEL) == 1:
            for s in range(count):
                line, goal = shift(element, sums, s * lanes), shift(element, target, word(goals, s))
                transpose(element, line, group * lanes, rows, alive, goal, to_pixel)
            continue
        if to_pixel == 1 and alive == lanes:
            to_channel = word(job, TARGET_CHANNEL)
            put_lines(element, target, goals, to_channel, sums, rows, count, group)
            continue
        for k in range(rows):
            for s in range(count):
                line = shift(element, sums, (k * group + s) * lanes)
                goal = shift(element, target, word(goals, s) + k * word(job, TARGET_CHANNEL))
                if to_pixel == 1:
                    for lane in range(alive):
                        store(element, goal, lane, load(element, line, lane))
                else:
                    for lane in range(alive):
                        store(element, goal, lane * to_pixel, load(element, line, lane))


@inlined
def _tiles(
    element: Any,
    job: int,
    y: int,
    goals: int,
    to_channel: int,
    bias: int,
    x: int,
    lines: int,
    weights: int,
    tiles: int,
) -> None:
    """Some tiles of the block's size."""
    taps, tap_count = job + 8 * word(job, TAPS_AT), word(job, TAP_COUNT)
    depth, step, block = word(job, DEPTH), word(job, DEPTH_STEP), word(job, BLOCK)
    lanes, clip = word(job, LANES), word(job, CLIP)
    if tap_count == 0:  # a phase that no weight reaches
        for s in range(tiles * word(job, LINES)):
            for k in range(block):
                value = load(element, bias, k)
                goal = shift(element, y, word(goals, s) + k * to_channel)
                for lane in range(lanes):
                    store(element, goal, lane, clipped(value, clip))
    elif block == 1:
        planar_1(
            element, y, goals, to_channel, bias, x, lines, taps, tap_count, depth, step, weights,
            clip, tiles,
        )  # fmt: skip
    elif block == 6:
        planar_6(
            element, y, goals, to_channel, bias, x, lines, taps, tap_count, depth, step, weights,
            clip, tiles,
        )  # fmt: skip
    else:
        planar_even(
            element, y, goals, to_channel, bias, x, lines, taps, tap_count, depth, step, weights,
            clip, tiles,
        )  # fmt: skip
