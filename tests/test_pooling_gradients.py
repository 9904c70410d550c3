"""Gradients of pooling and the inverse of max pooling against their definitions."""

import math

import numpy as np
import pytest
from conv_cases import LAYOUTS, Surrounded, integers
from hypothesis import given
from hypothesis import strategies as st
from pool_cases import CASES, NORMED, PLAIN, SLIDING, maxima, multiple, numbers, specials, terms

import fastconv
from fastconv import grad, reference
from fastconv.geometry import AdaptiveGeometry


def each(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def some(rows, *names):
    found = [row for row in rows if row.name in names]
    assert len(found) == len(names)
    return each(found)


every_layout = pytest.mark.parametrize("layout", LAYOUTS)
EVERY_KIND = ("2d", "2d 3x3 over 2", "3d unbatched", "2d uneven bins")


def in_memory(row, values, layout, dtype):
    """Values in a layout, read-only, with something around them that would show."""
    block = Surrounded(values.shape, layout, dtype, 1e6 + 3, row.channel_axis)
    block.array[...] = values
    block.array.setflags(write=False)
    return block.array


# --- Maxima ---


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@every_layout
@each(CASES)
def test_max(row, layout, dtype):
    """Every term goes to the cell of its index, terms of one cell are summed."""
    dy, places = integers(row.output, seed=3), maxima(row)[1]
    expected = reference.max_pool_input(row.lifted(dy), row.lifted(places), row.geometry.in_size)
    arrays = in_memory(row, dy, layout, dtype), in_memory(row, places, layout, np.int64)
    dx = row.door("max", grad)(*arrays, row.input)
    assert dx.dtype == dtype and np.array_equal(dx, row.lowered(expected))


@every_layout
@some(CASES, *EVERY_KIND)
def test_max_into_out(row, layout):
    dy, places = integers(row.output, seed=3), maxima(row)[1]
    expected = reference.max_pool_input(row.lifted(dy), row.lifted(places), row.geometry.in_size)
    for threads in (1, 2, 3):
        out = Surrounded(row.input, layout, "float32", np.nan, row.channel_axis)
        dx = row.door("max", grad)(
            dy.astype("float32"), places, row.input, out=out.array, threads=threads
        )
        assert dx is out.array and out.kept()
        assert np.array_equal(dx, row.lowered(expected))


@some(CASES, *EVERY_KIND)
def test_max_of_special_values(row):
    """NaN and windows of nothing but -inf have a place as well."""
    dy = integers(row.output, seed=3)
    _, places = row.door("max")(specials(row), **row.options, return_indices=True)
    dx = row.door("max", grad)(dy, places, row.input)
    assert dx.sum() == dy.sum() and np.isfinite(dx).all()


@pytest.mark.parametrize("kind", ["int8", "int32", "uint64", ">i8"])
def test_indices_of_any_integer_type(kind):
    dx = grad.max_pool1d(np.array([[[1.0, 2.0]]]), np.array([[[3, 0]]], kind), (1, 1, 4))
    assert dx.tolist() == [[[2, 0, 0, 1]]]


# --- Averages ---


@pytest.mark.parametrize("layout", ["first", "last", "odd"])
@each(PLAIN)
def test_avg(row, layout):
    """Exact, since every divisor divides every term."""
    dy = terms(row)
    for padded in (False,) if row.adaptive else (False, True):
        options = {} if row.adaptive else {**row.options, "count_include_pad": padded}
        dx = row.door("avg", grad)(in_memory(row, dy, layout, "float64"), row.input, **options)
        expected = reference.avg_pool_input(row.geometry, row.lifted(dy), padded)
        assert np.array_equal(dx, row.lowered(expected))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@some(PLAIN, *EVERY_KIND, "2d 3x3 over 1", "2d large window", "1d uneven bins")
def test_avg_in_smaller_types(row, dtype):
    dy = integers(row.output, seed=3).astype(dtype)
    dx = row.door("avg", grad)(dy, row.input, **({} if row.adaptive else row.options))
    expected = reference.avg_pool_input(row.geometry, row.lifted(dy.astype(float)))
    assert dx.dtype == dtype
    assert np.allclose(dx, row.lowered(expected), rtol=0, atol=64 * np.finfo(dtype).eps)


@every_layout
@some(SLIDING, "2d", "2d 3x3 over 2", "3d unbatched", "1d ceil and padding")
def test_avg_into_out(row, layout):
    dy = 7 * terms(row)
    for threads in (1, 2, 3):
        for divisor in (None, 7):
            out = Surrounded(row.input, layout, "float64", np.nan, row.channel_axis)
            options = {**row.options, "divisor_override": divisor, "threads": threads}
            row.door("avg", grad)(dy, row.input, **options, out=out.array)
            expected = reference.avg_pool_input(row.geometry, row.lifted(dy), True, divisor)
            assert np.array_equal(out.array, row.lowered(expected)) and out.kept()


def test_avg_of_complex_numbers():
    row = next(row for row in PLAIN if row.name == "2d pairs")
    dy = terms(row) + 1j * terms(row)[::-1]
    dx = grad.avg_pool2d(dy, row.input, **row.options)
    for part, given_part in ((dx.real, dy.real), (dx.imag, dy.imag)):
        assert np.array_equal(part, reference.avg_pool_input(row.geometry, given_part))


@each(PLAIN)
def test_avg_is_the_adjoint(row):
    """<avg(x), dy> = <x, gradient(dy)>, in exact integers; no reference takes part."""
    scale = multiple(row)
    x, dy = numbers(row), integers(row.output, seed=3)
    y = row.door("avg")(x * scale, **row.options)
    dx = row.door("avg", grad)(dy * scale, row.input, **({} if row.adaptive else row.options))
    assert np.vdot(y, dy) == np.vdot(x, dx)


# --- Norms ---


@pytest.mark.parametrize("norm", [1, 2, 3, 2.5, 0.5, math.inf])
@each(NORMED)
def test_lp(row, norm):
    x, dy = numbers(row), integers(row.output, seed=3)
    y = row.door("lp")(x, norm, **row.options)
    dx = row.door("lp", grad)(dy, x, y, norm, **row.options)
    lifted = [row.lifted(array) for array in (x, y, dy)]
    if norm == math.inf:
        places = reference.max_pool(row.geometry, abs(lifted[0]))[1]
        routed = reference.max_pool_input(lifted[2], places, row.geometry.in_size)
        expected = np.sign(lifted[0]) * routed
    else:
        expected = reference.lp_pool_input(row.geometry, *lifted, norm)
    assert np.allclose(dx, row.lowered(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("norm", [1, 1.5, 2, 4])
def test_lp_is_the_slope(norm, last):
    """Against central differences."""
    random = np.random.default_rng(1)
    x = random.uniform(0.5, 2, (2, 3, 5, 6)) * random.choice([-1, 1], (2, 3, 5, 6))
    x = fastconv.channels_last(x) if last else x
    dy = random.standard_normal((2, 3, 2, 5))
    dx = grad.lp_pool2d(dy, x, fastconv.lp_pool2d(x, norm, 2, (2, 1)), norm, 2, (2, 1))
    along = random.standard_normal(x.shape)
    high, low = (fastconv.lp_pool2d(x + e * along, norm, 2, (2, 1)) for e in (1e-6, -1e-6))
    assert np.vdot(dx, along) == pytest.approx(np.vdot(dy, high - low) / 2e-6, rel=1e-7)
    assert fastconv.arrays.is_channels_last(dx) == last


def test_lp_where_it_has_no_slope():
    """Zeros get zero, in windows of zeros and beside other numbers; NaN spreads in its window."""
    x = np.array([[[0.0, 0.0, 3.0, 0.0, np.nan, 1.0]]])
    for norm in (0.5, 1, 2, 3):
        y = fastconv.lp_pool1d(x, norm, 2)
        dx = grad.lp_pool1d(np.ones((1, 1, 3)), x, y, norm, 2)[0, 0]
        assert dx[:4].tolist() == [0, 0, pytest.approx(1), 0] and np.isnan(dx[4])


# --- The inverse of max pooling ---


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint64"])
@every_layout
@some(CASES, "2d", "1d stride over kernel", "3d", "2d 2x2", "2d pairs", "2d 17 channels")
def test_unpool(row, layout, dtype):
    """Windows that do not overlap come back; where they do, the last value of a cell stays."""
    values, places = abs(maxima(row)[0]), maxima(row)[1]
    expected = reference.max_unpool(row.lifted(values), row.lifted(places), row.geometry.in_size)
    door = getattr(fastconv, f"max_unpool{row.rank}d")
    options = {k: v for k, v in row.options.items() if k in ("kernel_size", "stride", "padding")}
    arrays = in_memory(row, values, layout, dtype), in_memory(row, places, layout, np.int64)
    for size in (row.geometry.in_size, row.input):
        y = door(*arrays, **options, output_size=size)
        assert y.dtype == dtype and np.array_equal(y, row.lowered(expected))
    out = Surrounded(row.input, layout, dtype, 77, row.channel_axis)
    door(*arrays, **options, output_size=row.input, out=out.array, threads=2)
    assert np.array_equal(out.array, row.lowered(expected)) and out.kept()


def test_unpool_sizes():
    """The default is the smallest input; others differ by less than the stride."""
    y, places = np.ones((1, 1, 2, 2)), np.zeros((1, 1, 2, 2), int)
    assert fastconv.max_unpool2d(y, places, 2).shape == (1, 1, 4, 4)
    assert fastconv.max_unpool2d(y, places, 3, 2, 1).shape == (1, 1, 3, 3)
    assert fastconv.max_unpool2d(y, places, (3, 2), output_size=(8, 3)).shape == (1, 1, 8, 3)
    assert fastconv.max_unpool2d(y[0], places[0], 2, output_size=(1, 5, 4)).shape == (1, 5, 4)
    for wrong in ((6, 4), (4, 2), (4, 4, 4, 4, 4), (2, 1, 4, 4), (4,) * 3, (-4, 4), (4.0, 4)):
        with pytest.raises((ValueError, TypeError), match="max_unpool2d: output_size"):
            fastconv.max_unpool2d(y, places, 2, output_size=wrong)


@pytest.mark.parametrize("last", [False, True])
def test_unpool_gradient(last):
    """Every value receives the gradient of its cell, in the format of the gradient."""
    x = integers((2, 17, 6, 8), seed=4)
    _, places = fastconv.max_pool2d(x, 2, return_indices=True)
    dy = fastconv.channels_last(x) if last else x
    dx = grad.max_unpool2d(dy, places)
    expected = np.take_along_axis(x.reshape(2, 17, -1), places.reshape(2, 17, -1), 2)
    assert np.array_equal(dx, expected.reshape(2, 17, 3, 4))
    assert fastconv.arrays.is_channels_last(dx) == last
    out = np.empty((17, 3, 4))
    assert grad.max_unpool2d(dy[0], places[0], out=out) is out
    assert np.array_equal(out, dx[0])


# --- Threads ---


@pytest.mark.parametrize("last", [False, True])
def test_the_bits_do_not_depend_on_threads(last):
    random = np.random.default_rng(0)
    x, dy = (random.standard_normal((3, 70, n, n + 2)).astype(np.float32) for n in (22, 11))
    if last:
        x, dy = fastconv.channels_last(x), fastconv.channels_last(dy)
    _, places = fastconv.max_pool2d(x, 3, 2, 1, return_indices=True)
    dy = dy[..., : places.shape[3]]
    for gradient in (
        lambda t: grad.max_pool2d(dy, places, x.shape, threads=t),
        lambda t: grad.avg_pool2d(dy, (3, 70, 23, 25), 3, 2, threads=t),
        lambda t: grad.adaptive_avg_pool2d(dy, (3, 70, 25, 31), threads=t),
    ):
        first = gradient(1).tobytes()
        assert all(gradient(threads).tobytes() == first for threads in (1, 2, 3, None))


# --- Random problems ---


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=3),
    st.integers(1, 18),
    st.booleans(),
)
def test_any_adaptive_avg(axes, channels, last):
    sizes, bins = zip(*axes, strict=True)
    geometry = AdaptiveGeometry.adaptive("test", len(axes), (2, channels, *sizes), bins)
    dy = 232_792_560 * integers(geometry.output_shape)
    dy = fastconv.channels_last(dy) if last else dy
    dx = getattr(grad, f"adaptive_avg_pool{len(axes)}d")(dy, geometry.input_shape)
    expected = reference.adaptive_avg_pool_input(geometry, dy)
    assert np.allclose(dx, expected, rtol=1e-12, atol=1e-3)


@pytest.mark.parametrize("index", [-1, 16])
def test_a_wrong_index_leaves_out_as_it_was(index):
    """It is looked for before anything is written."""
    terms, places = np.ones((2, 3, 2, 2)), np.zeros((2, 3, 2, 2), np.int64)
    places[1, 2, 1, 1] = index
    out = np.full((2, 3, 4, 4), 7.0)
    with pytest.raises(ValueError, match="indices"):
        fastconv.grad.max_pool2d(terms, places, out.shape, out=out)
    with pytest.raises(ValueError, match="indices"):
        fastconv.max_unpool2d(terms, places, 2, out=out)
    assert (out == 7).all()
