"""The dense layer and its gradients: a convolution with a kernel of one cell, seen from outside."""

import numpy as np
import pytest

import fastconv
from fastconv import grad, reference

DTYPES = ("float32", "float64", "int16", "complex128")


def operands(rows, features, outputs, dtype):
    """Small integers, so that every sum is exact: x, weight, bias and a gradient."""
    rng = np.random.default_rng(features + outputs)
    shapes = ((*rows, features), (outputs, features), (outputs,), (*rows, outputs))
    return [rng.integers(-3, 4, shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [(), (1,), (15,), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("outputs", [1, 6, 33])
def test_linear_and_gradients(rows, outputs, dtype):
    x, w, b, dy = operands(rows, 7, outputs, dtype)
    before = [a.copy() for a in (x, w, b, dy)]
    np.testing.assert_array_equal(fastconv.linear(x, w, b), reference.linear(x, w, b))
    np.testing.assert_array_equal(grad.linear_input(w, dy), dy @ w)
    flat = dy.reshape(-1, outputs).T @ x.reshape(-1, 7)
    np.testing.assert_array_equal(grad.linear_weight(x, dy), flat)
    assert fastconv.linear(x, w).dtype == grad.linear_weight(x, dy).dtype == dtype
    for one, other in zip((x, w, b, dy), before):
        np.testing.assert_array_equal(one, other)


def test_any_strides_and_out():
    x, w, b, _ = operands((9,), 70, 40, "float32")
    want = x @ w.T + b
    np.testing.assert_array_equal(fastconv.linear(x[::-1], w, b), want[::-1])
    np.testing.assert_array_equal(
        fastconv.linear(np.asfortranarray(x), w[:, ::2].repeat(2, 1)[:, :70], b),
        x @ w[:, ::2].repeat(2, 1)[:, :70].T + b,
    )
    guarded = np.full((11, 42), np.nan, np.float32)
    out = guarded[1:10, 1:41]
    assert fastconv.linear(x, w, b, out=out) is out
    np.testing.assert_array_equal(out, want)
    assert np.isnan(guarded).sum() == guarded.size - out.size


def test_no_rows():
    x, w = np.empty((0, 5), np.float32), np.ones((3, 5), np.float32)
    assert fastconv.linear(x, w).shape == (0, 3)
    assert grad.linear_input(w, np.empty((0, 3), np.float32)).shape == (0, 5)
    assert grad.linear_weight(x, np.empty((0, 3), np.float32)).tolist() == [[0.0] * 5] * 3


def test_threads_give_the_same_bits():
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((500, 300)), rng.standard_normal((500, 90))
    w = rng.standard_normal((90, 300))
    for call in (
        lambda n: fastconv.linear(x, w, threads=n),
        lambda n: grad.linear_input(w, dy, threads=n),
        lambda n: grad.linear_weight(x, dy, threads=n),
    ):
        np.testing.assert_array_equal(call(1), call(2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, w: fastconv.linear(x, w[:, 1:]), ValueError, r"\(4, 5\).*4 features"),
        (lambda x, w: fastconv.linear(x, w[0]), ValueError, r"shape \(K, C\), not \(5,\)"),
        (lambda x, w: fastconv.linear(x, w[:0]), ValueError, r"not \(0, 5\)"),
        (lambda x, w: fastconv.linear(x, w, np.ones(4)), ValueError, r"\(3,\), not \(4,\)"),
        (lambda x, w: fastconv.linear(x, w, out=np.ones((4, 4))), ValueError, r"out has shape"),
        (lambda x, w: fastconv.linear(x.astype(int), w), TypeError, "integers are not mixed"),
        (lambda x, w: grad.linear_input(w, x), ValueError, r"\(4, 5\).*3 features"),
        (lambda x, w: grad.linear_weight(x, w), ValueError, r"leading axes of input.*\(4, 5\)"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((4, 5)), np.ones((3, 5)))


def test_gradients_without_features_are_refused():
    with pytest.raises(ValueError, match=r"^linear_input: weight must have a shape"):
        fastconv.grad.linear_input(3.0, np.ones(3))
    for x, dy in ((np.ones(3), 1.0), (np.ones(3), np.ones(0)), (np.ones((2, 0)), np.ones((2, 3)))):
        with pytest.raises(ValueError, match=r"^linear_weight: "):
            fastconv.grad.linear_weight(x, dy)
