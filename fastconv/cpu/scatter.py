"""Values to their places: the gradient of a maximum, and the inverse of max pooling.

Legend: n image, c channel, o output of a pooling, i cell of its input; all arrays are dense, either
(N * C planes, cells) or, channels-last, (N images, cells, C channels).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .compile import inlined, kernel, name_of
from .launch import run, thread_count
from .memory import address_of, clear, load, set_word, shift, store, word
from .program import Program, Unwritten, noted

# Channels of one work item where images are too few for all threads: two cache lines of float32, so
# that threads do not share lines.
BLOCK, ENOUGH_ITEMS = 32, 16

(OUTPUTS, CELLS, CHANNELS, BLOCKS, ADD, WORDS) = range(6)
(SOURCE, INDICES, TARGET, FAILURES, OPERANDS) = range(5)


@kernel
def scatter(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """target[n, indices[n, o, c], c] += source[n, o, c], or = in order; zero elsewhere.

    Items are (n, block of c). An index outside the plane sets the thread's word of FAILURES.
    """
    outputs, cells, channels = word(job, OUTPUTS), word(job, CELLS), word(job, CHANNELS)
    blocks, add = word(job, BLOCKS), word(job, ADD)
    wrong = False
    for item in range(begin, end):
        n, block = item // blocks, item % blocks
        first = block * BLOCK
        width = channels if blocks == 1 else min(channels - first, BLOCK)
        source = shift(element, word(operands, SOURCE), n * outputs * channels + first)
        indices = word(operands, INDICES) + 8 * (n * outputs * channels + first)
        target = shift(element, word(operands, TARGET), n * cells * channels + first)
        if width == channels:
            clear(element, target, cells * channels)
        elif width == BLOCK:  # a constant, so that this is a few stores
            for i in range(cells):
                clear(element, shift(element, target, i * channels), BLOCK)
        else:
            for i in range(cells):
                clear(element, shift(element, target, i * channels), width)
        if channels == 1:
            wrong |= _scatter_row(element, source, indices, outputs, cells, 1, 0, target, add)
            continue
        for o in range(outputs):
            row, places = shift(element, source, o * channels), indices + 8 * o * channels
            wrong |= _scatter_row(element, row, places, width, cells, channels, 1, target, add)
    if wrong:
        set_word(word(operands, FAILURES), thread, 1)


@inlined
def _scatter_row(
    element: Any,
    source: int,
    indices: int,
    count: int,
    cells: int,
    pitch: int,
    step: int,
    target: int,
    add: int,
) -> bool:
    """target[indices[i] * pitch + i * step] += source[i], or =; whether an index was wrong."""
    wrong = False
    for i in range(count):
        cell = word(indices, i)
        if cell < 0 or cell >= cells:
            wrong = True
            continue
        place, value = cell * pitch + i * step, load(element, source, i)
        store(element, target, place, value + load(element, target, place) if add else value)
    return wrong


def scatter_into(
    source: np.ndarray,
    indices: np.ndarray,
    target: np.ndarray,
    channels_last: bool,
    add: bool,
    threads: int | None,
) -> bool:
    """Fill `target` (N, C, *spatial); whether every index was inside its plane.

    All three are dense in the same memory format, `source` and `target` of one dtype.
    """
    if noted(_scatter_steps, source, indices, target, channels_last, add):
        return True
    job, items = _scatter_job(source.shape, target.shape, channels_last, add)
    threads = thread_count(source.size + target.size, threads)
    failures = np.zeros(threads, np.int64)
    operands = tuple(map(address_of, (source, indices, target, failures)))
    run(scatter, name_of(source.dtype), job, operands, items, threads)
    return not any(failures.tolist())


@functools.lru_cache(maxsize=256)
def _scatter_job(
    source: tuple[int, ...], target: tuple[int, ...], channels_last: bool, add: bool
) -> tuple[np.ndarray, int]:
    """The job for arrays of these shapes, and its number of items."""
    batch, channels, *spatial = target
    outputs, cells = math.prod(source[2:]), math.prod(spatial)
    if not channels_last:
        batch, channels = batch * channels, 1
    blocks = -(-channels // BLOCK) if batch < ENOUGH_ITEMS else 1
    job = np.array([outputs, cells, channels, blocks, add], np.int64)
    return job, batch * blocks


def _scatter_steps(
    program: Program,
    source: np.ndarray,
    indices: np.ndarray,
    target: np.ndarray,
    channels_last: bool,
    add: bool,
) -> None:
    """The same, as a step of a program."""
    if str(source.dtype) not in scatter.dtypes:
        raise Unwritten
    job, items = _scatter_job(source.shape, target.shape, channels_last, add)
    failures = program.failure_words(program.threads)
    operands = *map(program.place, (source, indices, target)), failures
    program.launch(scatter, source.dtype.name, job, operands, items)
