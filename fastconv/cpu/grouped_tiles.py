"""Grouped tiles: neighbouring outputs in registers, and every input loaded once for all its taps.

Where no output channel meets more than a few inputs, a multiply-add needs an input of its own, and
loads are what the time goes into. So a tile makes `height` outputs that are neighbours along one
axis, the *slide*, and takes three neighbouring taps at once, a *piece*: each of the cells that
they see is loaded once and enters up to three sums.

Loads per fma, height 8, one vector: stride 1 (10 cells + 3 weights) / 24 = 0.54; stride 2
(17 + 3) / 24 = 0.83; taps one by one 9 / 8. Inputs that do not lie on cache lines cost two loads
each, so one load per fma would be half of the peak there.

Families, by what lies in the lanes of a vector:

- CHANNELS: channels; the slide is an axis of pixels. Depthwise, channels-last.
- GROUPS: output channels of several groups; their inputs are picked out of one vector of input
  channels, or of two (PAIRS), by a permutation. Grouped, or depthwise with a multiplier.
- PIXELS: pixels of a row, one apart or two; the slide is the height. Depthwise, channels-first.
- WOVEN: pixels of a row that are two apart in the target: the sums of both phases of the row, one
  after the other, leave as neighbours. Input gradients of stride 2, channels-first.

Legend: i a cell, s a tap of its piece, p an output, all counted along the slide; l a lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .emit import Emit, emitter, i32, i64

CHANNELS, GROUPS, PAIRS, PIXELS, WOVEN = range(5)
FAMILIES = ("channels", "groups", "pairs", "pixels", "woven")
BY_PIXELS = (PIXELS, WOVEN)

# Outputs of a tile along the slide, and of the smaller tile for the last ones.
HEIGHT, HALF = 8, 4
# Taps that a piece takes at once.
PIECE = 3
# Words of a piece: its row, its first tap along the slide, its place across (of the inputs of a
# group the number, of pixels the offset), and the elements that both make together.
(P_ROW, P_TAP, P_ACROSS, P_OFFSET, PIECE_WORDS) = range(5)
# Words of a block of lanes: where it begins in the source and in the target.
(B_SOURCE, B_TARGET, BLOCK_WORDS) = range(3)
# The offset of what lies outside and counts as zero; sums with it stay below half of it.
OUTSIDE = -(1 << 60)


class Cells:
    """How a family loads the cell at an address."""

    def __init__(self, e: Emit, family: int, step: int, bordered: bool) -> None:
        self.e, self.family, self.step, self.bordered = e, family, step, bordered
        self.index: Any = None  # GROUPS: which channel each lane takes
        self.alive: Any = None  # PIXELS: the lanes that lie in the row, for each vector

    def load(self, cell: Any) -> Any:
        """The lanes of a cell."""
        e = self.e
        if self.family == CHANNELS:
            return e.load(cell)
        if self.family in BY_PIXELS:
            if self.step == 1:
                return self._row(cell, 0)
            low, high = self._row(cell, 0), self._row(cell, 1)
            lanes = range(e.lanes)
            even = [2 * lane if 2 * lane < e.lanes else 2 * lane + 1 for lane in lanes]
            return e.builder.shuffle_vector(low, high, ir.VectorType(i32, e.lanes)(even))
        if not has_permutation(e):
            return self._one_by_one(cell)
        first = self._permuted(e.load(cell))
        if self.family == GROUPS:
            return first
        second = self._permuted(e.load(cell, e.lanes))
        beyond = self.index.type([e.lanes] * e.lanes)
        below = e.builder.icmp_signed("<", self.index, beyond)
        return e.builder.select(below, first, second)

    def _row(self, cell: Any, number: int) -> Any:
        """A vector of a row of pixels; the second of two ends with the last lane's pixel."""
        e, first = self.e, number * (self.e.lanes - 1)
        if not self.bordered:
            return e.load(cell, first)
        zeros = ir.Constant(e.vector, None)
        arguments = [e.shift(cell, first), i32(e.align), self.alive[number], zeros]
        return masked(e, "load", arguments, e.vector)

    def _one_by_one(self, cell: Any) -> Any:
        e = self.e
        vector = e.vector(ir.Undefined)
        for lane in range(e.lanes):
            channel = e.builder.extract_element(self.index, i32(lane))
            place = e.builder.gep(cell, [channel], source_etype=e.scalar)
            value = e.builder.load(place, typ=e.scalar, align=e.align)
            vector = e.builder.insert_element(vector, value, i32(lane))
        return vector

    def _permuted(self, vector: Any) -> Any:
        """vector[index[l] modulo lanes], by the one instruction that x86 has for it."""
        e, b = self.e, self.e.builder
        if e.lanes * e.align == 64:
            name, real, count = (
                ("llvm.x86.avx512.permvar.sf.512", ir.FloatType(), 16)
                if e.align == 4
                else ("llvm.x86.avx512.permvar.df.512", ir.DoubleType(), 8)
            )
            index = self.index
        else:
            name, real, count = "llvm.x86.avx2.permps", ir.FloatType(), 8
            index = self.index
            if e.align == 8:  # halves 2 i and 2 i + 1 of each element
                kind = index.type
                index = b.mul(index, kind([2 + (2 << 32)] * e.lanes))
                index = b.add(index, kind([1 << 32] * e.lanes))
                index = b.bitcast(index, ir.VectorType(i32, count))
        kinds = ir.VectorType(real, count), index.type
        function = b.module.globals.get(name) or ir.Function(
            b.module, ir.FunctionType(kinds[0], kinds), name
        )
        picked = b.call(function, [b.bitcast(vector, kinds[0]), index])
        return b.bitcast(picked, e.vector)


