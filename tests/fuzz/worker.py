"""Runs the calls of a seed one by one in this process, and says so before each of them."""

from __future__ import annotations

import json
import math
import re
import resource
import warnings
from collections import Counter
from typing import Any

import numpy as np

import fastconv

from .draw import Call, Drawer
from .expect import Expected, Unjudged, differs, expected
from .operands import Operand, Out

# A call may ask for more memory than that, but then it gets a MemoryError.
MEMORY = 6 << 30
NAMES = {"np": np, "math": math, "fastconv": fastconv, "Operand": Operand, "Out": Out}


def _door(name: str) -> Any:
    found: Any = fastconv
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _run(call: Call, given: dict[str, Any]) -> Any:
    """The result of the call itself."""
    arrays = {n: v.array if isinstance(v, Operand | Out) else v for n, v in given.items()}
    if call.door == "plan":
        x = arrays.pop("x")
        return fastconv.plan(**arrays)(x)
    return _door(call.door)(**arrays)


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
    operands = [value for value in given.values() if isinstance(value, Operand)]
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
        call = Drawer(seed, index).call()
        try:
            outcome, fault = judge(call)
        except Exception as error:  # of the kinds that no call may raise
            outcome, fault = "wrong error", f"{type(error).__name__}: {error}"
        counts[outcome] += 1
        if fault is not None:
            tell(json.dumps({"index": index, "fault": fault, "script": call.script()}), flush=True)
    tell(json.dumps({"counts": dict(counts)}), flush=True)
