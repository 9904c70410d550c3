"""The reference against worked answers, its activations, dtypes and empty batches.

Every expected value is written out, with its arithmetic beside it where that is not plain.
"""

import math

import numpy as np
import pytest

import fastconv
from fastconv import reference
from fastconv.geometry import PADDING_MODES, AdaptiveGeometry, ConvGeometry, PoolGeometry

NAN, INF = math.nan, math.inf


def row(*values, dtype=None):
    """The values as one row, (1, 1, L)."""
    return np.array([[values]], dtype)


def conv_geometry(x, weight, **options):
    return ConvGeometry.forward("conv", x.ndim - 2, x.shape, weight.shape, **options)


def pool_geometry(x, kernel_size, **options):
    return PoolGeometry.sliding("pool", x.ndim - 2, x.shape, kernel_size, **options)


def adaptive_geometry(x, output_size):
    return AdaptiveGeometry.adaptive("pool", x.ndim - 2, x.shape, output_size)


def small_integers(shape, seed=0, dtype=float):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


# --- Worked answers: padding ---

# Four cells 1 2 3 4, three more before and two after.
PADDED = {
    "zeros": [0, 0, 0, 1, 2, 3, 4, 0, 0],
    "reflect": [4, 3, 2, 1, 2, 3, 4, 3, 2],
    "replicate": [1, 1, 1, 1, 2, 3, 4, 4, 4],
    "circular": [2, 3, 4, 1, 2, 3, 4, 1, 2],
}
# Nine gradients 1 .. 9 on those cells, gathered by the value above each.
GATHERED = {
    "zeros": [4, 5, 6, 7],
    "reflect": [4, 3 + 5 + 9, 2 + 6 + 8, 1 + 7],
    "replicate": [1 + 2 + 3 + 4, 5, 6, 7 + 8 + 9],
    "circular": [4 + 8, 1 + 5 + 9, 2 + 6, 3 + 7],
}


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_pad_by_hand(mode):
    assert reference.pad(row(1, 2, 3, 4), ((3, 2),), mode).tolist() == [[PADDED[mode]]]
    gradient = reference.pad_gradient(row(*range(1, 10)), ((3, 2),), mode)
    assert gradient.tolist() == [[GATHERED[mode]]]


def test_pad_with_a_value_and_negative_amounts():
    assert reference.pad(row(1, 2, 3), ((1, 0),), value=7).tolist() == [[[7, 1, 2, 3]]]
    assert reference.pad(row(1, 2, 3), ((-1, 2),), value=7).tolist() == [[[2, 3, 7, 7]]]
    assert reference.pad_gradient(row(1, 2, 3, 4), ((-1, 2),)).tolist() == [[[0, 1, 2]]]
    plane = np.array([[[[1, 2], [3, 4]]]])
    padded = [[5, 5, 5, 5], [5, 1, 2, 5], [5, 3, 4, 5]]
    assert reference.pad(plane, ((1, 0), (1, 1)), value=5).tolist() == [[padded]]


def test_pad_of_a_single_cell():
    assert reference.pad(row(3), ((0, 0),), "reflect").tolist() == [[[3]]]
    assert reference.pad(row(3), ((1, 1),), "circular").tolist() == [[[3, 3, 3]]]


def test_pad_leaves_its_input_alone():
    x = row(1.0, 2.0)
    reference.pad(x, ((0, 0),), value=9)[...] = 5
    reference.pad(x, ((1, 1),), value=9)[...] = 5
    assert x.tolist() == [[[1.0, 2.0]]]


def test_unknown_padding_mode():
    with pytest.raises(ValueError, match="not 'mirror'"):
        reference.pad(row(1), ((0, 0),), "mirror")


# --- Worked answers: convolution ---

