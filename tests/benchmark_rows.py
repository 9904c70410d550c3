"""Rows of benchmarks with known times, for tests."""

from __future__ import annotations

from typing import Any

from benchmarks.problem import Problem
from benchmarks.rows import Row
from benchmarks.suites import SUITES
from benchmarks.timing import Timing


def timing_of(*block_medians: float) -> Timing:
    return Timing.of([(m,) for m in block_medians])


def row_of(ours: float, rivals: dict[str, float], **changes: Any) -> Row:
    """A row with steady times; the limit is 1000 GFLOP/s."""
    values: dict[str, Any] = {
        "suite": "resnet50",
        "problem": Problem(SUITES["resnet50"][1]),
        "memory_format": "channels_last",
        "planned": True,
        "algorithm": "direct",
        "first_seconds": 0.5,
        "error": 1e-7,
        "timing": timing_of(ours),
        "fma_rate": 1e12,
        "copy_rate": 1e10,
        "rivals": {name: timing_of(seconds) for name, seconds in rivals.items()},
        "void": False,
    }
    return Row(**(values | changes))
