"""One thing to time: a case with batch, dtype and operation, its data, and what must come out."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import fastconv
from benchmarks import exact
from benchmarks.cases import ConvCase, PoolCase
from fastconv import reference
from fastconv.geometry import AdaptiveGeometry, ConvGeometry, PoolGeometry

OPERATIONS = ("forward", "input_gradient", "weight_gradient", "forward_and_gradient")
MEMORY_FORMATS = ("channels_first", "channels_last")
DTYPES = ("float32", "float64")
CONV_OPERANDS = {  # x input, w weight, dy gradient of the output
    "forward": ("x", "w"),
    "input_gradient": ("w", "dy"),
    "weight_gradient": ("x", "dy"),
}
NORM = 2.0  # of lp pooling
# A batch repeats so many images, so that the slow reference meets no more of them.
DISTINCT_IMAGES = 3


TRANSFORMS = ("fft", "fourier", "winograd")  # in the names of algorithms and rivals
# A transform mixes each element with its neighbours, so its error is relative to the largest one.
# Winograd F(4x4, 3x3) was measured at up to 85 eps.
TRANSFORM_ERROR = 256  # eps of the dtype


class WrongResult(Exception):
    """A side computed something else than the problem asks for."""


@dataclass(frozen=True)
class Side:
    """One way of computing a problem, ready to be called."""

    name: str
    call: Callable[[], Any]  # returns what numpy.asarray takes, in the shape of the result
    planned: bool = False  # weights were handed over before, as in `fastconv.plan`
    algorithm: str = ""

    @property
    def transforms(self) -> bool:
        """Whether sums are not taken element by element, but of transformed elements."""
        return any(word in f"{self.name} {self.algorithm}" for word in TRANSFORMS)


@dataclass(frozen=True)
class Problem:
    """A case with everything that was left open."""

    case: ConvCase | PoolCase
    batch: int = 1
    dtype: str = "float32"
    operation: str = "forward"

    @property
    def pools(self) -> bool:
        """Whether this is a pooling layer."""
        return isinstance(self.case, PoolCase)

    @property
    def transposed(self) -> bool:
        """Whether the layer is a transposed convolution."""
        return isinstance(self.case, ConvCase) and self.case.transposed

    @property
    def missing(self) -> str | None:
        """Why there is nothing to time, if so."""
        case = self.case
        if not isinstance(case, PoolCase):
            joined = self.operation == "forward_and_gradient"
            return "forward and gradient are timed together for pooling only" if joined else None
        if self.operation == "weight_gradient":
            return "pooling has no weights"
        if self.operation != "forward" and case.pool == "lp":
            return "no rival has the gradient of lp pooling by itself"
        door = f"{case.pool}_pool{case.rank}d"
        return None if hasattr(fastconv, door) else f"fastconv.{door} does not exist"

    @functools.cached_property
    def geometry(self) -> Any:
        """Sizes and options: a ConvGeometry, of the forward problem, or that of a pooling."""
        case, shape = self.case, self.case.input_shape(self.batch)
        if isinstance(case, PoolCase):
            if case.adaptive:
                return AdaptiveGeometry.adaptive(case.name, case.rank, shape, case.kernel)
            return PoolGeometry.sliding(
                case.name, case.rank, shape, case.kernel, stride=case.stride, padding=case.padding
            )
        options: dict[str, Any] = {
            "stride": case.stride,
            "padding": case.padding,
            "dilation": case.dilation,
            "groups": case.groups,
        }
        if case.transposed:
            options["output_padding"] = case.output_padding
            return ConvGeometry.transposed(
                case.name, case.rank, shape, case.weight_shape, **options
            )
        return ConvGeometry.forward(case.name, case.rank, shape, case.weight_shape, **options)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(N, C, *size) of the layer's input."""
        return self.case.input_shape(self.batch)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, K, *size) of the layer's output."""
        g = self.geometry
        return g.input_shape if self.transposed else g.output_shape

    @property
    def flops(self) -> float:
        """Floating-point operations of a convolution by its definition; 0 of a pooling."""
        return 0.0 if self.pools else 2.0 * self.geometry.multiply_adds

    @property
    def moved_bytes(self) -> float:
        """Bytes that must be read and written at least once, each once."""
        size = np.dtype(self.dtype).itemsize
        x, y = math.prod(self.input_shape), math.prod(self.output_shape)
        if isinstance(self.case, ConvCase):
            return float(size * (x + y + math.prod(self.case.weight_shape)))
        joined = self.operation == "forward_and_gradient"
        places = 8 * y if self.case.keeps_maxima and self.operation != "forward" else 0
        return float((1 + joined) * (size * (x + y) + places))

    @property
    def work(self) -> float:
        """Floating-point operations of a convolution, bytes in and out of a pooling."""
        return self.moved_bytes if self.pools else self.flops

    @functools.cached_property
    def operands(self) -> Mapping[str, np.ndarray]:
        """The arrays of the operation, channels-first; the same on every run."""
        few = self._few
        if few is not self:
            numbers = np.arange(self.batch) % few.batch
            return {key: a if key == "w" else a[numbers] for key, a in few.operands.items()}
        rng = np.random.default_rng(zlib.crc32(self.case.name.encode()))
        shapes = {"x": self.input_shape, "dy": self.output_shape}
        if isinstance(self.case, ConvCase):
            shapes["w"] = self.case.weight_shape
            names = CONV_OPERANDS[self.operation]
        else:
            names = {
                "forward": ("x",),
                "input_gradient": ("dy",),
                "forward_and_gradient": ("x", "dy"),
            }[self.operation]
            if self.operation == "input_gradient" and self.case.keeps_maxima:
                names = ("x", "dy")  # x for the indices
        arrays = {name: rng.standard_normal(shapes[name]).astype(self.dtype) for name in names}
        if self.operation == "input_gradient" and "x" in arrays:
            arrays["indices"] = reference.max_pool(self.geometry, arrays.pop("x"))[1]
        return arrays

    @functools.cached_property
    def _few(self) -> Problem:
        """The same with its distinct images only."""
        few = self.batch > DISTINCT_IMAGES
        return replace(self, batch=DISTINCT_IMAGES) if few else self

    @functools.cached_property
    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        """The result in float64, and the largest error allowed in each element.

        Of a batch only the distinct images, unless the result is summed over all of them.

        A sum of n products in any order errs by at most gamma_n * sum |a| |b|, where
        gamma_n = n u / (1 - n u) and u is half an ulp of 1 (Higham, Accuracy and Stability of
        Numerical Algorithms, 2nd edition, section 3.1). The float64 result errs in the same way.
        """
        wide = {
            key: array if key == "indices" else array.astype(np.float64)
            for key, array in self._few.operands.items()
        }
        value = self._few._compute(wide, self.batch)
        maxima = isinstance(self.case, PoolCase) and self.case.keeps_maxima
        if maxima and self.operation == "forward":
            return value, np.zeros_like(value)
        places = ("x", "indices") if maxima else ()  # which say where a gradient goes
        sizes = {key: array if key in places else np.abs(array) for key, array in wide.items()}
        scale = self._few._compute(sizes, self.batch)
        return value, scale * (_gamma(self._terms, self.dtype) + _gamma(self._terms, "float64"))

    @property
    def _terms(self) -> int:
        """Products in one element of the result, at most."""
        g, case = self.geometry, self.case
        if isinstance(case, PoolCase):
            taps = math.prod(case.kernel)
            if case.adaptive:
                taps = math.prod(-(-size // bins) + 1 for size, bins in zip(case.size, case.kernel))
            return taps + 8  # the division, or square and root
        taps = math.prod(g.kernel_size)
        if self.operation == "weight_gradient":
            return self.batch * int(np.prod(g.out_size))
        backward = (self.operation == "input_gradient") != case.transposed
        return taps * (g.out_channels if backward else g.in_channels) // g.groups

    def _compute(self, arrays: Mapping[str, np.ndarray], batch: int) -> np.ndarray:
        """In the precision of the arrays; `batch` images, repeating these, are summed over."""
        g, case = self.geometry, self.case
        if isinstance(case, PoolCase):
            return _compute_pool(g, case, self.operation, arrays)
        x, w, dy = (arrays.get(key) for key in ("x", "w", "dy"))
        if self.operation == "weight_gradient":
            assert x is not None and dy is not None
            repeats = np.bincount(np.arange(batch) % self.batch)
            dy = dy * repeats.reshape(-1, *(1,) * (dy.ndim - 1))
            return exact.weight_gradient(g, *((dy, x) if case.transposed else (x, dy)))
        if (self.operation == "input_gradient") == case.transposed:
            return exact.forward(g, x if dy is None else dy, w)
        return exact.input_gradient(g, w, x if dy is None else dy)

    def forget(self) -> None:
        """Let go of the arrays; they are made again when they are asked for."""
        for name in ("operands", "expected", "_few"):
            self.__dict__.pop(name, None)

    def check(self, side: Side, result: Any) -> float:
        """Largest error relative to the largest element.

        Raises WrongResult if an element errs by more than its bound, is not finite, or is missing.
        """
        value, allowed = self.expected
        largest = float(np.abs(value).max())
        if side.transforms:
            allowed = allowed + TRANSFORM_ERROR * np.finfo(self.dtype).eps * largest
        summed = self.operation == "weight_gradient"
        shape = value.shape if summed else (self.batch, *value.shape[1:])
        found = np.asarray(result)
        if found.size != math.prod(shape) or found.dtype != self.dtype:
            raise WrongResult(
                f"{side.name}: {self.case.name}: result is {found.dtype} {found.shape}, expected "
                f"{self.dtype} {shape}"
            )
        found = found.reshape(shape)
        if summed:
            return self._check(side, found, value, allowed) / largest
        return (
            max(
                self._check(side, found[i], value[i % len(value)], allowed[i % len(value)], (i,))
                for i in range(self.batch)
            )
            / largest
        )

    def _check(
        self,
        side: Side,
        found: np.ndarray,
        value: np.ndarray,
        allowed: np.ndarray,
        image: tuple[int, ...] = (),
    ) -> float:
        """The largest error, within what is allowed."""
        error = np.abs(found - value)
        if not (error <= allowed).all():
            worst = np.unravel_index(
                np.argmax(np.nan_to_num(error - allowed, nan=np.inf)), value.shape
            )
            raise WrongResult(
                f"{side.name}: {self.case.name}: element {(*image, *map(int, worst))} is "
                f"{found[worst]}, expected {value[worst]:.9g} within {allowed[worst]:.1e}"
            )
        return float(error.max())


def _compute_pool(
    g: Any, case: PoolCase, operation: str, arrays: Mapping[str, np.ndarray]
) -> np.ndarray:
    if operation == "forward":
        x = arrays["x"]
        if case.keeps_maxima:
            return reference.max_pool(g, x)[0]
        return reference.lp_pool(g, x, NORM) if case.pool == "lp" else reference.avg_pool(g, x)
    if not case.keeps_maxima:
        return reference.avg_pool_input(g, arrays["dy"])
    indices = arrays.get("indices")
    if indices is None:
        indices = reference.max_pool(g, arrays["x"])[1]
    return reference.max_pool_input(arrays["dy"], indices, g.in_size)


def _gamma(terms: int, dtype: str) -> float:
    roundings = terms * float(np.finfo(dtype).eps) / 2
    return roundings / (1 - roundings)


def in_format(array: np.ndarray, memory_format: str) -> np.ndarray:
    """An (N, C, *spatial) array in a memory format."""
    convert = fastconv.channels_last if memory_format == "channels_last" else np.ascontiguousarray
    return convert(array)
