"""A team of threads that share the pieces of a launch, in compiled code and without a lock.

A launch is cut into pieces, the pieces into regions, one for each thread. Every thread does those
of its own region first, which lie where it has worked before, and then helps with the others. So
a launch waits for pieces under way, never for a thread that has not begun: beside other processes
a thread may have to wait milliseconds for a core, and meanwhile the launching one does its share.

How a piece is computed does not depend on who does it: `thread` only says which scratch memory is
free. Each worker has a letter box, one word that changes by atomic steps: the task that somebody
wants help with, or none. Workers look into it for some 50 us after they have had work, then sleep.

    IDLE, ASLEEP -> RESERVED -> task + OFFERED -> task + TAKEN (+ AWAITED) -> IDLE
                                               -> IDLE, if the work is done before anybody came

A task lies on the stack of the launching thread, which therefore takes back offers that nobody has
accepted, and waits for who has.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
import time
from typing import Any

import numba
import numpy as np

from .compile import Kernel, compiled
from .memory import address_of, call, set_word, word
from .shared import (
    atomic_add,
    atomic_word,
    lines,
    new_lock,
    pause,
    replace_word,
    set_atomic_word,
    sleep,
    wake,
)

# Words of 128 bytes, since processors fetch lines in pairs: nobody waits for the words of another.
LINE = 16

# Words of a worker's line: its letter box, which thread of a task it is, and locks on which it
# sleeps and on which a launching thread does that waits for it, of which there may be one.
(BOX, NUMBER, BED, BENCH, OCCUPIED) = range(5)
# Words of the line before: how many workers there may be, and looks at a word in some 50 us.
(WORKERS, PATIENCE) = range(2)
# What a letter box holds, besides the address of a task, which is a multiple of 128.
(IDLE, ASLEEP, RESERVED, OFFERED, TAKEN, AWAITED) = (0, 1, 2, 4, 8, 16)

# Words of a task; then a line for each region: the next piece of it.
(T_KERNEL, T_JOB, T_OPERANDS, T_ITEMS, T_PIECES, T_REGIONS) = range(6)
# More threads than that share regions.
MOST_REGIONS = 32
TASK_LINES = 1 + MOST_REGIONS

# Pieces of each region: a thread that loses its core holds up one. More of them help beside other
# processes, but repeat what kernels do once a call: Winograd on 28 x 28 pixels took 1.08 with four.
PIECES = 2


@compiled
def share(team: int, kernel: int, job: int, operands: int, items: int, threads: int) -> None:
    """Do the work items of a kernel on at most so many threads of a team, and this one."""
    threads = min(threads, items)
    regions = min(threads, MOST_REGIONS)
    pieces = min(items, regions * PIECES)
    task = lines(TASK_LINES)
    set_word(task, T_KERNEL, kernel)
    set_word(task, T_JOB, job)
    set_word(task, T_OPERANDS, operands)
    set_word(task, T_ITEMS, items)
    set_word(task, T_PIECES, pieces)
    set_word(task, T_REGIONS, regions)
    for region in range(regions):
        set_word(task, LINE * (1 + region), region * pieces // regions)
    asked = _ask(team, task, 1, threads)
    piece = _next_piece(task, 0)
    while piece >= 0:
        _do_piece(task, piece, 0)
        piece = _next_piece(task, 0)
        if piece >= 0 and asked < threads:  # somebody may have become free
            asked = _ask(team, task, asked, threads)
    if asked > 1:
        _part(team, task)


@compiled
def _next_piece(task: int, number: int) -> int:
    """A piece that nobody else does, or -1 if there is none."""
    pieces, regions = word(task, T_PIECES), word(task, T_REGIONS)
    for turn in range(regions):
        region = (number + turn) % regions
        at, end = LINE * (1 + region), (region + 1) * pieces // regions
        if atomic_word(task, at) < end:
            piece = atomic_add(task, at, 1)
            if piece < end:
                return piece
    return -1


@compiled
def _do_piece(task: int, piece: int, number: int) -> None:
    items, pieces = word(task, T_ITEMS), word(task, T_PIECES)
    begin, end = piece * items // pieces, (piece + 1) * items // pieces
    call(word(task, T_KERNEL), word(task, T_JOB), word(task, T_OPERANDS), begin, end, number)


@compiled
def _ask(team: int, task: int, asked: int, threads: int) -> int:
    """Offer a task to those who have none; returns its threads, with those asked so far."""
    for worker in range(atomic_word(team, WORKERS)):
        if asked == threads:
            break
        line = _line(team, worker)
        before = atomic_word(line, BOX)
        free = before in (IDLE, ASLEEP)
        if free and replace_word(line, BOX, before, RESERVED):
            set_word(line, NUMBER, asked)
            set_atomic_word(line, BOX, task | OFFERED)
            if before == ASLEEP:
                wake(word(line, BED))
            asked += 1
    return asked


@compiled
def _part(team: int, task: int) -> None:
    """Take back what has not been accepted, and wait for the others."""
    for worker in range(atomic_word(team, WORKERS)):
        line = _line(team, worker)
        if atomic_word(line, BOX) == task | OFFERED:
            replace_word(line, BOX, task | OFFERED, IDLE)
        if atomic_word(line, BOX) == task | TAKEN:
            _wait_for(team, line, task | TAKEN)


@compiled
def _wait_for(team: int, line: int, taken: int) -> None:
    while _stays(team, line, taken):
        if not replace_word(line, OCCUPIED, 0, 1):
            continue
        if replace_word(line, BOX, taken, taken | AWAITED):
            sleep(word(line, BENCH))
        set_atomic_word(line, OCCUPIED, 0)


@compiled
def _stays(team: int, line: int, value: int) -> bool:
    """Whether a letter box holds the same for some 50 us."""
    for _ in range(word(team, PATIENCE)):
        if atomic_word(line, BOX) != value:
            return False
        pause()
    return True


@compiled
def _line(team: int, worker: int) -> int:
    return team + 8 * LINE * (1 + worker)


def _serve(element: Any, team: int, line: int, begin: int, end: int, thread: int) -> None:
    """The life of a worker."""
    replace_word(line, BOX, RESERVED, IDLE)
    while True:
        if _stays(team, line, IDLE):
            if replace_word(line, BOX, IDLE, ASLEEP):
                sleep(word(line, BED))
            continue
        box = atomic_word(line, BOX)
        if not box & OFFERED or not replace_word(line, BOX, box, box ^ OFFERED | TAKEN):
            continue
        task, number = box ^ OFFERED, word(line, NUMBER)
        piece = _next_piece(task, number)
        while piece >= 0:
            _do_piece(task, piece, number)
            piece = _next_piece(task, number)
        if not replace_word(line, BOX, task | TAKEN, IDLE):
            set_atomic_word(line, BOX, IDLE)
            wake(word(line, BENCH))


def _look(element: Any, team: int, line: int, begin: int, end: int, thread: int) -> None:
    """Look at a word as often as it says."""
    _stays(team, line, 0)


SERVING, LOOKING = (Kernel(function, ("int64",)) for function in (_serve, _look))


_CODE = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)  # called without the interpreter's own lock


def _code(kernel: Kernel) -> Any:
    return _CODE(kernel.address("int64"))


class Team:
    """The threads of this process; a child that is forked has to start its own."""

    def __init__(self, most: int) -> None:
        """For at most so many workers."""
        self._most = most
        memory = np.zeros((2 + most) * LINE, np.int64)
        # Workers look into their boxes until the process ends, later than modules are cleared.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
        first = -address_of(memory) % (8 * LINE) // 8
        self._lines = memory[first:][: (1 + most) * LINE].reshape(1 + most, LINE)
        self.address = address_of(self._lines)
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock, self.workers = threading.Lock(), 0
        self._lines[0, WORKERS] = self._most
        self._lines[1:, BOX], self._lines[1:, OCCUPIED] = RESERVED, 0

    def grow(self, threads: int) -> None:
        """Have workers for launches on so many threads; fewer do as well."""
        wanted = min(threads - 1, self._most)
        if self.workers >= wanted:
            return
        with self._lock:
            serve = _code(SERVING)
            if self.workers == 0:
                self._measure_patience()
            for line in self._lines[1 + self.workers : 1 + wanted]:
                line[BED], line[BENCH] = new_lock(), new_lock()
                try:
                    _thread.start_new_thread(serve, (0, self.address, address_of(line), 0, 0, 0))
                except RuntimeError:  # there are too many, or the interpreter is shutting down
                    return
                self.workers += 1

    def _measure_patience(self) -> None:
        look, times, looks = _code(LOOKING), [], 1000
        watched = np.zeros(LINE, np.int64)
        self._lines[0, PATIENCE] = looks
        for _ in range(3):
            begun = time.perf_counter()
            look(0, self.address, address_of(watched), 0, 0, 0)
            times.append(time.perf_counter() - begun)
        self._lines[0, PATIENCE] = int(looks * 50e-6 / min(times)) + 1


team = Team(max(numba.config.NUMBA_NUM_THREADS - 1, 0))
