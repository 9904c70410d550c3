"""Images in lockstep: the kernels against the reference, and layers that use them against others.

Small integers make every sum exact, so nothing is compared with a tolerance.
"""

import numpy as np
import pytest

import fastconv
from fastconv import nn, reference
from fastconv.cpu.lockstep_engine import (
    _gather_tiles,
    convolution,
    dense,
    empty,
    fills_vectors,
    in_lockstep,
    is_lockstep,
    maximum,
)
from fastconv.cpu.lockstep_tiles import GATHER_BLOCKS
from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.machine import machine
from fastconv.nn.layer import MOST_IN_LOCKSTEP

LANES = machine().lanes("float32")


def whole(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def poisoned(x):
    """`x` in lockstep, in memory that held NaN before."""
    y = empty(x.shape, x.dtype)
    y[...] = np.nan
    y[...] = x
    return y


# Vectors of images; input (C, *spatial); weight; options.
CONVOLUTIONS = {
    "lenet": (4, (1, 9, 8), (6, 1, 5, 5), {"padding": 2}),
    "valid": (2, (6, 7, 6), (16, 6, 5, 5), {}),
    "uneven": (
        1,
        (6, 7, 5),
        (9, 2, 3, 2),
        {"padding": ((1, 2), (1, 0)), "stride": (2, 1), "dilation": (1, 2), "groups": 3},
    ),
    "cells without a tap": (3, (3, 11), (2, 3, 2), {"stride": 3}),
    "volumes": (2, (2, 3, 4, 5), (13, 2, 2, 3, 1), {"padding": 1}),
    "rows of several chunks": (1, (2, 9001), (3, 2, 3), {"padding": 1}),
    "chunks of rows": (8, (1, 71, 40), (5, 1, 2, 2), {"stride": (1, 2)}),
    "depthwise": (1, (3, 5, 6), (3, 1, 3, 3), {"padding": 1, "groups": 3, "stride": 2}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_and_gradients(case, dtype):
    vectors, sizes, weight_shape, options = CONVOLUTIONS[case]
    shape = (vectors * machine().lanes(dtype), *sizes)
    geometry = ConvGeometry.forward("test", len(sizes) - 1, shape, weight_shape, **options)
    x, weight = whole(shape, 0, dtype), whole(weight_shape, 1, dtype)
    bias, gradient = whole(weight_shape[0], 2, dtype), whole(geometry.output_shape, 3, dtype)
    engine = convolution(geometry, dtype)
    for source in (x, poisoned(x)):
        arranged = engine.arranged(source)
        output = engine.forward(arranged, weight, bias)
        assert is_lockstep(output)
        np.testing.assert_array_equal(output, reference.conv(geometry, x, weight, bias))
        slopes = poisoned(gradient)
        for_weight, for_bias = engine.weight_gradient(arranged, slopes, True)
        np.testing.assert_array_equal(for_weight, reference.conv_weight(geometry, x, gradient))
        np.testing.assert_array_equal(for_bias, gradient.sum(axis=(0, *range(2, gradient.ndim))))
    for_input = engine.input_gradient(weight, in_lockstep(gradient))
    expected = reference.conv_transpose(geometry, gradient, weight, None)
    np.testing.assert_array_equal(for_input, expected)


@pytest.mark.parametrize("targets", range(1, 40))
def test_tiles_cover_all_channels_and_few_beyond(targets):
    covered = sum(n * block for n, block in zip(_gather_tiles(targets), GATHER_BLOCKS))
    assert targets <= covered <= targets + 2


POOLS = {
    "halves": ((5, 6), {"kernel_size": 2}),
    "overlapping": ((7, 8), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}),
    "holes": ((6,), {"kernel_size": 2, "stride": 3}),
    "dilated": ((3, 5, 4), {"kernel_size": (1, 2, 3), "stride": 1, "dilation": (1, 2, 1)}),
}


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("case", POOLS)
def test_maximum_and_gradient(case, rectified):
    size, options = POOLS[case]
    rank, shape = len(size), (5 * LANES, 3, *size)
    x = whole(shape)  # many ties: the first of the largest counts
    geometry = PoolGeometry.sliding("test", rank, shape, **options)
    pool = {1: fastconv.max_pool1d, 2: fastconv.max_pool2d, 3: fastconv.max_pool3d}[rank]
    back = {
        1: fastconv.grad.max_pool1d,
        2: fastconv.grad.max_pool2d,
        3: fastconv.grad.max_pool3d,
    }[rank]
    expected, indices = pool(x, **options, return_indices=True)
    gradient = whole(expected.shape, 1)
    engine = maximum(geometry, "float32", rectified)
    output, choices = engine.forward(poisoned(x))
    np.testing.assert_array_equal(output, np.maximum(expected, 0) if rectified else expected)
    flowing = gradient * (expected > 0) if rectified else gradient
    found = engine.backward(poisoned(gradient), choices)
    np.testing.assert_array_equal(found, back(flowing, indices, shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(2, 13, 7), (3, 70, 45)])
def test_dense(sizes, dtype):
    vectors, sources, targets = sizes
    images = vectors * machine().lanes(dtype)
    x, weight = whole((images, sources), 0, dtype), whole((targets, sources), 1, dtype)
    bias, gradient = whole(targets, 2, dtype), whole((images, targets), 3, dtype)
    engine = dense(images, sources, targets, dtype)
    turned = in_lockstep(x)
    assert is_lockstep(turned)
    np.testing.assert_array_equal(turned, x)
    for first in (bias, None):
        expected = x @ weight.T + (0 if first is None else first)
        np.testing.assert_array_equal(engine.forward(turned, weight, first), expected)
    slopes = in_lockstep(gradient)
    np.testing.assert_array_equal(engine.input_gradient(weight, slopes), gradient @ weight)
    for rows in (x, turned):
        found = engine.weight_gradient(rows, slopes)
        np.testing.assert_array_equal(found, gradient.T @ x)


def test_the_first_nan_is_the_maximum():
    x = whole((LANES, 1, 6))
    x[3, 0, 2:5] = np.nan
    geometry = PoolGeometry.sliding("test", 1, x.shape, 3)
    expected, indices = fastconv.max_pool1d(x, 3, return_indices=True)
    for rectified in (False, True):
        output, choices = maximum(geometry, "float32", rectified).forward(poisoned(x))
        np.testing.assert_array_equal(np.isnan(output), np.isnan(expected))
    plain = maximum(geometry, "float32", False)
    slopes = np.ones_like(expected)
    _, choices = plain.forward(poisoned(x))
    found = plain.backward(poisoned(slopes), choices)
    np.testing.assert_array_equal(found, fastconv.grad.max_pool1d(slopes, indices, x.shape))


def test_what_lies_in_lockstep():
    x = whole((LANES, 3, 4, 5))
    assert not is_lockstep(x)
    turned = in_lockstep(x)
    assert is_lockstep(turned) and in_lockstep(turned) is turned
    np.testing.assert_array_equal(turned, x)
    assert fills_vectors(2 * LANES, "float32") and not fills_vectors(LANES + 1, "float32")
    assert not fills_vectors(0, "float32")


def narrow_net(dtype=np.float32):
    options = {"dtype": dtype, "rng": 0}
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2, **options),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 7, 3, bias=False, **options),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(7, 3, 3, padding=1, padding_mode="reflect", **options),
        nn.Flatten(),
        nn.Linear(12, 4, **options),
    )


