"""Running stencils: the tables of a geometry, and a user's pair of functions compiled once."""

from __future__ import annotations

import functools
import threading
import types
from typing import Any, NamedTuple

import numpy as np
from numba.extending import is_jitted

from ..arguments import Size
from ..geometry import ConvGeometry
from ..machine import machine
from ..sizes import window_extent
from . import launch
from .compile import Kernel
from .memory import address_of
from .scalar import identity, jitted
from .stencil import (
    AXES,
    COLUMN_BLOCKS,
    COLUMN_STRIDE,
    COLUMNS,
    DEPTH_GAP,
    DEPTH_STRIDE,
    DEPTH_TAPS,
    EXTENT,
    IN_PLACE,
    LOW,
    MODE,
    MODES,
    OUT_DEPTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    PADDED,
    PHASES,
    PHASES_AT,
    PITCH,
    PLANE_STRIDE,
    ROW_BLOCKS,
    ROW_STRIDE,
    ROWS,
    RUN,
    SIZE,
    SPAN,
    STEP,
    TAPS_AT,
    THREAD_BYTES,
    stencil,
    taps_of,
)
from .workspace import workspace

# Pairs of functions of one process: more means that somebody makes ever new ones.
MOST_PAIRS = 256
# Bytes that a thread may copy; dilated windows far beyond the input would take more.
MOST_BYTES = 1 << 32

_pairs: dict[Any, Pair] = {}
_lock = threading.Lock()


class Pair(NamedTuple):
    """A pair of functions as machine code."""

    address: int
    kept: Any  # what must live as long


def pair(op: str, combine: Any, reduce: Any, dtype: str, initial: bool) -> Pair:
    """The kernel of two functions, compiled once for all of the same code.

    Raises TypeError for what is no function of two numbers of `dtype`, or may raise.
    """
    functions = {"combine": _function(op, "combine", combine)}
    functions["reduce"] = _function(op, "reduce", reduce)
    key = (*map(identity, functions.values()), dtype, initial)
    with _lock:
        known = _pairs.get(key)
        if known is None:
            meanings = {"combine": "a cell and its weight", "reduce": "what is so far and one more"}
            made = {
                role: jitted(op, role, function, dtype, 2, meanings[role])
                for role, function in functions.items()
            }
            kernel = Kernel(taps_of(**made, initial=initial), (dtype,), on_disk=False)
            known = Pair(kernel.address(dtype), (kernel, made))
            if len(_pairs) >= MOST_PAIRS:
                _pairs.clear()
            _pairs[key] = known
        return known


def _function(op: str, role: str, function: Any) -> Any:
    """A function in Python; `max`, `operator.add`, `numpy.maximum` and the like within one."""
    if isinstance(function, types.BuiltinFunctionType | np.ufunc):
        return lambda a, b: function(a, b)
    if not (isinstance(function, types.FunctionType) or is_jitted(function)):
        raise TypeError(f"{op}: {role} must be a function of two numbers, not {function!r}")
    return function


