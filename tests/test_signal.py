"""fastconv.signal against scipy.signal: modes, boundaries, dtypes, errors, and what SciPy lacks."""

import itertools

import numpy as np
import pytest
import scipy.signal

from fastconv import signal
from fastconv.signal import filtering, planes

MODES = ("full", "same", "valid")
# Signal and kernel: odd and even, longer than each other, one cell, unlike on every axis.
SHAPES = [
    ((23,), (4,)),
    ((5,), (8,)),
    ((400,), (150,)),
    ((9, 14), (3, 4)),
    ((6, 7), (6, 2)),
    ((4, 5), (7, 9)),
    ((40, 37), (9, 8)),
    ((1, 8), (3, 1)),
    ((5, 6, 7), (2, 3, 1)),
    ((2, 3, 4), (4, 5, 4)),
    ((9, 1, 30), (1, 1, 5)),
]
every_shape = pytest.mark.parametrize(("one", "other"), SHAPES, ids=str)
DTYPES = ("float32", "float64", "complex64", "complex128", "int8", "uint8", "int32", "int64")


@pytest.fixture(autouse=True)
def nothing_is_too_small(monkeypatch):
    """Every call goes to the engine."""
    for module in (filtering, planes):
        monkeypatch.setattr(module, "SMALLEST", 0)


def numbers(shape, dtype, seed):
    """Small integers: every sum is exact in every dtype."""
    rng = np.random.default_rng(seed)
    low = 0 if np.dtype(dtype).kind == "u" else -3
    values = rng.integers(low, 4, shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.integers(low, 4, shape)
    return values.astype(dtype)


def valid(mode, one, other):
    larger = [a >= b for a, b in zip(one, other, strict=True)]
    smaller = [a <= b for a, b in zip(one, other, strict=True)]
    return mode != "valid" or all(larger) or all(smaller)


def assert_same(result, expected):
    assert result.dtype == expected.dtype
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
@every_shape
def test_exact(one, other, mode, dtype):
    a, b = numbers(one, dtype, 1), numbers(other, dtype, 2)
    for name in ("convolve", "correlate"):
        if not valid(mode, one, other):
            with pytest.raises(ValueError, match="at least as large"):
                getattr(signal, name)(a, b, mode)
            continue
        expected = getattr(scipy.signal, name)(a, b, mode, "direct").astype(dtype)
        assert_same(getattr(signal, name)(a, b, mode, "direct"), expected)
        assert_same(getattr(signal, name)(a, b, mode), expected)


@pytest.mark.parametrize(
    ("boundary", "value"), [("fill", 0), ("fill", 3), ("wrap", 0), ("symm", 0)]
)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("one", "other"), [s for s in SHAPES if len(s[0]) == 2], ids=str)
def test_boundaries(one, other, mode, boundary, value):
    for dtype, name in itertools.product(DTYPES, ("convolve2d", "correlate2d")):
        a, b = numbers(one, dtype, 3), numbers(other, dtype, 4)
        if not valid(mode, one, other):
            with pytest.raises(ValueError, match="at least as large"):
                getattr(signal, name)(a, b, mode, boundary, value)
            continue
        expected = getattr(scipy.signal, name)(a, b, mode, boundary, value)
        assert_same(getattr(signal, name)(a, b, mode, boundary, value), expected)


@pytest.mark.parametrize("name", ["fftconvolve", "oaconvolve"])
@pytest.mark.parametrize("mode", MODES)
@every_shape
def test_by_spectra(one, other, mode, name):
    for dtype in DTYPES:
        a, b = numbers(one, dtype, 5), numbers(other, dtype, 6)
        if not valid(mode, one, other):
            continue
        expected = getattr(scipy.signal, name)(a, b, mode)
        result = getattr(signal, name)(a, b, mode)
        assert result.dtype == expected.dtype
        unit = 1e-4 if expected.dtype.char in "fF" else 1e-9
        assert np.allclose(result, expected, rtol=0, atol=unit)


@pytest.mark.parametrize(("shape", "kernel", "axes"), [
    ((3, 40), (1, 7), 1), ((3, 40), (1, 7), -1), ((40, 3), (8, 1), (0,)),
    ((4, 9, 8), (1, 3, 2), (2, 1)), ((4, 9, 8), (4, 3, 2), (1, 2)), ((2, 9), (2, 9), (0, 1)),
])  # fmt: skip
def test_along_axes(shape, kernel, axes):
    a, b = numbers(shape, "float64", 7), numbers(kernel, "float64", 8)
    for name, mode in itertools.product(("fftconvolve", "oaconvolve"), MODES):
        expected = getattr(scipy.signal, name)(a, b, mode, axes)
        assert np.allclose(getattr(signal, name)(a, b, mode, axes), expected, atol=1e-9)


