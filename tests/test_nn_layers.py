"""Every layer: its gradients against central differences, its values against worked answers."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import fastconv
from fastconv import functional as F
from fastconv import nn

STEP = 1e-5

F64 = {"dtype": np.float64, "rng": 5}

# name -> (layer, shape of its input). Unequal numbers on every axis.
CASES = {
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, **F64), (2, 2, 7)),
    "conv1d causal": (lambda: nn.Conv1d(2, 3, 2, 1, "causal", 3, **F64), (2, 2, 6)),
    "conv2d": (lambda: nn.Conv2d(2, 3, (3, 2), **F64), (2, 2, 5, 4)),
    "conv2d every option": (
        lambda: nn.Conv2d(4, 6, (2, 3), (2, 1), (1, 2), (1, 2), 2, **F64),
        (2, 4, 5, 6),
    ),
    "conv2d without bias": (lambda: nn.Conv2d(3, 2, 1, bias=False, **F64), (2, 3, 2, 3)),
    "conv2d same, stride": (lambda: nn.Conv2d(1, 2, 3, 2, "same", **F64), (1, 1, 6, 5)),
    "conv2d pairs": (lambda: nn.Conv2d(1, 2, 2, 1, ((0, 2), (1, 0)), **F64), (1, 1, 3, 4)),
    "conv2d reflect": (
        lambda: nn.Conv2d(1, 2, 3, padding=(2, 1), padding_mode="reflect", **F64),
        (1, 1, 4, 5),
    ),
    "conv2d circular": (
        lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular", **F64),
        (1, 1, 4, 3),
    ),
    "conv2d replicate": (
        lambda: nn.Conv2d(1, 2, 3, padding=2, padding_mode="replicate", **F64),
        (1, 1, 4, 3),
    ),
    "conv3d": (lambda: nn.Conv3d(2, 1, (2, 1, 3), (1, 2, 1), (1, 0, 1), **F64), (1, 2, 2, 4, 3)),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(2, 3, 3, 2, 1, 1, **F64), (2, 2, 4)),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(3, 2, (3, 2), **F64), (1, 3, 2, 3)),
    "conv_transpose2d every option": (
        lambda: nn.ConvTranspose2d(4, 2, (2, 3), (2, 3), (1, 0), (1, 2), 2, True, (1, 2), **F64),
        (1, 4, 3, 2),
    ),
    "conv_transpose2d same": (
        lambda: nn.ConvTranspose2d(1, 2, 3, 2, "same", bias=False, **F64),
        (1, 1, 2, 3),
    ),
    "conv_transpose1d output_padding over stride": (
        lambda: nn.ConvTranspose1d(1, 2, 3, 2, 0, 2, dilation=3, **F64),
        (1, 1, 4),
    ),
    "conv_transpose1d output_padding over stride, padded": (
        lambda: nn.ConvTranspose1d(1, 2, 3, 1, 1, 3, dilation=4, **F64),
        (2, 1, 5),
    ),
    "conv_transpose3d": (
        lambda: nn.ConvTranspose3d(1, 2, (1, 2, 2), (1, 2, 1), **F64),
        (1, 1, 2, 2, 3),
    ),
    "max_pool1d": (lambda: nn.MaxPool1d(3, 2, 1), (2, 2, 7)),
    "max_pool2d": (lambda: nn.MaxPool2d((2, 3), (1, 2), (1, 0), (2, 1)), (2, 2, 5, 6)),
    "max_pool2d ceil": (lambda: nn.MaxPool2d(2, ceil_mode=True), (1, 2, 3, 5)),
    "max_pool3d": (lambda: nn.MaxPool3d((1, 2, 2)), (1, 2, 2, 4, 2)),
    "avg_pool1d": (lambda: nn.AvgPool1d(3, 2, 1), (2, 2, 7)),
    "avg_pool2d": (lambda: nn.AvgPool2d((2, 3), (1, 2), (1, 0), True, False), (2, 2, 5, 6)),
    "avg_pool2d divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), (1, 2, 4, 2)),
    "avg_pool3d": (lambda: nn.AvgPool3d((1, 2, 2)), (1, 2, 2, 4, 2)),
    "adaptive_avg_pool1d": (lambda: nn.AdaptiveAvgPool1d(3), (2, 2, 7)),
    "adaptive_avg_pool2d": (lambda: nn.AdaptiveAvgPool2d((2, None)), (1, 2, 5, 3)),
    "adaptive_avg_pool3d": (lambda: nn.AdaptiveAvgPool3d((1, 2, 1)), (1, 2, 2, 3, 2)),
    "linear": (lambda: nn.Linear(4, 3, **F64), (5, 4)),
    "linear without bias": (lambda: nn.Linear(4, 3, bias=False, **F64), (1, 4)),
    "flatten": (lambda: nn.Flatten(), (2, 3, 2, 2)),
    "flatten some": (lambda: nn.Flatten(2, -2), (2, 3, 2, 2, 2)),
    "relu": (lambda: nn.ReLU(), (2, 3, 4)),
    "leaky_relu": (lambda: nn.LeakyReLU(0.2), (2, 3, 4)),
    "tanh": (lambda: nn.Tanh(), (2, 3, 4)),
    "sigmoid": (lambda: nn.Sigmoid(), (2, 3, 4)),
    "silu": (lambda: nn.SiLU(), (2, 3, 4)),
    "gelu": (lambda: nn.GELU(), (2, 3, 4)),
    "gelu tanh": (lambda: nn.GELU("tanh"), (2, 3, 4)),
    "batch_norm1d": (lambda: nn.BatchNorm1d(3, dtype=np.float64), (4, 3)),
    "batch_norm1d positions": (lambda: nn.BatchNorm1d(3, eps=0.1, dtype=np.float64), (2, 3, 4)),
    "batch_norm2d": (lambda: nn.BatchNorm2d(2, dtype=np.float64), (3, 2, 2, 3)),
    "batch_norm2d plain": (
        lambda: nn.BatchNorm2d(2, affine=False, dtype=np.float64),
        (3, 2, 2, 3),
    ),
    "batch_norm3d": (lambda: nn.BatchNorm3d(2, dtype=np.float64), (2, 2, 1, 2, 3)),
    "residual": (lambda: nn.Residual(nn.Linear(3, 3, **F64)), (2, 3)),
    "residual with shortcut": (
        lambda: nn.Residual(
            nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1, **F64), nn.Tanh()),
            nn.Conv2d(2, 3, 1, 2, **F64),
        ),
        (1, 2, 3, 4),
    ),
    "concat": (
        lambda: nn.Concat(nn.Conv1d(2, 1, 3, 1, 1, **F64), nn.Conv1d(2, 3, 1, **F64), nn.Tanh()),
        (2, 2, 4),
    ),
    "sequential": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, **F64), nn.SiLU(), nn.Flatten(), nn.Linear(12, 2, **F64)
        ),
        (2, 1, 4, 5),
    ),
}


def distinct(rng, shape):
    """Values at least 0.1 apart and from zero: no tie or kink lies within a difference step."""
    size = int(np.prod(shape))
    return (rng.permutation(size) - size // 2 + 0.5).reshape(shape) * 0.1


def spread_statistics(layer, rng):
    """Give scales and shifts that are not their first values 1 and 0."""
    for part in layer.layers():
        if hasattr(part, "running_mean") and part.weight is not None:
            part.weight.data = rng.uniform(0.5, 2, part.weight.shape)
            part.bias.data = rng.uniform(-1, 1, part.bias.shape)


def differences(function, array):
    """Gradient of the scalar `function` by each element of `array`, edited in place meanwhile."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + STEP
        above = function()
        array[index] = value - STEP
        below = function()
        array[index] = value
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