def gradients_of(model, x, slopes):
    for parameter in model.parameters():
        parameter.data = np.round(6 * parameter.data)
    model.zero_grad()
    output = model.train()(x)
    inner = model.backward(slopes)
    return [output, inner, *(parameter.grad for parameter in model.parameters())]


def test_layers_do_the_same_in_lockstep(monkeypatch):
    """A network from images of whole vectors, against one that never takes them in lockstep."""
    x, slopes = whole((2 * LANES, 1, 12, 12)), whole((2 * LANES, 4), 1)
    with fastconv.precision("strict"):  # Winograd's algorithms round
        found = gradients_of(narrow_net(), x, slopes)
        monkeypatch.setattr("fastconv.nn.convolution.FEW", 0)
        expected = gradients_of(narrow_net(), x, slopes)
    assert all(np.abs(array).max() < 2**24 for array in expected)  # so that sums are exact
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def test_narrow_layers_take_images_in_lockstep():
    layer = nn.Conv2d(1, 6, 5)
    assert is_lockstep(layer(whole((LANES, 1, 8, 8))))
    assert layer(whole((LANES + 1, 1, 8, 8))).flags.c_contiguous
    layer.eval()
    assert is_lockstep(layer(whole((LANES, 1, 8, 8))))
    assert layer(whole((LANES + 1, 1, 8, 8))).flags.c_contiguous
    assert layer(whole((MOST_IN_LOCKSTEP + LANES, 1, 8, 8))).flags.c_contiguous


def test_evaluation_in_lockstep(monkeypatch):
    """The same as of images as they lie, and nothing to go back from."""
    x, model = whole((2 * LANES, 1, 12, 12)), narrow_net().eval()
    for parameter in model.parameters():
        parameter.data = whole(parameter.shape)
    with fastconv.precision("strict"):
        found = model(x)
    with pytest.raises(RuntimeError, match="forward in training mode first"):
        model.backward(found)
    for module in ("convolution", "linear"):
        monkeypatch.setattr(f"fastconv.nn.{module}.MOST_IN_LOCKSTEP", 0)
    with fastconv.precision("strict"):
        np.testing.assert_array_equal(found, model(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_change_a_bit(dtype):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4 * LANES, 1, 12, 12)).astype(dtype)
    states = []
    for count in (1, 2):
        with fastconv.threads(count):
            model = narrow_net(dtype)
            nn.fit(
                model,
                images,
                np.arange(len(images)) % 4,
                epochs=2,
                batch_size=2 * LANES,
                optimizer=nn.SGD(model.parameters(), lr=0.05, momentum=0.9),
                rng=0,
                progress=False,
            )
        states.append(model.state_dict())
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name])
