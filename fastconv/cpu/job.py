"""Jobs: the numbers of one correlation, laid out for a kernel.

A job is one int64 array: a header, four axes, then tables. It holds everything that depends on the
problem; addresses come with each call. Like `lowering`, this is plain arithmetic on numbers and
arrays, so it can be compiled into nopython code.

Forms of tiles: OUTER multiplies pixels by vectors of output channels, PAIRWISE vectors of channels
by vectors of weights, PLANAR output channels by vectors of pixels; TRANSFORMED is OUTER behind a
transform that reads whole vectors of channels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from .lowering import (
    AXIS_WORDS,
    BOX,
    BOXES,
    COUNT,
    FIRST,
    GATHERED,
    OFFSETS_AT,
    PITCH,
    SIZE,
    SOURCE,
    SPAN,
    STEP,
    TAPS,
    TARGET,
    WHERE_AT,
)

OUTER, PAIRWISE, PLANAR, TRANSFORMED = range(4)

# What a caller says about channels, per group: how many, and how far apart.
(C_GROUPS, C_SOURCE, C_TARGET, C_SOURCE_STRIDE, C_TARGET_STRIDE, C_MULTIPLIER, C_WORDS) = range(7)

# What a caller says about the machine and the tile. A tile makes LINES lines times BLOCK output
# channels; a line is a pixel, or in planar form a vector of them.
# The caches are the first-level and the second-level one, in bytes.
(T_FORM, T_ITEM_SIZE, T_LANES, T_LINES, T_BLOCK, T_NEAR, T_CACHE, T_WORDS) = range(8)

# Words of a header.
(FORM, GROUPS, CHANNELS, TARGETS, MULTIPLIER, DIRECT, TAP_COUNT, DEPTH, DEPTH_STEP) = range(9)
(LANES, LINES, BLOCK, BLOCKS, BLOCK_SIZE, ACTIVATION) = range(9, 15)
(SOURCE_CHANNEL, SOURCE_GROUP, TARGET_CHANNEL, POSITION, PLANE) = range(15, 20)
(TAPS_AT, LINES_AT, GOALS_AT, STEPS_AT, SUMS_AT, BUFFER_AT, THREAD_BYTES) = range(20, 27)
(ITEMS, PACKED_SIZE, BOX_PIXELS, BOX_COUNT, EXTRA_AT, ENTER, PACK, PACKED_AT) = range(27, 35)
(EPILOGUE, PARAMETERS, OPERANDS_AT, OPERAND_SIZE, FAR, AHEAD, SUM_LINES) = range(35, 42)
(CLIP, PHASES, HEADER) = range(42, 45)

# Pixels of a box: their two tables of offsets stay within a corner of the second-level cache.
MOST_PIXELS = 4096

# Weights that the second-level cache does not keep are read again for each box, from the third
# level or from memory: a box of so many pixels is not cut, though its window be so many times too
# large. To read that from the third level takes less: 4 bytes for as many sums as a row has
# weights.
# 3x3x3, 512 to 512 channels, 98 pixels: 28 boxes 46 ms, one 11; 3x3, 49 pixels of stride 2: 7
# boxes 3.6 ms, one 2.3 (Zen 3, 2026-11).
KEPT_PIXELS, KEPT_WINDOWS = 128, 16

# The places of an output of more second-level caches than that are fetched a tile ahead. Two cores
# of Zen 4, 1x1: 32 -> 256 channels, 16 MiB: 105 -> 180 GFLOP/s; but 128 -> 512 channels, 1.6 MiB:
# 210 -> 180. Non-temporal stores instead: 50 GB/s where plain ones in a row reach 100 to 170.
FAR_CACHES = 8


# Tiles whose sums are kept until they are stored, if they are not stored at once: a few KiB.
MOST_TILES = 4

# A window's row, of each channel where channels lie apart, takes as long as one of so many bytes
# more: its first lines come from far away before the hardware fetches the others. 3x1x1, 144 to 64
# channels, 8 x 56 x 56: boxes of 1 x 49 pixels pack three planes for each; 8 x 13 took 0.89 of the
# time, channels-first 2 x 49 0.87. But 3x3 of 128 channels-first planes took 1.07 with 4 x 28
# pixels, which pack half as much as 1 x 112 (Zen 3, 2026-11).
ROW_START = 256

# Tiles read an element for each tap and block of output channels. If they do so this often, it pays
# to pack planes that push each other out of the first-level cache.
PACKED_READS = 4


@register_jitable
def correlation_job(
    axes: Any,
    offsets: Any,
    channels: Any,
    tile: Any,
    activation: int,
    items_wanted: int,
    most_pixels: int,
    by_rows: bool,
) -> Any:
    """The job for axes from `lowering`; `axes` is completed in place.

    It does as many phases as `offsets` has rows: correlations that differ only in their offsets
    along the width, and whose outputs take turns there. One box serves them all, and what they make
    of it is a row without gaps. `axes` are those of the first, but for all taps.
    There will be at least `items_wanted` work items if the problem is not too small to be cut.
    `by_rows`: for each box, tiles read weights row by row, in an order that joined taps keep.
    """
    form, lanes, item_size = tile[T_FORM], tile[T_LANES], tile[T_ITEM_SIZE]
    blocks = -(-channels[C_TARGET] // tile[T_BLOCK])
    in_buffer = channels[C_TARGET] if form == PAIRWISE else channels[C_SOURCE]
    _join_rows(axes)
    alone = channels[C_SOURCE] == 1  # a lone channel is its own neighbour
    source_channel = 1 if alone else channels[C_SOURCE_STRIDE]
    direct = _reads_in_place(axes, channels, tile, source_channel)
    position = 1
    if form != PLANAR:
        position = _position_size(in_buffer, item_size, lanes if form == PAIRWISE else 1)
    per_position = in_buffer if form == PLANAR else position
    budget = tile[T_CACHE] // 4 // item_size // per_position
    least = 4 * tile[T_LINES] * (lanes if form == PLANAR else 1)
    wanted = -(-items_wanted // (channels[C_GROUPS] * blocks))
    weights = len(offsets) * blocks * tile[T_BLOCK] * channels[C_SOURCE] * item_size
    for a in range(1, 4):
        weights *= axes[a, TAPS]
    streamed = by_rows and form == OUTER and weights > tile[T_CACHE] // 2
    kept = KEPT_PIXELS if streamed else 1
    side_by_side = channels[C_SOURCE] if source_channel == 1 and not alone else 1
    row_start = ROW_START // item_size // side_by_side
    if form == PLANAR:  # rows fill its vectors: they are cut last
        row_start = MOST_PIXELS
    phases = len(offsets)
    if not direct and phases == 1:
        _gather(axes, form, False)
    _choose_boxes(axes, budget, wanted, most_pixels, least, kept, row_start)
    if not direct and phases == 1:
        others = axes.copy()
        _gather(others, form, True)
        _choose_boxes(others, budget, wanted, most_pixels, least, kept, row_start)
        if _packed_for_each(others) < _packed_for_each(axes):
            axes[:] = others
    if form == PLANAR and axes[1, SPAN] == axes[2, SPAN] == axes[3, SPAN] == 1:
        _narrow_boxes(axes, tile[T_NEAR] * 3 // 4 // item_size // in_buffer, tile[T_LINES] * lanes)
    window = _set_pitches(axes, position, direct)
    plane = _plane_size(window, item_size) if form == PLANAR else 0
    depth_step = source_channel if direct else max(plane, 1)
    depth = 1 if form == PAIRWISE else channels[C_SOURCE]
    taps = _tap_offsets(axes, offsets[0], direct)
    for p in range(1, phases):
        taps = np.concatenate((taps, _tap_offsets(axes, offsets[p], direct)))
    w = axes[3]
    if by_rows and w[TAPS] > 1 and w[SPAN] == w[TAPS] and not w[GATHERED]:
        # Neighbouring taps in the width form one run with the channels, or with a lone channel.
        unbroken = form == OUTER and depth_step == 1 and w[PITCH] == channels[C_SOURCE]
        if unbroken or (form == PLANAR and alone):
            taps, depth, depth_step = taps[:: w[TAPS]].copy(), depth * w[TAPS], w[PITCH] // depth

    job = np.zeros(HEADER + 4 * AXIS_WORDS + len(taps) + len(offsets[0]), np.int64)
    job[FORM], job[GROUPS], job[CHANNELS] = form, channels[C_GROUPS], in_buffer
    job[TARGETS], job[MULTIPLIER], job[DIRECT] = channels[C_TARGET], channels[C_MULTIPLIER], direct
    job[TAP_COUNT], job[DEPTH], job[DEPTH_STEP] = len(taps) // phases, depth, depth_step
    job[LANES], job[LINES], job[BLOCK], job[BLOCKS] = lanes, tile[T_LINES], tile[T_BLOCK], blocks
    job[BLOCK_SIZE] = job[TAP_COUNT] * depth * tile[T_BLOCK]
    job[ACTIVATION], job[PHASES] = activation, phases
    job[SOURCE_CHANNEL], job[TARGET_CHANNEL] = source_channel, channels[C_TARGET_STRIDE]
    job[SOURCE_GROUP] = channels[C_SOURCE] * channels[C_SOURCE_STRIDE]
    job[POSITION], job[PLANE] = position, plane
    size = channels[C_GROUPS] * channels[C_TARGET] * item_size
    for a in range(4):
        size *= axes[a, COUNT]
    job[FAR] = channels[C_TARGET_STRIDE] == 1 and size > FAR_CACHES * tile[T_CACHE]
    job[AHEAD] = streamed and job[BLOCK_SIZE] * item_size > tile[T_CACHE] // 2
    job[TAPS_AT] = HEADER + 4 * AXIS_WORDS
    job[job[TAPS_AT] : job[TAPS_AT] + len(taps)] = taps
    job[job[TAPS_AT] + len(taps) :] = offsets[0]
    axes[:, OFFSETS_AT] += job[TAPS_AT] + len(taps)
    job[HEADER : job[TAPS_AT]] = axes.ravel()
    _lay_out_workspace(job, axes, item_size, 0 if direct else max(window, plane * in_buffer))
    return job


@register_jitable
def _gather(axes: Any, form: int, apart: bool) -> None:
    """Set along which axes a box holds the positions of the taps, not all from first to last.

    Where these are fewer for all outputs, or with `apart` where taps are not neighbours.
    """
    for a in range(4):
        dense = _positions(axes[a], axes[a, COUNT], 0)
        sparse = _positions(axes[a], axes[a, COUNT], 1)
        lanes_need_it = form == PLANAR and a == 3 and axes[a, STEP] > 1
        wanted = sparse < dense or (apart and axes[a, SPAN] > axes[a, TAPS])
        axes[a, GATHERED] = wanted or lanes_need_it


@register_jitable
def _packed_for_each(axes: Any) -> float:
    """Positions that a box packs for each of its outputs: taps far apart leave it few of these."""
    window, pixels = _box_size(axes)
    return window / pixels


@register_jitable
def _positions(axis: Any, outputs: int, gathered: int) -> int:
    """Buffer positions for `outputs` neighbours.

    All from the first tap to the last, or the taps.
    """
    if gathered:
        return outputs * max(axis[TAPS], 1)
    return (outputs - 1) * axis[STEP] + axis[SPAN]


@register_jitable
def _reads_in_place(axes: Any, channels: Any, tile: Any, source_channel: int) -> bool:
    """Whether tiles may read the source itself: nothing to pad, no cache sets to collide in."""
    for a in range(4):
        last = (axes[a, COUNT] - 1) * axes[a, STEP] + axes[a, FIRST] + axes[a, SPAN]
        if axes[a, FIRST] < 0 or last > axes[a, SIZE]:
            return False
    if channels[C_MULTIPLIER] > 1:
        return False
    w, item_size = axes[3], tile[T_ITEM_SIZE]
    if tile[T_FORM] == PAIRWISE:  # whole vectors are read, so the last block must be whole
        return source_channel == 1 and channels[C_TARGET] % tile[T_BLOCK] == 0
    if tile[T_FORM] == TRANSFORMED:
        return source_channel == 1 and channels[C_SOURCE] % tile[T_LANES] == 0
    # How often an element is read, and what planes of an image share of each 4096 bytes of the
    # first-level cache.
    reads = axes[1, TAPS] * axes[2, TAPS] * w[TAPS] * -(-channels[C_TARGET] // tile[T_BLOCK])
    shared = math.gcd(source_channel * item_size, 4096)
    if tile[T_FORM] == PLANAR:
        # Beside a box (`_narrow_boxes`) a quarter is left. 64 planes of 56 x 56 to 256 took 0.85
        # of the time when packed (Zen 3, 2026-11). And a row must hold a vector.
        fits = reads < PACKED_READS or channels[C_SOURCE] * shared <= tile[T_NEAR] // 4
        return w[SOURCE] == 1 and w[STEP] == 1 and w[COUNT] >= tile[T_LANES] and fits
    if source_channel == 1:
        inner = 3  # the axis along which the pixels of a tile lie
        while inner > 0 and axes[inner, COUNT] == 1:
            inner -= 1
        between = axes[inner, SOURCE] * axes[inner, STEP]
        return between * item_size % 2048 != 0 or axes[inner, COUNT] == 1
    fits = reads < PACKED_READS or channels[C_SOURCE] * max(shared, 128) <= tile[T_NEAR]
    return w[SOURCE] == 1 and shared < 1024 and fits


@register_jitable
def _position_size(channels: int, item_size: int, multiple: int) -> int:
    """Elements from one buffer position to the next.

    Positions a multiple of 2048 bytes apart fall into so few sets of the first-level cache that
    the lines of a tile push each other out: those get a cache line more.
    """
    size = -(-channels // multiple) * multiple
    return size + 64 // item_size if size * item_size % 2048 == 0 else size


@register_jitable
def _plane_size(window: int, item_size: int) -> int:
    """Elements from one channel of a planar buffer to the next, with the same care."""
    return window + 64 // item_size if window * item_size % 1024 == 0 else window


@register_jitable
def _choose_boxes(
    axes: Any,
    budget: int,
    boxes_wanted: int,
    most_pixels: int,
    least: int,
    kept: int,
    row_start: int,
) -> None:
    """Set how many outputs along each axis are worked on together.

    Their source window should have at most `budget` positions, if they are more than `kept`; there
    should be enough boxes to share among threads, and none so small that tiles stay empty: cutting
    for threads stops at `least` pixels. The result of a convolution does not depend on it.
    """
    for a in range(4):
        axes[a, BOX] = max(axes[a, COUNT], 1)
    cut = 0
    while cut >= 0:
        window, pixels = _box_size(axes)
        fits = window <= budget or (pixels <= kept and window <= KEPT_WINDOWS * budget)
        if fits and pixels <= most_pixels:
            break
        cut = _halve(axes, row_start)
    cut = 0
    while cut >= 0:
        boxes, pixels = 1, _box_size(axes)[1]
        for b in range(4):
            boxes *= -(-axes[b, COUNT] // axes[b, BOX])
        if boxes >= boxes_wanted or pixels < least:
            break
        cut = _halve(axes, row_start)
    for a in range(4):  # as many boxes, of nearly equal size
        axes[a, BOXES] = -(-axes[a, COUNT] // axes[a, BOX])
        if axes[a, BOXES]:
            axes[a, BOX] = -(-axes[a, COUNT] // axes[a, BOXES])


@register_jitable
def _box_size(axes: Any) -> Any:
    """Positions and outputs of a box."""
    window, pixels = 1, 1
    for a in range(4):
        window *= _positions(axes[a], axes[a, BOX], axes[a, GATHERED])
        pixels *= axes[a, BOX]
    return window, pixels


@register_jitable
def _halve(axes: Any, row_start: int) -> int:
    """Halve boxes along the axis where they then overlap least; returns it, or -1 if none is left.

    Of axes alike the outermost. A row counts `row_start` positions more than it has.
    """
    best, least = -1, 0.0
    for a in range(4):
        box = axes[a, BOX]
        if box == 1:
            continue
        half, start = -(-box // 2), row_start if a == 3 else 0
        whole = _positions(axes[a], box, axes[a, GATHERED]) + start
        cut = _positions(axes[a], half, axes[a, GATHERED]) + start
        growth = cut * box / (whole * half)
        if best < 0 or growth < least:
            best, least = a, growth
    if best >= 0:
        axes[best, BOX] = -(-axes[best, BOX] // 2)
    return best


@register_jitable
def _join_rows(axes: Any) -> None:
    """Let rows that follow each other without a gap be one row, if no tap leaves its pixel."""
    w = axes[3]
    for a in range(2, 0, -1):
        outer = axes[a]
        for axis in (outer, w):
            if axis[SPAN] != 1 or axis[STEP] != 1 or axis[FIRST] != 0:
                return
            if axis[COUNT] != axis[SIZE]:
                return
        if outer[COUNT] == 1:
            continue
        for place in (SOURCE, TARGET):
            if outer[place] != w[place] * w[COUNT]:
                return
        w[COUNT] *= outer[COUNT]
        w[SIZE], outer[COUNT], outer[SIZE] = w[COUNT], 1, 1


@register_jitable
def _narrow_boxes(axes: Any, budget: int, tile: int) -> None:
    """Let boxes be parts of a row that stay in the first-level cache, in whole tiles.

    A pixel that meets one tap only is not read often enough to come from farther away for each
    block of output channels.
    """
    w = axes[3]
    most = max(budget // tile, 1) * tile
    if w[BOX] <= most:
        return
    w[BOX], w[BOXES] = most, -(-w[COUNT] // most)
    for a in range(3):
        axes[a, BOX], axes[a, BOXES] = 1, axes[a, COUNT]


@register_jitable
def _set_pitches(axes: Any, position: int, direct: bool) -> int:
    """Set the elements between neighbouring positions of each axis, in the source or the buffer.

    Returns the elements of the buffer, of one channel in planar form.
    """
    pitch, where = position, 64  # the first line of the workspace is for answers
    for a in range(3, -1, -1):
        axes[a, PITCH] = axes[a, SOURCE] if direct else pitch
        positions = _positions(axes[a], axes[a, BOX], axes[a, GATHERED])
        pitch *= positions
        axes[a, WHERE_AT] = where
        where += 8 * positions
    return pitch


@register_jitable
def _tap_offsets(axes: Any, offsets: Any, direct: bool) -> Any:
    """Elements from a line to each of its taps, in the order (depth, height, width)."""
    d, h, w = axes[1], axes[2], axes[3]
    taps = np.empty(d[TAPS] * h[TAPS] * w[TAPS], np.int64)
    t = 0
    for i in range(d[TAPS]):
        for j in range(h[TAPS]):
            line = _along(d, offsets, i, direct) + _along(h, offsets, j, direct)
            for k in range(w[TAPS]):
                taps[t] = line + _along(w, offsets, k, direct)
                t += 1
    return taps


@register_jitable
def _along(axis: Any, offsets: Any, tap: int, direct: bool) -> int:
    """Elements along one axis to a tap: in the source, among gathered positions, or in a window."""
    if axis[GATHERED]:
        return tap * axis[BOX] * axis[PITCH]
    first = 0 if direct else axis[FIRST]
    return (offsets[axis[OFFSETS_AT] + tap] - first) * axis[PITCH]


@register_jitable
def _lay_out_workspace(job: Any, axes: Any, item_size: int, buffer: int) -> None:
    """Set where a thread finds its tables, sums and buffer, each on a cache line of its own."""
    pixels, where, boxes = 1, 64, 1
    for a in range(4):
        pixels *= axes[a, BOX]
        boxes *= axes[a, BOXES]
        where += 8 * _positions(axes[a], axes[a, BOX], axes[a, GATHERED])
    table = 8 * (pixels + job[LINES])
    job[SUM_LINES] = job[LINES]
    if job[FORM] == OUTER or job[FORM] == PAIRWISE:
        # Tiles whose pixels fill vectors, in which they lie behind each other in the target.
        job[SUM_LINES] *= min(MOST_TILES, job[LANES] // math.gcd(job[LANES], job[LINES]))
    sums = job[SUM_LINES] * job[PHASES] * job[BLOCK] * item_size
    if job[FORM] == PLANAR:
        sums *= job[LANES]
    job[LINES_AT] = _aligned(where)
    job[GOALS_AT] = job[LINES_AT] + _aligned(table)
    job[STEPS_AT] = job[GOALS_AT] + _aligned(table)
    job[SUMS_AT] = job[STEPS_AT] + _aligned(8 * job[LINES])
    job[BUFFER_AT] = job[SUMS_AT] + _aligned(sums)
    # Vectors may reach beyond the last position.
    slack = max(2 * job[LANES], job[BLOCK])
    job[THREAD_BYTES] = job[BUFFER_AT] + _aligned((buffer + slack) * item_size)
    job[BOX_PIXELS], job[BOX_COUNT] = pixels, boxes
    job[ITEMS] = boxes * job[GROUPS] * job[BLOCKS]
    job[PACKED_SIZE] = job[GROUPS] * job[BLOCKS] * job[BLOCK_SIZE]


@register_jitable
def _aligned(size: int) -> int:
    return -(-size // 64) * 64
