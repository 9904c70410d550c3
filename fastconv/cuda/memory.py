"""Device memory, reused after the arrays that lay in it are gone.

Asking the driver costs more than most kernels and waits for them all. So the memory of a deleted
array goes back to a store, by its size and stream: on its stream it is free as soon as what was
launched before is done, which is before anything launched later. Memory that was used on several
streams goes back to the driver, which waits for them.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

import numpy as np

from . import backend

# Sizes are rounded up to one of eight steps between powers of two, at least to this.
SMALLEST = 512

_store: defaultdict[tuple[int, int], deque[Any]] = defaultdict(deque)


def rounded(size: int) -> int:
    """The size of the block for so many bytes."""
    step = max(SMALLEST, 1 << max(size.bit_length() - 4, 0))
    return -(-max(size, 1) // step) * step


class Memory:
    """A block of device memory; goes back to the store when nothing refers to it.

    `stream` is the one that used it last.
    """

    __slots__ = ("_key", "_memory", "_roams", "address", "dtype", "reach_bytes", "stream")
    before_bytes = 0

    def __init__(self, size: int, dtype: Any = np.uint8) -> None:
        self.dtype, self.reach_bytes = np.dtype(dtype), size
        self.stream, self._roams = backend.current_stream(), False
        self._key = (rounded(size), self.stream.address)
        try:
            self._memory = _store[self._key].pop()
        except IndexError:
            self._memory = _new(self._key[0])
        self.address = backend.address_of(self._memory)

    def __del__(self) -> None:
        memory = getattr(self, "_memory", None)
        if memory is not None and not (self._roams or backend.SIMULATED):
            _store[self._key].append(memory)

    def move(self, stream: backend.Stream) -> None:
        """Let the current stream wait for the one that used the memory last."""
        backend.wait_for(self.stream.address)
        self.stream, self._roams = stream, True


def ready(x: Any) -> None:
    """Let the current stream wait for what another one does with an array or memory of ours."""
    memory, stream = getattr(x, "_owner", x), backend.current_stream()
    if isinstance(memory, Memory) and memory.stream.address != stream.address:
        memory.move(stream)


def _new(size: int) -> Any:
    """New memory; if there is none, after giving back what is stored."""
    try:
        return backend.new_memory(size)
    except Exception:
        if not any(_store.values()):
            raise
        release()
        return backend.new_memory(size)


def release() -> None:
    """Give the stored memory back to the driver."""
    backend.synchronize()
    _store.clear()


class Table(Memory):
    """Numbers from the host in device memory, for kernels to look up."""

    __slots__ = ()

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(values.nbytes, values.dtype)
        backend.copy_in(self.address, values)
