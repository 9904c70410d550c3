"""Rounding of every algorithm against wider arithmetic, and what denormals cost.

``python -m tests.reliability.numerics`` prints the tables.

A sum of n products in precision u errs by at most gamma_n = n u / (1 - n u) times the sum of
their absolute values (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1). The
share of that bound which is used must be below 1 for algorithms that only sum. Winograd's exceed it
in places by design; their limit is in units of u times the largest such sum.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np

import fastconv
from fastconv import reference
from fastconv.choose import ALGORITHMS
from fastconv.geometry import ConvGeometry
from fastconv.plan import OPERATIONS


class Problem(NamedTuple):
    """A convolution of two axes."""

    name: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any]


PROBLEMS = (
    Problem("8 channels", (2, 8, 17, 19), (12, 8, 3, 3), {"padding": 1}),
    Problem("128 channels", (1, 128, 14, 15), (32, 128, 3, 3), {"padding": 1}),
    Problem("depthwise", (2, 20, 15, 17), (20, 1, 3, 3), {"padding": 1, "groups": 20}),
    Problem("8 groups", (2, 32, 15, 17), (32, 4, 3, 3), {"padding": 1, "groups": 8}),
    Problem("large kernel", (1, 2, 40, 41), (3, 2, 15, 13), {}),
)


class Error(NamedTuple):
    """Errors of one algorithm at one problem, the largest of all results."""

    algorithm: str
    operation: str
    dtype: str
    problem: str
    of_bound: float  # error / (gamma_n * sum of absolute products)
    units: float  # error / (u * largest sum of absolute products)


def _operands(problem: Problem, operation: str, dtype: str) -> tuple[ConvGeometry, Any, Any]:
    geometry = ConvGeometry.forward("test", 2, problem.input, problem.weight, **problem.options)
    random = np.random.default_rng(len(problem.name))
    x, w, dy = (
        random.standard_normal(shape).astype(dtype)
        for shape in (problem.input, problem.weight, geometry.output_shape)
    )
    return geometry, *{"forward": (x, w), "input_gradient": (dy, w), "weight_gradient": (x, dy)}[
        operation
    ]


def _reference(geometry: ConvGeometry, operation: str, a: Any, b: Any) -> Any:
    if operation == "forward":
        return reference.conv(geometry, a, b)
    if operation == "input_gradient":
        return reference.conv_input(geometry, b, a)
    return reference.conv_weight(geometry, a, b)


def terms(geometry: ConvGeometry, operation: str) -> int:
    """Products in the longest sum."""
    if operation == "weight_gradient":
        return geometry.batch * math.prod(geometry.out_size)
    ends = {"forward": geometry.in_channels, "input_gradient": geometry.out_channels}
    return ends[operation] // geometry.groups * math.prod(geometry.kernel_size)


def _call(problem: Problem, operation: str, a: Any, b: Any, algorithm: str) -> Any:
    options = {**problem.options, "algorithm": algorithm}
    if operation == "forward":
        return fastconv.conv2d(a, b, **options)
    if operation == "input_gradient":
        return fastconv.grad.conv2d_input(problem.input, b, a, **options)
    return fastconv.grad.conv2d_weight(a, problem.weight, b, **options)


def errors(problem: Problem, operation: str, dtype: str) -> list[Error]:
    """Those of every algorithm that does not refuse, the larger of both memory formats."""
    geometry, a, b = _operands(problem, operation, dtype)
    wide = np.float64 if dtype == "float32" else np.longdouble
    exact = _reference(geometry, operation, a.astype(wide), b.astype(wide))
    sums = _reference(geometry, operation, abs(a).astype(wide), abs(b).astype(wide))
    unit = np.finfo(dtype).eps / 2
    count = terms(geometry, operation)
    gamma = count * unit / (1 - count * unit)
    found = []
    for row in ALGORITHMS:
        try:
            formats = fastconv.channels_first(a), fastconv.channels_last(a)
            results = [_call(problem, operation, x, b, row.name) for x in formats]
        except ValueError:
            continue
        error = np.maximum(*(abs(result.astype(wide) - exact) for result in results))
        largest = error.max() / (unit * sums.max())
        share = (error / (gamma * sums)).max()
        found.append(Error(row.name, operation, dtype, problem.name, float(share), float(largest)))
    return found


def every_error() -> list[Error]:
    """Of all problems, operations and both dtypes."""
    return [
        error
        for dtype in ("float32", "float64")
        for operation in OPERATIONS
        for problem in PROBLEMS
        for error in errors(problem, operation, dtype)
    ]


def table(found: list[Error]) -> list[tuple[str, ...]]:
    """The largest errors of each algorithm and dtype, as text."""
    rows = [("algorithm", "dtype", "largest share of the bound", "largest error in u * sum")]
    for algorithm in dict.fromkeys(e.algorithm for e in found):
        for dtype in ("float32", "float64"):
            own = [e for e in found if (e.algorithm, e.dtype) == (algorithm, dtype)]
            share, units = max(e.of_bound for e in own), max(e.units for e in own)
            rows.append((algorithm, dtype, f"{share:.3f}", f"{units:.2f}"))
    return rows


def denormal_ratio(dtype: str) -> float:
    """Time of a convolution of denormal numbers over that of ordinary ones, each at its best."""
    x = np.random.default_rng(0).uniform(0.5, 1, (4, 32, 40, 40)).astype(dtype)
    w = np.ones((32, 32, 3, 3), dtype)
    tiny = (x * float(np.finfo(dtype).smallest_normal) / 4).astype(dtype)
    assert 0 < abs(tiny).max() < np.finfo(dtype).smallest_normal
    plan = fastconv.plan(x.shape, w, padding=1, algorithm="direct")
    times: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(31):
        for which, operand in enumerate((x, tiny)):
            start = time.perf_counter()
            plan(operand)
            times[which].append(time.perf_counter() - start)
    return min(times[1]) / min(times[0])


if __name__ == "__main__":
    for line in table(every_error()):
        print(" | ".join(line))
    for kind in ("float32", "float64"):
        print(f"denormal {kind}: {denormal_ratio(kind):.2f} times the time of ordinary numbers")
