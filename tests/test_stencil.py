"""Stencils with users' functions, against NumPy on whole arrays: every option, layout and dtype."""

from __future__ import annotations

import operator
import re

import numba
import numpy as np
import pytest
import scipy.ndimage
from conv_cases import Surrounded, integers

import fastconv
from fastconv.cpu import stencil_engine
from fastconv.machine import machine

NUMPY_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def plus(x, w):
    return x + w


def minus(x, w):
    return x - w


def larger(a, b):
    return b if b > a else a


def twice(a, b):
    """Neither commutative nor associative: the order of taps tells."""
    return 2 * a - b


def per_axis(value, rank):
    return (value,) * rank if isinstance(value, int) else tuple(value)


def expected(x, w, combine, reduce, initial=None, footprint=None, **options):
    """The definition, with functions of arrays."""
    rank = w.ndim
    lead = x.ndim - rank
    stride, dilation = (per_axis(options.get(n, 1), rank) for n in ("stride", "dilation"))
    borders = [per_axis(p, 2) for p in per_axis(options.get("padding", 0), rank)]
    mode = NUMPY_MODES[options.get("padding_mode", "zeros")]
    more = {"constant_values": options.get("padding_value", 0)} if mode == "constant" else {}
    padded = np.pad(x, [(0, 0)] * lead + borders, mode, **more)
    sizes = zip(padded.shape[lead:], w.shape, stride, dilation)
    outputs = [(size - d * (k - 1) - 1) // s + 1 for size, k, s, d in sizes]
    y = initial
    for tap in np.ndindex(w.shape):
        if footprint is not None and not footprint[tap]:
            continue
        axes = zip(tap, outputs, stride, dilation)
        cells = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, o, s, d in axes)
        value = combine(padded[(..., *cells)], w[tap])
        y = value if y is None else reduce(y, value)
    return y


CASES = {
    "one axis": ((37,), (5,), {}),
    "one tap": ((3, 7), (1,), {"stride": 2}),
    "even": ((2, 23), (4,), {"padding": ((3, 0),)}),
    "runs": ((2, 1200), (11,), {"padding": 5, "padding_mode": "reflect"}),
    "phases": ((2, 41), (3,), {"stride": 3, "dilation": 2, "padding": 4}),
    "stride beyond the kernel": ((101,), (2,), {"stride": 7, "padding": ((1, 5),)}),
    "two axes": ((13, 17), (3, 2), {}),
    "planes": ((2, 3, 13, 17), (3, 2), {"padding": ((1, 2), (3, 0)), "padding_value": -7}),
    "stride": ((2, 13, 19), (3, 5), {"stride": (3, 2), "padding": (2, 3)}),
    "dilation": ((29, 31), (3, 2), {"dilation": (4, 7), "padding": (5, 2)}),
    "all": ((2, 19, 23), (3, 4), {"stride": (2, 3), "dilation": (3, 2), "padding": (4, 5)}),
    "reflect": ((9, 11), (5, 3), {"padding": ((8, 3), (2, 10)), "padding_mode": "reflect"}),
    "replicate": ((4, 6), (3, 5), {"padding": ((9, 1), (4, 20)), "padding_mode": "replicate"}),
    "circular": ((2, 5, 7), (4, 3), {"padding": ((5, 2), (7, 1)), "padding_mode": "circular"}),
    "circular strides": (
        (2, 9, 12),
        (4, 3),
        {"padding": 6, "padding_mode": "circular", "stride": (1, 5), "dilation": (1, 3)},
    ),
    "many rows": ((90, 700), (15, 3), {"padding": (7, 1)}),
    "three axes": ((5, 7, 6), (2, 3, 4), {"padding": 1, "padding_value": 3}),
    "three axes, all": (
        (2, 11, 9, 13),
        (3, 2, 2),
        {"stride": (2, 1, 3), "dilation": (2, 3, 1), "padding": ((1, 2), (0, 3), (4, 1))},
    ),
    "same": ((14, 9), (3, 4), {"padding": 1}),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_case
def test_cases(case):
    """In a poisoned `out`, which nothing else of is written, and without."""
    size, kernel, options = case
    x, w = integers(size, 1), integers(kernel, 2)
    for reduce, numpys in ((larger, np.maximum), (twice, twice)):
        goal = expected(x, w, plus, numpys, **options)
        y = fastconv.stencil(x, w, plus, reduce, **options)
        assert y.shape == goal.shape and np.array_equal(y, goal)
        for layout in ("first", "crop first", "odd"):
            out = Surrounded(goal.shape, layout, float, np.nan)
            assert fastconv.stencil(x, w, plus, reduce, out=out.array, **options) is out.array
            assert np.array_equal(out.array, goal) and out.kept()


@every_case
def test_threads_make_no_difference(case):
    size, kernel, options = case
    random = np.random.default_rng(0)
    x, w = random.standard_normal((3, *size)), random.standard_normal(kernel)
    one, two = (
        fastconv.stencil(x, w, operator.mul, operator.add, threads=n, **options) for n in (1, 2)
    )
    assert one.tobytes() == two.tobytes()


def test_a_long_signal_is_shared_and_exact():
    x, w = integers((100_003,), 1), integers((7,), 2)
    goal = expected(x, w, plus, np.maximum, padding=3)
    for threads in (1, 2):
        y = fastconv.stencil(x, w, plus, larger, padding=3, threads=threads)
        assert np.array_equal(y, goal)


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", ">f4"]
)
def test_dtypes(dtype):
    x, w = integers((5, 40), 1) + 4, integers((2, 3), 2) + 4
    y = fastconv.stencil(x.astype(dtype), w.astype(dtype), plus, max, padding=1)
    assert y.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(y, expected(x, w, plus, np.maximum, padding=1))