def has_permutation(e: Emit) -> bool:
    """Whether the machine picks the lanes of a vector by the numbers in another."""
    return e.lanes * e.align >= 32


def masked(e: Emit, word: str, arguments: list[Any], result: Any) -> Any:
    """A load or store of some lanes only."""
    kind = {"float32": "f32", "float64": "f64", "int64": "i64"}[e.dtype]
    name = f"llvm.masked.{word}.v{e.lanes}{kind}.p0"
    module = e.builder.module
    function = module.globals.get(name) or ir.Function(
        module, ir.FunctionType(result, [value.type for value in arguments]), name
    )
    return e.builder.call(function, arguments)


def lanes_within(e: Emit, first: Any, step: int, size: Any) -> Any:
    """Lanes l with 0 <= first + l * step < size."""
    b, most = e.builder, 1 << 30
    numbers = ir.VectorType(i32, e.lanes)

    def splat(number: Any) -> Any:
        number = b.select(b.icmp_signed("<", number, i64(most)), number, i64(most))
        number = b.select(b.icmp_signed(">", number, i64(-most)), number, i64(-most))
        seed = b.insert_element(numbers(ir.Undefined), b.trunc(number, i32), i32(0))
        return b.shuffle_vector(seed, numbers(ir.Undefined), numbers([0] * e.lanes))

    steps = numbers([lane * step for lane in range(e.lanes)])
    after = b.icmp_signed(">=", steps, splat(b.neg(first)))
    return b.and_(after, b.icmp_signed("<", steps, splat(b.sub(size, first))))


