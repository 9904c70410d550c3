"""unfold, fold and pad against their definitions, in every memory layout."""

import math

import numpy as np
import pytest
from conv_cases import LAYOUTS, Surrounded, integers
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import reference
from fastconv.geometry import ConvGeometry
from fastconv.grad.folding import pad as pad_gradient

every_layout = pytest.mark.parametrize("layout", LAYOUTS)

# Name, input, kernel_size, and dilation, padding, stride. Sizes differ on every axis.
WINDOWS = (
    ("1d", (2, 3, 11), (4,), {}),
    ("1d unbatched", (3, 11), (2,), {"stride": 3, "padding": 1}),
    ("1d every option", (2, 3, 11), (4,), {"stride": 2, "dilation": 3, "padding": ((5, 2),)}),
    ("2d", (2, 3, 7, 6), (3, 2), {}),
    ("2d unbatched", (3, 7, 6), (2, 3), {"padding": 1}),
    ("2d empty batch", (0, 3, 7, 6), (3, 2), {}),
    ("2d one size", (2, 3, 7, 6), 2, {"stride": 2}),
    ("2d stride over kernel", (2, 3, 9, 13), (2, 1), {"stride": (4, 5)}),
    ("2d padding over input", (2, 3, 3, 4), (2, 3), {"padding": (5, 7), "stride": 2}),
    ("2d dilation", (2, 3, 11, 9), (3, 2), {"dilation": (3, 5), "padding": (1, 2)}),
    ("2d same", (2, 3, 8, 7), (4, 3), {"padding": "same", "stride": (3, 2)}),
    (
        "2d every option",
        (2, 3, 11, 9),
        (3, 2),
        {"stride": (2, 3), "padding": ((1, 2), (3, 0)), "dilation": (3, 2)},
    ),
    ("2d kernel is input", (2, 3, 5, 4), (5, 4), {}),
    ("3d", (2, 3, 5, 7, 6), (2, 3, 2), {"stride": (1, 2, 3), "padding": (1, 0, 2)}),
    ("3d unbatched", (3, 4, 5, 6), (2, 1, 3), {}),
)
every_window = pytest.mark.parametrize("row", WINDOWS, ids=[row[0] for row in WINDOWS])


def problem(row):
    """Geometry, whether there is a batch, and where a whole input has its channels."""
    _, shape, kernel, options = row
    rank = len(kernel) if isinstance(kernel, tuple) else 2
    kernel = kernel if isinstance(kernel, tuple) else (kernel,) * rank
    weight = (1, shape[-rank - 1], *kernel)
    return ConvGeometry.forward("test", rank, shape, weight, **options), len(shape) - rank - 1


@pytest.mark.parametrize("dtype", ["float32", "complex128", "uint8"])
@every_layout
@every_window
def test_unfold(row, layout, dtype):
    _, shape, kernel, options = row
    geometry, channel_axis = problem(row)
    x = abs(integers(shape))
    block = Surrounded(shape, layout, dtype, 201, channel_axis)
    block.array[...] = x
    expected = reference.unfold(geometry, x.reshape(geometry.input_shape))
    columns = fastconv.unfold(block.array, kernel, **options)
    assert columns.dtype == dtype and columns.flags.c_contiguous
    assert np.array_equal(columns, expected if geometry.batched else expected[0])


@pytest.mark.parametrize("dtype", ["float16", "float64", "complex64", "int8"])
@every_layout
@every_window
def test_fold(row, layout, dtype):
    """Sums of small integers, exact also where they pass through float16."""
    _, shape, kernel, options = row
    geometry, _ = problem(row)
    size = geometry.in_size
    rows = geometry.in_channels * math.prod(geometry.kernel_size)
    lead = (geometry.batch,) if geometry.batched else ()
    columns = integers((*lead, rows, math.prod(geometry.out_size)), seed=2)
    block = Surrounded(columns.shape, layout, dtype, 101, len(lead))
    block.array[...] = columns
    expected = reference.fold(geometry, columns.reshape(geometry.batch, *columns.shape[-2:]))
    image = fastconv.fold(block.array, size, kernel, **options)
    assert image.dtype == dtype
    assert np.array_equal(image, expected.reshape(shape))


@every_layout
def test_into_out(layout):
    x = integers((2, 3, 7, 6))
    columns = fastconv.unfold(x, (3, 2), padding=1)
    for expected, call in (
        (columns, lambda out: fastconv.unfold(x, (3, 2), padding=1, out=out)),
        (
            fastconv.fold(columns, (7, 6), (3, 2), padding=1),
            lambda out: fastconv.fold(columns, (7, 6), (3, 2), padding=1, out=out),
        ),
        (fastconv.pad(x, (1, 2, 0, 3)), lambda out: fastconv.pad(x, (1, 2, 0, 3), out=out)),
    ):
        out = Surrounded(expected.shape, layout, "float64", np.nan)
        assert call(out.array) is out.array
        assert np.array_equal(out.array, expected) and out.kept()


