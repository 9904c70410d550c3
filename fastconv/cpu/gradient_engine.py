"""The weight gradient as an engine: partial matrices from chunks of pixels, then their sum."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from ..geometry import ConvGeometry
from . import launch
from .engine import ITEM_SIZES, MOST_JOBS, element_strides, tile_words
from .gradients import reduce_weight, weight_partials
from .job import (
    BLOCK,
    BLOCKS,
    BOX_COUNT,
    BOX_PIXELS,
    DEPTH_STEP,
    ENTER,
    HEADER,
    LANES,
    LINES,
    OUTER,
    PAIRWISE,
    PLANAR,
    T_BLOCK,
    TAP_COUNT,
    TAPS_AT,
    THREAD_BYTES,
    correlation_job,
)
from .lowering import AXIS_WORDS, BOX, forward_axes, geometry_words, lifted_strides, row_offsets
from .memory import address_of
from .pack import fill_box
from .planar_gradients import planar_partials, reduce_planar
from .tiles import TAP_ROWS
from .workspace import workspace

# Parts times spans times chunks to share among threads. A constant: the bits must not depend on the
# number of threads.
ITEMS = 16
# Pixels of a box: their packed gradient should stay in the first-level cache.
MOST_PIXELS = 256
MOST_PLANAR_PIXELS = 1024
# Rows of a slab of the reduction.
SLAB = 512


def channel_parts(channels: int, taps: int) -> int:
    """Parts that input channels are cut into: windows of many pixels should fit the cache.

    All parts are alike; channels that have no fitting divisor are not cut.
    """
    most = 256 if taps == 1 else 128
    for parts in range(-(-channels // most), channels // 32 + 1):
        if channels % parts == 0:
            return parts
    return 1


class WeightGradient:
    """The weight gradient: partial matrices from chunks of pixels, then their sum.

    `form` is that of the tiles: OUTER, PAIRWISE for a depthwise convolution, or PLANAR.
    """

    def __init__(self, geometry: ConvGeometry, dtype: str, form: int) -> None:
        self.geometry, self.dtype, self.form = geometry, dtype, form
        g, taps = geometry, math.prod(geometry.kernel_size)
        # A depthwise convolution is one group whose channels do not mix.
        self.groups = 1 if form == PAIRWISE else g.groups
        self.multiplier = g.out_channels // g.in_channels if form == PAIRWISE else 1
        self.targets = g.out_channels // self.groups
        sources = g.in_channels // g.groups
        self.parts = channel_parts(sources, taps) if form == OUTER else 1
        self.sources = sources // self.parts  # rows of one tap
        self._words = geometry_words(geometry)
        self._tile = tile_words(form, dtype, self.targets, gradient=True)
        planar = form == PLANAR
        self._kernels = (
            (planar_partials, reduce_planar) if planar else (weight_partials, reduce_weight)
        )
        self._jobs: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
        self._reductions: tuple[tuple[Any, ...], tuple[np.ndarray, int]] | None = None

    def _job(self, x: tuple[int, ...], gradient: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The job of the forward geometry, and the words of the gradient: see `gradients`."""
        known = self._jobs.get((x, gradient))
        if known is not None:
            return known
        groups, g = self.groups * self.parts, self.geometry
        depth = g.in_channels if self.form == PAIRWISE else self.sources
        channels = np.array(
            [groups, depth, self.targets, x[1], gradient[1], self.multiplier], np.int64
        )
        axes, offsets, _, _ = forward_axes(self._words, lifted_strides(x), lifted_strides(gradient))
        blocks = -(-self.targets // int(self._tile[T_BLOCK]))
        wanted = max(1, ITEMS // groups)
        spans = 1 if self.form == PLANAR else self._spans(min(blocks, wanted), wanted)
        wanted = -(-wanted // spans)
        most = MOST_PLANAR_PIXELS if self.form == PLANAR else MOST_PIXELS
        items, phase = wanted * groups * blocks, offsets[np.newaxis]
        job = correlation_job(axes, phase, channels, self._tile, 0, items, most, False)
        job[ENTER] = fill_box.address(self.dtype)
        taps = job[job[TAPS_AT] : job[TAPS_AT] + job[TAP_COUNT]]
        rows = (taps[:, None] + job[DEPTH_STEP] * np.arange(self.sources)[None, :]).ravel()
        rows = rows[self._order()]
        height = TAP_ROWS if self.form == PAIRWISE else int(job[LINES])
        padded = -(-len(rows) // height) * height
        boxes = int(job[BOX_COUNT])
        chunks = min(boxes, wanted)
        extra = [len(rows), padded, chunks, boxes, self.parts, spans, height, self._share(job)]
        rows = np.pad(rows, (0, padded - len(rows)), mode="edge")
        made = job, np.concatenate([np.array(extra, np.int64), rows])
        if len(self._jobs) >= MOST_JOBS:
            self._jobs.clear()
        self._jobs[x, gradient] = made  # not read again: another thread may clear it
        return made

    def _spans(self, most: int, wanted: int) -> int:
        """Spans of columns: each fills the windows anew, fewer chunks have fewer sums to move."""
        window = math.prod(self.geometry.input_shape)
        sums = math.prod(self.geometry.weight_shape)
        return min(range(1, most + 1), key=lambda n: n * window + -(-wanted // n) * sums)

    def _order(self) -> np.ndarray:
        """Rows (tap, channel) in the order (channel, tap), in which a weight has them."""
        taps = math.prod(self.geometry.kernel_size)
        return np.arange(taps * self.sources).reshape(taps, self.sources).T.ravel()

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> np.ndarray:
        """The operand beside x is the output gradient, read in place."""
        return weight

    def run(
        self, x: np.ndarray, gradient: np.ndarray, weight: np.ndarray, threads: int | None
    ) -> None:
        """weight (K, C/groups, *kernel) from x (N, C, *spatial) and gradient (N, K, *spatial).

        `engine_steps` notes the same launches.
        """
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        job, extra = self._job(element_strides(x), element_strides(gradient))
        sizes = self._sizes(job, extra, count)
        zeros = np.zeros(max(int(job[BLOCK]), int(job[LANES])), weight.dtype)
        items = self.groups * self.parts * int(extra[2]) * int(extra[5])
        with workspace(sum(sizes)) as nan:
            _, work, packed, partials = (nan + sum(sizes[:i]) for i in range(4))
            operands: tuple[int, ...] = (
                address_of(x),
                address_of(gradient),
                partials,
                address_of(zeros),
                work,
                packed,
                address_of(extra),
                nan,
            )
            launch.run(self._kernels[0], self.dtype, job, operands, items, count)
            operands = partials, address_of(weight), nan
            reduction, items = self._reduction(element_strides(weight), job, extra)
            launch.run(self._kernels[1], self.dtype, reduction, operands, items, count)
            anew = self.anew() if ctypes.c_int64.from_address(nan).value else None
        if anew is not None:
            anew.run(x, gradient, weight, threads)

    def anew(self) -> WeightGradient | None:
        """The engine that does the work again where sums are NaN, see `planar_gradients`."""
        return WeightGradient(self.geometry, self.dtype, OUTER) if self.form == PLANAR else None

    def _reduction(
        self, steps: tuple[int, ...], job: np.ndarray, extra: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """The job that adds the partial matrices into a weight of these strides, and its items."""
        key = (steps, *extra[:3].tolist())
        known = self._reductions
        if known is not None and known[0] == key:
            return known[1]
        lifted = lifted_strides(steps)
        axes, _, places, _ = forward_axes(self._words, lifted, lifted)
        offsets = row_offsets(axes, places, lifted[2:], self.sources, lifted[1])[self._order()]
        slabs = 1 if self.form == PLANAR else -(-len(offsets) // SLAB)
        words = [self.targets, job[BLOCKS], job[BLOCK], job[LANES], *extra[:3], self.parts, slabs]
        words += [self.targets * lifted[0], self.sources * lifted[1], lifted[0]]
        reduction = np.concatenate([np.array(words, np.int64), offsets])
        items = self.groups * self.parts * int(job[BLOCKS]) * slabs
        self._reductions = (key, (reduction, items))
        return reduction, items

    def _sizes(self, job: np.ndarray, extra: np.ndarray, threads: int) -> list[int]:
        """Bytes of a word, the threads' windows, their packed gradients, all partial matrices."""
        element = int(job[BLOCK]) * ITEM_SIZES[self.dtype]
        if self.form == PLANAR:
            element *= int(job[LANES])
        matrices = self.groups * self.parts * int(extra[2]) * int(job[BLOCKS])
        sizes = threads * int(job[THREAD_BYTES]), threads * int(extra[7])
        return [64, *sizes, matrices * int(extra[1]) * element]

    def _share(self, job: np.ndarray) -> int:
        """Bytes of the packed gradient of a box; in planar form rows are filled up to vectors."""
        pixels, size = int(job[BOX_PIXELS]), int(job[BLOCK]) * ITEM_SIZES[self.dtype]
        if self.form != PLANAR:
            return pixels * size
        row, lanes = int(job[HEADER + 3 * AXIS_WORDS + BOX]), int(job[LANES])
        return pixels // row * -(-row // lanes) * lanes * size

    def workspace_bytes(
        self, x: tuple[int, ...], gradient: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays."""
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        return sum(self._sizes(*self._job(x, gradient), count))
