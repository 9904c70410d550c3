"""Engines of the forward operation and the input gradient: a geometry bound to one algorithm.

An engine keeps its jobs by the strides of its arrays, so a repeated call only starts kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..cpu.lowering import geometry_words
from ..geometry import ConvGeometry
from .activation import COMPUTE
from .arrays import DeviceArray, is_channels_last
from .depthwise import correlate_narrow
from .direct import correlate
from .epilogue import finish
from .job import Job, job_numbers, make_job
from .launch import blocks_for
from .lowering import NEAR, correlations, weight_rows
from .machine import gpu
from .memory import Table
from .pack import Packing, pack_weights, packing
from .tensor import TILE as TENSOR_TILE
from .tensor import correlate_tensor
from .tiles import Tile, choose_tile

# Jobs of one engine, by strides.
MOST_JOBS = 32
# Pixels and outputs that one launch counts: see `emit.quotient`.
MOST = 2**31 - 1


class Epilogue(NamedTuple):
    """A user's function after the activation, and its arrays: of shape (K,) or of the output's."""

    function: Callable
    arguments: tuple[DeviceArray, ...]


class Packed(NamedTuple):
    """Weights of each correlation as blocks read them, and the bias in the compute type."""

    weights: tuple[DeviceArray, ...]
    bias: Any


def element_strides(x: DeviceArray) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(stride // x.itemsize for stride in x.strides)


def batches(geometry: ConvGeometry, outputs: int) -> int:
    """Images of one launch, of each of which `outputs` elements are counted."""
    if outputs > MOST:
        raise ValueError(f"{outputs} outputs of one image are more than a launch counts, {MOST}")
    return max(min(geometry.batch, MOST // max(outputs, 1)), 1)


class Correlations:
    """The forward operation or the input gradient: one correlation, or one for each phase."""

    def __init__(
        self,
        geometry: ConvGeometry,
        dtype: str,
        operation: str,
        activation: str | None = None,
        form: str = "direct",
    ) -> None:
        self.geometry, self.dtype, self.compute = geometry, dtype, COMPUTE[dtype]
        self.activation, self.form = activation, form
        self.forward = operation == "forward"
        self._words = geometry_words(geometry)
        self._jobs: dict[tuple[Any, ...], tuple[Job, ...]] = {}
        self._packings: dict[tuple[int, ...], tuple[Packing, ...]] = {}
        self._no_bias: Any = None
        g = geometry
        ends = (g.in_channels // g.groups, g.out_channels // g.groups)
        self.sources, self.targets = ends if self.forward else ends[::-1]
        self._size = g.out_size if self.forward else g.in_size
        self.tile = self._choose_tile()

    def _choose_tile(self) -> Tile:
        """The tile for the first phase, the largest."""
        g = self.geometry
        pixels, taps = g.batch * math.prod(self._size), math.prod(g.kernel_size)
        phases = 1 if self.forward else math.prod(g.stride)
        rows = self.sources * -(-taps // phases)
        return choose_tile(self.compute, -(-pixels // phases), self.targets, rows, g.groups, gpu())

    @property
    def depth(self) -> int:
        """Reduction rows of a slab."""
        depths = {"narrow": 1, "direct": self.tile.depth, "tensor": TENSOR_TILE.depth(self.dtype)}
        return depths[self.form]

    @property
    def width(self) -> int:
        """Channels of a block."""
        widths = {"narrow": 1, "direct": self.tile.channels, "tensor": TENSOR_TILE.channels}
        return widths[self.form]

    @property
    def pitch(self) -> int:
        """Of a row of packed weights."""
        return -(-self.targets // self.width) * self.width

    def pack(self, weight: DeviceArray, bias: DeviceArray | None) -> Packed:
        """Weights (K, C/groups, *kernel) in the order in which blocks read them."""
        jobs = self._packing(element_strides(weight))
        packed = tuple(pack_weights(weight, job) for job in jobs)
        if bias is not None:
            return Packed(packed, bias.astype(self.compute, copy=False).copy())
        if self._no_bias is None:
            self._no_bias = Table(np.zeros(self.geometry.groups * self.targets, self.compute))
        return Packed(packed, self._no_bias)

    def _packing(self, steps: tuple[int, ...]) -> tuple[Packing, ...]:
        """The jobs for weights of these strides, one for each correlation."""
        known = self._packings.get(steps)
        if known is None:
            g = self.geometry
            target_step, source_step = steps[:2] if self.forward else steps[1::-1]
            known = tuple(
                packing(
                    rows,
                    groups=g.groups,
                    targets=self.targets,
                    filled=-(-len(rows) // self.depth) * self.depth,
                    pitch=self.pitch,
                    group_step=g.out_channels // g.groups * steps[0],
                    target_step=target_step,
                )
                for rows in weight_rows(self._words, self.forward, steps, self.sources, source_step)
            )
            if len(self._packings) >= MOST_JOBS:
                self._packings.clear()
            self._packings[steps] = known
        return known

    def jobs(self, source: DeviceArray, target: DeviceArray) -> tuple[tuple[Job, ...], bool]:
        """The jobs for arrays of these strides, and whether their tables are of 64 bits."""
        far = max(source.reach_bytes, target.reach_bytes) // source.itemsize >= NEAR
        strides = element_strides(source), element_strides(target)
        key = (*strides, source.shape[0], far)
        known = self._jobs.get(key)
        if known is None:
            words = self._words.copy()
            words[0] = source.shape[0]
            tiles = 1 if self.form == "narrow" else self.pitch // self.width
            known = tuple(
                make_job(
                    *job_numbers(
                        c,
                        (self.sources, self.targets),
                        (strides[0][1], strides[1][1]),
                        depth=self.depth,
                        pitch=self.pitch,
                        tiles=tiles,
                        far=far,
                    )
                )
                for c in correlations(words, self.forward, *strides, far)
            )
            if len(self._jobs) >= MOST_JOBS:
                self._jobs.clear()
            self._jobs[key] = known
        return known, far

    def run(
        self,
        source: DeviceArray,
        packed: Packed,
        target: DeviceArray,
        threads: int | None = None,
        epilogue: Epilogue | None = None,
    ) -> None:
        """Fill `target`; both arrays (N, C, *spatial) of the engine's dtype."""
        outputs = math.prod(self._size)
        if self.form == "narrow":
            outputs *= self.geometry.groups * self.targets
        count = batches(self.geometry, outputs)
        for first in range(0, source.shape[0], count):
            part = slice(first, first + count)
            after = None
            if epilogue is not None:
                arguments = (a[part] if a.ndim > 1 else a for a in epilogue.arguments)
                after = Epilogue(epilogue.function, tuple(arguments))
            self._run(source[part], packed, target[part], after)

    def _run(
        self,
        source: DeviceArray,
        packed: Packed,
        target: DeviceArray,
        epilogue: Epilogue | None,
    ) -> None:
        jobs, far = self.jobs(source, target)
        extras = () if epilogue is None else epilogue.arguments
        places = "".join("c" if x.ndim == 1 else "o" for x in extras)
        function = None if epilogue is None else epilogue.function
        last = is_channels_last(target)
        after = finish(self.compute, self.activation, function, places)
        kinds = tuple(x.dtype.name for x in extras)
        for job, weights in zip(jobs, packed.weights):
            operands = (source, weights, packed.bias, target, job.words, job.where, extras)
            if not job.pixels:
                continue
            groups, blocks = self.geometry.groups, self.pitch // self.width
            if self.form == "narrow":
                channels = self.geometry.groups * self.targets
                kernel = correlate_narrow(self.dtype, last, far, after, kinds)
                kernel(blocks_for(job.pixels * channels), *operands, channels)
            elif self.form == "tensor":
                kernel = correlate_tensor(self.dtype, is_channels_last(source), far, after, kinds)
                kernel((-(-job.pixels // TENSOR_TILE.pixels) * blocks, groups), *operands)
            else:
                vectors = self._fetches_vectors(source)
                kernel = correlate(self.dtype, self.tile, vectors, last, far, after, kinds)
                kernel((-(-job.pixels // self.tile.pixels) * blocks, groups), *operands)

    def _fetches_vectors(self, source: DeviceArray) -> bool:
        """Whether four channels of every cell lie together, on a multiple of their size."""
        _, channel, *others = element_strides(source)
        others.append(source.strides[0] // source.itemsize)
        together = channel == 1 and self.sources % 4 == 0 and all(s % 4 == 0 for s in others)
        return together and source.address % (4 * source.itemsize) == 0

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays: none, sums are held in registers."""
        return 0
