"""Measured choices: the seconds that each algorithm took for a problem, kept on the disk.

One JSON file per problem, beside the compiled kernels and so of one state of our sources. Nothing
in a file is trusted: what is not a table of times for just these algorithms is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from .cpu.compile import cache_folder

log = logging.getLogger("fastconv")

# Rounds in which every candidate has its turn, and the seconds that its turn lasts at least.
ROUNDS, TURN = 5, 2e-3


def measured(
    problem: object, candidates: Mapping[str, Callable[[], object]]
) -> tuple[dict[str, float], bool]:
    """Median seconds of a call of each candidate, and whether they were remembered.

    `problem` is whatever the times depend on; its `repr` names it.
    """
    path = _path((problem, *candidates))
    found = None if path is None else _read(path, candidates.keys())
    if found is not None:
        return found, True
    found = _measure(candidates)
    if path is not None:
        _write(path, found)
    return found, False


def _measure(candidates: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        call()  # compiles
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            call()  # wakes the threads, fetches what the others have pushed out
            start, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - start < TURN:
                call()
                count += 1
            times[name].append((time.perf_counter() - start) / count)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _path(problem: object) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    return folder / f"tuned-{hashlib.sha256(repr(problem).encode()).hexdigest()[:32]}.json"


def _read(path: Path, names: Collection[str]) -> dict[str, float] | None:
    """The times in a file; None if it is not there, or does not hold one for each name."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as reason:
        log.info("%s cannot be read: %s; measured anew", path, reason)
        return None
    if (
        isinstance(found, dict)
        and found.keys() == set(names)
        and all(map(_is_time, found.values()))
    ):
        return found
    log.info("%s holds no times of %s; measured anew", path, ", ".join(names))
    return None


def _is_time(value: object) -> bool:
    return type(value) is float and 0 < value < math.inf


def _write(path: Path, times: Mapping[str, float]) -> None:
    """All of the file or nothing of it, whoever else writes it at the same time."""
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
    except OSError as reason:
        log.info("times of algorithms are not kept: %s", reason)
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(times, file)
        os.replace(draft, path)
    except OSError as reason:
        log.info("times of algorithms are not kept: %s", reason)
        with suppress(OSError):
            os.unlink(draft)
