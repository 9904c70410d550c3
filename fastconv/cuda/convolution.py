"""What the doors of convolution do with arrays on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import check_choice, check_string, is_empty
from ..device import on_device
from ..geometry import ConvGeometry
from .activation import formulas
from .arrays import (
    DeviceArray,
    as_operand,
    check_out,
    empty,
    empty_like,
    is_channels_last,
    memory_order,
)
from .choose import plan_conv
from .engine import Epilogue
from .epilogue import check, same


def compute_dtype(dtype: np.dtype) -> np.dtype:
    """The type that an engine is made for: integers are computed in int64."""
    return np.dtype("int64") if dtype.kind in "iu" else dtype


def check_activation(op: str, name: Any, dtype: np.dtype) -> None:
    """ValueError for an unknown activation, TypeError for one that a dtype does not have."""
    check_string(op, "activation", name)
    check_choice(op, "activation", name, (None, *formulas("float32")))
    if name not in (None, "relu") and dtype.kind in "iu":
        raise TypeError(f"{op}: activation {name!r} of {dtype} is not supported")


def as_epilogue(
    op: str, function: Any, arguments: Any, geometry: ConvGeometry, target: DeviceArray
) -> Epilogue | None:
    """The arguments of a fused function, checked: shape (K,), or that of `target`.

    `target` lies without gaps, so that arrays can lie as it does.
    """
    if function is None:
        if not is_empty(arguments):
            raise TypeError(f"{op}: epilogue_args are given, but no epilogue")
        return None
    if not isinstance(arguments, (tuple, list)):
        raise TypeError(f"{op}: epilogue_args must be a tuple of arrays, not {arguments!r}")
    check(op, function, len(arguments))
    channels, found = target.shape[1], []
    unbatched = target.shape[1:]
    for index, argument in enumerate(arguments):
        name = f"epilogue_args[{index}]"
        if not hasattr(argument, "__cuda_array_interface__"):
            raise TypeError(f"{op}: {name} is on the host and the input on the device")
        x = as_operand(op, name, argument)
        if x.shape == (channels,):
            found.append(x.copy() if not x.c_contiguous else x)
            continue
        if not geometry.batched and x.shape == unbatched:
            x = x[None]
        if x.shape != target.shape:
            raise ValueError(
                f"{op}: {name} has shape {x.shape}, neither ({channels},) nor that of the result"
            )
        if tuple(s // x.itemsize for s in x.strides) != tuple(
            s // target.itemsize for s in target.strides
        ):  # it is read where the result is written
            placed = empty_like(target, x.dtype)
            placed[...] = x
            x = placed
        found.append(x)
    return Epilogue(same(function), tuple(found))


def run(
    op: str,
    operation: str,
    geometry: ConvGeometry,
    dtype: np.dtype,
    source: DeviceArray,
    other: DeviceArray,
    bias: DeviceArray | None = None,
    *,
    activation: str | None = None,
    algorithm: str = "auto",
    out: Any = None,
    epilogue: Any = None,
    epilogue_args: Any = (),
) -> Any:
    """As `fastconv.functional.convolution.run`, on the current stream."""
    for name, x in (("weight or gradient", other), ("bias", bias)):
        if x is not None and type(x) is not DeviceArray:
            raise TypeError(
                f"{op}: input is on the device and {name} on the host; use fastconv.to_device"
            )
    check_activation(op, activation, dtype)
    x = source if geometry.batched else source[None]
    last = is_channels_last(x)
    compute = compute_dtype(dtype)
    _, engine = plan_conv(op, geometry, compute, operation, activation, algorithm)
    weighs = operation == "weight_gradient"
    shapes = {"forward": geometry.output_shape, "input_gradient": geometry.input_shape}
    shape = geometry.weight_shape if weighs else shapes[operation]
    unbatch = not (geometry.batched or weighs)
    if out is None:
        target = empty(shape, dtype, last and not weighs)
    else:
        given = epilogue_args if isinstance(epilogue_args, (tuple, list)) else ()
        beside = [as_operand(op, "epilogue_args", a) for a in given if on_device(a)]
        inputs = (source, other, bias, *beside)
        target = check_out(op, out, shape[1:] if unbatch else shape, dtype, *inputs)
        target = target[None] if unbatch else target
    result = target
    gaps = not is_empty(epilogue_args) and memory_order(target) is None
    if dtype != compute or min(target.strides, default=0) < 0 or gaps:
        result = empty(shape, compute, last and not weighs)
    after = as_epilogue(op, epilogue, epilogue_args, geometry, result)
    if geometry.batch == 0:
        target[...] = 0
    else:
        packed = engine.pack(other.astype(compute, copy=False), bias)
        options = {} if after is None else {"epilogue": after}
        engine.run(x.astype(compute, copy=False), packed, result, None, **options)
        if result is not target:
            target[...] = result
    if out is not None:
        return out
    return target[0] if unbatch else target
