"""The doors of pooling over sliding windows.

Every door is three statements: the operand, the geometry, and the run.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import pooling
from ..arguments import Size, as_flag, as_int, as_threads, plain
from ..arrays import as_operand
from ..geometry import PoolGeometry


@functools.lru_cache(maxsize=1024)
def _remembered(
    op: str,
    rank: int,
    shape: Size,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> PoolGeometry:
    return PoolGeometry.sliding(
        op,
        rank,
        shape,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


def sliding(op: str, rank: int, shape: Size, options: tuple[Any, ...]) -> PoolGeometry:
    """The geometry for (kernel_size, stride, padding, dilation, ceil_mode)."""
    make = _remembered if plain(options) else _remembered.__wrapped__
    return make(op, rank, shape, *options)


def as_divisor(op: str, divisor: Any) -> int | None:
    """The argument `divisor_override`, checked."""
    return None if divisor is None else as_int(op, "divisor_override", divisor, at_least=1)


def _max_pool(
    op: str,
    rank: int,
    input: Any,
    options: tuple[Any, ...],
    return_indices: bool,
    out: Any,
    threads: Any,
) -> Any:
    x, threads = as_operand(op, "input", input, True), as_threads(op, threads)
    key, call = pooling.known(op, (*options, return_indices), out, x)
    if call is not None:
        return call(x, threads)
    geometry = sliding(op, rank, x.shape, options)
    wanted = as_flag(op, "return_indices", return_indices)
    return pooling.max_pool(op, geometry, x, wanted, out, threads, key)


def _avg_pool(
    op: str,
    rank: int,
    input: Any,
    options: tuple[Any, ...],
    count_include_pad: bool,
    divisor_override: Any,
    out: Any,
    threads: Any,
) -> np.ndarray:
    x, threads = as_operand(op, "input", input, True), as_threads(op, threads)
    key, call = pooling.known(op, (*options, count_include_pad, divisor_override), out, x)
    if call is not None:
        return call(x, threads)
    geometry = sliding(op, rank, x.shape, options)
    padded = as_flag(op, "count_include_pad", count_include_pad)
    divisor = as_divisor(op, divisor_override)
    return pooling.avg_pool(op, geometry, x, padded, divisor, out, threads, key)


def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> Any:
    """Largest value of each window of a batch of signals.

    Parameters
    ----------
    input : array_like, shape (N, C, L) or (C, L)
    kernel_size, stride, padding, dilation, ceil_mode, return_indices, out, threads
        As in `max_pool2d`, for one axis.

    Returns
    -------
    values : ndarray, shape (N, C, P) or (C, P)
    indices : ndarray of int64, the same shape
        Only with `return_indices`.

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[1, 5, 2, 4, 7]]])
    >>> fastconv.max_pool1d(x, 2, ceil_mode=True)
    array([[[5, 4, 7]]])
    """
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool1d", 1, input, options, return_indices, out, threads)


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> Any:
    """Largest value of each window of a batch of images.

    ``out[n, c, p, q] = max over r, s of
    input[n, c, p * stride - low + r * dilation, q * stride - low + s * dilation]``,
    over the cells inside the input: the padding never wins.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Real, of any integer or floating-point dtype and any strides. If its strides are those of
        an (N, H, W, C) array, so are the result's.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        The kernel size if not given.
    padding : int, (int, int), ((low, high), (low, high)) or str, default 0
        Cells at the borders, at most half of the window. The names are "valid", "same" and
        "same_lower".
    dilation : int or (int, int), default 1
        Cells between neighbouring taps, 1 if they touch.
    ceil_mode : bool, default False
        Whether a last window that hangs over the end counts, if it starts before the end of the
        input and its left padding.
    return_indices : bool, default False
        Whether to return also where the maxima are.
    out : ndarray, optional
        Array for the values, of the shape and dtype of the result; it must not overlap the input.
    threads : int, optional
        Most threads to use. The result does not depend on it.

    Returns
    -------
    values : ndarray, shape (N, C, P, Q) or (C, P, Q)
        In the dtype of the input. NaN counts as larger than everything.
    indices : ndarray of int64, the same shape
        Only with `return_indices`: the place in the flattened plane, ``h * W + w``, of the first
        of the largest values, or of the first NaN.

    Raises
    ------
    ValueError
        If a shape or number does not fit: a window larger than the padded input, padding larger
        than half of a window, a stride or a kernel size below 1.
    TypeError
        If the input is complex, boolean or not numeric, or a size is not an integer.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2, 0, 3], [9, 4, 3, 3]]]], np.float32)
    >>> fastconv.max_pool2d(x, 2)
    array([[[[9., 3.]]]], dtype=float32)
    >>> fastconv.max_pool2d(x, 2, return_indices=True)[1]
    array([[[[4, 3]]]])
    """
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool2d", 2, input, options, return_indices, out, threads)


def max_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> Any:
    """Largest value of each window of a batch of volumes.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    kernel_size, stride, padding, dilation, ceil_mode, return_indices, out, threads
        As in `max_pool2d`, for three axes.

    Returns
    -------
    values : ndarray, shape (N, C, O, P, Q) or (C, O, P, Q)
    indices : ndarray of int64, the same shape
        Only with `return_indices`: ``(d * H + h) * W + w``.

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.arange(16.0).reshape(1, 1, 2, 2, 4)
    >>> fastconv.max_pool3d(x, 2)
    array([[[[[13., 15.]]]]])
    """
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool3d", 3, input, options, return_indices, out, threads)


def avg_pool1d(
    input: Any,
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
    """Mean of each window of a batch of signals.

    Parameters
    ----------
    input : array_like, shape (N, C, L) or (C, L)
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out, threads
        As in `avg_pool2d`, for one axis.

    Returns
    -------
    ndarray, shape (N, C, P) or (C, P)

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`.

    Examples
    --------
    The last window hangs over the end and has one cell.

    >>> import numpy as np, fastconv
    >>> fastconv.avg_pool1d(np.array([[[1.0, 5.0, 2.0, 4.0, 7.0]]]), 2, ceil_mode=True)
    array([[[3., 3., 7.]]])
    """
    options = (kernel_size, stride, padding, 1, ceil_mode)
    extras = (count_include_pad, divisor_override, out, threads)
    return _avg_pool("avg_pool1d", 1, input, options, *extras)


def avg_pool2d(
    input: Any,
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
    """Mean of each window of a batch of images.

    ``out[n, c, p, q] = (sum over r, s of
    padded[n, c, p * stride + r, q * stride + s]) / divisor[p, q]``

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Of a floating-point or complex dtype and any strides. float16 is summed in float32. If its
        strides are those of an (N, H, W, C) array, so are the result's.
    kernel_size, stride, padding, ceil_mode
        As in `max_pool2d`; the padding is of zeros.
    count_include_pad : bool, default True
        Whether the divisor counts the cells of the padding. It never counts those by which a
        window of `ceil_mode` hangs over the padded input.
    divisor_override : int, optional
        Divisor of every window.
    out, threads
        As in `max_pool2d`.

    Returns
    -------
    ndarray, shape (N, C, P, Q) or (C, P, Q)
        In the dtype of the input.

    Raises
    ------
    ValueError
        As `max_pool2d`, and if `divisor_override` is below 1.
    TypeError
        As `max_pool2d`, and if the input is of integers.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2, 0, 3], [9, 4, 3, 2]]]], np.float32)
    >>> fastconv.avg_pool2d(x, 2)
    array([[[[4., 2.]]]], dtype=float32)
    >>> fastconv.avg_pool2d(x, 2, padding=1, count_include_pad=False)
    array([[[[1. , 1. , 3. ],
             [9. , 3.5, 2. ]]]], dtype=float32)
    """
    options = (kernel_size, stride, padding, 1, ceil_mode)
    extras = (count_include_pad, divisor_override, out, threads)
    return _avg_pool("avg_pool2d", 2, input, options, *extras)


def avg_pool3d(
    input: Any,
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
    """Mean of each window of a batch of volumes.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out, threads
        As in `avg_pool2d`, for three axes.

    Returns
    -------
    ndarray, shape (N, C, O, P, Q) or (C, O, P, Q)

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.arange(16.0).reshape(1, 1, 2, 2, 4)
    >>> fastconv.avg_pool3d(x, 2)
    array([[[[[6.5, 8.5]]]]])
    """
    options = (kernel_size, stride, padding, 1, ceil_mode)
    extras = (count_include_pad, divisor_override, out, threads)
    return _avg_pool("avg_pool3d", 3, input, options, *extras)
