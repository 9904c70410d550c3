"""Random calls as text: a door, and a source expression for each of its arguments.

Most calls fit; one argument of some is then replaced by a bad one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv.choose import ALGORITHMS
from fastconv.geometry import AdaptiveGeometry, ConvGeometry, PoolGeometry
from fastconv.reference import ACTIVATIONS

from .operands import EVERY_LAYOUT, FLOATS, INTEGERS, LAYOUTS

CONV_OPTIONS = ("stride", "padding", "dilation", "groups", "padding_mode", "output_padding")
# Channels, outputs and rows that fill vectors of 2 to 16 lanes, or blocks of two.
WHOLE = (4, 8, 16, 16, 32, 32, 48, 64)
# Kinds of convolutions that are drawn often, and algorithms that they are likely to reach.
KINDS: dict[str, tuple[str, ...]] = {
    "any": tuple(row.name for row in ALGORITHMS),
    "filter": ("sliding", "sliding", "planar", "fourier"),
    "grouped": ("grouped", "depthwise"),
    "plane": ("winograd_f4", "winograd_f2"),
    "matrix": ("direct", "planar"),
}


@dataclass
class Call:
    """A door, its arguments as expressions, and whether they are known to fit."""

    door: str
    arguments: dict[str, str] = field(default_factory=dict)
    fits: bool = True

    def source(self) -> str:
        """The call as it is run, but for the ``.array`` of an `Operand` or `Out`."""
        given = []
        for name, text in self.arguments.items():
            owner = ".array" if text.startswith(("Operand(", "Out(")) else ""
            given.append(f"    {name}={text}{owner},")
        return "\n".join([f"fastconv.{self.door}(", *given, ")"])

    def script(self) -> str:
        """A program that makes the call; to be run where `tests` is."""
        head = "import math\nimport numpy as np\nimport fastconv\n"
        return f"{head}from tests.fuzz.operands import Operand, Out\n\n{self.source()}"


class Drawer:
    """Random choices of everything; what it draws depends on its seed alone."""

    def __init__(self, *seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._arrays, self._kind = 0, "any"

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return bool(self.random.random() < probability)

    def one(self, *values: Any) -> Any:
        """One of them."""
        return values[int(self.random.integers(len(values)))]

    def number(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return int(self.random.integers(low, high, endpoint=True))

    def numbers(self, count: int, low: int, high: int) -> tuple[int, ...]:
        """Several integers."""
        return tuple(self.number(low, high) for _ in range(count))

    # --- Arrays ---

    def dtype(self, kinds: str = "fic") -> str:
        """An element type of one of the kinds: f real, i integer, c complex."""
        names = [n for n in (*FLOATS, *INTEGERS) if np.dtype(n).kind.replace("u", "i") in kinds]
        if "f" in kinds and self.chance(0.7):
            return self.one("float32", "float32", "float64")
        return self.one(*names)

    def contents(self, dtype: str, specials: bool = False) -> str:
        """What an array of `dtype` may hold."""
        kind = np.dtype(dtype).kind
        if kind in "iu":
            return self.one("integers", "integers", "extremes")
        if specials and kind == "f" and self.chance(0.15):
            return "specials"
        if dtype in ("float32", "float64", "complex64", "complex128") and self.chance(0.3):
            return "fractions"
        return self.one(*["integers"] * 9, "zeros")

    def operand(
        self, shape: tuple[int, ...], dtype: str, contents: str = "integers", channels: int = 1
    ) -> str:
        """An array as text."""
        layout = self.one("first", "last", self.one(*EVERY_LAYOUT))
        if layout == "list" and (
            0 in shape or len(shape) == 0 or dtype not in ("float64", "int64")
        ):
            layout = "first"
        self._arrays += 1
        seed = self.number(0, 10**6)
        return f"Operand({shape}, {dtype!r}, {layout!r}, {seed}, {contents!r}, {channels})"

    def out(self, shape: tuple[int, ...], dtype: str, channels: int = 1) -> str:
        """An array for the result as text."""
        return f"Out({shape}, {dtype!r}, {self.one(*LAYOUTS)!r}, {channels})"

    def running(self, call: Call, shape: tuple[int, ...], dtype: str, channels: int = 1) -> Call:
        """The call with the options of how it is run."""
        if self.chance(0.3):
            call.arguments["out"] = self.out(shape, dtype, channels)
        if self.chance(0.4):
            call.arguments["threads"] = str(self.number(1, 4))
        return call

    # --- Convolution ---

    def _padding(self, rank: int, kernel: tuple[int, ...], mode: str) -> Any:
        if mode != "zeros":
            return self.numbers(rank, 0, 2)
        if self.chance(0.2):
            names = ["valid", "same", "same_lower", "full"] + ["causal"] * (rank == 1)
            return self.one(*names)
        if self.chance(0.2):  # so that input gradients meet no border
            return tuple((k + self.number(-1, 2), k + self.number(-1, 2)) for k in kernel)
        if self.chance(0.2):
            most = self.one(5, 5, 23)  # now and then over the whole input
            return tuple(self.numbers(2, 0, most) for _ in range(rank))
        return self.one(0, 1, self.number(0, 4), self.numbers(rank, 0, 3))

    def _axes(self, rank: int, low: int, high: int) -> Any:
        if self.chance(0.5):
            return self.number(low, high)
        return self.numbers(rank, low, high)

    def conv_problem(self) -> tuple[int, tuple[int, ...], tuple[int, ...], dict[str, Any]]:
        """Rank, input shape, weight shape and options of a forward convolution that fits."""
        while True:
            rank = self.one(1, 2, 2, 2, 3, 3)
            self._kind = kind = self.one("any", "any", *KINDS)
            groups, c, k = self._channels(kind)
            kernel = self._kernel(kind, rank)
            mode = self.one("zeros", "zeros", "zeros", "reflect", "replicate", "circular")
            options: dict[str, Any] = {}
            odd = 0.1 if kind in ("filter", "plane") else 0.5  # those slide one cell at a time
            if self.chance(odd):
                options["stride"] = self._axes(rank, 1, self.one(2, 3, 9))
            if self.chance(0.6):
                options["padding"] = self._padding(rank, kernel, mode)
            if self.chance(0.6 * odd):
                options["dilation"] = self._axes(rank, 1, self.one(2, 3, 7))
            if groups > 1:
                options["groups"] = groups
            if mode != "zeros":
                options["padding_mode"] = mode
            longest = {1: 60, 2: 19, 3: 9}[rank]
            size = self.numbers(rank, 1, self.one(longest, longest // 2))
            if self.chance(0.02):
                size = tuple(n * {1: 40, 2: 5, 3: 2}[rank] for n in size)
            batch = self.one((), (0,), (1,), (2,), (5,))
            x, w = (*batch, groups * c, *size), (groups * k, c, *kernel)
            wanted = self.one(None, "rows of the input", "rows of the output")
            try:
                if wanted == "rows of the input":
                    x = (*x[:-1], self.one(*WHOLE))
                geometry = ConvGeometry.forward("fuzz", rank, x, w, **options)
                if wanted == "rows of the output":
                    missing = -geometry.out_size[-1] % self.one(8, 16)
                    x = (*x[:-1], x[-1] + missing * geometry.stride[-1])
                    geometry = ConvGeometry.forward("fuzz", rank, x, w, **options)
            except ValueError:
                continue
            if geometry.multiply_adds < 2e7:
                return rank, x, w, options

    def _channels(self, kind: str) -> tuple[int, int, int]:
        """Groups, and the input and output channels of each."""
        if kind == "filter":
            return self.one(1, 1, 2, 5), self.one(1, 1, 2, 3), self.one(1, 1, 1, 2)
        if kind == "grouped":
            c, k = self.one((1, 1), (1, 2), (2, 1), (2, 4), (3, 5), (4, 4), (8, 4), (8, 8))
            groups = self.one(*WHOLE, self.number(2, 40)) // self.one(1, c)
            return max(groups, 1), c, k
        groups = self.one(1, 1, 1, 2, 3, self.number(1, 20))
        if groups > 3:
            return groups, self.one(1, 1, 2), self.one(1, 1, 2)
        c, k = self.one(1, 2, 3, 5, 17, 33), self.one(1, 2, 3, 7, 16, 31)
        if kind == "matrix" and self.chance(0.2):
            c, k = self.one(130, 256, 300), self.one(31, 64, 150)
        if self.chance(0.4):
            c = self.one(*WHOLE)
        if self.chance(0.4):
            k = self.one(*WHOLE)
        return groups, c, k

    def _kernel(self, kind: str, rank: int) -> tuple[int, ...]:
        if kind == "filter" and self.chance(0.3):
            return (*self.numbers(rank - 1, 1, 3), self.number(20, 60))
        if kind == "filter":
            return self.numbers(rank, 2, self.one(4, 11))
        if kind == "plane" and rank > 1:
            return (*self.numbers(rank - 2, 1, 3), *self.one((3, 3), (3, 3), (3, 1), (1, 3)))
        if kind == "matrix" and self.chance(0.5):
            return (1,) * rank
        return self.one((3,) * rank, self.numbers(rank, 1, 4), self.numbers(rank, 1, 7))

    def _algorithm(self, call: Call) -> None:
        if self.chance(0.7):
            call.arguments["algorithm"] = repr(self.one(*KINDS[self.one("any", self._kind)]))

    def _convolution(
        self, door: str, options: dict[str, Any], arrays: dict[str, str], biased: int | None
    ) -> Call:
        call = Call(door, dict(arrays))
        if biased is not None and self.chance(0.5):
            dtype = next(text for text in arrays.values()).split("'")[1]
            call.arguments["bias"] = self.operand((biased,), dtype, channels=0)
        call.arguments |= {name: repr(value) for name, value in options.items()}
        self._algorithm(call)
        return call

    def _pair(self, first: tuple[int, ...], second: tuple[int, ...], at: int) -> tuple[str, ...]:
        """Two operands of one dtype, perhaps with special values in the first; the dtype."""
        dtype = self.dtype()
        contents = self.contents(dtype, specials=True)
        other = "integers" if contents == "specials" else contents
        a = self.operand(first, dtype, contents, at)
        return a, self.operand(second, dtype, other), dtype

    def _activate(self, call: Call, dtype: str) -> None:
        if dtype in ("float32", "float64") and self.chance(0.2):
            names = [name for name in ACTIVATIONS if name]
            call.arguments["activation"] = repr(self.one(*names))

    def conv(self) -> Call:
        """conv1d, conv2d, conv3d."""
        rank, x, w, options = self.conv_problem()
        at = len(x) - rank - 1
        a, b, dtype = self._pair(x, w, at)
        call = self._convolution(f"conv{rank}d", options, {"input": a, "weight": b}, w[0])
        self._activate(call, dtype)
        g = ConvGeometry.forward("fuzz", rank, x, w, **options)
        return self.running(call, g.output_shape[1 - at :], dtype, at)

    def plan(self) -> Call:
        """A plan called with an input; `x` is not an argument of the door but of its result."""
        rank, x, w, options = self.conv_problem()
        at = len(x) - rank - 1
        a, b, dtype = self._pair(x, w, at)
        arrays = {"input_shape": repr(x), "weight": b, "x": a}
        call = self._convolution("plan", options, arrays, None)
        if self.chance(0.5):
            call.arguments["memory_format"] = repr(self.one("channels_first", "channels_last"))
        self._activate(call, dtype)
        return call

    def conv_transpose(self) -> Call:
        """conv_transpose1d, conv_transpose2d, conv_transpose3d."""
        while True:
            rank, x, w, options = self.conv_problem()
            if "padding_mode" in options:
                continue
            forward = ConvGeometry.forward("fuzz", rank, x, w, **options)
            shape = forward.output_shape[not forward.batched :]
            if self.chance(0.3) and not isinstance(options.get("padding"), str):
                options["output_padding"] = self._axes(rank, 0, 2)
            try:
                g = ConvGeometry.transposed("fuzz", rank, shape, w, **options)
            except ValueError:
                continue
            break
        at = len(shape) - rank - 1
        a, b, dtype = self._pair(shape, w, at)
        biased = g.in_channels
        call = self._convolution(
            f"conv_transpose{rank}d", options, {"input": a, "weight": b}, biased
        )
        self._activate(call, dtype)
        return self.running(call, g.input_shape[1 - at :], dtype, at)

    def conv_gradient(self) -> Call:
        """The gradients of a convolution."""
        rank, x, w, options = self.conv_problem()
        g = ConvGeometry.forward("fuzz", rank, x, w, **options)
        at = len(x) - rank - 1
        dy = g.output_shape[1 - at :]
        kind = self.one(*["input", "weight"] * 3, "bias")
        if kind == "bias":
            dtype = self.dtype()
            return Call(
                f"grad.conv{rank}d_bias",
                {"grad_output": self.operand(dy, dtype, self.contents(dtype), at)},
            )
        if kind == "input":
            a, b, dtype = self._pair(dy, w, at)
            arrays = {"input_size": repr(x), "weight": b, "grad_output": a}
            shape, channels = x, at
        else:
            a, b, dtype = self._pair(x, dy, at)
            arrays = {"input": a, "weight_size": repr(w), "grad_output": b}
            shape, channels = w, 1
        call = self._convolution(f"grad.conv{rank}d_{kind}", options, arrays, None)
        return self.running(call, shape, dtype, channels)

    # --- Pooling ---

    def pool_problem(self, kind: str) -> tuple[int, tuple[int, ...], dict[str, Any], Any]:
        """Rank, input shape, options and geometry of a pooling that fits."""
        while True:
            rank = self.number(1, 3)
            longest = {1: 40, 2: 13, 3: 7}[rank]
            size = self.numbers(rank, 1, longest)
            shape = (*self.one((), (0,), (1,), (2,)), self.one(1, 2, 3, 5, 17), *size)
            if kind.startswith("adaptive"):
                wanted: Any = self._axes(rank, 1, 6)
                options = {"output_size": wanted}
                return rank, shape, options, AdaptiveGeometry.adaptive("fuzz", rank, shape, wanted)
            kernel = self._axes(rank, 1, self.one(2, 3, 5))
            options = {"kernel_size": kernel}
            if self.chance(0.6):
                options["stride"] = self._axes(rank, 1, self.one(2, 5))
            if kind != "lp" and self.chance(0.5):
                options["padding"] = self.one(self._axes(rank, 0, 2), "same", "same_lower", "valid")
            if kind == "max" and self.chance(0.3):
                options["dilation"] = self._axes(rank, 1, 3)
            if self.chance(0.3):
                options["ceil_mode"] = True
            try:
                rest = {name: options[name] for name in options if name != "kernel_size"}
                geometry = PoolGeometry.sliding("fuzz", rank, shape, kernel, **rest)
            except ValueError:
                continue
            return rank, shape, options, geometry

    def pool(self) -> Call:
        """Every pooling forward."""
        kind = self.one("max", "avg", "lp", "adaptive_max", "adaptive_avg")
        rank, shape, options, geometry = self.pool_problem(kind)
        at = len(shape) - rank - 1
        kinds = {"max": "fi", "adaptive_max": "fi", "lp": "f"}
        dtype = self.dtype(kinds.get(kind, "fc"))
        contents = self.contents(dtype, specials="max" in kind or "avg" in kind)
        call = Call(f"{kind}_pool{rank}d", {"input": self.operand(shape, dtype, contents, at)})
        if kind == "lp":
            call.arguments["norm_type"] = self.one("1", "2", "2.0", "3", "0.5", "math.inf")
        call.arguments |= {name: repr(value) for name, value in options.items()}
        if "max" in kind and self.chance(0.5):
            call.arguments["return_indices"] = "True"
        if kind == "avg" and self.chance(0.4):
            call.arguments["count_include_pad"] = repr(self.chance(0.5))
        if kind == "avg" and self.chance(0.2):
            call.arguments["divisor_override"] = str(self.number(1, 7))
        return self.running(call, geometry.output_shape[1 - at :], dtype, at)

    def pool_gradient(self) -> Call:
        """The gradient of every pooling."""
        kind = self.one("max", "avg", "lp", "adaptive_max", "adaptive_avg")
        rank, shape, options, geometry = self.pool_problem(kind)
        at = len(shape) - rank - 1
        output = geometry.output_shape[1 - at :]
        dtype = self.dtype("f" if kind == "lp" else "fi" if "max" in kind else "fc")
        dy = self.operand(output, dtype, self.contents(dtype), at)
        call = Call(f"grad.{kind}_pool{rank}d", {"grad_output": dy})
        if "max" in kind:
            cells = math.prod(geometry.in_size)
            index = self.one("int64", "int64", "int32")
            call.arguments["indices"] = self.operand(output, index, f"below {cells}", at)
        if kind == "lp":
            call.arguments["input"] = self.operand(shape, dtype, "integers", at)
            call.arguments["output"] = self.operand(output, dtype, "below 5", at)
            call.arguments["norm_type"] = repr(self.one(1, 2, 3))
        else:
            call.arguments["input_size"] = repr(shape)
        if kind in ("avg", "lp"):
            call.arguments |= {name: repr(value) for name, value in options.items()}
        if kind == "avg" and self.chance(0.4):
            call.arguments["count_include_pad"] = repr(self.chance(0.5))
        return self.running(call, shape, dtype, at)

    def unpool(self) -> Call:
        """max_unpool and its gradient."""
        rank = self.number(1, 3)
        size = self.numbers(rank, 1, 6)
        shape = (*self.one((), (0,), (1,), (2,)), self.one(1, 2, 3, 17), *size)
        at = len(shape) - rank - 1
        dtype = self.dtype("fi")
        stride = self.number(1, 3)
        kernel = self.number(stride, 4)
        whole = tuple((n - 1) * stride + kernel for n in size)
        places = self.operand(shape, "int64", f"below {math.prod(whole)}", at)
        contents = self.contents(dtype)
        if self.chance(0.3):
            lead = shape[: at + 1]
            dy = self.operand((*lead, *whole), dtype, contents, at)
            call = Call(f"grad.max_unpool{rank}d", {"grad_output": dy, "indices": places})
            if self.chance(0.3):
                call.arguments["out"] = self.out(shape, dtype, at)
            return call
        arguments = {"input": self.operand(shape, dtype, contents, at), "indices": places}
        arguments |= {"kernel_size": repr(kernel), "stride": repr(stride)}
        if self.chance(0.3):
            arguments["output_size"] = repr(whole)
        call = Call(f"max_unpool{rank}d", arguments)
        return self.running(call, (*shape[: at + 1], *whole), dtype, at)

    # --- Columns, borders, matrices ---

    def columns(self) -> Call:
        """unfold and fold."""
        while True:
            rank, x, w, options = self.conv_problem()
            if {"groups", "padding_mode"} & set(options):
                continue
            g = ConvGeometry.forward("fuzz", rank, x, (1, w[1], *w[2:]), **options)
            if math.prod((*w[1:], *g.out_size)) < 1e6:
                break
        at = len(x) - rank - 1
        dtype = self.dtype()
        contents = self.contents(dtype)
        texts = {"kernel_size": repr(w[2:])} | {n: repr(v) for n, v in options.items()}
        lead, rows = x[:at], x[at] * math.prod(w[2:])
        shape = (*lead, rows, math.prod(g.out_size))
        if self.chance(0.5):
            call = Call("unfold", {"input": self.operand(x, dtype, contents, at), **texts})
        else:
            texts = {"output_size": repr(x[at + 1 :]), **texts}
            call = Call("fold", {"input": self.operand(shape, dtype, contents, at), **texts})
            shape = x
        if self.chance(0.3):
            call.arguments["out"] = self.out(shape, dtype, at)
        return call

    def border(self) -> Call:
        """pad and its gradient."""
        rank = self.number(1, 5)
        shape = self.numbers(rank, 2, 6)
        axes = self.number(0, rank)
        mode = self.one("constant", "reflect", "replicate", "circular")
        low = self.one(0, 0, -1)
        numbers = self.numbers(2 * axes, low, 1 if mode != "constant" else 4)
        pairs = [numbers[i : i + 2] for i in range(0, len(numbers), 2)][::-1]
        pairs = [(0, 0)] * (rank - axes) + pairs
        padded = tuple(n + sum(pair) for n, pair in zip(shape, pairs))
        dtype = self.dtype()
        contents = self.contents(dtype)
        texts = {"pad": repr(numbers), "mode": repr(mode)}
        if self.chance(0.5):
            call = Call("pad", {"input": self.operand(shape, dtype, contents), **texts})
            if mode == "constant" and self.chance(0.5):
                call.arguments["value"] = str(self.number(0, 100))
            result = padded
        else:
            call = Call("grad.pad", {"grad_output": self.operand(padded, dtype, contents), **texts})
            result = shape
        if self.chance(0.3):
            call.arguments["out"] = self.out(result, dtype)
        return call

    def dense(self) -> Call:
        """linear and its gradients."""
        lead = self.numbers(self.number(0, 3), self.one(0, 1, 1), 5)
        c, k = self.one(1, 2, 7, 33), self.one(1, 3, 17, 40)
        kind = self.one("linear", "grad.linear_input", "grad.linear_weight")
        dtype = self.dtype()
        contents = self.contents(dtype)
        x, dy = self.operand((*lead, c), dtype, contents), self.operand((*lead, k), dtype, contents)
        w = self.operand((k, c), dtype, contents)
        if kind == "linear":
            call = Call(kind, {"input": x, "weight": w})
            if self.chance(0.5):
                call.arguments["bias"] = self.operand((k,), dtype, channels=0)
            return self.running(call, (*lead, k), dtype)
        if kind == "grad.linear_input":
            return Call(kind, {"weight": w, "grad_output": dy})
        return Call(kind, {"input": x, "grad_output": dy})

    # --- Mistakes ---

    def _mistake(self, text: str) -> str:
        """A bad expression for the argument that was `text`; now and then it happens to fit."""
        if text.startswith(("Operand(", "Out(")):
            owner, rest = text.split("(", 1)
            shape, rest = rest[1:].split(")", 1)
            sizes = [int(n) for n in shape.split(",") if n.strip()]
            if self.chance(0.5) and sizes:
                axis = self.number(0, len(sizes) - 1)
                change = self.one(-1, 1, None, 0, "more")
                if change == "more":
                    sizes.insert(axis, 1)
                elif change is None:
                    del sizes[axis]
                else:
                    sizes[axis] = 0 if change == 0 else max(sizes[axis] + change, 0)
                return f"{owner}({tuple(sizes)}{rest}".replace("'list'", "'first'")
            if self.chance(0.3):
                named = text.split("'")[1]
                return text.replace(named, self.dtype(), 1)
            shape = f"({shape})"
            return self.one(
                f"np.ones({shape}, bool)",
                f"np.ones({shape}, object)",
                f"np.ones({shape}).astype(str)",
                f"np.ma.masked_array(np.ones({shape}))",
                f"np.zeros({shape}, 'M8[s]')",
                f"np.zeros({shape}, np.longdouble)",
                f"np.zeros({shape}, [('a', 'f4')])",
                "None",
                "3.0",
                "'text'",
                "[]",
                "[[1.0], [1.0, 2.0]]",
                "object()",
                "np.float32(2)",
                "np.zeros(0)",
                "{}",
            )
        return self.one(*MISTAKES)

    def call(self) -> Call:
        """Any call."""
        makers: tuple[Callable[[], Call], ...] = (
            self.conv,
            self.conv,
            self.conv_transpose,
            self.conv_gradient,
            self.conv_gradient,
            self.plan,
            self.pool,
            self.pool,
            self.pool_gradient,
            self.unpool,
            self.columns,
            self.border,
            self.dense,
        )
        call = self.one(*makers)()
        if self.chance(0.3):
            call.fits = False
            if self.chance(0.15):
                extra = self.one(
                    "stride",
                    "padding",
                    "dilation",
                    "groups",
                    "bias",
                    "mode",
                    "out",
                    "threads",
                    "algorithm",
                    "activation",
                    "padding_mode",
                    "data_format",
                    "output_padding",
                )
                call.arguments[extra] = self.one(*MISTAKES)
            else:
                name = self.one(*call.arguments)
                call.arguments[name] = self._mistake(call.arguments[name])
        return call


# Sizes between a million and 2**31 are left out: those calls may be right, and take minutes.
MISTAKES = (
    *("0", "-1", "-2", "2**31 - 1", "2**31", "2**32 + 1", "2**40", "2**58", "2**59", "2**62"),
    *("2**63 - 1", "2**63", "-2**63", "10**30", "True", "np.int64(2)", "np.uint8(1)", "1.5"),
    *("2.0", "np.float32(1)", "math.nan", "math.inf", "1j", "None", "'x'", "b'1'", "''"),
    *("[]", "()", "(1,)", "(2, 1)", "(1, 2, 3)", "(1, 1, 1, 1, 1, 1)", "[[1]]", "((1, 0),)"),
    *("((1, 0), (0, 2))", "((-1, 1), (1, 1))", "((1,), (2,))", "{}", "{1, 2}", "object()"),
    *("np.array([1, 2])", "np.array(2)", "np.array(2.0)", "iter((1, 2))", "range(2)", "'same'"),
    *("(0, 1)", "(1, 2.0)", "(1, None)", "('a', 'b')", "(2**31, 1)", "['relu']", "np.ones(3)"),
)
