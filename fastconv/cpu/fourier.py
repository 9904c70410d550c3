"""Convolution by spectra: tiles of the source, transformed, multiplied, transformed back.

The circular correlation of a tile of B samples with a kernel that spans E is the linear one for the
first B - E + 1 outputs, so tiles overlap by E - 1 (overlap-save). SciPy transforms; the kernels
here cut tiles out of arrays of any strides, multiply spectra and put outputs in their place.
Reference: A. V. Oppenheim, R. W. Schafer, "Discrete-Time Signal Processing", section 8.7.

Legend: N images, C source and K target channels of each group, T tiles, F frequencies; B tile
sizes, M outputs of a tile per axis.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from .compile import compiled, float_kernel
from .emit import Emit, emitter, outlined
from .memory import call, clear, copy, load, shift, store, word

# Words of the job of `cut_tiles` and `place_outputs`: channels, strides of the images and channels
# of the array, then AXIS words for each of three axes.
(CHANNELS, IMAGE_STRIDE, CHANNEL_STRIDE, ACTIVATION, ROW_BYTES, AXES) = range(6)
# Tiles, B, samples from one tile to the next, stride of the array; where the table of positions
# starts (cut), or outputs in all, outputs of a tile and samples between them (place).
(TILES, SIZE, ADVANCE, STRIDE, TABLE, OUTPUTS, PER_TILE, STEP, AXIS) = range(9)
JOB_WORDS = AXES + 3 * AXIS

# Words of the job of `multiply`.
(P_GROUPS, P_SOURCES, P_TARGETS, P_COUNT, P_LANES, P_BLOCKS, PRODUCT_WORDS) = range(7)
# Target channels that one tile of products makes, and tiles of the source.
TARGETS_AT_ONCE, TILES_AT_ONCE = 3, 4


@compiled
def _axis(job: int, a: int) -> int:
    return job + 8 * (AXES + a * AXIS)


@compiled
def _tile_of(job: int, tile: int) -> Any:
    """Image and place along each axis of a tile."""
    d, h, w = _axis(job, 0), _axis(job, 1), _axis(job, 2)
    at_w, tile = tile % word(w, TILES), tile // word(w, TILES)
    at_h, tile = tile % word(h, TILES), tile // word(h, TILES)
    return tile // word(d, TILES), tile % word(d, TILES), at_h, at_w


@float_kernel
def cut_tiles(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """tiles[t, c, i, j, k] = source[n, c, at(i), at(j), at(k)], zero where there is no source.

    Operands: source, tiles, number of the first tile; items are pairs (t, c). The table of an axis
    holds for each sample its position in the source, -1 for a zero, then for how many samples from
    there on positions are neighbours.
    """
    channels = word(job, CHANNELS)
    d, h, w = _axis(job, 0), _axis(job, 1), _axis(job, 2)
    row = shift(element, word(operands, 1), begin * word(d, SIZE) * word(h, SIZE) * word(w, SIZE))
    for item in range(begin, end):
        n, at_d, at_h, at_w = _tile_of(job, word(operands, 2) + item // channels)
        offset = n * word(job, IMAGE_STRIDE) + item % channels * word(job, CHANNEL_STRIDE)
        plane = shift(element, word(operands, 0), offset)
        along_d = job + 8 * (word(d, TABLE) + 2 * at_d * word(d, ADVANCE))
        along_h = job + 8 * (word(h, TABLE) + 2 * at_h * word(h, ADVANCE))
        along_w = job + 8 * (word(w, TABLE) + 2 * at_w * word(w, ADVANCE))
        for i in range(word(d, SIZE)):
            for j in range(word(h, SIZE)):
                from_d, from_h = word(along_d, 2 * i), word(along_h, 2 * j)
                if from_d < 0 or from_h < 0:
                    clear(element, row, word(w, SIZE))
                else:
                    line = from_d * word(d, STRIDE) + from_h * word(h, STRIDE)
                    _cut_row(element, w, along_w, shift(element, plane, line), row)
                row = shift(element, row, word(w, SIZE))


@compiled
def _cut_row(element: Any, w: int, along: int, line: int, row: int) -> None:
    size, stride, j = word(w, SIZE), word(w, STRIDE), 0
    while j < size:
        at, run = word(along, 2 * j), min(word(along, 2 * j + 1), size - j)
        target = shift(element, row, j)
        if at < 0:
            clear(element, target, run)
        elif stride == 1:
            copy(element, target, shift(element, line, at), run)
        else:
            origin = shift(element, line, at * stride)
            for i in range(run):
                store(element, target, i, load(element, origin, i * stride))
        j += run


@float_kernel
def place_outputs(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """target[n, k, p] = activation(bias[k] + tiles[t, k, p * step - first of t])

    Operands: tiles, target, bias or 0, rows of scratch memory, number of the first tile; items are
    pairs (t, k).
    """
    channels = word(job, CHANNELS)
    d, h, w = _axis(job, 0), _axis(job, 1), _axis(job, 2)
    scratch = word(operands, 3) + thread * word(job, ROW_BYTES)
    for item in range(begin, end):
        n, at_d, at_h, at_w = _tile_of(job, word(operands, 4) + item // channels)
        size = word(d, SIZE) * word(h, SIZE) * word(w, SIZE)
        tile = shift(element, word(operands, 0), item * size)
        k = item % channels
        bias = 0.0
        if word(operands, 2):
            bias = load(element, word(operands, 2), k)
        plane = n * word(job, IMAGE_STRIDE) + k * word(job, CHANNEL_STRIDE)
        first_d, first_h = at_d * word(d, PER_TILE), at_h * word(h, PER_TILE)
        first_w = at_w * word(w, PER_TILE)
        count = min(word(w, PER_TILE), word(w, OUTPUTS) - first_w)
        for i in range(min(word(d, PER_TILE), word(d, OUTPUTS) - first_d)):
            for j in range(min(word(h, PER_TILE), word(h, OUTPUTS) - first_h)):
                line = (i * word(d, STEP) * word(h, SIZE) + j * word(h, STEP)) * word(w, SIZE)
                goal = plane + (first_d + i) * word(d, STRIDE) + (first_h + j) * word(h, STRIDE)
                goal = shift(element, word(operands, 1), goal + first_w * word(w, STRIDE))
                _place_row(element, job, w, shift(element, tile, line), goal, count, bias, scratch)


@compiled
def _place_row(
    element: Any, job: int, w: int, line: int, goal: int, count: int, bias: float, scratch: int
) -> None:
    step, stride = word(w, STEP), word(w, STRIDE)
    if word(job, ACTIVATION):
        for p in range(count):
            store(element, scratch, p, load(element, line, p * step) + bias)
        lanes = word(job, JOB_WORDS)
        whole = (count + lanes - 1) // lanes * lanes  # what lies behind the row means nothing
        call(word(job, ACTIVATION), scratch, 0, 0, whole, 0)
        line, step, bias = scratch, 1, 0.0
    if step == 1 and stride == 1:
        for p in range(count):
            store(element, goal, p, load(element, line, p) + bias)
    else:
        for p in range(count):
            store(element, goal, p * stride, load(element, line, p * step) + bias)


# ---- products -------------------------------------------------------------------------------


def _parts(e: Emit, vector: Any) -> list[Any]:
    """Real and imaginary parts of interleaved complex numbers, each twice side by side."""
    undefined = e.vector(ir.Undefined)
    kind = ir.VectorType(ir.IntType(32), e.lanes)
    masks = ([i // 2 * 2 + part for i in range(e.lanes)] for part in (0, 1))
    return [e.builder.shuffle_vector(vector, undefined, kind(mask)) for mask in masks]


def _products(tiles: int, targets: int) -> Any:
    """An intrinsic for a vector of frequencies of `tiles` tiles and `targets` channels."""

    @intrinsic
    def tile(
        typing: Any,
        element: Any,
        y: Any,
        tile_step: Any,
        target_step: Any,
        x: Any,
        source_step: Any,
        source_tile_step: Any,
        sources: Any,
        weights: Any,
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            y, tile_step, target_step, x, source_step, source_tile_step, sources, weights = args
            cells = [(t, k) for t in range(tiles) for k in range(targets)]
            starts = [e.shift(e.at(x), e.times(source_tile_step, t)) for t in range(tiles)]
            acc = [e.constant(0) for _ in cells]
            state = [e.at(weights), *starts, *acc]
            with e.loop(sources, state):
                row, here, acc = state[0], state[1 : 1 + tiles], state[1 + tiles :]
                pairs = [
                    [e.load(row, (2 * k + i) * e.lanes) for i in (0, 1)] for k in range(targets)
                ]
                for t in range(tiles):
                    real, imaginary = _parts(e, e.load(here[t]))
                    for k, (straight, turned) in enumerate(pairs):
                        i = t * targets + k
                        acc[i] = e.fma(imaginary, turned, e.fma(real, straight, acc[i]))
                moved = [e.shift(start, source_step) for start in here]
                state[:] = [e.shift(row, 2 * targets * e.lanes), *moved, *acc]
            for (t, k), value in zip(cells, state[1 + tiles :]):
                goal = e.shift(e.at(y), e.times(tile_step, t))
                e.store(value, e.shift(goal, e.times(target_step, k)))

        numbers = (y, tile_step, target_step, x, source_step, source_tile_step, sources, weights)
        return outlined(f"products_{tiles}_{targets}", emit, element, *numbers)

    return tile


# y[t, k, f] = sum over c of x[t, c, f] * weights[c, k, f] for one vector of frequencies: with
# x = a + ib it is a * w + b * (iw), and `weights` holds w and iw. Steps are in real numbers.
_products_4_3, _products_4_1 = _products(4, 3), _products(4, 1)
_products_1_3, _products_1_1 = _products(1, 3), _products(1, 1)


@float_kernel
def multiply(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y[t, g, k, f] = sum over c of x[t, g, c, f] * conj(w[g, k, c, f])

    Operands: x, weights, y, tiles; an item is a vector of frequencies of a group. The last vector
    of a spectrum overlaps the one before.
    """
    groups, sources, targets = word(job, P_GROUPS), word(job, P_SOURCES), word(job, P_TARGETS)
    width, lanes, blocks = 2 * word(job, P_COUNT), word(job, P_LANES), word(job, P_BLOCKS)
    tiles = word(operands, 3)
    for item in range(begin, end):
        group, first = item // blocks, min(item % blocks * lanes, width - lanes)
        weights = shift(element, word(operands, 1), item * targets * sources * 2 * lanes)
        x = shift(element, word(operands, 0), group * sources * width + first)
        y = shift(element, word(operands, 2), group * targets * width + first)
        x_tile, y_tile = groups * sources * width, groups * targets * width
        k = 0
        while k < targets:
            at_once = TARGETS_AT_ONCE if targets - k >= TARGETS_AT_ONCE else 1
            w = shift(element, weights, k * sources * 2 * lanes)
            t = 0
            while t < tiles:
                here = shift(element, x, t * x_tile)
                goal = shift(element, y, t * y_tile + k * width)
                if tiles - t >= TILES_AT_ONCE:
                    t += TILES_AT_ONCE
                    if at_once == 1:
                        _products_4_1(element, goal, y_tile, width, here, width, x_tile, sources, w)
                    else:
                        _products_4_3(element, goal, y_tile, width, here, width, x_tile, sources, w)
                else:
                    t += 1
                    if at_once == 1:
                        _products_1_1(element, goal, y_tile, width, here, width, x_tile, sources, w)
                    else:
                        _products_1_3(element, goal, y_tile, width, here, width, x_tile, sources, w)
            k += at_once


