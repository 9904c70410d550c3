"""Engines: a geometry bound to one algorithm, ready to run on arrays of any strides.

An engine keeps its jobs by the strides of its arrays, so a repeated call only fills in addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from ..geometry import ConvGeometry
from ..machine import machine
from . import launch
from .direct import correlate
from .gradients import reduce_weight, weight_partials
from .lowering import (
    BLOCKS,
    HEIGHT,
    LANES,
    STEP,
    TAP_COUNT,
    TAPS_AT,
    WIDTH,
    Axis,
    Channels,
    Job,
    box_pixels,
    correlation_job,
    forward_axes,
    phase_axes,
    row_offsets,
)
from .pack import pack_weights
from .tiles import tile_height
from .workspace import workspace

# Jobs of one engine, by strides; more means that somebody walks through views of ever new strides.
MOST_JOBS = 32


class Packed(NamedTuple):
    """Weights as tiles read them, one array per correlation, and the bias in whole blocks."""

    weights: tuple[np.ndarray, ...]
    bias: np.ndarray


def element_strides(x: np.ndarray) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(stride // x.itemsize for stride in x.strides)


class Correlations:
    """The forward operation or the input gradient: one correlation, or one for each phase.

    `operation` is "forward" or "input_gradient"; `pairwise` is the depthwise variant, in which
    every output channel meets one input channel.
    """

    def __init__(
        self,
        geometry: ConvGeometry,
        dtype: str,
        operation: str,
        *,
        pairwise: bool = False,
        activation: int = 0,
    ) -> None:
        self.geometry, self.dtype, self.operation = geometry, dtype, operation
        self.pairwise, self.activation = pairwise, activation
        g = geometry
        self._jobs: dict[tuple, tuple[Job, ...]] = {}
        self._packing: tuple[tuple[int, ...], list[tuple[np.ndarray, int]]] | None = None
        self.multiplier = g.out_channels // g.in_channels if pairwise else 1
        self.groups = 1 if pairwise else g.groups
        forward = operation == "forward"
        ends = (g.in_channels, g.out_channels) if forward else (g.out_channels, g.in_channels)
        self.source_channels, self.target_channels = (n // self.groups for n in ends)
        self._lower: Callable[..., Iterable[tuple[Axis, ...]]] = (
            (lambda *strides: [forward_axes(*strides)]) if forward else phase_axes
        )

    def jobs(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int
    ) -> tuple[Job, ...]:
        """The jobs for arrays of these element strides (N, C, *spatial)."""
        key = (source, target, threads)
        jobs = self._jobs.get(key)
        if jobs is None:
            channels = Channels(
                self.groups,
                self.source_channels,
                self.target_channels,
                source[1],
                target[1],
                self.multiplier,
                self.pairwise,
            )
            jobs = tuple(
                correlation_job(
                    axes,
                    channels,
                    self.dtype,
                    machine(),
                    tile_height(machine()),
                    activation=self.activation,
                    items_wanted=4 * threads if threads > 1 else 1,
                )
                for axes in self._lower(self.geometry, source, target)
            )
            if len(self._jobs) >= MOST_JOBS:
                self._jobs.clear()
            self._jobs[key] = jobs
        return jobs

    def pack(self, weight: np.ndarray, bias: np.ndarray | None) -> Packed:
        """Weights (K, C/groups, *kernel) and bias in the order in which tiles read them."""
        blocks, width, _ = self._blocks()
        padded = np.zeros((self.groups, blocks * width), weight.dtype)
        if bias is not None:
            padded[:, : self.target_channels] = bias.reshape(self.groups, -1)
        packed = []
        for job, size in self._weight_jobs(element_strides(weight)):
            block = np.empty(size, weight.dtype)
            operands = np.array([weight.ctypes.data, block.ctypes.data], np.int64)
            threads = launch.thread_count(size)
            launch.run(pack_weights, self.dtype, job, operands, self.groups * blocks, threads)
            packed.append(block)
        return Packed(tuple(packed), padded)

    def _weight_jobs(self, steps: tuple[int, ...]) -> list[tuple[np.ndarray, int]]:
        """The packing job, for a weight of these strides, and packed size of each correlation."""
        known = self._packing
        if known is not None and known[0] == steps:
            return known[1]
        forward = self.operation == "forward"
        per_group = self.geometry.out_channels // self.groups
        swapped = not (forward or self.pairwise)
        target_step, source_step = (steps[1], steps[0]) if swapped else (steps[0], steps[1])
        rank = self.geometry.rank
        zeros = (0,) * (rank + 2)
        kernel_steps = (0,) * (3 - rank) + steps[2:]
        depth = 1 if self.pairwise else self.source_channels
        blocks, width, lanes = self._blocks()
        jobs = []
        for axes in self._lower(self.geometry, zeros, zeros):
            rows = row_offsets(axes, kernel_steps, depth, source_step)
            numbers = [self.target_channels, blocks, width, lanes, len(rows)]
            words = np.array([*numbers, per_group * steps[0], target_step], np.int64)
            job = np.concatenate([words, rows])
            jobs.append((job, self.groups * blocks * len(rows) * width))
        self._packing = (steps, jobs)
        return jobs

    def _blocks(self) -> tuple[int, int, int]:
        lanes = machine().lanes(self.dtype)
        return -(-self.target_channels // (2 * lanes)), 2 * lanes, lanes

    def run(
        self, source: np.ndarray, packed: Packed, target: np.ndarray, threads: int | None
    ) -> None:
        """Fill `target`; both arrays (N, C, *spatial) of the compute dtype, any strides."""
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        jobs = self.jobs(element_strides(source), element_strides(target), count)
        origin, goal = source.ctypes.data, target.ctypes.data
        with workspace(count * max(job.thread_bytes for job in jobs)) as work:
            for job, weights in zip(jobs, packed.weights):
                start = goal + job.start * target.itemsize
                addresses = [origin, weights.ctypes.data, packed.bias.ctypes.data, start, work]
                operands = np.array(addresses, np.int64)
                launch.run(correlate, self.dtype, job.words, operands, job.items, count)

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays."""
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        return count * max(job.thread_bytes for job in self.jobs(source, target, count))


