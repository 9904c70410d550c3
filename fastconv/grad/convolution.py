"""The doors of the gradients of convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import as_shape
from ..arrays import as_operand, channel_sums
from ..calls import ConvCall, calls
from ..device import cuda, on_device
from ..dtypes import result_dtype
from ..functional.convolution import FORWARD
from ..geometry import ConvGeometry
from ..remembered import key_of


def _forward(
    op: str, rank: int, input_shape: Any, weight_shape: Any, gradient: np.ndarray, options: Any
) -> ConvGeometry:
    """The forward problem, for options in the order of `FORWARD`, its output as the gradient."""
    named = dict(zip(FORWARD, options))
    geometry = ConvGeometry.forward(op, rank, input_shape, weight_shape, **named)
    expected = geometry.output_shape if geometry.batched else geometry.output_shape[1:]
    if gradient.shape != expected:
        raise ValueError(
            f"{op}: grad_output has shape {gradient.shape}, the output of this convolution has "
            f"{expected}"
        )
    return geometry


def _conv_input(
    op: str,
    rank: int,
    input_size: Any,
    weight: Any,
    grad_output: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
) -> np.ndarray:
    """The gradient for `options` as in `FORWARD`, then the algorithm."""
    if type(grad_output) is not np.ndarray and on_device(grad_output):
        arguments = (input_size, weight, grad_output, options, out, threads)
        return cuda("functional").conv_input(op, rank, *arguments)
    w, gradient = as_operand(op, "weight", weight), as_operand(op, "grad_output", grad_output)
    key = key_of(op, (input_size, *options), gradient, w)
    call = calls.get(key)
    if call is None:
        shape = as_shape(op, "input_size", input_size)
        geometry = _forward(op, rank, shape, w.shape, gradient, options)
        dtype = result_dtype(op, ("grad_output", "weight"), gradient, w)
        made = ConvCall(op, "input_gradient", geometry, dtype, gradient, None, options[-1])
        call = calls.keep(key, made)
    return call(gradient, w, None, out, threads)


def _conv_weight(
    op: str,
    rank: int,
    input: Any,
    weight_size: Any,
    grad_output: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
) -> np.ndarray:
    """The gradient for `options` as in `FORWARD`, then the algorithm."""
    if type(input) is not np.ndarray and on_device(input):
        arguments = (input, weight_size, grad_output, options, out, threads)
        return cuda("functional").conv_weight(op, rank, *arguments)
    x, gradient = as_operand(op, "input", input), as_operand(op, "grad_output", grad_output)
    key = key_of(op, (weight_size, *options), x, gradient)
    call = calls.get(key)
    if call is None:
        shape = as_shape(op, "weight_size", weight_size)
        geometry = _forward(op, rank, x.shape, shape, gradient, options)
        dtype = result_dtype(op, ("grad_output", "input"), gradient, x)
        made = ConvCall(op, "weight_gradient", geometry, dtype, x, None, options[-1])
        call = calls.keep(key, made)
    return call(x, gradient if gradient.ndim > rank + 1 else gradient[None], None, out, threads)


def _conv_bias(op: str, rank: int, grad_output: Any) -> np.ndarray:
    if type(grad_output) is not np.ndarray and on_device(grad_output):
        return cuda("functional").conv_bias(op, rank, grad_output)
    gradient = as_operand(op, "grad_output", grad_output)
    if gradient.ndim not in (rank + 1, rank + 2):
        raise ValueError(
            f"{op}: grad_output must have {rank + 2} dimensions (N, K, *spatial) or {rank + 1} "
            f"without the batch, not shape {gradient.shape}"
        )
    batch = gradient if gradient.ndim == rank + 2 else gradient[None]
    # float16 would overflow in a sum; integers wrap to their width.
    wide = np.float32 if gradient.dtype == np.float16 else gradient.dtype
    with np.errstate(all="ignore"):
        sums = channel_sums(batch.astype(wide, copy=False), wide)
        return sums.astype(gradient.dtype, copy=False)


def conv1d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.conv1d` with respect to its input.

    Parameters
    ----------
    input_size : sequence of int, (N, C, L) or (C, L)
        Shape of the input.
    weight : array_like, shape (K, C/groups, R)
    grad_output : array_like, shape (N, K, P) or (K, P)
        Gradient with respect to the output.
    stride, padding, dilation, groups, padding_mode
        Those of the forward convolution.
    algorithm, out, threads
        As in `fastconv.conv1d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the memory format of `grad_output`. Nothing is conjugated.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.conv1d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy = np.array([[[1, 10]]], np.float32)
    >>> w = np.array([[[2, 3]]], np.float32)
    >>> fastconv.grad.conv1d_input((1, 1, 3), w, dy)[0, 0]
    array([ 2., 23., 30.], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, algorithm)
    return _conv_input("conv1d_input", 1, input_size, weight, grad_output, options, out, threads)


def conv2d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.conv2d` with respect to its input.

    Parameters
    ----------
    input_size : sequence of int, (N, C, H, W) or (C, H, W)
        Shape of the input.
    weight : array_like, shape (K, C/groups, R, S)
    grad_output : array_like, shape (N, K, P, Q) or (K, P, Q)
        Gradient with respect to the output.
    stride, padding, dilation, groups, padding_mode
        Those of the forward convolution.
    algorithm, out, threads
        As in `fastconv.conv2d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the memory format of `grad_output`. Nothing is conjugated.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.conv2d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy = np.array([[[[1, 10]]]], np.float32)
    >>> w = np.array([[[[2, 3]]]], np.float32)
    >>> fastconv.grad.conv2d_input((1, 1, 1, 3), w, dy)[0, 0]
    array([[ 2., 23., 30.]], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, algorithm)
    return _conv_input("conv2d_input", 2, input_size, weight, grad_output, options, out, threads)


def conv3d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.conv3d` with respect to its input.

    Parameters
    ----------
    input_size : sequence of int, (N, C, D, H, W) or (C, D, H, W)
        Shape of the input.
    weight : array_like, shape (K, C/groups, T, R, S)
    grad_output : array_like, shape (N, K, O, P, Q) or (K, O, P, Q)
        Gradient with respect to the output.
    stride, padding, dilation, groups, padding_mode
        Those of the forward convolution.
    algorithm, out, threads
        As in `fastconv.conv3d`.

    Returns
    -------
    ndarray, shape `input_size`
        In the memory format of `grad_output`. Nothing is conjugated.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.conv3d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dy = np.array([[[[[1, 10]]]]], np.float32)
    >>> w = np.array([[[[[2, 3]]]]], np.float32)
    >>> fastconv.grad.conv3d_input((1, 1, 1, 1, 3), w, dy)[0, 0]
    array([[[ 2., 23., 30.]]], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, algorithm)
    return _conv_input("conv3d_input", 3, input_size, weight, grad_output, options, out, threads)


def conv1d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.conv1d` with respect to its weight.

    Parameters
    ----------
    input : array_like, shape (N, C, L) or (C, L)
    weight_size : sequence of int, (K, C/groups, R)
        Shape of the weight.
    grad_output : array_like, shape (N, K, P) or (K, P)
        Gradient with respect to the output.
    stride, padding, dilation, groups, padding_mode
        Those of the forward convolution.
    algorithm, out, threads
        As in `fastconv.conv1d`.

    Returns
    -------
    ndarray, shape `weight_size`
        Summed over fixed chunks in a fixed order: the same bits for any number of threads.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.conv1d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[2, 3, 4]]], np.float32)
    >>> dy = np.array([[[1, 10]]], np.float32)
    >>> fastconv.grad.conv1d_weight(x, (1, 1, 2), dy).ravel()
    array([32., 43.], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, algorithm)
    return _conv_weight("conv1d_weight", 1, input, weight_size, grad_output, options, out, threads)


def conv2d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.conv2d` with respect to its weight.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
    weight_size : sequence of int, (K, C/groups, R, S)
        Shape of the weight.
    grad_output : array_like, shape (N, K, P, Q) or (K, P, Q)
        Gradient with respect to the output.
    stride, padding, dilation, groups, padding_mode
        Those of the forward convolution.
    algorithm, out, threads
        As in `fastconv.conv2d`.

    Returns
    -------
    ndarray, shape `weight_size`
        Summed over fixed chunks in a fixed order: the same bits for any number of threads.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.conv2d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[2, 3, 4]]]], np.float32)
    >>> dy = np.array([[[[1, 10]]]], np.float32)
    >>> fastconv.grad.conv2d_weight(x, (1, 1, 1, 2), dy).ravel()
    array([32., 43.], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, algorithm)
    return _conv_weight("conv2d_weight", 2, input, weight_size, grad_output, options, out, threads)


def conv3d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.conv3d` with respect to its weight.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    weight_size : sequence of int, (K, C/groups, T, R, S)
        Shape of the weight.
    grad_output : array_like, shape (N, K, O, P, Q) or (K, O, P, Q)
        Gradient with respect to the output.
    stride, padding, dilation, groups, padding_mode
        Those of the forward convolution.
    algorithm, out, threads
        As in `fastconv.conv3d`.

    Returns
    -------
    ndarray, shape `weight_size`
        Summed over fixed chunks in a fixed order: the same bits for any number of threads.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.conv3d`, and if `grad_output` has not the shape of the output.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[[2, 3, 4]]]]], np.float32)
    >>> dy = np.array([[[[[1, 10]]]]], np.float32)
    >>> fastconv.grad.conv3d_weight(x, (1, 1, 1, 1, 2), dy).ravel()
    array([32., 43.], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, algorithm)
    return _conv_weight("conv3d_weight", 3, input, weight_size, grad_output, options, out, threads)


def conv1d_bias(grad_output: Any) -> np.ndarray:
    """Gradient of `fastconv.conv1d` with respect to its bias: the sum over images and pixels.

    Parameters
    ----------
    grad_output : array_like, shape (N, K, P) or (K, P)

    Returns
    -------
    ndarray, shape (K,)

    Raises
    ------
    ValueError, TypeError
        If `grad_output` has another number of dimensions or an unsupported dtype.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.conv1d_bias(np.array([[[1, 10]]], np.float32))
    array([11.], dtype=float32)
    """
    return _conv_bias("conv1d_bias", 1, grad_output)


def conv2d_bias(grad_output: Any) -> np.ndarray:
    """Gradient of `fastconv.conv2d` with respect to its bias: the sum over images and pixels.

    Parameters
    ----------
    grad_output : array_like, shape (N, K, P, Q) or (K, P, Q)

    Returns
    -------
    ndarray, shape (K,)

    Raises
    ------
    ValueError, TypeError
        If `grad_output` has another number of dimensions or an unsupported dtype.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.conv2d_bias(np.array([[[[1, 10]]]], np.float32))
    array([11.], dtype=float32)
    """
    return _conv_bias("conv2d_bias", 2, grad_output)


def conv3d_bias(grad_output: Any) -> np.ndarray:
    """Gradient of `fastconv.conv3d` with respect to its bias: the sum over images and pixels.

    Parameters
    ----------
    grad_output : array_like, shape (N, K, O, P, Q) or (K, O, P, Q)

    Returns
    -------
    ndarray, shape (K,)

    Raises
    ------
    ValueError, TypeError
        If `grad_output` has another number of dimensions or an unsupported dtype.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.conv3d_bias(np.array([[[[[1, 10]]]]], np.float32))
    array([11.], dtype=float32)
    """
    return _conv_bias("conv3d_bias", 3, grad_output)
