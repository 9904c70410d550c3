"""fastconv's own sides of a problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastconv
from benchmarks.cases import ConvCase, PoolCase
from benchmarks.problem import NORM, Problem, Side, in_format
from fastconv.choose import plan_conv
from fastconv.plan import Decision


def our_sides(
    problem: Problem,
    memory_formats: tuple[str, ...],
    functional: bool,
    planned: bool,
    algorithm: str = "auto",
) -> Iterator[tuple[str, Side]]:
    """(memory format, side) for every way of calling fastconv that exists for the problem."""
    for memory_format in memory_formats:
        if functional:
            yield memory_format, _functional(problem, memory_format, algorithm)
        if planned and can_plan(problem):
            yield memory_format, _planned(problem, memory_format, algorithm)


def can_plan(problem: Problem) -> bool:
    """Only the forward convolution has weights that can be packed ahead."""
    case = problem.case
    return isinstance(case, ConvCase) and problem.operation == "forward" and not case.transposed


def decide(problem: Problem, memory_format: str, planned: bool) -> Decision:
    """What fastconv chooses for a convolution, and its table."""
    operation = problem.operation
    if problem.transposed:
        mirrored = {"forward": "input_gradient", "input_gradient": "forward"}
        operation = mirrored.get(operation, operation)
    # A single channel looks the same in both formats; a plan is told which is meant.
    source = problem.output_shape if problem.operation == "input_gradient" else problem.input_shape
    last = memory_format == "channels_last" and (planned or source[1] > 1)
    arguments = problem.case.name, problem.geometry, np.dtype(problem.dtype), operation
    return plan_conv(*arguments, packed=planned, channels_last=last)[0]


def _options(case: ConvCase, algorithm: str) -> dict[str, Any]:
    return {
        "stride": case.stride,
        "padding": case.padding,
        "dilation": case.dilation,
        "groups": case.groups,
        "algorithm": algorithm,
    }


def _functional(problem: Problem, memory_format: str, algorithm: str) -> Side:
    name, case = f"fastconv {memory_format}", problem.case
    arrays = {
        key: array if key == "w" else in_format(array, memory_format)
        for key, array in problem.operands.items()
    }
    if isinstance(case, PoolCase):
        return Side(name, _pooling(problem, case, arrays), algorithm="pool")
    call = (_transposed if case.transposed else _plain)(problem, case, arrays, algorithm)
    chosen = decide(problem, memory_format, False).algorithm if algorithm == "auto" else algorithm
    return Side(name, call, algorithm=chosen)


def _pooling(problem: Problem, case: PoolCase, arrays: dict[str, Any]) -> Callable[[], Any]:
    name, shape = f"{case.pool}_pool{case.rank}d", problem.input_shape
    pool, gradient = getattr(fastconv, name), getattr(fastconv.grad, name, None)
    sliding = () if case.adaptive else (case.kernel, case.stride, case.padding)
    windows = sliding or (case.kernel,)  # of adaptive pooling the size of the output
    x, dy, indices = (arrays.get(key) for key in ("x", "dy", "indices"))
    if problem.operation == "forward":
        if case.pool == "lp":
            return lambda: pool(x, NORM, case.kernel, case.stride)
        return lambda: pool(x, *windows)
    assert gradient is not None
    if not case.keeps_maxima:
        if problem.operation == "input_gradient":
            return lambda: gradient(dy, shape, *sliding)

        def average() -> Any:
            pool(x, *windows)
            return gradient(dy, shape, *sliding)

        return average
    if problem.operation == "input_gradient":
        return lambda: gradient(dy, indices, shape)
    return lambda: gradient(dy, pool(x, *windows, return_indices=True)[1], shape)


def _plain(
    problem: Problem, case: ConvCase, arrays: dict[str, Any], algorithm: str
) -> Callable[[], Any]:
    x, w, dy = (arrays.get(key) for key in ("x", "w", "dy"))
    options = _options(case, algorithm)
    if problem.operation == "input_gradient":
        shape = problem.input_shape
        input_gradient = getattr(fastconv.grad, f"conv{case.rank}d_input")
        return lambda: input_gradient(shape, w, dy, **options)
    if problem.operation == "weight_gradient":
        weight_gradient = getattr(fastconv.grad, f"conv{case.rank}d_weight")
        return lambda: weight_gradient(x, case.weight_shape, dy, **options)
    conv = getattr(fastconv, f"conv{case.rank}d")
    return lambda: conv(x, w, **options)


def _transposed(
    problem: Problem, case: ConvCase, arrays: dict[str, Any], algorithm: str
) -> Callable[[], Any]:
    """Its gradients are a plain convolution and a weight gradient with the operands exchanged."""
    x, w, dy = (arrays.get(key) for key in ("x", "w", "dy"))
    options = _options(case, algorithm)
    if problem.operation == "input_gradient":
        conv = getattr(fastconv, f"conv{case.rank}d")
        return lambda: conv(dy, w, **options)
    if problem.operation == "weight_gradient":
        weight_gradient = getattr(fastconv.grad, f"conv{case.rank}d_weight")
        return lambda: weight_gradient(dy, case.weight_shape, x, **options)
    transposed = getattr(fastconv, f"conv_transpose{case.rank}d")
    return lambda: transposed(x, w, output_padding=case.output_padding, **options)


def _planned(problem: Problem, memory_format: str, algorithm: str) -> Side:
    case = problem.case
    assert isinstance(case, ConvCase)
    x = in_format(problem.operands["x"], memory_format)
    plan = fastconv.plan(
        x.shape,
        problem.operands["w"],
        memory_format=memory_format,
        **_options(case, algorithm),
    )
    out = in_format(np.empty(problem.output_shape, problem.dtype), memory_format)
    name = f"fastconv {memory_format} planned"
    return Side(name, lambda: plan(x, out=out), planned=True, algorithm=plan.algorithm)
