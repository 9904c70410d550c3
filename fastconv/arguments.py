"""Arguments made canonical: integers, one integer per axis, shapes.

Sizes are unbounded Python ints until they are checked against `LIMIT`; nothing after the doors can
overflow.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

Pairs = tuple[tuple[int, int], ...]
Size = tuple[int, ...]

# Every extent and element count stays below this, so a byte offset (16 bytes an element at most)
# stays below 2**63 and int64 arithmetic in kernels cannot wrap.
LIMIT = 2**59


def as_int(op: str, name: str, value: Any, *, at_least: int) -> int:
    """`value` as a Python int by the `operator.index` rule, checked against its limits."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer, not {value!r}") from None
    if not at_least <= number < LIMIT:
        raise ValueError(f"{op}: {name} must be at least {at_least} and below 2**59, not {number}")
    return number


def as_sizes(op: str, name: str, value: Any, rank: int, *, at_least: int) -> Size:
    """An int, or a sequence of one int per axis, as a tuple of `rank` ints."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{op}: {name} must be an integer or {rank} integers, not {value!r}")
    try:
        items = tuple(value)
    except TypeError:
        return (as_int(op, name, value, at_least=at_least),) * rank
    if len(items) == 1:
        items = items * rank
    if len(items) != rank:
        raise ValueError(
            f"{op}: {name} must have {rank} entries, one per axis, not {len(items)}: {value!r}"
        )
    return tuple(as_int(op, name, item, at_least=at_least) for item in items)


def as_shape(op: str, name: str, value: Any) -> Size:
    """A full array shape: dimensions may be zero, never negative, the count below `LIMIT`."""
    try:
        shape = tuple(as_int(op, name, item, at_least=0) for item in value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be a sequence of integers, not {value!r}") from None
    check_count(op, name, shape)
    return shape


def check_count(op: str, name: str, shape: Size) -> None:
    """Refuse a shape whose element count, empty axes aside, would not fit 64-bit byte offsets."""
    count = math.prod(max(size, 1) for size in shape)
    if count >= LIMIT:
        raise ValueError(f"{op}: {name} of shape {shape} spans {count} elements, limit 2**59")


def check_choice(op: str, name: str, value: Any, choices: tuple[str | None, ...]) -> None:
    """Refuse what is not one of the names; an array would not even compare with them."""
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"{op}: {name} must be one of {choices}, not {value!r}")
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {choices}, not {value!r}")


def check_string(op: str, name: str, value: Any) -> None:
    """Refuse what is neither a string nor None: a list could not even be looked up."""
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"{op}: {name} must be a string, not {value!r}")


def as_flag(op: str, name: str, value: Any) -> bool:
    """`value` as a bool: True, False, NumPy's, or the integers 1 and 0."""
    if isinstance(value, bool | np.bool_) or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{op}: {name} must be True or False, not {value!r}")


def as_threads(op: str, threads: Any) -> int | None:
    """The argument `threads`: None or at least 1."""
    return None if threads is None else as_int(op, "threads", threads, at_least=1)


def is_empty(value: Any) -> bool:
    """Whether `value` is None or a sequence without members; an array has no truth value."""
    return value is None or (isinstance(value, (tuple, list)) and not value)


def plain(value: Any) -> bool:
    """Whether `value` may be a cache key: 2.0 equals 2 but is not the same argument."""
    kind = type(value)
    if kind is tuple:
        # Sizes, mostly; a generator or `map` takes a microsecond more.
        for member in value:  # noqa: SIM110
            if type(member) is not int and not plain(member):
                return False
        return True
    return kind is int or kind is bool or kind is str or value is None
