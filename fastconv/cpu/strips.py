"""Strips: outputs side by side, pooled one vector at a time.

A strip is a row of outputs whose windows have equally many taps and lie `step` elements apart in the
input: all channels of one pixel in channels-last memory (step 1), a run of pixels of one row in
channels-first memory (step = stride). A block is one vector of a strip; of the last block only the
first `count` lanes are alive.

Legend: x the first cell of the first window, y the outputs, t = (d, r, s) a tap in row-major order,
`moves` the elements and `places` the cells of the plane between neighbouring taps of each axis.

NaN costs one addition per tap: the sum of a window is NaN whenever a tap is (and sometimes when
infinities meet), and only such a block is swept again by the exact rule. Comparing for NaN at every
tap instead took 1.6 times as long on 3x3 windows (Zen 5, AVX-512, 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ..machine import machine
from .emit import Emit, i32, i64, pointer

Values = list[Any]


class Strip(Emit):
    """The words of `Emit`, and those for lanes that are `step` elements apart and may be dead."""

    def __init__(self, builder: ir.IRBuilder, element: Any, step: Any, count: Any) -> None:
        dtype = str(element.dtype)
        super().__init__(builder, dtype, machine().lanes(dtype))
        self.step, self.count = step, count
        self.full = builder.icmp_signed(">=", count, i64(self.lanes))

    # --- Vectors of numbers ---

    def splat(self, value: Any) -> Any:
        """`value` in every lane."""
        empty = ir.VectorType(value.type, self.lanes)(ir.Undefined)
        lane0 = ir.VectorType(i32, self.lanes)([0] * self.lanes)
        return self.builder.shuffle_vector(
            self.builder.insert_element(empty, value, i32(0)), empty, lane0
        )

    def numbers(self, first: int = 0) -> Any:
        """first, first + 1, ... as int64."""
        return ir.VectorType(i64, self.lanes)(list(range(first, first + self.lanes)))

    def zeros(self, kind: Any = None) -> Any:
        """Zero in every lane."""
        return ir.VectorType(kind or self.scalar, self.lanes)([0] * self.lanes)

    def add(self, a: Any, b: Any) -> Any:
        """a + b in every lane."""
        return self.builder.add(a, b) if self.dtype == "int64" else self.builder.fadd(a, b)

    def greater(self, a: Any, b: Any) -> Any:
        """Where a > b; false where either is NaN."""
        if self.dtype == "int64":
            return self.builder.icmp_signed(">", a, b)
        return self.builder.fcmp_ordered(">", a, b)

    def supersedes(self, a: Any, b: Any) -> Any:
        """Where a must replace b as the maximum: it is larger, or the first NaN."""
        b_is_number = self.builder.fcmp_ordered("ord", b, b)
        return self.builder.and_(self.builder.fcmp_unordered("ugt", a, b), b_is_number)

    def any_nan(self, a: Any) -> Any:
        """Whether some lane is NaN."""
        bits = ir.IntType(self.lanes)
        found = self.builder.bitcast(self.builder.fcmp_unordered("uno", a, a), bits)
        return self.builder.icmp_unsigned("!=", found, bits(0))

    # --- Control ---

    @contextmanager
    def loop(self, count: Any, carried: list[Any]) -> Iterator[Any]:
        """As `Emit.loop`, but never unrolled: windows have few taps, and a loop of each axis."""
        with super().loop(count, carried) as index:
            yield index
            latch = self.builder.block
        module = self.builder.module
        keep = ir.MDValue(module, [], name=str(len(module.metadata)))
        rolled = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
        keep.operands = (keep, rolled)
        latch.terminator.set_metadata("llvm.loop", keep)

    def either(self, condition: Any, yes: Callable[[], Values], no: Callable[[], Values]) -> Values:
        """The values of `yes` or of `no`; only one of them is run."""
        b = self.builder
        ends = []
        with b.if_else(condition) as branches:
            for branch, values in zip(branches, (yes, no)):
                with branch:
                    ends.append((values(), b.block))
        merged = [b.phi(value.type) for value in ends[0][0]]
        for values, block in ends:
            for phi, value in zip(merged, values):
                phi.add_incoming(value, block)
        return merged

    def sweep(self, x: Any, taps: Any, moves: Any, state: Values, visit: Callable) -> None:
        """visit(cell, tap) for every tap in row-major order; it updates the list `state`."""
        b = self.builder
        counts, steps = (
            [b.extract_value(three, axis) for axis in range(3)] for three in (taps, moves)
        )
        with self.loop(counts[0], state) as d:
            plane = self.shift(x, b.mul(d, steps[0]))
            with self.loop(counts[1], state) as r:
                row = self.shift(plane, b.mul(r, steps[1]))
                with self.loop(counts[2], state) as s:
                    visit(self.shift(row, b.mul(s, steps[2])), (d, r, s))

    def each_way(self, body: Callable[[Callable], Values]) -> Values:
        """body(gather) in code made for the step, 1, 2 or any, and for a full or a last block.

        gather(cell) is the vector cell[l * step] over the living lanes l.
        """

        def ways(count: Any) -> Values:
            return self.either(
                self.builder.icmp_signed("==", self.step, i64(1)),
                lambda: body(lambda cell: self._row(cell, 0, count)),
                lambda: self.either(
                    self.builder.icmp_signed("==", self.step, i64(2)),
                    lambda: body(lambda cell: self._pairs(cell, count)),
                    lambda: body(self._steps if count is None else self.gather),
                ),
            )

        return self.either(self.full, lambda: ways(None), lambda: ways(self.count))

    # --- Memory: nothing outside the living lanes is touched ---

    def _row(self, base: Any, first: int, count: Any) -> Any:
        """base[first + l] where first + l < count; all lanes if that is None."""
        if count is None:
            return self.load(base, first)
        cell, alive = self.shift(base, first), self._below(count, first)
        unset = self.vector(ir.Undefined)
        return self._masked("load", self.vector, [cell, i32(self.align), alive, unset], self.vector)

    def _pairs(self, base: Any, count: Any) -> Any:
        """base[2 l], from two rows that end with the last living lane."""
        b, lanes = self.builder, self.lanes
        cells = None if count is None else b.sub(b.shl(count, i64(1)), i64(1))
        low, high = self._row(base, 0, cells), self._row(base, lanes - 1, cells)
        chosen = [2 * lane if 2 * lane < lanes else 2 * lane + 1 for lane in range(lanes)]
        return b.shuffle_vector(low, high, ir.VectorType(i32, lanes)(chosen))

    def _steps(self, base: Any) -> Any:
        """base[l * step], one element after the other; all lanes living."""
        vector, cell = self.vector(ir.Undefined), base
        for lane in range(self.lanes):
            value = self.builder.load(cell, typ=self.scalar, align=self.align)
            vector = self.builder.insert_element(vector, value, i32(lane))
            cell = self.shift(cell, self.step)
        return vector

    def gather(self, base: Any) -> Any:
        """base[l * step] for any step."""
        b = self.builder
        pitch = self.splat(b.mul(self.step, i64(self.align)))
        places = b.add(self.splat(b.ptrtoint(base, i64)), b.mul(self.numbers(), pitch))
        cells = b.inttoptr(places, ir.VectorType(pointer, self.lanes))
        arguments = [cells, i32(self.align), self._below(self.count, 0), self.vector(ir.Undefined)]
        return self._masked("gather", self.vector, arguments, self.vector)

    def put(self, vector: Any, base: Any, align: int) -> None:
        """base[l] = vector[l] for the living lanes l."""
        b = self.builder
        with b.if_else(self.full) as (full, last):
            with full:
                b.store(vector, base, align=align)
            with last:
                arguments = [vector, base, i32(align), self._below(self.count, 0)]
                self._masked("store", ir.VoidType(), arguments, vector.type)

    def _below(self, count: Any, first: int) -> Any:
        return self.builder.icmp_signed("<", self.numbers(first), self.splat(count))

    def _masked(self, word: str, result: Any, arguments: Values, vector: Any) -> Any:
        element = "i64" if vector.element is i64 else f"f{8 * self.align}"
        pointers = f"v{self.lanes}p0" if word == "gather" else "p0"
        name = f"llvm.masked.{word}.v{self.lanes}{element}.{pointers}"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(result, [value.type for value in arguments]), name
        )
        return self.builder.call(function, arguments)


def _emitted(emit: Callable) -> Callable:
    """What `intrinsic` wants from a typing function: void, the given types, and the generator."""

    def signature(typing: Any, element: Any, *arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit(builder, element, *args[1:])
            return context.get_dummy_value()

        return types.void(element, *arguments), generate

    return signature


@intrinsic
def lane_count(typing: Any, element: Any) -> Any:
    """Lanes of a vector, a constant."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return i64(machine().lanes(str(element.dtype)))

    return types.int64(element), generate


