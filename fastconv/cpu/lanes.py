"""Vectors whose lanes are `step` elements apart in memory, or not all alive.

The words are those of `Emit` and a few more; pooling is written in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from ..machine import machine
from .emit import Emit, call_outlined, i32, i64, pointer

Values = list[Any]


class Lanes(Emit):
    """The words of `Emit`, and those for lanes that are `step` elements apart or not alive."""

    def __init__(self, builder: ir.IRBuilder, element: Any, step: Any, count: Any) -> None:
        dtype = str(element.dtype)
        super().__init__(builder, dtype, machine().lanes(dtype))
        self.step, self.count, self._element = step, count, element
        self.full = builder.icmp_signed(">=", count, i64(self.lanes))

    # --- Numbers ---

    def splat(self, value: Any) -> Any:
        """`value` in every lane."""
        empty = ir.VectorType(value.type, self.lanes)(ir.Undefined)
        one = self.builder.insert_element(empty, value, i32(0))
        return self.builder.shuffle_vector(
            one, empty, ir.VectorType(i32, self.lanes)([0] * self.lanes)
        )

    def call(self, name: str, emit: Callable, arguments: Values) -> None:
        """Call a function of its own for this element type; see `emit.call_outlined`."""
        call_outlined(name, emit, self.builder, self._element, arguments)

    def numbers(self, first: int = 0) -> Any:
        """first, first + 1, ... as int64."""
        return ir.VectorType(i64, self.lanes)(list(range(first, first + self.lanes)))

    def zeros(self) -> Any:
        """Zero in every lane."""
        return self.vector([0] * self.lanes)

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
        known = self.builder.fcmp_ordered("ord", b, b)
        return self.builder.and_(self.builder.fcmp_unordered(">", a, b), known)

    def any_nan(self, a: Any) -> Any:
        """Whether some lane is NaN."""
        bits = ir.IntType(self.lanes)
        found = self.builder.bitcast(self.builder.fcmp_unordered("uno", a, a), bits)
        return self.builder.icmp_unsigned("!=", found, bits(0))

    # --- Memory: no cell outside the windows of living lanes is touched ---

    def row(self, base: Any, first: int, count: Any, rest: Any = None) -> Any:
        """base[first + l] where first + l < count, else rest[l]; in all lanes if count is None."""
        if count is None:
            return self.load(base, first)
        cell, alive = self.shift(base, first), self._below(count, first)
        rest = self.zeros() if rest is None else rest
        return self._masked("load", [cell, i32(self.align), alive, rest], self.vector)

    def _pairs(self, base: Any, count: Any) -> Any:
        """base[2 l], from two rows of which the second ends with the last lane's cell."""
        b, lanes = self.builder, self.lanes
        cells = None if count is None else b.sub(b.shl(count, i64(1)), i64(1))
        low, high = self.row(base, 0, cells), self.row(base, lanes - 1, cells)
        chosen = [2 * lane if 2 * lane < lanes else 2 * lane + 1 for lane in range(lanes)]
        return b.shuffle_vector(low, high, ir.VectorType(i32, lanes)(chosen))

    def _singles(self, base: Any) -> Any:
        """base[l * step], one cell after the other: three times as fast as a gather (Zen 5)."""
        vector, cell = self.zeros(), base
        for lane in range(self.lanes):
            value = self.builder.load(cell, typ=self.scalar, align=self.align)
            vector = self.builder.insert_element(vector, value, i32(lane))
            cell = self.shift(cell, self.step)
        return vector

    def gather(self, base: Any) -> Any:
        """base[l * step] in the living lanes, for any step."""
        b = self.builder
        pitch = self.splat(b.mul(self.step, i64(self.align)))
        places = b.add(self.splat(b.ptrtoint(base, i64)), b.mul(self.numbers(), pitch))
        cells = b.inttoptr(places, ir.VectorType(pointer, self.lanes))
        alive = self._below(self.count, 0)
        return self._masked("gather", [cells, i32(self.align), alive, self.zeros()], self.vector)

    def put(self, vector: Any, base: Any, align: int, count: Any) -> None:
        """base[l] = vector[l] where l < count, or in all lanes if that is None."""
        if count is None:
            self.builder.store(vector, base, align=align)
        else:
            alive = self._below(count, 0)
            self._masked("store", [vector, base, i32(align), alive], vector.type)

    def _below(self, count: Any, first: int) -> Any:
        return self.builder.icmp_signed("<", self.numbers(first), self.splat(count))

    def _masked(self, word: str, arguments: Values, vector: Any) -> Any:
        kind = "i64" if vector.element is i64 else f"f{8 * self.align}"
        where = f"v{self.lanes}p0" if word == "gather" else "p0"
        name = f"llvm.masked.{word}.v{self.lanes}{kind}.{where}"
        result = ir.VoidType() if word == "store" else vector
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(result, [value.type for value in arguments]), name
        )
        return self.builder.call(function, arguments)

    # --- Control ---

    @contextmanager
    def repeat(self, count: Any) -> Iterator[Any]:
        """Repeat the body `count` times, which may be none."""
        some = self.builder.icmp_signed(">", count, i64(0))
        with self.builder.if_then(some), self.loop(count, []) as index:
            yield index

    @contextmanager
    def loop(self, count: Any, carried: list[Any]) -> Iterator[Any]:
        """As `Emit.loop`, but never unrolled: a window has few taps on each axis."""
        with super().loop(count, carried) as index:
            yield index
            latch = self.builder.block
        module = self.builder.module
        keep = ir.MDValue(module, [], name=str(len(module.metadata)))
        rolled = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
        keep.operands = (keep, rolled)  # a loop's name is a node that begins with itself
        latch.terminator.set_metadata("llvm.loop", keep)

    def sweep(self, taps: Any, moves: Any, state: Values, visit: Callable) -> None:
        """visit(t * moves, t) at every tap in order, to update the list `state`."""
        b = self.builder
        counts = [b.extract_value(taps, axis) for axis in range(3)]
        moves = [b.extract_value(moves, axis) for axis in range(3)]
        with self.loop(counts[0], state) as d:
            plane = b.mul(d, moves[0])
            with self.loop(counts[1], state) as r:
                row = b.add(plane, b.mul(r, moves[1]))
                with self.loop(counts[2], state) as s:
                    visit(b.add(row, b.mul(s, moves[2])), (d, r, s))

    def per_step(self, steps: tuple[int | None, ...], way: Callable[[int | None], None]) -> None:
        """way(step) for that of `steps` which is the step; a last one of None is any other."""
        first, *others = steps
        if first is None:
            way(None)
            return
        with self.builder.if_else(self.has_step(first)) as (yes, no):
            with yes:
                way(first)
            with no:
                if others:
                    self.per_step(tuple(others), way)

    def per_fill(self, way: Callable[[Any], None]) -> None:
        """way(count): with None for a full vector, and with the count of living lanes."""
        with self.builder.if_else(self.full) as (full, last):
            with full:
                way(None)
            with last:
                way(self.count)

    def has_step(self, step: int) -> Any:
        """Whether this is the step."""
        return self.builder.icmp_signed("==", self.step, i64(step))

    def cells(self, cell: Any, step: int | None, count: Any) -> Any:
        """cell[l * step] in the living lanes; a `step` of None is the one at run time."""
        if step == 0:
            return self.broadcast(cell)
        if step == 1:
            return self.row(cell, 0, count)
        if step == 2:
            return self._pairs(cell, count)
        return self._singles(cell) if count is None else self.gather(cell)
