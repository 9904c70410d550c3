"""Choosing an algorithm for the device, by the same rules as `fastconv.choose`.

To refuse is to be unable; to decline is to be unwilling. A new algorithm is one file and one row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..arguments import check_string
from ..choose import choice
from ..geometry import ConvGeometry
from ..plan import Decision, Verdict
from ..precision import get_precision
from .backend import SIMULATED, intrinsic
from .borders import FoldedBorder
from .engine import Correlations
from .gradient_engine import WeightGradient
from .machine import Gpu, gpu

# Groups with fewer channels than this on either side leave most of a tile empty.
NARROW = 8


class Algorithm(NamedTuple):
    """One row of the table."""

    name: str
    advantage: str
    refuses: Callable[[ConvGeometry, str, str, Gpu], str | None]
    declines: Callable[[ConvGeometry, str, str], str | None]
    seconds: Callable[[ConvGeometry, str, str, Gpu], float]
    make: Callable[[ConvGeometry, str, str, str | None], Any]


def _sides(geometry: ConvGeometry) -> tuple[int, int]:
    """Channels of a group before and behind the convolution."""
    return geometry.in_channels // geometry.groups, geometry.out_channels // geometry.groups


def _moved_bytes(geometry: ConvGeometry, dtype: str) -> int:
    shapes = (geometry.input_shape, geometry.weight_shape, geometry.output_shape)
    return np.dtype(dtype).itemsize * sum(map(math.prod, shapes))


def _refuse_direct(geometry: ConvGeometry, dtype: str, operation: str, device: Gpu) -> str | None:
    if geometry.groups > 65535:
        return f"launches at most 65535 groups, not {geometry.groups}"
    return None


def _decline_direct(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if geometry.groups > 1 and max(_sides(geometry)) < NARROW:
        return f"its tiles would be filled by {max(_sides(geometry))} channels of a group"
    return None


def _direct_seconds(geometry: ConvGeometry, dtype: str, operation: str, device: Gpu) -> float:
    engine = _make_direct(geometry, dtype, operation, None)
    if isinstance(engine, WeightGradient):
        size = (engine.rows, engine.targets, geometry.batch * math.prod(geometry.out_size))
    else:
        pixels = geometry.batch * math.prod(
            geometry.out_size if operation == "forward" else geometry.in_size
        )
        size = (pixels, engine.targets, geometry.multiply_adds // max(pixels * engine.targets, 1))
    work = engine.tile.seconds(*size, geometry.groups, device)
    return max(work, _moved_bytes(geometry, dtype) / device.bandwidth)


def _narrow_seconds(geometry: ConvGeometry, dtype: str, operation: str, device: Gpu) -> float:
    # Seven of eight instructions look up and fetch.
    work = 2 * geometry.multiply_adds / (device.float32_flops / 8)
    return max(work, _moved_bytes(geometry, dtype) / device.bandwidth)


def _never(geometry: ConvGeometry, dtype: str, operation: str, device: Gpu) -> str | None:
    return None


def _decline_narrow(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if min(_sides(geometry)) >= NARROW:
        return "each thread would fetch every operand of its own"
    return None


def _make_direct(geometry: ConvGeometry, dtype: str, operation: str, activation: str | None) -> Any:
    if operation == "weight_gradient":
        return WeightGradient(geometry, dtype)
    return Correlations(geometry, dtype, operation, activation)


def _make_narrow(geometry: ConvGeometry, dtype: str, operation: str, activation: str | None) -> Any:
    if operation == "weight_gradient":
        return WeightGradient(geometry, dtype, narrow=True)
    return Correlations(geometry, dtype, operation, activation, "narrow")


def _refuse_tensor(geometry: ConvGeometry, dtype: str, operation: str, device: Gpu) -> str | None:
    if operation == "weight_gradient":
        return "has no weight gradient"
    if dtype not in ("float32", "float16"):
        return f"tensor cores multiply float16 and TF32, not {dtype}"
    if device.cc < (8, 0):
        return f"needs compute capability 8.0, not {device.cc[0]}.{device.cc[1]}"
    if intrinsic is None and not SIMULATED:
        return "needs the extension interface of numba-cuda"
    return _refuse_direct(geometry, dtype, operation, device)


def _decline_tensor(geometry: ConvGeometry, dtype: str, operation: str) -> str | None:
    if dtype == "float32" and get_precision() != "tf32":
        return 'TF32 keeps 11 bits of each factor: allow it with set_precision("tf32")'
    return _decline_direct(geometry, dtype, operation)


def _tensor_seconds(geometry: ConvGeometry, dtype: str, operation: str, device: Gpu) -> float:
    # Expected, not measured: four times the plain units for TF32, twice that for float16.
    work = _direct_seconds(geometry, "float32", operation, device)
    work /= 4 if dtype == "float32" else 8
    return max(work, _moved_bytes(geometry, dtype) / device.bandwidth)


def _make_tensor(geometry: ConvGeometry, dtype: str, operation: str, activation: str | None) -> Any:
    return Correlations(geometry, dtype, operation, activation, "tensor")


ALGORITHMS = (
    Algorithm(
        "tensor",
        "products by tensor cores, sums in float32",
        _refuse_tensor,
        _decline_tensor,
        _tensor_seconds,
        _make_tensor,
    ),
    Algorithm(
        "narrow",
        "a thread for each output: groups too narrow for tiles, as of depthwise layers",
        _never,
        _decline_narrow,
        _narrow_seconds,
        _make_narrow,
    ),
    Algorithm(
        "direct",
        "tiles of products in shared memory and registers, fits every geometry",
        _refuse_direct,
        _decline_direct,
        _direct_seconds,
        _make_direct,
    ),
)


def plan_conv(
    op: str,
    geometry: ConvGeometry,
    dtype: np.dtype,
    operation: str,
    activation: str | None = None,
    algorithm: str = "auto",
) -> tuple[Decision, Any]:
    """The decision for a problem on the current device, and the engine that carries it out.

    `dtype` is float16, float32, float64 or int64. Raises ValueError as `fastconv.choose.plan_conv`.
    """
    check_string(op, "algorithm", algorithm)
    key = (geometry, dtype, operation, activation, algorithm, get_precision(), gpu())
    return _plan(op, *key)


@functools.lru_cache(maxsize=512)
def _plan(
    op: str,
    geometry: ConvGeometry,
    dtype: np.dtype,
    operation: str,
    activation: str | None,
    algorithm: str,
    precision: str,  # only a key: the rows ask for it themselves
    device: Gpu,
) -> tuple[Decision, Any]:
    folded = operation == "input_gradient" and geometry.padding_mode != "zeros"
    problem = geometry.without_padding() if folded else geometry
    verdicts = tuple(_verdict(row, problem, dtype.name, operation, device) for row in ALGORITHMS)
    index, reason = choice(op, algorithm, verdicts, " on the device")
    engine = ALGORITHMS[index].make(problem, dtype.name, operation, activation)
    if folded:
        engine = FoldedBorder(engine, geometry)
    decision = Decision(geometry, operation, str(dtype), ALGORITHMS[index].name, reason, verdicts)
    return decision, engine


def _verdict(
    row: Algorithm, geometry: ConvGeometry, dtype: str, operation: str, device: Gpu
) -> Verdict:
    refusal = row.refuses(geometry, dtype, operation, device)
    if refusal is not None:
        return Verdict(row.name, refusal, None, row.advantage, math.inf, 0, 0)
    seconds = row.seconds(geometry, dtype, operation, device)
    doubt = row.declines(geometry, dtype, operation)
    flops, moved = 2 * geometry.multiply_adds, _moved_bytes(geometry, dtype)
    return Verdict(row.name, None, doubt, row.advantage, seconds, flops, moved)
