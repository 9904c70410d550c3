"""Small calls again: all launches of a call, laid down as a recipe, by one compiled function.

What Python does between two launches takes longer than many a small kernel: a gradient of a tiny
weight took 56 us that way and takes 19 as a recipe (Zen 3, 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .compile import OPTIONS, cached
from .memory import address_of, array_at, words_of
from .program import Program, Unwritten
from .recipe import (
    DONE,
    R_STEPS,
    R_STEPS_AT,
    R_WORDS,
    R_WORK,
    R_WORK_BASE,
    do_steps,
    step_words,
)

# Arrays of a call, of which any may be missing; scratch memory is the base after them.
ARRAYS = 4


@cached
@numba.njit(**OPTIONS)
def _replay(recipe: int, a: int, b: int, c: int, d: int) -> int:
    return do_steps(recipe, words_of((a, b, c, d, 0)), 1)


class Replay:
    """The launches of a call on one thread, for all arrays of the same shapes, strides, dtypes."""

    def __init__(self, program: Program) -> None:
        steps = step_words(program, ARRAYS)
        self._program = program  # keeps what the steps point to
        self._words = w = np.array([*[0] * R_WORDS, *steps], np.int64)
        w[R_STEPS_AT], w[R_STEPS] = R_WORDS, len(program.steps)
        w[R_WORK], w[R_WORK_BASE] = program.work_bytes, ARRAYS
        self._at = address_of(w)

    def __call__(
        self, a: np.ndarray, b: np.ndarray, c: np.ndarray | None, target: np.ndarray
    ) -> None:
        third = 0 if c is None else address_of(c)
        if _replay(self._at, address_of(a), address_of(b), third, address_of(target)) != DONE:
            raise MemoryError(f"no {self._program.work_bytes} bytes of scratch memory")


def replay_of(
    steps: Callable[..., None], engine: Any, arrays: tuple[np.ndarray | None, ...], *more: Any
) -> Replay | None:
    """A replay of ``steps(program, engine, *arrays, *more)``; the last array is the target.

    None if no program can say what they do.
    """
    # In their place arrays of which no two have the same owner: later ones need not overlap alike.
    apart = [
        None if x is None else array_at(address_of(x), x.shape, x.strides, x.dtype) for x in arrays
    ]
    program = Program([np.empty(0) if x is None else x for x in apart], 1)
    try:
        steps(program, engine, *apart, *more)
    except Unwritten:
        return None
    return None if program.failures else Replay(program)