@functools.lru_cache(maxsize=256)
def job_of(
    geometry: ConvGeometry, strides: Size, used: bytes | None, item_size: int, threads: int
) -> tuple[np.ndarray, int]:
    """The job for sources of these strides in elements, and the number of its items.

    `used` says of each tap whether it counts, if not all do.
    """
    g, lead = geometry, (1,) * (3 - geometry.rank)
    outputs, kernel, sizes = (*lead, *g.out_size), (*lead, *g.kernel_size), (*lead, *g.in_size)
    steps, gaps, padded = (*lead, *g.stride), (*lead, *g.dilation), (*lead, *g.padded_size)
    lows = (*(0 for _ in lead), *(low for low, _ in g.padding))
    phases = sorted({k * gaps[2] % steps[2] for k in range(kernel[2])})
    reach, extent = (kernel[2] - 1) * gaps[2] // steps[2], window_extent(kernel[1], gaps[1])
    planes = g.batch * outputs[0]
    cell = kernel[0] * len(phases) * item_size  # bytes of a row of the copy for each column
    columns = _columns(outputs, reach, extent * cell, planes, threads)
    pitch = columns + reach
    rows = _rows(outputs[1], steps[1], extent, cell * pitch, planes, threads)
    span, row = (rows - 1) * steps[1] + extent, len(phases) * pitch
    in_place = strides[3] == steps[2] == 1 and padded == sizes
    between = (
        (gaps[0] * strides[1], gaps[1] * strides[2]) if in_place else (span * row, gaps[1] * row)
    )
    taps = []
    for index, (k, r, s) in enumerate(np.ndindex(kernel)):
        if used is None or used[index]:
            phase = phases.index(s * gaps[2] % steps[2])
            at = phase * pitch + s * gaps[2] // steps[2]
            taps.append(k * between[0] + r * between[1] + at)
    job = np.zeros(PHASES_AT, np.int64)
    job[[OUT_DEPTH, OUT_HEIGHT, OUT_WIDTH]] = outputs
    job[[ROWS, ROW_BLOCKS]] = rows, -(-outputs[1] // rows)
    job[[COLUMNS, COLUMN_BLOCKS]] = columns, -(-outputs[2] // columns)
    job[[DEPTH_TAPS, DEPTH_GAP, EXTENT, SPAN]] = kernel[0], gaps[0], extent, span
    job[[PLANE_STRIDE, DEPTH_STRIDE, ROW_STRIDE, COLUMN_STRIDE]] = strides
    job[[IN_PLACE, PHASES, PITCH]] = in_place, len(phases), pitch
    size = 0 if in_place else kernel[0] * span * row * item_size
    if size > MOST_BYTES:
        raise ValueError(f"stencil: windows of {size} bytes, at most {MOST_BYTES} can be copied")
    job[THREAD_BYTES] = -(-size // 64) * 64
    job[MODE] = MODES.index(g.padding_mode)
    for words, values in zip(np.split(job[AXES:], 3), zip(lows, sizes, padded, steps)):
        words[[LOW, SIZE, PADDED, STEP]] = values
    job[TAPS_AT] = PHASES_AT + len(phases)
    items = planes * int(job[ROW_BLOCKS] * job[COLUMN_BLOCKS])
    return np.concatenate([job, phases, [len(taps), *taps]]), items


def _columns(outputs: Size, reach: int, bytes_each: int, planes: int, threads: int) -> int:
    """Columns of a block, in whole runs: see `_rows`."""
    fitting = machine().level2_bytes // 2 // bytes_each - reach
    wanted = -(-4 * threads // max(1, planes * outputs[1])) if threads > 1 else 1
    most = max(RUN, min(fitting // RUN * RUN, -(-outputs[2] // wanted // RUN) * RUN))
    return min(outputs[2], most)


def _rows(height: int, step: int, extent: int, row_bytes: int, planes: int, threads: int) -> int:
    """Rows of a block: what they reach fits half the second-level cache; work for all threads.

    But as many as one output spans: with fewer, more would be copied than is looked at.
    """
    fitting = (machine().level2_bytes // 2 // row_bytes - extent) // step + 1
    wanted = -(-4 * threads // max(1, planes)) if threads > 1 else 1
    return min(height, max(extent // step, min(fitting, -(-height // wanted)), 1))


def run(
    geometry: ConvGeometry,
    x: np.ndarray,
    numbers: np.ndarray,
    used: bytes | None,
    y: np.ndarray,
    function: int,
    threads: int | None,
) -> None:
    """y = the stencil of x; x of four axes (n, d, h, w), y dense, both of the compute dtype.

    Numbers: the value of the padding, the initial one, the weights of the taps that are used.
    `function` is the address of what walks the taps.
    """
    taps = len(numbers) - 2
    count = launch.thread_count(y.size * taps, threads)
    strides = tuple(stride // x.itemsize for stride in x.strides)
    job, items = job_of(geometry, strides, used, x.itemsize, count)
    with workspace(count * int(job[THREAD_BYTES])) as work:
        operands = address_of(x), address_of(y), address_of(numbers), work, function
        launch.run(stencil, x.dtype.name, job, operands, items, count)
