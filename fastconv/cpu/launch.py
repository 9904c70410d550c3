"""Starting a kernel: serially, or spread over threads by Numba's threading layer.

One thin parallel loop starts every kernel of the library through its address, so the slow
compilation of a parallel function is paid once. Measured against a pool of Python threads on two
cores (2026-11): a launch costs 1.4 us here and about 45 us there, where a worker must first wake
and take the GIL.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numba
import numpy as np
from numba import prange

from ..arguments import as_int
from .activation import relu
from .compile import OPTIONS, Kernel, cached
from .crew import forget, share
from .memory import OPERANDS, address_of, call, words_of
from .program import Program, noted

# Below this many multiply-adds (or elements moved) a second thread costs more than it brings.
SERIAL_WORK = 60_000


T = TypeVar("T")

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
def _share(
    address: int,
    job: int,
    begin: int,
    end: int,
    thread: int,
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
    call(address, job, words_of((a, b, c, d, e, f, g, h, i)), begin, end, thread)


@cached
@numba.njit(parallel=True, **OPTIONS)
def _parallel(
    address: int,
    job: int,
    count: int,
    threads: int,
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
    operands = words_of((a, b, c, d, e, f, g, h, i))
    for thread in prange(threads):
        begin, end = thread * count // threads, (thread + 1) * count // threads
        call(address, job, operands, begin, end, thread)


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

    def launch(share: int) -> None:
        most = min(threads, count, share)
        if _layer.is_unsafe():
            _start_crew(address, job, numbers, count, most)
        else:
            _parallel(address, job, count, most, *numbers)

    share_out(launch)


def _start_crew(address: int, job: int, numbers: tuple[int, ...], count: int, threads: int) -> None:
    """As `start`, without Numba's threading layer."""

    def work(thread: int) -> None:
        begin, end = thread * count // threads, (thread + 1) * count // threads
        _share(address, job, begin, end, thread, *numbers)

    share(work, threads)


# Python threads that have launched and not yet returned. Only single, atomic operations touch it.
_running: set[int] = set()


def share_out(call: Callable[[int], T]) -> T:
    """The result of a call that launches on so many threads as it is told."""
    me = threading.get_ident()
    _running.add(me)
    try:
        return call(_fair_share())
    finally:
        _running.discard(me)


def _fair_share() -> int:
    """Threads that a launch should have beside those that are under way.

    OpenMP starts as many for each Python thread as that asks for, however many there are already.
    """
    return max(1, numba.config.NUMBA_NUM_THREADS // max(1, len(_running)))


def takes_turns() -> bool:
    """Whether only one thread of the process may launch at a time; starts the threading layer."""
    if _layer.name is None:
        prepare()
    return _layer.name == "workqueue"


def must_not_launch() -> bool:
    """Whether Numba's threading layer is not safe to use; starts it."""
    return _layer.is_unsafe()


def parallel_is_lost() -> bool:
    """Whether this process is a forked one that must run serially."""
    return _layer.lost


def prepare() -> None:
    """Compile the launchers and start the threading layer, by launching nothing."""
    address = relu.address("float32")
    _serial(address, 0, 0, *_NONE)
    if _layer.is_unsafe():
        _share(address, 0, 0, 0, 0, *_NONE)
        return
    _parallel(address, 0, 0, 1, *_NONE)


class _Layer:
    """What must be known of Numba's threading layer: none of the three can do everything.

    The workqueue layer aborts the process when two threads launch at once, and one of them may be
    in a parallel function of the user's; GNU OpenMP kills a forked child that launches, TBB lets it
    hang if another thread was launching at the time. There a crew of our own does the work.
    """

    def __init__(self) -> None:
        self.lost = False
        self.name: str | None = None
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def is_unsafe(self) -> bool:
        """Whether we must not launch; finds out which layer there is."""
        if self.name is None:
            with self._lock:
                _load_layer()
                numba.get_num_threads()
                self.name = numba.threading_layer()
        return self.lost or self.name == "workqueue"

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        _running.clear()
        forget()
        self.lost = self.lost or _started_threads()


@functools.cache
def _load_layer() -> None:
    """Load Numba's threading layer; GNU OpenMP then gives up waiting in a loop after some 50 us.

    By default its threads turn for milliseconds, so that the scheduler takes them for hogs: beside
    one busy process each launch then waits 8 ms for a core, a training step of LeNet 132 ms instead
    of 13. On an idle machine the step takes 3.0 instead of 2.9 ms (two cores, 2026-11). The library
    reads its environment once, when it is loaded; whoever has set something keeps it.
    """
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    if any(name in os.environ for name in names):
        return
    os.environ[names[0]] = "10000"
    try:
        numba.get_num_threads()  # loads the layer
    finally:
        os.environ.pop(names[0], None)


def _started_threads() -> bool:
    """Whether a layer, by our doing or not, may have started threads that a child has not."""
    try:
        return numba.threading_layer() != "workqueue"
    except ValueError:  # no layer has been started
        return False


_layer = _Layer()


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
    _load_layer()
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
