"""Pooling of arrays: element types, memory formats and `out`, between the doors and the kernels.

Arrays have the batch axis or not, as their geometry says. float16 is computed in float32, integers
in int64: the maxima of every width are exact. Results are in the memory format of the array pooled.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .arguments import Size
from .arrays import (
    channels_first,
    channels_last,
    check_out,
    compute_dtype,
    empty,
    is_channels_last,
    maker_of,
)
from .cpu.compile import name_of
from .cpu.launch import SERIAL_WORK
from .cpu.pool_job import ARGMAX, MAX, SUM
from .cpu.pooling_engine import Job, backward_job, element_steps, forward_job, pool_into, pool_steps
from .cpu.program import noted, rehearsing, unwritten
from .cpu.replay import Again
from .cpu.scatter import scatter_into
from .cpu.windows import AnyPool, axes, shares
from .device import cuda, mixed
from .geometry import AdaptiveGeometry, PoolGeometry
from .remembered import Calls, Key, key_of

# Cells of an output from which on its gradient is divided before it is spread.
MANY_CELLS = 8
TOP_BIT = np.uint64(2**63)


class _Target:
    """Where a result goes: `out` itself if a kernel can write it, else an array of its own."""

    def __init__(
        self, op: str, out: Any, shape: Size, batched: bool, like: np.ndarray, *inputs: np.ndarray
    ) -> None:
        """For a result of `shape` in the dtype and the format of `like`, both with a batch axis."""
        self._out, self._batched, self._dtype = out, batched, like.dtype
        self.channels_last = is_channels_last(like)
        dtype = like.dtype if like.dtype.kind == "c" else np.dtype(compute_dtype(like.dtype))
        self._direct = False
        if out is not None:
            check_out(op, out, shape if batched else shape[1:], like.dtype, like, *inputs)
            self.array = out if batched else out[None]
            dense = is_channels_last(self.array) if self.channels_last else out.flags.c_contiguous
            self._direct = dense and out.dtype == dtype
        if not self._direct:
            self.array = empty(shape, dtype, self.channels_last)

    def result(self) -> np.ndarray:
        """What the door returns once `array` is filled; integers wrap."""
        if self._direct:
            return self._out
        array = self.array if self._batched else self.array[0]
        if self._out is None and array.dtype == self._dtype:
            return array
        with np.errstate(over="ignore"):
            if self._out is None:
                return array.astype(self._dtype)
            np.copyto(self._out, array, casting="unsafe")
            return self._out


class PoolCall:
    """A pooling of arrays like one that was pooled before, straight into new arrays."""

    def __init__(
        self, job: Job, x: np.ndarray, shape: Size, batched: bool, last: bool, places: bool
    ) -> None:
        """For arrays like `x`, which has a batch axis, and results of `shape`."""
        self._job = job if job.steps else job._replace(steps=element_steps(x))
        self._lone = not batched
        self._make = maker_of(shape, x.dtype, last)
        self._make_places = maker_of(shape, np.dtype(np.int64), last) if places else None
        self._small = job.work < SERIAL_WORK
        self.again = Again(pool_steps, self._job)

    def __call__(self, x: np.ndarray, threads: int | None) -> Any:
        """The result, and with `places` the indices."""
        y, lone = self._make(), self._lone
        places = None if self._make_places is None else self._make_places()
        plainly = self._small and threads is None and not rehearsing()
        if plainly and self.again.replay is not None:
            self.again.replay(x, y, places)
        else:
            if plainly:
                self.again.show(x, y, places)
            pool_into(self._job, x, y, places, threads)
        if places is None:
            return y[0] if lone else y
        return (y[0], places[0]) if lone else (y, places)


class PutCall:
    """A scattering of values like some that were scattered before, straight into a new array."""

    def __init__(self, op: str, geometry: AdaptiveGeometry, dtype: np.dtype, last: bool) -> None:
        """For dense arrays, with the batch axis or not as the geometry."""
        self._op, self._geometry, self._last = op, geometry, last
        self._make = maker_of(geometry.input_shape, dtype, last)

    def __call__(self, values: np.ndarray, places: np.ndarray, threads: int | None) -> np.ndarray:
        """The sums of the values that go to each cell."""
        target, geometry = self._make(), self._geometry
        values, places = _lifted(values, geometry), _lifted(places, geometry)
        if not scatter_into(values, places, target, self._last, True, threads):
            _check_places(self._op, places, geometry, "input_size")
        return target if geometry.batched else target[0]


_calls = Calls[Any]()


def known(op: str, options: tuple[Any, ...], out: Any, *arrays: Any) -> tuple[Key | None, Any]:
    """The key of a call that makes a new array on the host, and the call, if it is known."""
    if out is not None or any(type(x) is not np.ndarray for x in arrays):
        return None, None
    key = key_of(op, options, *arrays)
    return key, _calls.get(key)


def _lifted(x: np.ndarray, geometry: AnyPool) -> np.ndarray:
    """`x` with a batch axis."""
    return x if geometry.batched else x[None]


def _wide(x: np.ndarray) -> np.ndarray:
    """`x` in the dtype it is computed in; uint64 wraps, complex stays."""
    return x if x.dtype.kind == "c" else x.astype(compute_dtype(x.dtype), copy=False)


def _kind(x: np.ndarray) -> tuple[str, bool]:
    """What a job depends on beside the problem: element type, and whether `x` is dense."""
    return name_of(x.dtype), x.flags.c_contiguous


def refuse(op: str, name: str, x: np.ndarray, kinds: str) -> None:
    """TypeError if the kind of `x`, one of "iufc", is among `kinds`."""
    if x.dtype.kind in kinds:
        wanted = "real" if kinds == "c" else "of a floating-point dtype"
        raise TypeError(f"{op}: {name} must be {wanted}, not {x.dtype}")


def check_shape(op: str, name: str, x: np.ndarray, whole: Size, geometry: AnyPool) -> None:
    """ValueError unless `x` has the shape `whole`, less the batch axis if the geometry has none."""
    expected = whole if geometry.batched else whole[1:]
    if x.shape != expected:
        raise ValueError(f"{op}: {name} has shape {x.shape}, this pooling needs {expected}")


# --- Maxima ---


def max_pool(
    op: str,
    geometry: AnyPool,
    input: np.ndarray,
    return_indices: bool,
    out: Any,
    threads: int | None,
    key: Key | None,
) -> Any:
    """The maximum of each window, with `return_indices` also its place in the plane.

    Here and below a call is remembered by its `key`, if that is enough for it.
    """
    refuse(op, "input", input, "c")
    if type(input) is not np.ndarray:
        return cuda("pooling").max_pool(op, geometry, input, return_indices, out)
    x = _lifted(input, geometry)
    target = _Target(op, out, geometry.output_shape, geometry.batched, x)
    last, indices = target.channels_last, None
    if return_indices:
        indices = empty(geometry.output_shape, np.dtype(np.int64), last)
    flipped = x.dtype == np.uint64  # keeps its order as int64 if the top bit is flipped
    source = (x ^ TOP_BIT).view(np.int64) if flipped else _wide(x)
    mode = ARGMAX if return_indices else MAX
    job = forward_job(geometry, mode, False, 0, last, *_kind(source))
    if source is x and out is None:
        whole = geometry.output_shape
        _calls.keep(key, PoolCall(job, x, whole, geometry.batched, last, return_indices))
    pool_into(job, source, target.array, indices, threads)
    if flipped:
        values = target.array.view(np.uint64)
        np.bitwise_xor(values, TOP_BIT, out=values)
    if indices is None:
        return target.result()
    return target.result(), indices if geometry.batched else indices[0]


def put(
    op: str,
    geometry: AdaptiveGeometry,
    values: np.ndarray,
    indices: np.ndarray,
    gradient: bool,
    out: Any,
    threads: int | None,
    key: Key | None = None,
) -> np.ndarray:
    """Values of the shape of the output to those cells of the input that their indices name.

    Summed there for a `gradient`; of the values of an unpooling the last one stays.
    """
    name, size = ("grad_output", "input_size") if gradient else ("input", "output_size")
    if type(values) is not type(indices):
        raise mixed(op, {name: values, "indices": indices})
    refuse(op, name, values, "c")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{op}: indices must be integers, not {indices.dtype}")
    check_shape(op, name, values, geometry.output_shape, geometry)
    check_shape(op, "indices", indices, geometry.output_shape, geometry)
    if type(values) is not np.ndarray:
        return cuda("pooling").put(op, geometry, values, indices, gradient, out)
    x = _lifted(values, geometry)
    target = _Target(op, out, geometry.input_shape, geometry.batched, x, indices)
    dense = channels_last if target.channels_last else channels_first
    places = dense(_lifted(indices, geometry).astype(np.int64, copy=False))
    last, source = target.channels_last, dense(_wide(x))
    if out is not None:  # before it is written to
        _check_places(op, places, geometry, size)
    as_they_are = all(map(np.may_share_memory, (source, places), (values, indices)))
    if gradient and out is None and as_they_are:
        _calls.keep(key, PutCall(op, geometry, x.dtype, last))
    if not scatter_into(source, places, target.array, last, gradient, threads):
        _check_places(op, places, geometry, size)
    return target.result()


def take(
    op: str, geometry: AdaptiveGeometry, values: np.ndarray, indices: np.ndarray, out: Any
) -> np.ndarray:
    """Those cells of the input that the indices, of the shape of the output, name."""
    if type(values) is not type(indices):
        raise mixed(op, {"grad_output": values, "indices": indices})
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{op}: indices must be integers, not {indices.dtype}")
    check_shape(op, "grad_output", values, geometry.input_shape, geometry)
    check_shape(op, "indices", indices, geometry.output_shape, geometry)
    if type(values) is not np.ndarray:
        return cuda("pooling").take(op, geometry, values, indices, out)
    x = _lifted(values, geometry)
    lead, cells = geometry.input_shape[:2], math.prod(geometry.in_size)
    places = indices.reshape(*lead, math.prod(geometry.out_size))  # (N, C, outputs)
    _check_places(op, places, geometry, "grad_output")
    target = _Target(op, out, geometry.output_shape, geometry.batched, x, indices)
    planes = x.reshape(*lead, cells)
    found = np.take_along_axis(planes, places.astype(np.int64, copy=False), axis=2)
    target.array[...] = found.reshape(geometry.output_shape)
    return target.result()


def _check_places(op: str, places: np.ndarray, geometry: AdaptiveGeometry, name: str) -> None:
    """ValueError for an index outside the planes of the input, which is called `name`."""
    cells = math.prod(geometry.in_size)
    if places.size and (places.min() < 0 or places.max() >= cells):
        wrong = places[(places < 0) | (places >= cells)]
        raise ValueError(
            f"{op}: indices must be at least 0 and below {cells}, the cells in a plane of {name} "
            f"{geometry.in_size}, not {wrong[0]}"
        )


# --- Sums ---


@functools.lru_cache(maxsize=256)
def _divisors(geometry: AnyPool, padded: bool) -> int | np.ndarray:
    """What the sum of each window is divided by, one number for all or shape `out_size`."""
    depth, height, width = (shares(axis) for axis in axes(geometry, padded))
    if all((each == each[0]).all() for each in (depth, height, width)):
        return int(depth[0] * height[0] * width[0])
    products = depth[:, None, None] * height[:, None] * width  # (D, H, W)
    return products.reshape(geometry.out_size)


def _sum_into(
    job_of: Callable[[str, bool], Job], x: np.ndarray, y: np.ndarray, threads: int | None
) -> None:
    """Run the job of sums for arrays like x, of complex numbers by their parts."""
    if x.dtype.kind != "c":
        pool_into(job_of(*_kind(x)), x, y, None, threads)
        return
    part = empty(y.shape, y.real.dtype, is_channels_last(y))
    pool_into(job_of(*_kind(x.real)), x.real, part, None, threads)
    y.real = part
    pool_into(job_of(*_kind(x.imag)), x.imag, part, None, threads)
    y.imag = part


def avg_pool(
    op: str,
    geometry: AnyPool,
    input: np.ndarray,
    padded: bool,
    divisor: int | None,
    out: Any,
    threads: int | None,
    key: Key | None,
) -> np.ndarray:
    """The mean of each window; `padded` counts the cells of the padding in the divisor."""
    refuse(op, "input", input, "iu")
    if type(input) is not np.ndarray:
        return cuda("pooling").avg_pool(op, geometry, input, padded, divisor, out)
    x = _lifted(input, geometry)
    target = _Target(op, out, geometry.output_shape, geometry.batched, x)
    last, terms = target.channels_last, _wide(x)
    job_of = functools.partial(forward_job, geometry, SUM, padded, divisor or 0, last)
    if terms is x and x.dtype.kind == "f" and out is None:
        job = job_of(*_kind(x))
        call = PoolCall(job, x, geometry.output_shape, geometry.batched, last, False)
        _calls.keep(key, call)
    _sum_into(job_of, terms, target.array, threads)
    return target.result()


def avg_pool_input(
    op: str,
    geometry: AnyPool,
    grad_output: np.ndarray,
    padded: bool,
    divisor: int | None,
    out: Any,
    threads: int | None,
    key: Key | None,
) -> np.ndarray:
    """The gradient of `avg_pool`."""
    refuse(op, "grad_output", grad_output, "iu")
    check_shape(op, "grad_output", grad_output, geometry.output_shape, geometry)
    if type(grad_output) is not np.ndarray:
        arguments = (geometry, grad_output, padded, divisor, out)
        return cuda("pooling").avg_pool_input(op, *arguments)
    gradient = _lifted(grad_output, geometry)
    target = _Target(op, out, geometry.input_shape, geometry.batched, gradient)
    if target.array.size == 0:
        return target.result()
    last, found = target.channels_last, divisor or _divisors(geometry, padded)
    terms = _wide(gradient)
    many = math.prod(geometry.in_size) >= MANY_CELLS * math.prod(geometry.out_size)
    if many or not isinstance(found, int):  # rather once for each output than for each cell
        with np.errstate(all="ignore"):
            terms, found = terms / np.asarray(found, terms.real.dtype), 1
    job_of = functools.partial(backward_job, geometry, found, last)
    if terms is gradient and terms.dtype.kind == "f" and out is None:
        job = job_of(*_kind(terms))
        call = PoolCall(job, terms, geometry.input_shape, geometry.batched, last, False)
        _calls.keep(key, call)
    _sum_into(job_of, terms, target.array, threads)
    return target.result()


# --- Norms ---


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    if exponent == 1:
        return x
    return x * x if exponent == 2 else np.sqrt(x) if exponent == 0.5 else np.power(x, exponent)


def lp_pool(
    op: str,
    geometry: PoolGeometry,
    input: np.ndarray,
    norm: float,
    out: Any,
    threads: int | None,
) -> np.ndarray:
    """The norm of each window: (sum of abs(x)**norm) ** (1 / norm), or the largest abs(x)."""
    refuse(op, "input", input, "iuc")
    if type(input) is not np.ndarray:
        return cuda("pooling").lp_pool(op, geometry, input, norm, out)
    noted(unwritten)
    x = _lifted(input, geometry)
    target = _Target(op, out, geometry.output_shape, geometry.batched, x)
    if norm == math.inf:
        powers = np.abs(_wide(x))
        job = forward_job(geometry, MAX, False, 0, target.channels_last, *_kind(powers))
        pool_into(job, powers, target.array, None, threads)
        return target.result()
    with np.errstate(all="ignore"):
        powers = _power(np.abs(_wide(x)), norm)
        job = forward_job(geometry, SUM, False, 1, target.channels_last, *_kind(powers))
        pool_into(job, powers, target.array, None, threads)
        target.array[...] = _power(target.array, 1 / norm)
    return target.result()


def lp_pool_input(
    op: str,
    geometry: PoolGeometry,
    operands: dict[str, np.ndarray],
    norm: float,
    out: Any,
    threads: int | None,
) -> np.ndarray:
    """The gradient of `lp_pool` from its "grad_output", "input" and "output".

    ``sign(x[i]) * abs(x[i])**(norm - 1) * sum over the windows p that hold i
    of grad_output[p] * output[p]**(1 - norm)``, and zero where x is zero.
    """
    noted(unwritten)
    for name, array in operands.items():
        refuse(op, name, array, "iuc")
        whole = geometry.input_shape if name == "input" else geometry.output_shape
        check_shape(op, name, array, whole, geometry)
    kinds = set(map(type, operands.values()))
    if len(kinds) > 1:
        raise mixed(op, operands)
    if kinds != {np.ndarray}:
        return cuda("pooling").lp_pool_input(op, geometry, operands, norm, out)
    dtype = np.result_type(*operands.values())
    gradient, x, y = (_lifted(array, geometry).astype(dtype) for array in operands.values())
    target = _Target(op, out, geometry.input_shape, geometry.batched, x, *operands.values())
    gradient, x, y = _wide(gradient), _wide(x), _wide(y)
    last = target.channels_last
    with np.errstate(all="ignore"):
        if norm == math.inf:
            places = empty(y.shape, np.dtype(np.int64), last)
            powers = np.abs(x)
            job = forward_job(geometry, ARGMAX, False, 0, last, *_kind(powers))
            pool_into(job, powers, empty(y.shape, x.dtype, last), places, threads)
            dense = channels_last if last else channels_first
            scatter_into(dense(gradient), places, target.array, last, True, threads)
            target.array[...] *= np.sign(x)
            return target.result()
        terms = np.where(y == 0, 0, gradient * _power(y, 1 - norm))
        job = backward_job(geometry, 1, last, *_kind(terms))
        pool_into(job, terms, target.array, None, threads)
        slope = np.sign(x) * _power(np.abs(x), norm - 1)
        target.array[...] = np.where(x == 0, 0, target.array * slope)
    return target.result()
