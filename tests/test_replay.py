"""Small calls that are made again: as recipes, with the results of the first ones, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from conv_cases import CASES, integers, operands
from pool_cases import PLAIN

import fastconv
from fastconv import calls as remembered
from fastconv import pooling
from fastconv.cpu.launch import SERIAL_WORK
from fastconv.cpu.replay import BEFORE_REPLAY
from fastconv.plan import MOST_LAYOUTS, OPERATIONS

SMALL = [row for row in CASES if 0 < row.geometry.multiply_adds < SERIAL_WORK]


@pytest.fixture(autouse=True)
def no_calls_before():
    """Calls of other tests are forgotten."""
    remembered.calls.clear()


def replays():
    """Of the remembered calls those that have become recipes."""
    return [call for call in remembered.calls.values() if call.again.replay is not None]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.name)
def test_the_same_bits_again(row, operation):
    """Numbers that are no integers, new ones after the recipe has been made."""
    random, first, made = np.random.default_rng(5), {}, []
    for data in (0, 1, 0, 1, 0, 1):
        if data not in first:
            arrays = operands(row, operation)
            first[data] = {
                name: random.standard_normal(x.shape, np.float32) for name, x in arrays.items()
            }
        made.append(row.run(operation, first[data]))
    for earlier, later in zip(made[:2] * 2, made[2:]):
        np.testing.assert_array_equal(earlier, later, strict=True)


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.name)
def test_plans(row):
    """On two memory formats in turns."""
    random, named = np.random.default_rng(5), operands(row, "forward")
    x, w, b = (random.standard_normal(named[name].shape) for name in ("input", "weight", "bias"))
    plan = fastconv.plan(x.shape, w, b, **row.options, dtype=np.float64)
    axis = row.channel_axis("input")
    images = x, np.moveaxis(np.moveaxis(x, axis, -1).copy(), -1, axis), np.zeros_like(x)
    first, *later = [[plan(image) for image in images] for _ in range(2 * BEFORE_REPLAY)]
    for again in later:
        for left, right in zip(first, again, strict=True):
            np.testing.assert_array_equal(left, right, strict=True)
            assert left.strides == right.strides
    assert (plan(x, out=np.full_like(first[0], np.nan)) == first[0]).all()


def test_a_plan_makes_recipes():
    """Unless it has an epilogue or much to do."""
    x, w = integers((1, 6, 9, 8)).astype(np.float32), integers((4, 3, 3, 2)).astype(np.float32)
    for options, made in (({}, True), ({"threads": 2}, False), ({"epilogue": lambda a: -a}, False)):
        plan = fastconv.plan(x.shape, w, groups=2, **options)
        for _ in range(BEFORE_REPLAY):
            plan(x)
        assert any(again.replay for again in plan._again.values()) == made


def test_a_plan_called_with_ever_other_strides():
    x, w = integers((1, 2, 9, 8)).astype(np.float32), integers((4, 2, 3, 2)).astype(np.float32)
    plan = fastconv.plan(x.shape, w)
    right = plan(x)
    for gap in range(1, 2 * MOST_LAYOUTS):
        spread = np.zeros((1, 2, 9, 8 * gap), np.float32)[..., ::gap]
        spread[...] = x
        for _ in range(BEFORE_REPLAY + 1):
            np.testing.assert_array_equal(plan(spread), right)
    assert len(plan._again) == MOST_LAYOUTS


@pytest.mark.parametrize("kind", ["max", "places", "avg"])
@pytest.mark.parametrize("row", PLAIN, ids=lambda row: row.name)
def test_poolings(row, kind):
    """Maxima, with their places too, and means."""
    random = np.random.default_rng(5)
    extras = {"return_indices": True} if kind == "places" else {}
    door = row.door("avg" if kind == "avg" else "max")
    images = [random.standard_normal(row.input) for _ in range(2)]
    made = [door(images[n % 2], **row.options, **extras) for n in range(2 * BEFORE_REPLAY + 2)]
    for earlier, later in zip(made, made[2:]):
        np.testing.assert_array_equal(earlier, later, strict=True)


def test_a_pooling_makes_recipes():
    pooling._calls.clear()
    for _ in range(BEFORE_REPLAY + 1):
        fastconv.max_pool2d(integers((2, 3, 4, 6)).astype(np.float32), 2)
    (call,) = pooling._calls.values()
    assert call.again.replay is not None


def test_recipes_are_made():
    """Without them the test above compares nothing."""
    x, w, b = (integers(shape).astype(np.float32) for shape in ((2, 3, 9, 8), (4, 3, 3, 2), (4,)))
    for number in range(BEFORE_REPLAY + 1):
        assert len(replays()) == (number == BEFORE_REPLAY)
        y = fastconv.conv2d(x, w, b, activation="relu")
    for _ in range(BEFORE_REPLAY):
        fastconv.grad.conv2d_input(x.shape, w, y)
        fastconv.grad.conv2d_weight(x, w.shape, y)
    assert len(replays()) == 3


def test_operands_that_overlap():
    """A recipe made from one array in two places serves two arrays, and the other way round."""
    x, y = (integers((3, 3, 4, 4), seed).astype(np.float32) for seed in (1, 2))
    apart = fastconv.conv2d(x, y.copy())
    same = fastconv.conv2d(x, x.copy())
    remembered.calls.clear()
    for _ in range(BEFORE_REPLAY + 1):
        np.testing.assert_array_equal(fastconv.conv2d(x, x), same)
    assert replays()
    np.testing.assert_array_equal(fastconv.conv2d(x, y), apart)


def test_what_a_recipe_was_not_made_for():
    """Other strides, dtypes, an `out`, threads, an image without a batch, a rehearsal in a jit."""
    x, w = integers((2, 3, 6, 7)).astype(np.float32), integers((4, 3, 2, 2)).astype(np.float32)
    right = fastconv.conv2d(x, w)
    for _ in range(BEFORE_REPLAY):
        fastconv.conv2d(x, w)
    assert len(replays()) == 1
    backwards = np.ascontiguousarray(w[..., ::-1])[..., ::-1]
    out = np.full_like(right, np.nan)
    assert fastconv.conv2d(x, w, out=out) is out
    for again in (
        out,
        fastconv.conv2d(x, w, threads=2),
        fastconv.conv2d(x, backwards),
        fastconv.conv2d(fastconv.channels_last(x), w),
        fastconv.conv2d(x.astype(np.float64), w.astype(np.float64)),
        fastconv.conv2d(x.astype(np.int32), w.astype(np.int32)),
        np.stack([fastconv.conv2d(image, w) for image in x]),
    ):
        np.testing.assert_array_equal(again, right)


def test_changed_numbers_are_read():
    """A recipe holds places, not numbers."""
    x, w = integers((1, 2, 5, 5)).astype(np.float32), integers((3, 2, 3, 3)).astype(np.float32)
    for scale in range(2 * BEFORE_REPLAY):
        assert (fastconv.conv2d(x, w * scale) == scale * fastconv.conv2d(x, w)).all()


IN_A_NEW_PROCESS = """
import numpy as np
from fastconv.cpu import launch
from fastconv.cpu.elementwise import CHUNK, rectify
from fastconv.cpu.program import rehearsal
from fastconv.cpu.replay import LongReplay
x, job = np.arange(-CHUNK, CHUNK, dtype=np.float32), np.zeros(1, np.int64)
y = np.zeros_like(x)
with rehearsal() as notes:
    launch.run_on(rectify, "float32", job, (x, y, x.size), 2, 2)
again = LongReplay(notes, [x, y], 2)
for sign in (1, -1):
    x *= sign
    again([x, y])
    assert (y == np.maximum(x, 0)).all()
"""


def test_many_launches_in_a_new_process():
    """On two threads, by machine code out of the cache the second time, nothing launched before."""
    environment = {**os.environ, "GOMP_SPINCOUNT": "100", "NUMBA_NUM_THREADS": "2"}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS], env=environment, check=True)
