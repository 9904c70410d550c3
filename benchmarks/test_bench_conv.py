"""pytest-benchmark: every convolution layer, functional and planned; README.md has the command."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.cases import ConvCase
from benchmarks.ours import can_plan, our_sides
from benchmarks.problem import MEMORY_FORMATS, OPERATIONS, Problem, Side
from benchmarks.suites import SUITES

LAYERS = [
    pytest.param(case, operation, id=f"{case.name} {operation}")
    for cases in SUITES.values()
    for case in cases
    for operation in OPERATIONS
    if Problem(case, operation=operation).missing is None
]
PLANNED = [case for cases in SUITES.values() for case in cases if can_plan(Problem(case))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
@pytest.mark.parametrize(("case", "operation"), LAYERS)
def test_functional(
    benchmark: Any, case: ConvCase, operation: str, memory_format: str, dtype: str
) -> None:
    problem = Problem(case, dtype=dtype, operation=operation)
    ((_, side),) = our_sides(problem, (memory_format,), functional=True, planned=False)
    _run(benchmark, problem, side)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
@pytest.mark.parametrize("case", PLANNED, ids=lambda case: case.name)
def test_planned(benchmark: Any, case: ConvCase, memory_format: str, dtype: str) -> None:
    problem = Problem(case, dtype=dtype)
    ((_, side),) = our_sides(problem, (memory_format,), functional=False, planned=True)
    _run(benchmark, problem, side)


def _run(benchmark: Any, problem: Problem, side: Side) -> None:
    """The first call compiles and is checked; what is timed comes after it."""
    problem.check(side, side.call())
    benchmark.extra_info["algorithm"] = side.algorithm
    benchmark.extra_info["flops"] = problem.work
    benchmark(side.call)
    problem.forget()
