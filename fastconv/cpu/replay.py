"""Calls again: all their launches, laid down as a recipe, by one compiled function.

What Python does between two launches takes longer than many a small kernel: a gradient of a tiny
weight took 56 us that way and takes 19 as a recipe (Zen 3, 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .compile import OPTIONS, cached, compiled
from .memory import POINTER_AT, address_of, array_at, handle, set_word, word, words_of
from .program import Notes, Program, Unwritten
from .recipe import (
    DONE,
    R_STEPS,
    R_STEPS_AT,
    R_TEAM,
    R_WORDS,
    R_WORK,
    R_WORK_BASE,
    do_steps,
)
from .team import team

# Arrays of a call, of which any may be missing; scratch memory is the base after them.
ARRAYS = 4
# Calls of one kind before a recipe is made, which takes as long as some fifty of them.
BEFORE_REPLAY = 3

Array = np.ndarray | None


@compiled
def _pointed(handle: int, pointer_at: int) -> int:
    """The address of the first element of an array, or 0 if there is none."""
    return word(handle + pointer_at, 0) if handle and pointer_at >= 0 else handle


@cached
@numba.njit(**OPTIONS)
def _replay(recipe: int, pointer_at: int, a: int, b: int, c: int, d: int) -> int:
    return do_steps(
        recipe,
        words_of(
            (
                _pointed(a, pointer_at),
                _pointed(b, pointer_at),
                _pointed(c, pointer_at),
                _pointed(d, pointer_at),
                0,
            )
        ),
    )


@cached
@numba.njit(**OPTIONS)
def _replay_many(recipe: int, pointer_at: int, bases: int, count: int) -> int:
    for i in range(count):
        set_word(bases, i, _pointed(word(bases, i), pointer_at))
    return do_steps(recipe, bases)


def _recipe(program: Program, arrays: int) -> np.ndarray:
    """The words of a recipe that has steps only."""
    steps = program.step_words(arrays)
    w = np.array([*[0] * R_WORDS, *steps], np.int64)
    w[R_STEPS_AT], w[R_STEPS] = R_WORDS, len(program.steps)
    w[R_WORK], w[R_WORK_BASE] = program.work_bytes, arrays
    w[R_TEAM] = team.address
    return w


class Replay:
    """The launches of a call on one thread, for all arrays of the same shapes, strides, dtypes."""

    def __init__(self, program: Program) -> None:
        self._program = program  # keeps what the steps point to
        self._words = _recipe(program, ARRAYS)
        self._at = address_of(self._words)

    def __call__(self, a: Array, b: Array, c: Array = None, d: Array = None) -> None:
        # Written out: a loop over the arrays takes as long as a small kernel.
        outcome = _replay(
            self._at,
            POINTER_AT,
            0 if a is None else handle(a),
            0 if b is None else handle(b),
            0 if c is None else handle(c),
            0 if d is None else handle(d),
        )
        if outcome != DONE:
            raise MemoryError(f"no {self._program.work_bytes} bytes of scratch memory")


class LongReplay:
    """The launches of many calls, on as many threads as each was noted with.

    `arrays` are those that are others each time, of the same shapes, strides and dtypes.
    """

    def __init__(self, notes: Notes, arrays: list[np.ndarray], threads: int) -> None:
        """Raises Unwritten where no program can say what was noted."""
        self._program = program = Program(arrays, threads)
        for steps, arguments in notes:
            steps(program, *arguments)
        if program.failures:
            raise Unwritten
        self.used, self.kept_bytes = program.used, program.kept_bytes
        self._words = _recipe(program, len(arrays))
        self._at = address_of(self._words)

    def __call__(self, arrays: list[np.ndarray]) -> None:
        bases = np.array([*map(handle, arrays), 0], np.int64)
        team.grow(self._program.threads)
        if _replay_many(self._at, POINTER_AT, address_of(bases), len(arrays)) != DONE:
            raise MemoryError(f"no {self._program.work_bytes} bytes of scratch memory")


def apart(x: np.ndarray) -> np.ndarray:
    """The same array as one that nothing else owns: later ones need not overlap others alike."""
    return array_at(address_of(x), x.shape, x.strides, x.dtype)


def replay_of(
    steps: Callable[..., None], engine: Any, arrays: tuple[Array, ...], *more: Any
) -> Replay | None:
    """A replay of ``steps(program, engine, *arrays, *more)``, or None if no program can say it."""
    stand_ins = [None if x is None else apart(x) for x in arrays]
    program = Program([np.empty(0) if x is None else x for x in stand_ins], 1)
    try:
        steps(program, engine, *stand_ins, *more)
    except Unwritten:
        return None
    return None if program.failures else Replay(program)


class Again:
    """Small calls on arrays of the same shapes, strides and dtypes: when some have been made, what
    they launch is noted, and later ones do it again.

    `steps` notes it, see `replay_of`, whose arguments `engine` and `more` are.
    """

    def __init__(self, steps: Callable[..., None], engine: Any, *more: Any) -> None:
        self._steps, self._engine, self._more = steps, engine, more
        self._before = 0
        self.replay: Replay | None = None

    def show(self, *arrays: Array) -> None:
        """One of the first calls is made on these."""
        count = self._before = self._before + 1  # threads may count one twice, but leave none out
        if count == BEFORE_REPLAY:
            self.replay = replay_of(self._steps, self._engine, arrays, *self._more)
