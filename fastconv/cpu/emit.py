"""Vector code in six words over llvmlite: shift, load, store, broadcast, fma, loop.

A Python ``for`` in a generator is unrolled code; a ``with e.loop(...)`` is a loop in the machine.
Lists given to `loop` are updated in place, which hides the phi nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import types

from ..machine import machine

i32, i64 = ir.IntType(32), ir.IntType(64)
pointer = ir.PointerType()
SCALARS = {"float32": ir.FloatType(), "float64": ir.DoubleType(), "int64": i64}
(KEEP, POSITIVE, TO_SIX) = range(3)  # what `clipped` makes of numbers
SUFFIXES = {"float32": "f32", "float64": "f64"}


class Emit:
    """The words for vectors of `lanes` elements of `dtype` ("float32", "float64" or "int64").

    Without `fused`, a multiply-add rounds twice: where the machine has no such instruction LLVM
    would call the C library for every lane, 100 times slower.
    """

    def __init__(self, builder: ir.IRBuilder, dtype: str, lanes: int, fused: bool = True) -> None:
        self.builder, self.dtype, self.lanes, self.fused = builder, dtype, lanes, fused
        self.scalar = SCALARS[dtype]
        self.vector = ir.VectorType(self.scalar, lanes)
        self.align = 4 if dtype == "float32" else 8

    def at(self, address: Any) -> Any:
        """The pointer for an address that arrived as an integer."""
        return self.builder.inttoptr(address, pointer)

    def shift(self, base: Any, count: Any) -> Any:
        """Pointer moved on by `count` elements."""
        return self.builder.gep(base, [_value(count)], source_etype=self.scalar)

    def times(self, count: Any, factor: Any) -> Any:
        """The product of two int64."""
        return self.builder.mul(count, _value(factor))

    def integer(self, table: Any, index: Any) -> Any:
        """table[index] of a table of int64."""
        cell = self.builder.gep(table, [_value(index)], source_etype=i64)
        return self.builder.load(cell, typ=i64)

    def load(self, base: Any, first: Any = 0) -> Any:
        """`lanes` elements from base[first], with no alignment promised."""
        return self.builder.load(self.shift(base, first), typ=self.vector, align=self.align)

    def store(self, vector: Any, base: Any, first: Any = 0) -> None:
        """`lanes` elements to base[first], with no alignment promised."""
        self.builder.store(vector, self.shift(base, first), align=self.align)

    def stream(self, vector: Any, base: Any, first: Any = 0) -> None:
        """As `store`, past the caches, if a vector is a line of them; base[first] begins one.

        For what other threads read once they have been told to, by an instruction with a lock.
        """
        store = self.builder.store(vector, self.shift(base, first), align=self.align)
        if self.lanes * self.align == 64:
            store.align = 64
            one = self.builder.module.add_metadata([i32(1)])
            store.set_metadata("nontemporal", one)

    def broadcast(self, base: Any, index: Any = 0) -> Any:
        """base[index] in every lane."""
        scalar = self.builder.load(self.shift(base, index), typ=self.scalar, align=self.align)
        undefined = self.vector(ir.Undefined)
        seed = self.builder.insert_element(undefined, scalar, i32(0))
        lane0 = ir.VectorType(i32, self.lanes)([0] * self.lanes)
        return self.builder.shuffle_vector(seed, undefined, lane0)

    def prefetch(self, base: Any, first: Any = 0) -> None:
        """Have base[first] brought into the cache; it need not exist."""
        module, name = self.builder.module, "llvm.prefetch.p0"
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32]), name
        )
        self.builder.call(function, [self.shift(base, first), i32(0), i32(2), i32(1)])

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c in every lane; integers wrap."""
        if self.dtype == "int64":
            return self.builder.add(self.builder.mul(a, b), c)
        if not self.fused:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        name = f"llvm.fma.v{self.lanes}{SUFFIXES[self.dtype]}"
        module = self.builder.module
        fma = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(self.vector, [self.vector] * 3), name
        )
        return self.builder.call(fma, [a, b, c])

    def add(self, a: Any, b: Any) -> Any:
        """a + b in every lane."""
        return self.builder.fadd(a, b)

    def subtract(self, a: Any, b: Any) -> Any:
        """a - b in every lane."""
        return self.builder.fsub(a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        """a * b in every lane."""
        return self.builder.fmul(a, b)

    def constant(self, number: float) -> Any:
        """A number in every lane."""
        return self.vector([self.scalar(number)] * self.lanes)

    def clipped(self, vectors: list[Any], clip: Any) -> list[Any]:
        """Every lane kept, made positive, or cut to 0 .. 6 as well, by int64; NaN stays NaN."""
        b, whole = self.builder, self.dtype == "int64"
        least, most = (-(2**63), 2**63 - 1) if whole else (float("-inf"), float("inf"))
        compare = b.icmp_signed if whole else b.fcmp_ordered

        def limit(applies: Any, number: int, none: float) -> Any:
            return b.select(applies, self.constant(number), self.constant(none))

        low = limit(b.icmp_signed("!=", clip, i64(KEEP)), 0, least)
        high = limit(b.icmp_signed("==", clip, i64(TO_SIX)), 6, most)
        raised = [b.select(compare("<", x, low), low, x) for x in vectors]
        return [b.select(compare(">", x, high), high, x) for x in raised]

    @contextmanager
    def loop(self, count: Any, carried: list[Any]) -> Iterator[Any]:
        """Repeat the body `count` >= 1 times; the list `carried` is updated in place."""
        b = self.builder
        before, body, after = (
            b.block,
            b.append_basic_block("body"),
            b.append_basic_block("after"),
        )
        b.branch(body)
        b.position_at_end(body)
        starts = [i64(0), *carried]
        phis = [b.phi(value.type) for value in starts]
        for phi, value in zip(phis, starts):
            phi.add_incoming(value, before)
        index, carried[:] = phis[0], phis[1:]
        yield index
        following = b.add(index, i64(1))
        for phi, value in zip(phis, [following, *carried]):
            phi.add_incoming(value, b.block)
        b.cbranch(b.icmp_signed("<", following, count), body, after)
        b.position_at_end(after)

    @contextmanager
    def loop_or_none(self, count: Any, carried: list[Any]) -> Iterator[Any]:
        """As `loop`, but `count` may be 0, and it is never unrolled."""
        b = self.builder
        before, head, body, after = (b.block, *map(b.append_basic_block, ("head", "body", "after")))
        b.branch(head)
        b.position_at_end(head)
        starts = [i64(0), *carried]
        phis = [b.phi(value.type) for value in starts]
        for phi, value in zip(phis, starts):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", phis[0], count), body, after)
        b.position_at_end(body)
        carried[:] = phis[1:]
        yield phis[0]
        for phi, value in zip(phis, [b.add(phis[0], i64(1)), *carried]):
            phi.add_incoming(value, b.block)
        latch = b.branch(head)
        keep = ir.MDValue(b.module, [], name=str(len(b.module.metadata)))
        rolled = b.module.add_metadata([ir.MetaDataString(b.module, "llvm.loop.unroll.disable")])
        keep.operands = (keep, rolled)  # a loop's name is a node that begins with itself
        latch.set_metadata("llvm.loop", keep)
        b.position_at_end(after)
        carried[:] = phis[1:]


def emitter(builder: ir.IRBuilder, element: Any) -> Emit:
    """The words for whole vectors of this machine, `element` as in `compile`."""
    dtype, cpu = str(element.dtype), machine()
    return Emit(builder, dtype, cpu.lanes(dtype), cpu.has_fma)


def outlined(name: str, emit: Callable, element: Any, *numbers: Any) -> tuple[Any, Callable]:
    """What an intrinsic returns that calls a function of its own, made by `emit`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        call_outlined(name, emit, builder, element, args[1:])
        return context.get_dummy_value()

    return types.void(element, *_widened(numbers)), generate


def one_of(
    functions: Sequence[tuple[str, Callable]], element: Any, chosen: Any, *numbers: Any
) -> tuple[Any, Callable]:
    """As `outlined`, of several names and what makes them: the one whose number is `chosen`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, chosen, *numbers = args
        for i, (name, emit) in enumerate(functions):
            with builder.if_then(builder.icmp_signed("==", chosen, i64(i))):
                call_outlined(name, emit, builder, element, numbers)
        return context.get_dummy_value()

    return types.void(element, types.int64, *_widened(numbers)), generate


def _widened(numbers: Any) -> list[Any]:
    return [types.int64 if isinstance(n, types.Integer) else n for n in numbers]


def call_outlined(name: str, emit: Callable, builder: Any, element: Any, arguments: Any) -> None:
    """Call the function of that name with numbers; emit(builder, element, *numbers) makes it.

    It stands once in the machine code: inlined, loops around it would multiply it.
    """
    module, called = builder.module, f"fastconv_{name}_{element.dtype}"
    function = module.globals.get(called)
    if function is None:
        kinds = [value.type for value in arguments]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), called)
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        body = ir.IRBuilder(function.append_basic_block("entry"))
        emit(body, element, *function.args)
        body.ret_void()
    builder.call(function, arguments)


def _value(number: Any) -> Any:
    return i64(number) if isinstance(number, int) else number
