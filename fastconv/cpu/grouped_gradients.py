"""Weight gradient of a depthwise convolution by grouped tiles: both operands are read in place.

    G[k, t] = sum over n, o of x[n, k, o * step + offset[t]] * y[n, k, o]

A tile keeps neighbouring outputs in registers, and adds to the sums of a piece what each cell of
the source gives them. Channels or pixels lie in the lanes, as of the convolution itself; the sums
are vectors in memory, a *unit* of them for each block of channels, or for each plane. The lanes of
a plane's are added last.

Lines of outputs are cut into parts, and units into chunks, by the geometry alone; each part has
sums of its own, which are added in order. So the result does not depend on the number of threads.

Where a tile lacks outputs, what it reads meets zeros; if that is infinite, a sum is NaN that should
not be. A word says whether one is NaN, and the work must be done anew by `gradients`.
"""

from __future__ import annotations

from typing import Any

from .compile import inlined, kernel
from .grouped import (
    W_HEADER,
    W_LANES,
    W_ROWS,
    W_TARGETS,
    fill_rows,
    part_of,
    run_tiles,
)
from .grouped_gradient_tiles import channels_gradient, pixels_gradient
from .grouped_job import (
    BLOCKS,
    BLOCKS_AT,
    CLEAR_BLOCKS,
    IMAGES,
    LANES,
    OUTER,
    ROWS,
    SOURCE_PLANE,
    TARGET_PLANE,
    THREAD_BYTES,
    TILES,
)
from .grouped_tiles import BLOCK_WORDS
from .lowering import COUNT, SOURCE, TARGET
from .memory import clear, load, set_word, shift, store, word

# Words of their own that a gradient has beside its job: units, chunks of them, parts of the lines,
# lanes of a sum, and the elements of a unit's sums.
(G_UNITS, G_CHUNKS, G_PARTS, G_LANES, G_SIZE, G_WORDS) = range(6)


@inlined
def _partials(
    element: Any,
    tile: Any,
    pixels: bool,
    job: int,
    operands: int,
    begin: int,
    end: int,
    thread: int,
) -> None:
    """Sums of a family, whose `tile` it is. Items are (chunk of units, part of lines)."""
    extra, images = word(operands, 5), part_of(job, IMAGES)
    units, chunks, parts = word(extra, G_UNITS), word(extra, G_CHUNKS), word(extra, G_PARTS)
    outers, rows = part_of(job, OUTER), part_of(job, ROWS)
    lines = word(images, COUNT) * word(outers, COUNT) * word(rows, COUNT)
    size, tiles = word(extra, G_SIZE), word(job, TILES)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    clear(element, work, 2 * word(job, LANES))
    set_word(word(operands, 2), 0, 0)
    for item in range(begin, end):
        part, chunk = item % parts, item // parts
        first, beyond = chunk * units // chunks, (chunk + 1) * units // chunks
        sums = shift(element, word(operands, 1), (part * units + first) * size)
        clear(element, sums, (beyond - first) * size)
        for line in range(part * lines // parts, (part + 1) * lines // parts):
            row, outer = line % word(rows, COUNT), line // word(rows, COUNT)
            image, outer = outer // word(outers, COUNT), outer % word(outers, COUNT)
            all_there = fill_rows(job, outer, row, work)
            x = shift(element, word(operands, 0), image * word(images, SOURCE))
            y = image * word(images, TARGET) + outer * word(outers, TARGET)
            y = shift(element, word(operands, 3), y + row * word(rows, TARGET))
            if not pixels:
                blocks = beyond - first
                table = job + 8 * (word(job, BLOCKS_AT) + first * BLOCK_WORDS)
                run_tiles(
                    element, tile, job, x, y, all_there, work, sums, y, table, blocks, blocks, 0,
                    0, tiles,
                )  # fmt: skip
                continue
            blocks, table = word(job, BLOCKS), job + 8 * word(job, BLOCKS_AT)
            for plane in range(first, beyond):
                own = shift(element, sums, (plane - first) * size)
                from_ = shift(element, x, plane * word(job, SOURCE_PLANE))
                to = shift(element, y, plane * word(job, TARGET_PLANE))
                run_tiles(
                    element, tile, job, from_, to, all_there, work, own, to, table, blocks,
                    word(job, CLEAR_BLOCKS), 0, 0, tiles,
                )  # fmt: skip


@kernel
def channel_partials(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """sums[part, block, t, lane] = sum of x * y over the lines of a part, channels in the lanes

    Operands of these kernels: source, sums, a word to zero, gradient of the output, workspace, and
    the address of the gradient's own words.
    """
    _partials(element, channels_gradient, False, job, operands, begin, end, thread)


@kernel
def pixel_partials(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """sums[part, plane, t, lane], pixels of a row in the lanes"""
    _partials(element, pixels_gradient, True, job, operands, begin, end, thread)


@kernel
def reduce_partials(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """weight[target, row] = sum over parts, and of pixels over lanes, of a unit's sums

    Items are units; the job is that of `grouped.pack_rows`. Operands: sums, weight, a word to set
    if a sum is NaN, and the address of the gradient's own words. The first part takes the sums.
    """
    weight, extra, rows = word(operands, 1), word(operands, 3), word(job, W_ROWS)
    size, units, across = word(extra, G_SIZE), word(extra, G_UNITS), word(extra, G_LANES)
    lanes, offsets = word(job, W_LANES), job + 8 * (W_HEADER + word(job, W_TARGETS))
    for unit in range(begin, end):
        total = shift(element, word(operands, 0), unit * size)
        for part in range(1, word(extra, G_PARTS)):
            other = shift(element, total, part * units * size)
            for i in range(size):
                store(element, total, i, load(element, total, i) + load(element, other, i))
        first = min(unit * lanes, word(job, W_TARGETS) - lanes)
        for lane in range(lanes):
            base = shift(element, weight, word(job, W_HEADER + first + lane))
            for r in range(rows):
                value = load(element, total, r * across + lane)
                for other in range(lanes, across):  # of a plane, whose only target is lane 0
                    value += load(element, total, r * across + other)
                store(element, base, word(offsets, r), value)
                if value != value:
                    set_word(word(operands, 2), 0, 1)
