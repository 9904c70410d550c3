"""Arguments as words: from Numba's types to a text that describes them, and back to Python values.

A *form* says what an argument is made of, in JSON: ``["array", dtype, ndim]`` gives an address, and
a shape and strides in bytes as words; ``["int"]``, ``["bool"]`` and ``["float"]`` give a word;
``["epilogue", parameters, dtype]`` gives the address of a kernel; ``["tuple", form, ...]`` gives
those of its members; ``["is", value]`` is known from the type alone and gives none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.core.errors import TypingError
from numba.np.numpy_support import as_dtype

from ..cpu.fused import Fused
from ..cpu.memory import array_at

Form = list[Any]


def form_of(op: str, name: str, kind: Any) -> Form:
    """The form of an argument of a Numba type, or that was left out and has a default value.

    Raises TypingError for a type that no door takes.
    """
    if isinstance(kind, types.Omitted):
        kind = kind.value
    if not isinstance(kind, types.Type):
        return _of_default(kind)
    if isinstance(kind, types.NoneType):
        return ["is", None]
    if isinstance(kind, (types.StringLiteral, types.BooleanLiteral)):
        return ["is", kind.literal_value]
    if isinstance(kind, types.Array):
        return _of_array(op, name, kind)
    if isinstance(kind, types.Boolean):
        return ["bool"]
    if isinstance(kind, types.Integer):
        return ["int"]
    if isinstance(kind, types.Float):
        return ["float"]
    if isinstance(kind, types.Dispatcher) and name == "epilogue":
        return ["epilogue"]
    if isinstance(kind, types.BaseTuple):
        return ["tuple", *(form_of(op, name, member) for member in kind)]
    if isinstance(kind, types.UnicodeType):
        raise TypingError(f"{op}: {name} must be a literal string within compiled code")
    if isinstance(kind, types.Optional):
        raise TypingError(f"{op}: {name} may be None or not: decide before the call")
    raise TypingError(f"{op}: {name} cannot be of the type {kind} within compiled code")


def _of_default(value: Any) -> Form:
    if isinstance(value, tuple):
        return ["tuple", *map(_of_default, value)]
    return ["is", value]


def _of_array(op: str, name: str, kind: types.Array) -> Form:
    if not kind.aligned:
        raise TypingError(f"{op}: {name} is not aligned to its dtype {kind.dtype}")
    try:
        dtype = as_dtype(kind.dtype)
    except NotImplementedError:
        raise TypingError(f"{op}: {name} cannot be an array of {kind.dtype}") from None
    return ["array", dtype.str, kind.ndim]


class Reader:
    """Python values from forms, the words of a key and the addresses of a call."""

    def __init__(self, words: np.ndarray, bases: list[int]) -> None:
        self._words, self._at = words.tolist(), 0
        self._bases = bases
        self.arrays: list[np.ndarray] = []  # those that have been read

    def value(self, form: Form) -> Any:
        """The next argument; arrays are views of the caller's memory."""
        kind = form[0]
        if kind == "is":
            return form[1]
        if kind == "tuple":
            return tuple(map(self.value, form[1:]))
        if kind == "array":
            shape, strides = self._words_of(form[2]), self._words_of(form[2])
            address = self._bases[len(self.arrays)]
            self.arrays.append(array_at(address, shape, strides, np.dtype(form[1])))
            return self.arrays[-1]
        (word,) = self._words_of(1)
        if kind == "epilogue":
            return Fused(word, *form[1:])
        if kind == "float":
            return float(np.array(word, np.int64).view(np.float64))
        return bool(word) if kind == "bool" else word

    def _words_of(self, count: int) -> tuple[int, ...]:
        self._at += count
        return tuple(self._words[self._at - count : self._at])


def arrays_in(form: Form) -> int:
    """How many addresses a form gives."""
    if form[0] == "tuple":
        return sum(map(arrays_in, form[1:]))
    return int(form[0] == "array")
