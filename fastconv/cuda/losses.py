"""Losses of scores that lie on the device: a thread for each row, then one sum."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .activation import number
from .arrays import DeviceArray, empty, empty_like
from .backend import cuda
from .elementwise import run
from .emit import quotient
from .launch import THREADS, Kernel, blocks_for
from .reductions import channel_sums


@functools.cache
def softmax_loss(dtype: str) -> Kernel:
    """For each row: -log softmax(scores)[label], smoothed, and its gradient over the rows.

    Element (row, k) of the scores lies at ``outer * step_outer + inner + k * step``, where inner
    counts the positions of a sample.
    """
    REAL = number(dtype)

    def kernel(  # type: ignore[no-untyped-def]
        scores, labels, losses, gradient, classes, positions, step, rows, smoothing
    ):
        share = REAL(smoothing / classes)
        factor = REAL(1.0 / rows)
        for i in range(cuda.grid(1), rows, cuda.gridsize(1)):
            sample = quotient(i, positions)
            at = sample * classes * positions + i - sample * positions
            largest = scores[at]
            for k in range(1, classes):
                value = scores[at + k * step]
                if value > largest or value != value:
                    largest = value
            total = REAL(0)
            mean = REAL(0)
            for k in range(classes):
                shifted = scores[at + k * step] - largest
                total += math.exp(shifted)
                mean += shifted
            label = labels[i]
            picked = scores[at + label * step] - largest
            reward = REAL(1 - smoothing) * picked + share * mean
            losses[i] = math.log(total) - reward
            for k in range(classes):
                wanted = share
                if k == label:
                    wanted += REAL(1 - smoothing)
                softmax = math.exp(scores[at + k * step] - largest) / total
                gradient[at + k * step] = (softmax - wanted) * factor

    arguments = [dtype, "int64", dtype, dtype, "number", "number", "number", "number", "real"]
    return Kernel(f"softmax_loss_{dtype}", kernel, arguments, THREADS)


def cross_entropy(
    scores: DeviceArray, labels: DeviceArray, smoothing: float
) -> tuple[float, DeviceArray]:
    """As `fastconv.nn.cross_entropy`, of checked (N, C, ...) and (N, ...)."""
    classes = scores.shape[1]
    flat = scores.reshape(*scores.shape[:2], -1)  # (N, C, positions)
    rows = flat.shape[0] * flat.shape[2]
    losses, gradient = empty((rows,), scores.dtype), empty_like(flat)
    targets = labels.astype(np.int64, copy=False).reshape(-1)
    softmax_loss(scores.dtype.name)(
        blocks_for(rows), flat, targets, losses, gradient, classes, flat.shape[2], flat.shape[2],
        rows, float(smoothing),
    )  # fmt: skip
    total = channel_sums(losses.reshape(-1, 1))
    return float(total.item()) / rows, gradient.reshape(scores.shape)


def _difference(guess: Any, truth: Any, factor: Any) -> Any:
    return (guess - truth) * factor


def mse_loss(prediction: DeviceArray, target: DeviceArray) -> tuple[float, DeviceArray]:
    """As `fastconv.nn.mse_loss`, of checked arrays."""
    gradient = empty_like(prediction)
    factor = 2 / prediction.size
    run("difference", _difference, gradient, prediction, target, factor)
    total = channel_sums((gradient * gradient).reshape(-1, 1))
    return float(total.item()) / factor / factor / prediction.size, gradient
