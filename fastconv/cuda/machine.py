"""What the GPU is, asked once; tests and tables put another in its place."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import backend


@dataclass(frozen=True)
class Gpu:
    """A device as the choice of kernels sees it.

    Bandwidth in bytes per second, clock in Hz; `cc` is the compute capability.
    """

    name: str
    cc: tuple[int, int]
    processors: int  # streaming multiprocessors
    registers: int  # 32-bit, of each of them
    shared_bytes: int  # of each of them
    block_shared_bytes: int  # that one block gets without asking for more
    threads: int  # resident on each of them
    clock: float
    bandwidth: float

    @property
    def float32_flops(self) -> float:
        """Peak of the plain units: 64 or 128 multiply-adds per clock and multiprocessor."""
        lanes = 64 if self.cc in ((7, 0), (7, 5), (8, 0)) else 128
        return 2.0 * lanes * self.processors * self.clock

    def blocks(self, threads: int, registers: int, shared_bytes: int) -> int:
        """Blocks of a kernel that are resident on one multiprocessor at a time."""
        granted = -(-registers // 8) * 8 * (-(-threads // 32) * 32)
        limits = [32, self.threads // threads, self.registers // max(granted, 1)]
        if shared_bytes:
            limits.append(self.shared_bytes // (shared_bytes + 1024))
        return max(min(limits), 0)


H200 = Gpu("H200", (9, 0), 132, 65536, 228 << 10, 48 << 10, 2048, 1.98e9, 4.8e12)
A100 = Gpu("A100", (8, 0), 108, 65536, 164 << 10, 48 << 10, 2048, 1.41e9, 1.55e12)
T4 = Gpu("T4", (7, 5), 40, 65536, 64 << 10, 48 << 10, 1024, 1.59e9, 0.32e12)

_override: list[Gpu] = []


def gpu() -> Gpu:
    """The current device."""
    return _override[-1] if _override else _asked()


@contextmanager
def pretend(device: Gpu) -> Iterator[None]:
    """Choose for another device within a ``with`` block."""
    _override.append(device)
    try:
        yield
    finally:
        _override.pop()


@functools.cache
def _asked() -> Gpu:
    if backend.SIMULATED:
        return Gpu("simulator", (9, 0), 2, 65536, 64 << 10, 48 << 10, 1024, 1e9, 1e11)
    backend.require_device()
    device = backend.cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    return Gpu(
        name,
        tuple(device.compute_capability),
        device.MULTIPROCESSOR_COUNT,
        device.MAX_REGISTERS_PER_MULTIPROCESSOR,
        device.MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
        device.MAX_SHARED_MEMORY_PER_BLOCK,
        device.MAX_THREADS_PER_MULTIPROCESSOR,
        # Some drivers do not tell clocks; they only scale the estimates.
        1e3 * (device.CLOCK_RATE or 1e6),
        2.0 * 1e3 * (device.MEMORY_CLOCK_RATE or 1e6) * device.GLOBAL_MEMORY_BUS_WIDTH / 8,
    )
