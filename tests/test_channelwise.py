"""Sums over channels and passes with their numbers, in every mode, format and type, exactly."""

import numpy as np
import pytest

import fastconv
from fastconv.cpu.channelwise import MOMENTS, PRODUCTS, SCALED, SLOPES, Channels

SHAPES = [
    (1, 1, 1),
    (5, 3),
    (256, 7),
    (2, 1, 5),
    (3, 17, 4, 2),
    (4, 6, 9, 5),
    (2, 70, 3, 3),
    (7, 16, 1, 1),
    (3, 5, 2, 3, 4),
    (40, 3, 25, 33),
    (2, 300, 8, 9),
]


def arrays(shape, channels_last, dtype):
    """Small integers x and g, and room for a result between cells that nobody may touch."""
    random, made = np.random.default_rng(1), []
    for _ in range(3):
        room = np.full(np.prod(shape, dtype=int) + 64, np.nan, dtype)
        cells = room[32:-32]
        if channels_last:
            array = np.moveaxis(cells.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
        else:
            array = cells.reshape(shape)
        made.append((room, array))
    for _, array in made[:2]:
        array[:] = random.integers(-4, 5, shape)
    (_, x), (_, g), result = made
    return x, g, *result


def spread(values, x):
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_mode(shape, channels_last, dtype, threads):
    x, g, room, y = arrays(shape, channels_last, dtype)
    passes = Channels(shape, channels_last, x.dtype)
    numbers = [np.random.default_rng(i).integers(-3, 4, shape[1]) for i in range(4)]
    centre, slope, level, share = (spread(values, x) for values in numbers)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    away = x.astype(np.int64) - centre
    with fastconv.threads(threads):
        for mode, other in ((MOMENTS, away), (PRODUCTS, g)):
            sums = passes.sums(mode, x, g, numbers[0])
            np.testing.assert_array_equal(sums, [other.sum(axes), (other * away).sum(axes)])
        for mode, expected in (
            (SCALED, away * slope + level),
            (SLOPES, away * slope + level + g * share),
        ):
            room[:] = np.nan
            passes.scale(mode, x, g, numbers, y)
            np.testing.assert_array_equal(y, expected)
            assert np.isnan(room[:32]).all() and np.isnan(room[-32:]).all()


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_same_bits_for_every_number_of_threads(channels_last):
    shape, found = (32, 24, 17, 19), set()
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    if channels_last:
        x = fastconv.channels_last(x)
    centre = x[0, :, 0, 0].copy()
    for threads in (1, 2, 2):
        with fastconv.threads(threads):
            passes = Channels(shape, channels_last, x.dtype)
            found.add(passes.sums(PRODUCTS, x, x, centre).tobytes())
    assert len(found) == 1
