"""The doors as Numba sees them: which result types they have, and the code of each call.

Numba asks for the code of a door when it compiles a user's function. Until then nothing here has
done more than to register a small function for each door.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import overload
from numba.np.numpy_support import as_dtype, from_dtype

from .. import functional, grad
from ..arrays import as_operand
from ..cpu.compile import FLOATS
from ..cpu.fused import jitted_epilogue
from ..dtypes import result_dtype
from .words import form_of

Kinds = dict[str, Any]
Rule = Callable[[str, Kinds], list[types.Array]]


# --- Result types ---


def _array(op: str, name: str, kinds: Kinds) -> types.Array:
    kind = kinds[name]
    if not isinstance(kind, types.Array):
        raise TypingError(f"{op}: {name} must be an array within compiled code, not {kind}")
    return kind


def _dtype(op: str, *names: str) -> Callable[[Kinds], np.dtype]:
    """The result's dtype, by the rules of the door; TypingError with the door's own message."""

    def find(kinds: Kinds) -> np.dtype:
        try:
            empty = [np.empty(0, as_dtype(_array(op, name, kinds).dtype)) for name in names]
            for name, array in zip(names, empty):
                as_operand(op, name, array)
            if len(empty) != 2:
                return np.result_type(*empty)
            return result_dtype(op, (names[0], names[1]), *empty)
        except (TypeError, NotImplementedError) as error:
            raise TypingError(str(error)) from None

    return find


def _entries(op: str, name: str, kinds: Kinds) -> int:
    """Entries of a size that says how many dimensions a result has."""
    kind = kinds[name]
    if not isinstance(kind, types.BaseTuple):
        raise TypingError(f"{op}: {name} must be a tuple within compiled code, not {kind}")
    return len(kind)


def _like(first: str, *others: str) -> Rule:
    """As many dimensions as `first`, and its memory format."""

    def rule(op: str, kinds: Kinds) -> list[types.Array]:
        like, dtype = _array(op, first, kinds), _dtype(op, first, *others)(kinds)
        return [types.Array(from_dtype(dtype), like.ndim, "C" if like.layout == "C" else "A")]

    return rule


def _sized(size: str, first: str, *others: str, plain: bool = False) -> Rule:
    """As many dimensions as `size` has entries, and the memory format of `first` unless `plain`."""

    def rule(op: str, kinds: Kinds) -> list[types.Array]:
        like, dtype = _array(op, first, kinds), _dtype(op, first, *others)(kinds)
        layout = "C" if plain or like.layout == "C" else "A"
        return [types.Array(from_dtype(dtype), _entries(op, size, kinds), layout)]

    return rule


def _dense(dimensions: int | str, *names: str) -> Rule:
    """In C order, with a number of dimensions or those of an argument."""

    def rule(op: str, kinds: Kinds) -> list[types.Array]:
        dtype = _dtype(op, *names)(kinds)
        n = dimensions if isinstance(dimensions, int) else _array(op, dimensions, kinds).ndim
        return [types.Array(from_dtype(dtype), n, "C")]

    return rule


def _maxima(op: str, kinds: Kinds) -> list[types.Array]:
    """The values, and with `return_indices` their places."""
    (values,) = _like("input")(op, kinds)
    wanted = kinds["return_indices"]
    if isinstance(wanted, types.BooleanLiteral):
        wanted = wanted.literal_value
    if not isinstance(wanted, bool):
        raise TypingError(f"{op}: return_indices must be a literal True or False in compiled code")
    return [values, values.copy(dtype=types.int64)] if wanted else [values]


def _unfolded(op: str, kinds: Kinds) -> list[types.Array]:
    rank = _rank(kinds["kernel_size"])
    (like,) = _like("input")(op, kinds)
    return [like.copy(ndim=3 if like.ndim == rank + 2 else 2, layout="C")]


def _folded(op: str, kinds: Kinds) -> list[types.Array]:
    sizes = kinds["output_size"], kinds["kernel_size"]
    rank = next((len(size) for size in sizes if isinstance(size, types.BaseTuple)), 2)
    (like,) = _like("input")(op, kinds)
    return [like.copy(ndim=rank + like.ndim - 1, layout="C")]


def _rank(size: Any) -> int:
    return len(size) if isinstance(size, types.BaseTuple) else 2


def _rules() -> dict[str, Rule]:
    rules: dict[str, Rule] = {
        "linear": _dense("input", "input", "weight"),
        "grad.linear_input": _dense("grad_output", "grad_output", "weight"),
        "grad.linear_weight": _dense(2, "grad_output", "input"),
        "unfold": _unfolded,
        "fold": _folded,
        "pad": _like("input"),
        "grad.pad": _like("grad_output"),
    }
    for d in ("1d", "2d", "3d"):
        rules |= {
            f"conv{d}": _like("input", "weight"),
            f"conv_transpose{d}": _like("input", "weight"),
            f"max_pool{d}": _maxima,
            f"adaptive_max_pool{d}": _maxima,
            f"max_unpool{d}": _like("input"),
            f"grad.conv{d}_input": _sized("input_size", "grad_output", "weight"),
            f"grad.conv{d}_weight": _sized("weight_size", "grad_output", "input", plain=True),
            f"grad.conv{d}_bias": _dense(1, "grad_output"),
            f"grad.max_unpool{d}": _like("grad_output"),
            f"grad.lp_pool{d}": _like("input", "grad_output", "output"),
        }
        for name in ("avg_pool", "adaptive_avg_pool", "lp_pool"):
            rules[f"{name}{d}"] = _like("input")
        for name in ("max_pool", "adaptive_max_pool", "avg_pool", "adaptive_avg_pool"):
            rules[f"grad.{name}{d}"] = _like("grad_output")
    return rules


RULES = _rules()

# Doors of `functional` that decide without computing: Python's business.
NOT_HERE = ("explain", "output_shape", "plan")


# --- Registering ---


def register() -> None:
    """Let Numba find the doors."""
    for package, prefix in ((functional, ""), (grad, "grad.")):
        for name in package.__all__:
            if prefix or name not in NOT_HERE:
                _register(prefix + name, getattr(package, name))


def _register(name: str, door: Callable[..., Any]) -> None:
    signature = inspect.signature(door)

    def compiled_call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _implementation(name, signature, dict(bound.arguments))

    compiled_call.__name__, compiled_call.__signature__ = door.__name__, signature  # type: ignore
    overload(door, strict=False)(compiled_call)


def _implementation(name: str, signature: inspect.Signature, kinds: Kinds) -> Callable[..., Any]:
    """The function that Numba compiles in place of a door for arguments of these types."""
    op = name
    has_out = "out" in kinds and isinstance(kinds["out"], types.Array)
    if has_out:
        kinds["out"] = kinds.pop("out")  # the last one
        if not kinds["out"].mutable:
            raise TypingError(f"{op}: out is read-only")
    results = RULES[name](op, kinds)
    if has_out:
        _check_out(op, kinds["out"], results[0])
    forms = {argument: form_of(op, argument, kind) for argument, kind in kinds.items()}
    if isinstance(kinds.get("epilogue"), types.Dispatcher):
        forms["epilogue"] += _epilogue(op, kinds, str(results[0].dtype))
    new = results[1:] if has_out else results
    description = {
        "door": name,
        "arguments": list(forms.items()),
        "layouts": [kind.layout for kind in new],
        "out": has_out,
    }
    from .site import call_site

    passed = [argument for argument, form in forms.items() if form[0] != "is"]
    call = call_site(op, description, new, has_out)
    parameters = ", ".join(
        p if q.default is q.empty else f"{p}={q.default!r}" for p, q in signature.parameters.items()
    )
    namespace = {"call": call}
    source = f"def {name.replace('.', '_')}({parameters}):\n    return call(({', '.join(passed)},))"
    exec(source, namespace)
    return namespace[name.replace(".", "_")]


def _epilogue(op: str, kinds: Kinds, dtype: str) -> tuple[int, str]:
    """How many numbers an epilogue takes beside the sum, and of which type; it is compiled."""
    given = kinds["epilogue_args"]
    count = len(given)
    try:
        if dtype not in FLOATS:
            raise TypeError(f"{op}: an epilogue needs float32 or float64, not {dtype}")
        jitted_epilogue(op, kinds["epilogue"].dispatcher, dtype, count)
    except TypeError as error:
        raise TypingError(str(error)) from None
    return count, dtype


def _check_out(op: str, out: types.Array, result: types.Array) -> None:
    if (out.dtype, out.ndim) != (result.dtype, result.ndim):
        raise TypingError(
            f"{op}: out has dtype {out.dtype} and {out.ndim} dimensions, the result has dtype "
            f"{result.dtype} and {result.ndim} dimensions"
        )
