"""Words that several threads read and write, and memory of the C heap, inside compiled code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_i64, _pointer = ir.IntType(64), ir.PointerType()


def _cell(builder: Any, address: Any, index: Any) -> Any:
    """A pointer with a type, which llvmlite's atomic operations ask for."""
    place = builder.add(address, builder.mul(index, _i64(8)))
    return builder.inttoptr(place, _i64.as_pointer())


@intrinsic
def atomic_add(typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Add to the int64 address[index] in one step; returns what it was."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _cell(builder, *args[:2]), args[2], "seq_cst")

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def atomic_word(typing: Any, address: Any, index: Any) -> Any:
    """The int64 address[index], and all that was written before it was set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_cell(builder, *args), "seq_cst", 8)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def set_atomic_word(typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Set the int64 address[index] for all threads, after all that was written before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _cell(builder, *args[:2]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def allocate(typing: Any, size: Any) -> Any:
    """Address of `size` bytes of the heap, 0 if there are not as many."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(context.nrt.allocate_unchecked(builder, args[0]), _i64)

    return types.int64(types.int64), generate


@intrinsic
def release(typing: Any, address: Any) -> Any:
    """Give back what `allocate` gave."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        context.nrt.free(builder, builder.inttoptr(args[0], _pointer))
        return context.get_dummy_value()

    return types.void(types.int64), generate