# (what, x, weight, options, y), one channel each
ROWS = [
    ("correlation, not flipped", (1, 2, 3, 4), (1, 10), {}, [21, 32, 43]),
    ("stride", (1, 2, 3, 4, 5), (1, 10), {"stride": 2}, [21, 43]),
    ("dilation", (1, 2, 3, 4), (1, 10), {"dilation": 2}, [31, 42]),
    ("padding", (1, 2, 3), (1, 10, 100), {"padding": 1}, [210, 321, 32]),
    ("asymmetric", (1, 2), (1, 10), {"padding": ((2, 1),)}, [0, 10, 21, 2]),
    ("causal", (1, 2, 3), (1, 10, 100), {"padding": "causal"}, [100, 210, 321]),
    ("full", (1, 2), (1, 10, 100), {"padding": "full"}, [100, 210, 21, 2]),
    ("same", (1, 2, 3), (1, 10), {"padding": "same"}, [21, 32, 3]),
    ("same_lower", (1, 2, 3), (1, 10), {"padding": "same_lower"}, [10, 21, 32]),
    # ceil(5 / 2) = 3 outputs need (3 - 1) * 2 + 2 = 6 cells: one zero at the end
    ("same, stride", (1, 2, 3, 4, 5), (1, 10), {"padding": "same", "stride": 2}, [21, 43, 5]),
    ("far padding", (1, 2), (1,), {"padding": 3}, [0, 0, 0, 1, 2, 0, 0, 0]),
    (
        "reflect",
        (1, 2, 3),
        (1, 10, 100),
        {"padding": 1, "padding_mode": "reflect"},
        [212, 321, 232],
    ),
    ("replicate", (1, 2), (1, 10, 100), {"padding": 1, "padding_mode": "replicate"}, [211, 221]),
    ("circular", (1, 2, 3), (1, 10), {"padding": 1, "padding_mode": "circular"}, [13, 21, 32, 13]),
    # starts at cells -1 and 2 of the input; taps 0, 2 and 4 further on
    (
        "stride, dilation, padding",
        (1, 2, 3, 4, 5, 6),
        (1, 10, 100),
        {"stride": 3, "dilation": 2, "padding": ((1, 1),)},
        [0 + 20 + 400, 3 + 50 + 0],
    ),
]


@pytest.mark.parametrize(
    ("x", "weight", "options", "y"), [pytest.param(*case, id=what) for what, *case in ROWS]
)
def test_conv_by_hand(x, weight, options, y):
    x, weight = row(*x), row(*weight)
    assert reference.conv(conv_geometry(x, weight, **options), x, weight).tolist() == [[y]]


def test_conv_of_a_plane_by_hand():
    x = np.arange(1, 10).reshape(1, 1, 3, 3)
    weight = np.array([[[[1, 2], [3, 4]]]])
    # 1+4+12+20, 2+6+15+24, 4+10+21+32, 5+12+24+36
    y = reference.conv(conv_geometry(x, weight), x, weight)
    assert y.tolist() == [[[[37, 47], [67, 77]]]]


def test_conv_of_a_volume_by_hand():
    """Each tap is a power of ten, so the digits of the result are the cells it saw."""
    x = np.arange(8).reshape(1, 1, 2, 2, 2)
    weight = 10 ** np.arange(8).reshape(1, 1, 2, 2, 2)
    assert reference.conv(conv_geometry(x, weight), x, weight).item() == 76543210


def test_channels_and_groups_by_hand():
    x = np.array([[[1, 2], [3, 4]]])  # one row of two channels
    weight = np.array([[[1], [10]], [[100], [1000]], [[0], [1]]])  # three outputs see both
    y = reference.conv(conv_geometry(x, weight), x, weight, np.array([0, 5, 7]))
    assert y.tolist() == [[[31, 42], [3105, 4205], [10, 11]]]
    weight = np.array([[[1]], [[10]], [[100]], [[1000]]])  # two outputs from each channel
    y = reference.conv(conv_geometry(x, weight, groups=2), x, weight)
    assert y.tolist() == [[[1, 2], [10, 20], [300, 400], [3000, 4000]]]


