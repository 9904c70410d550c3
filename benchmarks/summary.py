"""The summary of a report, which stands in README.md too, between two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import check_claims, claims_table
from benchmarks.store import Results
from benchmarks.train import training_table

BEGIN, END = "<!-- begin of the summary by benchmarks.compare -->", "<!-- end of the summary -->"


def summary(results: Results, training: Sequence[Mapping[str, Any]]) -> str:
    """Claims and training, with the machine and the day."""
    dates = sorted(row.date[:10] for row in results.rows if row.date)
    day = f"{dates[0]} to {dates[-1]}" if len(set(dates)) > 1 else "".join(dates[:1])
    machine, threads = (results.header.get(name, "?") for name in ("machine", "threads"))
    about = f"{machine}; {threads.split(';')[0]} threads; {day}. Geometric means over rows."
    parts = [about, claims_table(check_claims(results.rows))]
    return "\n\n".join([*parts, *([training_table(training)] if training else [])])


def write_summary(path: Path, text: str) -> None:
    """Put the summary between the marks of a file.

    Raises ValueError if the file lacks one of them.
    """
    old = path.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path}: the summary goes between the lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
