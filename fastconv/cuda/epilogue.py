"""What happens to a sum before it is stored: the activation, then a user's function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..cpu.fused import identity
from .activation import activation, number
from .backend import SIMULATED, cuda
from .emit import device

# Users' functions that are told apart.
MOST_KNOWN = 256

_TEXT = "def finish(y, c, o, extras):\n    return {call}\n"


def _as_device(function: Callable) -> Any:
    """A user's function for kernels: plain, compiled for the CPU, or for the device already."""
    plain = getattr(function, "py_func", None)
    if plain is None:
        return device(function)
    if SIMULATED:
        return plain
    return function if isinstance(function, type(cuda.jit(device=True)(plain))) else device(plain)


_known: dict[Any, Callable] = {}


def same(function: Callable) -> Callable:
    """A function that was given before and does the same, so that it is not compiled anew."""
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    return _known.setdefault(identity(getattr(function, "py_func", function)), function)


def check(op: str, function: Any, parameters: int) -> None:
    """TypeError for what is no function of a sum and so many numbers."""
    plain = getattr(function, "py_func", function)
    if not inspect.isfunction(plain):
        raise TypeError(f"{op}: epilogue must be a function in Python, not {function!r}")
    try:
        inspect.signature(plain).bind(*range(1 + parameters))
    except TypeError:
        name = getattr(plain, "__name__", repr(plain))
        raise TypeError(
            f"{op}: epilogue {name} must take {1 + parameters} numbers: the sum and one of each of "
            f"the {parameters} epilogue_args"
        ) from None


@functools.lru_cache(maxsize=256)
def finish(
    compute: str, name: str | None, epilogue: Callable | None = None, places: str = ""
) -> Any:
    """The device function of (sum, channel, element of the output, extras).

    `places` says for each of the extras whether it has a value for each channel, "c", or for each
    output, "o"; that is an argument of the epilogue after the sum.
    """
    call = "activate(y)"
    space: dict[str, Any] = {"activate": activation(name, compute), "real": number(compute)}
    if epilogue is not None:
        space["f"] = _as_device(epilogue)
        values = [f"real(extras[{n}][{place}])" for n, place in enumerate(places)]
        call = f"f({', '.join([call, *values])})"
    exec(_TEXT.format(call=call), space)
    return device(space["finish"])
