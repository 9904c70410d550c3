"""The table `bad_inputs` inside nopython code: the errors are Python's, word for word."""

import numba
import numpy as np
import pytest
from bad_inputs import SAME_FOR_ALL
from doors import doors

from fastconv.jit import making

# Options that `doors` leaves out, so that one compiled function takes every mistake in them.
DEFAULTS = {"stride": 1, "dilation": 1, "groups": 1, "padding": 0, "output_padding": 0}
DEFAULTS |= {"threads": 1}
EVERY = [door for door in doors() if door.rank in (0, 2)]


def arguments(door):
    """Those of a call that fits, its numbers among them."""
    return {**{n: v for n, v in DEFAULTS.items() if n in door.options}, **door.given}


def compiled(door, values):
    """A nopython function of all the values but those that must be literals."""
    taken = [name for name, value in values.items() if not isinstance(value, (str, bool))]
    given = ", ".join(f"{n}={n if n in taken else repr(v)}" for n, v in values.items())
    namespace = {"door": making.door_named(door.name)}
    exec(f"def call({', '.join(taken)}):\n    return door({given})", namespace)
    call = numba.njit(namespace["call"])
    return lambda changed: call(*[changed[name] for name in taken])


def mistakes(door, values):
    """Values of the same types, each with a mistake in numbers or the shape of an array."""
    for row in SAME_FOR_ALL:
        numbers = all(type(v) is int and abs(v) < 2**63 for v in row.changes.values())
        if numbers and row.applies(door) and set(row.changes) <= set(values):
            changes = row.changes.items()
            yield {
                **values,
                **{n: (v,) * len(values[n]) if np.iterable(values[n]) else v for n, v in changes},
            }
    for name in door.arrays:
        shape = values[name].shape
        for axis in range(len(shape)):
            for size in (shape[axis] + 1, shape[axis] - 1, 0):
                other = (*shape[:axis], size, *shape[axis + 1 :])
                yield {**values, name: np.ones(other, values[name].dtype)}


def outcome(call, values):
    """What it returns, as bytes, or its error."""
    try:
        found = call(values)
    except (ValueError, TypeError) as error:
        return type(error), str(error)
    found = found if isinstance(found, tuple) else (found,)
    return [(y.shape, y.tobytes()) for y in found]


@pytest.mark.parametrize("door", EVERY, ids=[door.name for door in EVERY])
def test_errors_are_those_of_python(door):
    values = arguments(door)
    call, refused = compiled(door, values), 0
    assert isinstance(outcome(call, values), list)
    for changed in mistakes(door, values):
        expected = outcome(lambda values: door.function(**values), changed)
        assert outcome(call, changed) == expected
        refused += not isinstance(expected, list)
    assert refused or door.name == "grad.conv2d_bias"  # which takes any shape
