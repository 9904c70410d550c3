"""Recipes: whole calls as numbers, found again by their key and performed without Python.

A recipe is what remains of a call of a door once everything is decided: a list of launches whose
operands are arrays of the call or places in scratch memory. Compiled code looks it up by the words
that describe the call (shapes, strides, numbers) and performs it; the first call with new words
has it made by Python. Recipes are int64 arrays, read by many threads and never changed, apart from
a word that counts who is using them.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import prange

from .compile import OPTIONS, Kernel, cached, compiled
from .memory import OPERANDS, call, set_word, word, words_of
from .shared import allocate, atomic_add, atomic_word, release, set_atomic_word

# Words of a recipe: the kernel that performs it, how many calls use it now, the words it is found
# by, its table of results, its steps, its scratch memory: bytes, and which base it becomes; words
# at the start of that by which kernels report a failure, and what explains it to the caller.
(R_PERFORM, R_USERS, R_KEY_AT, R_KEY_COUNT, R_RESULTS_AT, R_STEPS_AT, R_STEPS) = range(7)
(R_WORK, R_WORK_BASE, R_FAILURES, R_EXPLAIN, R_SPREAD, R_SERIAL_AT, R_WORDS) = range(7, 14)

# Words of a step, then for each operand a base (an array of the call, scratch memory, or NUMBER)
# and what is added to it.
(S_KERNEL, S_JOB, S_ITEMS, S_THREADS, S_OPERANDS) = range(5)
STEP_WORDS = S_OPERANDS + 2 * OPERANDS
NUMBER = -1

# Words that all threads share. The first two are an agreement with machine code that users keep in
# caches of their own, and so must never move.
(FIND, PREPARE, SEARCHING, SLOTS_AT, SLOTS, SERIAL, STATE_WORDS) = range(7)

# Words of a failure: what kind, and the message, an address and a length.
(F_KIND, F_TEXT, F_LENGTH, FAILURE_WORDS) = range(4)
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


def find(element: Any, state: int, result: int, key: int, count: int, thread: int) -> None:
    """result[0] = the recipe of a key, which now has one user more, or 0."""
    atomic_add(state, SEARCHING, 1)
    recipe = _search(state, key, count)
    if recipe:
        atomic_add(recipe, R_USERS, 1)
    atomic_add(state, SEARCHING, -1)
    set_word(result, 0, recipe)


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


def leave(element: Any, recipe: int, operands: int, begin: int, end: int, thread: int) -> None:
    """Give a recipe back."""
    atomic_add(recipe, R_USERS, -1)


def perform(element: Any, recipe: int, bases: int, failure: int, begin: int, thread: int) -> None:
    """Do the steps of a recipe on arrays whose addresses are `bases`, and give the recipe back."""
    size, block = word(recipe, R_WORK), 0
    if size:
        block = allocate(size + 64)
        if block == 0:
            set_word(failure, F_KIND, MEMORY_ERROR)
            atomic_add(recipe, R_USERS, -1)
            return
        work = (block + 63) // 64 * 64
        set_word(bases, word(recipe, R_WORK_BASE), work)
        for i in range(word(recipe, R_FAILURES)):
            set_word(work, i, 0)
    serial = word(word(recipe, R_SERIAL_AT), 0)
    for number in range(word(recipe, R_STEPS)):
        step = recipe + 8 * (word(recipe, R_STEPS_AT) + number * STEP_WORDS)
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
        if threads > 1 and serial == 0:
            call(word(recipe, R_SPREAD), job, operands, kernel, items, threads)
        else:
            call(kernel, job, operands, 0, items, 0)
    if size:
        failed = 0
        for i in range(word(recipe, R_FAILURES)):
            failed |= word(word(bases, word(recipe, R_WORK_BASE)), i)
        release(block)
        if failed:
            call(word(recipe, R_EXPLAIN), recipe, bases, failure, 0, 0)
    atomic_add(recipe, R_USERS, -1)


@compiled
def _operand(step: int, bases: int, index: int) -> int:
    base, number = word(step, S_OPERANDS + 2 * index), word(step, S_OPERANDS + 2 * index + 1)
    return number if base == NUMBER else word(bases, base) + number


@cached
@numba.njit(parallel=True, **OPTIONS)
def _parallel(kernel: int, job: int, operands: int, count: int, threads: int) -> None:
    for thread in prange(threads):
        begin, end = thread * count // threads, (thread + 1) * count // threads
        call(kernel, job, operands, begin, end, thread)


def spread(element: Any, job: int, operands: int, kernel: int, count: int, threads: int) -> None:
    """The work items of another kernel on several threads."""
    _parallel(kernel, job, operands, count, threads)


# They meet no elements: each is compiled once, under the name of one element type.
FINDING, PLACING, FORGETTING, LEAVING, PERFORMING, SPREADING = (
    Kernel(function, ("int64",)) for function in (find, place, forget, leave, perform, spread)
)
