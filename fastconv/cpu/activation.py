"""Activations: applied to sums that still lie in the first-level cache.

Each is a kernel of its own: a job holds its address, so one that nobody uses is never compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.extending import intrinsic

from ..arguments import check_choice
from .compile import Kernel, compiled, float_kernel, kernel
from .elementary import divide, exp, expm1, log1p, magnitude, negative, normal, select
from .emit import POSITIVE, TO_SIX, Emit, emitter
from .memory import load, store


def _vectorised(formula: Callable[[Emit, Any], Any]) -> Any:
    """An intrinsic: values[i] = formula(values[i]) for whole vectors."""

    @intrinsic
    def apply(typing: Any, element: Any, values: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = emitter(builder, element)
            values = e.at(args[1])
            with e.loop(builder.sdiv(args[2], args[2].type(e.lanes)), []) as i:
                here = e.shift(values, e.times(i, e.lanes))
                e.store(formula(e, e.load(here)), here)
            return context.get_dummy_value()

        return types.void(element, types.int64, types.int64), generate

    return apply


def _sigmoid(e: Emit, x: Any) -> Any:
    small = exp(e, negative(e, magnitude(e, x)))
    one = e.constant(1)
    return divide(e, select(e, "<", x, e.constant(0), small, one), e.add(one, small))


def _tanh(e: Emit, x: Any) -> Any:
    size = magnitude(e, x)
    t = expm1(e, e.multiply(size, e.constant(-2)))
    value = divide(e, negative(e, t), e.add(t, e.constant(2)))
    return select(e, "<", x, e.constant(0), negative(e, value), value)


def _elu(e: Emit, x: Any) -> Any:
    return select(e, ">", x, e.constant(0), x, expm1(e, x))


def _softplus(e: Emit, x: Any) -> Any:
    rest = log1p(e, exp(e, negative(e, magnitude(e, x))))
    value = e.add(rest, select(e, "<", x, e.constant(0), e.constant(0), x))
    return select(e, ">", x, e.constant(20), x, value)  # as PyTorch, see `reference`


def _mish(e: Emit, x: Any) -> Any:
    """x tanh(log(1 + exp(x))), where tanh is (a^2 - 1) / (a^2 + 1) with a = 1 + exp(x)."""
    small = exp(e, negative(e, magnitude(e, x)))
    twice, square = e.add(small, small), e.multiply(small, small)
    below = e.add(square, twice)
    above = e.add(e.constant(1), twice)
    inside = select(e, "<", x, e.constant(0), below, above)
    rest = select(e, "<", x, e.constant(0), e.constant(2), e.add(square, square))
    return e.multiply(x, divide(e, inside, e.add(inside, rest)))


_apply_sigmoid = _vectorised(_sigmoid)
_apply_tanh = _vectorised(_tanh)
_apply_silu = _vectorised(lambda e, x: e.multiply(x, _sigmoid(e, x)))
_apply_gelu = _vectorised(lambda e, x: e.multiply(x, normal(e, x)))
_apply_elu = _vectorised(_elu)
_apply_softplus = _vectorised(_softplus)
_apply_mish = _vectorised(_mish)


@compiled
def _clip(x: Any, high: int) -> Any:
    """x within 0 .. high; comparisons are written so that NaN stays NaN."""
    return 0 * high if x < 0 else high if x > high else x


# Those that tiles make of sums in their registers.
CLIPS = {"relu": POSITIVE, "relu6": TO_SIX}


@compiled
def clipped(x: Any, clip: int) -> Any:
    """As `Emit.clipped`, of one number."""
    if clip == TO_SIX:
        return _clip(x, 6)
    return 0 if clip == POSITIVE and x < 0 else x


# The kernels work on `end` values from address `values` on, whole vectors of them.


@kernel
def relu(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """max(x, 0)"""
    for i in range(end):
        x = load(element, values, i)
        store(element, values, i, 0 if x < 0 else x)


@kernel
def relu6(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """min(max(x, 0), 6)"""
    for i in range(end):
        store(element, values, i, _clip(load(element, values, i), 6))


@float_kernel
def leaky_relu(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """x, 0.01 x where it is negative"""
    for i in range(end):
        x = load(element, values, i)
        store(element, values, i, x * 0.01 if x < 0 else x)


@float_kernel
def sigmoid(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """1 / (1 + exp(-x))"""
    _apply_sigmoid(element, values, end)


@float_kernel
def tanh(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """tanh(x)"""
    _apply_tanh(element, values, end)


@float_kernel
def silu(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """x / (1 + exp(-x))"""
    _apply_silu(element, values, end)


@float_kernel
def gelu(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """x (1 + erf(x / sqrt(2))) / 2"""
    _apply_gelu(element, values, end)


@float_kernel
def hardswish(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """x min(max(x + 3, 0), 6) / 6"""
    for i in range(end):
        x = load(element, values, i)
        store(element, values, i, x * _clip(x + 3, 6) / 6)


@float_kernel
def hardsigmoid(
    element: Any, values: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """min(max(x + 3, 0), 6) / 6"""
    for i in range(end):
        store(element, values, i, _clip(load(element, values, i) + 3, 6) / 6)


@float_kernel
def elu(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """x, exp(x) - 1 where it is negative"""
    _apply_elu(element, values, end)


@float_kernel
def softplus(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """log(1 + exp(x))"""
    _apply_softplus(element, values, end)


@float_kernel
def mish(element: Any, values: int, operands: int, begin: int, end: int, thread: int) -> None:
    """x tanh(log(1 + exp(x)))"""
    _apply_mish(element, values, end)


ACTIVATIONS: dict[str, Kernel] = {
    "relu": relu,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "silu": silu,
    "gelu": gelu,
    "hardswish": hardswish,
    "hardsigmoid": hardsigmoid,
    "elu": elu,
    "softplus": softplus,
    "mish": mish,
}
OF_INTEGERS = ("relu", "relu6")


def check_activation(op: str, name: Any, dtype: str) -> None:
    """ValueError for an unknown name, TypeError if `dtype` has it not."""
    check_choice(op, "activation", name, (None, *ACTIVATIONS))
    if name and dtype == "int64" and name not in OF_INTEGERS:
        raise TypeError(f"{op}: activation {name!r} of integers is not an integer")


def activation_address(name: str | None, dtype: str) -> int:
    """What a job says about an activation: the address of its kernel, 0 for none."""
    return 0 if name is None else ACTIVATIONS[name].address(dtype)
