"""Convolution by grouped tiles: where an output channel meets one input channel, or few.

The source is read in place. A table per row tells where its taps' rows are, one per tile at a
border where its cells are; what lies outside is read from a vector of zeros. So padding, its modes,
dilation and rank are solved without a copy.
"""

from __future__ import annotations

from typing import Any

from .compile import compiled, inlined, kernel
from .grouped_job import (
    ACTIVATION,
    BLOCKS,
    BLOCKS_AT,
    CELLS,
    CELLS_AT,
    CHUNK,
    CHUNKS,
    CLEAR_BLOCKS,
    COUNT_ACROSS,
    HEADER,
    IMAGES,
    INNER,
    INNER_END,
    LANES,
    MULTIPLIER,
    OUTER,
    PIECES,
    PIECES_AT,
    PLANES,
    REGULAR,
    ROWS,
    ROWS_AT,
    SIZE_ACROSS,
    SLIDE,
    SOURCE_PLANE,
    STRIP,
    STRIPS,
    TARGET_PLANE,
    THREAD_BYTES,
    TILES,
    WEIGHTS,
)
from .grouped_tiles import (
    BLOCK_WORDS,
    HEIGHT,
    OUTSIDE,
    channels_tile,
    groups_tile,
    pairs_tile,
    pixels_tile,
    woven_tile,
)
from .lowering import AXIS_WORDS, COUNT, FIRST, MODE, OFFSETS_AT, SIZE, SOURCE, STEP, TAPS, TARGET
from .memory import call, clear, copy, load, set_word, shift, store, word
from .pack import source_position


@compiled
def part_of(job: int, part: int) -> int:
    """Address of the words of an axis."""
    return job + 8 * (HEADER + part * AXIS_WORDS)


@compiled
def _position(job: int, axis: int, output: int, tap: int) -> int:
    """Where an output of an axis meets a tap; -1 outside."""
    at = output * word(axis, STEP) + word(job, word(axis, OFFSETS_AT) + tap)
    return source_position(at, word(axis, SIZE), word(axis, MODE))


@compiled
def fill_rows(job: int, outer: int, row: int, work: int) -> bool:
    """Note where the taps' rows lie in an image; whether all of them are there."""
    outer_axis, row_axis = part_of(job, OUTER), part_of(job, ROWS)
    taps, all_there, at = word(row_axis, TAPS), True, 0
    for i in range(word(outer_axis, TAPS)):
        plane = _position(job, outer_axis, outer, i)
        for j in range(taps):
            line = _position(job, row_axis, row, j)
            offset = plane * word(outer_axis, SOURCE) + line * word(row_axis, SOURCE)
            if plane < 0 or line < 0:
                offset, all_there = OUTSIDE, False
            set_word(work + ROWS_AT, at, offset)
            at += 1
    return all_there


@compiled
def _item(job: int, item: int) -> Any:
    """(image, plane, strip, outer, row, chunk) of an item."""
    chunk, item = item % word(job, CHUNKS), item // word(job, CHUNKS)
    rows, outers = word(part_of(job, ROWS), COUNT), word(part_of(job, OUTER), COUNT)
    row, item = item % rows, item // rows
    outer, item = item % outers, item // outers
    strip, item = item % word(job, STRIPS), item // word(job, STRIPS)
    plane, image = item % word(job, PLANES), item // word(job, PLANES)
    return image, plane, strip, outer, row, chunk


@compiled
def _tile_cells(job: int, number: int) -> int:
    """Which table of cells a tile at a border has; -1 for one that sees none."""
    inner, inner_end = word(job, INNER), word(job, INNER_END)
    if inner <= number < inner_end:
        return -1
    return number if number < inner else number - (inner_end - inner)


@compiled
def _activate(element: Any, job: int, run: int, count: int, work: int) -> None:
    """Apply the activation to `count` values side by side; it takes whole vectors of them."""
    lanes, activation = word(job, LANES), word(job, ACTIVATION)
    whole = count // lanes * lanes
    if whole:
        call(activation, run, 0, 0, whole, 0)
    if whole < count:
        rest = shift(element, run, whole)
        copy(element, work, rest, count - whole)
        call(activation, work, 0, 0, lanes, 0)
        copy(element, rest, work, count - whole)


@compiled
def _finish(
    element: Any, job: int, y: int, begin: int, end: int, first: int, width: int, work: int
) -> None:
    """Activate the outputs `begin` .. `end` of a strip, `width` of them across from `first` on."""
    slide = part_of(job, SLIDE)
    pitch, end = word(slide, TARGET), min(end, word(slide, COUNT))
    run = shift(element, y, begin * pitch + first)
    if pitch == width:
        _activate(element, job, run, (end - begin) * width, work)
        return
    for _ in range(begin, end):
        _activate(element, job, run, width, work)
        run = shift(element, run, pitch)


