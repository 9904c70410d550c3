"""Why a row lies below its best rival, from what was measured beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rows import Row

LAGGING = 0.9  # a ratio that asks for a cause
CALL_BOUND = 3e-5  # seconds below which the fixed cost of a call counts
SATURATED = 0.85  # of a limit


def causes(rows: Sequence[Row]) -> dict[tuple[Any, ...], str]:
    """A sentence for each valid row whose ratio is below `LAGGING`, by the row's key."""
    by_key = {row.key: row for row in rows}
    return {
        row.key: _cause(row, by_key)
        for row in rows
        if not row.void and row.ratio is not None and row.ratio < LAGGING
    }


def _cause(row: Row, by_key: Mapping[tuple[Any, ...], Row]) -> str:
    """Where we stand against the limits, then which of our own siblings does better."""
    return "; ".join((_limit(row), *_siblings(row, by_key)))


def _limit(row: Row) -> str:
    p = row.problem
    rival = row.rivals[str(row.best_rival)]
    if p.pools or row.memory_bound:
        theirs = p.moved_bytes / rival.minimum / row.copy_rate
        text = f"memory-bound: {row.copy_share:.2f} of a copy's rate, the rival {theirs:.2f}"
    else:
        theirs = p.flops / rival.minimum / row.fma_rate
        text = f"compute-bound: {row.algorithm} at {row.share:.2f} of peak, the rival {theirs:.2f}"
    if row.timing.median < CALL_BOUND:
        text += f"; the call takes only {row.timing.median * 1e6:.0f} us, fixed costs count"
    elif not p.pools and row.share < SATURATED and row.copy_share > SATURATED:
        text += f"; memory is the limit, {row.copy_share:.2f} of a copy's rate"
    return text


def _siblings(row: Row, by_key: Mapping[tuple[Any, ...], Row]) -> list[str]:
    found = []
    *front, memory_format, planned, target = row.key
    last = "channels_last"
    other = "channels_first" if memory_format == last else last
    plan = by_key.get((*front, memory_format, True, target))
    if not planned and plan is not None and plan.timing.median < 0.9 * row.timing.median:
        part = 1 - plan.timing.median / row.timing.median
        found.append(f"packing weights at each call is {part:.0%} of the time")
    turned = by_key.get((*front, other, planned, target))
    if turned is not None and turned.timing.median < 0.9 * row.timing.median:
        part = 1 - turned.timing.median / row.timing.median
        word = other.replace("_", "-")
        found.append(f"{word} arrays take {part:.0%} less ({turned.algorithm})")
    return found
