"""Words that several threads read and write, locks, and memory of the C heap, in compiled code."""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
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
def replace_word(typing: Any, address: Any, index: Any, known: Any, value: Any) -> Any:
    """Set the int64 address[index] in one step if it is `known`; returns whether it was."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cell = _cell(builder, *args[:2])
        found = builder.cmpxchg(cell, args[2], args[3], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(*[types.int64] * 4), generate


@intrinsic
def pause(typing: Any) -> Any:
    """Let other threads of the core go first for a moment."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        processor = binding.get_process_triple().split("-")[0]
        if processor in ("x86_64", "i686"):
            _outside(builder, "llvm.x86.sse2.pause", ir.VoidType())
        elif processor in ("aarch64", "arm64"):
            _outside(builder, "llvm.aarch64.hint", ir.VoidType(), ir.IntType(32)(1))
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def sleep(typing: Any, lock: Any) -> Any:
    """Take a lock of the interpreter, see `new_lock`; waits until another thread gives it back."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], _pointer)
        _outside(builder, "PyThread_acquire_lock", ir.IntType(32), place, ir.IntType(32)(1))
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def wake(typing: Any, lock: Any) -> Any:
    """Give a lock back, for the thread that sleeps on it or will."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], _pointer)
        _outside(builder, "PyThread_release_lock", ir.VoidType(), place)
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _outside(builder: Any, name: str, result: Any, *args: Any) -> None:
    """Call a function of the interpreter or of LLVM."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def new_lock() -> int:
    """A lock on which a thread can sleep, on every system and without the interpreter's own lock.

    It is there as long as the process.
    """
    api = ctypes.pythonapi
    api.PyThread_allocate_lock.restype = ctypes.c_void_p
    lock = api.PyThread_allocate_lock()
    if not lock:
        raise MemoryError("no lock can be made")
    api.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
    return lock


@intrinsic
def lines(typing: Any, count: Any) -> Any:
    """Address of a constant number of 128 bytes, there until the calling function returns."""
    if not isinstance(count, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        with builder.goto_entry_block():
            place = builder.alloca(ir.ArrayType(_i64, 16 * count.literal_value))
            place.align = 128
        return builder.ptrtoint(place, _i64)

    return types.int64(count), generate


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
