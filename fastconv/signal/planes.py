"""The doors of two dimensions, with boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np

from .filtering import (
    MODES,
    SMALLEST,
    ZEROS,
    Border,
    Extras,
    acceptable,
    filtered,
    filtered_with_extras,
    scipy_signal,
)

# SciPy's names of a boundary, and NumPy's.
BOUNDARIES = {
    "fill": "constant",
    "pad": "constant",
    "wrap": "wrap",
    "circular": "wrap",
    "symm": "symmetric",
    "symmetric": "symmetric",
}


def convolve2d(
    in1: Any,
    in2: Any,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    *,
    batched: bool = False,
    stride: Any = 1,
    dilation: Any = 1,
    threads: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Convolve two images: `scipy.signal.convolve2d`, on all cores.

    Parameters
    ----------
    in1 : array_like, shape (H, W), or (*batch, H, W) with `batched`
    in2 : array_like, shape (R, S)
    mode : {"full", "same", "valid"}
        As in `convolve`.
    boundary : {"fill", "wrap", "symm"}
        What lies beyond `in1`: `fillvalue`, the opposite side, or its mirror image with the border
        repeated.
    fillvalue : scalar, default 0
    batched, stride, dilation, threads, out
        As in `convolve`.

    Returns
    -------
    ndarray
        Of ``numpy.result_type(in1, in2)``. A NaN stays in the windows that hold it.

    Raises
    ------
    ValueError, TypeError
        As `scipy.signal.convolve2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import signal
    >>> signal.convolve2d(np.eye(3), [[1, 10]], "same")
    array([[ 1., 10.,  0.],
           [ 0.,  1., 10.],
           [ 0.,  0.,  1.]])
    >>> signal.convolve2d([[1, 2, 3]], [[1, 10]], boundary="wrap")
    array([[31, 12, 23, 31]])
    """
    if batched or stride != 1 or dilation != 1 or threads is not None or out is not None:
        extras = Extras(batched, stride, dilation, threads, out)
        return _with_extras("convolve2d", in1, in2, mode, boundary, fillvalue, False, extras)
    try:  # a tiny call is over in 3 us: a look at its types would be a share of that
        tiny = in1.size * in2.size < SMALLEST
    except (AttributeError, TypeError):
        tiny = False
    if not tiny and acceptable(in1, in2):
        return _plane("convolve2d", in1, in2, mode, boundary, fillvalue, False)
    return scipy_signal.convolve2d(in1, in2, mode, boundary, fillvalue)


def correlate2d(
    in1: Any,
    in2: Any,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    *,
    batched: bool = False,
    stride: Any = 1,
    dilation: Any = 1,
    threads: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Cross-correlate two images: `scipy.signal.correlate2d`, on all cores.

    Parameters
    ----------
    in1, in2, mode, boundary, fillvalue, batched, stride, dilation, threads, out
        As in `convolve2d`.

    Returns
    -------
    ndarray
        Of ``numpy.result_type(in1, in2)``; complex `in2` is conjugated.

    Raises
    ------
    ValueError, TypeError
        As `scipy.signal.correlate2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import signal
    >>> signal.correlate2d([[1, 2, 3]], [[1, 10]], "valid")
    array([[21, 32]])
    >>> signal.correlate2d(np.ones((1, 3)), np.ones((3, 3)), "same", "symm")
    array([[9., 9., 9.]])
    """
    if batched or stride != 1 or dilation != 1 or threads is not None or out is not None:
        extras = Extras(batched, stride, dilation, threads, out)
        return _with_extras("correlate2d", in1, in2, mode, boundary, fillvalue, True, extras)
    try:  # a tiny call is over in 3 us: a look at its types would be a share of that
        tiny = in1.size * in2.size < SMALLEST
    except (AttributeError, TypeError):
        tiny = False
    if not tiny and acceptable(in1, in2):
        return _plane("correlate2d", in1, in2, mode, boundary, fillvalue, True)
    return scipy_signal.correlate2d(in1, in2, mode, boundary, fillvalue)


def _with_extras(
    op: str,
    in1: Any,
    in2: Any,
    mode: Any,
    boundary: Any,
    fillvalue: Any,
    correlate: bool,
    extras: Extras,
) -> np.ndarray:
    if boundary not in BOUNDARIES:
        names = tuple(BOUNDARIES)
        raise ValueError(f"{op}: boundary must be one of {names}, not {boundary!r}")
    if np.ndim(in2) != 2:
        raise ValueError(f"{op}: in2 must have two dimensions, not shape {np.shape(in2)}")
    border = _border(boundary, fillvalue)
    return filtered_with_extras(
        op, in1, in2, mode, "auto", correlate, extras, border, late=correlate
    )


def _plane(
    op: str, in1: Any, in2: Any, mode: Any, boundary: Any, fillvalue: Any, correlate: bool
) -> np.ndarray:
    known = mode in MODES and boundary in BOUNDARIES and np.isscalar(fillvalue)
    if known and in1.ndim == 2:
        # SciPy swaps them then, and conjugates the other one.
        turned = correlate and mode == "valid" and in1.size < in2.size
        if not turned or np.result_type(in1, in2).kind != "c":
            border = _border(boundary, fillvalue)
            return filtered(op, in1, in2, mode, "auto", correlate, border, late=correlate)
    return getattr(scipy_signal, op)(in1, in2, mode, boundary, fillvalue)


def _border(boundary: str, fillvalue: Any) -> Border:
    border = Border(BOUNDARIES[boundary], fillvalue)
    return ZEROS if border.mode == "constant" and fillvalue == 0 else border
