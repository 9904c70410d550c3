"""Compare fastconv with the installed rivals, layer by layer, and write a report.

``python -m benchmarks.compare --suites resnet50,vgg16 --threads 2``
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import itertools
import platform
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np

import fastconv
from benchmarks import timing
from benchmarks.cases import POOL_SUITES, SUITES, ConvCase, PoolCase
from benchmarks.chart import draw_charts
from benchmarks.contest import Rules, compete
from benchmarks.ours import can_plan, our_sides
from benchmarks.peak import DTYPES
from benchmarks.problem import MEMORY_FORMATS, OPERATIONS, Problem
from benchmarks.report import Report, Row
from benchmarks.rivals import RIVALS, Rival, limit_blas, load_rivals
from benchmarks.timing import OtherLoad
from fastconv.machine import machine

ALL_SUITES: dict[str, tuple[ConvCase, ...] | tuple[PoolCase, ...]] = {**SUITES, **POOL_SUITES}
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; the status is 1 for no row, a wrong one or a missed `--min-share`."""
    options = _parse(arguments)
    threads = min(options.threads, numba.config.NUMBA_NUM_THREADS)
    fastconv.set_threads(threads)
    blas = limit_blas(threads)
    rivals, missing = load_rivals(options.rivals, threads)
    report = Report(notes=missing)
    problems = list(_problems(options, report))
    for line in report.notes:
        print(line)
    load = OtherLoad()
    block, patience = (0.001, 0.0) if options.quick else (0.02, options.patience)
    rules = Rules(threads, options.repeats, block, options.spread, patience)
    for suite, problem in _progress(problems):
        ours = our_sides(problem, options.formats, options.functional, options.planned)
        outcome = compete(suite, problem, ours, rivals, rules)
        report.rows += outcome.rows
        report.wrong += outcome.wrong
        report.notes += outcome.left_out
    report.header = _header(options, threads, rivals, blas, report.rows) | {
        "other load": f"other processes used {load.cores:.2f} cores on average"
    }
    path = _write(report, options.output, threads)
    failures = list(report.wrong)
    if not report.rows:
        failures.append("no row was timed")
    if options.min_share is not None:
        failures += check_share(report.rows, options.min_share)
    for line in failures:
        print(f"FAILED {line}")
    print(f"{len(report.rows)} rows, {sum(row.defeat for row in report.rows)} defeats: {path}")
    return 1 if failures else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    add = parser.add_argument
    add("--suites", default="resnet50,vgg16", help=f"of {', '.join(ALL_SUITES)}; or all")
    add("--batch", default="1", help="one or more sizes, as 1,16")
    add("--dtype", default="float32", help="one or both of float32,float64")
    add("--operations", default="forward", help=f"of {', '.join(OPERATIONS)}; or all")
    add("--patience", type=float, default=5.0, help="seconds to wait for other processes to end")
    add("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    add("--memory-format", default="both", choices=(*MEMORY_FORMATS, "both"))
    add("--functional", action="store_true", help="only with weights handed over at each call")
    add("--planned", action="store_true", help="only with weights packed before")
    add("--rivals", default="all", help=f"of {', '.join(RIVALS)}; or all, or none")
    add(
        "--repeats", type=int, default=timing.MINIMUM_REPEATS, help="blocks of each side, 5 or more"
    )
    add("--spread", type=float, default=timing.SPREAD_LIMIT, help="median / minimum of a void row")
    add(
        "--quick",
        action="store_true",
        help="tiny layers and blocks: tries the frame, not the speed",
    )
    add("--min-share", type=float, help="fail if a planned channels-last float32 ResNet layer of "
        "kernel 3x3 or 1x1 stays below this share of the measured peak")  # fmt: skip
    add("--output", type=Path, default=RESULTS, help="folder of REPORT.md and the charts")
    options = parser.parse_args(arguments)
    if options.repeats < timing.MINIMUM_REPEATS:
        parser.error(f"--repeats must be at least {timing.MINIMUM_REPEATS}, not {options.repeats}")
    if options.threads < 1:
        parser.error(f"--threads must be at least 1, not {options.threads}")
    options.suites = _names(parser, "--suites", options.suites, ALL_SUITES)
    options.dtype = _names(parser, "--dtype", options.dtype, DTYPES)
    options.operations = _names(parser, "--operations", options.operations, OPERATIONS)
    options.rivals = [] if options.rivals == "none" else _names(
        parser, "--rivals", options.rivals, RIVALS
    )  # fmt: skip
    try:
        options.batch = [int(size) for size in options.batch.split(",")]
    except ValueError:
        parser.error(f"--batch must be integers, not {options.batch!r}")
    both = options.memory_format == "both"
    options.formats = MEMORY_FORMATS if both else (options.memory_format,)
    if not (options.functional or options.planned):
        options.functional = options.planned = True
    return options


def _names(
    parser: argparse.ArgumentParser,
    option: str,
    text: str,
    known: Sequence[str] | Mapping[str, Any],
) -> list[str]:
    names = list(known) if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"{option}: {name!r} is not one of {', '.join(known)}")
    return names


