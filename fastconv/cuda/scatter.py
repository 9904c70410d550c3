"""Values to the cells that their indices name: the gradient of maxima, and its inverse.

A block takes one plane, and chunk by chunk as many values as it has threads. Of those in a chunk
that go to one cell, the first adds up all, in their order, and writes; so no float is added
atomically and the bits are those of every run. Looking for equals costs a comparison for each pair
of a chunk.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..cpu.windows import AnyPool
from .activation import number
from .arrays import DeviceArray, check_out, empty, formatted, is_channels_last, zeros
from .backend import SIMULATED, cuda
from .elementwise import compute_type
from .emit import quotient
from .launch import THREADS as STRIDED
from .launch import Kernel, blocks_for
from .memory import Table

CHUNK = 3 if SIMULATED else 128


@functools.lru_cache(maxsize=64)
def scatter(dtype: str, out: str, gradient: bool, channels_last: bool) -> Kernel:
    """y[n, c, indices[n, c, p]] += values[n, c, p], or = for the last of the values.

    Wrong indices are left out, and `wrong` is set.
    """
    SUM, INDEX, THREADS = number(out), cuda.types.int64, CHUNK

    def kernel(values, indices, y, wrong, channels, outputs, cells):  # type: ignore[no-untyped-def]
        shared_at = cuda.shared.array(THREADS, INDEX)
        shared_value = cuda.shared.array(THREADS, SUM)
        t, plane = cuda.threadIdx.x, cuda.blockIdx.x
        source, target, step = plane * outputs, plane * cells, 1
        if channels_last:
            n = plane // channels
            c, step = plane - n * channels, channels
            source, target = n * channels * outputs + c, n * channels * cells + c
        for begin in range(0, outputs, THREADS):
            at = -1
            if begin + t < outputs:
                at = indices[source + (begin + t) * step]
                if at < 0 or at >= cells:
                    wrong[0] = 1
                    at = -1
                shared_value[t] = SUM(values[source + (begin + t) * step])
            shared_at[t] = at
            cuda.syncthreads()
            if at >= 0:
                alone = True
                for s in range(THREADS):
                    earlier = s < t if gradient else s > t
                    if earlier and shared_at[s] == at:
                        alone = False
                if alone:
                    total = shared_value[t]
                    if gradient:
                        for s in range(t + 1, THREADS):
                            if shared_at[s] == at:
                                total += shared_value[s]
                        total += y[target + at * step]
                    y[target + at * step] = total
            cuda.syncthreads()

    kind = "sum" if gradient else "last"
    name = f"scatter_{kind}_{dtype}_{'last' if channels_last else 'first'}"
    arguments = [dtype, "int64", out, "int32", "number", "number", "number"]
    shared = THREADS * (8 + np.dtype(out).itemsize)
    return Kernel(name, kernel, arguments, THREADS, shared)


@functools.lru_cache(maxsize=64)
def gather(dtype: str, channels_last: bool) -> Kernel:
    """y[n, c, p] = values[n, c, indices[n, c, p]]; wrong indices are left out, `wrong` is set."""

    def kernel(values, indices, y, wrong, channels, outputs, cells, count):  # type: ignore[no-untyped-def]
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            at = indices[i]
            if 0 <= at < cells:
                if channels_last:
                    n = i // (channels * outputs)
                    c = i - i // channels * channels
                    y[i] = values[(n * cells + at) * channels + c]
                else:
                    y[i] = values[quotient(i, outputs) * cells + at]
            else:
                wrong[0] = 1

    name = f"take_{dtype}_{'last' if channels_last else 'first'}"
    arguments = [dtype, "int64", dtype, "int32", "number", "number", "number", "number"]
    return Kernel(name, kernel, arguments, STRIDED)


def _check(op: str, wrong: Any, places: DeviceArray, geometry: AnyPool, size: str) -> None:
    """ValueError for indices outside the planes of the input, which is called `size`."""
    cells = math.prod(geometry.in_size)
    if places.below is not None and places.below <= cells:
        return
    flag = DeviceArray(wrong, wrong.address, (1,), (4,), np.int32)
    if flag.item():
        host = places.copy_to_host()
        bad = host[(host < 0) | (host >= cells)]
        raise ValueError(
            f"{op}: indices must be at least 0 and below {cells}, the cells in a plane of {size} "
            f"{geometry.in_size}, not {bad[0]}"
        )


def put(
    op: str,
    geometry: AnyPool,
    values: DeviceArray,
    indices: DeviceArray,
    gradient: bool,
    out: Any,
    lone: bool | None = None,
) -> Any:
    """Values of the shape of the output to those cells of the input that their indices name.

    Summed there for a `gradient`; of the values of an unpooling the last one stays.
    """
    lone = not geometry.batched if lone is None else lone
    x, places = (values[None], indices[None]) if lone else (values, indices)
    last, shape = is_channels_last(x), geometry.input_shape
    sums = compute_type(x.dtype) if gradient else x.dtype
    given = None
    if out is not None:
        given = check_out(op, out, shape[1:] if lone else shape, x.dtype, values, indices)
    y, wrong = zeros(shape, sums, last), Table(np.zeros(1, np.int32))
    if x.size:
        outputs, cells = math.prod(geometry.out_size), math.prod(geometry.in_size)
        kernel = scatter(x.dtype.name, y.dtype.name, gradient, last)
        dense = [formatted(a, last) for a in (x, places.astype(np.int64, copy=False))]
        planes = x.shape[0] * x.shape[1]
        kernel(planes, *dense, y, wrong, x.shape[1], outputs, cells)
        _check(op, wrong, indices, geometry, "input_size" if gradient else "output_size")
    y = y.astype(x.dtype, copy=False)
    if given is not None:
        given[...] = y[0] if lone else y
        return out
    return y[0] if lone else y


def take(op: str, geometry: AnyPool, values: DeviceArray, indices: DeviceArray, out: Any) -> Any:
    """Those cells of the input that the indices, of the shape of the output, name."""
    lone = not geometry.batched
    x, places = (values[None], indices[None]) if lone else (values, indices)
    last, shape = is_channels_last(x), geometry.output_shape
    given = None
    if out is not None:
        given = check_out(op, out, shape[1:] if lone else shape, x.dtype, values, indices)
    y, wrong = empty(shape, x.dtype, last), Table(np.zeros(1, np.int32))
    if y.size:
        outputs, cells = math.prod(geometry.out_size), math.prod(geometry.in_size)
        dense = [formatted(a, last) for a in (x, places.astype(np.int64, copy=False))]
        words = (x.shape[1], outputs, cells, y.size)
        gather(x.dtype.name, last)(blocks_for(y.size), *dense, y, wrong, *words)
        _check(op, wrong, indices, geometry, "grad_output")
    if given is not None:
        given[...] = y[0] if lone else y
        return out
    return y[0] if lone else y
