"""Calls that are remembered: what is alike is, what only looks alike is not."""

import tracemalloc

import numpy as np
import pytest

import fastconv
from fastconv.remembered import MOST, Calls, key_of

X = np.arange(2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8) % 7
W = np.arange(4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3) % 5


@pytest.mark.parametrize(
    "door",
    [
        lambda **options: fastconv.conv2d(X, W, **options),
        lambda **options: fastconv.avg_pool2d(X, 2, **options),
        lambda **options: fastconv.max_pool2d(X, 2, **options),
    ],
    ids=["conv2d", "avg_pool2d", "max_pool2d"],
)
@pytest.mark.parametrize("stride", [2.0, (2, 2.0), np.float32(2)])
def test_options_that_equal_others_are_refused_still(door, stride):
    door(stride=2)
    door(stride=(2, 2))
    with pytest.raises(TypeError, match="stride"):
        door(stride=stride)


@pytest.mark.parametrize("stride", [np.int64(2), [2, 2], np.array([2, 2])])
def test_other_spellings_are_as_good(stride):
    assert np.array_equal(fastconv.conv2d(X, W, stride=stride), fastconv.conv2d(X, W, stride=2))


def test_arrays_of_another_kind_are_looked_at_again():
    """Other dtypes, strides and classes between calls that are alike."""
    expected = fastconv.conv2d(X, W)
    for _ in range(2):
        assert np.array_equal(fastconv.conv2d(X, W), expected)
        assert np.array_equal(fastconv.conv2d(X.tolist(), W), expected)
        assert fastconv.conv2d(X.astype(np.float64), W).dtype == np.float64
        last = fastconv.conv2d(fastconv.channels_last(X), W)
        assert fastconv.arrays.is_channels_last(last) and np.array_equal(last, expected)
        swapped = X.astype(X.dtype.newbyteorder())
        assert np.array_equal(fastconv.conv2d(swapped, W), expected)
        with pytest.raises(TypeError, match="masked"):
            fastconv.conv2d(np.ma.masked_array(X, mask=False), W)


def test_precision_belongs_to_the_call():
    """What was chosen under one setting is not used under another."""
    x, w = np.zeros((1, 4, 9, 9), np.float32), np.zeros((4, 4, 3, 3), np.float32)
    x[0, 0, 4, 4] = np.inf
    for _ in range(2):
        fastconv.conv2d(x, w + 1, padding=1)
        with fastconv.precision("strict"):
            strict = fastconv.conv2d(x, w + 1, padding=1)
        assert np.isfinite(strict).sum() == 4 * (81 - 9)


def test_as_many_as_there_is_room_for():
    calls = Calls()
    for i in range(MOST + 3):
        calls.keep(key_of("op", (i,), X), i)
    assert len(calls) == 3
    assert calls.keep(None, "made") == "made" and None not in calls


@pytest.mark.parametrize("last", [False, True])
def test_a_plan_with_out_allocates_nothing(last):
    """Arrays; a few Python objects live within the call."""
    x = np.ones((1, 32, 28, 28), np.float32)
    x = fastconv.channels_last(x) if last else x
    form = "channels_last" if last else "channels_first"
    plan = fastconv.plan(
        x.shape, np.ones((32, 32, 3, 3), np.float32), padding=1, memory_format=form
    )
    out = np.empty_like(plan(x))
    plan(x, out=out)
    tracemalloc.start()
    try:
        plan(x, out=out)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        plan(x, out=out)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 4096 and after - before < 512
