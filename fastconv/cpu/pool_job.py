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
    A_SIZE,
    COUNT,
    GAP,
    RUN_WORDS,
    TAPS,
    Axis,
    covering_runs,
    window_runs,
)

(SUM, MAX, ARGMAX) = range(3)

# Words of a header. A DIVISOR of 0 is the product of the windows' shares; COLUMNS is the length of
# a row to be pooled over D and H first, or 0; SCRATCH counts elements for each thread; a table
# begins where its _AT says.
(MODE, CHANNELS, CHANNELS_LAST, DIVISOR, COLUMNS, SCRATCH, ITEMS, WORK) = range(8)
(D_SIZE, H_SIZE, W_SIZE, D_RUNS, H_RUNS, PARTS) = range(8, 14)
(D_AT, H_AT, W_AT, PARTS_AT) = range(14, 18)
# Cells of the plane from one cell of an axis to the next, cells of an axis from one tap to the
# next, and their products, cells of the plane from one tap to the next.
(D_PLACE, H_PLACE, W_PLACE, D_DILATION, H_DILATION, W_DILATION) = range(18, 24)
(D_TAP, H_TAP, W_TAP, HEADER) = range(24, 28)

# Longest runs along H and W. A work item is one output of D, one run of H and a part of a row: 16
# rows share the costs of a run, which are those of one short row, and a long row is cut.
MOST_ROWS, MOST_PIXELS = 16, 8192


@register_jitable
def pool_job(
    mode: int,
    batch: int,
    channels: int,
    channels_last: bool,
    along: tuple[Axis, Axis, Axis],
    divisor: int,
    covering: bool,
) -> Any:
    """The job for these axes, of pooling their windows, or if `covering` of its sums' gradient."""
    if covering:
        d_runs, h_runs = covering_runs(along[0], 1), covering_runs(along[1], MOST_ROWS)
        w_runs = covering_runs(along[2], MOST_PIXELS)
        source, target = A_COUNT, A_SIZE
    else:
        d_runs, h_runs = window_runs(along[0], 1), window_runs(along[1], MOST_ROWS)
        w_runs = window_runs(along[2], MOST_PIXELS)
        source, target = A_SIZE, A_COUNT
    across, up = int(w_runs[:, TAPS].max()), int(d_runs[:, TAPS].max() * h_runs[:, TAPS].max())
    cells, outputs = along[2][source], along[2][target]
    parts = min(-(-outputs // MOST_PIXELS), len(w_runs))
    size = (len(d_runs) + len(h_runs) + len(w_runs)) * RUN_WORDS
    job = np.zeros(HEADER + size + parts + 1, np.int64)
    job[MODE], job[CHANNELS], job[DIVISOR], job[PARTS] = mode, channels, divisor, parts
    job[CHANNELS_LAST], job[D_RUNS], job[H_RUNS] = channels_last, len(d_runs), len(h_runs)
    if mode != ARGMAX and not channels_last and 1 < outputs <= MOST_PIXELS:
        job[COLUMNS] = cells if _columns_first(cells, outputs, across, up) else 0
    spread = not channels_last and w_runs[:, GAP].max() > 1
    job[SCRATCH] = job[COLUMNS] * h_runs[:, COUNT].max() + (outputs if spread else 0)
    planes = batch if channels_last else batch * channels
    job[ITEMS] = planes * len(d_runs) * len(h_runs) * parts
    work, place, at = batch * channels * across * up, 1, HEADER
    for a in (2, 1, 0):
        work *= along[a][target]
        job[D_SIZE + a], job[D_DILATION + a] = along[a][target], along[a][A_DILATION]
        job[D_PLACE + a], job[D_TAP + a] = place, place * along[a][A_DILATION]
        place *= along[a][source]
    job[WORK] = min(work, 2**62)
    for a, table in enumerate((d_runs, h_runs, w_runs)):
        job[D_AT + a] = at
        job[at : at + table.size] = table.ravel()
        at += table.size
    job[PARTS_AT] = at
    for part in range(parts + 1):
        job[at + part] = part * len(w_runs) // parts
    return job


@register_jitable
def _columns_first(cells: int, outputs: int, across: int, up: int) -> bool:
    """Whether to pool a row's cells over D and H first, and the windows of those `columns` then.

    Windows that overlap share their columns, and columns fill the vectors when windows are few.
    Both ways are counted in vectors of 16 that they visit.
    """
    at_once = -(-outputs // 16) * up * across
    return -(-cells // 16) * up + -(-outputs // 16) * across < at_once
