"""Calls so small that only their fixed costs count, for `overhead` and for pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import fastconv
from fastconv import grad

Call = Callable[[], object]


def our_calls() -> dict[str, Call]:
    """Every door of a training step, on float32 arrays of a few dozen elements, by name."""
    random = np.random.default_rng(0)

    def of(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32)

    x, w, bias, rows, matrix = of(1, 1, 8, 8), of(1, 1, 3, 3), of(1), of(4, 16), of(8, 16)
    y, dense = fastconv.conv2d(x, w), fastconv.linear(rows, matrix)
    largest, places = fastconv.max_pool2d(x, 2, return_indices=True)
    plan, out = fastconv.plan(x.shape, w), np.empty_like(y)
    return {
        "conv2d": lambda: fastconv.conv2d(x, w),
        "conv2d, bias, relu": lambda: fastconv.conv2d(x, w, bias, activation="relu"),
        "plan": lambda: plan(x),
        "plan, out": lambda: plan(x, out=out),
        "conv2d_input": lambda: grad.conv2d_input(x.shape, w, y),
        "conv2d_weight": lambda: grad.conv2d_weight(x, w.shape, y),
        "max_pool2d": lambda: fastconv.max_pool2d(x, 2),
        "max_pool2d, indices": lambda: fastconv.max_pool2d(x, 2, return_indices=True),
        "grad.max_pool2d": lambda: grad.max_pool2d(largest, places, x.shape),
        "avg_pool2d": lambda: fastconv.avg_pool2d(x, 2),
        "grad.avg_pool2d": lambda: grad.avg_pool2d(largest, x.shape, 2),
        "linear": lambda: fastconv.linear(rows, matrix),
        "linear_input": lambda: grad.linear_input(matrix, dense),
        "linear_weight": lambda: grad.linear_weight(rows, dense),
    }


def torch_calls() -> dict[str, Call]:
    """The same by PyTorch, or none if it is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    from torch.nn import functional as F

    torch.set_num_threads(1)
    aten, x, w, bias = torch.ops.aten, torch.rand(1, 1, 8, 8), torch.rand(1, 1, 3, 3), torch.rand(1)
    rows, matrix = torch.rand(4, 16), torch.rand(8, 16)
    y, dense = F.conv2d(x, w), F.linear(rows, matrix)
    largest, places = F.max_pool2d(x, 2, return_indices=True)
    window = [2, 2], [2, 2], [0, 0]

    def convolution_backward(*wanted: bool) -> object:
        options = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
        return aten.convolution_backward(y, x, w, None, *options, [*wanted, False])

    return {
        "conv2d": lambda: F.conv2d(x, w),
        "conv2d, bias, relu": lambda: F.conv2d(x, w, bias).relu_(),
        "conv2d_input": lambda: convolution_backward(True, False),
        "conv2d_weight": lambda: convolution_backward(False, True),
        "max_pool2d": lambda: F.max_pool2d(x, 2),
        "max_pool2d, indices": lambda: F.max_pool2d(x, 2, return_indices=True),
        "grad.max_pool2d": lambda: aten.max_pool2d_with_indices_backward(
            largest, x, *window, [1, 1], False, places
        ),
        "avg_pool2d": lambda: F.avg_pool2d(x, 2),
        "grad.avg_pool2d": lambda: aten.avg_pool2d_backward(largest, x, *window, False, True, None),
        "linear": lambda: F.linear(rows, matrix),
        "linear_input": lambda: dense @ matrix,
        "linear_weight": lambda: dense.T @ rows,
    }
