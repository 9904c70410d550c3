"""The weight gradient: products over pixels, split into chunks whose sums are added in order.

Letters as in `direct`: m a pixel, k an output channel of the group, r a row of the weight.

    dw[r, k] = sum over m of x[where(m, r)] * dy[m, k]

No float is added atomically and the chunks depend on the sizes alone, so the bits do not change
from run to run.
"""

from __future__ import annotations

import functools

from .activation import COMPUTE, number
from .backend import cuda
from .emit import load4, quotient, store4
from .gather import image_offset, place_of, source_offset
from .job import (
    CHUNK,
    PITCH,
    PIXELS,
    REDUCTION,
    SOURCE_GROUP,
    START,
    TARGET_CHANNEL,
    TARGET_DEPTH,
    TARGET_GROUP,
    TARGET_HEIGHT,
    TARGET_IMAGE,
    TARGET_WIDTH,
    TARGETS,
    TILES,
)
from .launch import THREADS as STRIDED
from .launch import Kernel
from .tiles import ALIGNMENT, PITCH_EXTRA, Tile, itemsize

# Words of a pixel in shared memory: offset of its image in x, depth, height, width, offset in dy.
SLOT = 5


@functools.lru_cache(maxsize=256)
def weight_partials(dtype: str, tile: Tile, channels_last: bool, far: bool) -> Kernel:
    """partial[z, g, r, k] = sum over the pixels m of chunk z of x[where(m, r)] * dy[m, k]

    `tile.pixels` counts rows r here, and `tile.depth` pixels m of a slab. Neighbouring threads read
    neighbouring channels of both arrays, or pixels if they are not `channels_last`.
    """
    BM, BN, BK, TM, TN = tile
    THREADS = tile.threads
    PITCH_A, PITCH_B = BM + PITCH_EXTRA, BN + PITCH_EXTRA
    HALF_A, HALF_B = BK * PITCH_A, BK * PITCH_B
    SIZE_A, SIZE_B, SLOTS = 2 * HALF_A, 2 * HALF_B, 2 * BK * SLOT
    EACH_A, EACH_B, FAST = BM * BK // THREADS, BN * BK // THREADS, BN // TN
    compute = COMPUTE[dtype]
    SUM, SUMS, INDEX = number(compute), TM * TN, cuda.types.int64

    def kernel(x, dy, partial, job, where):  # type: ignore[no-untyped-def]
        shared_a = cuda.shared.array(SIZE_A, SUM, alignment=ALIGNMENT)
        shared_b = cuda.shared.array(SIZE_B, SUM, alignment=ALIGNMENT)
        slots = cuda.shared.array(SLOTS, INDEX, alignment=ALIGNMENT)
        sums = cuda.local.array(SUMS, SUM)
        a, b = cuda.local.array(TM, SUM), cuda.local.array(TN, SUM)
        fetched_a, fetched_b = cuda.local.array(EACH_A, SUM), cuda.local.array(EACH_B, SUM)
        t, group, chunk = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.z
        row_tile = cuda.blockIdx.x // job[TILES]
        r0, k0 = row_tile * BM, (cuda.blockIdx.x - row_tile * job[TILES]) * BN
        rows, targets = job[REDUCTION], job[TARGETS]
        row, column = t // FAST, t % FAST
        begin = chunk * job[CHUNK] * BK
        pixels = min(begin + job[CHUNK] * BK, job[PIXELS])
        slabs = (pixels - begin + BK - 1) // BK
        for i in range(SUMS):
            sums[i] = SUM(0)

        # While one slab is multiplied, the next is fetched, and the one after that is looked up.
        for slab in range(-1, slabs + 1):
            if 0 <= slab < slabs:
                for i in range(EACH_A):
                    e = t + i * THREADS
                    p, r = (e // BM, e % BM) if channels_last else (e % BK, e // BK)
                    s = ((slab & 1) * BK + p) * SLOT
                    fetched_a[i] = SUM(0)
                    if slots[s] >= 0 and r0 + r < rows:
                        d, h, v = slots[s + 1], slots[s + 2], slots[s + 3]
                        offset = source_offset(job, where, r0 + r, d, h, v)
                        if offset >= 0:
                            fetched_a[i] = SUM(x[slots[s] + group * job[SOURCE_GROUP] + offset])
                for i in range(EACH_B):
                    e = t + i * THREADS
                    p, k = (e // BN, e % BN) if channels_last else (e % BK, e // BK)
                    s = ((slab & 1) * BK + p) * SLOT
                    fetched_b[i] = SUM(0)
                    if slots[s] >= 0 and k0 + k < targets:
                        o = slots[s + 4] + group * job[TARGET_GROUP]
                        fetched_b[i] = SUM(dy[o + (k0 + k) * job[TARGET_CHANNEL]])

            if slab > 0:
                half = (slab - 1) & 1
                for m in range(BK):
                    for i in range(0, TM, 4):
                        line = half * HALF_A + m * PITCH_A
                        quad = load4(shared_a, line + i * (BM // TM) + row * 4)
                        for u in range(4):
                            a[i + u] = quad[u]
                    for j in range(0, TN, 4):
                        line = half * HALF_B + m * PITCH_B
                        quad = load4(shared_b, line + j * (BN // TN) + column * 4)
                        for u in range(4):
                            b[j + u] = quad[u]
                    for i in range(TM):
                        for j in range(TN):
                            sums[i * TN + j] += a[i] * b[j]

            if 0 <= slab < slabs:
                half = slab & 1
                for i in range(EACH_A):
                    e = t + i * THREADS
                    p, r = (e // BM, e % BM) if channels_last else (e % BK, e // BK)
                    shared_a[half * HALF_A + p * PITCH_A + r] = fetched_a[i]
                for i in range(EACH_B):
                    e = t + i * THREADS
                    p, k = (e // BN, e % BN) if channels_last else (e % BK, e // BK)
                    shared_b[half * HALF_B + p * PITCH_B + k] = fetched_b[i]
            if slab + 1 < slabs and t < BK:
                m = begin + (slab + 1) * BK + t
                s = (((slab + 1) & 1) * BK + t) * SLOT
                slots[s] = -1
                if m < pixels:
                    n, d, h, v = place_of(job, m)
                    slots[s] = image_offset(job, n)
                    slots[s + 1], slots[s + 2], slots[s + 3] = d, h, v
                    o = job[START] + n * job[TARGET_IMAGE] + d * job[TARGET_DEPTH]
                    slots[s + 4] = o + h * job[TARGET_HEIGHT] + v * job[TARGET_WIDTH]
            cuda.syncthreads()

        row_tiles = cuda.gridDim.x // job[TILES]
        line = (chunk * cuda.gridDim.y + group) * row_tiles * BM + r0
        for i in range(0, TM, 4):
            for u in range(4):
                at = (line + i * (BM // TM) + row * 4 + u) * job[PITCH] + k0
                for j in range(0, TN, 4):
                    s = (i + u) * TN + j
                    quad = (sums[s], sums[s + 1], sums[s + 2], sums[s + 3])
                    store4(partial, at + j * (BN // TN) + column * 4, quad)

    name = f"weight_{dtype}_{tile.name}_{'last' if channels_last else 'first'}"
    name += "_far" if far else ""
    arguments = [dtype, dtype, compute, "int64", "int64" if far else "int32"]
    shared = (SIZE_A + SIZE_B) * itemsize(compute) + 8 * SLOTS
    return Kernel(name, kernel, arguments, THREADS, shared)


@functools.lru_cache(maxsize=64)
def narrow_partials(dtype: str, far: bool) -> Kernel:
    """As `weight_partials` for narrow groups: a block adds up the pixels of one channel and row."""
    compute = COMPUTE[dtype]
    SUM, INDEX = number(compute), cuda.types.int64
    THREADS = STRIDED

    def kernel(x, dy, partial, job, where, channels):  # type: ignore[no-untyped-def]
        totals = cuda.shared.array(THREADS, SUM)
        t, chunk = cuda.threadIdx.x, cuda.blockIdx.y
        c = quotient(cuda.blockIdx.x, job[REDUCTION])
        r = cuda.blockIdx.x - c * job[REDUCTION]
        group = quotient(c, job[TARGETS])
        begin = chunk * job[CHUNK]
        total = SUM(0)
        for m in range(begin + t, min(begin + job[CHUNK], job[PIXELS]), THREADS):
            n, d, h, v = place_of(job, m)
            offset = source_offset(job, where, r, d, h, v)
            if offset >= 0:
                o = job[START] + n * job[TARGET_IMAGE] + d * job[TARGET_DEPTH]
                o += h * job[TARGET_HEIGHT] + v * job[TARGET_WIDTH] + c * job[TARGET_CHANNEL]
                at = image_offset(job, n) + group * job[SOURCE_GROUP] + offset
                total += SUM(x[at]) * SUM(dy[o])
        totals[t] = total
        cuda.syncthreads()
        left = INDEX(THREADS)
        while left > 1:
            half = (left + 1) // 2
            if t < left - half:
                totals[t] += totals[t + half]
            cuda.syncthreads()
            left = half
        if t == 0:
            line = (chunk * (channels // job[TARGETS]) + group) * job[REDUCTION] + r
            partial[line * job[PITCH] + c - group * job[TARGETS]] = totals[0]

    name = f"narrow_weight_{dtype}{'_far' if far else ''}"
    arguments = [dtype, dtype, compute, "int64", "int64" if far else "int32", "number"]
    return Kernel(name, kernel, arguments, THREADS, THREADS * itemsize(compute))


# Words of a reduction, before the weight offset of each row.
(R_CHUNKS, R_ROWS, R_FILLED, R_TARGETS, R_PITCH, R_GROUPS, R_GROUP_STEP, R_STEP, R_OFFSETS) = range(
    9
)


@functools.lru_cache(maxsize=16)
def reduce_weight(dtype: str) -> Kernel:
    """dw[r, k] = sum over z, in order, of partial[z, g, r, k]"""
    compute = COMPUTE[dtype]
    SUM, OUT = number(compute), number(dtype)

    def kernel(partial, weight, job, count):  # type: ignore[no-untyped-def]
        targets, rows, pitch = job[R_TARGETS], job[R_ROWS], job[R_PITCH]
        chunk = job[R_GROUPS] * job[R_FILLED] * pitch
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            line = quotient(i, targets)
            k = i - line * targets
            g = quotient(line, rows)
            r = line - g * rows
            at = (g * job[R_FILLED] + r) * pitch + k
            total = SUM(0)
            for z in range(job[R_CHUNKS]):
                total += partial[z * chunk + at]
            weight[g * job[R_GROUP_STEP] + k * job[R_STEP] + job[R_OFFSETS + r]] = OUT(total)

    arguments = [compute, dtype, "int64", "number"]
    return Kernel(f"reduce_weight_{dtype}", kernel, arguments, STRIDED)
