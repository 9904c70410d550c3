"""Columns and borders on the device, against those of the host."""

import numpy as np
import pytest

import fastconv
from fastconv import grad


def whole(shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


CASES = (
    ((2, 3, 7), {"kernel_size": (3,), "stride": 2, "padding": 1}),
    ((3, 5, 6), {"kernel_size": 2, "dilation": (2, 3), "padding": ((1, 0), (2, 1))}),
    ((2, 2, 5, 6), {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1}),
    ((1, 2, 3, 4, 2), {"kernel_size": (2, 1, 2), "stride": (1, 2, 1), "padding": (0, 0, 1)}),
)


@pytest.mark.parametrize(("shape", "options"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_unfold_and_fold(shape, options, dtype):
    x = whole(shape).astype(dtype)
    columns = fastconv.unfold(x, **options)
    found = fastconv.unfold(fastconv.to_device(x), **options)
    assert found.dtype == dtype and np.array_equal(found.copy_to_host(), columns)
    rank = len(options["kernel_size"]) if isinstance(options["kernel_size"], tuple) else 2
    image = fastconv.fold(fastconv.to_device(columns), shape[-rank:], **options)
    assert np.array_equal(image.copy_to_host(), fastconv.fold(columns, shape[-rank:], **options))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 4, 5)])
def test_pad_and_its_gradient(mode, shape):
    x = whole(shape)
    borders = (2, 1, 0, 3)[: 2 * min(len(shape), 2)]
    value = {"value": 7} if mode == "constant" else {}
    for last in (False, True) if len(shape) == 4 else (False,):
        given = fastconv.channels_last(x) if last else x
        y = fastconv.pad(given, borders, mode, **value)
        found = fastconv.pad(fastconv.to_device(given), borders, mode, **value)
        assert np.array_equal(found.copy_to_host(), y)
        assert found.strides == y.strides
        dy = whole(y.shape, 1)
        dy = fastconv.channels_last(dy) if last else dy
        expected = grad.pad(dy, borders, mode)
        found = grad.pad(fastconv.to_device(dy), borders, mode)
        assert np.array_equal(found.copy_to_host(), expected)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_cutting_off(mode):
    x = whole((3, 6))
    borders = (-1, 2, 1, -1)
    found = fastconv.pad(fastconv.to_device(x), borders, mode)
    expected = fastconv.pad(x, borders, mode)
    assert np.array_equal(found.copy_to_host(), expected)
    dy = whole(expected.shape, 1)
    found = grad.pad(fastconv.to_device(dy), borders, mode)
    assert np.array_equal(found.copy_to_host(), grad.pad(dy, borders, mode))


def test_into_out():
    x = whole((2, 3, 4))
    out = fastconv.to_device(np.zeros((2, 3, 6)))
    assert fastconv.pad(fastconv.to_device(x), (1, 1), out=out) is out
    assert np.array_equal(out.copy_to_host(), fastconv.pad(x, (1, 1)))
