"""exp and what follows from it, emitted as vector code.

Numba calls the C library for these, one lane at a time. Here exp is reduced to
``x = n log 2 + r``, |r| <= log(2) / 2, and summed as a Taylor series, log1p as the series of the
inverse hyperbolic tangent: their coefficients need no table. The normal distribution comes from
``erfcx(x) = exp(x^2) erfc(x)``, interpolated at Chebyshev points after ``t = (x - 3) / (x + 3)``,
where it is as smooth as a low polynomial.

J.-M. Muller, *Elementary Functions*, 3rd ed., Birkhauser, 2016; W. J. Cody and W. Waite, *Software
Manual for the Elementary Functions*, 1980 (the reduction in two steps).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from llvmlite import ir

from .emit import Emit

# By dtype: log 2 in two parts, the first with trailing zeros; 1.5 times the power of two above
# which floats are integers; bits of the mantissa and bias of the exponent; terms of exp, terms of
# log1p, degree of erfcx.
LOG2 = {
    "float32": (0.693359375, -2.12194440e-4),
    "float64": (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
ROUNDER = {"float32": 1.5 * 2**23, "float64": 1.5 * 2**52}
LAYOUT = {"float32": (23, 127), "float64": (52, 1023)}
EXP_TERMS = {"float32": 8, "float64": 14}
LOG_TERMS = {"float32": 9, "float64": 17}
ERFCX_DEGREE = {"float32": 13, "float64": 24}
# Arguments beyond which exp is zero or infinite.
EXP_RANGE = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}


def select(e: Emit, relation: str, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where ``a relation b``, else `no`; a comparison with NaN fails."""
    return e.builder.select(e.builder.fcmp_ordered(relation, a, b), yes, no)


def magnitude(e: Emit, x: Any) -> Any:
    """|x|"""
    return select(e, "<", x, e.constant(0), negative(e, x), x)


def negative(e: Emit, x: Any) -> Any:
    """-x"""
    return e.subtract(e.constant(-0.0), x)


def divide(e: Emit, a: Any, b: Any) -> Any:
    """a / b"""
    return e.builder.fdiv(a, b)


def _clamp(e: Emit, x: Any, low: float, high: float) -> Any:
    """x within low .. high; NaN stays NaN."""
    x = select(e, "<", x, e.constant(low), e.constant(low), x)
    return select(e, ">", x, e.constant(high), e.constant(high), x)


def _series(e: Emit, x: Any, coefficients: list[float]) -> Any:
    """sum of coefficients[i] * x^i"""
    total = e.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = e.fma(total, x, e.constant(coefficient))
    return total


def _reduced(e: Emit, x: Any) -> tuple[Any, Any]:
    """(n, r), n as integers: x = n log 2 + r."""
    rounder = e.constant(ROUNDER[e.dtype])
    shifted = e.fma(x, e.constant(1 / math.log(2)), rounder)
    whole = e.subtract(shifted, rounder)
    high, low = LOG2[e.dtype]
    rest = e.fma(whole, e.constant(-low), e.fma(whole, e.constant(-high), x))
    numbers = _integers(e)
    n = e.builder.sub(e.builder.bitcast(shifted, numbers), e.builder.bitcast(rounder, numbers))
    return n, rest


def _integers(e: Emit) -> ir.VectorType:
    return ir.VectorType(ir.IntType(8 * e.align), e.lanes)


def _power_of_two(e: Emit, n: Any) -> Any:
    """2^n for n within the range of exponents."""
    bits, bias = LAYOUT[e.dtype]
    numbers = _integers(e)
    biased = e.builder.add(n, numbers([bias] * e.lanes))
    return e.builder.bitcast(e.builder.shl(biased, numbers([bits] * e.lanes)), e.vector)


def exp(e: Emit, x: Any) -> Any:
    """exp(x), from zero through denormals to infinity."""
    n, r = _reduced(e, _clamp(e, x, *EXP_RANGE[e.dtype]))
    value = _series(e, r, [1 / math.factorial(i) for i in range(EXP_TERMS[e.dtype])])
    ones = _integers(e)([1] * e.lanes)
    half = e.builder.ashr(n, ones)  # in two steps, for 2^n alone may be out of range
    value = e.multiply(value, _power_of_two(e, half))
    return e.multiply(value, _power_of_two(e, e.builder.sub(n, half)))


def expm1(e: Emit, x: Any) -> Any:
    """exp(x) - 1 for x <= 0."""
    n, r = _reduced(e, _clamp(e, x, -45.0, 0.0))
    terms = [1 / math.factorial(i) for i in range(1, EXP_TERMS[e.dtype] + 1)]
    scale = _power_of_two(e, n)
    value = e.multiply(r, _series(e, r, terms))
    return e.fma(scale, value, e.subtract(scale, e.constant(1)))


def log1p(e: Emit, x: Any) -> Any:
    """log(1 + x) for 0 <= x <= 1: twice the inverse hyperbolic tangent of x / (2 + x)."""
    s = divide(e, x, e.add(x, e.constant(2)))
    terms = [2 / (2 * i + 1) for i in range(LOG_TERMS[e.dtype])]
    return e.multiply(s, _series(e, e.multiply(s, s), terms))


@functools.cache
def _erfcx_coefficients(dtype: str) -> list[float]:
    """Chebyshev coefficients of erfcx(3 (1 + t) / (1 - t)), t in -1 .. 1."""
    from scipy.special import erfcx

    def stretched(t: Any) -> Any:
        return erfcx(3 * (1 + t) / (1 - t))

    found = np.polynomial.chebyshev.chebinterpolate(stretched, ERFCX_DEGREE[dtype])
    return [float(value) for value in found]


def normal(e: Emit, x: Any) -> Any:
    """The distribution function of the normal distribution, erfc(-x / sqrt(2)) / 2."""
    size = _clamp(e, magnitude(e, x), 0.0, 45.0)
    scaled = e.multiply(size, e.constant(math.sqrt(0.5)))
    three = e.constant(3)
    t = divide(e, e.subtract(scaled, three), e.add(scaled, three))
    twice = e.add(t, t)
    last = before = e.constant(0)
    coefficients = _erfcx_coefficients(e.dtype)
    for coefficient in coefficients[:0:-1]:  # Clenshaw's recurrence
        last, before = e.fma(twice, last, e.subtract(e.constant(coefficient), before)), last
    erfcx = e.fma(t, last, e.subtract(e.constant(coefficients[0]), before))
    # exp(-x^2 / 2): the rounding of x^2 counts, so it is added again.
    square = e.multiply(size, size)
    rounding = e.fma(size, size, negative(e, square))
    half = e.constant(-0.5)
    tail = exp(e, e.multiply(square, half))
    tail = e.fma(tail, e.multiply(rounding, half), tail)
    tail = e.multiply(e.multiply(tail, erfcx), e.constant(0.5))
    return select(e, ">", x, e.constant(0), e.subtract(e.constant(1), tail), tail)
