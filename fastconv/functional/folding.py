"""The doors of unfold, fold and pad."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import folding
from ..arguments import LIMIT, Pairs, Size, as_sizes, check_choice, check_count
from ..arrays import as_operand, check_out, empty
from ..device import cuda
from ..geometry import ConvGeometry

PAD_MODES = ("constant", "reflect", "replicate", "circular")


def _rank(op: str, *sizes: Any) -> int:
    """How many axes: the entries of the first of `sizes` that has entries, two if none has."""
    counts = [len(tuple(size)) for size in sizes if np.iterable(size)]
    rank = counts[0] if counts else 2
    if not 1 <= rank <= 3:
        raise ValueError(f"{op}: kernel_size must be an integer or have 1 to 3 entries, not {rank}")
    return rank


def _columns(
    op: str,
    shape: Size,
    kernel_size: Any,
    dilation: Any,
    padding: Any,
    stride: Any,
) -> ConvGeometry:
    """The convolution of an input of `shape`, less the weights, whose windows become columns."""
    rank = len(kernel_size)
    channels = shape[-rank - 1] if len(shape) > rank else 1
    geometry = ConvGeometry.forward(
        op,
        rank,
        shape,
        (1, max(channels, 1), *kernel_size),
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    columns = (geometry.batch, channels * math.prod(kernel_size), math.prod(geometry.out_size))
    check_count(op, "columns", columns)
    return geometry


def unfold(
    input: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The windows of an image as columns of a matrix.

    ``out[n, (c * R + r) * S + s, p * Q + q] =
    padded[n, c, p * stride + r * dilation, q * stride + s * dilation]``

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Of any numeric dtype and any strides. With a `kernel_size` of one or three entries the
        input has one or three axes instead of two.
    kernel_size : int or (int, int)
    dilation, padding, stride
        As in `conv2d`; the padding is of zeros.
    out : ndarray, optional
        Array for the result, of its shape and dtype; it must not overlap the input.

    Returns
    -------
    ndarray, shape (N, C * R * S, P * Q) or (C * R * S, P * Q)
        In C order.

    Raises
    ------
    ValueError
        If a shape or number does not fit, as in `conv2d`.
    TypeError
        If the input is not numeric or a size is not an integer.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2, 3], [4, 5, 6]]]])
    >>> fastconv.unfold(x, 2)
    array([[[1, 2],
            [2, 3],
            [4, 5],
            [5, 6]]])
    """
    op = "unfold"
    x = as_operand(op, "input", input, True)
    kernel = as_sizes(op, "kernel_size", kernel_size, _rank(op, kernel_size), at_least=1)
    geometry = _columns(op, x.shape, kernel, dilation, padding, stride)
    rows, length = geometry.in_channels * math.prod(kernel), math.prod(geometry.out_size)
    shape = (geometry.batch, rows, length) if geometry.batched else (rows, length)
    if type(x) is not np.ndarray:
        return cuda("functional").unfold(op, geometry, x, shape, out)
    if out is not None:
        check_out(op, out, shape, x.dtype, x)
    ordered = out is not None and out.flags.c_contiguous
    columns: Any = out if ordered else empty(shape, x.dtype, False)
    folding.unfold_into(geometry, x if geometry.batched else x[None], columns)
    if out is None or ordered:
        return columns
    out[...] = columns
    return out


