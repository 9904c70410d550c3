"""Calls in compiled code: a nopython function for each signature, of which there are not many.

All that a door takes as numbers is known at run time only. Arrays have the types of those with any
layout that must not be written, so that few signatures serve most calls.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import types

import fastconv
from fastconv.jit.doors import RULES

# As many functions are compiled in a process; what would need another one is called as it is.
MOST = 40
# Numbers for each axis, and what they are where a convolution is not given them.
EACH_AXIS = ("stride", "dilation", "kernel_size", "output_padding")
DEFAULTS = {"stride": 1, "dilation": 1, "padding": 0, "groups": 1}

made: dict[Any, Callable[..., Any]] = {}
calls_inside: Counter[str] = Counter()  # of each door, in compiled code


class Uncompiled(Exception):
    """Only Python can make this call."""


def nopython(door: str, **given: Any) -> Any:
    """What the door returns in compiled code, or as it is if that cannot be or need not be."""
    try:
        call, values = _compiled(door, given)
    except Uncompiled:
        return plain(door)(**given)
    calls_inside[door] += 1
    return call(*values)


def compiles(door: str, **given: Any) -> bool:
    """Whether `nopython` makes such a call in compiled code."""
    try:
        _compiled(door, given)
    except Uncompiled:
        return False
    return True


def plain(door: str) -> Callable[..., Any]:
    """The function of fastconv."""
    return functools.reduce(getattr, door.split("."), fastconv)


def _compiled(door: str, given: dict[str, Any]) -> tuple[Callable[..., Any], list[Any]]:
    """The function for a call, and the values that it takes."""
    if door not in RULES:
        raise Uncompiled
    size = given.get("kernel_size")
    rank = next((int(n) for n in door if n.isdigit()), len(size) if isinstance(size, tuple) else 0)
    convolves = "conv" in door and "bias" not in door
    pairs = bool(rank) and (convolves or door in ("unfold", "fold"))
    if convolves:
        given = {**DEFAULTS, **given}
    kinds, values, constants = [], [], {}
    for name, value in given.items():
        simple = _regular(name, value, rank, pairs)
        if simple is None or isinstance(simple, (str, bool, numba.core.dispatcher.Dispatcher)):
            constants[name] = simple
        else:
            kinds.append((name, _kind(simple, name == "out")))
            values.append(simple)
    key = (door, tuple(kinds), tuple(constants.items()))
    if key not in made:
        if len(made) == MOST:
            raise Uncompiled
        made[key] = _function(door, dict(kinds), constants)
    return made[key], values


def _regular(name: str, value: Any, rank: int, pairs: bool) -> Any:
    """A value in the spelling that others of its argument share."""
    if isinstance(value, (bool, str)) or value is None or callable(value):
        return value
    if isinstance(value, np.ma.MaskedArray):  # Numba takes it for an array, without the mask
        raise Uncompiled
    if isinstance(value, np.ndarray) and value.ndim:
        if value.dtype not in ("f4", "f8", "i4", "i8"):
            raise Uncompiled
        if not value.flags.aligned or not value.dtype.isnative:
            raise Uncompiled
        return value
    if name == "norm_type" and isinstance(value, (int, float)):
        return float(value)
    try:
        if isinstance(value, (tuple, list)):
            value = tuple(_regular("", v, 0, False) for v in value)
            if not all(isinstance(v, (int, tuple, np.ndarray)) for v in value):
                raise Uncompiled
        else:
            value = operator.index(value)
    except TypeError:
        raise Uncompiled from None
    numbers = isinstance(value, int)
    if numbers and not -(2**63) <= value < 2**63:
        raise Uncompiled
    if numbers and rank and (name in EACH_AXIS or name == "padding"):
        value = (value,) * rank
    if name == "padding" and pairs and all(isinstance(v, int) for v in value):
        value = tuple((v, v) for v in value)
    return value


def _kind(value: Any, written: bool = False) -> types.Type:
    if isinstance(value, np.ndarray):
        dtype = numba.from_dtype(value.dtype)
        return types.Array(dtype, value.ndim, "A", readonly=not written)
    if isinstance(value, tuple):
        return types.Tuple([_kind(v) for v in value])
    return types.float64 if isinstance(value, float) else types.int64


def _function(
    door: str, kinds: dict[str, types.Type], constants: dict[str, Any]
) -> Callable[..., Any]:
    given = ", ".join([*(f"{n}={n}" for n in kinds), *(f"{n}={n}_" for n in constants)])
    source = f"def call({', '.join(kinds)}):\n    return door({given})"
    namespace = {"door": plain(door), **{f"{n}_": v for n, v in constants.items()}}
    exec(source, namespace)
    return numba.njit(tuple(kinds.values()))(namespace["call"])
