"""The reference against SciPy, its definitions, exact adjoints and finite differences.

Small integers in float64 make every sum exact, so most comparisons are without tolerance.
"""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from fastconv import reference
from fastconv.geometry import PADDING_MODES, AdaptiveGeometry, ConvGeometry, PoolGeometry
from fastconv.sizes import window_extent

CASES = settings(max_examples=300, deadline=None)


def small_integers(shape, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(float)


def distinct(shape, seed=0):
    """Different values, none zero, whose differences are at least one."""
    values = np.arange(math.prod(shape)) - math.prod(shape) // 2 + 0.5
    return np.random.default_rng(seed).permutation(values).reshape(shape)


def inner(a, b):
    assert a.shape == b.shape
    return (a * b).sum()


def conv_geometry(x, weight, **options):
    return ConvGeometry.forward("conv", x.ndim - 2, x.shape, weight.shape, **options)


# --- Problems of every shape ---


@st.composite
def conv_problems(draw, modes=PADDING_MODES, most_groups=3, transposed=False):
    """A geometry of one to three axes of different lengths, with all its options."""
    rank = draw(st.integers(1, 3))
    batch, groups = draw(st.integers(0, 3)), draw(st.integers(1, most_groups))
    in_group, out_group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    mode = draw(st.sampled_from(modes))
    sizes: list[int] = []
    axes = []
    for _ in range(rank):
        kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
        low, high = draw(st.integers(0, 4)), draw(st.integers(0, 4))
        excess = low + high - window_extent(kernel, dilation)
        smallest = 1 + max(low, high) if mode in ("reflect", "circular") else 1
        size = max(smallest, excess + 2 if transposed else -excess) + draw(st.integers(0, 4))
        while size in sizes:
            size += 1
        sizes.append(size)
        extra = draw(st.integers(0, max(stride, dilation) - 1))
        axes.append((kernel, stride, dilation, (low, high), extra))
    kernel, strides, dilations, padding, extras = zip(*axes, strict=True)
    options = dict(stride=strides, dilation=dilations, padding=padding, groups=groups)
    in_channels, out_channels = in_group * groups, out_group * groups
    weight_shape = (out_channels, in_group, *kernel)
    if transposed:
        shapes = (batch, out_channels, *sizes), weight_shape
        return ConvGeometry.transposed("op", rank, *shapes, output_padding=extras, **options)
    shapes = (batch, in_channels, *sizes), weight_shape
    return ConvGeometry.forward("op", rank, *shapes, padding_mode=mode, **options)


@st.composite
def pool_problems(draw, dilations=(1,)):
    """A pooling geometry of one to three axes of different lengths, with all its options."""
    rank = draw(st.integers(1, 3))
    sizes: list[int] = []
    axes = []
    for _ in range(rank):
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        dilation = draw(st.sampled_from(dilations))
        low, high = draw(st.integers(0, kernel // 2)), draw(st.integers(0, kernel // 2))
        size = window_extent(kernel, dilation) + draw(st.integers(0, 3))
        while size in sizes:
            size += 1
        sizes.append(size)
        axes.append((kernel, stride, dilation, (low, high)))
    kernel, strides, dilations, padding = zip(*axes, strict=True)
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *sizes)
    options = dict(stride=strides, dilation=dilations, padding=padding)
    ceil_mode = draw(st.booleans())
    return PoolGeometry.sliding("op", rank, shape, kernel, ceil_mode=ceil_mode, **options)


@st.composite
def adaptive_problems(draw):
    rank = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 7), min_size=rank, max_size=rank, unique=True))
    bins = draw(st.lists(st.integers(1, 7), min_size=rank, max_size=rank))
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *sizes)
    return AdaptiveGeometry.adaptive("op", rank, shape, bins)


# --- SciPy ---


