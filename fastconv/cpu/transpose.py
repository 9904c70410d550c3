"""Transposing in vector registers: between channels side by side and pixels side by side.

A block of lanes x lanes is loaded by rows, turned by log2(lanes) rounds of shuffles, and stored by
columns. Element by element the same costs four to six times as much: a store each, most of them
to another cache line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ..machine import machine
from .compile import compiled
from .emit import Emit, emitter, i32, i64, outlined
from .memory import load, shift, store
from .tiles import tile_heights

Place = Callable[[int], Any]

# Vectors ahead of the one that is read which are fetched into the cache, where many rows are read
# side by side: more than hardware follows.
AHEAD = 4


@intrinsic
def lanes_of(typing: Any, element: Any) -> Any:
    """Elements in a vector."""
    lanes = machine().lanes(str(element.dtype))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return i64(lanes)

    return types.int64(element), generate


def _turned(e: Emit, rows: list[Any]) -> list[Any]:
    """The columns of a square of vectors; each round exchanges halves of ever smaller squares."""
    half = e.lanes // 2
    while half:
        made = list(rows)
        first, second = [], []
        for lane in range(e.lanes):
            upper = lane & half
            first.append(lane - upper if not upper else e.lanes + lane - half)
            second.append(lane + half if not upper else e.lanes + lane)
        for i in range(e.lanes):
            if not i & half:
                for goal, order in ((i, first), (i + half, second)):
                    mask = ir.Constant(ir.VectorType(i32, e.lanes), order)
                    made[goal] = e.builder.shuffle_vector(rows[i], rows[i + half], mask)
        rows, half = made, half // 2
    return rows


def _mask(e: Emit, count: Any) -> Any:
    """The lanes below `count`."""
    b = e.builder
    numbers = ir.VectorType(i64, e.lanes)
    undefined = numbers(ir.Undefined)
    seed = b.insert_element(undefined, count, i32(0))
    limit = b.shuffle_vector(seed, undefined, ir.VectorType(i32, e.lanes)([0] * e.lanes))
    return b.icmp_signed("<", numbers(list(range(e.lanes))), limit)


def _masked(e: Emit, word: str, arguments: list[Any], result: Any) -> Any:
    kind = {"float32": "f32", "float64": "f64", "int64": "i64"}[e.dtype]
    name = f"llvm.masked.{word}.v{e.lanes}{kind}.p0"
    module = e.builder.module
    function = module.globals.get(name) or ir.Function(
        module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return e.builder.call(function, arguments)


def _turn_some(e: Emit, line: Place, rows: Any, goal: Place, columns: Any) -> None:
    """The same for the first `rows` lines of `columns` elements."""
    b, align, nothing = e.builder, i32(e.align), e.vector(ir.Undefined)
    present, wanted = _mask(e, columns), _mask(e, rows)
    none = ir.VectorType(ir.IntType(1), e.lanes)(None)
    loaded = []
    for i in range(e.lanes):
        mask = b.select(b.icmp_signed("<", i64(i), rows), present, none)
        loaded.append(_masked(e, "load", [line(i), align, mask, nothing], e.vector))
    for j, vector in enumerate(_turned(e, loaded)):
        mask = b.select(b.icmp_signed("<", i64(j), columns), wanted, none)
        _masked(e, "store", [vector, goal(j), align, mask], ir.VoidType())


def _turn_tile(e: Emit, line: Place, rows: int, goal: Place) -> None:
    """The same for all columns of fewer `rows` than lanes: its stores, 4 and 2 for 6, need no mask.

    Masked stores take AVX2 some twelve cycles each, longer than the sums of a vector of 64 terms.
    """
    nothing = e.vector(ir.Undefined)
    loaded = [e.load(line(i)) if i < rows else nothing for i in range(e.lanes)]
    for j, vector in enumerate(_turned(e, loaded)):
        first, size = 0, e.lanes // 2
        while size:
            if rows & size:
                kind = ir.VectorType(i32, size)
                part = e.builder.shuffle_vector(
                    vector, nothing, kind([*range(first, first + size)])
                )
                e.builder.store(part, e.shift(goal(j), first), align=e.align)
                first += size
            size //= 2


def _tile_rows(e: Emit) -> list[int]:
    """Rows, fewer than lanes, that the tiles of this machine leave, if it has no cheap masks."""
    cpu = machine()
    if cpu.vector_registers >= 32:
        return []
    return sorted({height % e.lanes for height in tile_heights(cpu)} - {0}, reverse=True)


def _turn_part(
    e: Emit, line: Place, rows: Any, goal: Place, columns: Any, heights: list[int]
) -> None:
    """`_turn_tile` for all columns of one of these numbers of rows, else `_turn_some`."""
    if not heights:
        _turn_some(e, line, rows, goal, columns)
        return
    b, (height, *others) = e.builder, heights
    tile = b.and_(
        b.icmp_signed("==", rows, i64(height)), b.icmp_signed("==", columns, i64(e.lanes))
    )
    with b.if_else(tile) as (whole, part):
        with whole:
            _turn_tile(e, line, height, goal)
        with part:
            _turn_part(e, line, rows, goal, columns, others)


def _square(by_table: bool) -> Any:
    """An intrinsic that transposes at most lanes x lanes elements.

    Columns go to `target_step` apart, or to where a table says in units of it.
    """

    @intrinsic
    def block(
        typing: Any,
        element: Any,
        source: Any,
        source_step: Any,
        rows: Any,
        columns: Any,
        target: Any,
        target_step: Any,
        table: Any,
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            source, source_step, rows, columns, target, target_step, table = args
            source, target, table = e.at(source), e.at(target), e.at(table)

            def line(i: int) -> Any:
                return e.shift(source, e.times(source_step, i))

            def goal(j: int) -> Any:
                place = e.integer(table, j) if by_table else j
                return e.shift(target, e.times(target_step, place))

            if by_table:
                for i in range(e.lanes):
                    e.prefetch(line(i), AHEAD * e.lanes)
            smaller = builder.select(builder.icmp_signed("<", rows, columns), rows, columns)
            whole = builder.icmp_signed("==", smaller, i64(e.lanes))
            with builder.if_else(whole) as (all_lanes, some_lanes):
                with all_lanes:
                    loaded = [e.load(line(i)) for i in range(e.lanes)]
                    for j, vector in enumerate(_turned(e, loaded)):
                        e.store(vector, goal(j))
                with some_lanes:
                    heights = [] if by_table else _tile_rows(e)
                    _turn_part(e, line, rows, goal, columns, heights)

        name = "transpose_to_table" if by_table else "transpose"
        numbers = (source, source_step, rows, columns, target, target_step, table)
        return outlined(name, emit, element, *numbers)

    return block


# target[place(j) * target_step + i] = source[i * source_step + j] for i < rows, j < columns, both
# at most the lanes, where place(j) is j or table[j]; the table is read for all lanes.
_to_steps, to_table = _square(False), _square(True)


def _interleave(channels: int) -> Any:
    """An intrinsic that mixes whole vectors of a few rows."""

    @intrinsic
    def mix(
        typing: Any, element: Any, source: Any, source_step: Any, vectors: Any, target: Any
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            source, source_step, vectors, target = args
            source, target = e.at(source), e.at(target)
            rows = [e.shift(source, e.times(source_step, c)) for c in range(channels)]
            with e.loop(vectors, []) as v:
                first = e.times(v, e.lanes)
                loaded = [e.load(row, first) for row in rows]
                there = e.shift(target, e.times(first, channels))
                for part in range(channels):
                    e.store(_mixed(e, loaded, part), there, part * e.lanes)

        numbers = (source, source_step, vectors, target)
        return outlined(f"interleave_{channels}", emit, element, *numbers)

    return mix


def _mixed(e: Emit, rows: list[Any], part: int) -> Any:
    """Lane l holds row q mod r at q // r, of r rows, where q = part * lanes + l."""
    places = [divmod(part * e.lanes + lane, len(rows)) for lane in range(e.lanes)]
    made = rows[0]
    for number, row in enumerate(rows[1:], 1):
        # Lanes of rows that have not come yet hold anything; row 0 is still in its own order.
        order = [
            e.lanes + at if at_row == number else (at if number == 1 else lane)
            for lane, (at, at_row) in enumerate(places)
        ]
        mask = ir.Constant(ir.VectorType(i32, e.lanes), order)
        made = e.builder.shuffle_vector(made, row, mask)
    return made


