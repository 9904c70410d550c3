"""The arguments of `python -m benchmarks.compare`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numba

from benchmarks import timing
from benchmarks.problem import DTYPES, MEMORY_FORMATS, OPERATIONS
from benchmarks.rivals import RIVALS
from benchmarks.rows import WIDEST
from benchmarks.suites import ALL_SUITES
from benchmarks.widths import TARGETS

HERE = Path(__file__).parent


def parse(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Checked options; names as lists, `formats` as a tuple."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _what_to_time(parser)
    _how_to_time(parser)
    _what_to_do(parser)
    options = parser.parse_args(arguments)
    if options.repeats < timing.MINIMUM_REPEATS:
        parser.error(f"--repeats must be at least {timing.MINIMUM_REPEATS}, not {options.repeats}")
    for name in ("threads", "seconds", "stop_after"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} must be positive, not {value}")
    if options.suites is None:
        only_reads = options.report or options.save or options.against
        options.suites = "none" if only_reads else "resnet50,vgg16"
    options.suites = _names(parser, "--suite", options.suites, ALL_SUITES)
    if options.target != WIDEST:
        options.rivals = "none"
    options.rivals = _names(parser, "--rivals", options.rivals, RIVALS)
    for name, known in (("dtype", DTYPES), ("operations", OPERATIONS)):
        value = getattr(options, name)
        if value is not None:
            setattr(options, name, _names(parser, f"--{name}", value, known))
    if options.batch is not None:
        try:
            options.batch = [int(size) for size in options.batch.split(",")]
        except ValueError:
            parser.error(f"--batch must be integers, not {options.batch!r}")
    both = options.memory_format == "both"
    options.formats = MEMORY_FORMATS if both else (options.memory_format,)
    if not (options.functional or options.planned):
        options.functional = options.planned = True
    if options.quick:
        options.seconds, options.patience, options.output = 0.01, 0.0, options.output / "quick"
    return options


def _what_to_time(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is timed").add_argument
    add(
        "--suite", "--suites", dest="suites", metavar="NAMES",
        help=f"of {', '.join(ALL_SUITES)}; or all (default: resnet50,vgg16)",
    )  # fmt: skip
    add("--batch", help="one or more sizes, as 1,16 (default: 1)")
    add("--dtype", help="one or both of float32,float64 (default: float32)")
    add("--operations", help=f"of {', '.join(OPERATIONS)}; or all (default: forward)")
    add(
        "--standard",
        action="store_true",
        help="the batches, dtypes and operations that the report wants of each suite; "
        "--batch, --dtype and --operations pick among them",
    )
    add("--case", help="only cases whose name contains this text")
    add("--memory-format", default="both", choices=(*MEMORY_FORMATS, "both"))
    add("--functional", action="store_true", help="only with weights handed over at each call")
    add("--planned", action="store_true", help="only with weights packed before")
    add("--rivals", default="all", help=f"of {', '.join(RIVALS)}; or all, or none")


def _how_to_time(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how it is timed").add_argument
    add("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    add(
        "--repeats", type=int, default=timing.MINIMUM_REPEATS, help="blocks of each side, 5 or more"
    )
    add(
        "--seconds", type=float, default=1.5,
        help="that the calls of all sides of a problem take together, about; long calls take more",
    )  # fmt: skip
    add("--spread", type=float, default=timing.SPREAD_LIMIT, help="median / minimum of a void row")
    add(
        "--target", default=WIDEST, choices=(WIDEST, *TARGETS),
        help="compile for narrower vectors, without rivals",
    )  # fmt: skip
    add("--patience", type=float, default=5.0, help="seconds to wait for other processes to end")
    add(
        "--quick",
        action="store_true",
        help="tiny layers and blocks: tries the frame, not the speed",
    )


def _what_to_do(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("results").add_argument
    add("--output", type=Path, default=HERE / "results", help="folder of results")
    add(
        "--resume",
        action="store_true",
        help="leave out what the folder has, by the same code and rules, and is not void",
    )
    add("--stop-after", type=float, metavar="SECONDS", help="begin no problem later than that")
    add(
        "--report", type=Path, nargs="?", const=HERE / "REPORT.md", metavar="FILE",
        help="write REPORT.md and its figures from all results in the folder",
    )  # fmt: skip
    add("--readme", type=Path, metavar="FILE", help="with --report: put its summary there too")
    add("--min-share", type=float, help="fail if a planned channels-last float32 ResNet layer of "
        "kernel 3x3 or 1x1 stays below this share of the measured peak")  # fmt: skip
    add("--save", type=Path, metavar="FILE", help="keep the ratios of all results in the folder")
    add(
        "--against", type=Path, metavar="FILE",
        help="compare the ratios of all results in the folder with kept ones; fail if they fell",
    )  # fmt: skip


def _names(
    parser: argparse.ArgumentParser,
    option: str,
    text: str,
    known: Sequence[str] | Mapping[str, Any],
) -> list[str]:
    if text == "none":
        return []
    names = list(known) if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"{option}: {name!r} is not one of {', '.join(known)}")
    return names
