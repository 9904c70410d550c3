"""The table `bad_inputs` for arrays on the device: what the host says, before any launch."""

import os
import re

import bad_inputs
import numpy as np
import pytest
from bad_inputs import CALLS, SAME_FOR_ALL
from conv_cases import integers
from doors import doors
from test_bad_inputs import changed, start

import fastconv
from fastconv.cuda import choose, launch

EVERY = doors("float32")
# What is said otherwise: the words of the host, and those of the device.
WORDS = {
    "out must be a NumPy array": "out must be an array on the device",
    "algorithm must be": "algorithm on the device must be",
    str([row.name for row in fastconv.choose.ALGORITHMS]): str(
        [row.name for row in choose.ALGORITHMS]
    ),
}
# Indices are looked at by the kernel that uses them, whose threads race to tell of a wrong one: as
# PTX that is a fault.
INDICES = 23
RACES = os.environ.get("FASTCONV_TEST_DEVICE") == "ptx"
# Rows whose arrays do not come to be on the device as they are; and indices of uint64, of which
# NumPy warns in the simulator.
LEFT_OUT = (
    *("dtype >f8", "out is read-only", "must be real, not complex128"),
    "indices must be at least 0",
)
PLACED = [
    row for row in CALLS if row.message not in LEFT_OUT and not (RACES and row.number == INDICES)
]


def error_of(function, *given, **named):
    """The kind and text of the error of a call, or None."""
    try:
        function(*given, **named)
    except (ValueError, TypeError, MemoryError) as error:
        text = str(error)
        for host, device in WORDS.items():
            text = text.replace(host, device) if device not in text else text
        return type(error), text
    except AssertionError:  # see `idle`
        return None
    return None


def on_device(door, changes):
    """The error of a call whose arrays, new ones among them, are on the device."""
    given = {**door.given, **changes}
    places = {*door.arrays, "bias", "out"} & set(given)
    for name in places:
        if isinstance(given[name], np.ndarray) and given[name].dtype.kind != "c":
            given[name] = fastconv.to_device(given[name])
    return error_of(door, **given)


@pytest.fixture
def idle(monkeypatch):
    """Nothing may be launched any more."""

    def start(kernel, *_):
        raise AssertionError(f"{kernel.name} was launched")

    monkeypatch.setattr(launch.Kernel, "__call__", start)


@pytest.mark.parametrize("mistake", SAME_FOR_ALL, ids=lambda m: f"row {m.number} {m.changes}"[:60])
def test_every_door_refuses(mistake, idle):
    for door in EVERY:
        if not mistake.applies(door):
            continue
        bias = mistake.changes.get("bias")
        if bias is not None and (not np.ndim(bias) or np.iscomplexobj(bias)):
            kind, text = on_device(door, mistake.changes)
            assert kind is TypeError and text.startswith(f"{door.name}: bias is on the host")
            continue
        expected = error_of(door, **mistake.changes)
        assert expected is not None
        assert on_device(door, mistake.changes) == expected


class Placing:
    """A package whose functions get their arrays on the device, each array once."""

    def __init__(self, package):
        self._package = package

    def __getattr__(self, name):
        found = getattr(self._package, name)
        return placing(found) if callable(found) else Placing(found)


def placing(door):
    """The function for arrays of the host that calls `door` with copies of them."""

    def call(*given, **named):
        copies = {}

        def placed(value):
            if not isinstance(value, np.ndarray):
                return value
            return copies.setdefault(id(value), fastconv.to_device(value))

        return door(*map(placed, given), **{name: placed(v) for name, v in named.items()})

    return call


@pytest.mark.parametrize("row", PLACED, ids=[f"row {r.number} {i}" for i, r in enumerate(PLACED)])
def test_a_bad_call(row, request, monkeypatch):
    expected = error_of(row.call)
    for name in ("conv", "up", "to_input", "to_weight"):
        monkeypatch.setattr(bad_inputs, name, placing(getattr(bad_inputs, name)))
    for name in ("fastconv", "grad"):
        monkeypatch.setattr(bad_inputs, name, Placing(getattr(bad_inputs, name)))
    if row.number != INDICES:
        request.getfixturevalue("idle")
    assert expected is not None
    assert error_of(row.call) == expected


@pytest.mark.parametrize("door", EVERY, ids=[door.name for door in EVERY])
def test_arrays_of_any_other_shape(door, idle):
    """The same are refused; an index out of range is only seen by the kernel."""
    for name in door.arrays:
        array = door.given[name]
        for shape in changed(array.shape):
            changes = {name: np.ones(shape, array.dtype)}
            expected = error_of(door, **changes)
            if expected is None or "indices must be" not in expected[1]:
                assert on_device(door, changes) == expected, (name, shape)


