"""Activations: applied to sums that still lie in the first-level cache."""

from __future__ import annotations

import math
from typing import Any

from .compile import compiled
from .memory import load, store

# The place in this tuple is the number that a job carries.
NAMES = (
    None,
    "relu",
    "relu6",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "hardswish",
    "hardsigmoid",
    "elu",
    "softplus",
    "mish",
)
INTEGER_NAMES = (None, "relu", "relu6")


def activation_number(op: str, name: Any, dtype: str) -> int:
    """The number of an activation.

    ValueError for an unknown name, TypeError if `dtype` has it not.
    """
    if name not in NAMES:
        raise ValueError(f"{op}: activation must be one of {NAMES}, not {name!r}")
    if dtype == "int64" and name not in INTEGER_NAMES:
        raise TypeError(f"{op}: activation {name!r} of integers is not an integer")
    return NAMES.index(name)


@compiled
def _value(x: Any, which: int) -> Any:
    """One activation; comparisons are written so that NaN stays NaN."""
    if which == 3:
        return x * 0.01 if x < 0 else x
    if which == 4:
        return 1 / (1 + math.exp(-x))
    if which == 5:
        return math.tanh(x)
    if which == 6:
        return x / (1 + math.exp(-x))
    if which == 7:
        return x * 0.5 * (1 + math.erf(x * 0.7071067811865476))
    if which == 8:
        return x * _clip(x + 3, 6) / 6
    if which == 9:
        return _clip(x + 3, 6) / 6
    if which == 10:
        return math.expm1(x) if x < 0 else x
    softplus = x if x > 20 else math.log1p(math.exp(x))
    return softplus if which == 11 else x * math.tanh(softplus)


@compiled
def _clip(x: Any, high: int) -> Any:
    return 0 * high if x < 0 else high if x > high else x


@compiled
def activate(element: Any, address: int, count: int, which: int) -> None:
    """values[i] = activation(values[i])"""
    if which == 1:
        for i in range(count):
            x = load(element, address, i)
            store(element, address, i, 0 if x < 0 else x)
    elif which == 2:
        for i in range(count):
            store(element, address, i, _clip(load(element, address, i), 6))
    else:
        for i in range(count):
            store(element, address, i, _value(load(element, address, i), which))
