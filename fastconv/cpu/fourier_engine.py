"""The engine of convolutions by spectra: sizes of tiles, tables, and the steps of one call."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import NamedTuple

import numpy as np

from .. import recycling
from ..geometry import PADDING_MODES, ConvGeometry
from ..machine import machine
from ..sizes import conv_size, same_size, window_extent
from . import launch
from .activation import activation_address
from .fourier import (
    ACTIVATION,
    ADVANCE,
    AXES,
    AXIS,
    CHANNEL_STRIDE,
    CHANNELS,
    IMAGE_STRIDE,
    JOB_WORDS,
    OUTPUTS,
    P_BLOCKS,
    P_COUNT,
    P_GROUPS,
    P_LANES,
    P_SOURCES,
    P_TARGETS,
    PER_TILE,
    PRODUCT_WORDS,
    ROW_BYTES,
    SIZE,
    STEP,
    STRIDE,
    TABLE,
    TARGETS_AT_ONCE,
    TILES,
    cut_tiles,
    multiply,
    multiply_alone,
    place_outputs,
)
from .memory import address_of
from .pack import source_position

ITEM_SIZES = {"float32": 4, "float64": 8}


class Costs(NamedTuple):
    """Multiply-adds that take as long as the parts of the work, most of which is moving numbers."""

    doubling: float  # a sample, for each time that the last axis doubles
    axis: float  # a sample, transformed along another axis, whose lines lie apart
    sample: float  # the rest of the work on a sample
    product: float  # a product of two frequencies
    reading: float  # to read a frequency of the weights


# By the number of vector registers: two cores of Zen 4, AVX-512, and of Zen 3, AVX2, 2026-11.
COSTS = {32: Costs(7.5, 190, 30, 10, 125), 16: Costs(15, 380, 50, 20, 235)}
# A call's fixed cost; and a sample of the weights, which NumPy turns into spectra in several passes
# on one thread, in fewer if there is one channel only.
CALL = 8e6
PACKING, PACKING_ALONE = 1900.0, 600.0
# Items of a product of lone spectra, at least.
PARTS = 16
# Bytes of samples that are in work at once: more tiles to share, or the caches would not hold them.
CHUNK = 8 << 20
# How many times as long as the kernel tiles may be, each tried.
FACTORS = (1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, 12, 16, 32, math.inf)


@functools.cache
def scipy_fft() -> ModuleType:
    """SciPy's module, imported when first needed: it takes half as long as Numba."""
    import scipy.fft

    return scipy.fft


class Axis(NamedTuple):
    """One spatial axis as a dense correlation of which every `step`-th output is kept."""

    extent: int  # samples from the first tap to the last
    outputs: int
    step: int


class Tiling(NamedTuple):
    """Tile sizes, and per axis outputs of a tile and tiles; what it costs in multiply-adds."""

    sizes: tuple[int, ...]
    per_tile: tuple[int, ...]
    tiles: tuple[int, ...]
    work: float
    packing: float  # of the weights


def correlation_axes(geometry: ConvGeometry, operation: str) -> tuple[Axis, ...]:
    """The axes of the forward operation or of the input gradient."""
    g = geometry
    extents = map(window_extent, g.kernel_size, g.dilation)
    if operation == "forward":
        return tuple(map(Axis, extents, g.out_size, g.stride))
    return tuple(Axis(extent, size, 1) for extent, size in zip(extents, g.in_size))