def test_mixed_dtypes_and_integers_that_wrap():
    x, w = np.array([200, 100], np.uint8), np.array([100], np.uint8)
    assert fastconv.stencil(x, w, plus, max).tolist() == [44, 200]
    mixed = fastconv.stencil(x.astype("f4"), w.astype("f8"), plus, max)
    assert mixed.dtype == float and mixed.tolist() == [300, 200]


@pytest.mark.parametrize("layout", ["odd", "crop last", "F", "broadcast", "reversed"])
def test_layouts_of_the_input(layout):
    """Read-only, and left as it is."""
    shape = (3, 4, 9, 11)
    block = Surrounded(shape, layout if " " in layout or layout == "odd" else "first", "f4", 0)
    block.array[...] = integers(shape, 1)
    x = block.array
    if layout == "F":
        x = np.asfortranarray(x)
    elif layout == "broadcast":
        x = np.broadcast_to(x[:, :1, :, 4:5], shape)
    elif layout == "reversed":
        x = x[::-1, :, ::-1, ::-1]
    x = x.view()
    x.setflags(write=False)
    before, w = x.copy(), integers((3, 2), 2).astype("f4")
    y = fastconv.stencil(x, w, minus, min, padding=1, stride=(1, 2))
    goal = expected(before, w, minus, np.minimum, padding=1, stride=(1, 2))
    assert np.array_equal(y, goal) and np.array_equal(x, before)


def test_initial_and_footprint():
    x, w = integers((9, 23), 1), integers((3, 4), 2)
    used = integers((3, 4), 3) > 0
    for options in ({"initial": 2}, {"footprint": used}, {"footprint": used, "initial": -1.5}):
        y = fastconv.stencil(x, w, plus, twice, padding=2, **options)
        assert np.array_equal(y, expected(x, w, plus, twice, padding=2, **options))


@pytest.mark.parametrize("count", range(1, 20))
def test_counts_of_taps(count):
    """Passes of several taps leave any rest to others."""
    x, w = integers((2, 60), 1), integers((count,), 2)
    y = fastconv.stencil(x, w, operator.mul, twice)
    assert np.array_equal(y, expected(x, w, operator.mul, twice))


@pytest.mark.parametrize("shape", [(0, 5, 7), (2, 0, 3, 5, 7)])
def test_no_planes(shape):
    out = np.empty((*shape[:-2], 4, 7))
    y = fastconv.stencil(np.ones(shape), np.ones((2, 1)), plus, max, out=out)
    assert y is out and y.size == 0


def test_nan_goes_where_the_functions_let_it():
    x = np.array([1, np.nan, 3, 4, np.nan, 6, 7, 8])
    w = np.zeros(2)
    y = fastconv.stencil(x, w, plus, np.maximum)
    assert np.array_equal(y, np.maximum(x[:-1], x[1:]), equal_nan=True)
    ignored = fastconv.stencil(x, w, plus, larger, initial=-np.inf)
    assert ignored.tolist() == [1, 3, 4, 4, 6, 7, 8]
    infinite = fastconv.stencil(x, w, plus, larger, padding=1, padding_value=-np.inf)
    assert infinite[0] == 1 and infinite[-1] == 8


def test_values_are_rounded_to_the_dtype_at_each_step():
    """Numba would go on in float64 with what a literal made."""
    x, w = np.full(64, 0.1, np.float32), np.ones(11, np.float32)
    y = fastconv.stencil(x, w, lambda x, w: x * 1.1, lambda a, b: a + b * 0.3)
    sums = value = np.float32(np.float64(np.float32(0.1)) * 1.1)
    for _ in range(10):
        sums = np.float32(np.float64(sums) + np.float64(value) * 0.3)
    assert (y == sums).all()


def test_kinds_of_functions():
    x, w = integers((30,), 1), integers((3,), 2)
    goal = expected(x, w, operator.add, np.maximum)
    for combine in (plus, numba.njit(plus), operator.add, np.add, lambda x, w: x + w):
        for reduce in (larger, max, np.maximum):
            assert np.array_equal(fastconv.stencil(x, w, combine, reduce), goal)


def test_equal_functions_are_compiled_once():
    def scaled(number):
        return lambda x, w: x * w * number

    x, w = integers((30,), 1), integers((3,), 2)
    fastconv.stencil(x, w, scaled(2.0), larger)
    before = len(stencil_engine._pairs)
    for _ in range(3):
        doubled = fastconv.stencil(x, w, scaled(2.0), larger)
    assert len(stencil_engine._pairs) == before
    tripled = fastconv.stencil(x, w, scaled(3.0), larger)
    assert len(stencil_engine._pairs) == before + 1
    assert np.array_equal(doubled * 1.5, tripled)


