"""Packing weights: the order in which tiles read them."""

from __future__ import annotations

from typing import Any

from .compile import compiled, kernel
from .memory import clear, copy, load, room, shift, store, word
from .pack import PANEL, PANEL_SIZE, PITCHED, run_of
from .transpose import lanes_of, to_table

# Words of a weight job. Three tables of one word per row follow: the offsets of the rows in the
# weight; the same sorted; which row each of these is, with as many words more as there are lanes.
(W_TARGETS, W_BLOCKS, W_BLOCK, W_LANES, W_ROWS, W_GROUP, W_TARGET, W_HEADER) = range(8)


@compiled
def block_width(targets: int, block: int, lanes: int) -> int:
    """Width of the rows of a block of targets: the last one of a few targets takes one vector."""
    return block if targets > lanes else lanes


@kernel
def pack_weights(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """packed[g, b, r, v] = weight[g, b * block + v, row r], zero beyond the last target.

    Items are (g, b). Operands: weight, packed.
    """
    weight, packed = word(operands, 0), word(operands, 1)
    targets, blocks, rows = word(job, W_TARGETS), word(job, W_BLOCKS), word(job, W_ROWS)
    full, target_step, lanes = word(job, W_BLOCK), word(job, W_TARGET), lanes_of(element)
    offsets = job + 8 * W_HEADER
    sources = offsets + 8 * rows
    numbers = sources + 8 * rows
    panel, colliding = room(element, PANEL_SIZE), shift(element, 0, target_step) % 4096 == 0
    reach = PANEL if colliding else lanes
    for item in range(begin, end):
        first = item % blocks * full
        width = block_width(targets - first, full, word(job, W_LANES))
        present = min(width, targets - first)
        origin = item // blocks * word(job, W_GROUP) + first * target_step
        block = shift(element, packed, item * rows * full)
        if present < width:
            clear(element, block, rows * width)
        if full == 1:  # nothing to turn
            for r in range(rows):
                store(element, block, r, load(element, weight, origin + word(offsets, r)))
            continue
        r = 0
        while r < rows:
            run = run_of(sources, r, min(rows, r + reach), 1)
            row = shift(element, weight, origin + word(sources, r))
            if run < 4:
                run, goal = 1, word(numbers, r) * width
                for v in range(present):
                    store(element, block, goal + v, load(element, row, v * target_step))
            else:
                for v in range(0, present, lanes):
                    line, step = shift(element, row, v * target_step), target_step
                    count = min(lanes, present - v)
                    if colliding:
                        for i in range(count):
                            origin_i = shift(element, line, i * target_step)
                            copy(element, shift(element, panel, i * PITCHED), origin_i, run)
                        line, step = panel, PITCHED
                    for j in range(0, run, lanes):
                        to_table(
                            element,
                            shift(element, line, j),
                            step,
                            count,
                            min(lanes, run - j),
                            shift(element, block, v),
                            width,
                            numbers + 8 * (r + j),
                        )
            r += run
