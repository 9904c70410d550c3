"""Every kind of bad input of the table `bad_inputs`, at every door that can be given it."""

import inspect
import re
import warnings

import numpy as np
import pytest
from bad_inputs import CALLS, KINDS, SAME_FOR_ALL, mistakes
from conv_cases import integers
from doors import doors, helpers

import fastconv
from fastconv import functional, grad

EVERY = (*doors(), *helpers())
MISTAKES = tuple(mistakes(EVERY))


def start(name):
    """How every message of a door begins."""
    return rf"(grad\.)?{re.escape(name.removeprefix('grad.'))}: "


@pytest.mark.parametrize("mistake", SAME_FOR_ALL, ids=lambda m: f"row {m.number} {m.changes}"[:60])
def test_every_door_refuses(mistake):
    """The error says which door, which argument, what was given, and what would do."""
    made = [door for row, door in MISTAKES if row is mistake]
    assert made
    for door in made:
        with pytest.raises(mistake.error) as caught:
            door(**mistake.changes)
        assert re.search(f"^{start(door.name)}.*({mistake.message})", str(caught.value)), (
            door.name,
            str(caught.value),
        )


@pytest.mark.parametrize("row", CALLS, ids=[f"row {row.number} {i}" for i, row in enumerate(CALLS)])
def test_a_bad_call(row):
    with pytest.raises(row.error) as caught:
        row.call()
    assert re.search(row.message, str(caught.value)), str(caught.value)


def test_every_door_is_listed():
    public = {name for name in functional.__all__} | {f"grad.{name}" for name in grad.__all__}
    assert {door.name for door in EVERY} == public | {"receptive_field"}
    for door in EVERY:
        door()


ARRAYS = [(door, name) for door in EVERY for name in door.arrays]


def changed(shape):
    """A shape with one axis more, one less, and with each axis longer, shorter and empty."""
    yield (*shape, 1)
    yield shape[:-1]
    for axis in range(len(shape)):
        for size in (shape[axis] + 1, shape[axis] - 1, 0):
            yield (*shape[:axis], size, *shape[axis + 1 :])


@pytest.mark.parametrize("door", EVERY, ids=[door.name for door in EVERY])
def test_arrays_of_any_other_shape(door):
    """Rows 5, 25 to 30, 34 to 38: a result of its own, or an error; nothing else, ever."""
    refused = 0
    for name in door.arrays:
        array = door.given[name]
        for shape in changed(array.shape):
            try:
                door(**{name: np.ones(shape, array.dtype)})
            except (ValueError, TypeError) as error:
                assert re.match(start(door.name), str(error)), (name, shape, str(error))
                refused += 1
    assert refused or not door.arrays


@pytest.mark.parametrize("door", EVERY, ids=[door.name for door in EVERY])
def test_what_is_no_array_of_numbers(door):
    """Row 52."""
    for name in door.arrays:
        shape = door.given[name].shape
        for bad in (
            np.ones(shape, bool),
            np.ones(shape, object),
            np.ones(shape).astype(str),
            np.ma.masked_array(np.ones(shape)),
            np.zeros(shape, "M8[s]"),
            np.zeros(shape, np.longdouble),
            np.zeros(shape, [("a", "f4")]),
            "text",
            object(),
            [[1.0], [1.0, 2.0]],
            {},
        ):
            with pytest.raises(TypeError, match=f"^{start(door.name)}{name} "):
                door(**{name: bad})


