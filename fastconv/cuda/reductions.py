"""Sums over axes, in a fixed order: chunks by blocks of threads, then the chunks.

y[k] = sum over o, i of f(x[o, k, i])
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .activation import number
from .arrays import DeviceArray, contiguous, empty, is_channels_last, moved
from .backend import cuda
from .emit import device
from .launch import THREADS, Kernel, blocks_for
from .machine import gpu

# Terms that a block adds up at least.
LEAST_TERMS = 8 * THREADS


def _identity(x: Any, shift: Any) -> Any:
    return x


def _squared_distance(x: Any, shift: Any) -> Any:
    return (x - shift) * (x - shift)


def sum_type(dtype: Any) -> np.dtype:
    """What sums are kept in: float64 for floating-point numbers, int64 for integers."""
    return np.dtype("int64" if np.dtype(dtype).kind in "iu" else "float64")


@functools.lru_cache(maxsize=64)
def partial_sums(dtype: str, function: Callable, channels_last: bool) -> Kernel:
    """partial[z, k] = sum over the terms j of chunk z of f(x[j, k], shift[k])

    Channels-first term j of a channel is (o, i); a block adds up one channel, its threads
    neighbouring terms. Channels-last its threads take neighbouring channels.
    """
    SUM, TERM = number(sum_type(dtype)), number(dtype)
    f = device(function)
    LANES = THREADS

    def kernel(x, shift, partial, channels, inner, terms, chunk):  # type: ignore[no-untyped-def]
        t, z = cuda.threadIdx.x, cuda.blockIdx.y
        begin, end = z * chunk, min((z + 1) * chunk, terms)
        if channels_last:
            k = cuda.blockIdx.x * LANES + t
            if k < channels:
                total = SUM(0)
                for j in range(begin, end):
                    total += f(SUM(TERM(x[j * channels + k])), shift[k])
                partial[z * channels + k] = total
        else:
            totals = cuda.shared.array(LANES, SUM)
            k = cuda.blockIdx.x
            total = SUM(0)
            for j in range(begin + t, end, LANES):
                o = j // inner
                total += f(SUM(TERM(x[(o * channels + k) * inner + j - o * inner])), shift[k])
            totals[t] = total
            cuda.syncthreads()
            left = LANES
            while left > 1:
                half = (left + 1) // 2
                if t < left - half:
                    totals[t] += totals[t + half]
                cuda.syncthreads()
                left = half
            if t == 0:
                partial[z * channels + k] = totals[0]

    kind = sum_type(dtype).name
    arguments = [dtype, kind, kind, "number", "number", "number", "number"]
    name = f"sums{function.__name__}_{dtype}_{'last' if channels_last else 'first'}"
    return Kernel(name, kernel, arguments, THREADS, 0 if channels_last else 8 * LANES)


@functools.lru_cache(maxsize=16)
def add_chunks(dtype: str) -> Kernel:
    """y[k] = sum over z, in order, of partial[z, k]"""
    SUM = number(dtype)

    def kernel(partial, y, chunks, channels):  # type: ignore[no-untyped-def]
        for k in range(cuda.grid(1), channels, cuda.gridsize(1)):
            total = SUM(0)
            for z in range(chunks):
                total += partial[z * channels + k]
            y[k] = total

    return Kernel(f"add_chunks_{dtype}", kernel, [dtype, dtype, "number", "number"], THREADS)


def channel_sums(
    x: DeviceArray, function: Callable = _identity, shift: DeviceArray | None = None
) -> DeviceArray:
    """Sums of (N, C, ...) over all but the channels, (C,), in `sum_type`."""
    channels = x.shape[1]
    kind = sum_type(x.dtype)
    if not x.size:
        from .arrays import zeros

        return zeros((channels,), kind)
    last = x.ndim > 2 and is_channels_last(x)
    last = last or x.ndim == 2
    x = contiguous(moved(x, 1, -1)) if last else contiguous(x)
    terms = x.size // channels
    inner = 1 if last else math.prod(x.shape[2:])
    columns = -(-channels // THREADS) if last else channels
    wanted = -(-4 * gpu().processors // columns)
    chunks = max(min(wanted, terms // LEAST_TERMS if not last else terms // 32, 1024), 1)
    chunk = -(-terms // chunks)
    chunks = -(-terms // chunk)
    partial = empty((chunks, channels), kind)
    offset = shift if shift is not None else partial
    kernel = partial_sums(x.dtype.name, function, last)
    kernel((columns, chunks), x, offset, partial, channels, inner, terms, chunk)
    if chunks == 1:
        return partial[0]
    y = empty((channels,), kind)
    add_chunks(kind.name)(blocks_for(channels), partial, y, chunks, channels)
    return y


def total(x: DeviceArray, axis: Any, dtype: Any, keepdims: bool) -> DeviceArray:
    """As `numpy.sum`; the sums are rounded once."""
    axes = range(x.ndim) if axis is None else axis if np.iterable(axis) else (axis,)
    summed = sorted(a % x.ndim for a in axes)
    kept = [a for a in range(x.ndim) if a not in summed]
    result = np.dtype(dtype) if dtype is not None else x.dtype
    outer = [a for a in summed if not kept or a < kept[0]]
    inner = [a for a in summed if a not in outer]
    ordered = x.transpose(*outer, *kept, *inner)
    shape = (
        math.prod(x.shape[a] for a in outer),
        math.prod(x.shape[a] for a in kept),
        math.prod(x.shape[a] for a in inner),
    )
    if (
        kept
        and len(kept) == 1
        and ordered.ndim in (3, 4, 5)
        and is_channels_last(x)
        and kept == [1]
    ):
        sums = channel_sums(x)
    else:
        sums = channel_sums(ordered.reshape(shape))
    names = [1 if a in summed else x.shape[a] for a in range(x.ndim)]
    whole = sums.reshape(names) if keepdims else sums.reshape([x.shape[a] for a in kept])
    return whole.astype(result, copy=False)
