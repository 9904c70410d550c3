"""Functions of single elements, of arrays of any strides: arithmetic, copies, activations.

A kernel is written as text for one function, one element type and one pattern of operands: "a" an
array, "s" a number. Arrays without gaps in a common order are one long row, read by fours; others
are walked by tables of sizes and strides, their mergeable axes merged.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .activation import COMPUTE, number
from .arrays import DeviceArray, empty, empty_like, memory_order
from .backend import cuda
from .emit import device, load4, quotient, store4
from .launch import THREADS, Kernel, blocks_for
from .memory import Table

MOST = 2**31 - 1  # elements of one launch: see `quotient`

FUNCTIONS: dict[str, Callable] = {
    "positive": lambda a: a,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": lambda a, b: a if a >= b or a != a else b,
    "minimum": lambda a, b: a if a <= b or a != a else b,
    "negative": lambda a: -a,
    "absolute": lambda a: abs(a),
    "square": lambda a: a * a,
    "reciprocal": lambda a: 1 / a,
    "sqrt": lambda a: math.sqrt(a),
    "exp": lambda a: math.exp(a),
    "log": lambda a: math.log(a),
    "tanh": lambda a: math.tanh(a),
    "power": lambda a, b: math.pow(a, b),
    "sign": lambda a: 1 if a > 0 else -1 if a < 0 else a,
}
ALIASES = {"true_divide": "divide", "fabs": "absolute", "conjugate": "positive"}

_FLAT = """
def kernel(out, {names}, quads, count):
    first, step = cuda.grid(1), cuda.gridsize(1)
    for q in range(first, quads, step):
        {quads}
        store4(out, 4 * q, ({values}))
    for i in range(4 * quads + first, count, step):
        out[i] = OUT(f({single}))
"""
_STRIDED = """
def kernel(out, {names}, job, axes, count):
    first, step = cuda.grid(1), cuda.gridsize(1)
    for i in range(first, count, step):
        rest, at = i, 0
        {starts}
        for axis in range(axes):
            size = job[axis]
            upper = quotient(rest, size)
            index = rest - upper * size
            rest = upper
            at += index * job[axes + axis]
            {moves}
        out[at] = OUT(f({single}))