def test_gradients_of_conv_by_hand():
    """y0 = x0 w0 + x1 w1 and y1 = x2 w0 + x3 w1, with gradients 1 and 10."""
    x, weight, grad_output = row(1, 2, 3, 4), row(5, 6), row(1, 10)
    geometry = conv_geometry(x, weight, stride=2)
    assert reference.conv_input(geometry, weight, grad_output).tolist() == [[[5, 6, 50, 60]]]
    assert reference.conv_weight(geometry, x, grad_output).tolist() == [[[1 + 30, 2 + 40]]]
    assert reference.conv_bias(np.array([[[1, 2], [3, 4]], [[10, 20], [30, 40]]])).tolist() == [
        33,
        77,
    ]


def test_conv_transpose_by_hand():
    x, weight = row(1, 10), row(1, 2, 3)

    def transpose(**options):
        geometry = ConvGeometry.transposed("transpose", 1, x.shape, weight.shape, **options)
        return reference.conv_transpose(geometry, x, weight, np.array([0])).tolist()

    assert transpose() == [[[1, 12, 23, 30]]]
    assert transpose(padding=1) == [[[12, 23]]]
    assert transpose(padding=((0, 2),)) == [[[1, 12]]]
    assert transpose(stride=3) == [[[1, 2, 3, 10, 20, 30]]]
    assert transpose(stride=2, output_padding=1) == [[[1, 2, 13, 20, 30, 0]]]
    assert transpose(dilation=2) == [[[1, 10, 2, 20, 3, 30]]]
    assert transpose(stride=2, padding="same") == [[[1, 2, 13, 20]]]


def test_conv_transpose_channels_by_hand():
    """Two channels become three: y[c] = sum over k of x[k] weight[k,c] + bias[c]."""
    x, weight = np.array([[[1], [2]]]), np.array([[[1], [2], [3]], [[10], [20], [30]]])
    geometry = ConvGeometry.transposed("transpose", 1, x.shape, weight.shape)
    y = reference.conv_transpose(geometry, x, weight, np.array([0, 0, 100]))
    assert y.tolist() == [[[21], [42], [163]]]


def test_complex_is_not_conjugated():
    x, weight = row(1j, 2), row(1j)
    geometry = conv_geometry(x, weight)
    assert reference.conv(geometry, x, weight).tolist() == [[[-1, 2j]]]
    assert reference.conv_input(geometry, weight, row(1j, 1)).tolist() == [[[-1, 1j]]]
    assert reference.conv_weight(geometry, x, row(1j, 1)).tolist() == [[[-1 + 2]]]


# --- Worked answers: pooling ---

# (what, x, kernel_size, options, values, indices)
MAXIMA = [
    ("plain", (1, 3, 2, 5), 2, {}, [3, 5], [1, 3]),
    ("overlap", (1, 3, 2, 5), 2, {"stride": 1}, [3, 3, 5], [1, 1, 3]),
    ("dilation", (5, 9, 3, 8), 2, {"stride": 1, "dilation": 2}, [5, 9], [0, 1]),
    ("ties", (4, 4, 4), 3, {}, [4], [0]),
    ("padding never wins", (-5, -7), 2, {"stride": 1, "padding": 1}, [-5, -5, -7], [0, 0, 1]),
    ("overhang never wins", (-1, -2, -3), 2, {"ceil_mode": True}, [-1, -3], [0, 2]),
    ("NaN", (9, NAN, 1, 2), 2, {}, [NAN, 2], [1, 3]),
    ("first NaN", (INF, NAN, 3, NAN), 4, {}, [NAN], [1]),
    ("only NaN", (NAN, NAN), 2, {}, [NAN], [0]),
    ("only -inf", (-INF, -INF, -INF), 3, {"stride": 1, "padding": 1}, [-INF] * 3, [0, 0, 1]),
    ("-inf and a number", (-INF, -3), 2, {}, [-3], [1]),
    # taps at -1 and 1, then at 1 and 3
    ("dilated padding", (6, 7, 8), 2, {"stride": 2, "padding": 1, "dilation": 2}, [7, 7], [1, 1]),
]


