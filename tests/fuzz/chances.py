"""Calls as text, and the chances that they are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .operands import EVERY_LAYOUT, FLOATS, INTEGERS, LAYOUTS

# An `Operand` or `Out` within an expression.
ARRAY = re.compile(r"(Operand|Out)\(\([^)]*\)[^)]*\)")


@dataclass
class Call:
    """A door, its arguments as expressions, and whether they are known to fit."""

    door: str
    arguments: dict[str, str] = field(default_factory=dict)
    fits: bool = True
    nopython: bool = False  # made in compiled code, where that can be

    def source(self) -> str:
        """The call as it is run."""
        given = [
            f"    {name}={ARRAY.sub(lambda found: f'{found[0]}.array', text)},"
            for name, text in self.arguments.items()
        ]
        begins = f'nopython(\n    "{self.door}",' if self.nopython else f"fastconv.{self.door}("
        return "\n".join([begins, *given, ")"])

    def script(self) -> str:
        """A program that makes the call; to be run where `tests` is."""
        head = "import math\nimport numpy as np\nimport fastconv\n"
        head += "from tests.fuzz.epilogues import EPILOGUES\n"
        head += "from tests.fuzz.nopython import nopython\n" if self.nopython else ""
        return f"{head}from tests.fuzz.operands import Operand, Out\n\n{self.source()}"


class Chances:
    """Random choices of everything; what is drawn depends on the seed alone.

    What compiled code would depend on, the *form* of a call, has a seed of its own: calls of one
    form differ in sizes, numbers, memory and contents only.
    """

    def __init__(self, *seed: int, form: tuple[int, ...] | None = None) -> None:
        self.random = np.random.default_rng(seed)
        self._form = seed if form is None else form

    def form(self, about: str) -> Chances:
        """Choices about one thing that compiled code depends on, the same whenever asked for."""
        return Chances(*self._form, *about.encode())

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return bool(self.random.random() < probability)

    def one(self, *values: Any) -> Any:
        """One of them."""
        return values[int(self.random.integers(len(values)))]

    def number(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return int(self.random.integers(low, high, endpoint=True))

    def numbers(self, count: int, low: int, high: int) -> tuple[int, ...]:
        """Several integers."""
        return tuple(self.number(low, high) for _ in range(count))

    # --- Arrays ---

    def dtype(self, kinds: str = "fic") -> str:
        """An element type of one of the kinds: f real, i integer, c complex."""
        names = [n for n in (*FLOATS, *INTEGERS) if np.dtype(n).kind.replace("u", "i") in kinds]
        form = self.form("dtype")
        if "f" in kinds and form.chance(0.7):
            return form.one("float32", "float32", "float64")
        return form.one(*names)

    def batch(self, *sizes: int) -> tuple[int, ...]:
        """The axis of images, or no such axis."""
        return () if self.form("batch").chance(0.2) else (self.one(*sizes),)

    def contents(self, dtype: str, specials: bool = False) -> str:
        """What an array of `dtype` may hold."""
        kind = np.dtype(dtype).kind
        if kind in "iu":
            return self.one("integers", "integers", "extremes")
        if specials and kind == "f" and self.chance(0.15):
            return "specials"
        if dtype in ("float32", "float64", "complex64", "complex128") and self.chance(0.3):
            return "fractions"
        return self.one(*["integers"] * 9, "zeros")

    def axes(self, rank: int, low: int, high: int) -> Any:
        """A number for all axes, or one for each."""
        return self.number(low, high) if self.chance(0.5) else self.numbers(rank, low, high)

    def operand(
        self, shape: tuple[int, ...], dtype: str, contents: str = "integers", channels: int = 1
    ) -> str:
        """An array as text."""
        layout = self.one("first", "last", self.one(*EVERY_LAYOUT))
        if layout == "list" and (
            0 in shape or len(shape) == 0 or dtype not in ("float64", "int64")
        ):
            layout = "first"
        seed = self.number(0, 10**6)
        return f"Operand({shape}, {dtype!r}, {layout!r}, {seed}, {contents!r}, {channels})"

    def out(self, shape: tuple[int, ...], dtype: str, channels: int = 1) -> str:
        """An array for the result as text."""
        return f"Out({shape}, {dtype!r}, {self.one(*LAYOUTS)!r}, {channels})"

    def placed(self, call: Call, shape: tuple[int, ...], dtype: str, channels: int = 1) -> Call:
        """The call, perhaps with an array for its result."""
        if self.form("out").chance(0.3):
            call.arguments["out"] = self.out(shape, dtype, channels)
        return call

    def running(self, call: Call, shape: tuple[int, ...], dtype: str, channels: int = 1) -> Call:
        """The call with the options of how it is run."""
        call = self.placed(call, shape, dtype, channels)
        if self.form("threads").chance(0.4):
            call.arguments["threads"] = str(self.number(1, 4))
        return call