# target[(v * lanes + l) * r + c] = source[c * source_step + v * lanes + l] of r rows c for
# v < vectors, which is at least one.
_interleave_2, _interleave_3, _interleave_4 = _interleave(2), _interleave(3), _interleave(4)


@compiled
def interleave(
    element: Any, source: int, source_step: int, rows: int, columns: int, target: int
) -> None:
    """target[j * rows + i] = source[i * source_step + j] for i < rows (at most 4), j < columns"""
    lanes = lanes_of(element)
    whole = columns // lanes
    if whole:
        if rows == 2:
            _interleave_2(element, source, source_step, whole, target)
        elif rows == 3:
            _interleave_3(element, source, source_step, whole, target)
        else:
            _interleave_4(element, source, source_step, whole, target)
    done = whole * lanes
    for i in range(rows):
        for j in range(done, columns):
            store(element, target, j * rows + i, load(element, source, i * source_step + j))


@compiled
def transpose(
    element: Any,
    source: int,
    source_step: int,
    rows: int,
    columns: int,
    target: int,
    target_step: int,
) -> None:
    """target[j * target_step + i] = source[i * source_step + j] for i < rows, j < columns"""
    lanes = lanes_of(element)
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            _to_steps(
                element,
                shift(element, source, i * source_step + j),
                source_step,
                min(lanes, rows - i),
                min(lanes, columns - j),
                shift(element, target, j * target_step + i),
                target_step,
                0,
            )
