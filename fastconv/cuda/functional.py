"""The doors' work where the first operand lies on the device: geometry and dtype, then the engine.

Each function has the arguments that its door has gathered, and checks them by the same geometries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Pairs, Size, as_shape, as_threads
from ..device import on_device
from ..dtypes import check_bias, result_dtype
from ..functional.convolution import FORWARD, TRANSPOSED
from ..functional.dense import check_features, check_rows
from ..geometry import ConvGeometry
from . import convolution, folding
from .arrays import DeviceArray, as_operand, check_out, empty, zeros


def operand(op: str, name: str, value: Any) -> Any:
    """An operand beside one on the device: it must be there too."""
    if not on_device(value):
        raise TypeError(
            f"{op}: {name} is on the host and the other operand on the device; copy one of them, "
            "with fastconv.to_device or copy_to_host()"
        )
    return as_operand(op, name, value)


def _bias(op: str, bias: Any, dtype: np.dtype, channels: int) -> Any:
    """The bias in the result's dtype, checked; None if there is none."""
    if bias is None:
        return None
    b = operand(op, "bias", bias)
    check_bias(op, b, dtype, channels)
    return b.astype(dtype, copy=False)


def convolve(
    op: str,
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
    transposed: bool,
    epilogue: Any = None,
    epilogue_args: Any = (),
) -> Any:
    """A convolution; `options` as its door's, then activation and algorithm."""
    x, w = operand(op, "input", input), operand(op, "weight", weight)
    *geometry_options, activation, algorithm = options
    names = TRANSPOSED if transposed else FORWARD
    make = ConvGeometry.transposed if transposed else ConvGeometry.forward
    geometry = make(op, rank, x.shape, w.shape, **dict(zip(names, geometry_options)))
    dtype = result_dtype(op, ("input", "weight"), x, w)
    b = _bias(op, bias, dtype, geometry.in_channels if transposed else geometry.out_channels)
    as_threads(op, threads)
    operation = "input_gradient" if transposed else "forward"
    choice = {"activation": activation, "algorithm": algorithm, "out": out}
    choice |= {"epilogue": epilogue, "epilogue_args": epilogue_args}
    return convolution.run(op, operation, geometry, dtype, x, w, b, **choice)


def _forward(
    op: str, rank: int, input_shape: Any, weight_shape: Any, gradient: Any, options: Any
) -> ConvGeometry:
    """The forward problem, whose output has the shape of the gradient."""
    named = dict(zip(FORWARD, options))
    geometry = ConvGeometry.forward(op, rank, input_shape, weight_shape, **named)
    expected = geometry.output_shape if geometry.batched else geometry.output_shape[1:]
    if gradient.shape != expected:
        raise ValueError(
            f"{op}: grad_output has shape {gradient.shape}, the output of this convolution has "
            f"{expected}"
        )
    return geometry


def conv_input(
    op: str,
    rank: int,
    input_size: Any,
    weight: Any,
    grad_output: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
) -> Any:
    """The input gradient for `options` as in `FORWARD`, then the algorithm."""
    w, gradient = operand(op, "weight", weight), operand(op, "grad_output", grad_output)
    shape = as_shape(op, "input_size", input_size)
    geometry = _forward(op, rank, shape, w.shape, gradient, options)
    dtype = result_dtype(op, ("grad_output", "weight"), gradient, w)
    as_threads(op, threads)
    choice = {"algorithm": options[-1], "out": out}
    return convolution.run(op, "input_gradient", geometry, dtype, gradient, w, **choice)


def conv_weight(
    op: str,
    rank: int,
    input: Any,
    weight_size: Any,
    grad_output: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
) -> Any:
    """The weight gradient for `options` as in `FORWARD`, then the algorithm."""
    x, gradient = operand(op, "input", input), operand(op, "grad_output", grad_output)
    shape = as_shape(op, "weight_size", weight_size)
    geometry = _forward(op, rank, x.shape, shape, gradient, options)
    dtype = result_dtype(op, ("grad_output", "input"), gradient, x)
    as_threads(op, threads)
    dy = gradient if geometry.batched else gradient[None]
    choice = {"algorithm": options[-1], "out": out}
    return convolution.run(op, "weight_gradient", geometry, dtype, x, dy, **choice)


def conv_bias(op: str, rank: int, grad_output: Any) -> DeviceArray:
    """The bias gradient: sums over images and positions."""
    gradient = as_operand(op, "grad_output", grad_output)
    if gradient.ndim not in (rank + 1, rank + 2):
        raise ValueError(
            f"{op}: grad_output must have {rank + 2} dimensions (N, K, *spatial) or {rank + 1} "
            f"without the batch, not shape {gradient.shape}"
        )
    channel = gradient.ndim - rank - 1
    axes = tuple(a for a in range(gradient.ndim) if a != channel)
    return gradient.sum(axis=axes)


