"""Memory for results, reused after they are gone.

Large arrays come from the system as fresh pages, and touching those first costs more than many a
kernel: in a training step of LeNet a third of the time (2.0 against 3.0 ms, two cores, 2026-11). So
the memory of a large result goes back to a small store when the last array that shows it is
deleted, and the next result of that size takes it from there.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np

# Smaller results come from the allocator's own reserves.
SMALLEST = 32 << 10
# The store holds at most so many blocks and bytes, and none that is larger than a quarter of that.
MOST_BLOCKS = 32
MOST_BYTES = 256 << 20
LARGEST = MOST_BYTES // 4

# Results begin with a cache line, so that no vector need be stored across two.
LINE = 64

# Memory, its bytes, and the address of its first whole line, which takes microseconds to find.
Block = tuple[np.ndarray, int, int]

# Only single, atomic operations touch the store: a block may come back in the middle of anything,
# whenever the garbage collector runs.
_store: deque[Block] = deque(maxlen=MOST_BLOCKS)


class _Lease:
    """Owner of a block while an array shows it."""

    __slots__ = ("__array_interface__", "_block")

    def __init__(self, block: Block, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._block = block
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (block[2], False),
        }

    def __del__(self) -> None:
        if _store is None:  # the interpreter is ending
            return
        _store.append(self._block)
        with suppress(IndexError, RuntimeError):  # another thread changed the store meanwhile
            while sum([size for _, size, _ in _store]) > MOST_BYTES:
                _store.popleft()


def _take(size: int) -> Block:
    """A stored block of just this size, the last that came back first, or a new one."""
    for _ in range(len(_store)):
        try:
            block = _store.pop()
        except IndexError:  # another thread was faster
            break
        if block[1] == size:
            return block
        _store.appendleft(block)
    memory = np.empty(size, np.uint8)
    return memory, size, -(-memory.ctypes.data // LINE) * LINE


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """As `numpy.empty`, C order; the memory of a large array is kept for the next one."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if not SMALLEST <= size <= LARGEST:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_take(size + LINE), shape, dtype))


def forget() -> None:
    """Give the stored memory back to the system."""
    _store.clear()


def empty_like(x: np.ndarray) -> np.ndarray:
    """An array of the shape, dtype and, if it is C-contiguous, memory order of `x`."""
    return empty(x.shape, x.dtype) if x.flags.c_contiguous else np.empty_like(x)
