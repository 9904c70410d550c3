"""Slow, obvious NumPy: the definition of right for every operation and every gradient.

Written to be read against its equations, for one, two and three axes at once. A gradient is named
by what it is the gradient *of* and takes the geometry of the forward operation. Arrays always have
the batch axis, and the arguments are taken as checked by a door.

Arithmetic is that of the arrays' own dtype, so callers widen first: float16 to float32, integers
to int64, or to object for sums without any limit. NumPy's warnings about infinities are not caught.

Letters, the same in every equation::

    n  batch               c  input channel            i  input cell     p  output cell
    g  group               k  output channel           r  tap of the kernel
    s  stride              d  dilation                 low  padding before the first cell

A cell or a tap is one index per axis, and so is arithmetic on them: ``s p + d r - low``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastconv.arguments import Pairs, Size
from fastconv.geometry import AdaptiveGeometry, ConvGeometry, PoolGeometry
from fastconv.sizes import adaptive_bin, window_extent

Array = np.ndarray
AnyPool = PoolGeometry | AdaptiveGeometry


# --- Padding ---


def _shown_cells(size: int, padding: tuple[int, int], mode: str) -> Array:
    """Which input cell each cell of a padded axis shows; -1 where it shows none."""
    low, high = padding
    cells = np.arange(-low, size + high)
    if mode == "zeros":
        return np.where((cells >= 0) & (cells < size), cells, -1)
    if mode == "replicate":
        return cells.clip(0, size - 1)
    if mode == "circular":
        return cells % size
    if mode == "reflect":  # a zigzag between the border cells, with period 2 (size - 1)
        return size - 1 - abs(cells % max(2 * (size - 1), 1) - (size - 1))
    raise ValueError(f"pad: mode must be zeros, reflect, replicate or circular, not {mode!r}")


def pad(x: Array, padding_pairs: Pairs, mode: str = "zeros", value: Any = 0) -> Array:
    """The input with its border: ``padded[n,c,i] = x[n,c,shown(i)]``, or `value` under "zeros".

    x (N, C, *in_size); `padding_pairs` has one (low, high) per spatial axis, negative to cut cells
    off; the result is (N, C, *(low + in_size + high)).

    Examples
    --------
    >>> x = np.array([[[1, 2, 3]]])
    >>> pad(x, ((1, 2),)).tolist(), pad(x, ((1, 2),), "reflect").tolist()
    ([[[0, 1, 2, 3, 0, 0]]], [[[2, 1, 2, 3, 2, 1]]])
    """
    for axis, padding in enumerate(padding_pairs, start=2):
        cells = _shown_cells(x.shape[axis], padding, mode)
        x = np.take(x, cells, axis)
        np.moveaxis(x, axis, 0)[cells < 0] = value
    return x


def pad_gradient(grad_padded: Array, padding_pairs: Pairs, mode: str = "zeros") -> Array:
    """Gradient of `pad`: ``grad_x[n,c,i] = sum of grad_padded[n,c,j] over j with shown(j) = i``.

    Examples
    --------
    The two border cells of the padded axis both show the cell in the middle.

    >>> pad_gradient(np.array([[[10, 1, 2, 3, 20]]]), ((1, 1),), "reflect").tolist()
    [[[1, 32, 3]]]
    """
    for axis, padding in enumerate(padding_pairs, start=2):
        terms = np.moveaxis(grad_padded, axis, 0)
        sums = np.zeros((len(terms) - sum(padding), *terms.shape[1:]), terms.dtype)
        cells = _shown_cells(len(sums), padding, mode)
        np.add.at(sums, cells[cells >= 0], terms[cells >= 0])
        grad_padded = np.moveaxis(sums, 0, axis)
    return grad_padded


# --- Convolution ---


def _flat(array: Array, axes: int = 2) -> Array:
    """The spatial axes as one: (N, C, *spatial) as (N, C, cells); `axes` come before them."""
    return array.reshape(*array.shape[:axes], math.prod(array.shape[axes:]))


def _grouped(array: Array, axis: int, groups: int) -> Array:
    """A view with the channels of `axis` as two axes, (group, channel in the group)."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def _taps(geometry: ConvGeometry) -> Iterator[tuple[tuple, tuple]]:
    """Every tap as index (..., *r), with the index of the padded cells ``s p + d r`` for all p."""
    for tap in np.ndindex(geometry.kernel_size):
        starts = [r * d for r, d in zip(tap, geometry.dilation)]
        cells = (
            slice(start, start + s * count, s)
            for start, s, count in zip(starts, geometry.stride, geometry.out_size)
        )
        yield (..., *tap), (..., *cells)