def assert_gradients(layer, x, rng):
    weights = rng.normal(size=layer(x).shape)

    def loss():
        return np.vdot(weights, layer(x))

    layer.zero_grad()
    loss()
    kept = x.copy(), weights.copy()
    gradient = layer.backward(weights)
    assert gradient.shape == x.shape
    assert np.array_equal(x, kept[0])
    assert np.array_equal(weights, kept[1])
    np.testing.assert_allclose(gradient, differences(loss, x), rtol=1e-6, atol=1e-8)
    for name, parameter in layer.named_parameters():
        assert parameter.grad.shape == parameter.shape, name
        expected = differences(loss, parameter.data)
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_central_differences(name):
    make, shape = CASES[name]
    rng = np.random.default_rng(1)
    layer = make()
    spread_statistics(layer, rng)
    assert_gradients(layer, distinct(rng, shape), rng)


@pytest.mark.parametrize("name", CASES)
def test_shape_arithmetic_agrees_with_the_result(name):
    make, shape = CASES[name]
    layer = make()
    assert layer.output_shape(shape) == layer(np.zeros(shape) + 0.5).shape


@pytest.mark.parametrize("name", CASES)
def test_parameter_gradients_need_no_input_gradient(name):
    make, shape = CASES[name]
    rng = np.random.default_rng(2)
    layer, other = make(), make()
    x = distinct(rng, shape)
    gradient = rng.normal(size=layer(x).shape)
    other(x)
    layer.backward(gradient)
    assert other.backward(gradient, input_gradient=False) is None
    for one, two in zip(layer.parameters(), other.parameters()):
        np.testing.assert_array_equal(one.grad, two.grad)


