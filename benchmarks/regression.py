"""Kept ratios, and what became of them: times differ between machines and days, ratios do not.

A row with a rival is compared by its ratio to the best one, a row without by its share of the
measured limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.rows import Row, geometric_mean
from benchmarks.tables import table

ROW_TOLERANCE = 0.85  # of the kept ratio; single rows repeat within a tenth
MEAN_TOLERANCE = 0.95  # of a suite's geometric mean


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """The number to compare of each valid row, by its key as text."""
    return {
        "|".join(map(str, (row.suite, row.setting, row.problem.case.name, row.memory_format))): (
            row.share if row.ratio is None else row.ratio
        )
        for row in rows
        if not row.void
    }


def save_ratios(rows: Sequence[Row], path: Path) -> int:
    """Write the ratios of valid rows; how many there are."""
    found = ratios(rows)
    lines = ",\n".join(f"{json.dumps(key)}: {found[key]:.4g}" for key in sorted(found))
    path.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return len(found)


def load_ratios(path: Path) -> dict[str, float]:
    """The ratios of a file by `save_ratios`.

    Raises ValueError if it holds anything else.
    """
    kept = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(kept, dict) or not all(isinstance(v, float | int) for v in kept.values()):
        raise ValueError(f"{path}: not a file of ratios, as --save writes it")
    return {key: float(value) for key, value in kept.items()}


def compare_ratios(rows: Sequence[Row], kept: Mapping[str, float]) -> tuple[str, list[str]]:
    """A table of what changed, worst first, and a line for each thing that fell too far."""
    changes = {key: now / kept[key] for key, now in ratios(rows).items() if key in kept}
    if not changes:
        return "", ["no row of the results is among the kept ratios"]
    suites: dict[tuple[str, str], list[float]] = {}
    for key, change in changes.items():
        suite, setting, *_ = key.split("|")
        suites.setdefault((suite, setting), []).append(change)
    means = {key: geometric_mean(values) for key, values in suites.items()}
    failures = [
        f"{suite}, {setting}: ratios fell to {mean:.2f} of the kept ones"
        for (suite, setting), mean in means.items()
        if mean < MEAN_TOLERANCE
    ]
    failures += [
        f"{key.replace('|', ', ')}: the ratio fell from {kept[key]:.2f} to {change * kept[key]:.2f}"
        for key, change in changes.items()
        if change < ROW_TOLERANCE
    ]
    body = [
        (*key, f"{mean:.2f}", f"{min(suites[key]):.2f}", str(len(suites[key])))
        for key, mean in sorted(means.items(), key=lambda item: item[1])
    ]
    head = ("suite", "setting", "now over kept", "worst row", "rows")
    return table(head, body), failures
