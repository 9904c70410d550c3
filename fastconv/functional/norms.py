"""The doors of norms over sliding windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import pooling
from ..arguments import as_threads
from ..arrays import as_operand
from .pooling import sliding


def as_norm(op: str, norm_type: Any) -> float:
    """The argument `norm_type`, checked: a positive number, infinity too."""
    try:
        norm = float(norm_type)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{op}: norm_type must be a number, not {norm_type!r}") from None
    if not norm > 0:
        raise ValueError(f"{op}: norm_type must be positive, not {norm}")
    return norm


def _lp_pool(
    op: str,
    rank: int,
    input: Any,
    norm_type: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
) -> np.ndarray:
    x = as_operand(op, "input", input, True)
    geometry = sliding(op, rank, x.shape, options)
    return pooling.lp_pool(op, geometry, x, as_norm(op, norm_type), out, as_threads(op, threads))


def lp_pool1d(
    input: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Norm of each window of a batch of signals.

    Parameters
    ----------
    input : array_like, shape (N, C, L) or (C, L)
    norm_type, kernel_size, stride, ceil_mode, out, threads
        As in `lp_pool2d`, for one axis.

    Returns
    -------
    ndarray, shape (N, C, P) or (C, P)

    Raises
    ------
    ValueError, TypeError
        As `lp_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.lp_pool1d(np.array([[[3.0, -4.0, -1.0, 2.0]]]), 1, 2)
    array([[[7., 3.]]])
    """
    options = (kernel_size, stride, 0, 1, ceil_mode)
    return _lp_pool("lp_pool1d", 1, input, norm_type, options, out, threads)


def lp_pool2d(
    input: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Norm of each window of a batch of images.

    ``out[n, c, p, q] = (sum over r, s of
    abs(input[n, c, p * stride + r, q * stride + s])**norm_type) ** (1 / norm_type)``

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Of a floating-point dtype and any strides. If its strides are those of an (N, H, W, C)
        array, so are the result's.
    norm_type : float
        Positive; `math.inf` gives the largest absolute value.
    kernel_size, stride, ceil_mode, out, threads
        As in `max_pool2d`.

    Returns
    -------
    ndarray, shape (N, C, P, Q) or (C, P, Q)
        In the dtype of the input. A window that hangs over the end has the sum of fewer cells;
        PyTorch scales that sum as if there were all of them, and its sums of odd powers are signed.

    Raises
    ------
    ValueError
        As `max_pool2d`, and if `norm_type` is not positive.
    TypeError
        As `max_pool2d`, and if the input is not of a floating-point dtype.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[3, 0, 1, 2], [0, -4, 2, 4]]]], np.float32)
    >>> fastconv.lp_pool2d(x, 2, 2)
    array([[[[5., 5.]]]], dtype=float32)
    """
    options = (kernel_size, stride, 0, 1, ceil_mode)
    return _lp_pool("lp_pool2d", 2, input, norm_type, options, out, threads)


def lp_pool3d(
    input: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Norm of each window of a batch of volumes.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    norm_type, kernel_size, stride, ceil_mode, out, threads
        As in `lp_pool2d`, for three axes.

    Returns
    -------
    ndarray, shape (N, C, O, P, Q) or (C, O, P, Q)

    Raises
    ------
    ValueError, TypeError
        As `lp_pool2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.lp_pool3d(np.full((1, 1, 2, 2, 4), -3.0), 3, 2)
    array([[[[[6., 6.]]]]])
    """
    options = (kernel_size, stride, 0, 1, ceil_mode)
    return _lp_pool("lp_pool3d", 3, input, norm_type, options, out, threads)
