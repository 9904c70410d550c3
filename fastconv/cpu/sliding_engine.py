"""The engine of sliding filters: planar correlations whose lines are several rows."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..geometry import ConvGeometry
from ..machine import machine
from ..sizes import same_size
from .engine import ITEM_SIZES, Correlations
from .job import (
    DEPTH_STEP,
    DIRECT,
    EXTRA_AT,
    PLANAR,
    T_BLOCK,
    T_CACHE,
    T_LANES,
    T_LINES,
    THREAD_BYTES,
    correlation_job,
)
from .lowering import (
    BOX,
    COUNT,
    FIRST,
    GATHERED,
    OFFSETS_AT,
    PITCH,
    SPAN,
    STEP,
    TAPS,
    TARGET,
    lifted_strides,
)
from .memory import address_of
from .sliding import (
    COUNTS,
    EXTRA_WORDS,
    HEIGHT,
    LANES,
    OUT_AT,
    PIECE_TAPS,
    PIECES_AT,
    ROW_PITCH,
    ROW_STEP,
    ROWS,
    SIZE,
    WEIGHTS,
    slide,
    tile_rows,
)

# Pixels of a box, in the sense of `job`: rows of a tile count as one.
MOST_PIXELS = 1 << 15

# Rows of a kernel that make sliding worth while.
FEWEST_ROWS = 2


class Slide(NamedTuple):
    """How a kernel is cut into rows and columns, and which of the tiles takes them."""

    along_width: bool  # or along the height
    size: int
    height: int  # rows of a tile
    taps: int  # of a plane
    columns: int  # of the kernel


def slide_of(geometry: ConvGeometry, dtype: str, operation: str) -> Slide | None:
    """How to slide over this geometry; None if its kernel has too few rows."""
    g, lanes = geometry, machine().lanes(dtype)
    made = g.in_size if operation == "input_gradient" else g.out_size
    (*_, height, width), (*_, rows, columns) = (1, *made), (1, *g.kernel_size)
    dense = [s == d == 1 for s, d in zip(g.stride, g.dilation)]
    if g.rank > 1 and dense[-2] and rows >= FEWEST_ROWS:
        return Slide(False, *_tile_for(height), rows * columns, columns)
    if dense[-1] and columns >= FEWEST_ROWS * lanes:
        return Slide(True, *_tile_for(same_size(width, lanes)), columns, lanes)
    return None


def _tile_for(height: int) -> tuple[int, int]:
    """Which tile makes so many output rows in the least time, and its rows."""
    sizes = tile_rows(machine())
    # A row that stays empty costs as much as any other, a tile as much as a row more.
    size = min(range(len(sizes)), key=lambda i: same_size(height, sizes[i]) * (sizes[i] + 1))
    return size, sizes[size]


def _pieces(slide: Slide) -> np.ndarray:
    """The pieces of a plane of the kernel, those of most taps first: (taps, row, column)."""
    pieces = []
    for column in range(slide.columns):
        rows = same_size(slide.taps - column, slide.columns)
        count = same_size(rows, PIECE_TAPS[0])
        ends = [rows * i // count for i in range(count + 1)]
        pieces += [(-(end - row), row, column) for row, end in pairwise(ends)]
    return np.abs(np.array(sorted(pieces), np.int64))


def sliding_share(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    """Part of the lanes of all tiles that hold outputs."""
    slide = slide_of(geometry, dtype, operation)
    assert slide is not None
    size = geometry.in_size if operation == "input_gradient" else geometry.out_size
    height, width = (1, *size)[-2:]
    lanes = machine().lanes(dtype)
    if slide.along_width:
        return width / (same_size(width, lanes * slide.height) * lanes * slide.height)
    share = height / (same_size(height, slide.height) * slide.height)
    return share * width / (same_size(width, lanes) * lanes)


class Sliding(Correlations):
    """The forward operation or, at stride 1, the input gradient."""

    fuses = False

    def __init__(
        self, geometry: ConvGeometry, dtype: str, operation: str, activation: str | None = None
    ) -> None:
        super().__init__(geometry, dtype, operation, PLANAR, activation)
        found = slide_of(geometry, dtype, operation)
        assert found is not None
        self._slide, self._kernel = found, slide
        self._pieces = _pieces(found)
        self._tile[T_BLOCK], self._tile[T_CACHE] = 1, 2 * machine().level2_bytes
        self._block, self._blocks = 1, self.targets
        self._zeros = np.zeros((self.groups, self.targets), dtype)
        self._zeros_at = address_of(self._zeros)
        self._tile[T_LINES] = 1
        if found.along_width:
            self._tile[T_LANES] *= found.height

    def _weight_jobs(self, strides: tuple[int, ...], plain: bool) -> list[tuple[np.ndarray, int]]:
        """One packing job: the rows of an output channel are weights in the order of meeting."""
        known = self._packing
        if known is not None and known[0] == (strides, plain):
            return known[1]
        item, width = ITEM_SIZES[self.dtype], machine().lanes(self.dtype)
        steps = lifted_strides(tuple(stride // item for stride in strides))
        target_step, source_step = steps[:2] if self.forward else steps[[1, 0]]
        group_step = self.geometry.out_channels // self.groups * steps[0]
        ((axes, _, places, _),) = self._lower(steps, steps, plain)
        d, h, w = (
            places[axis[OFFSETS_AT] : axis[OFFSETS_AT] + axis[TAPS]] * step
            for axis, step in zip(axes[1:], steps[2:])
        )
        planes = (source_step * np.arange(self.sources)[:, None] + d).ravel()
        taps = np.add.outer(h, w).ravel()
        if self._slide.along_width:
            planes, taps = np.add.outer(planes, h).ravel(), w
        rows = np.concatenate([self._rows(count, planes, taps) for count in PIECE_TAPS])
        words = [self.targets, self._blocks, 1, 1, len(rows), group_step, target_step]
        order, beyond = np.argsort(rows, kind="stable"), np.zeros(width, np.int64)
        job = np.concatenate([np.array(words, np.int64), rows, rows[order], order, beyond])
        jobs = [(job, self.groups * self._blocks * len(rows))]
        self._packing = ((strides, plain), jobs)
        return jobs

    def _rows(self, count: int, planes: np.ndarray, taps: np.ndarray) -> np.ndarray:
        """Where the weights of all pieces of `count` taps lie in planes with these taps."""
        _, row, column = self._pieces[self._pieces[:, 0] == count].T
        places = (row[:, None] + np.arange(count)) * self._slide.columns + column[:, None]
        return np.add.outer(planes, taps[places]).ravel()

    def _job(
        self, axes: np.ndarray, offsets: np.ndarray, channels: np.ndarray, items_wanted: int
    ) -> np.ndarray:
        cut, height = self._slide, int(axes[2, COUNT])
        row_target = int(axes[2, TARGET])
        if not cut.along_width:
            offsets = _tall_taps(axes, offsets[0], cut.height)[np.newaxis]
        job = correlation_job(
            axes, offsets, channels, self._tile, self.activation, items_wanted, MOST_PIXELS, False
        )
        self._clip(job)
        lanes, item = machine().lanes(self.dtype), ITEM_SIZES[self.dtype]
        direct = bool(job[DIRECT])
        d, h, w = axes[1:]
        depths, columns = _along(job, d, direct), _along(job, w, direct)
        planes = (job[DEPTH_STEP] * np.arange(self.sources))[:, None] + depths
        h_taps = _along(job, h, direct)
        x = np.zeros(EXTRA_WORDS, np.int64)
        if cut.along_width:
            planes = planes[..., None] + h_taps
            x[ROW_PITCH], x[ROW_STEP] = lanes, lanes * w[TARGET]
        else:
            planes = planes + h_taps[0]
            x[ROW_PITCH], x[ROW_STEP], x[HEIGHT] = h[PITCH], row_target, height
        taps, rows, places = self._pieces.T
        places = x[ROW_PITCH] * rows + columns[places]
        pieces = [
            np.add.outer(planes.ravel(), places[taps == count]).ravel() for count in PIECE_TAPS
        ]
        x[SIZE], x[ROWS], x[LANES] = cut.size, cut.height, lanes
        x[COUNTS:] = [len(places) for places in pieces]
        x[WEIGHTS] = x[COUNTS:] @ PIECE_TAPS
        x[PIECES_AT] = len(job) + EXTRA_WORDS
        x[OUT_AT] = job[THREAD_BYTES]
        job[EXTRA_AT], job[THREAD_BYTES] = len(job), x[OUT_AT] + cut.height * lanes * item
        return np.concatenate([job, x, *pieces])


def _tall_taps(axes: np.ndarray, offsets: np.ndarray, height: int) -> np.ndarray:
    """Make of an axis of rows one of tiles of `height` rows, in place; returns the offsets."""
    axis = axes[2]
    taps = height + axis[TAPS] - 1
    axis[COUNT] = same_size(int(axis[COUNT]), height)
    axis[STEP], axis[TARGET] = height, height * axis[TARGET]
    axis[TAPS], axis[SPAN], axis[OFFSETS_AT] = taps, taps, len(offsets)
    return np.concatenate([offsets, axis[FIRST] + np.arange(taps)])


def _along(job: np.ndarray, axis: np.ndarray, direct: bool) -> np.ndarray:
    """Elements along one axis from a line to each of its taps, as `job` has laid it out."""
    if axis[GATHERED]:
        return np.arange(axis[TAPS]) * axis[BOX] * axis[PITCH]
    taps = job[axis[OFFSETS_AT] : axis[OFFSETS_AT] + axis[TAPS]]
    return (taps - (0 if direct else axis[FIRST])) * axis[PITCH]
