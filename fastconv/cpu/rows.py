"""Copying short rows in vectors, and picking elements of rows.

As calls of memcpy the same took two to three times as long, for it is asked for 128 bytes at a time
(Zen 4, 2026-11), and as loops over single elements longer still.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from .emit import Emit, emitter, i32, i64, outlined
from .grouped_tiles import lanes_within, masked


def _rows(vectors: int) -> Any:
    """An intrinsic that collects rows of so many vectors."""

    @intrinsic
    def rows(typing: Any, element: Any, target: Any, source: Any, table: Any, count: Any) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            target, source, table, count = args
            state = [e.at(target)]
            source, table = e.at(source), e.at(table)
            with e.loop(count, state) as p:
                row = e.shift(source, e.integer(table, p))
                for v in range(vectors):
                    e.store(e.load(row, v * e.lanes), state[0], v * e.lanes)
                state[0] = e.shift(state[0], vectors * e.lanes)

        return outlined(f"rows_{vectors}", emit, element, target, source, table, count)

    return rows


# target[p * width + v] = source[table[p] + v] for p < count; count is at least 1, width one or two
# vectors
narrow_rows = _rows(1)
wide_rows = _rows(2)


@intrinsic
def copy_rows(
    typing: Any,
    element: Any,
    target: Any,
    source: Any,
    count: Any,
    target_step: Any,
    source_step: Any,
    width: Any,
) -> Any:
    """target[r * target_step + v] = source[r * source_step + v] for r < count and v < width.

    `count` is at least 1 and `width` at least that of a vector; the last vector of a row begins
    within the one before it.
    """

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e, b = emitter(builder, element), builder
        target, source, count, target_step, source_step, width = args
        state, last = [e.at(target), e.at(source)], b.sub(width, i64(e.lanes))
        vectors = b.add(b.sdiv(b.sub(width, i64(1)), i64(e.lanes)), i64(1))
        with e.loop(count, state):
            with e.loop(vectors, []) as v:
                at = e.times(v, e.lanes)
                at = b.select(b.icmp_signed("<", at, last), at, last)
                e.store(e.load(state[1], at), state[0], at)
            state[:] = [e.shift(state[0], target_step), e.shift(state[1], source_step)]

    numbers = (target, source, count, target_step, source_step, width)
    return outlined("copy_rows", emit, element, *numbers)


@intrinsic
def pad_rows(
    typing: Any,
    element: Any,
    target: Any,
    pitch: Any,
    width: Any,
    source: Any,
    step: Any,
    table: Any,
    count: Any,
    left: Any,
    run: Any,
) -> Any:
    """target[r * pitch + left + v] = source[table[r] * step + v] for r < count and v < run.

    The rest of the first `width` cells of a row is zero, and all of them where table[r] is
    negative. Up to two vectors behind the last row are written as well.
    """

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e, b = emitter(builder, element), builder
        target, pitch, width, source, step, table, count, left, run = args
        source, table, state = e.at(source), e.at(table), [e.at(target)]
        zeros, lanes, none = ir.Constant(e.vector, None), i64(e.lanes), i64(0)
        whole = b.sdiv(run, lanes)
        rest = b.sub(run, b.mul(whole, lanes))
        tail = lanes_within(e, none, 1, rest)
        # A vector of zeros on each side is enough for most rows; of a loop LLVM makes a memset.
        lefts = b.sub(b.sdiv(b.add(left, i64(e.lanes - 1)), lanes), i64(1))
        with e.loop(count, state) as r:
            row, at = state[0], e.integer(table, r)
            inside = b.icmp_signed(">=", at, none)
            line = e.shift(source, e.times(at, step))
            vectors = b.select(inside, whole, none)
            alive = b.select(inside, tail, ir.Constant(tail.type, None))
            e.store(zeros, row)
            with e.loop_or_none(lefts, []) as v:
                e.store(zeros, row, e.times(b.add(v, i64(1)), e.lanes))
            # Where a box is a part of the rows, the next one goes on here. Hardware fetches ahead
            # once it has seen two lines of a row; these are often all.
            e.prefetch(line, run)
            e.prefetch(line, b.sub(b.add(run, run), i64(1)))
            goal = [e.shift(row, left), line]
            with e.loop_or_none(vectors, goal):
                e.store(e.load(goal[1]), goal[0])
                goal[:] = [e.shift(pointer, e.lanes) for pointer in goal]
            # A masked load of nothing waits for its line all the same.
            there = b.select(b.icmp_signed("==", rest, none), row, goal[1])
            last = masked(e, "load", [there, i32(e.align), alive, zeros], e.vector)
            e.store(last, goal[0])
            e.store(zeros, goal[0], e.lanes)
            filled = b.add(left, b.mul(b.add(vectors, i64(2)), lanes))
            rights = b.sdiv(b.add(b.sub(width, filled), i64(e.lanes - 1)), lanes)
            with e.loop_or_none(rights, []) as v:
                e.store(zeros, goal[0], e.times(b.add(v, i64(2)), e.lanes))
            state[0] = e.shift(row, pitch)

    numbers = (target, pitch, width, source, step, table, count, left, run)
    return outlined("pad_rows", emit, element, *numbers)


def _picked(e: Emit, source: Any, hop: Any) -> Any:
    """A vector of elements `hop` apart."""
    vector = e.vector(ir.Undefined)
    for lane in range(e.lanes):
        value = e.builder.load(e.shift(source, e.times(hop, lane)), typ=e.scalar, align=e.align)
        vector = e.builder.insert_element(vector, value, i32(lane))
    return vector


def _every_second(e: Emit, source: Any) -> Any:
    """The same if they are 2 apart; reads nothing beyond the last."""
    lower, upper = e.load(source), e.load(source, e.lanes - 1)
    half = e.lanes // 2
    order = [2 * i for i in range(half)] + [e.lanes + 2 * i + 1 for i in range(half)]
    return e.builder.shuffle_vector(lower, upper, ir.VectorType(i32, e.lanes)(order))


@intrinsic
def pick_rows(
    typing: Any,
    element: Any,
    target: Any,
    source: Any,
    count: Any,
    target_step: Any,
    source_step: Any,
    width: Any,
    hop: Any,
) -> Any:
    """target[r * target_step + v] = source[r * source_step + v * hop] for r < count and v < width.

    Sizes as for `copy_rows`.
    """

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e, b = emitter(builder, element), builder
        target, source, count, target_step, source_step, width, hop = args
        last = b.sub(width, i64(e.lanes))
        vectors = b.add(b.sdiv(b.sub(width, i64(1)), i64(e.lanes)), i64(1))
        with b.if_else(b.icmp_signed("==", hop, i64(2))) as (second, other):
            for branch, pick in ((second, _every_second), (other, None)):
                with branch:
                    state = [e.at(target), e.at(source)]
                    with e.loop(count, state):
                        with e.loop(vectors, []) as v:
                            at = e.times(v, e.lanes)
                            at = b.select(b.icmp_signed("<", at, last), at, last)
                            here = e.shift(state[1], e.times(hop, at))
                            e.store(pick(e, here) if pick else _picked(e, here, hop), state[0], at)
                        state[:] = [e.shift(state[0], target_step), e.shift(state[1], source_step)]

    numbers = (target, source, count, target_step, source_step, width, hop)
    return outlined("pick_rows", emit, element, *numbers)
