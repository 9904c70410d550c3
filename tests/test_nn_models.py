"""Containers, summaries with textbook numbers, and what constructors and forward refuse."""

import subprocess
import sys

import numpy as np
import pytest

from fastconv import nn


def lenet():
    return nn.Sequential(
        features=nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        classifier=nn.Sequential(nn.Flatten(), nn.Linear(400, 120), nn.Linear(120, 10)),
    )


def test_ten_filters_on_a_32x32_image():
    summary = nn.Sequential(nn.Conv2d(3, 10, 5, padding=2)).summary((3, 32, 32))
    assert summary.rows[0].output_shape == (10, 32, 32)
    assert summary.parameters == 760
    assert summary.multiply_adds == 778_240


def test_six_filters_share_450_weights_where_a_dense_layer_needs_14_million():
    model = nn.Sequential(nn.Conv2d(3, 6, 5, bias=False))
    summary = model.summary((3, 32, 32))
    assert summary.rows[0].output_shape == (6, 28, 28)
    assert summary.parameters == 450
    dense = nn.Linear(3072, 4704, bias=False)
    assert dense.summary((3072,)).parameters == 3072 * 4704 == 14_450_688


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("kernel", [3, 5])
def test_receptive_field_grows_linearly(layers, kernel):
    model = nn.Sequential(*(nn.Conv2d(1, 1, kernel) for _ in range(layers)))
    field = 1 + layers * (kernel - 1)
    assert model.summary((1, 32, 32)).rows[-1].receptive_field == (field, field)


def test_receptive_field_follows_strides_dilation_and_axes():
    model = nn.Sequential(
        nn.Conv2d(1, 2, (3, 5), stride=(2, 1)), nn.MaxPool2d(2), nn.Conv2d(2, 1, 3, dilation=2)
    )
    fields = [row.receptive_field for row in model.summary((1, 40, 40)).rows]
    # rows: 3, 3 + 1*2, 5 + 2*2*4; columns: 5, 5 + 1, 6 + 2*2*2
    assert fields == [(3, 5), (5, 6), (21, 14)]


def test_summary_of_lenet():
    summary = lenet().summary((1, 28, 28))
    assert [row.name for row in summary.rows][:3] == ["features.0", "features.1", "features.2"]
    assert summary.rows[3].output_shape == (16, 10, 10)
    assert summary.rows[5].receptive_field == (16, 16)
    assert summary.rows[-1].receptive_field is None
    assert summary.parameters == 156 + 2416 + 48_120 + 1210
    assert summary.multiply_adds == 28 * 28 * 156 + 100 * 2416 + 48_120 + 1210
    lines = str(summary).splitlines()
    assert len(lines) == 1 + 1 + 9 + 1
    assert lines[2].split() == ["features.0", "Conv2d", "6x28x28", "156", "122,304", "5x5"]
    assert lines[-1].split() == ["total", "51,902", "413,234"]
    assert len({line.rindex(line.split()[-1]) + len(line.split()[-1]) for line in lines[2:-1]}) == 1


def test_summary_of_branches():
    model = nn.Sequential(
        nn.Concat(nn.Conv2d(3, 2, 1), nn.Conv2d(3, 4, 5, padding=2)),
        nn.Residual(nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))),
        nn.AdaptiveAvgPool2d(1),
    )
    rows = {row.name: row for row in model.summary((3, 8, 9)).rows}
    assert list(rows) == ["0.0", "0.1", "0", "1.body.0", "1.body.1", "1", "2"]
    assert rows["0"].output_shape == (6, 8, 9)
    assert rows["0"].receptive_field == (5, 5)
    assert rows["1"].output_shape == (6, 8, 9)
    assert rows["1"].receptive_field == (7, 7)
    assert rows["2"].receptive_field == (14, 15)
    assert rows["1.body.1"].multiply_adds == 6 * 8 * 9


def test_summary_of_transposed_convolutions_has_no_window():
    summary = nn.Sequential(nn.ConvTranspose2d(4, 2, 3, 2, 1, 1)).summary((4, 5, 6))
    assert summary.rows[0].output_shape == (2, 10, 12)
    assert summary.parameters == 4 * 2 * 9 + 2
    assert summary.rows[0].receptive_field is None


def test_summary_refuses_a_shape_that_does_not_fit():
    with pytest.raises(ValueError, match="Conv2d: in_channels of input"):
        lenet().summary((3, 28, 28))
    with pytest.raises(ValueError, match="in_features 400"):
        lenet().summary((1, 32, 32))
    with pytest.raises(ValueError, match="Conv2d: input must have 4 dimensions"):
        lenet().summary((5, 1, 28, 28))


def test_sequential_is_a_sequence():
    model = lenet()
    assert len(model) == 2
    assert list(model) == [model[0], model[1]] == [model["features"], model["classifier"]]
    assert model[-1] is model["classifier"]
    features = model["features"]
    part = features[1:4]
    assert isinstance(part, nn.Sequential)
    assert list(part) == list(features)[1:4]
    assert list(part.state_dict()) == ["3.weight", "3.bias"]
    with pytest.raises(IndexError):
        features[6]
    with pytest.raises(KeyError):
        model["absent"]


