"""Kernels as values: what they are compiled from and for, and how they are started.

A kernel takes addresses and numbers, as on the CPU, so no shape ever compiles anew. It says itself
what its arguments are, how many threads and how much shared memory a block has; `variants` of the
kernel files are what the checks compile to PTX where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._version import __version__
from . import backend
from .backend import cuda
from .memory import ready

types: Any = cuda.types

# Of kernels whose threads walk over their work with strides: threads of a block, most blocks. The
# simulator starts a thread of the system for each.
THREADS, MOST_BLOCKS = (3, 2) if backend.SIMULATED else (256, 1 << 20)


def pointer(dtype: Any) -> Any:
    """The type of an address of elements."""
    return types.CPointer(getattr(types, str(np.dtype(dtype))))


class Cells:
    """A pointer in the simulator, to one of some cells: indices beyond them are errors."""

    __slots__ = ("_cells", "_first", "address", "dtype", "itemsize")

    def __init__(self, cells: np.ndarray, first: int) -> None:
        self._cells, self.dtype, self.itemsize = cells, cells.dtype, cells.itemsize
        self._first, self.address = first, cells.ctypes.data + first * cells.itemsize

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index + self._first < len(self._cells):
            raise IndexError(f"read at {index} of {len(self._cells)}")
        return self._cells[index + self._first]

    def __setitem__(self, index: int, value: Any) -> None:
        if not 0 <= index + self._first < len(self._cells):
            raise IndexError(f"write at {index} of {len(self._cells)}")
        self._cells[index + self._first] = value


class Kernel:
    """A kernel for one element type and tile.

    `arguments` are dtypes for pointers, "number" for an int64 and "real" for a float64, or tuples
    of these.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., None],
        arguments: Sequence[Any],
        threads: int,
        shared_bytes: int = 0,
        least_cc: tuple[int, int] = (7, 5),
    ) -> None:
        self.name, self.function, self.threads = name, function, threads
        self.arguments = tuple(arguments)
        self.shared_bytes, self.least_cc = shared_bytes, least_cc
        # The names of the cache's files and what profilers show.
        function.__name__ = name
        function.__qualname__ = f"{name}.{__version__}"
        self._dispatcher: Any = None

    @property
    def types(self) -> tuple[Any, ...]:
        """The arguments as Numba's types."""
        return tuple(map(_type, self.arguments))

    def compile_ptx(self, cc: tuple[int, int]) -> str:
        """The kernel's PTX; needs no GPU."""
        text, _ = cuda.compile_ptx(self.function, self.types, cc=cc)
        return str(text)

    def __call__(self, grid: int | tuple[int, ...], *args: Any) -> None:
        """Start `grid` blocks on the current stream.

        Pointers are device arrays or memory with an `address`.
        """
        if self._dispatcher is None:
            self._dispatcher = self._compile()
        if backend.SIMULATED:
            args = tuple(map(_simulated, self.arguments, args))
        else:
            args = tuple(map(address, args))
        backend.configured(self._dispatcher, grid, self.threads)(*args)

    def _compile(self) -> Any:
        if backend.SIMULATED:
            return cuda.jit(self.function)
        return cuda.jit(types.void(*self.types))(self.function)


def _type(kind: Any) -> Any:
    """The type of an argument."""
    if isinstance(kind, tuple):
        return types.Tuple(tuple(map(_type, kind)))
    scalars = {"number": types.int64, "real": types.float64}
    return scalars[kind] if kind in scalars else pointer(kind)


def address(arg: Any) -> Any:
    """The argument as a number; the current stream waits for what another does with it."""
    if isinstance(arg, tuple):
        return tuple(map(address, arg))
    found = getattr(arg, "address", None)
    if found is None:
        return arg
    ready(arg)
    return found


def _simulated(kind: Any, arg: Any) -> Any:
    """The argument as the simulator's kernels see it, checked against its declaration."""
    if isinstance(kind, tuple):
        assert len(kind) == len(arg)
        return tuple(map(_simulated, kind, arg))
    if kind == "number":
        assert isinstance(arg, (int, np.integer)), arg
        return np.int64(arg)
    if kind == "real":
        return float(arg)
    assert np.dtype(kind) == arg.dtype, f"{arg.dtype} given, {kind} declared"
    before = arg.before_bytes
    memory = backend.memory_at(arg.address - before, before + arg.reach_bytes)
    return Cells(memory.view(arg.dtype), before // arg.dtype.itemsize)


def blocks_for(work: int, each: int = 1) -> int:
    """Blocks whose threads do `each` items of the work, and walk on if that is not enough."""
    return max(min(-(-work // (THREADS * each)), MOST_BLOCKS), 1)
