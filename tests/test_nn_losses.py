"""Losses: worked numbers, gradients by central differences, stability, errors."""

import math

import numpy as np
import pytest

from fastconv import nn

STEP = 1e-6


def differences(loss, values):
    gradient = np.empty_like(values)
    for index in np.ndindex(values.shape):
        above, below = values.copy(), values.copy()
        above[index] += STEP
        below[index] -= STEP
        gradient[index] = (loss(above) - loss(below)) / (2 * STEP)
    return gradient


def test_cross_entropy_worked_numbers():
    # Probabilities 1/6, 2/6, 3/6 and 1/3, 1/3, 1/3.
    logits = np.log(np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    loss, gradient = nn.cross_entropy(logits, [1, 0])
    assert isinstance(loss, float)
    assert loss == pytest.approx((math.log(3) + math.log(3)) / 2)
    expected = [[1 / 12, 1 / 6 - 1 / 2, 1 / 4], [1 / 6 - 1 / 2, 1 / 6, 1 / 6]]
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_label_smoothing_worked_numbers():
    # Probabilities 1/4 and 3/4; target 0.9 and 0.1 instead of 1 and 0.
    loss, gradient = nn.cross_entropy(np.log(np.array([[1.0, 3.0]])), [0], label_smoothing=0.2)
    assert loss == pytest.approx(0.9 * math.log(4) + 0.1 * math.log(4 / 3))
    np.testing.assert_allclose(gradient, [[0.25 - 0.9, 0.75 - 0.1]], rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2), (2, 3, 1, 4)])
def test_cross_entropy_gradient_is_central_differences(shape, smoothing):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=shape)
    labels = rng.integers(0, 3, (shape[0], *shape[2:]))

    def loss(values):
        return nn.cross_entropy(values, labels, label_smoothing=smoothing)[0]

    _, gradient = nn.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert gradient.shape == shape
    np.testing.assert_allclose(gradient, differences(loss, logits), rtol=1e-6, atol=1e-9)


def test_positions_are_samples():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(2, 3, 4)), rng.integers(0, 3, (2, 4))
    loss, gradient = nn.cross_entropy(logits, labels)
    rows, row_gradient = nn.cross_entropy(
        logits.transpose(0, 2, 1).reshape(8, 3), labels.reshape(8)
    )
    assert loss == pytest.approx(rows, rel=1e-14)
    np.testing.assert_allclose(gradient.transpose(0, 2, 1).reshape(8, 3), row_gradient)


def test_cross_entropy_neither_overflows_nor_loses_a_common_shift():
    logits = np.array([[1e4, 1e4 - 1.0], [-1e4, 1e4]], np.float32)
    loss, gradient = nn.cross_entropy(logits, [0, 1])
    assert loss == pytest.approx(math.log(1 + math.exp(-1)) / 2, rel=1e-6)
    assert gradient.dtype == np.float32
    assert np.isfinite(gradient).all()
    assert nn.cross_entropy(logits, [1, 0])[0] == pytest.approx((1.3132617 + 2e4) / 2)


def test_mse_worked_numbers():
    prediction = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    loss, gradient = nn.mse_loss(prediction, [[0, 2], [3, 6]])
    assert loss == 1.25
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, [[0.5, 0], [0, -1]])
    np.testing.assert_array_equal(prediction, [[1, 2], [3, 4]])


def test_mse_gradient_is_central_differences():
    rng = np.random.default_rng(3)
    prediction, target = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    _, gradient = nn.mse_loss(prediction, target)
    expected = differences(lambda values: nn.mse_loss(values, target)[0], prediction)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        (np.ones((2, 3)), [0, 3], ValueError, "labels run from 0 to 3, .* 3 classes, 0 to 2"),
        (np.ones((2, 3)), [-1, 0], ValueError, "labels run from -1 to 0"),
        (np.ones((2, 3)), [0, 1, 2], ValueError, r"labels of shape \(3,\) .* shape \(2, 3\)"),
        (np.ones((2, 3)), [[0], [1]], ValueError, r"labels of shape \(2, 1\)"),
        (np.ones(3), 0, ValueError, r"labels of shape \(\)"),
        (np.ones((0, 3)), np.ones(0, int), ValueError, "hold no sample"),
        (np.ones((2, 3)), [0.0, 1.0], TypeError, "labels must be integers, not float64"),
        (np.ones((2, 3)), [True, False], TypeError, "labels must be integers, not bool"),
        (np.ones((2, 3), int), [0, 1], TypeError, "logits must be of a float type, not int64"),
    ],
)
def test_cross_entropy_errors(logits, labels, error, message):
    with pytest.raises(error, match=message):
        nn.cross_entropy(logits, labels)


def test_label_smoothing_is_a_share():
    with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1"):
        nn.cross_entropy(np.ones((1, 2)), [0], label_smoothing=1.5)


def test_mse_errors():
    with pytest.raises(ValueError, match=r"shape \(2, 1\) is not of the target's \(2,\)"):
        nn.mse_loss(np.ones((2, 1)), np.ones(2))
    with pytest.raises(ValueError, match="has no values"):
        nn.mse_loss(np.ones(0), np.ones(0))
    with pytest.raises(TypeError, match="float type, not int64"):
        nn.mse_loss(np.ones(2, int), np.ones(2))
