"""The convolutions that every test of them goes through, with data whose sums are exact.

A new case is one line of `CASES`. Sizes differ on every axis, so that no swapped pair goes unseen.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import fastconv
from benchmarks.cases import ConvCase, per_axis
from benchmarks.suites import SUITES
from fastconv import reference
from fastconv.choose import plan_conv
from fastconv.geometry import ConvGeometry
from fastconv.plan import OPERATIONS


@dataclass(frozen=True)
class Case:
    """One convolution; `input` is (N, C, *size) or (C, *size), `weight` (K, C/groups, *kernel)."""

    name: str
    input: tuple[int, ...] = field(compare=False)
    weight: tuple[int, ...] = field(compare=False)
    options: dict[str, Any] = field(compare=False)

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.weight) - 2

    @functools.cached_property
    def geometry(self) -> ConvGeometry:
        """The problem as the library sees it."""
        return ConvGeometry.forward("test", self.rank, self.input, self.weight, **self.options)

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of the result."""
        shape = self.geometry.output_shape
        return shape if self.geometry.batched else shape[1:]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an operand, as its caller sees it."""
        shapes = {"input": self.input, "weight": self.weight, "grad_output": self.output}
        return shapes.get(name, self.weight[:1])

    def result(self, operation: str) -> tuple[int, ...]:
        """Shape of what an operation makes."""
        return dict(zip(OPERATIONS, (self.output, self.input, self.weight)))[operation]

    def channel_axis(self, name: str) -> int:
        """Where an operand has the axis that channels-last memory has last."""
        return 0 if name == "bias" or (name != "weight" and not self.geometry.batched) else 1

    def chosen(self, operation: str, dtype: Any, channels_last: bool = False) -> str:
        """The algorithm that the library takes by itself."""
        decision, _ = plan_conv(
            "test", self.geometry, np.dtype(dtype), operation, channels_last=channels_last
        )
        return decision.algorithm

    def algorithms(self, operation: str, dtype: Any) -> list[str]:
        """Those that do not refuse."""
        decision, _ = plan_conv("test", self.geometry, np.dtype(dtype), operation)
        return [v.algorithm for v in decision.verdicts if v.refusal is None]

    def run(self, operation: str, operands: dict[str, Any], **options: Any) -> np.ndarray:
        """Call the public door of an operation."""
        doors = {
            "forward": (fastconv, f"conv{self.rank}d"),
            "input_gradient": (fastconv.grad, f"conv{self.rank}d_input"),
            "weight_gradient": (fastconv.grad, f"conv{self.rank}d_weight"),
        }
        door = getattr(*doors[operation])
        if operation == "input_gradient":
            operands = {"input_size": self.input, **operands}
        if operation == "weight_gradient":
            operands = {"weight_size": self.weight, **operands}
        return door(**operands, **self.options, **options)


def case(name: str, input: tuple[int, ...], weight: tuple[int, ...], **options: Any) -> Case:
    """A row of the list."""
    return Case(name, input, weight, options)


def _narrowed(row: ConvCase) -> ConvCase:
    """With a kernel of at most some hundred taps, and as much less padding."""
    most = {1: 401, 2: 23, 3: 9}[row.rank]
    less = [max(k - most, 0) // 2 for k in row.kernel]
    if not any(less) or isinstance(row.padding, str):
        return row
    kernel = tuple(k - 2 * n for k, n in zip(row.kernel, less))
    padding = tuple(max(p - n, 0) for p, n in zip(per_axis(row.padding, row.rank), less))
    return replace(row, kernel=kernel, padding=padding)


def from_benchmark(row: ConvCase, batch: int) -> Case:
    """A layer of the benchmarks, small; a transposed one as the forward problem of its gradient."""
    row = _narrowed(row).shrunk()
    options = {"stride": row.stride, "padding": row.padding, "dilation": row.dilation}
    options["groups"] = row.groups
    shape = row.input_shape(batch)
    if row.transposed:
        options["output_padding"] = row.output_padding
        g = ConvGeometry.transposed("test", row.rank, shape, row.weight_shape, **options)
        del options["output_padding"]
        shape = g.input_shape
    return Case(f"{row.name} shrunk", shape, row.weight_shape, options)


def from_benchmarks() -> list[Case]:
    """The layers of the benchmarks, without those that are alike once they are small."""
    found = {}
    for suite in SUITES.values():
        for number, row in enumerate(suite):
            small = replace(row.shrunk(), name="")
            found.setdefault(small, from_benchmark(row, 1 + number % 4))
    return list(found.values())


# Around the vector widths of 2, 4, 8 and 16 lanes and blocks of two vectors.
CHANNELS = ((1, 6), (6, 16), (16, 17), (17, 31), (31, 33), (33, 65), (65, 1), (16, 32), (2, 3))
# Around one and two tiles of 6 and of 14 pixels.
PIXELS = (1, 5, 6, 7, 13, 14, 15, 27, 28, 29)
NAMED = ("valid", "same", "same_lower", "full")
MODES = ("reflect", "replicate", "circular")

CASES = (
    # --- One axis ---
    case("1d", (2, 3, 11), (4, 3, 5)),
    case("1d unbatched", (3, 11), (4, 3, 2), padding=1),
    case("1d empty batch", (0, 3, 11), (4, 3, 5)),
    case("1d stride over kernel", (2, 3, 17), (5, 3, 2), stride=5),
    case("1d stride and dilation", (1, 2, 29), (3, 2, 4), stride=4, dilation=6, padding=7),
    case("1d causal", (2, 3, 10), (4, 3, 3), padding="causal", dilation=2),
    case("1d causal stride", (2, 3, 11), (4, 3, 4), padding="causal", stride=3),
    case("1d kernel is input", (3, 5, 7), (4, 5, 7)),
    case("1d long kernel", (1, 1, 90), (2, 1, 41), padding="full"),
    case("1d rows of vectors", (2, 1, 700), (1, 1, 150), padding=((3, 70),)),
    case("1d rows of vectors in place", (1, 2, 900), (1, 2, 97)),
    case("1d very long kernel", (1, 2, 3000), (3, 2, 900)),
    case("1d depthwise rows of vectors", (2, 3, 200), (3, 1, 49), groups=3, padding=24),
    case("1d depthwise", (2, 17, 23), (17, 1, 4), groups=17, stride=2, padding=((3, 0),)),
    case("1d one pixel per row", (5, 4, 3), (6, 4, 3)),
    case("1d depthwise long", (2, 19, 45), (19, 1, 11), groups=19, padding=5),
    *(case(f"1d {n} pixels", (1, 3, n + 2), (5, 3, 3)) for n in PIXELS),
    *(case(f"1d {m}", (2, 2, 7), (3, 2, 3), padding=((4, 5),), padding_mode=m) for m in MODES),
    # Phases of an input gradient that one job does: as many pixels and taps in each.
    case("1d phases", (2, 5, 24), (7, 5, 6), stride=3, padding=1),
    case("1d phases of a dilation", (1, 17, 28), (6, 17, 8), stride=4, dilation=3, padding=5),
    # --- Two axes ---
    case("2d", (2, 3, 7, 6), (4, 3, 3, 2)),
    case("2d short last boxes of rows", (1, 2, 30, 1000), (1, 2, 2, 64)),
    case("2d unbatched", (3, 7, 6), (4, 3, 3, 2), stride=(2, 1)),
    case("2d empty batch", (0, 3, 7, 6), (4, 3, 3, 2), padding=1),
    case("2d batch of five", (5, 2, 4, 9), (3, 2, 2, 4), padding=(1, 2)),
    case("2d stride", (2, 3, 9, 11), (4, 3, 3, 5), stride=(2, 3)),
    case("2d stride over kernel", (2, 3, 9, 13), (4, 3, 2, 1), stride=(4, 5)),
    case("2d stride over input", (1, 2, 3, 4), (3, 2, 2, 3), stride=(7, 9), padding=2),
    case("2d dilation", (1, 3, 11, 9), (4, 3, 3, 2), dilation=(3, 5)),
    case("2d dilation is stride", (1, 3, 12, 11), (4, 3, 3, 4), dilation=2, stride=2, padding=3),
    case("2d pairs", (2, 3, 5, 6), (4, 3, 2, 3), padding=((1, 0), (2, 3))),
    case("2d three groups", (2, 6, 5, 7), (9, 2, 3, 2), groups=3, padding=1),
    case(
        "2d every option",
        (2, 6, 11, 9),
        (4, 3, 3, 2),
        stride=(2, 3),
        padding=((1, 2), (3, 0)),
        dilation=(3, 2),
        groups=2,
    ),
    *(case(f"2d {p}", (2, 3, 6, 7), (4, 3, 3, 2), padding=p) for p in NAMED),
    *(case(f"2d {p} stride", (2, 3, 9, 8), (4, 3, 4, 3), padding=p, stride=(2, 3)) for p in NAMED),
    *(
        case(
            f"2d {mode}",
            (2, 4, 6, 5),
            (6, 2, 3, 4),
            padding=((4, 2), (1, 4)),
            padding_mode=mode,
            stride=(1, 2),
            dilation=(2, 1),
            groups=2,
        )
        for mode in MODES
    ),
    case("2d padding over input", (2, 3, 3, 4), (4, 3, 3, 2), padding=(9, 11)),
    case("2d padding over input, whole vectors", (1, 3, 3, 16), (2, 3, 3, 2), padding=(9, 11)),
    case(
        "2d replicate padding over input",
        (1, 2, 3, 4),
        (3, 2, 3, 2),
        padding=((9, 7), (11, 6)),
        padding_mode="replicate",
        stride=(3, 2),
    ),
    case("2d outputs in padding only", (1, 2, 3, 2), (3, 2, 2, 3), padding=8, stride=5),
    case("2d reflect one cell", (1, 2, 4, 1), (3, 2, 3, 1), padding=(3, 0), padding_mode="reflect"),
    case("2d kernel is input", (2, 3, 5, 4), (4, 3, 5, 4)),
    case("2d kernel is padded input", (2, 3, 5, 4), (4, 3, 7, 8), padding=(1, 2)),
    case("2d one cell", (3, 5, 1, 1), (4, 5, 1, 1)),
    case("2d 1x1", (2, 5, 4, 7), (6, 5, 1, 1)),
    case("2d 1x1 stride", (2, 5, 7, 8), (6, 5, 1, 1), stride=(2, 3)),
    case("2d 1x1 padding", (2, 5, 4, 3), (6, 5, 1, 1), padding=((0, 2), (1, 0))),
    case("2d taps far apart", (2, 5, 23, 29), (6, 5, 3, 2), dilation=(9, 13), padding=8),
    case("2d 1x1 large", (2, 6, 17, 11), (10, 3, 1, 1), groups=2),
    *(
        case(f"2d {c} to {k} channels", (1, c, 5, 6), (k, c, 3, 2), padding=(1, 0))
        for c, k in CHANNELS
    ),
    case("2d groups of 17 to 33", (1, 34, 4, 5), (66, 17, 2, 3), groups=2),
    *(
        case(f"2d depthwise {c}", (2, c, 6, 7), (c, 1, 3, 2), groups=c, padding=1)
        for c in (2, 5, 16, 17, 33, 64, 65)
    ),
    case("2d depthwise in place", (2, 32, 6, 7), (32, 1, 3, 2), groups=32),
    case("2d depthwise times 3", (2, 5, 6, 7), (15, 1, 3, 2), groups=5, padding=1),
    case("2d depthwise times 2", (1, 17, 9, 8), (34, 1, 2, 3), groups=17, stride=(2, 1)),
    case(
        "2d depthwise every option",
        (2, 18, 9, 11),
        (18, 1, 3, 2),
        groups=18,
        stride=(3, 2),
        dilation=(2, 3),
        padding=((2, 1), (0, 3)),
    ),
    case(
        "2d depthwise circular",
        (1, 6, 5, 4),
        (6, 1, 3, 3),
        groups=6,
        padding=2,
        padding_mode="circular",
    ),
    # Sliding tiles: whole ones and the rest of a row, taps by three and one by one, each step;
    # blocks that overlap, blocks of pixels with and without a border.
    case("2d depthwise 3x4", (2, 33, 19, 37), (33, 1, 3, 4), groups=33, padding=1),
    case("2d depthwise 5x5 stride", (1, 18, 21, 35), (18, 1, 5, 5), groups=18, padding=2, stride=2),
    case("2d depthwise 4x7", (1, 19, 28, 43), (19, 1, 4, 7), groups=19, padding=((3, 1), (0, 4))),
    case("2d depthwise steps", (1, 17, 28, 27), (17, 1, 3, 2), groups=17, stride=3, dilation=2),
    # Rows of two phases in its input gradient: shorter than two vectors, of an odd length, longer.
    case("2d depthwise short rows", (2, 5, 9, 6), (5, 1, 3, 2), groups=5, stride=(1, 2), padding=1),
    case("2d depthwise odd row", (1, 4, 21, 75), (4, 1, 4, 5), groups=4, stride=2, dilation=(2, 3)),
    case("2d depthwise column", (2, 17, 29, 1), (17, 1, 4, 1), groups=17, padding=(2, 0)),
    case(
        "2d depthwise replicate",
        (1, 16, 10, 12),
        (16, 1, 3, 7),
        groups=16,
        padding=((4, 0), (5, 2)),
        padding_mode="replicate",
    ),
    case("2d depthwise 5x3 times 2", (1, 17, 9, 37), (34, 1, 5, 3), groups=17, padding=1),
    *(
        case(f"2d {g} groups of {c} to {k}", (2, g * c, 7, 18), (g * k, c, 3, 2), groups=g)
        for g, c, k in ((9, 4, 4), (18, 2, 4), (18, 4, 2), (5, 8, 8), (11, 3, 5), (3, 16, 16))
    ),
    # Tiles of Winograd's algorithms: whole, cut off, fewer than a vector or a block of channels.
    case("2d 3x3", (2, 5, 9, 7), (6, 5, 3, 3), padding=1),
    case("2d 3x3 whole tiles", (1, 16, 14, 10), (33, 16, 3, 3)),
    case("2d 3x3 in place", (2, 32, 6, 10), (17, 32, 3, 3)),
    case("2d 3x3 many tiles", (1, 17, 37, 31), (34, 17, 3, 3), padding=((2, 1), (0, 3))),
    case("2d 3x3 groups", (2, 34, 7, 9), (70, 17, 3, 3), groups=2, padding="same"),
    *(
        case(
            f"2d 3x3 {mode}",
            (2, 3, 6, 5),
            (4, 3, 3, 3),
            padding=((3, 1), (1, 3)),
            padding_mode=mode,
        )
        for mode in MODES
    ),
    case("2d 3x3 one tile each", (250, 64, 2, 2), (64, 64, 3, 3), padding=1),
    case("2d 3x3 one cell", (3, 2, 1, 1), (4, 2, 3, 3), padding=1),
    case("2d 3x1", (2, 5, 9, 4), (6, 5, 3, 1), padding=(1, 0)),
    case("2d 1x3", (2, 5, 4, 11), (6, 5, 1, 3), padding=(0, 2)),
    case("2d one input channel", (2, 1, 8, 9), (7, 1, 3, 4), padding="same"),
    case("2d one output channel", (2, 7, 6, 5), (1, 7, 2, 3)),
    # Rows that slide: more of them than a tile has, fewer lines than it takes, in place.
    case("2d filter", (2, 1, 33, 41), (1, 1, 7, 5), padding=((2, 3), (1, 4))),
    case("2d filter in place", (1, 2, 30, 64), (1, 2, 3, 2)),
    case("2d filter across", (2, 2, 20, 300), (1, 2, 2, 110), padding=(1, 30)),
    case("2d filter of groups", (1, 4, 29, 31), (4, 2, 8, 3), groups=2, dilation=(1, 2)),
    case("2d phases", (2, 33, 8, 30), (5, 33, 3, 4), stride=2, padding=((1, 0), (1, 2))),
    case("2d phases of one tap", (1, 18, 10, 21), (6, 18, 2, 3), stride=(2, 3)),
    case("2d phases of groups", (2, 8, 6, 8), (6, 4, 1, 2), stride=(1, 2), groups=2),
    # Memory: windows over the buffer budget, many pixels, taps far apart, colliding cache lines.
    case("2d several windows", (1, 33, 48, 47), (3, 33, 3, 2), padding=1),
    case("2d many pixels", (1, 1, 70, 67), (2, 1, 2, 3)),
    case("2d rows far apart", (2, 3, 90, 7), (4, 3, 3, 2), dilation=(41, 1)),
    case("2d columns far apart", (2, 3, 6, 95), (4, 3, 2, 3), dilation=(1, 43), padding=(1, 2)),
    case("2d windows far apart", (1, 3, 50, 61), (4, 3, 2, 1), stride=(11, 13)),
    case("2d pixels 2048 bytes apart", (1, 512, 3, 4), (3, 512, 1, 2)),
    case("2d planes 1024 bytes apart", (2, 3, 16, 16), (4, 3, 2, 3)),
    # --- Three axes ---
    case("3d", (2, 3, 5, 4, 6), (4, 3, 2, 3, 4)),
    case("3d unbatched", (2, 4, 3, 5), (3, 2, 2, 1, 3), padding=(0, 1, 2)),
    case("3d batch of five", (5, 2, 3, 4, 2), (3, 2, 2, 3, 1), stride=(1, 2, 1)),
    case("3d same stride", (1, 2, 5, 7, 6), (3, 2, 2, 3, 4), padding="same", stride=(2, 1, 3)),
    case(
        "3d every option",
        (2, 4, 7, 6, 8),
        (6, 2, 2, 3, 2),
        stride=(2, 1, 3),
        padding=((1, 0), (2, 1), (0, 3)),
        dilation=(1, 2, 3),
        groups=2,
    ),
    *(
        case(
            f"3d {mode}",
            (1, 2, 4, 3, 5),
            (3, 2, 2, 3, 2),
            padding=((2, 1), (0, 2), (3, 1)),
            padding_mode=mode,
            stride=(1, 1, 2),
        )
        for mode in MODES
    ),
    case("3d 1x1x1", (2, 5, 4, 6, 7), (7, 5, 1, 1, 1)),
    case("3d 1x1x1 stride", (1, 5, 5, 6, 7), (4, 5, 1, 1, 1), stride=(2, 3, 4)),
    case("3d phases", (1, 5, 4, 6, 8), (6, 5, 2, 3, 4), stride=2, padding=1),
    case("3d 3x3x3", (2, 3, 5, 6, 7), (4, 3, 3, 3, 3), padding=1),
    case("3d 2x3x3", (1, 17, 6, 5, 9), (18, 17, 2, 3, 3), padding=(2, 1, 0)),
    case(
        "3d 3x3x1 depth",
        (1, 3, 11, 7, 5),
        (4, 3, 3, 3, 1),
        stride=(2, 1, 1),
        dilation=(3, 1, 1),
        padding=(2, 1, 0),
    ),
    case("3d 1x3x3 depth stride", (2, 3, 9, 7, 5), (4, 3, 1, 3, 3), stride=(4, 1, 1)),
    case("3d filter", (1, 2, 5, 23, 37), (1, 2, 2, 9, 3), padding=(1, 4, 0), stride=(2, 1, 2)),
    case("3d depthwise", (1, 19, 4, 5, 3), (19, 1, 2, 3, 2), groups=19, padding=1),
    case("3d depthwise 3x4x3", (1, 17, 5, 10, 18), (17, 1, 3, 4, 3), groups=17, padding=1),
    case("3d slices far apart", (1, 2, 60, 3, 4), (3, 2, 2, 2, 3), dilation=(51, 1, 1)),
    case("3d full", (1, 2, 3, 2, 4), (3, 2, 2, 3, 4), padding="full"),
    *from_benchmarks(),
)
assert len({row.name for row in CASES}) == len(CASES)

OPERANDS = {
    "forward": ("input", "weight", "bias"),
    "input_gradient": ("weight", "grad_output"),
    "weight_gradient": ("input", "grad_output"),
}
assert tuple(OPERANDS) == OPERATIONS


# --- Data and answers ---


def integers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Small integers in float64: every sum of products is exact in every dtype that is tested."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(float)


@functools.cache
def operands(row: Case, operation: str) -> dict[str, np.ndarray]:
    """Small integers for each operand, by its name."""
    names = OPERANDS[operation]
    return {name: integers(row.shape(name), seed) for seed, name in enumerate(names, 1)}


def definition(geometry: ConvGeometry, operation: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """What the reference says, with the axes that the caller of a door sees."""
    a = dict(arrays)
    for name in ("input", "grad_output"):
        if name in a and not geometry.batched:
            a[name] = a[name][None]
    if operation == "weight_gradient":
        return reference.conv_weight(geometry, a["input"], a["grad_output"])
    if operation == "forward":
        result = reference.conv(geometry, a["input"], a["weight"], a.get("bias"))
    else:
        result = reference.conv_input(geometry, a["weight"], a["grad_output"])
    return result if geometry.batched else result[0]


@functools.cache
def answer(row: Case, operation: str) -> np.ndarray:
    """The right result for `operands`, in float64."""
    return definition(row.geometry, operation, operands(row, operation))


# How many times the error of a plain sum, eps * max of conv(|x|, |w|), an algorithm may err.
# One that is not listed sums plain products, so it must be exact on small integers.
ROUNDING: dict[str, float] = {"winograd_f4": 24, "winograd_f2": 4, "fourier": 4}


def assert_right(
    row: Case, operation: str, algorithm: str, result: np.ndarray, note: object = ""
) -> None:
    """Exact equality, or the stated multiple of a plain sum's error."""
    expected = answer(row, operation)
    assert result.shape == expected.shape
    if algorithm not in ROUNDING or result.dtype.kind in "iu":
        wrong = np.argwhere(result != expected)
        assert not len(wrong), f"{algorithm} {note}: {len(wrong)} wrong, first at {wrong[0]}"
        return
    sizes = {name: abs(value) for name, value in operands(row, operation).items()}
    scale = definition(row.geometry, operation, sizes).max(initial=0)
    if algorithm == "fourier":  # every product of a tile rounds every output of it
        factors = [sizes[name].max(initial=0) for name in OPERANDS[operation] if name != "bias"]
        scale = max(scale, math.prod(factors))
    bound = ROUNDING[algorithm] * np.finfo(result.dtype).eps * scale
    assert abs(result - expected).max(initial=0) <= bound, f"{algorithm} {note}"


