"""The weight gradient as an engine: partial matrices from chunks of pixels, then their sum."""

from __future__ import annotations

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
    LANES,
    LINES,
    OUTER,
    TAP_COUNT,
    TAPS_AT,
    THREAD_BYTES,
    correlation_job,
)
from .lowering import forward_axes, geometry_words, lifted_strides, row_offsets
from .memory import address_of
from .pack import fill_box
from .workspace import workspace


class WeightGradient:
    """The weight gradient: partial matrices from chunks of pixels, then their sum."""

    # Chunks times blocks to share among threads. A constant: the bits must not depend on threads.
    ITEMS = 16
    # Pixels of a box: their packed gradient should stay in the first-level cache.
    MOST_PIXELS = 512

    def __init__(self, geometry: ConvGeometry, dtype: str) -> None:
        self.geometry, self.dtype = geometry, dtype
        self.sources = geometry.in_channels // geometry.groups
        self.targets = geometry.out_channels // geometry.groups
        self._words = geometry_words(geometry)
        self._tile = tile_words(OUTER, dtype, self.targets)
        self._jobs: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
        self._reductions: tuple[tuple[Any, ...], np.ndarray] | None = None

    def _job(self, x: tuple[int, ...], gradient: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The job of the forward geometry, and the words of the gradient: see `gradients`."""
        known = self._jobs.get((x, gradient))
        if known is not None:
            return known
        groups = self.geometry.groups
        channels = np.array([groups, self.sources, self.targets, x[1], gradient[1], 1], np.int64)
        axes, offsets, _, _ = forward_axes(self._words, lifted_strides(x), lifted_strides(gradient))
        job = correlation_job(
            axes, offsets, channels, self._tile, 0, self.ITEMS, self.MOST_PIXELS, False
        )
        job[ENTER] = fill_box.address(self.dtype)
        taps = job[job[TAPS_AT] : job[TAPS_AT] + job[TAP_COUNT]]
        rows = (taps[:, None] + job[DEPTH_STEP] * np.arange(self.sources)[None, :]).ravel()
        height = int(job[LINES])
        padded = -(-len(rows) // height) * height
        chunks = min(int(job[BOX_COUNT]), -(-self.ITEMS // (groups * int(job[BLOCKS]))))
        extra = [len(rows), padded, chunks, int(job[BOX_COUNT])]
        rows = np.pad(rows, (0, padded - len(rows)), mode="edge")
        made = job, np.concatenate([np.array(extra, np.int64), rows])
        if len(self._jobs) >= MOST_JOBS:
            self._jobs.clear()
        self._jobs[x, gradient] = made  # not read again: another thread may clear it
        return made

    def pack(self, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        """The operand beside x is the output gradient, read in place."""
        return weight

    def run(
        self, x: np.ndarray, gradient: np.ndarray, weight: np.ndarray, threads: int | None
    ) -> None:
        """weight (K, C/groups, *kernel) from x (N, C, *spatial) and gradient (N, K, *spatial)."""
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        job, extra = self._job(element_strides(x), element_strides(gradient))
        sizes = self._sizes(job, extra, count)
        zeros = np.zeros(int(job[BLOCK]), weight.dtype)
        items = self.geometry.groups * int(extra[2]) * int(job[BLOCKS])
        with workspace(sum(sizes)) as work:
            packed, partials = work + sizes[0], work + sizes[0] + sizes[1]
            operands: tuple[int, ...] = (
                address_of(x),
                address_of(gradient),
                partials,
                address_of(zeros),
                work,
                packed,
                address_of(extra),
            )
            launch.run(weight_partials, self.dtype, job, operands, items, count)
            operands = partials, address_of(weight)
            reduction = self._reduction(element_strides(weight), job, extra)
            blocks = self.geometry.groups * int(job[BLOCKS])
            launch.run(reduce_weight, self.dtype, reduction, operands, blocks, count)

    def _reduction(self, steps: tuple[int, ...], job: np.ndarray, extra: np.ndarray) -> np.ndarray:
        """The job that adds the partial matrices into a weight of these strides."""
        key = (steps, *extra[:3].tolist())
        known = self._reductions
        if known is not None and known[0] == key:
            return known[1]
        lifted = lifted_strides(steps)
        axes, _, places, _ = forward_axes(self._words, lifted, lifted)
        offsets = row_offsets(axes, places, lifted[2:], self.sources, lifted[1])
        words = [self.targets, job[BLOCKS], job[BLOCK], job[LANES], *extra[:3]]
        words += [self.targets * lifted[0], lifted[0]]
        reduction = np.concatenate([np.array(words, np.int64), offsets])
        self._reductions = (key, reduction)
        return reduction

    def _sizes(self, job: np.ndarray, extra: np.ndarray, threads: int) -> list[int]:
        """Bytes of the threads' windows, their packed gradients, and all partial matrices."""
        row = int(job[BLOCK]) * ITEM_SIZES[self.dtype]
        items = self.geometry.groups * int(extra[2]) * int(job[BLOCKS])
        window, pixels = int(job[THREAD_BYTES]), int(job[BOX_PIXELS])
        return [threads * window, threads * pixels * row, items * int(extra[1]) * row]

    def workspace_bytes(
        self, x: tuple[int, ...], gradient: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays."""
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        return sum(self._sizes(*self._job(x, gradient), count))
