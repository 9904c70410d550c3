"""Leaving the engine: finished sums, pixels by channels, to where the target has them."""

from __future__ import annotations

from typing import Any

from .compile import compiled
from .memory import load, shift, store
from .transpose import transpose


@compiled
def store_run(
    element: Any,
    target: int,
    step: int,
    channel: int,
    sums: int,
    width: int,
    pixels: int,
    channels: int,
) -> None:
    """target[p * step + k * channel] = sums[p * width + k]"""
    if channel == 1:
        for p in range(pixels):
            row, goal = shift(element, sums, p * width), shift(element, target, p * step)
            for k in range(channels):
                store(element, goal, k, load(element, row, k))
    elif step == 1:
        transpose(element, sums, width, pixels, channels, target, channel)
    else:
        for k in range(channels):
            goal = shift(element, target, k * channel)
            for p in range(pixels):
                store(element, goal, p * step, load(element, sums, p * width + k))
