"""Direct convolution: for each box of pixels and block of output channels, tile after tile.

The tiles have output channels in their lanes, or in pairwise form the channels of a depthwise
convolution; `planar` has the third form.
"""

from __future__ import annotations

from typing import Any

from .activation import clipped
from .compile import compiled, inlined, kernel
from .epilogue import begin_block, finish, gather
from .job import (
    ACTIVATION,
    AHEAD,
    BLOCK,
    BLOCK_SIZE,
    BLOCKS,
    BOX_COUNT,
    BUFFER_AT,
    CLIP,
    DEPTH,
    DEPTH_STEP,
    DIRECT,
    EPILOGUE,
    FAR,
    FORM,
    GOALS_AT,
    GROUPS,
    LANES,
    LINES,
    LINES_AT,
    PACK,
    PACKED_AT,
    PACKED_SIZE,
    PAIRWISE,
    PHASES,
    SOURCE_GROUP,
    STEPS_AT,
    SUM_LINES,
    SUMS_AT,
    TAP_COUNT,
    TAPS_AT,
    TARGET_CHANNEL,
    TARGETS,
    THREAD_BYTES,
)
from .lowering import TARGET
from .memory import call, load, prefetch, shift, store, word, words_of
from .outer import outer, set_steps
from .pack import axis_of, enter_box
from .pack_weights import block_width
from .tiles import pairwise_narrow, pairwise_wide
from .unpack import store_run