@pytest.mark.parametrize("name", [name for name in CASES if "batch_norm" not in name])
def test_evaluation_gives_the_values_of_training_and_keeps_nothing(name):
    make, shape = CASES[name]
    layer = make()
    x = distinct(np.random.default_rng(3), shape)
    expected = layer(x)
    np.testing.assert_allclose(layer.eval()(x), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="backward needs a forward in training mode"):
        layer.backward(np.ones_like(expected))


@pytest.mark.parametrize("name", CASES)
def test_backward_before_forward_is_an_error(name):
    make, shape = CASES[name]
    layer = make()
    gradient = np.zeros(layer.output_shape(shape))
    with pytest.raises(RuntimeError, match="backward needs a forward in training mode"):
        layer.backward(gradient)


@pytest.mark.parametrize("name", CASES)
def test_one_forward_serves_one_backward_of_the_right_gradient(name):
    make, shape = CASES[name]
    layer = make()
    output = layer(np.zeros(shape) + 0.5)
    if "residual" not in name:
        with pytest.raises(ValueError, match="gradient of shape"):
            layer.backward(np.zeros((*output.shape, 1)))
        with pytest.raises(TypeError, match="gradient is float32, the output was float64"):
            layer.backward(np.zeros(output.shape, np.float32))
        layer(np.zeros(shape) + 0.5)
    layer.backward(output)
    with pytest.raises(RuntimeError, match="one for each backward"):
        layer.backward(output)


@pytest.mark.parametrize("name", CASES)
def test_backward_adds_and_zero_grad_forgets(name):
    make, shape = CASES[name]
    layer = make()
    x = distinct(np.random.default_rng(4), shape)
    for count in (1, 2, 3):
        gradient = np.ones_like(layer(x))
        layer.backward(gradient)
        if count == 1:
            first = [parameter.grad.copy() for parameter in layer.parameters()]
        for parameter, once in zip(layer.parameters(), first):
            np.testing.assert_allclose(parameter.grad, count * once, rtol=1e-12, atol=1e-12)
    layer.zero_grad()
    assert all(parameter.grad is None for parameter in layer.parameters())


LINEAR = [name for name in CASES if name.startswith(("conv", "avg", "adaptive", "linear", "flat"))]


@pytest.mark.parametrize("name", LINEAR)
def test_backward_is_the_adjoint_of_forward(name):
    """<layer(x), y> = <x, backward(y)> in integers, so without rounding."""
    make, shape = CASES[name]
    rng = np.random.default_rng(6)
    layer = make()
    for parameter in layer.parameters():
        parameter.data = rng.integers(-3, 4, parameter.shape)
    if getattr(layer, "bias", None) is not None:
        layer.bias.data = np.zeros(layer.bias.shape)
    # Multiples of 2520 are divisible by every window size here.
    x = rng.integers(-4, 5, shape) * 2520.0
    output = layer(x)
    y = rng.integers(-4, 5, output.shape) * 2520.0
    assert np.vdot(output, y) == np.vdot(x, layer.backward(y))


