"""The doors of the gradients of adaptive pooling and of the inverse of max pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import pooling
from ..arguments import as_shape, as_threads
from ..arrays import as_operand
from ..functional.adaptive import adaptive
from .pooling import max_gradient


def _adaptive_avg_gradient(
    op: str, rank: int, grad_output: Any, input_size: Any, out: Any, threads: Any
) -> np.ndarray:
    gradient, threads = as_operand(op, "grad_output", grad_output, True), as_threads(op, threads)
    key, call = pooling.known(op, (input_size,), out, gradient)
    if call is not None:
        return call(gradient, threads)
    shape = as_shape(op, "input_size", input_size)
    geometry = adaptive(op, rank, shape, gradient.shape[-rank:])
    return pooling.avg_pool_input(op, geometry, gradient, False, None, out, threads, key)


def _max_unpool_gradient(
    op: str, rank: int, grad_output: Any, indices: Any, out: Any
) -> np.ndarray:
    gradient, places = (
        as_operand(op, "grad_output", grad_output, True),
        as_operand(op, "indices", indices, True),
    )
    geometry = adaptive(op, rank, gradient.shape, places.shape[-rank:])
    return pooling.take(op, geometry, gradient, places, out)


def adaptive_avg_pool1d(
    grad_output: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.adaptive_avg_pool1d` with respect to its input.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, P) or (C, P)
        Gradient with respect to the output.
    input_size : sequence of int, (N, C, L) or (C, L)
        Shape of the input.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.adaptive_avg_pool1d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.adaptive_avg_pool1d(np.array([[[2.0, 6.0]]]), (1, 1, 3))
    array([[[1., 4., 3.]]])
    """
    name = "grad.adaptive_avg_pool1d"
    return _adaptive_avg_gradient(name, 1, grad_output, input_size, out, threads)


def adaptive_avg_pool2d(
    grad_output: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.adaptive_avg_pool2d` with respect to its input.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, P, Q) or (C, P, Q)
        Gradient with respect to the output.
    input_size : sequence of int, (N, C, H, W) or (C, H, W)
        Shape of the input.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.adaptive_avg_pool2d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.adaptive_avg_pool2d(np.array([[[[6.0, 12.0]]]]), (1, 1, 2, 3))
    array([[[[1.5, 4.5, 3. ],
             [1.5, 4.5, 3. ]]]])
    """
    name = "grad.adaptive_avg_pool2d"
    return _adaptive_avg_gradient(name, 2, grad_output, input_size, out, threads)


def adaptive_avg_pool3d(
    grad_output: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.adaptive_avg_pool3d` with respect to its input.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, O, P, Q) or (C, O, P, Q)
        Gradient with respect to the output.
    input_size : sequence of int, (N, C, D, H, W) or (C, D, H, W)
        Shape of the input.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.adaptive_avg_pool3d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.adaptive_avg_pool3d(np.array([[[[[8.0]]]]]), (1, 1, 2, 2, 2))
    array([[[[[1., 1.],
              [1., 1.]],
             [[1., 1.],
              [1., 1.]]]]])
    """
    name = "grad.adaptive_avg_pool3d"
    return _adaptive_avg_gradient(name, 3, grad_output, input_size, out, threads)


def adaptive_max_pool1d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.adaptive_max_pool1d` with respect to its input.

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
    ValueError, TypeError
        As `fastconv.grad.max_pool1d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy, indices = np.array([[[1.0, 10.0]]]), np.array([[[2, 2]]])
    >>> fastconv.grad.adaptive_max_pool1d(dy, indices, (1, 1, 4))
    array([[[ 0.,  0., 11.,  0.]]])
    """
    name = "grad.adaptive_max_pool1d"
    return max_gradient(name, 1, grad_output, indices, input_size, out, threads)


