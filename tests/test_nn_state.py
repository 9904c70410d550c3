"""Names, copying, loading and files of a model's state; parameters and their versions."""

import os
import sys

import numpy as np
import pytest

import fastconv
from fastconv import nn
from fastconv.nn import init


def build(rng=0):
    generator = np.random.default_rng(rng)
    return nn.Sequential(
        features=nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False, rng=generator),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        block=nn.Residual(
            nn.Sequential(nn.Conv2d(4, 4, 1, rng=generator)),
            shortcut=nn.ConvTranspose2d(4, 4, 1, rng=generator),
        ),
        branches=nn.Concat(nn.Conv2d(4, 1, 1, rng=generator), nn.Conv2d(4, 2, 1, rng=generator)),
        classifier=nn.Sequential(nn.Flatten(), nn.Linear(12, 3, rng=generator)),
    )


SHAPES = {
    "features.0.weight": (4, 1, 3, 3),
    "features.1.weight": (4,),
    "features.1.bias": (4,),
    "features.1.running_mean": (4,),
    "features.1.running_var": (4,),
    "features.1.num_batches_tracked": (),
    "block.body.0.weight": (4, 4, 1, 1),
    "block.body.0.bias": (4,),
    "block.shortcut.weight": (4, 4, 1, 1),
    "block.shortcut.bias": (4,),
    "branches.0.weight": (1, 4, 1, 1),
    "branches.0.bias": (1,),
    "branches.1.weight": (2, 4, 1, 1),
    "branches.1.bias": (2,),
    "classifier.1.weight": (3, 12),
    "classifier.1.bias": (3,),
}


def test_names_and_shapes_are_pytorchs():
    model = build()
    assert {name: array.shape for name, array in model.state_dict().items()} == SHAPES
    trained = [name for name in SHAPES if "running" not in name and "tracked" not in name]
    assert [name for name, _ in model.named_parameters()] == trained
    assert len(list(model.parameters())) == len(trained)


def test_positional_layers_are_numbered():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), head=nn.Conv2d(2, 1, 3))
    assert list(model.state_dict()) == ["0.weight", "0.bias", "head.weight", "head.bias"]
    assert model.state_dict()["0.weight"].shape == (2, 1, 3, 3)


def test_transposed_weights_have_pytorchs_layout():
    assert nn.ConvTranspose2d(4, 6, (2, 3), groups=2).weight.shape == (4, 3, 2, 3)


def test_state_dict_is_a_copy():
    model = build()
    saved = model.state_dict()
    before = saved["classifier.1.bias"].copy()
    for parameter in model.parameters():
        parameter.data += 1
    np.testing.assert_array_equal(saved["classifier.1.bias"], before)


def test_load_restores_the_function():
    one, two = build(1), build(2)
    x = np.random.default_rng(3).normal(size=(5, 1, 4, 4)).astype(np.float32)
    one(x)  # moves the running statistics
    two.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one.eval()(x), two.eval()(x))


def test_safetensors_round_trip(tmp_path):
    one, two = build(1), build(2)
    one(np.random.default_rng(3).normal(size=(5, 1, 4, 4)).astype(np.float32))
    path = tmp_path / "model.safetensors"
    one.save(path)
    assert two.load(str(path)) == ([], [])
    expected, loaded = one.state_dict(), two.state_dict()
    for name in SHAPES:
        np.testing.assert_array_equal(loaded[name], expected[name])
        assert loaded[name].dtype == expected[name].dtype
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_the_file_is_read_by_safetensors_itself(tmp_path):
    from safetensors.numpy import load_file, save_file

    layer = nn.Linear(2, 1)
    save_file({"weight": np.array([[3.0, 4.0]]), "bias": np.array([5.0])}, tmp_path / "a")
    layer.load(tmp_path / "a")
    np.testing.assert_array_equal(layer.weight.data, np.array([[3, 4]], np.float32))
    layer.weight.data = layer.weight.data * 2
    layer.save(tmp_path / "b")
    np.testing.assert_array_equal(load_file(tmp_path / "b")["weight"], [[6, 8]])


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    layer = nn.Linear(2, 1)
    path = tmp_path / "model.safetensors"
    layer.save(path)
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    layer.weight.data = layer.weight.data + 1
    with pytest.raises(OSError, match="disk full"):
        layer.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_corrupt_or_absent_file(tmp_path):
    layer = nn.Linear(2, 1)
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError):
        layer.load(path)
    layer.save(path)
    content = path.read_bytes()
    for broken in (b"", b"not a model", content[:-1], content + b"!"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="cannot be read as a safetensors file"):
            layer.load(path)


def test_without_safetensors_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install \"fastconv\[examples\]\""):
        nn.Linear(1, 1).save(tmp_path / "model.safetensors")


