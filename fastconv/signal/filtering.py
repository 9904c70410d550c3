"""From two arrays to one engine call: the part of a full convolution that a caller wants.

All indices are those of the *full* convolution of length L + E - 1 per axis, E being the extent of
the kernel with its dilation: a mode is only a window of it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..arguments import Size, as_sizes, as_threads
from ..arrays import as_operand, check_out
from ..calls import ConvCall
from ..choose import plan_conv
from ..cpu.fourier_engine import scipy_fft, tile
from ..cpu.launch import thread_count
from ..geometry import ConvGeometry
from ..machine import machine
from ..plan import Decision, Verdict
from ..sizes import same_size, window_extent

MODES = ("full", "same", "valid")
METHODS = ("auto", "direct", "fft")
FLOATS = "fdFD"
_ndarray = np.ndarray
INTEGERS = "bhilqBHILQ"

# Algorithms that spread a NaN or infinity beyond the windows that hold it.
SPREADING = ("fourier", "winograd_f4", "winograd_f2")

# Below so many multiply-adds SciPy's own call is over before ours has looked at its arguments.
# Measured by `python -m benchmarks.signal`; the tests set it to 0.
SMALLEST = 20_000


class _SciPy:
    """Functions of `scipy.signal`, which is imported when a call is first handed on to it."""

    def __getattr__(self, name: str) -> Any:
        import scipy.signal

        function = getattr(scipy.signal, name)
        setattr(self, name, function)
        return function


scipy_signal = _SciPy()


class Border(NamedTuple):
    """What lies beyond the first operand: as `numpy.pad` calls it, and the value of a constant."""

    mode: str
    value: Any = 0


ZEROS = Border("constant")


# Signals of fewer samples, and so few tiles, are transformed whole; on several threads above so
# many samples. Two cores of Zen 4, 2026-11.
LEAST_TILED, FEWEST_TILES, LEAST_THREADED = 100_000, 4, 300_000

# SciPy's spectra of the whole take so long to begin with, and for n samples so many times
# n * log2(n), twice that where what is transformed outgrows the second-level cache. Estimates of
# sums are low by so much. (Zen 3, 2026-11: from 40 x 40 to 300 x 300 and 15 to 95 taps a side,
# rows of 2,048 to 65,536 samples, volumes up to 64 a side.)
SPECTRA_CALL, SPECTRA = 60e-6, {"f": 0.95e-9, "d": 1.4e-9}
SUMS_TAKE = 1.25

# NumPy sums up to so many taps of a row at the speed of memory. Of n samples it makes a sum of k
# taps in the time of TAPS + k of ours; below SMALLEST_ROW of n * (TAPS + k) that is less than our
# call takes before it sums anything (9 to 14 ns a sum against 19 us on Zen 4, 16 against 75 on
# Zen 3, 2026-11).
FEWEST_TAPS, TAPS, SMALLEST_ROW = 8, 225, 1_000_000


class Window(NamedTuple):
    """Part of a full convolution: per axis the first index, how many, and the step between."""

    first: tuple[int, ...]
    total: tuple[int, ...]
    step: tuple[int, ...]


def window(
    mode: str,
    size: tuple[int, ...],
    extent: tuple[int, ...],
    step: tuple[int, ...],
    late: bool = False,
) -> Window:
    """What a mode keeps of the full convolution of arrays of these sizes.

    An even kernel has no middle: "same" takes the earlier cell, or if `late` the later one.
    """
    if mode == "full":
        first, whole = (0,) * len(size), [n + e - 1 for n, e in zip(size, extent)]
    elif mode == "same":
        first, whole = tuple((e - 1 + late) // 2 for e in extent), list(size)
    else:
        first = tuple(min(n, e) - 1 for n, e in zip(size, extent))
        whole = [abs(n - e) + 1 for n, e in zip(size, extent)]
    return Window(first, tuple(map(same_size, whole, step)), step)


def extended(
    x: np.ndarray, extents: tuple[int, ...], part: Window, border: Border
) -> tuple[np.ndarray, Window]:
    """A signal with the border that a window meets, and the same window of that."""
    pads = [(0, 0)] * (x.ndim - len(extents))
    for n, e, first, count, step in zip(x.shape[len(pads) :], extents, *part):
        pads.append((max(0, e - 1 - first), max(0, first + (count - 1) * step + 1 - n)))
    lows = (low for low, _ in pads[-len(extents) :])
    moved = part._replace(first=tuple(map(sum, zip(part.first, lows))))
    if border.mode == "constant":
        return np.pad(x, pads, constant_values=border.value), moved
    return np.pad(x, pads, border.mode), moved  # type: ignore[call-overload]


def flipped(x: np.ndarray) -> np.ndarray:
    """Backwards along every axis."""
    return x[(slice(None, None, -1),) * x.ndim]


@functools.lru_cache(maxsize=512)
def _geometry(
    op: str,
    source: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> ConvGeometry:
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    return ConvGeometry.forward(op, len(kernel), source, (1, 1, *kernel), **options)


@functools.lru_cache(maxsize=512)
def _call(
    op: str, geometry: ConvGeometry, dtype: np.dtype, chosen: str, strides: tuple[Size, Size]
) -> ConvCall:
    """For samples and a kernel of these strides."""
    like = np.empty(geometry.input_shape[:2] + (0,) * geometry.rank)
    return ConvCall(op, "forward", geometry, dtype, like, algorithm=chosen)


def run(
    op: str,
    geometry: ConvGeometry,
    chosen: str,
    source: np.ndarray,
    kernel: np.ndarray,
    threads: int | None,
) -> np.ndarray:
    """The convolution of samples (N, 1, *spatial) with a kernel (*kernel)."""
    call = _call(op, geometry, source.dtype, chosen, (source.strides, kernel.strides))
    return call(source, kernel[None, None], threads=threads)


@functools.lru_cache(maxsize=512)
def algorithm(geometry: ConvGeometry, dtype: np.dtype, local: bool) -> str:
    """The fastest one by its estimate; if `local`, of those that keep a NaN in its windows.

    Winograd's are never taken: the callers of these doors have not asked for their rounding.
    """
    decision, _ = plan_conv("signal", geometry, dtype, "forward")
    if decision.algorithm not in SPREADING:
        return decision.algorithm
    return _fastest(decision, SPREADING if local else SPREADING[1:]).algorithm


def _fastest(decision: Decision, without: tuple[str, ...]) -> Verdict:
    possible = (
        v
        for v in decision.verdicts
        if v.refusal is None and v.doubt is None and v.algorithm not in without
    )
    return min(possible, key=lambda v: v.seconds)


@functools.lru_cache(maxsize=512)
def few_tiles(geometry: ConvGeometry, dtype: np.dtype) -> bool:
    """Whether spectra are so few that tiles gain nothing over SciPy's, of the whole at once."""
    g = geometry
    real = np.dtype(dtype.char.lower()).name
    small = g.batch * math.prod(g.in_size) < LEAST_TILED
    return small or math.prod(tile(g, real, "forward").tiles) <= FEWEST_TILES


