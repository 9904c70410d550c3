"""The doors of the gradients of norms over sliding windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import pooling
from ..arguments import as_threads
from ..arrays import as_operand
from ..functional.norms import as_norm
from ..functional.pooling import sliding


def _lp_gradient(
    op: str,
    rank: int,
    arrays: dict[str, Any],
    norm_type: Any,
    options: tuple[Any, ...],
    out: Any,
    threads: Any,
) -> np.ndarray:
    operands = {name: as_operand(op, name, array, True) for name, array in arrays.items()}
    geometry = sliding(op, rank, operands["input"].shape, options)
    norm, threads = as_norm(op, norm_type), as_threads(op, threads)
    return pooling.lp_pool_input(op, geometry, operands, norm, out, threads)


def lp_pool1d(
    grad_output: Any,
    input: Any,
    output: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.lp_pool1d` with respect to its input, zero where the input is zero.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, P) or (C, P)
        Gradient with respect to the output.
    input : array_like, shape (N, C, L) or (C, L)
    output : array_like, the shape of `grad_output`
        What the pooling made of `input`.
    norm_type, kernel_size, stride, ceil_mode
        Those of the pooling. With an infinite norm the term of a window goes to its first largest
        absolute value.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, the shape and the memory format of `input`
        In the common dtype of the three arrays.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.lp_pool1d`, and if the shapes do not fit.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[3.0, -4.0, -1.0, 2.0]]])
    >>> y = fastconv.lp_pool1d(x, 1, 2)
    >>> fastconv.grad.lp_pool1d(np.array([[[5.0, 7.0]]]), x, y, 1, 2)
    array([[[ 5., -5., -7.,  7.]]])
    """
    arrays = {"grad_output": grad_output, "input": input, "output": output}
    options = (kernel_size, stride, 0, 1, ceil_mode)
    return _lp_gradient("grad.lp_pool1d", 1, arrays, norm_type, options, out, threads)


def lp_pool2d(
    grad_output: Any,
    input: Any,
    output: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.lp_pool2d` with respect to its input, zero where the input is zero.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, P, Q) or (C, P, Q)
        Gradient with respect to the output.
    input : array_like, shape (N, C, H, W) or (C, H, W)
    output : array_like, the shape of `grad_output`
        What the pooling made of `input`.
    norm_type, kernel_size, stride, ceil_mode
        Those of the pooling. With an infinite norm the term of a window goes to its first largest
        absolute value.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, the shape and the memory format of `input`
        In the common dtype of the three arrays.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.lp_pool2d`, and if the shapes do not fit.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[3, 0], [0, -4]]]], np.float32)
    >>> y = fastconv.lp_pool2d(x, 2, 2)
    >>> fastconv.grad.lp_pool2d(np.array([[[[10]]]], np.float32), x, y, 2, 2)
    array([[[[ 6.,  0.],
             [ 0., -8.]]]], dtype=float32)
    """
    arrays = {"grad_output": grad_output, "input": input, "output": output}
    options = (kernel_size, stride, 0, 1, ceil_mode)
    return _lp_gradient("grad.lp_pool2d", 2, arrays, norm_type, options, out, threads)


def lp_pool3d(
    grad_output: Any,
    input: Any,
    output: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Gradient of `fastconv.lp_pool3d` with respect to its input, zero where the input is zero.

    Parameters
    ----------
    grad_output : array_like, shape (N, C, O, P, Q) or (C, O, P, Q)
        Gradient with respect to the output.
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    output : array_like, the shape of `grad_output`
        What the pooling made of `input`.
    norm_type, kernel_size, stride, ceil_mode
        Those of the pooling. With an infinite norm the term of a window goes to its first largest
        absolute value.
    out, threads
        As in `fastconv.max_pool2d`.

    Returns
    -------
    ndarray, the shape and the memory format of `input`
        In the common dtype of the three arrays.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.lp_pool3d`, and if the shapes do not fit.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.full((1, 1, 1, 1, 2), 2.0)
    >>> y = fastconv.lp_pool3d(x, 1, (1, 1, 2))
    >>> fastconv.grad.lp_pool3d(np.array([[[[[5.0]]]]]), x, y, 1, (1, 1, 2))
    array([[[[[5., 5.]]]]])
    """
    arrays = {"grad_output": grad_output, "input": input, "output": output}
    options = (kernel_size, stride, 0, 1, ceil_mode)
    return _lp_gradient("grad.lp_pool3d", 3, arrays, norm_type, options, out, threads)
