"""The table of algorithms: what each can do, when it is unwilling, what it costs, its engine.

To refuse is to be unable; to decline is to be unwilling: only the first binds somebody who asks for
an algorithm by name.
A new algorithm is one file in `cpu` and one row of `ALGORITHMS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import estimates, reference
from .cpu.engine import Correlations
from .cpu.fourier_engine import Fourier, spectra_bytes
from .cpu.gradient_engine import WeightGradient
from .cpu.grouped_engine import Grouped, channel_family
from .cpu.grouped_gradient_engine import GroupedGradient
from .cpu.job import OUTER, PAIRWISE, PLANAR
from .cpu.sliding_engine import FEWEST_ROWS, Sliding, slide_of
from .cpu.winograd_engine import Winograd
from .estimates import Estimate, Task, group_targets
from .geometry import ConvGeometry
from .machine import machine
from .plan import Engine
from .precision import get_precision

Reason = Callable[[ConvGeometry, str, str], str | None]


class Algorithm(NamedTuple):
    """One row of the table."""

    name: str
    advantage: str
    refuses: Reason
    declines: Reason
    estimate: Callable[[Task], Estimate]
    make: Callable[[ConvGeometry, str, str, str | None], Engine]


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
    g = geometry
    if g.in_channels > 1 or (g.out_channels == 1 and operation != "weight_gradient"):
        return None
    few_sums = machine().vector_registers < 32 and g.out_channels > 6
    if few_sums and operation == "forward" and g.rank == 2:
        return None  # planar tiles of several outputs load more often than tiles along the rows
    return "one input channel: the others use it for several outputs at once"


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


def _refuse_planar(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    row, lanes = geometry.out_size[-1], machine().lanes(dtype)
    if operation == "weight_gradient" and row < lanes:
        return f"its weight gradient needs rows of {lanes} outputs, not {row}"
    return None


def _decline_planar(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    lanes = machine().lanes(dtype)
    if operation == "weight_gradient" and group_targets(geometry, operation) >= lanes:
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
    if slide_of(g, dtype, operation) is None:
        row = FEWEST_ROWS * machine().lanes(dtype)
        return (
            f"needs {FEWEST_ROWS} kernel rows, or a row of {row}, at stride 1 and dilation 1 along "
            f"them, not {g.kernel_size}"
        )
    return None


def _decline_sliding(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if group_targets(geometry, operation) > 1:
        return "several output channels, which other tiles let share what is loaded"
    return None


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


# Kernels of fewer taps are never worth a transform, nor the time to import SciPy's.
FEWEST_TAPS = 16

# Bytes of transformed weights that nobody has asked for.
MOST_SPECTRA = 256 << 20


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
        if geometry.out_channels == geometry.in_channels:
            return GroupedGradient(geometry, dtype)
        return WeightGradient(geometry, dtype, PAIRWISE)
    return Grouped(geometry, dtype, operation, activation)


def _winograd(outputs: int) -> Callable[[ConvGeometry, str, str, str | None], Engine]:
    def make(geometry: ConvGeometry, dtype: str, operation: str, activation: str | None) -> Engine:
        return Winograd(geometry, dtype, operation, outputs, activation)

    return make


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
        estimates.depthwise,
        _make_depthwise,
    ),
    Algorithm(
        "grouped",
        "few channels per group: those of several groups lie in the lanes, inputs are permuted",
        _refuse_grouped,
        _decline_grouped,
        estimates.grouped,
        Grouped,
    ),
    Algorithm(
        "planar",
        "lanes along the pixels of a row: few output channels leave none empty",
        _refuse_planar,
        _decline_planar,
        estimates.planar,
        _correlations(PLANAR),
    ),
    Algorithm(
        "sliding",
        "one output channel: what is loaded meets the sums of several output rows",
        _refuse_sliding,
        _decline_sliding,
        estimates.sliding,
        Sliding,
    ),
    Algorithm(
        "winograd_f4",
        "4 x 4 outputs from 6 x 6 inputs: 2.25 products per output and channel instead of 9",
        _refuse_winograd,
        _decline_winograd,
        estimates.winograd(4),
        _winograd(4),
    ),
    Algorithm(
        "winograd_f2",
        "2 x 2 outputs from 4 x 4 inputs: 4 products per output and channel instead of 9",
        _refuse_winograd,
        _decline_winograd,
        estimates.winograd(2),
        _winograd(2),
    ),
    Algorithm(
        "fourier",
        "products of spectra, tile by tile: the length of the kernel hardly counts",
        _refuse_fourier,
        _decline_fourier,
        estimates.fourier,
        Fourier,
    ),
    Algorithm(
        "direct",
        "register tiles of output channels by pixels, fits every geometry",
        _never,
        _never,
        estimates.direct,
        _correlations(OUTER),
    ),
    Algorithm(
        "reference",
        "slow and obvious NumPy, for comparison",
        _never,
        lambda geometry, dtype, operation: "it is there to compare with",
        estimates.reference,
        lambda geometry, dtype, operation, activation: Reference(geometry, operation, activation),
    ),
)