@pytest.mark.parametrize(
    ("x", "kernel_size", "options", "values", "indices"),
    [pytest.param(*case, id=what) for what, *case in MAXIMA],
)
def test_max_pool_by_hand(x, kernel_size, options, values, indices):
    x = row(*x, dtype=float)
    found, places = reference.max_pool(pool_geometry(x, kernel_size, **options), x)
    np.testing.assert_array_equal(found, row(*values))
    assert places.tolist() == [[indices]]
    assert places.dtype == np.int64


def test_max_pool_of_integers():
    x = row(-128, -128, 5, dtype=np.int8)
    values, indices = reference.max_pool(pool_geometry(x, 2, stride=1, padding=1), x)
    assert values.dtype == np.int8
    assert values.tolist() == [[[-128, -128, 5, 5]]]
    assert indices.tolist() == [[[0, 0, 2, 2]]]


def test_indices_count_within_a_plane():
    x = np.array([[[[1, 2, 0], [3, 0, 9]], [[8, 0, 0], [0, 0, 7]]]])  # (1, 2, 2, 3)
    values, indices = reference.max_pool(pool_geometry(x, (2, 1)), x)
    assert values.tolist() == [[[[3, 2, 9]], [[8, 0, 7]]]]
    assert indices.tolist() == [[[[3, 1, 5]], [[0, 1, 5]]]]
    volume = np.zeros((1, 1, 2, 3, 4))
    volume[0, 0, 1, 2, 3] = 1
    assert reference.max_pool(pool_geometry(volume, (2, 3, 4)), volume)[1].item() == 23


def test_max_pool_gradient_by_hand():
    """The windows (0, 1), (1, 2) and (2, 3) took the cells 1, 1 and 3."""
    gradient = reference.max_pool_input(row(1, 10, 100), row(1, 1, 3), (4,))
    assert gradient.tolist() == [[[0, 11, 0, 100]]]


def test_max_unpool_by_hand():
    assert reference.max_unpool(row(5, 6), row(1, 3), (5,)).tolist() == [[[0, 5, 0, 6, 0]]]
    assert reference.max_unpool(row(5, 6), row(2, 2), (3,)).tolist() == [[[0, 0, 6]]]
    planes = reference.max_unpool(np.array([[[[1]], [[2]]]]), np.array([[[[3]], [[0]]]]), (2, 2))
    assert planes.tolist() == [[[[0, 0], [0, 1]], [[2, 0], [0, 0]]]]


# (what, x, kernel_size, geometry options, divisor options, y)
MEANS = [
    ("plain", (1, 3, 5, 9), 2, {}, {}, [2, 7]),
    ("padding counts", (6, 3), 3, {"stride": 1, "padding": 1}, {}, [3, 3]),
    ("or not", (6, 3), 3, {"stride": 1, "padding": 1}, {"count_include_pad": False}, [4.5, 4.5]),
    ("the overhang never", (1, 3, 5), 2, {"ceil_mode": True}, {}, [2, 5]),
    # windows -1..1 and 2..4: the first has one padding cell, the second one and an overhang
    (
        "padding beside overhang",
        (2, 4, 6),
        3,
        {"padding": 1, "ceil_mode": True},
        {},
        [6 / 3, 6 / 2],
    ),
    ("override", (1, 3, 5), 2, {"ceil_mode": True}, {"divisor_override": 4}, [1, 1.25]),
]


@pytest.mark.parametrize(
    ("x", "kernel_size", "options", "divisor", "y"),
    [pytest.param(*case, id=what) for what, *case in MEANS],
)
def test_avg_pool_by_hand(x, kernel_size, options, divisor, y):
    x = row(*x, dtype=float)
    geometry = pool_geometry(x, kernel_size, **options)
    assert reference.avg_pool(geometry, x, **divisor).tolist() == [[y]]


def test_avg_pool_divisor_is_a_product_of_axes():
    """A corner window of 3x2 with one padding row: 6 cells, of which 4 are inside the input."""
    x = np.full((1, 1, 2, 2), 6.0)
    geometry = pool_geometry(x, (3, 2), padding=(1, 0), stride=(5, 1))
    assert reference.avg_pool(geometry, x).item() == 24 / 6
    assert reference.avg_pool(geometry, x, count_include_pad=False).item() == 24 / 4
    assert reference.avg_pool(geometry, x, divisor_override=3).item() == 24 / 3
    gradient = reference.avg_pool_input(geometry, np.full((1, 1, 1, 1), 12.0))
    assert gradient.tolist() == [[[[2.0, 2.0], [2.0, 2.0]]]]


