"""Choosing an algorithm: the first row of a table that neither refuses nor declines is taken.

To refuse is to be unable, to decline is to expect a later row to be faster: only the first binds
somebody who asks for an algorithm by name.
A new algorithm is one file in `cpu` and one row of `ALGORITHMS`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import reference
from .arrays import compute_dtype
from .borders import FoldedBorder
from .cpu.activation import NAMES, activation_number
from .cpu.engine import Correlations, WeightGradient, planar_block
from .cpu.job import OUTER, PAIRWISE, PLANAR
from .dtypes import ComplexParts, Widened
from .geometry import ConvGeometry, phase_count
from .machine import machine
from .plan import Decision, Engine, Verdict


class Algorithm(NamedTuple):
    """One row of the table."""

    name: str
    advantage: str
    refuses: Callable[[ConvGeometry, str, str], str | None]
    declines: Callable[[ConvGeometry, str, str], str | None]
    share: Callable[[ConvGeometry, str, str], float]  # multiply-adds asked for / done
    efficiency: float  # part of the fma peak that the multiply-adds done reach
    make: Callable[[ConvGeometry, str, str, int], Engine]


def _never(geometry: ConvGeometry, dtype: str, operation: str) -> None:
    return None


def _refuse_depthwise(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if geometry.groups != geometry.in_channels:
        return (
            f"needs one input channel per group, not {geometry.in_channels // geometry.groups} "
            f"({geometry.in_channels} channels in {geometry.groups} groups)"
        )
    if operation == "weight_gradient":
        return "has no weight gradient"
    multiplier = geometry.out_channels // geometry.in_channels
    if operation == "input_gradient" and multiplier != 1:
        return f"its input gradient needs one output per input channel, not {multiplier}"
    return None


def _decline_depthwise(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if geometry.in_channels == 1:
        return "one input channel: the others use it for several pixels or outputs at once"
    return None


def _correlations(form: int) -> Callable[[ConvGeometry, str, str, int], Engine]:
    def make(geometry: ConvGeometry, dtype: str, operation: str, activation: int) -> Engine:
        return Correlations(geometry, dtype, operation, form, activation)

    return make


def _make_direct(geometry: ConvGeometry, dtype: str, operation: str, activation: int) -> Engine:
    if operation == "weight_gradient":
        return WeightGradient(geometry, dtype)
    return Correlations(geometry, dtype, operation, OUTER, activation)


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


def _refuse_planar(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    return "has no weight gradient" if operation == "weight_gradient" else None


def _decline_planar(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    planar, direct = (share(geometry, dtype, operation) for share in (_planar_share, _direct_share))
    # A direct tile of one vector is bound by its loads, hence the handicap.
    if _targets(geometry, operation) > machine().lanes(dtype) or planar < 0.9 * direct:
        return (
            f"lanes along pixels would be {planar:.0%} full, along the "
            f"{_targets(geometry, operation)} output channels they are {direct:.0%} full"
        )
    return None


class Reference:
    """The definition of right as an engine."""

    def __init__(self, geometry: ConvGeometry, operation: str, activation: int) -> None:
        self._geometry, self._operation, self._activation = geometry, operation, activation

    def pack(self, weight: np.ndarray, bias: np.ndarray | None) -> Any:
        """See `plan.Engine`."""
        return weight, bias

    def run(self, source: np.ndarray, packed: Any, target: np.ndarray, threads: int | None) -> None:
        """See `plan.Engine`."""
        weight, bias = packed
        if self._operation == "forward":
            result = reference.conv(self._geometry, source, weight, bias)
        elif self._operation == "input_gradient":
            result = reference.conv_transpose(self._geometry, source, weight, bias)
        else:
            result = reference.conv_weight(self._geometry, source, weight)
        np.copyto(target, reference.activation(NAMES[self._activation], result))

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """The padded copy; NumPy's temporaries are not counted."""
        g = self._geometry
        return 8 * g.batch * g.in_channels * math.prod(g.padded_size)


