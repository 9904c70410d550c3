"""One problem, all sides: results are compared first, then times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.peak import Limit, copy_limit, fma_limit
from benchmarks.problem import Problem, Side, WrongResult
from benchmarks.report import Row
from benchmarks.rivals import Rival
from benchmarks.timing import Timing, first_call, measure, ratio

LIMIT = "limit"


class Rules(NamedTuple):
    """What `timing.measure` is told."""

    threads: int
    repeats: int
    block_seconds: float
    spread_limit: float
    patience: float


class Outcome(NamedTuple):
    """What came of one problem."""

    rows: list[Row]
    wrong: list[str]  # our results that are not right
    left_out: list[str]  # rivals' results that are not right


class Entry(NamedTuple):
    """A side of ours whose result was right."""

    memory_format: str
    side: Side
    first_seconds: float
    error: float


def compete(
    suite: str,
    problem: Problem,
    ours: Iterable[tuple[str, Side]],
    rivals: Sequence[Rival],
    rules: Rules,
) -> Outcome:
    """A row for each of our sides; nobody whose result is wrong is timed."""
    wrong: list[str] = []
    left_out: list[str] = []
    entries = _right_entries(problem, ours, wrong)
    if not entries:
        return Outcome([], wrong, left_out)
    planned = any(entry.side.planned for entry in entries)
    others = [
        side
        for rival in rivals
        for side in rival.sides(problem)
        if (planned or not side.planned) and _is_right(problem, side, left_out)
    ]
    limit = _limit(problem, rules.threads)
    limit.call()

    def opponents(entry: Entry, timings: Mapping[str, Timing]) -> dict[str, Timing]:
        """Against a plan all count, against a function only those that pack at each call."""
        return {s.name: timings[s.name] for s in others if entry.side.planned or not s.planned}

    def decisive(timings: Mapping[str, Timing]) -> set[str]:
        """Our sides and the best opponent of each."""
        names = set()
        for entry in entries:
            own, against = timings[entry.side.name], opponents(entry, timings)
            names.add(entry.side.name)
            names.update(sorted(against, key=lambda name: ratio(against[name], own))[:1])
        return names

    calls = {side.name: side.call for side in (*(e.side for e in entries), *others)}
    measured = measure(
        calls | {LIMIT: limit.call},
        repeats=rules.repeats,
        block_seconds=rules.block_seconds,
        spread_limit=rules.spread_limit,
        patience=rules.patience,
        decisive=decisive,
    )
    timings = measured.timings
    problem.forget()
    rows = []
    for entry in entries:
        row = Row(
            suite=suite,
            problem=problem,
            memory_format=entry.memory_format,
            planned=entry.side.planned,
            algorithm=entry.side.algorithm,
            first_seconds=entry.first_seconds,
            error=entry.error,
            timing=timings[entry.side.name],
            limit_rate=limit.work / timings[LIMIT].minimum,
            rivals=opponents(entry, timings),
            void=entry.side.name in measured.void,
        )
        rows.append(row if row.best_rival not in measured.void else row.as_void())
    return Outcome(rows, wrong, left_out)


def _right_entries(
    problem: Problem, ours: Iterable[tuple[str, Side]], wrong: list[str]
) -> list[Entry]:
    entries = []
    for memory_format, side in ours:
        seconds, result = first_call(side.call)
        try:
            error = problem.check(side, result)
        except WrongResult as reason:
            wrong.append(str(reason))
        else:
            entries.append(Entry(memory_format, side, seconds, error))
    return entries


def _is_right(problem: Problem, side: Side, left_out: list[str]) -> bool:
    try:
        problem.check(side, side.call())
    except WrongResult as reason:
        left_out.append(str(reason))
        return False
    return True


def _limit(problem: Problem, threads: int) -> Limit:
    if problem.pools:
        return copy_limit(threads, int(problem.work))
    return fma_limit(problem.dtype, threads)
