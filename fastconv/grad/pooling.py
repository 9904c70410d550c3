"""The doors of the gradients of pooling over sliding windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import pooling
from ..arguments import as_flag, as_shape, as_threads
from ..arrays import as_operand
from ..functional.adaptive import adaptive
from ..functional.pooling import as_divisor, sliding
from ..geometry import AdaptiveGeometry


def _bins(op: str, rank: int, gradient: np.ndarray, input_size: Any) -> AdaptiveGeometry:
    """Any pooling of `input_size` with the output of `gradient`: indices say all about windows."""
    shape = as_shape(op, "input_size", input_size)
    if gradient.ndim != len(shape):
        raise ValueError(
            f"{op}: grad_output has shape {gradient.shape}, input_size {shape} has not as many axes"
        )
    return adaptive(op, rank, shape, gradient.shape[-rank:])


def max_gradient(
    op: str, rank: int, grad_output: Any, indices: Any, input_size: Any, out: Any, threads: Any
) -> np.ndarray:
    """The gradient of the maxima at `indices`, of windows of any kind."""
    gradient, places = (
        as_operand(op, "grad_output", grad_output, True),
        as_operand(op, "indices", indices, True),
    )
    threads = as_threads(op, threads)
    key, call = pooling.known(op, (input_size,), out, gradient, places)
    if call is not None:
        return call(gradient, places, threads)
    geometry = _bins(op, rank, gradient, input_size)
    return pooling.put(op, geometry, gradient, places, True, out, threads, key)


def _avg_gradient(
    op: str,
    rank: int,
    grad_output: Any,
    input_size: Any,
    options: tuple[Any, ...],
    count_include_pad: bool,
    divisor_override: Any,
    out: Any,
    threads: Any,
) -> np.ndarray:
    gradient, threads = as_operand(op, "grad_output", grad_output, True), as_threads(op, threads)
    key, call = pooling.known(
        op, (input_size, *options, count_include_pad, divisor_override), out, gradient
    )
    if call is not None:
        return call(gradient, threads)
    geometry = sliding(op, rank, as_shape(op, "input_size", input_size), options)
    padded = as_flag(op, "count_include_pad", count_include_pad)
    divisor = as_divisor(op, divisor_override)
    return pooling.avg_pool_input(op, geometry, gradient, padded, divisor, out, threads, key)


def max_pool1d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.max_pool1d` with respect to its input.

    Every term goes to the cell that was the maximum of its window.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, P) or (C, P)
        Gradient with respect to the output.
    indices : array_like of int, the same shape
        Those that the pooling returned.
    input_size : sequence of int, (N, C, L) or (C, L)
        Shape of the input.
    out, threads
        As in `fastconv.max_pool2d`; a wrong index leaves `out` as it was.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError
        If an index is outside its plane, or shapes do not fit.
    TypeError
        If the indices are not integers, or `grad_output` is complex or not numeric.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.max_pool1d(np.array([[[1.0, 10.0]]]), np.array([[[2, 2]]]), (1, 1, 4))
    array([[[ 0.,  0., 11.,  0.]]])
    """
    return max_gradient("grad.max_pool1d", 1, grad_output, indices, input_size, out, threads)


