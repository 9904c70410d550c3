"""A user's function made a kernel: ``f(sum, a, b, ...)`` over arrays that lie side by side."""

from __future__ import annotations

import ctypes
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.extending import is_jitted

from .compile import FLOATS, Kernel
from .epilogue import MOST_PARAMETERS, PER_CHANNEL, PER_OUTPUT
from .memory import address_of, load, shift, store, word
from .scalar import identity, jitted

# Functions of one process: more means that somebody makes ever new ones.
MOST_FUNCTIONS = 256

_kernels: dict[Any, Fused] = {}
_lock = threading.Lock()


class Fused(NamedTuple):
    """A compiled epilogue: its address, and how many numbers it takes beside the sum."""

    address: int
    parameters: int
    dtype: str
    kept: Any = None  # what must live as long


def fuse(op: str, function: Any, dtype: np.dtype, parameters: int) -> Fused:
    """The epilogue that a function is, compiled once for all functions of the same code.

    Raises TypeError for what is no function of so many numbers of `dtype`, or may raise.
    """
    if isinstance(function, Fused):
        return function
    if dtype.name not in FLOATS:
        raise TypeError(f"{op}: an epilogue needs float32 or float64, not {dtype}")
    if not (inspect.isfunction(function) or is_jitted(function)):
        raise TypeError(f"{op}: epilogue must be a function in Python, not {function!r}")
    if parameters > MOST_PARAMETERS:
        raise ValueError(
            f"{op}: epilogue_args must be at most {MOST_PARAMETERS} arrays, not {parameters}"
        )
    key = (identity(function), dtype.name, parameters)
    with _lock:
        known = _kernels.get(key)
        if known is None:
            known = _compile(op, function, dtype.name, parameters)
            if len(_kernels) >= MOST_FUNCTIONS:
                _kernels.clear()
            _kernels[key] = known
        return known


def kernel_source(function: Any, parameters: int) -> Callable[..., None]:
    """The kernel of a jitted function: values[i] = function(values[i], operands of i, ...).

    `table` has an address and a step for each operand. There are `end` values, in stretches of
    `begin`: the operands of stretch s lie s * begin * step elements after the address.
    """
    numbers = range(parameters)
    places = "".join(
        f"            step = word(table, {2 * j + 1})\n"
        f"            o{j} = shift(element, word(table, {2 * j}), first * step)\n"
        for j in numbers
    )
    loads = "".join(f", load(element, o{j}, i)" for j in numbers)
    # A closure: of global functions Numba takes those of equal code for the same.
    source = (
        "def make(function):\n"
        "    def epilogue(element, values, table, begin, end, thread):\n"
        "        for first in range(0, end, begin):\n"
        "            row = shift(element, values, first)\n"
        f"{places}"
        "            for i in range(min(begin, end - first)):\n"
        f"                store(element, row, i, function(load(element, row, i){loads}))\n"
        "    return epilogue\n"
    )
    namespace: dict[str, Any] = {"load": load, "store": store, "shift": shift, "word": word}
    exec(source, namespace)
    return namespace["make"](function)  # type: ignore[no-any-return]


def _compile(op: str, function: Any, dtype: str, parameters: int) -> Fused:
    jitted = jitted_epilogue(op, function, dtype, parameters)
    kernel = Kernel(kernel_source(jitted, parameters), (dtype,), on_disk=False)
    return Fused(kernel.address(dtype), parameters, dtype, (kernel, jitted))


def jitted_epilogue(op: str, function: Any, dtype: str, parameters: int) -> Any:
    """A function under `njit`, compiled and found to be fit for an epilogue."""
    meaning = f"the sum and one of each of the {parameters} epilogue_args"
    return jitted(op, "epilogue", function, dtype, 1 + parameters, meaning)


# --- Arguments ---


def as_parameters(
    op: str, arrays: Sequence[np.ndarray], channels: int, shape: tuple[int, ...], dtype: np.dtype
) -> list[np.ndarray]:
    """The arguments of an epilogue: shape (channels,) each, or that of the output; cast."""
    found = []
    for number, array in enumerate(arrays):
        if array.shape not in ((channels,), shape):
            raise ValueError(
                f"{op}: epilogue_args[{number}] must have shape ({channels},) or {shape}, not "
                f"{array.shape}"
            )
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise TypeError(
                f"{op}: epilogue_args[{number}] is {array.dtype}, which does not cast to {dtype}"
            )
        found.append(array.astype(dtype, copy=False))
    return found


def laid_out(array: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One number for each channel in C order; one for each output with the target's strides."""
    if array.ndim == 1:
        return np.ascontiguousarray(array)
    if array.strides == target.strides:
        return array
    made = like(target)
    made[...] = array
    return made


def like(target: np.ndarray) -> np.ndarray:
    """A new array of the shape and strides of `target`."""
    reaches = [(n - 1) * stride for n, stride in zip(target.shape, target.strides)]
    before = -sum(reach for reach in reaches if reach < 0) // target.itemsize
    cells = before + sum(reach for reach in reaches if reach > 0) // target.itemsize + 1
    memory = np.empty(cells, target.dtype)
    return np.lib.stride_tricks.as_strided(memory[before:], target.shape, target.strides)


def kind_of(array: np.ndarray) -> int:
    """Whether an argument has a number for each channel, or one for each output."""
    return PER_CHANNEL if array.ndim == 1 else PER_OUTPUT


def table_of(parameters: Sequence[np.ndarray], target: np.ndarray) -> np.ndarray:
    """The table that tiles read; the arrays are laid out."""
    table = []
    for array in parameters:
        address = address_of(array)
        table += [kind_of(array), address - (address_of(target) if array.ndim > 1 else 0)]
    return np.array(table, np.int64)


# --- Running ---


def run_fused(
    engine: Any,
    x: np.ndarray,
    packed: Any,
    target: np.ndarray,
    threads: int | None,
    epilogue: Fused,
    parameters: Sequence[np.ndarray],
) -> None:
    """Run an engine that has been made with an epilogue, or apply it to what another has made."""
    laid = [laid_out(array, target) for array in parameters]
    if getattr(engine, "epilogue", None) is epilogue:
        if laid:
            packed = packed._replace(parameters=table_of(laid, target))
        engine.run(x, packed, target, threads)
    else:
        engine.run(x, packed, target, threads)
        _apply(epilogue, target, laid)


_KERNEL = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)


def _apply(epilogue: Fused, target: np.ndarray, parameters: Sequence[np.ndarray]) -> None:
    """A second pass over the results."""
    values, operands = target.ravel(), np.empty((len(parameters), target.size), target.dtype)
    table = np.array([(address_of(row), 0) for row in operands], np.int64)
    beyond = (1,) * (target.ndim - 2)
    for row, array in zip(operands, parameters):
        whole = array.reshape(-1, *beyond) if array.ndim == 1 else array
        row[:] = np.broadcast_to(whole, target.shape).ravel()
    addresses = address_of(values), address_of(table)
    _KERNEL(epilogue.address)(0, *addresses, target.size, target.size, 0)
    np.copyto(target, values.reshape(target.shape))
