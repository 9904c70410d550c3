"""Winograd convolution: 3-tap filters with 2.25 products per output and channel instead of 9.

A tile is 4 x 4 (or 2 x 2) outputs. For each box of tiles: the window is packed as for a direct
convolution, each tile of it is transformed, the transformed tiles meet the transformed weights in
36 (or 16) matrix products by the same register tiles, and the sums are transformed back. Channels
lie in the lanes throughout, so no transform shuffles. Along depth the taps are summed as they are.

Legend: t tiles, e products of a tile, C channels, K output channels; V[e, t, C] are transformed
inputs, M[e, t, K] their products with the weights.
"""

from __future__ import annotations

from typing import Any

from .compile import compiled, float_kernel, inlined
from .epilogue import begin_block, finish, gather
from .job import (
    ACTIVATION,
    BLOCK,
    BLOCK_SIZE,
    BLOCKS,
    BUFFER_AT,
    DEPTH,
    DIRECT,
    EPILOGUE,
    EXTRA_AT,
    GOALS_AT,
    GROUPS,
    LANES,
    LINES,
    LINES_AT,
    SOURCE_GROUP,
    STEPS_AT,
    TAPS_AT,
    TARGET_CHANNEL,
    TARGETS,
)
from .lowering import BOX, GATHERED, OFFSETS_AT, PITCH, SPAN, STEP, TAPS
from .memory import call, clear, load, set_word, shift, store, word
from .outer import outer, set_steps
from .pack import axis_of, box_counts, box_firsts, enter_box, line_step
from .pack_weights import (
    W_BLOCK,
    W_BLOCKS,
    W_GROUP,
    W_HEADER,
    W_LANES,
    W_ROWS,
    W_TARGET,
    W_TARGETS,
    block_width,
)
from .transforms import (
    input_1x2,
    input_1x4,
    input_2x1,
    input_2x2,
    input_4x1,
    input_4x4,
    output_1x2,
    output_1x4,
    output_2x1,
    output_2x2,
    output_4x1,
    output_4x4,
    weight_1x2,
    weight_1x4,
    weight_2x1,
    weight_2x2,
    weight_4x1,
    weight_4x4,
)
from .transpose import lanes_of, transpose
from .unpack import store_run

# What Winograd needs beside a job: outputs of a tile and their products, sizes of the result,
# target strides of its pixels; elements from one V[e] to the next and from tile to tile in it;
# where a thread keeps what; blocks of output channels that are multiplied before they are
# transformed back.
(ROWS, COLUMNS, PRODUCTS, HEIGHT, WIDTH, ROW_STEP, COLUMN_STEP) = range(7)
(V_PLANE, V_PITCH, M_PLANE, DEPTHS_AT, ZEROS_AT, OUT_AT, V_AT, M_AT, THREAD) = range(7, 16)
(AT_ONCE, RUN, EXTRA_WORDS) = range(16, 19)