@functools.lru_cache(maxsize=512)
def whole_is_faster(geometry: ConvGeometry, dtype: np.dtype) -> bool:
    """Whether SciPy's spectra of the whole, on one thread, take less time than ours and sums."""
    if not few_tiles(geometry, dtype):
        return False
    if algorithm(geometry, dtype, False) in SPREADING:
        return True
    g, kind = geometry, np.dtype(dtype.char.lower())
    size = g.batch * math.prod(map(int.__add__, g.in_size, g.kernel_size))
    seconds = size * math.log2(size) * SPECTRA[kind.char]
    if 2 * size * kind.itemsize > machine().level2_bytes:
        seconds *= 2
    decision, _ = plan_conv("signal", geometry, dtype, "forward")
    return SPECTRA_CALL + seconds < SUMS_TAKE * _fastest(decision, SPREADING).seconds


@functools.lru_cache(maxsize=512)
def left_to_scipy(one: tuple[int, ...], other: tuple[int, ...], dtype: np.dtype, mode: str) -> bool:
    """Whether method "fft" for arrays of these shapes ends in SciPy's call, on one thread."""
    sizes = sorted((one, other), key=math.prod)
    kernel, x = (np.broadcast_to(np.zeros((), dtype), size) for size in sizes)
    part = window(mode, one, other, (1,) * x.ndim)
    _, geometry = lower("convolve", x, kernel, part, (1,) * x.ndim)
    return x.size <= LEAST_THREADED and whole_is_faster(geometry, dtype)


