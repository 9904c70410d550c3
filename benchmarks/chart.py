"""The pictures of a report: how many times faster than the best rival, case by case."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import WIDEST, Row, geometric_mean

COLOURS = {"channels_first": "#7fb3d5", "channels_last": "#1f618d"}
LOSS = "#c0392b"
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def draw_charts(rows: Sequence[Row], folder: Path) -> list[str]:
    """One PNG for each suite with a rival; returns the file names.

    Raises ImportError if matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError('the pictures need matplotlib: pip install "fastconv[bench]"')
    suites: dict[str, list[Row]] = {}
    for row in rows:
        if row.ratio is not None and row.target == WIDEST:
            suites.setdefault(row.suite, []).append(row)
    names = []
    for suite, group in suites.items():
        names.append(f"{suite}.png")
        _draw(suite, group).savefig(folder / names[-1], dpi=85)
    return names


def _draw(suite: str, rows: Sequence[Row]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    cases = list(dict.fromkeys((_setting(row), row.problem.case.name) for row in rows))
    cases.sort(key=lambda case: case[0])
    callings = [c for c in ("functional", "planned") if any(row.calling == c for row in rows)]
    height = 1.7 + 0.26 * len(cases)
    figure = Figure(figsize=(4.2 + 3.6 * len(callings), height), layout="constrained")
    panels = figure.subplots(1, len(callings), sharey=True, squeeze=False)[0]
    limits = [row.ratio or 1.0 for row in rows]
    for panel, calling in zip(panels, callings):
        chosen = [row for row in rows if row.calling == calling]
        _panel(panel, chosen, cases, (min(limits), max(limits)))
        valid = [row.ratio for row in chosen if row.ratio is not None and not row.void]
        mean = f", geometric mean {geometric_mean(valid):.2f}" if valid else ""
        panel.set_title(calling + mean, fontsize=10)
    figure.suptitle(
        f"{suite}: time of the best rival / time of fastconv",
        x=0.01,
        ha="left",
        fontsize=12,
        weight="bold",
    )
    figure.supxlabel(
        "right of 1 fastconv is faster",
        fontsize=8,
        color="#555555",
    )
    figure.legend(
        handles=[
            *(Patch(color=c, label=name.replace("_", "-")) for name, c in COLOURS.items()),
            Patch(facecolor="white", edgecolor="#777777", hatch="////", label="void: disturbed"),
        ],
        loc="upper right",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    return figure


def _setting(row: Row) -> str:
    p = row.problem
    operation = "" if p.operation == "forward" else f"{p.operation.replace('_', ' ')} "
    return f"{operation}{p.dtype} batch {p.batch}"


def _panel(
    panel: Any, rows: Sequence[Row], cases: Sequence[tuple[str, str]], limits: tuple[float, float]
) -> None:
    places = {case: place for place, case in enumerate(cases)}
    formats = [name for name in COLOURS if any(row.memory_format == name for row in rows)]
    thickness = 0.8 / max(len(formats), 1)
    for index, memory_format in enumerate(formats):
        offset = (index - (len(formats) - 1) / 2) * thickness
        for row in rows:
            if row.memory_format != memory_format or row.ratio is None:
                continue
            place = places[_setting(row), row.problem.case.name] + offset
            colour = COLOURS[memory_format]
            panel.barh(
                place,
                row.ratio - 1,
                thickness * 0.92,
                left=1,
                color="white" if row.void else colour,
                edgecolor=colour,
                hatch="////" if row.void else None,
                linewidth=0.8,
            )
            _write_ratio(panel, row, place)
    panel.set_xscale("log")
    panel.axvline(1, color="#222222", linewidth=1)
    panel.set_xlim(min(0.8, limits[0] / 1.6), max(1.25, limits[1] * 1.6))
    low, high = panel.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    panel.set_xticks([], minor=True)
    panel.set_yticks(
        range(len(cases)), [f"{setting}  {name}" for setting, name in cases], fontsize=7
    )
    panel.set_ylim(len(cases) - 0.4, -0.6)
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    for place in range(1, len(cases)):
        if cases[place][0] != cases[place - 1][0]:
            panel.axhline(place - 0.5, color="#999999", linewidth=0.6, linestyle=":")


def _write_ratio(panel: Any, row: Row, place: float) -> None:
    assert row.ratio is not None
    wins = row.ratio >= 1
    panel.annotate(
        f"{row.ratio:.2f}",
        (row.ratio, place),
        xytext=(3 if wins else -3, 0),
        textcoords="offset points",
        ha="left" if wins else "right",
        va="center",
        fontsize=6.5,
        color="#333333" if wins else LOSS,
    )
