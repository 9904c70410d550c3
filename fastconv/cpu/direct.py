"""Direct convolution: for each box of pixels and block of output channels, tile after tile."""

from __future__ import annotations

from typing import Any

from .activation import activate
from .compile import compiled, kernel
from .lowering import (
    ACTIVATION,
    BLOCK_SIZE,
    BLOCKS,
    BUFFER_AT,
    DEPTH,
    DIRECT,
    GROUPS,
    HEIGHT,
    LANES,
    PAIRWISE,
    SOURCE_AT,
    SOURCE_GROUP,
    STEP,
    SUMS_AT,
    TAP_COUNT,
    TAPS_AT,
    TARGET_AT,
    TARGET_CHANNEL,
    TARGETS,
    THREAD_BYTES,
    WIDTH,
)
from .memory import copy, load, shift, store, word
from .pack import enter_box
from .tiles import outer_narrow, outer_wide, pairwise_narrow, pairwise_wide


@kernel
def correlate(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y[n, k, o] = act(bias[k] + sum over c, t of x[n, c, o * step + offset[t]] * w[k, c, t])

    Items are (box, group, block of output channels), the blocks innermost so that a box is packed
    once. Operands: source, packed weights, padded bias, target, workspace.
    """
    source, target = word(operands, 0), word(operands, 3)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    blocks, groups = word(job, BLOCKS), word(job, GROUPS)
    entered, pixels = -1, 0
    for item in range(begin, end):
        window = item // blocks
        group = window % groups
        if window != entered:
            pixels = enter_box(element, job, source, window // groups, group, work)
            entered = window
        x = work + word(job, BUFFER_AT)
        if word(job, DIRECT):
            x = shift(element, source, group * word(job, SOURCE_GROUP))
        index = group * blocks + item % blocks
        weights = shift(element, word(operands, 1), index * word(job, BLOCK_SIZE))
        bias = shift(element, word(operands, 2), index * word(job, WIDTH))
        channel = group * word(job, TARGETS) + item % blocks * word(job, WIDTH)
        remaining = word(job, TARGETS) - item % blocks * word(job, WIDTH)
        goal = shift(element, target, channel * word(job, TARGET_CHANNEL))
        if word(job, PAIRWISE):
            x = shift(element, x, item % blocks * word(job, WIDTH))
        _block(element, job, x, weights, bias, goal, pixels, remaining, work)


@compiled
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
) -> None:
    """All pixels of a box for one block of output channels."""
    height, lanes, full = word(job, HEIGHT), word(job, LANES), word(job, WIDTH)
    taps, tap_count, depth = job + 8 * word(job, TAPS_AT), word(job, TAP_COUNT), word(job, DEPTH)
    step, pairwise = word(job, STEP), word(job, PAIRWISE)
    lines, sums = work + word(job, SOURCE_AT), work + word(job, SUMS_AT)
    width = full if remaining > lanes else lanes
    for first in range(0, pixels, height):
        here = lines + 8 * first
        if tap_count == 0:  # a phase that no weight reaches
            for i in range(height):
                copy(element, shift(element, sums, i * width), bias, width)
        elif pairwise:
            if width == full:
                pairwise_wide(
                    element, sums, bias, 0, x, here, taps, tap_count, depth, step, weights
                )
            else:
                pairwise_narrow(
                    element, sums, bias, 0, x, here, taps, tap_count, depth, step, weights
                )
        elif width == full:
            outer_wide(element, sums, bias, 0, x, here, taps, tap_count, depth, step, weights)
        else:
            outer_narrow(element, sums, bias, 0, x, here, taps, tap_count, depth, step, weights)
        if word(job, ACTIVATION):
            activate(element, sums, height * width, word(job, ACTIVATION))
        rows, columns = min(height, pixels - first), min(width, remaining)
        goals = work + word(job, TARGET_AT) + 8 * first
        _store(element, target, goals, word(job, TARGET_CHANNEL), sums, width, rows, columns)


@compiled
def _store(
    element: Any,
    target: int,
    goals: int,
    channel: int,
    sums: int,
    width: int,
    rows: int,
    columns: int,
) -> None:
    """target[goals[m] + k * channel] = sums[m, k]"""
    if channel == 1:
        for m in range(rows):
            row, goal = shift(element, sums, m * width), shift(element, target, word(goals, m))
            for k in range(columns):
                store(element, goal, k, load(element, row, k))
        return
    for k in range(columns):
        goal = shift(element, target, k * channel)
        for m in range(rows):
            store(element, goal, word(goals, m), load(element, sums, m * width + k))