ALGORITHMS = (
    Algorithm(
        "depthwise",
        "one input channel per group: channels lie in the lanes, nothing is broadcast",
        _refuse_depthwise,
        _decline_depthwise,
        lambda geometry, dtype, operation: 1.0,
        0.2,
        _correlations(PAIRWISE),
    ),
    Algorithm(
        "planar",
        "lanes along the pixels of a row: few output channels leave none empty",
        _refuse_planar,
        _decline_planar,
        _planar_share,
        0.7,
        _correlations(PLANAR),
    ),
    Algorithm(
        "direct",
        "register tiles of output channels by pixels, fits every geometry",
        _never,
        _never,
        _direct_share,
        0.85,
        _make_direct,
    ),
    Algorithm(
        "reference",
        "slow and obvious NumPy, for comparison",
        _never,
        _never,
        lambda geometry, dtype, operation: 1.0,
        0.002,
        lambda geometry, dtype, operation, activation: Reference(geometry, operation, activation),
    ),
)


def _verdict(row: Algorithm, geometry: ConvGeometry, dtype: str, operation: str) -> Verdict:
    cpu = machine()
    flops = round(2 * geometry.multiply_adds / row.share(geometry, dtype, operation))
    shapes = (geometry.input_shape, geometry.weight_shape, geometry.output_shape)
    moved = sum(math.prod(shape) for shape in shapes) * (4 if dtype == "float32" else 8)
    seconds = max(flops / (cpu.peak_flops(dtype) * row.efficiency), moved / cpu.copy_bandwidth)
    refusal = row.refuses(geometry, dtype, operation)
    doubt = None if refusal else row.declines(geometry, dtype, operation)
    return Verdict(row.name, refusal, doubt, row.advantage, seconds, flops, moved)


@functools.lru_cache(maxsize=512)
def plan_conv(
    op: str,
    geometry: ConvGeometry,
    dtype: np.dtype,
    operation: str,
    activation: str | None = None,
    algorithm: str = "auto",
) -> tuple[Decision, Engine]:
    """The decision for a problem and the engine that carries it out.

    Raises ValueError for an unknown algorithm or one that refuses the problem, with its reason.
    """
    compute = compute_dtype(dtype)
    number = activation_number(op, activation, compute)
    if number and dtype.kind == "c":
        raise TypeError(f"{op}: activation {activation!r} of {dtype} is not defined")
    if number and dtype == np.uint64:  # summed in int64, where large numbers look negative
        if activation != "relu":
            raise TypeError(f"{op}: activation {activation!r} of {dtype} is not supported")
        number = 0
    real = ComplexParts.geometry(geometry) if dtype.kind == "c" else geometry
    folded = operation == "input_gradient" and geometry.padding_mode != "zeros"
    problem = real.without_padding() if folded else real
    verdicts = tuple(_verdict(row, problem, compute, operation) for row in ALGORITHMS)
    names = [row.name for row in ALGORITHMS]
    if algorithm == "auto":
        index = next(i for i, v in enumerate(verdicts) if v.refusal is None and v.doubt is None)
        reason = verdicts[index].advantage
    else:
        if algorithm not in names:
            raise ValueError(f"{op}: algorithm must be 'auto' or one of {names}, not {algorithm!r}")
        index, reason = names.index(algorithm), "asked for by algorithm="
        if verdicts[index].refusal is not None:
            raise ValueError(f"{op}: algorithm {algorithm!r}: {verdicts[index].refusal}")
    engine = ALGORITHMS[index].make(problem, compute, operation, number)
    if folded:
        engine = FoldedBorder(engine, real)
    if dtype.kind == "c":
        engine = ComplexParts(engine, operation)
    elif dtype != compute:
        engine = Widened(engine, compute)
    decision = Decision(geometry, operation, str(dtype), names[index], reason, verdicts)
    return decision, engine
