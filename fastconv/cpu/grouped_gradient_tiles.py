"""Grouped tiles for weight gradients: outputs stay in registers, sums go through memory.

For 24 fma a piece of three taps loads 10 cells (stride 2: 17) and 3 sums, which it stores again;
the 8 outputs are loaded once for all pieces. That takes 12 registers.

The legend is that of `grouped_tiles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from .emit import i32, i64
from .grouped_tiles import CHANNELS, PIXELS, Tile, family_tile, lanes_within, masked


class _GradientTile(Tile):
    """Tiles that add to the gradient of their weights, a vector for each; y is that of the output.

    An output that a tile lacks, or a lane that its row does, counts as zero.
    """

    kind = "gradient"

    def _block(self, lengths: list[Any], row_of_weights: Any, start: Any, goal: Any) -> Any:
        """w[s] += sum over p of x[row + tap + p * step + s, b] * y[p, b], for each piece"""
        e, b = self.e, self.e.builder
        self.gradient = []
        for p in range(self.height):
            cell = goal
            if self.at_cells:
                cell = b.select(b.icmp_signed("<", i64(p), self.alive), goal, self.zeros)
            if self.at_lanes:
                there = lanes_within(e, self.first, 1, self.limit)
                arguments = [cell, i32(e.align), there, ir.Constant(e.vector, None)]
                self.gradient.append(masked(e, "load", arguments, e.vector))
            else:
                self.gradient.append(e.load(cell))
            goal = e.shift(goal, self.y_pitch)
        state = [row_of_weights]
        self._pieces_of(state, lengths, i64(0))
        return state[0]

    def _multiply(self, state: list[Any], places: Iterator[tuple[int, Any]], taps: int) -> None:
        e, row = self.e, state[0]
        sums = [e.load(row, s * e.lanes) for s in range(taps)]
        for i, cell in places:
            value = self.loads.load(cell)
            for s, p in self._users(i, taps):
                sums[s] = e.fma(value, self.gradient[p], sums[s])
        for s, value in enumerate(sums):
            e.store(value, row, s * e.lanes)
        state[:] = [e.shift(row, taps * e.lanes)]


channels_gradient, pixels_gradient = (family_tile(f, _GradientTile) for f in (CHANNELS, PIXELS))
