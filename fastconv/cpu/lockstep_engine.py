"""Images in lockstep as jobs: tables of taps, and the calls of the kernels.

All arrays here are dense (C, *spatial, N), seen as (N, C, *spatial): `is_lockstep`. The source of a
convolution has its padding around it, see `turned`; its gradient has not.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .. import recycling
from ..geometry import ConvGeometry, PoolGeometry
from ..machine import machine
from . import launch
from .compile import name_of
from .lockstep import (
    AXES_AT,
    DOT_WORDS,
    GATHER_WORDS,
    W_TARGET,
    lockstep_frame,
    lockstep_maxima,
    lockstep_products,
    lockstep_slopes,
    lockstep_sums,
    lockstep_turn,
)
from .lockstep_tiles import GATHER_BLOCKS, NOWHERE, VECTORS, dot_tiles
from .product import Product
from .program import noted, unwritten

# Taps of a window whose choice fits a byte.
MOST_TAPS = NOWHERE

Pairs = tuple[tuple[int, int], ...]
# For each target of an axis its (place in the source, tap).
Meetings = list[list[tuple[int, int]]]


def is_lockstep(x: np.ndarray) -> bool:
    """Whether an array (N, C, *spatial) lies in memory as (C, *spatial, N)."""
    if x.strides[0] != x.itemsize:
        return False
    return x.transpose(_LAST[x.ndim]).flags.c_contiguous


_LAST = {n: (*range(1, n), 0) for n in range(2, 6)}
_FIRST = {n: (n - 1, *range(n - 1)) for n in range(2, 6)}


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialised array (N, C, *spatial), its memory (C, *spatial, N)."""
    return recycling.empty((*shape[1:], shape[0]), dtype).transpose(_FIRST[len(shape)])


def fills_vectors(batch: int, dtype: str) -> bool:
    """Whether the images fill whole vectors."""
    return batch > 0 and batch % machine().lanes(dtype) == 0


def _lifted(values: tuple[Any, ...], unit: Any) -> tuple[Any, ...]:
    """One value for each of three axes."""
    return (*(unit,) * (3 - len(values)), *values)


def _steps(size: tuple[int, ...], images: int) -> tuple[int, int, int]:
    """Elements from one cell to the next along D, H and W."""
    return size[1] * size[2] * images, size[2] * images, images


def _meetings(size: int, kernel: int, stride: int, dilation: int, low: int, count: int) -> Meetings:
    """Which cells each output of an axis sees."""
    found: Meetings = []
    for j in range(count):
        cells = [(j * stride + k * dilation - low, k) for k in range(kernel)]
        found.append([(cell, k) for cell, k in cells if 0 <= cell < size])
    return found


def _moved(meetings: Meetings, margin: int) -> Meetings:
    """The same cells, counted from the first of a margin before them."""
    return [[(cell + margin, k) for cell, k in cells] for cells in meetings]


def _turned(meetings: Meetings, size: int) -> Meetings:
    """The same from the other side: which outputs see each cell."""
    found: Meetings = [[] for _ in range(size)]
    for j, cells in enumerate(meetings):
        for cell, k in cells:
            found[cell].append((j, k))
    return found


def _job(
    words: list[int],
    meetings: list[Meetings],
    target_steps: tuple[int, ...],
    source_steps: tuple[int, ...],
    tap_steps: tuple[int, ...],
) -> np.ndarray:
    """The words of `lockstep`: those given, the axes, the tables."""
    axes, tables = [], []
    at = GATHER_WORDS
    for along, target, source, tap in zip(meetings, target_steps, source_steps, tap_steps):
        axes += [len(along), target, at]
        starts = np.cumsum([0, *map(len, along)]).tolist()
        entries = [n for cells in along for cell, k in cells for n in (cell * source, k * tap)]
        tables += [*starts, *entries]
        at += len(starts) + len(entries)
    return np.array([*words, *axes, *tables], np.int64)


@functools.cache
def _gather_tiles(targets: int) -> tuple[int, ...]:
    """How many gather tiles of each of `GATHER_BLOCKS` channels cover the targets in least time.

    A tap takes a tile as long as its sums, but no less than one multiply-add takes to be done.
    """
    if targets <= 0:
        return (0,) * len(GATHER_BLOCKS)
    held = machine().vector_registers // VECTORS - VECTORS
    found = []
    for kind, block in enumerate(GATHER_BLOCKS):
        if block <= held:
            rest = _gather_tiles(targets - block)
            found.append((*rest[:kind], rest[kind] + 1, *rest[kind + 1 :]))

    def cost(counts: tuple[int, ...]) -> tuple[int, int]:
        tiles = list(zip(counts, GATHER_BLOCKS))
        return sum(n * (max(k, 4) + 1) for n, k in tiles), sum(n * k for n, k in tiles)

    return min(found, key=cost)


