"""Register tiles: the loops in which the time goes, emitted as vector code.

Legend: a tile makes `height` pixels (m) times `vectors * lanes` output channels (v), and keeps
every sum in a register from the first tap to the last.

| registers | height x vectors | sums | loads per fma | share of fma peak                          |
|-----------|------------------|------|---------------|--------------------------------------------|
| 32        | 14 x 2           | 28   | 16 / 28       | 0.96 to 0.99 (Zen 5, AVX-512, 2026-11)     |
| 32        | 14 x 1           | 14   | 15 / 14       | bound by loads; for few output channels    |
| 16        | 6 x 2            | 12   | 8 / 12        | AVX2, SSE2                                 |

| 32        | planar 6 x 4     | 24   | 10 / 24       | channels by vectors of pixels, also 8 x 3  |
| 16        | planar 4 x 3     | 12   | 7 / 12        | also 6 x 2; 8 x 1 would load 9 for 8       |

Tried on the same machine: 8 x 3 is as fast as 14 x 2 but wastes more on 64 channels; 28 x 1 and
24 x 1 reach 0.7, their 28 line pointers do not fit the 16 address registers; 14 x 2 with one
pointer and a constant pixel step is no faster than with a table of 14 line pointers, and the
table lets a tile run over row and image borders.
"""

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic

from ..machine import Machine, machine
from .emit import emitter, i64, outlined

# Weights that the second-level cache does not keep from tile to tile are fetched a page ahead, for
# hardware follows them to the end of a page only. Planned 3x3, 512 channels, 14x14: 7.3 ms without,
# 6.1 with; 1 KiB ahead brings nothing; where the cache does keep them it costs a tenth (Zen 3,
# 2026-11).
PAGE, LINE = 4096, 64


def tile_heights(cpu: Machine) -> tuple[int, int, int]:
    """Pixels in a tile of two vectors, and in two smaller tiles for the last pixels of a box.

    The first is what the registers hold beside two weights and a pixel.
    """
    height = 14 if cpu.vector_registers >= 32 else 6
    return height, height // 3 * 2, height // 3


def tile_height(cpu: Machine) -> int:
    """Pixels in a whole tile."""
    return tile_heights(cpu)[0]


def even_block(cpu: Machine) -> int:
    """Output channels of a planar tile beside tiles of 1 and 6, a power of two."""
    return 8 if cpu.vector_registers >= 32 else 4


def planar_vectors(cpu: Machine, block: int) -> int:
    """Vectors of pixels beside `block` output channels (1, 6 or `even_block`) in a planar tile."""
    return {1: 8, 6: 4, 8: 3}[block] if cpu.vector_registers >= 32 else {1: 8, 6: 2, 4: 3}[block]


def product_rows(cpu: Machine, block: int) -> int:
    """Rows of a planar weight gradient's tile beside `block` output channels (1, 6 or 8).

    Of 4 by 3 on 16 registers each pass over the lines would serve half as many channels: 0.74 to
    0.87 as fast as 8 by 1 (Zen 3, 2026-11).
    """
    return {1: 8, 6: 4, 8: 3}[block] if cpu.vector_registers >= 32 else {1: 8, 6: 2, 8: 1}[block]