def test_an_empty_sequential_is_the_identity():
    x = np.arange(3.0)
    assert nn.Sequential()(x) is x
    assert nn.Sequential().backward(x) is x
    assert nn.Sequential().backward(x, input_gradient=False) is None


def test_backward_without_input_gradient_stops_at_the_first_parameters():
    class Counting(nn.ReLU):
        calls = 0

        def backward(self, gradient, *, input_gradient=True):
            Counting.calls += 1
            return super().backward(gradient, input_gradient=input_gradient)

    model = nn.Sequential(Counting(), nn.Sequential(nn.Flatten()), nn.Linear(4, 2), Counting())
    x = np.ones((3, 2, 2), np.float32)
    assert model.backward(np.ones_like(model(x)), input_gradient=False) is None
    assert Counting.calls == 1
    expected = model[2].weight.grad.copy()
    model.zero_grad()
    assert model.backward(np.ones_like(model(x))).shape == x.shape
    assert Counting.calls == 3
    np.testing.assert_array_equal(model[2].weight.grad, expected)


def test_modes_reach_every_layer():
    model = nn.Sequential(nn.Residual(nn.Sequential(nn.Dropout())), nn.Concat(nn.ReLU()))
    assert all(layer.training for layer in model.layers())
    assert model.eval() is model
    assert not any(layer.training for layer in model.layers())
    model.train()
    assert all(layer.training for layer in model.layers())


def test_repr_shows_the_structure():
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2, bias=False), head=nn.Residual(nn.AvgPool2d(3, 1, 1))
    )
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 6, kernel_size=(5, 5), padding=((2, 2), (2, 2)), bias=False)\n"
        "  (head): Residual(\n"
        "    (body): AvgPool2d(kernel_size=(3, 3), stride=(1, 1), padding=((1, 1), (1, 1)))\n"
        "  )\n"
        ")"
    )


def shared(layer):
    return nn.Sequential(layer, nn.Sequential(layer))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Sequential(np.ones(2)), TypeError, "Sequential: 0 must be a layer"),
        (lambda: nn.Sequential(nn.ReLU), TypeError, "Sequential: 0 must be a layer"),
        (lambda: shared(nn.ReLU()), ValueError, "same ReLU object is in 0 and in 1"),
        (lambda: nn.Sequential(**{"a.b": nn.ReLU()}), ValueError, "'a.b' cannot be the name"),
        (lambda: nn.Sequential(nn.ReLU(), **{"0": nn.ReLU()}), ValueError, "or is taken"),
        (lambda: nn.Concat(), ValueError, "at least one branch, not 0"),
        (lambda: nn.Residual(3), TypeError, "Residual: body must be a layer"),
        (lambda: nn.Conv2d(6, 4, 3, groups=4), ValueError, r"in_channels \(6\) .* groups \(4\)"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), ValueError, r"out_channels \(6\) .* groups \(4\)"),
        (lambda: nn.Conv2d(0, 6, 3), ValueError, "Conv2d: in_channels must be at least 1"),
        (lambda: nn.Conv2d(1, 6, 0), ValueError, "Conv2d: kernel_size must be at least 1"),
        (lambda: nn.Conv2d(1, 6, (3, 3, 3)), ValueError, "kernel_size must have 2 entries"),
        (lambda: nn.Conv2d(1, 6, 3.0), TypeError, "kernel_size must be an integer, not 3.0"),
        (lambda: nn.Conv1d(1, 6, 3, 0), ValueError, "Conv1d: stride must be at least 1"),
        (lambda: nn.Conv3d(1, 6, 3, 1, -1), ValueError, "Conv3d: padding must be at least 0"),
        (lambda: nn.Conv2d(1, 6, 3, padding="some"), ValueError, "padding must be one of"),
        (lambda: nn.Conv2d(1, 6, 3, padding="causal"), ValueError, "for one dimension, not 2"),
        (lambda: nn.Conv2d(1, 6, 3, padding_mode="wrap"), ValueError, "padding_mode must be one"),
        (
            lambda: nn.Conv2d(1, 6, 3, dtype=np.float16),
            TypeError,
            "float32 or float64, not float16",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, 2, output_padding=2),
            ValueError,
            r"output_padding \(2\) must be smaller than stride \(2\) or dilation \(1\)",
        ),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect"),
            ValueError,
            "padding_mode must be 'zeros', not 'reflect'",
        ),
        (lambda: nn.MaxPool2d(0), ValueError, "MaxPool2d: kernel_size must be at least 1"),
        (lambda: nn.MaxPool2d(2, (1, 2, 3)), ValueError, "stride must have 2 entries"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), ValueError, "divisor_override must be at"),
        (lambda: nn.AdaptiveAvgPool2d(0), ValueError, "output_size must be at least 1"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), ValueError, "output_size must have 2 entries"),
        (lambda: nn.Linear(3, 0), ValueError, "Linear: out_features must be at least 1"),
        (lambda: nn.Linear(3, 1, dtype=int), TypeError, "float32 or float64, not int64"),
        (lambda: nn.Dropout(1.5), ValueError, "p must be between 0 and 1, not 1.5"),
        (lambda: nn.GELU("erf"), ValueError, "approximate must be 'none' or 'tanh', not 'erf'"),
        (lambda: nn.BatchNorm2d(0), ValueError, "num_features must be at least 1"),
        (lambda: nn.BatchNorm2d(2, eps=0), ValueError, "eps must be positive, not 0"),
        (lambda: nn.BatchNorm2d(2, momentum=2), ValueError, "momentum must be between 0 and 1"),
    ],
)
def test_constructors_refuse(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv2d(3, 4, 3), (2, 1, 5, 5), "has 1 channels, the layer takes 3"),
        (nn.Conv2d(3, 4, 3), (3, 5, 5), "Conv2d: input must have 4 dimensions"),
        (nn.Conv2d(3, 4, 7), (2, 3, 5, 5), "larger than the padded input"),
        (nn.ConvTranspose1d(3, 4, 7), (2, 4, 5), "ConvTranspose1d: input of shape"),
        (nn.Linear(3, 4), (2, 4), "has 4 channels, the layer takes 3"),
        (nn.Linear(3, 4), (2, 3, 4), "Linear: input must have 2 dimensions"),
        (nn.BatchNorm1d(3), (2, 4), "BatchNorm1d: input of shape"),
        (nn.BatchNorm1d(3), (2, 3, 4, 5), "must have 2 or 3 dimensions"),
        (nn.MaxPool2d(3), (1, 1, 2, 2), "larger than the padded input"),
        (nn.Flatten(1, 0), (2, 3), "cannot join axes 1 to 0"),
        (nn.Flatten(1, 4), (2, 3), "cannot join axes 1 to 4"),
        (nn.Residual(nn.Flatten()), (2, 3, 4), r"body gives shape \(2, 12\), the shortcut"),
        (nn.Concat(nn.Flatten(), nn.ReLU()), (2, 3, 4), "only the channels may differ"),
    ],
)
def test_forward_refuses(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(shape, np.float32))


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)])
def test_forward_refuses_another_dtype(layer):
    with pytest.raises(TypeError, match="input is float64, the layer is float32"):
        layer(np.zeros((1, 1, 2, 2)))


