"""Passes of networks that are done again: as their layers do them, bit for bit, or not at all."""

import copy
import multiprocessing

import numpy as np
import pytest

import fastconv
from fastconv import nn
from fastconv.cpu.replay import BEFORE_REPLAY
from fastconv.machine import machine

LANES = machine().lanes("float32")
STEPS = BEFORE_REPLAY + 4


def lenet(dtype=np.float32):
    options = {"dtype": dtype, "rng": np.random.default_rng(0)}
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, **options),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 5, 3, padding=(1, 2), bias=False, **options),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(45, 7, **options),
        nn.ReLU(),
        nn.Linear(7, 4, **options),
    )


def dense(dtype=np.float32):
    options = {"dtype": dtype, "rng": np.random.default_rng(0)}
    return nn.Sequential(
        nn.Flatten(), nn.Linear(120, 9, **options), nn.ReLU(), nn.Linear(9, 4, **options)
    )


def signals(dtype=np.float32):
    options = {"dtype": dtype, "rng": np.random.default_rng(0)}
    return nn.Sequential(
        nn.Flatten(1, 2), nn.Flatten(), nn.Linear(120, 8, **options), nn.ReLU(), nn.ReLU()
    )


NETS = {"lenet": lenet, "dense": dense, "signals": signals}


def batch(seed, dtype=np.float32, count=2 * LANES):
    return np.random.default_rng(seed).normal(size=(count, 1, 12, 10)).astype(dtype)


def ready(network):
    """What of a network is done again: nothing, forward, or both ways."""
    found = network._passes._ready
    if found is None:
        return ""
    way_back = found._way_back
    return "forward" if way_back is None or way_back[1] is None else "both"


def by_layers(network):
    """A copy that never does a pass again."""
    slow = copy.deepcopy(network)
    slow.forward, slow.backward = (
        slow.forward_by_layers,
        lambda gradient, *, input_gradient=True: slow.backward_by_layers(gradient, input_gradient),
    )
    return slow


def step(network, x, seed=9, input_gradient=True):
    """Output, input gradient and all gradients of parameters."""
    network.zero_grad()
    output = network.forward(x)
    slopes = np.random.default_rng(seed).normal(size=output.shape).astype(x.dtype)
    if type(network[-1]) is nn.ReLU:  # which is NumPy's work where both lie in different orders
        slopes = np.asfortranarray(slopes)
    inner = network.backward(slopes, input_gradient=input_gradient)
    return [output, inner, *(parameter.grad for parameter in network.parameters())]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        if other is None:
            assert one is None
        else:
            np.testing.assert_array_equal(one, other, strict=True)
            assert one.strides == other.strides


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("input_gradient", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_the_same_bits_again(make, dtype, input_gradient, threads):
    """New numbers in each batch, whose earlier results stay what they were."""
    network = make(dtype)
    slow, made = by_layers(network), []
    with fastconv.threads(threads):
        for seed in range(STEPS):
            x = batch(seed, dtype)
            before = x.copy()
            found = step(network, x, seed, input_gradient)
            expected = step(slow, x, seed, input_gradient)
            made.append((found, [None if array is None else array.copy("K") for array in expected]))
            np.testing.assert_array_equal(x, before)
            x[...] = np.nan
    assert ready(network) == "both"
    for found, expected in made:
        assert_same(found, expected)


@pytest.fixture
def network():
    """A network whose passes are done again."""
    made = lenet()
    for _ in range(BEFORE_REPLAY):
        step(made, batch(0))
    assert ready(made) == "both"
    return made


def test_parameters_that_change(network):
    """In place, by assignment, and other objects."""
    slow = by_layers(network)
    for change in (
        lambda layer: layer.weight.data.__imul__(2),
        lambda layer: setattr(layer.weight, "data", 3 * layer.weight.data),
        lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight.data + 1)),
        lambda layer: setattr(layer, "bias", None),
    ):
        for model in (network, slow):
            change(model[7])
        for seed in range(2):
            assert_same(step(network, batch(seed)), step(slow, batch(seed)))


def test_gradients_add_up(network):
    expected = [2 * array for array in step(network, batch(1))[2:]]
    first, x = [parameter.grad.copy() for parameter in network.parameters()], batch(1)
    output = network.forward(x)
    network.backward(np.random.default_rng(9).normal(size=output.shape).astype(np.float32))
    for parameter, before, double in zip(network.parameters(), first, expected):
        np.testing.assert_array_equal(parameter.grad, double)
        np.testing.assert_array_equal(2 * before, double)