class Tile:
    """Tiles of a family, with `step` cells between outputs (0: any, told at run time).

    `border` tells what may lie outside: cells ("cells"), lanes of a row of pixels ("lanes").
    """

    kind = "slide"

    def __init__(self, family: int, step: int, border: str = "", height: int = HEIGHT) -> None:
        self.family, self.step, self.height = family, step, height
        self.at_cells, self.at_lanes = "cells" in border, "lanes" in border
        self.name = "_".join([self.kind, FAMILIES[family], str(step), *border.split(), str(height)])

    def emit(self, builder: Any, element: Any, *args: Any) -> None:
        """y[p, b] = bias + sum over pieces, s of x[row + tap + p * step + s, b] * w[piece, s]"""
        e = self.e = emitter(builder, element)
        y, self.y_pitch, x, self.x_pitch, self.any_step, *rest = args
        rows, pieces, counts, weights, bias, blocks, block_count, *rest = rest
        cells, self.alive, spare, indices, self.size, self.limit = rest
        y, x, weights, bias, blocks, indices = map(e.at, (y, x, weights, bias, blocks, indices))
        counts, phases = e.at(counts), 2 if self.family == WOVEN else 1
        lengths = [e.integer(counts, i) for i in range(2 * phases)]
        self.rows, self.pieces, self.cells = e.at(rows), e.at(pieces), e.at(cells)
        self.zeros, self.dump = e.at(spare), e.shift(e.at(spare), 2 * e.lanes)
        self.pixels, self.grouped = self.family in BY_PIXELS, self.family in (GROUPS, PAIRS)
        self.integers = ir.VectorType(i32 if e.align == 4 else i64, e.lanes)
        lane_step = self.step if self.pixels else 1
        self.loads = Cells(e, self.family, lane_step, self.at_lanes)
        carried = [weights]
        with e.loop_or_none(block_count, carried) as n:
            block = builder.gep(blocks, [e.times(n, BLOCK_WORDS)], source_etype=i64)
            begin, first = e.integer(block, B_SOURCE), e.integer(block, B_TARGET)
            self.begin, self.first, self.x = begin, first, e.shift(x, begin)
            if self.grouped:
                place = builder.gep(
                    indices, [e.times(n, e.lanes)], source_etype=self.integers.element
                )
                self.index = builder.load(place, typ=self.integers, align=e.align)
            start = e.broadcast(bias) if self.pixels else e.load(bias, first)
            row_of_weights = self._block(lengths, carried[0], start, e.shift(y, first))
            if not self.pixels:  # the weights of the next block follow
                carried[0] = row_of_weights

    def _block(self, lengths: list[Any], row_of_weights: Any, start: Any, goal: Any) -> Any:
        """Make the outputs of a block of lanes; returns where its weights end."""
        sums, before = [], i64(0)
        for phase in range(len(lengths) // 2):
            state = [row_of_weights, *[start] * self.height]
            before = self._pieces_of(state, lengths[2 * phase :][:2], before)
            row_of_weights = state[0]
            sums.append(state[1:])
        self._store(list(zip(*sums)), goal)
        return row_of_weights

    def _pieces_of(self, state: list[Any], lengths: list[Any], before: Any) -> Any:
        """Pieces of several taps and of one; returns the number of the next."""
        for count, taps in zip(lengths, (PIECE, 1)):
            with self.e.loop_or_none(count, state) as t:
                self._piece(state, self.e.builder.add(t, before), taps)
            before = self.e.builder.add(before, count)
        return before

    def _piece(self, state: list[Any], number: Any, taps: int) -> None:
        """The products of a piece; `state` begins with where its weights lie."""
        e, b = self.e, self.e.builder
        piece = b.gep(self.pieces, [e.times(number, PIECE_WORDS)], source_etype=i64)
        across, row = e.integer(piece, P_ACROSS), e.integer(self.rows, e.integer(piece, P_ROW))
        if self.grouped:
            self.loads.index = b.add(self.index, self._splat(across))
        if self.at_lanes:
            self._find_lanes(b.add(self.begin, across))
        self._multiply(state, self._places(piece, row, across, taps), taps)

    def _multiply(self, state: list[Any], places: Iterator[tuple[int, Any]], taps: int) -> None:
        """The same, for the cells at `places`; `state` is [its weights, *sums]."""
        e, row_of_weights, sums = self.e, state[0], state[1:]
        if self.pixels:
            weights = [e.broadcast(row_of_weights, s) for s in range(taps)]
        else:
            weights = [e.load(row_of_weights, s * e.lanes) for s in range(taps)]
        for i, cell in places:
            value = self.loads.load(cell)
            for s, p in self._users(i, taps):
                sums[p] = e.fma(value, weights[s], sums[p])
        width = taps if self.pixels else taps * e.lanes
        state[:] = [e.shift(row_of_weights, width), *sums]

    def _users(self, i: int, taps: int) -> list[tuple[int, int]]:
        """(s, p) of the products that cell i enters."""
        each = self.step or 1
        pairs = [(s, (i - s) // each) for s in range(taps) if (i - s) % each == 0]
        return [(s, p) for s, p in pairs if 0 <= p < self.height]

    def _places(self, piece: Any, row: Any, across: Any, taps: int) -> Iterator[tuple[int, Any]]:
        """(i, address) of the cells that a piece sees."""
        e, b = self.e, self.e.builder
        count = (self.height - 1) * (self.step or 1) + taps
        if not self.at_cells:
            cell = e.shift(self.x, b.add(row, e.integer(piece, P_OFFSET)))
            pitch = self.x_pitch if self.step else e.times(self.x_pitch, self.any_step)
            for i in range(count):
                if self._users(i, taps):
                    yield i, cell
                cell = e.shift(cell, pitch)
            return
        table = b.gep(self.cells, [e.integer(piece, P_TAP)], source_etype=i64)
        shift = b.add(row, across) if self.pixels else row
        for i in range(count):
            if self._users(i, taps):
                place = i if self.step else e.times(self.any_step, i)
                offset = b.add(shift, e.integer(table, place))
                inside = b.icmp_signed(">", offset, i64(OUTSIDE // 2))
                yield i, b.select(inside, e.shift(self.x, offset), self.zeros)

    def _store(self, sums: list[tuple[Any, ...]], goal: Any) -> None:
        """Each output's vectors, one for each phase, to its row."""
        e, b = self.e, self.e.builder
        if not self.at_lanes:
            self._store_rows(sums, goal, [])
            return
        firsts = [b.add(self.first, i64(n * e.lanes)) for n in range(len(sums[0]))]
        # Masks cost AVX2 many times what a store does; only rows short of a vector need them.
        whole = b.icmp_signed("<=", b.add(firsts[-1], i64(e.lanes)), self.limit)
        with b.if_else(whole) as (full, part):
            with full:
                self._store_rows(sums, goal, [])
            with part:
                self._store_rows(sums, goal, [lanes_within(e, n, 1, self.limit) for n in firsts])

    def _store_rows(self, sums: list[tuple[Any, ...]], goal: Any, masks: list[Any]) -> None:
        e, b = self.e, self.e.builder
        for p, phases in enumerate(sums):
            end = goal
            if self.at_cells:
                end = b.select(b.icmp_signed("<", i64(p), self.alive), goal, self.dump)
            for n, value in enumerate(phases if len(phases) == 1 else self._woven(*phases)):
                if masks:
                    place = e.shift(end, n * e.lanes)
                    masked(e, "store", [value, place, i32(e.align), masks[n]], ir.VoidType())
                else:
                    e.store(value, end, n * e.lanes)
            goal = e.shift(goal, self.y_pitch)

    def _woven(self, even: Any, odd: Any) -> list[Any]:
        """even[0], odd[0], even[1], odd[1], ... in two vectors."""
        lanes, kind = self.e.lanes, ir.VectorType(i32, self.e.lanes)
        order = [place for lane in range(lanes) for place in (lane, lanes + lane)]
        halves = order[:lanes], order[lanes:]
        return [self.e.builder.shuffle_vector(even, odd, kind(half)) for half in halves]

    def _find_lanes(self, first: Any) -> None:
        """Which lanes of the vectors of a cell lie in their row: the second overlaps the first."""
        e = self.e
        starts = [first] if self.step == 1 else [first, e.builder.add(first, i64(e.lanes - 1))]
        self.loads.alive = [lanes_within(e, start, 1, self.size) for start in starts]

    def _splat(self, number: Any) -> Any:
        b, empty = self.e.builder, self.integers(ir.Undefined)
        if self.e.align == 4:
            number = b.trunc(number, i32)
        one = b.insert_element(empty, number, i32(0))
        return b.shuffle_vector(one, empty, ir.VectorType(i32, self.e.lanes)([0] * self.e.lanes))


def _call(b: ir.IRBuilder, element: Any, made: Tile, args: list[Any]) -> None:
    """Call the function of a tile, made at its first use in a module."""
    name = f"fastconv_{made.name}_{element.dtype}"
    function = b.module.globals.get(name)
    if function is None:
        kinds = [value.type for value in args]
        function = ir.Function(b.module, ir.FunctionType(ir.VoidType(), kinds), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        body = ir.IRBuilder(function.append_basic_block("entry"))
        made.emit(body, element, *function.args)
        body.ret_void()
    b.call(function, args)


def _dispatch(
    kind: type[Tile], family: int, b: ir.IRBuilder, element: Any, args: tuple[Any, ...]
) -> None:
    """Call the tile that fits the step and the border."""
    arguments = list(args)
    step, blocks, clear = arguments[4], arguments[10], arguments[12]
    count, cells, alive = arguments[11], arguments[13], arguments[14]
    del arguments[12]

    def tiles(each: int, border: str) -> None:
        if family not in BY_PIXELS:
            if not border:
                _call(b, element, kind(family, each), arguments)
                return
            with b.if_else(b.icmp_signed("<=", alive, i64(HALF))) as (few, many):
                with few:
                    _call(b, element, kind(family, each, border, HALF), arguments)
                with many:
                    _call(b, element, kind(family, each, border), arguments)
            return
        with b.if_then(b.icmp_signed(">", clear, i64(0))):
            _call(b, element, kind(family, each, border), [*arguments[:11], clear, *arguments[12:]])
        with b.if_then(b.icmp_signed("<", clear, count)):
            others = b.add(blocks, b.mul(clear, i64(8 * BLOCK_WORDS)))
            rest = [*arguments[:10], others, b.sub(count, clear), *arguments[12:]]
            _call(b, element, kind(family, each, f"{border} lanes"), rest)

    def bordered(each: int) -> None:
        with b.if_else(b.icmp_signed("==", cells, i64(0))) as (inside, outside):
            with inside:
                tiles(each, "")
            with outside:
                tiles(each, "cells")

    with b.if_else(b.icmp_signed("==", step, i64(1))) as (one, more):
        with one:
            bordered(1)
        with more:
            if family == PIXELS:
                bordered(2)
            elif family != WOVEN:
                with b.if_else(b.icmp_signed("==", step, i64(2))) as (two, any_other):
                    with two:
                        bordered(2)
                    with any_other:
                        bordered(0)


def family_tile(family: int, kind: type[Tile] = Tile) -> Any:
    """The intrinsic for the tiles of a family; `cells` is 0 where a tile sees no border."""

    @intrinsic
    def tile(
        typing: Any,
        element: Any,
        y: Any,
        y_pitch: Any,
        x: Any,
        x_pitch: Any,
        step: Any,
        rows: Any,
        pieces: Any,
        counts: Any,
        weights: Any,
        bias: Any,
        blocks: Any,
        block_count: Any,
        clear_blocks: Any,
        cells: Any,
        alive: Any,
        spare: Any,
        indices: Any,
        size: Any,
        limit: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _dispatch(kind, family, builder, element, args[1:])
            return context.get_dummy_value()

        return types.void(element, *[types.int64] * 19), generate

    return tile


channels_tile, groups_tile, pairs_tile, pixels_tile, woven_tile = map(
    family_tile, (CHANNELS, GROUPS, PAIRS, PIXELS, WOVEN)
)