@intrinsic
def sum_block(
    typing: Any,
    element: Any,
    y: Any,
    x: Any,
    step: Any,
    taps: Any,
    moves: Any,
    divisor: Any,
    count: Any,
) -> Any:
    """y[l] = (sum over t of x[l step + t moves]) / divisor"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, y, x, step, taps, moves, divisor, count = args
        e = Strip(builder, element, step, count)

        def total(gather: Callable) -> Values:
            state = [e.zeros()]

            def visit(cell: Any, tap: Any) -> None:
                state[0] = e.add(state[0], gather(cell))

            e.sweep(e.at(x), taps, moves, state, visit)
            return state

        (result,) = e.each_way(total)
        if e.dtype != "int64":
            result = builder.fdiv(result, e.splat(builder.sitofp(divisor, e.scalar)))
        e.put(result, e.at(y), e.align)
        return context.get_dummy_value()

    return types.void(element, y, x, step, taps, moves, divisor, count), generate


@intrinsic
def max_block(
    typing: Any, element: Any, y: Any, x: Any, step: Any, taps: Any, moves: Any, count: Any
) -> Any:
    """y[l] = max over t of x[l step + t moves]"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, y, x, step, taps, moves, count = args
        e = Strip(builder, element, step, count)

        def swept(gather: Callable, replaces: Callable) -> Values:
            state = [gather(e.at(x)), e.zeros()]

            def visit(cell: Any, tap: Any) -> None:
                value = gather(cell)
                largest = builder.select(replaces(value, state[0]), value, state[0])
                state[:] = [largest, e.add(state[1], value)]

            e.sweep(e.at(x), taps, moves, state, visit)
            return state

        state = e.each_way(lambda gather: swept(gather, e.greater))
        if e.dtype != "int64":
            again = lambda: swept(e.gather, e.supersedes)
            state = e.either(e.any_nan(state[1]), again, lambda: state)
        e.put(state[0], e.at(y), e.align)
        return context.get_dummy_value()

    return types.void(element, y, x, step, taps, moves, count), generate
