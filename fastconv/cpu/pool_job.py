"""Jobs of pooling: the numbers of one problem in one memory format, laid out for the kernel.

A job is one int64 array: a header, the runs of the axes D, H and W, and where a long row is cut
into parts. It does not depend on the strides of the input, which come with its address at each
call. Like `windows` this is arithmetic on numbers and arrays, and compiles into nopython code too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from .windows import (
    A_COUNT,
    A_DILATION,
    A_KERNEL,
    A_SIZE,
    COUNT,
    FIRST,
    GAP,
    RUN_WORDS,
    STEP,
    TAPS,
    Axis,
    covering_runs,
    window_runs,
)

(SUM, MAX, ARGMAX) = range(3)
# What lies in the lanes: pixels of a row, channels that are side by side in memory, or planes. To
# have planes there, bands of as many planes as a vector has lanes are transposed first: that serves
# short rows, and windows or cells that do not lie evenly.
(PIXELS, CHANNELS, PLANES) = range(3)

# Words of a header. A DIVISOR of 0 is the product of the windows' shares; WIDTH counts what is side
# by side in a pixel, PARTS of it are items of their own; COLUMNS is the length of a row to be
# pooled over D and H first, or 0; SCRATCH counts elements for each thread; a table begins where its
# _AT says.
(MODE, FORM, DIVISOR, WIDTH, WIDTH_PARTS, COLUMNS, SCRATCH, ITEMS, WORK) = range(9)
(D_SIZE, H_SIZE, W_SIZE, D_RUNS, H_RUNS, PARTS) = range(9, 15)
(D_AT, H_AT, W_AT, PARTS_AT) = range(15, 19)
# Cells of the plane from one cell of an axis to the next, cells of an axis from one tap to the
# next, and their products, cells of the plane from one tap to the next.
(D_PLACE, H_PLACE, W_PLACE, D_DILATION, H_DILATION, W_DILATION) = range(19, 25)
(D_TAP, H_TAP, W_TAP) = range(25, 28)
# With PLANES: how many there are, cells and outputs of each, depth and row length of the input, the
# bands, each the H runs begin .. end and the rows begin .. end that they look at, and where the
# scratch memory of outputs and of indices begins.
(COUNT_PLANES, CELLS, OUTPUTS, DEPTH, ROW, BANDS, BANDS_AT) = range(28, 35)
(OUT_AT, INDICES_AT, CHANNEL_COUNT, HEADER) = range(35, 39)

# Longest runs along H and W. A work item is one output of D, one run of H and a part of a row: 16
# rows share the costs of a run, which are those of one short row, and a long row is cut.
MOST_ROWS, MOST_PIXELS = 16, 8192
# Bytes of a thread's scratch memory: half a level-2 cache or less.
SCRATCH_BYTES = 256 << 10
# Channels of a part, four cache lines of float32, and items enough for every machine's threads.
PART_CHANNELS, ENOUGH_ITEMS = 64, 16


@register_jitable
def pool_job(
    mode: int,
    batch: int,
    channels: int,
    channels_last: bool,
    along: tuple[Axis, Axis, Axis],
    divisor: int,
    covering: bool,
    lanes: int,
    item_size: int,
) -> Any:
    """The job for these axes, of pooling their windows, or if `covering` of its sums' gradient.

    `lanes` are those of a vector if planes of the input lie in memory one after the other, each
    dense, else 0.
    """
    source, target = (A_COUNT, A_SIZE) if covering else (A_SIZE, A_COUNT)
    planes = batch * channels
    cells, row, outputs = 1, along[2][source], along[2][target]
    for a in range(3):
        cells *= along[a][source]
    form, width = PIXELS, 1
    if channels_last:
        form, width = CHANNELS, channels
    elif 0 < lanes <= planes and outputs <= MOST_PIXELS and _turns(along, covering, lanes, mode):
        form, width = PLANES, lanes
    budget = SCRATCH_BYTES // item_size
    most_rows = MOST_ROWS
    if form != PIXELS:
        each = along[0][source] * row * width if form == PLANES else row * width
        most_rows = min(max(budget // each, 1), MOST_ROWS)
    if covering:
        d_runs, h_runs = covering_runs(along[0], 1), covering_runs(along[1], most_rows)
        w_runs = covering_runs(along[2], MOST_PIXELS)
    else:
        d_runs, h_runs = window_runs(along[0], 1), window_runs(along[1], most_rows)
        w_runs = window_runs(along[2], MOST_PIXELS)
    across, up = int(w_runs[:, TAPS].max()), int(d_runs[:, TAPS].max() * h_runs[:, TAPS].max())
    parts = min(-(-outputs // MOST_PIXELS), len(w_runs))
    bands = _bands(h_runs, along[1][A_DILATION], budget // (along[0][source] * row * max(lanes, 1)))
    size = (len(d_runs) + len(h_runs) + len(w_runs)) * RUN_WORDS
    job = np.zeros(HEADER + size + parts + 1 + bands.size, np.int64)
    job[MODE], job[FORM], job[DIVISOR], job[PARTS] = mode, form, divisor, parts
    job[WIDTH], job[WIDTH_PARTS], job[CHANNEL_COUNT] = width, 1, channels
    job[D_RUNS], job[H_RUNS], job[BANDS] = len(d_runs), len(h_runs), len(bands)
    if mode != ARGMAX and 1 < outputs <= MOST_PIXELS:
        vector = 16 if form == PIXELS else 1
        job[COLUMNS] = row if _columns_first(row, outputs, across, up, vector) else 0
    rows = h_runs[:, COUNT].max()
    job[SCRATCH] = job[COLUMNS] * rows * width
    if form == PIXELS and w_runs[:, GAP].max() > 1:
        job[SCRATCH] += rows * w_runs[:, COUNT].max()
    job[ITEMS] = len(d_runs) * len(h_runs) * parts
    if form == PLANES:
        job[COUNT_PLANES], job[CELLS], job[DEPTH], job[ROW] = planes, cells, along[0][source], row
        slab = int((bands[:, 3] - bands[:, 2]).max())
        job[OUT_AT] = job[SCRATCH] + slab * along[0][source] * row * lanes
        job[INDICES_AT] = job[OUT_AT] + rows * outputs * lanes
        job[SCRATCH] = job[INDICES_AT]
        if mode == ARGMAX:
            job[SCRATCH] += rows * outputs * lanes * 8 // item_size
        job[ITEMS] = -(-planes // lanes) * len(bands)
    elif form == CHANNELS:
        if batch * job[ITEMS] < ENOUGH_ITEMS:
            job[WIDTH_PARTS] = max(1, channels // PART_CHANNELS)
        job[ITEMS] *= batch * job[WIDTH_PARTS]
    else:
        job[ITEMS] *= planes
    work, place, at = planes * across * up, 1, HEADER
    job[OUTPUTS] = 1
    for a in (2, 1, 0):
        work *= along[a][target]
        job[OUTPUTS] *= along[a][target]
        job[D_SIZE + a], job[D_DILATION + a] = along[a][target], along[a][A_DILATION]
        job[D_PLACE + a], job[D_TAP + a] = place, place * along[a][A_DILATION]
        place *= along[a][source]
    job[WORK] = min(max(work, planes * cells), 2**62)
    for a, table in enumerate((d_runs, h_runs, w_runs)):
        job[D_AT + a] = at
        job[at : at + table.size] = table.ravel()
        at += table.size
    job[PARTS_AT] = at
    for part in range(parts + 1):
        job[at + part] = part * len(w_runs) // parts
    job[BANDS_AT] = at + parts + 1
    job[job[BANDS_AT] :] = bands.ravel()
    return job


@register_jitable
def _columns_first(cells: int, outputs: int, across: int, up: int, vector: int) -> bool:
    """Whether to pool a row's cells over D and H first, and the windows of those `columns` then.

    Windows that overlap share their columns, and columns fill the vectors when windows are few.
    Both ways are counted in vectors that they visit, of so many cells of a row.
    """
    at_once = -(-outputs // vector) * up * across
    return -(-cells // vector) * up + -(-outputs // vector) * across < at_once


@register_jitable
def _bands(h_runs: Any, dilation: int, most_rows: int) -> Any:
    """Runs that follow each other and together look at few enough rows, shape (bands, 4)."""
    found = [(0, 0, 0, 0)]
    begin, low, high = 0, 2**62, 0
    for i in range(len(h_runs)):
        run = h_runs[i]
        first = run[FIRST]
        stop = first + (run[COUNT] - 1) * run[STEP] + max(run[TAPS] - 1, 0) * dilation + 1
        if run[TAPS] == 0:
            first, stop = low, high
        if i > begin and max(high, stop) - min(low, first) > most_rows:
            found.append((begin, i, min(low, high), high))
            begin, low, high = i, 2**62, 0
            if run[TAPS] == 0:
                first, stop = low, high
        low, high = min(low, first), max(high, stop)
    found.append((begin, len(h_runs), min(low, high), high))
    return np.array(found[1:], np.int64)


@register_jitable
def _turns(along: tuple[Axis, Axis, Axis], covering: bool, lanes: int, mode: int) -> bool:
    """Whether planes should lie in the lanes: both ways in cycles for as many planes as lanes."""
    source, target = (A_COUNT, A_SIZE) if covering else (A_SIZE, A_COUNT)
    runs = covering_runs(along[2], MOST_PIXELS) if covering else window_runs(along[2], MOST_PIXELS)
    taps, cells, outputs, rows = 1, 1, 1, along[0][target] * along[1][target]
    for a in range(3):
        cells, outputs = cells * along[a][source], outputs * along[a][target]
        if not covering:
            taps *= along[a][A_KERNEL]
    if outputs == 1:
        return False
    by_rows = 0
    for run in runs:
        vectors = -(-run[COUNT] // lanes)
        each = 3 if run[STEP] == 1 else 6 if run[STEP] == 2 else 40
        by_rows += RUN_CYCLES + vectors * taps * each + (3 * run[COUNT] if run[GAP] > 1 else 0)
    turned = TURN_CYCLES * (cells + outputs * (3 if mode == ARGMAX else 1)) + outputs * taps * 2
    return by_rows * rows * lanes > turned


# Guessed cycles of a run of outputs in a row, and of a vector to transpose.
RUN_CYCLES, TURN_CYCLES = 20, 10
