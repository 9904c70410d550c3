"""The doors of the gradients of the dense layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import as_operand
from ..dtypes import result_dtype
from ..functional.convolution import forward_geometry, run
from ..functional.dense import as_pixels, check_features, from_pixels


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
    w, gradient = as_operand(op, "weight", weight), as_operand(op, "grad_output", grad_output)
    check_features(op, "grad_output", gradient, w.shape[::-1])
    dtype = result_dtype(op, ("grad_output", "weight"), gradient, w)
    shape = (*gradient.shape[:-1], w.shape[1])
    if gradient.size == 0:
        return np.empty(shape, dtype)
    pixels, kernel = as_pixels(gradient), w[:, :, None]
    geometry = forward_geometry(op, 1, (1, w.shape[1], pixels.shape[2]), kernel.shape)
    result = run(op, "input_gradient", geometry, dtype, pixels, kernel, threads=threads)
    return from_pixels(result, shape)


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
    x, gradient = as_operand(op, "input", input), as_operand(op, "grad_output", grad_output)
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
    dtype = result_dtype(op, ("grad_output", "input"), gradient, x)
    shape = (gradient.shape[-1], x.shape[-1])
    if x.size == 0 or gradient.size == 0:
        return np.zeros(shape, dtype)
    pixels = as_pixels(x)
    geometry = forward_geometry(op, 1, pixels.shape, (*shape, 1))
    dy = as_pixels(gradient)
    return run(op, "weight_gradient", geometry, dtype, pixels, dy, threads=threads)[:, :, 0]
