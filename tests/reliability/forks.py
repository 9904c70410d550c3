"""Processes that were started in every way, before and after the library was used.

``python -m tests.reliability.forks`` prints what came of each; NUMBA_THREADING_LAYER is heeded.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numba
import numpy as np

import fastconv

SECONDS = 600  # until a child hangs, on a busy machine


def answer(seed: int = 0, threads: int | None = 2) -> bytes:
    """Bits of a convolution, its weight gradient and a pooling, in parallel."""
    random = np.random.default_rng(seed)
    x, w = random.standard_normal((2, 16, 30, 31)), random.standard_normal((16, 16, 3, 3))
    y = fastconv.conv2d(x, w, threads=threads)
    dw = fastconv.grad.conv2d_weight(x, w.shape, y, threads=threads)
    return y.tobytes() + dw.tobytes() + fastconv.max_pool2d(y, 2, threads=threads).tobytes()


def in_fork(work: Callable[[], bool]) -> str:
    """What a child of `os.fork` says about its work."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return {0: "the same bits", 256: "an exception", 512: "other bits"}.get(
        status, "hung" if status == signal.SIGALRM else f"status {status}"
    )


def fork_after_use() -> str:
    """A child of a process that has launched."""
    before = answer()
    return in_fork(lambda: answer() == before)


def fork_before_use() -> str:
    """A child of a process that has not; then the parent too."""
    said = in_fork(lambda: len(answer()) > 0)
    return said if len(answer()) > 0 else "the parent failed"


def fork_of_a_fork() -> str:
    """A grandchild."""
    before = answer()
    return in_fork(lambda: in_fork(lambda: answer() == before) == "the same bits")


def fork_while_others_launch() -> str:
    """Ten children, while three Python threads call all the time."""
    before = answer()
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            answer()

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    said = {in_fork(lambda: answer() == before) for _ in range(10)}
    stop.set()
    for thread in threads:
        thread.join()
    return ", ".join(sorted(said))


def fork_while_another_compiles() -> str:
    """A child that needs what another thread of its parent is compiling."""
    started, values, places = threading.Event(), np.ones((1, 1, 2)), np.array([[[0, 3]]])

    def compile_it() -> None:
        started.set()
        fastconv.max_unpool1d(values, places, 2)

    thread = threading.Thread(target=compile_it)
    thread.start()
    started.wait()
    right = [[[1, 0, 0, 1]]]
    said = in_fork(lambda: fastconv.max_unpool1d(values, places, 2).tolist() == right)
    thread.join()
    return said


def _same(expected: bytes) -> bool:
    return answer() == expected


def pool(method: str) -> Callable[[], str]:
    """Four processes of an executor, and the parent beside them."""

    def work() -> str:
        before = answer()
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(4, mp_context=context) as executor:
            found = [executor.submit(_same, before) for _ in range(8)]
            here = answer() == before
            right = here and all(future.result(SECONDS) for future in found)
        return "the same bits" if right else "other bits"

    return work


CASES: dict[str, Callable[[], str]] = {
    "os.fork after use": fork_after_use,
    "os.fork of a fork": fork_of_a_fork,
    "os.fork while others launch": fork_while_others_launch,
    "os.fork before use": fork_before_use,
    "os.fork while another thread compiles": fork_while_another_compiles,
    "processes by fork": pool("fork"),
    "processes by spawn": pool("spawn"),
    "processes by forkserver": pool("forkserver"),
}


if __name__ == "__main__":
    import sys

    name = sys.argv[1]
    said: Any = CASES[name]()
    numba.get_num_threads()
    print(json.dumps([said, numba.threading_layer()]))
