"""Convolutions as calls: an operation on arrays of known shapes and dtypes, ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arguments import as_threads
from .arrays import check_out, is_channels_last, maker_of
from .choose import plan_conv
from .cpu.engine_steps import engine_steps
from .cpu.fused import Fused, as_parameters, run_fused
from .cpu.launch import SERIAL_WORK
from .cpu.program import noted, rehearsing
from .cpu.replay import Again
from .geometry import ConvGeometry
from .remembered import Calls


class ConvCall:
    """One of the three operations on arrays of the strides and dtypes of those it was made for.

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
        epilogue: Fused | None = None,
    ) -> None:
        self.dtype, self._op, self._epilogue = dtype, op, epilogue
        self._lone, self._empty = not geometry.batched, geometry.batch == 0
        last = is_channels_last(source[None] if self._lone else source)
        _, self._engine = plan_conv(
            op,
            geometry,
            dtype,
            operation,
            activation,
            algorithm,
            channels_last=last,
            epilogue=epilogue,
        )
        self._shape = {
            "forward": geometry.output_shape,
            "input_gradient": geometry.input_shape,
            "weight_gradient": geometry.weight_shape,
        }[operation]
        images = operation != "weight_gradient"
        self._make = maker_of(self._shape, dtype, last and images)
        self._unbatch = self._lone and images
        self._small = geometry.multiply_adds < SERIAL_WORK and epilogue is None
        self.again = Again(engine_steps, self._engine, None, ())

    def __call__(
        self,
        source: np.ndarray,
        other: np.ndarray,
        bias: np.ndarray | None = None,
        out: Any = None,
        threads: Any = None,
        parameters: Sequence[np.ndarray] = (),
    ) -> np.ndarray:
        """The result, in `out` if it is given; a bias has the length of the output channels.

        `parameters` are those of the epilogue, unchecked.
        """
        op, dtype, unbatch = self._op, self.dtype, self._unbatch
        plainly = self._small and out is None and threads is None and not rehearsing()
        if threads is not None:
            threads = as_threads(op, threads)
        if out is None:
            target = self._make()
            if plainly and self.again.replay is not None:
                self.again.replay(source, other, bias, target)
                return target[0] if unbatch else target
        else:
            shape = self._shape[1:] if unbatch else self._shape
            check_out(op, out, shape, dtype, source, other, bias, *parameters)
            target = out[None] if unbatch else out
        if plainly:  # what is cast before each call cannot be replayed
            given = source, other, bias
            plainly = all(array is None or array.dtype == dtype for array in given)
        x = (source[None] if self._lone else source).astype(dtype, copy=False)
        other = other.astype(dtype, copy=False)
        if bias is not None:
            bias = bias.astype(dtype, copy=False)
        fused = self._epilogue
        if fused is not None:
            whole = self._shape[1:] if unbatch else self._shape
            found = as_parameters(op, parameters, self._shape[1], whole, dtype)
            parameters = [array[None] if unbatch and array.ndim > 1 else array for array in found]
        if noted(engine_steps, self._engine, x, other, bias, target, fused, parameters):
            pass
        elif self._empty:
            target[...] = 0
        else:
            if plainly:
                self.again.show(x, other, bias, target)
            if fused is None:
                self._engine.run(x, self._engine.pack(other, bias, once=True), target, threads)
            else:
                packed = self._engine.pack(other, bias)
                run_fused(self._engine, x, packed, target, threads, fused, parameters)
        if out is not None:
            return out
        return target[0] if unbatch else target


calls = Calls[ConvCall]()
