"""Random poolings, their gradients, and unpooling, that fit."""

from __future__ import annotations

import math
from typing import Any

from fastconv.geometry import AdaptiveGeometry, PoolGeometry

from .chances import Call, Chances


def pool_problem(d: Chances, kind: str) -> tuple[int, tuple[int, ...], dict[str, Any], Any]:
    """Rank, input shape, options and geometry of a pooling that fits."""
    rank = d.form("rank").number(1, 3)
    named = d.form("padding")
    padding = named.one("same", "same_lower", "valid") if named.chance(0.4) else None
    given = {name: d.form(name).chance(0.5) for name in ("stride", "padding", "dilation")}
    while True:
        longest = {1: 40, 2: 13, 3: 7}[rank]
        size = d.numbers(rank, 1, longest)
        shape = (*d.batch(0, 1, 2), d.one(1, 2, 3, 5, 17), *size)
        if kind.startswith("adaptive"):
            one = d.form("output_size").chance(0.5)
            wanted: Any = d.number(1, 6) if one else d.numbers(rank, 1, 6)
            options = {"output_size": wanted}
            return rank, shape, options, AdaptiveGeometry.adaptive("fuzz", rank, shape, wanted)
        kernel = d.axes(rank, 1, d.one(2, 3, 5))
        options = {"kernel_size": kernel}
        if given["stride"]:
            options["stride"] = d.axes(rank, 1, d.one(2, 5))
        if kind != "lp" and given["padding"]:
            options["padding"] = d.axes(rank, 0, 2) if padding is None else padding
        if kind == "max" and given["dilation"]:
            options["dilation"] = d.axes(rank, 1, 3)
        if d.form("ceil_mode").chance(0.3):
            options["ceil_mode"] = True
        try:
            rest = {name: options[name] for name in options if name != "kernel_size"}
            geometry = PoolGeometry.sliding("fuzz", rank, shape, kernel, **rest)
        except ValueError:
            continue
        return rank, shape, options, geometry


def pool(d: Chances) -> Call:
    """Every pooling forward."""
    kind = d.form("kind").one("max", "avg", "lp", "adaptive_max", "adaptive_avg")
    rank, shape, options, geometry = pool_problem(d, kind)
    at = len(shape) - rank - 1
    kinds = {"max": "fi", "adaptive_max": "fi", "lp": "f"}
    dtype = d.dtype(kinds.get(kind, "fc"))
    contents = d.contents(dtype, specials="max" in kind or "avg" in kind)
    call = Call(f"{kind}_pool{rank}d", {"input": d.operand(shape, dtype, contents, at)})
    if kind == "lp":
        call.arguments["norm_type"] = d.one("1", "2", "2.0", "3", "0.5", "math.inf")
    call.arguments |= {name: repr(value) for name, value in options.items()}
    if "max" in kind and d.form("indices").chance(0.5):
        call.arguments["return_indices"] = "True"
    _counted(d, call, kind)
    if kind == "avg" and d.form("divisor").chance(0.2):
        call.arguments["divisor_override"] = str(d.number(1, 7))
    return d.running(call, geometry.output_shape[1 - at :], dtype, at)


def _counted(d: Chances, call: Call, kind: str) -> None:
    form = d.form("count_include_pad")
    if kind == "avg" and form.chance(0.4):
        call.arguments["count_include_pad"] = repr(form.chance(0.5))


def pool_gradient(d: Chances) -> Call:
    """The gradient of every pooling."""
    kind = d.form("kind").one("max", "avg", "lp", "adaptive_max", "adaptive_avg")
    rank, shape, options, geometry = pool_problem(d, kind)
    at = len(shape) - rank - 1
    output = geometry.output_shape[1 - at :]
    dtype = d.dtype("f" if kind == "lp" else "fi" if "max" in kind else "fc")
    dy = d.operand(output, dtype, d.contents(dtype), at)
    call = Call(f"grad.{kind}_pool{rank}d", {"grad_output": dy})
    if "max" in kind:
        cells = math.prod(geometry.in_size)
        index = d.form("index").one("int64", "int64", "int32")
        call.arguments["indices"] = d.operand(output, index, f"below {cells}", at)
    if kind == "lp":
        call.arguments["input"] = d.operand(shape, dtype, "integers", at)
        call.arguments["output"] = d.operand(output, dtype, "below 5", at)
        call.arguments["norm_type"] = repr(d.one(1, 2, 3))
    else:
        call.arguments["input_size"] = repr(shape)
    if kind in ("avg", "lp"):
        call.arguments |= {name: repr(value) for name, value in options.items()}
    _counted(d, call, kind)
    return d.running(call, shape, dtype, at)


def unpool(d: Chances) -> Call:
    """max_unpool and its gradient."""
    rank = d.form("rank").number(1, 3)
    size = d.numbers(rank, 1, 6)
    shape = (*d.batch(0, 1, 2), d.one(1, 2, 3, 17), *size)
    at = len(shape) - rank - 1
    dtype = d.dtype("fi")
    stride = d.number(1, 3)
    kernel = d.number(stride, 4)
    whole = tuple((n - 1) * stride + kernel for n in size)
    places = d.operand(shape, "int64", f"below {math.prod(whole)}", at)
    contents = d.contents(dtype)
    if d.form("of").chance(0.3):
        lead = shape[: at + 1]
        dy = d.operand((*lead, *whole), dtype, contents, at)
        call = Call(f"grad.max_unpool{rank}d", {"grad_output": dy, "indices": places})
        return d.placed(call, shape, dtype, at)
    arguments = {"input": d.operand(shape, dtype, contents, at), "indices": places}
    arguments |= {"kernel_size": repr(kernel), "stride": repr(stride)}
    if d.form("output_size").chance(0.3):
        arguments["output_size"] = repr(whole)
    call = Call(f"max_unpool{rank}d", arguments)
    return d.running(call, (*shape[: at + 1], *whole), dtype, at)
