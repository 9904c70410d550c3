"""Threads of our own, for where Numba's threading layer must not be used; see `launch`.

They cost some 50 us a launch (docs/notes/0001-launching-threads.md), and can do what the layers
cannot: be called by several threads at once, and after a fork.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numba

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def share(task: Callable[[int], Any], threads: int) -> None:
    """Call task(0) .. task(threads - 1) at once, the first in the calling thread.

    Ends only after all have ended, also when it is interrupted: they write to the caller's arrays.
    """
    others: list[Future[Any]] = []
    try:
        for thread in range(1, threads):
            try:
                others.append(_crew().submit(task, thread))
            except RuntimeError:  # the interpreter is shutting down and starts no thread any more
                task(thread)
        task(0)
    finally:
        _wait(others)


def _wait(futures: list[Future[Any]]) -> None:
    interruption: BaseException | None = None
    for future in futures:
        while not future.done():
            try:
                future.exception()
            except BaseException as reason:  # a key was pressed while waiting
                interruption = reason
    if interruption is not None:
        raise interruption
    for future in futures:
        future.result()


def _crew() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            size = max(numba.config.NUMBA_NUM_THREADS - 1, 1)
            _pool = ThreadPoolExecutor(size, "fastconv")
        return _pool


def forget() -> None:
    """In a forked child, where the threads are not: start new ones when they are needed."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None
