"""The digits of scikit-learn in MNIST's form: the same images, split by digit and by seed."""

import sys

import numpy as np
import pytest

from fastconv.data import digits


@pytest.fixture(scope="module")
def bundled():
    return pytest.importorskip("sklearn.datasets").load_digits()


def as_set(images, labels):
    return sorted((int(label), image.tobytes()) for image, label in zip(images, labels))


def test_digits_are_the_bundled_ones(bundled):
    result = digits()
    images = np.concatenate([result.train_images, result.test_images])
    labels = np.concatenate([result.train_labels, result.test_labels])
    assert images.shape == (1797, 28, 28)
    assert {array.dtype for array in result} == {np.dtype("u1")}
    assert images[:, 4:24, 4:24].sum() == images.sum()

    # Linear interpolation is a product with hat functions: large = hats @ small @ hats.T.
    hats = np.maximum(0, 1 - np.abs(np.linspace(0, 7, 20)[:, None] - np.arange(8)))
    expected = (hats @ bundled.images @ hats.T).reshape(1797, 400) * (255 / 16)
    inner = images[:, 4:24, 4:24].reshape(1797, 400).astype(float)
    nearest = np.argmin(np.square(expected).sum(1) - 2 * inner @ expected.T, axis=1)
    assert sorted(nearest) == list(range(1797))
    np.testing.assert_allclose(inner, expected[nearest], rtol=0, atol=0.5 + 1e-9)
    np.testing.assert_array_equal(labels, bundled.target[nearest])


def test_digits_split(bundled):
    one, same, other = digits(), digits(seed=0), digits(seed=1, holdout=0.5)
    for left, right in zip(one, same, strict=True):
        np.testing.assert_array_equal(left, right)
    everything = as_set(one.train_images, one.train_labels) + as_set(*one[2:])
    assert sorted(everything) == sorted(as_set(*other[:2]) + as_set(*other[2:]))
    assert as_set(*one[2:]) != as_set(*digits(seed=1)[2:])
    counts = np.bincount(bundled.target)
    np.testing.assert_array_equal(np.bincount(one.test_labels), np.rint(counts * 0.2))
    np.testing.assert_array_equal(np.bincount(other.test_labels), np.rint(counts * 0.5))
    assert np.any(np.diff(one.test_labels.astype(int)) < 0), "the labels are still sorted"


@pytest.mark.parametrize("holdout, smaller", [(1e-9, 3), (1 - 1e-9, 1)])
def test_digits_leave_one_of_each_on_either_side(bundled, holdout, smaller):
    labels = digits(holdout=holdout)[smaller]
    assert np.bincount(labels).tolist() == [1] * 10


@pytest.mark.parametrize("holdout", [0, 1, -0.5, 2, float("nan")])
def test_digits_bad_holdout(holdout):
    with pytest.raises(ValueError, match=f"between 0 and 1, found {holdout}"):
        digits(holdout=holdout)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "fastconv\[examples\]"'):
        digits()
