"""Matrix products of operands that are read in place: dense layers in training.

    C[m, v] = bias[m] + sum over t of A[m * a_row + t * a_step] * B[t * b_row + v]

A tile is HEIGHT rows m by two vectors of v. Elements of A are broadcast, whatever their steps; rows
of B and C are contiguous. So neither a weight nor its transpose is packed: which of the three
products of a layer it is says which operand is A. No sum is shared between work items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import intrinsic

from ..machine import machine
from .compile import compiled, float_kernel
from .emit import Emit, emitter, i64, outlined
from .lanes import Lanes
from .launch import run_on, thread_count
from .memory import shift, word

# Words of a job.
(ROWS, TERMS, COLUMNS, A_ROW, A_STEP, B_ROW, C_ROW, LANES, HEIGHT, WORDS) = range(10)


def _height() -> int:
    """Rows of a tile: their sums, two vectors of B and an element of A are held in registers."""
    return 8 if machine().vector_registers >= 32 else 6


def _emit_tile(e: Emit, vectors: int, load: Any, store: Any, args: Any) -> None:
    """The equation for one tile; rows beyond the last are the last one again."""
    b = e.builder
    c, present, bias, biased, first, second, steps = args
    terms, a_row, a_step, b_row, c_row = (b.extract_value(steps, i) for i in range(5))
    c, bias, first, second = map(e.at, (c, bias, first, second))
    height, last = _height(), b.sub(present, i64(1))
    rows = [b.select(b.icmp_signed("<", i64(m), last), i64(m), last) for m in range(height)]
    places = [e.times(row, a_row) for row in rows]
    starts = [e.broadcast(bias, e.times(row, biased)) for row in rows]
    state = [start for start in starts for _ in range(vectors)]
    with e.loop(terms, state) as t:
        line, cell = e.shift(second, e.times(t, b_row)), e.shift(first, e.times(t, a_step))
        values = [load(e.shift(line, v * e.lanes)) for v in range(vectors)]
        for m in range(height):
            factor = e.broadcast(cell, places[m])
            for v in range(vectors):
                i = m * vectors + v
                state[i] = e.fma(factor, values[v], state[i])
    for m in range(height):
        goal = e.shift(c, e.times(rows[m], c_row))
        for v in range(vectors):
            store(state[m * vectors + v], e.shift(goal, v * e.lanes))


@intrinsic
def product_wide(
    typing: Any, element: Any, c: Any, present: Any, bias: Any, biased: Any, a: Any, b: Any,
    steps: Any,
) -> Any:  # fmt: skip
    """A tile of two whole vectors; `biased` is 1, or 0 for one bias of all rows."""

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = emitter(builder, element)
        _emit_tile(e, 2, e.load, e.store, args)

    return outlined("product_wide", emit, element, c, present, bias, biased, a, b, steps)


@intrinsic
def product_last(
    typing: Any, element: Any, c: Any, present: Any, bias: Any, biased: Any, a: Any, b: Any,
    steps: Any, alive: Any,
) -> Any:  # fmt: skip
    """A tile of one vector, of which `alive` lanes are there."""

    def emit(builder: Any, element: Any, *args: Any) -> None:
        *numbers, alive = args
        e = Lanes(builder, element, i64(1), alive)

        def load(cell: Any) -> Any:
            return e.row(cell, 0, alive)

        def store(value: Any, cell: Any) -> None:
            e.put(value, cell, e.align, alive)

        _emit_tile(e, 1, load, store, numbers)

    return outlined("product_last", emit, element, c, present, bias, biased, a, b, steps, alive)


@float_kernel
def dense_product(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """The equation above; items are (two vectors of v, tile of rows m).

    Operands: A, B, C, bias, and 1 if there is one for each row or 0 if `bias` is a zero.
    """
    rows, columns, lanes = word(job, ROWS), word(job, COLUMNS), word(job, LANES)
    height = word(job, HEIGHT)
    tiles = -(-rows // height)
    for item in range(begin, end):
        m, v = item % tiles * height, item // tiles * 2 * lanes
        _multiply_tile(element, job, operands, m, rows - m, v, columns - v)


@compiled
def _multiply_tile(
    element: Any, job: int, operands: int, m: int, rows: int, v: int, columns: int
) -> None:
    steps = (
        word(job, TERMS), word(job, A_ROW), word(job, A_STEP), word(job, B_ROW), word(job, C_ROW)
    )  # fmt: skip
    lanes, biased = word(job, LANES), word(operands, 4)
    a = shift(element, word(operands, 0), m * word(job, A_ROW))
    b = shift(element, word(operands, 1), v)
    c = shift(element, word(operands, 2), m * word(job, C_ROW) + v)
    bias = shift(element, word(operands, 3), m * biased)
    if columns >= 2 * lanes:
        product_wide(element, c, rows, bias, biased, a, b, steps)
        return
    product_last(element, c, rows, bias, biased, a, b, steps, min(columns, lanes))
    if columns > lanes:
        b, c = shift(element, b, lanes), shift(element, c, lanes)
        product_last(element, c, rows, bias, biased, a, b, steps, columns - lanes)


class Product:
    """Products of matrices of one kind: A (M, T) of any strides, B (T, V), in rows."""

    def __init__(self, rows: int, terms: int, columns: int, a: tuple[int, int], dtype: str) -> None:
        lanes, height = machine().lanes(dtype), _height()
        self.shape, self._dtype = (rows, columns), dtype
        words = [rows, terms, columns, *a, columns, columns, lanes, height]
        self._job = np.array(words, np.int64)
        self._items = -(-rows // height) * -(-columns // (2 * lanes))
        self._work = rows * terms * columns
        self._zero = np.zeros(1, dtype)

    def __call__(
        self, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None, c: np.ndarray
    ) -> None:
        """c = a @ b + bias[:, None], where all but `a` are C-contiguous."""
        start = self._zero if bias is None else bias
        operands = a, b, c, start, int(bias is not None)
        threads = thread_count(self._work, None)
        run_on(dense_product, self._dtype, self._job, operands, self._items, threads)
