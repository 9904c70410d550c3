"""Winograd's transforms, emitted as vector code.

The minimal algorithm F(m, 3) makes m neighbouring outputs of a filter of three taps with m + 2
products instead of 3 m::

    y = A^T ((G g) * (B^T d))

where d are m + 2 inputs and g the three taps; along two axes, one nests in the other. Each output
of F(4, 3) costs 6 / 4 products, in two axes 36 / 16 = 2.25 instead of 9.

S. Winograd, *Arithmetic Complexity of Computations*, SIAM, 1980; A. Lavin and S. Gray, *Fast
algorithms for convolutional neural networks*, CVPR 2016. The matrices of F(4, 3) interpolate at
0, 1, -1, 2, -2 and infinity, those of F(2, 3) at 0, 1, -1 and infinity.
"""

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic

from .emit import Emit, emitter, outlined

Matrix = tuple[tuple[float, ...], ...]

# B^T, by m; the rows after the first stand in pairs that differ in the sign of their odd columns.
INPUT: dict[int, Matrix] = {
    1: ((1,),),
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
# A^T, by m; columns 1 and 2 (3 and 4) differ in the sign of their odd rows.
OUTPUT: dict[int, Matrix] = {
    1: ((1,),),
    2: ((1, 1, 1, 0), (0, 1, -1, 1)),
    4: ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
}
# G, by m.
WEIGHT: dict[int, Matrix] = {
    1: ((1,),),
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}


def _combine(e: Emit, factors: Any, vectors: list[Any]) -> Any:
    """sum over i of factors[i] * vectors[i], None if all factors are zero."""
    total = None
    # Units first: what follows is then added by one multiply-add each.
    for factor, vector in sorted(zip(factors, vectors), key=lambda pair: abs(pair[0]) != 1):
        if factor == 0:
            continue
        if total is None:
            total = vector if factor == 1 else e.multiply(e.constant(factor), vector)
        elif factor == 1:
            total = e.add(total, vector)
        elif factor == -1:
            total = e.subtract(total, vector)
        else:
            total = e.fma(e.constant(factor), vector, total)
    return total


def _paired(e: Emit, rows: Matrix, vectors: list[Any]) -> list[Any]:
    """B^T d or G g: a pair of rows is the sum and the difference of its even and odd columns."""
    if len(rows) == 1:
        return vectors
    made = [_combine(e, rows[0], vectors)]
    for row in rows[1:-1:2]:
        even = _combine(e, row[0::2], vectors[0::2])
        odd = _combine(e, row[1::2], vectors[1::2])
        made += [e.add(even, odd), e.subtract(even, odd)]
    return [*made, _combine(e, rows[-1], vectors)]


def _apply_input(e: Emit, m: int, vectors: list[Any]) -> list[Any]:
    return _paired(e, INPUT[m], vectors)


def _apply_weight(e: Emit, m: int, vectors: list[Any]) -> list[Any]:
    return _paired(e, WEIGHT[m], vectors)


def _apply_output(e: Emit, m: int, vectors: list[Any]) -> list[Any]:
    """A^T y: even rows meet the sums of the paired columns, odd rows their differences."""
    if m == 1:
        return vectors
    pairs = range(1, len(vectors) - 1, 2)
    parts = (
        [vectors[0], *(e.add(vectors[i], vectors[i + 1]) for i in pairs), vectors[-1]],
        [vectors[0], *(e.subtract(vectors[i], vectors[i + 1]) for i in pairs), vectors[-1]],
    )
    columns = [0, *pairs, len(vectors) - 1]
    return [_combine(e, [row[c] for c in columns], parts[i % 2]) for i, row in enumerate(OUTPUT[m])]


def _nested(e: Emit, apply: Any, rows: int, columns: int, cells: dict[Any, Any]) -> dict[Any, Any]:
    """A transform along the columns of a table {(i, j): vector}, then along its rows."""
    height, width = 1 + max(i for i, _ in cells), 1 + max(j for _, j in cells)
    for j in range(width):
        made = apply(e, rows, [cells.pop((i, j)) for i in range(height)])
        cells.update({(i, j): vector for i, vector in enumerate(made)})
    for i in range(1 + max(i for i, _ in cells)):
        made = apply(e, columns, [cells.pop((i, j)) for j in range(width)])
        cells.update({(i, j): vector for j, vector in enumerate(made)})
    return cells


def _taps(m: int) -> int:
    """Inputs of F(m, 3), and its products; F(1, 1) for an axis without a filter."""
    return len(INPUT[m])


def _spread(
    name: str, apply: Any, rows: int, columns: int, sizes: tuple[int, int], stream: bool = False
) -> Any:
    """An intrinsic for B^T d B or G g G^T: from a table of `sizes` to one plane per product.

    Past the caches if `stream`: another core would wait for lines that this one has changed. With
    128 to 128 channels and 28 x 28 pixels, transforms of the weights and all, 1.09 -> 0.56 ms.
    """

    @intrinsic
    def transform(
        typing: Any, element: Any, x: Any, row: Any, column: Any, v: Any, plane: Any, vectors: Any
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            x, row, column, v, plane, vectors = args
            x, v = e.at(x), e.at(v)
            with e.loop(vectors, []) as c:
                here, there = e.shift(x, e.times(c, e.lanes)), e.shift(v, e.times(c, e.lanes))
                lines = [e.shift(here, e.times(row, i)) for i in range(sizes[0])]
                cells = {
                    (i, j): e.load(e.shift(line, e.times(column, j)))
                    for i, line in enumerate(lines)
                    for j in range(sizes[1])
                }
                for (i, j), vector in _nested(e, apply, rows, columns, cells).items():
                    index = i * _taps(columns) + j
                    put = e.stream if stream else e.store
                    put(vector, e.shift(there, e.times(plane, index)))

        return outlined(name, emit, element, x, row, column, v, plane, vectors)

    return transform


def _input(rows: int, columns: int) -> Any:
    return _spread(
        f"input_{rows}x{columns}", _apply_input, rows, columns, (_taps(rows), _taps(columns))
    )


def _weight(rows: int, columns: int) -> Any:
    return _spread(
        f"weight_{rows}x{columns}",
        _apply_weight,
        rows,
        columns,
        (len(WEIGHT[rows][0]), len(WEIGHT[columns][0])),
        stream=True,
    )


# For each of `vectors` vectors of channels:
# v[(i * taps + j) * plane] = (B^T d B)[i, j] where d[i, j] = x[i * row + j * column]
input_4x4, input_2x2 = _input(4, 4), _input(2, 2)
input_4x1, input_2x1 = _input(4, 1), _input(2, 1)
input_1x4, input_1x2 = _input(1, 4), _input(1, 2)

# The same for G g G^T and vectors of output channels.
weight_4x4, weight_2x2 = _weight(4, 4), _weight(2, 2)
weight_4x1, weight_2x1 = _weight(4, 1), _weight(2, 1)
weight_1x4, weight_1x2 = _weight(1, 4), _weight(1, 2)


def _output(rows: int, columns: int) -> Any:
    @intrinsic
    def transform(
        typing: Any,
        element: Any,
        products: Any,
        plane: Any,
        bias: Any,
        y: Any,
        row: Any,
        column: Any,
        vectors: Any,
    ) -> Any:
        def emit(builder: Any, element: Any, *args: Any) -> None:
            e = emitter(builder, element)
            products, plane, bias, y, row, column, vectors = args
            products, bias, y = e.at(products), e.at(bias), e.at(y)
            with e.loop(vectors, []) as k:
                at = e.times(k, e.lanes)
                here, there = e.shift(products, at), e.shift(y, at)
                cells = {
                    (i, j): e.load(e.shift(here, e.times(plane, i * _taps(columns) + j)))
                    for i in range(_taps(rows))
                    for j in range(_taps(columns))
                }
                start = e.load(e.shift(bias, at))
                for (i, j), vector in _nested(e, _apply_output, rows, columns, cells).items():
                    goal = e.shift(e.shift(there, e.times(row, i)), e.times(column, j))
                    e.store(e.add(vector, start), goal)

        name = f"output_{rows}x{columns}"
        return outlined(name, emit, element, products, plane, bias, y, row, column, vectors)

    return transform


# For each of `vectors` vectors of output channels:
# y[i * row + j * column] = bias + (A^T p A)[i, j] where p[i, j] = products[(i * taps + j) * plane]
output_4x4, output_2x2 = _output(4, 4), _output(2, 2)
output_4x1, output_2x1 = _output(4, 1), _output(2, 1)
output_1x4, output_1x2 = _output(1, 4), _output(1, 2)