def _dot_tile(targets: int, rows: int) -> int:
    """Number of the dot tile with as little beyond the last target channels and rows as can be."""
    tiles = dot_tiles()

    def covered(number: int) -> int:
        block, height = tiles[number]
        return -(-targets // block) * block * -(-rows // height) * height

    return min(range(len(tiles)), key=covered)


def _chunk(count: tuple[int, ...], pixel_bytes: int) -> tuple[int, int]:
    """Pixels along H and W that a weight gradient sums at once: half the second-level cache."""
    pixels = max(1, machine().level2_bytes // 2 // pixel_bytes)
    width = min(count[2], pixels)
    return min(count[1], pixels // width), width


class Turn:
    """Images side by side into lockstep, with a margin of zeros."""

    def __init__(self, shape: tuple[int, ...], padding: Pairs, dtype: str) -> None:
        batch, channels, *spatial = shape
        self._pairs, self._dtype = padding, dtype
        self.shape = (batch, channels, *(n + a + b for n, (a, b) in zip(spatial, padding)))
        size, wide = _lifted(tuple(spatial), 1), _lifted(self.shape[2:], 1)
        there = _steps(wide, batch)
        cells, padded = math.prod(spatial), math.prod(wide)
        self._jobs = []
        for steps, images in ((_steps(size, 1), 1), (_steps(size, batch), batch)):
            words = [1, 1, channels * cells, 1, batch, cells * images, padded * batch]
            words += [0] * (AXES_AT - len(words))
            axes = [n for axis in zip(size, there, steps) for n in axis]
            self._jobs.append(np.array([*words, *axes], np.int64))
        self._items = channels * size[0] * size[1]
        inner = [slice(low, low + n) for (low, _), n in zip(padding, spatial)]
        self._inner = (slice(None), slice(None), *inner)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """`x`, which is C-contiguous or in lockstep, in an array of its own."""
        target = empty(self.shape, x.dtype)
        if any(map(any, self._pairs)):
            target[...] = 0  # once for all calls that are done again: the margin stays
        framed = is_lockstep(x)
        kernel, job = (lockstep_frame if framed else lockstep_turn), self._jobs[framed]
        threads = launch.thread_count(x.size, None)
        operands = x, target[self._inner]
        launch.run_on(kernel, self._dtype, job, operands, self._items, threads)
        return target


@functools.lru_cache(maxsize=64)
def _plain_turn(shape: tuple[int, ...], dtype: str) -> Turn:
    return Turn(shape, ((0, 0),) * (len(shape) - 2), dtype)


def in_lockstep(x: np.ndarray) -> np.ndarray:
    """An array (N, C, *spatial) in lockstep; `x` itself if it is that."""
    if is_lockstep(x):
        return x
    shape = x.shape if x.ndim > 2 else (len(x), 1, x.shape[1])
    turned = _plain_turn(shape, name_of(x.dtype))(_in_rows(x))
    return turned if x.ndim > 2 else turned[:, 0]


def _in_rows(x: np.ndarray) -> np.ndarray:
    """`x`, if it is C-contiguous, or a copy that is."""
    if not x.flags.c_contiguous:
        noted(unwritten)
    return np.ascontiguousarray(x)


class LockstepConvolution:
    """A convolution of images in lockstep and its gradients, zeros around the images."""

    def __init__(self, geometry: ConvGeometry, dtype: str) -> None:
        g, lanes = geometry, machine().lanes(dtype)
        self.geometry, self.dtype = g, dtype
        vectors, pairs = g.batch // lanes, _lifted(g.padding, (0, 0))
        size, count = _lifted(g.in_size, 1), _lifted(g.out_size, 1)
        wide = _lifted(g.padded_size, 1)
        kernel, stride = _lifted(g.kernel_size, 1), _lifted(g.stride, 1)
        dilation = _lifted(g.dilation, 1)
        taps, tap_steps = math.prod(kernel), _steps(kernel, 1)
        sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
        x_steps, y_steps = _steps(wide, g.batch), _steps(count, g.batch)
        x_channel, y_channel = math.prod(wide) * g.batch, math.prod(count) * g.batch
        lows = [low for low, _ in pairs]
        axes = list(zip(size, kernel, stride, dilation, lows, count))
        common = [lanes, vectors]
        whole = targets * sources * taps
        channels = [x_channel, y_channel, sources * taps, taps, whole]
        self._forward = _job(
            [g.groups, targets, sources, *common, *channels, *_gather_tiles(targets)],
            [_moved(_meetings(*axis), axis[4]) for axis in axes],
            y_steps,
            x_steps,
            tap_steps,
        )
        channels = [y_channel, math.prod(size) * g.batch, taps, sources * taps, whole]
        self._adjoint = _job(
            [g.groups, sources, targets, *common, *channels, *_gather_tiles(sources)],
            [_turned(_meetings(*axis), axis[0]) for axis in axes],
            _steps(size, g.batch),
            y_steps,
            tap_steps,
        )
        self._products, self._tiles = self._dots(
            targets, sources, count, stride, dilation, kernel, x_steps, y_steps
        )
        halves = -(-vectors // VECTORS)
        self._items = halves * count[0] * count[1], halves * size[0] * size[1]
        self._turn = Turn(g.input_shape, g.padding, dtype)
        self._padded = any(map(any, g.padding))
        self._zeros = np.zeros(max(g.in_channels, g.out_channels), dtype)

    def _dots(
        self,
        targets: int,
        sources: int,
        count: Any,
        stride: Any,
        dilation: Any,
        kernel: Any,
        x_steps: Any,
        y_steps: Any,
    ) -> tuple[np.ndarray, int]:
        """The job of the weight gradient, and its items."""
        g, lanes = self.geometry, machine().lanes(self.dtype)
        x_channel, y_channel = math.prod(_lifted(g.padded_size, 1)), math.prod(count)
        cells = np.zeros(1, np.int64)
        steps = [x_channel * g.batch, *(s * d for s, d in zip(x_steps, dilation))]
        for n, step in zip((sources, *kernel), steps):
            cells = (cells[:, None] + step * np.arange(n)).ravel()
        tile = _dot_tile(targets, len(cells))
        block, height = dot_tiles()[tile]
        x_walk = [s * step for s, step in zip(stride, x_steps)]
        joined = x_walk[2] == y_steps[2]
        # What a pixel takes: its target channels, and of x the cells that no other had before.
        size = np.dtype(self.dtype).itemsize * g.batch
        chunk = _chunk(count, size * (block + sources * stride[1] * stride[2]))
        words = [g.groups, targets, len(cells), tile, block, height]
        words += [sources * x_channel * g.batch, y_channel * g.batch]
        words += [n for axis in zip(count, x_walk, y_steps) for n in axis]
        words += [g.batch // lanes, lanes, int(joined), *chunk]
        assert len(words) == DOT_WORDS
        items = g.groups * -(-targets // block) * -(-len(cells) // height)
        return np.concatenate([np.array(words, np.int64), cells]), items

    def arranged(self, x: np.ndarray) -> np.ndarray:
        """The source in lockstep within its padding; `x` itself if it is that."""
        if is_lockstep(x):
            return self._turn(x) if self._padded else x
        return self._turn(_in_rows(x))

    def _start(self, job: np.ndarray, operands: tuple[np.ndarray, ...], items: int) -> None:
        threads = launch.thread_count(self.geometry.multiply_adds, None)
        launch.run_on(lockstep_sums, self.dtype, job, operands, items, threads)

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        """The convolution of an arranged source."""
        y = empty(self.geometry.output_shape, x.dtype)
        first = self._zeros if bias is None else bias
        self._start(self._forward, (x, weight, first, y), self._items[0])
        return y

    def input_gradient(self, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The gradient of the source, without its padding."""
        result = empty(self.geometry.input_shape, gradient.dtype)
        operands = gradient, weight, self._zeros, result
        self._start(self._adjoint, operands, self._items[1])
        return result

    def weight_gradient(
        self, x: np.ndarray, gradient: np.ndarray, biased: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The gradients of weight and bias, from an arranged source."""
        weight = np.empty(self.geometry.weight_shape, x.dtype)
        bias = np.empty(self.geometry.out_channels, x.dtype) if biased else None
        operands = x, gradient, weight, 0 if bias is None else bias
        threads = launch.thread_count(self.geometry.multiply_adds, None)
        launch.run_on(lockstep_products, self.dtype, self._products, operands, self._tiles, threads)
        return weight, bias


class LockstepMaximum:
    """The maximum of windows of images in lockstep, with a ReLU of it if wanted."""

    def __init__(self, geometry: PoolGeometry, dtype: str, rectified: bool) -> None:
        g, lanes = geometry, machine().lanes(dtype)
        self.geometry, self.dtype, self._rectified = g, dtype, int(rectified)
        size, count = _lifted(g.in_size, 1), _lifted(g.out_size, 1)
        kernel, stride = _lifted(g.kernel_size, 1), _lifted(g.stride, 1)
        lows = [low for low, _ in _lifted(g.padding, (0, 0))]
        axes = list(zip(size, kernel, stride, _lifted(g.dilation, 1), lows, count))
        x_plane, y_plane = math.prod(size) * g.batch, math.prod(count) * g.batch
        there = [_meetings(*axis) for axis in axes]
        back = [_turned(along, axis[0]) for along, axis in zip(there, axes)]
        x_steps, y_steps, taps = _steps(size, g.batch), _steps(count, g.batch), _steps(kernel, 1)
        head, rest = [1, 1, 1, lanes, g.batch // lanes], [0] * (AXES_AT - W_TARGET)
        self._forward = _job([*head, x_plane, y_plane, *rest], there, y_steps, x_steps, taps)
        self._backward = _job([*head, y_plane, x_plane, *rest], back, x_steps, y_steps, taps)
        self._items = g.channels * count[0] * count[1], g.channels * size[0] * size[1]

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The maxima, and of each the number of the tap."""
        y = empty(self.geometry.output_shape, x.dtype)
        choices = empty(y.shape, np.uint8)
        operands = x, y, choices, self._rectified
        self._start(lockstep_maxima, self._forward, operands, x.size, self._items[0])
        return y, choices

    def backward(self, gradient: np.ndarray, choices: np.ndarray) -> np.ndarray:
        """The gradient of x."""
        gradient = in_lockstep(gradient)
        result = empty(self.geometry.input_shape, gradient.dtype)
        operands = gradient, result, choices
        self._start(lockstep_slopes, self._backward, operands, result.size, self._items[1])
        return result

    def _start(
        self, kernel: Any, job: np.ndarray, operands: tuple[Any, ...], work: int, items: int
    ) -> None:
        launch.run_on(kernel, self.dtype, job, operands, items, launch.thread_count(work, None))


@functools.lru_cache(maxsize=64)
def convolution(geometry: ConvGeometry, dtype: str) -> LockstepConvolution:
    """The engine of a geometry, made once."""
    return LockstepConvolution(geometry, dtype)


@functools.lru_cache(maxsize=64)
def maximum(geometry: PoolGeometry, dtype: str, rectified: bool) -> LockstepMaximum:
    """The engine of a geometry, made once."""
    return LockstepMaximum(geometry, dtype, rectified)


class LockstepDense:
    """A dense layer of images in lockstep and its gradients: y = x weight^T + bias.

    Letters: N images, C features in, K out. In lockstep the transposes of x and y lie in rows.
    """

    def __init__(self, images: int, sources: int, targets: int, dtype: str) -> None:
        n, c, k = images, sources, targets
        self._forward = Product(k, c, n, (c, 1), dtype)  # weight (K, C) by x^T (C, N)
        self._adjoint = Product(c, k, n, (1, c), dtype)  # weight^T (C, K) by gradient^T (K, N)
        self._products = Product(k, n, c, (n, 1), dtype)  # gradient^T (K, N) by x (N, C)
        self._sums = Product(k, n, 1, (n, 1), dtype)  # gradient^T (K, N) by ones (N, 1)
        self._ones = np.ones((n, 1), dtype)

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        """(N, K) in lockstep, from x in lockstep."""
        y = recycling.empty(self._forward.shape, x.dtype)
        self._forward(weight, x.T, bias, y)
        return y.T

    def input_gradient(self, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """(N, C) in lockstep, from a gradient in lockstep."""
        result = recycling.empty(self._adjoint.shape, gradient.dtype)
        self._adjoint(weight, gradient.T, None, result)
        return result.T

    def weight_gradient(self, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """(K, C), from x in rows or in lockstep and a gradient in lockstep."""
        weight = np.empty(self._products.shape, x.dtype)
        # In lockstep x is the transpose of rows; those of the transpose in lockstep are rows of x.
        rows = x if x.flags.c_contiguous else in_lockstep(x.T).T
        self._products(gradient.T, rows, None, weight)
        return weight

    def bias_gradient(self, gradient: np.ndarray) -> np.ndarray:
        """(K,), from a gradient in lockstep."""
        bias = np.empty(self._sums.shape, gradient.dtype)
        self._sums(gradient.T, self._ones, None, bias)
        return bias[:, 0]


@functools.lru_cache(maxsize=64)
def dense(images: int, sources: int, targets: int, dtype: str) -> LockstepDense:
    """The engine of a dense layer, made once."""
    return LockstepDense(images, sources, targets, dtype)
