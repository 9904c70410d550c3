"""Filters that are a product of one filter per axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import as_threads
from ..arrays import as_operand
from .filtering import Border, correlate_part, extended, flipped, window


def sepfir2d(
    input: Any, hrow: Any, hcol: Any, *, batched: bool = False, threads: int | None = None
) -> np.ndarray:
    """Filter an image along its rows and its columns: `scipy.signal.sepfir2d`, on all cores.

    Beyond the border lies the mirror image, with the border repeated.

    Parameters
    ----------
    input : array_like, shape (H, W), or (*batch, H, W) with `batched`
    hrow, hcol : array_like, shapes (S,) and (R,)
        Filters along the rows and along the columns, of odd lengths; they are flipped, as in a
        convolution.
    batched : bool, default False
        Whether `input` holds images in front of its last two axes.
    threads : int, optional

    Returns
    -------
    ndarray, of the shape of `input`
        Of ``numpy.result_type(input, numpy.float32)``, as in SciPy: float32 stays float32.

    Raises
    ------
    ValueError
        If a shape does not fit or a filter has an even length.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import signal
    >>> signal.sepfir2d(np.float32([[1, 2, 4]]), [1, 0, 0], [2])
    array([[4., 8., 8.]], dtype=float32)
    """
    op = "sepfir2d"
    x = as_operand(op, "input", input)
    row, column = as_operand(op, "hrow", hrow), as_operand(op, "hcol", hcol)
    threads = as_threads(op, threads)
    if x.ndim < 2 or (x.ndim > 2 and not batched):
        raise ValueError(f"{op}: input must be an image (H, W), not of shape {x.shape}")
    for name, taps in (("hrow", row), ("hcol", column)):
        if taps.ndim != 1 or taps.size % 2 == 0:
            raise ValueError(f"{op}: {name} must be one row of odd length, not {taps.shape}")
    dtype = np.result_type(x, np.float32)
    if dtype.kind != "c" and "c" in (row.dtype.kind, column.dtype.kind):
        dtype = np.result_type(dtype, np.complex64)
    y = x.astype(dtype, copy=False)
    for kernel in (row[None, :], column[:, None]):
        if y.size:
            size = y.shape[-2:]
            part = window("same", size, kernel.shape, (1, 1))
            source, part = extended(y, kernel.shape, part, Border("symmetric"))
            weight = flipped(kernel).astype(dtype)
            y = correlate_part(op, source, weight, part, method="direct", threads=threads)
    return y
