"""The door of the dense layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Size
from ..arrays import as_operand, check_out
from ..calls import ConvCall, calls
from ..device import cuda, on_device
from ..dtypes import check_bias, result_dtype
from ..geometry import ConvGeometry
from ..remembered import key_of


def linear(
    input: Any,
    weight: Any,
    bias: Any = None,
    *,
    activation: str | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Dense layer: ``out[..., k] = bias[k] + sum over c of weight[k, c] * input[..., c]``.

    It is a convolution with a kernel of one cell whose pixels are the rows of `input`, and runs as
    one: a BLAS library would bring threads of its own, which wait for the same cores.

    Parameters
    ----------
    input : array_like, shape (..., C)
    weight : array_like, shape (K, C)
    bias : array_like, shape (K,), optional
    activation, out, threads
        As in `fastconv.conv2d`.

    Returns
    -------
    ndarray, shape (..., K)
        Dtype as of `fastconv.conv2d`.

    Raises
    ------
    ValueError
        If the last axes differ, an axis of features is empty, or `out` does not fit.
    TypeError
        If a dtype is not supported, or integers meet floating-point numbers.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[1, 2], [3, 4]], np.float32)
    >>> fastconv.linear(x, np.array([[10, 1]], np.float32), np.array([0.5], np.float32))
    array([[12.5],
           [34.5]], dtype=float32)
    """
    op = "linear"
    if type(input) is not np.ndarray and on_device(input):
        return cuda("functional").linear(op, input, weight, bias, activation, out, threads)
    x, w = as_operand(op, "input", input), as_operand(op, "weight", weight)
    b = None if bias is None else as_operand(op, "bias", bias)
    key = key_of(op, (activation,), x, w, b)
    call = calls.get(key)
    if call is None:
        check_features(op, "input", x, w.shape)
        dtype = result_dtype(op, ("input", "weight"), x, w)
        if b is not None:
            check_bias(op, b, dtype, len(w))
        if x.size == 0:
            return _nothing(op, (*x.shape[:-1], len(w)), dtype, out)
        pixels = as_pixels(x)
        geometry = ConvGeometry.forward(op, 1, pixels.shape, (*w.shape, 1))
        call = calls.keep(key, ConvCall(op, "forward", geometry, dtype, pixels, activation))
    shape = (*x.shape[:-1], len(w))
    if out is None:
        return from_pixels(call(as_pixels(x), w[:, :, None], b, None, threads), shape)
    check_out(op, out, shape, call.dtype, x, w, b)
    if out.flags.c_contiguous:
        call(as_pixels(x), w[:, :, None], b, as_pixels(out), threads)
    else:
        out[...] = from_pixels(call(as_pixels(x), w[:, :, None], b, None, threads), shape)
    return out


def _nothing(op: str, shape: Size, dtype: np.dtype, out: Any) -> np.ndarray:
    """The result for no rows."""
    if out is None:
        return np.empty(shape, dtype)
    check_out(op, out, shape, dtype)
    return out


def check_features(op: str, name: str, x: np.ndarray, weight_shape: Size) -> None:
    """Refuse what is not (..., C) and (K, C)."""
    if len(weight_shape) != 2 or min(weight_shape) < 1:
        raise ValueError(f"{op}: weight must have a shape (K, C), not {weight_shape}")
    if x.ndim < 1 or x.shape[-1] != weight_shape[1]:
        raise ValueError(
            f"{op}: {name} of shape {x.shape} must have {weight_shape[1]} features on its last "
            f"axis, for a weight of shape {weight_shape}"
        )


def check_rows(op: str, x: np.ndarray, gradient: np.ndarray) -> None:
    """Refuse what is not (..., C) and (..., K) with the same leading axes."""
    if x.ndim < 1 or x.ndim != gradient.ndim or x.shape[:-1] != gradient.shape[:-1]:
        raise ValueError(
            f"{op}: grad_output of shape {gradient.shape} has not the leading axes of input, of "
            f"shape {x.shape}"
        )
    if x.shape[-1] < 1 or gradient.shape[-1] < 1:
        raise ValueError(
            f"{op}: input of shape {x.shape} and grad_output of shape {gradient.shape} must have "
            "features on their last axes"
        )


def as_pixels(rows: np.ndarray) -> np.ndarray:
    """(..., C) as one channels-last signal (1, C, number of rows)."""
    return rows.reshape(-1, rows.shape[-1]).T[None]


def from_pixels(signal: np.ndarray, shape: Size) -> np.ndarray:
    """The inverse of `as_pixels`."""
    return signal[0].T.reshape(shape)
