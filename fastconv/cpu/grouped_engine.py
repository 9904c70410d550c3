"""The engine of grouped tiles: depthwise convolutions, and grouped ones of few channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import recycling
from ..geometry import ConvGeometry
from ..machine import machine
from . import launch
from .engine import ITEM_SIZES, MOST_JOBS, Correlations, Packed
from .grouped import (
    pack_rows,
    slide_channels,
    slide_groups,
    slide_pairs,
    slide_pixels,
    slide_woven,
)
from .grouped_job import (
    ITEMS,
    THREAD_BYTES,
    WEIGHTS,
    border_cells,
    channel_blocks,
    channel_indices,
    grouped_job,
    list_pieces,
    parts_of_axes,
    weave,
    weight_rows,
)
from .grouped_tiles import BY_PIXELS, CHANNELS, GROUPS, PAIRS, PIXELS, WOVEN
from .job import PAIRWISE, PLANAR
from .lowering import (
    COUNT,
    FIRST,
    MODE,
    SIZE,
    SOURCE,
    SPAN,
    STEP,
    TARGET,
    lifted_strides,
    phase_total,
)
from .memory import address_of
from .phases import Launch, Phase, launch_of
from .workspace import workspace

# Of a row of pixels, whose blocks have a table; of cells in the tables of tiles at borders.
MOST_PIXELS, MOST_CELLS = 1 << 18, 1 << 14

KERNELS = {
    CHANNELS: slide_channels,
    GROUPS: slide_groups,
    PAIRS: slide_pairs,
    PIXELS: slide_pixels,
    WOVEN: slide_woven,
}


class Weights:
    """A weight and a bias, and what has been packed of them so far.

    The tiles that run follow the strides of the arrays, which only a call knows.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None, plain: bool) -> None:
        self.weight, self.bias, self.plain = weight, bias, plain
        self.packed: dict[int, tuple[np.ndarray, int]] = {}
        self.other: Packed | None = None


def channel_family(geometry: ConvGeometry, dtype: str, operation: str) -> int | None:
    """The family whose lanes are channels; None if a block's inputs do not fit its vectors."""
    sources, targets, inputs, outputs = channel_counts(geometry, operation)
    lanes = machine().lanes(dtype)
    if targets < lanes:
        return None
    if inputs == outputs == 1:
        return CHANNELS
    numbers = np.array([targets, sources, outputs, inputs, 0, 0], np.int64)
    for family, vectors in ((GROUPS, 1), (PAIRS, 2)):
        if sources >= vectors * lanes:
            blocks = channel_blocks(numbers, family, lanes)
            last = channel_indices(blocks, numbers, lanes).max(initial=0) + inputs
            if last <= vectors * lanes:
                return family
    return None


def channel_counts(geometry: ConvGeometry, operation: str) -> tuple[int, int, int, int]:
    """Channels that an operation reads, those that it writes, and both of a group."""
    ends = geometry.in_channels, geometry.out_channels
    sources, targets = ends if operation == "forward" else ends[::-1]
    return sources, targets, sources // geometry.groups, targets // geometry.groups