def test_convolutions_hand_every_argument_to_the_operation():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(2, 4, 9, 8))
    layer = nn.Conv2d(4, 6, (2, 3), (2, 1), (3, 2), (1, 2), 2, True, "reflect", **F64)
    expected = F.conv2d(
        x,
        layer.weight.data,
        layer.bias.data,
        stride=(2, 1),
        padding=(3, 2),
        dilation=(1, 2),
        groups=2,
        padding_mode="reflect",
    )
    np.testing.assert_array_equal(layer(x), expected)
    layer = nn.ConvTranspose2d(4, 6, (2, 3), (2, 3), (1, 0), (1, 2), 2, True, (1, 2), **F64)
    expected = F.conv_transpose2d(
        x,
        layer.weight.data,
        layer.bias.data,
        stride=(2, 3),
        padding=(1, 0),
        output_padding=(1, 2),
        groups=2,
        dilation=(1, 2),
    )
    np.testing.assert_array_equal(layer(x), expected)


def test_dropout_backward_uses_the_mask_of_forward():
    layer = nn.Dropout(0.25, rng=3)
    x = np.full((100, 50), 3.0, np.float32)
    output = layer(x)
    assert output.dtype == np.float32
    np.testing.assert_allclose(np.unique(output), [0, 4], rtol=1e-6)
    assert abs(np.mean(output == 0) - 0.25) < 0.02
    np.testing.assert_array_equal(layer.backward(x), output)
    assert layer.eval()(x) is x


def test_dropout_of_everything_and_of_nothing():
    x = np.array([1.0, -2.0])
    np.testing.assert_array_equal(nn.Dropout(1.0)(x), [0, 0])
    np.testing.assert_array_equal(nn.Dropout(0.0)(x), x)


def test_batch_norm_running_statistics_are_pytorchs():
    layer = nn.BatchNorm1d(2, momentum=0.25, dtype=np.float64)
    layer(np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]]))
    # Means 3 and 20; unbiased variances 4 and 300.
    np.testing.assert_allclose(layer.running_mean, [0.75, 5.0])
    np.testing.assert_allclose(layer.running_var, [0.75 + 1.0, 0.75 + 75.0])
    assert layer.num_batches_tracked == 1
    layer.eval()
    x = np.array([[0.75, 5.0]])
    np.testing.assert_allclose(layer(x), [[0, 0]], atol=1e-12)
    np.testing.assert_allclose(layer(x + np.sqrt(layer.running_var + 1e-5)), [[1, 1]], rtol=1e-12)
    assert layer.num_batches_tracked == 1


def test_batch_norm_without_momentum_averages_all_batches():
    layer = nn.BatchNorm1d(1, momentum=None, dtype=np.float64)
    for batch in ([[0.0], [2.0]], [[4.0], [10.0]]):
        layer(np.array(batch))
    np.testing.assert_allclose(layer.running_mean, [(1 + 7) / 2])
    np.testing.assert_allclose(layer.running_var, [(2 + 18) / 2])


def test_batch_norm_without_statistics_uses_the_batch_in_evaluation():
    layer = nn.BatchNorm1d(1, eps=1e-12, track_running_stats=False, dtype=np.float64).eval()
    np.testing.assert_allclose(layer(np.array([[1.0], [3.0]])), [[-1], [1]])
    assert [name for name, _ in layer.named_arrays()] == ["weight", "bias"]


def test_frozen_batch_norm_trains_with_its_running_statistics():
    rng = np.random.default_rng(8)
    layer = nn.BatchNorm2d(2, dtype=np.float64)
    layer(rng.normal(3, 2, (4, 2, 3, 3)))
    layer.recall(np.zeros((4, 2, 3, 3)))
    layer.frozen = True
    spread_statistics(layer, rng)
    before = layer.state_dict()
    assert_gradients(layer, rng.normal(size=(2, 2, 2, 3)), rng)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        np.testing.assert_array_equal(layer.state_dict()[name], before[name])


def test_batch_norm_statistics_survive_a_large_mean_in_float32():
    x = np.random.default_rng(9).normal(1000, 1, (64, 1, 32, 32)).astype(np.float32)
    layer = nn.BatchNorm2d(1)
    output = layer(x)
    assert abs(float(output.mean())) < 1e-3
    assert abs(float(output.std()) - 1) < 1e-3


