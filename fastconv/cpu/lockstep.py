"""Convolution and pooling of images in lockstep, (C, *spatial, N) in memory, and their gradients.

See `lockstep_tiles`. Three axes D, H, W always; one and two have axes of size one. No two work
items share an output and each sums in its own order, so the bits do not depend on the number of
threads.
"""

from __future__ import annotations

from typing import Any

from .compile import compiled, float_kernel
from .lockstep_tiles import (
    GATHER_BLOCKS,
    VECTORS,
    dot,
    gather,
    tally,
    window_maximum,
    window_slope,
)
from .memory import clear, copy, load, shift, store, word
from .transpose import transpose

# Words of a job that walks targets by tables of taps: what there is in a group, elements between
# channels and between groups, how many gather tiles of each kind make up the targets, and for each
# axis its targets, the elements from one to the next, and where its table begins. A table is, for n
# targets, n + 1 numbers of entries, then the entries.
(GROUPS, TARGETS, DEPTH, LANES, IMAGES) = range(5)
(X_CHANNEL, Y_CHANNEL, W_TARGET, W_SOURCE, W_GROUP, TILES) = range(5, 11)
AXES_AT = TILES + len(GATHER_BLOCKS)
(COUNT, STEP, TABLE, AXIS_WORDS) = range(4)
GATHER_WORDS = AXES_AT + 3 * AXIS_WORDS


@compiled
def _four_words(address: int) -> Any:
    return word(address, 0), word(address, 1), word(address, 2), word(address, 3)


@compiled
def _axis(job: int, axis: int) -> int:
    """Address of the words of an axis."""
    return job + 8 * (AXES_AT + axis * AXIS_WORDS)


@compiled
def _entries(job: int, axis: int, target: int) -> Any:
    """Address and number of the entries that meet a target of an axis."""
    table = job + 8 * word(_axis(job, axis), TABLE)
    begin, end = word(table, target), word(table, target + 1)
    first = table + 8 * (word(_axis(job, axis), COUNT) + 1)
    return first + 16 * begin, end - begin