# --- Memory ---

# Contiguous; cut out of something larger; every second element of it, some axes backwards.
LAYOUTS = ("first", "last", "crop first", "crop last", "odd")
EDGE = 80


class Surrounded:
    """An array of any memory layout amidst poison, which must neither change nor be seen."""

    def __init__(
        self,
        shape: tuple[int, ...],
        layout: str,
        dtype: Any,
        poison: float,
        channel_axis: int = 1,
    ) -> None:
        self._shape, self._layout, self._channel_axis = shape, layout, channel_axis
        more = {"crop first": (1, 2), "crop last": (1, 2), "odd": (2, 2)}
        factor, extra = more.get(layout, (1, 0))
        self._extents = [factor * n + extra for n in self._in_memory(shape)]
        self.memory = np.full(math.prod(self._extents) + 2 * EDGE, poison, dtype)
        self._poisoned = self.memory.copy()
        self.array = self._inside(self.memory)

    def _in_memory(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if "last" not in self._layout:
            return shape
        at = self._channel_axis
        return (*shape[:at], *shape[at + 1 :], shape[at])

    def _inside(self, memory: np.ndarray) -> np.ndarray:
        block = memory[EDGE : len(memory) - EDGE].reshape(self._extents)
        if "crop" in self._layout:
            block = block[tuple(slice(1, n - 1) for n in self._extents)]
        if self._layout == "odd":
            forward, backward = slice(1, -1, 2), slice(-2, 0, -2)
            block = block[tuple((forward, backward)[a % 2] for a in range(block.ndim))]
        if "last" in self._layout:
            block = np.moveaxis(block, -1, self._channel_axis)
        assert block.shape == self._shape
        return block

    def kept(self) -> bool:
        """Whether everything around the array is as it was."""
        now = self.memory.copy()
        self._inside(now)[...] = self._inside(self._poisoned)
        return now.tobytes() == self._poisoned.tobytes()


def poison(dtype: Any) -> float:
    """NaN, or a number that no small case makes."""
    return np.nan if np.dtype(dtype).kind == "f" else 1_000_007


def surrounded(row: Case, name: str, values: np.ndarray, layout: str, dtype: Any) -> Surrounded:
    """The values of an operand in that layout, read-only."""
    block = Surrounded(values.shape, layout, dtype, poison(dtype), row.channel_axis(name))
    block.array[...] = values
    block.array.setflags(write=False)
    return block
