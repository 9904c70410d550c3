"""The door of stencils: windows combined and reduced by a user's own two functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import recycling
from .arguments import as_threads
from .arrays import as_operand, check_out, compute_dtype
from .cpu import stencil_engine
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
    function = stencil_engine.pair(OP, combine, reduce, compute.name, initial is not None)
    shape = (*lead, *geometry.out_size)
    if out is not None:
        check_out(OP, out, shape, dtype, x, w)
    direct = out is not None and out.dtype == compute and out.flags.c_contiguous
    y = out if out is not None and direct else recycling.empty(shape, compute)
    if y.size:
        ones = (1,) * (3 - rank)
        source = x.astype(compute, copy=False).reshape(planes, *ones, *sizes)
        taps = None if used is None else used.tobytes()
        stencil_engine.run(geometry, source, np.concatenate(numbers), taps, y, function, threads)
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
