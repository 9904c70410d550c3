"""Runs the calls of a seed one by one in this process, and says so before each of them."""

from __future__ import annotations

import json
import math
import re
import resource
import warnings
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
from numba.core.errors import TypingError

import fastconv

from .bounds import Expected, Unjudged, differs
from .chances import Call
from .draw import draw
from .epilogues import EPILOGUES
from .expect import expected
from .nopython import calls_inside, compiles, nopython, plain
from .operands import Operand, Out

# A call may ask for more memory than that, but then it gets a MemoryError.
MEMORY = 6 << 30
NAMES = {"np": np, "math": math, "fastconv": fastconv, "Operand": Operand, "Out": Out}
NAMES["EPILOGUES"] = EPILOGUES


def _arrays(value: Any) -> Any:
    """An argument with its arrays in the places of their owners."""
    if isinstance(value, tuple):
        return tuple(map(_arrays, value))
    return value.array if isinstance(value, Operand | Out) else value


def _operands(value: Any) -> list[Operand]:
    if isinstance(value, tuple | list):
        return [operand for member in value for operand in _operands(member)]
    return [value] if isinstance(value, Operand) else []


def _run(call: Call, given: dict[str, Any]) -> Any:
    """The result of the call itself."""
    arrays = {name: _arrays(value) for name, value in given.items()}
    if call.door == "plan":
        x = arrays.pop("x")
        return fastconv.plan(**arrays)(x)
    return (partial(nopython, call.door) if call.nopython else plain(call.door))(**arrays)


def _differs_from_python(call: Call, given: dict[str, Any], result: Any) -> bool:
    """Whether the door itself gives other bits than it gave in compiled code."""
    arrays = {name: _arrays(value) for name, value in given.items()}
    if not (call.nopython and compiles(call.door, **arrays)):
        return False
    found = _bits(result)  # before `out` is written to again: others of other strides may differ
    return found != _bits(plain(call.door)(**arrays))


def _bits(result: Any) -> list[bytes]:
    """Of each array; which NaN a sum is depends on how the threads share the work."""
    arrays = [np.array(array) for array in (result if isinstance(result, tuple) else (result,))]
    for array in arrays:
        if array.dtype.kind in "fc":
            array[array != array] = math.nan
    return [array.tobytes() for array in arrays]


def _speaks(door: str, error: Exception) -> bool:
    """Whether a message says which door refuses, or is Python's own about the arguments."""
    name = re.escape(door.removeprefix("grad."))
    return bool(re.match(rf"(grad\.)?({name}): |.*unexpected keyword argument", str(error)))


def _forced_refusal(call: Call, error: Exception) -> bool:
    """Whether a named algorithm cannot do this problem."""
    return "algorithm" in call.arguments and bool(re.search(r": algorithm '\w+': ", str(error)))


def judge(call: Call) -> tuple[str, str | None]:
    """What became of a call: "right", "refused" or "no memory"; and what was wrong with that."""
    given = {name: eval(text, dict(NAMES)) for name, text in call.arguments.items()}
    operands = _operands(list(given.values()))
    try:
        result = _run(call, given)
    except (ValueError, TypeError) as error:
        if not all(operand.kept() for operand in operands):
            return "refused", "an operand or its surroundings changed"
        if call.fits and not _forced_refusal(call, error):
            return "refused", f"refused a call that fits: {error}"
        return "refused", None if _speaks(
            call.door, error
        ) else f"does not name the door: {error!r}"
    except TypingError as error:  # what the types alone tell of is refused when it is compiled
        return "refused", f"refused a call that fits: {error}" if call.fits else None
    except MemoryError as error:
        return "no memory", f"asked for too much: {error}" if call.fits else None
    if not all(operand.kept() for operand in operands):
        return "right", "an operand or its surroundings changed"
    out = given.get("out")
    if isinstance(out, Out):
        if not out.kept():
            return "right", "wrote beside out"
        if (result[0] if isinstance(result, tuple) else result) is not out.array:
            return "right", "the result is not out"
    if result is None or np.size(result[0] if isinstance(result, tuple) else result) > 10**6:
        return "unjudged", "no result" if result is None else None
    again = {  # an iterator has been used up
        name: given[name] if text.startswith(("Operand(", "Out(")) else eval(text, dict(NAMES))
        for name, text in call.arguments.items()
    }
    try:
        wanted = expected(call.door, again)
    except Unjudged:
        return "unjudged", None
    except Exception as error:
        return "right", f"accepted what makes no sense: {error!r}"
    if _differs_from_python(call, given, result):
        return "right", "other bits than from Python"
    pairs = [(result, wanted)] if isinstance(wanted, Expected) else zip(result, wanted, strict=True)
    return "right", next((why for pair in pairs if (why := differs(*pair))), None)


def work(seed: int, begin: int, end: int, tell: Any) -> None:
    """Do the calls `begin .. end`; tells each number before, each fault after it, and the sums."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("error")
    counts: Counter[str] = Counter()
    for index in range(begin, end):
        tell(index, flush=True)
        call = draw(seed, index)
        try:
            outcome, fault = judge(call)
        except Exception as error:  # of the kinds that no call may raise
            outcome, fault = "wrong error", f"{type(error).__name__}: {error}"
        counts[outcome] += 1
        if fault is not None:
            tell(json.dumps({"index": index, "fault": fault, "script": call.script()}), flush=True)
    counts["inside njit"] = calls_inside.total()
    tell(json.dumps({"counts": dict(counts)}), flush=True)
