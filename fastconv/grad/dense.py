"""The doors of the gradients of the dense layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import as_operand
from ..calls import ConvCall, calls
from ..device import cuda, on_device
from ..dtypes import result_dtype
from ..functional.dense import as_pixels, check_features, check_rows, from_pixels
from ..geometry import ConvGeometry
from ..remembered import key_of


def linear_input(weight: Any, grad_output: Any, *, threads: int | None = None) -> np.ndarray:
    """Gradient of `fastconv.linear` with respect to its input.

    Parameters
    ----------
    weight : array_like, shape (K, C)
    grad_output : array_like, shape (..., K)
    threads : int, optional
        As in `fastconv.conv2d`.

    Returns
    -------
    ndarray, shape (..., C)

    Raises
    ------
    ValueError, TypeError
        As `fastconv.linear`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.linear_input(np.array([[10., 1.], [5., 0.]]), np.array([[2., 3.]]))
    array([[35.,  2.]])
    """
    op = "linear_input"
    if type(grad_output) is not np.ndarray and on_device(grad_output):
        return cuda("functional").linear_input(op, weight, grad_output, threads)
    w, gradient = as_operand(op, "weight", weight), as_operand(op, "grad_output", grad_output)
    key = key_of(op, (), gradient, w)
    call = calls.get(key)
    shape = (*gradient.shape[:-1], *w.shape[-1:])
    if call is None:
        check_features(op, "grad_output", gradient, w.shape[::-1])
        dtype = result_dtype(op, ("grad_output", "weight"), gradient, w)
        if gradient.size == 0:
            return np.empty(shape, dtype)
        pixels = as_pixels(gradient)
        geometry = ConvGeometry.forward(op, 1, (1, shape[-1], pixels.shape[2]), (*w.shape, 1))
        call = calls.keep(key, ConvCall(op, "input_gradient", geometry, dtype, pixels))
    return from_pixels(call(as_pixels(gradient), w[:, :, None], threads=threads), shape)


def linear_weight(input: Any, grad_output: Any, *, threads: int | None = None) -> np.ndarray:
    """Gradient of `fastconv.linear` with respect to its weight.

    Parameters
    ----------
    input : array_like, shape (..., C)
    grad_output : array_like, shape (..., K)
    threads : int, optional
        As in `fastconv.conv2d`.

    Returns
    -------
    ndarray, shape (K, C)
        Summed over all rows; the same bits for any number of threads.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.linear`, and if the leading axes differ.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.linear_weight(np.array([[1., 2.], [3., 4.]]), np.array([[1.], [10.]]))
    array([[31., 42.]])
    """
    op = "linear_weight"
    if type(input) is not np.ndarray and on_device(input):
        return cuda("functional").linear_weight(op, input, grad_output, threads)
    x, gradient = as_operand(op, "input", input), as_operand(op, "grad_output", grad_output)
    key = key_of(op, (), x, gradient)
    call = calls.get(key)
    if call is None:
        check_rows(op, x, gradient)
        dtype = result_dtype(op, ("grad_output", "input"), gradient, x)
        shape = (gradient.shape[-1], x.shape[-1])
        if x.size == 0 or gradient.size == 0:
            return np.zeros(shape, dtype)
        pixels = as_pixels(x)
        geometry = ConvGeometry.forward(op, 1, pixels.shape, (*shape, 1))
        call = calls.keep(key, ConvCall(op, "weight_gradient", geometry, dtype, pixels))
    return call(as_pixels(x), as_pixels(gradient), threads=threads)[:, :, 0]
