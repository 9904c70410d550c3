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


# --- Morphology ---

MORPHOLOGY = ("grey_dilation", "grey_erosion")


def alike(ours, theirs):
    """Equal, NaN included, and of one dtype."""
    return ours.dtype == theirs.dtype and np.array_equal(
        ours, theirs, equal_nan=ours.dtype.kind == "f"
    )


@pytest.mark.parametrize("name", MORPHOLOGY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "kernel"), SHAPES, ids=str)
def test_morphology_at_every_border_and_origin(shape, kernel, dtype, name, monkeypatch):
    """By structures, by footprints, and flat; nothing is left to SciPy."""
    random = np.random.default_rng(0)
    x = random.standard_normal(shape).astype(dtype)
    structure = random.standard_normal(kernel).astype(dtype)
    footprint = random.random(kernel) < 0.6
    footprint.flat[0] = True
    shapes = (
        {"structure": structure},
        {"structure": structure, "footprint": footprint},
        {"footprint": footprint},
        {"footprint": np.ones(kernel, int)},
        {"size": kernel},
        {"size": list(kernel)},
    )
    ours, theirs = getattr(ndimage, name), getattr(scipy.ndimage, name)
    monkeypatch.setattr(ndimage, "scipy_ndimage", None)
    for mode, cval in itertools.product(MODES, (0, -3)):
        for given in shapes:
            assert alike(
                ours(x, **given, mode=mode, cval=cval), theirs(x, **given, mode=mode, cval=cval)
            )
    # A dilation takes no origin of -(k // 2) of even sizes.
    for origin in itertools.product(*(range(-((k - 1) // 2), (k + 1) // 2) for k in kernel)):
        for given in shapes[:3]:
            assert alike(ours(x, **given, origin=origin), theirs(x, **given, origin=origin))


@pytest.mark.parametrize("name", MORPHOLOGY)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32"])
def test_flat_morphology_of_integers(dtype, name, monkeypatch):
    random = np.random.default_rng(0)
    limits = np.iinfo(dtype)
    x = random.integers(limits.min, limits.max, (13, 17), dtype, endpoint=True)
    footprint = random.random((3, 4)) < 0.6
    ours, theirs = getattr(ndimage, name), getattr(scipy.ndimage, name)
    monkeypatch.setattr(ndimage, "scipy_ndimage", None)
    for given in ({"size": 3}, {"size": (1, 4)}, {"size": 1}, {"footprint": footprint}):
        for mode in MODES:
            assert alike(ours(x, **given, mode=mode, cval=7), theirs(x, **given, mode=mode, cval=7))


@pytest.mark.parametrize("name", MORPHOLOGY)
def test_morphology_with_nan_and_infinity(name):
    random = np.random.default_rng(0)
    x = random.standard_normal((19, 23))
    x[random.random(x.shape) < 0.1] = np.nan
    x[3, 4:9] = np.inf, -np.inf, np.nan, np.inf, -np.inf
    structure = random.standard_normal((3, 5))
    ours, theirs = getattr(ndimage, name), getattr(scipy.ndimage, name)
    for given in (
        {"structure": structure},
        {"footprint": structure > 0},
        {"size": (3, 5)},
        {"structure": structure, "mode": "constant", "cval": -np.inf},
        {"structure": structure, "mode": "constant", "cval": np.nan},
        {"structure": np.where(structure > 0, structure, -np.inf)},
    ):
        assert alike(ours(x, **given), theirs(x, **given))


@pytest.mark.parametrize("name", MORPHOLOGY)
def test_outputs_of_morphology(name):
    """Also the input itself, as SciPy has it; inputs stay as they are."""
    ours, theirs = getattr(ndimage, name), getattr(scipy.ndimage, name)
    x = np.random.default_rng(0).standard_normal((12, 15)).astype("f4")
    kept, goal = x.copy(), theirs(x, (3, 4))
    for given in ({"size": (1, 1)}, {"size": (3, 4)}, {"structure": np.ones((2, 3))}):
        y = ours(x, **given)
        assert not np.shares_memory(x, y) and np.array_equal(x, kept)
    out = np.full(x.shape, np.nan, "f4").T.copy().T
    assert ours(x, (3, 4), output=out) is out and np.array_equal(out, goal)
    assert ours(x, (3, 4), output="float64").dtype == np.float64
    assert ours(x, (3, 4), output=x) is x and np.array_equal(x, goal)
    part = np.repeat(np.repeat(kept, 2, 0), 3, 1)[::2, ::3]
    part.setflags(write=False)
    assert np.array_equal(ours(part, (3, 4)), goal)
    unaligned = np.zeros(x.shape, [("flag", "u1"), ("value", "f4")])["value"]
    unaligned[...] = kept
    assert np.array_equal(ours(unaligned, (3, 4)), goal)


@pytest.mark.parametrize("name", MORPHOLOGY)
def test_scipy_does_the_rest_of_morphology(name):
    """Other dtypes, sums of integers, axes, and errors."""
    ours, theirs = getattr(ndimage, name), getattr(scipy.ndimage, name)
    x = np.arange(20.0).reshape(4, 5)
    tenth = np.full((3, 3), 0.1)
    for array, given in (
        (x.astype(int), {"structure": np.ones((3, 3), int)}),
        (x.astype("i8"), {"size": 3}),
        (x > 4, {"size": 3}),
        (x.astype("f4"), {"structure": tenth}),
        (x, {"size": 2, "axes": (1,)}),
        (x, {"size": 3, "mode": ("wrap", "nearest")}),
        (x, {"size": 11}),
        (x, {"size": 0}),
        (np.tile(x, (1, 20)), {"size": (1, 70)}),
        (x.tolist(), {"size": 3}),
        (x.astype("u1"), {"size": 3, "mode": "constant", "cval": 0.5}),
        (x[:0], {"size": 3}),
    ):
        assert alike(ours(array, **given), theirs(array, **given))
    for given, error in (
        ({}, ValueError),
        ({"size": (3, 3, 3)}, RuntimeError),
        ({"size": 3, "origin": 5}, ValueError),
        ({"size": 3, "mode": "none"}, RuntimeError),
        ({"structure": np.ones(3)}, (RuntimeError, IndexError)),
        ({"footprint": np.zeros((3, 3))}, ValueError),
        ({"size": 3, "output": np.empty((2, 2))}, RuntimeError),
    ):
        for call in (ours, theirs):
            with pytest.raises(error):
                call(x, **given)
    with pytest.raises(TypeError, match="Complex"):
        ours(x + 0j, 3)
