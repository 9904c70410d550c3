"""Leaving the engine: finished sums, pixels by channels, to where the target has them."""

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic

from .compile import compiled
from .emit import emitter, outlined
from .memory import load, shift, store
from .transpose import lanes_of, transpose


@intrinsic
def _put_rows(
    typing: Any,
    element: Any,
    target: Any,
    step: Any,
    sums: Any,
    width: Any,
    rows: Any,
    vectors: Any,
) -> Any:
    """target[p * step + v] = sums[p * width + v] for rows p of `vectors` whole vectors.

    As a loop over v, whose count is known at run time only, it took longer than the sums of ten
    terms (Zen 3, 2026-11).
    """

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = emitter(builder, element)
        target, step, sums, width, rows, vectors = args
        state = [e.at(target), e.at(sums)]
        with e.loop(rows, state):
            goal, row = state
            with e.loop(vectors, []) as v:
                at = e.times(v, e.lanes)
                e.store(e.load(row, at), goal, at)
            state[:] = [e.shift(goal, step), e.shift(row, width)]

    return outlined("put_rows", emit, element, target, step, sums, width, rows, vectors)


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
        vectors = channels // lanes_of(element)
        if vectors:
            _put_rows(element, target, step, sums, width, pixels, vectors)
        rest = vectors * lanes_of(element)
        if rest == channels:
            return
        for p in range(pixels):
            row, goal = shift(element, sums, p * width), shift(element, target, p * step)
            for k in range(rest, channels):
                store(element, goal, k, load(element, row, k))
    elif step == 1:
        transpose(element, sums, width, pixels, channels, target, channel)
    else:
        for k in range(channels):
            goal = shift(element, target, k * channel)
            for p in range(pixels):
                store(element, goal, p * step, load(element, sums, p * width + k))
