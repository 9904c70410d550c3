"""Recipes are made by calling the door itself: in a rehearsal, on views of the caller's arrays.

So the checks, their messages and all decisions are those of a call from Python, and what compiled
code repeats afterwards are the same launches. A call that does something in NumPy as well, which no
recipe can say, is handed to the door each time.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional, grad
from ..cpu.launch import thread_count
from ..cpu.memory import array_at
from ..cpu.program import Notes, Program, Unwritten, rehearsal
from .table import Bases, Recipe, bases_at
from .words import Reader, arrays_in

# Words of a key before those of the arguments, see `site`.
STAMP_WORDS = 2


@functools.lru_cache(maxsize=1024)
def _described(text: str) -> dict[str, Any]:
    return json.loads(text)


def door_named(name: str) -> Callable[..., Any]:
    """A door by its name, as in "conv2d" or "grad.conv2d_input"."""
    *package, last = name.split(".")
    return getattr(grad if package else functional, last)


def make(text: str, key: np.ndarray, bases: int, known: Callable[[], int]) -> Recipe | int:
    """A recipe for a call with this description and key; raises what the door does.

    See `table.bind`.
    """
    call = _Call(_described(text), key)
    if not call.has_out:
        found = known()  # another thread may have been first
        if found:
            return found
    arguments, arrays = call.arguments(bases_at(bases, call.arrays))
    with np.errstate(all="ignore"), rehearsal() as notes:
        results = _as_tuple(call.door(**arguments))
    found = known()
    if found:
        return found
    new = results[1:] if call.has_out else results
    program = _written(call, notes, arrays, results, _threads(arguments.get("threads")))
    rows = [call.row(result, number) for number, result in enumerate(new)]
    handler = functools.partial(call.perform, [row[1:] for row in rows], [r.dtype for r in new])
    return Recipe(key, len(arrays) + len(new), rows, program, handler)


def _written(
    call: _Call,
    notes: Notes,
    arrays: list[np.ndarray],
    results: tuple[np.ndarray, ...],
    threads: int,
) -> Program | None:
    """The program of a rehearsal, or None if it does not make all the results."""
    new = results[1:] if call.has_out else results
    program = Program([*arrays, *new], threads)
    try:
        for steps, operands in notes:
            steps(program, *operands)
    except Unwritten:
        return None
    made = [(result, len(arrays) + number) for number, result in enumerate(new)]
    if call.has_out:
        made.append((results[0], len(arrays) - 1))
    for result, base in made:
        if result.size and base not in program.used:
            return None
    fit = all(call.fits(result, number) for number, result in enumerate(new))
    return program if fit else None


class _Call:
    """A call as its description and its key tell it."""

    def __init__(self, description: dict[str, Any], key: np.ndarray) -> None:
        self.door = door_named(description["door"])
        self._forms, self._layouts = description["arguments"], description["layouts"]
        self.has_out, self._key = description["out"], key
        self.arrays = sum(arrays_in(form) for _, form in self._forms)

    def arguments(self, bases: Bases) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The arguments by name, and the arrays among them."""
        reader = Reader(self._key[STAMP_WORDS:], bases)
        arguments = {name: reader.value(form) for name, form in self._forms}
        if arguments.get("threads") is None:
            arguments["threads"] = 1
        if "threads" not in (self.door.__kwdefaults__ or ()):
            del arguments["threads"]
        return arguments, reader.arrays

    def fits(self, result: np.ndarray, number: int) -> bool:
        """Whether a new array, of the type that was promised, may lie in memory as `result`."""
        if self._layouts[number] == "A":
            order = np.argsort([-stride for stride in result.strides], kind="stable")
            result = result.transpose(order)
        return bool(result.flags.c_contiguous)

    def row(self, result: np.ndarray, number: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Bytes, shape and strides of a new array."""
        if self.fits(result, number):
            return result.nbytes, result.shape, result.strides
        return result.nbytes, result.shape, np.empty(result.shape, result.dtype).strides

    def perform(self, rows: list[Any], dtypes: list[np.dtype], bases: Bases) -> None:
        """Call the door on the arrays at these addresses; the last ones take its results."""
        arguments, arrays = self.arguments(bases)
        results = _as_tuple(self.door(**arguments))
        new = results[1:] if self.has_out else results
        for result, address, (shape, strides), dtype in zip(
            new, bases[len(arrays) :], rows, dtypes
        ):
            np.copyto(array_at(address, shape, strides, dtype), result)


def _as_tuple(results: Any) -> tuple[np.ndarray, ...]:
    return results if isinstance(results, tuple) else (results,)


def _threads(asked: int | None) -> int:
    return 1 if asked is None else thread_count(0, asked)
