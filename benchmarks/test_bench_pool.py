"""pytest-benchmark: every pooling layer; see README.md for the command."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.cases import PoolCase
from benchmarks.ours import our_sides
from benchmarks.problem import MEMORY_FORMATS, OPERATIONS, Problem
from benchmarks.suites import POOL_SUITES

LAYERS = [
    pytest.param(case, operation, id=f"{case.name} {operation}")
    for cases in POOL_SUITES.values()
    for case in cases
    for operation in OPERATIONS
    if Problem(case, operation=operation).missing is None
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
@pytest.mark.parametrize(("case", "operation"), LAYERS)
def test_pool(
    benchmark: Any, case: PoolCase, operation: str, memory_format: str, dtype: str
) -> None:
    problem = Problem(case, dtype=dtype, operation=operation)
    ((_, side),) = our_sides(problem, (memory_format,), functional=True, planned=False)
    problem.check(side, side.call())
    benchmark.extra_info["bytes"] = problem.work
    benchmark(side.call)
    problem.forget()
