"""Register tiles of images in lockstep: the lanes of a vector are images, not pixels or channels.

Every pixel then has whole vectors, however few channels there are and however short a row is, and
its own taps: what falls into the padding is left out instead of multiplied by zero.

Legend: k a target channel (its number in a block), s a vector of images, c a source channel, i an
entry of a table of taps, r a row of a weight gradient (source channel and tap), p a pixel.

| tile              | sums     | loads per fma | for                                       |
|-------------------|----------|---------------|-------------------------------------------|
| gather 8 x 2      | 16       | 10 / 16       | two vectors of images meet eight weights  |
| gather 6, 4, 1 x 2| 12, 8, 2 | 8 / 12, ..    | as few channels as that                   |
| dot 8 x 3, 4 x 3  | 24, 12   | 11 / 24, 7/12 | channels by rows; see `dot_tiles`         |

Tables list along each axis which entries meet an output: for each an offset in x and one in the
weight, for pooling an offset and a part of the number of the tap. Of D and H a tile gets one row of
a table, (address, count); of W the bounds of the rows of all its pixels, the address of the entries
that they count from, the number of pixels, and how far apart these lie in y.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from ..machine import machine
from .emit import Emit, emitter, i32, i64, one_of, outlined
from .lanes import Lanes

i8 = ir.IntType(8)

# Target channels of a gather tile.
GATHER_BLOCKS = (8, 6, 4, 1)
# Vectors of images in a wide tile.
VECTORS = 2
# Vectors of a window that are pooled at once.
STRIP = 4
# The choice of a window whose gradient goes nowhere; taps have smaller numbers.
NOWHERE = 255


def _clamped(e: Emit, count: int, present: Any) -> list[Any]:
    """0 .. count - 1, those beyond the last one present replaced by it."""
    b = e.builder
    last = b.sub(present, i64(1))
    return [b.select(b.icmp_signed("<", i64(n), last), i64(n), last) for n in range(count)]


def _walk(e: Emit, tables: Any, at: Any, state: list[Any], visit: Callable) -> None:
    """visit(at) for all entries of the three tables, where `at` has both sums of their offsets."""

    def along(axis: int, first: Any, second: Any) -> None:
        if axis == 3:
            visit(first, second)
            return
        table, count = tables[axis]
        with e.loop(count, state) as i:
            entry = e.builder.gep(table, [e.times(i, 2)], source_etype=i64)
            along(
                axis + 1,
                e.builder.add(first, e.integer(entry, 0)),
                e.builder.add(second, e.integer(entry, 1)),
            )

    along(0, *at)


def _along_row(e: Emit, tables: Any, visit: Callable[[Any, Any], None]) -> None:
    """visit(tables, its distance in y) for each pixel of a row; all of them have entries."""
    b = e.builder
    d_table, d_count, h_table, h_count, bounds, entries, pixels, step = (
        b.extract_value(tables, i) for i in range(8)
    )
    outer = [(e.at(d_table), d_count), (e.at(h_table), h_count)]
    bounds, entries = e.at(bounds), e.at(entries)
    with e.loop(pixels, []) as w:
        begin, end = e.integer(bounds, w), e.integer(bounds, b.add(w, i64(1)))
        table = b.gep(entries, [e.times(begin, 2)], source_etype=i64)
        visit([*outer, (table, b.sub(end, begin))], e.times(w, step))


def _gather(block: int, vectors: int) -> Callable:
    """What makes a row of pixels of a block of target channels and some vectors of images."""

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = emitter(builder, element)
        y, present, bias, x, tables, weights, steps = args
        depth, x_channel, y_channel, w_target, w_source = (
            builder.extract_value(steps, i) for i in range(5)
        )
        y, bias, x, weights = map(e.at, (y, bias, x, weights))
        targets = _clamped(e, block, present)
        rows = [e.times(target, w_target) for target in targets]
        goals = [e.times(target, y_channel) for target in targets]

        def pixel(tables: Any, place: Any) -> None:
            state = [e.broadcast(bias, target) for target in targets for _ in range(vectors)]

            def visit(source: Any, weight: Any) -> None:
                cell = e.shift(x, source)
                cells = [e.load(cell, s * e.lanes) for s in range(vectors)]
                for k in range(block):
                    factor = e.broadcast(e.shift(weights, weight), rows[k])
                    for s in range(vectors):
                        i = k * vectors + s
                        state[i] = e.fma(factor, cells[s], state[i])

            with e.loop(depth, state) as c:
                at = e.times(c, x_channel), e.times(c, w_source)
                _walk(e, tables, at, state, visit)
            for k in range(block):
                goal = e.shift(e.shift(y, place), goals[k])
                for s in range(vectors):
                    e.store(state[k * vectors + s], goal, s * e.lanes)

        _along_row(e, tables, pixel)

    return emit


GATHER_TILES = [
    (f"gather_{block}_{vectors}", _gather(block, vectors))
    for vectors in (VECTORS, 1)
    for block in GATHER_BLOCKS
]


@intrinsic
def gather(
    typing: Any,
    element: Any,
    tile: Any,
    y: Any,
    present: Any,
    bias: Any,
    x: Any,
    tables: Any,
    weights: Any,
    steps: Any,
) -> Any:
    """y[k * y_channel + n] = bias[k] + sum over c, entries i of
                   weights[k * w_target + c * w_source + i.second] * x[c * x_channel + i.first + n]

    for k < present and the images n of the vectors; channels beyond are the last one once more. The
    `steps` are depth (of c), x_channel, y_channel, w_target, w_source. Every table has an entry.
    The tile is a number in `GATHER_TILES`.
    """
    numbers = (y, present, bias, x, tables, weights, steps)
    return one_of(GATHER_TILES, element, tile, *numbers)


def _total(e: Emit, vector: Any) -> Any:
    """The sum of the lanes of a vector: both halves, both halves of that, and so on."""
    b, lanes = e.builder, e.lanes
    while lanes > 1:
        lanes //= 2
        undefined = vector.type(ir.Undefined)
        low, high = (
            b.shuffle_vector(vector, undefined, ir.VectorType(i32, lanes)(list(chosen)))
            for chosen in (range(lanes), range(lanes, 2 * lanes))
        )
        vector = b.fadd(low, high)
    return b.extract_element(vector, i32(0))


def dot_tiles() -> tuple[tuple[int, int], ...]:
    """Target channels and rows of the dot tiles: sums, the fewer of both and one more in registers.

    The last is for single channels.
    """
    if machine().vector_registers >= 32:
        return (4, 6), (6, 4), (8, 3), (1, 8)
    return (3, 4), (4, 3), (2, 6), (1, 8)


def _dot(number: int) -> Callable:
    """What makes the products of a block of target channels and some rows."""

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = emitter(builder, element)
        block, height = dot_tiles()[number]
        goal, gradient, x, table, shape, counts, x_steps, g_steps = args
        targets, rows, goal_channel, g_channel = (builder.extract_value(shape, i) for i in range(4))
        goal, gradient, x, table = map(e.at, (goal, gradient, x, table))
        channels, lines = _clamped(e, block, targets), _clamped(e, height, rows)
        planes = [e.times(channel, g_channel) for channel in channels]
        places = [e.integer(table, line) for line in lines]
        state = [e.constant(0) for _ in range(block * height)]

        def visit(x: Any, g: Any) -> None:
            # The fewer are held, the others pass by.
            by_row = block < height
            held, passing = (g, planes), (x, places)
            if not by_row:
                held, passing = passing, held
            kept = [e.load(held[0], place) for place in held[1]]
            for i, place in enumerate(passing[1]):
                value = e.load(passing[0], place)
                for j, other in enumerate(kept):
                    n = i * block + j if by_row else j * block + i
                    state[n] = e.fma(value, other, state[n])

        _pixels(e, counts, (x, gradient), (x_steps, g_steps), state, visit)
        rows_of = [e.times(channel, goal_channel) for channel in channels]
        goals = [e.shift(goal, builder.add(line, row)) for line in lines for row in rows_of]
        _add_totals(e, state, goals)

    return emit


def _pixels(e: Emit, counts: Any, at: Any, steps: Any, state: list[Any], visit: Callable) -> None:
    """visit(*pointers) for all pixels of three axes, each pointer moved on by its own steps."""

    def along(axis: int, pointers: Any) -> None:
        if axis == 3:
            visit(*pointers)
            return
        with e.loop(e.builder.extract_value(counts, axis), state) as i:
            distances = (e.times(i, e.builder.extract_value(step, axis)) for step in steps)
            along(axis + 1, [e.shift(p, n) for p, n in zip(pointers, distances)])

    along(0, at)


def _add_totals(e: Emit, sums: list[Any], goals: list[Any]) -> None:
    """Add the lanes of each vector to its goal; equal goals, of equal sums, once."""
    b = e.builder
    before = [b.load(goal, typ=e.scalar, align=e.align) for goal in goals]
    for old, vector, goal in zip(before, sums, goals):
        b.store(b.fadd(old, _total(e, vector)), goal, align=e.align)


DOT_TILES = [(f"dot_{number}", _dot(number)) for number in range(4)]


@intrinsic
def dot(
    typing: Any,
    element: Any,
    tile: Any,
    goal: Any,
    gradient: Any,
    x: Any,
    table: Any,
    shape: Any,
    counts: Any,
    x_steps: Any,
    g_steps: Any,
) -> Any:
    """goal[k * goal_channel + r] += sum over p, n of gradient[k * g_channel + p.g + n] *
                                                      x[table[r] + p.x + n]

    for k < targets and r < rows, and as many pixels p as `counts` says along three axes; `shape` is
    targets, rows, goal_channel, g_channel. The tile is a number in `dot_tiles`.
    """
    numbers = (goal, gradient, x, table, shape, counts, x_steps, g_steps)
    return one_of(DOT_TILES, element, tile, *numbers)


@intrinsic
def tally(
    typing: Any,
    element: Any,
    goal: Any,
    gradient: Any,
    g_channel: Any,
    targets: Any,
    counts: Any,
    g_steps: Any,
) -> Any:
    """goal[k] += sum over p, n of gradient[k * g_channel + p.g + n], for up to four channels k"""

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = emitter(builder, element)
        goal, gradient, g_channel, targets, counts, g_steps = args
        goal, channels = e.at(goal), _clamped(e, 4, targets)
        planes = [e.times(channel, g_channel) for channel in channels]
        state = [e.constant(0) for _ in channels]

        def visit(g: Any) -> None:
            state[:] = [e.add(sum_, e.load(g, plane)) for sum_, plane in zip(state, planes)]

        _pixels(e, counts, (e.at(gradient),), (g_steps,), state, visit)
        _add_totals(e, state, [e.shift(goal, channel) for channel in channels])

    return outlined("tally", emit, element, goal, gradient, g_channel, targets, counts, g_steps)


def _in_strips(e: Lanes, vectors: Any, strip: Callable[[Any, int], None]) -> None:
    """strip(first element, number of vectors) for all vectors, STRIP of them at a time."""
    b = e.builder
    whole = b.sdiv(vectors, i64(STRIP))
    with e.repeat(whole) as i:
        strip(e.times(i, STRIP * e.lanes), STRIP)
    done = e.times(whole, STRIP)
    with e.repeat(b.sub(vectors, done)) as i:
        strip(e.times(b.add(done, i), e.lanes), 1)


@intrinsic
def window_maximum(
    typing: Any,
    element: Any,
    y: Any,
    choices: Any,
    x: Any,
    tables: Any,
    vectors: Any,
    rectified: Any,
) -> Any:
    """y[n] = max over entries i of x[i.first + n], and choices[n] the number of the tap it was at.

    That for all pixels of a row. If `rectified`, y is what a ReLU makes of it; NOWHERE is the
    choice where that has no slope.
    """

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = Lanes(builder, element, i64(1), i64(0))
        y, choices, x, tables, vectors, rectified = args
        y, choices, x = map(e.at, (y, choices, x))
        bits = i32 if e.dtype == "float32" else i64
        relu = builder.icmp_signed("!=", rectified, i64(0))

        nowhere = ir.VectorType(bits, e.lanes)([NOWHERE] * e.lanes)
        zero = e.constant(0)

        def pixel(tables: Any, place: Any) -> None:
            offset, first = i64(0), i64(0)
            for table, _ in tables:
                offset = builder.add(offset, e.integer(table, 0))
                first = builder.add(first, e.integer(table, 1))

            def strip(n: Any, count: int) -> None:
                here = e.shift(x, n)
                best = [e.load(e.shift(here, offset), s * e.lanes) for s in range(count)]
                state = [*best, *[_splat(e, first, bits)] * count]

                def visit(source: Any, tap: Any) -> None:
                    cell, number = e.shift(here, source), _splat(e, tap, bits)
                    for s in range(count):
                        value = e.load(cell, s * e.lanes)
                        better = e.supersedes(value, state[s])
                        state[s] = builder.select(better, value, state[s])
                        state[count + s] = builder.select(better, number, state[count + s])

                _walk(e, tables, (i64(0), i64(0)), state, visit)
                for s in range(count):
                    best, choice = state[s], state[count + s]
                    at = builder.add(builder.add(place, n), i64(s * e.lanes))
                    dead = builder.fcmp_unordered("<=", best, zero)
                    negative = builder.fcmp_ordered("<", best, zero)
                    choice = builder.select(builder.and_(dead, e.splat(relu)), nowhere, choice)
                    made = builder.select(builder.and_(negative, e.splat(relu)), zero, best)
                    e.store(made, y, at)
                    _store_bytes(e, choice, choices, at)

            _in_strips(e, vectors, strip)

        _along_row(e, tables, pixel)

    numbers = (y, choices, x, tables, vectors, rectified)
    return outlined("window_maximum", emit, element, *numbers)


@intrinsic
def window_slope(
    typing: Any, element: Any, y: Any, gradient: Any, choices: Any, tables: Any, vectors: Any
) -> Any:
    """y[n] = sum of gradient[i.first + n] over the entries i whose window chose i.second.

    That for all pixels of a row.
    """

    def emit(builder: Any, element: Any, *args: Any) -> None:
        e = Lanes(builder, element, i64(1), i64(0))
        y, gradient, choices, tables, vectors = args
        y, gradient, choices = map(e.at, (y, gradient, choices))
        chosen = ir.VectorType(i8, e.lanes)

        def pixel(tables: Any, place: Any) -> None:
            def strip(n: Any, count: int) -> None:
                state = [e.constant(0)] * count

                def visit(source: Any, tap: Any) -> None:
                    number = _splat(e, tap, i8)
                    for s in range(count):
                        at = builder.add(builder.add(source, n), i64(s * e.lanes))
                        there = builder.gep(choices, [at], source_etype=i8)
                        choice = builder.load(there, typ=chosen, align=1)
                        met = builder.icmp_unsigned("==", choice, number)
                        term = builder.select(met, e.load(gradient, at), e.constant(0))
                        state[s] = e.add(state[s], term)

                _walk(e, tables, (i64(0), i64(0)), state, visit)
                for s in range(count):
                    e.store(state[s], y, builder.add(builder.add(place, n), i64(s * e.lanes)))

            _in_strips(e, vectors, strip)

        _along_row(e, tables, pixel)

    return outlined("window_slope", emit, element, y, gradient, choices, tables, vectors)


def _splat(e: Lanes, number: Any, bits: Any) -> Any:
    """An int64 in every lane, in so many bits."""
    return e.splat(number if bits is i64 else e.builder.trunc(number, bits))


def _store_bytes(e: Lanes, numbers: Any, base: Any, first: Any) -> None:
    """base[first + l] = numbers[l], a byte each."""
    goal = e.builder.gep(base, [first], source_etype=i8)
    e.builder.store(e.builder.trunc(numbers, ir.VectorType(i8, e.lanes)), goal, align=1)
