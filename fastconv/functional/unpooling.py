"""The doors of the inverse of max pooling."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import pooling
from ..arguments import Size, as_sizes, as_threads, check_count, plain
from ..arrays import as_operand
from ..geometry import AdaptiveGeometry, as_padding
from ..sizes import transposed_size


def _unpooled_size(
    op: str,
    rank: int,
    pooled: AdaptiveGeometry,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Size:
    """The size of what was pooled: `output_size`, or the smallest that this pooling fits."""
    kernel = as_sizes(op, "kernel_size", kernel_size, rank, at_least=1)
    strides = kernel if stride is None else as_sizes(op, "stride", stride, rank, at_least=1)
    pairs = as_padding(op, padding, pooled.in_size, kernel, strides, (1,) * rank)
    smallest = tuple(
        transposed_size(size, k, s, 1, low, high, 0)
        for size, k, s, (low, high) in zip(pooled.in_size, kernel, strides, pairs)
    )
    if output_size is None:
        if min(smallest) < 1:
            raise ValueError(
                f"{op}: padding {pairs} leaves no output for input size {pooled.in_size}: "
                f"{smallest}"
            )
        return smallest
    whole = pooled.input_shape if pooled.batched else pooled.input_shape[1:]
    wanted = tuple(output_size) if np.iterable(output_size) else (output_size,) * rank
    if len(wanted) == len(whole):
        lead = as_sizes(op, "output_size", wanted[:-rank], len(whole) - rank, at_least=0)
        if lead != whole[:-rank]:
            raise ValueError(
                f"{op}: output_size {wanted} and input of shape {whole} differ before the spatial "
                "axes"
            )
        wanted = wanted[-rank:]
    sizes = as_sizes(op, "output_size", wanted, rank, at_least=1)
    for size, least, s in zip(sizes, smallest, strides):
        if abs(size - least) >= s:
            raise ValueError(
                f"{op}: output_size {sizes} must differ from {smallest} by less than the stride "
                f"{strides}"
            )
    return sizes


@functools.lru_cache(maxsize=1024)
def _remembered(op: str, rank: int, shape: Size, *options: Any) -> AdaptiveGeometry:
    pooled = AdaptiveGeometry.adaptive(op, rank, shape, None)
    sizes = _unpooled_size(op, rank, pooled, *options)
    check_count(op, "output", (pooled.batch, pooled.channels, *sizes))
    return AdaptiveGeometry(pooled.batch, pooled.channels, sizes, pooled.in_size, pooled.batched)


def unpooling(op: str, rank: int, shape: Size, options: tuple[Any, ...]) -> AdaptiveGeometry:
    """The pooling whose output has `shape`, for (kernel_size, stride, padding, output_size)."""
    make = _remembered if plain(options) else _remembered.__wrapped__
    return make(op, rank, shape, *options)


def _max_unpool(
    op: str,
    rank: int,
    input: Any,
    indices: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
) -> np.ndarray:
    values, places = (
        as_operand(op, "input", input, True),
        as_operand(op, "indices", indices, True),
    )
    geometry = unpooling(op, rank, values.shape, options)
    return pooling.put(op, geometry, values, places, False, out, as_threads(op, threads))


def max_unpool1d(
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """The values of a max pooling put back where they were found, among zeros.

    Parameters
    ----------
    input : array_like, shape (N, C, P) or (C, P)
    indices : array_like of int, the same shape
    kernel_size, stride, padding, output_size, out, threads
        As in `max_unpool2d`, for one axis.

    Returns
    -------
    ndarray, shape (N, C, L) or (C, L)

    Raises
    ------
    ValueError, TypeError
        As `max_unpool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.max_unpool1d(np.array([[[5, 7]]]), np.array([[[1, 2]]]), 2)
    array([[[0, 5, 7, 0]]])
    """
    options = (kernel_size, stride, padding, output_size)
    return _max_unpool("max_unpool1d", 1, input, indices, options, out, threads)


def max_unpool2d(
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """The values of a max pooling put back where they were found, among zeros.

    ``out[n, c, h, w] = input[n, c, p, q]`` for each ``indices[n, c, p, q] = h * W + w``. Where
    windows overlapped and an index comes twice, the last value stays.

    Parameters
    ----------
    input : array_like, shape (N, C, P, Q) or (C, P, Q)
        Values, real. If its strides are those of an (N, P, Q, C) array, so are the result's.
    indices : array_like of int, the same shape
        Places in the planes of the result, as `max_pool2d` returns them.
    kernel_size, stride, padding
        Those of the pooling.
    output_size : int or sequence of int, optional
        The size (H, W) or the whole shape of what was pooled. It may differ by less than the
        stride from the default, ``(P - 1) * stride - padding + kernel_size``.
    out, threads
        As in `max_pool2d`; a wrong index leaves `out` as it was.

    Returns
    -------
    ndarray, shape (N, C, H, W) or (C, H, W)
        In the dtype of the input.

    Raises
    ------
    ValueError
        If an index is outside its plane, or shapes and sizes do not fit.
    TypeError
        If the indices are not integers, or the input is complex or not numeric.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2, 0, 3], [9, 4, 3, 3]]]], np.float32)
    >>> values, indices = fastconv.max_pool2d(x, 2, return_indices=True)
    >>> fastconv.max_unpool2d(values, indices, 2)
    array([[[[0., 0., 0., 3.],
             [9., 0., 0., 0.]]]], dtype=float32)
    """
    options = (kernel_size, stride, padding, output_size)
    return _max_unpool("max_unpool2d", 2, input, indices, options, out, threads)


def max_unpool3d(
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """The values of a max pooling put back where they were found, among zeros.

    Parameters
    ----------
    input : array_like, shape (N, C, O, P, Q) or (C, O, P, Q)
    indices : array_like of int, the same shape
    kernel_size, stride, padding, output_size, out, threads
        As in `max_unpool2d`, for three axes.

    Returns
    -------
    ndarray, shape (N, C, D, H, W) or (C, D, H, W)

    Raises
    ------
    ValueError, TypeError
        As `max_unpool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.max_unpool3d(np.array([[[[[5]]]]]), np.array([[[[[6]]]]]), 2)
    array([[[[[0, 0],
              [0, 0]],
             [[0, 0],
              [5, 0]]]]])
    """
    options = (kernel_size, stride, padding, output_size)
    return _max_unpool("max_unpool3d", 3, input, indices, options, out, threads)