@float_kernel
def lockstep_sums(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y[k, p, n] = bias[k] + sum over c, taps t of p of weight[k, c, t] * x[c, p.t, n]

    The targets are the output channels, or in an input gradient the input channels. Items are (two
    vectors of images, D, H). Operands: x, weight, bias, y.
    """
    x, weights, bias, y = _four_words(operands)
    lanes, images, depth = word(job, LANES), word(job, IMAGES), word(job, DEPTH)
    d_axis, h_axis = _axis(job, 0), _axis(job, 1)
    for item in range(begin, end):
        h, rest = item % word(h_axis, COUNT), item // word(h_axis, COUNT)
        d, s = rest % word(d_axis, COUNT), rest // word(d_axis, COUNT) * VECTORS
        row = d * word(d_axis, STEP) + h * word(h_axis, STEP) + s * lanes
        for group in range(word(job, GROUPS)):
            source = shift(element, x, group * depth * word(job, X_CHANNEL) + s * lanes)
            factors = shift(element, weights, group * word(job, W_GROUP))
            first = 0
            for kind in range(len(GATHER_BLOCKS)):
                for _ in range(word(job, TILES + kind)):
                    channel = group * word(job, TARGETS) + first
                    place = row + channel * word(job, Y_CHANNEL)
                    _sum_row(
                        element, job, kind, d, h, shift(element, y, place),
                        word(job, TARGETS) - first, shift(element, bias, channel), source,
                        shift(element, factors, first * word(job, W_TARGET)), s + 1 < images,
                    )  # fmt: skip
                    first += GATHER_BLOCKS[kind]


@compiled
def _sum_row(
    element: Any,
    job: int,
    kind: int,
    d: int,
    h: int,
    y: int,
    present: int,
    bias: int,
    x: int,
    weights: int,
    wide: bool,
) -> None:
    """A row of pixels of a block of targets."""
    lanes, y_channel = word(job, LANES), word(job, Y_CHANNEL)
    steps = (
        word(job, DEPTH), word(job, X_CHANNEL), y_channel, word(job, W_TARGET), word(job, W_SOURCE)
    )  # fmt: skip
    present = min(present, GATHER_BLOCKS[kind])
    tile = kind if wide else kind + len(GATHER_BLOCKS)
    w = 0
    while w < word(_axis(job, 2), COUNT):
        tables = _tables(job, d, h, w)
        goal = shift(element, y, w * word(_axis(job, 2), STEP))
        w += max(tables[6], 1)
        if tables[6] == 0:  # no tap reaches this pixel
            for k in range(present):
                for i in range(lanes * (VECTORS if wide else 1)):
                    store(element, goal, k * y_channel + i, load(element, bias, k))
        else:
            gather(element, tile, goal, present, bias, x, tables, weights, steps)


@compiled
def _tables(job: int, d: int, h: int, w: int) -> Any:
    """What a tile is told of the row (d, h) from pixel w on, until the first without an entry."""
    d_table, d_count = _entries(job, 0, d)
    h_table, h_count = _entries(job, 1, h)
    axis = _axis(job, 2)
    bounds = job + 8 * word(axis, TABLE)
    entries = bounds + 8 * (word(axis, COUNT) + 1)
    last = w
    if d_count * h_count:
        while last < word(axis, COUNT) and word(bounds, last) < word(bounds, last + 1):
            last += 1
    row = (d_table, d_count, h_table, h_count)
    return (*row, bounds + 8 * w, entries, last - w, word(axis, STEP))


# Words of a weight gradient's job: what there is in a group; the tile, with its target channels and
# rows; elements between groups and between channels; of each axis its pixels and how far apart they
# lie in x and in the gradient; vectors of images, their lanes, and whether the pixels of a row lie
# side by side in both; the pixels of a chunk along H and W. Then the x offset of every row.
(D_GROUPS, D_TARGETS, D_ROWS, D_TILE, D_BLOCK, D_HEIGHT, D_X_GROUP, D_G_CHANNEL, D_AXES) = range(9)
(D_VECTORS, D_LANES, D_JOINED, D_CHUNK_H, D_CHUNK_W, DOT_WORDS) = range(D_AXES + 9, D_AXES + 15)


@float_kernel
def lockstep_products(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """weight[k, r] = sum over pixels p, images n of gradient[k, p, n] * x[row(r) + p, n]

    r is a source channel of the group and a tap. Items are (group, block of k, block of r). All go
    through a chunk of pixels before any goes on, so that the chunk is read from memory once.
    Operands: x, gradient, weight, bias or 0: bias[k] = sum over p, n of gradient[k, p, n].
    """
    for item in range(begin, end):
        _clear_products(element, job, operands, item)
    depths, heights, widths = word(job, D_AXES), word(job, D_AXES + 3), word(job, D_AXES + 6)
    for d in range(depths):
        for h in range(0, heights, word(job, D_CHUNK_H)):
            rows = min(word(job, D_CHUNK_H), heights - h)
            for w in range(0, widths, word(job, D_CHUNK_W)):
                pixels = min(word(job, D_CHUNK_W), widths - w)
                for item in range(begin, end):
                    _products(element, job, operands, item, (d, h, w), rows, pixels)


@compiled
def _place(job: int, item: int) -> Any:
    """(first k of the group, first r, group) of an item of a weight gradient."""
    parts = -(-word(job, D_ROWS) // word(job, D_HEIGHT))
    blocks = -(-word(job, D_TARGETS) // word(job, D_BLOCK))
    rest = item // parts
    return rest % blocks * word(job, D_BLOCK), item % parts * word(job, D_HEIGHT), rest // blocks


@compiled
def _clear_products(element: Any, job: int, operands: int, item: int) -> None:
    """Zeros for the sums of an item."""
    k, r, group = _place(job, item)
    targets, lines = word(job, D_TARGETS), word(job, D_ROWS)
    first, count = group * targets + k, min(word(job, D_BLOCK), targets - k)
    for channel in range(first, first + count):
        goal = shift(element, word(operands, 2), channel * lines + r)
        clear(element, goal, min(word(job, D_HEIGHT), lines - r))
    if r == 0 and word(operands, 3):
        clear(element, shift(element, word(operands, 3), first), count)


@compiled
def _products(
    element: Any, job: int, operands: int, item: int, first: Any, rows: int, pixels: int
) -> None:
    """An item for the pixels of a chunk that begins at `first`."""
    x, gradient, weight, bias = _four_words(operands)
    targets, lines = word(job, D_TARGETS), word(job, D_ROWS)
    block, plane = word(job, D_BLOCK), word(job, D_G_CHANNEL)
    k, r, group = _place(job, item)
    channel, vectors = group * targets + k, word(job, D_VECTORS)
    counts = (rows, 1, pixels * vectors) if word(job, D_JOINED) else (rows, pixels, vectors)
    x_steps, x_first = _chunk(job, 1, first)
    g_steps, g_first = _chunk(job, 2, first)
    source = shift(element, x, group * word(job, D_X_GROUP) + x_first)
    slopes = shift(element, gradient, channel * plane + g_first)
    goal = shift(element, weight, channel * lines + r)
    if r == 0 and bias:
        total, counted = shift(element, bias, channel), min(block, targets - k)
        for i in range(0, counted, 4):
            here, goals = shift(element, slopes, i * plane), shift(element, total, i)
            tally(element, goals, here, plane, counted - i, counts, g_steps)
    table, shape = job + 8 * (DOT_WORDS + r), (targets - k, lines - r, lines, plane)
    tile = word(job, D_TILE)
    dot(element, tile, goal, slopes, source, table, shape, counts, x_steps, g_steps)


@compiled
def _chunk(job: int, side: int, first: Any) -> Any:
    """Steps in x (side 1) or the gradient (2) along H, W and N, and where a chunk begins there."""
    d, h = word(job, D_AXES + side), word(job, D_AXES + 3 + side)
    w = word(job, D_AXES + 6 + side)
    return (h, w, word(job, D_LANES)), first[0] * d + first[1] * h + first[2] * w


@float_kernel
def lockstep_maxima(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """y[c, p, n] = max over taps of x, choice[c, p, n] the number of the tap.

    Items are (c, D, H). Operands: x, y, choices, whether a ReLU follows.
    """
    x, y, choices, rectified = _four_words(operands)
    for item in range(begin, end):
        c, d, h, row = _row(job, item)
        source, goal = shift(element, x, c * word(job, X_CHANNEL)), shift(element, y, row)
        tables = _tables(job, d, h, 0)  # every window has a cell
        window_maximum(element, goal, choices + row, source, tables, word(job, IMAGES), rectified)


@float_kernel
def lockstep_slopes(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """y[c, i, n] = sum of gradient[c, p, n] over the windows p that chose cell i.

    Items are (c, D, H). Operands: gradient, y, choices.
    """
    gradient, y, choices, _ = _four_words(operands)
    for item in range(begin, end):
        c, d, h, row = _row(job, item)
        first = c * word(job, X_CHANNEL)
        slopes, chosen = shift(element, gradient, first), choices + first
        w = 0
        while w < word(_axis(job, 2), COUNT):
            tables = _tables(job, d, h, w)
            goal = shift(element, y, row + w * word(_axis(job, 2), STEP))
            w += max(tables[6], 1)
            if tables[6]:
                window_slope(element, goal, slopes, chosen, tables, word(job, IMAGES))
            else:  # no window has this cell
                clear(element, goal, word(job, IMAGES) * word(job, LANES))


@compiled
def _row(job: int, item: int) -> Any:
    """(channel, D, H) of an item, and the first element of its row."""
    heights, depths = word(_axis(job, 1), COUNT), word(_axis(job, 0), COUNT)
    h, rest = item % heights, item // heights
    d, c = rest % depths, rest // depths
    row = d * word(_axis(job, 0), STEP) + h * word(_axis(job, 1), STEP)
    return c, d, h, c * word(job, Y_CHANNEL) + row


@float_kernel
def lockstep_turn(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y[c, d, h, w, n] = x[n, c, d, h, w], where y may have a margin; items are (c, D, H).

    The words of an axis are its size, and the steps in y and in x. Operands: x, y.
    """
    x, y = word(operands, 0), word(operands, 1)
    images, width = word(job, IMAGES), word(_axis(job, 2), COUNT)
    for item in range(begin, end):
        c, d, h, row = _row(job, item)
        line = c * word(job, X_CHANNEL)
        line += d * word(_axis(job, 0), TABLE) + h * word(_axis(job, 1), TABLE)
        goal = shift(element, y, row)
        transpose(element, shift(element, x, line), word(job, DEPTH), images, width, goal, images)


@float_kernel
def lockstep_frame(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """y[c, d, h, w, n] = x[c, d, h, w, n], where y has a margin; job and items of `lockstep_turn`.

    But the steps in x are those of images in lockstep.
    """
    x, y = word(operands, 0), word(operands, 1)
    count = word(job, IMAGES) * word(_axis(job, 2), COUNT)
    for item in range(begin, end):
        c, d, h, row = _row(job, item)
        line = c * word(job, X_CHANNEL)
        line += d * word(_axis(job, 0), TABLE) + h * word(_axis(job, 1), TABLE)
        copy(element, shift(element, y, row), shift(element, x, line), count)
