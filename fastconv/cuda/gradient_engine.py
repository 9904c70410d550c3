"""The engine of the weight gradient: partial products of chunks of pixels, then their sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..cpu.lowering import geometry_words
from ..geometry import ConvGeometry
from . import gradients
from .activation import COMPUTE
from .arrays import DeviceArray, empty, is_channels_last, zeros
from .engine import MOST_JOBS, batches, element_strides
from .job import CHUNK, PIXELS, Job, job_numbers, make_job
from .launch import blocks_for
from .lowering import NEAR, correlations, weight_rows
from .machine import gpu
from .memory import Table
from .tiles import choose_tile

# Chunks at most; and slabs of pixels, or pixels of a narrow problem, at least in each.
MOST_CHUNKS, LEAST_SLABS, LEAST_PIXELS = 128, 8, 4096


class WeightGradient:
    """dw (K, C/groups, *kernel) from x (N, C, *spatial) and dy (N, K, *spatial)."""

    def __init__(self, geometry: ConvGeometry, dtype: str, narrow: bool = False) -> None:
        self.geometry, self.dtype, self.compute = geometry, dtype, COMPUTE[dtype]
        self.narrow = narrow
        g = geometry
        self.sources, self.targets = g.in_channels // g.groups, g.out_channels // g.groups
        self.rows = self.sources * math.prod(g.kernel_size)
        pixels = g.batch * math.prod(g.out_size)
        self.tile = choose_tile(self.compute, self.rows, self.targets, pixels, g.groups, gpu())
        self._words = geometry_words(geometry)
        self._jobs: dict[tuple[Any, ...], tuple[Job, int]] = {}
        self._reductions: dict[tuple[int, ...], Table] = {}

    def _filled(self) -> tuple[int, int]:
        """Rows and channels of a partial matrix, whole tiles of them."""
        if self.narrow:
            return self.rows, self.targets
        height, width = self.tile.pixels, self.tile.channels
        return -(-self.rows // height) * height, -(-self.targets // width) * width

    def _chunks(self, pixels: int) -> tuple[int, int]:
        """How many chunks, and slabs (narrow: pixels) of each, keep the device busy."""
        if self.narrow:
            count = max(min(pixels // LEAST_PIXELS, MOST_CHUNKS), 1)
            each = -(-pixels // count)
        else:
            slabs = -(-pixels // self.tile.depth)
            height, width = self._filled()
            blocks = height // self.tile.pixels * (width // self.tile.channels)
            wanted = -(-4 * gpu().processors // (blocks * self.geometry.groups))
            count = max(min(wanted, slabs // LEAST_SLABS, MOST_CHUNKS), 1)
            each = -(-slabs // count)
            pixels = slabs
        return -(-pixels // each), each

    def _job(self, x: DeviceArray, dy: DeviceArray, far: bool) -> tuple[Job, int]:
        strides = element_strides(x), element_strides(dy)
        key = (*strides, x.shape[0], far)
        known = self._jobs.get(key)
        if known is None:
            words = self._words.copy()
            words[0] = x.shape[0]
            (c,) = correlations(words, True, *strides, far)
            width = self._filled()[1]
            host, where = job_numbers(
                c,
                (self.sources, self.targets),
                (strides[0][1], strides[1][1]),
                depth=1,
                pitch=width,
                tiles=1 if self.narrow else width // self.tile.channels,
                far=far,
            )
            chunks, host[CHUNK] = self._chunks(int(host[PIXELS]))
            if len(self._jobs) >= MOST_JOBS:
                self._jobs.clear()
            known = self._jobs[key] = make_job(host, where), chunks
        return known

    def pack(self, gradient: DeviceArray, bias: Any) -> DeviceArray:
        """The operand beside x is the output gradient, read in place."""
        return gradient

    def run(
        self, x: DeviceArray, gradient: DeviceArray, weight: DeviceArray, threads: Any = None
    ) -> None:
        """Fill `weight`, whose strides are free; all arrays of the engine's dtype."""
        far = max(x.reach_bytes, gradient.reach_bytes) // x.itemsize >= NEAR
        count = batches(self.geometry, math.prod(self.geometry.out_size))
        parts = [slice(first, first + count) for first in range(0, x.shape[0], count)]
        jobs = [self._job(x[part], gradient[part], far) for part in parts]
        if not jobs:
            weight[...] = zeros(weight.shape, weight.dtype)
            return
        height, width = self._filled()
        groups = self.geometry.groups
        total = sum(chunks for _, chunks in jobs)
        partials = empty((total, groups, height, width), self.compute)
        done = 0
        for part, (job, chunks) in zip(parts, jobs):
            operands = (x[part], gradient[part], partials[done : done + chunks], job.words)
            done += chunks
            if self.narrow:
                channels = groups * self.targets
                kernel = gradients.narrow_partials(self.dtype, far)
                kernel((channels * self.rows, chunks), *operands, job.where, channels)
            else:
                kernel = gradients.weight_partials(self.dtype, self.tile, is_channels_last(x), far)
                blocks = height // self.tile.pixels * (width // self.tile.channels)
                kernel((blocks, groups, chunks), *operands, job.where)
        self._reduce(partials, weight, total)

    def _reduce(self, partials: DeviceArray, weight: DeviceArray, chunks: int) -> None:
        steps = element_strides(weight)
        key = (chunks, *steps)
        job = self._reductions.get(key)
        if job is None:
            (rows,) = weight_rows(self._words, True, steps, self.sources, steps[1])
            height, width = self._filled()
            words = [chunks, self.rows, height, self.targets, width, self.geometry.groups]
            words += [self.targets * steps[0], steps[0]]
            if len(self._reductions) >= MOST_JOBS:
                self._reductions.clear()
            job = Table(np.concatenate([np.array(words, np.int64), rows]))
            self._reductions[key] = job
        kernel = gradients.reduce_weight(self.dtype)
        kernel(blocks_for(weight.size), partials, weight, job, weight.size)

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes of the partial matrices."""
        g = self.geometry
        chunks, _ = self._chunks(g.batch * math.prod(g.out_size))
        return chunks * g.groups * math.prod(self._filled()) * np.dtype(self.compute).itemsize