def adaptive_max_pool2d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.adaptive_max_pool2d` with respect to its input.

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
    ValueError, TypeError
        As `fastconv.grad.max_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy, indices = np.array([[[[1.0, 10.0]]]]), np.array([[[[4, 2]]]])
    >>> fastconv.grad.adaptive_max_pool2d(dy, indices, (1, 1, 2, 3))
    array([[[[ 0.,  0., 10.],
             [ 0.,  1.,  0.]]]])
    """
    name = "grad.adaptive_max_pool2d"
    return max_gradient(name, 2, grad_output, indices, input_size, out, threads)


def adaptive_max_pool3d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.adaptive_max_pool3d` with respect to its input.

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
    ValueError, TypeError
        As `fastconv.grad.max_pool3d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy, indices = np.array([[[[[7.0]]]]]), np.array([[[[[2]]]]])
    >>> fastconv.grad.adaptive_max_pool3d(dy, indices, (1, 1, 1, 2, 2))
    array([[[[[0., 0.],
              [7., 0.]]]]])
    """
    name = "grad.adaptive_max_pool3d"
    return max_gradient(name, 3, grad_output, indices, input_size, out, threads)


def max_unpool1d(grad_output: Any, indices: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """Gradient of `fastconv.max_unpool1d` with respect to its input.

    Every value receives the gradient of the cell it was put to. Where an index comes twice both
    receive it, as in PyTorch, though only the last value was kept.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, L) or (C, L)
        Gradient with respect to the output.
    indices : array_like of int, shape (N, C, P) or (C, P)
        Those that were given to the operation.
    out : ndarray, optional
        Array for the result; it must not overlap an input.

    Returns
    -------
    ndarray, the shape of `indices`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError
        If an index is outside its plane, or shapes do not fit.
    TypeError
        If the indices are not integers, or `grad_output` is not numeric.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.max_unpool1d(np.array([[[1.0, 2.0, 3.0, 4.0]]]), np.array([[[1, 2]]]))
    array([[[2., 3.]]])
    """
    return _max_unpool_gradient("grad.max_unpool1d", 1, grad_output, indices, out)


def max_unpool2d(grad_output: Any, indices: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """Gradient of `fastconv.max_unpool2d` with respect to its input.

    Every value receives the gradient of the cell it was put to. Where an index comes twice both
    receive it, as in PyTorch, though only the last value was kept.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, H, W) or (C, H, W)
        Gradient with respect to the output.
    indices : array_like of int, shape (N, C, P, Q) or (C, P, Q)
        Those that were given to the operation.
    out : ndarray, optional
        Array for the result; it must not overlap an input.

    Returns
    -------
    ndarray, the shape of `indices`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError
        If an index is outside its plane, or shapes do not fit.
    TypeError
        If the indices are not integers, or `grad_output` is not numeric.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy, indices = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([[[[2]]]])
    >>> fastconv.grad.max_unpool2d(dy, indices)
    array([[[[3.]]]])
    """
    return _max_unpool_gradient("grad.max_unpool2d", 2, grad_output, indices, out)


def max_unpool3d(grad_output: Any, indices: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """Gradient of `fastconv.max_unpool3d` with respect to its input.

    Every value receives the gradient of the cell it was put to. Where an index comes twice both
    receive it, as in PyTorch, though only the last value was kept.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, D, H, W) or (C, D, H, W)
        Gradient with respect to the output.
    indices : array_like of int, shape (N, C, O, P, Q) or (C, O, P, Q)
        Those that were given to the operation.
    out : ndarray, optional
        Array for the result; it must not overlap an input.

    Returns
    -------
    ndarray, the shape of `indices`
        In the dtype and the memory format of `grad_output`.

    Raises
    ------
    ValueError
        If an index is outside its plane, or shapes do not fit.
    TypeError
        If the indices are not integers, or `grad_output` is not numeric.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy, indices = np.arange(8.0).reshape(1, 1, 2, 2, 2), np.array([[[[[6]]]]])
    >>> fastconv.grad.max_unpool3d(dy, indices)
    array([[[[[6.]]]]])
    """
    return _max_unpool_gradient("grad.max_unpool3d", 3, grad_output, indices, out)
