"""What a call launches: one correlation, or all phases of an input gradient in turns.

Launched one after the other, each phase reads the whole source from memory and then waits for the
slowest thread. In turns, chunk by chunk, they find it in the caches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .compile import Kernel, kernel
from .memory import address_of, call, shift, word, words_of


class Phase(NamedTuple):
    """The job of one correlation, its items, the elements of its packed weights, and the byte of
    the target at which its first output lies."""

    job: np.ndarray
    items: int
    weights: int
    start: int


class Launch(NamedTuple):
    """What a call launches, the bytes that works in, and whether the target is cleared before."""

    kernel: Kernel
    job: np.ndarray
    job_at: int
    start: int  # byte of the target at which the first output lies
    items: int
    workspace: int
    clears: bool
    phases: tuple[np.ndarray, ...] = ()  # jobs that `job` has done


# Words of a job; then for each phase its job, its items, where its weights and its target begin.
(KERNEL, PHASES, CHUNKS, EACH_AT) = range(4)
(P_JOB, P_ITEMS, P_WEIGHTS, P_START, EACH) = range(5)


def launch_of(
    kernel: Kernel,
    dtype: str,
    phases: list[Phase],
    room_at: int,
    chunks: int,
    threads: int,
    clears: bool,
) -> Launch:
    """The launch of phases by a kernel, a share of `chunks` of each in turn.

    Word `room_at` of their jobs is how many bytes each thread works in. Their weights follow each
    other.
    """
    room = max((int(phase.job[room_at]) for phase in phases), default=0)
    if len(phases) == 1:
        job, items, _, start = phases[0]
        return Launch(kernel, job, address_of(job), start, items, threads * room, clears)
    words, weights = [kernel.address(dtype), len(phases), chunks], 0
    for phase in phases:
        phase.job[room_at] = room  # threads may be in different phases
        words += [address_of(phase.job), phase.items, weights, phase.start]
        weights += phase.weights
    job, items = np.array(words, np.int64), chunks * len(phases)
    jobs = tuple(phase.job for phase in phases)
    return Launch(correlate_phases, job, address_of(job), 0, items, threads * room, clears, jobs)


@kernel
def correlate_phases(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """Items are (chunk, phase).

    Operands are those of the kernel that does the phases: source, packed weights, bias, target,
    workspace and two more; then a table of what the first of these two is in each phase, or zero.
    """
    phases, chunks, table = word(job, PHASES), word(job, CHUNKS), word(operands, 7)
    for item in range(begin, end):
        chunk, phase = item // phases, item % phases
        one = job + 8 * (EACH_AT + phase * EACH)
        items = word(one, P_ITEMS)
        first, last = chunk * items // chunks, (chunk + 1) * items // chunks
        if first < last:
            arrays = words_of(
                (
                    word(operands, 0),
                    shift(element, word(operands, 1), word(one, P_WEIGHTS)),
                    word(operands, 2),
                    word(operands, 3) + word(one, P_START),
                    word(operands, 4),
                    word(table, phase) if table else word(operands, 5),
                    word(operands, 6),
                )
            )
            call(word(job, KERNEL), word(one, P_JOB), arrays, first, last, thread)
