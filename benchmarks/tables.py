"""Rows as tables of Markdown, which a terminal shows as well."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.cases import CONV_KINDS
from benchmarks.rows import Row, faster_format, geometric_mean

FORMATS = {"channels_first": "first", "channels_last": "last"}
KINDS = (*CONV_KINDS, "pooling")


def suite_tables(rows: Sequence[Row]) -> Iterable[tuple[str, str]]:
    """(title, table) for each suite and setting, the worst ratio first."""
    for (suite, setting), group in grouped(rows, lambda row: (row.suite, row.setting)):
        yield f"{suite}: {setting}", rows_table(group)


def rows_table(rows: Sequence[Row]) -> str:
    """Every number of rows of one suite and setting, the worst ratio first."""
    pools = rows[0].problem.pools
    rivals = list(dict.fromkeys(name for row in rows for name in row.rivals))
    unit, limit = ("GB/s", "of copy") if pools else ("GFLOP/s", "of peak")
    head = (
        *("case", "format", "algorithm", "ms", "best ms", unit, limit),
        *(() if pools else ("of copy",)),
        *("first call ms", "error"),
        *(f"{name} ms" for name in rivals),
        "ratio",
    )
    body = [
        (
            row.problem.case.name,
            FORMATS[row.memory_format],
            row.algorithm,
            ms(row.timing.median),
            ms(row.timing.minimum),
            f"{row.rate / 1e9:.1f}",
            f"{row.share:.2f}",
            *(() if pools else (f"{row.copy_share:.2f}",)),
            f"{row.first_seconds * 1e3:.1f}",
            f"{row.error:.0e}",
            *(_rival_ms(row, name) for name in rivals),
            ratio_text(row),
        )
        for row in sorted(rows, key=lambda row: row.ratio or 0.0)
    ]
    return table(head, body)


def suite_means(rows: Sequence[Row]) -> str:
    """Geometric means per suite and setting."""
    head = ("suite", "setting", *_MEANS)
    groups = grouped(rows, lambda row: (row.suite, row.setting))
    return table(head, [(suite, setting, *_means(group)) for (suite, setting), group in groups])


def kind_means(rows: Sequence[Row]) -> str:
    """Geometric means per class of layers and setting, all suites and batches together."""

    def setting(row: Row) -> tuple[str, str]:
        p = row.problem
        return p.case.kind, f"{p.operation.replace('_', ' ')}, {p.dtype}, {row.calling}"

    groups = grouped(rows, setting)
    groups.sort(key=lambda group: KINDS.index(group[0][0]))
    head = ("class of layers", "setting", *_MEANS)
    return table(head, [(kind, words, *_means(group)) for (kind, words), group in groups])


_MEANS = ("first", "last", "faster of both", "of limit", "rows", "void")


def _means(group: Sequence[Row]) -> tuple[str, ...]:
    valid = [row for row in group if not row.void]
    formats = ([row for row in valid if row.memory_format == name] for name in FORMATS)
    return (
        *(mean_text(row.ratio for row in rows) for rows in formats),
        mean_text(row.ratio for row in faster_format(valid)),
        mean_text(row.share for row in valid),
        str(len(group)),
        str(len(group) - len(valid)),
    )


def mean_text(values: Iterable[float | None]) -> str:
    """Geometric mean of those that there are."""
    found = [value for value in values if value is not None]
    return f"{geometric_mean(found):.2f}" if found else "-"


def ratio_text(row: Row) -> str:
    """The ratio to the best rival, and whether it counts."""
    if row.ratio is None:
        return "void" if row.void else "-"
    return f"{row.ratio:.2f}" + (" void" if row.void else "")


def ms(seconds: float) -> str:
    """Milliseconds with three or four digits."""
    milliseconds = seconds * 1e3
    return f"{milliseconds:.4f}" if milliseconds < 0.1 else f"{milliseconds:.4g}"


def _rival_ms(row: Row, name: str) -> str:
    """A tilde marks the time of one call."""
    timing = row.rivals.get(name)
    if timing is None:
        return "-"
    return ("~" if timing.once else "") + ms(timing.median)


def grouped(
    rows: Sequence[Row], key: Callable[[Row], tuple[str, str]]
) -> list[tuple[tuple[str, str], list[Row]]]:
    """Rows with one key together, in the order in which the keys appear first."""
    order = {name: place for place, name in enumerate(dict.fromkeys(map(key, rows)))}
    ordered = sorted(rows, key=lambda row: order[key(row)])
    return [(name, list(group)) for name, group in itertools.groupby(ordered, key)]


def bullets(lines: Iterable[str]) -> str:
    """One line each."""
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[str], body: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, its columns aligned in the source too; numbers lie to the right."""
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in (head, *body)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    numeric = [
        bool(body) and all(row[i].lstrip("~")[:1].isdigit() or row[i] == "-" for row in rows[1:])
        for i in range(len(head))
    ]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(w) if right else cell.ljust(w)
            for cell, w, right in zip(row, widths, numeric)
        )
        + " |"
        for row in rows
    ]
    rule = "|".join("-" * (w + 1) + (":" if right else "-") for w, right in zip(widths, numeric))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])
