"""Random numbers against scipy.signal, which shares nothing with our reference.

The error of a sum of n products is at most gamma_n times the sum of their absolute values, with
gamma_n = n u / (1 - n u) and u half the machine epsilon (N. Higham, "Accuracy and Stability of
Numerical Algorithms", chapter 3). No tolerance is guessed.
"""

import math

import numpy as np
import pytest
from conv_cases import ROUNDING, case
from scipy import signal

import fastconv
from fastconv import grad

SHAPES = [
    ((2, 3, 40), (4, 3, 7)),
    ((1, 1, 31), (2, 1, 1)),
    ((2, 5, 33), (3, 5, 8)),
    ((2, 3, 17, 14), (4, 3, 5, 3)),
    ((1, 17, 9, 11), (19, 17, 2, 4)),
    ((3, 1, 12, 10), (1, 1, 12, 9)),
    ((1, 2, 7, 9, 8), (3, 2, 3, 2, 4)),
    ((2, 1, 5, 6, 7), (2, 1, 5, 1, 3)),
]
# Under an even kernel scipy's "same" has the odd cell of padding at the start.
MODES = {"valid": "valid", "full": "full", "same": "same_lower"}

every_shape = pytest.mark.parametrize(("shape", "kernel"), SHAPES, ids=str)
both_floats = pytest.mark.parametrize("dtype", ["float32", "float64"])


def normal(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def over_channels(filtered, x, weight, mode):
    """out[n, k] = sum over c of filtered(x[n, c], weight[k, c], mode)"""
    return np.array(
        [
            [
                sum(filtered(x[n, c], w[c], mode, method="direct") for c in range(len(w)))
                for w in weight
            ]
            for n in range(len(x))
        ]
    )


def assert_close(result, expected, terms, magnitude):
    """Within the bound of a sum of `terms` products; `expected` is in float64 and errs too."""
    assert result.shape == expected.shape
    unit = np.finfo(result.dtype).eps / 2
    units = terms * unit + (terms * np.finfo(np.float64).eps / 2)
    error = abs(result - expected)
    assert (error <= units / (1 - units) * magnitude).all(), (error / magnitude).max() / unit


@both_floats
@pytest.mark.parametrize("mode", MODES)
@every_shape
def test_correlate(shape, kernel, mode, dtype):
    x, w = normal(shape, dtype, 1), normal(kernel, dtype, 2)
    terms = math.prod(kernel[1:])
    expected = over_channels(signal.correlate, x.astype(float), w.astype(float), mode)
    sizes = over_channels(signal.correlate, abs(x).astype(float), abs(w).astype(float), mode)
    row = case("", shape, kernel, padding=MODES[mode])
    for algorithm in row.algorithms("forward", dtype):
        result = row.run("forward", {"input": x, "weight": w}, algorithm=algorithm)
        if algorithm in ROUNDING:
            bound = ROUNDING[algorithm] * np.finfo(dtype).eps * sizes.max()
            assert (abs(result - expected) <= bound).all()
        else:
            assert_close(result, expected, terms, sizes)


@every_shape
def test_convolve_is_the_flipped_kernel(shape, kernel):
    rank = len(shape) - 2
    x, w = normal(shape, "float32", 3), normal(kernel, "float32", 4)
    axes = tuple(range(2, 2 + rank))
    for mode, padding in MODES.items():
        result = getattr(fastconv, f"conv{rank}d")(x, np.flip(w, axes), padding=padding)
        expected = over_channels(signal.convolve, x.astype(float), w.astype(float), mode)
        sizes = over_channels(signal.convolve, abs(x).astype(float), abs(w).astype(float), mode)
        assert_close(result, expected, math.prod(kernel[1:]), sizes)


@pytest.mark.parametrize("steps", [2, 3, 5])
@every_shape
def test_stride_keeps_every_so_many_th(shape, kernel, steps):
    rank = len(shape) - 2
    x, w = normal(shape, "float32", 5), normal(kernel, "float32", 6)
    strides = tuple(steps + a for a in range(rank))
    result = getattr(fastconv, f"conv{rank}d")(x, w, stride=strides)
    kept = (..., *(slice(None, None, s) for s in strides))
    expected = over_channels(signal.correlate, x.astype(float), w.astype(float), "valid")[kept]
    sizes = over_channels(signal.correlate, abs(x).astype(float), abs(w).astype(float), "valid")
    assert_close(result, expected, math.prod(kernel[1:]), sizes[kept])


@every_shape
def test_dilation_is_a_kernel_with_holes(shape, kernel):
    rank = len(shape) - 2
    x, w = normal(shape, "float32", 7), normal(kernel, "float32", 8)
    dilation = tuple(2 + a for a in range(rank))
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel[2:], strict=True)]
    holes = np.zeros((*kernel[:2], *extents))
    holes[(..., *(slice(None, None, d) for d in dilation))] = w
    result = getattr(fastconv, f"conv{rank}d")(x, w, dilation=dilation, padding="full")
    expected = over_channels(signal.correlate, x.astype(float), holes, "full")
    sizes = over_channels(signal.correlate, abs(x).astype(float), abs(holes), "full")
    assert_close(result, expected, math.prod(kernel[1:]), sizes)


@both_floats
@every_shape
def test_gradients(shape, kernel, dtype):
    """Of the input: a full convolution. Of the weight: the input correlated with the gradient."""
    rank = len(shape) - 2
    out = (shape[0], kernel[0], *(n - k + 1 for n, k in zip(shape[2:], kernel[2:], strict=True)))
    x, w, dy = normal(shape, dtype, 9), normal(kernel, dtype, 10), normal(out, dtype, 11)

    dx = getattr(grad, f"conv{rank}d_input")(shape, w, dy)
    turned = w.swapaxes(0, 1).astype(float)
    expected = over_channels(signal.convolve, dy.astype(float), turned, "full")
    sizes = over_channels(signal.convolve, abs(dy).astype(float), abs(turned), "full")
    assert_close(dx, expected, kernel[0] * math.prod(kernel[2:]), sizes)

    dw = getattr(grad, f"conv{rank}d_weight")(x, kernel, dy)
    maps, windows = x.swapaxes(0, 1).astype(float), dy.swapaxes(0, 1).astype(float)
    expected = over_channels(signal.correlate, maps, windows, "valid").swapaxes(0, 1)
    sizes = over_channels(signal.correlate, abs(maps), abs(windows), "valid").swapaxes(0, 1)
    assert_close(dw, expected, out[0] * math.prod(out[2:]), sizes)


def test_complex_convolution():
    rng = np.random.default_rng(12)
    x, w = (rng.standard_normal((1, 1, n)) + 1j * rng.standard_normal((1, 1, n)) for n in (30, 9))
    result = fastconv.conv1d(x, w[..., ::-1], padding="full")
    expected = signal.convolve(x, w, method="direct")
    sizes = signal.convolve(abs(x), abs(w), method="direct")
    # Each of nine complex products is four real ones, and each part a sum of eighteen of them.
    assert (abs(result - expected) <= 4 * 18 * np.finfo(float).eps / 2 * sizes).all()
