"""The poolings that every test of them goes through.

A new case is one line. Sizes differ on every axis, so that no swapped pair goes unseen. Averages
take the cases without dilation (`PLAIN`), norms those without padding and bins (`NORMED`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from conv_cases import integers

import fastconv
from fastconv import reference
from fastconv.geometry import AdaptiveGeometry, PoolGeometry
from fastconv.sizes import adaptive_bin


@dataclass(frozen=True)
class Pool:
    """One pooling; `input` is (N, C, *size) or (C, *size)."""

    name: str
    input: tuple[int, ...] = field(compare=False)
    rank: int
    options: dict[str, Any] = field(compare=False)

    @property
    def adaptive(self) -> bool:
        """Whether the windows are bins."""
        return "output_size" in self.options

    @functools.cached_property
    def geometry(self) -> Any:
        """The problem as the library sees it."""
        options = dict(self.options)
        if self.adaptive:
            size = options["output_size"]
            return AdaptiveGeometry.adaptive("test", self.rank, self.input, size)
        kernel = options.pop("kernel_size")
        return PoolGeometry.sliding("test", self.rank, self.input, kernel, **options)

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of the result."""
        shape = self.geometry.output_shape
        return shape if self.geometry.batched else shape[1:]

    @property
    def batched(self) -> bool:
        """Whether arrays have the N axis."""
        return self.geometry.batched

    @property
    def channel_axis(self) -> int:
        """Where arrays have the axis that channels-last memory has last."""
        return int(self.batched)

    @property
    def plain(self) -> bool:
        """Whether averages take it: there is no dilation."""
        return "dilation" not in self.options

    def door(self, kind: str, module: Any = fastconv) -> Any:
        """The function of that kind, "max", "avg" or "lp"."""
        return getattr(module, f"{'adaptive_' * self.adaptive}{kind}_pool{self.rank}d")

    def lifted(self, x: np.ndarray) -> np.ndarray:
        """An operand with the batch axis, as the reference wants it."""
        return x if self.batched else x[None]

    def lowered(self, y: np.ndarray) -> np.ndarray:
        """What the reference gives, without the batch axis if there is none."""
        return y if self.batched else y[0]


def pool(name: str, input: tuple[int, ...], **options: Any) -> Pool:
    """A row of the list; its rank is the number in its name."""
    return Pool(name, input, int(name[0]), options)


# Around the vector widths of 2, 4, 8 and 16 lanes.
COUNTS = (1, 2, 3, 5, 8, 9, 15, 16, 17, 31, 33)

SLIDING = (
    # --- One axis ---
    pool("1d", (2, 3, 11), kernel_size=3),
    pool("1d unbatched", (3, 11), kernel_size=2, stride=1),
    pool("1d empty batch", (0, 3, 11), kernel_size=4),
    pool("1d stride over kernel", (2, 3, 17), kernel_size=2, stride=5),
    pool("1d stride over input", (2, 3, 4), kernel_size=3, stride=9),
    pool("1d padding", (2, 3, 10), kernel_size=5, stride=2, padding=2),
    pool("1d pairs", (2, 3, 10), kernel_size=4, stride=3, padding=((2, 1),)),
    pool("1d ceil", (2, 3, 12), kernel_size=3, stride=5, ceil_mode=True),
    pool("1d ceil and padding", (2, 3, 9), kernel_size=4, stride=3, padding=2, ceil_mode=True),
    pool("1d ceil drops a window", (2, 3, 4), kernel_size=2, stride=3, padding=1, ceil_mode=True),
    pool("1d same", (2, 3, 10), kernel_size=4, stride=3, padding="same"),
    pool("1d same lower", (2, 3, 10), kernel_size=4, stride=3, padding="same_lower"),
    pool("1d window is input", (2, 3, 7), kernel_size=7),
    pool("1d long window", (2, 3, 75), kernel_size=70, stride=1),
    *(pool(f"1d {n} outputs", (1, 2, n + 2), kernel_size=3, stride=1) for n in COUNTS),
    *(pool(f"1d {n} outputs of two", (1, 2, 2 * n), kernel_size=2) for n in COUNTS),
    *(pool(f"1d {n} outputs of three", (1, 2, 3 * n + 1), kernel_size=3) for n in COUNTS),
    # --- Two axes ---
    pool("2d", (2, 3, 7, 6), kernel_size=(3, 2)),
    pool("2d unbatched", (3, 7, 6), kernel_size=2, stride=(2, 1)),
    pool("2d empty batch", (0, 3, 7, 6), kernel_size=(3, 2)),
    pool("2d 2x2", (2, 6, 10, 12), kernel_size=2),
    pool("2d 3x3 over 2", (2, 5, 11, 14), kernel_size=3, stride=2, padding=1),
    pool("2d 3x3 over 1", (2, 17, 6, 9), kernel_size=3, stride=1, padding=1),
    pool("2d stride over kernel", (2, 3, 9, 13), kernel_size=(2, 1), stride=(4, 5)),
    pool("2d pairs", (2, 3, 8, 9), kernel_size=(3, 5), stride=1, padding=((1, 0), (2, 1))),
    pool("2d ceil", (1, 4, 8, 11), kernel_size=(3, 4), stride=(4, 3), ceil_mode=True),
    pool(
        "2d ceil and padding",
        (2, 3, 9, 8),
        kernel_size=(4, 3),
        stride=(3, 4),
        padding=((2, 1), (0, 1)),
        ceil_mode=True,
    ),
    pool("2d same", (2, 3, 9, 8), kernel_size=(4, 3), stride=(2, 3), padding="same"),
    pool("2d window is input", (2, 3, 5, 4), kernel_size=(5, 4)),
    pool("2d window is large input", (2, 3, 9, 23), kernel_size=(9, 23)),
    pool("2d large window", (1, 2, 13, 19), kernel_size=(7, 9), stride=1, padding=(3, 4)),
    pool("2d more rows than a run", (1, 2, 41, 5), kernel_size=(2, 3), stride=(1, 2)),
    pool("2d one cell", (3, 5, 1, 1), kernel_size=1),
    pool("2d one row", (2, 3, 1, 9), kernel_size=(1, 2), stride=1),
    pool("2d one column", (2, 3, 9, 1), kernel_size=(2, 1), stride=1),
    *(pool(f"2d {c} channels", (2, c, 5, 6), kernel_size=(2, 3), stride=1) for c in COUNTS),
    # --- Three axes ---
    pool("3d", (2, 3, 5, 7, 6), kernel_size=(2, 3, 2)),
    pool("3d unbatched", (3, 4, 6, 5), kernel_size=2, stride=(1, 2, 3)),
    pool(
        "3d every option",
        (2, 5, 6, 7, 9),
        kernel_size=(2, 3, 4),
        stride=(3, 1, 2),
        padding=((1, 0), (0, 1), (2, 1)),
        ceil_mode=True,
    ),
    pool("3d window is input", (1, 3, 2, 4, 9), kernel_size=(2, 4, 9)),
    # --- Dilation ---
    pool("1d dilation", (2, 3, 11), kernel_size=3, dilation=4, stride=2),
    pool("1d dilation and padding", (2, 3, 11), kernel_size=4, dilation=3, stride=1, padding=2),
    pool("2d dilation", (2, 3, 11, 9), kernel_size=(3, 2), dilation=(3, 5), stride=1),
    pool(
        "2d every option",
        (2, 17, 12, 9),
        kernel_size=(3, 4),
        stride=(2, 3),
        padding=((1, 0), (2, 1)),
        dilation=(3, 2),
        ceil_mode=True,
    ),
    pool("3d dilation", (2, 3, 7, 6, 9), kernel_size=(2, 3, 2), dilation=(4, 2, 3), stride=2),
)

