"""Weights in the order in which blocks read them."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from .activation import number
from .arrays import DeviceArray, empty
from .backend import cuda
from .emit import quotient
from .launch import THREADS, Kernel, blocks_for
from .memory import Table

# Words of a packing job, before the weight offset of each reduction row.
(ROWS, FILLED, TARGETS, PITCH, GROUP_STEP, TARGET_STEP, OFFSETS) = range(7)


@functools.cache
def pack(dtype: str) -> Kernel:
    """packed[g, r, k] = weight[g, r, k], zero where it is filled up to whole slabs and tiles."""

    OUT = number(dtype)

    def kernel(weight, packed, job, count):  # type: ignore[no-untyped-def]
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            line = quotient(i, job[PITCH])
            k = i - line * job[PITCH]
            g = quotient(line, job[FILLED])
            r = line - g * job[FILLED]
            if r < job[ROWS] and k < job[TARGETS]:
                at = g * job[GROUP_STEP] + k * job[TARGET_STEP] + job[OFFSETS + r]
                packed[i] = weight[at]
            else:
                packed[i] = OUT(0)

    return Kernel(f"pack_{dtype}", kernel, [dtype, dtype, "int64", "number"], THREADS)


class Packing(NamedTuple):
    """The job of packing the weights of one correlation, of certain strides, to a shape."""

    shape: tuple[int, int, int]  # (groups, filled, pitch)
    words: Table


def packing(
    rows: np.ndarray,
    *,
    groups: int,
    targets: int,
    filled: int,
    pitch: int,
    group_step: int,
    target_step: int,
) -> Packing:
    """The job for reduction rows whose weights lie at the offsets `rows`."""
    words = [len(rows), filled, targets, pitch, group_step, target_step]
    job = Table(np.concatenate([np.array(words, np.int64), rows]))
    return Packing((groups, filled, pitch), job)


def pack_weights(weight: DeviceArray, job: Packing) -> DeviceArray:
    """The weights of one correlation as (groups, filled, pitch)."""
    packed = empty(job.shape, weight.dtype)
    if packed.size:
        pack(weight.dtype.name)(blocks_for(packed.size), weight, packed, job.words, packed.size)
    return packed
