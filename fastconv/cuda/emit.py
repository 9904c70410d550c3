"""Words that Python lacks, as LLVM instructions; each beside the plain Python that means the same.

The Python takes its place in the simulator and with packages that have no extension interface. A
*pointer* is what a kernel gets as an array: a `CPointer`, or in the simulator `launch.Cells`.
Addresses of four elements must be multiples of their size together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .backend import SIMULATED, cuda, intrinsic

types: Any = cuda.types


def device(function: Callable) -> Any:
    """A function that kernels may call; in the simulator the function itself."""
    return function if SIMULATED else cuda.jit(device=True, inline="always")(function)


def _word(twin: Callable) -> Callable[[Callable], Any]:
    """Decorates the emission of what `twin` says in Python."""
    return lambda emission: device(twin) if intrinsic is None else intrinsic(emission)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The address of the first element of an array or pointer."""
    if isinstance(kind, types.CPointer):
        return value
    return context.make_array(kind)(context, builder, value).data


def _as_vector(context: Any, builder: Any, signature: Any, args: Any, count: int) -> Any:
    """Pointer to a vector of elements at index ``args[1]`` of ``args[0]``, and its bytes."""
    from llvmlite import ir

    kind = signature.args[0]
    start = builder.gep(_data(context, builder, kind, args[0]), [args[1]])
    vector = ir.VectorType(context.get_data_type(kind.dtype), count)
    return builder.bitcast(start, vector.as_pointer()), count * kind.dtype.bitwidth // 8


def _aligned4(a: Any, i: int) -> bool:
    address = getattr(a, "address", 0)  # arrays in shared memory begin at a multiple
    return (address + i * a.itemsize) % (4 * a.itemsize) == 0


def _load4(a: Any, i: int) -> Any:
    assert _aligned4(a, i)
    return a[i], a[i + 1], a[i + 2], a[i + 3]


@_word(_load4)
def load4(typing: Any, a: Any, i: Any) -> Any:
    """Elements i to i + 3 of an array or pointer, by one instruction."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir
        from numba.core import cgutils

        where, size = _as_vector(context, builder, signature, args, 4)
        vector = builder.load(where, align=size)
        lanes = [ir.Constant(ir.IntType(32), lane) for lane in range(4)]
        return cgutils.pack_array(builder, [builder.extract_element(vector, n) for n in lanes])

    return types.UniTuple(a.dtype, 4)(a, types.int64), emit


def _store4(a: Any, i: int, values: Any) -> None:
    assert _aligned4(a, i)
    a[i], a[i + 1], a[i + 2], a[i + 3] = values


@_word(_store4)
def store4(typing: Any, a: Any, i: Any, values: Any) -> Any:
    """Set elements i to i + 3 of an array or pointer, by one instruction."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        where, size = _as_vector(context, builder, signature, args, 4)
        vector = ir.Constant(where.type.pointee, ir.Undefined)
        for lane in range(4):
            index = ir.Constant(ir.IntType(32), lane)
            vector = builder.insert_element(vector, builder.extract_value(args[2], lane), index)
        builder.store(vector, where, align=size)
        return context.get_dummy_value()

    return types.void(a, types.int64, types.UniTuple(a.dtype, 4)), emit


def _quotient(a: int, b: int) -> int:
    assert 0 <= a < 2**31 and 0 < b < 2**31
    return a // b


@_word(_quotient)
def quotient(typing: Any, a: Any, b: Any) -> Any:
    """a // b of numbers from 0 to below 2**31: a fifth of the instructions of the 64-bit one."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        a, b = (builder.trunc(arg, ir.IntType(32)) for arg in args)
        return builder.zext(builder.udiv(a, b), ir.IntType(64))

    return types.int64(types.int64, types.int64), emit


@_word(_aligned4)
def aligned4(typing: Any, a: Any, i: Any) -> Any:
    """Whether element i of a pointer may be the first of a `load4` or `store4`."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        where, size = _as_vector(context, builder, signature, args, 4)
        address = builder.ptrtoint(where, ir.IntType(64))
        rest = builder.and_(address, ir.Constant(ir.IntType(64), size - 1))
        return builder.icmp_unsigned("==", rest, ir.Constant(ir.IntType(64), 0))

    return types.boolean(a, types.int64), emit
