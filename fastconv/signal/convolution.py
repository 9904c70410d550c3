"""The doors of convolution and correlation in any number of dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .filtering import (
    METHODS,
    MODES,
    SPREADING,
    Extras,
    acceptable,
    algorithm,
    filtered,
    filtered_with_extras,
    lower,
    pair,
    scipy_signal,
    whole_is_faster,
    window,
)


def convolve(
    in1: Any,
    in2: Any,
    mode: str = "full",
    method: str = "auto",
    *,
    batched: bool = False,
    stride: Any = 1,
    dilation: Any = 1,
    threads: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Convolve two arrays: `scipy.signal.convolve`, on all cores.

    ``out[n] = sum over m of in1[m] * in2[n - m]``, along every axis.

    Parameters
    ----------
    in1 : array_like
        With `batched`, shape (*batch, *spatial), else (*spatial).
    in2 : array_like, shape (*kernel)
        As many dimensions as `in1` has spatial ones.
    mode : {"full", "same", "valid"}
        All sums; as many as `in1` has cells, from the middle; those without padding.
    method : {"auto", "direct", "fft"}
        "direct" sums products. "auto" and "fft" multiply spectra where that is faster; "auto" never
        does so if a number is NaN or infinite, so that it stays in the windows that hold it, and
        neither does for integers, which are exact modulo two to their width.
    batched : bool, default False
        Whether `in1` has axes more than `in2`, in front: each of their cells is convolved.
    stride : int or tuple of int, default 1
        Only every so many-th output of the mode, one number for each spatial axis.
    dilation : int or tuple of int, default 1
        Distance between neighbouring cells of `in2`.
    threads : int, optional
        At most so many threads.
    out : ndarray, optional
        Takes the result; of its shape and dtype, and apart from the inputs.

    Returns
    -------
    ndarray
        Of ``numpy.result_type(in1, in2)``: float32 stays float32.

    Raises
    ------
    ValueError, TypeError
        As `scipy.signal.convolve`.

    Notes
    -----
    What the engine does not know (Booleans, objects, float16, more than three dimensions, other
    containers) and what is too small to gain anything is handed on to SciPy.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import signal
    >>> signal.convolve([1, 2, 3], [0, 1, 10])
    array([ 0,  1, 12, 23, 30])
    >>> signal.convolve(np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([1, 10]), "valid",
    ...                 batched=True, stride=2)
    array([[12.],
           [45.]], dtype=float32)
    """
    if batched or stride != 1 or dilation != 1 or threads is not None or out is not None:
        extras = Extras(batched, stride, dilation, threads, out)
        return filtered_with_extras("convolve", in1, in2, mode, method, False, extras)
    if acceptable(in1, in2, method == "fft") and mode in MODES and method in METHODS:
        return filtered("convolve", in1, in2, mode, method, False)
    return scipy_signal.convolve(in1, in2, mode, handed_on(in1, in2, method))


def correlate(
    in1: Any,
    in2: Any,
    mode: str = "full",
    method: str = "auto",
    *,
    batched: bool = False,
    stride: Any = 1,
    dilation: Any = 1,
    threads: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Cross-correlate two arrays: `scipy.signal.correlate`, on all cores.

    ``out[n] = sum over m of in1[n + m - k] * conj(in2[m])``, along every axis, with k the length
    of `in2` less one in mode "full".

    Parameters
    ----------
    in1, in2, mode, method, batched, stride, dilation, threads, out
        As in `convolve`.

    Returns
    -------
    ndarray
        Of ``numpy.result_type(in1, in2)``.

    Raises
    ------
    ValueError, TypeError
        As `scipy.signal.correlate`.

    Examples
    --------
    >>> from fastconv import signal
    >>> signal.correlate([1, 2, 3], [0, 1, 10])
    array([10, 21, 32,  3,  0])
    >>> signal.correlate([1 + 2j, 3j], [1j], "same")
    array([2.-1.j, 3.+0.j])
    """
    if batched or stride != 1 or dilation != 1 or threads is not None or out is not None:
        extras = Extras(batched, stride, dilation, threads, out)
        return filtered_with_extras("correlate", in1, in2, mode, method, True, extras)
    if acceptable(in1, in2, method == "fft") and mode in MODES and method in METHODS:
        return filtered("correlate", in1, in2, mode, method, True)
    return scipy_signal.correlate(in1, in2, mode, handed_on(in1, in2, method))


def handed_on(in1: Any, in2: Any, method: str) -> str:
    """The method that SciPy is asked for: its choice costs more than a small direct sum."""
    if method == "auto" and type(in1) is type(in2) is np.ndarray and in1.ndim <= 3:
        return "direct"
    return method


def choose_conv_method(
    in1: Any, in2: Any, mode: str = "full", measure: bool = False
) -> str | tuple[str, dict[str, float]]:
    """Whether `convolve` would multiply spectra: `scipy.signal.choose_conv_method`.

    Parameters
    ----------
    in1, in2 : array_like
    mode : {"full", "same", "valid"}
    measure : bool, default False
        Time both methods instead of estimating them.

    Returns
    -------
    str or (str, dict)
        "direct" or "fft"; with `measure` also the seconds that each took.

    Raises
    ------
    ValueError
        As `convolve`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import signal
    >>> signal.choose_conv_method(np.ones(441_000, np.float32), np.ones(20_000, np.float32))
    'fft'
    >>> signal.choose_conv_method(np.ones((640, 480)), np.ones((3, 3)))
    'direct'
    """
    if measure:
        times = {method: _seconds(in1, in2, mode, method) for method in ("fft", "direct")}
        return min(times, key=lambda method: times[method]), times
    a, b = np.asarray(in1), np.asarray(in2)
    if not acceptable(a, b) or mode not in MODES or np.result_type(a, b).kind in "iu":
        if a.dtype.kind in "iub" or b.dtype.kind in "iub":
            return "direct"
        return scipy_signal.choose_conv_method(in1, in2, mode)
    x, kernel = pair(a, b)
    if x.size < kernel.size:
        x, kernel = kernel, x
    part = window(mode, x.shape, kernel.shape, (1,) * x.ndim)
    _, geometry = lower("choose_conv_method", x, kernel, part, (1,) * x.ndim)
    spreads = algorithm(geometry, x.dtype, False) in SPREADING
    return "fft" if spreads or whole_is_faster(geometry, x.dtype) else "direct"


def _seconds(in1: Any, in2: Any, mode: str, method: str) -> float:
    """The shortest of some calls."""
    import timeit

    timer = timeit.Timer(lambda: convolve(in1, in2, mode, method))
    count = max(1, int(0.01 / max(timer.timeit(1), 1e-6)))
    return min(timer.repeat(3, count)) / count
