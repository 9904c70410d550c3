"""scipy.ndimage's filters on this library's engine: `correlate`, `convolve` and morphology.

Complex numbers, integers where sums are made, more than three dimensions, and what is too small to
gain anything go to SciPy itself.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from .signal import filtering
from .signal.filtering import Border, Window, correlate_part, extended, flipped
from .stencils import extremes

__all__ = ["convolve", "correlate", "grey_dilation", "grey_erosion"]

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
# The same for stencils.
PADDING_MODES = {"symmetric": "symmetric", "edge": "replicate", "reflect": "reflect"}
PADDING_MODES |= {"wrap": "circular", "constant": "zeros"}
# Cells of a flat structure along an axis up to which ours is faster on one core: SciPy's time does
# not depend on them, 20 ns a cell and axis, ours is up to 0.2 ns a tap (Zen 3, 2026-11).
LONGEST = 64


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


def grey_dilation(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    **options: Any,
) -> np.ndarray:
    """Grey-scale dilation: `scipy.ndimage.grey_dilation`, in vectors and on all cores.

    ``out[i] = max over t of input[i - t + size // 2 + origin] + structure[t]``, for odd sizes.

    Parameters
    ----------
    input : array_like
    size : int or sequence of int, optional
        Of a flat structure, zero everywhere.
    footprint : array_like of bool, optional
        Where a flat structure is, or which cells of `structure` count.
    structure : array_like, optional
        As many dimensions as `input`.
    output, mode, cval, origin, **options
        As in `correlate`; `cval` stands for a cell beyond the border, to which the structure is
        added.

    Returns
    -------
    ndarray
        What SciPy returns; of equal zeros it may be the one with the other sign.

    Raises
    ------
    ValueError, RuntimeError, TypeError
        As `scipy.ndimage.grey_dilation`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.grey_dilation(np.array([1.0, 5, 2, 4, 1]), structure=[0, 0, 2])
    array([5., 5., 7., 4., 6.])
    """
    arguments = (size, footprint, structure, output, mode, cval, origin)
    return _morphology("grey_dilation", input, arguments, options)


def grey_erosion(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    **options: Any,
) -> np.ndarray:
    """Grey-scale erosion: `scipy.ndimage.grey_erosion`, in vectors and on all cores.

    ``out[i] = min over t of input[i + t - size // 2 - origin] - structure[t]``

    Parameters
    ----------
    input, size, footprint, structure, output, mode, cval, origin, **options
        As in `grey_dilation`.

    Returns
    -------
    ndarray
        As `grey_dilation`.

    Raises
    ------
    ValueError, RuntimeError, TypeError
        As `scipy.ndimage.grey_erosion`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.grey_erosion(np.array([3, 5, 2, 4, 1]), size=3, mode="nearest")
    array([3, 2, 2, 1, 1])
    """
    arguments = (size, footprint, structure, output, mode, cval, origin)
    return _morphology("grey_erosion", input, arguments, options)


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


# --- Morphology ---


def _morphology(
    op: str, input: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> np.ndarray:
    """Ours where it fits; SciPy's else, and for its errors."""
    y = None if options or type(input) is not np.ndarray else _extremes(op, input, *arguments)
    if y is None:
        scipys = getattr(scipy_ndimage(), op)
        return scipys(input, *arguments, **options)  # type: ignore[no-any-return]
    output = arguments[3]
    if not isinstance(output, np.ndarray):
        return y
    output[...] = y
    return output


def _extremes(
    op: str,
    x: np.ndarray,
    size: Any,
    footprint: Any,
    structure: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
) -> np.ndarray | None:
    """The largest or smallest of each window; None for what is SciPy's."""
    if (
        not 1 <= x.ndim <= 3
        or x.size == 0
        or x.dtype.char not in "fdbBhHiI"
        or not isinstance(mode, str)
    ):
        return None
    if mode not in BORDERS or (size is not None and (footprint, structure) != (None, None)):
        return None
    weights, used = _structure(x, size, footprint, structure)
    if weights is None or x.size * weights.size < filtering.SMALLEST:
        return None
    dilates = op == "grey_dilation"
    origins = [origin] * x.ndim if isinstance(origin, int) else origin
    if not isinstance(origins, (list, tuple)) or not all(isinstance(o, int) for o in origins):
        return None
    if dilates:
        weights, used = flipped(weights), None if used is None else flipped(used)
        origins = [-o - 1 + k % 2 for o, k in zip(origins, weights.shape)]
    if not _fits(weights.shape, origins, x, output) or not _holds(x.dtype, cval):
        return None
    x, padding_mode = np.require(x, requirements="A"), PADDING_MODES[BORDERS[mode]]
    pairs = tuple((k // 2 + o, k - 1 - k // 2 - o) for o, k in zip(origins, weights.shape))
    limit = {"reflect": -1, "circular": 0, "symmetric": 0}.get(padding_mode)
    if limit is not None and any(max(pair) > n + limit for pair, n in zip(pairs, x.shape)):
        return None
    if structure is None and used is None:  # one axis after the other
        if max(weights.shape) > LONGEST or 2 * x.size < filtering.SMALLEST:
            return None
        if x.dtype.kind == "f" and np.isnan(x.max()):
            return None  # there is no saying where SciPy has it then
        for axis, pair in enumerate(pairs):
            shape = tuple(k if a == axis else 1 for a, k in enumerate(weights.shape))
            if weights.shape[axis] > 1:
                borders = tuple(pair if a == axis else (0, 0) for a in range(x.ndim))
                x = extremes(x, np.zeros(shape), None, borders, padding_mode, cval, dilates)
        return x if any(k > 1 for k in weights.shape) else x.copy()
    return extremes(x, weights, used, pairs, padding_mode, cval, dilates)


def _structure(
    x: np.ndarray, size: Any, footprint: Any, structure: Any
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What is added to the cells of a window, and which of them count, if not all do."""
    used = None
    if footprint is not None:
        used = np.asarray(footprint, bool)
        if used.ndim != x.ndim or not used.any():
            return None, None
        used = None if used.all() and structure is None else used
    if structure is not None:
        weights = np.asarray(structure)
        if weights.dtype.kind not in "fiu" or weights.ndim != x.ndim or weights.size == 0:
            return None, None
        if used is not None and used.shape != weights.shape:
            return None, None
        # In integers SciPy's sums may leave the dtype; in float32 ours would round the structure.
        with np.errstate(over="ignore"):
            exact = x.dtype.kind == "f" and np.array_equal(weights.astype(x.dtype), weights)
        return (weights if exact else None), used
    if footprint is not None:
        return np.zeros(np.shape(footprint)), used
    sizes = (size,) * x.ndim if isinstance(size, int) else size
    if not isinstance(sizes, (list, tuple)) or len(sizes) != x.ndim:
        return None, None
    if not all(isinstance(k, int) and k > 0 for k in sizes):
        return None, None
    return np.zeros(sizes), None


def _holds(dtype: np.dtype, value: Any) -> bool:
    """Whether a number is one of a dtype."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(dtype.type(value)) == value
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max and int(value) == value