def test_batches_of_another_kind_between(network):
    """Other sizes, which lie in lockstep or do not, and other strides."""
    slow = by_layers(network)
    turned = np.asfortranarray(batch(3))
    for x in (batch(1), batch(2, count=LANES), batch(2, count=LANES + 1), turned, batch(1)):
        assert_same(step(network, x), step(slow, x))
    assert ready(network) == "both"


def test_layers_that_go_by_themselves(network):
    """After a forward pass of the network a layer goes forward or backward alone."""
    slow, (x, other) = by_layers(network), (batch(1), batch(2))
    found = []
    for model in (network, slow):
        model.zero_grad()
        output = model.forward(x)
        model[0].forward(other)
        found.append([output, model.backward(np.ones_like(output)), model[0].weight.grad])
        output = model.forward(x)
        found[-1].append(model[9].backward(np.ones_like(output)))
        with pytest.raises(RuntimeError, match="Linear: backward needs a forward"):
            model.backward(np.ones_like(output))
    assert_same(*found)


def test_what_is_refused(network):
    output = network.forward(batch(1))
    with pytest.raises(ValueError, match=r"Linear: gradient of shape \(1, 4\)"):
        network.backward(np.ones((1, 4), np.float32))
    with pytest.raises(TypeError, match="Linear: gradient is float64"):
        network.backward(np.ones(output.shape))
    with pytest.raises(TypeError, match="Conv2d: input is float64"):
        network.forward(batch(1, np.float64))
    network.backward(np.ones_like(output))
    with pytest.raises(RuntimeError, match="Linear: backward needs a forward"):
        network.backward(np.ones_like(output))


def test_layers_in_other_modes(network):
    network[0].eval()
    network.forward(batch(1))
    with pytest.raises(RuntimeError, match="Conv2d: backward needs a forward"):
        network.backward(np.ones((2 * LANES, 4), np.float32))
    expected = by_layers(network).eval().forward(batch(1))
    np.testing.assert_array_equal(network.eval().forward(batch(1)), expected)


def test_threads_that_change(network):
    slow = by_layers(network)
    for threads in (1, 2):
        with fastconv.threads(threads):
            output = network.forward(batch(1))
        network.zero_grad()
        inner = network.backward(np.ones_like(output))
        slow.zero_grad()
        again = slow.forward(batch(1))
        assert_same([output, inner], [again, slow.backward(np.ones_like(again))])


class Doubled(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("layer", [nn.Tanh(), Doubled(), nn.Conv2d(5, 40, 3)])
def test_what_cannot_be_noted(layer):
    """NumPy's work, a class of one's own, wide convolutions."""
    network = nn.Sequential(nn.Conv2d(1, 5, 3, rng=0), layer)
    slow = by_layers(network)
    for seed in range(STEPS):
        assert_same(step(network, batch(seed)), step(slow, batch(seed)))
    assert ready(network) != "both"


def test_arrays_that_a_layer_copies():
    """Flattened images whose channels are last are no view."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(240, 4, rng=0))
    slow = by_layers(network)
    for seed in range(STEPS):
        x = np.random.default_rng(seed).normal(size=(LANES, 12, 10, 2)).astype(np.float32)
        x = x.transpose(0, 3, 1, 2)
        assert_same(step(network, x), step(slow, x))


@pytest.mark.parametrize("layers", [(), (nn.Flatten(),), (nn.Flatten(1, 2), nn.Flatten())])
def test_networks_that_only_look(layers):
    """Their outputs are views of the batch."""
    network = nn.Sequential(*layers)
    for seed in range(STEPS):
        x = batch(seed)
        found = network.forward(x)
        np.testing.assert_array_equal(found, x.reshape(found.shape))
        assert (network.backward(found) == x).all()


def test_copies_go_on(network):
    twin = copy.deepcopy(network)
    for seed in range(STEPS):
        assert_same(step(twin, batch(seed)), step(network, batch(seed)))


def _child(network, x, expected):
    assert_same(step(network, x), expected)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here"
)
def test_after_a_fork(network):
    with fastconv.threads(2):
        expected = step(network, batch(1))
        process = multiprocessing.get_context("fork").Process(
            target=_child, args=(network, batch(1), expected)
        )
        process.start()
        process.join(60)
    assert process.exitcode == 0
