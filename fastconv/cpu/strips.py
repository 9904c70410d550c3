"""Sheets: strips of outputs side by side, one strip like the other, pooled a few vectors at a time.

A strip is a row of outputs whose windows have equally many taps and lie `step` elements apart in
the input: all channels of one pixel where channels are last (step 1), pixels of one row elsewhere
(step = stride). The strips of a sheet are `x_hop` apart in the input and `y_hop` in the output:
they are neighbouring pixels, or neighbouring rows. A block is one vector of a strip; in the last
block of a strip only the first `count` lanes are alive. Several blocks are made at once, side by
side in a long strip or of as many short strips: a window has few taps, so that the loop over them
would cost more than they do, and a sum waits for the one before it. The window of an output on its
own is pooled along its rows instead, if they are long: lane l takes the cells l, l + lanes, ... of
each.

Legend: y the outputs, x the first cell of the first window, l a lane, t = (d, r, s) a tap in
row-major order, `moves` the elements between neighbouring taps of each axis.

NaN costs one addition per tap: the sum of a window is NaN whenever one of its cells is (and
sometimes where infinities meet), and only such blocks are swept again by the exact rule. To compare
for NaN at every tap took twice as long on 3x3 windows: every comparison waits for the one before
it (Zen 5, AVX-512, 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba.extending import intrinsic

from ..machine import machine
from .emit import i32, i64, outlined
from .lanes import Lanes, Values


def blocks_at_once() -> int:
    """Blocks that are made at once: with their sums and places they fill half the registers."""
    return 4 if machine().vector_registers >= 32 else 2


class Spot(NamedTuple):
    """Where a block lies: addresses of its first window, its outputs and indices; its place."""

    x: Any
    y: Any
    indices: Any
    place: Any


class Hop(NamedTuple):
    """From one block to another: elements of the input, elements of the output, places."""

    x: Any
    y: Any
    place: Any


def _moved(e: Lanes, spot: Spot, hop: Hop, count: Any) -> Spot:
    """The spot `count` hops on."""
    b, outputs = e.builder, e.times(hop.y, count)
    return Spot(
        b.add(spot.x, e.times(e.times(hop.x, count), e.align)),
        b.add(spot.y, e.times(outputs, e.align)),
        b.add(spot.indices, e.times(outputs, 8)),
        b.add(spot.place, e.times(hop.place, count)),
    )


# --- Blocks: `numbers` are the taps and moves, and what else the kind of pooling needs ---


def _sum_blocks(e: Lanes, spots: list[Spot], step: int | None, alive: Any, numbers: Any) -> None:
    taps, moves, divisor = numbers
    totals = [e.zeros() for _ in spots]

    def visit(distance: Any, tap: Any) -> None:
        for i, spot in enumerate(spots):
            cell = e.shift(e.at(spot.x), distance)
            totals[i] = e.add(totals[i], e.cells(cell, step, alive))

    e.sweep(taps, moves, totals, visit)
    _put_quotients(e, spots, totals, divisor, alive)


def _put_quotients(e: Lanes, spots: list[Spot], totals: Values, divisor: Any, alive: Any) -> None:
    """Store the totals, divided; by a power of two through its inverse, which is as exact.

    Divisions keep their unit busy for many cycles, multiplications for one.
    """
    b = e.builder

    def put(quotient: Callable[[Any], Any]) -> None:
        for spot, total in zip(spots, totals):
            e.put(quotient(total), e.at(spot.y), e.align, alive)

    if e.dtype == "int64":
        put(lambda total: total)
        return
    by = b.sitofp(divisor, e.scalar)
    inexact = b.and_(divisor, b.sub(divisor, i64(1)))
    with b.if_else(b.icmp_signed("==", inexact, i64(0))) as (power, other):
        with power:
            inverse = e.splat(b.fdiv(e.scalar(1.0), by))
            put(lambda total: b.fmul(total, inverse))
        with other:
            divisors = e.splat(by)
            put(lambda total: b.fdiv(total, divisors))


def _max_blocks(e: Lanes, spots: list[Spot], step: int | None, alive: Any, numbers: Any) -> None:
    """The maxima; if a window has a NaN, once more by the exact rule."""
    total = _maxima(e, spots, step, alive, numbers, e.greater)
    if e.dtype == "int64":
        return
    name = "argmax" if len(numbers) > 2 else "max"
    with e.builder.if_then(e.any_nan(total), likely=False):
        for spot in spots:
            e.call(f"{name}_exactly", _emit_exactly, [e.step, e.count, *spot, *numbers])


def _emit_exactly(b: ir.IRBuilder, element: Any, *arguments: Any) -> None:
    """Code for the maxima of one block, NaN first of all."""
    step, count, x, y, indices, place, *numbers = arguments
    e, spot = Lanes(b, element, step, count), Spot(x, y, indices, place)
    e.per_step((1, None), lambda known: _maxima(e, [spot], known, count, numbers, e.supersedes))


def _maxima(
    e: Lanes,
    spots: list[Spot],
    step: int | None,
    alive: Any,
    numbers: Any,
    replaces: Callable,
) -> Any:
    """Store the maxima of blocks, and with `numbers` for them their places; returns a sum of cells.

    A lane of the sum is NaN if one of its cells is, in any block.
    """
    b, n = e.builder, len(spots)
    taps, moves, *rest = numbers
    state = [e.cells(e.at(spot.x), step, alive) for spot in spots] + [e.zeros() for _ in spots]
    state += [e.splat(i64(0)) for _ in spots if rest]

    def visit(distance: Any, tap: Any) -> None:
        here = e.splat(_dot(e, tap, rest[1])) if rest else None
        for i, spot in enumerate(spots):
            value = e.cells(e.shift(e.at(spot.x), distance), step, alive)
            taken = replaces(value, state[i])
            state[i] = b.select(taken, value, state[i])
            state[n + i] = e.add(state[n + i], value)
            if rest:
                state[2 * n + i] = b.select(taken, here, state[2 * n + i])

    e.sweep(taps, moves, state, visit)
    for i, spot in enumerate(spots):
        e.put(state[i], e.at(spot.y), e.align, alive)
        if rest:
            firsts = b.add(e.splat(spot.place), b.mul(e.numbers(), e.splat(rest[0])))
            e.put(b.add(firsts, state[2 * n + i]), e.at(spot.indices), 8, alive)
    total = state[n]
    for other in state[n + 1 : 2 * n]:
        total = e.add(total, other)
    return total


def _dot(e: Lanes, tap: Any, hops: Any) -> Any:
    """Sum over the axes of tap * hop."""
    d, r, s = (
        e.builder.mul(index, e.builder.extract_value(hops, a)) for a, index in enumerate(tap)
    )
    return e.builder.add(e.builder.add(d, r), s)


# --- Sheets ---


def _emit_blocks(emit_blocks: Callable, width: int) -> Callable:
    """Code for `width` blocks at once, a hop apart, `count` lanes of each alive."""

    def emit(b: ir.IRBuilder, element: Any, *arguments: Any) -> None:
        step, count, x, y, indices, place, x_hop, y_hop, place_hop, *numbers = arguments
        e = Lanes(b, element, step, count)
        first, hop = Spot(x, y, indices, place), Hop(x_hop, y_hop, place_hop)
        spots = [first, *(_moved(e, first, hop, i) for i in range(1, width))]

        def with_step(known: int | None) -> None:
            e.per_fill(lambda alive: emit_blocks(e, spots, known, alive, numbers))

        # Several at once are asked for with the common steps only.
        e.per_step((1, 2) if width > 1 else (1, 2, 0, None), with_step)

    return emit


def _emit_sheet(name: str, emit_blocks: Callable, emit_alone: Callable | None) -> Callable:
    """Code for a sheet: blocks side by side of a long strip, or of as many short ones."""

    def emit(b: ir.IRBuilder, element: Any, *arguments: Any) -> None:
        strips, x_hop, y_hop, place_hop, count, step, x, y, indices, place, *numbers = arguments
        e, wide = Lanes(b, element, step, count), blocks_at_once()
        origin, lanes = Spot(x, y, indices, place), e.lanes
        place_step = numbers[2] if name == "argmax" else i64(0)
        to_strip, to_lane = Hop(x_hop, y_hop, place_hop), Hop(step, i64(1), place_step)
        to_block = Hop(e.times(step, lanes), i64(lanes), e.times(place_step, lanes))

        def blocks(width: int, alive: Any, spot: Spot, hop: Hop) -> None:
            code = _emit_blocks(emit_blocks, width)
            e.call(f"{name}_{width}", code, [step, alive, *spot, *hop, *numbers])

        def side_by_side() -> None:
            with e.loop(strips, []) as t:
                strip, groups = _moved(e, origin, to_strip, t), b.sdiv(count, i64(wide * lanes))
                with e.repeat(groups) as g:
                    blocks(wide, i64(lanes), _moved(e, strip, to_block, e.times(g, wide)), to_block)
                done = e.times(groups, wide * lanes)
                with e.repeat(_ceiling(b, b.sub(count, done), lanes)) as i:
                    first = b.add(done, e.times(i, lanes))
                    blocks(1, b.sub(count, first), _moved(e, strip, to_lane, first), to_block)

        def strip_by_strip() -> None:
            known = b.or_(e.has_step(1), e.has_step(2))
            groups = b.select(known, b.sdiv(strips, i64(wide)), i64(0))
            done = e.times(groups, wide)
            with e.loop(_ceiling(b, count, lanes), []) as i:
                first = e.times(i, lanes)
                column, alive = _moved(e, origin, to_lane, first), b.sub(count, first)
                with e.repeat(groups) as g:
                    blocks(wide, alive, _moved(e, column, to_strip, e.times(g, wide)), to_strip)
                with e.repeat(b.sub(strips, done)) as t:
                    blocks(1, alive, _moved(e, column, to_strip, b.add(done, t)), to_strip)

        def in_blocks() -> None:
            long = b.icmp_signed(">=", count, i64(wide * lanes))
            with b.if_else(b.and_(long, e.has_step(1))) as (yes, no):
                with yes:
                    side_by_side()
                with no:
                    strip_by_strip()

        if emit_alone is None:
            in_blocks()
            return
        extents, long = _joined_rows(e, *numbers[:2])
        with b.if_else(b.and_(b.icmp_signed("==", count, i64(1)), long)) as (yes, no):
            with yes, e.loop(strips, []) as t:
                emit_alone(e, _moved(e, origin, to_strip, t), extents, numbers)
            with no:
                in_blocks()

    return emit


def _ceiling(b: ir.IRBuilder, count: Any, lanes: int) -> Any:
    return b.sdiv(b.add(count, i64(lanes - 1)), i64(lanes))


# --- Rows of a window on its own ---


def _joined_rows(e: Lanes, taps: Any, moves: Any) -> tuple[tuple[Any, Any, Any], Any]:
    """The extents of a window, rows that touch joined; and whether a row fills a vector."""
    b = e.builder
    depth, height, width = (b.extract_value(taps, axis) for axis in range(3))
    touch = b.icmp_signed("==", width, b.extract_value(moves, 1))
    width = b.select(touch, b.mul(width, height), width)
    height = b.select(touch, i64(1), height)
    dense = b.icmp_signed("==", b.extract_value(moves, 2), i64(1))
    long = b.icmp_signed(">=", width, i64(e.lanes))
    return (depth, height, width), b.and_(dense, long)


def _along_rows(
    e: Lanes, x: Any, moves: Any, extents: Any, rest: Any, state: Values, visit: Callable
) -> Values:
    """visit(vector, state) for all cells; lanes beyond the end of a row hold those of `rest`."""
    b, lanes = e.builder, i64(e.lanes)
    depth, height, width = extents
    vectors, left = b.sdiv(width, lanes), b.srem(width, lanes)
    with e.loop(depth, state) as d:
        plane = e.shift(x, b.mul(d, b.extract_value(moves, 0)))
        with e.loop(height, state) as r:
            row = e.shift(plane, b.mul(r, b.extract_value(moves, 1)))
            with e.loop(vectors, state) as v:
                state[:] = visit(e.load(row, b.mul(v, lanes)), state)
            end = e.row(e.shift(row, b.mul(vectors, lanes)), 0, left, rest)
            state[:] = visit(end, state)
    return state


def _joined(e: Lanes, vector: Any, join: Callable) -> Any:
    """All lanes joined, by halves; the result is in every lane."""
    distance = e.lanes // 2
    while distance:
        turned = [(lane + distance) % e.lanes for lane in range(e.lanes)]
        other = e.builder.shuffle_vector(vector, vector, ir.VectorType(i32, e.lanes)(turned))
        vector = join(vector, other)
        distance //= 2
    return vector


def _sum_alone(e: Lanes, spot: Spot, extents: Any, numbers: Any) -> None:
    _, moves, divisor = numbers
    zeros = e.zeros()
    x = e.at(spot.x)
    state = _along_rows(e, x, moves, extents, zeros, [zeros], lambda v, s: [e.add(s[0], v)])
    _put_quotients(e, [spot], [_joined(e, state[0], e.add)], divisor, i64(1))


def _max_alone(e: Lanes, spot: Spot, extents: Any, numbers: Any) -> None:
    b, x = e.builder, e.at(spot.x)
    first = e.broadcast(x)

    def larger(v: Any, largest: Any) -> Any:
        return b.select(e.greater(v, largest), v, largest)

    def visit(v: Any, state: Values) -> Values:
        return [larger(v, state[0]), e.add(state[1], v)]

    state = _along_rows(e, x, numbers[1], extents, first, [first, e.zeros()], visit)
    e.put(_joined(e, state[0], larger), e.at(spot.y), e.align, i64(1))
    if e.dtype != "int64":
        with b.if_then(e.any_nan(state[1]), likely=False):
            e.call("max_exactly", _emit_exactly, [i64(1), i64(1), *spot, *numbers])


# --- Intrinsics: a sheet has strips of `count` >= 1 outputs, its windows a tap on every axis ---


@intrinsic
def sum_sheet(
    typing: Any,
    element: Any,
    strips: Any,
    x_hop: Any,
    y_hop: Any,
    place_hop: Any,
    count: Any,
    step: Any,
    x: Any,
    y: Any,
    indices: Any,
    place: Any,
    taps: Any,
    moves: Any,
    divisor: Any,
) -> Any:
    """y[i * y_hop + l] = (sum over t of x[i * x_hop + l * step + t * moves]) / divisor"""
    numbers = (strips, x_hop, y_hop, place_hop, count, step, x, y, indices, place, taps, moves)
    emit = _emit_sheet("sum", _sum_blocks, _sum_alone)
    return outlined("sum_sheet", emit, element, *numbers, divisor)


@intrinsic
def max_sheet(
    typing: Any,
    element: Any,
    strips: Any,
    x_hop: Any,
    y_hop: Any,
    place_hop: Any,
    count: Any,
    step: Any,
    x: Any,
    y: Any,
    indices: Any,
    place: Any,
    taps: Any,
    moves: Any,
) -> Any:
    """y[i * y_hop + l] = max over t of x[i * x_hop + l * step + t * moves]"""
    numbers = (strips, x_hop, y_hop, place_hop, count, step, x, y, indices, place, taps, moves)
    emit = _emit_sheet("max", _max_blocks, _max_alone)
    return outlined("max_sheet", emit, element, *numbers)


@intrinsic
def argmax_sheet(
    typing: Any,
    element: Any,
    strips: Any,
    x_hop: Any,
    y_hop: Any,
    place_hop: Any,
    count: Any,
    step: Any,
    x: Any,
    y: Any,
    indices: Any,
    place: Any,
    taps: Any,
    moves: Any,
    place_step: Any,
    places: Any,
) -> Any:
    """As `max_sheet`, and indices[i * y_hop + l], in the same way, are the places of the maxima.

    The place of a cell is place + i * place_hop + l * place_step + t * places.
    """
    numbers = (strips, x_hop, y_hop, place_hop, count, step, x, y, indices, place, taps, moves)
    emit = _emit_sheet("argmax", _max_blocks, None)
    return outlined("argmax_sheet", emit, element, *numbers, place_step, places)