def _problems(options: argparse.Namespace, report: Report) -> Iterator[tuple[str, Problem]]:
    """Everything that was asked for and exists; a note for each suite's rest."""
    settings = itertools.product(options.operations, options.dtype, options.batch)
    for (operation, dtype, batch), suite in itertools.product(list(settings), options.suites):
        for case in ALL_SUITES[suite]:
            problem = Problem(case.shrunk() if options.quick else case, batch, dtype, operation)
            missing = problem.missing
            if missing is None and not options.functional and not can_plan(problem):
                missing = "there is no plan of this operation"
            if missing is None:
                yield suite, problem
            elif (note := f"{suite}, {operation}: {missing}") not in report.notes:
                report.notes.append(note)


def _progress(problems: list[tuple[str, Problem]]) -> Iterator[tuple[str, Problem]]:
    """The problems, with a bar where tqdm is installed and someone looks on."""
    if importlib.util.find_spec("tqdm") is None or not sys.stderr.isatty():
        yield from problems
        return
    from tqdm import tqdm

    with tqdm(problems, unit="layer") as bar:
        for suite, problem in bar:
            bar.set_postfix_str(f"{problem.case.name} {problem.operation} {problem.dtype}")
            yield suite, problem


def _header(
    options: argparse.Namespace,
    threads: int,
    rivals: Sequence[Rival],
    blas: str,
    rows: Sequence[Row],
) -> dict[str, str]:
    """What the times depend on; no names of hosts, users or folders."""
    cpu = machine()
    header = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{describe_machine()}, level-2 cache {cpu.level2_bytes // 1024} KiB",
        "threads": f"{threads}, threading layer {numba.threading_layer()}; {blas}",
        "limits": _limits(rows),
        "fastconv": fastconv.__version__,
        "made with": f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"numba {numba.__version__}, llvmlite {llvmlite.__version__}",
        **{rival.name: f"{rival.version}: {rival.offers}" for rival in rivals},
        "rules": f"{options.repeats} blocks of each side in turn, the process idle before each; "
        f"void above median / minimum {options.spread:g} or with more than "
        f"{timing.OTHERS_LIMIT:g} cores in other hands",
    }
    if options.quick:
        header["quick"] = "tiny layers and short blocks: the times mean nothing"
    return header


def describe_machine() -> str:
    """The processor as code is compiled for it."""
    cpu = machine()
    bits = 8 * cpu.vector_bytes
    return f"{platform.machine()} {cpu.name}, {cpu.cores} cores, vectors of {bits} bits"


def _limits(rows: Sequence[Row]) -> str:
    """Median over all rows of the limits that were timed beside them."""
    found: dict[str, list[float]] = {}
    for row in rows:
        name = "copy GB/s" if row.problem.pools else f"{row.problem.dtype} GFLOP/s"
        found.setdefault(name, []).append(row.limit_rate / 1e9)
    return ", ".join(f"{name} {statistics.median(rates):.0f}" for name, rates in found.items())


def _write(report: Report, folder: Path, threads: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        pictures = draw_charts(report.rows, folder, f"{describe_machine()}, {threads} threads")
    except ImportError as reason:
        print(reason)
        report.notes.append(str(reason))
        pictures = []
    path = folder / "REPORT.md"
    path.write_text(report.markdown(pictures), encoding="utf-8")
    return path


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
