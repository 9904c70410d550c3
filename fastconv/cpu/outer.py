"""A matrix product of some pixels by a block of output channels, of tiles that fit their number."""

from __future__ import annotations

from typing import Any

from .compile import compiled
from .memory import set_word
from .tiles import outer_narrow, outer_wide, outer_wide_half, outer_wide_quarter


@compiled
def set_steps(steps: int, height: int, width: int) -> None:
    """The goals of a tile whose sums lie row by row."""
    for m in range(height):
        set_word(steps, m, m * width)


@compiled
def outer(
    element: Any,
    y: int,
    goals: int,
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
    """y[goals[m]] = start + sum over t, c of x[lines[m] + taps[t] + c * step] * weights[t, c]

    for `rows` <= `height` lines; the tables of lines and goals are those of a whole tile.
    """
    quarter = height // 3
    if not wide:
        outer_narrow(element, y, goals, start, 0, x, lines, taps, tap_count, depth, step, weights)
    elif rows > 2 * quarter:
        outer_wide(element, y, goals, start, 0, x, lines, taps, tap_count, depth, step, weights)
    elif rows > quarter:
        outer_wide_half(
            element, y, goals, start, 0, x, lines, taps, tap_count, depth, step, weights
        )
    else:
        outer_wide_quarter(
            element, y, goals, start, 0, x, lines, taps, tap_count, depth, step, weights
        )
