"""Typed access to raw addresses inside compiled code.

Kernels get addresses and strides, not array objects: an array type would compile once more for
each rank, layout and read-only flag, and its index checks would stand in the inner loops.
`element` is a typed null pointer (see `compile`).
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .emit import emitter

_i64, _pointer = ir.IntType(64), ir.PointerType()

# A launch has at most so many operands.
OPERANDS = 9

# Where an array object has the pointer to its elements: behind the header of every object, which
# is larger in Python without a global lock.
_POINTER = object.__basicsize__


_size = ctypes.c_size_t.from_address


def address_of(x: np.ndarray) -> int:
    """Address of the first element of an array, which must be kept alive.

    Ten times as fast as ``x.ctypes.data``, which makes three objects to find it.
    """
    return _size(id(x) + _POINTER).value if _AT_POINTER else x.ctypes.data


class _Memory:
    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def array_at(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """The array that lies at an address."""
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    interface = {
        "version": 3,
        "data": (address, False),
        "shape": shape,
        "strides": strides,
        "typestr": dtype.str,
    }
    return np.asarray(_Memory(interface))


def _found_at_pointer() -> bool:
    probe = np.zeros(3)
    return sys.implementation.name == "cpython" and (
        _size(id(probe) + _POINTER).value == probe.ctypes.data
    )


_AT_POINTER = _found_at_pointer()

# What compiled code is told of an array to find its address by itself, and where that is: at so
# many bytes behind the handle, or if that is -1 the handle is the address.
handle: Callable[[np.ndarray], int]
handle, POINTER_AT = (id, _POINTER) if _AT_POINTER else (address_of, -1)


def _cell(context: Any, builder: Any, dtype: Any, address: Any, index: Any) -> tuple[Any, int]:
    base = builder.inttoptr(address, _pointer)
    cell = builder.gep(base, [index], source_etype=context.get_value_type(dtype))
    return cell, dtype.bitwidth // 8


@intrinsic
def load(typing: Any, element: Any, address: Any, index: Any) -> Any:
    """The element address[index]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cell, align = _cell(context, builder, element.dtype, args[1], args[2])
        return builder.load(cell, typ=context.get_value_type(element.dtype), align=align)

    return element.dtype(element, types.int64, types.int64), generate


@intrinsic
def store(typing: Any, element: Any, address: Any, index: Any, value: Any) -> Any:
    """Set the element address[index]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cell, align = _cell(context, builder, element.dtype, args[1], args[2])
        builder.store(args[3], cell, align=align)
        return context.get_dummy_value()

    return types.void(element, types.int64, types.int64, element.dtype), generate


@intrinsic
def word(typing: Any, address: Any, index: Any) -> Any:
    """The int64 address[index] of a job, an operand list or a table."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cell, align = _cell(context, builder, types.int64, args[0], args[1])
        return builder.load(cell, typ=_i64, align=align)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def set_word(typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Set the int64 address[index] of a table."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cell, align = _cell(context, builder, types.int64, args[0], args[1])
        builder.store(args[2], cell, align=align)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def shift(typing: Any, element: Any, address: Any, count: Any) -> Any:
    """The address `count` elements further on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = _i64(element.dtype.bitwidth // 8)
        return builder.add(args[1], builder.mul(args[2], size))

    return types.int64(element, types.int64, types.int64), generate


@intrinsic
def copy(typing: Any, element: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` elements that lie side by side in both places."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, origin = (builder.inttoptr(args[i], _pointer) for i in (1, 2))
        size = builder.mul(args[3], _i64(element.dtype.bitwidth // 8))
        function = builder.module.declare_intrinsic(
            "llvm.memcpy.p0.p0.i64", (), _memory_function([_pointer, _pointer, _i64])
        )
        builder.call(function, [to, origin, size, ir.IntType(1)(0)])
        return context.get_dummy_value()

    return types.void(element, types.int64, types.int64, types.int64), generate


@intrinsic
def clear(typing: Any, element: Any, target: Any, count: Any) -> Any:
    """Set `count` elements that lie side by side to zero."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = builder.inttoptr(args[1], _pointer)
        size = builder.mul(args[2], _i64(element.dtype.bitwidth // 8))
        function = builder.module.declare_intrinsic(
            "llvm.memset.p0.i64", (), _memory_function([_pointer, ir.IntType(8), _i64])
        )
        builder.call(function, [to, ir.IntType(8)(0), size, ir.IntType(1)(0)])
        return context.get_dummy_value()

    return types.void(element, types.int64, types.int64), generate


def _memory_function(arguments: list[Any]) -> ir.FunctionType:
    return ir.FunctionType(ir.VoidType(), [*arguments, ir.IntType(1)])


@intrinsic
def call(
    typing: Any, address: Any, job: Any, operands: Any, begin: Any, end: Any, thread: Any
) -> Any:
    """Call the kernel at an address, see `compile`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        machine_type = ir.FunctionType(ir.VoidType(), [_pointer] + [_i64] * 5)
        function = builder.inttoptr(args[0], machine_type.as_pointer())
        builder.call(function, [_pointer(None), *args[1:]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@intrinsic
def room(typing: Any, element: Any, count: Any) -> Any:
    """Address of a constant number of elements, there until the calling function returns."""
    if not isinstance(count, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.ArrayType(context.get_value_type(element.dtype), count.literal_value)
        with builder.goto_entry_block():
            place = builder.alloca(kind)
            place.align = 64
        return builder.ptrtoint(place, _i64)

    return types.int64(element, count), generate


@intrinsic
def words_of(typing: Any, values: Any) -> Any:
    """Address of the int64 of a tuple, which lie there until the calling function returns."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.ArrayType(_i64, len(values))
        with builder.goto_entry_block():
            place = builder.alloca(kind)
        builder.store(args[0], place)
        return builder.ptrtoint(place, _i64)

    return types.int64(values), generate


@intrinsic
def prefetch(typing: Any, element: Any, address: Any, index: Any) -> Any:
    """Have element address[index] brought into the second-level cache; it need not exist."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emitter(builder, element).prefetch(builder.inttoptr(args[1], _pointer), args[2])
        return context.get_dummy_value()

    return types.void(element, types.int64, types.int64), generate