def test_load_lists_everything_that_does_not_fit_and_changes_nothing():
    model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Linear(3, 2))
    before = model.state_dict()
    wrong = {**before, "0.weight": np.zeros((6, 1, 3, 3)), "extra": np.zeros(1)}
    del wrong["1.bias"]
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(wrong)
    message = str(caught.value)
    assert "shape of 0.weight: (6, 1, 3, 3) given, (6, 1, 5, 5) in the model" in message
    assert "missing: 1.bias" in message
    assert "unexpected: extra" in message
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_load_without_strict_reports_names_but_not_shapes():
    layer = nn.Linear(2, 1)
    result = layer.load_state_dict({"weight": np.ones((1, 2)), "more": 1}, strict=False)
    assert result == (["bias"], ["more"])
    np.testing.assert_array_equal(layer.weight.data, [[1, 1]])
    with pytest.raises(ValueError, match=r"shape of weight: \(2,\) given"):
        layer.load_state_dict({"weight": np.ones(2)}, strict=False)


def test_load_converts_floats_and_refuses_complex():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": [[1, 2]], "bias": np.array([0.5], np.float64)})
    assert layer.weight.data.dtype == np.float32
    with pytest.raises(TypeError, match="bias is complex128 and cannot become float32"):
        layer.load_state_dict({"weight": [[5, 6]], "bias": np.array([1j])})
    np.testing.assert_array_equal(layer.weight.data, [[1, 2]])


def test_evaluation_drops_its_plan_when_a_parameter_changes(monkeypatch):
    made = []
    plan = fastconv.plan

    def counting(*args, **options):
        made.append(args[0])
        return plan(*args, **options)

    monkeypatch.setattr(fastconv, "plan", counting)
    layer = nn.Conv2d(1, 1, 1).eval()
    x = np.ones((1, 1, 1, 2), np.float32)
    layer.load_state_dict({"weight": [[[[2.0]]]], "bias": [0.0]})
    assert layer(x).tolist() == [[[[2.0, 2.0]]]]
    layer(x)
    assert len(made) == 1
    layer.weight.data = [[[[3.0]]]]
    assert layer(x).tolist() == [[[[3.0, 3.0]]]]
    layer.bias.data[0] = 1.0
    layer.bias.touch()
    assert layer(x).tolist() == [[[[4.0, 4.0]]]]
    layer.weight.grad = np.ones((1, 1, 1, 1), np.float32)
    nn.SGD([layer.weight], lr=1.0).step()
    assert layer(x).tolist() == [[[[3.0, 3.0]]]]
    assert layer(x[..., :1]).tolist() == [[[[3.0]]]]
    assert len(made) == 5
    layer.train()
    layer(x)
    assert len(made) == 5


def test_parameter_assignment_copies_and_checks():
    parameter = nn.Parameter(np.zeros((2, 3), np.float32))
    values = np.ones((2, 3))
    parameter.data = values
    values[:] = 7
    assert parameter.data.dtype == np.float32
    assert parameter.version == 1
    np.testing.assert_array_equal(parameter.data, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"shape \(3, 2\) cannot replace shape \(2, 3\)"):
        parameter.data = values.T
    with pytest.raises(TypeError, match="must be float32 or float64, not int64"):
        nn.Parameter(np.arange(3))


@pytest.mark.parametrize("function", [init.kaiming_uniform, init.xavier_uniform])
def test_uniform_initialisers_fill_their_bounds(function):
    rng = np.random.default_rng(1)
    values = function((64, 16, 3, 3), rng=rng)
    # fan-in 144, fan-out 576
    bound = {init.kaiming_uniform: (1 / 144) ** 0.5, init.xavier_uniform: (6 / 720) ** 0.5}[
        function
    ]
    assert values.dtype == np.float32
    assert 0.99 * bound < values.max() <= bound * (1 + 1e-6)
    assert -0.99 * bound > values.min() >= -bound * (1 + 1e-6)
    assert abs(values.std() / (bound / 3**0.5) - 1) < 0.02


@pytest.mark.parametrize(
    ("function", "variance"), [(init.kaiming_normal, 2 / 144), (init.xavier_normal, 2 / 720)]
)
def test_normal_initialisers_have_their_variance(function, variance):
    values = function((64, 16, 3, 3), rng=np.random.default_rng(1), dtype=np.float64)
    assert values.dtype == np.float64
    assert abs(values.var() / variance - 1) < 0.04
    assert abs(values.mean()) < 0.05 * variance**0.5


def test_initialisers_are_reproducible_and_check_shapes():
    one, two = nn.Conv2d(2, 3, 3, rng=7), nn.Conv2d(2, 3, 3, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(one.weight.data, two.weight.data)
    np.testing.assert_array_equal(one.bias.data, two.bias.data)
    assert abs(one.bias.data).max() <= 18**-0.5
    np.testing.assert_allclose(
        nn.Conv2d(2, 3, 3, rng=7, dtype=np.float64).weight.data, one.weight.data
    )
    assert init.zeros((2, 3)).sum() == 0
    assert init.ones((2, 3)).sum() == 6
    with pytest.raises(ValueError, match=r"at least two dimensions, not shape \(3,\)"):
        init.kaiming_uniform((3,), rng=1)
