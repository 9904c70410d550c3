"""Jobs of grouped tiles: what is worked on together, and where it lies, as one int64 array.

The axes of a correlation (see `lowering`) take five parts: images, two axes of *rows*, the *slide*
along which a tile's outputs lie, and what lies *across* it in the lanes. Of CHANNELS and GROUPS
the slide is one of the three axes of pixels, and channels lie across; of PIXELS and WOVEN the rows
are the depth alone, the slide is the height, and the width lies across.

An item is a strip of tiles along the slide, in one row of one image; of pixels in one plane of it.
Like `job`, this is plain arithmetic on numbers and arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from .grouped_tiles import (
    B_SOURCE,
    B_TARGET,
    BLOCK_WORDS,
    BY_PIXELS,
    HEIGHT,
    OUTSIDE,
    P_ACROSS,
    P_OFFSET,
    P_ROW,
    P_TAP,
    PAIRS,
    PIECE,
    PIECE_WORDS,
    WOVEN,
)
from .lowering import (
    AXIS_WORDS,
    COUNT,
    FIRST,
    MODE,
    OFFSETS_AT,
    SIZE,
    SOURCE,
    SPAN,
    STEP,
    TAPS,
    TARGET,
)
from .pack import source_position

# The parts that axes take.
(IMAGES, OUTER, ROWS, SLIDE, ACROSS, PARTS) = range(6)

# Words of a header; PARTS axes follow, then tables.
(ITEMS, PLANES, STRIPS, STRIP, TILES, CHUNKS, CHUNK, WHOLE_BLOCKS, BLOCKS) = range(9)
(INNER, INNER_END, MULTIPLIER, SOURCE_PLANE, TARGET_PLANE) = range(9, 14)
(WEIGHTS, LANES, SIZE_ACROSS, COUNT_ACROSS, CLEAR_BLOCKS, ACTIVATION) = range(14, 20)
(PIECES_AT, BLOCKS_AT, CELLS_AT, CELLS, REGULAR, THREAD_BYTES) = range(20, 26)
# How many pieces have several taps and how many one; then those of a second phase.
PIECES, HEADER = 26, 30

# What a caller says about channels: all of the target and of the source, those of a group, and the
# elements between them.
(C_TARGETS, C_SOURCES, C_OUTPUTS, C_INPUTS, C_SOURCE_STEP, C_TARGET_STEP, C_WORDS) = range(7)
# About the tile: lanes of a vector, items wanted, and whether blocks of pixels may overlap.
(T_LANES, T_ITEMS, T_OVERLAP, T_WORDS) = range(4)

# A piece as it is listed: its taps along the two axes of rows, the first along the slide, its place
# across, how many taps it has, and of WOVEN the phase of a row.
(L_OUTER, L_ROW, L_TAP, L_ACROSS, L_TAPS, L_PHASE, LISTED) = range(7)

# A thread's workspace: three vectors and one for sums (at most 64 bytes each), then the rows.
ROWS_AT = 256


@register_jitable
def parts_of_axes(axes: Any, family: int) -> Any:
    """The axes by the parts they take."""
    parts = np.zeros((PARTS, AXIS_WORDS), np.int64)
    for part in range(PARTS):  # an axis of one cell, met by one tap
        parts[part, COUNT], parts[part, STEP], parts[part, SIZE] = 1, 1, 1
        parts[part, TAPS], parts[part, SPAN] = 1, 1
    parts[IMAGES] = axes[0]
    if family in BY_PIXELS:
        parts[ROWS], parts[SLIDE], parts[ACROSS] = axes[1], axes[2], axes[3]
        return parts
    slide, best = 3, 0.0
    for a in (3, 2, 1):  # the axis of which tiles are fullest
        share = axes[a, COUNT] / (-(-axes[a, COUNT] // HEIGHT) * HEIGHT)
        if share > best:
            slide, best = a, share
    rest = [a for a in (1, 2, 3) if a != slide]
    parts[OUTER], parts[ROWS], parts[SLIDE] = axes[rest[0]], axes[rest[1]], axes[slide]
    return parts


def weave(even: Any, odd: Any) -> Any:
    """Both phases of a row of the target as one correlation, and the taps of the first.

    A phase is (axes, offsets, places, start), see `lowering`. The axes are those of the first, but
    for the width: all pixels, and the taps of both.
    """
    axes, start = even[0].copy(), even[3]
    tables, first, second, width = [], even[0][3], odd[0][3], axes[3]
    width[COUNT], width[TARGET] = first[COUNT] + second[COUNT], odd[3] - start
    width[TAPS], width[OFFSETS_AT] = first[TAPS] + second[TAPS], len(even[1])
    width[FIRST] = min(first[FIRST], second[FIRST])
    width[SPAN] = max(first[FIRST] + first[SPAN], second[FIRST] + second[SPAN]) - width[FIRST]
    for table in (1, 2):  # offsets, places
        found = [even[table]]
        for phase, row in ((even, first), (odd, second)):
            found.append(phase[table][row[OFFSETS_AT] :][: row[TAPS]])
        tables.append(np.concatenate(found))
    return axes, tables[0], tables[1], start, first[TAPS]


@register_jitable
def list_pieces(parts: Any, offsets: Any, family: int, depth: int, evens: int) -> Any:
    """All pieces, first those of several taps. `depth`: inputs that an output meets at a tap.

    Of WOVEN those of one phase, then of the other; `evens` is how many taps across the first has.
    """
    slide = parts[SLIDE]
    taps, at = slide[TAPS], slide[OFFSETS_AT]
    lengths = np.ones(taps, np.int64)  # 0: within a piece
    t = 0
    while t < taps:
        whole = slide[STEP] <= 2 and t + PIECE <= taps
        if whole and offsets[at + t + PIECE - 1] - offsets[at + t] == PIECE - 1:
            lengths[t] = PIECE
            lengths[t + 1 : t + PIECE] = 0
            t += PIECE
        else:
            t += 1
    across = parts[ACROSS, TAPS] if family in BY_PIXELS else depth
    evens = evens if family == WOVEN else across
    total = parts[OUTER, TAPS] * parts[ROWS, TAPS] * across * np.count_nonzero(lengths)
    pieces = np.zeros((total, LISTED), np.int64)
    i = 0
    for phase, begin, end in ((0, 0, evens), (1, evens, across)):
        for length in (PIECE, 1):
            for outer in range(parts[OUTER, TAPS]):
                for row in range(parts[ROWS, TAPS]):
                    for t in range(taps):
                        if lengths[t] == length:
                            for c in range(begin, end):
                                piece = pieces[i]
                                piece[L_OUTER], piece[L_ROW], piece[L_TAP] = outer, row, t
                                piece[L_ACROSS], piece[L_TAPS], piece[L_PHASE] = c, length, phase
                                i += 1
    return pieces


@register_jitable
def weight_rows(parts: Any, places: Any, pieces: Any, family: int, depth_step: int) -> Any:
    """Weight offset of each row of weights: piece by piece, tap by tap.

    The sources of `parts` are here the weight's strides; `depth_step` is the one along the inputs
    of a group, of which pixels have one.
    """
    rows = np.empty(pieces[:, L_TAPS].sum(), np.int64)
    r = 0
    for i in range(len(pieces)):
        piece = pieces[i]
        base = places[parts[OUTER, OFFSETS_AT] + piece[L_OUTER]] * parts[OUTER, SOURCE]
        base += places[parts[ROWS, OFFSETS_AT] + piece[L_ROW]] * parts[ROWS, SOURCE]
        if family in BY_PIXELS:
            base += places[parts[ACROSS, OFFSETS_AT] + piece[L_ACROSS]] * parts[ACROSS, SOURCE]
        else:
            base += piece[L_ACROSS] * depth_step
        for t in range(piece[L_TAPS]):
            place = places[parts[SLIDE, OFFSETS_AT] + piece[L_TAP] + t]
            rows[r] = base + place * parts[SLIDE, SOURCE]
            r += 1
    return rows


@register_jitable
def grouped_job(
    parts: Any, offsets: Any, pieces: Any, family: int, channels: Any, tile: Any, activation: int
) -> Any:
    """The job for `parts` of axes and a list of pieces."""
    lanes = tile[T_LANES]
    slide, across = parts[SLIDE], parts[ACROSS]
    phases = 2 if family == WOVEN else 1
    blocks = _pixel_blocks(across, lanes, phases, tile[T_OVERLAP])
    clear, width = _clear_blocks(blocks, across, lanes, phases), across[COUNT]
    if family not in BY_PIXELS:
        width = channels[C_TARGETS]
        blocks = channel_blocks(channels, family, lanes)
        clear = len(blocks)
    tiles = -(-slide[COUNT] // HEIGHT)
    cells = (HEIGHT - 1) * slide[STEP] + slide[SPAN]
    inner, inner_end = _inner_tiles(slide, tiles)
    words = np.empty((len(pieces), PIECE_WORDS), np.int64)
    for i in range(len(pieces)):
        piece, made = pieces[i], words[i]
        made[P_ROW] = piece[L_OUTER] * parts[ROWS, TAPS] + piece[L_ROW]
        made[P_TAP] = offsets[slide[OFFSETS_AT] + piece[L_TAP]] - slide[FIRST]
        made[P_OFFSET] = made[P_TAP] * slide[SOURCE]
        made[P_ACROSS] = piece[L_ACROSS]
        if family in BY_PIXELS:
            made[P_ACROSS] = offsets[across[OFFSETS_AT] + piece[L_ACROSS]]
            made[P_OFFSET] += made[P_ACROSS]
    outside = np.empty((tiles - (inner_end - inner) + 1, cells), np.int64)
    regular = len(outside) - 1  # of tiles inside whose rows are not
    outside[regular] = slide[SOURCE] * np.arange(cells)
    for i in range(regular):
        number = i if i < inner else i - inner + inner_end
        first = number * HEIGHT * slide[STEP] + slide[FIRST]
        for j in range(cells):
            position = source_position(first + j, slide[SIZE], slide[MODE])
            outside[i, j] = OUTSIDE if position < 0 else position * slide[SOURCE]

    header = np.zeros(HEADER, np.int64)
    images = parts[IMAGES, COUNT]
    planes = channels[C_TARGETS] if family in BY_PIXELS else 1
    rows = images * planes * parts[OUTER, COUNT] * parts[ROWS, COUNT]
    strips = min(tiles, max(1, -(-tile[T_ITEMS] // max(rows, 1))))
    strip = -(-tiles // strips)
    strips = -(-tiles // strip)
    whole = 1 if family in BY_PIXELS else max(1, width // lanes)
    chunks = 1
    if family not in BY_PIXELS:
        chunks = min(whole, max(1, -(-tile[T_ITEMS] // max(rows * strips, 1))))
    chunk = -(-whole // chunks)
    chunks = -(-whole // chunk)
    header[PLANES], header[STRIPS], header[STRIP], header[TILES] = planes, strips, strip, tiles
    header[CHUNKS], header[CHUNK], header[WHOLE_BLOCKS] = chunks, chunk, whole
    header[BLOCKS], header[CLEAR_BLOCKS] = len(blocks), clear
    header[ITEMS] = rows * strips * chunks
    header[INNER], header[INNER_END] = inner, inner_end
    for i in range(len(pieces)):
        header[PIECES + 2 * pieces[i, L_PHASE] + (pieces[i, L_TAPS] == 1)] += 1
    header[MULTIPLIER] = channels[C_OUTPUTS] // channels[C_INPUTS]
    header[SOURCE_PLANE], header[TARGET_PLANE] = channels[C_SOURCE_STEP], channels[C_TARGET_STEP]
    header[WEIGHTS] = pieces[:, L_TAPS].sum() * (1 if family in BY_PIXELS else lanes)
    header[LANES], header[SIZE_ACROSS], header[COUNT_ACROSS] = lanes, across[SIZE], width
    header[ACTIVATION], header[CELLS], header[REGULAR] = activation, cells, regular
    header[THREAD_BYTES] = ROWS_AT + -(-parts[OUTER, TAPS] * parts[ROWS, TAPS] // 8) * 64
    at = HEADER + PARTS * AXIS_WORDS
    header[PIECES_AT] = at + len(offsets)
    header[BLOCKS_AT] = header[PIECES_AT] + words.size
    header[CELLS_AT] = header[BLOCKS_AT] + blocks.size
    placed = parts.copy()
    placed[:, OFFSETS_AT] += at
    return np.concatenate(
        (header, placed.ravel(), offsets, words.ravel(), blocks.ravel(), outside.ravel())
    )


@register_jitable
def border_cells(parts: Any) -> int:
    """Cells in the tables of all tiles that see a border of the slide."""
    slide = parts[SLIDE]
    tiles = -(-slide[COUNT] // HEIGHT)
    inner, inner_end = _inner_tiles(slide, tiles)
    return (tiles - (inner_end - inner)) * ((HEIGHT - 1) * slide[STEP] + slide[SPAN])


@register_jitable
def _inner_tiles(slide: Any, tiles: int) -> Any:
    """The first whole tile that sees no border, and the end of these tiles."""
    hop = HEIGHT * slide[STEP]
    inner = min(tiles, max(0, (hop - 1 - slide[FIRST]) // hop))
    room = slide[SIZE] - slide[FIRST] - slide[SPAN] + slide[STEP]
    end = max(inner, min(slide[COUNT] // HEIGHT, room // hop))
    return inner, end


@register_jitable
def _pixel_blocks(across: Any, lanes: int, phases: int, overlap: int) -> Any:
    """Blocks of pixels, those without a border first; one that may overlap ends with its row."""
    count = -(-across[COUNT] // phases)
    blocks = np.empty((-(-count // lanes), BLOCK_WORDS), np.int64)
    i, j = 0, len(blocks) - 1
    for b in range(len(blocks)):
        first = max(0, min(b * lanes, count - lanes)) if overlap else b * lanes
        at = i if _is_clear(across, first, lanes, phases) else j
        if at == i:
            i += 1
        else:
            j -= 1
        blocks[at, B_TARGET], blocks[at, B_SOURCE] = first * phases, first * across[STEP]
    return blocks


@register_jitable
def _is_clear(across: Any, first: int, lanes: int, phases: int) -> bool:
    """Whether a block has no lane, and its taps none, beyond the borders of a row."""
    low = first * across[STEP] + across[FIRST]
    high = (first + lanes - 1) * across[STEP] + across[FIRST] + across[SPAN]
    return low >= 0 and high <= across[SIZE] and (first + lanes) * phases <= across[COUNT]


@register_jitable
def _clear_blocks(blocks: Any, across: Any, lanes: int, phases: int) -> int:
    clear = 0
    for b in range(len(blocks)):
        clear += _is_clear(across, blocks[b, B_TARGET] // phases, lanes, phases)
    return clear


@register_jitable
def channel_blocks(channels: Any, family: int, lanes: int) -> Any:
    """Blocks of output channels; the last one ends with the channels."""
    targets, sources = channels[C_TARGETS], channels[C_SOURCES]
    blocks = np.empty((-(-targets // lanes), BLOCK_WORDS), np.int64)
    window = 2 * lanes if family == PAIRS else lanes
    for b in range(len(blocks)):
        first = min(b * lanes, targets - lanes)
        group = first // channels[C_OUTPUTS]
        blocks[b, B_TARGET] = first
        blocks[b, B_SOURCE] = min(group * channels[C_INPUTS], sources - window)
    return blocks


@register_jitable
def channel_indices(blocks: Any, channels: Any, lanes: int) -> Any:
    """Which channel, counted from its block's first, each lane takes as its group's first."""
    indices = np.empty((len(blocks), lanes), np.int64)
    for b in range(len(blocks)):
        for lane in range(lanes):
            group = (blocks[b, B_TARGET] + lane) // channels[C_OUTPUTS]
            indices[b, lane] = group * channels[C_INPUTS] - blocks[b, B_SOURCE]
    return indices