@every_window
def test_fold_is_the_adjoint(row):
    """<unfold(x), columns> = <x, fold(columns)>, exactly."""
    _, shape, kernel, options = row
    x = integers(shape, seed=3)
    columns = fastconv.unfold(x, kernel, **options)
    terms = integers(columns.shape, seed=4)
    image = fastconv.fold(terms, problem(row)[0].in_size, kernel, **options)
    assert np.vdot(columns, terms) == np.vdot(x, image)


def test_fold_sums_in_a_wider_type():
    """float16 and int8 overflow only where the result does, and without a warning."""
    columns = np.full((1, 8, 1), 100, np.int8)
    assert fastconv.fold(columns, 8, (8,)).tolist() == [[[100] * 8]]
    assert fastconv.fold(np.full((1, 2, 2), 100, np.int8), 3, (2,)).tolist() == [[[100, -56, 100]]]
    halves = np.full((1, 2, 2), 60000, np.float16)
    assert fastconv.fold(halves, 3, (2,)).tolist() == [[[60000, np.inf, 60000]]]
    opposite = np.array([[[1, np.inf], [-np.inf, 2]]])
    image = fastconv.fold(opposite, 3, (2,))[0, 0]
    assert np.array_equal(image, [1, np.nan, 2], equal_nan=True)


# --- Borders ---

MODES = ("constant", "reflect", "replicate", "circular")

# Input, pad as its door has it.
BORDERS = (
    ((2, 3, 5), (1, 2)),
    ((2, 3, 5), (4, 0)),
    ((2, 3, 5), (0, 0, 1, 2)),
    ((2, 3, 4, 5), (1, 2, 3, 0)),
    ((2, 3, 4, 5), (-1, 2, 3, -2)),
    ((2, 3, 4, 5), (-2, -1)),
    ((2, 3, 4, 5), (0, 0, 0, 0, 2, 1)),
    ((2, 3, 4, 5, 6), (3, 2, 1, 4, 0, 3)),
    ((3, 4), (1, 2, 2, 1)),
    ((5,), (3, 4)),
    ((5,), ()),
    ((0, 4, 3), (1, 2)),
)
every_border = pytest.mark.parametrize(("shape", "border"), BORDERS, ids=str)


def pairs_of(shape, border):
    """One pair for each axis, first axis first."""
    pairs = [border[i : i + 2] for i in range(0, len(border), 2)][::-1]
    return ((0, 0),) * (len(shape) - len(pairs)) + tuple(pairs)


def by_definition(x, pairs, mode, value=0):
    """The reference pads the axes after the second; here all of them are."""
    mode = "zeros" if mode == "constant" else mode
    return reference.pad(x[None, None], pairs, mode, value)[0, 0]


@pytest.mark.parametrize("mode", MODES)
@every_layout
@every_border
def test_pad(shape, border, layout, mode):
    x = integers(shape, seed=5)
    if x.ndim < 3 and "last" in layout:
        return
    for dtype in ("float32", "int16", "complex64"):
        block = Surrounded(shape, layout, dtype, 1007)
        block.array[...] = x
        y = fastconv.pad(block.array, border, mode)
        assert y.dtype == dtype
        assert np.array_equal(y, by_definition(x, pairs_of(shape, border), mode))
    y = fastconv.pad(x, border, value=7.5)
    assert np.array_equal(y, by_definition(x, pairs_of(shape, border), "constant", 7.5))


@pytest.mark.parametrize("mode", MODES)
@every_layout
@every_border
def test_pad_gradient(shape, border, layout, mode):
    """By definition, and as the adjoint."""
    pairs = pairs_of(shape, border)
    padded = tuple(n + sum(pair) for n, pair in zip(shape, pairs, strict=True))
    dy = integers(padded, seed=6)
    if dy.ndim < 3 and "last" in layout:
        return
    block = Surrounded(padded, layout, "float32", np.nan)
    block.array[...] = dy
    dx = pad_gradient(block.array, border, mode)
    assert dx.shape == shape and dx.dtype == np.float32
    name = "zeros" if mode == "constant" else mode
    assert np.array_equal(dx, reference.pad_gradient(dy[None, None], pairs, name)[0, 0])
    x = integers(shape, seed=7)
    assert np.vdot(fastconv.pad(x, border, mode), dy) == np.vdot(x, dx)


