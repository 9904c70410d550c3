"""A user's own function of each sum: in every algorithm and format, in nopython code too."""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest
from test_jit import last, random, same

import fastconv
from fastconv.cpu import fused
from fastconv.machine import machine


def arithmetic(a):
    return max(a, 0) * 0.5 + 0.1


def affine(a, scale, offset):
    return a * scale + offset


def scaled_residual(a, other, scale):
    return a * scale + other


IMAGES = [(2, 5, 9, 7, 6), (1, 17, 12, 11, 40), (2, 3, 20, 37, 6)]
NAMES = ["direct", "planar", "winograd_f4", "winograd_f2", "reference"]


def per_channel(values):
    return values[:, None, None]


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize("sizes", IMAGES)
def test_algorithms_and_formats(sizes, algorithm):
    """After the activation; the arguments lie in any format beside the result."""
    n, c, h, w, k = sizes
    x, weight, bias = random((n, c, h, w)), random((k, c, 3, 3)), random(k)
    scale, offset, other = random(k), random(k), random((n, k, h, w))
    options = {"padding": 1, "algorithm": algorithm, "activation": "relu6"}
    for images in (x, last(x)):
        plain = fastconv.conv2d(images, weight, bias, **options)

        def run(f, *args, images=images):
            return fastconv.conv2d(images, weight, bias, epilogue=f, epilogue_args=args, **options)

        close = {"rtol": 1e-5, "atol": 1e-5}
        np.testing.assert_allclose(run(arithmetic), np.maximum(plain, 0) * 0.5 + 0.1, **close)
        expected = plain * per_channel(scale) + per_channel(offset)
        np.testing.assert_allclose(run(affine, scale, offset), expected, **close)
        expected = plain * per_channel(scale) + other
        for beside in (other, last(other)):
            np.testing.assert_allclose(run(scaled_residual, beside, scale), expected, **close)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_operations(dtype):
    """Depthwise, unbatched, transposed with phases that no weight reaches, one and three axes."""
    s = random(17, dtype)
    x, w = random((2, 17, 9, 8), dtype), random((17, 1, 3, 3), dtype)
    y = fastconv.conv2d(x, w, groups=17)
    found = fastconv.conv2d(
        x[0], w, groups=17, epilogue=scaled_residual, epilogue_args=(y[1].copy(), s)
    )
    np.testing.assert_allclose(found, y[0] * per_channel(s) + y[1], rtol=1e-5, atol=1e-5)
    y = fastconv.conv_transpose2d(x[:, :2], w[:2], stride=5)
    found = fastconv.conv_transpose2d(x[:, :2], w[:2], stride=5, epilogue=arithmetic)
    np.testing.assert_allclose(found, np.maximum(y, 0) * 0.5 + 0.1, rtol=1e-5, atol=1e-6)
    for rank, door in ((1, fastconv.conv1d), (3, fastconv.conv3d)):
        x, w = (
            random((2, 3, 7, 6, 5)[: rank + 2], dtype),
            random((4, 3, 2, 3, 2)[: rank + 2], dtype),
        )
        found, y = door(x, w, epilogue=arithmetic), door(x, w)
        np.testing.assert_allclose(found, np.maximum(y, 0) * 0.5 + 0.1, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["sliding", "fourier"])
def test_algorithms_that_apply_it_afterwards(algorithm):
    x, w, s, other = random((1, 2, 30, 40)), random((3, 2, 9, 9)), random(3), random((1, 3, 22, 32))
    plain = fastconv.conv2d(x, w, algorithm=algorithm)
    options = {"epilogue": scaled_residual, "epilogue_args": (other, s)}
    found = fastconv.conv2d(x, w, algorithm=algorithm, **options)
    np.testing.assert_allclose(found, plain * per_channel(s) + other, rtol=1e-5, atol=1e-4)


def test_threads_make_no_difference():
    x, w, other = random((3, 16, 40, 41)), random((33, 16, 3, 3)), random((3, 33, 38, 39))
    options = {"epilogue": scaled_residual, "epilogue_args": (other, random(33))}
    one, two = (fastconv.conv2d(x, w, threads=n, **options) for n in (1, 2))
    assert same(one, two)


def test_plans():
    x, w, s, t = random((2, 3, 7, 6)), random((4, 3, 3, 2)), random(4), random(4)
    plan = fastconv.plan(x.shape, w, padding=1, epilogue=affine, epilogue_args=(s, t))
    options = {"padding": 1, "epilogue": affine}
    expected = fastconv.conv2d(x, w, epilogue_args=(s, t), **options)
    np.testing.assert_allclose(plan(x), expected, rtol=1e-5, atol=1e-5)
    expected = fastconv.conv2d(x, w, epilogue_args=(t, s), **options)
    np.testing.assert_allclose(plan(x, epilogue_args=(t, s)), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="epilogue_args must be 2 arrays, not 1"):
        plan(x, epilogue_args=(t,))


