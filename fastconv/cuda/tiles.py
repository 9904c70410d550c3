"""Tiles of products: how a block's work lies in shared memory and in the registers of its threads.

Each of ``pixels / rows * channels / columns`` threads holds ``rows x columns`` sums. For every row
of a slab it reads rows + columns values from shared memory and does rows * columns multiply-adds:

==================  =======  =========  ==========  =============  ==============
tile                threads  registers  multiply-   bytes of       multiply-adds
                             of sums    adds a row  shared memory  per value read
==================  =======  =========  ==========  =============  ==============
128 x 128, 8 x 8    256      64         64          16,640         4
128 x 64, 8 x 8     128      64         64          12,544         4
64 x 64, 8 x 8      64       64         64          8,448          4
64 x 64, 4 x 4      256      32 (f64)   16          16,896         2
==================  =======  =========  ==========  =============  ==============

float64 takes two registers for each sum, so 8 x 8 would spill. A slab has 8 rows, for float64
16: at 128 x 128 that is one vector of four for each thread and operand.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .backend import SIMULATED
from .machine import Gpu


class Tile(NamedTuple):
    """pixels x channels of a block, depth rows of a slab, rows x columns of a thread."""

    pixels: int
    channels: int
    depth: int
    rows: int
    columns: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.pixels // self.rows * (self.channels // self.columns)

    @property
    def name(self) -> str:
        """As in the names of kernels."""
        return f"{self.pixels}x{self.channels}x{self.depth}"

    def shared_bytes(self, itemsize: int) -> int:
        """Two slabs of both operands; rows of pixels have a pitch that spares bank conflicts."""
        return 2 * self.depth * (self.pixels + PITCH_EXTRA + self.channels) * itemsize

    def seconds(self, pixels: int, channels: int, rows: int, blocks_more: int, gpu: Gpu) -> float:
        """Estimate for a product: the blocks of the busiest multiprocessor, one after the other.

        Four warps, with the many independent sums of each, can keep it busy; fewer cannot.
        """
        blocks = -(-pixels // self.pixels) * -(-channels // self.channels) * blocks_more
        each = max(math.ceil(blocks / gpu.processors), 1)
        resident = max(gpu.blocks(self.threads, 128, self.shared_bytes(4)), 1)
        busy = min(min(each, resident) * self.threads / 128, 1.0)
        work = 2.0 * self.pixels * self.channels * max(rows, 1)
        return each * work / (gpu.float32_flops / gpu.processors * self.share * busy)

    @property
    def share(self) -> float:
        """Part of the peak that the instructions beside the multiply-adds should leave.

        Expected from counting instructions, not measured.
        """
        return {128 * 128: 0.8, 128 * 64: 0.75, 64 * 64: 0.65}.get(self.pixels * self.channels, 0.5)


# The fifth group of four words shifts the banks that transposed stores meet.
PITCH_EXTRA = 4
# Of shared memory, for vectors of four; the simulator knows no alignment.
ALIGNMENT = None if SIMULATED else 32

FLOAT32 = (Tile(128, 128, 8, 8, 8), Tile(128, 64, 8, 8, 8), Tile(64, 64, 8, 8, 8))
FLOAT64 = (Tile(64, 64, 16, 4, 4),)
TINY = (Tile(8, 16, 4, 4, 4),)  # for the simulator, which starts a thread of the system for each


def tiles(compute: str) -> tuple[Tile, ...]:
    """Those of a compute type."""
    if SIMULATED:
        return TINY
    return FLOAT32 if compute == "float32" else FLOAT64


def choose_tile(
    compute: str, pixels: int, channels: int, rows: int, blocks_more: int, gpu: Gpu
) -> Tile:
    """The tile that should take least time for a product."""
    return min(tiles(compute), key=lambda t: t.seconds(pixels, channels, rows, blocks_more, gpu))


def itemsize(compute: str) -> int:
    """Bytes of an element of a compute type."""
    return np.dtype(compute).itemsize
