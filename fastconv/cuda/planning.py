"""Plans whose weights lie on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import as_shape, as_threads
from ..dtypes import KINDS, check_bias
from ..geometry import ConvGeometry
from ..plan import ConvPlan
from .arrays import as_operand, check_out, empty, is_channels_last
from .choose import plan_conv
from .convolution import as_epilogue, check_activation, compute_dtype
from .functional import operand


class DevicePlan(ConvPlan):
    """As `ConvPlan`, for inputs on the device."""

    _function: Any = None
    _arguments: tuple[Any, ...] = ()

    def __call__(self, x: Any, out: Any = None, *, epilogue_args: Any = None) -> Any:
        """Convolve; see `ConvPlan.__call__`."""
        g = self.geometry
        given = self._arguments if epilogue_args is None else tuple(epilogue_args)
        if len(given) != len(self._arguments):
            raise ValueError(
                f"plan: epilogue_args must be {len(self._arguments)} arrays, not {len(given)}"
            )
        x = operand("plan", "x", x)
        shape = g.input_shape if g.batched else g.input_shape[1:]
        if x.shape != shape:
            raise ValueError(f"plan: x has shape {x.shape}, the plan is for {shape}")
        if x.dtype != self._dtype:
            if not np.can_cast(x.dtype, self._dtype, "safe") or x.dtype.kind != self._dtype.kind:
                raise TypeError(f"plan: x has dtype {x.dtype}, the plan is for {self._dtype}")
            x = x.astype(self._dtype)
        source: Any = x if g.batched else x[None]
        target: Any = empty(g.output_shape, self._dtype, is_channels_last(source))
        after = as_epilogue("plan", self._function, given, g, target)
        if source.size:
            engine: Any = self._engine
            engine.run(source, self._packed, target, None, after)
        found = target if g.batched else target[0]
        if out is None:
            return found
        check_out("plan", out, found.shape, self._dtype, x, *map(_array, given))[...] = found
        return out


def _array(x: Any) -> Any:
    return as_operand("plan", "epilogue_args", x)


def plan(
    rank: int,
    input_shape: Any,
    weight: Any,
    bias: Any,
    geometry_options: dict[str, Any],
    *,
    activation: str | None,
    epilogue: Any,
    epilogue_args: Any,
    algorithm: str,
    dtype: Any,
    memory_format: str,
    threads: Any,
) -> DevicePlan:
    """As `fastconv.plan` with weights on the device, of a floating-point dtype."""
    op = "plan"
    w = operand(op, "weight", weight)
    shape = as_shape(op, "input_shape", input_shape)
    geometry = ConvGeometry.forward(op, rank, shape, w.shape, **geometry_options)
    result = w.dtype if dtype is None else np.dtype(dtype)
    if KINDS[result.kind] != KINDS[w.dtype.kind] or not np.can_cast(w.dtype, result, "same_kind"):
        raise TypeError(f"{op}: weight is {w.dtype}, which does not cast to dtype {result}")
    if result != compute_dtype(result):
        raise TypeError(f"{op}: on the device weights must be floating-point, not {result}")
    b = None if bias is None else operand(op, "bias", bias)
    if b is not None:
        check_bias(op, b, result, geometry.out_channels)
    check_activation(op, activation, result)
    as_threads(op, threads)
    decision, engine = plan_conv(op, geometry, result, "forward", activation, algorithm)
    target = empty(geometry.output_shape, result, memory_format == "channels_last")
    as_epilogue(op, epilogue, epilogue_args, geometry, target)  # checked before the first call
    made = DevicePlan(
        geometry,
        decision,
        engine,
        engine.pack(w.astype(result, copy=False), b),
        has_bias=b is not None,
        result_dtype=result,
        memory_format=memory_format,
        threads=None,
    )
    made._function, made._arguments = epilogue, tuple(epilogue_args)
    return made
