"""Compare fastconv with the installed rivals, layer by layer.

python -m benchmarks.compare --suite resnet50            times and prints a table
python -m benchmarks.compare --suite all --standard --resume --report
                                                         all that benchmarks/REPORT.md shows
python -m benchmarks.compare --device cuda               on a GPU: see `benchmarks.cuda`
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numba

import fastconv
from benchmarks.contest import Rules, compete
from benchmarks.options import parse
from benchmarks.ours import can_plan, our_sides
from benchmarks.problem import Problem
from benchmarks.regression import compare_ratios, load_ratios, save_ratios
from benchmarks.report import write_report
from benchmarks.rivals import limit_blas, load_rivals
from benchmarks.rows import WIDEST, Row
from benchmarks.setting import describe
from benchmarks.store import Store
from benchmarks.suites import ALL_SUITES, SUITES, standard_settings
from benchmarks.summary import summary, write_summary
from benchmarks.tables import suite_means, suite_tables
from benchmarks.train import load_training
from benchmarks.widths import is_restricted, run_restricted

Work = list[tuple[str, Problem]]
LONG_CALL = 30e9  # operations: a second and more on few cores


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; the status is 1 for no row, a wrong one or a missed demand."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:2] == ["--device", "cuda"]:
        from benchmarks import cuda

        return cuda.main(given[2:])
    options = parse(str(__doc__), arguments)
    store = Store(options.output)
    failures: list[str] = []
    if options.target != WIDEST and not is_restricted(options.target):
        return run_restricted(options.target, sys.argv[1:] if arguments is None else arguments)
    if options.suites:
        failures += _time(options, store)
    if options.save:
        count = save_ratios(store.load().rows, options.save)
        print(f"{count} ratios kept in {options.save}")
    if options.against:
        rows = [row for row in store.load().rows if row.suite in (options.suites or ALL_SUITES)]
        text, fallen = compare_ratios(rows, load_ratios(options.against))
        print(f"\nRatios now over kept ones\n\n{text}")
        failures += fallen
    if options.report:
        results, training = store.load(), load_training(options.output)
        write_report(results, training, options.report)
        print(f"report: {options.report}")
        if options.readme:
            write_summary(options.readme, summary(results, training))
    for line in failures:
        print(f"FAILED {line}")
    return 1 if failures else 0


def _time(options: argparse.Namespace, store: Store) -> list[str]:
    """Time what was asked for, keep it, print it; what failed."""
    threads = min(options.threads, numba.config.NUMBA_NUM_THREADS)
    fastconv.set_threads(threads)
    blas = limit_blas(threads)
    rivals, notes = load_rivals(options.rivals, threads)
    header = describe(options, threads, rivals, blas)
    problems, left = _problems(options)
    if options.resume:
        problems = _undone(problems, options, store, header)
    rules = Rules(threads, options.repeats, options.seconds, options.spread, options.patience)
    rows: list[Row] = []
    failures, deadline, done = [], time.monotonic() + (options.stop_after or float("inf")), 0
    with suppress(KeyboardInterrupt):  # what was timed is kept and printed
        for suite, problem in _progress(problems):
            if time.monotonic() > deadline:
                break
            ours = our_sides(problem, options.formats, options.functional, options.planned)
            outcome = compete(suite, problem, ours, rivals, rules)
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
            rows += store.add(suite, options.target, problem, outcome, header, now)
            failures += outcome.wrong
            notes += outcome.left_out
            done += 1
    if done < len(problems):
        notes.append(f"stopped with {len(problems) - done} problems to do: --resume goes on")
    print(f"{header['machine']}; {header['threads']}; {header['made with']}")
    print(", ".join(f"{rival.name} {rival.version}" for rival in rivals) or "no rivals")
    for title, text in suite_tables(rows):
        print(f"\n{title}\n\n{text}")
    if rows:
        print(f"\nGeometric means of the ratio to the best rival\n\n{suite_means(rows)}")
    print(f"\n{len(rows)} rows, {sum(row.defeat for row in rows)} defeats")
    for line in (*notes, *left):
        print(line)
    if not rows and not options.resume:
        failures.append("no row was timed")
    if options.min_share is not None:
        failures += check_share(rows, options.min_share)
    return failures


def _problems(options: argparse.Namespace) -> tuple[Work, list[str]]:
    """Everything that was asked for and exists; notes on the rest."""
    found: Work = []
    notes: list[str] = []
    for suite in options.suites:
        for (operation, dtype, batch), case in itertools.product(
            _settings(options, suite), ALL_SUITES[suite]
        ):
            if options.case and options.case not in case.name:
                continue
            problem = Problem(case.shrunk() if options.quick else case, batch, dtype, operation)
            missing = problem.missing
            if missing is None and options.standard and problem.flops > LONG_CALL:
                missing = f"calls of more than {LONG_CALL / 1e9:.0f} GFLOP are not standard"
            if missing is None and not options.functional and not can_plan(problem):
                missing = "there is no plan of this operation"
            if missing is None:
                found.append((suite, problem))
            elif (note := f"{operation}: {missing}") not in notes:
                notes.append(note)
    return found, notes


def _settings(options: argparse.Namespace, suite: str) -> list[tuple[str, str, int]]:
    """(operation, dtype, batch) to time in a suite."""
    if not options.standard:
        asked = (
            options.operations or ["forward"],
            options.dtype or ["float32"],
            options.batch or [1],
        )
        return list(itertools.product(*asked))
    return [
        (operation, dtype, batch)
        for operation, dtype, batch in standard_settings(suite)
        if (options.operations is None or operation in options.operations)
        and (options.dtype is None or dtype in options.dtype)
        and (options.batch is None or batch in options.batch)
    ]


def _undone(problems: Work, options: argparse.Namespace, store: Store, header: Any) -> Work:
    done = {suite: store.done(suite, options.target, header) for suite in options.suites}
    callings = [name for name in (False, True) if (options.planned if name else options.functional)]

    def keys(suite: str, p: Problem) -> Iterable[tuple[Any, ...]]:
        for memory_format, planned in itertools.product(options.formats, callings):
            if can_plan(p) or not planned:
                names = (suite, p.case.name, p.operation, p.dtype, p.batch)
                yield (*names, memory_format, planned, options.target)

    return [(s, p) for s, p in problems if not done[s].issuperset(keys(s, p))]


def _progress(problems: Work) -> Iterator[tuple[str, Problem]]:
    """The problems, with a bar where tqdm is installed and someone looks on."""
    if importlib.util.find_spec("tqdm") is None or not sys.stderr.isatty():
        yield from problems
        return
    from tqdm import tqdm

    with tqdm(problems, unit="layer") as bar:
        for suite, problem in bar:
            bar.set_postfix_str(f"{problem.case.name} {problem.operation} {problem.dtype}")
            yield suite, problem


def check_share(rows: Sequence[Row], least: float) -> list[str]:
    """A line for each ResNet layer of kernel 3x3 or 1x1 below `least` of the measured peak.

    Only planned channels-last float32 forward rows of the layers in full size count. If there is
    none, that is a line too.
    """
    kernels = {case: case.kernel for case in SUITES["resnet50"] if case.kernel in ((3, 3), (1, 1))}
    chosen = [
        row
        for row in rows
        if row.problem.case in kernels
        and row.planned
        and row.memory_format == "channels_last"
        and (row.problem.dtype, row.problem.operation) == ("float32", "forward")
    ]
    if not chosen:
        return ["no planned channels-last float32 row of resnet50 was timed"]
    return [
        f"{row.problem.case.name}, batch {row.problem.batch}: {row.share:.2f} of the measured "
        f"peak, less than {least:g}{'; the row is void' if row.void else ''}"
        for row in chosen
        if row.share < least
    ]


if __name__ == "__main__":
    sys.exit(main())
