"""The engine of Winograd convolutions: direct ones whose pixels are tiles of outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from .. import recycling
from ..geometry import ConvGeometry
from ..machine import machine
from . import launch
from .engine import ITEM_SIZES, Correlations
from .job import (
    BLOCK,
    BLOCKS,
    BOX_PIXELS,
    EXTRA_AT,
    LANES,
    LINES,
    T_CACHE,
    T_ITEM_SIZE,
    THREAD_BYTES,
    TRANSFORMED,
    correlation_job,
)
from .lowering import (
    BOX,
    COUNT,
    FIRST,
    GATHERED,
    OFFSETS_AT,
    SPAN,
    STEP,
    TAPS,
    TARGET,
)
from .memory import address_of
from .tiles import tile_height
from .winograd import (
    AT_ONCE,
    COLUMN_STEP,
    COLUMNS,
    DEPTHS_AT,
    EXTRA_WORDS,
    HEIGHT,
    M_AT,
    M_PLANE,
    OUT_AT,
    PRODUCTS,
    ROW_STEP,
    ROWS,
    RUN,
    THREAD,
    U_WORDS,
    V_AT,
    V_PITCH,
    V_PLANE,
    WIDTH,
    ZEROS_AT,
    transform_weights,
    winograd,
)
from .workspace import workspace

# Transformed weights begin with a cache line, as `Emit.stream` wants it.
LINE = 64

# Bytes of the products that are kept before they are transformed back, in level-2 caches.
KEPT_PRODUCTS = 0.5


@register_jitable
def tile_axes(axes: Any, offsets: Any, rows: int, columns: int) -> Any:
    """The axes of a correlation as axes of tiles of `rows` x `columns` outputs; and their offsets.

    `axes` is changed in place. A tile is to the packing what a pixel is: its window has as many
    taps as the tile has inputs.
    """
    total = axes[1, TAPS] + 1
    for a, outputs in ((2, rows), (3, columns)):
        total += outputs + axes[a, TAPS] - 1
    made = np.zeros(total, np.int64)
    at = 1 + axes[1, TAPS]
    made[1:at] = offsets[axes[1, OFFSETS_AT] : axes[1, OFFSETS_AT] + axes[1, TAPS]]
    axes[1, OFFSETS_AT] = 1
    for a, outputs in ((2, rows), (3, columns)):
        axis = axes[a]
        taps = outputs + axis[TAPS] - 1
        axis[COUNT] = -(-axis[COUNT] // outputs)
        axis[STEP] *= outputs
        axis[TAPS], axis[SPAN], axis[OFFSETS_AT] = taps, taps, at
        axis[TARGET] *= outputs
        made[at : at + taps] = axis[FIRST] + np.arange(taps)
        at += taps
    return made


@register_jitable
def winograd_words(job: Any, axes: Any, tile: Any, sizes: Any, item_size: int, cache: int) -> Any:
    """What the kernel needs beside the job; see `winograd`.

    `tile` are the outputs of a tile (rows, columns), `sizes` (height, width, target strides of
    them) of the result.
    """
    x = np.zeros(EXTRA_WORDS, np.int64)
    lanes, block, d = job[LANES], job[BLOCK], axes[1]
    x[ROWS], x[COLUMNS], x[PRODUCTS] = tile[0], tile[1], axes[2, TAPS] * axes[3, TAPS]
    x[HEIGHT], x[WIDTH], x[ROW_STEP], x[COLUMN_STEP] = sizes[0], sizes[1], sizes[2], sizes[3]
    depths = d[TAPS] * d[BOX] if d[GATHERED] else (d[BOX] - 1) * d[STEP] + d[SPAN]
    positions = axes[0, BOX] * depths * axes[2, BOX] * axes[3, BOX]
    tiles = -(-job[BOX_PIXELS] // job[LINES]) * job[LINES]
    x[V_PITCH] = -(-sizes[4] // lanes) * lanes
    if x[V_PITCH] * item_size % 2048 == 0:  # see `job._position_size`
        x[V_PITCH] += 64 // item_size
    x[V_PLANE], x[M_PLANE] = positions * x[V_PITCH], tiles * block
    kept = x[PRODUCTS] * x[M_PLANE] * item_size
    x[AT_ONCE] = max(1, min(cache // kept, job[BLOCKS]))
    x[RUN] = max(1, lanes // tile[1])
    x[DEPTHS_AT] = job[THREAD_BYTES]
    x[ZEROS_AT] = _after(x[DEPTHS_AT], d[TAPS], 8)
    x[OUT_AT] = _after(x[ZEROS_AT], block, item_size)
    x[V_AT] = _after(x[OUT_AT], tile[0] * x[RUN] * tile[1] * block, item_size)
    x[M_AT] = _after(x[V_AT], x[PRODUCTS] * x[V_PLANE] + lanes, item_size)
    x[THREAD] = _after(x[M_AT], x[PRODUCTS] * x[M_PLANE] * x[AT_ONCE], item_size)
    return x


@register_jitable
def _after(start: int, count: int, item_size: int) -> int:
    return start + -(-count * item_size // 64) * 64


class Winograd(Correlations):
    """The forward operation or the input gradient through tiles of `outputs` per filtered axis."""

    def __init__(
        self,
        geometry: ConvGeometry,
        dtype: str,
        operation: str,
        outputs: int,
        activation: str | None = None,
    ) -> None:
        super().__init__(geometry, dtype, operation, TRANSFORMED, activation)
        kernel = (1, *geometry.kernel_size)[-2:]
        self._outputs = tuple(outputs if taps == 3 else 1 for taps in kernel)
        self._kernel = winograd
        self._tile[T_CACHE] *= 64

    def _job(
        self, axes: np.ndarray, offsets: np.ndarray, channels: np.ndarray, items_wanted: int
    ) -> np.ndarray:
        height, width = int(axes[2, COUNT]), int(axes[3, COUNT])
        sizes = (height, width, int(axes[2, TARGET]), int(axes[3, TARGET]), self.sources)
        rows, columns = self._outputs
        offsets = tile_axes(axes, offsets[0], rows, columns)[np.newaxis]
        job = correlation_job(
            axes,
            offsets,
            channels,
            self._tile,
            self.activation,
            items_wanted,
            most_tiles(self.sources, self.targets, self.dtype, (rows, columns)),
            False,
        )
        self._reserve(job, rows * max(columns, int(job[LANES])))
        cache = int(KEPT_PRODUCTS * machine().level2_bytes)
        words = winograd_words(
            job,
            axes,
            np.array([rows, columns]),
            np.array(sizes),
            int(self._tile[T_ITEM_SIZE]),
            cache,
        )
        job[EXTRA_AT], job[THREAD_BYTES] = len(job), words[THREAD]
        return np.concatenate([job, words])

    def weight_words(self) -> tuple[np.ndarray, int, int]:
        """What the transform of weights needs beside its job; products and taps of a tile."""
        rows, columns = self._outputs
        taps = (3 if rows > 1 else 1) * (3 if columns > 1 else 1)
        products = (rows + 2 if rows > 1 else 1) * (columns + 2 if columns > 1 else 1)
        words = np.zeros(U_WORDS, np.int64)
        words[:] = self.sources, rows, columns, products, taps
        return words, products, taps

    def _pack_rows(self, weight: int, jobs: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, int]:
        ((job, size),) = jobs
        words, products, taps = self.weight_words()
        block, blocks = self._block, self._blocks
        threads = launch.thread_count(4 * size)
        packed = recycling.empty((size // taps * products + LINE,), self._zeros.dtype)
        address, each = -(-address_of(packed) // LINE) * LINE, taps * block * packed.itemsize
        # In lines of its own: one that two threads share costs more than the second one brings.
        with workspace(threads * each) as scratch:
            operands = weight, address, scratch, address_of(words)
            launch.run(transform_weights, self.dtype, job, operands, self.groups * blocks, threads)
        return packed, address


def most_tiles(sources: int, targets: int, dtype: str, tile: tuple[int, int]) -> int:
    """Tiles of a box: their transforms should stay in the second-level cache.

    Weights that do not are read once per box, so then boxes are larger.
    """
    cpu, height = machine(), tile_height(machine())
    products = math.prod(m + 2 if m > 1 else 1 for m in tile)
    cell = products * sources * ITEM_SIZES[dtype]
    if cell * targets > 16 * cpu.level2_bytes:
        return 4 * height
    return max(1, cpu.level2_bytes // 2 // cell // height) * height
