"""The product of `direct` by tensor cores: TF32 words of float32, or pairs of float16.

Letters as in `direct`; a slab is DEPTH words of the reduction. Four slabs lie in shared memory:
while one is multiplied, the copies of the next three are under way. float32 is copied
asynchronously and rounded where it is multiplied; float16 passes through registers, as its pairs
do not lie together in memory. All sums are float32.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from .activation import number
from .backend import SIMULATED, cuda
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
from .tensor_words import (
    commit_async,
    copy_async4,
    copy_async16,
    multiply_float16,
    multiply_tf32,
    pair,
    tf32,
    wait_async2,
)
from .tiles import ALIGNMENT


class TensorTile(NamedTuple):
    """Warps along pixels and channels, tiles of 16 x 8 of a warp, and words of a slab."""

    warps_m: int
    warps_n: int
    tiles_m: int
    tiles_n: int
    words: int

    @property
    def pixels(self) -> int:
        """Of a block."""
        return self.warps_m * self.tiles_m * 16

    @property
    def channels(self) -> int:
        """Of a block."""
        return self.warps_n * self.tiles_n * 8

    @property
    def threads(self) -> int:
        """Of a block."""
        return 32 * self.warps_m * self.warps_n

    def depth(self, dtype: str) -> int:
        """Reduction rows of a slab."""
        return self.words * (2 if dtype == "float16" else 1)


# 128 x 128: 64 sums for each of 256 threads. Four slabs of eight words are 34,816 bytes.
TILE = TensorTile(1, 1, 1, 1, 8) if SIMULATED else TensorTile(2, 4, 4, 4, 8)
STAGES = 4
# A pitch of 8 more than a multiple of 32 spreads the words of a fragment over all banks.
EXTRA = 8
# Words of a pixel in shared memory: offset of its image in x, depth, height, width.
SLOT = 4


@functools.lru_cache(maxsize=64)
def correlate_tensor(
    dtype: str, channels_last: bool, far: bool, finish: Any, extras: tuple[str, ...]
) -> Kernel:
    """The kernel for float32 (by TF32) or float16; `channels_last` is the format of the input."""
    tile = TILE
    BM, BN, WORDS, THREADS = tile.pixels, tile.channels, tile.words, tile.threads
    TM, TN, WARPS_N = tile.tiles_m, tile.tiles_n, tile.warps_n
    DEPTH, PAIRS = tile.depth(dtype), dtype == "float16"
    PITCH_A, PITCH_B = BM + EXTRA, BN + EXTRA
    STAGE_A, STAGE_B = WORDS * PITCH_A, WORDS * PITCH_B
    SIZE_A, SIZE_B, SLOTS, SUMS = STAGES * STAGE_A, STAGES * STAGE_B, BM * SLOT, TM * TN * 4
    EACH_A, EACH_B = BM * WORDS // THREADS, max(BN * WORDS // 4 // THREADS, 1)
    QUADS_B = BN * WORDS // 4
    EACH_PAIR = BN * WORDS // THREADS
    FRAGMENT_A, FRAGMENT_B = TM * 4, TN * 2
    SHARED = number("int32") if PAIRS else number("float32")
    OUT, REAL, INDEX, WORD = number(dtype), number("float32"), cuda.types.int64, number("int32")
    multiply = multiply_float16 if PAIRS else multiply_tf32

    def kernel(x, w, bias, out, job, where, extras):  # type: ignore[no-untyped-def]
        shared_a = cuda.shared.array(SIZE_A, SHARED, alignment=ALIGNMENT)
        shared_b = cuda.shared.array(SIZE_B, SHARED, alignment=ALIGNMENT)
        slots = cuda.shared.array(SLOTS, INDEX, alignment=ALIGNMENT)
        sums = cuda.local.array(SUMS, REAL)
        a, b = cuda.local.array(FRAGMENT_A, WORD), cuda.local.array(FRAGMENT_B, WORD)
        t, group = INDEX(cuda.threadIdx.x), INDEX(cuda.blockIdx.y)
        pixel_tile = cuda.blockIdx.x // job[TILES]
        m0, k0 = pixel_tile * BM, (cuda.blockIdx.x - pixel_tile * job[TILES]) * BN
        pixels, slabs, pitch = job[PIXELS], job[SLABS], job[PITCH]
        w_at = group * slabs * DEPTH * pitch + k0
        warp, lane = t // 32, t % 32
        g, q = lane // 4, lane % 4
        row0, column0 = warp // WARPS_N * TM * 16, warp % WARPS_N * TN * 8
        for i in range(SUMS):
            sums[i] = REAL(0)
        for p in range(t, BM, THREADS):
            slots[p * SLOT] = -1
            if m0 + p < pixels:
                n, d, h, v = place_of(job, m0 + p)
                slots[p * SLOT] = image_offset(job, n) + group * job[SOURCE_GROUP]
                slots[p * SLOT + 1], slots[p * SLOT + 2], slots[p * SLOT + 3] = d, h, v
        cuda.syncthreads()

        for turn in range(slabs + STAGES - 1):
            # The slab that is multiplied lies STAGES - 1 behind the one whose copies begin.
            slab = turn - (STAGES - 1)
            if slab >= 0:
                wait_async2()
                cuda.syncthreads()
            if turn < slabs:
                stage = turn % STAGES
                for e in range(EACH_A):
                    i = t + e * THREADS
                    if channels_last:
                        p, k = i // WORDS, i % WORDS
                    else:
                        p, k = i % BM, i // BM
                    base, d = slots[p * SLOT], slots[p * SLOT + 1]
                    h, v = slots[p * SLOT + 2], slots[p * SLOT + 3]
                    line = stage * STAGE_A + k * PITCH_A + p
                    if PAIRS:
                        r = turn * DEPTH + 2 * k
                        first, second = OUT(0), OUT(0)
                        if base >= 0:
                            offset = source_offset(job, where, r, d, h, v)
                            if offset >= 0:
                                first = x[base + offset]
                            offset = source_offset(job, where, r + 1, d, h, v)
                            if offset >= 0:
                                second = x[base + offset]
                        shared_a[line] = pair(first, second)
                    else:
                        offset = INDEX(-1)
                        if base >= 0:
                            offset = source_offset(job, where, turn * DEPTH + k, d, h, v)
                        found = offset >= 0
                        copy_async4(shared_a, line, x, base + offset if found else 0, found)
                if PAIRS:
                    for e in range(EACH_PAIR):
                        i = t + e * THREADS
                        k, n = i // BN, i % BN
                        at = w_at + (turn * DEPTH + 2 * k) * pitch + n
                        shared_b[stage * STAGE_B + k * PITCH_B + n] = pair(w[at], w[at + pitch])
                else:
                    for e in range(EACH_B):
                        i = t + e * THREADS
                        if i < QUADS_B:
                            k, n = i // (BN // 4), i % (BN // 4) * 4
                            at = w_at + (turn * DEPTH + k) * pitch + n
                            copy_async16(shared_b, stage * STAGE_B + k * PITCH_B + n, w, at, True)
            commit_async()
            if slab >= 0:
                stage = slab % STAGES
                at_a, at_b = stage * STAGE_A + row0 + g, stage * STAGE_B + column0 + g
                if SIMULATED:
                    _sum_tile(shared_a, shared_b, sums, at_a, at_b, g, q, PAIRS, PITCH_A, PITCH_B)
                else:
                    for k in range(0, WORDS, 8):
                        for i in range(TM):
                            low = at_a + (k + q) * PITCH_A + i * 16
                            high = low + 4 * PITCH_A
                            if PAIRS:
                                a[4 * i], a[4 * i + 1] = shared_a[low], shared_a[low + 8]
                                a[4 * i + 2], a[4 * i + 3] = shared_a[high], shared_a[high + 8]
                            else:
                                a[4 * i] = tf32(shared_a[low])
                                a[4 * i + 1] = tf32(shared_a[low + 8])
                                a[4 * i + 2] = tf32(shared_a[high])
                                a[4 * i + 3] = tf32(shared_a[high + 8])
                        for j in range(TN):
                            low = at_b + (k + q) * PITCH_B + j * 8
                            high = low + 4 * PITCH_B
                            if PAIRS:
                                b[2 * j], b[2 * j + 1] = shared_b[low], shared_b[high]
                            else:
                                b[2 * j] = tf32(shared_b[low])
                                b[2 * j + 1] = tf32(shared_b[high])
                        for i in range(TM):
                            for j in range(TN):
                                s = (i * TN + j) * 4
                                quad = multiply(
                                    a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3],
                                    b[2 * j], b[2 * j + 1],
                                    sums[s], sums[s + 1], sums[s + 2], sums[s + 3],
                                )  # fmt: skip
                                sums[s], sums[s + 1] = quad[0], quad[1]
                                sums[s + 2], sums[s + 3] = quad[2], quad[3]

        step, targets = job[TARGET_CHANNEL], job[TARGETS]
        for i in range(TM):
            for upper in range(2):
                m = m0 + row0 + i * 16 + upper * 8 + g
                if m < pixels:
                    place = target_offset(job, m) + group * job[TARGET_GROUP]
                    for j in range(TN):
                        for u in range(2):
                            k = k0 + column0 + j * 8 + 2 * q + u
                            if k < targets:
                                c, o = group * targets + k, place + k * step
                                y = sums[(i * TN + j) * 4 + upper * 2 + u] + bias[c]
                                out[o] = OUT(finish(y, c, o, extras))

    name = f"tensor_{dtype}_{'last' if channels_last else 'first'}{'_far' if far else ''}"
    arguments = [dtype, dtype, "float32", dtype, "int64", "int64" if far else "int32", extras]
    shared = 4 * (SIZE_A + SIZE_B) + 8 * SLOTS
    return Kernel(name, kernel, arguments, THREADS, shared, (8, 0))


def _sum_tile(  # type: ignore[no-untyped-def]
    shared_a, shared_b, sums, at_a, at_b, g, q, pairs, pitch_a, pitch_b
):
    """What `multiply` does for a thread of one tile, of eight words, in the simulator."""
    for upper in range(2):
        for u in range(2):
            for k in range(8):
                left = shared_a[at_a + k * pitch_a + upper * 8]
                right = shared_b[at_b - g + k * pitch_b + 2 * q + u]
                if pairs:
                    x, y = left.reshape(1).view("float16"), right.reshape(1).view("float16")
                    sums[upper * 2 + u] += float(x[0]) * float(y[0]) + float(x[1]) * float(y[1])
                else:
                    sums[upper * 2 + u] += left * right