@functools.lru_cache(maxsize=512)
def tile(geometry: ConvGeometry, dtype: str, operation: str) -> Tiling:
    """The cheapest of some tilings, by counted work."""
    g = geometry
    costs = COSTS[32 if machine().vector_registers >= 32 else 16]
    axes = correlation_axes(g, operation)
    channels, pairs = g.in_channels + g.out_channels, g.in_channels * g.out_channels // g.groups
    least = machine().lanes(dtype)
    best, least_work = None, math.inf
    for factor in FACTORS:
        sizes, counts, tiles = [], [], []
        for axis in axes:
            span = (axis.outputs - 1) * axis.step + axis.extent
            size = span if math.isinf(factor) else math.ceil(factor * axis.extent) + axis.step
            size = min(span, size)
            if axis is axes[-1]:  # an even row, whose spectrum fills a vector
                size = 2 * fast_size(-(-max(size, least) // 2))
            else:
                size = fast_size(size)
            each = min(conv_size(size, axis.extent, axis.step, 1, 0, 0), axis.outputs)
            sizes.append(size)
            counts.append(each)
            tiles.append(same_size(axis.outputs, each))
        samples, frequencies = math.prod(sizes), math.prod(sizes[:-1]) * (sizes[-1] // 2 + 1)
        total = g.batch * math.prod(tiles)
        transform = costs.doubling * math.log2(sizes[-1])
        transform += costs.axis * sum(size > 1 for size in sizes[:-1])
        transform = samples * (transform + costs.sample)
        work = CALL + total * channels * transform
        alone = channels == 2 * g.groups
        if not alone:
            work += pairs * frequencies * (costs.product * total + costs.reading)
        if work + pairs * transform < least_work:
            least_work = work + pairs * transform  # tiles so large that weights take all the time
            packing = pairs * samples * (PACKING_ALONE if alone else PACKING)
            best = Tiling(tuple(sizes), tuple(counts), tuple(tiles), work, packing)
    assert best is not None
    return best


@functools.cache
def fast_size(least: int) -> int:
    """The smallest size from `least` on without prime factors above 5."""
    best, fives = 1 << (least - 1).bit_length(), 1
    while fives < best:
        size = fives
        while size < best:
            best = min(best, size << (-(-least // size) - 1).bit_length())
            size *= 3
        fives *= 5
    return best


def spectra_bytes(geometry: ConvGeometry, dtype: str, operation: str) -> int:
    """Memory that the transformed weights take."""
    g = geometry
    sizes = tile(g, dtype, operation).sizes
    count = math.prod(sizes[:-1]) * (sizes[-1] // 2 + 1)
    return 4 * ITEM_SIZES[dtype] * count * g.in_channels * g.out_channels // g.groups


class Spectra(NamedTuple):
    """Transformed weights as `multiply` reads them, and the bias."""

    weights: np.ndarray
    bias: np.ndarray | None


class Fourier:
    """The forward operation or the input gradient by overlap-save."""

    def __init__(
        self, geometry: ConvGeometry, dtype: str, operation: str, activation: str | None = None
    ) -> None:
        self.geometry, self.dtype = geometry, dtype
        self.forward = operation == "forward"
        self.activation = activation_address(activation, dtype)
        g, self._lanes = geometry, machine().lanes(dtype)
        ends = g.in_channels, g.out_channels
        sources, targets = ends if self.forward else ends[::-1]
        self.sources, self.targets = sources // g.groups, targets // g.groups
        self.axes = correlation_axes(g, operation)
        self.tiling = tile(g, dtype, operation)
        self.alone = self.sources == self.targets == 1
        sizes = self.tiling.sizes
        self._spectrum = (*sizes[:-1], sizes[-1] // 2 + 1)
        self._frequencies = math.prod(self._spectrum)
        self._spatial = tuple(range(2, 2 + g.rank))
        self._product = self._product_job()
        self._tables: list[np.ndarray] | None = None
        self._jobs: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}

    # ---- weights --------------------------------------------------------------------------------

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> Spectra:
        """Spectra of weights (K, C/groups, *kernel), for vectors of frequencies."""
        g, lanes = self.geometry, self._lanes // 2
        split = weight.reshape(g.groups, -1, *weight.shape[1:])  # (G, K/G, C/G, *kernel)
        if not self.forward:
            split = np.flip(split.swapaxes(1, 2), tuple(range(3, 3 + g.rank)))
        threads = launch.thread_count(weight.size * math.prod(self.tiling.sizes))
        kept = None if bias is None else np.ascontiguousarray(bias)
        if self.alone:
            return Spectra(self._transform(split, threads), kept)
        blocks = int(self._product[P_BLOCKS])
        starts = np.minimum(np.arange(blocks) * lanes, self._frequencies - lanes)
        places = starts[:, None] + np.arange(lanes)
        room = self.targets * self.sources * 2 * lanes
        packed = recycling.empty((g.groups, blocks, room), np.result_type(weight, np.complex64))
        k = 0
        while k < self.targets:
            count = TARGETS_AT_ONCE if self.targets - k >= TARGETS_AT_ONCE else 1
            spectra = self._transform(split[:, k : k + count], threads)[..., places].conj()
            cells = np.stack([spectra, 1j * spectra], -2)  # (G, k, C, blocks, 2, lanes)
            cells = cells.transpose(0, 3, 2, 1, 4, 5).reshape(g.groups, blocks, -1)
            first = k * self.sources * 2 * lanes
            packed[:, :, first : first + cells.shape[2]] = cells
            k += count
        return Spectra(packed, kept)

    def _transform(self, weight: np.ndarray, threads: int) -> np.ndarray:
        """The spectra (G, k, C, F) of weights (G, k, C, *kernel), set apart by dilation."""
        g = self.geometry
        spread = np.zeros((*weight.shape[:3], *self.tiling.sizes), weight.dtype)
        taps = [slice(0, axis.extent, d) for axis, d in zip(self.axes, g.dilation)]
        spread[(slice(None),) * 3 + tuple(taps)] = weight
        spatial = tuple(range(3, 3 + g.rank))
        spectra = scipy_fft().rfftn(spread, axes=spatial, workers=threads)
        return spectra.reshape(*weight.shape[:3], -1)

    def _product_job(self) -> np.ndarray:
        job = np.zeros(PRODUCT_WORDS, np.int64)
        job[P_GROUPS], job[P_SOURCES], job[P_TARGETS] = (
            self.geometry.groups,
            self.sources,
            self.targets,
        )
        job[P_COUNT], job[P_LANES] = self._frequencies, self._lanes
        job[P_BLOCKS] = -(-2 * self._frequencies // self._lanes)
        return job

    # ---- jobs -----------------------------------------------------------------------------------

    def _positions(self, a: int) -> np.ndarray:
        """For each sample of an axis its position in the source, -1 for a zero, and its run."""
        g, axis = self.geometry, self.axes[a]
        per_tile, tiles = self.tiling.per_tile[a], self.tiling.tiles[a]
        samples = np.arange((tiles - 1) * per_tile * axis.step + self.tiling.sizes[a])
        low, high = g.padding[a]
        if self.forward:
            at = samples - low
            size, mode = g.in_size[a], PADDING_MODES.index(g.padding_mode)
            outside = (at < 0) | (at >= size)
            if mode:
                reached = outside & (at < size + high)
                at[reached] = [source_position.py_func(int(p), size, mode) for p in at[reached]]
                outside &= ~reached
        else:
            stuffed = samples + low - (axis.extent - 1)
            at, between = np.divmod(stuffed, g.stride[a])
            outside = (between != 0) | (at < 0) | (at >= g.out_size[a])
        at[outside] = -1
        apart = np.ones(len(at), bool)
        apart[:-1] = np.where(at[:-1] < 0, at[1:] >= 0, at[1:] != at[:-1] + 1)
        ends = np.flatnonzero(apart)
        runs = ends[np.searchsorted(ends, samples)] - samples + 1
        return np.stack([at, runs], 1).ravel()

    def _pair(
        self, source: tuple[int, ...], target: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The jobs of cutting and of placing, for arrays of these element strides."""
        known = self._jobs.get((source, target))
        if known is not None:
            return known
        if self._tables is None:
            self._tables = [self._positions(a) for a in range(self.geometry.rank)]
        still = np.array([0, 1], np.int64)  # an axis that is not there has one sample
        tables = [still] * (3 - self.geometry.rank) + self._tables
        cut, place = (np.zeros(JOB_WORDS + 1, np.int64) for _ in range(2))
        item = ITEM_SIZES[self.dtype]
        for job, strides, channels in (
            (cut, source, self.sources),
            (place, target, self.targets),
        ):
            job[CHANNELS] = self.geometry.groups * channels
            job[IMAGE_STRIDE], job[CHANNEL_STRIDE] = strides[:2]
            job[ACTIVATION] = self.activation
            row = self.tiling.per_tile[-1] * item
            job[ROW_BYTES] = -(-row // 64) * 64 + 2 * machine().vector_bytes
            job[JOB_WORDS] = self._lanes
        at = len(cut)
        for a in range(3):
            words, real = AXES + a * AXIS, a - (3 - self.geometry.rank)
            for job in (cut, place):
                job[words + TILES : words + AXIS] = 1
            cut[words + TABLE] = at
            at += len(tables[a])
            if real < 0:
                continue
            tiling, step = self.tiling, self.axes[real].step
            for job, strides in ((cut, source), (place, target)):
                job[words + TILES], job[words + SIZE] = tiling.tiles[real], tiling.sizes[real]
                job[words + STRIDE] = strides[2 + real]
            cut[words + ADVANCE] = tiling.per_tile[real] * step
            place[words + OUTPUTS] = self.axes[real].outputs
            place[words + PER_TILE], place[words + STEP] = tiling.per_tile[real], step
        if len(self._jobs) >= MOST_JOBS:
            self._jobs.clear()
        self._jobs[source, target] = np.concatenate([cut, *tables]), place
        return self._jobs[source, target]

    # ---- a call ---------------------------------------------------------------------------------

    def _tiles_at_once(self) -> int:
        """Tiles of a chunk; it does not depend on the number of threads."""
        g, total = self.geometry, self.geometry.batch * math.prod(self.tiling.tiles)
        channels = max(self.sources, self.targets) * g.groups
        each = channels * math.prod(self.tiling.sizes) * ITEM_SIZES[self.dtype]
        chunks = max(1, -(-total * each // CHUNK))
        return max(1, -(-total // chunks))

    def run(
        self, source: np.ndarray, packed: Spectra, target: np.ndarray, threads: int | None
    ) -> None:
        """Fill `target`; both arrays (N, C, *spatial) of the compute dtype, any strides."""
        g, sizes = self.geometry, self.tiling.sizes
        count = launch.thread_count(g.multiply_adds, threads)
        cut, place = self._pair(
            *(tuple(s // x.itemsize for s in x.strides) for x in (source, target))
        )
        total, most = g.batch * math.prod(self.tiling.tiles), self._tiles_at_once()
        sources, targets = g.groups * self.sources, g.groups * self.targets
        origin, goal, weights = map(address_of, (source, target, packed.weights))
        bias = 0 if packed.bias is None else address_of(packed.bias)
        rows = np.empty(count * int(place[ROW_BYTES]), np.uint8)
        for first in range(0, total, most):
            tiles = min(most, total - first)
            samples = recycling.empty((tiles, sources, *sizes), self.dtype)
            operands: tuple[int, ...] = (origin, address_of(samples), first)
            launch.run(cut_tiles, self.dtype, cut, operands, tiles * sources, count)
            spectra = scipy_fft().rfftn(samples, axes=self._spatial, workers=count)
            del samples
            products = self._multiply(spectra, weights, tiles, count)
            del spectra
            outputs = scipy_fft().irfftn(
                products, sizes, axes=self._spatial, workers=count, overwrite_x=True
            )
            del products
            operands = (address_of(outputs), goal, bias, address_of(rows), first)
            launch.run(place_outputs, self.dtype, place, operands, tiles * targets, count)

    def _multiply(self, spectra: np.ndarray, weights: int, tiles: int, count: int) -> np.ndarray:
        """Spectra (T, K, *frequencies) of the outputs from those of the sources."""
        groups = self.geometry.groups
        if self.alone:
            parts = -(-PARTS // (tiles * groups))  # enough items for every number of threads
            operands: tuple[int, ...] = (address_of(spectra), weights, parts)
            items = tiles * groups * parts
            launch.run(multiply_alone, self.dtype, self._product, operands, items, count)
            return spectra
        shape = (tiles, groups * self.targets, *self._spectrum)
        products = recycling.empty(shape, spectra.dtype)
        operands = (address_of(spectra), weights, address_of(products), tiles)
        items = groups * int(self._product[P_BLOCKS])
        launch.run(multiply, self.dtype, self._product, operands, items, count)
        return products

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes that a call needs beside its arrays: at most samples and two arrays of spectra."""
        channels = (self.sources + self.targets) * self.geometry.groups
        item = ITEM_SIZES[self.dtype]
        each = item * (math.prod(self.tiling.sizes) + 2 * self._frequencies)
        count = launch.thread_count(self.geometry.multiply_adds, threads)
        _, place = self._pair(source, target)
        return self._tiles_at_once() * channels * each + count * int(place[ROW_BYTES])


# Jobs of one engine, by strides, as in `engine`.
MOST_JOBS = 32
