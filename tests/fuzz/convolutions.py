"""Random convolutions, transposed ones, plans and gradients that fit."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastconv.choose import ALGORITHMS
from fastconv.geometry import ConvGeometry
from fastconv.reference import ACTIVATIONS

from .chances import Call, Chances
from .epilogues import EPILOGUES

# Channels, outputs and rows that fill vectors of 2 to 16 lanes, or blocks of two.
WHOLE = (4, 8, 16, 16, 32, 32, 48, 64)
MODES = ("zeros", "zeros", "zeros", "reflect", "replicate", "circular")
# Kinds of convolutions that are drawn often, and algorithms that they are likely to reach.
KINDS: dict[str, tuple[str, ...]] = {
    "any": tuple(row.name for row in ALGORITHMS),
    "filter": ("sliding", "sliding", "planar", "fourier"),
    "grouped": ("grouped", "depthwise"),
    "plane": ("winograd_f4", "winograd_f2"),
    "matrix": ("direct", "planar"),
}


class Problem(NamedTuple):
    """A forward convolution that fits, and the kind that it was drawn from."""

    kind: str
    rank: int
    x: tuple[int, ...]
    w: tuple[int, ...]
    options: dict[str, Any]


def _padding(d: Chances, rank: int, kernel: tuple[int, ...], mode: str) -> Any:
    if mode != "zeros":
        return d.numbers(rank, 0, 2)
    form = d.form("named padding")
    if form.chance(0.2):
        names = ["valid", "same", "same_lower", "full"] + ["causal"] * (rank == 1)
        return form.one(*names)
    if d.chance(0.2):  # so that input gradients meet no border
        return tuple((k + d.number(-1, 2), k + d.number(-1, 2)) for k in kernel)
    if d.chance(0.2):
        most = d.one(5, 5, 23)  # now and then over the whole input
        return tuple(d.numbers(2, 0, most) for _ in range(rank))
    return d.one(0, 1, d.number(0, 4), d.numbers(rank, 0, 3))


def conv_problem(d: Chances, modes: tuple[str, ...] = MODES) -> Problem:
    """Any of them."""
    rank = d.form("rank").one(1, 2, 2, 2, 3, 3)
    kind = d.form("kind").one("any", "any", *KINDS)
    mode = d.form("mode").one(*modes)
    while True:
        groups, c, k = _channels(d, kind)
        kernel = _kernel(d, kind, rank)
        options: dict[str, Any] = {}
        odd = 0.1 if kind in ("filter", "plane") else 0.5  # those slide one cell at a time
        if d.form("stride").chance(odd):
            options["stride"] = d.axes(rank, 1, d.one(2, 3, 9))
        if d.form("padding").chance(0.6):
            options["padding"] = _padding(d, rank, kernel, mode)
        if d.form("dilation").chance(0.6 * odd):
            options["dilation"] = d.axes(rank, 1, d.one(2, 3, 7))
        if groups > 1:
            options["groups"] = groups
        if mode != "zeros":
            options["padding_mode"] = mode
        longest = {1: 60, 2: 19, 3: 9}[rank]
        size = d.numbers(rank, 1, d.one(longest, longest // 2))
        if d.chance(0.02):
            size = tuple(n * {1: 40, 2: 5, 3: 2}[rank] for n in size)
        batch = d.batch(0, 1, 2, 5)
        x, w = (*batch, groups * c, *size), (groups * k, c, *kernel)
        wanted = d.one(None, "rows of the input", "rows of the output")
        try:
            if wanted == "rows of the input":
                x = (*x[:-1], d.one(*WHOLE))
            geometry = ConvGeometry.forward("fuzz", rank, x, w, **options)
            if wanted == "rows of the output":
                missing = -geometry.out_size[-1] % d.one(8, 16)
                x = (*x[:-1], x[-1] + missing * geometry.stride[-1])
                geometry = ConvGeometry.forward("fuzz", rank, x, w, **options)
        except ValueError:
            continue
        if geometry.multiply_adds < 2e7:
            return Problem(kind, rank, x, w, options)


def _channels(d: Chances, kind: str) -> tuple[int, int, int]:
    """Groups, and the input and output channels of each."""
    if kind == "filter":
        return d.one(1, 1, 2, 5), d.one(1, 1, 2, 3), d.one(1, 1, 1, 2)
    if kind == "grouped":
        c, k = d.one((1, 1), (1, 2), (2, 1), (2, 4), (3, 5), (4, 4), (8, 4), (8, 8))
        groups = d.one(*WHOLE, d.number(2, 40)) // d.one(1, c)
        return max(groups, 1), c, k
    groups = d.one(1, 1, 1, 2, 3, d.number(1, 20))
    if groups > 3:
        return groups, d.one(1, 1, 2), d.one(1, 1, 2)
    c, k = d.one(1, 2, 3, 5, 17, 33), d.one(1, 2, 3, 7, 16, 31)
    if kind == "matrix" and d.chance(0.2):
        c, k = d.one(130, 256, 300), d.one(31, 64, 150)
    if d.chance(0.4):
        c = d.one(*WHOLE)
    if d.chance(0.4):
        k = d.one(*WHOLE)
    return groups, c, k


def _kernel(d: Chances, kind: str, rank: int) -> tuple[int, ...]:
    if kind == "filter" and d.chance(0.3):
        return (*d.numbers(rank - 1, 1, 3), d.number(20, 60))
    if kind == "filter":
        return d.numbers(rank, 2, d.one(4, 11))
    if kind == "plane" and rank > 1:
        return (*d.numbers(rank - 2, 1, 3), *d.one((3, 3), (3, 3), (3, 1), (1, 3)))
    if kind == "matrix" and d.chance(0.5):
        return (1,) * rank
    return d.one((3,) * rank, d.numbers(rank, 1, 4), d.numbers(rank, 1, 7))


def _finished(d: Chances, call: Call, problem: Problem) -> Call:
    """The call with the options of the problem and an algorithm."""
    call.arguments |= {name: repr(value) for name, value in problem.options.items()}
    form = d.form("algorithm")
    if form.chance(0.7):
        kind = form.one("any", problem.kind)
        call.arguments["algorithm"] = repr(form.one(*KINDS[kind]))
    return call


def _pair(d: Chances, first: tuple[int, ...], second: tuple[int, ...], at: int) -> tuple[str, ...]:
    """Two operands of one dtype, perhaps with special values in the first; the dtype."""
    dtype = d.dtype()
    contents = d.contents(dtype, specials=True)
    other = "integers" if contents == "specials" else contents
    a = d.operand(first, dtype, contents, at)
    return a, d.operand(second, dtype, other), dtype


def _biased(d: Chances, call: Call, channels: int, dtype: str) -> None:
    if d.form("bias").chance(0.5):
        call.arguments["bias"] = d.operand((channels,), dtype, channels=0)


def _after(d: Chances, call: Call, shape: tuple[int, ...], dtype: str, channels: int) -> None:
    """Something that is done with each sum; `shape` and axis of channels of the result."""
    if dtype not in ("float32", "float64"):
        return
    form = d.form("after")
    if form.chance(0.2):
        names = [name for name in ACTIVATIONS if name]
        call.arguments["activation"] = repr(form.one(*names))
    elif form.chance(0.2):
        name = form.one(*EPILOGUES)
        call.arguments["epilogue"] = f"EPILOGUES[{name!r}]"
        each = d.operand((shape[channels],), dtype, channels=0)
        like = d.operand(shape, dtype, channels=channels)
        given = {"halved": (), "affine": (each, each), "residual": (like,)}[name]
        if given:
            call.arguments["epilogue_args"] = f"({', '.join(given)},)"


def conv(d: Chances) -> Call:
    """conv1d, conv2d, conv3d."""
    problem = conv_problem(d)
    _, rank, x, w, options = problem
    at = len(x) - rank - 1
    a, b, dtype = _pair(d, x, w, at)
    call = Call(f"conv{rank}d", {"input": a, "weight": b})
    _biased(d, call, w[0], dtype)
    _finished(d, call, problem)
    shape = ConvGeometry.forward("fuzz", rank, x, w, **options).output_shape[1 - at :]
    _after(d, call, shape, dtype, at)
    return d.running(call, shape, dtype, at)


def plan(d: Chances) -> Call:
    """A plan called with an input; `x` is not an argument of the door but of its result."""
    problem = conv_problem(d)
    _, rank, x, w, options = problem
    at = len(x) - rank - 1
    a, b, dtype = _pair(d, x, w, at)
    call = Call("plan", {"input_shape": repr(x), "weight": b, "x": a})
    _finished(d, call, problem)
    if d.chance(0.5):
        call.arguments["memory_format"] = repr(d.one("channels_first", "channels_last"))
    shape = ConvGeometry.forward("fuzz", rank, x, w, **options).output_shape[1 - at :]
    _after(d, call, shape, dtype, at)
    return call


def conv_transpose(d: Chances) -> Call:
    """conv_transpose1d, conv_transpose2d, conv_transpose3d."""
    while True:
        problem = conv_problem(d, modes=("zeros",))
        _, rank, x, w, options = problem
        forward = ConvGeometry.forward("fuzz", rank, x, w, **options)
        shape = forward.output_shape[not forward.batched :]
        if d.form("output_padding").chance(0.3) and not isinstance(options.get("padding"), str):
            options["output_padding"] = d.axes(rank, 0, 2)
        try:
            g = ConvGeometry.transposed("fuzz", rank, shape, w, **options)
        except ValueError:
            continue
        break
    at = len(shape) - rank - 1
    a, b, dtype = _pair(d, shape, w, at)
    call = Call(f"conv_transpose{rank}d", {"input": a, "weight": b})
    _biased(d, call, g.in_channels, dtype)
    _finished(d, call, problem)
    _after(d, call, g.input_shape[1 - at :], dtype, at)
    return d.running(call, g.input_shape[1 - at :], dtype, at)


def conv_gradient(d: Chances) -> Call:
    """The gradients of a convolution."""
    problem = conv_problem(d)
    _, rank, x, w, options = problem
    g = ConvGeometry.forward("fuzz", rank, x, w, **options)
    at = len(x) - rank - 1
    dy = g.output_shape[1 - at :]
    kind = d.form("of").one(*["input", "weight"] * 3, "bias")
    door = f"grad.conv{rank}d_{kind}"
    if kind == "bias":
        dtype = d.dtype()
        return Call(door, {"grad_output": d.operand(dy, dtype, d.contents(dtype), at)})
    if kind == "input":
        a, b, dtype = _pair(d, dy, w, at)
        arrays = {"input_size": repr(x), "weight": b, "grad_output": a}
        shape, channels = x, at
    else:
        a, b, dtype = _pair(d, x, dy, at)
        arrays = {"input": a, "weight_size": repr(w), "grad_output": b}
        shape, channels = w, 1
    call = _finished(d, Call(door, arrays), problem)
    return d.running(call, shape, dtype, channels)
