"""Copying between strided boxes of up to five axes, where NumPy is not at hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import kernel
from .memory import load, shift, store, word

# What to do with each cell, then five counts, five source and five target strides in elements.
(COPY, ADD, ZERO) = range(3)
(MODE, COUNTS_AT, SOURCE_AT, TARGET_AT, WORDS) = 0, 1, 6, 11, 16


def box_job(
    mode: int, counts: tuple[int, ...], source: tuple[int, ...], target: tuple[int, ...]
) -> np.ndarray:
    """The job for boxes of up to five axes; its items are the cells of the first two of five."""
    missing = 5 - len(counts)
    words = [mode, *[1] * missing, *counts, *[0] * missing, *source, *[0] * missing, *target]
    return np.array(words, np.int64)


@kernel
def copy_box(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """target[i] = source[i], or += source[i], or = 0, for all cells i of a box.

    Operands: source, target. Items are the cells of the first two axes.
    """
    counts, source_steps = job + 8 * COUNTS_AT, job + 8 * SOURCE_AT
    target_steps, mode = job + 8 * TARGET_AT, word(job, MODE)
    across, across_source, across_target = (
        word(counts, 4),
        word(source_steps, 4),
        word(target_steps, 4),
    )
    for item in range(begin, end):
        a, b = item // word(counts, 1), item % word(counts, 1)
        x = word(operands, 0)
        x = shift(element, x, a * word(source_steps, 0) + b * word(source_steps, 1))
        y = word(operands, 1)
        y = shift(element, y, a * word(target_steps, 0) + b * word(target_steps, 1))
        for c in range(word(counts, 2)):
            for d in range(word(counts, 3)):
                here = shift(element, x, c * word(source_steps, 2) + d * word(source_steps, 3))
                there = shift(element, y, c * word(target_steps, 2) + d * word(target_steps, 3))
                for e in range(across):
                    if mode == ZERO:
                        store(element, there, e * across_target, 0)
                        continue
                    value = load(element, here, e * across_source)
                    if mode == ADD:
                        value += load(element, there, e * across_target)
                    store(element, there, e * across_target, value)
