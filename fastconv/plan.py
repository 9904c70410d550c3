"""Decisions as values: which algorithm, why, at what cost, and a plan that holds packed weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from .arguments import Size
from .arrays import as_operand, check_out, empty, is_channels_last, maker_of
from .cpu.engine_steps import planned_steps
from .cpu.fused import Fused, as_parameters, run_fused
from .cpu.launch import SERIAL_WORK
from .cpu.replay import Again
from .geometry import ConvGeometry

# A plan replays small calls on arrays of so many layouts.
MOST_LAYOUTS = 4

OPERATIONS = ("forward", "input_gradient", "weight_gradient")


class Table(str):
    """Text that an interactive prompt shows as it is."""

    __repr__ = str.__str__


class Engine(Protocol):
    """What an algorithm makes of a geometry: see `cpu.engine`."""

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> Any:
        """Weights and bias in the order in which the algorithm reads them.

        If they are for `once`, the run may do a part of it.
        """

    def run(self, source: np.ndarray, packed: Any, target: np.ndarray, threads: int | None) -> None:
        """Fill `target`."""

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """Bytes needed beside arrays of these element strides."""


class Verdict(NamedTuple):
    """One row of the table: an algorithm, what speaks for and against it, its estimated cost."""

    algorithm: str
    refusal: str | None  # why it cannot do this problem
    doubt: str | None  # why it should be the slower choice
    advantage: str
    seconds: float
    flops: int
    moved_bytes: int


@dataclass(frozen=True)
class Decision:
    """The outcome of choosing: every row of the table, and the algorithm taken."""

    geometry: ConvGeometry
    operation: str
    dtype: str
    algorithm: str
    reason: str
    verdicts: tuple[Verdict, ...]
    times: Mapping[str, float] = field(default_factory=dict)  # seconds, of what was measured

    def _against(self, other: Verdict) -> str:
        """Why a possible algorithm was not taken."""
        if self.times:
            return "possible; measured" if other.algorithm in self.times else "possible"
        seconds = next(v.seconds for v in self.verdicts if v.algorithm == self.algorithm)
        if other.seconds < seconds:
            return "possible"
        return f"possible; {self.algorithm} should be faster"

    def table(self) -> Table:
        """The rows as aligned text."""
        g = self.geometry
        head = (
            f"{self.operation.replace('_', ' ')} of {g.input_shape} by {g.weight_shape} -> "
            f"{g.output_shape}, {self.dtype}, stride {g.stride}, padding {g.padding}, "
            f"dilation {g.dilation}, groups {g.groups}"
        )
        rows = [["", "algorithm", "MFLOP", "MB moved", "expected ms", "measured ms", "why"]]
        for v in self.verdicts:
            chosen = v.algorithm == self.algorithm
            against = v.refusal or v.doubt or self._against(v)
            cost = [f"{v.flops / 1e6:.2f}", f"{v.moved_bytes / 1e6:.2f}", f"{v.seconds * 1e3:.3f}"]
            time = f"{self.times[v.algorithm] * 1e3:.3f}" if v.algorithm in self.times else "-"
            numbers = ["-"] * 4 if v.refusal else [*cost, time]
            why = self.reason if chosen else against
            rows.append(["->" if chosen else "", v.algorithm, *numbers, why])
        if not self.times:
            rows = [[*row[:5], row[6]] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = []
        for arrow, name, *cells, why in rows:
            aligned = "  ".join(f"{n:>{width}}" for n, width in zip(cells, widths[2:]))
            lines.append(f"{arrow:<{widths[0]}} {name:<{widths[1]}}  {aligned}  {why}")
        return Table("\n".join([head, *lines]))


class ConvPlan:
    """A convolution with its weights packed, for many inputs of one shape.

    Made by `fastconv.plan`. Calling it convolves; the input may come in either memory format.

    Attributes
    ----------
    algorithm : str
        The algorithm that was chosen.
    decision : Decision
        Why, as a value; `explain` prints it.
    geometry : ConvGeometry
        Sizes and options.
    flops : int
        Floating-point operations of one call: two for each multiply-add, two for a bias, if any.
    memory_format : str
        "channels_first" or "channels_last": what the plan was made for.
    """

    def __init__(
        self,
        geometry: ConvGeometry,
        decision: Decision,
        engine: Engine,
        packed: Any,
        *,
        has_bias: bool,
        result_dtype: np.dtype,
        memory_format: str,
        threads: int | None,
        epilogue: Fused | None = None,
        epilogue_args: Sequence[np.ndarray] = (),
    ) -> None:
        self._epilogue, self._epilogue_args = epilogue, epilogue_args
        self.geometry, self.memory_format = geometry, memory_format
        self.decision, self._engine, self._packed = decision, engine, packed
        self._has_bias, self._dtype, self._threads = has_bias, result_dtype, threads
        # Arrays of one channel or one pixel are in both formats.
        in_both = 1 in (geometry.in_channels, math.prod(geometry.in_size))
        self._ours_is_last = in_both and memory_format == "channels_last"
        self._make = [maker_of(geometry.output_shape, result_dtype, last) for last in (False, True)]
        serial = geometry.multiply_adds < SERIAL_WORK and threads in (None, 1)
        self._small = serial and epilogue is None and geometry.batch > 0
        self._again: dict[tuple[Size, Size], Again] = {}  # by the strides of both arrays

    @property
    def algorithm(self) -> str:
        """Name of the chosen algorithm."""
        return self.decision.algorithm

    @property
    def flops(self) -> int:
        """Floating-point operations of one call."""
        outputs = math.prod(self.geometry.output_shape)
        return 2 * self.geometry.multiply_adds + (outputs if self._has_bias else 0)

    @property
    def workspace_bytes(self) -> int:
        """Bytes that a call in the plan's format needs beside its arrays and packed weights."""
        return self._engine.workspace_bytes(
            self._strides(self.geometry.input_shape),
            self._strides(self.geometry.output_shape),
            self._threads,
        )

    def explain(self) -> Table:
        """The table of algorithms with the reason for or against each, and the plan's memory."""
        other = "last" if self.memory_format == "channels_first" else "first"
        return Table(
            f"{self.decision.table()}\n"
            f"tuned for {self.memory_format}; channels_{other} input is laid out while packing\n"
            f"workspace: {self.workspace_bytes / 1e6:.2f} MB"
        )

    def __call__(
        self, x: Any, out: np.ndarray | None = None, *, epilogue_args: tuple[Any, ...] | None = None
    ) -> np.ndarray:
        """Convolve.

        Parameters
        ----------
        x : array_like, shape (N, C, *spatial) or (C, *spatial)
            Of the plan's input shape and a dtype that casts safely to the plan's.
        out : ndarray, optional
            Takes the result; must not overlap `x`.
        epilogue_args : tuple of array_like, optional
            Instead of those that the plan was made with, as many.

        Returns
        -------
        ndarray
            `out`, or a new array in the memory format of `x`; in that of the plan if `x` is in
            both, having one channel or one pixel.

        Raises
        ------
        ValueError
            If a shape differs from the plan's, or `out` overlaps `x`.
        TypeError
            If the dtype of `x` cannot be cast to the plan's.
        """
        g = self.geometry
        x = as_operand("plan", "x", x)
        shape = g.input_shape if g.batched else g.input_shape[1:]
        if x.shape != shape:
            raise ValueError(f"plan: x has shape {x.shape}, the plan is for {shape}")
        if x.dtype != self._dtype:
            if not np.can_cast(x.dtype, self._dtype, "safe") or x.dtype.kind != self._dtype.kind:
                raise TypeError(f"plan: x has dtype {x.dtype}, the plan is for {self._dtype}")
            x = x.astype(self._dtype)
        source = x if g.batched else x[None]
        given: Sequence[np.ndarray] = self._epilogue_args
        if epilogue_args is not None:
            given = [as_operand("plan", "epilogue_args", array) for array in epilogue_args]
        if out is not None:
            check_out("plan", out, g.output_shape[not g.batched :], self._dtype, x, *given)
            target = out if g.batched else out[None]
        else:
            last = is_channels_last(source) or (self._ours_is_last and source.flags.c_contiguous)
            target = self._make[last]()
        if self._small and not given and self._done_again(source, target):
            pass
        elif self._epilogue is not None or given:
            self._run_fused(source, target, given)
        elif source.size:
            self._engine.run(source, self._packed, target, self._threads)
        if out is not None:
            return out
        return target if g.batched else target[0]

    def _done_again(self, source: np.ndarray, target: np.ndarray) -> bool:
        """Whether a small call has been replayed."""
        strides = source.strides, target.strides
        again = self._again.get(strides)
        if again is None:
            if len(self._again) >= MOST_LAYOUTS:
                return False
            new = Again(planned_steps, self._engine, self._packed)
            again = self._again.setdefault(strides, new)
        if again.replay is None:
            again.show(source, target)
            return False
        again.replay(source, target)
        return True

    def rehearsal(self) -> Callable[[], np.ndarray]:
        """A call of the plan on numbers that mean nothing, for timing."""
        g, last = self.geometry, self.memory_format == "channels_last"
        x, out = (empty(shape, self._dtype, last) for shape in (g.input_shape, g.output_shape))
        x[...] = 1
        if not g.batched:
            x, out = x[0], out[0]
        return lambda: self(x, out)

    def _run_fused(
        self, source: np.ndarray, target: np.ndarray, given: Sequence[np.ndarray]
    ) -> None:
        g, wanted = self.geometry, 0 if self._epilogue is None else self._epilogue.parameters
        if self._epilogue is None or len(given) != wanted:
            raise ValueError(f"plan: epilogue_args must be {wanted} arrays, not {len(given)}")
        shape = g.output_shape[not g.batched :]
        found = as_parameters("plan", given, g.out_channels, shape, self._dtype)
        if not g.batched:
            found = [array[None] if array.ndim > 1 else array for array in found]
        if source.size:
            arguments = source, self._packed, target, self._threads, self._epilogue, found
            run_fused(self._engine, *arguments)

    def _strides(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Element strides of an array of this shape (N, C, *spatial) in the plan's format."""
        if self.memory_format == "channels_first":
            return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        order = (shape[0], *shape[2:], shape[1])
        steps = [math.prod(order[i + 1 :]) for i in range(len(order))]
        return (steps[0], steps[-1], *steps[1:-1])