def fold(
    input: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Columns of a matrix summed back into the image that `unfold` takes them from.

    The adjoint, and so the gradient, of `unfold`; and `unfold` is the gradient of this.

    Parameters
    ----------
    input : array_like, shape (N, C * R * S, P * Q) or (C * R * S, P * Q)
        Of any numeric dtype and any strides. float16 is summed in float32, integers in int64.
    output_size : int or (int, int)
        Size (H, W) of the image. With one or three entries here or in `kernel_size` the image has
        one or three axes instead of two.
    kernel_size, dilation, padding, stride
        Those of `unfold`.
    out : ndarray, optional
        Array for the result, of its shape and dtype; it must not overlap the input.

    Returns
    -------
    ndarray, shape (N, C, H, W) or (C, H, W)
        In the dtype of the input; integers wrap.

    Raises
    ------
    ValueError
        If the rows are not a multiple of R * S, the columns are not P * Q, or a shape or number
        does not fit, as in `conv2d`.
    TypeError
        If the input is not numeric or a size is not an integer.

    Examples
    --------
    Each cell comes back once for every window that holds it.

    >>> import numpy as np, fastconv
    >>> x = np.array([[[[1, 2, 3], [4, 5, 6]]]])
    >>> fastconv.fold(fastconv.unfold(x, 2), (2, 3), 2)
    array([[[[ 1,  4,  3],
             [ 4, 10,  6]]]])
    """
    op = "fold"
    x = as_operand(op, "input", input, True)
    rank = _rank(op, output_size, kernel_size)
    kernel = as_sizes(op, "kernel_size", kernel_size, rank, at_least=1)
    sizes = as_sizes(op, "output_size", output_size, rank, at_least=1)
    taps = math.prod(kernel)
    if x.ndim not in (2, 3):
        raise ValueError(
            f"{op}: input must have 3 dimensions (N, C * taps, L) or 2 without the batch, not "
            f"shape {x.shape}"
        )
    if x.shape[-2] % taps or not x.shape[-2]:
        raise ValueError(
            f"{op}: input has {x.shape[-2]} rows, not a multiple of the {taps} taps of "
            f"kernel_size {kernel}"
        )
    shape = (*x.shape[:-2], x.shape[-2] // taps, *sizes)
    geometry = _columns(op, shape, kernel, dilation, padding, stride)
    length = math.prod(geometry.out_size)
    if x.shape[-1] != length:
        raise ValueError(
            f"{op}: input has {x.shape[-1]} columns, output_size {sizes} has {length} windows "
            f"{geometry.out_size}"
        )
    if type(x) is not np.ndarray:
        return cuda("functional").fold(op, geometry, x, shape, out)
    if out is not None:
        check_out(op, out, shape, x.dtype, x)
    image = empty(shape, folding.sum_dtype(x.dtype), False)
    folding.fold_into(geometry, x, image if geometry.batched else image[None])
    with np.errstate(over="ignore"):
        if out is None:
            return image.astype(x.dtype, copy=False)
        np.copyto(out, image, casting="unsafe")
    return out


def as_borders(op: str, pad: Any, shape: Size, mode: str, padded: bool = False) -> Pairs:
    """The argument `pad`, last axis first, as one (low, high) pair for each axis of `shape`.

    `shape` is that before padding, or with `padded` that after it.
    """
    check_choice(op, "mode", mode, PAD_MODES)
    try:
        numbers = [operator.index(number) for number in pad]
    except TypeError:
        raise TypeError(f"{op}: pad must be a sequence of integers, not {pad!r}") from None
    if len(numbers) % 2 or len(numbers) > 2 * len(shape):
        raise ValueError(
            f"{op}: pad must have a pair for each of at most {len(shape)} axes, not "
            f"{len(numbers)} numbers"
        )
    given = list(zip(numbers[::2], numbers[1::2]))[::-1]
    pairs = ((0, 0),) * (len(shape) - len(given)) + tuple(given)
    sizes = tuple(size - sum(pair) if padded else size for size, pair in zip(shape, pairs))
    for size, pair in zip(sizes, pairs):
        _check_border(op, pair, size, mode)
    check_count(op, "result", tuple(s + low + high for s, (low, high) in zip(sizes, pairs)))
    return pairs


def _check_border(op: str, pair: tuple[int, int], size: int, mode: str) -> None:
    """Refuse to cut off more than there is, and to repeat cells that do not exist."""
    if max(map(abs, pair)) >= LIMIT:
        raise ValueError(f"{op}: pad {pair} is beyond the limit 2**59")
    if size < 0 or size + sum(pair) < 0 or size + min(pair) < 0:
        raise ValueError(f"{op}: pad {pair} cuts off more than an axis of size {size} has")
    largest = {
        "constant": LIMIT,
        "reflect": max(size - 1, 0),
        "replicate": LIMIT if size else 0,
        "circular": size,
    }[mode]
    if max(pair) > largest:
        raise ValueError(
            f"{op}: pad {pair} is too large for mode {mode!r} on an axis of size {size}; the limit "
            f"is {largest}"
        )


def _fill(op: str, value: Any, mode: str, dtype: np.dtype) -> Any:
    """The argument `value`, checked against mode and dtype."""
    if value is None:
        return 0
    if mode != "constant":
        raise ValueError(f"{op}: value is for mode 'constant', not {mode!r}")
    try:
        if isinstance(value, (str, bytes)):  # which float() would read
            raise TypeError
        if dtype.kind in "iu":
            number, limits = operator.index(value), np.iinfo(dtype)
            if not limits.min <= number <= limits.max:
                raise ValueError(f"{op}: value {number} does not fit {dtype}")
            return number
        return complex(value) if dtype.kind == "c" else float(value)
    except TypeError:
        raise TypeError(f"{op}: value {value!r} does not fit an input of {dtype}") from None


def pad(
    input: Any,
    pad: Any,
    mode: str = "constant",
    value: Any = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """An array with borders.

    Parameters
    ----------
    input : array_like
        Of any numeric dtype, any number of axes and any strides.
    pad : sequence of int
        Cells before and after the last axis, then before and after the last but one, and so on; no
        pair for an axis leaves it as it is. Negative numbers cut cells off; in the modes that
        repeat cells, after the border was made.
    mode : {"constant", "reflect", "replicate", "circular"}, default "constant"
        Whether the border is of `value`, mirrors the input without repeating its edge, repeats the
        edge, or goes round to the other end. "reflect" reaches at most one cell less than an axis
        has, "circular" as many.
    value : number, optional
        For mode "constant", zero if not given.
    out : ndarray, optional
        Array for the result, of its shape and dtype; it must not overlap the input.

    Returns
    -------
    ndarray
        In the dtype and the memory format of the input.

    Raises
    ------
    ValueError
        If there are more pairs than axes or an odd number of entries, if more is cut off than
        there is, if a border is too large for its mode, or a value is given for another mode.
    TypeError
        If the input is not numeric, `pad` is not a sequence of integers, or the value does not fit
        the dtype.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[1, 2, 3], [4, 5, 6]])
    >>> fastconv.pad(x, (1, 1, 0, 1), value=9)
    array([[9, 1, 2, 3, 9],
           [9, 4, 5, 6, 9],
           [9, 9, 9, 9, 9]])
    >>> fastconv.pad(x, (2, 0), "reflect")
    array([[3, 2, 1, 2, 3],
           [6, 5, 4, 5, 6]])
    """
    op = "pad"
    x = as_operand(op, "input", input, True)
    pairs = as_borders(op, pad, x.shape, mode)
    cell = _fill(op, value, mode, x.dtype)
    if type(x) is not np.ndarray:
        return cuda("functional").pad(op, x, pairs, mode, cell, out)
    if out is not None:
        shape = tuple(size + sum(pair) for size, pair in zip(x.shape, pairs))
        check_out(op, out, shape, x.dtype, x)
    padded = folding.pad(x, pairs, mode, cell)
    if out is None:
        return padded
    out[...] = padded
    return out