def correlate_by_scipy(geometry, x, weight):
    """`conv` out of `signal.correlate`, one pair of channels at a time.

    Dilation is zeros between the taps, stride is a slice of the result.
    """
    y = np.zeros(geometry.output_shape)
    spread = np.zeros(
        [window_extent(k, d) for k, d in zip(geometry.kernel_size, geometry.dilation)]
    )
    taps = tuple(slice(None, None, d) for d in geometry.dilation)
    strided = tuple(slice(None, None, s) for s in geometry.stride)
    in_group = geometry.in_channels // geometry.groups
    out_group = geometry.out_channels // geometry.groups
    for n, k, c in product(range(geometry.batch), range(geometry.out_channels), range(in_group)):
        spread[taps] = weight[k, c]
        padded = np.pad(x[n, k // out_group * in_group + c], geometry.padding)
        y[n, k] += signal.correlate(padded, spread, "valid", "direct")[strided]
    return y


@CASES
@given(conv_problems(modes=["zeros"]))
def test_conv_against_scipy(geometry):
    x, weight = small_integers(geometry.input_shape, 1), small_integers(geometry.weight_shape, 2)
    y = reference.conv(geometry, x, weight)
    np.testing.assert_array_equal(y, correlate_by_scipy(geometry, x, weight))


@pytest.mark.parametrize("shape", [(11,), (7, 9), (5, 4, 6)])
@pytest.mark.parametrize(
    ("padding", "mode"), [("full", "full"), ("same_lower", "same"), ("valid", "valid")]
)
def test_paddings_are_the_modes_of_scipy(shape, padding, mode):
    """SciPy's "same" has the odd cell of an even kernel at the start."""
    x, weight = small_integers(shape, 1), small_integers((2, 3, 4)[-len(shape) :], 2)
    expected = signal.correlate(x, weight, mode, "direct")
    x, weight = x[None, None], weight[None, None]
    y = reference.conv(conv_geometry(x, weight, padding=padding), x, weight)
    np.testing.assert_array_equal(y[0, 0], expected)


@pytest.mark.parametrize("shape", [(11,), (7, 9), (5, 4, 6)])
def test_transposed_is_full_convolution(shape):
    x, weight = small_integers(shape, 1), small_integers((2, 3, 4)[-len(shape) :], 2)
    expected = signal.convolve(x, weight, "full", "direct")
    x, weight = x[None, None], weight[None, None]
    geometry = ConvGeometry.transposed("transpose", x.ndim - 2, x.shape, weight.shape)
    np.testing.assert_array_equal(reference.conv_transpose(geometry, x, weight)[0, 0], expected)


NDIMAGE_MODES = {
    "zeros": "constant",
    "reflect": "mirror",
    "replicate": "nearest",
    "circular": "wrap",
}


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("shape", [(11,), (7, 9), (5, 4, 6)])
def test_padding_modes_against_ndimage(shape, mode):
    x, weight = small_integers(shape, 1), small_integers((1, 5, 3)[-len(shape) :], 2)
    expected = ndimage.correlate(x, weight, mode=NDIMAGE_MODES[mode])
    x, weight = x[None, None], weight[None, None]
    y = reference.conv(conv_geometry(x, weight, padding="same", padding_mode=mode), x, weight)
    np.testing.assert_array_equal(y[0, 0], expected)


@pytest.mark.parametrize("shape", [(11,), (7, 9), (5, 4, 6)])
def test_pools_against_ndimage(shape):
    kernel = (1, 5, 3)[-len(shape) :]
    x, options = distinct(shape), dict(stride=2, padding=tuple(k // 2 for k in kernel))
    strided = (slice(None, None, 2),) * len(shape)
    geometry = PoolGeometry.sliding("pool", len(shape), (1, 1, *shape), kernel, **options)
    expected = ndimage.maximum_filter(x, kernel, mode="constant", cval=-math.inf)[strided]
    values, indices = reference.max_pool(geometry, x[None, None])
    np.testing.assert_array_equal(values[0, 0], expected)
    np.testing.assert_array_equal(x.ravel()[indices[0, 0]], expected)
    expected = ndimage.uniform_filter(x, kernel, mode="constant")[strided]
    y = reference.avg_pool(geometry, x[None, None])
    np.testing.assert_allclose(y[0, 0], expected, rtol=0, atol=1e-12 * x.size)


# --- Definitions ---


def cells_of_window(geometry, p):
    """The input cells of output cell p, tap by tap; taps outside the input are passed over."""
    if isinstance(geometry, AdaptiveGeometry):
        axes = zip(p, geometry.in_size, geometry.out_size)
        bins = [range(i * size // o, math.ceil((i + 1) * size / o)) for i, size, o in axes]
        return list(product(*bins))
    lows = [low for low, _ in geometry.padding]
    starts = [i * s - low for i, s, low in zip(p, geometry.stride, lows)]
    taps = product(*map(range, geometry.kernel_size))
    cells = [[f + d * t for f, d, t in zip(starts, geometry.dilation, tap)] for tap in taps]
    inside = [all(0 <= i < size for i, size in zip(cell, geometry.in_size)) for cell in cells]
    return [tuple(cell) for cell, is_inside in zip(cells, inside) if is_inside]


@CASES
@given(pool_problems(dilations=(1, 2, 3)) | adaptive_problems())
def test_max_pool_against_its_definition(geometry):
    x = small_integers(geometry.input_shape)
    values, indices = reference.max_pool(geometry, x)
    for n, c, *p in np.ndindex(geometry.output_shape):
        first = max(cells_of_window(geometry, p), key=lambda cell: x[(n, c, *cell)])
        assert values[(n, c, *p)] == x[(n, c, *first)]
        assert indices[(n, c, *p)] == np.ravel_multi_index(first, geometry.in_size)


@CASES
@given(pool_problems() | adaptive_problems())
def test_avg_pool_against_its_definition(geometry):
    x = small_integers(geometry.input_shape)
    y = reference.avg_pool(geometry, x, count_include_pad=False)
    for n, c, *p in np.ndindex(geometry.output_shape):
        cells = [x[(n, c, *cell)] for cell in cells_of_window(geometry, p)]
        assert y[(n, c, *p)] == sum(cells) / len(cells)


# --- Adjoints ---


@CASES
@given(conv_problems())
def test_conv_adjoints(geometry):
    """<conv(x, w), y> = <x, conv_input(w, y)> = <w, conv_weight(x, y)>, exactly."""
    x, weight = small_integers(geometry.input_shape, 1), small_integers(geometry.weight_shape, 2)
    y, bias = small_integers(geometry.output_shape, 3), small_integers(geometry.out_channels, 4)
    expected = inner(reference.conv(geometry, x, weight), y)
    assert inner(x, reference.conv_input(geometry, weight, y)) == expected
    assert inner(weight, reference.conv_weight(geometry, x, y)) == expected
    with_bias = inner(reference.conv(geometry, x, weight, bias), y)
    assert with_bias == expected + inner(bias, reference.conv_bias(y))


@CASES
@given(conv_problems(modes=["zeros"], transposed=True))
def test_conv_transpose_adjoints(geometry):
    """The gradients of a transposed convolution are conv and conv_weight, output_padding or not."""
    x, weight = small_integers(geometry.output_shape, 1), small_integers(geometry.weight_shape, 2)
    y = small_integers(geometry.input_shape, 3)
    expected = inner(reference.conv_transpose(geometry, x, weight), y)
    assert inner(x, reference.conv(geometry, y, weight)) == expected
    assert inner(weight, reference.conv_weight(geometry, y, x)) == expected


@CASES
@given(conv_problems())
def test_pad_and_unfold_adjoints(geometry):
    x = small_integers(geometry.input_shape, 1)
    padded = reference.pad(x, geometry.padding, geometry.padding_mode)
    y = small_integers(padded.shape, 2)
    gradient = reference.pad_gradient(y, geometry.padding, geometry.padding_mode)
    assert inner(padded, y) == inner(x, gradient)

    columns = reference.unfold(geometry, x)
    y = small_integers(columns.shape, 2)
    assert inner(columns, y) == inner(x, reference.fold(geometry, y))


@CASES
@given(conv_problems(most_groups=1))
def test_conv_is_a_product_with_columns(geometry):
    x, weight = small_integers(geometry.input_shape, 1), small_integers(geometry.weight_shape, 2)
    matrix = weight.reshape(geometry.out_channels, -1)
    y = np.einsum("kr,nrp->nkp", matrix, reference.unfold(geometry, x))
    np.testing.assert_array_equal(
        y.reshape(geometry.output_shape), reference.conv(geometry, x, weight)
    )


@CASES
@given(pool_problems() | adaptive_problems(), st.booleans(), st.sampled_from([None, 3]))
def test_avg_pool_adjoint(geometry, count_include_pad, override):
    x, y = small_integers(geometry.input_shape, 1), small_integers(geometry.output_shape, 2)
    options = (count_include_pad, override)
    expected = inner(reference.avg_pool(geometry, x, *options), y)
    found = inner(x, reference.avg_pool_input(geometry, y, *options))
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-9)


@CASES
@given(pool_problems(dilations=(1, 2, 3)) | adaptive_problems())
def test_indices_lead_back(geometry):
    """The gradient is the adjoint of taking the cells; unpooling shows each taken cell once."""
    x, y = distinct(geometry.input_shape), small_integers(geometry.output_shape, 2)
    values, indices = reference.max_pool(geometry, x)
    gradient = reference.max_pool_input(y, indices, geometry.in_size)
    assert inner(x, gradient) == inner(values, y)
    unpooled = reference.max_unpool(values, indices, geometry.in_size)
    np.testing.assert_array_equal(unpooled, np.where(np.isin(x, values), x, 0))


# --- Finite differences ---


def slope(function, x, direction, step=1e-4):
    """Change of the function along a direction, by central differences."""
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


@CASES
@given(pool_problems(dilations=(1, 2, 3)) | adaptive_problems())
def test_max_pool_gradient(geometry):
    """The values differ by at least one, so no small step changes which is taken."""
    x, direction = distinct(geometry.input_shape), small_integers(geometry.input_shape, 1)
    y = small_integers(geometry.output_shape, 2)
    _, indices = reference.max_pool(geometry, x)
    gradient = reference.max_pool_input(y, indices, geometry.in_size)
    found = slope(lambda x: inner(reference.max_pool(geometry, x)[0], y), x, direction)
    assert found == pytest.approx(inner(gradient, direction), rel=1e-6, abs=1e-6)


@CASES
@given(pool_problems(), st.sampled_from([1, 1.5, 2, 3]))
def test_lp_pool_gradient(geometry, norm_type):
    x = distinct(geometry.input_shape) / 4  # at least 1/8 away from zero
    direction = small_integers(geometry.input_shape, 1)
    y = small_integers(geometry.output_shape, 2)
    output = reference.lp_pool(geometry, x, norm_type)
    gradient = reference.lp_pool_input(geometry, x, output, y, norm_type)
    found = slope(lambda x: inner(reference.lp_pool(geometry, x, norm_type), y), x, direction)
    assert found == pytest.approx(inner(gradient, direction), rel=1e-5, abs=1e-4)


# Away from the kinks at -3, 0, 3, 6 and from the cut of softplus at 20.
SMOOTH = np.concatenate([np.arange(-9.5, 10), [-0.1, 0.1, 2.9, 3.1, 5.9, 6.1, 25.0, -25.0]])


@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activation_gradients(name):
    found = slope(lambda x: reference.activation(name, x), SMOOTH, 1.0)
    np.testing.assert_allclose(
        reference.activation_gradient(name, SMOOTH), found, rtol=1e-6, atol=1e-8
    )