def test_large_kernels_by_spectra():
    """Where the engine takes spectra: long signals, images, volumes."""
    for shape, kernel in (
        ((60_000,), (3_000,)),
        ((300, 280), (71, 64)),
        ((40, 36, 50), (25, 24, 21)),
    ):
        for dtype, unit in (("float32", 2e-6), ("float64", 4e-15), ("complex64", 2e-6)):
            rng = np.random.default_rng(9)
            a, b = (rng.standard_normal(s).astype(dtype) for s in (shape, kernel))
            if dtype == "complex64":
                a = a * np.complex64(1 - 2j)
            assert signal.choose_conv_method(a, b, "same") == "fft"
            expected = scipy.signal.fftconvolve(a.astype("D"), b.astype("D"), "same")
            result = signal.convolve(a, b, "same")
            assert result.dtype == dtype
            assert abs(result - expected).max() < unit * abs(expected).max()


def test_integers_are_never_rounded():
    """Beyond 2**53, where a float64 spectrum or sum would be."""
    a, b = np.array([2**40 + 1, 3, -(2**41)] * 9), np.array([2**21 + 1, 5, 7])
    exact = np.convolve(a.astype(object), b.astype(object)).astype(np.int64)
    for method in ("auto", "direct", "fft"):
        assert_same(signal.convolve(a, b, method=method), exact)
    assert signal.choose_conv_method(a, b) == "direct"


def test_integers_wrap_as_in_scipy():
    a, b = np.full(30, 100, np.int8), np.full(5, 100, np.int8)
    assert_same(signal.convolve(a, b), np.convolve(a, b))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_stays_local(value):
    a, b = np.random.default_rng(0).standard_normal(60_000), np.ones(3_000)
    assert signal.choose_conv_method(a, b) == "fft"
    a[777] = value
    spoilt = ~np.isfinite(signal.convolve(a, b))
    assert np.array_equal(np.flatnonzero(spoilt), np.arange(777, 3_777))


@pytest.mark.parametrize("size", [3, 8, 31])
def test_sepfir2d(size):
    x = numbers((size, size + 2), "float32", 10)
    for row, column in itertools.product((1, 3, 5), repeat=2):
        if max(row, column) >= size:
            continue
        a, b = numbers(row, "float32", 11), numbers(column, "float32", 12)
        assert_same(signal.sepfir2d(x, a, b), scipy.signal.sepfir2d(x, a, b))
        many = signal.sepfir2d(np.stack([x, 2 * x]), a, b, batched=True)
        assert_same(many[1], 2 * signal.sepfir2d(x, a, b))


# --- What is handed on ---


@pytest.mark.parametrize(("a", "b"), [
    (np.ones(5, bool), np.ones(3, bool)), (np.ones(5, np.float16), np.ones(3, np.float16)),
    (np.array([1, 2, None])[:2], np.array([3, None])[:1]),
    (np.ones((2, 2, 2, 3)), np.ones((1, 2, 2, 2))),
    (np.array(3), np.array(4)), ([1, 2, 3], [0, 1]), (np.ones(4, np.longdouble), np.ones(2)),
])  # fmt: skip
def test_scipy_does_the_rest(a, b):
    for name in ("convolve", "correlate"):
        expected = getattr(scipy.signal, name)(a, b, method="direct")
        result = getattr(signal, name)(a, b, method="direct")
        assert result.dtype == expected.dtype
        assert np.array_equal(result, expected)


@pytest.mark.parametrize("arguments", [
    (np.ones(4), np.ones((2, 2))),
    (np.ones(4), np.ones(2), "wrong"), (np.ones(4), np.ones(2), None),
    (np.ones((2, 5)), np.ones((3, 3)), "valid"), (np.ones(4), np.ones(2), "full", "magic"),
], ids=str)  # fmt: skip
def test_errors_are_of_scipys_type(arguments):
    for name in ("convolve", "correlate"):
        with pytest.raises(Exception) as theirs:
            getattr(scipy.signal, name)(*arguments)
        with pytest.raises(type(theirs.value)):
            getattr(signal, name)(*arguments)


