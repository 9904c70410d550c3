"""`model.to("cuda")`: layers, losses and optimizers give there what they give on the host."""

import copy

import numpy as np
import pytest

import fastconv
from fastconv import nn


def both(layer, x, last=False):
    """Output and gradients of a layer on the host and on the device."""
    there = copy.deepcopy(layer).to("cuda")
    given = fastconv.channels_last(x) if last else x
    rng = np.random.default_rng(1)
    y = layer(given)
    dy = rng.standard_normal(y.shape)
    dx = layer.backward(dy)
    found = there(fastconv.to_device(given))
    fdx = there.backward(fastconv.to_device(dy))
    pairs = [(found, y), (fdx, dx)]
    pairs += [(f.grad, p.grad) for f, p in zip(there.parameters(), layer.parameters())]
    pairs += list(zip(dict(there.named_arrays()).values(), dict(layer.named_arrays()).values()))
    for ours, theirs in pairs:
        ours = fastconv.device.on_host(ours)
        assert ours.dtype == theirs.dtype
        assert np.allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    return there, layer


X = np.random.default_rng(0).standard_normal((3, 4, 5, 6))


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(),
        nn.LeakyReLU(0.3),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.SiLU(),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.MaxPool2d(2),
        nn.AvgPool2d(3, 2, 1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.4, rng=3),
        nn.BatchNorm2d(4, dtype="float64"),
        nn.BatchNorm2d(4, affine=False, momentum=None, dtype="float64"),
        nn.Conv2d(4, 1, 2, stride=2, padding=1, padding_mode="circular", dtype="float64", rng=0),
        nn.ConvTranspose2d(4, 1, 2, stride=2, bias=False, dtype="float64", rng=0),
        nn.Residual(nn.ReLU()),
        nn.Concat(nn.ReLU(), nn.Tanh()),
    ],
    ids=repr,
)
def test_layers(layer):
    both(layer, X[:2, :, :3, :4], last="Batch" in repr(layer))


def test_linear():
    both(nn.Linear(6, 3, dtype="float64", rng=0), X[0, 0])
    both(nn.BatchNorm1d(6, dtype="float64"), X[0, 0])


def test_evaluation_mode():
    there, here = both(nn.BatchNorm2d(4, dtype="float64"), X)
    there.eval(), here.eval()
    assert np.allclose(there(fastconv.to_device(X)).copy_to_host(), here(X))
    layer = nn.Conv2d(4, 2, 3, dtype="float64", rng=0).eval()
    expected = layer(X[:1])
    found = layer.to("cuda")(fastconv.to_device(X[:1]))
    assert np.allclose(found.copy_to_host(), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)])
def test_cross_entropy(shape, smoothing):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(shape)
    labels = rng.integers(0, shape[1], shape[:1] + shape[2:])
    loss, gradient = nn.cross_entropy(logits, labels, label_smoothing=smoothing)
    given = fastconv.to_device(logits)
    found, there = nn.cross_entropy(given, labels, label_smoothing=smoothing)
    assert found == pytest.approx(loss) and np.allclose(there.copy_to_host(), gradient)
    with pytest.raises(ValueError, match="labels run from"):
        nn.cross_entropy(given, labels + shape[1])


def test_mse_loss():
    a, b = X[0, 0], X[0, 1]
    loss, gradient = nn.mse_loss(a, b)
    found, there = nn.mse_loss(fastconv.to_device(a), b)
    assert found == pytest.approx(loss) and np.allclose(there.copy_to_host(), gradient)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: nn.SGD(p, lr=0.1, weight_decay=0.1),
        lambda p: nn.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
        lambda p: nn.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: nn.Adam(p, lr=0.1, weight_decay=0.1),
        lambda p: nn.AdamW(p, lr=0.1, weight_decay=0.1),
    ],
)
def test_optimizers(make):
    here, there = nn.Parameter(X[0, 0]), nn.Parameter(X[0, 0])
    there.to("cuda")
    steps = [make([here]), make([there])]
    for n in range(3):
        here.grad = X[0, 1] * n
        there.grad = fastconv.to_device(here.grad)
        for optimizer in steps:
            optimizer.step()
    assert np.allclose(there.data.copy_to_host(), here.data)
    saved = steps[1].state_dict()
    assert np.allclose(
        [v for k, v in saved["state"][0].items() if k != "step"],
        [v for k, v in steps[0].state_dict()["state"][0].items() if k != "step"],
    )
    again = make([there])
    again.load_state_dict(saved)
    here.grad = X[0, 2]
    there.grad = fastconv.to_device(here.grad)
    steps[0].step(), again.step()
    assert np.allclose(there.data.copy_to_host(), here.data)


