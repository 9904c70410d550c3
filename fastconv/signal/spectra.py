"""The doors of scipy.signal's two Fourier methods."""

from __future__ import annotations

from typing import Any

import numpy as np

from .filtering import (
    FLOATS,
    MODES,
    acceptable,
    correlate_part,
    filtered,
    flipped,
    left_to_scipy,
    nested,
    pair,
    scipy_signal,
    window,
)


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> np.ndarray:
    """Convolve two arrays by their spectra: `scipy.signal.fftconvolve`, on all cores.

    Parameters
    ----------
    in1, in2 : array_like
        Of as many dimensions.
    mode : {"full", "same", "valid"}
        As in `convolve`.
    axes : int or sequence of int, optional
        Along which to convolve, by default all; along the others arrays are broadcast.

    Returns
    -------
    ndarray
        Of ``numpy.result_type(in1, in2)``; of integers float64, as in SciPy.

    Raises
    ------
    ValueError, TypeError
        As `scipy.signal.fftconvolve`.

    Notes
    -----
    Sums of products take the place of spectra where they are faster: then the result is the more
    exact, and a NaN stays in the windows that hold it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import signal
    >>> signal.fftconvolve([1.0, 2, 3], [0.0, 1, 10]).round(9) + 0.0
    array([ 0.,  1., 12., 23., 30.])
    """
    return _by_spectra("fftconvolve", in1, in2, mode, axes)


def oaconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> np.ndarray:
    """Convolve two arrays of unlike sizes: `scipy.signal.oaconvolve`, on all cores.

    Parameters
    ----------
    in1, in2, mode, axes
        As in `fftconvolve`, which cuts long signals into tiles too.

    Returns
    -------
    ndarray
        As `fftconvolve`.

    Raises
    ------
    ValueError, TypeError
        As `scipy.signal.oaconvolve`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import signal
    >>> signal.oaconvolve(np.ones(6), np.ones(3), "same").round(9)
    array([2., 3., 3., 3., 3., 2.])
    """
    return _by_spectra("oaconvolve", in1, in2, mode, axes)


def _by_spectra(op: str, in1: Any, in2: Any, mode: Any, axes: Any) -> np.ndarray:
    scipys = getattr(scipy_signal, op)
    if axes is None and not acceptable(in1, in2, spectra=True):
        return scipys(in1, in2, mode)
    if mode not in MODES or type(in1) is not np.ndarray or type(in2) is not np.ndarray:
        return scipys(in1, in2, mode, axes)
    if in1.ndim != in2.ndim or not in1.ndim > 0:
        return scipys(in1, in2, mode, axes)
    try:
        along = range(in1.ndim) if axes is None else np.atleast_1d(axes).tolist()
        lone = all(1 in (in1.shape[a], in2.shape[a]) for a in along)
    except (TypeError, IndexError):
        lone = True
    if lone:  # an error, or broadcasting and nothing else
        return scipys(in1, in2, mode, axes)
    if np.result_type(in1, in2).kind in "iu":
        in1, in2 = in1.astype(np.float64), in2.astype(np.float64)
    if in1.dtype.char not in FLOATS or in2.dtype.char not in FLOATS:
        return scipys(in1, in2, mode, axes)
    if axes is None:
        # An axis of one cell is broadcast, which is a convolution of it.
        ours = mode != "valid" or nested(in1.shape, in2.shape)
        kind = np.result_type(in1, in2)
        if ours and not left_to_scipy(in1.shape, in2.shape, kind, mode):
            return filtered(op, in1, in2, mode, "fft", False)
        return scipys(in1, in2, mode, axes)
    return _along(op, in1, in2, mode, [a % in1.ndim for a in along])


def _along(op: str, in1: np.ndarray, in2: np.ndarray, mode: str, axes: list[int]) -> np.ndarray:
    """Along some axes, if the rest of `in2` is a single cell; SciPy does the rest."""
    along, others = sorted(axes), [a for a in range(in1.ndim) if a not in axes]
    fits = len(set(along)) == len(along) <= 3
    fits = fits and in1.size > 0 and all(in2.shape[a] == 1 for a in others)
    fits = fits and all(1 <= in2.shape[a] <= in1.shape[a] for a in along)
    kernel = in2.reshape([in2.shape[a] for a in along]) if fits else in2
    if not fits or not acceptable(np.empty(in1.size), np.empty(kernel.size), True):
        return getattr(scipy_signal, op)(in1, in2, mode, axes)
    x, kernel = pair(in1, kernel)
    moved = x.transpose(*others, *along)
    sizes = moved.shape[len(others) :]
    part = window(mode, sizes, kernel.shape, (1,) * kernel.ndim)
    y = correlate_part(op, moved, flipped(kernel), part, method="fft")
    return y.transpose(np.argsort([*others, *along]))
