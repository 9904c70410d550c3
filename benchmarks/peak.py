"""What this machine can do: multiply-adds in registers, and bytes copied.

``python -m benchmarks.peak [--threads N]`` prints both. The loops are also the limits that
`benchmarks.compare` times beside each layer, so that a layer and its limit meet the same clock.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import prange
from numba.core import types
from numba.extending import intrinsic

from benchmarks.problem import DTYPES
from fastconv.cpu.emit import emitter
from fastconv.machine import machine

SERIAL_COPY = 1 << 18  # bytes read and written; waking threads takes longer


class Limit(NamedTuple):
    """A loop that does nothing but the thing that limits us, and how much of it one call does."""

    call: Callable[[], Any]
    work: float  # operations or bytes


def chains() -> int:
    """Independent sums: enough to hide the latency of an fma, and few enough for the registers.

    Two units of four cycles need 8, four units of four cycles 16; a factor and an addend stay
    beside them.
    """
    return 12 if machine().vector_registers < 32 else 24


@intrinsic
def _burst(typing: Any, address: Any, element: Any, count: Any) -> Any:
    """Repeat sum[i] = sum[i] * factor + addend, for all sums, `count` times.

    At `address` lie the factor, the addend, then the sums, each as one vector; the sums are put
    back there, so nothing can be optimised away.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = emitter(builder, element)
        base = e.at(args[0])
        factor, addend = e.load(base), e.load(base, e.lanes)
        sums = [e.load(base, (2 + i) * e.lanes) for i in range(chains())]
        with e.loop(args[2], sums):
            sums[:] = [e.fma(value, factor, addend) for value in sums]
        for i, value in enumerate(sums):
            e.store(value, base, (2 + i) * e.lanes)
        return context.get_dummy_value()

    return types.void(address, element, count), generate


@numba.njit(parallel=True, nogil=True)
def _fma(values: Any, count: int) -> None:
    for thread in prange(len(values)):
        row = values[thread]
        _burst(row.ctypes.data, row, count)


@numba.njit(parallel=True, nogil=True)
def _copy(target: Any, source: Any, threads: int) -> None:
    for thread in prange(threads):
        begin, end = thread * len(source) // threads, (thread + 1) * len(source) // threads
        target[begin:end] = source[begin:end]


def fma_limit(dtype: str, threads: int, seconds: float = 0.001) -> Limit:
    """A burst of multiply-adds in registers that takes about `seconds`."""
    lanes = machine().lanes(dtype)
    threads = min(threads, numba.config.NUMBA_NUM_THREADS)
    # Rows lie 64 elements apart at least: no two threads write to one cache line.
    values = np.full((threads, (2 + chains()) * lanes + 64), 0.5, dtype)
    cycles = seconds * machine().megahertz * 1e6
    count = max(1, int(cycles * 2 / chains()))
    return Limit(
        lambda: _with_threads(threads, _fma, values, count),
        2.0 * threads * count * chains() * lanes,
    )


def copy_limit(threads: int, moved: int) -> Limit:
    """A copy that reads and writes `moved` bytes together."""
    source = np.zeros(max(moved // 2, 64), np.uint8)
    target = np.ones_like(source)
    threads = min(threads, numba.config.NUMBA_NUM_THREADS)
    if moved < SERIAL_COPY:
        return Limit(lambda: np.copyto(target, source), 2.0 * source.size)
    return Limit(lambda: _with_threads(threads, _copy, target, source, threads), 2.0 * source.size)


def _with_threads(threads: int, function: Callable[..., None], *arguments: Any) -> None:
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    function(*arguments)
    numba.set_num_threads(before)


def best_rate(limit: Limit, repeats: int = 20) -> float:
    """Operations or bytes per second in the best of `repeats` calls; two before do not count."""
    limit.call()
    limit.call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        limit.call()
        seconds.append(time.perf_counter() - start)
    return limit.work / min(seconds)


@functools.cache
def fma_peak(dtype: str, threads: int) -> float:
    """Measured floating-point operations per second in registers, two for a multiply-add."""
    return best_rate(fma_limit(dtype, threads, seconds=0.02))


@functools.cache
def copy_bandwidth(threads: int, moved: int = 1 << 28) -> float:
    """Measured bytes per second, read and written together, of a copy that moves `moved` bytes."""
    return best_rate(copy_limit(threads, moved))


def main() -> None:
    """Print the limits on one thread and on all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    threads = parser.parse_args().threads
    for count in sorted({1, threads}):
        for dtype in DTYPES:
            rate = fma_peak(dtype, count) / 1e9
            lanes = machine().lanes(dtype)
            print(f"{count} threads  {dtype}  {rate:8.1f} GFLOP/s in registers, {lanes} lanes")
        for moved in (1 << 20, 1 << 28):
            rate = copy_bandwidth(count, moved) / 1e9
            print(f"{count} threads  copy     {rate:8.1f} GB/s read and written, {moved >> 20} MiB")


if __name__ == "__main__":
    main()
