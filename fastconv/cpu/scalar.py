"""A user's functions of numbers, compiled and found fit for a kernel's innermost loop."""

from __future__ import annotations

import dis
import inspect
import re
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.errors import NumbaError
from numba.extending import is_jitted

from .compile import OPTIONS


def identity(function: Any) -> Any:
    """Equal for functions that do the same: of one code, with the same values around it."""
    python = function.py_func if is_jitted(function) else function
    code = getattr(python, "__code__", None)
    if code is None:
        return _Same(function)
    names = {name: python.__globals__[name] for name in code.co_names if name in python.__globals__}
    cells = [cell.cell_contents for cell in python.__closure__ or ()]
    values = [*names.items(), *enumerate(cells), *enumerate(python.__defaults__ or ())]
    options = repr(sorted(function.targetoptions.items())) if is_jitted(function) else ""
    constants = tuple((type(value), repr(value)) for value in code.co_consts)
    around = tuple((name, _value(value)) for name, value in values)
    return code.co_code, constants, code.co_names, around, options


def _value(value: Any) -> Any:
    if isinstance(value, (int, float, complex, str, bytes, np.generic, type(None))):
        return type(value), repr(value)
    return _Same(value)


class _Same:
    """Equal to itself only; keeps its object, so that its address is not used again."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def jitted(op: str, role: str, function: Any, dtype: str, numbers: int, meaning: str) -> Any:
    """A function of so many numbers of `dtype` under `njit`, compiled and found to be fit.

    Errors call it by its `role` and say what the numbers are: their `meaning`.
    """
    name = f"{op}: {role} {_name(function)}"
    _check_code(name, function)
    compiled = function if is_jitted(function) else numba.njit(**OPTIONS)(function)
    kinds = (getattr(types, dtype),) * numbers
    try:
        inspect.signature(compiled.py_func).bind(*kinds)
    except TypeError:
        raise TypeError(f"{name} must take {numbers} numbers: {meaning}") from None
    try:
        compiled.compile(kinds)
        made = compiled.overloads[kinds]
        if not isinstance(made.signature.return_type, (types.Number, types.Boolean)):
            raise TypeError(f"{name} must return a number, not {made.signature.return_type}")
        if isinstance(made.signature.return_type, types.Complex):
            raise TypeError(f"{name} must return a real number")
        # Of a function out of a cache there is only what others link.
        module = made.library._get_module_for_linking()
        code = str(module.get_function(made.fndesc.llvm_func_name))
        if re.search(r"ret i32 (?!0\b)", code):
            raise TypeError(f"{name} calls what may raise an exception; it must not")
        return compiled
    except NumbaError as error:
        raise TypeError(f"{name} cannot be compiled for {kinds}: {error}") from None


def _check_code(name: str, function: Any) -> None:
    """TypeError for a function that says ``raise`` or ``assert``."""
    python = function.py_func if is_jitted(function) else function
    code = getattr(python, "__code__", None)
    if code is not None and any(
        instruction.opname == "RAISE_VARARGS" for instruction in dis.get_instructions(code)
    ):
        raise TypeError(f"{name} must not raise exceptions")


def _name(function: Any) -> str:
    return getattr(function, "__name__", repr(function))
