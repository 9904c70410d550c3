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
from typing import Any

import numpy as np
from llvmlite import binding

from .._version import __version__
from ..cpu.memory import address_of
from ..cpu.program import Program
from ..cpu.recipe import (
    A_KIND,
    A_LENGTH,
    A_LINE,
    A_RECIPE,
    A_TEXT,
    ANSWER_WORDS,
    FIND,
    FINDING,
    FORGETTING,
    LEAVING,
    LINE_WORDS,
    LINES,
    MEMORY_ERROR,
    NONE,
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
    R_STATE,
    R_STEPS,
    R_STEPS_AT,
    R_TEAM,
    R_WORDS,
    R_WORK,
    R_WORK_BASE,
    SLOTS,
    SLOTS_AT,
    STATE_WORDS,
    TYPE_ERROR,
    USERS_AT,
    VALUE_ERROR,
)
from ..cpu.team import team
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
_users = np.zeros(LINES * LINE_WORDS, np.int64)
_words[SLOTS_AT], _words[SLOTS], _words[USERS_AT] = (
    address_of(_slots),
    len(_slots),
    address_of(_users),
)
binding.add_symbol(SYMBOL, address_of(_words))


@functools.cache
def stamp() -> int:
    """A number for the agreement between this fastconv and machine code in users' caches.

    It is a hash of the sources that say what such code looks like, kernels of epilogues included.
    Our own kernels are no part of it: a function that was cached under another version simply calls
    the kernels of this one.
    """
    folder = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    engine = folder.parent / "cpu"
    parts = (folder / "site.py", folder / "words.py", engine / "recipe.py", engine / "fused.py")
    for path in parts:
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
        steps = [] if program is None else program.step_words(arrays)
        self.words = w = np.array([*[0] * R_WORDS, *steps], np.int64)
        w[R_KEY_AT], w[R_KEY_COUNT] = address_of(key), len(key)
        w[R_RESULTS_AT], w[R_STEPS_AT] = address_of(self.results), R_WORDS
        w[R_EXPLAIN], w[R_STATE] = _handle_address, address_of(_words)
        w[R_WORK_BASE] = arrays
        w[R_PERFORM] = _handle_address
        if program is not None:
            w[R_PERFORM], w[R_STEPS] = PERFORMING.address(_PLACE), len(program.steps)
            w[R_WORK], w[R_FAILURES] = program.work_bytes, program.failures
            team.grow(program.threads)
            w[R_TEAM] = team.address


_recipes: dict[int, Recipe] = {}
_texts: deque[np.ndarray] = deque(maxlen=256)  # messages that compiled code may still read
_lock = threading.RLock()


class _Retired:
    """Recipes that are found no more, until every call that may still use one has ended."""

    def __init__(self, recipes: dict[int, Recipe]) -> None:
        self.recipes, self._busy = recipes, set(range(LINES))

    def in_use(self, own: int) -> bool:
        """Whether some call that began earlier may go on; `own` is the line of the asking one."""
        counts = _users[::LINE_WORDS]
        self._busy = {line for line in self._busy if counts[line] > (line == own)}
        return bool(self._busy)


_retired: list[_Retired] = []


def keep(recipe: Recipe, own: int) -> int:
    """Let compiled code find a recipe; returns its address. The caller is counted on a line."""
    with _lock:
        _retired[:] = [old for old in _retired if old.in_use(own)]
        if len(_recipes) >= MOST_RECIPES:
            forget()
        address = address_of(recipe.words)
        _recipes[address] = recipe
        _call(PLACING, address_of(_words), address)
        return address


def forget() -> None:
    """Let compiled code find no recipe any more."""
    with _lock:
        if _recipes:
            _call(FORGETTING, address_of(_words))
            _retired.append(_Retired(dict(_recipes)))
            _recipes.clear()


when_changed.append(forget)


_KERNEL = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)


def _call(kernel, *numbers: int) -> None:
    padded = (*numbers, *[0] * (5 - len(numbers)))
    _KERNEL(kernel.address(_PLACE))(0, *padded)


# --- Called by compiled code ---


def tell(answer_at: int, error: BaseException) -> None:
    """Write an error where compiled code raises it from."""
    log.debug("a call from compiled code", exc_info=error)
    kind = next((number for known, number in _KINDS if isinstance(error, known)), OTHER_ERROR)
    raised_as_it_is = kind != OTHER_ERROR or type(error) is RuntimeError
    text = str(error) if raised_as_it_is else f"{type(error).__name__}: {error}"
    if isinstance(threading.current_thread(), threading._DummyThread):
        _warn_once(text)
    message = np.frombuffer(text.encode("utf-8", "backslashreplace") + b"\0", np.uint8)
    _texts.append(message)
    answer = _words_at(answer_at, ANSWER_WORDS)
    answer[A_TEXT], answer[A_LENGTH] = address_of(message), len(message) - 1
    answer[A_KIND] = kind


@functools.lru_cache(maxsize=64)
def _warn_once(text: str) -> None:
    log.warning("in a thread of Numba's, which does not report errors of all its threads: %s", text)


def _words_at(address: int, count: int) -> Any:
    return (ctypes.c_int64 * count).from_address(address)


def bases_at(address: int, count: int) -> Bases:
    """The addresses of the arrays of a call."""
    return list(_words_at(address, count))


@_KERNEL
def _handle(element: int, recipe_at: int, bases: int, answer: int, begin: int, end: int) -> None:
    """Perform a call in Python, or explain a failure of one."""
    with _lock:
        recipe = _recipes.get(recipe_at) or _of_retired(recipe_at)
    try:
        assert recipe.handler is not None
        recipe.handler(bases_at(bases, recipe.arrays))
    except BaseException as error:
        tell(answer, error)
    if recipe.program is None:  # else compiled code does so
        _call(LEAVING, address_of(_words), answer)


def _of_retired(address: int) -> Recipe:
    return next(old.recipes[address] for old in _retired if address in old.recipes)


_handle_address = ctypes.cast(_handle, ctypes.c_void_p).value or 0

Maker = Callable[[str, np.ndarray, int, Callable[[], int]], Recipe | int]


def bind(make: Maker) -> None:
    """Let compiled code have recipes made: `make(text, key, bases, known)`.

    `bases` is where the addresses of the call's arrays are; `known()` is the recipe of the key, or
    0: another thread may make it meanwhile. Returns that or a new one.
    """

    @ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)
    def prepare(text: int, length: int, key: int, count: int, bases: int, answer_at: int) -> None:
        answer = _words_at(answer_at, ANSWER_WORDS)

        def known() -> int:
            if answer[A_LINE] != NONE:
                _call(LEAVING, address_of(_words), answer_at)
            _call(FINDING, address_of(_words), answer_at, key, count)
            return answer[A_RECIPE]

        try:
            words = np.array(_words_at(key, count), np.int64)
            if words[0] != stamp():
                raise RuntimeError(_STALE)
            known()
            _words[FIND] = FINDING.address(_PLACE)
            made = make(ctypes.string_at(text, length).decode(), words, bases, known)
            answer[A_RECIPE] = keep(made, answer[A_LINE]) if isinstance(made, Recipe) else made
        except BaseException as error:
            tell(answer_at, error)
            if answer[A_LINE] != NONE:
                _call(LEAVING, address_of(_words), answer_at)

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
    _users[:] = 0  # of the other threads, which are not here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
