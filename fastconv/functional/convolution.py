"""The doors of convolution and transposed convolution.

Every door is three statements: the operands, the geometry, and the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arguments import is_empty
from ..arrays import as_operand
from ..calls import ConvCall, calls
from ..cpu.fused import Fused, fuse
from ..device import cuda, on_device
from ..dtypes import check_bias, result_dtype
from ..geometry import ConvGeometry
from ..remembered import key_of

FORWARD = ("stride", "padding", "dilation", "groups", "padding_mode")
TRANSPOSED = ("stride", "padding", "output_padding", "groups", "dilation")


def as_epilogue(
    op: str, epilogue: Any, epilogue_args: Any, dtype: np.dtype
) -> tuple[Fused, tuple[np.ndarray, ...]]:
    """The arguments `epilogue` and `epilogue_args`: compiled, and as arrays."""
    if epilogue is None:
        raise TypeError(f"{op}: epilogue_args are given, but no epilogue")
    if not isinstance(epilogue_args, (tuple, list)):
        raise TypeError(f"{op}: epilogue_args must be a tuple of arrays, not {epilogue_args!r}")
    arrays = tuple(
        as_operand(op, f"epilogue_args[{i}]", array) for i, array in enumerate(epilogue_args)
    )
    return fuse(op, epilogue, dtype, len(arrays)), arrays


def _convolve(
    op: str,
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
    epilogue: Any,
    epilogue_args: Any,
    transposed: bool = False,
) -> np.ndarray:
    """A convolution; `options` are those named above, then activation and algorithm."""
    if type(input) is not np.ndarray and on_device(input):
        arguments = (input, weight, bias, options, out, threads, transposed)
        return cuda("functional").convolve(op, rank, *arguments, epilogue, epilogue_args)
    x, w = as_operand(op, "input", input), as_operand(op, "weight", weight)
    b = None if bias is None else as_operand(op, "bias", bias)
    key = key_of(op, options, x, w, b)
    fused: Fused | None = None
    parameters: tuple[np.ndarray, ...] = ()
    if epilogue is not None or not is_empty(epilogue_args):
        dtype = result_dtype(op, ("input", "weight"), x, w)
        fused, parameters = as_epilogue(op, epilogue, epilogue_args, dtype)
        key = None if key is None else (key, fused.address, fused.parameters)
    call = calls.get(key)
    if call is None:
        *geometry_options, activation, algorithm = options
        if transposed:
            named = dict(zip(TRANSPOSED, geometry_options))
            geometry = ConvGeometry.transposed(op, rank, x.shape, w.shape, **named)
        else:
            named = dict(zip(FORWARD, geometry_options))
            geometry = ConvGeometry.forward(op, rank, x.shape, w.shape, **named)
        dtype = result_dtype(op, ("input", "weight"), x, w)
        if b is not None:
            channels = geometry.in_channels if transposed else geometry.out_channels
            check_bias(op, b, dtype, channels)
        operation = "input_gradient" if transposed else "forward"
        made = ConvCall(op, operation, geometry, dtype, x, activation, algorithm, fused)
        call = calls.keep(key, made)
    return call(x, w, b, out, threads, parameters)


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    epilogue: Callable[..., Any] | None = None,
    epilogue_args: tuple[Any, ...] = (),
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """One-dimensional convolution (cross-correlation) of a batch of signals.

    ``out[n, k, p] = bias[k] + sum over c, r of
    weight[k, c, r] * padded[n, c, p * stride + r * dilation]``

    Parameters
    ----------
    input : array_like, shape (N, C, L) or (C, L)
    weight : array_like, shape (K, C/groups, R)
    bias : array_like, shape (K,), optional
    stride, padding, dilation, groups, padding_mode, activation, epilogue,
    epilogue_args, algorithm, out, threads
        As in `conv2d`; besides, padding "causal" puts dilation * (R - 1) cells before the signal
        and none after it, so that no output sees the future.

    Returns
    -------
    ndarray, shape (N, K, P) or (K, P)
        ``P = (L + padding - dilation * (R - 1) - 1) // stride + 1``.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[1, 2, 3, 4]]], np.float32)
    >>> w = np.array([[[1, 10]]], np.float32)
    >>> fastconv.conv1d(x, w)[0, 0]
    array([21., 32., 43.], dtype=float32)
    >>> fastconv.conv1d(x, w, padding="causal")[0, 0]
    array([10., 21., 32., 43.], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, activation, algorithm)
    return _convolve(
        "conv1d", 1, input, weight, bias, options, out, threads, epilogue, epilogue_args
    )


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    epilogue: Callable[..., Any] | None = None,
    epilogue_args: tuple[Any, ...] = (),
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Two-dimensional convolution (cross-correlation) of a batch of images.

    ``out[n, k, p, q] = bias[k] + sum over c, r, s of
    weight[k, c, r, s] * padded[n, c, p * stride + r * dilation, q * stride + s * dilation]``,
    with c over the channels of k's group.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Any strides; an array whose memory is (N, H, W, C) is *channels-last* and so is the result.
    weight : array_like, shape (K, C/groups, R, S)
    bias : array_like, shape (K,), optional
    stride : int or tuple of int, default 1
    padding : int, tuple, str or pairs, default 0
        Cells added on each side: one number, one per axis, ``((top, bottom), (left, right))``, or
        "valid" (none), "same" (output is ceil(input / stride), the odd cell at the end),
        "same_lower" (the odd cell at the start), "full" (dilation * (kernel - 1) on each side).
    dilation : int or tuple of int, default 1
        Distance between taps.
    groups : int, default 1
        Channels are split into so many independent convolutions; ``groups=C`` is depthwise.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    activation : str, optional
        Applied to each sum before it is stored: "relu", "relu6", "leaky_relu", "sigmoid", "tanh",
        "silu", "gelu", "hardswish", "hardsigmoid", "elu", "softplus" or "mish".
    epilogue : function, optional
        ``epilogue(sum, *numbers)`` of scalars, applied to each sum after the activation; a plain
        function, which is compiled, or one under `numba.njit`. It must not raise exceptions.
    epilogue_args : tuple of array_like
        Each of shape (K,), one number per output channel, or of the result's shape: what
        `epilogue` gets beside the sum. At most six.
    algorithm : str, default "auto"
        A row of the table that `explain` prints.
    out : ndarray, optional
        Takes the result; it must not overlap an input.
    threads : int, optional
        At most so many threads; by default as many as the work is worth.

    Returns
    -------
    ndarray, shape (N, K, P, Q) or (K, P, Q)
        ``P = (H + padding - dilation * (R - 1) - 1) // stride + 1``, likewise Q: a window that does
        not fit wholly is dropped. Dtype `numpy.result_type` of input and weight. Integers are exact
        modulo two to their width; float16 is computed in float32; nothing is conjugated.

    Raises
    ------
    ValueError
        If shapes do not fit each other, an option is out of range, the kernel is larger than the
        padded input, or `algorithm` cannot do this problem.
    TypeError
        If a dtype is not supported, integers meet floating-point numbers, or an option is no
        integer.

    See Also
    --------
    fastconv.plan : the same with weights packed once.
    fastconv.grad.conv2d_input, fastconv.grad.conv2d_weight : its gradients.

    References
    ----------
    V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> w = np.array([[[[1, 2], [3, 4]]]], np.float32)
    >>> fastconv.conv2d(x, w)[0, 0]
    array([[27., 37.],
           [57., 67.]], dtype=float32)
    >>> fastconv.conv2d(x, w, stride=2, padding="same")[0, 0]
    array([[27., 17.],
           [20.,  8.]], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, activation, algorithm)
    return _convolve(
        "conv2d", 2, input, weight, bias, options, out, threads, epilogue, epilogue_args
    )


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    epilogue: Callable[..., Any] | None = None,
    epilogue_args: tuple[Any, ...] = (),
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Three-dimensional convolution (cross-correlation) of a batch of volumes.

    As `conv2d` with one more axis.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    weight : array_like, shape (K, C/groups, T, R, S)
    bias : array_like, shape (K,), optional
    stride, padding, dilation, groups, padding_mode, activation, epilogue,
    epilogue_args, algorithm, out, threads
        As in `conv2d`, with three entries where one per axis is given.

    Returns
    -------
    ndarray, shape (N, K, O, P, Q) or (K, O, P, Q)

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 2, 2)
    >>> w = np.ones((1, 1, 2, 1, 1), np.float32)
    >>> fastconv.conv3d(x, w)[0, 0]
    array([[[ 4.,  6.],
            [ 8., 10.]]], dtype=float32)
    """
    options = (stride, padding, dilation, groups, padding_mode, activation, algorithm)
    return _convolve(
        "conv3d", 3, input, weight, bias, options, out, threads, epilogue, epilogue_args
    )


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: str | None = None,
    epilogue: Callable[..., Any] | None = None,
    epilogue_args: tuple[Any, ...] = (),
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """One-dimensional transposed convolution; see `conv_transpose2d`.

    Parameters
    ----------
    input : array_like, shape (N, C, L) or (C, L)
    weight : array_like, shape (C, K/groups, R)
    bias : array_like, shape (K,), optional
    stride, padding, output_padding, groups, dilation, activation, epilogue,
    epilogue_args, algorithm, out, threads
        As in `conv_transpose2d`.

    Returns
    -------
    ndarray, shape (N, K, P) or (K, P)
        ``P = (L - 1) * stride - padding + dilation * (R - 1) + 1 + output_padding``.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[1, 2]]], np.float32)
    >>> w = np.array([[[1, 10, 100]]], np.float32)
    >>> fastconv.conv_transpose1d(x, w, stride=2)[0, 0]
    array([  1.,  10., 102.,  20., 200.], dtype=float32)
    """
    options = (stride, padding, output_padding, groups, dilation, activation, algorithm)
    return _convolve(
        "conv_transpose1d",
        1,
        input,
        weight,
        bias,
        options,
        out,
        threads,
        epilogue,
        epilogue_args,
        transposed=True,
    )


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: str | None = None,
    epilogue: Callable[..., Any] | None = None,
    epilogue_args: tuple[Any, ...] = (),
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Two-dimensional transposed convolution: each input cell adds its multiple of the kernel.

    ``out[n, k, p*stride + r*dilation - low, ...] += input[n, c, p, ...] * weight[c, k, r, ...]``:
    the gradient of `conv2d` with respect to its input. It is computed phase by phase, one dense
    convolution for each remainder modulo the stride; no zeros are inserted. Cells beyond the border
    count as zeros, so an infinite weight gives NaN there, as it does in `conv2d` with padding.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
    weight : array_like, shape (C, K/groups, R, S)
    bias : array_like, shape (K,), optional
    stride : int or tuple of int, default 1
    padding : int, tuple, str or pairs, default 0
        Cells taken off each side of the result. "same" makes the result stride times the input.
    output_padding : int or tuple of int, default 0
        Cells added at the end of each axis; less than stride or dilation.
    groups : int, default 1
    dilation : int or tuple of int, default 1
    activation, epilogue, epilogue_args, algorithm, out, threads
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (N, K, P, Q) or (K, P, Q)
        ``P = (H - 1) * stride - padding + dilation * (R - 1) + 1 + output_padding``, likewise Q.

    Raises
    ------
    ValueError
        If shapes do not fit each other, an option is out of range, or no output is left.
    TypeError
        If a dtype is not supported, integers meet floating-point numbers, or an option is no
        integer.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2]]]], np.float32)
    >>> w = np.array([[[[1, 10, 100]]]], np.float32)
    >>> fastconv.conv_transpose2d(x, w, stride=(1, 2))[0, 0]
    array([[  1.,  10., 102.,  20., 200.]], dtype=float32)
    """
    options = (stride, padding, output_padding, groups, dilation, activation, algorithm)
    return _convolve(
        "conv_transpose2d",
        2,
        input,
        weight,
        bias,
        options,
        out,
        threads,
        epilogue,
        epilogue_args,
        transposed=True,
    )


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: str | None = None,
    epilogue: Callable[..., Any] | None = None,
    epilogue_args: tuple[Any, ...] = (),
    algorithm: str = "auto",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Three-dimensional transposed convolution; see `conv_transpose2d`.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    weight : array_like, shape (C, K/groups, T, R, S)
    bias : array_like, shape (K,), optional
    stride, padding, output_padding, groups, dilation, activation, epilogue,
    epilogue_args, algorithm, out, threads
        As in `conv_transpose2d`.

    Returns
    -------
    ndarray, shape (N, K, O, P, Q) or (K, O, P, Q)

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[[1, 2]]]]], np.float32)
    >>> w = np.array([[[[[1, 10]]]]], np.float32)
    >>> fastconv.conv_transpose3d(x, w, output_padding=(0, 0, 1), dilation=(1, 1, 2))[0, 0]
    array([[[ 1.,  2., 10., 20.,  0.]]], dtype=float32)
    """
    options = (stride, padding, output_padding, groups, dilation, activation, algorithm)
    return _convolve(
        "conv_transpose3d",
        3,
        input,
        weight,
        bias,
        options,
        out,
        threads,
        epilogue,
        epilogue_args,
        transposed=True,
    )
