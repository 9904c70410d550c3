"""Results on the disk: one file per suite and target, rewritten after every problem.

A later run of the same problem replaces its rows; `--report` and `--resume` read them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fastconv
from benchmarks.contest import Outcome
from benchmarks.problem import Problem
from benchmarks.rows import WIDEST, Row
from benchmarks.widths import TARGETS

DIGITS = 5  # of a number in a file


@dataclass
class Results:
    """All that is known of some problems."""

    header: dict[str, str] = field(default_factory=dict)  # machine, versions, rules
    rows: list[Row] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # our results that are not right
    left_out: list[str] = field(default_factory=list)  # rivals' results that are not right


class Store:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(
        self,
        suite: str,
        target: str,
        problem: Problem,
        outcome: Outcome,
        header: Mapping[str, str],
        date: str,
    ) -> list[Row]:
        """Keep what came of a problem instead of what was kept before, and return its rows.

        What was measured by other rules, versions or machines is not kept beside it.
        """
        marks = {"target": target, "date": date, "source": source_stamp()}
        rows = [replace(row, **marks) for row in outcome.rows]
        path = self._path(suite, target)
        record = _read(path)
        if record.get("header") != dict(header):
            record = {"header": dict(header), "problems": {}}
        name = "|".join((problem.case.name, problem.operation, problem.dtype, str(problem.batch)))
        kept = record["problems"].get(name, {}).get("rows", [])
        fresh = {row.key for row in rows}
        old = [row for row in _rows(kept) if row.key not in fresh]
        record["problems"][name] = {
            "rows": [row.as_record() for row in (*old, *rows)],
            "wrong": outcome.wrong,
            "left_out": outcome.left_out,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(_rounded(record)), encoding="utf-8")
        os.replace(draft, path)
        return rows

    def load(self) -> Results:
        """Everything in the folder; headers that differ between files are joined.

        Those of narrower targets are not: they tell of a machine that is only pretended.
        """
        found = Results()
        for path in sorted(self._folder.glob("*.json")):
            record = _read(path)
            header = {} if path.stem.endswith(tuple(TARGETS)) else record.get("header", {})
            for name, text in header.items():
                known = found.header.get(name)
                if known is None:
                    found.header[name] = text
                elif text not in known.split(" | "):
                    found.header[name] = f"{known} | {text}"
            for entry in record.get("problems", {}).values():
                found.rows += _rows(entry["rows"])
                found.wrong += entry["wrong"]
                found.left_out += entry["left_out"]
        return found

    def done(self, suite: str, target: str, header: Mapping[str, str]) -> set[tuple[Any, ...]]:
        """The keys of valid rows of a suite by the same rules and the same source."""
        record = _read(self._path(suite, target))
        if record.get("header") != dict(header):
            return set()
        stored = (row for entry in record["problems"].values() for row in _rows(entry["rows"]))
        return {row.key for row in stored if row.source == source_stamp() and not row.void}

    def _path(self, suite: str, target: str) -> Path:
        return self._folder / (f"{suite}.json" if target == WIDEST else f"{suite}.{target}.json")


def _read(path: Path) -> dict[str, Any]:
    """A file that cannot be read holds no results."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _rows(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [row for row in map(Row.from_record, records) if row is not None]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


@functools.cache
def source_stamp() -> str:
    """A hash of fastconv's files: results of different code are told apart."""
    package = Path(fastconv.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