@inlined
def _slide(
    element: Any,
    tile: Any,
    pixels: bool,
    job: int,
    operands: int,
    begin: int,
    end: int,
    thread: int,
) -> None:
    """Items of a family, whose `tile` it is."""
    lanes = word(job, LANES)
    work = word(operands, 4) + thread * word(job, THREAD_BYTES)
    spare = shift(element, work, 2 * lanes)
    clear(element, work, 2 * lanes)
    for item in range(begin, end):
        image, plane, strip, outer, row, chunk = _item(job, item)
        all_there = fill_rows(job, outer, row, work)
        x = image * word(part_of(job, IMAGES), SOURCE)
        x += plane // word(job, MULTIPLIER) * word(job, SOURCE_PLANE)
        y = image * word(part_of(job, IMAGES), TARGET) + plane * word(job, TARGET_PLANE)
        y += outer * word(part_of(job, OUTER), TARGET) + row * word(part_of(job, ROWS), TARGET)
        x, y = shift(element, word(operands, 0), x), shift(element, word(operands, 3), y)
        first, blocks = chunk * word(job, CHUNK), word(job, CHUNK)
        width = blocks * lanes
        if chunk == word(job, CHUNKS) - 1:
            blocks, width = word(job, BLOCKS) - first, word(job, COUNT_ACROSS) - first * lanes
        index = plane if pixels else first
        weights = shift(element, word(operands, 1), index * word(job, WEIGHTS))
        bias = shift(element, word(operands, 2), plane)
        table = job + 8 * (word(job, BLOCKS_AT) + first * BLOCK_WORDS)
        indices = shift(element, word(operands, 5), first * lanes)
        clear_blocks = min(blocks, word(job, CLEAR_BLOCKS)) if pixels else blocks
        begun = strip * word(job, STRIP)
        ended = min(word(job, TILES), begun + word(job, STRIP))
        run_tiles(
            element, tile, job, x, y, all_there, work, weights, bias, table, blocks, clear_blocks,
            indices, begun, ended,
        )  # fmt: skip
        if word(job, ACTIVATION):
            run_end = ended * HEIGHT
            _finish(element, job, y, begun * HEIGHT, run_end, first * lanes, width, spare)


@inlined
def run_tiles(
    element: Any,
    tile: Any,
    job: int,
    x: int,
    y: int,
    all_there: bool,
    work: int,
    weights: int,
    bias: int,
    table: int,
    blocks: int,
    clear_blocks: int,
    indices: int,
    begun: int,
    ended: int,
) -> None:
    """Tiles `begun` .. `ended` along the slide, for the blocks at `table`; `work` has its rows."""
    slide = part_of(job, SLIDE)
    for number in range(begun, ended):
        done = number * HEIGHT
        cells, cell = _tile_cells(job, number), 0
        if cells < 0:
            cell = done * word(slide, STEP) + word(slide, FIRST)
            cells = -1 if all_there else word(job, REGULAR)
        cells_at = 0
        if cells >= 0:
            cells_at = job + 8 * (word(job, CELLS_AT) + cells * word(job, CELLS))
        tile(
            element,
            shift(element, y, done * word(slide, TARGET)),
            word(slide, TARGET),
            shift(element, x, cell * word(slide, SOURCE)),
            word(slide, SOURCE),
            word(slide, STEP),
            work + ROWS_AT,
            job + 8 * word(job, PIECES_AT),
            job + 8 * PIECES,
            weights,
            bias,
            table,
            blocks,
            clear_blocks,
            cells_at,
            min(HEIGHT, word(slide, COUNT) - done),
            work,
            indices,
            word(job, SIZE_ACROSS),
            word(job, COUNT_ACROSS),
        )


@kernel
def slide_channels(
    element: Any, job: int, operands: int, begin: int, end: int, thread: int
) -> None:
    """y[n, k, o] = act(bias[k] + sum over t of x[n, k, o * step + offset[t]] * w[k, t])

    Operands of these kernels: source, weights, bias, target, workspace, indices of channels.
    """
    _slide(element, channels_tile, False, job, operands, begin, end, thread)


@kernel
def slide_groups(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y[n, k, o] = act(bias[k] + sum over t, c of x[n, i + c, o * step + offset[t]] * w[k, c, t])

    where i is the first input of the group of k. Inputs of a block lie within a vector.
    """
    _slide(element, groups_tile, False, job, operands, begin, end, thread)


@kernel
def slide_pairs(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """The same where the inputs of a block lie within two vectors."""
    _slide(element, pairs_tile, False, job, operands, begin, end, thread)


@kernel
def slide_pixels(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """The sums of `slide_channels`, with several outputs k for each input, by rows of pixels."""
    _slide(element, pixels_tile, True, job, operands, begin, end, thread)


@kernel
def slide_woven(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """The same for two phases of a row, whose outputs lie in turns."""
    _slide(element, woven_tile, True, job, operands, begin, end, thread)


# Words of a packing job; tables of offsets in the weight follow: of each target, of each row.
(W_TARGETS, W_ROWS, W_LANES, W_HEADER) = range(4)


@kernel
def pack_rows(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """packed[b, r, l] = weight[target first(b) + l, row r]; operands: weight, packed.

    Items are blocks of lanes; the last one ends with the targets.
    """
    weight, lanes, rows = word(operands, 0), word(job, W_LANES), word(job, W_ROWS)
    offsets = job + 8 * (W_HEADER + word(job, W_TARGETS))
    for block in range(begin, end):
        first = min(block * lanes, word(job, W_TARGETS) - lanes)
        targets = job + 8 * (W_HEADER + first)
        packed = shift(element, word(operands, 1), block * rows * lanes)
        for lane in range(lanes):
            base = shift(element, weight, word(targets, lane))
            for r in range(rows):
                store(element, packed, r * lanes + lane, load(element, base, word(offsets, r)))