class Grouped(Correlations):
    """The forward operation or the input gradient by tiles of the family that the strides allow.

    What no family reads in place is left to tiles that pack it.
    """

    def __init__(
        self, geometry: ConvGeometry, dtype: str, operation: str, activation: str | None = None
    ) -> None:
        counts = channel_counts(geometry, operation)
        # Signals that lie channel by channel have one long row each, as planar tiles want it.
        paired = geometry.rank > 1 and geometry.groups == geometry.in_channels
        paired = paired and (operation == "forward" or counts[2] == 1)
        super().__init__(geometry, dtype, operation, PAIRWISE if paired else PLANAR, activation)
        self._counts, self._lanes = counts, machine().lanes(dtype)
        self._family = channel_family(geometry, dtype, operation)
        self._found: dict[tuple, tuple[int, Launch] | None] = {}
        self._rows: dict[tuple, list[tuple[np.ndarray, int, int]]] = {}
        self.indices = np.zeros(1, np.int64)
        if self._family in (GROUPS, PAIRS):
            numbers = self._numbers(1, 1)
            blocks = channel_blocks(numbers, self._family, self._lanes)
            indices = channel_indices(blocks, numbers, self._lanes)
            self.indices = indices.astype(f"i{ITEM_SIZES[dtype]}")
        self._indices_at = address_of(self.indices)
        self.no_bias = np.zeros(counts[1], dtype)

    def _numbers(self, source_step: int, target_step: int) -> np.ndarray:
        sources, targets, inputs, outputs = self._counts
        numbers = [targets, sources, outputs, inputs, source_step, target_step]
        return np.array(numbers, np.int64)

    def grouped(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int, plain: bool
    ) -> tuple[int, Launch] | None:
        """The family for arrays of these strides in bytes, and its launch; None without one.

        Packed tiles know epilogues, these do not.
        """
        if self.epilogue is not None:
            return None
        key = (source, target, threads, plain)
        try:
            return self._found[key]
        except KeyError:
            pass
        if len(self._found) >= MOST_JOBS:
            self._found.clear()
        found = self._found[key] = self._make(*key)
        return found

    def _make(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int, plain: bool
    ) -> tuple[int, Launch] | None:
        size = ITEM_SIZES[self.dtype]
        from_, to = (tuple(s // size for s in strides) for strides in (source, target))
        inputs, steps = self._counts[2], (lifted_strides(from_), lifted_strides(to))
        family = WOVEN if not self.forward and _weaves(self.geometry) else PIXELS
        if self._family is not None and from_[1] == to[1] == 1:
            family = self._family
        lowered = self._lowered(family, *steps, plain)
        if family in BY_PIXELS and not (
            inputs == 1 and all(fits_pixels(axes) for axes, *_ in lowered)
        ):
            return None
        numbers = self._numbers(from_[1], to[1])
        tile = np.array([self._lanes, 4 * threads if threads > 1 else 1, 1], np.int64)
        blocks, phases, items = self._row_blocks(family), [], 1
        for axes, offsets, _, start, evens in lowered:
            parts = parts_of_axes(axes, family)
            if border_cells(parts) > MOST_CELLS:
                return None
            pieces = list_pieces(parts, offsets, family, inputs, evens)
            job = grouped_job(parts, offsets, pieces, family, numbers, tile, self.activation)
            items = max(items, int(job[ITEMS]))
            weights = blocks * int(job[WEIGHTS])
            phases.append(Phase(job, int(job[ITEMS]), weights, int(start) * size))
        each = 2 if family == WOVEN else 1
        clears = plain and not self.forward and each * len(phases) < phase_total(self._words)
        kernel, chunks = KERNELS[family], -(-items // threads) * threads
        made = launch_of(kernel, self.dtype, phases, THREAD_BYTES, chunks, threads, clears)
        return family, made

    def _lowered(
        self, family: int, source: np.ndarray, target: np.ndarray, plain: bool
    ) -> list[tuple[Any, ...]]:
        """As `_lower`, and of WOVEN the taps of the first phase of a row."""
        lowered = self._lower(source, target, plain)
        if family != WOVEN:
            return [(*correlation, 0) for correlation in lowered]
        return [weave(*pair) for pair in zip(lowered[::2], lowered[1::2])]

    def _row_blocks(self, family: int) -> int:
        """Blocks of weights, each for a vector of targets, or for one."""
        return -(-self._counts[1] // (1 if family in BY_PIXELS else self._lanes))

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> Any:
        """The weights (K, C/groups, *kernel) and the bias, copied unless they are for `once`."""
        if self.epilogue is not None:
            return super().pack(weight, bias, once)
        if bias is not None:
            bias = bias.astype(self.dtype)
        plain = self.is_plain(bias)
        return Weights(weight if once else weight.copy(), bias, plain)

    def rows(self, weights: Weights, family: int) -> int:
        """Address of the weights of all correlations, as tiles of a family read them."""
        found = weights.packed.get(family)
        if found is None:
            jobs = self.row_jobs(weights.weight.strides, weights.plain, family)
            rows = recycling.empty((sum(count for *_, count in jobs),), self.dtype)
            origin, address, goal = address_of(weights.weight), address_of(rows), address_of(rows)
            for job, blocks, count in jobs:
                threads = launch.thread_count(count)
                launch.run(pack_rows, self.dtype, job, (origin, goal), blocks, threads)
                goal += count * rows.itemsize
            found = weights.packed[family] = rows, address
        return found[1]

    def ungrouped(self, weights: Weights) -> Packed:
        """The weights as direct tiles read them."""
        if weights.other is None:
            weights.other = self._pack(weights.weight, weights.bias)
        return weights.other

    def row_jobs(
        self, strides: tuple[int, ...], plain: bool, family: int
    ) -> list[tuple[np.ndarray, int, int]]:
        """Of each correlation the packing job for a weight of these strides in bytes.

        With its items, and the elements that it fills.
        """
        key = (strides, plain, family)
        known = self._rows.get(key)
        if known is not None:
            return known
        size = ITEM_SIZES[self.dtype]
        lifted = lifted_strides(tuple(stride // size for stride in strides))
        _, targets, inputs, outputs = self._counts
        places, depth_step = np.arange(targets) * lifted[0], lifted[1]
        if not self.forward:
            group, within = np.divmod(np.arange(targets), outputs)
            places, depth_step = group * inputs * lifted[0] + within * lifted[1], lifted[0]
        lanes, jobs = 1 if family in BY_PIXELS else self._lanes, []
        blocks = self._row_blocks(family)
        for axes, offsets, taps, _, evens in self._lowered(family, lifted, lifted, plain):
            parts = parts_of_axes(axes, family)
            pieces = list_pieces(parts, offsets, family, inputs, evens)
            rows = weight_rows(parts, taps, pieces, family, depth_step)
            words = np.array([targets, len(rows), lanes], np.int64)
            job = np.concatenate([words, places, rows])
            jobs.append((job, blocks, blocks * lanes * len(rows)))
        if len(self._rows) >= MOST_JOBS:
            self._rows.clear()
        self._rows[key] = jobs
        return jobs

    def run(self, source: np.ndarray, packed: Any, target: np.ndarray, threads: int | None) -> None:
        """Fill `target`; both arrays (N, C, *spatial) of the compute dtype, any strides."""
        if not isinstance(packed, Weights):  # with an epilogue
            super().run(source, packed, target, threads)
            return
        count = launch.thread_count(self._work, threads)
        found = self.grouped(source.strides, target.strides, count, packed.plain)
        if found is None:
            super().run(source, self.ungrouped(packed), target, threads)
            return
        family, made = found
        if made.clears:
            target[...] = 0
        if made.items == 0:
            return
        with workspace(made.workspace) as work:
            operands = (
                address_of(source),
                self.rows(packed, family),
                address_of(self.no_bias if packed.bias is None else packed.bias),
                address_of(target) + made.start,
                work,
                self._indices_at,
            )
            launch.start(made.kernel.address(self.dtype), made.job_at, operands, made.items, count)

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays."""
        count, size = launch.thread_count(self._work, threads), ITEM_SIZES[self.dtype]
        from_, to = (tuple(step * size for step in steps) for steps in (source, target))
        found = self.grouped(from_, to, count, False)
        return (
            super().workspace_bytes(source, target, threads)
            if found is None
            else (found[1].workspace)
        )


def _weaves(geometry: ConvGeometry) -> bool:
    """Whether rows of the input have two phases, and taps reach both of them."""
    g, row = geometry, -1
    several = g.in_size[row] > 1 and g.kernel_size[row] > 1
    return several and g.stride[row] == 2 and g.dilation[row] % 2 == 1


def fits_pixels(axes: np.ndarray) -> bool:
    """Whether tiles of PIXELS do this correlation: see `grouped_tiles`."""
    height, width = axes[2], axes[3]
    first, last = width[FIRST], (width[COUNT] - 1) * width[STEP] + width[FIRST] + width[SPAN]
    inside = first >= 0 and last <= width[SIZE]
    return bool(
        width[SOURCE] == width[TARGET] == 1
        and height[COUNT] > 1  # a tile of one row would keep an eighth of its sums
        and height[STEP] == width[STEP]
        and width[STEP] <= 2
        and width[COUNT] <= MOST_PIXELS
        and (inside or width[MODE] == 0)
    )
