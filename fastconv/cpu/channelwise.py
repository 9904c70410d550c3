"""Passes over arrays with numbers of each channel, and sums over each channel: batch normalisation.

    MOMENTS:  first[c] = sum away[i, c]    second[c] = sum away[i, c] away[i, c]
    PRODUCTS: first[c] = sum g[i, c]       second[c] = sum g[i, c] away[i, c]
    SCALED:   y[i, c] = away[i, c] slope[c] + level[c]
    SLOPES:   y[i, c] = away[i, c] slope[c] + level[c] + g[i, c] share[c]

where away = x[i, c] - centre[c], and i are all images and positions. Sums are kept in float64,
whatever the elements are. Channels lie side by side, or each image has a plane of each channel.
Items are the same for every number of threads, and so is the order in which their sums are added.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from ..machine import machine
from .compile import float_kernel, name_of
from .emit import i64, one_of
from .lanes import Lanes
from .launch import run, thread_count
from .memory import address_of, shift, word

(MOMENTS, PRODUCTS, SCALED, SLOPES) = range(4)
# Numbers of each channel.
(CENTRE, SLOPE, LEVEL, SHARE) = range(4)

# Elements of an item at least.
LEAST = 16384
# Items of a sum, about.
ITEMS = 256
# Fewer channels side by side count, several pixels as one, as about so many: in whole vectors.
WIDTH = 64

# Words of a job. Planes of a channel, or pixels, are rows; there are so many groups of them.
(MODE, SIDE_BY_SIDE, CHANNELS, PLANE, ROWS, GROUPS, LANES) = range(7)

# Pixels whose sums are added in registers before they are added to those in memory, and how many
# before a pixel is read it is asked for: no hardware prefetcher follows some rows at once.
TOGETHER, AHEAD = 4, 8


class _Rows:
    """Rows of x, g and y of `length` elements, `step` elements apart, as vectors.

    `table` has the numbers of the channels in all lanes, one every `pitch` elements; two sums of
    each lane are at `sums` and `pitch` further. If channels lie `side_by_side`, those of a vector
    lie as far along as it does, else they are the same for all.
    """

    def __init__(self, mode: int, side_by_side: bool, e: Lanes, numbers: list[Any]) -> None:
        x, g, y, table, self.sums, self.pitch, self.rows, self.step, self.length = numbers
        self.e, self.mode, self.side_by_side = e, mode, side_by_side
        self.x, self.g, self.y, self.table = (e.at(address) for address in (x, g, y, table))
        self.wide = ir.VectorType(ir.DoubleType(), e.lanes)
        self.whole = e.builder.sdiv(self.length, i64(e.lanes))
        self.done = e.times(self.whole, e.lanes)
        self.left = e.builder.sub(self.length, self.done)

    def number(self, which: int, along: Any) -> Any:
        """A number of each channel for the vector so far along."""
        e = self.e
        place = e.shift(self.table, e.times(self.pitch, which))
        return e.load(e.shift(place, along) if self.side_by_side else place)

    def values(self, at: Any, alive: Any, centre: Any) -> tuple[Any, Any]:
        """Of x and g; dead lanes are no way from the centre."""
        e = self.e
        other = None
        if self.mode in (PRODUCTS, SLOPES):
            other = e.row(e.shift(self.g, at), 0, alive)
        return e.row(e.shift(self.x, at), 0, alive, centre), other

    def cell(self, which: int, along: Any) -> Any:
        """Where a sum of each lane is."""
        b = self.e.builder
        place = self.e.times(self.pitch, which)
        if self.side_by_side:
            place = b.add(place, along)
        return b.gep(self.e.at(self.sums), [place], source_etype=ir.DoubleType())

    def read(self, along: Any) -> list[Any]:
        """The two sums."""
        b = self.e.builder
        return [b.load(self.cell(i, along), typ=self.wide, align=8) for i in range(2)]

    def write(self, state: list[Any], along: Any) -> None:
        """Set the two sums."""
        for i, vector in enumerate(state):
            self.e.builder.store(vector, self.cell(i, along), align=8)

    def add(self, state: list[Any], at: Any, alive: Any, centre: Any) -> None:
        """Add a vector to two sums."""
        b = self.e.builder
        value, other = self.values(at, alive, centre)
        away = b.fsub(self._widened(value), self._widened(centre))
        first = away if other is None else self._widened(other)
        state[:] = b.fadd(state[0], first), b.fadd(state[1], b.fmul(first, away))

    def _widened(self, value: Any) -> Any:
        return value if value.type == self.wide else self.e.builder.fpext(value, self.wide)

    def put(self, at: Any, alive: Any, n: list[Any]) -> None:
        """Fill a vector of y, with its numbers."""
        e = self.e
        value, other = self.values(at, alive, n[CENTRE])
        result = e.fma(e.subtract(value, n[CENTRE]), n[SLOPE], n[LEVEL])
        if other is not None:
            result = e.fma(other, n[SHARE], result)
        e.put(result, e.shift(self.y, at), e.align, alive)


def _sum_planes(r: _Rows) -> None:
    """The sums of one channel stay in registers."""
    e, b = r.e, r.e.builder
    centre = r.number(CENTRE, i64(0))

    def visit(whole: bool) -> None:
        state = r.read(i64(0))
        with e.loop(r.rows, state) as row:
            start = b.mul(row, r.step)
            if whole:
                with e.loop(r.whole, state) as i:
                    r.add(state, b.add(start, e.times(i, e.lanes)), None, centre)
            r.add(state, b.add(start, r.done), r.left, centre)
        r.write(state, i64(0))

    with b.if_else(b.icmp_signed(">", r.whole, i64(0))) as (some, none):
        with some:
            visit(True)
        with none:
            visit(False)


def _sum_pixels(r: _Rows) -> None:
    """The sums of all channels lie in memory; some pixels are added to them at once."""
    e, b = r.e, r.e.builder

    def visit(starts: list[Any], along: Any, alive: Any) -> None:
        centre, state = r.number(CENTRE, along), r.read(along)
        for start in starts:
            at = b.add(start, along)
            for array in (r.x, r.g) if r.mode == PRODUCTS else (r.x,):
                e.prefetch(array, b.add(at, e.times(r.step, AHEAD)))
            r.add(state, at, alive, centre)
        r.write(state, along)

    def sweep(first: Any, count: int) -> None:
        starts = [b.mul(b.add(first, i64(i)), r.step) for i in range(count)]
        with e.repeat(r.whole) as i:
            visit(starts, e.times(i, e.lanes), None)
        with b.if_then(b.icmp_signed(">", r.left, i64(0))):
            visit(starts, r.done, r.left)

    together = b.sdiv(r.rows, i64(TOGETHER))
    with e.repeat(together) as i:
        sweep(e.times(i, TOGETHER), TOGETHER)
    first = e.times(together, TOGETHER)
    with e.repeat(b.sub(r.rows, first)) as i:
        sweep(b.add(first, i), 1)


def _scale(r: _Rows) -> None:
    e, b = r.e, r.e.builder
    constant = [r.number(i, i64(0)) for i in range(4)]

    def numbers(along: Any) -> list[Any]:
        return [r.number(i, along) for i in range(4)] if r.side_by_side else constant

    with e.loop(r.rows, []) as row:
        start = b.mul(row, r.step)
        with e.repeat(r.whole) as i:
            along = e.times(i, e.lanes)
            r.put(b.add(start, along), None, numbers(along))
        with b.if_then(b.icmp_signed(">", r.left, i64(0))):
            r.put(b.add(start, r.done), r.left, numbers(r.done))


def _way(mode: int, side_by_side: bool) -> tuple[str, Any]:
    """The name of a pass over rows, and what emits it."""
    walk = _scale
    if mode in (MOMENTS, PRODUCTS):
        walk = _sum_pixels if side_by_side else _sum_planes

    def emit(builder: Any, element: Any, *numbers: Any) -> None:
        e = Lanes(builder, element, i64(1), i64(1))
        e.fused = machine().has_fma
        walk(_Rows(mode, side_by_side, e, [*numbers]))

    name = ("moments", "products", "scaled", "slopes")[mode]
    return f"{name}_{'pixels' if side_by_side else 'planes'}", emit


_WAYS = [_way(mode, side) for side in (False, True) for mode in range(4)]


@intrinsic
def _rows(
    typing: Any, element: Any, way: Any, x: Any, g: Any, y: Any, table: Any, sums: Any,
    pitch: Any, rows: Any, step: Any, length: Any,
) -> Any:  # fmt: skip
    """See `_Rows`; there is at least one."""
    return one_of(_WAYS, element, way, x, g, y, table, sums, pitch, rows, step, length)


@float_kernel
def channelwise(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """The equations above; items are (channel, group of rows), or groups of pixels.

    Operands: x, g, y, table, sums, where those that a mode has not may be anything.
    """
    mode, lanes, groups = word(job, MODE), word(job, LANES), word(job, GROUPS)
    x, g, y = word(operands, 0), word(operands, 1), word(operands, 2)
    rows, channels = word(job, ROWS), word(job, CHANNELS)
    plane = word(job, PLANE)
    table, sums = word(operands, 3), word(operands, 4)
    padded = (channels + lanes - 1) // lanes * lanes
    for item in range(begin, end):
        group = item % groups
        row, last = group * rows // groups, (group + 1) * rows // groups
        if word(job, SIDE_BY_SIDE):
            way, step, length, at, pitch = 4 + mode, channels, channels, row * channels, padded
        else:
            channel, step, pitch = item // groups, channels * plane, channels * lanes
            way, length = mode, plane
            at = (row * channels + channel) * plane
            table = shift(element, word(operands, 3), lanes * channel)
            sums = word(operands, 4) + 8 * lanes * channel
        _rows(
            element,
            way,
            shift(element, x, at),
            shift(element, g, at),
            shift(element, y, at),
            table,
            sums + 8 * 2 * pitch * group,
            pitch,
            last - row,
            step,
            length,
        )


class Channels:
    """The passes over arrays (N, C, *spatial) of a shape, memory format and element type."""

    def __init__(self, shape: tuple[int, ...], channels_last: bool, dtype: np.dtype) -> None:
        images, self._channels, *sizes = shape
        plane = math.prod(sizes)
        self._dtype, self._size = dtype, images * self._channels * plane
        lanes = machine().lanes(name_of(dtype))
        self._side = channels_last or plane == 1
        if self._side:
            self._folded = _folds(images * plane, self._channels)
            width, rows = self._channels * self._folded, images * plane // self._folded
            groups = min(rows, ITEMS, -(-self._size // LEAST))
            self._items, self._width = groups, -(-width // lanes) * lanes
        else:
            width, rows = self._channels, images
            groups = min(rows, -(-ITEMS // width), -(-self._size // LEAST))
            self._items, self._width = groups * width, width * lanes
        self._lanes, self._groups = lanes, groups
        self._jobs = [
            np.array([mode, self._side, width, plane, rows, groups, lanes], np.int64)
            for mode in (MOMENTS, PRODUCTS, SCALED, SLOPES)
        ]

    def _table(self, numbers: list[np.ndarray]) -> np.ndarray:
        """Numbers of each channel as vectors meet them."""
        table = np.zeros((4, self._width), self._dtype)
        for row, values in zip(table, numbers):
            if self._side:
                row[: self._channels * self._folded].reshape(self._folded, -1)[:] = values
            else:
                row.reshape(-1, self._lanes)[:] = values[:, np.newaxis]
        return table

    def sums(self, mode: int, x: Any, g: Any, centre: np.ndarray) -> np.ndarray:
        """The first and the second sums, (2, C) in float64."""
        sums = np.zeros((self._groups, 2, self._width))
        self._run(mode, x, g, x, [centre], sums)
        total = np.add.reduce(sums, axis=0)
        if self._side:
            total = total[:, : self._channels * self._folded].reshape(2, -1, self._channels)
            return np.add.reduce(total, axis=1)
        return np.add.reduce(total.reshape(2, self._channels, self._lanes), axis=2)

    def scale(self, mode: int, x: Any, g: Any, numbers: list[np.ndarray], y: np.ndarray) -> None:
        """Fill y, which lies in memory as x and g do."""
        self._run(mode, x, g, y, numbers, _NO_SUMS)

    def _run(self, mode: int, x: Any, g: Any, y: Any, numbers: Any, sums: np.ndarray) -> None:
        table = self._table(numbers)
        operands = tuple(map(address_of, (x, x if g is None else g, y, table, sums)))
        threads = thread_count(2 * self._size)
        run(channelwise, name_of(self._dtype), self._jobs[mode], operands, self._items, threads)


_NO_SUMS = np.zeros(1)


def _folds(pixels: int, channels: int) -> int:
    """How many pixels of few channels count as one."""
    most = max(1, 2 * WIDTH // channels)
    return next(n for n in range(min(pixels, most), 0, -1) if pixels % n == 0) if pixels else 1
