"""From a geometry to a job: rank, groups, stride, dilation and phases become tables of offsets.

Every convolution here is a *correlation* over four axes (images, depth, height, width): along
axis a, output j meets tap t at source position ``j * step + offsets[t]``. A forward convolution
has ``step = stride`` and ``offsets[k] = k * dilation - padding``. An input gradient with stride s
falls into s phases per axis: each is a correlation of the output gradient with ``step = 1`` whose
taps are those weights that reach the phase. Images are an axis of one tap.

Legend: N images, C source channels of a group, K target channels of a group, J outputs of an axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..geometry import PADDING_MODES, ConvGeometry, phase_count, phase_taps
from ..machine import Machine

# Words of a job, then AXIS_WORDS for each of four axes, then the tables they point to.
(
    GROUPS,
    CHANNELS,
    TARGETS,
    MULTIPLIER,
    PAIRWISE,
    DIRECT,
    TAP_COUNT,
    DEPTH,
    STEP,
    WIDTH,
    LANES,
    HEIGHT,
    BLOCKS,
    BLOCK_SIZE,
    SOURCE_CHANNEL,
    SOURCE_GROUP,
    TARGET_CHANNEL,
    PITCH,
    ACTIVATION,
    TAPS_AT,
    SOURCE_AT,
    TARGET_AT,
    SUMS_AT,
    BUFFER_AT,
    THREAD_BYTES,
    HEADER,
) = range(26)
(
    COUNT,
    BOX,
    BOXES,
    AXIS_STEP,
    SIZE,
    MODE,
    GATHERED,
    TAPS,
    FIRST,
    SPAN,
    SOURCE,
    TARGET,
    AXIS_PITCH,
    OFFSETS_AT,
    WHERE_AT,
    AXIS_WORDS,
) = range(16)

# Pixels of a box: their two tables of offsets stay within a corner of the second-level cache.
MOST_PIXELS = 4096


@dataclass(frozen=True)
class Axis:
    """One axis of a correlation; `taps` pairs the index along the weight with the source offset."""

    count: int
    step: int
    size: int
    taps: tuple[tuple[int, int], ...]
    source: int  # elements between neighbours in the source
    target: int  # elements between neighbouring outputs in the target
    start: int = 0  # elements from the target's origin to the first output
    mode: str = "zeros"

    @property
    def first(self) -> int:
        """Smallest tap offset."""
        return min((offset for _, offset in self.taps), default=0)

    @property
    def span(self) -> int:
        """Source positions that one output may meet, from the first to the last."""
        return max((offset for _, offset in self.taps), default=0) - self.first + 1

    def positions(self, outputs: int, gathered: bool) -> int:
        """Buffer positions for `outputs` neighbours."""
        if gathered:
            return outputs * max(len(self.taps), 1)
        return (outputs - 1) * self.step + self.span

    def inside(self) -> bool:
        """Whether every tap of every output lies in the source."""
        return (
            self.first >= 0 and (self.count - 1) * self.step + self.first + self.span <= self.size
        )

    def consecutive(self) -> bool:
        """Whether the taps are neighbours in increasing order."""
        offsets = [offset for _, offset in self.taps]
        return offsets == list(range(self.first, self.first + len(offsets))) and bool(offsets)


def _axes(images: Axis, spatial: list[Axis]) -> tuple[Axis, ...]:
    """Four axes: one and two dimensions are three with unit axes."""
    unit = Axis(count=1, step=1, size=1, taps=((0, 0),), source=0, target=0)
    return (images, *[unit] * (3 - len(spatial)), *spatial)


def forward_axes(
    geometry: ConvGeometry, source: tuple[int, ...], target: tuple[int, ...]
) -> tuple[Axis, ...]:
    """Axes of the forward convolution.

    `source` and `target` are element strides (N, C, *spatial).
    """
    spatial = [
        Axis(
            count=geometry.out_size[a],
            step=geometry.stride[a],
            size=geometry.in_size[a],
            taps=tuple(
                (k, k * geometry.dilation[a] - geometry.padding[a][0])
                for k in range(geometry.kernel_size[a])
            ),
            source=source[2 + a],
            target=target[2 + a],
            mode=geometry.padding_mode,
        )
        for a in range(geometry.rank)
    ]
    return _axes(_images(geometry, source, target), spatial)


def phase_axes(
    geometry: ConvGeometry, source: tuple[int, ...], target: tuple[int, ...]
) -> Iterator[tuple[Axis, ...]]:
    """Axes of each phase of the input gradient, whose source is the output gradient."""
    phases = [range(min(s, size)) for s, size in zip(geometry.stride, geometry.in_size)]
    for chosen in itertools.product(*phases):
        spatial = []
        for a, phase in enumerate(chosen):
            s = geometry.stride[a]
            reached = phase_taps(
                phase, geometry.kernel_size[a], s, geometry.dilation[a], geometry.padding[a][0]
            )
            spatial.append(
                Axis(
                    count=phase_count(geometry.in_size[a], phase, s),
                    step=1,
                    size=geometry.out_size[a],
                    taps=tuple(sorted(reached, key=lambda tap: tap[1])),
                    source=source[2 + a],
                    target=target[2 + a] * s,
                    start=target[2 + a] * phase,
                )
            )
        yield _axes(_images(geometry, source, target), spatial)


def _images(geometry: ConvGeometry, source: tuple[int, ...], target: tuple[int, ...]) -> Axis:
    n = geometry.batch
    return Axis(count=n, step=1, size=n, taps=((0, 0),), source=source[0], target=target[0])


@dataclass(frozen=True)
class Channels:
    """The channels of a correlation, per group, and how source and target walk through them."""

    groups: int
    source: int
    target: int
    source_stride: int
    target_stride: int
    multiplier: int = 1  # outputs per source channel of a depthwise convolution
    pairwise: bool = False


@dataclass(frozen=True)
class Job:
    """The numbers of one kernel launch; `rows` has a weight offset for each (tap, channel)."""

    words: np.ndarray
    items: int
    start: int
    thread_bytes: int
    packed_size: int
    buffered: bool


def row_offsets(
    axes: tuple[Axis, ...], strides: tuple[int, ...], channels: int, step: int
) -> np.ndarray:
    """Weight offset of each reduction row (depth, height, width, channel), in that order."""
    rows = np.zeros(1, np.int64)
    for axis, stride in zip(axes[1:], strides):
        taps = np.array([k * stride for k, _ in axis.taps], np.int64)
        rows = (rows[:, None] + taps[None, :]).ravel()  # (taps so far)
    return (rows[:, None] + step * np.arange(channels, dtype=np.int64)[None, :]).ravel()


def choose_boxes(
    axes: tuple[Axis, ...],
    gathered: tuple[bool, ...],
    pitch: int,
    budget: int,
    height: int,
    items_per_box: int,
    items_wanted: int,
    most_pixels: int,
) -> tuple[int, ...]:
    """Outputs along each axis that are worked on together.

    Their source window of `pitch` elements per position should fit `budget` elements, there
    should be enough boxes to share among threads, and no box so small that tiles stay empty.
    Results do not depend on it.
    """
    box = [max(axis.count, 1) for axis in axes]

    def window(sizes: list[int]) -> int:
        return pitch * math.prod(
            axis.positions(size, flag) for axis, size, flag in zip(axes, sizes, gathered)
        )

    def items(sizes: list[int]) -> int:
        return items_per_box * math.prod(-(-axis.count // size) for axis, size in zip(axes, sizes))

    for a in range(4):
        while box[a] > 1 and (window(box) > budget or math.prod(box) > most_pixels):
            box[a] = -(-box[a] // 2)
    for a in range(4):
        while box[a] > 1 and items(box) < items_wanted and math.prod(box) >= 4 * height:
            box[a] = -(-box[a] // 2)
    # The same number of boxes, of nearly equal size.
    return tuple(
        -(-axis.count // -(-axis.count // size)) if axis.count else 1
        for axis, size in zip(axes, box)
    )


def correlation_job(
    axes: tuple[Axis, ...],
    channels: Channels,
    dtype: str,
    machine: Machine,
    height: int,
    *,
    activation: int = 0,
    items_wanted: int = 1,
    most_pixels: int = MOST_PIXELS,
    keep_taps: bool = False,
) -> Job:
    """Lay out one correlation: boxes, buffer, tables and the workspace of a thread.

    `keep_taps` forbids to join neighbouring taps with the channels into longer runs.
    """
    item_size = 4 if dtype == "float32" else 8
    lanes = machine.lanes(dtype)
    source_stride = channels.source_stride
    if channels.source == 1:  # a lone channel is its own neighbour
        channels = replace(channels, source_stride=1)
    width = 2 * lanes
    targets = channels.target
    blocks = -(-targets // width)
    in_buffer = targets if channels.pairwise else channels.source
    pitch = _pitch(in_buffer, item_size, lanes if channels.pairwise else 1)
    direct = _reads_in_place(axes, channels, item_size, width)
    gathered = tuple(
        not direct and axis.positions(axis.count, True) < axis.positions(axis.count, False)
        for axis in axes
    )
    budget = machine.level2_bytes // 4 // item_size
    box = choose_boxes(
        axes,
        gathered,
        pitch,
        budget,
        height,
        channels.groups * blocks,
        items_wanted,
        most_pixels,
    )
    strides = _window_strides(axes, box, gathered, pitch, direct)
    channel_step = channels.source_stride if direct else 1
    merged = (
        not (channels.pairwise or keep_taps)
        and channel_step == 1
        and strides[3] == channels.source
        and not gathered[3]
        and axes[3].consecutive()
    )
    taps = _tap_offsets(axes, box, gathered, strides, direct)
    depth = 1 if channels.pairwise else channels.source
    if merged:
        taps, depth = taps[:: len(axes[3].taps)], depth * len(axes[3].taps)

    words = np.zeros(HEADER + 4 * AXIS_WORDS, np.int64)
    words[GROUPS], words[CHANNELS], words[TARGETS] = channels.groups, in_buffer, targets
    words[MULTIPLIER], words[PAIRWISE] = channels.multiplier, channels.pairwise
    words[DIRECT], words[TAP_COUNT], words[DEPTH] = direct, len(taps), depth
    words[STEP] = channel_step
    words[WIDTH], words[LANES], words[HEIGHT] = width, lanes, height
    words[BLOCKS], words[BLOCK_SIZE] = blocks, len(taps) * depth * width
    words[SOURCE_CHANNEL], words[TARGET_CHANNEL] = channels.source_stride, channels.target_stride
    words[SOURCE_GROUP] = channels.source * source_stride
    words[PITCH], words[ACTIVATION] = pitch, activation
    tables = [taps]
    words[TAPS_AT] = len(words)
    table_end = len(words) + len(taps)
    where = 0
    for a, axis in enumerate(axes):
        at = HEADER + a * AXIS_WORDS
        positions = axis.positions(box[a], gathered[a])
        words[at + COUNT], words[at + BOX] = axis.count, box[a]
        words[at + BOXES] = -(-axis.count // box[a])
        words[at + AXIS_STEP], words[at + SIZE] = axis.step, axis.size
        words[at + MODE], words[at + GATHERED] = PADDING_MODES.index(axis.mode), gathered[a]
        words[at + TAPS], words[at + FIRST] = len(axis.taps), axis.first
        words[at + SPAN] = axis.span
        words[at + SOURCE], words[at + TARGET] = axis.source, axis.target
        words[at + AXIS_PITCH] = strides[a]
        words[at + OFFSETS_AT] = table_end
        words[at + WHERE_AT] = where
        tables.append(np.array([offset for _, offset in axis.taps], np.int64))
        table_end += len(axis.taps)
        where += 8 * positions
    pixels = -(-math.prod(box) // height) * height
    window = (
        0
        if direct
        else math.prod(axis.positions(size, flag) for axis, size, flag in zip(axes, box, gathered))
    )
    ends = list(
        itertools.accumulate(
            [
                where,
                8 * pixels,
                8 * pixels,
                height * width * item_size,
                (window * pitch + width) * item_size,
            ],
            lambda end, size: _aligned(end) + size,
        )
    )
    words[SOURCE_AT], words[TARGET_AT] = _aligned(ends[0]), _aligned(ends[1])
    words[SUMS_AT], words[BUFFER_AT] = _aligned(ends[2]), _aligned(ends[3])
    words[THREAD_BYTES] = _aligned(ends[4])
    boxes = math.prod(-(-axis.count // size) for axis, size in zip(axes, box))
    return Job(
        words=np.concatenate([words, *tables]),
        items=boxes * channels.groups * blocks,
        start=sum(axis.start for axis in axes),
        thread_bytes=_aligned(ends[4]),
        packed_size=channels.groups * blocks * len(taps) * depth * width,
        buffered=not direct,
    )


def _aligned(size: int) -> int:
    return -(-size // 64) * 64


def _pitch(channels: int, item_size: int, multiple: int) -> int:
    """Elements from one buffer position to the next.

    Positions a multiple of 2048 bytes apart fall into so few sets of the first-level cache that the
    lines of a tile push each other out: those get a line more.
    """
    pitch = -(-channels // multiple) * multiple
    return pitch + 64 // item_size if pitch * item_size % 2048 == 0 else pitch


def _reads_in_place(axes: tuple[Axis, ...], channels: Channels, item_size: int, width: int) -> bool:
    """Whether tiles may read the source itself: nothing to pad, and no cache sets to collide in."""
    if not all(axis.inside() for axis in axes) or channels.multiplier > 1:
        return False
    if channels.pairwise:  # whole vectors are read, so the last block must be whole as well
        return channels.source_stride == 1 and channels.target % width == 0
    if channels.source_stride == 1:
        return axes[3].source * axes[3].step * item_size % 2048 != 0 or axes[3].count == 1
    return axes[3].source == 1 and channels.source_stride * item_size % 1024 != 0


def _window_strides(
    axes: tuple[Axis, ...],
    box: tuple[int, ...],
    gathered: tuple[bool, ...],
    pitch: int,
    direct: bool,
) -> tuple[int, ...]:
    """Elements between neighbouring positions of each axis.

    In the source itself or in the buffer.
    """
    if direct:
        return tuple(axis.source for axis in axes)
    strides = [pitch]
    for axis, size, flag in zip(axes[:0:-1], box[:0:-1], gathered[:0:-1]):
        strides.insert(0, strides[0] * axis.positions(size, flag))
    return tuple(strides)


def _tap_offsets(
    axes: tuple[Axis, ...],
    box: tuple[int, ...],
    gathered: tuple[bool, ...],
    strides: tuple[int, ...],
    direct: bool,
) -> np.ndarray:
    """Elements from a pixel's line to each of its taps."""
    taps = np.zeros(1, np.int64)
    for a, axis in enumerate(axes):
        along = [
            t * box[a] if gathered[a] else offset - (0 if direct else axis.first)
            for t, (_, offset) in enumerate(axis.taps)
        ]
        taps = (taps[:, None] + strides[a] * np.array(along, np.int64)[None, :]).ravel()
    return taps


def box_pixels(job: Job) -> int:
    """Pixels of a full box."""
    return math.prod(int(job.words[HEADER + a * AXIS_WORDS + BOX]) for a in range(4))