class WeightGradient:
    """The weight gradient: partial matrices from chunks of pixels, then their sum."""

    # Chunks times blocks to share among threads. A constant: the bits must not depend on the
    # threads.
    ITEMS = 16
    # Pixels of a box: their packed gradient should stay in the first-level cache.
    MOST_PIXELS = 512

    def __init__(self, geometry: ConvGeometry, dtype: str) -> None:
        self.geometry, self.dtype = geometry, dtype
        self._jobs: dict[tuple, tuple[Job, np.ndarray]] = {}

    def _job(self, x: tuple[int, ...], gradient: tuple[int, ...]) -> tuple[Job, np.ndarray]:
        """The job of the forward geometry, and the words of the gradient: see `gradients`."""
        found = self._jobs.get((x, gradient))
        if found is not None:
            return found
        g = self.geometry
        channels = Channels(
            g.groups, g.in_channels // g.groups, g.out_channels // g.groups, x[1], gradient[1]
        )
        job = correlation_job(
            forward_axes(g, x, gradient),
            channels,
            self.dtype,
            machine(),
            tile_height(machine()),
            items_wanted=self.ITEMS,
            most_pixels=self.MOST_PIXELS,
            keep_taps=True,
        )
        words = job.words
        taps = words[words[TAPS_AT] : words[TAPS_AT] + words[TAP_COUNT]]
        rows = (taps[:, None] + words[STEP] * np.arange(channels.source)[None, :]).ravel()
        height = int(words[HEIGHT])
        padded = -(-len(rows) // height) * height
        rows = np.pad(rows, (0, padded - len(rows)), mode="edge")
        blocks = g.groups * int(words[BLOCKS])
        boxes = job.items // blocks
        chunks = min(boxes, -(-self.ITEMS // blocks))
        extra = np.concatenate([[len(taps) * channels.source, padded, chunks, boxes], rows])
        if len(self._jobs) >= MOST_JOBS:
            self._jobs.clear()
        self._jobs[x, gradient] = job, extra
        return job, extra

    def pack(self, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        """The operand beside x is the output gradient, read in place."""
        return weight

    def run(
        self, x: np.ndarray, gradient: np.ndarray, weight: np.ndarray, threads: int | None
    ) -> None:
        """weight (K, C/groups, *kernel) from x (N, C, *spatial) and gradient (N, K, *spatial)."""
        g = self.geometry
        count = launch.thread_count(g.multiply_adds, threads)
        job, extra = self._job(element_strides(x), element_strides(gradient))
        rows, padded, chunks = (int(n) for n in extra[:3])
        blocks, width = int(job.words[BLOCKS]), int(job.words[WIDTH])
        items = g.groups * chunks * blocks
        item_bytes = padded * width * weight.itemsize
        box_bytes = box_pixels(job) * width * weight.itemsize
        zeros = np.zeros(width, weight.dtype)
        sizes = [count * job.thread_bytes, count * box_bytes, items * item_bytes]
        with workspace(sum(sizes)) as work:
            packed, partials = work + sizes[0], work + sizes[0] + sizes[1]
            addresses = [x.ctypes.data, gradient.ctypes.data, partials, zeros.ctypes.data]
            operands = np.array([*addresses, work, packed, extra.ctypes.data], np.int64)
            launch.run(weight_partials, self.dtype, job.words, operands, items, count)
            steps = element_strides(weight)
            kernel_steps = (0,) * (3 - g.rank) + steps[2:]
            zero = (0,) * (g.rank + 2)
            offsets = row_offsets(
                forward_axes(g, zero, zero), kernel_steps, g.in_channels // g.groups, steps[1]
            )
            per_group = g.out_channels // g.groups
            numbers = [per_group, blocks, width, int(job.words[LANES]), rows, padded, chunks]
            words = np.array([*numbers, per_group * steps[0], steps[0]], np.int64)
            operands = np.array([partials, weight.ctypes.data], np.int64)
            reduction = np.concatenate([words, offsets])
            launch.run(reduce_weight, self.dtype, reduction, operands, g.groups * blocks, count)

    def workspace_bytes(
        self, x: tuple[int, ...], gradient: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays."""
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        job, extra = self._job(x, gradient)
        width = int(job.words[WIDTH]) * (4 if self.dtype == "float32" else 8)
        items = self.geometry.groups * int(extra[2]) * int(job.words[BLOCKS])
        return count * (job.thread_bytes + box_pixels(job) * width) + items * int(extra[1]) * width
