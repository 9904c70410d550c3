"""Convolution as a product of matrices whose left one exists in shared memory only.

Letters: m a pixel of the output, k an output channel of the group, r a row (tap, channel).

    out[m, k] = finish(bias[k] + sum over r of x[where(m, r)] * w[r, k])

A block computes a tile of m by k. Slab by slab of r its threads fetch x, by the tables of the job,
and packed weights into registers, multiply the slab before out of shared memory, and store what
they fetched to the other half of it: one barrier for each slab.
"""

from __future__ import annotations

import functools
from typing import Any

from .activation import COMPUTE, number
from .backend import cuda
from .emit import aligned4, load4, store4
from .gather import image_offset, place_of, source_offset, target_offset
from .job import (
    PITCH,
    PIXELS,
    SLABS,
    SOURCE_GROUP,
    TARGET_CHANNEL,
    TARGET_GROUP,
    TARGETS,
    TILES,
)
from .launch import Kernel
from .tiles import ALIGNMENT, PITCH_EXTRA, Tile, itemsize


@functools.lru_cache(maxsize=256)
def correlate(
    dtype: str,
    tile: Tile,
    vectors: bool,
    channels_last: bool,
    far: bool,
    finish: Any,
    extras: tuple[str, ...],
) -> Kernel:
    """The kernel of a tile.

    `vectors` fetches four channels of x at a time; `channels_last` is the format of the output,
    `finish` a device function of (sum, channel, element of the output, extras).
    """
    BM, BN, BK, TM, TN = tile
    THREADS = tile.threads
    PITCH_A, HALF_A, HALF_B = BM + PITCH_EXTRA, BK * (BM + PITCH_EXTRA), BK * BN
    SIZE_A, SIZE_B = 2 * HALF_A, 2 * HALF_B
    QUADS_B = BK * BN // 4 // THREADS
    FAST = BN // TN if channels_last else BM // TM
    # What a thread fetches of x in a slab: EACH elements or vectors for each of PLACES pixels.
    if vectors:
        PLACES, EACH = BM * BK // 4 // THREADS, 1
    else:
        PLACES, EACH = max(BM // THREADS, 1), BM * BK // max(BM, THREADS)
    APART = THREADS // (BK // 4) if vectors else THREADS
    compute = COMPUTE[dtype]
    SUM, OUT, SUMS = number(compute), number(dtype), TM * TN
    FETCHED, PACKED, COORDINATES = PLACES * EACH * (4 if vectors else 1), 4 * QUADS_B, 3 * PLACES
    INDEX = cuda.types.int64

    def kernel(x, w, bias, out, job, where, extras):  # type: ignore[no-untyped-def]
        shared_a = cuda.shared.array(SIZE_A, SUM, alignment=ALIGNMENT)
        shared_b = cuda.shared.array(SIZE_B, SUM, alignment=ALIGNMENT)
        sums = cuda.local.array(SUMS, SUM)
        a, b = cuda.local.array(TM, SUM), cuda.local.array(TN, SUM)
        fetched = cuda.local.array(FETCHED, SUM)
        packed = cuda.local.array(PACKED, SUM)
        base = cuda.local.array(PLACES, INDEX)
        at = cuda.local.array(COORDINATES, INDEX)
        t, group = cuda.threadIdx.x, cuda.blockIdx.y
        pixel_tile = cuda.blockIdx.x // job[TILES]
        m0, k0 = pixel_tile * BM, (cuda.blockIdx.x - pixel_tile * job[TILES]) * BN
        pixels, slabs, pitch = job[PIXELS], job[SLABS], job[PITCH]
        w_at = group * slabs * BK * pitch + k0
        if channels_last:
            row, column = t // FAST, t % FAST
        else:
            row, column = t % FAST, t // FAST
        for i in range(SUMS):
            sums[i] = SUM(0)

        for p in range(PLACES):
            m = m0 + (t // (BK // 4) if vectors else t % BM) + p * APART
            base[p] = -1
            if m < pixels:
                n, d, h, v = place_of(job, m)
                base[p] = image_offset(job, n) + group * job[SOURCE_GROUP]
                at[3 * p], at[3 * p + 1], at[3 * p + 2] = d, h, v

        for slab in range(slabs + 1):
            if slab < slabs:
                for p in range(PLACES):
                    d, h, v = at[3 * p], at[3 * p + 1], at[3 * p + 2]
                    for e in range(EACH):
                        i = p * EACH + e
                        if vectors:
                            r = slab * BK + t % (BK // 4) * 4
                        else:
                            r = slab * BK + t // BM + e * (max(THREADS // BM, 1))
                        offset = -1
                        if base[p] >= 0:
                            offset = source_offset(job, where, r, d, h, v)
                        if vectors:
                            if offset >= 0:
                                quad = load4(x, base[p] + offset)
                                fetched[4 * i] = SUM(quad[0])
                                fetched[4 * i + 1] = SUM(quad[1])
                                fetched[4 * i + 2] = SUM(quad[2])
                                fetched[4 * i + 3] = SUM(quad[3])
                            else:
                                for u in range(4):
                                    fetched[4 * i + u] = SUM(0)
                        else:
                            fetched[i] = SUM(x[base[p] + offset]) if offset >= 0 else SUM(0)
                for q in range(QUADS_B):
                    i = t + q * THREADS
                    r = slab * BK + i // (BN // 4)
                    quad = load4(w, w_at + r * pitch + i % (BN // 4) * 4)
                    for u in range(4):
                        packed[4 * q + u] = SUM(quad[u])

            if slab > 0:
                half = (slab - 1) & 1
                for k in range(BK):
                    for i in range(0, TM, 4):
                        line = half * HALF_A + k * PITCH_A
                        quad = load4(shared_a, line + i * (BM // TM) + row * 4)
                        for u in range(4):
                            a[i + u] = quad[u]
                    for j in range(0, TN, 4):
                        line = half * HALF_B + k * BN
                        quad = load4(shared_b, line + j * (BN // TN) + column * 4)
                        for u in range(4):
                            b[j + u] = quad[u]
                    for i in range(TM):
                        for j in range(TN):
                            sums[i * TN + j] += a[i] * b[j]

            if slab < slabs:
                half = slab & 1
                for p in range(PLACES):
                    for e in range(EACH):
                        i = p * EACH + e
                        if vectors:
                            line = half * HALF_A + t % (BK // 4) * 4 * PITCH_A
                            line += t // (BK // 4) + p * APART
                            for u in range(4):
                                shared_a[line + u * PITCH_A] = fetched[4 * i + u]
                        else:
                            line = half * HALF_A + (t // BM + e * (max(THREADS // BM, 1))) * PITCH_A
                            shared_a[line + t % BM + p * APART] = fetched[i]
                for q in range(QUADS_B):
                    i = t + q * THREADS
                    line = half * HALF_B + i // (BN // 4) * BN + i % (BN // 4) * 4
                    store4(
                        shared_b,
                        line,
                        (packed[4 * q], packed[4 * q + 1], packed[4 * q + 2], packed[4 * q + 3]),
                    )
                cuda.syncthreads()

        step, targets = job[TARGET_CHANNEL], job[TARGETS]
        c0, o0 = group * targets, group * job[TARGET_GROUP]
        places = cuda.local.array(4, INDEX)
        for i in range(0, TM, 4):
            m = m0 + i * (BM // TM) + row * 4
            rest_m = pixels - m
            for q in range(4):
                places[q] = o0 + target_offset(job, min(m + q, pixels - 1))
            for j in range(0, TN, 4):
                k = k0 + j * (BN // TN) + column * 4
                rest_k = targets - k
                if rest_m > 0 and rest_k > 0:
                    for u in range(4):
                        # Four outputs that lie side by side, if they do: channels or pixels. The
                        # last one stands for those beyond it, so that extras can be read.
                        if channels_last:
                            s, more = (i + u) * TN + j, 1
                            left = rest_k if u < rest_m else 0
                            p0 = places[u] + k * step
                            p1, p2 = p0 + min(1, rest_k - 1) * step, p0 + min(2, rest_k - 1) * step
                            p3 = p0 + min(3, rest_k - 1) * step
                            b0, b1 = c0 + k, c0 + k + min(1, rest_k - 1)
                            b2, b3 = c0 + k + min(2, rest_k - 1), c0 + k + min(3, rest_k - 1)
                        else:
                            s, more = i * TN + j + u, TN
                            left = rest_m if u < rest_k else 0
                            o = (k + min(u, rest_k - 1)) * step
                            p0, p1, p2, p3 = places[0], places[1], places[2], places[3]
                            p0, p1, p2, p3 = p0 + o, p1 + o, p2 + o, p3 + o
                            b0 = c0 + k + min(u, rest_k - 1)
                            b1, b2, b3 = b0, b0, b0
                        y0 = OUT(finish(sums[s] + bias[b0], b0, p0, extras))
                        y1 = OUT(finish(sums[s + more] + bias[b1], b1, p1, extras))
                        y2 = OUT(finish(sums[s + 2 * more] + bias[b2], b2, p2, extras))
                        y3 = OUT(finish(sums[s + 3 * more] + bias[b3], b3, p3, extras))
                        together = p1 == p0 + 1 and p2 == p0 + 2 and p3 == p0 + 3
                        if left >= 4 and together and aligned4(out, p0):
                            store4(out, p0, (y0, y1, y2, y3))
                        else:
                            if left > 0:
                                out[p0] = y0
                            if left > 1:
                                out[p1] = y1
                            if left > 2:
                                out[p2] = y2
                            if left > 3:
                                out[p3] = y3

    name = f"direct_{dtype}_{tile.name}_{'vectors' if vectors else 'elements'}"
    name += f"_{'last' if channels_last else 'first'}{'_far' if far else ''}"
    table = "int64" if far else "int32"
    arguments = [dtype, dtype, compute, dtype, "int64", table, extras]
    return Kernel(name, kernel, arguments, THREADS, tile.shared_bytes(itemsize(compute)))