def test_batch_norm_of_arrays_that_lie_otherwise():
    """Neither dense, nor aligned, nor is the gradient in the format of the input."""
    random = np.random.default_rng(11)
    x, g = random.normal(5, 2, (2, 3, 4, 6, 5))
    layer = nn.BatchNorm2d(4, dtype=np.float64)
    expected = layer(x), layer.backward(g)
    unaligned = np.frombuffer(bytes(1) + x.tobytes(), np.float64, x.size, 1).reshape(x.shape)
    channels_last = fastconv.channels_last(x)
    for other in (
        np.repeat(x, 2, axis=3)[..., ::2],
        unaligned,
        np.asfortranarray(x),
        channels_last,
    ):
        for slope in (g, fastconv.channels_last(g), np.asfortranarray(g)):
            np.testing.assert_allclose(layer(other), expected[0], rtol=1e-12)
            np.testing.assert_allclose(layer.backward(slope), expected[1], rtol=0, atol=1e-12)


def test_batch_norm_keeps_one_array_and_makes_one():
    """Two passes each way; the input is kept as it is."""
    x = np.random.default_rng(12).standard_normal((8, 16, 64, 64)).astype(np.float32)
    layer = nn.BatchNorm2d(16)
    layer.backward(layer(x))
    tracemalloc.start()
    output = layer(x)
    result = layer.backward(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * x.nbytes
    assert output.shape == result.shape == x.shape


@pytest.mark.parametrize("channels", [1, 3])
def test_batch_norm_refuses_a_single_value_per_channel(channels):
    layer = nn.BatchNorm1d(channels)
    with pytest.raises(ValueError, match="at least 2 values per channel"):
        layer(np.ones((1, channels), np.float32))
    assert layer.eval()(np.ones((1, channels), np.float32)).shape == (1, channels)


@pytest.mark.parametrize("size", [6, 20_000])  # NumPy's pass, and a kernel
@pytest.mark.parametrize("order", ["=", ">"])
def test_relu_of_transposed_arrays_of_either_byte_order(size, order):
    x = np.arange(-size // 2, size // 2).reshape(2, -1).astype(f"{order}f4").T
    layer = nn.ReLU()
    np.testing.assert_array_equal(layer(x), np.where(x > 0, x, 0))
    np.testing.assert_array_equal(layer.backward(x), np.where(x > 0, x, 0))


def test_relu_passes_nan_and_has_slope_zero_at_zero():
    layer = nn.ReLU()
    np.testing.assert_array_equal(layer(np.array([np.nan, -0.0, 1.0])), [np.nan, 0, 1])
    np.testing.assert_array_equal(layer.backward(np.ones(3)), [0, 0, 1])


@pytest.mark.parametrize("layer", [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Sigmoid(), nn.Tanh()])
def test_activations_keep_float32_and_do_not_overflow(layer):
    x = np.array([-1e4, -100.0, 0.0, 100.0, 1e4], np.float32)
    output = layer(x)
    assert output.dtype == np.float32
    assert layer.backward(np.ones_like(x)).dtype == np.float32
    assert np.isfinite(output).all()


def test_channels_last_stays_channels_last_through_elementwise_layers():
    x = np.random.default_rng(10).normal(size=(2, 4, 5, 3)).transpose(0, 3, 1, 2)
    for layer in (nn.ReLU(), nn.LeakyReLU(), nn.BatchNorm2d(3, dtype=np.float64), nn.SiLU()):
        output = layer(x)
        assert output.transpose(0, 2, 3, 1).flags.c_contiguous
        # Statistics add up in the order of the memory.
        expected = copy.deepcopy(layer)(np.ascontiguousarray(x))
        np.testing.assert_allclose(output, expected, rtol=1e-13)


def test_copies_and_pickles_leave_work_in_progress_behind():
    layer = nn.Sequential(nn.Conv2d(1, 2, 3, rng=1), nn.ReLU())
    x = np.ones((1, 1, 4, 4), np.float32)
    expected = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with pytest.raises(RuntimeError):
            twin.backward(expected)
        np.testing.assert_array_equal(twin(x), expected)
        twin[0].weight.data[:] = 0
    np.testing.assert_array_equal(layer(x), expected)