ADAPTIVE = (
    pool("1d even bins", (2, 3, 12), output_size=4),
    pool("1d uneven bins", (2, 3, 11), output_size=4),
    pool("1d more bins than cells", (2, 3, 5), output_size=(8,)),
    pool("1d one bin", (3, 23), output_size=1),
    pool("2d even bins", (2, 5, 6, 9), output_size=(2, 3)),
    pool("2d uneven bins", (2, 17, 7, 9), output_size=(3, 5)),
    pool("2d some even", (2, 3, 8, 9), output_size=(4, 5)),
    pool("2d kept axis", (2, 3, 8, 9), output_size=(None, 5)),
    pool("2d one bin", (2, 3, 7, 9), output_size=1),
    pool("2d one bin of many cells", (2, 3, 19, 33), output_size=1),
    pool("2d a row of bins", (2, 3, 7, 40), output_size=(1, 3)),
    pool("2d empty batch of bins", (0, 3, 7, 9), output_size=(3, 5)),
    pool("3d uneven bins", (2, 3, 5, 7, 4), output_size=(3, 2, 5)),
    pool("3d one bin", (2, 3, 2, 3, 11), output_size=1),
)

CASES = SLIDING + ADAPTIVE
assert len({row.name for row in CASES}) == len(CASES)
PLAIN = tuple(row for row in CASES if row.plain)
NORMED = tuple(row for row in SLIDING if row.plain and "padding" not in row.options)


@functools.cache
def numbers(row: Pool) -> np.ndarray:
    """Small integers for the input, in float64."""
    return integers(row.input, seed=len(row.name))


@functools.cache
def specials(row: Pool) -> np.ndarray:
    """Numbers among which windows meet NaN, infinities and nothing but minus infinity."""
    random = np.random.default_rng(len(row.name))
    x = numbers(row).copy()
    kinds = random.random(x.shape)
    x[kinds < 0.5] = -np.inf
    x[kinds < 0.1] = np.nan
    x[kinds > 0.95] = np.inf
    return x


@functools.cache
def maxima(row: Pool, special: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Values and indices by definition."""
    x = specials(row) if special else numbers(row)
    values, indices = reference.max_pool(row.geometry, row.lifted(x))
    return row.lowered(values), row.lowered(indices)


def _divisors(row: Pool, axis: int) -> set[int]:
    """How many cells windows have along an axis, with the padding and without it."""
    g = row.geometry
    size, found = g.in_size[axis], set()
    for index in range(g.out_size[axis]):
        if row.adaptive:
            first, stop = adaptive_bin(index, size, g.out_size[axis])
        else:
            first = index * g.stride[axis] - g.padding[axis][0]
            stop = min(first + g.kernel_size[axis], size + g.padding[axis][1])
        found |= {stop - first, min(stop, size) - max(first, 0)}
    return found


def multiple(row: Pool) -> int:
    """A number that the divisor of every window divides."""
    axes = (math.lcm(*_divisors(row, axis)) for axis in range(row.rank))
    return math.prod(axes)


@functools.cache
def terms(row: Pool) -> np.ndarray:
    """A gradient of the output, in float64, that the windows' divisors divide."""
    return multiple(row) * integers(row.output, seed=1)
