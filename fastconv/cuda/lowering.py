"""Where every output meets every tap in memory, as tables: rank, stride and padding end here.

`fastconv.cpu.lowering` makes axes out of a geometry: along one, output j meets tap t at source
position ``j * step + offset[t]``. Here that becomes ``where[t, j]``, the element offset of that
position along the axis, or `NOWHERE` for a zero of the padding. The offset of a source element is
the sum over the axes (images apart), and it is negative if any of them is nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..cpu.lowering import (
    COUNT,
    MODE,
    OFFSETS_AT,
    SIZE,
    SOURCE,
    STEP,
    TAPS,
    TARGET,
    forward_axes,
    lifted_strides,
    phase_axes,
    phase_total,
    row_offsets,
)

# So far below zero that no sum with offsets of elements comes back, and three of them do not wrap.
NOWHERE = {False: -(1 << 29), True: -(1 << 60)}
# Arrays that reach further than this need 64-bit tables.
NEAR = 1 << 29


class Correlation(NamedTuple):
    """One correlation: a forward convolution or a phase of an input gradient.

    `where` has one table (taps, outputs) for each of depth, height and width.
    """

    images: int
    counts: tuple[int, ...]  # outputs along depth, height, width
    taps: tuple[int, ...]
    where: tuple[np.ndarray, ...]
    image_steps: tuple[int, int]  # between images of source and target
    target_steps: tuple[int, ...]
    start: int  # element of the target at which the first output lies
    places: tuple[np.ndarray, ...]  # of the taps along the weight's axes


def source_positions(positions: np.ndarray, size: int, mode: int) -> np.ndarray:
    """Where padded positions lie in an axis of `size`, -1 for a zero: see `cpu.pack`."""
    outside = (positions < 0) | (positions >= size)
    if mode == 1:  # reflect: the border cell is not repeated
        moved = np.where(positions < 0, -positions, 2 * (size - 1) - positions)
    elif mode == 2:  # replicate
        moved = np.clip(positions, 0, size - 1)
    elif mode == 3:  # circular
        moved = np.where(positions < 0, positions + size, positions - size)
    else:
        return np.where(outside, -1, positions)
    moved = np.where(outside, moved, positions)
    return np.where((moved < 0) | (moved >= size), -1, moved)


def _correlation(lowered: tuple[Any, ...], far: bool) -> Correlation:
    axes, offsets, places, start = lowered
    where, at = [], []
    for axis in axes[1:]:
        taps = slice(int(axis[OFFSETS_AT]), int(axis[OFFSETS_AT] + axis[TAPS]))
        outputs = np.arange(axis[COUNT]) * axis[STEP]
        cells = source_positions(offsets[taps, None] + outputs, int(axis[SIZE]), int(axis[MODE]))
        where.append(np.where(cells < 0, NOWHERE[far], cells * axis[SOURCE]))
        at.append(places[taps])
    d, h, w = (tuple(int(axis[word]) for axis in axes[1:]) for word in (COUNT, TAPS, TARGET))
    images = (int(axes[0][SOURCE]), int(axes[0][TARGET]))
    return Correlation(int(axes[0][COUNT]), d, h, tuple(where), images, w, int(start), tuple(at))


def correlations(
    words: np.ndarray, forward: bool, source: tuple[int, ...], target: tuple[int, ...], far: bool
) -> Iterator[Correlation]:
    """The correlations of an operation between arrays of these element strides (N, C, *spatial)."""
    lifted = lifted_strides(source), lifted_strides(target)
    if forward:
        yield _correlation(forward_axes(words, *lifted), far)
        return
    for phase in range(phase_total(words)):
        yield _correlation(phase_axes(words, *lifted, phase), far)


def weight_rows(
    words: np.ndarray, forward: bool, weight: tuple[int, ...], channels: int, channel_step: int
) -> Iterator[np.ndarray]:
    """Weight offset of every reduction row (depth, height, width, channel) of each correlation."""
    steps = lifted_strides(weight)
    if forward:
        axes, _, places, _ = forward_axes(words, steps, steps)
        yield row_offsets(axes, places, steps[2:], channels, channel_step)
        return
    for phase in range(phase_total(words)):
        axes, _, places, _ = phase_axes(words, steps, steps, phase)
        yield row_offsets(axes, places, steps[2:], channels, channel_step)