@pytest.mark.parametrize("door", doors(), ids=[door.name for door in doors()])
def test_out_that_cannot_take_the_result(door):
    """Row 47; a refused call has written nothing."""
    if "out" not in door.options:
        pytest.skip("has no out")
    right = door.results()[0]
    longer = np.full((*right.shape[:-1], right.shape[-1] + 1), -7.0)
    outs = {
        "out has shape": longer,
        "out has dtype": np.full(right.shape, -7.0, np.float32),
        "out is read-only": np.broadcast_to(-7.0, right.shape),
        "out is not aligned": np.zeros(right.shape, [("t", "u1"), ("v", "f8")])["v"],
        "out must be a NumPy array, not MaskedArray": np.ma.masked_array(np.zeros(right.shape)),
    }
    for message, out in outs.items():
        before = np.array(out)
        with pytest.raises((ValueError, TypeError), match=f"^{start(door.name)}{message}"):
            door(out=out)
        assert np.array_equal(before, out)
    block = np.zeros(right.size + sum(door.given[n].size for n in door.arrays))
    for name in door.arrays:
        if door.given[name].dtype != block.dtype:
            continue
        x = block[: door.given[name].size].reshape(door.given[name].shape)
        x[...] = door.given[name]
        out = block[x.size - 1 : x.size - 1 + right.size].reshape(right.shape)
        with pytest.raises(ValueError, match=f"^{start(door.name)}out overlaps an input"):
            door(**{name: x, "out": out})
        beside = block[x.size : x.size + right.size].reshape(right.shape)
        assert np.array_equal(door.results(**{name: x, "out": beside})[0], right)


# --- What must be right ---


def layouts(x):
    """The same array in other memory layouts (rows 6, 53) and dtypes of it."""
    yield "fortran", np.asfortranarray(x)
    yield "read-only", np.broadcast_to(x, x.shape)
    yield "byte order", x.astype(x.dtype.newbyteorder())
    yield "list", x.tolist()
    unaligned = np.zeros(x.shape, [("t", "u1"), ("v", x.dtype)])
    unaligned["v"] = x
    yield "unaligned", unaligned["v"]
    twice = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
    backwards = tuple(slice(None, None, -2) for _ in x.shape)
    twice[backwards] = x
    yield "negative strides", twice[backwards]
    odd = [7919 if n == 1 else s for n, s in zip(x.shape, x.strides)]
    yield "odd strides", np.lib.stride_tricks.as_strided(x, x.shape, odd)
    if x.ndim > 2:
        yield "channels last", np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)


@pytest.mark.parametrize("door", doors(), ids=[door.name for door in doors()])
def test_every_memory_layout(door):
    """Rows 6 and 53: the same result, but for the order of sums; no input is written."""
    expected = door.results()
    for name in door.arrays:
        for layout, array in layouts(door.given[name]):
            for right, result in zip(expected, door.results(**{name: array}), strict=True):
                np.testing.assert_allclose(result, right, 1e-12, 1e-12, err_msg=f"{name} {layout}")
        one = (slice(0, 1),) * door.given[name].ndim
        assert np.array_equal(door.given[name][one], np.array(door.given[name][one]))


@pytest.mark.parametrize("door", doors(), ids=[door.name for door in doors()])
def test_one_number_for_all_cells(door):
    """Row 53: an array that was broadcast has stride 0."""
    for name in door.arrays:
        if door.given[name].dtype.kind != "f":
            continue
        wide = np.broadcast_to(np.float64(0.5), door.given[name].shape)
        for one, other in zip(
            door.results(**{name: wide}), door.results(**{name: np.array(wide)}), strict=True
        ):
            np.testing.assert_allclose(one, other, 1e-12, 1e-12)


@pytest.mark.parametrize("door", doors(), ids=[door.name for door in doors()])
def test_other_integers(door):
    """Row 54: whatever `operator.index` takes, and lists for tuples."""
    expected = door.results()
    for name, value in door.given.items():
        if isinstance(value, bool) or name in ("norm_type", "mode"):
            continue
        if isinstance(value, int):
            changes = [np.int64(value), np.uint8(value), np.array(value), [value] * door.rank]
        elif isinstance(value, tuple):
            changes = [list(value), np.array(value), [np.int16(v) for v in value]]
        else:
            continue
        for change in changes:
            for one, other in zip(door.results(**{name: change}), expected, strict=True):
                assert np.array_equal(one, other)


