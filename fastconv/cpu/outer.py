"""A matrix product of some pixels by a block of output channels, of tiles that fit their number."""

from __future__ import annotations

from typing import Any

from .compile import compiled
from .memory import set_word, shift
from .tiles import (
    outer_narrow,
    outer_wide,
    outer_wide_ahead,
    outer_wide_half,
    outer_wide_quarter,
)


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
    onward: int,
    start: int,
    start_step: int,
    x: int,
    lines: int,
    pixels: int,
    taps: int,
    tap_count: int,
    depth: int,
    step: int,
    weights: int,
    height: int,
    wide: bool,
    clip: int,
    ahead: bool,
    far: bool,
) -> None:
    """y[goals[m]] = start[m] + sum over t, c of x[lines[m] + taps[t] + c * step] * weights[t, c]

    for pixels m, by tiles as in `tiles`; the tables of lines and goals are those of whole tiles.
    `ahead`: fetch the weights; `far`: the places of the answers.
    """
    rest, quarter = pixels % height, height // 3
    whole = pixels // height + (rest > (2 * quarter if wide else 0))
    next_places = whole - 1 if far else 0
    if whole and not wide:
        outer_narrow(
            element, y, goals, onward, start, start_step, x, lines, taps, tap_count, depth, step,
            weights, clip, whole, next_places,
        )  # fmt: skip
    elif whole and ahead:
        outer_wide_ahead(
            element, y, goals, onward, start, start_step, x, lines, taps, tap_count, depth, step,
            weights, clip, whole, next_places,
        )  # fmt: skip
    elif whole:
        outer_wide(
            element, y, goals, onward, start, start_step, x, lines, taps, tap_count, depth, step,
            weights, clip, whole, next_places,
        )  # fmt: skip
    done = whole * height
    if done >= pixels:
        return
    y, start = shift(element, y, whole * onward), shift(element, start, done * start_step)
    goals, lines = goals if onward else goals + 8 * done, lines + 8 * done
    if rest > quarter:
        outer_wide_half(
            element, y, goals, 0, start, start_step, x, lines, taps, tap_count, depth, step,
            weights, clip, 1, 0,
        )  # fmt: skip
    else:
        outer_wide_quarter(
            element, y, goals, 0, start, start_step, x, lines, taps, tap_count, depth, step,
            weights, clip, 1, 0,
        )  # fmt: skip
