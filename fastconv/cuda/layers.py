"""What the layers of `fastconv.nn` do with arrays on the device."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import activation
from .arrays import DeviceArray, empty, empty_like, is_channels_last, memory_order
from .elementwise import run
from .reductions import _squared_distance as squared_distance
from .reductions import channel_sums

# --- Activations ---


def _leaky(x: Any, slope: Any) -> Any:
    return x * slope if x < 0 else x


def _leaky_slope(x: Any, slope: Any) -> Any:
    return x - x + 1 if x > 0 else slope


def _gelu_tanh(x: Any, root: Any) -> Any:
    return x / 2 * (1 + math.tanh(root * (x + x * x * x * 44715 / 1000000)))


def _gelu_tanh_slope(x: Any, root: Any) -> Any:
    t = math.tanh(root * (x + x * x * x * 44715 / 1000000))
    inner = root * (1 + x * x * 134145 / 1000000)
    return (1 + t) / 2 + x * (1 - t * t) * inner / 2


# Functions of the value and a number.
PARAMETRIC = {
    "leaky_relu": (_leaky, _leaky_slope),
    "gelu_tanh": (_gelu_tanh, _gelu_tanh_slope),
}


@functools.cache
def _functions(name: str, compute: str) -> tuple[Callable, Callable]:
    """An activation of (x, number), and the gradient's function of (g, x, number)."""
    if name in PARAMETRIC:
        value, slope = PARAMETRIC[name]
        value, inner = activation.device(value), activation.device(slope)
        return value, lambda g, x, number: g * inner(x, number)
    plain, slope = map(activation.device, activation.formulas(compute)[name])
    return lambda x, number: plain(x), lambda g, x, number: g * slope(x)


def activate(name: str, number: float, x: DeviceArray) -> DeviceArray:
    """An activation of every element."""
    value, _ = _functions(name, activation.COMPUTE[x.dtype.name])
    return run(name, value, empty_like(x), x, number)


def activate_input(name: str, number: float, gradient: DeviceArray, x: DeviceArray) -> DeviceArray:
    """The gradient of an activation of `x`."""
    _, slope = _functions(name, activation.COMPUTE[x.dtype.name])
    return run(f"{name}_gradient", slope, empty_like(x), gradient, x, number)


# --- Batch normalisation ---


def _normalised(x: Any, mean: Any, factor: Any, bias: Any) -> Any:
    return (x - mean) * factor + bias


def _scale(variance: Any, eps: Any) -> Any:
    return 1 / math.sqrt(variance + eps)


def _moment(g: Any, x: Any, mean: Any, scale: Any) -> Any:
    return g * ((x - mean) * scale)


def _input_gradient(
    g: Any, x: Any, mean: Any, scale: Any, factor: Any, total: Any, moment: Any
) -> Any:
    return factor * (g - total - (x - mean) * scale * moment)


def _spread(values: DeviceArray, x: DeviceArray) -> DeviceArray:
    """Values of the channels, (C,), in a shape that goes with `x`."""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def batch_norm(layer: Any, x: DeviceArray) -> tuple[DeviceArray, tuple[Any, ...]]:
    """The output of a batch normalisation, and what its backward needs."""
    own = layer.running_mean is None or (layer.training and not layer.frozen)
    if own:
        mean, variance = _statistics(layer, x)
    else:
        mean, variance = layer.running_mean, layer.running_var
    scale = run("scale", _scale, empty_like(variance), variance, layer.eps)
    if layer.weight is None:
        factor, bias = scale, scale * 0
    else:
        factor, bias = scale * layer.weight.data, layer.bias.data
    given = (_spread(of, x) for of in (mean, factor, bias))
    output = run("normalise", _normalised, empty_like(x), x, *given)
    return output, (x, mean, scale, factor, own)


def _statistics(layer: Any, x: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """Mean and variance in float64; in training the running statistics move."""
    count = x.size // layer.num_features
    if count < 2:
        raise ValueError(
            f"{type(layer).__name__}: needs at least 2 values per channel to normalise by, not "
            f"{count} from an input of shape {x.shape}"
        )
    mean = channel_sums(x) / count
    variance = channel_sums(x, squared_distance, mean) / count
    if layer.training and layer.running_mean is not None:
        layer.num_batches_tracked += 1
        share = layer.momentum
        if share is None:  # the plain average of all batches so far
            share = 1 / int(layer.num_batches_tracked)
        for running, new in (
            (layer.running_mean, mean),
            (layer.running_var, variance * (count / (count - 1))),
        ):
            running[...] = running + (new - running) * share
    return mean, variance


def batch_norm_input(
    layer: Any, gradient: DeviceArray, kept: tuple[Any, ...], input_gradient: bool
) -> DeviceArray | None:
    """dL/dx, the gradients of weight and bias added to theirs."""
    x, mean, scale, factor, own = kept
    wide = [_spread(of, x) for of in (mean, scale, factor)]
    total = channel_sums(gradient)
    moment = channel_sums(run("moment", _moment, empty_like(x), gradient, x, *wide[:2]))
    if layer.weight is not None:
        layer.weight.add_gradient(moment.astype(layer.dtype))
        layer.bias.add_gradient(total.astype(layer.dtype))
    if not input_gradient:
        return None
    count = x.size // layer.num_features
    share = 1 / count if own else 0.0  # running statistics do not depend on x
    means = [_spread(of * share, x) for of in (total, moment)]
    return run("normalise_input", _input_gradient, empty_like(x), gradient, x, *wide, *means)


# --- Joining ---


def concatenate(parts: Sequence[DeviceArray]) -> DeviceArray:
    """Arrays side by side along the channel axis."""
    first = parts[0]
    channels = [part.shape[1] for part in parts]
    shape = (first.shape[0], sum(channels), *first.shape[2:])
    last = first.ndim in (3, 4, 5) and memory_order(first) is not None and is_channels_last(first)
    joined = empty(shape, first.dtype, last)
    start = 0
    for part, count in zip(parts, channels):
        joined[:, start : start + count] = part
        start += count
    return joined


def dropped(kept: np.ndarray, x: DeviceArray) -> DeviceArray:
    """The factors of a dropout, drawn on the host, in the memory order of `x`."""
    from .arrays import to_device

    factors = empty_like(x)
    factors[...] = to_device("Dropout", "factors", kept)
    return factors
