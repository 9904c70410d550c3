"""Convolution whose groups are too narrow for tiles: a thread computes single outputs.

    out[m, c] = finish(bias[c] + sum over r of x[where(m, r)] * w[r, c])

With one input channel in a group, and some tens of taps, memory is the limit and not arithmetic:
neighbouring threads read neighbouring elements, and what they read twice comes from the caches.
"""

from __future__ import annotations

import functools
from typing import Any

from .activation import COMPUTE, number
from .backend import cuda
from .emit import quotient
from .gather import image_offset, place_of, source_offset, target_offset
from .job import PITCH, PIXELS, REDUCTION, SOURCE_GROUP, TARGET_CHANNEL, TARGETS
from .launch import THREADS, Kernel


@functools.lru_cache(maxsize=256)
def correlate_narrow(
    dtype: str, channels_last: bool, far: bool, finish: Any, extras: tuple[str, ...]
) -> Kernel:
    """The kernel for a format of the output; `finish` as in `direct`."""
    compute = COMPUTE[dtype]
    SUM, OUT = number(compute), number(dtype)

    def kernel(x, w, bias, out, job, where, extras, channels):  # type: ignore[no-untyped-def]
        pixels, targets, rows, pitch = job[PIXELS], job[TARGETS], job[REDUCTION], job[PITCH]
        for i in range(cuda.grid(1), pixels * channels, cuda.gridsize(1)):
            if channels_last:
                m = quotient(i, channels)
                c = i - m * channels
            else:
                c = quotient(i, pixels)
                m = i - c * pixels
            group = quotient(c, targets)
            n, d, h, v = place_of(job, m)
            base = image_offset(job, n) + group * job[SOURCE_GROUP]
            w_at = group * rows * pitch + c - group * targets
            total = SUM(0)
            for r in range(rows):
                offset = source_offset(job, where, r, d, h, v)
                if offset >= 0:
                    total += SUM(x[base + offset]) * SUM(w[w_at + r * pitch])
            o = target_offset(job, m) + c * job[TARGET_CHANNEL]
            out[o] = OUT(finish(total + bias[c], c, o, extras))

    name = f"narrow_{dtype}_{'last' if channels_last else 'first'}{'_far' if far else ''}"
    table = "int64" if far else "int32"
    arguments = [dtype, dtype, compute, dtype, "int64", table, extras, "number"]
    return Kernel(name, kernel, arguments, THREADS)
