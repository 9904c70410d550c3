"""Collecting rows: a block of channels of pixel after pixel, in vectors.

As calls of memcpy the same took two to three times as long, for it is asked for 128 bytes at a time
(Zen 4, 2026-11).
"""

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic

from .emit import emitter, outlined


def _rows(vectors: int) -> Any:
    """An intrinsic that collects rows of so many vectors."""

    @intrinsic
    def rows(typing: Any, element: Any, target: Any, source: Any, table: Any, count: Any) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            target, source, table, count = args
            state = [e.at(target)]
            source, table = e.at(source), e.at(table)
            with e.loop(count, state) as p:
                row = e.shift(source, e.integer(table, p))
                for v in range(vectors):
                    e.store(e.load(row, v * e.lanes), state[0], v * e.lanes)
                state[0] = e.shift(state[0], vectors * e.lanes)

        return outlined(f"rows_{vectors}", emit, element, target, source, table, count)

    return rows


# target[p * width + v] = source[table[p] + v] for p < count; count is at least 1, width one or two
# vectors
narrow_rows = _rows(1)
wide_rows = _rows(2)