def test_avg_pool_gradient_by_hand():
    """Windows -1..1 and 1..3 of three cells, divided by 3 and by 3; without padding by 2 and 2."""
    x = row(0.0, 0.0, 0.0)
    geometry = pool_geometry(x, 3, stride=2, padding=1)
    gradient = reference.avg_pool_input(geometry, row(6.0, 12.0))
    assert gradient.tolist() == [[[2.0, 6.0, 4.0]]]
    gradient = reference.avg_pool_input(geometry, row(6.0, 12.0), count_include_pad=False)
    assert gradient.tolist() == [[[3.0, 9.0, 6.0]]]


def test_avg_pool_of_an_infinite_part():
    """The other part of a complex number stays what it is."""
    x = row(complex(math.inf, 3), 1j)
    geometry = pool_geometry(x, 2)
    for average in (reference.avg_pool(geometry, x), fastconv.avg_pool1d(x, 2)):
        assert average.tolist() == [[[complex(math.inf, 2)]]]
    slope = row(complex(math.inf, 3))
    for gradient in (
        reference.avg_pool_input(geometry, slope),
        fastconv.grad.avg_pool1d(slope, x.shape, 2),
    ):
        assert gradient.tolist() == [[[complex(math.inf, 1.5)] * 2]]


def test_lp_pool_by_hand():
    x = row(3.0, -4.0, 0.0, -2.0)
    geometry = pool_geometry(x, 2)
    assert reference.lp_pool(geometry, x, 1).tolist() == [[[7.0, 2.0]]]
    assert reference.lp_pool(geometry, x, 2).tolist() == [[[5.0, 2.0]]]
    # (3**3 + 4**3) ** (1/3) = 91 ** (1/3)
    np.testing.assert_allclose(reference.lp_pool(geometry, x, 3), row(4.497941445275415, 2.0))
    overhang = pool_geometry(x, 3, ceil_mode=True)
    assert reference.lp_pool(overhang, x, 1).tolist() == [[[7.0, 2.0]]]


def test_lp_pool_gradient_by_hand():
    """For norm 2 the gradient is x / y: 3/5 and -4/5; a window of zeros has none."""
    x = row(3.0, -4.0, 0.0, 0.0)
    geometry, y = pool_geometry(x, 2), row(5.0, 0.0)
    gradient = reference.lp_pool_input(geometry, x, y, row(10.0, 10.0), 2)
    np.testing.assert_allclose(gradient, row(6.0, -8.0, 0.0, 0.0))
    gradient = reference.lp_pool_input(geometry, x, row(7.0, 0.0), row(10.0, 10.0), 1)
    assert gradient.tolist() == [[[10.0, -10.0, 0.0, 0.0]]]
    roots = reference.lp_pool_input(geometry, row(4.0, 0.0, 0.0, 0.0), row(4.0, 0.0), y, 0.5)
    assert roots.tolist() == [[[5.0, 0.0, 0.0, 0.0]]]


def test_adaptive_pools_by_hand():
    """Five cells in three bins, 0..1, 1..3, 3..4; two cells in three bins, 0, 0..1, 1."""
    x = row(1.0, 5.0, 2.0, 8.0, 4.0)
    geometry = adaptive_geometry(x, 3)
    assert reference.adaptive_avg_pool(geometry, x).tolist() == [[[3.0, 5.0, 6.0]]]
    values, indices = reference.adaptive_max_pool(geometry, x)
    assert values.tolist() == [[[5.0, 8.0, 8.0]]]
    assert indices.tolist() == [[[1, 3, 3]]]
    gradient = reference.adaptive_avg_pool_input(geometry, row(2.0, 30.0, 4.0))
    assert gradient.tolist() == [[[1.0, 11.0, 10.0, 12.0, 2.0]]]
    x = row(2.0, 4.0)
    assert reference.adaptive_avg_pool(adaptive_geometry(x, 3), x).tolist() == [[[2.0, 3.0, 4.0]]]