def _whole_spectra(
    op: str, x: np.ndarray, kernel: np.ndarray, part: Window, threads: int | None
) -> np.ndarray:
    """A window of the correlation, out of SciPy's full convolution."""
    before, threaded = x.ndim - kernel.ndim, x.size > LEAST_THREADED
    function = getattr(scipy_signal, op if op == "oaconvolve" else "fftconvolve")
    turned = flipped(kernel)[(None,) * before]
    with scipy_fft().set_workers(thread_count(math.inf if threaded else 0, threads)):
        full = function(x, turned, "full", tuple(range(before, x.ndim)))
    cuts = (slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(*part))
    return np.ascontiguousarray(full[(slice(None),) * before + tuple(cuts)])


def is_finite(*arrays: np.ndarray) -> bool:
    """Whether no element is NaN or infinite; a sum that overflows counts as infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(bool(np.isfinite(x.sum())) for x in arrays)


def correlate_part(
    op: str,
    x: np.ndarray,
    kernel: np.ndarray,
    part: Window,
    *,
    dilation: tuple[int, ...] | None = None,
    method: str = "auto",
    threads: int | None = None,
) -> np.ndarray:
    """A window of the full correlation of `x` (*batch, *spatial) with `kernel` (*spatial).

    Both are of one dtype; one to three spatial axes. `method` "direct" sums products; "fft" and
    "auto" take spectra where they are faster, "auto" only if all numbers are finite.
    """
    if x.dtype.kind in "iu":
        exact = exact_dtype(x, kernel)
        if exact != x.dtype:
            y = correlate_part(
                op,
                x.astype(exact),
                kernel.astype(exact),
                part,
                dilation=dilation,
                method="direct",
                threads=threads,
            )
            return y.astype(np.int64).astype(x.dtype, copy=False)
        method = "direct"
    source, geometry = lower(op, x, kernel, part, dilation or (1,) * kernel.ndim)
    chosen = algorithm(geometry, x.dtype, method == "direct")
    whole = method != "direct" and dilation is None and whole_is_faster(geometry, x.dtype)
    spreads = whole or chosen in SPREADING
    if method == "auto" and spreads and not is_finite(source, kernel):
        whole, chosen = False, algorithm(geometry, x.dtype, True)
    if whole:
        return _whole_spectra(op, x, kernel, part, threads)
    if x.dtype.kind == "c" and chosen not in SPREADING:
        y = _complex(op, geometry, source, kernel, threads)
    else:
        y = run(op, geometry, chosen, source, kernel, threads)
    return y.reshape(*x.shape[: x.ndim - kernel.ndim], *part.total)


def lower(
    op: str,
    x: np.ndarray,
    kernel: np.ndarray,
    part: Window,
    dilation: tuple[int, ...],
) -> tuple[np.ndarray, ConvGeometry]:
    """The samples that a window meets, as (N, 1, *spatial), and the convolution that makes it."""
    before = x.ndim - kernel.ndim
    extents = tuple(map(window_extent, kernel.shape, dilation))
    cuts, padding = [], []
    for n, e, first, count, step in zip(x.shape[before:], extents, *part):
        low, high = first - (e - 1), first + (count - 1) * step  # first and last sample
        cuts.append(slice(max(low, 0), max(high + 1, 0)))
        padding.append((max(-low, 0), max(high + 1 - n, 0)))
    source = x[(slice(None),) * before + tuple(cuts)]
    source = source.reshape(math.prod(x.shape[:before]), 1, *source.shape[before:])
    geometry = _geometry(op, source.shape, kernel.shape, part.step, tuple(padding), tuple(dilation))
    return source, geometry


def _complex(
    op: str, geometry: ConvGeometry, x: np.ndarray, kernel: np.ndarray, threads: int | None
) -> np.ndarray:
    """Real and imaginary parts as two signals, filtered by each part of the kernel.

    An algorithm for one output channel then serves complex numbers too.
    """
    parts = np.concatenate([x.real, x.imag])
    double = replace(geometry, batch=2 * geometry.batch)
    real = algorithm(double, parts.dtype, True)

    def filtered(weight: np.ndarray) -> np.ndarray:
        y = run(op, double, real, parts, np.ascontiguousarray(weight), threads)
        return y.reshape(2, *geometry.output_shape)

    y = np.empty(geometry.output_shape, x.dtype)
    y.real, y.imag = filtered(kernel.real)
    if kernel.imag.any():
        turned = filtered(kernel.imag)
        y.real -= turned[1]
        y.imag += turned[0]
    return y


# ---- integers -------------------------------------------------------------------------------


def exact_dtype(x: np.ndarray, kernel: np.ndarray) -> np.dtype:
    """The fastest type in which no sum of products of these integers can be rounded."""
    largest = max(-float(x.min()), float(x.max())) * float(abs(kernel.astype(float)).sum())
    for dtype in (np.float32, np.float64):
        if largest < 2.0 ** np.finfo(dtype).nmant:  # half of what fits: these are rounded too
            return np.dtype(dtype)
    return x.dtype


# ---- what the doors have in common ----------------------------------------------------------


class Extras(NamedTuple):
    """What SciPy's calls have not."""

    batched: bool
    stride: Any
    dilation: Any
    threads: Any
    out: Any


