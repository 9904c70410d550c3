"""fastconv's own sides of a problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastconv
from benchmarks.cases import ConvCase, PoolCase
from benchmarks.problem import Problem, Side, in_format


def our_sides(
    problem: Problem, memory_formats: tuple[str, ...], functional: bool, planned: bool
) -> Iterator[tuple[str, Side]]:
    """(memory format, side) for every way of calling fastconv that exists for the problem."""
    for memory_format in memory_formats:
        if functional:
            yield memory_format, _functional(problem, memory_format)
        if planned and can_plan(problem):
            yield memory_format, _planned(problem, memory_format)


def can_plan(problem: Problem) -> bool:
    """Only the forward convolution has weights that can be packed ahead."""
    case = problem.case
    return isinstance(case, ConvCase) and problem.operation == "forward" and not case.transposed


def _options(case: ConvCase) -> dict[str, Any]:
    return {
        "stride": case.stride,
        "padding": case.padding,
        "dilation": case.dilation,
        "groups": case.groups,
    }


def _functional(problem: Problem, memory_format: str) -> Side:
    name, case = f"fastconv {memory_format}", problem.case
    arrays = {
        key: array if key == "w" else in_format(array, memory_format)
        for key, array in problem.operands.items()
    }
    x, w, dy = (arrays.get(key) for key in ("x", "w", "dy"))
    if isinstance(case, PoolCase):
        pool = getattr(fastconv, f"{case.kind}_pool{case.rank}d")
        return Side(name, lambda: pool(x, case.kernel, case.stride, case.padding), algorithm="pool")
    options, algorithm = _options(case), _chosen(problem)
    if problem.operation == "input_gradient":
        shape = problem.geometry.input_shape
        input_gradient = getattr(fastconv.grad, f"conv{case.rank}d_input")
        return Side(name, lambda: input_gradient(shape, w, dy, **options), algorithm=algorithm)
    if problem.operation == "weight_gradient":
        weight_gradient = getattr(fastconv.grad, f"conv{case.rank}d_weight")
        return Side(
            name, lambda: weight_gradient(x, case.weight_shape, dy, **options), algorithm=algorithm
        )
    if case.transposed:
        options["output_padding"] = case.output_padding
        transposed = getattr(fastconv, f"conv_transpose{case.rank}d")
        return Side(name, lambda: transposed(x, w, **options), algorithm=algorithm)
    conv = getattr(fastconv, f"conv{case.rank}d")
    return Side(name, lambda: conv(x, w, **options), algorithm=algorithm)


def _planned(problem: Problem, memory_format: str) -> Side:
    case = problem.case
    assert isinstance(case, ConvCase)
    x = in_format(problem.operands["x"], memory_format)
    plan = fastconv.plan(
        x.shape, problem.operands["w"], memory_format=memory_format, **_options(case)
    )
    out = in_format(np.empty(problem.geometry.output_shape, problem.dtype), memory_format)
    name = f"fastconv {memory_format} planned"
    return Side(name, lambda: plan(x, out=out), planned=True, algorithm=plan.algorithm)


def _chosen(problem: Problem) -> str:
    """Name of the algorithm, from the table of `fastconv.explain`."""
    g, case = problem.geometry, problem.case
    transposed = getattr(case, "transposed", False)
    table = fastconv.explain(
        g.input_shape,
        g.weight_shape,
        g.stride,
        g.padding,
        g.dilation,
        g.groups,
        dtype=problem.dtype,
        operation="input_gradient" if transposed else problem.operation,
    )
    return next(line.split()[1] for line in table.splitlines() if line.startswith("->"))
