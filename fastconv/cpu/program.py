"""Rehearsals: a door called to note what it would do, so that compiled code can do it again.

While a thread rehearses, whatever runs kernels on arrays notes its launches in a `Program` instead.
An array is known by its memory: that of an argument, that of a result, or scratch memory. What
happens to other arrays, in NumPy, cannot be noted; `Unwritten` is raised where that shows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .compile import Kernel
from .memory import OPERANDS, address_of

# Bases of a place besides the numbers of arrays.
(WORK, NUMBER) = -2, -1

# Words of a step, then for each operand a base (an array of the call, scratch memory, or NUMBER)
# and what is added to it. The guard is such a pair too: a word without which the step is left out.
(S_KERNEL, S_JOB, S_ITEMS, S_THREADS, S_GUARD, S_OPERANDS) = (0, 1, 2, 3, 4, 6)
STEP_WORDS = S_OPERANDS + 2 * OPERANDS


class Unwritten(Exception):
    """A call that does something which no program can say."""


class Place(NamedTuple):
    """An address: that of an array of the call, or of the scratch memory, and bytes to add."""

    base: int
    offset: int

    def shifted(self, count: int) -> Place:
        """So many bytes further on."""
        return Place(self.base, self.offset + count)


class Step(NamedTuple):
    """One launch."""

    kernel: Kernel
    dtype: str
    job: np.ndarray
    operands: tuple[Place | int, ...]
    items: int
    threads: int
    guard: Place | None = None


class Program:
    """Launches one after the other on the arrays of a call, and the scratch memory they share."""

    def __init__(self, arrays: list[np.ndarray], threads: int) -> None:
        self.threads, self.steps = threads, list[Step]()
        self.work_bytes, self.failures = 0, 0
        self.used: set[int] = set()  # numbers of arrays
        self._known: list[tuple[Any, np.ndarray, Place]] = []
        self._kept: list[np.ndarray] = []  # what operands point to
        for base, array in enumerate(arrays):
            self.assign(array, Place(base, 0))

    def assign(self, array: np.ndarray, place: Place) -> None:
        """Let an array, and all views of its memory, stand for a place."""
        self._known.append((_owner(array), array, place))

    def place(self, array: np.ndarray) -> Place:
        """Where an array begins."""
        if array.size == 0:
            return Place(NUMBER, 0)
        owner = _owner(array)
        for known, whole, place in self._known:
            if known is owner:
                self.used.add(place.base)
                return place.shifted(address_of(array) - address_of(whole))
        raise Unwritten

    def held(self, array: np.ndarray) -> Place:
        """As `place`; an array that is not known is kept, and always the same."""
        try:
            return self.place(array)
        except Unwritten:
            return self.constant(array)

    def scratch(self, size: int) -> Place:
        """A part of the scratch memory, on a cache line of its own."""
        place = Place(WORK, self.work_bytes)
        self.work_bytes += -(-size // 64) * 64
        return place

    def constant(self, values: np.ndarray) -> Place:
        """An array that every call finds at the same place."""
        self._kept.append(values)
        return Place(NUMBER, address_of(values))

    @property
    def kept_bytes(self) -> int:
        """Bytes of the arrays that the program keeps."""
        return sum({address_of(x): x.nbytes for x in self._kept}.values())

    def failure_words(self, count: int) -> Place:
        """Words, zero before the first step, that say at the end whether something failed."""
        if self.work_bytes:
            raise Unwritten
        self.failures = count
        return self.scratch(8 * count)

    def launch(
        self,
        kernel: Kernel,
        dtype: str,
        job: np.ndarray,
        operands: tuple[Place | int, ...],
        items: int,
        threads: int | None = None,
        guard: Place | None = None,
    ) -> None:
        """Note a launch; by default on the threads of the program.

        With a `guard`, a word in memory, it is left out where that is zero.
        """
        if items:
            count = min(self.threads if threads is None else threads, items)
            self.steps.append(Step(kernel, dtype, job, operands, items, count, guard))

    def step_words(self, arrays: int) -> list[int]:
        """The steps as words; the scratch memory is the base after so many of arrays."""
        words = []
        for step in self.steps:
            kernel = step.kernel.address(step.dtype)
            words += [kernel, address_of(step.job), step.items, step.threads]
            for operand in (step.guard or 0, *step.operands):
                base, number = operand if isinstance(operand, Place) else (NUMBER, operand)
                words += [arrays if base == WORK else base, number]
            words += [NUMBER, 0] * (OPERANDS - len(step.operands))
        return words


def _owner(array: np.ndarray) -> Any:
    """What holds the memory of an array; its address says nothing, arrays of a call may overlap."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array if array.base is None else array.base


Steps = Callable[..., None]
Notes = list[tuple[Steps, tuple[Any, ...]]]


class _Rehearsal(threading.local):
    notes: Notes | None = None


_rehearsal = _Rehearsal()


def rehearsing() -> bool:
    """Whether the thread rehearses."""
    return _rehearsal.notes is not None


def noted(steps: Steps, *arguments: Any) -> bool:
    """Whether the thread only rehearses: then `steps(program, *arguments)` will note the work."""
    if _rehearsal.notes is None:
        return False
    _rehearsal.notes.append((steps, arguments))
    return True


def unwritten(program: Program) -> None:
    """The steps of what works on its result in NumPy: none."""
    raise Unwritten


@contextmanager
def rehearsal() -> Iterator[Notes]:
    """Within the ``with`` block the thread rehearses; gives what it notes."""
    notes: Notes = []
    _rehearsal.notes = notes
    try:
        yield notes
    finally:
        _rehearsal.notes = None
