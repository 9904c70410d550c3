"""Epilogues at the tiles: a user's function of each sum, and of other numbers that belong to it.

The function is a kernel like an activation (see `fused`). What it takes beside the sums is brought
into the order of the tile first, so that its loop is one over neighbours, whatever the memory
format. A table of parameters says for each one whether it has a number for each output channel, at
an address, or one for each output, at so many bytes from the output itself.
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
    SUM_LINES,
    TARGET_CHANNEL,
    THREAD_BYTES,
)
from .memory import call, copy, load, set_word, shift, store, word

(PER_CHANNEL, PER_OUTPUT) = range(2)
MOST_PARAMETERS = 6


def reserve(job: np.ndarray, address: int, parameters: int, item_size: int) -> None:
    """Let a job have an epilogue, and room for its operands at the end of a thread's memory."""
    size = int(max(job[SUM_LINES], job[LANES]) * job[BLOCK])
    if job[FORM] == PLANAR:
        size = int(job[LINES] * job[BLOCK] * job[LANES])
    job[EPILOGUE], job[PARAMETERS], job[OPERAND_SIZE] = address, parameters, size
    job[OPERANDS_AT] = job[THREAD_BYTES]
    job[THREAD_BYTES] += -(-parameters * size * item_size // 64) * 64


@compiled
def begin_block(
    element: Any,
    job: int,
    parameters: int,
    work: int,
    rows: int,
    width: int,
    columns: int,
    channel: int,
) -> None:
    """Lay out numbers of channels for `rows` rows of a block, the first of them `channel`."""
    base, size = work + word(job, OPERANDS_AT), word(job, OPERAND_SIZE)
    for j in range(word(job, PARAMETERS)):
        if word(parameters, 2 * j) == PER_CHANNEL:
            origin = shift(element, word(parameters, 2 * j + 1), channel)
            place = shift(element, base, j * size)
            for m in range(rows):
                copy(element, shift(element, place, m * width), origin, columns)


@compiled
def finish(
    element: Any,
    job: int,
    parameters: int,
    work: int,
    sums: int,
    rows: int,
    width: int,
    columns: int,
    target: int,
    goals: int,
    step: int,
) -> None:
    """sums[m, k] = f(sums[m, k], ...) for rows of `width` channels, after `begin_block`.

    Output (m, k) lies goals[m] after `target`, or m steps if there are no goals, and k channels.
    """
    base, size = work + word(job, OPERANDS_AT), word(job, OPERAND_SIZE)
    for j in range(word(job, PARAMETERS)):
        if word(parameters, 2 * j) == PER_CHANNEL:
            continue
        place, origin = shift(element, base, j * size), word(parameters, 2 * j + 1)
        between = word(job, TARGET_CHANNEL)
        for m in range(rows):
            goal = word(goals, m) if goals else m * step
            cell, line = shift(element, target + origin, goal), shift(element, place, m * width)
            if between == 1:
                copy(element, line, cell, columns)
            else:
                for k in range(columns):
                    store(element, line, k, load(element, cell, k * between))
    call(word(job, EPILOGUE), sums, base, size, rows * width, 0)


@compiled
def begin_planar_block(
    element: Any, job: int, parameters: int, work: int, rows: int, channel: int
) -> None:
    """The same for tiles in which a channel fills several vectors."""
    base, size = work + word(job, OPERANDS_AT), word(job, OPERAND_SIZE)
    width = word(job, LANES) * word(job, LINES)
    for j in range(word(job, PARAMETERS)):
        if word(parameters, 2 * j) == PER_CHANNEL:
            place, origin = shift(element, base, j * size), word(parameters, 2 * j + 1)
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
    """`finish` for sums[k, s, lane], `rows` channels k and `lines` vectors of pixels s."""
    base, size = work + word(job, OPERANDS_AT), word(job, OPERAND_SIZE)
    lanes, group = word(job, LANES), word(job, LINES)
    for j in range(word(job, PARAMETERS)):
        if word(parameters, 2 * j) == PER_CHANNEL:
            continue
        place, origin = shift(element, base, j * size), word(parameters, 2 * j + 1)
        for k in range(rows):
            row = shift(element, place, k * group * lanes)
            for s in range(lines):
                goal = word(goals, s) + k * word(job, TARGET_CHANNEL)
                cell = shift(element, target + origin, goal)
                for lane in range(alive):
                    store(element, row, s * lanes + lane, load(element, cell, lane * step))
    call(word(job, EPILOGUE), sums, base, size, rows * group * lanes, 0)


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
