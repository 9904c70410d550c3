"""Choosing an algorithm: of the rows that neither refuse nor decline, the fastest by its estimate.

To refuse is to be unable; to decline is to be unwilling: only the first binds somebody who asks for
an algorithm by name.
A new algorithm is one file in `cpu` and one row of `ALGORITHMS`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import reference
from .arguments import check_string
from .arrays import compute_dtype
from .borders import FoldedBorder
from .cpu.activation import check_activation
from .cpu.engine import Correlations, planar_block
from .cpu.fourier_engine import Fourier, spectra_bytes, tile
from .cpu.fused import Fused
from .cpu.gradient_engine import WeightGradient
from .cpu.grouped_engine import Grouped, channel_family
from .cpu.grouped_tiles import PAIRS
from .cpu.job import OUTER, PAIRWISE, PLANAR
from .cpu.sliding_engine import Sliding, slide_of, sliding_share
from .cpu.winograd_engine import Winograd
from .dtypes import ComplexParts, Widened
from .geometry import ConvGeometry, phase_count
from .machine import machine
from .plan import Decision, Engine, Verdict
from .precision import get_precision


class Algorithm(NamedTuple):
    """One row of the table."""

    name: str
    advantage: str
    refuses: Callable[[ConvGeometry, str, str], str | None]
    declines: Callable[[ConvGeometry, str, str], str | None]
    work: Callable[[ConvGeometry, str, str], float]  # multiply-adds done, in empty lanes as well
    efficiency: float  # part of the fma peak that they reach
    packed: float  # times that the weights grow by packing
    channels_last: bool | None  # the format that it works in; None: either
    make: Callable[[ConvGeometry, str, str, str | None], Engine]
    # Seconds per element of input and output to turn it into that format, measured as below.
    turning: float = 0.15e-9


def _never(geometry: ConvGeometry, dtype: str, operation: str) -> None:
    return None


def _refuse_depthwise(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if geometry.groups != geometry.in_channels:
        return (
            f"needs one input channel per group, not {geometry.in_channels // geometry.groups} "
            f"({geometry.in_channels} channels in {geometry.groups} groups)"
        )
    return None


def _decline_depthwise(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if geometry.in_channels == 1 and (geometry.out_channels > 1 or operation == "weight_gradient"):
        return "one input channel: the others use it for several outputs at once"
    return None


def _refuse_grouped(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    g = geometry
    if operation == "weight_gradient":
        return "has no weight gradient"
    if channel_family(g, dtype, operation) is None:
        inputs, outputs = g.in_channels // g.groups, g.out_channels // g.groups
        return (
            f"{machine().lanes(dtype)} output channels of {g.groups} groups of {inputs} to "
            f"{outputs} must find their inputs in one vector or two"
        )
    return None


def _decline_grouped(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if geometry.groups in (1, geometry.in_channels):
        return "one group, or one channel in each"
    return None


def _grouped_work(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    pairs = channel_family(geometry, dtype, operation) == PAIRS
    return geometry.multiply_adds * (1.5 if pairs else 1.0)


def _correlations(form: int) -> Callable[[ConvGeometry, str, str, str | None], Engine]:
    def make(geometry: ConvGeometry, dtype: str, operation: str, activation: str | None) -> Engine:
        if operation == "weight_gradient":
            return WeightGradient(geometry, dtype, form)
        return Correlations(geometry, dtype, operation, form, activation)

    return make


def _make_depthwise(
    geometry: ConvGeometry, dtype: str, operation: str, activation: str | None
) -> Engine:
    if operation == "weight_gradient":
        return WeightGradient(geometry, dtype, PAIRWISE)
    return Grouped(geometry, dtype, operation, activation)


def _winograd(outputs: int) -> Callable[[ConvGeometry, str, str, str | None], Engine]:
    def make(geometry: ConvGeometry, dtype: str, operation: str, activation: str | None) -> Engine:
        return Winograd(geometry, dtype, operation, outputs, activation)

    return make


def _targets(geometry: ConvGeometry, operation: str) -> int:
    """Channels of a group that an operation writes."""
    channels = geometry.in_channels if operation == "input_gradient" else geometry.out_channels
    return channels // geometry.groups


def _share(count: int, multiple: int) -> float:
    """Part of whole multiples that `count` fills."""
    return count / (math.ceil(count / multiple) * multiple)


def _direct_share(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    """Part of a direct tile's work that is asked for: channels fill whole vectors."""
    return _share(_targets(geometry, operation), machine().lanes(dtype))