@pytest.mark.parametrize("door", doors(), ids=[door.name for door in doors()])
def test_warnings_of_nobody(door):
    """Row 51: NaN, infinities and denormals run through without a warning of NumPy's."""
    tiny = np.nextafter(0, 1, dtype=np.float64)
    for value in (np.nan, np.inf, -np.inf, -0.0, tiny, np.finfo(float).max):
        for name in door.arrays:
            if door.given[name].dtype.kind == "f":
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    door(**{name: np.full(door.given[name].shape, value)})


def test_numbers_beyond_32_bits_that_fit():
    """Row 17: one window is one window, however large the stride; one tap, whatever dilation."""
    x = integers((1, 2, 7, 5))
    huge = 2**40
    assert fastconv.conv2d(x, np.ones((3, 2, 3, 2)), stride=huge).shape == (1, 3, 1, 1)
    assert fastconv.avg_pool2d(x, 2, 2**31).shape == (1, 2, 1, 1)
    assert np.array_equal(fastconv.max_pool2d(x, 1, dilation=huge), x)
    assert fastconv.unfold(x, 2, stride=huge).shape == (1, 8, 1)
    up = fastconv.conv_transpose1d(np.ones((1, 1, 1)), np.ones((1, 2, 3)), np.ones(2), stride=huge)
    assert up.tolist() == [[[2, 2, 2]] * 2]
    dx = grad.conv1d_input((1, 1, 4), np.ones((1, 1, 3)), np.ones((1, 1, 1)), stride=huge)
    assert dx.tolist() == [[[1, 1, 1, 0]]]


def test_padding_beyond_the_input():
    """Row 7: right for convolutions."""
    x, w = integers((1, 1, 3, 2)), integers((1, 1, 2, 2), 1)
    for big in (50, 500):
        y = fastconv.conv2d(x, w, padding=big)
        assert y.shape == (1, 1, 2 * big + 2, 2 * big + 1)
        inside = y[:, :, big - 1 : big + 3, big - 1 : big + 2]
        assert np.array_equal(inside, fastconv.conv2d(x, w, padding=1))
        assert y.sum() == x.sum() * w.sum()


def test_an_empty_batch():
    """Rows 28, 35 and 36: empty results, and gradients of nothing are zeros."""
    for door in doors():
        if door.rank == 0 or "bias" in door.name:
            continue
        empty = {n: door.given[n][:0] for n in door.arrays if n not in ("weight", "bias")}
        if "input_size" in door.given:
            empty["input_size"] = (0, *door.given["input_size"][1:])
        for result, whole in zip(door.results(**empty), door.results(), strict=True):
            if door.name.endswith("_weight"):
                assert result.shape == whole.shape and not result.any()
            else:
                assert result.shape == (0, *whole.shape[1:])


def test_windows_of_nothing_but_nan():
    """Row 24: the index is one of the window's."""
    for x in (np.full((1, 1, 7), np.nan), np.full((1, 1, 7), -np.inf)):
        _, indices = fastconv.max_pool1d(x, 3, 2, 1, return_indices=True)
        assert indices.tolist() == [[[0, 1, 3, 5]]]


def test_every_kind_is_tested():
    """By the tables, or by what says in this file that it tests the row."""
    here = inspect.getsource(inspect.getmodule(test_every_kind_is_tested))
    said = set()
    for low, high in re.findall(
        r"(\d+)(?: to (\d+))?(?=[^\n]*)", " ".join(re.findall(r"Rows? ([\d, andto]+)", here))
    ):
        said |= set(range(int(low), int(high or low) + 1))
    rows = {row.number for row in (*SAME_FOR_ALL, *CALLS)}
    elsewhere = {8}  # test_bad_calls.test_offsets_beyond_32_bits
    aliases = {40: 1, 45: 1}  # the same call, found in other libraries
    missing = set(KINDS) - rows - said - elsewhere - set(aliases)
    assert not missing
    assert set(KINDS) == set(range(1, 55))
