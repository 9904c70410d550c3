"""Words of the tensor cores and of asynchronous copies, as inline PTX; compute capability 8.0.

A *word* is 32 bits: a float32, of which the products see the 19 bits of TF32, or two float16 that
stand one behind the other in the reduction. Fragments lie as the PTX manual says for
``mma.m16n8k8`` (TF32) and ``m16n8k16`` (float16): with g = lane // 4 and q = lane % 4 a thread
holds the words (row g or g + 8, word q or q + 4) of the left matrix, (word q or q + 4, column g) of
the right one, and the sums (row g or g + 8, columns 2 q and 2 q + 1).

The simulator knows no warps: there, `tensor` sums the same elements straight from shared memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend import cuda
from .emit import _data, _word

types: Any = cuda.types


def _copy4(shared: Any, i: int, source: Any, j: int, valid: bool) -> None:
    shared[i] = source[j] if valid else 0


def _copy16(shared: Any, i: int, source: Any, j: int, valid: bool) -> None:
    for lane in range(4):
        shared[i + lane] = source[j + lane] if valid else 0


def _copy_emission(size: int) -> Any:
    cached = "cg" if size == 16 else "ca"

    def copy(typing: Any, shared: Any, i: Any, source: Any, j: Any, valid: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            from llvmlite import ir

            word, wide = ir.IntType(32), ir.IntType(64)
            target = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
            near = builder.addrspacecast(target, target.type.pointee.as_pointer(3))
            at = builder.ptrtoint(near, word)
            where = builder.gep(_data(context, builder, signature.args[2], args[2]), [args[3]])
            address = builder.ptrtoint(where, wide)
            taken = builder.select(args[4], ir.Constant(word, size), ir.Constant(word, 0))
            kind = ir.FunctionType(ir.VoidType(), [word, wide, word])
            text = f"cp.async.{cached}.shared.global [$0], [$1], {size}, $2;"
            builder.asm(kind, text, "r,l,r", [at, address, taken], True)
            return context.get_dummy_value()

        return types.void(shared, types.int64, source, types.int64, types.boolean), emit

    return copy


# Copy 4 or 16 bytes of a pointer to shared memory, or zeros, without waiting.
copy_async4 = _word(_copy4)(_copy_emission(4))
copy_async16 = _word(_copy16)(_copy_emission(16))


def _nothing() -> None:
    return None


def _statement(text: str) -> Any:
    def statement(typing: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            from llvmlite import ir

            builder.asm(ir.FunctionType(ir.VoidType(), []), text, "~{memory}", [], True)
            return context.get_dummy_value()

        return types.void(), emit

    return statement


# Close a group of copies; wait until at most two groups are under way.
commit_async = _word(_nothing)(_statement("cp.async.commit_group;"))
wait_async2 = _word(_nothing)(_statement("cp.async.wait_group 2;"))


def _pair(a: Any, b: Any) -> Any:
    return np.array([a, b], np.float16).view(np.int32)[0]


@_word(_pair)
def pair(typing: Any, a: Any, b: Any) -> Any:
    """Two float16 as one word, the first in the lower half."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        half, word = ir.IntType(16), ir.IntType(32)
        low, high = (builder.zext(builder.bitcast(arg, half), word) for arg in args)
        return builder.or_(low, builder.shl(high, ir.Constant(word, 16)))

    return types.int32(types.float16, types.float16), emit


def _rounded(x: Any) -> Any:
    return np.float32(x).view(np.int32)


@_word(_rounded)
def tf32(typing: Any, x: Any) -> Any:
    """The word of a float32, rounded to TF32."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        kind = ir.FunctionType(ir.IntType(32), [ir.FloatType()])
        return builder.asm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f", args, False)

    return types.int32(types.float32), emit


def _multiply_emission(shape: str, kind: str) -> Any:
    text = (
        f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 "
        "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
    )
    constraints = "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"

    def multiply(  # type: ignore[no-untyped-def]
        typing, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3
    ) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            from llvmlite import ir
            from numba.core import cgutils

            real, word = ir.FloatType(), ir.IntType(32)
            result = ir.LiteralStructType([real] * 4)
            function = ir.FunctionType(result, [word] * 6 + [real] * 4)
            sums = builder.asm(function, text, constraints, args, False)
            return cgutils.pack_array(builder, [builder.extract_value(sums, n) for n in range(4)])

        words, reals = (types.int32,) * 6, (types.float32,) * 4
        return types.UniTuple(types.float32, 4)(*words, *reals), emit

    return multiply


def _no_warps(*fragments: Any) -> Any:
    raise NotImplementedError("the simulator has no warps")


# Sums of a 16 x 8 tile over eight words: fragments of the left and right matrix, sums before.
multiply_tf32 = _word(_no_warps)(_multiply_emission("m16n8k8", "tf32"))
multiply_float16 = _word(_no_warps)(_multiply_emission("m16n8k16", "f16"))