def acceptable(in1: Any, in2: Any, spectra: bool = False) -> bool:
    """Whether two operands are for the engine; SciPy takes, or refuses, everything else.

    With `spectra` SciPy would transform them, which takes longer than NumPy's sums of short rows.
    """
    if not (type(in1) is type(in2) is _ndarray) or in1.size * in2.size < SMALLEST:
        return False
    if not 0 < in1.ndim == in2.ndim <= 3:
        return False
    if SMALLEST and in1.ndim == 1 and _numpy_is_fast(in1.size, in2.size, spectra):
        return False
    return bool(in1.size and in2.size) and np.result_type(in1, in2).char in FLOATS + INTEGERS


def _numpy_is_fast(one: int, other: int, spectra: bool) -> bool:
    taps, samples = sorted((one, other))
    return taps <= FEWEST_TAPS or not (spectra or samples * (TAPS + taps) >= SMALLEST_ROW)


def pair(in1: np.ndarray, in2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in their common dtype, native and aligned."""
    dtype = np.result_type(in1, in2).newbyteorder("=")
    if in1.dtype == in2.dtype == dtype and in1.flags.aligned and in2.flags.aligned:
        return in1, in2
    return np.require(in1, dtype, "A"), np.require(in2, dtype, "A")


def filtered(
    op: str,
    in1: np.ndarray,
    in2: np.ndarray,
    mode: str,
    method: str,
    correlate: bool,
    border: Border = ZEROS,
    late: bool = False,
) -> np.ndarray:
    """SciPy's convolution or correlation of two acceptable arrays, the smaller one as kernel."""
    if mode == "valid" and not nested(in1.shape, in2.shape):
        raise ValueError(
            f"{op}: for mode 'valid' one input must be at least as large as the other in every "
            f"dimension, not {in1.shape} and {in2.shape}"
        )
    x, kernel = pair(in1, in2)
    sums = method == "direct" or border != ZEROS or late or x.dtype.kind in "iu"
    spectra = not sums and left_to_scipy(x.shape, kernel.shape, x.dtype, mode)
    if spectra and (method == "fft" or is_finite(x, kernel)):
        if correlate:
            return scipy_signal.correlate(x, kernel, mode, "fft")
        return scipy_signal.fftconvolve(x, kernel, mode)
    if correlate and kernel.dtype.kind == "c":
        kernel = kernel.conj()
    part = window(mode, x.shape, kernel.shape, (1,) * x.ndim, late)
    if border != ZEROS and mode != "valid":
        x, part = extended(x, kernel.shape, part, border)
    elif x.size < kernel.size:  # convolution commutes: the second operand may be the signal
        signal = flipped(kernel) if correlate else kernel
        return correlate_part(op, signal, flipped(x), part, method=method)
    return correlate_part(op, x, kernel if correlate else flipped(kernel), part, method=method)


def nested(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether one size is at least as large as the other along every axis."""
    pairs = list(zip(one, other))
    return all(a >= b for a, b in pairs) or all(a <= b for a, b in pairs)


def filtered_with_extras(
    op: str,
    in1: Any,
    in2: Any,
    mode: str,
    method: str,
    correlate: bool,
    extras: Extras,
    border: Border = ZEROS,
    late: bool = False,
) -> np.ndarray:
    """The same for batches, with steps and holes; `in2` is the kernel."""
    x, kernel = as_operand(op, "in1", in1), as_operand(op, "in2", in2)
    rank, before = kernel.ndim, x.ndim - kernel.ndim
    if not 1 <= rank <= 3:
        raise ValueError(f"{op}: in2 must have 1 to 3 dimensions, not shape {kernel.shape}")
    if before < 0 or (before and not extras.batched):
        raise ValueError(
            f"{op}: in1 and in2 should have the same dimensionality, or in1 more with "
            f"batched=True, not {x.ndim} and {rank}"
        )
    if mode not in MODES:
        raise ValueError(f"{op}: mode must be one of {MODES}, not {mode!r}")
    if method not in METHODS:
        raise ValueError(f"{op}: method must be one of {METHODS}, not {method!r}")
    if not kernel.size or 0 in x.shape[before:]:
        raise ValueError(f"{op}: inputs must not be empty, not {x.shape} and {kernel.shape}")
    stride = as_sizes(op, "stride", extras.stride, rank, at_least=1)
    dilation = as_sizes(op, "dilation", extras.dilation, rank, at_least=1)
    threads = as_threads(op, extras.threads)
    extents = tuple(map(window_extent, kernel.shape, dilation))
    if mode == "valid" and any(e > n for e, n in zip(extents, x.shape[before:])):
        raise ValueError(
            f"{op}: for mode 'valid' in1 {x.shape[before:]} must be at least as large as in2 with "
            f"its dilation {extents}"
        )
    part = window(mode, x.shape[before:], extents, stride, late)
    shape = (*x.shape[:before], *part.total)
    if extras.out is not None:
        check_out(op, extras.out, shape, np.result_type(x, kernel), x, kernel)
    x, kernel = pair(x, kernel)
    if border != ZEROS:
        x, part = extended(x, extents, part, border)
    if correlate and kernel.dtype.kind == "c":
        kernel = kernel.conj()
    if not correlate:
        kernel = flipped(kernel)
    if not x.size:
        y = np.empty(shape, x.dtype)
    else:
        y = correlate_part(op, x, kernel, part, dilation=dilation, method=method, threads=threads)
    if extras.out is None:
        return y
    extras.out[...] = y
    return extras.out
