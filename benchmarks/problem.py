"""One thing to time: a case with batch, dtype and operation, its data, and what must come out."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastconv
from benchmarks import exact
from benchmarks.cases import ConvCase, PoolCase
from fastconv import reference
from fastconv.geometry import ConvGeometry, PoolGeometry

OPERATIONS = ("forward", "input_gradient", "weight_gradient")
MEMORY_FORMATS = ("channels_first", "channels_last")
OPERANDS = {  # x input, w weight, dy gradient of the output
    "forward": ("x", "w"),
    "input_gradient": ("w", "dy"),
    "weight_gradient": ("x", "dy"),
}


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
        return any(word in f"{self.name} {self.algorithm}" for word in ("fft", "winograd"))


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
    def missing(self) -> str | None:
        """Why there is nothing to time, if so."""
        case = self.case
        if isinstance(case, PoolCase):
            door = f"{case.kind}_pool{case.rank}d"
            if not hasattr(fastconv, door):
                return f"fastconv.{door} does not exist"
        if self.operation != "forward" and (self.pools or getattr(case, "transposed", False)):
            return "gradients are timed for plain convolutions only"
        return None

    @functools.cached_property
    def geometry(self) -> Any:
        """Sizes and options: a ConvGeometry, of the forward problem, or a PoolGeometry."""
        case, shape = self.case, self.case.input_shape(self.batch)
        if isinstance(case, PoolCase):
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
            return ConvGeometry.transposed(
                case.name,
                case.rank,
                shape,
                case.weight_shape,
                output_padding=case.output_padding,
                **options,
            )
        return ConvGeometry.forward(case.name, case.rank, shape, case.weight_shape, **options)

    @property
    def work(self) -> float:
        """Floating-point operations of a convolution, bytes in and out of a pooling."""
        g = self.geometry
        if isinstance(g, ConvGeometry):
            return 2.0 * g.multiply_adds
        cells = np.prod(g.input_shape) + np.prod(g.output_shape)
        return float(cells * np.dtype(self.dtype).itemsize)

    @functools.cached_property
    def operands(self) -> Mapping[str, np.ndarray]:
        """The arrays of the operation, channels-first; the same on every run."""
        g, case = self.geometry, self.case
        rng = np.random.default_rng(zlib.crc32(case.name.encode()))
        shapes = {"x": case.input_shape(self.batch)}
        if isinstance(g, ConvGeometry):
            shapes["w"], shapes["dy"] = g.weight_shape, g.output_shape
        names = OPERANDS[self.operation] if not self.pools else ("x",)
        return {name: rng.standard_normal(shapes[name]).astype(self.dtype) for name in names}

    @functools.cached_property
    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        """The result in float64, and the largest error allowed in each element.

        A sum of n products in any order errs by at most gamma_n * sum |a| |b|, where
        gamma_n = n u / (1 - n u) and u is half an ulp of 1 (Higham, Accuracy and Stability of
        Numerical Algorithms, 2nd edition, section 3.1). The float64 result errs in the same way.
        """
        wide = [array.astype(np.float64) for array in self.operands.values()]
        value = self._compute(*wide)
        if isinstance(self.case, PoolCase) and self.case.kind == "max":
            return value, np.zeros_like(value)
        scale = self._compute(*map(np.abs, wide))
        return value, scale * (_gamma(self._terms, self.dtype) + _gamma(self._terms, "float64"))

    @property
    def _terms(self) -> int:
        """Products in one element of the result, at most."""
        g, taps = self.geometry, int(np.prod(self.geometry.kernel_size))
        if isinstance(g, PoolGeometry):
            return taps + 1  # the division
        if self.operation == "weight_gradient":
            return g.batch * int(np.prod(g.out_size))
        backward = self.operation == "input_gradient" or getattr(self.case, "transposed", False)
        return taps * (g.out_channels if backward else g.in_channels) // g.groups

    def _compute(self, first: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
        g, case = self.geometry, self.case
        if second is None:
            maximum = isinstance(case, PoolCase) and case.kind == "max"
            return reference.max_pool(g, first)[0] if maximum else reference.avg_pool(g, first)
        if self.operation == "weight_gradient":
            return exact.weight_gradient(g, first, second)
        if self.operation == "input_gradient":
            return exact.input_gradient(g, first, second)
        if getattr(case, "transposed", False):
            return exact.input_gradient(g, second, first)  # (x, w) as gradient and weight
        return exact.forward(g, first, second)

    def forget(self) -> None:
        """Let go of the arrays; they are made again when they are asked for."""
        for name in ("operands", "expected"):
            self.__dict__.pop(name, None)

    def check(self, side: Side, result: Any) -> float:
        """Largest error relative to the largest element.

        Raises WrongResult if an element errs by more than its bound, is not finite, or is missing.
        """
        value, allowed = self.expected
        largest = float(np.abs(value).max())
        if side.transforms:
            allowed = allowed + TRANSFORM_ERROR * np.finfo(self.dtype).eps * largest
        found = np.asarray(result)
        if found.size != value.size or found.dtype != self.dtype:
            raise WrongResult(
                f"{side.name}: {self.case.name}: result is {found.dtype} {found.shape}, expected "
                f"{self.dtype} {value.shape}"
            )
        error = np.abs(found.reshape(value.shape) - value)
        if not (error <= allowed).all():
            worst = np.unravel_index(
                np.argmax(np.nan_to_num(error - allowed, nan=np.inf)), value.shape
            )
            raise WrongResult(
                f"{side.name}: {self.case.name}: element {tuple(map(int, worst))} is "
                f"{found.reshape(value.shape)[worst]}, expected {value[worst]:.9g} "
                f"within {allowed[worst]:.1e}"
            )
        return float(error.max() / largest)


def _gamma(terms: int, dtype: str) -> float:
    roundings = terms * float(np.finfo(dtype).eps) / 2
    return roundings / (1 - roundings)


def in_format(array: np.ndarray, memory_format: str) -> np.ndarray:
    """An (N, C, *spatial) array in a memory format."""
    convert = fastconv.channels_last if memory_format == "channels_last" else np.ascontiguousarray
    return convert(array)
