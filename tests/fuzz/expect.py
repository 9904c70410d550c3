"""What each door should give: the reference's answer, within the bounds of its rounding."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from conv_cases import ROUNDING

from fastconv import reference
from fastconv.arguments import as_sizes
from fastconv.choose import plan_conv
from fastconv.geometry import AdaptiveGeometry, ConvGeometry, PoolGeometry

from .bounds import (
    Expected,
    Unjudged,
    array_of,
    common_dtype,
    exact,
    loosely,
    rounded,
    unit,
    wide,
)
from .epilogues import SLOPES
from .operands import Operand

Arguments = dict[str, Any]
GEOMETRY = ("stride", "padding", "dilation", "groups", "padding_mode", "output_padding")


def _lift(x: np.ndarray, batched: bool) -> np.ndarray:
    return x if batched else x[None]


# --- Convolution ---


def _operation(geometry: ConvGeometry, operation: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if operation == "forward":
        return reference.conv(geometry, a, b)
    if operation == "input_gradient":
        return reference.conv_input(geometry, b, a)
    return reference.conv_weight(geometry, a, b)


def _sums(
    geometry: ConvGeometry, operation: str, source: Any, other: Any, given: Arguments
) -> Expected:
    """One of the three operations, with bias and activation, and the bound of its error."""
    lone = not geometry.batched
    a, b = wide(source), wide(other)
    a = a[None] if lone else a
    if operation == "weight_gradient" and lone:
        b = b[None]
    dtype = common_dtype(source, other)
    with np.errstate(all="ignore"):
        values = _operation(geometry, operation, a, b)
    bias = given.get("bias")
    if bias is not None:
        values = values + wide(bias).reshape(-1, *(1,) * (values.ndim - 2))
    algorithm, activation = given.get("algorithm", "auto"), given.get("activation")
    error: Any = 0
    spreads = False
    if dtype.kind in "fc":
        decision, _ = plan_conv(
            "fuzz",
            geometry,
            dtype,
            operation,
            activation,
            algorithm,
            packed="x" in given,
            channels_last=_last(source, given),
        )
        factor = ROUNDING.get(decision.algorithm)
        spreads = factor is not None and not np.isfinite(a).all()
        if factor is not None or not exact(source, other):
            terms = _operation(geometry, operation, abs(a), abs(b))
            if bias is not None:
                terms = terms + abs(wide(bias)).reshape(-1, *(1,) * (values.ndim - 2))
            if factor is None:
                error = (_count(geometry, operation) + 4) * unit(dtype) * terms
            else:
                scale = terms[np.isfinite(terms)].max(initial=0)
                if decision.algorithm == "fourier":  # every product of a tile rounds all of it
                    products = _largest(a) * _largest(b)
                    scale = max(scale, math.sqrt(_count(geometry, operation)) * products)
                # Half as much again for machines that cannot fuse multiply-adds.
                error = 1.5 * factor * 2 * unit(dtype) * scale + 0 * terms
    if lone and operation != "weight_gradient":
        values, error = values[0], error[0] if np.ndim(error) else error
    epilogue = given.get("epilogue")
    if epilogue is not None:
        arguments, slope = given.get("epilogue_args", ()), SLOPES[epilogue]
        if np.any(error):  # what the function itself rounds
            most = 1 + sum(_largest(wide(x)) for x in arguments)
            error = slope * error + 4 * unit(dtype) * (slope * abs(values) + most)
        values = _after(epilogue, values, arguments, not lone)
    return Expected(values, dtype, error, activation, spreads)


def _after(epilogue: Any, sums: np.ndarray, arguments: Any, axis: int) -> np.ndarray:
    """A function of each sum, and of numbers of each channel, which are on an axis, or cell."""
    shape = (-1, *(1,) * (sums.ndim - axis - 1))
    others = [
        wide(x).reshape(shape if np.ndim(array_of(x)) == 1 < sums.ndim else sums.shape)
        for x in arguments
    ]
    return np.vectorize(epilogue.py_func, otypes=[sums.dtype])(sums, *others)


def _largest(x: np.ndarray) -> float:
    return float(abs(x[np.isfinite(x)]).max(initial=0))


def _last(source: Any, given: Arguments) -> bool:
    from fastconv.arrays import is_channels_last

    if "x" in given:
        return given.get("memory_format") == "channels_last"
    x = np.asarray(source.array if isinstance(source, Operand) else source)
    rank = len(given["_geometry"].kernel_size)
    return is_channels_last(x[None] if x.ndim == rank + 1 else x)


def _count(geometry: ConvGeometry, operation: str) -> int:
    """More terms than any sum of the operation has, complex products counted fourfold."""
    taps = math.prod(geometry.kernel_size)
    if operation == "forward":
        return 4 * geometry.in_channels // geometry.groups * taps
    if operation == "input_gradient":
        return 4 * geometry.out_channels // geometry.groups * taps * 3**geometry.rank
    return 4 * geometry.batch * math.prod(geometry.out_size)


def _options(given: Arguments) -> Arguments:
    return {name: given[name] for name in GEOMETRY if name in given}


def _shape(value: Any) -> tuple[int, ...]:
    return array_of(value).shape


def _conv(rank: int, given: Arguments) -> Expected:
    x, w = given["input"], given["weight"]
    g = ConvGeometry.forward("fuzz", rank, _shape(x), _shape(w), **_options(given))
    return _sums(g, "forward", x, w, {**given, "_geometry": g})


def _plan(given: Arguments) -> Expected:
    w = given["weight"]
    rank = len(_shape(w)) - 2
    g = ConvGeometry.forward("fuzz", rank, given["input_shape"], _shape(w), **_options(given))
    if _shape(given["x"]) != g.input_shape[not g.batched :]:
        raise ValueError("x")
    found = _sums(g, "forward", given["x"], w, given)
    return found._replace(dtype=common_dtype(w))


def _transposed(rank: int, given: Arguments) -> Expected:
    x, w = given["input"], given["weight"]
    g = ConvGeometry.transposed("fuzz", rank, _shape(x), _shape(w), **_options(given))
    return _sums(g, "input_gradient", x, w, {**given, "_geometry": g})


def _conv_input(rank: int, given: Arguments) -> Expected:
    w, dy = given["weight"], given["grad_output"]
    g = ConvGeometry.forward("fuzz", rank, given["input_size"], _shape(w), **_options(given))
    return _sums(g, "input_gradient", dy, w, {**given, "_geometry": g})


def _conv_weight(rank: int, given: Arguments) -> Expected:
    x, dy = given["input"], given["grad_output"]
    g = ConvGeometry.forward("fuzz", rank, _shape(x), given["weight_size"], **_options(given))
    return _sums(g, "weight_gradient", x, dy, {**given, "_geometry": g})


def _conv_bias(rank: int, given: Arguments) -> Expected:
    dy = given["grad_output"]
    x, dtype = wide(dy), common_dtype(dy)
    x = x[None] if x.ndim == rank + 1 else x
    axes = tuple(a for a in range(x.ndim) if a != 1)
    count = x.size // max(x.shape[1], 1)
    error = 0.0
    if not exact(dy):
        error = count * 2 * unit(dtype) * abs(x).sum(axis=axes)
    return Expected(x.sum(axis=axes), dtype, error)


# --- Pooling ---


def _pooling(rank: int, shape: Any, given: Arguments) -> Any:
    if "output_size" in given:
        return AdaptiveGeometry.adaptive("fuzz", rank, shape, given["output_size"])
    names = ("stride", "padding", "dilation", "ceil_mode")
    options = {name: given[name] for name in names if name in given}
    return PoolGeometry.sliding("fuzz", rank, shape, given["kernel_size"], **options)


def _pool(kind: str, rank: int, given: Arguments) -> Any:
    operand = given["input"]
    g = _pooling(rank, _shape(operand), given)
    x, dtype = _lift(wide(operand), g.batched), common_dtype(operand)
    with np.errstate(all="ignore"):
        if "max" in kind:
            if dtype == np.uint64:
                x = x.view(np.uint64)
            values, indices = (y if g.batched else y[0] for y in reference.max_pool(g, x))
            first = Expected(values, dtype)
            if given.get("return_indices"):
                return first, Expected(indices, np.dtype(np.int64))
            return first
        if kind == "lp":
            norm = float(given["norm_type"])
            if norm == math.inf:
                values = reference.max_pool(g, abs(x))[0]
            else:
                values = reference.lp_pool(g, x, norm)
            return loosely(values if g.batched else values[0], dtype)
        settings = (given.get("count_include_pad", True), given.get("divisor_override"))
        if "adaptive" in kind:
            settings = (False, None)
        values = reference.avg_pool(g, x, *settings)
        scale = reference.avg_pool(g, abs(x), *settings)
    if not g.batched:
        values, scale = values[0], scale[0]
    return loosely(values, dtype, scale)


def _pool_gradient(kind: str, rank: int, given: Arguments) -> Expected:
    operand = given["grad_output"]
    dy, dtype = wide(operand), common_dtype(operand)
    if "max" in kind:
        shape = given["input_size"]
        batched = len(shape) == rank + 2
        places = wide(given["indices"])
        values = reference.max_pool_input(_lift(dy, batched), _lift(places, batched), shape[-rank:])
        values = values if batched else values[0]
        return rounded(values, dtype, operand)
    shape = given["input_size"] if kind != "lp" else _shape(given["input"])
    if kind == "adaptive_avg":
        g = AdaptiveGeometry.adaptive("fuzz", rank, shape, dy.shape[-rank:])
        settings: tuple[Any, ...] = (False, None)
    else:
        g = _pooling(rank, shape, given)
        settings = (given.get("count_include_pad", True), given.get("divisor_override"))
    gradient = _lift(dy, g.batched)
    if kind == "lp":
        x, y = (_lift(wide(given[name]), g.batched) for name in ("input", "output"))
        terms = np.where(y == 0, 0, gradient)
        norm, safe = float(given["norm_type"]), np.where(y == 0, 1, y)
        if norm == math.inf or norm > 1e3:  # whose powers are beyond all numbers
            raise Unjudged
        dtype = common_dtype(operand, given["input"], given["output"])
        values = reference.lp_pool_input(g, x, safe, terms, norm)
        scale = reference.lp_pool_input(g, abs(x), abs(safe), abs(terms), norm)
    else:
        values = reference.avg_pool_input(g, gradient, *settings)
        scale = reference.avg_pool_input(g, abs(gradient), *settings)
    if not g.batched:
        values, scale = values[0], scale[0]
    return loosely(values, dtype, 4 * scale)


def _unpool(rank: int, given: Arguments) -> Expected:
    operand = given["input"]
    x, places = wide(operand), wide(given["indices"])
    batched = x.ndim == rank + 2
    size = given.get("output_size")
    if size is None:
        kernel, stride = given["kernel_size"], given.get("stride")
        weight = (1, 1, *as_sizes("fuzz", "kernel_size", kernel, rank, at_least=1))
        stride = weight[2:] if stride is None else stride
        whole = (*([1, 1] if batched else [1]), *x.shape[-rank:])
        padding = given.get("padding", 0)
        g = ConvGeometry.transposed("fuzz", rank, whole, weight, stride=stride, padding=padding)
        size = g.in_size
    values = reference.max_unpool(_lift(x, batched), _lift(places, batched), tuple(size)[-rank:])
    return Expected(values if batched else values[0], common_dtype(operand))


def _unpool_gradient(rank: int, given: Arguments) -> Expected:
    operand = given["grad_output"]
    dy, places = wide(operand), wide(given["indices"])
    lead = dy.shape[:-rank]
    flat = dy.reshape(*lead, math.prod(dy.shape[-rank:]))
    chosen = places.reshape(*lead, math.prod(places.shape[-rank:]))
    values = np.take_along_axis(flat, chosen, axis=-1).reshape(places.shape)
    return Expected(values, common_dtype(operand))


# --- Columns, borders, matrices ---


def _sizes(value: Any) -> tuple[int, ...]:
    return tuple(map(operator.index, value if np.iterable(value) else (value,)))


def _unfold(given: Arguments) -> Expected:
    operand = given["input"]
    size, x = given["kernel_size"], wide(operand)
    kernel = _sizes(size) if np.iterable(size) else (size, size)
    rank = len(kernel)
    weight = (1, x.shape[-rank - 1], *kernel)
    g = ConvGeometry.forward("fuzz", rank, x.shape, weight, **_options(given))
    values = reference.unfold(g, _lift(x, g.batched))
    return Expected(values if g.batched else values[0], common_dtype(operand))


def _fold(given: Arguments) -> Expected:
    operand = given["input"]
    size, kernel = _sizes(given["output_size"]), _sizes(given["kernel_size"])
    rank = max(len(size), len(kernel))
    if not any(map(np.iterable, (given["output_size"], given["kernel_size"]))):
        rank = 2
    size, kernel = (n if len(n) == rank else n * rank for n in (size, kernel))
    x, dtype = wide(operand), common_dtype(operand)
    channels = x.shape[-2] // math.prod(kernel)
    shape = (*x.shape[:-2], channels, *size)
    g = ConvGeometry.forward("fuzz", len(kernel), shape, (1, channels, *kernel), **_options(given))
    values = reference.fold(g, _lift(x, g.batched))
    return rounded(values if g.batched else values[0], dtype, operand)


def _pairs(pad: Any, rank: int) -> tuple[tuple[int, int], ...]:
    numbers = tuple(pad)
    pairs = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)][::-1]
    return ((0, 0),) * (rank - len(pairs)) + tuple(pairs)


def _pad(given: Arguments, gradient: bool) -> Expected:
    operand = given["grad_output" if gradient else "input"]
    x, mode = wide(operand)[None, None], given.get("mode", "constant")
    if x.size == 0:
        raise Unjudged
    mode = "zeros" if mode == "constant" else mode
    pairs = _pairs(given["pad"], x.ndim - 2)
    if gradient:
        values = reference.pad_gradient(x, pairs, mode)
        return rounded(values[0, 0], common_dtype(operand), operand)
    return Expected(
        reference.pad(x, pairs, mode, given.get("value") or 0)[0, 0], common_dtype(operand)
    )


def _dense(kind: str, given: Arguments) -> Expected:
    names = {
        "linear": ("input", "weight"),
        "linear_input": ("grad_output", "weight"),
        "linear_weight": ("input", "grad_output"),
    }[kind]
    one, two = (given[name] for name in names)
    a, b, dtype = wide(one), wide(two), common_dtype(one, two)

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if kind == "linear":
            return reference.linear(a, b)
        if kind == "linear_input":
            return np.einsum("...k,kc->...c", a, b)
        rows, terms = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
        return np.einsum("nc,nk->kc", rows, terms)

    values = product(a, b)
    bias = given.get("bias")
    if bias is not None:
        values = values + wide(bias)
    error: Any = 0
    if not exact(one, two):
        terms = product(abs(a), abs(b)) + (0 if bias is None else abs(wide(bias)))
        error = 4 * (a.size + 4) * unit(dtype) * terms
    return Expected(values, dtype, error)


def expected(door: str, given: Arguments) -> Any:
    """What the door should return; raises whatever if the arguments make no sense."""
    try:
        with np.errstate(all="ignore"):
            return _expected(door, given)
    except MemoryError as error:
        raise Unjudged from error


def _expected(door: str, given: Arguments) -> Any:
    name = door.removeprefix("grad.")
    gradient = name != door
    rank = next((int(name[i - 1]) for i in range(len(name), 0, -1) if name[i - 1].isdigit()), 0)
    kind = name.split("_pool")[0]
    plain: dict[str, Callable[[], Any]] = {
        "plan": lambda: _plan(given),
        "unfold": lambda: _unfold(given),
        "fold": lambda: _fold(given),
        "pad": lambda: _pad(given, gradient),
    }
    if name in plain:
        return plain[name]()
    if name.startswith("linear"):
        return _dense(name, given)
    if name.startswith("conv_transpose"):
        return _transposed(rank, given)
    if name.startswith("conv"):
        ends = {"_input": _conv_input, "_weight": _conv_weight, "_bias": _conv_bias}
        return next((f for end, f in ends.items() if name.endswith(end)), _conv)(rank, given)
    if name.startswith("max_unpool"):
        return (_unpool_gradient if gradient else _unpool)(rank, given)
    return (_pool_gradient if gradient else _pool)(kind, rank, given)
