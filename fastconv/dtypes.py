"""Element types that kernels do not know, by way of those they do.

Each class wraps an engine and is one: it keeps the protocol of `plan.Engine`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .arrays import empty, is_channels_last
from .geometry import ConvGeometry
from .plan import Engine

KINDS = {"i": "integer", "u": "integer", "f": "floating", "c": "complex"}


def result_dtype(op: str, names: tuple[str, str], a: np.ndarray, b: np.ndarray) -> np.dtype:
    """`numpy.result_type`, refusing to mix integers with floating-point numbers."""
    if (a.dtype.kind in "iu") != (b.dtype.kind in "iu"):
        raise TypeError(
            f"{op}: {names[0]} is {a.dtype} and {names[1]} is {b.dtype}; convert one of them, "
            "integers are not mixed with floating-point numbers"
        )
    result = np.result_type(a.dtype, b.dtype)
    if result.kind == "f" and a.dtype.kind in "iu":  # int64 with uint64
        raise TypeError(f"{op}: no integer type holds both {a.dtype} and {b.dtype}")
    return result


def check_bias(op: str, bias: np.ndarray, dtype: np.dtype, channels: int) -> None:
    """Refuse a bias that is not one number per channel or does not cast to the result's dtype."""
    if bias.shape != (channels,):
        raise ValueError(f"{op}: bias must have shape ({channels},), not {bias.shape}")
    if not np.can_cast(bias.dtype, dtype, "same_kind"):
        raise TypeError(f"{op}: bias is {bias.dtype}, which does not cast to {dtype}")


class Widened:
    """float16 computed in float32, integers in int64; the result is rounded, integers wrap."""

    def __init__(self, engine: Engine, compute: str) -> None:
        self._engine, self._compute = engine, np.dtype(compute)

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> Any:
        """See `plan.Engine`."""
        wide = None if bias is None else bias.astype(self._compute)
        return self._engine.pack(weight.astype(self._compute), wide, once)

    def run(self, source: np.ndarray, packed: Any, target: np.ndarray, threads: int | None) -> None:
        """See `plan.Engine`."""
        wide = empty(target.shape, self._compute, is_channels_last(target))
        self._engine.run(source.astype(self._compute), packed, wide, threads)
        np.copyto(target, wide, casting="unsafe")

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """See `plan.Engine`; the widened copies are not counted."""
        return self._engine.workspace_bytes(source, target, threads)


class ComplexParts:
    """A complex convolution as a real one of twice the channels: (real, imaginary) of each in turn.

    With x = a + ib and w = c + id every weight becomes the 2 x 2 matrix [[c, -d], [d, c]] of
    multiplication by w. The transposed problem uses the transposed matrices, those of conj(w), so
    that it multiplies by w too: no operation conjugates.
    """

    def __init__(self, engine: Engine, operation: str) -> None:
        self._engine, self._operation = engine, operation

    @staticmethod
    def geometry(geometry: ConvGeometry) -> ConvGeometry:
        """The real problem."""
        return replace(
            geometry,
            in_channels=2 * geometry.in_channels,
            out_channels=2 * geometry.out_channels,
        )

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> Any:
        """See `plan.Engine`."""
        if self._operation == "weight_gradient":
            return self._engine.pack(_parts(weight), None, once)
        c, d = weight.real, weight.imag
        if self._operation == "input_gradient":
            d = -d
        k, group_channels, *kernel = weight.shape
        matrix = np.empty((k, 2, group_channels, 2, *kernel), c.dtype)
        matrix[:, 0, :, 0], matrix[:, 0, :, 1] = c, -d
        matrix[:, 1, :, 0], matrix[:, 1, :, 1] = d, c
        pairs = None if bias is None else np.stack([bias.real, bias.imag], axis=1).ravel()
        real = matrix.reshape(2 * k, 2 * group_channels, *kernel)
        return self._engine.pack(real, pairs, once)

    def run(self, source: np.ndarray, packed: Any, target: np.ndarray, threads: int | None) -> None:
        """See `plan.Engine`."""
        first, second, *rest = target.shape
        if self._operation == "weight_gradient":
            matrix = np.empty((2 * first, 2 * second, *rest), target.real.dtype)
            self._engine.run(_parts(source), packed, matrix, threads)
            m = matrix.reshape(
                first, 2, second, 2, *rest
            )  # (K, part of dy, C/g, part of x, *kernel)
            target.real = m[:, 0, :, 0] - m[:, 1, :, 1]
            target.imag = m[:, 0, :, 1] + m[:, 1, :, 0]
            return
        parts = np.empty((first, 2 * second, *rest), target.real.dtype)
        self._engine.run(_parts(source), packed, parts, threads)
        pairs = parts.reshape(first, second, 2, *rest)
        target.real, target.imag = pairs[:, :, 0], pairs[:, :, 1]

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """See `plan.Engine`; the parts are not counted."""
        return self._engine.workspace_bytes(source, target, threads)


def _parts(x: np.ndarray) -> np.ndarray:
    """(N, C, *spatial) complex as (N, 2C, *spatial) real."""
    n, c, *spatial = x.shape
    return np.stack([x.real, x.imag], axis=2).reshape(n, 2 * c, *spatial)
