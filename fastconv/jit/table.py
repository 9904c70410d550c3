"""What machine code in users' functions and this process share: where recipes are found and made.

A compiled call of a door knows one name, `SYMBOL`, the address of a few words: the kernel that
looks recipes up, and the function that makes one. The name is bound when fastconv is imported, so
a user's function may come out of Numba's cache in another process; no address is ever part of it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
from llvmlite import binding

from .._version import __version__
from ..cpu import launch
from ..cpu.memory import address_of
from ..cpu.program import NUMBER, WORK, Place, Program, Step
from ..cpu.recipe import (
    F_KIND,
    F_LENGTH,
    F_TEXT,
    FAILURE_WORDS,
    FIND,
    FINDING,
    FORGETTING,
    LEAVING,
    MEMORY_ERROR,
    OTHER_ERROR,
    PERFORMING,
    PLACING,
    PREPARE,
    R_EXPLAIN,
    R_FAILURES,
    R_KEY_AT,
    R_KEY_COUNT,
    R_PERFORM,
    R_RESULTS_AT,
    R_SERIAL_AT,
    R_SPREAD,
    R_STEPS,
    R_STEPS_AT,
    R_USERS,
    R_WORDS,
    R_WORK,
    R_WORK_BASE,
    S_OPERANDS,
    SEARCHING,
    SERIAL,
    SLOTS,
    SLOTS_AT,
    SPREADING,
    STATE_WORDS,
    STEP_WORDS,
    TYPE_ERROR,
    VALUE_ERROR,
)
from ..precision import when_changed

log = logging.getLogger("fastconv")

# Must never change its meaning: caches hold machine code that refers to it. See `stamp`.
SYMBOL = "fastconv_calls"

# At most so many recipes are kept; the table has twice the room, so that searches stay short.
MOST_RECIPES = 2048

# Arrays of a call, by number, as compiled code hands them over.
Bases = list[int]
# Performs a call in Python, or tells what went wrong in it.
Handler = Callable[[Bases], None]

_KINDS = ((ValueError, VALUE_ERROR), (TypeError, TYPE_ERROR), (MemoryError, MEMORY_ERROR))
_PLACE = "int64"  # under which type kernels that meet no elements are compiled

_words = np.zeros(STATE_WORDS, np.int64)
_slots = np.zeros(2 * MOST_RECIPES, np.int64)
_words[SLOTS_AT], _words[SLOTS] = address_of(_slots), len(_slots)
binding.add_symbol(SYMBOL, address_of(_words))


@functools.cache
def stamp() -> int:
    """A number for the agreement between this fastconv and machine code in users' caches.

    It is a hash of the sources that say what such code looks like. Kernels are not part of it:
    a function that was cached under another version simply calls the kernels of this one.
    """
    folder = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in (folder / "site.py", folder / "words.py", folder.parent / "cpu" / "recipe.py"):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little", signed=True)


class Recipe:
    """A recipe as an array, and all that it points to."""

    def __init__(
        self,
        key: np.ndarray,
        arrays: int,
        results: list[tuple[int, tuple[int, ...], tuple[int, ...]]],
        program: Program | None,
        handler: Handler | None,
    ) -> None:
        """For `arrays` arrays, results (bytes, shape, strides); without a program the handler runs.

        With a program the handler explains failures.
        """
        self.key, self.program, self.handler, self.arrays = key, program, handler, arrays
        table = [word for size, shape, strides in results for word in (size, *shape, *strides)]
        self.results = np.array(table or [0], np.int64)
        steps = [] if program is None else [self._step(step) for step in program.steps]
        self.words = w = np.array([*[0] * R_WORDS, *(n for step in steps for n in step)], np.int64)
        w[R_USERS], w[R_KEY_AT], w[R_KEY_COUNT] = 1, address_of(key), len(key)
        w[R_RESULTS_AT], w[R_STEPS_AT], w[R_STEPS] = address_of(self.results), R_WORDS, len(steps)
        w[R_EXPLAIN], w[R_SERIAL_AT] = _handle_address, address_of(_words) + 8 * SERIAL
        w[R_WORK_BASE] = arrays
        w[R_PERFORM] = _handle_address
        if program is not None:
            w[R_PERFORM] = PERFORMING.address(_PLACE)
            w[R_WORK], w[R_FAILURES] = program.work_bytes, program.failures
            if any(step.threads > 1 for step in program.steps):
                w[R_SPREAD] = SPREADING.address(_PLACE)

    def _step(self, step: Step) -> list[int]:
        job, items = address_of(step.job), step.items
        words = [step.kernel.address(step.dtype), job, items, step.threads]
        for operand in step.operands:
            base, number = operand if isinstance(operand, Place) else (NUMBER, operand)
            words += [self.arrays if base == WORK else base, number]
        return words + [NUMBER, 0] * ((STEP_WORDS - S_OPERANDS) // 2 - len(step.operands))


_recipes: dict[int, Recipe] = {}
_retired: list[Recipe] = []
_texts: deque[np.ndarray] = deque(maxlen=256)  # messages that compiled code may still read
_lock = threading.RLock()


def keep(recipe: Recipe) -> int:
    """Let compiled code find a recipe; returns its address. It has one user, who asked for it."""
    with _lock:
        if len(_recipes) >= MOST_RECIPES:
            forget()
        elif _retired and _words[SEARCHING] == 0:
            _retired[:] = [old for old in _retired if old.words[R_USERS] != 0]
        address = address_of(recipe.words)
        _recipes[address] = recipe
        _call(PLACING, address_of(_words), address)
        _words[FIND] = FINDING.address(_PLACE)
        return address


def forget() -> None:
    """Let compiled code find no recipe any more; those in use are freed later."""
    with _lock:
        if _recipes:
            _call(FORGETTING, address_of(_words))
            _retired.extend(_recipes.values())
            _recipes.clear()


when_changed.append(forget)


def known(key: np.ndarray) -> int:
    """The recipe of a key, which has one user more now, or 0: another thread may have made it."""
    with _lock:
        found = np.zeros(1, np.int64)
        if _words[FIND]:
            _call(FINDING, address_of(_words), address_of(found), address_of(key), len(key))
        return int(found[0])


_KERNEL = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)


def _call(kernel, *numbers: int) -> None:
    padded = (*numbers, *[0] * (5 - len(numbers)))
    _KERNEL(kernel.address(_PLACE))(0, *padded)


# --- Called by compiled code ---


def tell(failure_at: int, error: BaseException) -> None:
    """Write an error where compiled code raises it from."""
    log.debug("a call from compiled code", exc_info=error)
    kind = next((number for known, number in _KINDS if isinstance(error, known)), OTHER_ERROR)
    text = str(error) if kind != OTHER_ERROR else f"{type(error).__name__}: {error}"
    message = np.frombuffer(text.encode("ascii", "backslashreplace") + b"\0", np.uint8)
    _texts.append(message)
    failure = (ctypes.c_int64 * FAILURE_WORDS).from_address(failure_at)
    failure[F_TEXT], failure[F_LENGTH] = address_of(message), len(message) - 1
    failure[F_KIND] = kind


def bases_at(address: int, count: int) -> Bases:
    """The addresses of the arrays of a call."""
    return list((ctypes.c_int64 * count).from_address(address))


@_KERNEL
def _handle(element: int, recipe_at: int, bases: int, failure: int, begin: int, end: int) -> None:
    """Perform a call in Python, or explain a failure of one."""
    with _lock:
        recipe = _recipes.get(recipe_at) or _of_retired(recipe_at)
    try:
        assert recipe.handler is not None
        recipe.handler(bases_at(bases, recipe.arrays))
    except BaseException as error:
        tell(failure, error)
    if recipe.program is None:  # else compiled code does so
        _call(LEAVING, recipe_at)


def _of_retired(address: int) -> Recipe:
    return next(recipe for recipe in _retired if address_of(recipe.words) == address)


_handle_address = ctypes.cast(_handle, ctypes.c_void_p).value or 0

Maker = Callable[[str, np.ndarray, int], int]


def bind(make: Maker) -> None:
    """Let compiled code call `make(text, key, address of the bases)` for a recipe."""

    @ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 6)
    def prepare(text: int, length: int, key: int, count: int, bases: int, failure: int) -> int:
        try:
            words = np.array((ctypes.c_int64 * count).from_address(key), np.int64)
            if words[0] != stamp():
                raise RuntimeError(_STALE)
            return make(ctypes.string_at(text, length).decode(), words, bases)
        except BaseException as error:
            tell(failure, error)
            return 0

    _kept.append(prepare)
    _words[PREPARE] = ctypes.cast(prepare, ctypes.c_void_p).value or 0


_kept: list[object] = []
_STALE = (
    "this function was compiled and cached for another version of fastconv, whose calls look "
    f"different from those of {__version__}: delete its cache (the .nbi and .nbc files in "
    "__pycache__ or NUMBA_CACHE_DIR) or touch its source file"
)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    _words[SERIAL] = launch.parallel_is_lost()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
