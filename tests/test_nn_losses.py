"""Losses: worked numbers, gradients by central differences, stability, errors."""

import math

import numpy as np
import pytest

import fastconv
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


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 3), (13, 10), (67, 1), (3, 5, 1030), (2, 4, 3, 7)])
def test_the_kernel_of_cross_entropy(shape, dtype, smoothing):
    """Positions side by side against positions apart, which are NumPy's; nothing is written to."""
    rng = np.random.default_rng(3)
    scores, labels = rng.normal(size=shape), rng.integers(0, shape[1], (shape[0], *shape[2:]))
    apart = np.ascontiguousarray(np.moveaxis(scores, 1, -1)).astype(dtype)  # (N, *spatial, C)
    beside = np.moveaxis(apart, -1, 1).copy("C" if len(shape) > 2 else "F")
    before = beside.copy("K")
    apart = apart.reshape(-1, shape[1])
    apart = apart if len(apart) > 1 else apart[:, ::-1].copy()[:, ::-1]
    expected, slopes = nn.cross_entropy(apart, labels.ravel(), label_smoothing=smoothing)
    results = []
    for threads in (1, 2):
        with fastconv.threads(threads):
            results.append(nn.cross_entropy(beside, labels, label_smoothing=smoothing))
    loss, gradient = results[0]
    assert loss == results[1][0]
    np.testing.assert_array_equal(gradient, results[1][1], strict=True)
    np.testing.assert_array_equal(beside, before)
    tolerance = 1e-6 if dtype is np.float32 else 1e-14
    assert loss == pytest.approx(expected, rel=tolerance)
    assert gradient.dtype == dtype and gradient.shape == shape
    rows = np.moveaxis(gradient, 1, -1).reshape(-1, shape[1])
    np.testing.assert_allclose(rows, slopes, rtol=0, atol=tolerance / len(rows))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers(wrong):
    """They spoil their own position only."""
    scores = np.asfortranarray(np.zeros((9, 3), np.float32))
    scores[4, 1] = wrong
    loss, gradient = nn.cross_entropy(scores, np.zeros(9, np.uint8))
    assert np.isnan(loss) and np.isnan(gradient[4]).all()
    assert not np.isnan(np.delete(gradient, 4, axis=0)).any()
    scores[4] = [-np.inf, 0, -np.inf]
    loss, gradient = nn.cross_entropy(scores, np.ones(9, np.uint8))
    assert loss == pytest.approx(8 / 9 * math.log(3))
    np.testing.assert_array_equal(gradient[4], np.zeros(3, np.float32))


@pytest.mark.parametrize("label", [-1, 3, 2**62])
def test_labels_that_are_no_classes_beside_each_other(label):
    scores = np.asfortranarray(np.zeros((9, 3), np.float32))
    labels = np.array([0] * 8 + [label])
    for smoothing in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"labels run from -?[01] to {max(label, 0)}, but"):
            nn.cross_entropy(scores, labels, label_smoothing=smoothing)