def _padded_zeros(geometry: ConvGeometry, *arrays: Array) -> Array:
    """Room for a sum over the padded input, (N, C, *padded_size)."""
    shape = (geometry.batch, geometry.in_channels, *geometry.padded_size)
    return np.zeros(shape, np.result_type(*arrays))


def _with_bias(y: Array, bias: Array | None) -> Array:
    """y (N, K, *spatial) and bias (K,), or y alone."""
    return y if bias is None else y + bias.reshape(-1, *(1,) * (y.ndim - 2))


def conv(geometry: ConvGeometry, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Cross-correlation, never conjugated; c counts within the group, k of group g within it too.

    ``y[n,g,k,p] = bias[g,k] + sum over c, r of weight[g,k,c,r] * padded[n,g,c, s p + d r]``

    x (N, C, *in_size), weight (K, C/groups, *kernel_size), bias (K,), result (N, K, *out_size).

    Examples
    --------
    >>> geometry = ConvGeometry.forward("conv1d", 1, (1, 1, 4), (1, 1, 2), stride=2)
    >>> conv(geometry, np.array([[[1, 2, 3, 4]]]), np.array([[[10, 1]]])).tolist()
    [[[12, 34]]]
    """
    groups = geometry.groups
    padded = _grouped(pad(x, geometry.padding, geometry.padding_mode), 1, groups)
    weights = _grouped(weight, 0, groups)
    y = _grouped(np.zeros(geometry.output_shape, np.result_type(x, weight)), 1, groups)
    for tap, cells in _taps(geometry):
        y += np.einsum("gkc,ngc...->ngk...", weights[tap], padded[cells])
    return _with_bias(y.reshape(geometry.output_shape), bias)


def conv_input(geometry: ConvGeometry, weight: Array, grad_output: Array) -> Array:
    """Gradient of `conv` for its input, and by definition the transposed convolution.

    ``grad_padded[n,g,c,i] = sum over k, r, p with s p + d r = i
    of weight[g,k,c,r] * grad_output[n,g,k,p]``, then the gradient of the padding.

    weight (K, C/groups, *kernel_size), grad_output (N, K, *out_size), result (N, C, *in_size).
    """
    groups = geometry.groups
    weights, terms = _grouped(weight, 0, groups), _grouped(grad_output, 1, groups)
    grad_padded = _padded_zeros(geometry, weight, grad_output)
    sums = _grouped(grad_padded, 1, groups)
    for tap, cells in _taps(geometry):
        sums[cells] += np.einsum("gkc,ngk...->ngc...", weights[tap], terms)
    return pad_gradient(grad_padded, geometry.padding, geometry.padding_mode)


def conv_weight(geometry: ConvGeometry, x: Array, grad_output: Array) -> Array:
    """Gradient of `conv` for its weight.

    ``grad_weight[g,k,c,r] = sum over n, p of grad_output[n,g,k,p] * padded[n,g,c, s p + d r]``

    x (N, C, *in_size), grad_output (N, K, *out_size), result (K, C/groups, *kernel_size).
    """
    groups = geometry.groups
    padded = _grouped(pad(x, geometry.padding, geometry.padding_mode), 1, groups)
    terms = _grouped(grad_output, 1, groups)
    grad_weight = np.zeros(geometry.weight_shape, np.result_type(x, grad_output))
    sums = _grouped(grad_weight, 0, groups)
    for tap, cells in _taps(geometry):
        sums[tap] = np.einsum("ngkp,ngcp->gkc", _flat(terms, 3), _flat(padded[cells], 3))
    return grad_weight


def conv_bias(grad_output: Array) -> Array:
    """Gradient of `conv` for its bias: ``grad_bias[k] = sum over n, p of grad_output[n,k,p]``."""
    return np.einsum("nkp->k", _flat(grad_output))


def conv_transpose(
    geometry: ConvGeometry, x: Array, weight: Array, bias: Array | None = None
) -> Array:
    """Transposed convolution; `geometry` is that of the forward problem it is the adjoint of.

    ``y[n,c,i] = bias[c] + conv_input(weight, x)[n,c,i]``

    x (N, K, *out_size), weight (K, C/groups, *kernel_size), bias (C,), result (N, C, *in_size), all
    in the letters of the forward problem.

    Examples
    --------
    >>> geometry = ConvGeometry.transposed("conv_transpose1d", 1, (1, 1, 2), (1, 1, 3), stride=2)
    >>> conv_transpose(geometry, np.array([[[1, 10]]]), np.array([[[1, 2, 3]]])).tolist()
    [[[1, 2, 13, 20, 30]]]
    """
    return _with_bias(conv_input(geometry, weight, x), bias)


# --- Pooling ---


def _over(array: Array, like: Array) -> Array:
    """(N, C) as (N, C, 1, ...), to meet the cells of a window `like` (N, C, *spatial)."""
    return array.reshape(*array.shape, *(1,) * (like.ndim - 2))


def _window(geometry: AnyPool, axis: int, index: int) -> slice:
    """The input cells of output cell `index` on one axis; padding and overhang are cut away."""
    size = geometry.in_size[axis]
    if isinstance(geometry, AdaptiveGeometry):
        return slice(*adaptive_bin(index, size, geometry.out_size[axis]))
    dilation = geometry.dilation[axis]
    first = index * geometry.stride[axis] - geometry.padding[axis][0]
    stop = first + window_extent(geometry.kernel_size[axis], dilation)
    return slice(first if first >= 0 else first % dilation, min(stop, size), dilation)


def _windows(geometry: AnyPool) -> Iterator[tuple[tuple, tuple]]:
    """Every output cell with its window, as index (..., *p) and index (..., *slices)."""
    for cell in np.ndindex(geometry.out_size):
        slices = (_window(geometry, axis, index) for axis, index in enumerate(cell))
        yield (..., *cell), (..., *slices)


def max_pool(geometry: AnyPool, x: Array) -> tuple[Array, Array]:
    """The largest value of each window and where it stands.

    ``y[n,c,p] = max of x[n,c,i] over the cells i of window p``

    The index is that of the cell in its plane, (D, H, W) flattened, int64. NaN counts as larger
    than everything. Of equals the first wins: also of several NaN, and where every value is -inf.

    x (N, C, *in_size), both results (N, C, *out_size).

    Examples
    --------
    >>> geometry = PoolGeometry.sliding("max_pool1d", 1, (1, 1, 5), 3, stride=2, padding=1)
    >>> values, indices = max_pool(geometry, np.array([[[4.0, 7.0, 7.0, np.nan, 5.0]]]))
    >>> values.tolist(), indices.tolist()
    ([[[7.0, nan, nan]]], [[[1, 3, 3]]])
    """
    values = np.empty(geometry.output_shape, x.dtype)
    indices = np.empty(geometry.output_shape, np.int64)
    places = np.arange(math.prod(geometry.in_size)).reshape(geometry.in_size)
    for cell, window in _windows(geometry):
        region = _flat(x[window])
        first = region.argmax(axis=2)  # the first of equals, and the first NaN if there is one
        values[cell] = np.take_along_axis(region, first[..., None], axis=2)[..., 0]
        indices[cell] = places[window].ravel()[first]
    return values, indices


def max_pool_input(grad_output: Array, indices: Array, in_size: Size) -> Array:
    """Gradient of `max_pool`, of any kind: each term goes to the cell that was taken.

    ``grad_x[n,c,i] = sum of grad_output[n,c,p] over p with indices[n,c,p] = i``
    """
    planes = math.prod(grad_output.shape[:2])
    cells = math.prod(grad_output.shape[2:])
    grad_x = np.zeros((planes, math.prod(in_size)), grad_output.dtype)
    rows = np.arange(planes)[:, None]
    np.add.at(grad_x, (rows, indices.reshape(planes, cells)), grad_output.reshape(planes, cells))
    return grad_x.reshape(*grad_output.shape[:2], *in_size)


def max_unpool(values: Array, indices: Array, out_size: Size) -> Array:
    """The values put back where `max_pool` found them: ``y[n,c,indices[n,c,p]] = values[n,c,p]``.

    Zero elsewhere; where windows overlapped and an index comes twice, the last value stays.
    values and indices (N, C, *spatial), result (N, C, *out_size).
    """
    y = np.zeros((*values.shape[:2], math.prod(out_size)), values.dtype)
    np.put_along_axis(y, _flat(indices), _flat(values), axis=2)
    return y.reshape(*values.shape[:2], *out_size)


def _divisor(
    geometry: AnyPool, cell: tuple, region: Array, count_include_pad: bool, override: int | None
) -> int:
    """What a window's sum is divided by: its cells inside the input, or inside the padded input.

    The overhang of ceil_mode counts in neither.
    """
    if override is not None:
        return override
    if isinstance(geometry, AdaptiveGeometry) or not count_include_pad:
        return math.prod(region.shape[2:])
    starts = (index * stride for index, stride in zip(cell[1:], geometry.stride))
    return math.prod(
        min(kernel, padded - start)
        for kernel, padded, start in zip(geometry.kernel_size, geometry.padded_size, starts)
    )


def _divided(array: Array, divisor: int) -> Array:
    """The quotient; NumPy divides complex numbers by ``divisor + 0j``, and Inf times 0 is NaN."""
    if not np.iscomplexobj(array):
        return array / divisor
    result = np.empty_like(array)
    result.real, result.imag = array.real / divisor, array.imag / divisor
    return result


def avg_pool(
    geometry: AnyPool,
    x: Array,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window.

    ``y[n,c,p] = (sum of x[n,c,i] over the cells i of window p) / divisor[p]``

    The divisor is `divisor_override`, or the cells of the window inside the input and, with
    `count_include_pad`, inside its explicit padding. x (N, C, *in_size), result (N, C, *out_size),
    of a floating dtype.

    Examples
    --------
    The first window has one padding cell, the last hangs over the end by one.

    >>> geometry = PoolGeometry.sliding(
    ...     "avg_pool1d", 1, (1, 1, 4), 3, stride=2, padding=((1, 0),), ceil_mode=True
    ... )
    >>> x = np.array([[[3.0, 6.0, 9.0, 12.0]]])
    >>> avg_pool(geometry, x).tolist(), avg_pool(geometry, x, count_include_pad=False).tolist()
    ([[[3.0, 9.0]]], [[[4.5, 9.0]]])
    """
    y = np.empty(geometry.output_shape, x.dtype)
    for cell, window in _windows(geometry):
        region = x[window]
        divisor = _divisor(geometry, cell, region, count_include_pad, divisor_override)
        y[cell] = _divided(_flat(region).sum(axis=2, dtype=x.dtype), divisor)
    return y


def avg_pool_input(
    geometry: AnyPool,
    grad_output: Array,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient of `avg_pool`.

    ``grad_x[n,c,i] = sum of grad_output[n,c,p] / divisor[p] over the windows p that hold i``
    """
    grad_x = np.zeros(geometry.input_shape, grad_output.dtype)
    for cell, window in _windows(geometry):
        region = grad_x[window]
        divisor = _divisor(geometry, cell, region, count_include_pad, divisor_override)
        region += _over(_divided(grad_output[cell], divisor), region)
    return grad_x


def lp_pool(geometry: PoolGeometry, x: Array, norm_type: float) -> Array:
    """The norm of each window: ``y[n,c,p] = (sum of |x[n,c,i]|**norm over window p) ** (1/norm)``.

    The norm is positive and finite; an infinite one is `max_pool` of the absolute values.
    x (N, C, *in_size), result (N, C, *out_size).

    Examples
    --------
    >>> geometry = PoolGeometry.sliding("lp_pool1d", 1, (1, 1, 4), 2)
    >>> lp_pool(geometry, np.array([[[3.0, -4.0, 0.0, 2.0]]]), 2).tolist()
    [[[5.0, 2.0]]]
    """
    assert 0 < norm_type < math.inf
    y = np.empty(geometry.output_shape, x.dtype)
    for cell, window in _windows(geometry):
        y[cell] = (_flat(abs(x[window])) ** norm_type).sum(axis=2) ** (1 / norm_type)
    return y


def lp_pool_input(
    geometry: PoolGeometry, x: Array, output: Array, grad_output: Array, norm_type: float
) -> Array:
    """Gradient of `lp_pool`, whose result is `output`.

    ``grad_x[n,c,i] = sum over the windows p that hold i
    of grad_output[n,c,p] * sign(x[n,c,i]) * (|x[n,c,i]| / output[n,c,p]) ** (norm - 1)``

    and zero where x is zero, so also where the whole window is.
    """
    assert 0 < norm_type < math.inf
    grad_x = np.zeros(geometry.input_shape, np.result_type(x, grad_output))
    for cell, window in _windows(geometry):
        region = x[window]
        # Zeros get the harmless ratio 1: their sign makes the term zero.
        ratio = np.divide(
            abs(region), _over(output[cell], region), out=np.ones_like(region), where=region != 0
        )
        slope = np.sign(region) * ratio ** (norm_type - 1)
        grad_x[window] += _over(grad_output[cell], region) * slope
    return grad_x


def adaptive_avg_pool(geometry: AdaptiveGeometry, x: Array) -> Array:
    """The mean of each bin floor(p L / o) .. ceil((p + 1) L / o) of an axis of length L.

    Examples
    --------
    Three bins of five cells: 0..1, 1..3 and 3..4.

    >>> geometry = AdaptiveGeometry.adaptive("adaptive_avg_pool1d", 1, (1, 1, 5), 3)
    >>> adaptive_avg_pool(geometry, np.array([[[2.0, 4.0, 6.0, 8.0, 10.0]]])).tolist()
    [[[3.0, 6.0, 9.0]]]
    """
    return avg_pool(geometry, x)


def adaptive_avg_pool_input(geometry: AdaptiveGeometry, grad_output: Array) -> Array:
    """Gradient of `adaptive_avg_pool`."""
    return avg_pool_input(geometry, grad_output)


def adaptive_max_pool(geometry: AdaptiveGeometry, x: Array) -> tuple[Array, Array]:
    """As `max_pool`, over the bins of `adaptive_avg_pool`; its gradient too is `max_pool_input`."""
    return max_pool(geometry, x)


# --- Columns and matrices ---


def unfold(geometry: ConvGeometry, x: Array) -> Array:
    """The windows as columns: ``columns[n, (c,r), p] = padded[n,c, s p + d r]``.

    x (N, C, *in_size), result (N, C * taps, L): the channel is the slowest part of a row's number,
    L counts the cells of out_size. Of the geometry's weight only the kernel size matters.

    Examples
    --------
    >>> geometry = ConvGeometry.forward("unfold", 1, (1, 2, 3), (1, 2, 2))
    >>> unfold(geometry, np.array([[[1, 2, 3], [4, 5, 6]]])).tolist()
    [[[1, 2], [2, 3], [4, 5], [5, 6]]]
    """
    padded = pad(x, geometry.padding, geometry.padding_mode)
    columns = np.stack([_flat(padded[cells]) for _, cells in _taps(geometry)], axis=2)
    batch, channels, taps, length = columns.shape
    return columns.reshape(batch, channels * taps, length)


def fold(geometry: ConvGeometry, columns: Array) -> Array:
    """The adjoint of `unfold`: columns summed back where they came from.

    ``grad_padded[n,c,i] = sum over r, p with s p + d r = i of columns[n, (c,r), p]``, then the
    gradient of the padding. columns (N, C * taps, L), result (N, C, *in_size).
    """
    batch, channels, *_ = geometry.input_shape
    terms = columns.reshape(batch, channels, *geometry.kernel_size, *geometry.out_size)
    terms = np.moveaxis(terms, range(2, 2 + geometry.rank), range(-geometry.rank, 0))
    grad_padded = _padded_zeros(geometry, columns)
    for tap, cells in _taps(geometry):
        grad_padded[cells] += terms[tap]  # (N, C, *out_size) of the tap
    return pad_gradient(grad_padded, geometry.padding, geometry.padding_mode)


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``y[...,k] = bias[k] + sum over c of x[...,c] * weight[k,c]``; weight (K, C), bias (K,)."""
    y = np.einsum("...c,kc->...k", x, weight)
    return y if bias is None else y + bias


# --- Activations ---


def expit(x: Array) -> Array:
    """1 / (1 + exp(-x)). SciPy's special functions take longer to import than all of fastconv."""
    from scipy import special

    return special.expit(x)


def _normal_cdf(x: Array) -> Array:
    from scipy.special import erf

    return 0.5 * (1 + erf(x * math.sqrt(0.5)))


def _normal_pdf(x: Array) -> Array:
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _mish_gradient(x: Array) -> Array:
    squashed = np.tanh(np.logaddexp(0, x))
    return squashed + x * expit(x) * (1 - squashed**2)


# a(x) and its derivative. At a kink the derivative is PyTorch's, mostly that of the flatter side.
ACTIVATIONS: dict[str | None, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    None: (lambda x: x, np.ones_like),
    "relu": (lambda x: np.maximum(x, 0), lambda x: x > 0),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda x: (x > 0) & (x < 6)),
    "leaky_relu": (
        lambda x: np.where(x > 0, x, 0.01 * x),
        lambda x: np.where(x > 0, 1, 0.01),
    ),
    "sigmoid": (expit, lambda x: expit(x) * expit(-x)),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "silu": (lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "gelu": (lambda x: x * _normal_cdf(x), lambda x: _normal_cdf(x) + x * _normal_pdf(x)),
    "hardswish": (
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.where(x < 3, np.where(x > -3, x / 3 + 0.5, 0), 1),
    ),
    "hardsigmoid": (lambda x: np.clip(x + 3, 0, 6) / 6, lambda x: (abs(x) < 3) / 6),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    ),
    # Beyond 20 the identity, as in PyTorch: off by less than 3e-9.
    "softplus": (
        lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))),
        lambda x: np.where(x > 20, 1, expit(x)),
    ),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), _mish_gradient),
}


def activation(name: str | None, x: Array) -> Array:
    """The activation of every element, by its name in `ACTIVATIONS`; dtype and shape of x."""
    return ACTIVATIONS[name][0](x).astype(x.dtype, copy=False)


def activation_gradient(name: str | None, x: Array) -> Array:
    """The derivative of the activation at every element of x; dtype and shape of x."""
    return ACTIVATIONS[name][1](x).astype(x.dtype, copy=False)