def _planar_share(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    """Part of a planar tile's work that is asked for: rows fill vectors, channels fill blocks."""
    targets = _targets(geometry, operation)
    row = geometry.out_size[-1]
    if operation == "input_gradient":  # the longest row of a phase
        row = phase_count(geometry.in_size[-1], 0, geometry.stride[-1])
    return _share(row, machine().lanes(dtype)) * _share(targets, planar_block(targets))


def _terms(geometry: ConvGeometry, operation: str) -> int:
    """Products that are summed for an element of what an operation writes."""
    channels = geometry.out_channels if operation == "input_gradient" else geometry.in_channels
    return channels // geometry.groups * math.prod(geometry.kernel_size)


# Multiply-adds of a sum that would take as long as going from one tile to the next.
BETWEEN_TILES = 8

# Multiply-adds of an output that would take as long as gathering one of its pixels from a row with
# a stride.
GATHERING = 20


def _plain_work(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    return geometry.multiply_adds


def _direct_work(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    work = geometry.multiply_adds / _direct_share(geometry, dtype, operation)
    work *= 1 + BETWEEN_TILES / _terms(geometry, operation)
    if _targets(geometry, operation) > machine().lanes(dtype):
        return work
    return 1.35 * work  # a tile of one vector is bound by its loads


def _planar_work(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    targets = _targets(geometry, operation)
    work = geometry.multiply_adds / _planar_share(geometry, dtype, operation)
    if operation == "forward" and geometry.stride[-1] > 1:
        work += geometry.multiply_adds / targets * GATHERING
    if targets > 1:
        return work
    # Bound by its loads.
    return 2 * work * (1 + BETWEEN_TILES / _terms(geometry, operation))


def _refuse_planar(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    row, lanes = geometry.out_size[-1], machine().lanes(dtype)
    if operation == "weight_gradient" and row < lanes:
        return f"its weight gradient needs rows of {lanes} outputs, not {row}"
    return None


def _decline_planar(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if geometry.in_channels > 1 and _refuse_depthwise(geometry, dtype, operation) is None:
        return "channels that do not mix fill the lanes without a broadcast"
    lanes = machine().lanes(dtype)
    if operation == "weight_gradient" and _targets(geometry, operation) >= lanes:
        return "vectors of output channels are full, and need no sums of lanes"
    return None


def _refuse_sliding(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    g = geometry
    if operation == "weight_gradient":
        return "has no weight gradient"
    if operation == "input_gradient" and set(g.stride) != {1}:
        return f"its input gradient needs stride 1, not {g.stride}"
    if operation == "input_gradient" and set(g.dilation) != {1}:
        return f"its input gradient needs dilation 1, not {g.dilation}"
    if slide_of(g, dtype) is None:
        return (
            f"needs three kernel rows, or a row of {3 * machine().lanes(dtype)}, at stride 1 and "
            f"dilation 1 along them, not {g.kernel_size}"
        )
    return None


def _decline_sliding(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if _targets(geometry, operation) > 1:
        return "several output channels, which other tiles let share what is loaded"
    if geometry.in_channels > 1 and _refuse_depthwise(geometry, dtype, operation) is None:
        return "channels that do not mix fill the lanes without a broadcast"
    return None


def _sliding_work(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    work = geometry.multiply_adds / sliding_share(geometry, dtype, operation)
    return work * (1 + BETWEEN_TILES / _terms(geometry, operation))


def _refuse_winograd(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    g = geometry
    if operation == "weight_gradient":
        return "has no weight gradient"
    if dtype == "int64":
        return "its weights are fractions, so it cannot compute integers"
    plane = slice(-2, None)
    if 3 not in g.kernel_size[plane] or not {1, 3}.issuperset(g.kernel_size[plane]):
        return f"needs kernels of 3 (or 1) along the last two axes, not {g.kernel_size}"
    if set(g.stride[plane]) != {1} or set(g.dilation[plane]) != {1}:
        return f"needs stride 1 and dilation 1, not {g.stride} and {g.dilation}"
    if operation == "input_gradient" and set(g.stride) != {1}:
        return f"its input gradient needs stride 1, not {g.stride}"
    return None


def _winograd_work(outputs: int) -> Callable[[ConvGeometry, str, str], float]:
    """Multiply-adds of F(outputs, 3): the products, and its transforms as so many multiply-adds.

    A transform of one product of one channel takes as long as TRANSFORM multiply-adds.
    """

    def work(geometry: ConvGeometry, dtype: str, operation: str) -> float:
        g, lanes = geometry, machine().lanes(dtype)
        size = g.in_size if operation == "input_gradient" else g.out_size
        tile = [outputs if taps == 3 else 1 for taps in g.kernel_size[-2:]]
        tiles = g.batch * math.prod(size[:-2]) * math.prod(map(_ceiling, size[-2:], tile))
        products = math.prod(m + 2 if m > 1 else 1 for m in tile)
        targets = _targets(g, operation)
        sources = g.in_channels * g.out_channels // g.groups**2 // targets
        wide, narrow = _ceiling(targets, lanes) * lanes, _ceiling(sources, lanes) * lanes
        depth = math.prod(g.kernel_size[:-2])
        each = depth * sources * wide + TRANSFORM * (wide + narrow)
        return float(tiles * products * g.groups * each)

    return work


# Measured on ResNet and VGG layers (two cores of Zen 4, AVX-512, 2026-11).
TRANSFORM = 11


def _ceiling(count: int, multiple: int) -> int:
    return -(-count // multiple)


def _decline_winograd(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if get_precision() == "strict":
        return "rounds more than a sum does, which set_precision has excluded"
    if dtype != "float32":
        return f"rounds more than a sum of {dtype} should; ask for it by name"
    return None


def _refuse_fourier(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if operation == "weight_gradient":
        return "has no weight gradient"
    if dtype == "int64":
        return "its spectra are rounded, so it cannot compute integers"
    return None


def _decline_fourier(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if get_precision() == "strict":
        return "rounds more than a sum does, which set_precision has excluded"
    if math.prod(geometry.kernel_size) < FEWEST_TAPS:
        return f"costs more than sums of fewer than {FEWEST_TAPS} products"
    size = spectra_bytes(geometry, dtype, operation)
    if size > MOST_SPECTRA:
        return f"its transformed weights would take {size >> 20} MiB"
    return None


def _fourier_work(geometry: ConvGeometry, dtype: str, operation: str) -> float:
    if math.prod(geometry.kernel_size) < FEWEST_TAPS:  # a guess: nobody compares it
        return 4 * _plain_work(geometry, dtype, operation)
    return tile(geometry, dtype, operation).work


# Kernels of fewer taps are never worth a transform, nor the time to import SciPy's.
FEWEST_TAPS = 16

# Bytes of transformed weights that nobody has asked for.
MOST_SPECTRA = 256 << 20


class Reference:
    """The definition of right as an engine."""

    def __init__(self, geometry: ConvGeometry, operation: str, activation: str | None) -> None:
        self._geometry, self._operation, self._activation = geometry, operation, activation

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> Any:
        """See `plan.Engine`."""
        return weight, bias

    def run(self, source: np.ndarray, packed: Any, target: np.ndarray, threads: int | None) -> None:
        """See `plan.Engine`."""
        weight, bias = packed
        with np.errstate(all="ignore"):
            if self._operation == "forward":
                result = reference.conv(self._geometry, source, weight, bias)
            elif self._operation == "input_gradient":
                result = reference.conv_transpose(self._geometry, source, weight, bias)
            else:
                result = reference.conv_weight(self._geometry, source, weight)
            np.copyto(target, reference.activation(self._activation, result))

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """The padded copy; NumPy's temporaries are not counted."""
        g = self._geometry
        return 8 * g.batch * g.in_channels * math.prod(g.padded_size)


ALGORITHMS = (
    Algorithm(
        "depthwise",
        "one input channel per group: channels or pixels lie in the lanes, nothing is broadcast",
        _refuse_depthwise,
        _decline_depthwise,
        _plain_work,
        0.5,
        1.0,
        None,
        _make_depthwise,
    ),
    Algorithm(
        "grouped",
        "few channels per group: those of several groups lie in the lanes, inputs are permuted",
        _refuse_grouped,
        _decline_grouped,
        _grouped_work,
        0.7,
        1.0,
        True,
        Grouped,
        2e-9,  # it does not turn them: packed planar tiles take over
    ),
    Algorithm(
        "planar",
        "lanes along the pixels of a row: few output channels leave none empty",
        _refuse_planar,
        _decline_planar,
        _planar_work,
        0.7,
        1.0,
        False,
        _correlations(PLANAR),
        0.3e-9,
    ),
    Algorithm(
        "sliding",
        "one output channel: what is loaded meets the sums of several output rows",
        _refuse_sliding,
        _decline_sliding,
        _sliding_work,
        0.85,
        1.0,
        False,
        Sliding,
        0.3e-9,
    ),
    Algorithm(
        "winograd_f4",
        "4 x 4 outputs from 6 x 6 inputs: 2.25 products per output and channel instead of 9",
        _refuse_winograd,
        _decline_winograd,
        _winograd_work(4),
        0.85,
        36 / 9,
        True,
        _winograd(4),
    ),
    Algorithm(
        "winograd_f2",
        "2 x 2 outputs from 4 x 4 inputs: 4 products per output and channel instead of 9",
        _refuse_winograd,
        _decline_winograd,
        _winograd_work(2),
        0.85,
        16 / 9,
        True,
        _winograd(2),
    ),
    Algorithm(
        "fourier",
        "products of spectra, tile by tile: the length of the kernel hardly counts",
        _refuse_fourier,
        _decline_fourier,
        _fourier_work,
        1.0,
        1.0,
        None,
        lambda geometry, dtype, operation, activation: Fourier(
            geometry, dtype, operation, activation
        ),
    ),
    Algorithm(
        "direct",
        "register tiles of output channels by pixels, fits every geometry",
        _never,
        _never,
        _direct_work,
        0.85,
        1.0,
        True,
        _correlations(OUTER),
    ),
    Algorithm(
        "reference",
        "slow and obvious NumPy, for comparison",
        _never,
        lambda geometry, dtype, operation: "it is there to compare with",
        lambda geometry, dtype, operation: geometry.multiply_adds + 1e5,  # and NumPy's calls
        0.002,
        0.0,
        None,
        lambda geometry, dtype, operation, activation: Reference(geometry, operation, activation),
    ),
)


# Seconds per byte that weights cost where they stream from beyond the second-level cache, and per
# packed element to put them in order or to transform them: these layers, measured as above.
STREAMING = 1 / 60e9
PACKING, TRANSFORMING = 0.3e-9, 0.8e-9


def _verdict(
    row: Algorithm,
    geometry: ConvGeometry,
    dtype: str,
    operation: str,
    packed: bool,
    channels_last: bool,
) -> Verdict:
    refusal = row.refuses(geometry, dtype, operation)
    if refusal is not None:
        return Verdict(row.name, refusal, None, row.advantage, math.inf, 0, 0)
    cpu = machine()
    work = row.work(geometry, dtype, operation)
    size = 4 if dtype == "float32" else 8
    weights = row.packed * math.prod(geometry.weight_shape)
    shapes = geometry.input_shape, geometry.output_shape
    images = sum(map(math.prod, shapes))
    moved = images + round(weights)
    seconds = 2 * work / (cpu.peak_flops(dtype) * row.efficiency)
    seconds += size * images / cpu.copy_bandwidth
    if weights * size > cpu.level2_bytes:
        seconds += weights * size * STREAMING
    if not packed:
        seconds += weights * (PACKING if row.packed == 1 else TRANSFORMING)
    if row.channels_last is not None and row.channels_last != channels_last:
        seconds += sum(math.prod(shape) for shape in shapes if shape[1] > 1) * row.turning
    doubt = row.declines(geometry, dtype, operation)
    return Verdict(row.name, None, doubt, row.advantage, seconds, round(2 * work), size * moved)


# Sums of all products, one by one: no precision excludes them.
PLAIN = ("depthwise", "grouped", "planar", "sliding", "direct")
# Expected times of the fastest, beyond which nobody's time is spent on measuring.
HOPELESS = 8


def contenders(decision: Decision) -> list[str]:
    """The algorithms that `plan(tune=True)` measures."""
    fastest = next(v.seconds for v in decision.verdicts if v.algorithm == decision.algorithm)
    return [
        v.algorithm
        for v in decision.verdicts
        if v.refusal is None
        and (v.doubt is None or v.algorithm in PLAIN)
        and v.seconds <= HOPELESS * fastest
    ]


def plan_conv(
    op: str,
    geometry: ConvGeometry,
    dtype: np.dtype,
    operation: str,
    activation: str | None = None,
    algorithm: str = "auto",
    packed: bool = False,
    channels_last: bool = False,
    epilogue: Fused | None = None,
) -> tuple[Decision, Engine]:
    """The decision for a problem and the engine that carries it out.

    If `packed`, weights are packed once for many calls, so their packing does not count; images
    come in one of the two memory formats.

    Raises ValueError for an unknown algorithm or one that refuses the problem, with its reason.
    """
    check_string(op, "activation", activation)
    check_string(op, "algorithm", algorithm)
    precision = get_precision()
    setting = packed, channels_last, precision, epilogue
    return _plan(op, geometry, dtype, operation, activation, algorithm, *setting)


@functools.lru_cache(maxsize=512)
def _plan(
    op: str,
    geometry: ConvGeometry,
    dtype: np.dtype,
    operation: str,
    activation: str | None,
    algorithm: str,
    packed: bool,
    channels_last: bool,
    precision: str,  # only a key: the rows ask for it themselves
    epilogue: Fused | None,
) -> tuple[Decision, Engine]:
    compute = compute_dtype(dtype)
    check_activation(op, activation, compute)
    if activation and dtype.kind == "c":
        raise TypeError(f"{op}: activation {activation!r} of {dtype} is not defined")
    if activation and dtype == np.uint64:  # summed in int64, where large numbers look negative
        if activation != "relu":
            raise TypeError(f"{op}: activation {activation!r} of {dtype} is not supported")
        activation = None
    real = ComplexParts.geometry(geometry) if dtype.kind == "c" else geometry
    folded = operation == "input_gradient" and geometry.padding_mode != "zeros"
    problem = real.without_padding() if folded else real
    verdicts = tuple(
        _verdict(row, problem, compute, operation, packed, channels_last) for row in ALGORITHMS
    )
    names = [row.name for row in ALGORITHMS]
    if algorithm == "auto":
        possible = [i for i, v in enumerate(verdicts) if v.refusal is None and v.doubt is None]
        index = min(possible, key=lambda i: verdicts[i].seconds)
        reason = verdicts[index].advantage
    else:
        if algorithm not in names:
            raise ValueError(f"{op}: algorithm must be 'auto' or one of {names}, not {algorithm!r}")
        index, reason = names.index(algorithm), "asked for by algorithm="
        if verdicts[index].refusal is not None:
            raise ValueError(f"{op}: algorithm {algorithm!r}: {verdicts[index].refusal}")
    engine = ALGORITHMS[index].make(problem, compute, operation, activation)
    if epilogue is not None and isinstance(engine, Correlations) and engine.fuses:
        engine.epilogue = epilogue
    if folded:
        engine = FoldedBorder(engine, real)
    if dtype.kind == "c":
        engine = ComplexParts(engine, operation)
    elif dtype != compute:
        engine = Widened(engine, compute)
    decision = Decision(geometry, operation, str(dtype), names[index], reason, verdicts)
    return decision, engine