def max_pool2d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.max_pool2d` with respect to its input.

    Every term goes to the cell that was the maximum of its window.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, P, Q) or (C, P, Q)
        Gradient with respect to the output.
    indices : array_like of int, the same shape
        Those that the pooling returned.
    input_size : sequence of int, (N, C, H, W) or (C, H, W)
        Shape of the input.
    out, threads
        As in `fastconv.max_pool2d`; a wrong index leaves `out` as it was.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError
        If an index is outside its plane, or shapes do not fit.
    TypeError
        If the indices are not integers, or `grad_output` is complex or not numeric.

    Examples
    --------
    The largest cell of both windows gets both terms.

    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 5, 2], [3, 4, 0]]]], np.float32)
    >>> y, indices = fastconv.max_pool2d(x, 2, stride=1, return_indices=True)
    >>> fastconv.grad.max_pool2d(np.array([[[[1, 10]]]], np.float32), indices, x.shape)
    array([[[[ 0., 11.,  0.],
             [ 0.,  0.,  0.]]]], dtype=float32)
    """
    return max_gradient("grad.max_pool2d", 2, grad_output, indices, input_size, out, threads)


def max_pool3d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.max_pool3d` with respect to its input.

    Every term goes to the cell that was the maximum of its window.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, O, P, Q) or (C, O, P, Q)
        Gradient with respect to the output.
    indices : array_like of int, the same shape
        Those that the pooling returned.
    input_size : sequence of int, (N, C, D, H, W) or (C, D, H, W)
        Shape of the input.
    out, threads
        As in `fastconv.max_pool2d`; a wrong index leaves `out` as it was.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError
        If an index is outside its plane, or shapes do not fit.
    TypeError
        If the indices are not integers, or `grad_output` is complex or not numeric.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy, indices = np.array([[[[[7.0]]]]]), np.array([[[[[2]]]]])
    >>> fastconv.grad.max_pool3d(dy, indices, (1, 1, 1, 2, 2))
    array([[[[[0., 0.],
              [7., 0.]]]]])
    """
    return max_gradient("grad.max_pool3d", 3, grad_output, indices, input_size, out, threads)


def avg_pool1d(
    grad_output: Any,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.avg_pool1d` with respect to its input.

    Every cell receives ``grad_output / divisor`` of each window that holds it.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, P) or (C, P)
        Gradient with respect to the output.
    input_size : sequence of int, (N, C, L) or (C, L)
        Shape of the input.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        Those of the pooling.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.avg_pool1d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.avg_pool1d(np.array([[[2.0, 20.0]]]), (1, 1, 3), 2, stride=1)
    array([[[ 1., 11., 10.]]])
    """
    options = (kernel_size, stride, padding, 1, ceil_mode)
    extras = (count_include_pad, divisor_override, out, threads)
    return _avg_gradient("grad.avg_pool1d", 1, grad_output, input_size, options, *extras)


def avg_pool2d(
    grad_output: Any,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.avg_pool2d` with respect to its input.

    Every cell receives ``grad_output / divisor`` of each window that holds it.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, P, Q) or (C, P, Q)
        Gradient with respect to the output.
    input_size : sequence of int, (N, C, H, W) or (C, H, W)
        Shape of the input.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        Those of the pooling.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.avg_pool2d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy = np.array([[[[4, 8]]]], np.float32)
    >>> fastconv.grad.avg_pool2d(dy, (1, 1, 2, 4), 2)
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]], dtype=float32)
    """
    options = (kernel_size, stride, padding, 1, ceil_mode)
    extras = (count_include_pad, divisor_override, out, threads)
    return _avg_gradient("grad.avg_pool2d", 2, grad_output, input_size, options, *extras)


def avg_pool3d(
    grad_output: Any,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.avg_pool3d` with respect to its input.

    Every cell receives ``grad_output / divisor`` of each window that holds it.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, O, P, Q) or (C, O, P, Q)
        Gradient with respect to the output.
    input_size : sequence of int, (N, C, D, H, W) or (C, D, H, W)
        Shape of the input.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        Those of the pooling.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.avg_pool3d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.avg_pool3d(np.array([[[[[8.0]]]]]), (1, 1, 2, 2, 2), 2)
    array([[[[[1., 1.],
              [1., 1.]],
             [[1., 1.],
              [1., 1.]]]]])
    """
    options = (kernel_size, stride, padding, 1, ceil_mode)
    extras = (count_include_pad, divisor_override, out, threads)
    return _avg_gradient("grad.avg_pool3d", 3, grad_output, input_size, options, *extras)