def _tile(
    vectors: int, pairwise: bool = False, size: int = 0, rows: int = 0, ahead: bool = False
) -> Any:
    """An intrinsic for tiles of `rows` pixels, or of `tile_heights[size]`, one after the other.

    `pairwise` multiplies vector by vector instead of pixel by vector; with `ahead`, weights are
    fetched before.
    """

    name = f"{'pairwise' if pairwise else 'outer'}_{rows or size}_{vectors}"
    name += "_ahead" if ahead else ""

    @intrinsic
    def tile(
        typing: Any,
        element: Any,
        y: Any,
        goals: Any,
        onward: Any,
        start: Any,
        start_step: Any,
        x: Any,
        lines: Any,
        taps: Any,
        tap_count: Any,
        depth: Any,
        step: Any,
        weights: Any,
        clip: Any,
        tiles: Any,
        far: Any,
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            y, goals, onward, start, start_step, x, lines, taps, tap_count, depth, step = args[:11]
            weights, clip, tiles, far = args[11:]
            e = emitter(builder, element)
            height, lanes = rows or tile_heights(machine())[size], e.lanes
            cells = [(m, v) for m in range(height) for v in range(vectors)]
            start, goals, lines, taps = e.at(start), e.at(goals), e.at(lines), e.at(taps)
            same_goals = builder.icmp_signed("!=", onward, i64(0))
            goals_step = builder.select(same_goals, i64(0), i64(height))
            with e.loop(tiles, []) as tile:
                goal, line = e.times(tile, goals_step), e.times(tile, height)
                with builder.if_then(builder.icmp_signed("<", tile, far)):
                    for m in range(height):
                        place = e.integer(goals, builder.add(goal, i64(height + m)))
                        e.prefetch(e.at(y), place)
                        e.prefetch(e.at(y), builder.add(place, i64(vectors * lanes - 1)))
                first = e.shift(start, e.times(line, start_step))
                starts = [e.shift(first, e.times(start_step, m)) for m in range(height)]
                pixels = [
                    e.shift(e.at(x), e.integer(lines, builder.add(line, i64(m))))
                    for m in range(height)
                ]
                acc = [e.load(starts[m], v * lanes) for m, v in cells]
                state = [e.at(weights), *acc]
                with e.loop(tap_count, state) as t:
                    tap = e.integer(taps, t)
                    here = [e.shift(pixel, tap) for pixel in pixels]
                    with e.loop(depth, state) as c:
                        row, acc = state[0], state[1:]
                        weight = [e.load(row, v * lanes) for v in range(vectors)]
                        for line in range(0, ahead * vectors * lanes * e.align, LINE):
                            e.prefetch(row, (PAGE + line) // e.align)
                        for m in range(height):
                            at = e.times(c, step)
                            if not pairwise:
                                pixel = e.broadcast(here[m], at)
                            for v in range(vectors):
                                if pairwise:
                                    pixel = e.load(e.shift(here[m], at), v * lanes)
                                i = m * vectors + v
                                acc[i] = e.fma(pixel, weight[v], acc[i])
                        state[:] = [e.shift(row, vectors * lanes), *acc]
                answer = e.shift(e.at(y), e.times(tile, onward))
                ends = [
                    e.shift(answer, e.integer(goals, builder.add(goal, i64(m))))
                    for m in range(height)
                ]
                for (m, v), value in zip(cells, e.clipped(state[1:], clip)):
                    e.store(value, ends[m], v * lanes)

        numbers = (
            y, goals, onward, start, start_step, x, lines, taps, tap_count, depth, step, weights,
            clip, tiles, far,
        )  # fmt: skip
        return outlined(name, emit, element, *numbers)

    return tile


# y[goals[m] + v] = start[m, v] + sum over t, c of
#                   x[lines[m] + taps[t] + c * step] * weights[(t * depth + c) * width + v]
# for the pixels m of `tiles` tiles, clipped as `Emit.clipped` says. `start` has rows `start_step`
# apart (0: one row of biases serves all pixels). Every tile has goals of its own, or with `onward`
# those of the first, so many elements on for each tile. The first `far` tiles have the places of
# the next one fetched. `tiles`, `tap_count` and `depth` are at least 1. All arguments but `element`
# are addresses or counts. A call for each tile took as long as 20 terms of it (Zen 3, 2026-11).
outer_wide = _tile(2)
outer_wide_ahead = _tile(2, ahead=True)
outer_wide_half = _tile(2, size=1)
outer_wide_quarter = _tile(2, size=2)
outer_narrow = _tile(1)

# The same with x[lines[m] + taps[t] + c * step + v]: every channel meets its own weight.
pairwise_wide = _tile(2, pairwise=True)
pairwise_narrow = _tile(1, pairwise=True)

# Rows of the tiles in which a depthwise weight gradient sums: the taps of a kernel of 3 by 3.
TAP_ROWS = 9
taps_wide = _tile(2, pairwise=True, rows=TAP_ROWS)
taps_narrow = _tile(1, pairwise=True, rows=TAP_ROWS)


def _planar(block: int) -> Any:
    """An intrinsic for planar tiles, one after the other, of `block` output channels.

    0 stands for `even_block`.
    """

    @intrinsic
    def tile(
        typing: Any,
        element: Any,
        y: Any,
        goals: Any,
        to_channel: Any,
        bias: Any,
        x: Any,
        lines: Any,
        taps: Any,
        tap_count: Any,
        depth: Any,
        step: Any,
        weights: Any,
        clip: Any,
        tiles: Any,
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            y, goals, to_channel, bias, x, lines, taps, tap_count, depth, step = args[:10]
            weights, clip, tiles = args[10:]
            e = emitter(builder, element)
            bias, goals, lines, taps = e.at(bias), e.at(goals), e.at(lines), e.at(taps)
            count = block or even_block(machine())
            vectors = planar_vectors(machine(), count)
            cells = [(k, s) for k in range(count) for s in range(vectors)]
            with e.loop(tiles, []) as tile:
                places = [builder.add(e.times(tile, vectors), i64(s)) for s in range(vectors)]
                rows = [e.shift(e.at(x), e.integer(lines, place)) for place in places]
                acc = [e.broadcast(bias, k) for k, s in cells]
                state = [e.at(weights), *acc]
                with e.loop(tap_count, state) as t:
                    tap = e.integer(taps, t)
                    here = [e.shift(row, tap) for row in rows]
                    with e.loop(depth, state) as c:
                        row, acc = state[0], state[1:]
                        at = e.times(c, step)
                        pixels = [e.load(e.shift(start, at)) for start in here]
                        for k in range(count):
                            weight = e.broadcast(row, k)
                            for s in range(vectors):
                                i = k * vectors + s
                                acc[i] = e.fma(weight, pixels[s], acc[i])
                        state[:] = [e.shift(row, count), *acc]
                ends = [e.shift(e.at(y), e.integer(goals, place)) for place in places]
                for (k, s), value in zip(cells, e.clipped(state[1:], clip)):
                    e.store(value, ends[s], e.times(to_channel, k))

        numbers = (
            y, goals, to_channel, bias, x, lines, taps, tap_count, depth, step, weights, clip,
            tiles,
        )  # fmt: skip
        return outlined(f"planar_{block}", emit, element, *numbers)

    return tile


# y[goals[s] + k * to_channel + lane] = bias[k] + sum over t, c of
#                    weights[(t * depth + c) * block + k] * x[lines[s] + taps[t] + c * step + lane]
# for the vectors s of `tiles` tiles, clipped as `Emit.clipped` says.
planar_1 = _planar(1)
planar_6 = _planar(6)
planar_even = _planar(0)


def _products(block: int) -> Any:
    """An intrinsic for a tile of a planar weight gradient: `block` output channels by some rows."""

    @intrinsic
    def tile(
        typing: Any,
        element: Any,
        sums: Any,
        start: Any,
        start_step: Any,
        x: Any,
        rows: Any,
        lines: Any,
        line_count: Any,
        gradient: Any,
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            sums, start, start_step, x, rows, lines, line_count, gradient = args
            sums, start, lines, rows = e.at(sums), e.at(start), e.at(lines), e.at(rows)
            height = product_rows(machine(), block)
            places = [e.shift(e.at(x), e.integer(rows, r)) for r in range(height)]
            cells = [(r, k) for r in range(height) for k in range(block)]
            acc = [e.load(e.shift(start, e.times(start_step, i))) for i in range(len(cells))]
            state = [e.at(gradient), *acc]
            with e.loop(line_count, state) as p:
                line, here, acc = e.integer(lines, p), state[0], state[1:]
                slopes = [e.load(here, k * e.lanes) for k in range(block)]
                for r in range(height):
                    pixels = e.load(e.shift(places[r], line))
                    for k in range(block):
                        i = r * block + k
                        acc[i] = e.fma(pixels, slopes[k], acc[i])
                state[:] = [e.shift(here, block * e.lanes), *acc]
            for i, value in enumerate(state[1:]):
                e.store(value, sums, i * e.lanes)

        numbers = (sums, start, start_step, x, rows, lines, line_count, gradient)
        return outlined(f"products_{block}", emit, element, *numbers)

    return tile


# sums[r, k, lane] = start[r, k, lane] + sum over p of
#                    x[lines[p] + rows[r] + lane] * gradient[(p * block + k) * lanes + lane]
# for as many rows as a planar tile has vectors; `start` has vectors `start_step` apart.
products_1 = _products(1)
products_6 = _products(6)
products_8 = _products(8)
