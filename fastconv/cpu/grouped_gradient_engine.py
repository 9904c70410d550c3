"""The engine of `grouped_gradients`: weight gradients of depthwise convolutions, read in place."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from ..geometry import ConvGeometry
from ..machine import machine
from . import launch
from .compile import Kernel
from .engine import ITEM_SIZES, MOST_JOBS, element_strides
from .gradient_engine import ITEMS, WeightGradient
from .grouped_engine import MOST_CELLS, channel_family, fits_pixels
from .grouped_gradients import (
    channel_partials,
    pixel_partials,
    reduce_partials,
)
from .grouped_job import (
    BLOCKS,
    THREAD_BYTES,
    border_cells,
    grouped_job,
    list_pieces,
    parts_of_axes,
    weight_rows,
)
from .grouped_tiles import CHANNELS, PIXELS
from .job import PAIRWISE
from .lowering import COUNT, forward_axes, geometry_words, lifted_strides
from .memory import address_of
from .workspace import workspace

# Blocks of channels side by side that a chunk should have, and bytes of its sums; lines of a part.
LEAST_BLOCKS, MOST_SUMS, LEAST_LINES = 4, 1 << 14, 4


class Slides(NamedTuple):
    """What is launched for arrays of some strides: the sums, and their reduction."""

    kernel: Kernel
    job: np.ndarray
    extra: np.ndarray  # see `grouped_gradients`
    items: int
    units: int
    sums: int  # elements of all parts
    family: int


class GroupedGradient:
    """The weight gradient of a depthwise convolution with as many outputs as inputs.

    What the tiles cannot read in place is left to those that pack it, as is work to be done anew.
    """

    def __init__(self, geometry: ConvGeometry, dtype: str) -> None:
        self.geometry, self.dtype = geometry, dtype
        self.packing = WeightGradient(geometry, dtype, PAIRWISE)
        self._words = geometry_words(geometry)
        self._lanes = machine().lanes(dtype)
        self._family = channel_family(geometry, dtype, "forward")
        self._found: dict[tuple, Slides | None] = {}
        self._reduced: dict[tuple, np.ndarray] = {}

    def slides(self, x: tuple[int, ...], gradient: tuple[int, ...]) -> Slides | None:
        """The launch for arrays of these strides in elements; None if they must be packed."""
        try:
            return self._found[x, gradient]
        except KeyError:
            pass
        made = self._make(x, gradient)
        if len(self._found) >= MOST_JOBS:
            self._found.clear()
        self._found[x, gradient] = made
        return made

    def _make(self, x: tuple[int, ...], gradient: tuple[int, ...]) -> Slides | None:
        g, lanes = self.geometry, self._lanes
        axes, offsets, _, _ = forward_axes(self._words, lifted_strides(x), lifted_strides(gradient))
        family = PIXELS
        if self._family == CHANNELS and x[1] == gradient[1] == 1:
            family = CHANNELS
        elif not fits_pixels(axes):
            return None
        parts = parts_of_axes(axes, family)
        if border_cells(parts) > MOST_CELLS:
            return None
        pieces = list_pieces(parts, offsets, family, 1, 0)
        numbers = np.array([g.out_channels, g.in_channels, 1, 1, x[1], gradient[1]], np.int64)
        tile = np.array([lanes, 1, 0], np.int64)
        job = grouped_job(parts, offsets, pieces, family, numbers, tile, 0)
        size = len(self._rows(self.geometry.weight_shape, family)[1]) * lanes
        units = g.out_channels if family == PIXELS else int(job[BLOCKS])
        lines = int(parts[:3, COUNT].prod())
        least = 1 if family == PIXELS else LEAST_BLOCKS
        fitting = -(-units * size * ITEM_SIZES[self.dtype] // MOST_SUMS)
        # Lines are read whole where there are enough of them: pieces of pixels come slowly.
        shares = max(1, min(ITEMS, lines // LEAST_LINES))
        chunks = min(units, max(fitting, min(-(-ITEMS // shares), units // least), 1))
        extra = np.array([units, chunks, shares, lanes, size], np.int64)
        kernel = pixel_partials if family == PIXELS else channel_partials
        sums = shares * units * size
        return Slides(kernel, job, extra, chunks * shares, units, sums, family)

    def _rows(self, steps: tuple[int, ...], family: int) -> tuple[np.ndarray, np.ndarray]:
        """Where a weight of these strides has its targets, and from there its rows."""
        lifted = lifted_strides(steps)
        axes, offsets, places, _ = forward_axes(self._words, lifted, lifted)
        parts = parts_of_axes(axes, family)
        pieces = list_pieces(parts, offsets, family, 1, 0)
        rows = weight_rows(parts, places, pieces, family, lifted[1])
        return np.arange(self.geometry.out_channels) * lifted[0], rows

    def reduction_job(self, steps: tuple[int, ...], family: int) -> np.ndarray:
        """The job of `reduce_partials` for a weight of these strides."""
        known = self._reduced.get((steps, family))
        if known is not None:
            return known
        targets, rows = self._rows(steps, family)
        words = [len(targets), len(rows), 1 if family == PIXELS else self._lanes]
        job = np.concatenate([np.array(words, np.int64), targets, rows])
        if len(self._reduced) >= MOST_JOBS:
            self._reduced.clear()
        self._reduced[steps, family] = job
        return job

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> np.ndarray:
        """The operand beside x is the output gradient, read in place."""
        return weight

    def run(
        self, x: np.ndarray, gradient: np.ndarray, weight: np.ndarray, threads: int | None
    ) -> None:
        """See `WeightGradient.run`; `engine_steps` notes the same launches."""
        made = self.slides(element_strides(x), element_strides(gradient))
        if made is None or self.geometry.batch == 0:
            self.packing.run(x, gradient, weight, threads)
            return
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        sizes, extra = self.sizes(made, count), address_of(made.extra)
        with workspace(sum(sizes)) as nan:
            work, partials = nan + sizes[0], nan + sizes[0] + sizes[1]
            operands: tuple[int, ...]
            operands = address_of(x), partials, nan, address_of(gradient), work, extra
            launch.run(made.kernel, self.dtype, made.job, operands, made.items, count)
            job = self.reduction_job(element_strides(weight), made.family)
            operands = partials, address_of(weight), nan, extra
            launch.run(reduce_partials, self.dtype, job, operands, made.units, count)
            anew = bool(ctypes.c_int64.from_address(nan).value)
        if anew:
            self.packing.run(x, gradient, weight, threads)

    def sizes(self, made: Slides, threads: int) -> tuple[int, int, int]:
        """Bytes of a word, of the threads' rows, and of all sums."""
        return 64, threads * int(made.job[THREAD_BYTES]), made.sums * ITEM_SIZES[self.dtype]

    def workspace_bytes(
        self, x: tuple[int, ...], gradient: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays."""
        made = self.slides(x, gradient)
        if made is None:
            return self.packing.workspace_bytes(x, gradient, threads)
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        return sum(self.sizes(made, count))
