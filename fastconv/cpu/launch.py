"""Starting a kernel by its address: serially, or spread over the threads of our team."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np

from ..arguments import as_int
from .activation import relu
from .compile import OPTIONS, Kernel, cached
from .memory import OPERANDS, address_of, call, words_of
from .program import Program, noted
from .team import share, team

# Below this many multiply-adds (or elements moved) a second thread costs more than it brings.
SERIAL_WORK = 60_000

# Operands come as single integers, which Numba's dispatcher takes ten times as fast as an array.
_NONE = (0,) * OPERANDS


@cached
@numba.njit(**OPTIONS)
def _serial(
    address: int,
    job: int,
    count: int,
    a: int,
    b: int,
    c: int,
    d: int,
    e: int,
    f: int,
    g: int,
    h: int,
    i: int,
) -> None:
    call(address, job, words_of((a, b, c, d, e, f, g, h, i)), 0, count, 0)


@cached
@numba.njit(**OPTIONS)
def _parallel(
    team: int,
    threads: int,
    address: int,
    job: int,
    count: int,
    a: int,
    b: int,
    c: int,
    d: int,
    e: int,
    f: int,
    g: int,
    h: int,
    i: int,
) -> None:
    share(team, address, job, words_of((a, b, c, d, e, f, g, h, i)), count, threads)


def run(
    kernel: Kernel, dtype: str, job: np.ndarray, operands: tuple[int, ...], count: int, threads: int
) -> None:
    """Do the work items ``0 .. count`` of a kernel on at most `threads` threads.

    Operands are addresses and other numbers; what they point to must outlive the call.
    """
    if count == 0:
        return
    start(kernel.address(dtype), address_of(job), operands, count, threads)


def run_on(
    kernel: Kernel,
    dtype: str,
    job: np.ndarray,
    operands: tuple[np.ndarray | int, ...],
    count: int,
    threads: int,
) -> None:
    """As `run`, with arrays among the operands; a thread that rehearses notes the launch.

    Arrays that are not those of the call stay what they are whenever it is done again.
    """
    if not noted(_launch, kernel, dtype, job, operands, count, threads):
        numbers = tuple([x if type(x) is int else address_of(x) for x in operands])  # type: ignore[arg-type]
        run(kernel, dtype, job, numbers, count, threads)


def _launch(
    program: Program,
    kernel: Kernel,
    dtype: str,
    job: np.ndarray,
    operands: tuple[np.ndarray | int, ...],
    count: int,
    threads: int,
) -> None:
    places = tuple(x if isinstance(x, int) else program.held(x) for x in operands)
    program.launch(kernel, dtype, job, places, count, threads)


def start(address: int, job: int, operands: tuple[int, ...], count: int, threads: int) -> None:
    """As `run`, for `count` >= 1, with the addresses of the kernel and the job."""
    numbers = (*operands, *_NONE[len(operands) :])
    if threads == 1 or count == 1:
        _serial(address, job, count, *numbers)
        return

    team.grow(threads)
    _parallel(team.address, threads, address, job, count, *numbers)


def prepare() -> None:
    """Compile the launchers, by launching nothing, and start a thread."""
    address = relu.address("float32")
    _serial(address, 0, 0, *_NONE)
    team.grow(2)
    _parallel(team.address, 1, address, 0, 0, *_NONE)


# ---- how many threads -------------------------------------------------------------------------


class _Choice(threading.local):
    threads: int | None = None


_choice = _Choice()


def thread_count(work: float, threads: int | None = None) -> int:
    """Threads for a call of `work` multiply-adds.

    What the caller asked for, else enough and no more.
    """
    limit = numba.config.NUMBA_NUM_THREADS
    if threads is not None:
        return min(threads, limit)
    if work < SERIAL_WORK:
        return 1
    return min(_choice.threads or numba.get_num_threads(), limit)


def set_threads(threads: int) -> None:
    """Number of threads that calls from this Python thread use unless ``threads=`` says otherwise.

    Parameters
    ----------
    threads : int
        At least 1; more than `numba.config.NUMBA_NUM_THREADS` counts as that many.

    Raises
    ------
    TypeError, ValueError
        If it is no integer, or less than 1.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.threads(1):
    ...     fastconv.get_threads()
    1
    """
    _choice.threads = as_int("set_threads", "threads", threads, at_least=1)


def get_threads() -> int:
    """Number of threads that a large call from this Python thread uses.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_threads() >= 1
    True
    """
    return thread_count(float("inf"))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Use `count` threads within a ``with`` block; see `set_threads`.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.threads(1):
    ...     fastconv.get_threads()
    1
    """
    before = _choice.threads
    set_threads(count)
    try:
        yield
    finally:
        _choice.threads = before