@kernel
def correlate(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y[n, k, o] = act(bias[k] + sum over c, t of x[n, c, o * step + offset[t]] * w[k, c, t])

    Items are (box, group, block of output channels), the blocks innermost so that a box is packed
    once; where weights are packed here, the boxes innermost so that a block is packed once.
    Operands: source, packed weights, padded bias, target, workspace; or weights as they are, and
    last their packing job.
    """
    source, target = word(operands, 0), word(operands, 3)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    blocks, groups, block = word(job, BLOCKS), word(job, GROUPS), word(job, BLOCK)
    entered, packed, pixels = -1, -1, 0
    for item in range(begin, end):
        if word(job, PACKED_AT):
            box, index = item % word(job, BOX_COUNT), item // word(job, BOX_COUNT)
        else:
            box, index = item // (groups * blocks), item % (groups * blocks)
        group, first = index // blocks, index % blocks * block
        if box * groups + group != entered:
            pixels = enter_box(job, source, box, group, work)
            entered = box * groups + group
        x = work + word(job, BUFFER_AT)
        if word(job, DIRECT):
            x = shift(element, source, group * word(job, SOURCE_GROUP))
        if word(job, FORM) == PAIRWISE:
            x = shift(element, x, first)
        weights = shift(element, word(operands, 1), index * word(job, BLOCK_SIZE))
        if word(job, PACKED_AT):
            weights = work + word(job, PACKED_AT)
            if index != packed:
                _pack_block(element, job, operands, index, weights)
                packed = index
        bias = shift(element, word(operands, 2), index * block)
        channel = group * word(job, TARGETS) + first
        goal = shift(element, target, channel * word(job, TARGET_CHANNEL))
        remaining = word(job, TARGETS) - first
        parameters = word(operands, 6)
        _block(element, job, x, weights, bias, goal, pixels, remaining, work, parameters, channel)


@compiled
def _pack_block(element: Any, job: int, operands: int, index: int, packed: int) -> None:
    """Have the weights of one block packed, to the address `packed`."""
    start = shift(element, packed, -index * word(job, BLOCK_SIZE))
    arrays = words_of((word(operands, 1), start))
    call(word(job, PACK), word(operands, 5), arrays, index, index + 1, 0)


@inlined
def _block(
    element: Any,
    job: int,
    x: int,
    weights: int,
    bias: int,
    target: int,
    pixels: int,
    remaining: int,
    work: int,
    parameters: int,
    first_channel: int,
) -> None:
    """All pixels of a box for one block of output channels."""
    height, most, full = word(job, LINES), word(job, SUM_LINES), word(job, BLOCK)
    channel, pixel = word(job, TARGET_CHANNEL), word(axis_of(job, 3), TARGET)
    width = block_width(remaining, full, word(job, LANES))
    sums, steps = work + word(job, SUMS_AT), work + word(job, STEPS_AT)
    phases = word(job, PHASES)
    between = pixel // phases
    in_place = channel == 1 and width <= remaining and word(job, ACTIVATION) == 0
    in_place = in_place and word(job, EPILOGUE) == 0
    others = False
    if word(job, EPILOGUE):
        columns = min(width, remaining)
        others = begin_block(element, job, parameters, work, width, columns, first_channel)
    lines, goals = work + word(job, LINES_AT), work + word(job, GOALS_AT)
    if in_place:
        for p in range(phases):
            y = shift(element, target, p * between)
            _tiles(element, job, y, goals, 0, bias, x, lines, pixels, weights, width, p)
        return
    set_steps(steps, height, phases * width)
    onward = height * phases * width
    for first in range(0, pixels, most):
        rows, columns = min(most, pixels - first), min(width, remaining)
        here, there = lines + 8 * first, goals + 8 * first
        if channel == 1:  # stores from the scratch come in bursts and would wait for their lines
            for i in range(rows):
                prefetch(element, target, word(there, i))
                prefetch(element, target, word(there, i) + columns - 1)
        for p in range(phases):
            y = shift(element, sums, p * width)
            _tiles(element, job, y, steps, onward, bias, x, here, rows, weights, width, p)
        if word(job, ACTIVATION):
            call(word(job, ACTIVATION), sums, 0, 0, rows * phases * width, 0)
        if word(job, EPILOGUE):
            if others:
                gather(
                    element, job, parameters, work, 0, rows, width, columns, target, there, 0
                )  # fmt: skip
            finish(job, work, sums, rows * width, width)
        _store(element, target, there, pixel, channel, sums, width, rows, columns, phases)


@inlined
def _tiles(
    element: Any,
    job: int,
    y: int,
    goals: int,
    onward: int,
    bias: int,
    x: int,
    lines: int,
    pixels: int,
    weights: int,
    width: int,
    phase: int,
) -> None:
    """Some pixels in the form and width of their block; places of answers as in `tiles`."""
    count = word(job, TAP_COUNT)
    taps = job + 8 * (word(job, TAPS_AT) + phase * count)
    weights = shift(element, weights, phase * word(job, PACKED_SIZE))
    depth, step = word(job, DEPTH), word(job, DEPTH_STEP)
    wide, height = width == word(job, BLOCK), word(job, LINES)
    tiles, clip = -(-pixels // height), word(job, CLIP)
    far = onward == 0 and word(job, FAR) != 0
    if count == 0:  # a phase that no weight reaches
        for i in range(pixels):
            place = shift(element, y, i * (onward // height) if onward else word(goals, i))
            for v in range(width):
                value = load(element, bias, v)
                store(element, place, v, clipped(value, clip))
    elif word(job, FORM) != PAIRWISE:
        outer(
            element, y, goals, onward, bias, 0, x, lines, pixels, taps, count, depth, step, weights,
            height, wide, clip, word(job, AHEAD) != 0, far,
        )  # fmt: skip
    elif wide:
        pairwise_wide(
            element, y, goals, onward, bias, 0, x, lines, taps, count, depth, step, weights, clip,
            tiles, tiles - 1 if far else 0,
        )  # fmt: skip
    else:
        pairwise_narrow(
            element, y, goals, onward, bias, 0, x, lines, taps, count, depth, step, weights, clip,
            tiles, tiles - 1 if far else 0,
        )  # fmt: skip


@inlined
def _store(
    element: Any,
    target: int,
    goals: int,
    pixel: int,
    channel: int,
    sums: int,
    width: int,
    rows: int,
    columns: int,
    phases: int,
) -> None:
    """target[goals[m] + p * pixel / phases + k * channel] = sums[m, p, k] of phases p.

    Most goals lie `pixel` after the one before.
    """
    first = 0
    while first < rows:
        last = first + 1
        while last < rows and word(goals, last) - word(goals, last - 1) == pixel:
            last += 1
        goal = shift(element, target, word(goals, first))
        line, count = shift(element, sums, first * phases * width), (last - first) * phases
        store_run(element, goal, pixel // phases, channel, line, width, count, columns)
        first = last
