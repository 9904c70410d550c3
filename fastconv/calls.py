"""Convolutions as calls: an operation on arrays of known shapes and dtypes, ready to run."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import as_threads
from .arrays import check_out, is_channels_last, maker_of
from .choose import plan_conv
from .cpu.engine_steps import engine_steps
from .cpu.program import noted
from .geometry import ConvGeometry
from .remembered import Calls


class ConvCall:
    """One of the three operations on arrays like those it was made from.

    `source` has the batch axis if the geometry is batched; `other` is the weight, or the output
    gradient (with its batch axis) of a weight gradient. The result is in the memory format of
    `source`.
    """

    def __init__(
        self,
        op: str,
        operation: str,
        geometry: ConvGeometry,
        dtype: np.dtype,
        source: np.ndarray,
        activation: str | None = None,
        algorithm: str = "auto",
    ) -> None:
        self.dtype, self._op = dtype, op
        self._lone, self._empty = not geometry.batched, geometry.batch == 0
        last = is_channels_last(source[None] if self._lone else source)
        _, self._engine = plan_conv(
            op, geometry, dtype, operation, activation, algorithm, channels_last=last
        )
        self._shape = {
            "forward": geometry.output_shape,
            "input_gradient": geometry.input_shape,
            "weight_gradient": geometry.weight_shape,
        }[operation]
        images = operation != "weight_gradient"
        self._make = maker_of(self._shape, dtype, last and images)
        self._unbatch = self._lone and images

    def __call__(
        self,
        source: np.ndarray,
        other: np.ndarray,
        bias: np.ndarray | None = None,
        out: Any = None,
        threads: Any = None,
    ) -> np.ndarray:
        """The result, in `out` if it is given; a bias has the length of the output channels."""
        op, dtype, unbatch = self._op, self.dtype, self._unbatch
        if threads is not None:
            threads = as_threads(op, threads)
        if out is None:
            target = self._make()
        else:
            shape = self._shape[1:] if unbatch else self._shape
            check_out(op, out, shape, dtype, source, other, bias)
            target = out[None] if unbatch else out
        x = (source[None] if self._lone else source).astype(dtype, copy=False)
        other = other.astype(dtype, copy=False)
        if bias is not None:
            bias = bias.astype(dtype, copy=False)
        if noted(engine_steps, self._engine, x, other, bias, target):
            pass
        elif self._empty:
            target[...] = 0
        else:
            self._engine.run(x, self._engine.pack(other, bias, once=True), target, threads)
        if out is not None:
            return out
        return target[0] if unbatch else target


calls = Calls[ConvCall]()
