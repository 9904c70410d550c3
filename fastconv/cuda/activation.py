"""Activations and their slopes for one value; `x` is of the type that sums are made in."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .backend import cuda
from .emit import device

types: Any = cuda.types

# The type that elements are computed in.
COMPUTE = {"float16": "float32", "float32": "float32", "float64": "float64", "int64": "int64"}


def number(dtype: Any) -> Any:
    """The type of an element, to convert numbers with."""
    return getattr(types, str(np.dtype(dtype)))


Pair = tuple[Callable, Callable]


def _formulas(real: Any) -> dict[str, Pair]:
    """Every activation and its slope; constants are of the type, so nothing widens."""
    zero, half, one, two, three, six = (real(n) for n in (0, 0.5, 1, 2, 3, 6))
    twenty, leak = real(20), real(0.01)
    root, scale = real(math.sqrt(0.5)), real(1 / math.sqrt(2 * math.pi))

    # Comparisons are written so that NaN stays NaN.
    def relu(x: Any) -> Any:
        return zero if x < zero else x

    def relu_slope(x: Any) -> Any:
        return one if x > zero else zero

    def relu6(x: Any) -> Any:
        return zero if x < zero else six if x > six else x

    def relu6_slope(x: Any) -> Any:
        return one if zero < x < six else zero

    def leaky_relu(x: Any) -> Any:
        return x * leak if x < zero else x

    def leaky_relu_slope(x: Any) -> Any:
        return one if x > zero else leak

    def sigmoid(x: Any) -> Any:
        small = math.exp(-abs(x))
        return (small if x < zero else one) / (one + small)

    def sigmoid_slope(x: Any) -> Any:
        small = math.exp(-abs(x))
        return small / ((one + small) * (one + small))

    def tanh(x: Any) -> Any:
        return math.tanh(x)

    def tanh_slope(x: Any) -> Any:
        y = math.tanh(x)
        return one - y * y

    def silu(x: Any) -> Any:
        small = math.exp(-abs(x))
        return x * ((small if x < zero else one) / (one + small))

    def silu_slope(x: Any) -> Any:
        small = math.exp(-abs(x))
        y = (small if x < zero else one) / (one + small)
        return y * (one + x * (one - y))

    def gelu(x: Any) -> Any:
        return x * (half * (one + math.erf(x * root)))

    def gelu_slope(x: Any) -> Any:
        return half * (one + math.erf(x * root)) + x * scale * math.exp(-half * x * x)

    def hardswish(x: Any) -> Any:
        y = x + three
        return x * (zero if y < zero else six if y > six else y) / six

    def hardswish_slope(x: Any) -> Any:
        return one if x >= three else zero if x <= -three else x / three + half

    def hardsigmoid(x: Any) -> Any:
        y = x + three
        return (zero if y < zero else six if y > six else y) / six

    def hardsigmoid_slope(x: Any) -> Any:
        return one / six if abs(x) < three else zero

    def elu(x: Any) -> Any:
        return x if x > zero else math.expm1(x)

    def elu_slope(x: Any) -> Any:
        return one if x > zero else math.exp(x)

    def softplus(x: Any) -> Any:
        rest = math.log1p(math.exp(-abs(x)))
        return x if x > twenty else rest + (x if x > zero else zero)

    def softplus_slope(x: Any) -> Any:
        small = math.exp(-abs(x))
        return one if x > twenty else (small if x < zero else one) / (one + small)

    def mish(x: Any) -> Any:
        rest = math.log1p(math.exp(-abs(x)))
        return x * math.tanh(rest + (x if x > zero else zero))

    def mish_slope(x: Any) -> Any:
        small = math.exp(-abs(x))
        y = math.tanh(math.log1p(small) + (x if x > zero else zero))
        return y + x * ((small if x < zero else one) / (one + small)) * (one - y * y)

    inside = locals()
    names = [name for name in inside if f"{name}_slope" in inside]
    return {name: (inside[name], inside[f"{name}_slope"]) for name in names}


def identity(x: Any) -> Any:
    """x"""
    return x


@functools.cache
def formulas(dtype: str) -> dict[str, Pair]:
    """By its name every activation and its slope, for values of a compute type."""
    return _formulas(number(dtype))


@functools.cache
def activation(name: str | None, dtype: str) -> Any:
    """The device function of an activation, for sums of a compute type."""
    return device(identity if name is None else formulas(dtype)[name][0])
