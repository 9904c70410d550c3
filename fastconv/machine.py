"""Facts about the CPU that compiled code depends on: vector width, registers, caches.

The facts follow Numba's target, so ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` narrow the
machine for tests and the cache of compiled code, which Numba keys by the same two, never mixes
widths.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from pathlib import Path

import numba


@dataclass(frozen=True)
class Machine:
    """One CPU as the code generator sees it."""

    name: str
    vector_bytes: int
    vector_registers: int
    has_fma: bool
    level1_bytes: int
    level2_bytes: int
    cores: int
    megahertz: float

    def peak_flops(self, dtype: str) -> float:
        """Estimated operations per second of all cores: two multiply-adds per lane and cycle.

        Zen 4 does each half of a 512-bit vector in a cycle of its own.
        """
        per_cycle = 1 if self.name == "znver4" and self.vector_bytes == 64 else 2
        return self.cores * self.lanes(dtype) * 2 * per_cycle * self.megahertz * 1e6

    def lanes(self, dtype: str) -> int:
        """Elements of `dtype` in one vector."""
        return self.vector_bytes // {"float32": 4, "float64": 8, "int64": 8}[dtype]


def vector_unit(architecture: str, features: str) -> tuple[int, int, bool]:
    """Bytes in a vector, number of vector registers, and fused multiply-add, from LLVM's names.

    `features` is LLVM's list, as in ``"+avx2,-avx512f"``.

    >>> vector_unit("x86_64", "+avx2,+fma,-avx512f"), vector_unit("x86_64", "+sse2")
    ((32, 16, True), (16, 16, False))
    """
    present = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if architecture.lower() in ("x86_64", "amd64", "i686", "i386"):
        if {"avx512f", "avx512dq", "avx512vl"} <= present:
            return 64, 32, True
        return (32, 16, True) if {"avx2", "fma"} <= present else (16, 16, "fma" in present)
    return 16, 32, True  # NEON, and what other 64-bit machines have at least


@functools.cache
def machine() -> Machine:
    """The machine that Numba compiles for."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    with global_compiler_lock:  # a fork waits for this lock, see `cpu.compile`; LLVM has one too
        triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()[:3]
    vector_bytes, registers, fma = vector_unit(triple.split("-")[0] or platform.machine(), features)
    return Machine(
        cpu,
        vector_bytes,
        registers,
        fma,
        _cache_bytes(1, 32),
        _cache_bytes(2, 512),
        numba.config.NUMBA_NUM_THREADS,
        _megahertz(),
    )


def _megahertz() -> float:
    """Clock of the first core, where the system tells, else 3000."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz"))
    except (OSError, StopIteration, ValueError):
        return 3000.0


def _cache_bytes(level: int, default_kib: int) -> int:
    """Data cache of one core at `level`, where the system tells, else a cautious default."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind, found = (index / "type").read_text().strip(), (index / "level").read_text()
            size = (index / "size").read_text().strip()
        except OSError:
            continue
        if int(found) == level and kind in ("Data", "Unified") and size.endswith("K"):
            return int(size[:-1]) * 1024
    return default_kib * 1024