def test_adaptive_max_pool_of_nan_and_ties():
    x = row(7.0, 7.0, NAN, 1.0, NAN, 2.0)
    values, indices = reference.adaptive_max_pool(adaptive_geometry(x, 3), x)
    np.testing.assert_array_equal(values, row(7.0, NAN, NAN))
    assert indices.tolist() == [[[0, 2, 4]]]


# --- Worked answers: columns and matrices ---


def test_unfold_and_fold_by_hand():
    x = np.arange(1, 7).reshape(1, 1, 2, 3)  # 1 2 3 / 4 5 6
    geometry = conv_geometry(x, np.empty((1, 1, 2, 2)))
    columns = reference.unfold(geometry, x)
    assert columns.tolist() == [[[1, 2], [2, 3], [4, 5], [5, 6]]]
    # every cell comes back once for each window that held it
    assert reference.fold(geometry, columns).tolist() == [[[[1, 4, 3], [4, 10, 6]]]]


def test_unfold_with_options_by_hand():
    x = row(1, 2, 3, 4)
    geometry = conv_geometry(x, np.empty((1, 1, 2)), stride=2, dilation=3, padding=1)
    # taps at -1 and 2, then at 1 and 4
    assert reference.unfold(geometry, x).tolist() == [[[0, 2], [3, 0]]]
    assert reference.fold(geometry, np.array([[[1, 2], [3, 4]]])).tolist() == [[[0, 2, 3, 0]]]


def test_linear_by_hand():
    weight = np.array([[1, 10], [2, 20], [3, 30]])
    assert reference.linear(np.array([4, 5]), weight).tolist() == [54, 108, 162]
    y = reference.linear(np.array([[1, 0], [0, 1]]), weight, np.array([100, 200, 300]))
    assert y.tolist() == [[101, 202, 303], [110, 220, 330]]


# --- Activations ---

LN2, LN3 = math.log(2), math.log(3)

# e**x is 2, 3 or 1/2 at these places, which leaves fractions.
ACTIVATED = [
    (None, -2.5, -2.5),
    ("relu", 2.5, 2.5),
    ("relu", -2.5, 0),
    ("relu6", 5.5, 5.5),
    ("relu6", 7, 6),
    ("relu6", -1, 0),
    ("leaky_relu", 2, 2),
    ("leaky_relu", -2, -0.02),
    ("sigmoid", LN3, 3 / 4),
    ("sigmoid", -LN3, 1 / 4),
    ("tanh", LN2, 3 / 5),  # (2 - 1/2) / (2 + 1/2)
    ("silu", LN3, 3 / 4 * LN3),
    ("gelu", 1, 0.8413447460685429),  # the normal distribution within one standard deviation
    ("gelu", -1, -0.15865525393145707),
    ("hardswish", 1, 4 / 6),
    ("hardswish", -4, 0),
    ("hardswish", 5, 5),
    ("hardsigmoid", 1, 4 / 6),
    ("hardsigmoid", 4, 1),
    ("hardsigmoid", -4, 0),
    ("elu", 3, 3),
    ("elu", -LN2, -1 / 2),
    ("softplus", LN3, 2 * LN2),  # log(1 + 3)
    ("softplus", 30, 30),
    ("mish", LN2, 4 / 5 * LN2),  # tanh(log 3) = (3 - 1/3) / (3 + 1/3)
]


@pytest.mark.parametrize(("name", "x", "y"), ACTIVATED)
def test_activations_by_hand(name, x, y):
    assert reference.activation(name, np.array([x], float)).item() == pytest.approx(y, rel=1e-14)


def test_every_activation_has_a_worked_answer():
    assert {name for name, *_ in ACTIVATED} == set(reference.ACTIVATIONS)


