"""The door of stencils: windows combined and reduced by a user's own two functions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from . import recycling
from .arguments import Pairs, Size, as_threads
from .arrays import as_operand, check_out, compute_dtype
from .cpu import stencil_engine
from .cpu.stencil import dilate, erode
from .dtypes import result_dtype
from .geometry import ConvGeometry

OP = "stencil"


def stencil(
    input: Any,
    weight: Any,
    combine: Callable[[Any, Any], Any],
    reduce: Callable[[Any, Any], Any],
    *,
    initial: float | None = None,
    footprint: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    padding_mode: str = "zeros",
    padding_value: float = 0,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """A convolution with your own functions in place of the product and the sum.

    ``y = reduce(y, combine(padded[..., p * stride + r * dilation], weight[r]))`` for each r in C
    order, r and p indices along the last axes. The first one is ``combine(...)`` alone, or with
    `initial` ``reduce(initial, combine(...))``. Max-plus (``x + w`` and ``max``) is the dilation of
    grey-scale morphology, ``x - w`` and ``min`` its erosion, ``abs(x - w)`` and a sum matches
    templates.

    Parameters
    ----------
    input : array_like, shape (..., *spatial)
        Any leading axes: images, channels, or none.
    weight : array_like, shape (*kernel)
        One to three axes, the spatial ones; the same for all leading indices.
    combine : function of a cell and its weight
    reduce : function of what there is so far and the next value
        Plain functions, which are compiled for you, functions under `numba.njit`, or what Numba
        knows, such as `max`, `operator.mul`, `numpy.hypot`. Each gets two numbers of the result's
        dtype, and what it returns is rounded to that. They must not raise exceptions nor depend on
        what changes: they are called from several threads.
    initial : number, optional
        What `reduce` starts from.
    footprint : array_like of bool, the shape of `weight`, optional
        Taps that count; all others are left out.
    stride, padding, dilation, padding_mode
        As in `conv1d`, `conv2d` and `conv3d`.
    padding_value : number, default 0
        What lies in the padding of `padding_mode` "zeros": ``-numpy.inf`` lets a maximum ignore it.
    out : ndarray, shape (..., *output), optional
        Takes the result.
    threads : int, optional
        At most so many threads; the result is the same for any number.

    Returns
    -------
    ndarray, shape (..., *output)
        ``output = (size + padding - dilation * (kernel - 1) - 1) // stride + 1`` along each axis;
        the dtype is that of `input` and `weight` together. Integers are computed in int64 and wrap
        in the end, float16 in float32.

    Raises
    ------
    ValueError
        For shapes that do not fit, options out of range, an `out` that cannot take the result.
    TypeError
        For functions that cannot be compiled, do not take two numbers, return none, or may raise;
        complex numbers, and integers mixed with floating-point numbers.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([1.0, 5, 2, 4, 7])
    >>> fastconv.stencil(x, [0.0, 0.5, 0.0], lambda x, w: x + w, max)
    array([5.5, 5. , 7. ])
    >>> fastconv.stencil(x, [5.0, 2.0], lambda x, w: abs(x - w), lambda a, b: a + b)
    array([7., 0., 5., 6.])
    >>> fastconv.stencil(x, np.ones(2), lambda x, w: x > 3, np.add, initial=10, stride=2)
    array([11., 11.])
    """
    x, w = as_operand(OP, "input", input), as_operand(OP, "weight", weight)
    threads = as_threads(OP, threads)
    dtype = result_dtype(OP, ("input", "weight"), x, w)
    if dtype.kind == "c" or dtype == np.uint64:
        raise TypeError(f"{OP}: numbers must be real and fit int64 or float64, not {dtype}")
    rank = w.ndim
    if not 1 <= rank <= 3:
        raise ValueError(f"{OP}: weight must have 1 to 3 dimensions, not shape {w.shape}")
    if x.ndim < rank:
        raise ValueError(
            f"{OP}: input must have the {rank} dimensions of weight at least, not shape {x.shape}"
        )
    lead, sizes = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    planes = math.prod(lead)
    geometry = ConvGeometry.forward(
        OP,
        rank,
        (planes, 1, *sizes),
        (1, 1, *w.shape),
        stride=stride,
        padding=padding,
        dilation=dilation,
        padding_mode=padding_mode,
    )
    used = None if footprint is None else _footprint(footprint, w)
    compute = np.dtype(compute_dtype(dtype))
    numbers = [
        _number("padding_value", padding_value, compute),
        _number("initial", 0 if initial is None else initial, compute),
        (w if used is None else w[used]).astype(compute).ravel(),
    ]
    pair = stencil_engine.pair(OP, combine, reduce, compute.name, initial is not None)
    shape = (*lead, *geometry.out_size)
    if out is not None:
        check_out(OP, out, shape, dtype, x, w)
    direct = out is not None and out.dtype == compute and out.flags.c_contiguous
    y = out if out is not None and direct else recycling.empty(shape, compute)
    if y.size:
        ones = (1,) * (3 - rank)
        source = x.astype(compute, copy=False).reshape(planes, *ones, *sizes)
        taps = None if used is None else used.tobytes()
        values = np.concatenate(numbers)
        stencil_engine.run(geometry, source, values, taps, y, pair.address, threads)
    if direct or (out is None and dtype == compute):
        return y
    with np.errstate(over="ignore"):
        if out is None:
            return y.astype(dtype)
        np.copyto(out, y, casting="unsafe")
        return out


def _footprint(footprint: Any, weight: np.ndarray) -> np.ndarray:
    """Which taps count."""
    used = np.asarray(footprint)
    if used.dtype != bool:
        raise TypeError(f"{OP}: footprint must be of bool, not {used.dtype}")
    if used.shape != weight.shape:
        raise ValueError(
            f"{OP}: footprint must have the shape {weight.shape} of weight, not {used.shape}"
        )
    if not used.any():
        raise ValueError(f"{OP}: footprint leaves out every tap")
    return used


def _number(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """A number as an array of one element."""
    given = np.asarray(value)
    if given.ndim or given.dtype.kind not in "iuf":
        raise TypeError(f"{OP}: {name} must be a number, not {value!r}")
    if not np.can_cast(given.dtype, dtype, "same_kind"):
        raise TypeError(f"{OP}: {name} is {value!r}, which is no {dtype}")
    return given.astype(dtype).reshape(1)


# Element types in which narrow integers are exact, and vectors have the most of them.
NARROW = {1: "float32", 2: "float32", 4: "float64"}


def extremes(
    x: np.ndarray,
    weight: np.ndarray,
    used: np.ndarray | None,
    padding: Pairs,
    padding_mode: str,
    padding_value: float,
    largest: bool,
) -> np.ndarray:
    """The largest of ``x + weight``, or the smallest of ``x - weight``, in windows of all axes.

    Of floating-point numbers, or of integers of at most 32 bits whose sums are again such ones.
    `padding_mode` may be "symmetric" too: the mirror image that repeats the border.
    """
    compute = x.dtype if x.dtype.kind == "f" else np.dtype(NARROW[x.itemsize])
    geometry = _same_padding(x.shape, weight.shape, padding, padding_mode)
    numbers = np.array([padding_value, 0, *(weight if used is None else weight[used]).flat])
    y = recycling.empty(geometry.out_size, compute)
    lead = (1,) * (4 - x.ndim)
    stencil_engine.run(
        geometry,
        x.astype(compute, copy=False).reshape(*lead, *x.shape),
        numbers.astype(compute),
        None if used is None else used.tobytes(),
        y,
        (dilate if largest else erode).address(compute.name),
        None,
    )
    return y.astype(x.dtype, copy=False)


@functools.lru_cache(maxsize=256)
def _same_padding(size: Size, kernel: Size, padding: Pairs, mode: str) -> ConvGeometry:
    geometry = ConvGeometry.forward(OP, len(size), (1, 1, *size), (1, 1, *kernel), padding=padding)
    return replace(geometry, padding_mode=mode)
