"""fastconv.ndimage against scipy.ndimage."""

import itertools

import numpy as np
import pytest
import scipy.ndimage

from fastconv import ndimage
from fastconv.signal import filtering

MODES = ("reflect", "nearest", "mirror", "wrap", "constant", "grid-mirror", "grid-wrap")
SHAPES = [((23,), (4,)), ((12, 15), (3, 4)), ((9, 20), (5, 1)), ((6, 7, 8), (2, 3, 5))]


@pytest.fixture(autouse=True)
def nothing_is_too_small(monkeypatch):
    """Every call goes to the engine."""
    monkeypatch.setattr(filtering, "SMALLEST", 0)


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "kernel"), SHAPES, ids=str)
def test_every_border_and_origin(shape, kernel, dtype, name, monkeypatch):
    """Small integers, so that sums are exact; nothing is left to SciPy."""
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, shape).astype(dtype)
    w = rng.integers(-4, 5, kernel).astype(float)
    theirs = getattr(scipy.ndimage, name)
    monkeypatch.setattr(ndimage, "scipy_ndimage", None)
    ours = getattr(ndimage, name)
    for mode, cval in itertools.product(MODES, (0, 3)):
        for origin in itertools.product(*(range(-(k // 2), (k + 1) // 2) for k in kernel)):
            result = ours(x, w, mode=mode, cval=cval, origin=origin)
            assert result.dtype == dtype
            assert np.array_equal(result, theirs(x, w, mode=mode, cval=cval, origin=origin))
    out = np.full(shape, np.nan, dtype)
    assert ours(x, w, out) is out
    assert np.array_equal(out, theirs(x, w))
    assert np.array_equal(ours(x, w, output=x.dtype), out)


def test_scipy_does_the_rest():
    """Other dtypes, axes, few cells and errors."""
    x, w = np.arange(12).reshape(3, 4), np.ones((2, 3))
    for name in ("correlate", "convolve"):
        ours, theirs = getattr(ndimage, name), getattr(scipy.ndimage, name)
        assert ours(x, w).tolist() == theirs(x, w).tolist()
        assert ours(1j * x, w).tolist() == theirs(1j * x, w).tolist()
        assert ours(x.astype(float), w, output=int).tolist() == theirs(x, w).tolist()
        with pytest.raises(ValueError, match="Invalid origin"):
            ours(x.astype(float), w, origin=5)
        with pytest.raises(RuntimeError, match="must match"):
            ours(x.astype(float), np.ones(3))
