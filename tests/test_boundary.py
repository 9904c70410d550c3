"""Lowering and job layout are plain arithmetic: nopython code must be able to call them."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from fastconv.cpu.engine import tile_words
from fastconv.cpu.job import (
    AHEAD,
    BOX_COUNT,
    BOX_PIXELS,
    DIRECT,
    MOST_PIXELS,
    OUTER,
    PAIRWISE,
    PLANAR,
    correlation_job,
)
from fastconv.cpu.lowering import (
    BOX,
    COUNT,
    GATHERED,
    SPAN,
    forward_axes,
    geometry_words,
    lifted_strides,
    phase_axes,
    phase_total,
    reached_phases,
    row_offsets,
)
from fastconv.geometry import ConvGeometry


def lower(words, source, target, weight, channels, tile, phase):
    """Everything between a geometry and a launch; phase -1 is the forward convolution."""
    if phase < 0:
        axes, offsets, places, start = forward_axes(words, source, target)
    else:
        axes, offsets, places, start = phase_axes(words, source, target, phase)
    rows = row_offsets(axes, places, weight[2:], channels[1], weight[1])
    one = offsets.reshape(1, -1)
    return correlation_job(axes, one, channels, tile, 0, 8, MOST_PIXELS, True), rows, start


compiled = numba.njit(lower)


@pytest.mark.parametrize("form", [OUTER, PAIRWISE, PLANAR])
def test_compiled_lowering_gives_the_same_job(form):
    geometry = ConvGeometry.forward(
        "test", 2, (2, 6, 9, 11), (40, 3, 3, 2), groups=2, stride=(2, 1), padding=((1, 2), (0, 3))
    )
    words = geometry_words(geometry)
    source, target = lifted_strides((594, 99, 11, 1)), lifted_strides((2600, 65, 13, 1))
    weight = lifted_strides((18, 6, 2, 1))
    channels = np.array([2, 3, 20, 99, 65, 1], np.int64)
    tile = tile_words(form, "float32", 20)
    assert phase_total(words) == 2
    for phase in (-1, 0, 1):
        python = lower(words, source, target, weight, channels, tile, phase)
        machine = compiled(words, source, target, weight, channels, tile, phase)
        assert len(python[0]) > 90
        for one, other in zip(python, machine):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("channels", "boxes", "ahead"), [(512, 1, 1), (64, 2, 0)])
def test_weights_that_no_cache_keeps_are_read_once(channels, boxes, ahead):
    """The window of 7 x 7 outputs, stride 2, of 512 channels fills the cache; weights are 9 MB."""
    shape, weight = (1, channels, 14, 14), (channels, channels, 3, 3)
    geometry = ConvGeometry.forward("test", 2, shape, weight, stride=2, padding=1)
    source = lifted_strides((196 * channels, 1, 14 * channels, channels))
    target = lifted_strides((49 * channels, 1, 7 * channels, channels))
    axes, offsets, _, _ = forward_axes(geometry_words(geometry), source, target)
    numbers = np.array([1, channels, channels, 1, 1, 1], np.int64)
    lanes, lines, cache = 8, 6, 512 << 10
    tile = np.array([OUTER, 4, lanes, lines, 2 * lanes, 32 << 10, cache], np.int64)
    job = correlation_job(axes, offsets.reshape(1, -1), numbers, tile, 0, 8, MOST_PIXELS, True)
    assert (job[BOX_COUNT], job[AHEAD]) == (boxes, ahead)


@pytest.mark.parametrize(
    ("channels", "size", "direct", "box"),
    [(64, (56, 56), 0, 96), (256, (56, 56), 0, 24), (256, (28, 29), 1, 24), (8, (64, 64), 0, 768)],
)
def test_boxes_of_pixels_that_meet_one_tap(channels, size, direct, box):
    """Rows are joined; whole tiles of 24 pixels in 24 KiB; planes 56 * 56 * 4 bytes apart share a
    sixteenth of the sets, planes of 64 x 64 the same ones, and have too few beside a box."""
    area = size[0] * size[1]
    geometry = ConvGeometry.forward("test", 2, (1, channels, *size), (64, channels, 1, 1))
    strides = lifted_strides((area * channels, area, size[1], 1))
    axes, offsets, _, _ = forward_axes(geometry_words(geometry), strides, strides)
    numbers = np.array([1, channels, 64, area, area, 1], np.int64)
    tile = np.array([PLANAR, 4, 8, 3, 4, 32 << 10, 512 << 10], np.int64)
    job = correlation_job(axes, offsets.reshape(1, -1), numbers, tile, 0, 8, MOST_PIXELS, True)
    assert (job[DIRECT], job[BOX_PIXELS]) == (direct, box)
    assert axes[:, COUNT].tolist() == [1, 1, 1, area]


@pytest.mark.parametrize("form", [OUTER, PLANAR])
@pytest.mark.parametrize("dilation", [1, 24])
def test_boxes_of_taps_far_apart(form, dilation):
    """All positions between the taps of one output, 49 x 49 of 32 channels, fill the budget."""
    geometry = ConvGeometry.forward(
        "test", 2, (1, 32, 64, 64), (32, 32, 3, 3), dilation=dilation, padding=dilation
    )
    strides = lifted_strides((64 * 64 * 32, 64 * 64, 64, 1))
    axes, offsets, _, _ = forward_axes(geometry_words(geometry), strides, strides)
    numbers = np.array([1, 32, 32, 64 * 64, 64 * 64, 1], np.int64)
    tile = np.array([form, 4, 8, 6, 16, 32 << 10, 512 << 10], np.int64)
    job = correlation_job(axes, offsets.reshape(1, -1), numbers, tile, 0, 8, MOST_PIXELS, True)
    assert job[BOX_PIXELS] > 50
    assert axes[:, GATHERED].any() == (dilation == 24)


@pytest.mark.parametrize("form", [OUTER, PLANAR])
def test_boxes_of_volumes_have_small_borders(form):
    """Cut along the depth alone, they would be single planes: seven positions for each output."""
    geometry = ConvGeometry.forward("test", 3, (1, 1, 120, 128, 90), (1, 1, 7, 7, 7), padding=3)
    strides = lifted_strides((128 * 90 * 120, 128 * 90 * 120, 128 * 90, 90, 1))
    axes, offsets, _, _ = forward_axes(geometry_words(geometry), strides, strides)
    numbers = np.array([1, 1, 1, 1, 1, 1], np.int64)
    tile = np.array([form, 4, 8, 6, 16, 32 << 10, 512 << 10], np.int64)
    job = correlation_job(axes, offsets.reshape(1, -1), numbers, tile, 0, 8, MOST_PIXELS, True)
    assert 1000 < job[BOX_PIXELS] <= MOST_PIXELS
    assert np.prod((axes[:, BOX] - 1 + axes[:, SPAN]) / axes[:, BOX]) < 5


def test_reached_phases():
    """Stride 3 with a kernel of 2: the third row of each three gets nothing; likewise stride 4."""
    geometry = ConvGeometry.forward("test", 2, (1, 1, 9, 8), (1, 1, 2, 1), stride=(3, 4))
    words = geometry_words(geometry)
    assert phase_total(words) == 12
    assert reached_phases(words).tolist() == [0, 4]  # rows 0 and 1, column 0 of 4
    np.testing.assert_array_equal(numba.njit(reached_phases)(words), [0, 4])
