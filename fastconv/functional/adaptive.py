"""The doors of adaptive pooling, whose windows share out the input whatever its size."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import pooling
from ..arguments import Size, as_flag, as_threads, plain
from ..arrays import as_operand
from ..geometry import AdaptiveGeometry

_remembered = functools.lru_cache(maxsize=1024)(AdaptiveGeometry.adaptive)


def adaptive(op: str, rank: int, shape: Size, output_size: Any) -> AdaptiveGeometry:
    """`AdaptiveGeometry.adaptive`, remembered for an output size that is plain."""
    make = _remembered if plain(output_size) else AdaptiveGeometry.adaptive
    return make(op, rank, shape, output_size)


def _adaptive_avg_pool(
    op: str, rank: int, input: Any, output_size: Any, out: Any, threads: Any
) -> np.ndarray:
    x, threads = as_operand(op, "input", input, True), as_threads(op, threads)
    key, call = pooling.known(op, (output_size,), out, x)
    if call is not None:
        return call(x, threads)
    geometry = adaptive(op, rank, x.shape, output_size)
    return pooling.avg_pool(op, geometry, x, False, None, out, threads, key)


def _adaptive_max_pool(
    op: str,
    rank: int,
    input: Any,
    output_size: Any,
    return_indices: bool,
    out: Any,
    threads: Any,
) -> Any:
    x, threads = as_operand(op, "input", input, True), as_threads(op, threads)
    key, call = pooling.known(op, (output_size, return_indices), out, x)
    if call is not None:
        return call(x, threads)
    geometry = adaptive(op, rank, x.shape, output_size)
    wanted = as_flag(op, "return_indices", return_indices)
    return pooling.max_pool(op, geometry, x, wanted, out, threads, key)


def adaptive_avg_pool1d(
    input: Any,
    output_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Means of a signal over bins.

    Parameters
    ----------
    input : array_like, shape (N, C, L) or (C, L)
    output_size, out, threads
        As in `adaptive_avg_pool2d`, for one axis.

    Returns
    -------
    ndarray, shape (N, C, P) or (C, P)

    Raises
    ------
    ValueError, TypeError
        As `adaptive_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.adaptive_avg_pool1d(np.array([[[2.0, 4.0, 6.0, 8.0, 10.0]]]), 3)
    array([[[3., 6., 9.]]])
    """
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size, out, threads)


def adaptive_avg_pool2d(
    input: Any,
    output_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Means of an image over a grid of bins.

    Bin i of o bins over L cells holds the cells ``floor(i * L / o)`` to ``ceil((i + 1) * L / o)``,
    the last one excluded; neighbours may share a cell.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Of a floating-point or complex dtype and any strides. If its strides are those of an
        (N, H, W, C) array, so are the result's.
    output_size : int, None or (int or None, int or None)
        Bins along each axis; None keeps the axis as it is. May be larger than the input.
    out, threads
        As in `max_pool2d`.

    Returns
    -------
    ndarray, shape (N, C, P, Q) or (C, P, Q)
        In the dtype of the input.

    Raises
    ------
    ValueError
        If a shape does not fit or a number of bins is below 1.
    TypeError
        If the input is of integers or not numeric, or a number of bins is not an integer.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2, 6], [3, 4, 8]]]], np.float32)
    >>> fastconv.adaptive_avg_pool2d(x, 1)
    array([[[[4.]]]], dtype=float32)
    >>> fastconv.adaptive_avg_pool2d(x, (None, 2))
    array([[[[1.5, 4. ],
             [3.5, 6. ]]]], dtype=float32)
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size, out, threads)


def adaptive_avg_pool3d(
    input: Any,
    output_size: Any,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Means of a volume over bins.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    output_size, out, threads
        As in `adaptive_avg_pool2d`, for three axes.

    Returns
    -------
    ndarray, shape (N, C, O, P, Q) or (C, O, P, Q)

    Raises
    ------
    ValueError, TypeError
        As `adaptive_avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.adaptive_avg_pool3d(np.arange(16.0).reshape(1, 1, 2, 2, 4), (1, 1, 2))
    array([[[[[6.5, 8.5]]]]])
    """
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size, out, threads)


def adaptive_max_pool1d(
    input: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> Any:
    """Largest values of a signal over bins.

    Parameters
    ----------
    input : array_like, shape (N, C, L) or (C, L)
    output_size, return_indices, out, threads
        As in `adaptive_max_pool2d`, for one axis.

    Returns
    -------
    values : ndarray, shape (N, C, P) or (C, P)
    indices : ndarray of int64, the same shape
        Only with `return_indices`.

    Raises
    ------
    ValueError, TypeError
        As `adaptive_max_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.adaptive_max_pool1d(np.array([[[2, 4, 7, 8, 1]]]), 3)
    array([[[4, 8, 8]]])
    """
    name = "adaptive_max_pool1d"
    return _adaptive_max_pool(name, 1, input, output_size, return_indices, out, threads)


def adaptive_max_pool2d(
    input: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> Any:
    """Largest values of an image over a grid of bins, those of `adaptive_avg_pool2d`.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Real, of any integer or floating-point dtype and any strides.
    output_size
        As in `adaptive_avg_pool2d`.
    return_indices, out, threads
        As in `max_pool2d`.

    Returns
    -------
    values : ndarray, shape (N, C, P, Q) or (C, P, Q)
        In the dtype of the input. NaN counts as larger than everything.
    indices : ndarray of int64, the same shape
        Only with `return_indices`: places in the flattened plane, as in `max_pool2d`.

    Raises
    ------
    ValueError
        If a shape does not fit or a number of bins is below 1.
    TypeError
        If the input is complex or not numeric, or a number of bins is not an integer.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2, 6], [3, 4, 5]]]])
    >>> fastconv.adaptive_max_pool2d(x, (1, 2), return_indices=True)
    (array([[[[4, 6]]]]), array([[[[4, 2]]]]))
    """
    name = "adaptive_max_pool2d"
    return _adaptive_max_pool(name, 2, input, output_size, return_indices, out, threads)


def adaptive_max_pool3d(
    input: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> Any:
    """Largest values of a volume over bins.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    output_size, return_indices, out, threads
        As in `adaptive_max_pool2d`, for three axes.

    Returns
    -------
    values : ndarray, shape (N, C, O, P, Q) or (C, O, P, Q)
    indices : ndarray of int64, the same shape
        Only with `return_indices`.

    Raises
    ------
    ValueError, TypeError
        As `adaptive_max_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.adaptive_max_pool3d(np.arange(16).reshape(1, 1, 2, 2, 4), (1, 2, 2))
    array([[[[[ 9, 11],
              [13, 15]]]]])
    """
    name = "adaptive_max_pool3d"
    return _adaptive_max_pool(name, 3, input, output_size, return_indices, out, threads)
