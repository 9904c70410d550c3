"""Memory over very many calls, and arrays of more than 2**31 elements.

``python -m tests.reliability.endurance leak --calls 100000`` and ``... endurance big``.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from doors import doors

import fastconv


def resident_kib() -> int:
    """Memory of this process that is in use."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise OSError("no VmRSS")


def leak(calls: int) -> dict[str, Any]:
    """Memory before and after calls of every door, with ever new shapes, strides and options."""
    every = [*doors("float32"), *doors("float64")]
    order = random.Random(0)

    def call(number: int) -> None:
        door = every[number % len(every)]
        changes: dict[str, Any] = {}
        x = door.given.get("input")
        if number % 3 == 0 and isinstance(x, np.ndarray) and "unpool" not in door.name:
            gap = order.randint(1, 500)  # a view with strides that never were before
            memory = np.zeros((*x.shape[:-1], x.shape[-1] + gap), x.dtype)
            changes["input"] = memory[..., : x.shape[-1]]
        door(**changes)
        size = order.randint(3, 3000)  # and a shape that never was before
        fastconv.conv1d(np.zeros((1, 1, size)), np.zeros((1, 1, 2)))
        fastconv.max_pool1d(np.zeros((1, 1, size)), 2)

    for number in range(calls // 5):
        call(number)
    gc.collect()
    before = resident_kib()
    for number in range(calls // 5, calls):
        call(number)
    gc.collect()
    return {"calls": 3 * calls, "before": before, "after": resident_kib()}


def big() -> dict[str, Any]:
    """Over 2**31 elements through every kind of kernel; few of them are not zero."""
    start, done = time.monotonic(), []
    length = 1024 * 699_051
    x = np.zeros((3, 1, length), np.float32)  # 8.6 GB, of pages that nobody touches
    flat = x.reshape(-1)
    assert flat.size > 2**31
    for place in (0, 2**30, 2**31 - 1, 2**31, flat.size - 1):
        flat[place] = 3
    windows = {(0, 0), (1, (2**30 - length) // 1024), (2, 699_049), (2, 699_050)}
    y = fastconv.max_pool1d(x, 1024)
    assert {(n, p) for n, _, p in np.argwhere(y == 3).tolist()} == windows
    done.append("max_pool1d")
    assert float(fastconv.avg_pool1d(x, 1024).sum()) * 1024 == 15
    done.append("avg_pool1d")
    w = np.ones((1, 1, 1024), np.float32)
    for algorithm in ("planar", "direct"):
        z = fastconv.conv1d(x, w, stride=1024, algorithm=algorithm)
        assert {(n, p) for n, _, p in np.argwhere(z).tolist()} == windows and z.sum() == 15
        done.append(f"conv1d {algorithm}")
    dw = fastconv.grad.conv1d_weight(x, w.shape, np.ones_like(z), stride=1024)
    assert dw.sum() == 15 and dw[0, 0, 0] == 3 * 3 and dw[0, 0, 1023] == 2 * 3
    done.append("grad.conv1d_weight")
    shape = x.shape
    del x, flat
    z[...] = np.arange(z.size, dtype=np.float32).reshape(z.shape) % 97
    dx = fastconv.grad.conv1d_input(shape, w, z, stride=1024)
    for n, p in ((0, 0), (1, 5), (2, 699_049), (2, 699_050)):
        assert (dx[n, 0, 1024 * p : 1024 * p + 1024] == z[n, 0, p]).all()
    done.append("grad.conv1d_input")
    return {
        "elements": int(np.prod(shape)),
        "done": done,
        "seconds": round(time.monotonic() - start),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["leak", "big"])
    parser.add_argument("--calls", type=int, default=100_000, help="three of a door at each")
    given = parser.parse_args()
    print(json.dumps(leak(given.calls // 3) if given.what == "leak" else big()))
