"""One problem, all sides: results are compared first, then times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.peak import Limit, copy_limit, fma_limit
from benchmarks.problem import Problem, Side, WrongResult
from benchmarks.rivals import Rival
from benchmarks.rows import Row
from benchmarks.timing import Timing, first_call, measure, ratio, wait_until_idle

FMA, COPY = "limit: fma", "limit: copy"
BLOCKS = (0.001, 0.02)  # seconds that a block takes, at least and at most, if a call is shorter
HOPELESS = 3.0  # times the fastest rival's time


class Rules(NamedTuple):
    """How much a problem is timed."""

    threads: int
    repeats: int
    seconds: float  # for all sides together, about
    spread_limit: float
    patience: float


class Outcome(NamedTuple):
    """What came of one problem."""

    rows: list[Row]
    wrong: list[str]  # our results that are not right
    left_out: list[str]  # rivals' results that are not right


class Entry(NamedTuple):
    """A side whose result was right."""

    memory_format: str  # of our sides
    side: Side
    first_seconds: float
    seconds: float  # of the second call, with nobody else running
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
    entries = list(_right(problem, ours, wrong))
    if not entries:
        return Outcome([], wrong, left_out)
    planned = any(entry.side.planned for entry in entries)
    sides = (("", side) for rival in rivals for side in rival.sides(problem))
    others = list(_right(problem, (s for s in sides if planned or not s[1].planned), left_out))

    def opponents(entry: Entry, timings: Mapping[str, Timing]) -> dict[str, Timing]:
        """Against a plan all count, against a function only those that pack at each call."""
        names = [o.side.name for o in others if entry.side.planned or not o.side.planned]
        return {name: timings[name] for name in names}

    def decisive(timings: Mapping[str, Timing]) -> set[str]:
        """Our sides and the best opponent of each."""
        timings = timings | once
        names = set()
        for entry in entries:
            own, against = timings[entry.side.name], opponents(entry, timings)
            names.add(entry.side.name)
            names.update(sorted(against, key=lambda name: ratio(against[name], own))[:1])
        return names - once.keys()

    once = {o.side.name: Timing((o.seconds,), o.seconds) for o in _hopeless(others, rules)}
    calls = {e.side.name: e.side.call for e in (*entries, *others) if e.side.name not in once}
    limits = _limits(problem, rules.threads)
    for name, limit in limits.items():
        limit.call()
        calls[name] = limit.call
    share = rules.seconds / rules.repeats / len(calls)
    measured = measure(
        calls,
        repeats=rules.repeats,
        block_seconds=min(max(share, BLOCKS[0]), BLOCKS[1]),
        spread_limit=rules.spread_limit,
        patience=rules.patience,
        decisive=decisive,
    )
    timings = {**measured.timings, **once}
    problem.forget()
    rates = {name: limit.work / timings[name].minimum for name, limit in limits.items()}
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
            fma_rate=rates.get(FMA, 0.0),
            copy_rate=rates[COPY],
            rivals=opponents(entry, timings),
            void=entry.side.name in measured.void,
        )
        rows.append(row if row.best_rival not in measured.void else row.as_void())
    return Outcome(rows, wrong, left_out)


def _right(
    problem: Problem, sides: Iterable[tuple[str, Side]], complaints: list[str]
) -> Iterable[Entry]:
    """The sides that compute the problem; complaints about the others.

    Whatever a side raises is a complaint too: it must not end a run of an hour.
    """
    iterator = iter(sides)
    while True:
        try:
            found = next(iterator, None)
            if found is None:
                return
            memory_format, side = found
            first_seconds, result = first_call(side.call)
            error = problem.check(side, result)
            del result
            wait_until_idle()
            seconds = first_call(side.call)[0]
        except WrongResult as reason:
            complaints.append(str(reason))
        except Exception as reason:
            name, operation = problem.case.name, problem.operation
            complaints.append(f"{name}, {operation}: {type(reason).__name__}: {reason}")
        else:
            yield Entry(memory_format, side, first_seconds, seconds, error)


def _hopeless(others: Sequence[Entry], rules: Rules) -> list[Entry]:
    """Rivals that are far from being the best, and too slow to call again and again."""
    fastest = min((o.seconds for o in others), default=0.0)
    limit = max(HOPELESS * fastest, rules.seconds / rules.repeats / 4)
    return [o for o in others if o.seconds > limit]


def _limits(problem: Problem, threads: int) -> dict[str, Limit]:
    limits = {COPY: copy_limit(threads, int(problem.moved_bytes))}
    return limits if problem.pools else limits | {FMA: fma_limit(problem.dtype, threads)}