def test_in_nopython_code():
    f, g = numba.njit(arithmetic), numba.njit(scaled_residual)

    @numba.njit
    def call(x, w, other, scale):
        y = fastconv.conv2d(x, w, padding=1, epilogue=f)
        return y, fastconv.conv2d(x, w, padding=1, epilogue=g, epilogue_args=(other, scale))

    x, w, other, scale = random((2, 3, 6, 5)), random((4, 3, 3, 3)), random((2, 4, 6, 5)), random(4)
    options = {"epilogue": scaled_residual, "epilogue_args": (other, scale)}
    first = fastconv.conv2d(x, w, padding=1, epilogue=arithmetic)
    second = fastconv.conv2d(x, w, padding=1, **options)
    for beside in (other, last(other)):
        assert same(call(x, w, beside, scale), (first, second))


def test_two_functions_of_as_many_numbers_in_nopython_code():
    f, g = numba.njit(lambda a: a + 1), numba.njit(lambda a: a * 3)

    @numba.njit
    def call(x, w):
        return fastconv.conv1d(x, w, epilogue=f), fastconv.conv1d(x, w, epilogue=g)

    added, tripled = call(np.ones((1, 1, 4), np.float32), np.ones((1, 1, 2), np.float32))
    assert ((added == 3) & (tripled == 6)).all()


def test_equal_functions_are_compiled_once():
    def make(number):
        return lambda a: a * number

    x, w = random((1, 2, 5, 6)), random((3, 2, 2, 2))
    fastconv.conv2d(x, w, epilogue=make(np.float32(2)))
    before = len(fused._kernels)
    for _ in range(3):
        fastconv.conv2d(x, w, epilogue=make(np.float32(2)))
    assert len(fused._kernels) == before
    doubled, tripled = (fastconv.conv2d(x, w, epilogue=make(np.float32(n))) for n in (2, 3))
    assert len(fused._kernels) == before + 1
    np.testing.assert_allclose(doubled * 1.5, tripled, rtol=1e-6)


def test_the_code_is_vectors():
    """Of as many lanes as the machine has; nothing of it is done one by one in the main loop."""
    lanes = machine().lanes("float32")
    kernel, _ = fused.fuse("test", affine, np.dtype("float32"), 2).kept
    code = str(kernel._compiled["float32"]._library.get_llvm_str())
    assert re.search(rf"f(mul|add).*<{lanes} x float>|<{lanes} x float> @llvm.fma", code)


def raises(a):
    if a > 0:
        raise ValueError
    return a


@numba.njit
def indirectly(a):
    return raises_inside(a)


raises_inside = numba.njit(raises)


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (raises, (), TypeError, "raises must not raise"),
        (indirectly, (), TypeError, "calls what may raise"),
        (lambda a: "text", (), TypeError, "must return a number"),
        (lambda a: a + undefined, (), TypeError, "cannot be compiled"),  # noqa: F821
        (affine, (np.ones(3),), TypeError, "must take 2 numbers"),
        (3, (), TypeError, "must be a function in Python, not 3"),
        (abs, (), TypeError, "must be a function in Python, not <built-in function abs>"),
        (None, (np.ones(3),), TypeError, "no epilogue"),
        (arithmetic, 3, TypeError, "must be a tuple"),
        (lambda a, b: a, (np.ones(2),), ValueError, r"\(3,\) or \(1, 3, 4, 5\), not \(2,\)"),
        (lambda a, b: a, (np.ones(3, complex),), TypeError, "does not cast to float32"),
        (lambda *a: a[0], (np.ones(3),) * 7, ValueError, "at most 6"),
    ],
)
def test_errors(function, arguments, error, message):
    x, w = random((1, 2, 5, 6)), random((3, 2, 2, 2))
    with pytest.raises(error, match=message):
        fastconv.conv2d(x, w, epilogue=function, epilogue_args=arguments)


def test_only_floats():
    x, w = np.ones((1, 2, 5), np.int64), np.ones((3, 2, 2), np.int64)
    with pytest.raises(TypeError, match="needs float32 or float64, not int64"):
        fastconv.conv1d(x, w, epilogue=arithmetic)


@pytest.mark.parametrize("wrong", [np.array([1, 2]), (1.0,), 3, "ab"], ids=repr)
def test_arguments_without_an_epilogue(wrong):
    """An array has no truth value to ask for."""
    x, w = random((1, 2, 5, 5)), random((3, 2, 2, 2))
    for call in (fastconv.conv2d, fastconv.conv_transpose2d):
        with pytest.raises(TypeError, match=f"{call.__name__}: epilogue_args are given, but no"):
            call(x, w[:2], epilogue_args=wrong)
    with pytest.raises(TypeError, match="plan: epilogue_args are given, but no"):
        fastconv.plan(x.shape, w, epilogue_args=wrong)
