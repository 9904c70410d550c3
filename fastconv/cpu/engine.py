"""Engines: a geometry bound to one algorithm, ready to run on arrays of any strides.

An engine keeps its jobs by the strides of its arrays, so a repeated call only fills in addresses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import recycling
from ..geometry import ConvGeometry
from ..machine import machine
from . import launch
from .activation import activation_address
from .direct import correlate
from .job import (
    ENTER,
    ITEMS,
    MOST_PIXELS,
    PAIRWISE,
    PLANAR,
    T_BLOCK,
    THREAD_BYTES,
    correlation_job,
)
from .lowering import (
    forward_axes,
    geometry_words,
    lifted_strides,
    phase_axes,
    phase_total,
    reached_phases,
    row_offsets,
)
from .memory import address_of
from .pack import fill_box, pack_weights
from .planar import correlate_planar
from .tiles import planar_vectors, tile_height
from .workspace import workspace

# Jobs of one engine, by strides; more means that somebody walks through views of ever new strides.
MOST_JOBS = 32

ITEM_SIZES = {"float32": 4, "float64": 8, "int64": 8}


class Packed(NamedTuple):
    """Weights as tiles read them, one array per correlation, and the bias in whole blocks.

    If `plain`, there is neither bias nor activation: what no weight reaches is zero.
    """

    weights: tuple[np.ndarray, ...]
    bias: np.ndarray
    plain: bool
    addresses: tuple[int, ...]  # of the weights, then of the bias: NumPy takes a microsecond each


class Launch(NamedTuple):
    """A job, the element of the target at which its first output lies, and numbers out of it."""

    job: np.ndarray
    start: int
    items: int
    thread_bytes: int


def element_strides(x: np.ndarray) -> tuple[int, ...]:
    """Strides in elements."""
    size = x.itemsize
    return tuple([stride // size for stride in x.strides])


def planar_block(targets: int) -> int:
    """Output channels of a planar tile: the fewest that stay empty."""
    if targets == 1:
        return 1
    return 6 if -(-targets // 6) * 6 <= -(-targets // 8) * 8 else 8


def tile_words(form: int, dtype: str, targets: int) -> np.ndarray:
    """The tile of a form on this machine, for so many output channels of a group."""
    cpu = machine()
    lanes = cpu.lanes(dtype)
    if form == PLANAR:
        block = planar_block(targets)
        lines = planar_vectors(cpu, block)
    else:
        block, lines = 2 * lanes, tile_height(cpu)
    words = [form, ITEM_SIZES[dtype], lanes, lines, block, cpu.level2_bytes]
    return np.array(words, np.int64)


class Correlations:
    """The forward operation or the input gradient: one correlation, or one for each phase.

    `operation` is "forward" or "input_gradient"; `form` is that of the tiles, see `job`.
    """

    def __init__(
        self,
        geometry: ConvGeometry,
        dtype: str,
        operation: str,
        form: int,
        activation: str | None = None,
    ) -> None:
        self.geometry, self.dtype, self.form = geometry, dtype, form
        self.activation = activation_address(activation, dtype)
        self.forward = operation == "forward"
        self._words = geometry_words(geometry)
        self._jobs: dict[tuple, tuple[Launch, ...]] = {}
        self._packing: tuple[tuple[Any, ...], list[tuple[np.ndarray, int]]] | None = None
        g = geometry
        # A depthwise convolution is one group whose channels do not mix.
        self.multiplier = g.out_channels // g.in_channels if form == PAIRWISE else 1
        self.groups = 1 if form == PAIRWISE else g.groups
        ends = (g.in_channels, g.out_channels)
        sources, targets = ends if self.forward else ends[::-1]
        self.sources, self.targets = sources // self.groups, targets // self.groups
        self._tile = tile_words(form, dtype, self.targets)
        self._kernel = correlate_planar if form == PLANAR else correlate

    def _lower(self, source: np.ndarray, target: np.ndarray, plain: bool) -> list[Any]:
        """(axes, offsets, places, start) of each correlation, for these lifted strides.

        If `plain`, without the phases that no weight reaches.
        """
        words = self._words
        if self.forward:
            return [forward_axes(words, source, target)]
        phases = reached_phases(words) if plain else range(phase_total(words))
        return [phase_axes(words, source, target, int(phase)) for phase in phases]

    def launches(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int, plain: bool
    ) -> tuple[Launch, ...]:
        """What to launch for arrays of these strides (N, C, *spatial); `plain` as packed."""
        key = (source, target, threads, plain)
        known = self._jobs.get(key)
        if known is not None:
            return known
        channels = np.array(
            [self.groups, self.sources, self.targets, source[1], target[1], self.multiplier],
            np.int64,
        )
        wanted = 4 * threads if threads > 1 else 1
        made = []
        strides = lifted_strides(source), lifted_strides(target)
        for axes, offsets, _, start in self._lower(*strides, plain):
            job = self._job(axes, offsets, channels, wanted)
            job[ENTER] = fill_box.address(self.dtype)
            made.append(Launch(job, int(start), int(job[ITEMS]), int(job[THREAD_BYTES])))
        if len(self._jobs) >= MOST_JOBS:
            self._jobs.clear()
        launches = self._jobs[key] = tuple(made)  # not read again: another thread may clear it
        return launches

    def _job(
        self, axes: np.ndarray, offsets: np.ndarray, channels: np.ndarray, items_wanted: int
    ) -> np.ndarray:
        """The job of one correlation."""
        return correlation_job(
            axes, offsets, channels, self._tile, self.activation, items_wanted, MOST_PIXELS, True
        )

    def pack(self, weight: np.ndarray, bias: np.ndarray | None) -> Packed:
        """Weights (K, C/groups, *kernel) and bias in the order in which tiles read them."""
        block, blocks = self._blocks()
        padded = np.zeros((self.groups, blocks * block), weight.dtype)
        if bias is not None:
            padded[:, : self.targets] = bias.reshape(self.groups, -1)
        packed, addresses = [], []
        plain = bias is None and not self.activation
        for job, size in self._weight_jobs(element_strides(weight), plain):
            rows = self._pack_rows(weight, job, size)
            packed.append(rows)
            addresses.append(address_of(rows))
        return Packed(tuple(packed), padded, plain, (*addresses, address_of(padded)))

    def _pack_rows(self, weight: np.ndarray, job: np.ndarray, size: int) -> np.ndarray:
        """The weights of one correlation as tile rows."""
        rows = recycling.empty((size,), weight.dtype)
        operands = address_of(weight), address_of(rows)
        items = self.groups * self._blocks()[1]
        launch.run(pack_weights, self.dtype, job, operands, items, launch.thread_count(size))
        return rows

    def _weight_jobs(self, steps: tuple[int, ...], plain: bool) -> list[tuple[np.ndarray, int]]:
        """The packing job, for a weight of these strides, and packed size of each correlation."""
        known = self._packing
        if known is not None and known[0] == (steps, plain):
            return known[1]
        lifted = lifted_strides(steps)
        swapped = not (self.forward or self.form == PAIRWISE)
        target_step, source_step = lifted[[1, 0]] if swapped else lifted[:2]
        group_step = self.geometry.out_channels // self.groups * lifted[0]
        depth = 1 if self.form == PAIRWISE else self.sources
        block, blocks = self._blocks()
        lanes = block if self.form == PLANAR else machine().lanes(self.dtype)
        jobs = []
        for axes, _, places, _ in self._lower(lifted, lifted, plain):
            rows = row_offsets(axes, places, lifted[2:], depth, source_step)
            words = [self.targets, blocks, block, lanes, len(rows), group_step, target_step]
            order = np.argsort(rows, kind="stable")
            beyond = np.zeros(machine().lanes(self.dtype), np.int64)
            job = np.concatenate([np.array(words, np.int64), rows, rows[order], order, beyond])
            jobs.append((job, self.groups * blocks * len(rows) * block))
        self._packing = ((steps, plain), jobs)
        return jobs

    def _blocks(self) -> tuple[int, int]:
        """Output channels of a block, and blocks of a group."""
        block = int(self._tile[T_BLOCK])
        return block, -(-self.targets // block)

    def run(
        self, source: np.ndarray, packed: Packed, target: np.ndarray, threads: int | None
    ) -> None:
        """Fill `target`; both arrays (N, C, *spatial) of the compute dtype, any strides."""
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        strides = element_strides(source), element_strides(target)
        launches = self.launches(*strides, count, packed.plain)
        if not self.forward and packed.plain and len(launches) < phase_total(self._words):
            target[...] = 0
            if not launches:
                return
        origin, goal = address_of(source), address_of(target)
        *weights, bias = packed.addresses
        with workspace(count * max(one.thread_bytes for one in launches)) as work:
            for one, weight in zip(launches, weights):
                start = goal + one.start * target.itemsize
                operands = origin, weight, bias, start, work
                launch.run(self._kernel, self.dtype, one.job, operands, one.items, count)

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays."""
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        launches = self.launches(source, target, count, False)
        return count * max(one.thread_bytes for one in launches)
