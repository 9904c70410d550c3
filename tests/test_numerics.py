"""Errors against wider arithmetic, and what becomes of NaN, infinities, minus zero, denormals."""

import warnings

import numba
import numpy as np
import pytest
from conv_cases import ROUNDING, case, definition
from reliability.numerics import PROBLEMS, denormal_ratio, errors

import fastconv
from fastconv.plan import OPERATIONS


@pytest.mark.parametrize("problem", PROBLEMS, ids=[p.name for p in PROBLEMS])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_errors_are_within_their_bounds(dtype, operation, problem):
    """A plain sum's for those that sum, their stated multiple of it for the others."""
    found = errors(problem, operation, dtype)
    assert {"direct", "reference"} <= {error.algorithm for error in found}
    for error in found:
        if error.algorithm in ROUNDING:
            assert error.units <= 2 * ROUNDING[error.algorithm], error
        else:
            assert error.of_bound <= 1, error


SUMMING = ("direct", "planar", "depthwise")


@pytest.mark.parametrize("algorithm", [*SUMMING, *ROUNDING])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_within_its_windows(value, algorithm):
    """Or, as `set_precision` says, within Winograd's tiles and Fourier's blocks that meet it."""
    groups = 5 if algorithm == "depthwise" else 1
    x = np.random.default_rng(0).standard_normal((2, 5, 15, 17)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((5, 5 // groups, 3, 3)).astype(np.float32)
    x[1, 2, 7, 9] = value
    y = fastconv.conv2d(x, w, padding=1, groups=groups, algorithm=algorithm)
    touched = np.zeros(y.shape, bool)
    touched[1, 2 if groups == 5 else slice(None), 6:9, 8:11] = True
    if algorithm in SUMMING:
        assert np.array_equal(~np.isfinite(y), touched)
        if np.isinf(value):
            sign = np.sign(w[2] if groups == 5 else w[:, 2])[..., ::-1, ::-1]
            assert np.array_equal(np.sign(y[touched]).ravel(), (sign * np.sign(value)).ravel())
    else:
        assert (~np.isfinite(y))[touched].all()
        reach = 99 if algorithm == "fourier" else 6  # a block of it may be the whole image
        near = np.zeros(y.shape, bool)
        near[1, :, max(7 - reach, 0) : 8 + reach, max(9 - reach, 0) : 10 + reach] = True
        assert np.isfinite(y[~near]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "planar"])
def test_infinities_in_weight_gradients(algorithm, dtype):
    """As in the sum of products, also where the last vector of a row overlaps another."""
    x = np.zeros((2, 3, 5, 21), dtype)
    x[0, 1, 2, 7], x[1, 2, 3, 19] = np.inf, -np.inf
    dy = np.random.default_rng(0).integers(1, 5, (2, 4, 4, 19)).astype(dtype)
    row = case("", x.shape, (4, 3, 2, 3))
    with np.errstate(all="ignore"):
        expected = definition(row.geometry, "weight_gradient", {"input": x, "grad_output": dy})
    found = fastconv.grad.conv2d_weight(x, row.weight, dy, algorithm=algorithm)
    assert np.array_equal(found, expected, equal_nan=True)


@numba.njit
def depthwise_weight_gradient(x, size, dy):
    return fastconv.grad.conv2d_weight(x, size, dy, groups=17, algorithm="depthwise")


@pytest.mark.parametrize("layout", [np.asarray, fastconv.channels_last])
def test_infinities_in_depthwise_weight_gradients(layout):
    """Where a tile has no output, and a vector no pixel, nothing comes from them."""
    x, dy = np.zeros((2, 17, 5, 21)), np.ones((2, 17, 4, 19))
    row = case("", x.shape, (17, 1, 2, 3), groups=17)
    for place, value in (((1, 4, 4, 9), 1), ((0, 1, 4, 7), np.inf), ((1, 2, 3, 19), -np.inf)):
        x[place] = value  # the compiled recipe is made for finite numbers
        operands = {"input": layout(x), "grad_output": layout(dy)}
        with np.errstate(all="ignore"):
            expected = definition(row.geometry, "weight_gradient", operands)
        assert not np.isnan(expected).any()
        found = row.run("weight_gradient", operands, algorithm="depthwise")
        assert np.array_equal(found, expected)
        compiled = depthwise_weight_gradient(operands["input"], row.weight, operands["grad_output"])
        assert np.array_equal(compiled, expected)
    assert np.isinf(expected).any()


@numba.njit
def weight_gradient(x, size, dy, threads):
    return fastconv.grad.conv2d_weight(x, size, dy, threads=threads, algorithm="planar")


@pytest.mark.parametrize("threads", [1, 3])
def test_infinities_in_weight_gradients_of_compiled_code(threads):
    """The recipe, made for finite numbers, notices them."""
    x, dy = np.ones((2, 3, 5, 21)), np.ones((2, 4, 4, 19))
    size = (4, 3, 2, 3)
    assert (weight_gradient(x, size, dy, threads) == 2 * 4 * 19).all()
    x[0, 1, 2, 7], x[1, 2, 3, 19] = np.inf, -np.inf
    expected = fastconv.grad.conv2d_weight(x, size, dy, algorithm="direct")
    assert np.isinf(expected).any() and not np.isnan(expected).any()
    assert np.array_equal(weight_gradient(x, size, dy, threads), expected)


def test_automatic_choices_under_strict_precision_keep_to_the_windows():
    x = np.ones((1, 64, 30, 30), np.float32)
    x[0, 0, 10, 10] = np.nan
    with fastconv.precision("strict"):
        y = fastconv.conv2d(x, np.ones((64, 64, 3, 3), np.float32), padding=1)
    assert np.isnan(y).sum() == 9 * 64


def test_minus_zero_is_kept_where_nothing_is_added():
    x = np.array([[[-0.0, 0.0, -0.0, -0.0]]])
    for result in (
        fastconv.pad(x, (0, 0)),
        fastconv.unfold(x, (1,)),
        fastconv.max_pool1d(x, 1),
        fastconv.channels_last(x),
    ):
        assert np.signbit(result).ravel().tolist() == [True, False, True, True]
    first, indices = fastconv.max_pool1d(x, 2, return_indices=True)
    assert indices.tolist() == [[[0, 2]]] and np.signbit(first).all()  # of equals the first
    assert (fastconv.conv1d(x, np.ones((1, 1, 2))) == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", SUMMING)
def test_denormals_are_numbers(algorithm, dtype):
    """They are neither flushed to zero nor is there a warning."""
    least = np.nextafter(np.zeros((), dtype), np.ones((), dtype))
    x, w = np.full((1, 2, 9, 9), least), np.ones((2, 1, 3, 3), dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groups = 2 if algorithm == "depthwise" else 1
        w = w if groups == 2 else np.ones((2, 2, 3, 3), dtype)
        y = fastconv.conv2d(x, w, groups=groups, algorithm=algorithm)
        assert (y == least * 9 * (2 // groups)).all()
        assert (fastconv.avg_pool2d(x * 4, 2) == least * 4).all()
        assert (fastconv.max_pool2d(x, 2) == least).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_denormals_are_not_slow(dtype):
    assert denormal_ratio(dtype) < 1.5