def test_clipped_gradients():
    here, there = nn.Parameter(X[0, 0]), nn.Parameter(X[0, 0])
    there.to("cuda")
    here.grad, there.grad = X[0, 1], fastconv.to_device(X[0, 1])
    norm = nn.clip_gradients([here], 0.5)
    assert nn.clip_gradients([there], 0.5) == pytest.approx(norm)
    assert np.allclose(there.grad.copy_to_host(), here.grad)


def small_net():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, rng=0, dtype="float64"),
        nn.BatchNorm2d(2, dtype="float64"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3, rng=1, dtype="float64"),
    )


def test_a_training_step_is_exact():
    """Whole numbers, and a loss whose gradient is: every weight and gradient is the CPU's."""
    rng = np.random.default_rng(0)

    def whole(shape):
        return rng.integers(-2, 3, shape).astype(np.float32)

    here = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(2, 2, 2, stride=2, rng=1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3, rng=2),
    )
    for parameter in here.parameters():
        parameter.data = whole(parameter.data.shape)
    there = copy.deepcopy(here).to("cuda")
    x, goal = whole((2, 1, 4, 4)), whole((2, 3))
    found = []
    for model in (here, there):
        optimizer = nn.SGD(model.parameters(), lr=0.5, momentum=0.5)
        optimizer.zero_grad()
        given = [fastconv.to_device(a) if model is there else a for a in (x, goal)]
        y = model(given[0])
        dx = model.backward(y - given[1])
        optimizer.step()
        arrays = [y, dx, *(p.grad for p in model.parameters())]
        arrays += [p.data for p in model.parameters()]
        found.append([fastconv.device.on_host(array) for array in arrays])
    for ours, theirs in zip(*found):
        assert ours.dtype == np.float32 and np.array_equal(ours, theirs)


def test_training_end_to_end(tmp_path):
    """The same course on both, batches from the host; and back again."""
    images = np.random.default_rng(0).standard_normal((6, 1, 4, 4))
    labels = np.arange(6) % 3
    here, there = small_net(), small_net().to("cuda")
    histories = []
    for model in (here, there):
        optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9)
        options = {"epochs": 2, "batch_size": 3, "rng": 0, "progress": False}
        validation = (images[:2], labels[:2])
        history = nn.fit(
            model, images, labels, optimizer=optimizer, validation=validation, **options
        )
        histories.append(history)
    for name in ("loss", "accuracy", "validation_loss"):
        ours, theirs = (getattr(history, name) for history in histories)
        assert np.allclose(ours, theirs)
    assert np.allclose(nn.predict(there, images), nn.predict(here, images))
    there.save(tmp_path / "net.safetensors")
    back = small_net()
    back.load(tmp_path / "net.safetensors")
    for name, value in there.to("cpu").named_arrays():
        assert np.array_equal(value, dict(back.named_arrays())[name])
    other = small_net().to("cuda")
    other.load(tmp_path / "net.safetensors")
    found = dict(other.named_arrays())["0.weight"].copy_to_host()
    assert np.array_equal(found, back["0"].weight.data)


def test_assigning_data_stays_on_the_device():
    parameter = nn.Parameter(X[0, 0])
    parameter.to("cuda")
    parameter.data = X[0, 1]
    assert np.array_equal(parameter.data.copy_to_host(), X[0, 1])
    parameter.add_gradient(fastconv.to_device(X[0, 2]))
    parameter.add_gradient(fastconv.to_device(X[0, 2]))
    assert np.array_equal(parameter.grad.copy_to_host(), 2 * X[0, 2])
    with pytest.raises(ValueError, match="'cuda' or 'cpu', not 'tpu'"):
        parameter.to("tpu")
