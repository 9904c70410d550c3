"""Arrays of every dtype, memory layout and kind of contents, each of them one expression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from conv_cases import LAYOUTS, Surrounded

FLOATS = ("float32", "float64", "float16", "complex64", "complex128")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

# Layouts of `conv_cases.Surrounded`, and those that have no surroundings of their own.
PLAIN_LAYOUTS = ("fortran", "swapped", "unaligned", "broadcast", "list", "odd ones", "across")
EVERY_LAYOUT = (*LAYOUTS, *PLAIN_LAYOUTS)


def poison(dtype: str) -> Any:
    """What must neither be seen nor changed."""
    kind = np.dtype(dtype).kind
    return complex(math.nan, math.nan) if kind == "c" else math.nan if kind == "f" else 101


def widest(x: np.ndarray) -> np.ndarray:
    """The values in the widest dtype of their kind; integers wrap."""
    return x.astype({"i": "i8", "u": "i8", "f": "f8", "c": "c16"}[x.dtype.kind])


@dataclass
class Operand:
    """An array for an argument; `channels` is the axis that channels-last memory has last.

    `contents` is "integers" (small, so that sums are exact), "zeros", "fractions", "specials" (NaN,
    infinities and minus zero among small integers), "extremes" (integers of all sizes), or
    "below N" (indices).
    """

    shape: tuple[int, ...]
    dtype: str = "float64"
    layout: str = "first"
    seed: int = 0
    contents: str = "integers"
    channels: int = 1

    def __post_init__(self) -> None:
        self.memory: Surrounded | None = None
        self.array = self._placed(self._values())
        self.before = np.array(self.array)

    def _values(self) -> np.ndarray:
        random = np.random.default_rng(self.seed)
        kind = np.dtype(self.dtype).kind
        if self.contents.startswith("below"):
            found = random.integers(0, int(self.contents.split()[1]), self.shape)
        elif self.contents == "zeros":
            found = np.zeros(self.shape)
        elif self.contents == "fractions":
            found = random.standard_normal(self.shape)
            if kind == "c":
                found = found + 1j * random.standard_normal(self.shape)
        elif self.contents == "extremes" and kind in "iu":
            limits = np.iinfo(self.dtype)
            found = random.integers(
                limits.min, limits.max, self.shape, dtype=self.dtype, endpoint=True
            )
        else:
            found = random.integers(0 if kind == "u" else -4, 5, self.shape).astype(float)
            if kind == "c":
                found = found + 1j * random.integers(-4, 5, self.shape)
            if self.contents == "specials" and kind in "fc":
                chosen = random.random(self.shape)
                for value, least in ((math.nan, 0.98), (math.inf, 0.96), (-math.inf, 0.9)):
                    found[(chosen >= least) & (chosen < least + 0.02)] = value
                found[chosen < 0.2] = -0.0
        return np.asarray(found).astype(self.dtype)

    def _placed(self, values: np.ndarray) -> Any:
        layout = self.layout
        if values.ndim == 0:
            return values
        if layout in LAYOUTS:
            if values.ndim <= self.channels:  # what has no channels cannot have them last
                layout = layout.replace("last", "first")
            self.memory = Surrounded(
                self.shape, layout, self.dtype, poison(self.dtype), self.channels
            )
            self.memory.array[...] = values
            self.memory.array.setflags(write=False)
            return self.memory.array
        if layout == "fortran":
            return np.asfortranarray(values)
        if layout == "across":  # the last two axes the other way round
            last = values.ndim - 1
            return np.ascontiguousarray(values.swapaxes(last - 1, last)).swapaxes(last - 1, last)
        if layout == "swapped":
            return values.astype(values.dtype.newbyteorder(">"))
        if layout == "unaligned":
            block = np.zeros(self.shape, np.dtype([("tag", "u1"), ("value", self.dtype)]))
            block["value"] = values
            return block["value"]
        if layout == "list":
            return values.tolist()
        if layout == "odd ones":  # axes of one cell may have any stride at all
            odd = [7919 if n == 1 else s for n, s in zip(values.shape, values.strides)]
            return np.lib.stride_tricks.as_strided(values, values.shape, odd, writeable=False)
        assert layout == "broadcast"  # one line stands for all along the axes before the last
        last = values.shape[-1:] if values.ndim > 1 else values.shape
        line = values.ravel()[: math.prod(last)].reshape(last) if values.size else np.zeros(last)
        return np.broadcast_to(line.astype(self.dtype), values.shape)

    @property
    def exact(self) -> bool:
        """Whether sums of products with other exact operands are exact."""
        return self.contents != "fractions" or self.before.dtype.kind in "iu"

    def kept(self) -> bool:
        """Whether nothing in and around the array has changed."""
        same = np.array(self.array).tobytes() == self.before.tobytes()
        return same and (self.memory is None or self.memory.kept())


@dataclass
class Out:
    """An array for a result, full of poison and amidst poison."""

    shape: tuple[int, ...]
    dtype: str = "float64"
    layout: str = "first"
    channels: int = 1

    def __post_init__(self) -> None:
        layout = self.layout
        if len(self.shape) <= self.channels:
            layout = layout.replace("last", "first")
        self.memory = Surrounded(self.shape, layout, self.dtype, poison(self.dtype), self.channels)
        self.array = self.memory.array

    def kept(self) -> bool:
        """Whether everything around the array is as it was."""
        return self.memory.kept()
