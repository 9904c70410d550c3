"""What the instructions of PTX mean, of NumPy arrays with an element for each thread."""

from __future__ import annotations

import numpy as np

KINDS = {"p": bool, "rs": np.uint16, "r": np.int32, "rd": np.int64, "f": np.float32}
KINDS |= {"fd": np.float64, "temp": np.int32, "SP": np.int64, "SPL": np.int64}
TYPES = {
    "pred": bool,
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    **{f"u{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"s{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"b{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
}


class Fault(Exception):
    """What a kernel must not do."""


def directed(exact, nearest, toward):
    """`nearest`, the float32 next to `exact`, moved to the neighbour on the side `toward`."""
    wide = nearest.astype(np.float64)
    if toward == "rm":
        return np.where(wide > exact, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    beyond = np.abs(wide) > np.abs(exact)
    return np.where(beyond, np.nextafter(nearest, np.float32(0)), nearest)


def fma(kind, mode, a, b, c):
    if kind != np.float32:
        return a * b + c
    exact = np.float64(1) * a * b + c
    nearest = np.asarray(exact, np.float32)
    return nearest if mode != "rm" else directed(exact, nearest, "rm").astype(np.float32)


def add(kind, mode, a, b):
    if mode != "rz":
        return a + b
    exact = a.astype(np.float64) + b
    return directed(exact, exact.astype(np.float32), "rz").astype(np.float32)


def divide(kind, a, b):
    if np.issubdtype(kind, np.floating):
        return a / b
    if np.any(b == 0):
        raise Fault("division by zero")
    quotient = a // b
    if np.issubdtype(kind, np.signedinteger):  # towards zero
        quotient = quotient + ((quotient < 0) & (quotient * b != a))
    return quotient.astype(kind)


def shift(kind, left, a, amount):
    bits = 8 * np.dtype(kind).itemsize
    n = np.minimum(np.asarray(amount).astype(np.uint32), bits - 1).astype(kind)
    far = np.asarray(amount).astype(np.uint32) >= bits
    if left:
        return np.where(far, kind.type(0), a << n)
    sign = np.where(a < 0, kind.type(-1), kind.type(0)) if kind.kind == "i" else kind.type(0)
    return np.where(far, sign, a >> n)


def convert(to, of, mode, a):
    """cvt: of integers by cutting off, of floats by rounding."""
    if mode == "sat":
        return np.nan_to_num(np.clip(a, 0, 1), nan=0.0).astype(to)
    rounding = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}.get(mode)
    if rounding is not None:
        a = rounding(a)
    if mode == "rna":
        bits = np.asarray(a, np.float32).view(np.int32)
        return (bits + 0x1000) & ~0x1FFF
    return a.astype(to)


def wide(value, count):
    """A value for each thread."""
    value = np.asarray(value)
    return value if value.ndim else np.full(count, value)


def bits(value, kind):
    """A value as the bits of a register, which may be wider."""
    value = np.asarray(value)
    return value.view(kind) if value.dtype.itemsize == kind.itemsize else value.astype(kind)


COMPARISONS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: (a != b) & (a == a) & (b == b),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "equ": lambda a, b: ~((a < b) | (a > b)),
    "neu": lambda a, b: a != b,
    "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b),
    "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: (a == a) & (b == b),
    "nan": lambda a, b: (a != a) | (b != b),
}


def multiply_tiles(kind, threads, fragments, sums):
    """mma.sync: for each warp D = A B + C, of A (16, K), B (K, 8), by the tables of the manual.

    With g = lane // 4 and q = lane % 4, register i of A holds the words (row g + 8 (i % 2), word
    q + 4 (i // 2)), register i of B (word q + 4 i, column g), and sum i lies at (row g + 8 (i //
    2), column 2 q + i % 2). A word is one TF32, or two float16, the lower half first.
    """
    lanes = threads.reshape(-1, 32)
    if not (lanes % 32 == np.arange(32)).all():
        raise Fault("mma.sync by a part of a warp")
    g, q = np.arange(32) // 4, np.arange(32) % 4
    warps = len(lanes)
    a = np.empty((warps, 16, 8), np.int32)
    b = np.empty((warps, 8, 8), np.int32)
    c = np.empty((warps, 16, 8), np.float32)
    for i in range(4):
        a[:, g + 8 * (i % 2), q + 4 * (i // 2)] = fragments[i].reshape(-1, 32)
        c[:, g + 8 * (i // 2), 2 * q + i % 2] = sums[i].reshape(-1, 32)
    for i in range(2):
        b[:, q + 4 * i, g] = fragments[4 + i].reshape(-1, 32)
    if kind == "f16":
        left = a.view(np.float16).astype(np.float64)
        right = np.ascontiguousarray(b.transpose(0, 2, 1)).view(np.float16)
        right = right.astype(np.float64).transpose(0, 2, 1)
    else:
        left, right = ((x & ~0x1FFF).view(np.float32).astype(np.float64) for x in (a, b))
    d = (left @ right + c).astype(np.float32)
    return [d[:, g + 8 * (i // 2), 2 * q + i % 2].reshape(-1) for i in range(4)]
