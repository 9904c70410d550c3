"""The bias gradient: sums over images and pixels, in either memory format."""

import numpy as np
import pytest

import fastconv
from fastconv import grad


@pytest.mark.parametrize("shape", [(3, 6, 8, 5), (1, 5, 17, 13), (2, 1, 3, 4), (64, 70, 9, 11)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "complex64", "float16"])
@pytest.mark.parametrize("convert", [fastconv.channels_first, fastconv.channels_last])
def test_sums_are_exact(shape, dtype, convert):
    values = np.random.default_rng(0).integers(-4, 5, shape)
    found = grad.conv2d_bias(convert(values.astype(dtype)))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values.sum((0, 2, 3)).astype(dtype))


def test_other_ranks_and_no_batch():
    values = np.random.default_rng(0).integers(-4, 5, (4, 3, 5, 6))
    for x, door in ((values[0, 0], grad.conv1d_bias), (values, grad.conv3d_bias)):
        expected = x.sum(tuple(range(1, x.ndim)))  # (C, *spatial)
        np.testing.assert_array_equal(door(x.astype(np.float32)), expected)


def test_empty_batch():
    assert grad.conv2d_bias(np.ones((0, 3, 4, 5), np.float32)).tolist() == [0, 0, 0]
