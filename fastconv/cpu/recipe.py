"""Recipes: whole calls as numbers, found again by their key and performed without Python.

A recipe is what remains of a call of a door once everything is decided: a list of launches whose
operands are arrays of the call or places in scratch memory. Compiled code looks it up by the words
that describe the call (shapes, strides, numbers) and performs it; the first call with new words
has it made by Python. Recipes are int64 arrays that many threads read and none changes.
"""

from __future__ import annotations

from typing import Any

from .compile import Kernel, compiled
from .memory import call, set_word, word, words_of
from .program import NUMBER, S_GUARD, S_ITEMS, S_JOB, S_KERNEL, S_OPERANDS, S_THREADS, STEP_WORDS
from .shared import allocate, atomic_add, atomic_word, release, set_atomic_word
from .team import share

# Words of a recipe: the kernel that performs it, the words it is found by, its table of results,
# its steps, its scratch memory: bytes, and which base it becomes; words at the start of that by
# which kernels report a failure, and what explains it to the caller.
(R_PERFORM, R_KEY_AT, R_KEY_COUNT, R_RESULTS_AT, R_STEPS_AT, R_STEPS) = range(6)
(R_WORK, R_WORK_BASE, R_FAILURES, R_EXPLAIN, R_TEAM, R_STATE, R_WORDS) = range(6, 13)

# How the steps of a recipe may end.
(DONE, NO_MEMORY, FAILED) = range(3)

# Words that all threads share. The first two, the arguments of what they point to, and the answers
# below are an agreement with machine code in users' caches, and so must never change.
(FIND, PREPARE, SLOTS_AT, SLOTS, USERS_AT, STATE_WORDS) = range(6)

# How many calls are using recipes now is counted on some cache lines, so that threads, of which
# each takes one by its stack, do not wait for each other.
LINES, LINE_WORDS = 64, 8

# Words that a call keeps for answers: its recipe, the line it is counted on (NONE: not yet), and
# what failed: the kind, and the message as address and length.
(A_RECIPE, A_LINE, A_KIND, A_TEXT, A_LENGTH, ANSWER_WORDS) = range(6)
NONE = -1
(NO_FAILURE, VALUE_ERROR, TYPE_ERROR, MEMORY_ERROR, OTHER_ERROR) = range(5)


@compiled
def _hash(key: int, count: int) -> int:
    mixed = count
    for i in range(count):
        mixed = (mixed ^ word(key, i)) * -7046029254386353131  # 2**64 / golden ratio, signed
        mixed ^= mixed >> 29
    return mixed


@compiled
def _same(key: int, other: int, count: int) -> bool:
    for i in range(count):  # noqa: SIM110 (no generators in compiled code)
        if word(key, i) != word(other, i):
            return False
    return True


@compiled
def _search(state: int, key: int, count: int) -> int:
    slots, mask = word(state, SLOTS_AT), word(state, SLOTS) - 1
    at = _hash(key, count) & mask
    while True:
        recipe = atomic_word(slots, at)
        if recipe == 0:
            return 0
        known = word(recipe, R_KEY_COUNT) == count
        if known and _same(key, word(recipe, R_KEY_AT), count):
            return recipe
        at = (at + 1) & mask


def find(element: Any, state: int, answer: int, key: int, count: int, thread: int) -> None:
    """The recipe of a key, or 0, as an answer; the call is counted until it leaves."""
    line = ((answer >> 12) * 0x9E3779B1 >> 16) % LINES
    set_word(answer, A_LINE, line)
    atomic_add(word(state, USERS_AT), line * LINE_WORDS, 1)
    set_word(answer, A_RECIPE, _search(state, key, count))


@compiled
def _leave(state: int, answer: int) -> None:
    atomic_add(word(state, USERS_AT), word(answer, A_LINE) * LINE_WORDS, -1)


def leave(element: Any, state: int, answer: int, begin: int, end: int, thread: int) -> None:
    """Count a call no longer."""
    _leave(state, answer)


def place(element: Any, state: int, recipe: int, begin: int, end: int, thread: int) -> None:
    """Let a recipe be found; the table must have room."""
    slots, mask = word(state, SLOTS_AT), word(state, SLOTS) - 1
    at = _hash(word(recipe, R_KEY_AT), word(recipe, R_KEY_COUNT)) & mask
    while atomic_word(slots, at):
        at = (at + 1) & mask
    set_atomic_word(slots, at, recipe)


def forget(element: Any, state: int, operands: int, begin: int, end: int, thread: int) -> None:
    """Empty the table."""
    for at in range(word(state, SLOTS)):
        set_atomic_word(word(state, SLOTS_AT), at, 0)


def perform(element: Any, recipe: int, bases: int, answer: int, begin: int, thread: int) -> None:
    """Do the steps of a recipe on arrays whose addresses are `bases`, and leave."""
    outcome = do_steps(recipe, bases)
    if outcome == NO_MEMORY:
        set_word(answer, A_KIND, MEMORY_ERROR)
    elif outcome == FAILED:
        call(word(recipe, R_EXPLAIN), recipe, bases, answer, 0, 0)
    _leave(word(recipe, R_STATE), answer)


@compiled
def do_steps(recipe: int, bases: int) -> int:
    """Do the steps of a recipe; returns DONE, NO_MEMORY or FAILED."""
    size, block = word(recipe, R_WORK), 0
    if size:
        block = allocate(size + 64)
        if block == 0:
            return NO_MEMORY
        work = (block + 63) // 64 * 64
        set_word(bases, word(recipe, R_WORK_BASE), work)
        for i in range(word(recipe, R_FAILURES)):
            set_word(work, i, 0)
    for number in range(word(recipe, R_STEPS)):
        step = recipe + 8 * (word(recipe, R_STEPS_AT) + number * STEP_WORDS)
        guard = _address(step, bases, S_GUARD)
        if guard and word(guard, 0) == 0:
            continue
        operands = words_of(
            (
                _operand(step, bases, 0),
                _operand(step, bases, 1),
                _operand(step, bases, 2),
                _operand(step, bases, 3),
                _operand(step, bases, 4),
                _operand(step, bases, 5),
                _operand(step, bases, 6),
                _operand(step, bases, 7),
                _operand(step, bases, 8),
            )
        )
        kernel, job, items = word(step, S_KERNEL), word(step, S_JOB), word(step, S_ITEMS)
        threads = word(step, S_THREADS)
        if threads > 1:
            share(word(recipe, R_TEAM), kernel, job, operands, items, threads)
        else:
            call(kernel, job, operands, 0, items, 0)
    failed = 0
    if size:
        for i in range(word(recipe, R_FAILURES)):
            failed |= word(word(bases, word(recipe, R_WORK_BASE)), i)
        release(block)
    return FAILED if failed else DONE


@compiled
def _operand(step: int, bases: int, index: int) -> int:
    return _address(step, bases, S_OPERANDS + 2 * index)


@compiled
def _address(step: int, bases: int, at: int) -> int:
    base, number = word(step, at), word(step, at + 1)
    return number if base == NUMBER else word(bases, base) + number


# They meet no elements: each is compiled once, under the name of one element type.
FINDING, PLACING, FORGETTING, LEAVING, PERFORMING = (
    Kernel(function, ("int64",)) for function in (find, place, forget, leave, perform)
)