"""


def _text(template: str, pattern: str) -> str:
    """The kernel of a pattern of operands."""
    arrays = [n for n, kind in enumerate(pattern) if kind == "a"]
    scalar = [f"IN{n}(x{n})" for n in range(len(pattern))]
    at = {_FLAT: "i"}.get(template)
    single = [f"IN{n}(x{n}[{at or f'at{n}'}])" if n in arrays else s for n, s in enumerate(scalar)]
    lanes = [
        ", ".join(f"IN{n}(v{n}[{lane}])" if n in arrays else s for n, s in enumerate(scalar))
        for lane in range(4)
    ]
    return template.format(
        names=", ".join(f"x{n}" for n in range(len(pattern))),
        quads="\n        ".join(f"v{n} = load4(x{n}, 4 * q)" for n in arrays) or "pass",
        values=", ".join(f"OUT(f({lane}))" for lane in lanes),
        starts="\n        ".join(f"at{n} = 0" for n in arrays) or "pass",
        moves="\n            ".join(
            f"at{n} += index * job[{2 + place} * axes + axis]" for place, n in enumerate(arrays)
        )
        or "pass",
        single=", ".join(single),
    )


def compute_type(*dtypes: Any) -> np.dtype:
    """The type in which elements of these are computed: integers in int64, float16 in float32."""
    result = np.result_type(*dtypes)
    return np.dtype("int64" if result.kind in "iu" else COMPUTE[result.name])


@functools.lru_cache(maxsize=1024)
def kernel(
    name: str, function: Callable, pattern: str, dtypes: tuple[str, ...], out: str, flat: bool
) -> Kernel:
    """out[...] = function(x0[...], ...); `dtypes` are those of the array operands."""
    compute = number(compute_type(out, *dtypes))
    space = {
        "cuda": cuda,
        "load4": load4,
        "store4": store4,
        "quotient": quotient,
        "f": device(function),
        "OUT": number(out),
        **{f"IN{n}": compute for n in range(len(pattern))},
    }
    exec(_text(_FLAT if flat else _STRIDED, pattern), space)
    of = iter(dtypes)
    operands = [next(of) if kind == "a" else "real" for kind in pattern]
    last = ["number", "number"] if flat else ["int64", "number", "number"]
    label = f"{name}_{'flat' if flat else 'strided'}_{pattern}_{'_'.join((*dtypes, out))}"
    return Kernel(label, space["kernel"], [out, *operands, *last], THREADS)


def _merged(
    shape: Sequence[int], strides: list[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """Sizes and element strides from the fastest axis to the slowest, axes merged where all can.

    `strides` holds one sequence per array, the first that of the array written.
    """
    order = sorted(
        (axis for axis in range(len(shape)) if shape[axis] != 1),
        key=lambda axis: (strides[0][axis], *(s[axis] for s in strides[1:])),
    )
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis in order:
        if sizes and all(of[-1] * sizes[-1] == s[axis] for of, s in zip(steps, strides)):
            sizes[-1] *= shape[axis]
            continue
        sizes.append(shape[axis])
        for of, s in zip(steps, strides):
            of.append(s[axis])
    return sizes or [1], [of or [1] for of in steps]


@functools.lru_cache(maxsize=1024)
def _walk(shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]) -> tuple[bool, int, Any]:
    """Whether the arrays are one row, the number of axes, and the job if they are not."""
    sizes, steps = _merged(shape, list(strides))
    if len(sizes) == 1 and all(of == [1] for of in steps):
        return True, 1, None
    words = [*sizes, *(step for of in steps for step in of)]
    return False, len(sizes), Table(np.array(words, np.int64))


def run(name: str, function: Callable, out: DeviceArray, *operands: Any) -> DeviceArray:
    """Fill `out` with a function of arrays, which are broadcast to it, and of numbers."""
    if not out.size:
        return out
    if out.size > MOST:
        axis = max(range(out.ndim), key=lambda a: out.shape[a])
        half = out.shape[axis] // 2
        whole = [broadcast(x, out.shape) if isinstance(x, DeviceArray) else x for x in operands]
        for part in (slice(None, half), slice(half, None)):
            at = (*(slice(None),) * axis, part)
            parts = [x[at] if isinstance(x, DeviceArray) else x for x in whole]
            run(name, function, out[at], *parts)
        return out
    pattern = "".join("a" if isinstance(x, DeviceArray) else "s" for x in operands)
    arrays = [broadcast(x, out.shape) for x in operands if isinstance(x, DeviceArray)]
    strides = tuple(tuple(s // x.itemsize for s in x.strides) for x in (out, *arrays))
    flat, axes, job = _walk(out.shape, strides)
    dtypes = tuple(x.dtype.name for x in arrays)
    one = kernel(name, function, pattern, dtypes, out.dtype.name, flat)
    given = iter(arrays)
    operands = tuple(next(given) if kind == "a" else x for kind, x in zip(pattern, operands))
    blocks = blocks_for(out.size, 4)
    if flat:
        fits = all(x.address % (4 * x.itemsize) == 0 for x in (out, *arrays))
        one(blocks, out, *operands, out.size // 4 if fits else 0, out.size)
    else:
        one(blocks, out, *operands, job, axes, out.size)
    return out


def broadcast(x: DeviceArray, shape: tuple[int, ...]) -> DeviceArray:
    """`x` with the axes of `shape`: a view whose repeated axes have stride zero."""
    if x.shape == shape:
        return x
    lead = len(shape) - x.ndim
    fits = lead >= 0 and all(n in (1, m) for n, m in zip(x.shape, shape[max(lead, 0) :]))
    if not fits:
        raise ValueError(f"shapes {x.shape} and {shape} do not go together")
    strides = [0 if n != m else s for n, m, s in zip(x.shape, shape[lead:], x.strides)]
    return x._view(x.address, shape, (*(0,) * lead, *strides))


def assign(target: DeviceArray, values: Any) -> None:
    """target[...] = values, converted to its dtype."""
    if not isinstance(values, DeviceArray) and np.ndim(values):
        from .arrays import to_device

        values = to_device("assign", "values", values)
    run("positive", FUNCTIONS["positive"], target, values)


def like(operands: Sequence[Any], shape: tuple[int, ...], dtype: Any) -> DeviceArray:
    """An array for a result, in the memory order of the first operand of its shape."""
    for x in operands:
        if isinstance(x, DeviceArray) and x.shape == shape and memory_order(x) is not None:
            return empty_like(x, dtype)
    return empty(shape, dtype)


def call_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A NumPy function of elements called with arrays on the device; see `FUNCTIONS`."""
    name = ALIASES.get(ufunc.__name__, ufunc.__name__)
    if method != "__call__" or name not in FUNCTIONS or set(options) - {"out", "dtype"}:
        return NotImplemented
    for x in inputs:
        if not isinstance(x, (DeviceArray, int, float, np.number)):
            raise TypeError(
                f"{ufunc.__name__}: a {type(x).__name__} on the host meets an array on the device; "
                "use fastconv.to_device"
            )
    arrays = [x for x in inputs if isinstance(x, DeviceArray)]
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    kinds = [x.dtype if isinstance(x, DeviceArray) else x for x in inputs]
    weak = [k for k in kinds if isinstance(k, np.dtype)]
    if any(isinstance(k, float) for k in kinds) and weak[0].kind in "iu":
        weak.append(np.dtype("float64"))
    dtype = np.result_type(*weak)
    real = ("divide", "reciprocal", "sqrt", "exp", "log", "tanh", "power")
    if dtype.kind in "iu" and name in real:
        dtype = np.dtype("float64")
    out = options.get("out")
    target = out[0] if out else like(inputs, shape, dtype)
    if not isinstance(target, DeviceArray):
        raise TypeError(f"{ufunc.__name__}: out must be an array on the device")
    numbers = [x if isinstance(x, DeviceArray) else float(x) for x in inputs]
    return run(name, FUNCTIONS[name], target, *numbers)
