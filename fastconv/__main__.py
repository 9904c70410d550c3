"""The command line: ``python -m fastconv warmup`` and ``python -m fastconv config``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .config import show_config
from .cpu.compile import FLOATS, cache_folder
from .warmup import warmup


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser("python -m fastconv")
    commands = parser.add_subparsers(dest="command", required=True)
    compiling = commands.add_parser("warmup", help="compile everything into the disk cache")
    compiling.add_argument(
        "--dtypes",
        default=",".join(FLOATS),
        help="of float32, float64, int64; default %(default)s",
    )
    compiling.add_argument("--quiet", action="store_true", help="print nothing")
    commands.add_parser("config", help="say what this installation runs on")
    options = parser.parse_args(arguments)
    if options.command == "config":
        print(show_config())
        return 0
    if cache_folder() is None:
        parser.exit(1, "fastconv: no folder can be written, so there is nothing to warm up\n")
    try:
        seconds = warmup(options.dtypes.split(","), False if options.quiet else None)
    except ValueError as error:
        parser.error(str(error))
    if not options.quiet:
        print(f"ready after {seconds:.1f} s; cache: {cache_folder()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
