"""Engines: a geometry bound to one algorithm, ready to run on arrays of any strides.

An engine keeps its jobs by the strides of its arrays, so a repeated call only fills in addresses.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import recycling
from ..geometry import ConvGeometry
from ..machine import machine
from . import launch
from .activation import CLIPS, activation_address
from .direct import correlate
from .emit import KEEP
from .epilogue import reserve
from .fused import Fused
from .job import (
    ACTIVATION,
    BLOCK_SIZE,
    BOX_COUNT,
    BOX_PIXELS,
    CLIP,
    DIRECT,
    ENTER,
    ITEMS,
    MOST_PIXELS,
    OUTER,
    PACK,
    PACKED_AT,
    PAIRWISE,
    PLANAR,
    SUM_LINES,
    T_BLOCK,
    T_CACHE,
    THREAD_BYTES,
    correlation_job,
)
from .lowering import (
    FIRST,
    SPAN,
    forward_axes,
    geometry_words,
    lifted_strides,
    phase_axes,
    phase_total,
    reached_phases,
    row_offsets,
)
from .memory import address_of
from .pack import fill_box
from .pack_weights import pack_weights
from .phases import Launch, Phase, launch_of
from .planar import correlate_planar
from .tiles import even_block, planar_vectors, product_rows, tile_height
from .workspace import workspace

# Jobs of one engine, by strides; more means that somebody walks through views of ever new strides.
MOST_JOBS = 32

ITEM_SIZES = {"float32": 4, "float64": 8, "int64": 8}


class Packed(NamedTuple):
    """Weights as tiles read them, one correlation after the other, and the bias in whole blocks.

    Or weights as they are, with the jobs by which kernels pack them a block at a time, and of
    several a table. If `plain`, there is neither bias nor activation nor epilogue: what no weight
    reaches is zero.
    """

    kept: tuple[np.ndarray, ...]
    plain: bool
    weights: int  # addresses
    bias: int
    packing: int = 0  # of the one job by which the kernel packs weights, or of the table
    parameters: np.ndarray | None = None  # the table of the epilogue's, see `epilogue`


class Unpacked(NamedTuple):
    """Weights and bias for a single run, which packs them where that is best."""

    weight: np.ndarray
    bias: np.ndarray | None


def element_strides(x: np.ndarray) -> tuple[int, ...]:
    """Strides in elements."""
    size = x.itemsize
    return tuple([stride // size for stride in x.strides])


def planar_tile(targets: int, gradient: bool = False) -> tuple[int, int]:
    """Output channels of a planar tile, so that few stay empty, and its vectors of pixels.

    Of a weight gradient instead of vectors the rows of the gradient.
    """
    cpu = machine()
    even = 8 if gradient else even_block(cpu)
    block = 6 if -(-targets // 6) * 6 <= -(-targets // even) * even else even
    if targets == 1:
        block = 1
    return block, product_rows(cpu, block) if gradient else planar_vectors(cpu, block)


def tile_words(form: int, dtype: str, targets: int, gradient: bool = False) -> np.ndarray:
    """The tile of a form on this machine, for so many output channels of a group.

    A weight `gradient` may have another than the sums that go forward.
    """
    cpu = machine()
    lanes = cpu.lanes(dtype)
    if form == PLANAR:
        block, lines = planar_tile(targets, gradient)
    else:
        block, lines = 2 * lanes, tile_height(cpu)
    words = [form, ITEM_SIZES[dtype], lanes, lines, block, cpu.level1_bytes, cpu.level2_bytes]
    return np.array(words, np.int64)


def _joined(phases: list[Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """What `correlation_job` takes of phases that one job does, and where the first one begins."""
    axes, _, _, start = phases[0]
    axes[3, SPAN] = max(a[3, FIRST] + a[3, SPAN] for a, *_ in phases)
    axes[3, FIRST] = min(a[3, FIRST] for a, *_ in phases)
    axes[3, SPAN] -= axes[3, FIRST]
    return axes, np.array([offsets for _, offsets, *_ in phases]), int(start)


class Correlations:
    """The forward operation or the input gradient: one correlation, or one for each phase.

    `operation` is "forward" or "input_gradient"; `form` is that of the tiles, see `job`.
    """

    fuses = True  # whether the kernel knows epilogues

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
        self._clips = CLIPS.get(activation or "", KEEP)
        self.epilogue: Fused | None = None  # set before the first call
        self.forward = operation == "forward"
        self._words = geometry_words(geometry)
        self._work = geometry.multiply_adds
        self._jobs: dict[tuple, Launch | None] = {}
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
        # Output channels of a block, and blocks of a group.
        self._block = int(self._tile[T_BLOCK])
        self._blocks = -(-self.targets // self._block)
        self._zeros = np.zeros((self.groups, self._blocks * self._block), dtype)
        self._zeros_at = address_of(self._zeros)

    def _lower(self, source: np.ndarray, target: np.ndarray, plain: bool) -> list[Any]:
        """(axes, offsets, places, start) of each correlation, for these lifted strides.

        If `plain`, without the phases that no weight reaches.
        """
        words = self._words
        if self.forward:
            return [forward_axes(words, source, target)]
        phases = reached_phases(words) if plain else range(phase_total(words))
        return [phase_axes(words, source, target, int(phase)) for phase in phases]

    def prepare(
        self,
        source: tuple[int, ...],
        target: tuple[int, ...],
        threads: int,
        plain: bool,
        late: bool = False,
    ) -> Launch | None:
        """What to launch for arrays (N, C, *spatial) of these strides in bytes; `plain` as packed.

        A plain launch leaves out what no weight reaches. In a `late` one the kernel packs weights:
        packed before for one run they would go to memory and come back, a block that is packed just
        before its use stays in the second-level cache. There is none where a block would be packed
        often.
        """
        key = (source, target, threads, plain, late)
        try:
            return self._jobs[key]
        except KeyError:
            pass
        size = ITEM_SIZES[self.dtype]
        from_, to = (tuple(s // size for s in strides) for strides in (source, target))
        channels = [self.groups, self.sources, self.targets, from_[1], to[1], self.multiplier]
        lowered = self._lower(lifted_strides(from_), lifted_strides(to), plain)
        make, blocks = self._late_job if late else self._job, self.groups * self._blocks
        joined = 1 if late else self._joined_phases()
        wanted = 4 * threads * joined // max(1, len(lowered)) if threads > 1 else 1
        phases, boxes = [], 1
        for first in range(0, len(lowered), joined):
            axes, offsets, start = _joined(lowered[first : first + joined])
            job = make(axes, offsets, np.array(channels, np.int64), wanted)
            if job is None:
                break
            job[ENTER] = fill_box.address(self.dtype)
            boxes = max(boxes, int(job[BOX_COUNT]))
            weights = 0 if late else joined * blocks * int(job[BLOCK_SIZE])
            phases.append(Phase(job, int(job[ITEMS]), weights, start * size))
        made = None
        if len(phases) * joined == len(lowered):
            # A chunk is a box, or where kernels pack weights the blocks that they pack.
            chunks = blocks if late else -(-boxes // threads) * threads
            clears = plain and not self.forward and len(lowered) < phase_total(self._words)
            made = launch_of(
                self._kernel, self.dtype, phases, THREAD_BYTES, chunks, threads, clears
            )
        if len(self._jobs) >= MOST_JOBS:
            self._jobs.clear()
        self._jobs[key] = made
        return made

    def _joined_phases(self) -> int:
        """How many phases, neighbours along the width, one job does: all of a stride, or one.

        All if they are as many there, have as many taps, and no epilogue asks where each output is.
        """
        g = self.geometry
        stride, size = g.stride[-1], g.in_size[-1]
        alike = g.kernel_size[-1] % stride == size % stride == 0
        if self.forward or self.form != OUTER or self.epilogue is not None or not alike:
            return 1
        return stride if math.gcd(stride, g.dilation[-1]) == 1 else 1

    def _job(
        self, axes: np.ndarray, offsets: np.ndarray, channels: np.ndarray, items_wanted: int
    ) -> np.ndarray:
        """The job of one correlation."""
        job = correlation_job(
            axes, offsets, channels, self._tile, self.activation, items_wanted, MOST_PIXELS, True
        )
        self._clip(job)
        self._reserve(job, int(job[SUM_LINES]))
        return job

    def _clip(self, job: np.ndarray) -> None:
        """Have tiles clip sums while they are in registers, if that is the activation."""
        if self._clips:
            job[CLIP], job[ACTIVATION] = self._clips, 0

    def _reserve(self, job: np.ndarray, pixels: int) -> None:
        """Make room for an epilogue of so many pixels at once."""
        if self.epilogue is not None:
            size = ITEM_SIZES[self.dtype]
            reserve(job, self.epilogue.address, self.epilogue.parameters, size, pixels)

    def is_plain(self, bias: np.ndarray | None) -> bool:
        """Whether outputs that no weight reaches are zero."""
        return bias is None and not self.activation and self.epilogue is None

    def _late_job(
        self, axes: np.ndarray, offsets: np.ndarray, channels: np.ndarray, items_wanted: int
    ) -> np.ndarray | None:
        """The job of a kernel that packs weights, if boxes can follow each other at no cost."""
        if self.form != OUTER:
            return None
        tile, size = self._tile.copy(), ITEM_SIZES[self.dtype]
        tile[T_CACHE] *= 2  # rather than two windows, each of which would be packed for every block
        job = correlation_job(
            axes, offsets, channels, tile, self.activation, items_wanted, MOST_PIXELS, True
        )
        source = int(job[BOX_PIXELS] * job[BOX_COUNT]) * self.groups * self.sources * size
        in_cache = bool(job[DIRECT]) and source <= machine().level2_bytes // 2
        if job[BOX_COUNT] > 1 and not in_cache:
            return None
        self._clip(job)
        job[PACK], job[PACKED_AT] = pack_weights.address(self.dtype), job[THREAD_BYTES]
        job[THREAD_BYTES] += -(-int(job[BLOCK_SIZE]) * size // 64) * 64
        return job

    def pack(
        self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False
    ) -> Packed | Unpacked:
        """Weights (K, C/groups, *kernel) and bias in the order in which tiles read them."""
        return Unpacked(weight, bias) if once else self._pack(weight, bias)

    def _pack(
        self, weight: np.ndarray, bias: np.ndarray | None, late: Launch | None = None
    ) -> Packed:
        """Packed weights; for a `late` launch the jobs by which its kernel packs them."""
        padded, padded_at = self._zeros, self._zeros_at
        if bias is not None:
            padded = padded.copy()
            padded_at = address_of(padded)
            padded[:, : self.targets] = bias.reshape(self.groups, -1)
        plain, origin = self.is_plain(bias), address_of(weight)
        jobs = self._weight_jobs(weight.strides, plain)
        if late is not None:
            packing = [address_of(job) for job, _ in jobs]
            if len(jobs) == 1:
                return Packed((weight, padded, jobs[0][0]), plain, origin, padded_at, packing[0])
            table = np.array(packing, np.int64)
            kept = weight, padded, table, *[job for job, _ in jobs]
            return Packed(kept, plain, origin, padded_at, address_of(table))
        rows, address = self._pack_rows(origin, jobs)
        return Packed((rows, padded), plain, address, padded_at)

    def _pack_rows(self, weight: int, jobs: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, int]:
        """The weights at an address as tile rows, and the address of these."""
        rows = recycling.empty((sum(size for _, size in jobs),), self._zeros.dtype)
        address, items, goal = address_of(rows), self.groups * self._blocks, address_of(rows)
        for job, size in jobs:
            threads = launch.thread_count(size)
            launch.run(pack_weights, self.dtype, job, (weight, goal), items, threads)
            goal += size * rows.itemsize
        return rows, address

    def _weight_jobs(self, strides: tuple[int, ...], plain: bool) -> list[tuple[np.ndarray, int]]:
        """The packing job, for a weight of these strides, and packed size of each correlation."""
        known = self._packing
        if known is not None and known[0] == (strides, plain):
            return known[1]
        lifted = lifted_strides(tuple(stride // ITEM_SIZES[self.dtype] for stride in strides))
        swapped = not (self.forward or self.form == PAIRWISE)
        target_step, source_step = lifted[[1, 0]] if swapped else lifted[:2]
        group_step = self.geometry.out_channels // self.groups * lifted[0]
        depth = 1 if self.form == PAIRWISE else self.sources
        block, blocks = self._block, self._blocks
        lanes = block if self.form == PLANAR else machine().lanes(self.dtype)
        jobs = []
        for axes, _, places, _ in self._lower(lifted, lifted, plain):
            rows = row_offsets(axes, places, lifted[2:], depth, source_step)
            words = [self.targets, blocks, block, lanes, len(rows), group_step, target_step]
            order = np.argsort(rows, kind="stable")
            beyond = np.zeros(machine().lanes(self.dtype), np.int64)
            job = np.concatenate([np.array(words, np.int64), rows, rows[order], order, beyond])
            jobs.append((job, self.groups * blocks * len(rows) * block))
        self._packing = ((strides, plain), jobs)
        return jobs

    def run(
        self,
        source: np.ndarray,
        packed: Packed | Unpacked,
        target: np.ndarray,
        threads: int | None,
    ) -> None:
        """Fill `target`; both arrays (N, C, *spatial) of the compute dtype, any strides.

        `engine_steps` notes the same launches.
        """
        count = launch.thread_count(self._work, threads)
        made = None
        if isinstance(packed, Unpacked):
            plain = self.is_plain(packed.bias)
            made = self.prepare(source.strides, target.strides, count, plain, late=True)
            packed = self._pack(*packed, late=made)
        if made is None:
            made = self.prepare(source.strides, target.strides, count, packed.plain)
            assert made is not None  # all but late ones are
        if made.clears:
            target[...] = 0
        if made.items == 0:
            return
        with workspace(made.workspace) as work:
            operands = (
                address_of(source),
                packed.weights,
                packed.bias,
                address_of(target) + made.start,
                work,
                packed.packing,
                0 if packed.parameters is None else address_of(packed.parameters),
                packed.packing,
            )
            kernel = made.kernel.address(self.dtype)
            launch.start(kernel, made.job_at, operands, made.items, count)

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays."""
        count = launch.thread_count(self._work, threads)
        size = ITEM_SIZES[self.dtype]
        from_, to = (tuple(step * size for step in steps) for steps in (source, target))
        made = self.prepare(from_, to, count, False)
        assert made is not None  # all but late ones are
        return made.workspace