@float_kernel
def winograd(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """The same sums and items as `direct.correlate`; rounded differently.

    Operands: source, transformed weights, padded bias, target, workspace.
    """
    source, target = word(operands, 0), word(operands, 3)
    extra = job + 8 * word(job, EXTRA_AT)
    work = word(operands, 4) + thread * word(extra, THREAD)
    blocks, groups, block = word(job, BLOCKS), word(job, GROUPS), word(job, BLOCK)
    clear(element, work + word(extra, ZEROS_AT), block)
    item = begin
    while item < end:
        window, first = item // blocks, item % blocks
        last = min(blocks, first + end - item)
        group = window % groups
        tiles = _enter(element, job, extra, source, window // groups, group, work)
        for chunk in range(first, last, word(extra, AT_ONCE)):
            stop = min(last, chunk + word(extra, AT_ONCE))
            weights = shift(element, word(operands, 1), group * blocks * word(job, BLOCK_SIZE))
            _multiply(element, job, extra, weights, chunk, stop, tiles, work)
            for b in range(chunk, stop):
                bias = shift(element, word(operands, 2), (group * blocks + b) * block)
                channel = group * word(job, TARGETS) + b * block
                goal = shift(element, target, channel * word(job, TARGET_CHANNEL))
                _leave(
                    element,
                    job,
                    extra,
                    b - chunk,
                    b,
                    bias,
                    goal,
                    window // groups,
                    work,
                    word(operands, 6),
                    channel,
                )
        item += last - first


@inlined
def _enter(element: Any, job: int, extra: int, source: int, box: int, group: int, work: int) -> int:
    """V of a box, and where each of its tiles and depth taps lies in it; returns the tiles."""
    tiles = enter_box(job, source, box, group, work)
    counts, d = box_counts(job, box_firsts(job, box)), axis_of(job, 1)
    x = work + word(job, BUFFER_AT)
    if word(job, DIRECT):
        x = shift(element, source, group * word(job, SOURCE_GROUP))
    lines = work + word(job, LINES_AT)
    x = shift(element, x, word(lines, 0) + word(job, word(job, TAPS_AT)))
    depths, between = word(d, TAPS) * word(d, BOX), 1
    if word(d, GATHERED) == 0:
        depths, between = (counts[1] - 1) * word(d, STEP) + word(d, SPAN), word(d, STEP)
    pitch = word(extra, V_PITCH)
    v = work + word(extra, V_AT)
    step_n, step_h, step_w = line_step(job, 0), line_step(job, 2), line_step(job, 3)
    for n in range(counts[0]):
        for i in range(depths):
            plane = shift(element, x, n * step_n + i * word(d, PITCH))
            for h in range(counts[2]):
                for w in range(counts[3]):
                    here = shift(element, plane, h * step_h + w * step_w)
                    _transform_input(element, job, extra, here, v)
                    v = shift(element, v, pitch)
    area, t = counts[2] * counts[3], 0
    for n in range(counts[0]):
        for i in range(counts[1]):
            for j in range(area):
                set_word(lines, t, ((n * depths + i * between) * area + j) * pitch)
                t += 1
    for i in range(t, t + word(job, LINES)):
        set_word(lines, i, word(lines, t - 1))
    for k in range(word(d, TAPS)):
        here = k * word(d, BOX)
        if word(d, GATHERED) == 0:
            here = word(job, word(d, OFFSETS_AT) + k) - word(job, word(d, OFFSETS_AT))
        set_word(work + word(extra, DEPTHS_AT), k, here * area * pitch)
    return tiles


@compiled
def _transform_input(element: Any, job: int, extra: int, x: int, v: int) -> None:
    """One tile, all channels."""
    row, column = word(axis_of(job, 2), PITCH), word(axis_of(job, 3), PITCH)
    vectors, plane = -(-word(job, DEPTH) // word(job, LANES)), word(extra, V_PLANE)
    rows, columns = word(extra, ROWS), word(extra, COLUMNS)
    if columns == 4:
        if rows == 4:
            input_4x4(element, x, row, column, v, plane, vectors)
        else:
            input_1x4(element, x, row, column, v, plane, vectors)
    elif columns == 2:
        if rows == 2:
            input_2x2(element, x, row, column, v, plane, vectors)
        else:
            input_1x2(element, x, row, column, v, plane, vectors)
    elif rows == 4:
        input_4x1(element, x, row, column, v, plane, vectors)
    else:
        input_2x1(element, x, row, column, v, plane, vectors)


@inlined
def _multiply(
    element: Any,
    job: int,
    extra: int,
    weights: int,
    first: int,
    last: int,
    tiles: int,
    work: int,
) -> None:
    """M[b, e, t] = V[e, t] U[b, e] for the blocks `first` .. `last`."""
    lines, taps = work + word(job, LINES_AT), work + word(extra, DEPTHS_AT)
    zeros, count, depth = (
        work + word(extra, ZEROS_AT),
        word(axis_of(job, 1), TAPS),
        word(job, DEPTH),
    )
    height, block, products = word(job, LINES), word(job, BLOCK), word(extra, PRODUCTS)
    size, steps = word(job, BLOCK_SIZE) // products, work + word(job, STEPS_AT)
    for e in range(products):
        v = shift(element, work + word(extra, V_AT), e * word(extra, V_PLANE))
        for b in range(first, last):
            width = block_width(word(job, TARGETS) - b * block, block, word(job, LANES))
            u = shift(element, weights, b * word(job, BLOCK_SIZE) + e * size)
            index = ((b - first) * products + e) * word(extra, M_PLANE)
            m = shift(element, work + word(extra, M_AT), index)
            set_steps(steps, height, width)
            outer(
                element, m, steps, height * width, zeros, 0, v, lines, tiles, taps, count, depth, 1,
                u, height, width == block, 0, False, False,
            )  # fmt: skip


@inlined
def _leave(
    element: Any,
    job: int,
    extra: int,
    slot: int,
    b: int,
    bias: int,
    target: int,
    box: int,
    work: int,
    parameters: int,
    first_channel: int,
) -> None:
    """The outputs of a box for block `b`, which was multiplied into slot number `slot` of M."""
    firsts = box_firsts(job, box)
    counts = box_counts(job, firsts)
    remaining = word(job, TARGETS) - b * word(job, BLOCK)
    width = block_width(remaining, word(job, BLOCK), word(job, LANES))
    channels = min(width, remaining)
    rows, columns, run = word(extra, ROWS), word(extra, COLUMNS), word(extra, RUN)
    index = slot * word(extra, PRODUCTS) * word(extra, M_PLANE)
    m = shift(element, work + word(extra, M_AT), index)
    out, step = work + word(extra, OUT_AT), word(extra, COLUMN_STEP)
    goals, t, others = work + word(job, GOALS_AT), 0, False
    if word(job, EPILOGUE):
        others = begin_block(element, job, parameters, work, width, channels, first_channel)
    for _ in range(counts[0] * counts[1]):
        for h in range(counts[2]):
            height = min(rows, word(extra, HEIGHT) - (firsts[2] + h) * rows)
            for w in range(0, counts[3], run):
                side = min(run, counts[3] - w)
                line = side * columns
                for i in range(side):
                    sums = shift(element, m, (t + i) * width)
                    y = shift(element, out, i * columns * width)
                    _transform_output(element, job, extra, sums, bias, y, line * width, width)
                pixels = min(line, word(extra, WIDTH) - (firsts[3] + w) * columns)
                goal = shift(element, target, word(goals, t))
                if word(job, ACTIVATION):
                    call(word(job, ACTIVATION), out, 0, 0, height * line * width, 0)
                if word(job, EPILOGUE):
                    if others:
                        for r in range(height):
                            there = shift(element, goal, r * word(extra, ROW_STEP))
                            gather(
                                element, job, parameters, work, r * line, pixels, width, channels,
                                there, 0, step,
                            )  # fmt: skip
                    finish(job, work, out, height * line * width, width)
                for r in range(height):
                    there = shift(element, goal, r * word(extra, ROW_STEP))
                    y = shift(element, out, r * line * width)
                    channel = word(job, TARGET_CHANNEL)
                    store_run(element, there, step, channel, y, width, pixels, channels)
                t += side


@compiled
def _transform_output(
    element: Any, job: int, extra: int, m: int, bias: int, y: int, row: int, width: int
) -> None:
    """One tile, one block of output channels."""
    vectors, plane = width // word(job, LANES), word(extra, M_PLANE)
    rows, columns = word(extra, ROWS), word(extra, COLUMNS)
    if columns == 4:
        if rows == 4:
            output_4x4(element, m, plane, bias, y, row, width, vectors)
        else:
            output_1x4(element, m, plane, bias, y, row, width, vectors)
    elif columns == 2:
        if rows == 2:
            output_2x2(element, m, plane, bias, y, row, width, vectors)
        else:
            output_1x2(element, m, plane, bias, y, row, width, vectors)
    elif rows == 4:
        output_4x1(element, m, plane, bias, y, row, width, vectors)
    else:
        output_2x1(element, m, plane, bias, y, row, width, vectors)


# Words of a weight job beside those of `pack`: channels, outputs of a tile, products, and taps.
(U_CHANNELS, U_ROWS, U_COLUMNS, U_PRODUCTS, U_TAPS, U_WORDS) = range(6)


@float_kernel
def transform_weights(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """U[g, b, e, d, c, k] = (G w[g, b, k, c, d] G^T)[e], zero beyond the last target.

    Items are (g, b). Operands: weight, U, workspace, the words above.
    """
    weight, packed, extra = word(operands, 0), word(operands, 1), word(operands, 3)
    full, taps = word(job, W_BLOCK), word(extra, U_TAPS)
    scratch = shift(element, word(operands, 2), thread * taps * full)
    targets, blocks, rows = word(job, W_TARGETS), word(job, W_BLOCKS), word(job, W_ROWS)
    channels, step = word(extra, U_CHANNELS), word(job, W_TARGET)
    depths = rows // channels // taps
    plane = depths * channels * full
    for item in range(begin, end):
        first = item % blocks * full
        width = block_width(targets - first, full, word(job, W_LANES))
        present = min(width, targets - first)
        origin = shift(element, weight, item // blocks * word(job, W_GROUP) + first * step)
        u = shift(element, packed, item * word(extra, U_PRODUCTS) * plane)
        clear(element, scratch, taps * full)
        for d in range(depths):
            for c in range(channels):
                rows_at = job + 8 * (W_HEADER + d * taps * channels + c)
                flipped = _gather(
                    element, origin, rows_at, channels, taps, step, scratch, width, present
                )
                goal = shift(element, u, (d * channels + c) * width)
                _transform_weight(element, job, extra, scratch, flipped, goal, plane, width)


@inlined
def _gather(
    element: Any,
    weight: int,
    offsets: int,
    channels: int,
    taps: int,
    step: int,
    scratch: int,
    width: int,
    present: int,
) -> bool:
    """scratch[t, k] = tap t of the filter of one channel; returns whether they lie backwards."""
    first, last = word(offsets, 0), word(offsets, (taps - 1) * channels)
    forward = backward = True
    for t in range(1, taps):  # each: a transposed kernel has its ends where others have them
        hop = word(offsets, t * channels) - word(offsets, (t - 1) * channels)
        forward, backward = forward and hop == 1, backward and hop == -1
    if forward or backward:
        source = shift(element, weight, min(first, last))
        transpose(element, source, step, present, taps, scratch, width)
        return backward and taps > 1
    for t in range(taps):
        for k in range(present):
            value = load(element, weight, word(offsets, t * channels) + k * step)
            store(element, scratch, t * width + k, value)
    return False


@compiled
def _transform_weight(
    element: Any, job: int, extra: int, w: int, flipped: bool, u: int, plane: int, width: int
) -> None:
    """The filter of one channel, one block of output channels."""
    rows, columns, vectors = word(extra, U_ROWS), word(extra, U_COLUMNS), width // lanes_of(element)
    column = width
    if flipped:
        w, column = shift(element, w, (word(extra, U_TAPS) - 1) * width), -width
    if columns == 4:
        if rows == 4:
            weight_4x4(element, w, 3 * column, column, u, plane, vectors)
        else:
            weight_1x4(element, w, column, column, u, plane, vectors)
    elif columns == 2:
        if rows == 2:
            weight_2x2(element, w, 3 * column, column, u, plane, vectors)
        else:
            weight_1x2(element, w, column, column, u, plane, vectors)
    elif rows == 4:
        weight_4x1(element, w, column, column, u, plane, vectors)
    else:
        weight_2x1(element, w, column, column, u, plane, vectors)
