"""Many Python threads call every operation at once and compare each bit.

``python -m tests.reliability.threads --seconds 60`` does so under the threading layer that
NUMBA_THREADING_LAYER names. One more thread runs a parallel function of its own all the while, as
users' programs do: the workqueue layer aborts a process in which two launches meet.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from doors import Door, doors

import fastconv


@numba.njit(parallel=True)
def users_own(x: Any) -> Any:
    """A parallel loop that is none of ours."""
    for i in numba.prange(len(x)):
        x[i] = x[i] * 0.5 + 1


def bits(door: Door, **options: Any) -> bytes:
    """All that a door returns."""
    return b"".join(np.ascontiguousarray(result).tobytes() for result in door.results(**options))


def stress(seconds: float, count: int) -> dict[str, Any]:
    """Calls made, results that differed, and threads of the process at most."""
    every = (*doors("float32"), *doors("float64"))
    expected = [
        bits(door, threads=1) if "threads" in door.options else bits(door) for door in every
    ]
    users_own(np.zeros(10))  # compiled before time runs
    end = time.monotonic() + seconds
    calls, wrong, most = [0] * count, [], 0

    def work(number: int) -> None:
        order = random.Random(number)
        while time.monotonic() < end:
            index = order.randrange(len(every))
            door = every[index]
            options = {}
            if "threads" in door.options:
                options = {"threads": order.choice([None, 1, 2, 3])}
            with fastconv.threads(1 + number % 3):
                try:
                    if bits(door, **options) != expected[index]:
                        wrong.append(door.name)
                except Exception as error:
                    wrong.append(f"{door.name}: {error!r}")
                if fastconv.get_threads() != min(1 + number % 3, numba.config.NUMBA_NUM_THREADS):
                    wrong.append("get_threads of another thread")
            calls[number] += 1

    def launch() -> None:
        x = np.zeros(10_000)
        while time.monotonic() < end:
            users_own(x)
            time.sleep(0.001)

    crowd = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    crowd.append(threading.Thread(target=launch))
    for thread in crowd:
        thread.start()
    while any(thread.is_alive() for thread in crowd):
        tasks = Path("/proc/self/task")
        most = max(most, len(list(tasks.iterdir())) if tasks.exists() else 0)
        time.sleep(0.05)
    return {
        "layer": numba.threading_layer(),
        "calls": sum(calls),
        "wrong": sorted(set(wrong)),
        "most_threads": most,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=16)
    given = parser.parse_args()
    print(json.dumps(stress(given.seconds, given.threads)))
