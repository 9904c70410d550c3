"""Passes over arrays, element by element: ReLU, its slope, and the steps of the optimizers.

Each is emitted as whole vectors and a last one of which some lanes are alive, and rounds after
every operation, as NumPy would. Items are chunks of CHUNK elements, so no bit depends on the number
of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .compile import Kernel, float_kernel, name_of
from .elementary import divide, select
from .emit import i64
from .lanes import Lanes
from .launch import run, run_on, thread_count
from .memory import address_of, shift, word

CHUNK = 8192

Vectors = list[Any]


def _pass(sources: int, targets: int, formula: Callable[..., Vectors]) -> Any:
    """An intrinsic over `count` elements of arrays: targets[i] = formula(sources[i], options).

    It takes the addresses of the sources, those of the targets, a tuple of both kinds of options
    (address of numbers in the element's type, an int64 of flags), and `count`.
    """

    @intrinsic
    def over(typing: Any, element: Any, arrays: Any, options: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, arrays, options, count = args
            e = Lanes(builder, element, i64(1), count)
            places = [e.at(builder.extract_value(arrays, i)) for i in range(sources + targets)]
            numbers = e.at(builder.extract_value(options, 0))
            flags = builder.extract_value(options, 1)
            whole = builder.sdiv(count, i64(e.lanes))
            done = e.times(whole, e.lanes)
            with e.repeat(whole) as i:
                _vector(e, e.times(i, e.lanes), None, places, numbers, flags)
            left = builder.sub(count, done)
            with builder.if_then(builder.icmp_signed(">", left, i64(0))):
                _vector(e, done, left, places, numbers, flags)
            return context.get_dummy_value()

        return types.void(element, arrays, options, types.int64), generate

    def _vector(e: Lanes, n: Any, alive: Any, places: Any, numbers: Any, flags: Any) -> None:
        values = [e.row(e.shift(place, n), 0, alive) for place in places[:sources]]
        for place, value in zip(places[sources:], formula(e, values, numbers, flags)):
            e.put(value, e.shift(place, n), e.align, alive)

    return over


def _has(e: Lanes, flags: Any, flag: int) -> Any:
    """Whether a flag is set."""
    return e.builder.icmp_signed("!=", e.builder.and_(flags, i64(flag)), i64(0))


def _rectified(e: Lanes, values: Vectors, numbers: Any, flags: Any) -> Vectors:
    (x,) = values
    return [select(e, "<", x, e.constant(0), e.constant(0), x)]


def _rectified_slope(e: Lanes, values: Vectors, numbers: Any, flags: Any) -> Vectors:
    output, gradient = values
    return [select(e, ">", output, e.constant(0), gradient, e.constant(0))]


FIRST, NESTEROV, DECAY, DECOUPLED = 1, 2, 4, 8
# Numbers of a step.
(RATE, PULL, GAIN, WEIGHT_DECAY) = range(4)
(_, MEAN_GAIN, SQUARE_KEPT, SQUARE_GAIN, ROOT, EPS, DECAYED, SHRUNK) = range(8)
NUMBERS = 8


def _plain(e: Lanes, values: Vectors, numbers: Any, flags: Any) -> Vectors:
    """p -= rate g"""
    p, g = values
    return [
        e.subtract(p, e.multiply(_decayed(e, p, g, numbers, flags), e.broadcast(numbers, RATE)))
    ]


def _decayed(e: Lanes, p: Any, g: Any, numbers: Any, flags: Any) -> Any:
    """g + decay p"""
    decay = e.broadcast(numbers, WEIGHT_DECAY)
    return e.builder.select(_has(e, flags, DECAY), e.add(e.multiply(p, decay), g), g)


def _sgd(e: Lanes, values: Vectors, numbers: Any, flags: Any) -> Vectors:
    """v = momentum v + gain g, at first g; p -= rate v, or under Nesterov rate (g + momentum v)"""
    p, g, v = values
    b = e.builder
    rate, momentum, gain = (e.broadcast(numbers, i) for i in (RATE, PULL, GAIN))
    g = _decayed(e, p, g, numbers, flags)
    moved = e.add(e.multiply(v, momentum), e.multiply(g, gain))
    v = b.select(_has(e, flags, FIRST), g, moved)
    ahead = e.add(e.multiply(v, momentum), g)
    step = b.select(_has(e, flags, NESTEROV), ahead, v)
    return [e.subtract(p, e.multiply(step, rate)), v]


def _adam(e: Lanes, values: Vectors, numbers: Any, flags: Any) -> Vectors:
    """m += (1 - b1) (g - m); v = b2 v + (1 - b2) g g; p -= rate m / (sqrt(v) / root + eps)"""
    p, g, mean, square = values
    b = e.builder
    n = [e.broadcast(numbers, i) for i in range(NUMBERS)]
    decayed = b.select(_has(e, flags, DECAY), e.add(e.multiply(p, n[DECAYED]), g), g)
    p = b.select(_has(e, flags, DECOUPLED), e.multiply(p, n[SHRUNK]), p)
    mean = e.add(mean, e.multiply(e.subtract(decayed, mean), n[MEAN_GAIN]))
    term = e.multiply(e.multiply(decayed, decayed), n[SQUARE_GAIN])
    square = e.add(e.multiply(square, n[SQUARE_KEPT]), term)
    below = e.add(divide(e, _root(e, square), n[ROOT]), n[EPS])
    return [e.subtract(p, e.multiply(divide(e, mean, below), n[RATE])), mean, square]


def _root(e: Lanes, x: Any) -> Any:
    """The square root in every lane, correctly rounded."""
    name = f"llvm.sqrt.v{e.lanes}f{8 * e.align}"
    module = e.builder.module
    function = module.globals.get(name) or ir.Function(
        module, ir.FunctionType(e.vector, [e.vector]), name
    )
    return e.builder.call(function, [x])


_over_rectified = _pass(1, 1, _rectified)
_over_rectified_slope = _pass(2, 1, _rectified_slope)
_over_plain = _pass(2, 1, _plain)
_over_sgd = _pass(3, 2, _sgd)
_over_adam = _pass(4, 3, _adam)


@float_kernel
def rectify(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """y = max(x, 0); operands: x, y, number of elements. Items are chunks."""
    for item in range(begin, end):
        first = item * CHUNK
        x, y = (shift(element, word(operands, 0), first), shift(element, word(operands, 1), first))
        count = min(CHUNK, word(operands, 2) - first)
        _over_rectified(element, (x, y), (0, 0), count)


@float_kernel
def rectify_slope(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """target = gradient where y > 0, else 0; operands: y, gradient, target, number of elements."""
    for item in range(begin, end):
        first = item * CHUNK
        y, target = (
            shift(element, word(operands, 0), first),
            shift(element, word(operands, 2), first),
        )
        gradient = shift(element, word(operands, 1), first)
        count = min(CHUNK, word(operands, 3) - first)
        _over_rectified_slope(element, (y, gradient, target), (0, 0), count)


# Words of a chunk of a parameter in a job; of a parameter in the table beside it.
(PARAMETER, BEGIN, COUNT, CHUNK_WORDS) = range(4)
(VALUES, GRADIENT, SLOT, OTHER_SLOT, FLAGS, TABLE_WORDS) = range(6)


@float_kernel
def plain_step(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """See `_plain`. Items and operands as those of `sgd_step`."""
    for item in range(begin, end):
        chunk = job + 8 * CHUNK_WORDS * item
        row = word(operands, 0) + 8 * TABLE_WORDS * word(chunk, PARAMETER)
        numbers = shift(element, word(operands, 1), NUMBERS * word(chunk, PARAMETER))
        first, count = word(chunk, BEGIN), word(chunk, COUNT)
        p, g = shift(element, word(row, VALUES), first), shift(element, word(row, GRADIENT), first)
        _over_plain(element, (p, g, p), (numbers, word(row, FLAGS)), count)


@float_kernel
def sgd_step(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """See `_sgd`. Items are chunks; operands: the table of parameters, NUMBERS for each."""
    for item in range(begin, end):
        chunk = job + 8 * CHUNK_WORDS * item
        row = word(operands, 0) + 8 * TABLE_WORDS * word(chunk, PARAMETER)
        numbers = shift(element, word(operands, 1), NUMBERS * word(chunk, PARAMETER))
        first, count = word(chunk, BEGIN), word(chunk, COUNT)
        p, g = shift(element, word(row, VALUES), first), shift(element, word(row, GRADIENT), first)
        v = shift(element, word(row, SLOT), first)
        _over_sgd(element, (p, g, v, p, v), (numbers, word(row, FLAGS)), count)


@float_kernel
def adam_step(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """See `_adam`. Items and operands as those of `sgd_step`."""
    for item in range(begin, end):
        chunk = job + 8 * CHUNK_WORDS * item
        row = word(operands, 0) + 8 * TABLE_WORDS * word(chunk, PARAMETER)
        numbers = shift(element, word(operands, 1), NUMBERS * word(chunk, PARAMETER))
        first, count = word(chunk, BEGIN), word(chunk, COUNT)
        p, g = shift(element, word(row, VALUES), first), shift(element, word(row, GRADIENT), first)
        m, v = shift(element, word(row, SLOT), first), shift(element, word(row, OTHER_SLOT), first)
        _over_adam(element, (p, g, m, v, p, m, v), (numbers, word(row, FLAGS)), count)


def alike(*arrays: np.ndarray) -> bool:
    """Whether float arrays are dense and lie in memory in the same order."""
    first = arrays[0]
    if not first.dtype.isnative or name_of(first.dtype) not in rectify.dtypes:
        return False
    for x in arrays:
        if x.dtype != first.dtype or x.strides != first.strides or x.shape != first.shape:
            return False
    if first.flags.c_contiguous or first.flags.f_contiguous:
        return True
    order = np.argsort(first.strides, kind="stable")[::-1]
    return bool(first.transpose(order).flags.c_contiguous)


def _chunks(size: int) -> int:
    return -(-size // CHUNK)


def relu_into(x: np.ndarray, y: np.ndarray) -> None:
    """y = max(x, 0) for arrays that are `alike`."""
    operands = x, y, x.size
    run_on(rectify, name_of(x.dtype), _NO_JOB, operands, _chunks(x.size), thread_count(x.size))


def relu_slope_into(y: np.ndarray, gradient: np.ndarray, target: np.ndarray) -> None:
    """target = gradient where y > 0, else 0, for arrays that are `alike`."""
    operands = y, gradient, target, y.size
    run_on(
        rectify_slope, name_of(y.dtype), _NO_JOB, operands, _chunks(y.size), thread_count(y.size)
    )


_NO_JOB = np.zeros(1, np.int64)


class Steps:
    """One launch of a step, `plain_step` and so on, for parameters of these sizes and one dtype."""

    def __init__(self, kernel: Kernel, sizes: tuple[int, ...], dtype: str) -> None:
        self._kernel, self._dtype, self._work = kernel, dtype, sum(sizes)
        chunks = [
            (number, begin, min(CHUNK, size - begin))
            for number, size in enumerate(sizes)
            for begin in range(0, size, CHUNK)
        ]
        self._job, self._count = np.array(chunks, np.int64).ravel(), len(chunks)

    def __call__(self, table: list[int], numbers: list[float]) -> None:
        """Take the step: TABLE_WORDS words and NUMBERS numbers for each parameter."""
        words, factors = np.array(table, np.int64), np.array(numbers, self._dtype)
        operands = address_of(words), address_of(factors)
        run(self._kernel, self._dtype, self._job, operands, self._count, thread_count(self._work))
