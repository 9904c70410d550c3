"""The engine of sliding filters: planar correlations whose lines are several rows."""

from __future__ import annotations

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
    COLUMNS,
    COLUMNS_AT,
    ENDS_AT,
    EXTRA_WORDS,
    FULL,
    HEIGHT,
    HEIGHTS,
    LANES,
    OUT_AT,
    PLANES,
    PLANES_AT,
    REST,
    REST_AT,
    ROW_STEP,
    ROWS,
    WEIGHTS,
    slide,
    sliding_vectors,
)
from .sliding import PITCH as ROW_PITCH

# Pixels of a box, in the sense of `job`: rows of a tile count as one.
MOST_PIXELS = 1 << 15


class Slide(NamedTuple):
    """How a kernel is cut: into rows of columns, and the taps that are left."""

    along_width: bool  # or along the height
    height: int  # rows of a tile
    rows: int  # of the kernel
    columns: int
    rest: int


def slide_of(geometry: ConvGeometry, dtype: str) -> Slide | None:
    """How to slide over this geometry; None if its kernel has too few rows."""
    g, lanes = geometry, machine().lanes(dtype)
    *_, kernel_height, kernel_width = 1, *g.kernel_size
    dense = [s == d == 1 for s, d in zip(g.stride, g.dilation)]
    if g.rank > 1 and dense[-2] and kernel_height >= HEIGHTS[-1]:
        height = next(h for h in HEIGHTS if h <= kernel_height)
        return Slide(False, height, kernel_height, kernel_width, 0)
    rows, rest = divmod(kernel_width, lanes)
    if dense[-1] and rows >= HEIGHTS[-1]:
        height = next(h for h in HEIGHTS if h <= rows)
        return Slide(True, height, rows, lanes, rest)
    return None


def sliding_share(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    """Part of the lanes of all tiles that hold outputs."""
    slide = slide_of(geometry, dtype)
    assert slide is not None
    size = geometry.in_size if operation == "input_gradient" else geometry.out_size
    height, width = (1, *size)[-2:]
    lanes = machine().lanes(dtype)
    if slide.along_width:
        return width / (same_size(width, lanes * slide.height) * lanes * slide.height)
    share = height / (same_size(height, slide.height) * slide.height)
    return share * width / (same_size(width, lanes) * lanes)


def _reading_order(slide: Slide) -> np.ndarray:
    """Where each weight of a plane stands in memory, in the order in which tiles meet them."""
    rows, columns, height = slide.rows, slide.columns, slide.height
    order: list[int] = []
    for r in range(rows + height - 1):
        sums = range(max(0, r - rows + 1), min(height, r + 1))
        order += [(r - i) * columns + s for s in range(columns) for i in sums]
    order += range(rows * columns, rows * columns + slide.rest)
    return np.array(order, np.int64)


class Sliding(Correlations):
    """The forward operation or, at stride 1, the input gradient."""

    fuses = False

    def __init__(
        self, geometry: ConvGeometry, dtype: str, operation: str, activation: str | None = None
    ) -> None:
        super().__init__(geometry, dtype, operation, PLANAR, activation)
        slide_found = slide_of(geometry, dtype)
        assert slide_found is not None
        self._slide, self._kernel = slide_found, slide
        self._order = _reading_order(slide_found)
        self._tile[T_BLOCK], self._tile[T_CACHE] = 1, 2 * machine().level2_bytes
        self._block, self._blocks = 1, self.targets
        self._zeros = np.zeros((self.groups, self.targets), dtype)
        self._zeros_at = address_of(self._zeros)
        self._tile[T_LINES] = sliding_vectors(machine(), slide_found.height)
        if slide_found.along_width:
            self._tile[T_LANES] *= slide_found.height

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
        planes = source_step * np.arange(self.sources)[:, None] + d
        taps = np.add.outer(h, w).ravel()
        if self._slide.along_width:
            planes, taps = np.add.outer(planes, h), w
        rows = np.add.outer(planes.ravel(), taps[self._order]).ravel()
        words = [self.targets, self._blocks, 1, 1, len(rows), group_step, target_step]
        order, beyond = np.argsort(rows, kind="stable"), np.zeros(width, np.int64)
        job = np.concatenate([np.array(words, np.int64), rows, rows[order], order, beyond])
        jobs = [(job, self.groups * self._blocks * len(rows))]
        self._packing = ((strides, plain), jobs)
        return jobs

    def _job(
        self, axes: np.ndarray, offsets: np.ndarray, channels: np.ndarray, items_wanted: int
    ) -> np.ndarray:
        cut, height = self._slide, int(axes[2, COUNT])
        row_target = int(axes[2, TARGET])
        if not cut.along_width:
            offsets = _tall_taps(axes, offsets, cut.height)
        job = correlation_job(
            axes, offsets, channels, self._tile, self.activation, items_wanted, MOST_PIXELS, False
        )
        lanes, item = machine().lanes(self.dtype), ITEM_SIZES[self.dtype]
        direct, vectors = bool(job[DIRECT]), int(self._tile[T_LINES])
        d, h, w = axes[1:]
        depths, columns = _along(job, d, direct), _along(job, w, direct)
        planes = (job[DEPTH_STEP] * np.arange(self.sources))[:, None] + depths
        x = np.zeros(EXTRA_WORDS, np.int64)
        rest = columns[:0]
        if cut.along_width:
            planes = planes[..., None] + _along(job, h, direct)
            columns, rest = columns[: cut.columns], columns[cut.rows * cut.columns :]
            x[ROW_PITCH], x[ROW_STEP] = lanes, lanes * w[TARGET]
        else:
            planes = planes + _along(job, h, direct)[0]
            x[ROW_PITCH], x[ROW_STEP], x[HEIGHT] = h[PITCH], row_target, height
        x[ROWS], x[LANES], x[FULL] = cut.height, lanes, cut.rows - cut.height + 1
        x[PLANES], x[COLUMNS], x[REST] = planes.size, len(columns), len(rest)
        x[WEIGHTS] = planes.size * len(self._order)
        x[PLANES_AT] = len(job) + EXTRA_WORDS
        x[COLUMNS_AT] = x[PLANES_AT] + planes.size
        x[REST_AT] = x[COLUMNS_AT] + len(columns)
        x[ENDS_AT] = job[THREAD_BYTES]
        cells = cut.height * vectors
        x[OUT_AT] = x[ENDS_AT] + -(-8 * cells // 64) * 64
        job[EXTRA_AT], job[THREAD_BYTES] = len(job), x[OUT_AT] + cells * lanes * item
        return np.concatenate([job, x, planes.ravel(), columns, rest])


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