INTO = [door for door in EVERY if "out" in door.options]


@pytest.mark.parametrize("door", INTO, ids=[door.name for door in INTO])
def test_out_that_cannot_take_the_result(door, idle):
    right = door.results()[0]
    longer = np.zeros((*right.shape[:-1], right.shape[-1] + 1), np.float32)
    for out in (longer, np.zeros(right.shape, np.float64)):
        assert on_device(door, {"out": out}) == error_of(door, out=out)
    place = fastconv.to_device(right)
    for view, says in (
        (Shown(place, read_only=True), "out is read-only"),
        (Shown(place, strides=(0,) * right.ndim), "elements of out share memory"),
    ):
        given = {n: fastconv.to_device(door.given[n]) for n in door.arrays}
        with pytest.raises(ValueError, match=rf"^{start(door.name)}{re.escape(says)}"):
            door(**given, out=view)


class Shown:
    """Memory of the device as an array of another library."""

    def __init__(self, x, read_only=False, strides=None):
        self._memory = x
        self.__cuda_array_interface__ = {
            "shape": x.shape,
            "strides": strides or x.strides,
            "typestr": x.dtype.str,
            "data": (x.address, read_only),
            "version": 3,
        }


# --- What must be right ---


def backwards(values):
    """The values on the device, every axis of them the other way round in memory."""
    back = (slice(None, None, -1),) * values.ndim
    return fastconv.to_device(np.ascontiguousarray(values[back]))[back]


@pytest.mark.parametrize("name", ["conv1d", "grad.conv1d_weight", "max_pool1d", "pad", "linear"])
def test_arrays_that_run_backwards(name):
    """Row 53: the same values, of this library and of another; into `out` too."""
    door = next(door for door in EVERY if door.name == name)
    small = {n: integers(v.shape).astype("f4") for n, v in door.given.items() if n in door.arrays}
    expected = door.results(**small)[0]
    placed = {n: fastconv.to_device(x) for n, x in small.items()}
    for show in (lambda x: x, Shown):
        for changed_one in small:
            found = door(**{**placed, changed_one: show(backwards(small[changed_one]))})
            found = found[0] if isinstance(found, tuple) else found
            assert np.array_equal(found.copy_to_host(), expected), changed_one
        out = backwards(np.full(expected.shape, np.nan, np.float32))
        door(**placed, out=show(out))
        assert np.array_equal(out.copy_to_host(), expected)


def test_a_number_has_no_axes():
    assert fastconv.to_device(np.float32(3)).shape == ()


def test_windows_of_nothing_but_nan():
    """Row 24: the index is one of the window's."""
    for value in (np.nan, -np.inf):
        x = fastconv.to_device(np.full((1, 1, 7), value))
        _, indices = fastconv.max_pool1d(x, 3, 2, 1, return_indices=True)
        assert indices.copy_to_host().tolist() == [[[0, 1, 3, 5]]]


def test_an_empty_batch():
    """Rows 28, 35 and 36: empty results, and gradients of nothing are zeros."""
    for door in EVERY:
        if door.rank == 0 or "bias" in door.name:
            continue
        given = {n: door.given[n] for n in door.arrays}
        given |= {n: x[:0] for n, x in given.items() if n not in ("weight", "bias")}
        given = {n: fastconv.to_device(x) for n, x in given.items()}
        if "input_size" in door.given:
            given["input_size"] = (0, *door.given["input_size"][1:])
        found = door(**given)
        for result, whole in zip(found if isinstance(found, tuple) else (found,), door.results()):
            if door.name.endswith("_weight"):
                assert result.shape == whole.shape and not result.copy_to_host().any()
            else:
                assert result.shape == (0, *whole.shape[1:])


def test_numbers_beyond_32_bits_that_fit():
    """Row 17: one window is one window, however large the stride."""
    x = integers((1, 2, 7, 5)).astype("f4")
    X, huge = fastconv.to_device(x), 2**40
    assert fastconv.avg_pool2d(X, 2, 2**31).shape == (1, 2, 1, 1)
    assert np.array_equal(fastconv.max_pool2d(X, 1, dilation=huge).copy_to_host(), x)
    w = fastconv.to_device(np.ones((3, 2, 3, 2), np.float32))
    assert fastconv.conv2d(X, w, stride=huge).shape == (1, 3, 1, 1)