def test_pad_keeps_the_memory_format():
    x = fastconv.channels_last(integers((2, 3, 4, 5)))
    for y in (fastconv.pad(x, (1, 1)), fastconv.pad(x, (1, 1, 2, 0), "reflect")):
        assert fastconv.arrays.is_channels_last(y)
    assert fastconv.arrays.is_channels_last(pad_gradient(x, (1, 1), "reflect"))
    assert not np.shares_memory(fastconv.pad(x, ()), x)


def test_pad_values_of_every_type():
    assert fastconv.pad(np.array([1], np.uint8), (1, 0), value=255).tolist() == [255, 1]
    assert fastconv.pad(np.array([1.0]), (1, 0), value=-math.inf).tolist() == [-math.inf, 1]
    assert fastconv.pad(np.array([1j]), (1, 0), value=2 + 1j).tolist() == [2 + 1j, 1j]


# --- Calls that are refused ---

X = integers((2, 3, 7, 6))
COLUMNS = fastconv.unfold(X, 2)

CALLS = (
    (
        "pytorch#188959",
        ValueError,
        "fold: (padding|stride) .* below 2",
        lambda: fastconv.fold(COLUMNS, (7, 6), 2, padding=2**63 - 2, stride=2**63 - 1),
    ),
    (
        "pytorch#68875",
        ValueError,
        "fold: input has 30 columns, .* 35 windows",
        lambda: fastconv.fold(COLUMNS, (8, 6), 2),
    ),
    (
        "pytorch#68875",
        ValueError,
        "fold: kernel of extent 9",
        lambda: fastconv.fold(COLUMNS, (2, 2), 2, dilation=8),
    ),
    ("pytorch#76617", ValueError, "unfold: kernel_size .* not -1", lambda: fastconv.unfold(X, -1)),
    ("no kernel", ValueError, "unfold: kernel_size .* not 0", lambda: fastconv.unfold(X, [])),
    ("no kernel", ValueError, "unfold: kernel_size .* not 0", lambda: fastconv.unfold(X, (0, 2))),
    ("stride 0", ValueError, "unfold: stride .* not 0", lambda: fastconv.unfold(X, 2, stride=0)),
    (
        "dilation 0",
        ValueError,
        "unfold: dilation .* not 0",
        lambda: fastconv.unfold(X, 2, dilation=0),
    ),
    (
        "axes",
        ValueError,
        "unfold: input must have 5 dimensions",
        lambda: fastconv.unfold(X[0, 0], (2, 2, 2)),
    ),
    (
        "no channels",
        ValueError,
        "unfold: .* must be positive",
        lambda: fastconv.unfold(X[:, :0], 2),
    ),
    ("float", TypeError, "unfold: kernel_size .* not 2.0", lambda: fastconv.unfold(X, 2.0)),
    (
        "too many columns",
        ValueError,
        "unfold: .* 2\\*\\*59",
        lambda: fastconv.unfold(X, 2, padding=2**30),
    ),
    (
        "rows",
        ValueError,
        "fold: input has 12 rows, .* 9 taps",
        lambda: fastconv.fold(COLUMNS, (7, 6), 3),
    ),
    (
        "no rows",
        ValueError,
        "fold: input has 0 rows",
        lambda: fastconv.fold(COLUMNS[:, :0], (7, 6), 2),
    ),
    (
        "fold axes",
        ValueError,
        "fold: input must have 3 dimensions",
        lambda: fastconv.fold(X, (7, 6), 2),
    ),
    (
        "negative size",
        ValueError,
        "fold: output_size .* not -7",
        lambda: fastconv.fold(COLUMNS, (-7, -6), 2),
    ),
    (
        "unlike axes",
        ValueError,
        "fold: kernel_size .* not 3",
        lambda: fastconv.fold(COLUMNS, (7, 6), (1, 2, 2)),
    ),
    ("out", ValueError, "unfold: out has shape", lambda: fastconv.unfold(X, 2, out=np.empty(3))),
    (
        "odd pad",
        ValueError,
        "pad: pad must have a pair .* not 3 numbers",
        lambda: fastconv.pad(X, (1, 2, 3)),
    ),
    (
        "too many pairs",
        ValueError,
        "at most 4 axes, not 10 numbers",
        lambda: fastconv.pad(X, (0,) * 10),
    ),
    (
        "cut",
        ValueError,
        r"pad: pad \(-4, -3\) cuts off more than an axis of size 6",
        lambda: fastconv.pad(X, (-4, -3)),
    ),
    ("cut", ValueError, r"pad: pad \(-7, 9\) cuts off more", lambda: fastconv.pad(X, (-7, 9))),
    (
        "mirror",
        ValueError,
        r"pad \(6, 0\) is too large for mode 'reflect' .* limit is 5",
        lambda: fastconv.pad(X, (6, 0), "reflect"),
    ),
    (
        "twice round",
        ValueError,
        "mode 'circular' .* limit is 6",
        lambda: fastconv.pad(X, (0, 7), "circular"),
    ),
    (
        "nothing to repeat",
        ValueError,
        "mode 'replicate' .* limit is 0",
        lambda: fastconv.pad(X[..., :0], (1, 0), "replicate"),
    ),
    (
        "mode",
        ValueError,
        "pad: mode must be one of .* not 'edge'",
        lambda: fastconv.pad(X, (1, 1), "edge"),
    ),
    (
        "value",
        ValueError,
        "pad: value is for mode 'constant'",
        lambda: fastconv.pad(X, (1, 1), "reflect", 1),
    ),
    (
        "float value",
        TypeError,
        "pad: value 1.5 does not fit an input of int64",
        lambda: fastconv.pad([1], (1, 1), value=1.5),
    ),
    (
        "large value",
        ValueError,
        "pad: value 256 does not fit uint8",
        lambda: fastconv.pad(np.zeros(1, np.uint8), (1, 1), value=256),
    ),
    (
        "complex value",
        TypeError,
        "pad: value 1j does not fit",
        lambda: fastconv.pad(X, (1, 1), value=1j),
    ),
    ("text", TypeError, "pad: value '7' does not fit", lambda: fastconv.pad(X, (1, 1), value="7")),
    (
        "one number",
        TypeError,
        "pad: pad must be a sequence of integers, not 1",
        lambda: fastconv.pad(X, 1),
    ),
    (
        "floats",
        TypeError,
        "pad: pad must be a sequence of integers",
        lambda: fastconv.pad(X, (1.0, 1)),
    ),
    ("word", TypeError, "pad: pad must be a sequence of integers", lambda: fastconv.pad(X, "same")),
    ("huge", ValueError, "pad: pad .* 2\\*\\*59", lambda: fastconv.pad(X, (2**60, 0))),
    (
        "huge",
        ValueError,
        "pad: result .* limit 2\\*\\*59",
        lambda: fastconv.pad(X, (2**40, 0, 2**40, 0)),
    ),
    ("larger border", ValueError, "grad.pad: pad", lambda: pad_gradient(X, (4, 4))),
    ("objects", TypeError, "pad: input", lambda: fastconv.pad(X.astype(object), (1, 1))),
)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [row[1:] for row in CALLS],
    ids=[f"{i} {row[0]}" for i, row in enumerate(CALLS)],
)
def test_a_bad_call_says_why(error, message, call):
    with pytest.raises(error, match=message):
        call()


