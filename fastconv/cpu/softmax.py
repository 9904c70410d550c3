"""Softmax and cross-entropy in one pass over scores, the positions in the lanes.

Scores lie as (P, C, M): planes, classes, positions side by side.

    top[m] = max over c of x[c, m]        shifted[c, m] = x[c, m] - top[m]
    sum[m] = sum over c of exp(shifted[c, m])
    target[c, m] = kept (c is the label of m) + spread
    gradient[c, m] = (exp(shifted[c, m]) / sum[m] - target[c, m]) / count
    reward[m] = sum over c of target[c, m] * shifted[c, m], NaN if the label is no class

Every position sums in its own order, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from .. import recycling
from ..machine import machine
from .compile import float_kernel, name_of
from .elementary import divide, exp, select
from .emit import i64
from .lanes import Lanes
from .launch import run, thread_count
from .memory import address_of, shift, word

# Positions of a work item.
BLOCK = 512
# Multiply-adds that a score takes as long as.
SCORE_WORK = 32

# Up to here whole numbers are exact in every element type.
MOST_CLASSES = 1 << 24

# Words of a job; numbers beside it.
(CLASSES, POSITIONS, BLOCKS) = range(3)
(KEPT, SPREAD, TOTAL) = range(3)


@intrinsic
def _block(typing: Any, element: Any, arrays: Any, numbers: Any, sizes: Any, count: Any) -> Any:
    """`count` positions of the arrays scores, labels, gradient, sum, reward.

    The `sizes` are those of the classes and of a plane.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, arrays, numbers, sizes, count = args
        e = Lanes(builder, element, i64(1), count)
        e.fused = machine().has_fma
        places = [e.at(builder.extract_value(arrays, i)) for i in range(5)]
        numbers = [e.broadcast(e.at(numbers), i) for i in (KEPT, SPREAD, TOTAL)]
        sizes = [builder.extract_value(sizes, i) for i in range(2)]
        whole = builder.sdiv(count, i64(e.lanes))
        done = e.times(whole, e.lanes)
        with e.repeat(whole) as i:
            here = [e.shift(place, e.times(i, e.lanes)) for place in places]
            _vector(e, None, here, numbers, *sizes)
        left = builder.sub(count, done)
        with builder.if_then(builder.icmp_signed(">", left, i64(0))):
            _vector(e, left, [e.shift(place, done) for place in places], numbers, *sizes)
        return context.get_dummy_value()

    return types.void(element, arrays, types.int64, sizes, types.int64), generate


def _vector(e: Lanes, alive: Any, places: Any, numbers: Any, classes: Any, plane: Any) -> None:
    """The equations for a vector of positions, of which some are alive."""
    scores, labels, gradient, *results = places
    kept, spread, total = numbers
    label = e.row(labels, 0, alive)

    def of(rows: Any, c: Any) -> Any:
        return e.shift(rows, e.times(c, plane))

    def if_label(c: Any, yes: Any, no: Any) -> Any:
        number = e.splat(e.builder.sitofp(c, e.scalar))
        return select(e, "==", label, number, yes, no)

    state = [e.row(scores, 0, alive)]
    with e.loop(classes, state) as c:
        x = e.row(of(scores, c), 0, alive)
        state[0] = e.builder.select(e.supersedes(x, state[0]), x, state[0])
    (top,) = state
    state = [e.zeros(), e.constant(math.nan), e.zeros()]  # sum, shifted of the label, all shifted
    with e.loop(classes, state) as c:
        shifted = e.subtract(e.row(of(scores, c), 0, alive), top)
        power = exp(e, shifted)
        e.put(power, of(gradient, c), e.align, alive)
        state[0] = e.add(state[0], power)
        state[1] = if_label(c, shifted, state[1])
        state[2] = e.add(state[2], shifted)
    # Without a share for all classes, one that is impossible costs nothing.
    shared = select(e, "==", spread, e.zeros(), e.zeros(), e.multiply(state[2], spread))
    reward = e.add(e.multiply(state[1], kept), shared)
    for value, result in zip((state[0], reward), results):
        e.put(value, result, e.align, alive)
    with e.loop(classes, []) as c:
        goal = of(gradient, c)
        share = divide(e, e.row(goal, 0, alive), state[0])
        target = e.add(if_label(c, kept, e.zeros()), spread)
        e.put(divide(e, e.subtract(share, target), total), goal, e.align, alive)


@float_kernel
def softmax_loss(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """The equations above; items are (plane, block of positions).

    Operands: scores, labels as elements, gradient, sum, reward, numbers.
    """
    classes, positions, blocks = word(job, CLASSES), word(job, POSITIONS), word(job, BLOCKS)
    for item in range(begin, end):
        plane, first = item // blocks, item % blocks * BLOCK
        cell, position = plane * classes * positions + first, plane * positions + first
        arrays = (
            shift(element, word(operands, 0), cell),
            shift(element, word(operands, 1), position),
            shift(element, word(operands, 2), cell),
            shift(element, word(operands, 3), position),
            shift(element, word(operands, 4), position),
        )
        count = min(BLOCK, positions - first)
        _block(element, arrays, word(operands, 5), (classes, positions), count)


def takes(scores: np.ndarray) -> bool:
    """Whether the kernel takes scores (N, C, ...) of this dtype and so many classes."""
    known = scores.dtype.isnative and name_of(scores.dtype) in softmax_loss.dtypes
    return known and scores.shape[1] < MOST_CLASSES


def softmax_loss_of(
    scores: np.ndarray, labels: np.ndarray, smoothing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradient, and sum and reward of all positions.

    `scores` are C-contiguous (P, C, M), `labels` integers (P * M,).
    """
    planes, classes, positions = scores.shape
    dtype, count = scores.dtype, planes * positions
    gradient = recycling.empty(scores.shape, dtype)
    sums, rewards = np.empty(count, dtype), np.empty(count, dtype)
    wanted = labels.astype(dtype, order="C")
    numbers = np.array([1 - smoothing, smoothing / classes, count], dtype)
    blocks = -(-positions // BLOCK)
    job = np.array([classes, positions, blocks], np.int64)
    operands = tuple(map(address_of, (scores, wanted, gradient, sums, rewards, numbers)))
    threads = thread_count(SCORE_WORK * scores.size)
    run(softmax_loss, name_of(dtype), job, operands, planes * blocks, threads)
    return gradient, sums, rewards