def test_the_code_is_vectors():
    """The passes of several taps; on some machines LLVM prefers half vectors."""
    lanes = machine().lanes("float32")
    kernel, _ = stencil_engine.pair("test", plus, larger, "float32", False).kept
    code = str(kernel._compiled["float32"]._library.get_llvm_str())
    assert len(re.findall(rf"fadd <({lanes}|{min(lanes, 8)}) x float>", code)) >= 1 + 8 + 4 + 1


def test_grey_dilation():
    """SciPy's dilation has its structure mirrored."""
    x, w = integers((31, 43), 1), integers((3, 5), 2)
    y = fastconv.stencil(x, w[::-1, ::-1], plus, larger, padding=(1, 2), padding_value=-np.inf)
    goal = scipy.ndimage.grey_dilation(x, structure=w, mode="constant", cval=-np.inf)
    assert np.array_equal(y, goal)


# --- Refusals ---


def raises(a, b):
    if a > b:
        raise ValueError
    return a


X, W = integers((6, 7), 1), integers((3, 2), 2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"combine": raises}, TypeError, "combine raises must not raise"),
        ({"reduce": lambda a: a}, TypeError, "reduce <lambda> must take 2 numbers: what is so far"),
        ({"combine": lambda a, b: "text"}, TypeError, "combine <lambda> must return a number"),
        ({"combine": lambda a, b: a * 1j}, TypeError, "must return a real number"),
        ({"reduce": lambda a, b: unknown}, TypeError, "cannot be compiled"),  # noqa: F821
        ({"reduce": np.linalg.norm}, TypeError, "reduce"),
        ({"combine": 3}, TypeError, "combine must be a function of two numbers, not 3"),
        ({"combine": None}, TypeError, "combine must be a function of two numbers, not None"),
        ({"input": X + 0j}, TypeError, "must be real .* not complex128"),
        ({"input": X.astype(np.uint64), "weight": W.astype(np.uint64)}, TypeError, "not uint64"),
        ({"input": X.astype(int)}, TypeError, "input is int64 and weight is float64"),
        ({"input": "text"}, TypeError, "input must be an integer"),
        ({"weight": 3.0}, ValueError, r"weight must have 1 to 3 dimensions, not shape \(\)"),
        ({"weight": np.ones((1,) * 4)}, ValueError, "weight must have 1 to 3 dimensions"),
        ({"weight": np.ones((1, 0))}, ValueError, "weight must be positive"),
        ({"input": X[0]}, ValueError, r"input must have the 2 dim.* not shape \(7,\)"),
        ({"input": X[:, :0]}, ValueError, "input must be positive"),
        ({"weight": np.ones((7, 2))}, ValueError, "extent 7 .* larger than the padded input, 6"),
        ({"stride": 0}, ValueError, "stride must be at least 1"),
        ({"stride": (1, 2, 3)}, ValueError, "stride"),
        ({"dilation": 2**31}, ValueError, "larger than the padded input"),
        ({"padding": -1}, ValueError, "padding"),
        ({"padding": 2**40}, ValueError, "spans .* elements, limit"),
        ({"padding": 7, "padding_mode": "reflect"}, ValueError, "the limit is 5"),
        ({"padding_mode": "nearest"}, ValueError, "padding_mode must be one of"),
        ({"padding_value": "1"}, TypeError, "padding_value must be a number, not '1'"),
        ({"padding_value": 1j}, TypeError, "padding_value must be a number"),
        ({"initial": (1, 2)}, TypeError, r"initial must be a number, not \(1, 2\)"),
        ({"footprint": W}, TypeError, "footprint must be of bool, not float64"),
        ({"footprint": X > 0}, ValueError, r"footprint must have the shape \(3, 2\)"),
        ({"footprint": W > 99}, ValueError, "footprint leaves out every tap"),
        ({"out": np.ones((4, 5))}, ValueError, "out has shape"),
        ({"out": np.ones((4, 6), int)}, ValueError, "out has dtype"),
        ({"out": X[:4, :6]}, ValueError, "out overlaps an input"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
    ],
)
def test_refusals(changes, error, message):
    given = {"input": X, "weight": W, "combine": plus, "reduce": larger, **changes}
    with pytest.raises(error, match=f"^stencil: .*{message}"):
        fastconv.stencil(**given)


def test_numbers_that_are_no_integers():
    x = np.arange(6)
    for name in ("initial", "padding_value"):
        with pytest.raises(TypeError, match=f"stencil: {name} is 0.5, which is no int64"):
            fastconv.stencil(x, x[:2], plus, larger, **{name: 0.5})


def test_windows_that_no_copy_can_hold():
    options = {"padding": ((2**30, 2**30), (0, 0)), "dilation": (2**30, 1)}
    with pytest.raises(ValueError, match=r"^stencil: windows of .* bytes"):
        fastconv.stencil(np.ones((1, 9)), np.ones((3, 1)), plus, larger, **options)
