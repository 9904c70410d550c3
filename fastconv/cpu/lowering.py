"""From a geometry to correlations: rank, stride, dilation and phases become offsets of taps.

Every convolution here is a *correlation* over four axes (images, depth, height, width): along an
axis, output j meets tap t at source position ``j * step + offset[t]``. A forward convolution has
``step = stride`` and ``offset[k] = k * dilation - padding``. An input gradient with stride s falls
into s phases per axis: each is a correlation of the output gradient with ``step = 1`` whose taps
are those weights that reach the phase. Images are an axis of one tap; one and two dimensions are
three with unit axes.

All functions but the first two take plain numbers and arrays, so that they can be compiled into
nopython code as well as run from Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from ..geometry import PADDING_MODES, ConvGeometry
from ..sizes import phase_count, phase_taps

# Words of a geometry, then GEOMETRY_AXIS words for each of the axes depth, height, width.
(G_BATCH, G_IN, G_OUT, G_GROUPS, G_AXES) = range(5)
(G_SIZE, G_KERNEL, G_STRIDE, G_DILATION, G_LOW, G_MODE, G_COUNT, GEOMETRY_AXIS) = range(8)

# Words of an axis. The first group says what is computed, the second how `job` lays it out.
(COUNT, STEP, SIZE, MODE, TAPS, FIRST, SPAN, SOURCE, TARGET, OFFSETS_AT) = range(10)
(BOX, BOXES, GATHERED, PITCH, WHERE_AT, AXIS_WORDS) = range(10, 16)


def geometry_words(geometry: ConvGeometry) -> np.ndarray:
    """A geometry as numbers, its rank raised to three."""
    g = geometry
    words = [g.batch, g.in_channels, g.out_channels, g.groups]
    words += [1, 1, 1, 1, 0, 0, 1] * (3 - g.rank)
    mode = PADDING_MODES.index(g.padding_mode)
    for a in range(g.rank):
        words += [g.in_size[a], g.kernel_size[a], g.stride[a], g.dilation[a]]
        words += [g.padding[a][0], mode, g.out_size[a]]
    return np.array(words, np.int64)


def lifted_strides(strides: tuple[int, ...]) -> np.ndarray:
    """Element strides (N, C, *spatial) as (N, C, D, H, W); a unit axis has stride 0."""
    return np.array([*strides[:2], *[0] * (5 - len(strides)), *strides[2:]], np.int64)


@register_jitable
def forward_axes(g: Any, source: Any, target: Any) -> Any:
    """Axes of the forward convolution between arrays of these lifted strides.

    Returns the table of axes, the source offset of every tap, the place of every tap along the
    weight, and the element of the target at which the first output lies.
    """
    total = 1
    for a in range(3):
        total += g[G_AXES + a * GEOMETRY_AXIS + G_KERNEL]
    axes, offsets, places = _tables(g, source, target, total)
    at = 1
    for a in range(3):
        w = G_AXES + a * GEOMETRY_AXIS
        for k in range(g[w + G_KERNEL]):
            offsets[at + k], places[at + k] = k * g[w + G_DILATION] - g[w + G_LOW], k
        axis = axes[1 + a]
        axis[COUNT], axis[STEP], axis[SIZE] = g[w + G_COUNT], g[w + G_STRIDE], g[w + G_SIZE]
        axis[MODE], axis[SOURCE], axis[TARGET] = g[w + G_MODE], source[2 + a], target[2 + a]
        at = _set_taps(axis, offsets, at, g[w + G_KERNEL])
    return axes, offsets, places, 0


@register_jitable
def phase_total(g: Any) -> int:
    """Number of phases of the input gradient."""
    total = 1
    for a in range(3):
        w = G_AXES + a * GEOMETRY_AXIS
        total *= min(g[w + G_STRIDE], g[w + G_SIZE])
    return total


@register_jitable
def reached_phases(g: Any) -> Any:
    """Those phases that some weight reaches: with a kernel smaller than the stride, only a few."""
    phases = np.zeros(1, np.int64)
    for a in range(3):
        w = G_AXES + a * GEOMETRY_AXIS
        stride, count = g[w + G_STRIDE], min(g[w + G_STRIDE], g[w + G_SIZE])
        along = np.empty(count, np.int64)
        reached = 0
        for phase in range(count):
            if phase_taps(phase, g[w + G_KERNEL], stride, g[w + G_DILATION], g[w + G_LOW]):
                along[reached] = phase
                reached += 1
        phases = (phases.reshape(-1, 1) * count + along[:reached].reshape(1, -1)).ravel()
    return phases


@register_jitable
def phase_axes(g: Any, source: Any, target: Any, phase: int) -> Any:
    """Axes of one phase of the input gradient; `source` are the strides of the output gradient.

    Returns the same as `forward_axes`.
    """
    total = 1
    for a in range(3):
        total += g[G_AXES + a * GEOMETRY_AXIS + G_KERNEL]
    axes, offsets, places = _tables(g, source, target, total)
    at, start = 1, 0
    for a in range(2, -1, -1):
        w = G_AXES + a * GEOMETRY_AXIS
        stride = g[w + G_STRIDE]
        phases = min(stride, g[w + G_SIZE])
        along, phase = phase % phases, phase // phases
        reached = phase_taps(along, g[w + G_KERNEL], stride, g[w + G_DILATION], g[w + G_LOW])
        # The farthest tap of the weight is the nearest in the output gradient.
        for i in range(len(reached)):
            k, shift = reached[len(reached) - 1 - i]
            offsets[at + i], places[at + i] = shift, k
        axis = axes[1 + a]
        axis[COUNT] = phase_count(g[w + G_SIZE], along, stride)
        axis[STEP], axis[SIZE] = 1, g[w + G_COUNT]
        axis[SOURCE], axis[TARGET] = source[2 + a], target[2 + a] * stride
        start += along * target[2 + a]
        at = _set_taps(axis, offsets, at, len(reached))
    return axes, offsets, places, start


@register_jitable
def _tables(g: Any, source: Any, target: Any, total: int) -> Any:
    """Empty tables whose first axis, the images, is set."""
    axes = np.zeros((4, AXIS_WORDS), np.int64)
    axes[0, COUNT], axes[0, STEP], axes[0, SIZE] = g[G_BATCH], 1, g[G_BATCH]
    axes[0, SOURCE], axes[0, TARGET] = source[0], target[0]
    axes[0, TAPS], axes[0, SPAN] = 1, 1
    return axes, np.zeros(total, np.int64), np.zeros(total, np.int64)


@register_jitable
def _set_taps(axis: Any, offsets: Any, at: int, count: int) -> int:
    """Note where an axis has its taps, in increasing order; returns where the next ones go."""
    axis[TAPS], axis[OFFSETS_AT], axis[SPAN] = count, at, 1
    if count:
        axis[FIRST] = offsets[at]
        axis[SPAN] = offsets[at + count - 1] - offsets[at] + 1
    return at + count


@register_jitable
def row_offsets(axes: Any, places: Any, steps: Any, channels: int, channel_step: int) -> Any:
    """Weight offset of each reduction row (depth, height, width, channel), in that order.

    `steps` are the weight's strides along depth, height and width.
    """
    d, h, w = axes[1], axes[2], axes[3]
    rows = np.empty(d[TAPS] * h[TAPS] * w[TAPS] * channels, np.int64)
    r = 0
    for i in range(d[TAPS]):
        for j in range(h[TAPS]):
            for k in range(w[TAPS]):
                tap = places[d[OFFSETS_AT] + i] * steps[0] + places[h[OFFSETS_AT] + j] * steps[1]
                tap += places[w[OFFSETS_AT] + k] * steps[2]
                rows[r : r + channels] = tap + channel_step * np.arange(channels)
                r += channels
    return rows