@intrinsic
def _correlate_spectrum(typing: Any, element: Any, x: Any, weights: Any, vectors: Any) -> Any:
    """x[f] *= conj(weights[f]) for so many vectors: w * (a + ib) + v * (b - ia) with w + iv."""

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = emitter(builder, element)
        x, weights, vectors = args
        signs = e.vector([e.scalar((1, -1)[i % 2]) for i in range(e.lanes)])
        swap = ir.VectorType(ir.IntType(32), e.lanes)([i ^ 1 for i in range(e.lanes)])
        with e.loop(vectors, []) as v:
            here, row = (e.shift(e.at(base), e.times(v, e.lanes)) for base in (x, weights))
            real, imaginary = _parts(e, e.load(row))
            value = e.load(here)
            turned = e.builder.shuffle_vector(value, e.vector(ir.Undefined), swap)
            turned = e.multiply(turned, signs)
            e.store(e.fma(imaginary, turned, e.multiply(real, value)), here)

    return outlined("correlate_spectrum", emit, element, x, weights, vectors)


@float_kernel
def multiply_alone(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """y[t, g, f] = x[t, g, f] * conj(w[g, f]) where y is x; an item is a part of a spectrum."""
    groups, width, lanes = word(job, P_GROUPS), 2 * word(job, P_COUNT), word(job, P_LANES)
    parts = word(operands, 2)
    for item in range(begin, end):
        spectrum, part = item // parts, item % parts
        first = part * width // parts // lanes * lanes
        last = width if part == parts - 1 else (part + 1) * width // parts // lanes * lanes
        x = shift(element, word(operands, 0), spectrum * width)
        weights = shift(element, word(operands, 1), spectrum % groups * width)
        vectors = (last - first) // lanes
        if vectors > 0:
            at = shift(element, x, first), shift(element, weights, first)
            _correlate_spectrum(element, at[0], at[1], vectors)
        for f in range(first + vectors * lanes, last, 2):
            a, b = load(element, x, f), load(element, x, f + 1)
            w, v = load(element, weights, f), load(element, weights, f + 1)
            store(element, x, f, a * w + b * v)
            store(element, x, f + 1, b * w - a * v)
