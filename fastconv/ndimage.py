"""scipy.ndimage's `correlate` and `convolve` on this library's engine, for floating-point images.

Integers and complex numbers, more than three dimensions, and what is too small to gain anything go
to SciPy itself.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from .signal import filtering
from .signal.filtering import Border, Window, correlate_part, extended, flipped

__all__ = ["convolve", "correlate"]

# SciPy's names of what lies beyond the border, and NumPy's.
BORDERS = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "nearest": "edge",
    "mirror": "reflect",
    "wrap": "wrap",
    "grid-wrap": "wrap",
    "constant": "constant",
    "grid-constant": "constant",
}


@functools.cache
def scipy_ndimage() -> ModuleType:
    """SciPy's module, imported when a call is first handed on to it."""
    import scipy.ndimage

    return scipy.ndimage


def correlate(
    input: Any,
    weights: Any,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    **options: Any,
) -> np.ndarray:
    """Filter an image: `scipy.ndimage.correlate`, on all cores.

    ``out[i] = sum over t of weights[t] * input[i + t - size // 2 - origin]``, along every axis.

    Parameters
    ----------
    input : array_like
    weights : array_like
        As many dimensions as `input`.
    output : ndarray or dtype, optional
        Takes the result, or says of which type it is.
    mode : {"reflect", "nearest", "mirror", "wrap", "constant"}
        What lies beyond the border: the mirror image with or (mirror) without the border itself,
        the border, the opposite side, or `cval`.
    cval : float, default 0
    origin : int or sequence of int, default 0
        Cells by which the filter is moved to the left.
    **options
        ``axes=``, which is SciPy's.

    Returns
    -------
    ndarray
        Of the dtype of `input`. float32 is summed in float32, where SciPy sums in float64.

    Raises
    ------
    ValueError, RuntimeError
        As `scipy.ndimage.correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.correlate(np.array([1.0, 2, 4]), [1, 10, 100])
    array([211., 421., 442.])
    """
    return _filter("correlate", input, weights, output, mode, cval, origin, options)


def convolve(
    input: Any,
    weights: Any,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    **options: Any,
) -> np.ndarray:
    """Filter an image with the mirrored weights: `scipy.ndimage.convolve`, on all cores.

    Parameters
    ----------
    input, weights, output, mode, cval, origin, **options
        As in `correlate`; a positive origin moves the filter to the right.

    Returns
    -------
    ndarray
        As `correlate`.

    Raises
    ------
    ValueError, RuntimeError
        As `scipy.ndimage.convolve`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.convolve(np.array([1.0, 2, 4]), [1, 10, 100], mode="constant")
    array([ 12., 124., 240.])
    """
    return _filter("convolve", input, weights, output, mode, cval, origin, options)


def _filter(
    op: str,
    input: Any,
    weights: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    options: dict[str, Any],
) -> np.ndarray:
    x, w = input, weights
    ours = not options and type(x) is type(w) is np.ndarray and mode in BORDERS
    ours = ours and x.dtype.char in "fd" and w.dtype.kind in "fiu" and x.ndim == w.ndim
    ours = ours and 1 <= x.ndim <= 3 and x.size * w.size >= filtering.SMALLEST
    ours = ours and w.size > 0 and all(n >= k for n, k in zip(x.shape, w.shape))
    origins = [origin] * x.ndim if ours and isinstance(origin, int) else origin
    if not ours or not isinstance(origins, (list, tuple)) or not _fits(w.shape, origins, x, output):
        scipys = getattr(scipy_ndimage(), op)
        return scipys(input, weights, output, mode, cval, origin, **options)
    x, kernel = np.require(x, requirements="A"), w.astype(x.dtype)
    if op == "convolve":
        kernel = flipped(kernel)
        origins = [-o - 1 + k % 2 for o, k in zip(origins, w.shape)]
    firsts = tuple(k - 1 - k // 2 - o for o, k in zip(origins, w.shape))
    part = Window(firsts, x.shape, (1,) * x.ndim)
    border = Border(BORDERS[mode], cval)
    if border != filtering.ZEROS:
        x, part = extended(x, w.shape, part, border)
    y = correlate_part(op, x, kernel, part)
    if not isinstance(output, np.ndarray):
        return y
    output[...] = y
    return output


def _fits(kernel: tuple[int, ...], origins: Any, x: np.ndarray, output: Any) -> bool:
    """Whether origins keep the filter over its cell, and a native result of its dtype is wanted."""
    if not x.dtype.isnative or len(origins) != x.ndim:
        return False
    if not all(
        isinstance(o, int) and -(k // 2) <= o <= (k - 1) // 2 for o, k in zip(origins, kernel)
    ):
        return False
    if output is None:
        return True
    if isinstance(output, np.ndarray):
        return output.shape == x.shape and output.dtype == x.dtype
    return output in (x.dtype, x.dtype.type, x.dtype.name)
