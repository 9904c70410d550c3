"""Rooflines: the rate of each layer over its arithmetic intensity, under the measured limits."""

from __future__ import annotations

import importlib.util
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import WIDEST, Row, faster_format
from benchmarks.tables import KINDS

COPIES = ((1e6, 32e6), (32e6, math.inf))  # bytes: within the caches, and beyond
COLOURS = ("#1f618d", "#7fb3d5", "#117a65", "#d68910", "#884ea0", "#c0392b", "#5d6d7e", "#17202a")


def draw_rooflines(rows: Sequence[Row], folder: Path) -> list[str]:
    """One PNG for each dtype with a forward convolution; returns the file names."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError('the pictures need matplotlib: pip install "fastconv[bench]"')
    names = []
    for dtype in ("float32", "float64"):
        chosen = [
            row
            for row in rows
            if row.target == WIDEST
            and not (row.problem.pools or row.void)
            and (row.problem.operation, row.problem.dtype) == ("forward", dtype)
        ]
        planned = [row for row in chosen if row.planned]
        unplanned = [row for row in chosen if row.problem.transposed]
        best = faster_format([*planned, *unplanned] if planned else chosen)
        if best:
            names.append(f"roofline-{dtype}.png")
            _draw(best, dtype).savefig(folder / names[-1], dpi=100)
    return names


def _draw(rows: Sequence[Row], dtype: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    panel = figure.subplots()
    for kind, colour in zip(KINDS, COLOURS):
        group = [row for row in rows if row.problem.case.kind == kind]
        if group:
            panel.scatter(
                [row.problem.flops / row.problem.moved_bytes for row in group],
                [row.rate / 1e9 for row in group],
                s=22,
                color=colour,
                label=kind,
                zorder=3,
            )
    _roof(panel, rows)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("floating-point operations of the direct sum per byte of input and output")
    panel.set_ylabel("GFLOP/s")
    panel.set_title(
        f"{dtype} convolutions, faster format, weights packed where a plan exists", fontsize=11
    )
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _roof(panel: Any, rows: Sequence[Row]) -> None:
    """The limits: slopes from the copies of two sizes, a ceiling from the multiply-adds."""
    peak = statistics.median(row.fma_rate for row in rows) / 1e9
    intensities = [row.problem.flops / row.problem.moved_bytes for row in rows]
    low, high = min(intensities) / 2, max(intensities) * 2
    for (least, most), style in zip(COPIES, ("-", "--")):
        rates = [row.copy_rate for row in rows if least <= row.problem.moved_bytes < most]
        if not rates:
            continue
        copy = statistics.median(rates) / 1e9
        steps = [low, min(max(peak / copy, low), high), high]
        size = (
            f"{least / 1e6:.0f} MB or more"
            if most == math.inf
            else f"less than {most / 1e6:.0f} MB"
        )
        label = f"copy of {size}: {copy:.0f} GB/s; multiply-adds: {peak:.0f} GFLOP/s"
        heights = [min(peak, copy * step) for step in steps]
        panel.plot(steps, heights, style, color="#222222", linewidth=1, label=label)
