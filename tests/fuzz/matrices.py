"""Random columns, borders and dense layers that fit."""

from __future__ import annotations

import math

from fastconv.geometry import ConvGeometry

from .chances import Call, Chances
from .convolutions import conv_problem


def columns(d: Chances) -> Call:
    """unfold and fold."""
    while True:
        _, rank, x, w, options = conv_problem(d, modes=("zeros",))
        if "groups" in options:
            continue
        g = ConvGeometry.forward("fuzz", rank, x, (1, w[1], *w[2:]), **options)
        if math.prod((*w[1:], *g.out_size)) < 1e6:
            break
    at = len(x) - rank - 1
    dtype = d.dtype()
    contents = d.contents(dtype)
    texts = {"kernel_size": repr(w[2:])} | {n: repr(v) for n, v in options.items()}
    lead, rows = x[:at], x[at] * math.prod(w[2:])
    shape = (*lead, rows, math.prod(g.out_size))
    if d.form("of").chance(0.5):
        call = Call("unfold", {"input": d.operand(x, dtype, contents, at), **texts})
    else:
        texts = {"output_size": repr(x[at + 1 :]), **texts}
        call = Call("fold", {"input": d.operand(shape, dtype, contents, at), **texts})
        shape = x
    return d.placed(call, shape, dtype, at)


def border(d: Chances) -> Call:
    """pad and its gradient."""
    rank = d.form("rank").number(1, 5)
    shape = d.numbers(rank, 2, 6)
    axes = d.form("axes").number(0, rank)
    mode = d.form("mode").one("constant", "reflect", "replicate", "circular")
    low = d.one(0, 0, -1)
    numbers = d.numbers(2 * axes, low, 1 if mode != "constant" else 4)
    pairs = [numbers[i : i + 2] for i in range(0, len(numbers), 2)][::-1]
    pairs = [(0, 0)] * (rank - axes) + pairs
    padded = tuple(n + sum(pair) for n, pair in zip(shape, pairs))
    dtype = d.dtype()
    contents = d.contents(dtype)
    texts = {"pad": repr(numbers), "mode": repr(mode)}
    if d.form("of").chance(0.5):
        call = Call("pad", {"input": d.operand(shape, dtype, contents), **texts})
        if mode == "constant" and d.form("value").chance(0.5):
            call.arguments["value"] = str(d.number(0, 100))
        result = padded
    else:
        call = Call("grad.pad", {"grad_output": d.operand(padded, dtype, contents), **texts})
        result = shape
    return d.placed(call, result, dtype)


def dense(d: Chances) -> Call:
    """linear and its gradients."""
    lead = d.numbers(d.form("rank").number(0, 3), d.one(0, 1, 1), 5)
    c, k = d.one(1, 2, 7, 33), d.one(1, 3, 17, 40)
    kind = d.form("of").one("linear", "grad.linear_input", "grad.linear_weight")
    dtype = d.dtype()
    contents = d.contents(dtype)
    x, dy = d.operand((*lead, c), dtype, contents), d.operand((*lead, k), dtype, contents)
    w = d.operand((k, c), dtype, contents)
    if kind == "linear":
        call = Call(kind, {"input": x, "weight": w})
        if d.form("bias").chance(0.5):
            call.arguments["bias"] = d.operand((k,), dtype, channels=0)
        return d.running(call, (*lead, k), dtype)
    if kind == "grad.linear_input":
        return Call(kind, {"weight": w, "grad_output": dy})
    return Call(kind, {"input": x, "grad_output": dy})
