"""The same engine with narrower vectors: a subprocess whose processor pretends to be older.

``python -m benchmarks.compare --suite resnet50 --target avx2`` keeps rows whose share is that of
the peak which such vectors reach on this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.rows import WIDEST, Row
from benchmarks.tables import FORMATS, grouped, mean_text, ms, table

# What Numba is told: an instruction set, and nothing above it.
TARGETS = {
    "avx2": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma"},
    "sse2": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse2"},
}


def is_restricted(target: str) -> bool:
    """Whether this process compiles for the target already."""
    return all(os.environ.get(name) == value for name, value in TARGETS[target].items())


def run_restricted(target: str, arguments: Sequence[str]) -> int:
    """This command once more, compiled for a target; its exit status."""
    environment = {**os.environ, **TARGETS[target]}
    command = [sys.executable, "-m", "benchmarks.compare", *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def widths_section(rows: Sequence[Row]) -> list[str]:
    """Nothing if no narrower target was timed."""
    narrow = [row for row in rows if row.target != WIDEST]
    if not narrow:
        return []
    means = [
        (target, kind, mean_text(row.share for row in group if not row.void), str(len(group)))
        for (target, kind), group in grouped(
            narrow, lambda row: (row.target, row.problem.case.kind)
        )
    ]
    head = ("target", "case", "setting", "format", "algorithm", "ms", "GFLOP/s", "of its peak")
    body = [
        (
            row.target,
            row.problem.case.name,
            row.setting,
            FORMATS[row.memory_format],
            row.algorithm,
            ms(row.timing.median),
            f"{row.rate / 1e9:.1f}",
            f"{row.share:.2f}" + (" void" if row.void else ""),
        )
        for row in sorted(narrow, key=lambda row: (row.target, row.share))
    ]
    return [
        "## Narrower vectors",
        "The same code compiled for AVX2 and for SSE2; the peak is what vectors of that width "
        "reach on this machine.",
        table(("target", "class of layers", "of its peak", "rows"), means),
        table(head, body),
    ]