# --- Dense layers ---


def _as_pixels(rows: DeviceArray) -> DeviceArray:
    """(..., C) as one channels-last signal (1, C, number of rows)."""
    return rows.reshape(-1, rows.shape[-1]).T[None]


def linear(
    op: str, x: Any, weight: Any, bias: Any, activation: str | None, out: Any, threads: Any
) -> Any:
    """As `fastconv.linear`."""
    x, w = operand(op, "input", x), operand(op, "weight", weight)
    check_features(op, "input", x, w.shape)
    as_threads(op, threads)
    dtype = result_dtype(op, ("input", "weight"), x, w)
    b = _bias(op, bias, dtype, len(w))
    shape = (*x.shape[:-1], len(w))
    target = _target(op, out, shape, dtype, x, w, b)
    if not x.size:
        return empty(shape, dtype) if out is None else out
    pixels, kernel = _as_pixels(x), w[:, :, None]
    geometry = ConvGeometry.forward(op, 1, pixels.shape, kernel.shape)
    y = convolution.run(op, "forward", geometry, dtype, pixels, kernel, b, activation=activation)
    return _stored(y[0].T.reshape(shape), target, out)


def linear_input(op: str, weight: Any, grad_output: Any, threads: Any) -> DeviceArray:
    """The input gradient of `linear`."""
    w, gradient = operand(op, "weight", weight), operand(op, "grad_output", grad_output)
    as_threads(op, threads)
    check_features(op, "grad_output", gradient, w.shape[::-1])
    dtype = result_dtype(op, ("grad_output", "weight"), gradient, w)
    shape = (*gradient.shape[:-1], w.shape[1])
    if not gradient.size:
        return empty(shape, dtype)
    pixels, kernel = _as_pixels(gradient), w[:, :, None]
    geometry = ConvGeometry.forward(op, 1, (1, w.shape[1], pixels.shape[2]), kernel.shape)
    y = convolution.run(op, "input_gradient", geometry, dtype, pixels, kernel)
    return y[0].T.reshape(shape)


def linear_weight(op: str, input: Any, grad_output: Any, threads: Any) -> DeviceArray:
    """The weight gradient of `linear`."""
    x, gradient = operand(op, "input", input), operand(op, "grad_output", grad_output)
    check_rows(op, x, gradient)
    as_threads(op, threads)
    dtype = result_dtype(op, ("grad_output", "input"), gradient, x)
    shape = (gradient.shape[-1], x.shape[-1])
    if not (x.size and gradient.size):
        return zeros(shape, dtype)
    pixels = _as_pixels(x)
    geometry = ConvGeometry.forward(op, 1, pixels.shape, (*shape, 1))
    dy = _as_pixels(gradient)
    return convolution.run(op, "weight_gradient", geometry, dtype, pixels, dy)[:, :, 0]


# --- Columns and borders ---


def unfold(op: str, geometry: ConvGeometry, x: DeviceArray, shape: Size, out: Any) -> Any:
    """The columns of `x`, which has a batch axis if the geometry is batched."""
    target = _target(op, out, shape, x.dtype, x)
    columns = folding.unfold(geometry, x if geometry.batched else x[None])
    return _stored(columns if geometry.batched else columns[0], target, out)


def fold(op: str, geometry: ConvGeometry, columns: DeviceArray, shape: Size, out: Any) -> Any:
    """The image that columns are summed to."""
    target, lone = _target(op, out, shape, columns.dtype, columns), not geometry.batched
    image = folding.fold(geometry, columns[None] if lone else columns)
    return _stored(image[0] if lone else image, target, out)


def pad(op: str, x: DeviceArray, pairs: Pairs, mode: str, value: Any, out: Any) -> Any:
    """`x` with borders."""
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, pairs))
    target = _target(op, out, shape, x.dtype, x)
    return _stored(folding.pad(x, pairs, mode, value), target, out)


def pad_input(op: str, gradient: DeviceArray, pairs: Pairs, mode: str, out: Any) -> Any:
    """The gradient of `pad`."""
    shape = tuple(size - sum(pair) for size, pair in zip(gradient.shape, pairs))
    target = _target(op, out, shape, gradient.dtype, gradient)
    return _stored(folding.pad_input(gradient, pairs, mode), target, out)


# --- Into `out` ---


def _target(op: str, out: Any, shape: Size, dtype: np.dtype, *inputs: Any) -> DeviceArray | None:
    """`out`, checked before anything runs, or None if there is none."""
    return None if out is None else check_out(op, out, shape, dtype, *inputs)


def _stored(found: DeviceArray, target: DeviceArray | None, out: Any) -> Any:
    """`found`, or `out` with its values."""
    if target is None:
        return found
    target[...] = found
    return out