def test_importing_nn_imports_no_optional_package():
    code = (
        "import sys, fastconv.nn; "
        "optional = {'tqdm', 'safetensors', 'matplotlib', 'sklearn', 'platformdirs', 'torch'}; "
        "print(sorted(optional & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("training", [True, False])
def test_the_maximum_of_relus_is_the_relu_of_the_maximum(training):
    rng = np.random.default_rng(5)
    x = rng.integers(-3, 2, (2, 3, 6, 8)).astype(np.float64)  # ties, zeros, windows below zero
    x[1, 2, 3, 4] = np.nan
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)).train(training)
    apart = nn.ReLU().train(training), nn.MaxPool2d(2).train(training)
    output = model(x)
    np.testing.assert_array_equal(output, apart[1](apart[0](x)))
    if training:
        gradient = rng.integers(1, 9, output.shape).astype(np.float64)
        expected = apart[0].backward(apart[1].backward(gradient))
        expected[1, 2, 2:4, 4:6] = 0  # a NaN has no slope: either order may name a cell
        found = model.backward(gradient)
        found[1, 2, 2:4, 4:6] = 0
        np.testing.assert_array_equal(found, expected)


# --- memory


def test_memory_is_counted_once_for_each_array():
    """Of a megabyte: the batch and the output, in training the output's gradient too."""
    sample, megabyte = (4, 64, 64), 1 << 20
    memory = nn.ReLU().summary(sample, batch_size=16).memory
    assert memory.batch_size == 16
    assert 2 * megabyte <= memory.inference < 2.1 * megabyte
    assert 3 * megabyte <= memory.training < 3.1 * megabyte


def test_memory_of_a_network():
    """More for more images; the model learns nothing from it, and keeps nothing."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5, rng=1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 16 * 16, 10),
    ).train()
    before = model.state_dict()
    small, large = (model.summary((3, 32, 32), batch_size).memory for batch_size in (8, 64))
    assert large.inference < large.training
    assert small.training < large.training
    # Outputs of the first four layers are there at once in training.
    assert large.training > 4 * 4 * 64 * 8 * 32 * 32
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    text = str(model.summary((3, 32, 32), 64))
    assert "memory for a batch of 64: training " in text.splitlines()[-1]
    assert str(model.summary((3, 32, 32))) == text.rpartition("\n")[0]


def test_memory_of_no_batch():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        nn.ReLU().summary((2,), batch_size=0)
