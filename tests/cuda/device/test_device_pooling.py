"""Pooling and its gradients on the device, against the definition."""

import functools
import math

import numpy as np
import pytest
from pool_cases import CASES, NORMED, PLAIN, maxima, multiple, numbers, specials, terms

import fastconv
from fastconv import grad, reference
from fastconv.cuda import backend


def few(rows, most=120):
    """Those that the simulator is given: by the number of cells that are looked at."""
    if not backend.SIMULATED:
        return rows
    return [row for row in rows if cells(row) <= 20 * most or row.name.startswith("3d")]


def cells(row):
    windows = row.geometry.out_size
    sizes = row.options.get("kernel_size", 3)
    taps = math.prod(sizes) if isinstance(sizes, tuple) else sizes**row.rank
    return math.prod(row.input[: -row.rank]) * math.prod(windows) * taps


def case(rows):
    return pytest.mark.parametrize("row", few(rows), ids=lambda row: row.name)


def placed(x, last=False, dtype="float32"):
    x = np.asarray(x, dtype)
    return fastconv.to_device(fastconv.channels_last(x) if last and x.ndim >= 3 else x)


def formats(row):
    """Both; in the simulator, where time is short, one."""
    both = (False, True) if row.batched else (False,)
    return both if not backend.SIMULATED else (both[len(row.name) % len(both)],)


@case(CASES)
def test_maxima(row):
    """Values, places, and the gradient, which needs no look at indices that are known."""
    for last in formats(row):
        for special in (False, True):
            x = specials(row) if special else numbers(row)
            found, indices = row.door("max")(placed(x, last), **row.options, return_indices=True)
            values, places = maxima(row, special)
            assert np.array_equal(found.copy_to_host(), values.astype("float32"), equal_nan=True)
            assert np.array_equal(indices.copy_to_host(), places)
        assert np.array_equal(
            row.door("max")(placed(x, last), **row.options).copy_to_host(),
            values.astype("float32"),
            equal_nan=True,
        )
        dy = np.random.default_rng(1).integers(-4, 5, row.output).astype("float32")
        dx = row.door("max", grad)(placed(dy, last), indices, row.input)
        expected = reference.max_pool_input(
            row.lifted(dy), row.lifted(places), row.geometry.in_size
        )
        assert np.array_equal(dx.copy_to_host(), row.lowered(expected))


@case(PLAIN)
def test_means(row):
    for last in formats(row):
        x = numbers(row) * multiple(row)
        y = row.door("avg")(placed(x, last, "float64"), **row.options)
        expected = row.lowered(reference.avg_pool(row.geometry, row.lifted(x)))
        assert np.array_equal(y.copy_to_host(), expected)
        dy, options = terms(row), {} if row.adaptive else row.options
        dx = row.door("avg", grad)(placed(dy, last, "float64"), row.input, **options)
        expected = row.lowered(reference.avg_pool_input(row.geometry, row.lifted(dy)))
        assert np.array_equal(dx.copy_to_host(), expected)


@pytest.mark.parametrize("option", [{"count_include_pad": False}, {"divisor_override": 3}])
def test_options_of_means(option):
    row = next(row for row in CASES if row.name == "2d ceil and padding")
    x = numbers(row) * 60
    y = fastconv.avg_pool2d(placed(x, True, "float64"), **row.options, **option)
    expected = fastconv.avg_pool2d(x, **row.options, **option)
    assert np.array_equal(y.copy_to_host(), expected)
    dy = 60.0 * np.random.default_rng(0).integers(-4, 5, y.shape)
    options = {**row.options, **option}
    dx = grad.avg_pool2d(placed(dy, True, "float64"), row.input, **options)
    assert np.array_equal(dx.copy_to_host(), grad.avg_pool2d(dy, row.input, **options))


@case(NORMED[::2])
@pytest.mark.parametrize("norm", [1, 2, 3.5, math.inf])
def test_norms(row, norm):
    x = numbers(row)
    options = dict(row.options)
    kernel = options.pop("kernel_size")
    y = row.door("lp")(placed(x, dtype="float64"), norm, kernel, **options)
    expected = row.door("lp")(x, norm, kernel, **options)
    assert np.allclose(y.copy_to_host(), expected, rtol=1e-14)
    dy = np.random.default_rng(0).integers(-4, 5, expected.shape).astype(float)
    dx = row.door("lp", grad)(*map(placed64, (dy, x, expected)), norm, kernel, **options)
    right = row.door("lp", grad)(dy, x, expected, norm, kernel, **options)
    assert np.allclose(dx.copy_to_host(), right, rtol=1e-13, atol=1e-13)


placed64 = functools.partial(placed, dtype="float64")


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "int32", "uint8"])
def test_other_types(dtype, last):
    x = np.random.default_rng(0).integers(0, 9, (2, 3, 7, 6))
    y, indices = fastconv.max_pool2d(placed(x, last, dtype), 3, return_indices=True)
    values, places = fastconv.max_pool2d(x.astype(dtype), 3, return_indices=True)
    assert y.dtype == dtype and indices.dtype == np.int64
    assert np.array_equal(y.copy_to_host(), values)
    assert np.array_equal(indices.copy_to_host(), places)


@pytest.mark.parametrize("last", [False, True])
def test_unpooling_and_its_gradient(last):
    """The last value of a cell stays; several go to one in the gradient too."""
    x = np.arange(1.0, 41).reshape(2, 2, 2, 5)
    places = np.random.default_rng(0).integers(0, 12, x.shape)
    options = {"kernel_size": 2, "stride": (1, 2), "output_size": (3, 11)}
    found = fastconv.max_unpool2d(placed64(x, last), placed(places, last, "int64"), **options)
    expected = fastconv.max_unpool2d(x, places, **options)
    assert np.array_equal(found.copy_to_host(), expected)
    dy = np.random.default_rng(1).integers(-4, 5, expected.shape).astype(float)
    taken = grad.max_unpool2d(placed64(dy, last), placed(places, last, "int64"))
    assert np.array_equal(taken.copy_to_host(), grad.max_unpool2d(dy, places))


@pytest.mark.parametrize("wrong", [-1, 12])
def test_wrong_indices(wrong):
    x, places = np.ones((1, 2, 3)), np.array([[[0, 1, 2], [3, wrong, 5]]])
    X, P = placed64(x), placed(places, dtype="int64")
    with pytest.raises(ValueError, match=f"below 12, .* not {wrong}"):
        grad.max_pool1d(X, P, (1, 2, 12))
    with pytest.raises(ValueError, match=f"below 12, .* not {wrong}"):
        fastconv.max_unpool1d(X, P, 4)
    with pytest.raises(ValueError, match=f"below 12, .* not {wrong}"):
        grad.max_unpool1d(placed64(np.ones((1, 2, 12))), P)


def test_into_out():
    x = np.random.default_rng(0).integers(-4, 5, (2, 3, 8)).astype(float)
    out = placed64(np.full((2, 3, 4), np.nan))
    assert fastconv.max_pool1d(placed64(x), 2, out=out) is out
    assert np.array_equal(out.copy_to_host(), fastconv.max_pool1d(x, 2))
