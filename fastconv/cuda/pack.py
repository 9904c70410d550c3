"""Weights in the order in which blocks read them."""

from __future__ import annotations

import functools

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


def pack_weights(
    weight: DeviceArray,
    rows: np.ndarray,
    *,
    groups: int,
    targets: int,
    filled: int,
    pitch: int,
    group_step: int,
    target_step: int,
) -> DeviceArray:
    """The weights of one correlation as (groups, filled, pitch); `rows` are their offsets."""
    words = [len(rows), filled, targets, pitch, group_step, target_step]
    packed = empty((groups, filled, pitch), weight.dtype)
    if packed.size:
        job = Table(np.concatenate([np.array(words, np.int64), rows]))
        pack(weight.dtype.name)(blocks_for(packed.size), weight, packed, job, packed.size)
    return packed
