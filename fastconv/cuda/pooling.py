"""Pooling over windows: a thread computes one output out of the cells of its window.

Tables say along each axis at which cell an output's window begins and how many taps it has inside
the input, so padding, overhang and bins end on the host (`fastconv.cpu.windows`). The gradient of a
mean pools too: a cell receives from the outputs whose windows cover it, and they are neighbours.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..cpu.windows import AnyPool, axes, cover, window
from ..geometry import PoolGeometry
from .activation import number
from .arrays import DeviceArray, check_out, empty, formatted, is_channels_last
from .backend import cuda
from .elementwise import compute_type, run
from .emit import quotient
from .engine import element_strides
from .launch import THREADS, Kernel, blocks_for
from .memory import Table
from .scatter import put, take

__all__ = ["avg_pool", "avg_pool_input", "lp_pool", "lp_pool_input", "max_pool", "put", "take"]

(MAX, ARGMAX, MEAN, SPREAD, NORM) = range(5)

# Words of a job: channels, sizes of the output and of the input's axes height and width, strides of
# the input, the fixed divisor or zero, distances between taps, and where the tables begin.
(
    CHANNELS,
    OUT_D,
    OUT_H,
    OUT_W,
    IN_H,
    IN_W,
    STEP_N,
    STEP_C,
    STEP_D,
    STEP_H,
    STEP_W,
    DIVISOR,
    GAP_D,
    GAP_H,
    GAP_W,
    AT_D,
    AT_H,
    AT_W,
    SHARES_D,
    SHARES_H,
    SHARES_W,
    WORDS,
) = range(22)


@functools.lru_cache(maxsize=128)
def pool(dtype: str, mode: int, channels_last: bool) -> Kernel:
    """out[n, c, o] = f(x[n, c, i] for the cells i of window o)

    A mean divides its sum, SPREAD every term, by the product of the axes' shares or a number.
    """
    SUM, OUT = number(compute_type(dtype)), number(dtype)
    KEY = number("float32" if dtype == "float16" else dtype)  # compared without a library
    finds = mode in (MAX, ARGMAX)

    def kernel(x, out, indices, job, exponent, count):  # type: ignore[no-untyped-def]
        channels, depth, height, width = job[CHANNELS], job[OUT_D], job[OUT_H], job[OUT_W]
        fixed = job[DIVISOR]
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            rest, c = i, 0
            if channels_last:
                upper = quotient(rest, channels)
                c = rest - upper * channels
                rest = upper
            upper = quotient(rest, width)
            w = rest - upper * width
            rest = upper
            upper = quotient(rest, height)
            h = rest - upper * height
            rest = upper
            upper = quotient(rest, depth)
            d = rest - upper * depth
            rest = upper
            if not channels_last:
                upper = quotient(rest, channels)
                c = rest - upper * channels
                rest = upper
            first_d, taps_d = job[job[AT_D] + 2 * d], job[job[AT_D] + 2 * d + 1]
            first_h, taps_h = job[job[AT_H] + 2 * h], job[job[AT_H] + 2 * h + 1]
            first_w, taps_w = job[job[AT_W] + 2 * w], job[job[AT_W] + 2 * w + 1]
            base = rest * job[STEP_N] + c * job[STEP_C]
            best, place = KEY(0), -1
            total = SUM(0)
            for a in range(taps_d):
                at_d = first_d + a * job[GAP_D]
                for b in range(taps_h):
                    at_h = first_h + b * job[GAP_H]
                    row = base + at_d * job[STEP_D] + at_h * job[STEP_H]
                    for e in range(taps_w):
                        at_w = first_w + e * job[GAP_W]
                        value = x[row + at_w * job[STEP_W]]
                        if finds:
                            key = KEY(value)
                            # NaN, which is not itself, is larger than all; of equals the first
                            # wins.
                            larger = key > best or (key != key and best == best)
                            if place < 0 or larger:
                                best = key
                                place = (at_d * job[IN_H] + at_h) * job[IN_W] + at_w
                        elif mode == NORM:
                            size = abs(SUM(value))
                            if exponent == 1:
                                total += size
                            elif exponent == 2:
                                total += size * size
                            else:
                                total += SUM(math.pow(size, SUM(exponent)))
                        elif mode == SPREAD:
                            share = fixed
                            if fixed == 0:
                                share = job[job[SHARES_D] + at_d] * job[job[SHARES_H] + at_h]
                                share *= job[job[SHARES_W] + at_w]
                            total += SUM(value) / SUM(share)
                        else:
                            total += SUM(value)
            if finds:
                out[i] = OUT(best)
                if mode == ARGMAX:
                    indices[i] = place
            elif mode == MEAN:
                share = fixed
                if fixed == 0:
                    share = job[job[SHARES_D] + d] * job[job[SHARES_H] + h]
                    share *= job[job[SHARES_W] + w]
                out[i] = OUT(total / SUM(share))
            elif mode == NORM:
                if exponent == 2:
                    out[i] = OUT(math.sqrt(total))
                elif exponent == 1:
                    out[i] = OUT(total)
                else:
                    out[i] = OUT(math.pow(total, SUM(1 / exponent)))
            else:
                out[i] = OUT(total)

    names = {MAX: "max", ARGMAX: "argmax", MEAN: "mean", SPREAD: "spread", NORM: "norm"}
    name = f"pool_{names[mode]}_{dtype}_{'last' if channels_last else 'first'}"
    arguments = [dtype, dtype, "int64", "int64", "real", "number"]
    return Kernel(name, kernel, arguments, THREADS)


@functools.lru_cache(maxsize=256)
def _tables(geometry: AnyPool, padded: bool, backward: bool) -> tuple[list[int], tuple[Any, ...]]:
    """Distances between taps; (first, taps) of every target along each axis; the shares."""
    windows, shares, gaps = [], [], []
    for axis in axes(geometry, padded):
        size, count, _, _, dilation, *_ = axis
        each = [window(axis, output) for output in range(count)]
        shares.append(np.array([share for _, _, share in each], np.int64))
        if backward:
            ranges = [cover(axis, cell) for cell in range(size)]
            pairs = [(begin, max(end - begin, 0)) for begin, end in ranges]
        else:
            pairs = [(first, taps) for first, taps, _ in each]
        windows.append(np.array(pairs, np.int64).ravel())
        gaps.append(1 if backward else dilation)
    return gaps, (*windows, *shares)


@functools.lru_cache(maxsize=256)
def _job(
    geometry: AnyPool, padded: bool, backward: bool, divisor: int, steps: tuple[int, ...]
) -> Table:
    """The job for a source of these element strides (N, C, *spatial)."""
    gaps, tables = _tables(geometry, padded, backward)
    unit = (1,) * (3 - geometry.rank)
    target, source = geometry.out_size, geometry.in_size
    if backward:
        target, source = source, target
    lifted = (*steps[:2], *(0,) * (3 - geometry.rank), *steps[2:])
    words = [geometry.channels, *unit, *target, *(*unit, *source)[1:], *lifted, divisor, *gaps]
    words += np.cumsum([WORDS, *map(len, tables[:-1])]).tolist()
    assert len(words) == WORDS
    return Table(np.concatenate([np.array(words, np.int64), *tables]))


class _Target:
    """Where a result goes: `out` if the kernel can write it, else an array of its own."""

    def __init__(self, op: str, out: Any, shape: Any, batched: bool, like: DeviceArray) -> None:
        """For a result of `shape` in the dtype and format of `like`, both with a batch axis."""
        self._out, self._batched = out, batched
        self.channels_last = is_channels_last(like)
        self.array = empty(shape, like.dtype, self.channels_last)
        if out is not None:
            self._given = check_out(op, out, shape if batched else shape[1:], like.dtype, like)

    def result(self) -> Any:
        """What the door returns once `array` is filled."""
        array = self.array if self._batched else self.array[0]
        if self._out is None:
            return array
        self._given[...] = array
        return self._out


def _run(
    mode: int,
    geometry: AnyPool,
    x: DeviceArray,
    out: DeviceArray,
    *,
    backward: bool = False,
    padded: bool = False,
    divisor: int = 0,
    indices: DeviceArray | None = None,
    exponent: float = 0.0,
) -> None:
    """Start the kernel, on as many images at a time as it counts outputs of."""
    if not out.size:
        return
    last = is_channels_last(out)
    kernel = pool(x.dtype.name, mode, last)
    one = math.prod(out.shape[1:])
    if one >= 2**31:
        raise ValueError(f"pooling: {one} outputs of one image are more than a launch counts")
    images = (2**31 - 1) // one
    job = _job(geometry, padded, backward, divisor, element_strides(x))
    for n in range(0, out.shape[0], images):
        part = slice(n, n + images)
        places = job if indices is None else indices[part]
        count = out[part].size
        kernel(blocks_for(count), x[part], out[part], places, job, exponent, count)


def _lifted(x: DeviceArray, geometry: AnyPool) -> DeviceArray:
    return x if geometry.batched else x[None]


def max_pool(op: str, geometry: AnyPool, input: DeviceArray, return_indices: bool, out: Any) -> Any:
    """The maximum of each window, with `return_indices` also its place in the plane."""
    x = _lifted(input, geometry)
    target = _Target(op, out, geometry.output_shape, geometry.batched, x)
    if not return_indices:
        _run(MAX, geometry, x, target.array)
        return target.result()
    indices = empty(geometry.output_shape, np.int64, target.channels_last)
    _run(ARGMAX, geometry, x, target.array, indices=indices)
    places = indices if geometry.batched else indices[0]
    places.below = math.prod(geometry.in_size)
    return target.result(), places


def avg_pool(
    op: str, geometry: AnyPool, input: DeviceArray, padded: bool, divisor: int | None, out: Any
) -> Any:
    """The mean of each window; `padded` counts the cells of the padding in the divisor."""
    x = _lifted(input, geometry)
    target = _Target(op, out, geometry.output_shape, geometry.batched, x)
    _run(MEAN, geometry, x, target.array, padded=padded, divisor=divisor or 0)
    return target.result()


def avg_pool_input(
    op: str,
    geometry: AnyPool,
    grad_output: DeviceArray,
    padded: bool,
    divisor: int | None,
    out: Any,
) -> Any:
    """The gradient of `avg_pool`."""
    x = _lifted(grad_output, geometry)
    target = _Target(op, out, geometry.input_shape, geometry.batched, x)
    fixed = divisor or 0
    _run(SPREAD, geometry, x, target.array, backward=True, padded=padded, divisor=fixed)
    return target.result()


# --- Norms ---


def lp_pool(op: str, geometry: PoolGeometry, input: DeviceArray, norm: float, out: Any) -> Any:
    """The norm of each window: (sum of abs(x)**norm) ** (1 / norm), or the largest abs(x)."""
    x = _lifted(input, geometry)
    target = _Target(op, out, geometry.output_shape, geometry.batched, x)
    if norm == math.inf:
        _run(MAX, geometry, abs(x), target.array)
    else:
        _run(NORM, geometry, x, target.array, exponent=norm)
    return target.result()


def _term(g: Any, y: Any, norm: Any) -> Any:
    return g if norm == 1 else g * math.pow(y, 1 - norm) if y != 0 else g * 0


def _slope(t: Any, x: Any, norm: Any) -> Any:
    if x == 0:
        return t * 0
    size = t if norm == 1 else t * math.pow(abs(x), norm - 1)
    return size if x > 0 else -size


def lp_pool_input(
    op: str, geometry: PoolGeometry, operands: dict[str, DeviceArray], norm: float, out: Any
) -> Any:
    """The gradient of `lp_pool` from its "grad_output", "input" and "output"."""
    dtype = np.result_type(*(x.dtype for x in operands.values()))
    gradient, x, y = (
        _lifted(array, geometry).astype(dtype, copy=False) for array in operands.values()
    )
    target = _Target(op, out, geometry.input_shape, geometry.batched, x)
    last = target.channels_last
    if norm == math.inf:
        size = formatted(abs(x), last)
        indices = empty(geometry.output_shape, np.int64, last)
        _run(ARGMAX, geometry, size, empty(geometry.output_shape, dtype, last), indices=indices)
        indices.below = math.prod(geometry.in_size)
        target.array[...] = put(op, geometry, gradient, indices, True, None, lone=False)
        target.array[...] = np.multiply(target.array, np.sign(x))
        return target.result()
    terms = empty(geometry.output_shape, dtype, last)
    run("lp_term", _term, terms, gradient, y, norm)
    _run(SPREAD, geometry, terms, target.array, backward=True, divisor=1)
    run("lp_slope", _slope, target.array, target.array, x, norm)
    return target.result()