# --- Random problems ---

axis = st.tuples(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(0, 5)
)


@given(st.lists(axis, min_size=1, max_size=3), st.integers(0, 2**32))
def test_any_columns(axes, seed):
    sizes, kernel, stride, dilation, padding = zip(*axes, strict=True)
    shape = (2, 3, *sizes)
    options = {"stride": stride, "dilation": dilation, "padding": padding}
    weight = (1, 3, *kernel)
    try:
        geometry = ConvGeometry.forward("test", len(axes), shape, weight, **options)
    except ValueError:
        return
    x = integers(shape, seed)
    columns = fastconv.unfold(x, kernel, **options)
    assert np.array_equal(columns, reference.unfold(geometry, x))
    image = fastconv.fold(columns, sizes, kernel, **options)
    assert np.array_equal(image, reference.fold(geometry, columns))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_an_axis_of_one_line_without_border(mode):
    """A batch of one: its axis gets no border, and nothing of it is repeated."""
    x = np.arange(1.0, 5).reshape(1, 1, 4)
    middle = {"reflect": [1, 2, 2, 1], "replicate": [2, 1, 1, 2], "circular": [2, 1, 1, 2]}[mode]
    gradient = pad_gradient(np.ones((1, 1, 6)), (1, 1), mode)
    assert gradient.tolist() == [[middle]]
    assert np.vdot(fastconv.pad(x, (1, 1), mode), np.ones((1, 1, 6))) == np.vdot(x, gradient)


def test_an_array_without_axes_stays_an_array():
    for result in (fastconv.pad(3.0, ()), pad_gradient(3.0, ())):
        assert type(result) is np.ndarray and result.shape == () and result == 3


def test_unsigned_integers_of_64_bits_wrap():
    """NumPy has no sum of int64 and uint64."""
    columns = np.full((1, 2, 2), 2**63, np.uint64)
    assert fastconv.fold(columns, 3, (2,)).tolist() == [[[2**63, 0, 2**63]]]
