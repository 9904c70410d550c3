"""Every pooling against its definition: exact results, whatever the memory looks like."""

import math

import numpy as np
import pytest
from conv_cases import LAYOUTS, Surrounded, integers, poison
from hypothesis import event, given
from hypothesis import strategies as st
from pool_cases import CASES, NORMED, PLAIN, SLIDING, maxima, numbers, specials

import fastconv
from fastconv import reference
from fastconv.geometry import AdaptiveGeometry, PoolGeometry


def each(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def some(rows, *names):
    found = [row for row in rows if row.name in names]
    assert len(found) == len(names)
    return each(found)


every_layout = pytest.mark.parametrize("layout", LAYOUTS)
THREADS = (1, 2, 3)


def in_memory(row, values, layout, dtype):
    """Values of the input's axes in a layout, read-only, with poison around them."""
    block = Surrounded(values.shape, layout, dtype, poison(dtype), row.channel_axis)
    block.array[...] = values
    block.array.setflags(write=False)
    return block


def has_format_of(row, result, x):
    """Whether a result is dense, and channels-last if the input is."""
    result, x = row.lifted(result), row.lifted(x)
    last = fastconv.arrays.is_channels_last(x)
    moved = np.moveaxis(result, 1, -1) if last else result
    return moved.flags.c_contiguous


# --- Maxima ---


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@every_layout
@each(CASES)
def test_max(row, layout, dtype):
    """Values and places, by both kernels; the operand stands amidst poison and stays as it is."""
    block = in_memory(row, numbers(row), layout, dtype)
    before = block.memory.tobytes()
    options = row.options
    values, indices = row.door("max")(block.array, **options, return_indices=True)
    alone = row.door("max")(block.array, **options)
    expected, places = maxima(row)
    assert values.dtype == alone.dtype == dtype and indices.dtype == np.int64
    assert np.array_equal(values, expected) and np.array_equal(alone, expected)
    assert np.array_equal(indices, places)
    assert all(has_format_of(row, y, block.array) for y in (values, indices, alone))
    assert block.memory.tobytes() == before


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layout", ["first", "last", "odd"])
@each(CASES)
def test_max_of_special_values(row, layout, dtype):
    """NaN wins, the first of them; a window of nothing but -inf has its first cell."""
    block = Surrounded(row.input, layout, dtype, 1000.0, row.channel_axis)
    block.array[...] = specials(row)
    values, indices = row.door("max")(block.array, **row.options, return_indices=True)
    expected, places = maxima(row, special=True)
    assert np.array_equal(values, expected, equal_nan=True)
    assert np.array_equal(indices, places)
    alone = row.door("max")(block.array, **row.options)
    assert np.array_equal(alone, expected, equal_nan=True)


@every_layout
@some(CASES, "2d", "2d 3x3 over 2", "2d every option", "1d unbatched", "3d", "2d uneven bins")
def test_max_into_out(row, layout):
    """`out` of any layout, full of NaN, gets the result, and nothing around it is touched."""
    for threads in THREADS:
        out = Surrounded(row.output, layout, "float32", np.nan, row.channel_axis)
        x = numbers(row).astype("float32")
        assert row.door("max")(x, **row.options, out=out.array, threads=threads) is out.array
        assert np.array_equal(out.array, maxima(row)[0])
        assert out.kept()


INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@pytest.mark.parametrize("dtype", INTEGERS)
@some(CASES, "2d", "2d 3x3 over 2", "1d uneven bins", "3d every option")
def test_max_of_integers_is_exact(row, dtype):
    """At both ends of the range, where no other type would hold them."""
    limits = np.iinfo(dtype)
    x = np.random.default_rng(5).integers(0, 9, row.input).astype(dtype)
    x = np.where(x % 2 == 0, limits.max - x, x + limits.min).astype(dtype)
    values, indices = row.door("max")(x, **row.options, return_indices=True)
    expected, places = reference.max_pool(row.geometry, row.lifted(x))
    assert values.dtype == dtype and np.array_equal(values, row.lowered(expected))
    assert np.array_equal(indices, row.lowered(places))
    assert np.array_equal(row.door("max")(x, **row.options), values)


def test_ties_go_to_the_first():
    x = np.zeros((1, 1, 3, 4))
    _, indices = fastconv.max_pool2d(x, 2, stride=1, return_indices=True)
    assert indices[0, 0].tolist() == [[0, 1, 2], [4, 5, 6]]


# --- Averages ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_layout
@each(PLAIN)
def test_avg(row, layout, dtype):
    """A sum of small integers is exact, and its quotient rounded once."""
    block = in_memory(row, numbers(row), layout, dtype)
    x = row.lifted(numbers(row)).astype(dtype)
    for padded in (False,) if row.adaptive else (False, True):
        options = {} if row.adaptive else {"count_include_pad": padded}
        y = row.door("avg")(block.array, **row.options, **options)
        expected = reference.avg_pool(row.geometry, x, padded)
        assert y.dtype == dtype and np.array_equal(y, row.lowered(expected))
        assert has_format_of(row, y, block.array)


@some(SLIDING, "2d pairs", "2d ceil and padding", "3d every option", "1d ceil")
def test_avg_with_a_divisor(row):
    x = numbers(row)
    for divisor in (1, 3):
        y = row.door("avg")(x, **row.options, divisor_override=divisor)
        assert np.array_equal(y, reference.avg_pool(row.geometry, x, True, divisor))


@every_layout
@some(PLAIN, "2d", "2d 3x3 over 1", "2d large window", "2d one bin", "3d unbatched")
def test_avg_into_out(row, layout):
    for threads in THREADS:
        out = Surrounded(row.output, layout, "float64", np.nan, row.channel_axis)
        row.door("avg")(numbers(row), **row.options, out=out.array, threads=threads)
        expected = reference.avg_pool(row.geometry, row.lifted(numbers(row)))
        assert np.array_equal(out.array, row.lowered(expected)) and out.kept()


@pytest.mark.parametrize("layout", ["first", "last", "odd"])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@some(PLAIN, "2d 3x3 over 2", "1d unbatched", "3d uneven bins", "2d one bin of many cells")
def test_avg_of_complex_numbers(row, dtype, layout):
    block = Surrounded(row.input, layout, dtype, 1e6, row.channel_axis)
    block.array[...] = numbers(row) + 1j * integers(row.input, seed=2)
    block.array[(-1,) * block.array.ndim] = complex(np.inf, 1)  # spoils no imaginary part
    y = row.door("avg")(block.array, **row.options)
    parts = [
        reference.avg_pool(row.geometry, row.lifted(np.ascontiguousarray(part)))
        for part in (block.array.real, block.array.imag)
    ]
    assert y.dtype == dtype
    for part, expected in zip((y.real, y.imag), parts, strict=True):
        assert np.array_equal(part, row.lowered(expected), equal_nan=True)


def test_avg_of_special_values():
    x = np.array([[[1.0, np.nan, 2.0, np.inf, 3.0, -np.inf, 4.0, 5.0]]])
    y = fastconv.avg_pool1d(x, 2)[0, 0]
    assert np.array_equal(y, [np.nan, np.inf, -np.inf, 4.5], equal_nan=True)
    y = fastconv.avg_pool1d(x[..., 3:], 3, stride=1)[0, 0]
    assert np.array_equal(y, [np.nan, -np.inf, -np.inf], equal_nan=True)


# --- Norms ---


@pytest.mark.parametrize("norm", [1, 2, 3, 2.5, 0.5, math.inf])
@each(NORMED)
def test_lp(row, norm):
    x = row.lifted(numbers(row))
    for dtype, tolerance in (("float64", 1e-14), ("float32", 1e-6)):
        y = row.door("lp")(numbers(row).astype(dtype), norm, **row.options)
        if norm == math.inf:
            expected = reference.max_pool(row.geometry, abs(x))[0]
        else:
            expected = reference.lp_pool(row.geometry, x, norm)
        assert y.dtype == dtype
        assert np.allclose(y, row.lowered(expected), rtol=tolerance, atol=0)


@every_layout
@some(NORMED, "2d", "2d 2x2", "3d unbatched", "2d ceil")
def test_lp_in_every_layout(row, layout):
    """The Euclidean norm is exact up to the rounding of one square root."""
    block = in_memory(row, numbers(row), layout, "float64")
    out = Surrounded(row.output, layout, "float64", np.nan, row.channel_axis)
    row.door("lp")(block.array, 2.0, **row.options, out=out.array)
    expected = reference.lp_pool(row.geometry, row.lifted(numbers(row)), 2)
    assert np.array_equal(out.array, row.lowered(expected)) and out.kept()


def test_lp_never_warns():
    """Overflow is infinity, as in the definition."""
    y = fastconv.lp_pool1d(np.array([[[1e30, 1e30, 0, 0]]], np.float32), 2, 2)
    assert y.tolist() == [[[np.inf, 0]]]


# --- Threads and types ---


@pytest.mark.parametrize("last", [False, True])
def test_the_bits_do_not_depend_on_threads(last):
    """Nor on the run: nothing is summed across work items."""
    x = np.random.default_rng(0).standard_normal((3, 19, 37, 41)).astype(np.float32)
    x = fastconv.channels_last(x) if last else x
    for pooled in (
        lambda t: fastconv.max_pool2d(x, 3, 2, 1, threads=t),
        lambda t: fastconv.avg_pool2d(x, 3, 1, 1, threads=t),
        lambda t: fastconv.avg_pool2d(x, (37, 41), threads=t),
        lambda t: fastconv.lp_pool2d(x, 3, 2, threads=t),
        lambda t: fastconv.adaptive_avg_pool2d(x, (5, 7), threads=t),
    ):
        first = pooled(1).tobytes()
        assert all(pooled(threads).tobytes() == first for threads in (1, 2, 3, None))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_long_row_is_cut_into_parts(threads):
    x = np.random.default_rng(0).integers(-9, 9, (1, 1, 50_001)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, 3, axis=2)[:, :, ::2]
    values, indices = fastconv.max_pool1d(x, 3, 2, return_indices=True, threads=threads)
    assert np.array_equal(values, windows.max(axis=3))
    assert np.array_equal(indices[0, 0], windows.argmax(axis=3)[0, 0] + 2 * np.arange(25_000))
    y = fastconv.avg_pool1d(x, 3, 2, threads=threads)
    assert np.array_equal(y, windows.sum(axis=3) / np.float32(3))


def test_float16_is_computed_in_float32():
    """The sum is beyond the range of float16, the mean is not."""
    y = fastconv.avg_pool1d(np.full((1, 1, 40), 2050, np.float16), 40)
    assert y.dtype == np.float16 and y.item() == 2050
    y = fastconv.avg_pool1d(np.full((1, 1, 40), 2050, np.float16), 40, divisor_override=1)
    assert y.item() == np.inf


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_what_numpy_takes_is_taken(kind):
    """Lists, the other byte order, unaligned records, read-only and broadcast arrays."""
    door = {"max": fastconv.max_pool1d, "avg": fastconv.avg_pool1d}[kind]
    plain = np.array([[[1.0, 5.0, 2.0, 8.0]]])
    expected = door(plain, 2)
    records = np.zeros((1, 1, 4), np.dtype([("tag", "u1"), ("value", "f8")]))
    records["value"] = plain
    for x in (plain.tolist(), plain.astype(">f8"), records["value"]):
        y = door(x, 2)
        assert np.array_equal(y, expected) and y.dtype == np.float64
    y = door(np.broadcast_to(plain, (3, 2, 4)), 2)
    assert np.array_equal(y, np.broadcast_to(expected, (3, 2, 2)))


# --- Random problems ---


@st.composite
def poolings(draw, dilated):
    """A geometry of one to three axes that fits, its input and its door's arguments."""
    rank = draw(st.integers(1, 3))
    lead = draw(st.tuples(st.integers(0, 3), st.integers(1, 18)))
    if draw(st.booleans()):
        lead = lead[1:]
    adaptive = draw(st.integers(0, 3)) == 0
    axes = []
    for _ in range(rank):
        size, kernel = draw(st.integers(1, 20)), draw(st.integers(1, 6))
        dilation = draw(st.integers(1, 3)) if dilated else 1
        low, high = (draw(st.integers(0, kernel // 2)) for _ in range(2))
        axes.append((size, kernel, draw(st.integers(1, 7)), dilation, (low, high)))
    sizes, kernels, strides, dilations, pairs = zip(*axes, strict=True)
    shape = (*lead, *sizes)
    x = draw(st.integers(0, 2**32)), draw(st.booleans())
    x = np.random.default_rng(x[0]).integers(-5, 6, shape).astype(float), x[1]
    if adaptive:
        geometry = AdaptiveGeometry.adaptive("test", rank, shape, kernels)
        return geometry, *x, (kernels,)
    options = (kernels, strides, pairs, dilations, draw(st.booleans()))
    keys = ("stride", "padding", "dilation", "ceil_mode")
    try:
        named = dict(zip(keys, options[1:], strict=True))
        geometry = PoolGeometry.sliding("test", rank, shape, kernels, **named)
    except ValueError:
        event("does not fit")
        geometry = None
    return geometry, *x, options


def laid_out(geometry, x, last):
    return fastconv.channels_last(x) if last and geometry.batched else x


def named(kind, geometry):
    prefix = "adaptive_" if isinstance(geometry, AdaptiveGeometry) else ""
    return f"{prefix}{kind}_pool{geometry.rank}d"


@given(poolings(dilated=True), st.sampled_from(THREADS))
def test_any_max(problem, threads):
    geometry, x, last, options = problem
    if geometry is None:
        return
    x = laid_out(geometry, np.where(x == 5, np.nan, np.where(x > 2, -np.inf, x)), last)
    door = getattr(fastconv, named("max", geometry))
    values, indices = door(x, *options, return_indices=True, threads=threads)
    expected = reference.max_pool(geometry, x if geometry.batched else x[None])
    values, indices = (y if geometry.batched else y[None] for y in (values, indices))
    assert np.array_equal(values, expected[0], equal_nan=True)
    assert np.array_equal(indices, expected[1])


@given(poolings(dilated=False), st.sampled_from(THREADS))
def test_any_avg(problem, threads):
    geometry, x, last, options = problem
    if geometry is None:
        return
    x = laid_out(geometry, x, last)
    sliding = isinstance(geometry, PoolGeometry)
    arguments = (*options[:3], options[4]) if sliding else options
    y = getattr(fastconv, named("avg", geometry))(x, *arguments, threads=threads)
    expected = reference.avg_pool(geometry, x if geometry.batched else x[None])
    assert np.array_equal(y if geometry.batched else y[None], expected)
