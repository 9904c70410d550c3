"""A matrix product of some pixels by a block of output channels, of tiles that fit their number."""

from __future__ import annotations

from typing import Any

from .compile import compiled
from .tiles import outer_narrow, outer_wide, outer_wide_half, outer_wide_quarter


@compiled
def outer(
    element: Any,
    sums: int,
    start: int,
    x: int,
    lines: int,
    rows: int,
    taps: int,
    tap_count: int,
    depth: int,
    step: int,
    weights: int,
    height: int,
    wide: bool,
) -> None:
    """sums[m] = start + sum over t, c of x[lines[m] + taps[t] + c * step] * weights[t, c]

    for `rows` <= `height` lines; the tables of lines and sums have room for a whole tile.
    """
    quarter = height // 3
    if not wide:
        outer_narrow(element, sums, start, 0, x, lines, taps, tap_count, depth, step, weights)
    elif rows > 2 * quarter:
        outer_wide(element, sums, start, 0, x, lines, taps, tap_count, depth, step, weights)
    elif rows > quarter:
        outer_wide_half(element, sums, start, 0, x, lines, taps, tap_count, depth, step, weights)
    else:
        outer_wide_quarter(element, sums, start, 0, x, lines, taps, tap_count, depth, step, weights)