# (name, x, the derivative there): at a kink that of the flatter side, but for hardswish at 3
KINKS = [
    ("relu", 0, 0),
    ("relu6", 0, 0),
    ("relu6", 6, 0),
    ("leaky_relu", 0, 0.01),
    ("elu", 0, 1),
    ("hardsigmoid", -3, 0),
    ("hardsigmoid", 3, 0),
    ("hardswish", -3, 0),
    ("hardswish", 3, 1),
]


@pytest.mark.parametrize(("name", "x", "derivative"), KINKS)
def test_derivatives_at_kinks(name, x, derivative):
    assert reference.activation_gradient(name, np.array([x], float)).tolist() == [derivative]


@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activations_keep_dtype_and_survive_large_values(name):
    x = np.array([[-1000, -1, 0], [0.5, 90, 1000]], np.float32)
    for function in (reference.activation, reference.activation_gradient):
        y = function(name, x)
        assert y.dtype == np.float32
        assert y.shape == x.shape
        assert np.isfinite(y).all()


# --- Dtypes and empty batches ---


def test_empty_batch_gives_empty_results_and_zero_gradients():
    x, weight, y = np.empty((0, 2, 5)), np.ones((3, 2, 2)), np.empty((0, 3, 4))
    geometry = conv_geometry(x, weight)
    assert reference.conv(geometry, x, weight).shape == (0, 3, 4)
    assert reference.conv_input(geometry, weight, y).shape == (0, 2, 5)
    assert reference.conv_weight(geometry, x, y).tolist() == np.zeros((3, 2, 2)).tolist()
    assert reference.conv_bias(y).tolist() == [0, 0, 0]
    values, indices = reference.max_pool(pool_geometry(x, 2), x)
    assert values.shape == indices.shape == (0, 2, 2)
    assert reference.max_pool_input(values, indices, (5,)).shape == (0, 2, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.complex64, object])
def test_arithmetic_is_that_of_the_dtype(dtype):
    x, weight = small_integers((2, 4, 5, 6), 1, dtype), small_integers((6, 2, 3, 2), 2, dtype)
    geometry = conv_geometry(x, weight, groups=2, padding=1, stride=(2, 1), padding_mode="reflect")
    y, bias = small_integers(geometry.output_shape, 3, dtype), small_integers(6, 4, dtype)
    results = {
        "conv": reference.conv(geometry, x, weight, bias),
        "conv_input": reference.conv_input(geometry, weight, y),
        "conv_weight": reference.conv_weight(geometry, x, y),
        "conv_bias": reference.conv_bias(y),
        "conv_transpose": reference.conv_transpose(geometry, y, weight),
        "unfold": reference.unfold(geometry, x),
        "fold": reference.fold(geometry, reference.unfold(geometry, x)),
        "linear": reference.linear(x, weight[:, 0, 0, :1].repeat(6, axis=1)),
    }
    assert {name: result.dtype for name, result in results.items()} == dict.fromkeys(results, dtype)
    if dtype == np.float64:
        return
    exact = reference.conv(
        geometry, x.astype(complex), weight.astype(complex), bias.astype(complex)
    )
    np.testing.assert_array_equal(results["conv"].astype(complex), exact)


def test_object_integers_have_no_limit():
    x, weight = row(2**62, 2**62, dtype=object), row(2**62, 3, dtype=object)
    geometry = conv_geometry(x, weight)
    assert reference.conv(geometry, x, weight).item() == 2**124 + 3 * 2**62


def test_pools_keep_the_dtype():
    x = small_integers((2, 3, 6, 5), dtype=np.float32)
    geometry = pool_geometry(x, (3, 2), padding=1)
    y = reference.avg_pool(geometry, x)
    results = [
        y,
        reference.avg_pool_input(geometry, y),
        reference.max_pool(geometry, x)[0],
        reference.max_unpool(y, np.zeros(y.shape, int), (9, 9)),
        reference.lp_pool(geometry, x, 2),
        reference.lp_pool_input(geometry, x, reference.lp_pool(geometry, x, 3), y, 3),
        reference.adaptive_avg_pool(adaptive_geometry(x, 4), x),
    ]
    assert {result.dtype for result in results} == {np.dtype(np.float32)}
