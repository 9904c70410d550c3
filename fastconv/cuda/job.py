"""A correlation as the numbers that kernels work from: words, rows and tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .lowering import NOWHERE, Correlation
from .memory import Table

# Words of a job. Steps are in elements.
(
    PIXELS,  # outputs of a channel, in the order images, depth, height, width
    SLABS,  # of reduction rows
    TARGETS,  # channels of a group that are written
    TILES,  # blocks of channels of a group
    PITCH,  # of a row of packed weights
    SOURCE_GROUP,  # from a group of the source to the next
    TARGET_GROUP,
    TARGET_CHANNEL,
    SOURCE_IMAGE,
    TARGET_IMAGE,
    DEPTH,
    HEIGHT,
    WIDTH,
    TARGET_DEPTH,
    TARGET_HEIGHT,
    TARGET_WIDTH,
    START,  # element of the target at which the first output lies
    REDUCTION,  # rows that are not filled up
    CHUNK,  # slabs of pixels that one block of a weight gradient adds up
    ROWS_AT,
) = range(20)
# Of a reduction row: where its tap's rows begin in the tables of depth, height and width, and the
# offset of its channel.
ROW_WORDS = 4


class Job(NamedTuple):
    """The numbers on the device, and those that a launch needs on the host."""

    words: Table
    where: Table
    pixels: int


def reduction_rows(c: Correlation, channels: int, channel_step: int) -> np.ndarray:
    """The rows (tap of depth, of height, of width, channel) as (rows, ROW_WORDS)."""
    sizes = [table.size for table in c.where]
    firsts = np.cumsum([0, *sizes[:2]])
    d, h, w = (np.arange(t) * n + first for t, n, first in zip(c.taps, c.counts, firsts))
    grid = np.meshgrid(d, h, w, np.arange(channels) * channel_step, indexing="ij")
    return np.stack([part.ravel() for part in grid], axis=1).astype(np.int64)


def job_numbers(
    c: Correlation,
    channels: tuple[int, int],
    steps: tuple[int, int],
    *,
    depth: int,
    pitch: int,
    tiles: int,
    far: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The words and rows of a correlation's job, and its `where` tables.

    `channels` are those of a group that are read and written, `steps` the distances between
    channels of source and target, `depth` the rows of a slab.
    """
    sources, targets = channels
    rows = reduction_rows(c, sources, steps[0])
    slabs = -(-len(rows) // depth)
    # Rows that fill up the last slab read nothing.
    beyond = np.zeros((slabs * depth - len(rows), ROW_WORDS), np.int64)
    beyond[:, 3] = NOWHERE[True]
    words = np.zeros(ROWS_AT, np.int64)
    words[PIXELS] = c.images * int(np.prod(c.counts))
    words[[SLABS, TARGETS, TILES, PITCH]] = slabs, targets, tiles, pitch
    words[[SOURCE_GROUP, TARGET_GROUP]] = sources * steps[0], targets * steps[1]
    words[TARGET_CHANNEL] = steps[1]
    words[[SOURCE_IMAGE, TARGET_IMAGE]] = c.image_steps
    words[[DEPTH, HEIGHT, WIDTH]] = c.counts
    words[[TARGET_DEPTH, TARGET_HEIGHT, TARGET_WIDTH]] = c.target_steps
    words[[START, REDUCTION]] = c.start, len(rows)
    host = np.concatenate([words, rows.ravel(), beyond.ravel()])
    where = np.concatenate([table.ravel() for table in c.where])
    return host, where.astype(np.int64 if far else np.int32)


def make_job(host: np.ndarray, where: np.ndarray) -> Job:
    """The numbers of `job_numbers` put on the device."""
    return Job(Table(host), Table(where), int(host[PIXELS]))
