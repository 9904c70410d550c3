"""Strips: outputs side by side, pooled one vector at a time.

A strip is a row of outputs whose windows have equally many taps and lie `step` elements apart in
the input: all channels of one pixel in channels-last memory (step 1), pixels of one row in
channels-first memory (step = stride). A block is one vector of a strip; in the last block of a
strip only the first `count` lanes are alive. The window of an output on its own is pooled along its
rows instead, if they are long: lane l takes the cells l, l + lanes, ... of each.

Legend: y the outputs, x the first cell of the first window, l a lane, t = (d, r, s) a tap in
row-major order, `moves` the elements between neighbouring taps of each axis.

NaN costs one addition per tap: the sum of a window is NaN whenever one of its cells is (and
sometimes where infinities meet), and only such a block is swept again by the exact rule. To compare
for NaN at every tap took twice as long on 3x3 windows: every comparison waits for the one before
it (Zen 5, AVX-512, 2026-11).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from .emit import i32, i64, outlined
from .lanes import Gather, Lanes, Values

# --- Blocks ---


def _sum_block(e: Lanes, first: Any, x: Any, taps: Any, moves: Any, y: Any, divisor: Any) -> None:
    def swept(gather: Gather) -> Values:
        state = [e.zeros()]

        def visit(cell: Any, tap: Any) -> None:
            state[0] = e.add(state[0], gather(cell))

        return e.sweep(x, taps, moves, state, visit)

    (total,) = e.each_way(swept)
    _put_quotient(e, total, divisor, e.shift(e.at(y), first))


def _put_quotient(e: Lanes, total: Any, divisor: Any, y: Any) -> None:
    if e.dtype != "int64":
        total = e.builder.fdiv(total, e.splat(e.builder.sitofp(divisor, e.scalar)))
    e.put(total, y, e.align)


def _max_block(e: Lanes, first: Any, x: Any, taps: Any, moves: Any, y: Any) -> None:
    def swept(gather: Gather, replaces: Callable) -> Values:
        state = [gather(x), e.zeros()]

        def visit(cell: Any, tap: Any) -> None:
            value, (largest, total) = gather(cell), state
            state[0] = e.builder.select(replaces(value, largest), value, largest)
            state[1] = e.add(total, value)

        return e.sweep(x, taps, moves, state, visit)

    e.put(_exact(e, swept)[0], e.shift(e.at(y), first), e.align)


def _argmax_block(
    e: Lanes,
    first: Any,
    x: Any,
    taps: Any,
    moves: Any,
    y: Any,
    indices: Any,
    place: Any,
    place_step: Any,
    places: Any,
) -> None:
    b = e.builder
    hops = [b.extract_value(places, axis) for axis in range(3)]

    def swept(gather: Gather, replaces: Callable) -> Values:
        state = [gather(x), e.zeros(), e.splat(i64(0))]

        def visit(cell: Any, tap: Any) -> None:
            value, (largest, total, found) = gather(cell), state
            d, r, s = (b.mul(index, hop) for index, hop in zip(tap, hops))
            here = e.splat(b.add(b.add(d, r), s))
            taken = replaces(value, largest)
            state[0] = b.select(taken, value, largest)
            state[1] = e.add(total, value)
            state[2] = b.select(taken, here, found)

        return e.sweep(x, taps, moves, state, visit)

    largest, _, found = _exact(e, swept)
    lanes = b.add(e.numbers(), e.splat(first))
    firsts = b.add(e.splat(place), b.mul(lanes, e.splat(place_step)))
    e.put(largest, e.shift(e.at(y), first), e.align)
    e.put(b.add(firsts, found), b.gep(e.at(indices), [first], source_etype=i64), 8)


def _exact(e: Lanes, swept: Callable[[Gather, Callable], Values]) -> Values:
    """The quick sweep, and again by the exact rule if state[1], the sum of the cells, has a NaN."""
    state = e.each_way(lambda gather: swept(gather, e.greater))
    if e.dtype == "int64":
        return state
    return e.either(e.any_nan(state[1]), lambda: swept(e.gather, e.supersedes), lambda: state)


def _emit_blocks(
    emit_block: Callable,
    b: ir.IRBuilder,
    element: Any,
    count: Any,
    step: Any,
    x: Any,
    *others: Any,
) -> None:
    """A strip, block by block; `emit_block` makes the one that begins at output `first`."""
    whole = Lanes(b, element, step, count)
    lanes = i64(whole.lanes)
    blocks = b.sdiv(b.add(count, b.sub(lanes, i64(1))), lanes)
    with whole.loop(blocks, []) as number:
        first = b.mul(number, lanes)
        e = Lanes(b, element, step, b.sub(count, first))
        emit_block(e, first, e.shift(e.at(x), b.mul(first, step)), *others)


# --- Rows of a window on its own ---


def _emit_alone_or_blocks(emit_alone: Callable, emit_block: Callable) -> Callable:
    """Code for a strip, and for a single output with long rows, which are joined if they touch."""

    def emit(b: ir.IRBuilder, element: Any, *numbers: Any) -> None:
        count, _, x, taps, moves, *others = numbers
        depth, height, width = (b.extract_value(taps, axis) for axis in range(3))
        joined = b.icmp_signed("==", width, b.extract_value(moves, 1))
        width = b.select(joined, b.mul(width, height), width)
        height = b.select(joined, i64(1), height)
        e = Lanes(b, element, i64(1), i64(1))
        alone = b.icmp_signed("==", count, i64(1))
        dense = b.icmp_signed("==", b.extract_value(moves, 2), i64(1))
        long = b.icmp_signed(">=", width, i64(e.lanes))
        with b.if_else(b.and_(alone, b.and_(dense, long))) as (yes, no):
            with yes:
                emit_alone(e, e.at(x), taps, moves, (depth, height, width), *others)
            with no:
                _emit_blocks(emit_block, b, element, *numbers)

    return emit


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


def _sum_alone(e: Lanes, x: Any, taps: Any, moves: Any, extents: Any, y: Any, divisor: Any) -> None:
    zeros = e.zeros()
    state = _along_rows(e, x, moves, extents, zeros, [zeros], lambda v, s: [e.add(s[0], v)])
    _put_quotient(e, _joined(e, state[0], e.add), divisor, e.at(y))


def _max_alone(e: Lanes, x: Any, taps: Any, moves: Any, extents: Any, y: Any) -> None:
    b, first = e.builder, e.broadcast(x)

    def larger(v: Any, largest: Any) -> Any:
        return b.select(e.greater(v, largest), v, largest)

    def visit(v: Any, state: Values) -> Values:
        return [larger(v, state[0]), e.add(state[1], v)]

    def exactly() -> Values:
        state = [first]

        def replace(cell: Any, tap: Any) -> None:
            value = e.row(cell, 0, i64(1))
            state[0] = b.select(e.supersedes(value, state[0]), value, state[0])

        return e.sweep(x, taps, moves, state, replace)

    state = _along_rows(e, x, moves, extents, first, [first, e.zeros()], visit)
    result = [_joined(e, state[0], larger)]
    if e.dtype != "int64":
        quick = result
        result = e.either(e.any_nan(state[1]), exactly, lambda: quick)
    e.put(result[0], e.at(y), e.align)


# --- Intrinsics: a strip has `count` >= 1 outputs side by side, every axis at least one tap ---


@intrinsic
def sum_strip(
    typing: Any,
    element: Any,
    count: Any,
    step: Any,
    x: Any,
    taps: Any,
    moves: Any,
    y: Any,
    divisor: Any,
) -> Any:
    """y[l] = (sum over t of x[l * step + t * moves]) / divisor"""
    emit = _emit_alone_or_blocks(_sum_alone, _sum_block)
    return outlined("sum_strip", emit, element, count, step, x, taps, moves, y, divisor)


@intrinsic
def max_strip(
    typing: Any, element: Any, count: Any, step: Any, x: Any, taps: Any, moves: Any, y: Any
) -> Any:
    """y[l] = max over t of x[l * step + t * moves]"""
    emit = _emit_alone_or_blocks(_max_alone, _max_block)
    return outlined("max_strip", emit, element, count, step, x, taps, moves, y)


@intrinsic
def argmax_strip(
    typing: Any,
    element: Any,
    count: Any,
    step: Any,
    x: Any,
    taps: Any,
    moves: Any,
    y: Any,
    indices: Any,
    place: Any,
    place_step: Any,
    places: Any,
) -> Any:
    """As `max_strip`, and indices[l] = place + l * place_step + t * places of the first maximum."""
    numbers = (count, step, x, taps, moves, y, indices, place, place_step, places)
    emit = functools.partial(_emit_blocks, _argmax_block)
    return outlined("argmax_strip", emit, element, *numbers)