def test_small_calls_go_to_scipy(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(filtering, "run", None)
    assert signal.convolve(np.ones(9), np.ones(3)).tolist() == [1, 2, 3, 3, 3, 3, 3, 3, 3, 2, 1]


# --- What SciPy lacks ---


@pytest.fixture
def sums_take(monkeypatch):
    """Sets how dear sums are thought to be: machines differ in where they lose to spectra."""
    cached = filtering.whole_is_faster, filtering.left_to_scipy

    def take(times):
        monkeypatch.setattr(filtering, "SUMS_TAKE", times)
        for function in cached:
            function.cache_clear()

    yield take
    for function in cached:
        function.cache_clear()


def test_who_convolves_short_rows(monkeypatch, sums_take):
    """NumPy's sums of short rows, SciPy's spectra of long kernels; results are the same."""
    monkeypatch.setattr(filtering, "SMALLEST", 20_000)
    x, short, long = (numbers(n, "float64", n) for n in (4096, 101, 3000))
    assert filtering.acceptable(x, short) and not filtering.acceptable(x[:512], short)
    assert filtering.acceptable(x[:512], short, spectra=True)
    for kernel, left in ((short, False), (long, True)):
        sums_take(1e9 if left else 0)
        for pair in ((x, kernel), (kernel, x)):
            found = filtering.left_to_scipy(*(a.shape for a in pair), x.dtype, "full")
            assert found == left
            expected = scipy.signal.convolve(*pair, method="direct")
            np.testing.assert_allclose(signal.fftconvolve(*pair), expected, atol=1e-9)
    np.testing.assert_array_equal(
        signal.convolve(x[:512], short), scipy.signal.convolve(x[:512], short, method="direct")
    )


def test_who_convolves_images(monkeypatch, sums_take):
    """SciPy's spectra of the whole where sums take longer, unless a number is not finite."""
    x, small, large = (numbers((n, n), "float64", n) for n in (100, 7, 63))
    handed_on = []

    def spectra(*arguments):
        handed_on.append(arguments)
        return scipy.signal.fftconvolve(*arguments)

    monkeypatch.setattr(filtering.scipy_signal, "fftconvolve", spectra)
    for kernel, count in ((small, 0), (large, 1), (large.astype(np.int64), 2)):
        sums_take(1e9 if count else 0)
        expected = scipy.signal.convolve(x, kernel, "same", "direct")
        np.testing.assert_allclose(signal.convolve(x, kernel, "same"), expected, atol=1e-8)
        assert len(handed_on) == count
        assert signal.choose_conv_method(x, kernel, "same") == ("fft" if count else "direct")
    whole = x.astype(np.int64), large.astype(np.int64)
    assert_same(signal.convolve(*whole, "same"), scipy.signal.convolve(*whole, "same", "direct"))
    x[0, 0] = np.nan
    assert np.isnan(signal.convolve(x, large, "same")).sum() == 32 * 32
    assert len(handed_on) == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["convolve", "correlate", "convolve2d", "correlate2d"])
def test_batches_strides_and_dilation(name, mode):
    """Against SciPy's function on each image, with holes in the kernel, every so many-th kept."""
    x, kernel = numbers((2, 3, 19, 21), "float32", 13), numbers((3, 4), "float32", 14)
    holes = np.zeros((5, 10), "float32")
    holes[::2, ::3] = kernel
    given = {"batched": True, "stride": (2, 3), "dilation": (2, 3)}
    result = getattr(signal, name)(x, kernel, mode, **given)
    for i, j in itertools.product(range(2), range(3)):
        expected = getattr(scipy.signal, name)(x[i, j], holes, mode)[::2, ::3]
        assert_same(result[i, j], expected.round())
    out = np.full(result.shape, np.nan, np.float32)
    assert getattr(signal, name)(x, kernel, mode, **given, out=out, threads=1) is out
    assert_same(out, result)


@pytest.mark.parametrize("boundary", ["wrap", "symm"])
def test_boundaries_of_batches(boundary):
    x, kernel = numbers((3, 8, 9), "float64", 15), numbers((4, 3), "float64", 16)
    for name in ("convolve2d", "correlate2d"):
        expected = [getattr(scipy.signal, name)(one, kernel, "same", boundary) for one in x]
        result = getattr(signal, name)(x, kernel, "same", boundary, batched=True)
        assert_same(result, np.array(expected))


def test_out_may_be_any_view():
    a, b = numbers(30, "float64", 17), numbers(4, "float64", 18)
    block = np.full(66, np.nan)
    result = signal.convolve(a, b, out=block[::2])
    assert np.shares_memory(result, block)
    assert np.array_equal(block[::2], np.convolve(a, b))
    assert np.isnan(block[1::2]).all()


@pytest.mark.parametrize(("options", "reason"), [
    ({"stride": 0}, "stride must be at least 1"),
    ({"stride": (1, 2)}, "stride must have 1 entries"),
    ({"dilation": -1}, "dilation must be at least 1"),
    ({"threads": 0}, "threads must be at least 1"),
    ({"out": np.empty(3)}, "out has shape"),
    ({"mode": "wrong", "stride": 2}, "mode must be one of"),
    ({"method": "magic", "stride": 2}, "method must be one of"),
    ({"mode": "valid", "dilation": 9}, "must be at least as large as in2"),
])  # fmt: skip
def test_bad_extras(options, reason):
    with pytest.raises(ValueError, match=f"convolve: .*{reason}"):
        signal.convolve(np.ones(9), np.ones(3), **options)


def test_extras_want_kernels_of_fewer_axes():
    with pytest.raises(ValueError, match="batched=True"):
        signal.convolve(np.ones((2, 9)), np.ones(3), stride=2)
    with pytest.raises(ValueError, match="in2 must have two dimensions"):
        signal.convolve2d(np.ones((2, 9, 9)), np.ones(3), batched=True)
    with pytest.raises(ValueError, match="boundary must be one of"):
        signal.convolve2d(np.ones((9, 9)), np.ones((3, 3)), boundary="magic", stride=2)


def test_operands_stay_as_they_are():
    a, b = numbers((30, 41), "float32", 19), numbers((5, 4), "float32", 20)
    kept = a.copy(), b.copy()
    a.setflags(write=False)
    b.setflags(write=False)
    for name in ("convolve", "correlate", "convolve2d", "correlate2d", "fftconvolve", "oaconvolve"):
        getattr(signal, name)(a, b)
    assert np.array_equal(a, kept[0])
    assert np.array_equal(b, kept[1])
