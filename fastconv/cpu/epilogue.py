"""Epilogues at the tiles: a user's function of each sum, and of other numbers that belong to it.

The function is a kernel like an activation (see `fused`). What it takes beside the sums is brought
into the order of the tile first, so that its loop is one over neighbours, whatever the memory
format. A table of parameters says for each one whether it has a number for each output channel, at
an address, or one for each output, at so many bytes from the output itself.

A thread's memory has a table of operands, each an address and a step, and what they point to.
Numbers of channels are laid out for one stretch of sums, a few pixels long, and have step 0: the
kernel takes the same for every stretch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import compiled, kernel
from .job import (
    BLOCK,
    EPILOGUE,
    FORM,
    LANES,
    LINES,
    OPERAND_SIZE,
    OPERANDS_AT,
    PARAMETERS,
    PLANAR,
    TARGET_CHANNEL,
    THREAD_BYTES,
)
from .memory import call, clear, copy, load, set_word, shift, store, word

(PER_CHANNEL, PER_OUTPUT) = range(2)
MOST_PARAMETERS = 6
# Bytes of a table of operands; pixels of a stretch, which is long enough for the kernel's loop.
TABLE, STRETCH = 128, 8


def reserve(job: np.ndarray, address: int, parameters: int, item_size: int, pixels: int) -> None:
    """Let a job have an epilogue of so many `pixels` of a block at once, and room for operands."""
    size = max(pixels, STRETCH) * int(job[BLOCK])
    if job[FORM] == PLANAR:
        size = int(job[LINES] * job[BLOCK] * job[LANES])
    job[EPILOGUE], job[PARAMETERS], job[OPERAND_SIZE] = address, parameters, size
    job[OPERANDS_AT] = job[THREAD_BYTES]
    if parameters:
        job[THREAD_BYTES] += TABLE + -(-parameters * size * item_size // 64) * 64


@compiled
def begin_block(
    element: Any, job: int, parameters: int, work: int, width: int, columns: int, channel: int
) -> bool:
    """Lay out numbers of channels for rows of `width`, the first of them `channel`.

    Returns whether there are numbers of outputs, which `gather` is for.
    """
    table, others = work + word(job, OPERANDS_AT), False
    for j in range(word(job, PARAMETERS)):
        place = shift(element, table + TABLE, j * word(job, OPERAND_SIZE))
        set_word(table, 2 * j, place)
        kind = word(parameters, 2 * j)
        set_word(table, 2 * j + 1, kind == PER_OUTPUT)
        if kind == PER_OUTPUT:
            others = True
            continue
        clear(element, place, width)
        copy(element, place, word(parameters, 2 * j + 1) + shift(element, 0, channel), columns)
        filled = width
        while filled < STRETCH * width:
            copy(element, shift(element, place, filled), place, filled)
            filled *= 2
    return others


@compiled
def gather(
    element: Any,
    job: int,
    parameters: int,
    work: int,
    first: int,
    rows: int,
    width: int,
    columns: int,
    target: int,
    goals: int,
    step: int,
) -> None:
    """Bring numbers of outputs into the order of sums[first + m, k], rows m of `width` channels.

    Output (m, k) lies goals[m] after `target`, or m steps if there are no goals, and k channels.
    """
    table, between = work + word(job, OPERANDS_AT), word(job, TARGET_CHANNEL)
    for j in range(word(job, PARAMETERS)):
        if word(parameters, 2 * j) == PER_CHANNEL:
            continue
        place, origin = word(table, 2 * j), word(parameters, 2 * j + 1)
        for m in range(rows):
            goal = word(goals, m) if goals else m * step
            cell = shift(element, target + origin, goal)
            line = shift(element, place, (first + m) * width)
            if between == 1:
                copy(element, line, cell, columns)
            else:
                for k in range(columns):
                    store(element, line, k, load(element, cell, k * between))


@compiled
def finish(job: int, work: int, sums: int, count: int, width: int) -> None:
    """sums[i] = f(sums[i], ...) for `count` of them in rows of `width`, after `begin_block`."""
    stretch = STRETCH * width if word(job, PARAMETERS) else count
    call(word(job, EPILOGUE), sums, work + word(job, OPERANDS_AT), stretch, count, 0)


@compiled
def begin_planar_block(
    element: Any, job: int, parameters: int, work: int, rows: int, channel: int
) -> None:
    """The same for tiles in which a channel fills several vectors."""
    table, width = work + word(job, OPERANDS_AT), word(job, LANES) * word(job, LINES)
    for j in range(word(job, PARAMETERS)):
        place = shift(element, table + TABLE, j * word(job, OPERAND_SIZE))
        set_word(table, 2 * j, place)
        set_word(table, 2 * j + 1, 0)  # there is one stretch
        if word(parameters, 2 * j) == PER_CHANNEL:
            origin = word(parameters, 2 * j + 1)
            for k in range(rows):
                value = load(element, origin, channel + k)
                for i in range(width):
                    store(element, place, k * width + i, value)


@compiled
def finish_planar(
    element: Any,
    job: int,
    parameters: int,
    work: int,
    sums: int,
    rows: int,
    lines: int,
    alive: int,
    target: int,
    goals: int,
    step: int,
) -> None:
    """`gather` and `finish` for sums[k, s, lane], channels k and `lines` vectors of pixels s."""
    table, lanes, group = work + word(job, OPERANDS_AT), word(job, LANES), word(job, LINES)
    for j in range(word(job, PARAMETERS)):
        if word(parameters, 2 * j) == PER_CHANNEL:
            continue
        place, origin = word(table, 2 * j), word(parameters, 2 * j + 1)
        for k in range(rows):
            row = shift(element, place, k * group * lanes)
            for s in range(lines):
                goal = word(goals, s) + k * word(job, TARGET_CHANNEL)
                cell = shift(element, target + origin, goal)
                for lane in range(alive):
                    store(element, row, s * lanes + lane, load(element, cell, lane * step))
    count = rows * group * lanes
    call(word(job, EPILOGUE), sums, table, count, count, 0)


@kernel
def write_parameters(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """The table of parameters; the job says how many, and of which kind.

    Operands: table, target, then an array for each.
    """
    table, target = word(operands, 0), word(operands, 1)
    for j in range(word(job, 0)):
        kind, address = word(job, 1 + j), word(operands, 2 + j)
        set_word(table, 2 * j, kind)
        set_word(table, 2 * j + 1, address if kind == PER_CHANNEL else address - target)
