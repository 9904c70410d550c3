"""Choosing an algorithm: of the rows that neither refuse nor decline, the fastest by its estimate.

The rows are in `algorithms`, the estimates in `estimates`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from .algorithms import ALGORITHMS, Algorithm
from .arguments import check_string
from .arrays import compute_dtype
from .borders import FoldedBorder
from .cpu.activation import check_activation
from .cpu.engine import Correlations
from .cpu.fused import Fused
from .dtypes import ComplexParts, Widened
from .estimates import Task
from .geometry import ConvGeometry
from .plan import Decision, Engine, Verdict
from .precision import get_precision


def _verdict(row: Algorithm, task: Task) -> Verdict:
    refusal = row.refuses(*task.problem)
    if refusal is not None:
        return Verdict(row.name, refusal, None, row.advantage, math.inf, 0, 0)
    doubt = row.declines(*task.problem)
    return Verdict(row.name, None, doubt, row.advantage, *row.estimate(task))


def choice(
    op: str, algorithm: str, verdicts: Sequence[Verdict], place: str = ""
) -> tuple[int, str]:
    """Number of the row that was asked for, or else of the fastest that nothing speaks against.

    Also why it is taken. Raises ValueError, with the `place` of the table, for an unknown algorithm
    or one that refuses.
    """
    if algorithm == "auto":
        able = [i for i, v in enumerate(verdicts) if v.refusal is None]
        willing = [i for i in able if verdicts[i].doubt is None]
        index = min(willing or able, key=lambda i: verdicts[i].seconds)
        return index, verdicts[index].advantage
    names = [v.algorithm for v in verdicts]
    if algorithm not in names:
        known = f"'auto' or one of {names}"
        raise ValueError(f"{op}: algorithm{place} must be {known}, not {algorithm!r}")
    index = names.index(algorithm)
    if verdicts[index].refusal is not None:
        raise ValueError(f"{op}: algorithm {algorithm!r}: {verdicts[index].refusal}")
    return index, "asked for by algorithm="


# Sums of all products, one by one: no precision excludes them.
PLAIN = ("depthwise", "grouped", "planar", "sliding", "direct")
# Expected times of the fastest, beyond which nobody's time is spent on measuring.
HOPELESS = 8


def contenders(decision: Decision) -> list[str]:
    """The algorithms that `plan(tune=True)` measures."""
    fastest = next(v.seconds for v in decision.verdicts if v.algorithm == decision.algorithm)
    return [
        v.algorithm
        for v in decision.verdicts
        if v.refusal is None
        and (v.doubt is None or v.algorithm in PLAIN)
        and v.seconds <= HOPELESS * fastest
    ]


def plan_conv(
    op: str,
    geometry: ConvGeometry,
    dtype: np.dtype,
    operation: str,
    activation: str | None = None,
    algorithm: str = "auto",
    packed: bool = False,
    channels_last: bool = False,
    epilogue: Fused | None = None,
) -> tuple[Decision, Engine]:
    """The decision for a problem and the engine that carries it out.

    If `packed`, weights are packed once for many calls, so their packing does not count; images
    come in one of the two memory formats.

    Raises ValueError for an unknown algorithm or one that refuses the problem, with its reason.
    """
    check_string(op, "activation", activation)
    check_string(op, "algorithm", algorithm)
    precision = get_precision()
    setting = packed, channels_last, precision, epilogue
    return _plan(op, geometry, dtype, operation, activation, algorithm, *setting)


@functools.lru_cache(maxsize=512)
def _plan(
    op: str,
    geometry: ConvGeometry,
    dtype: np.dtype,
    operation: str,
    activation: str | None,
    algorithm: str,
    packed: bool,
    channels_last: bool,
    precision: str,  # only a key: the rows ask for it themselves
    epilogue: Fused | None,
) -> tuple[Decision, Engine]:
    compute = compute_dtype(dtype)
    check_activation(op, activation, compute)
    if activation and dtype.kind == "c":
        raise TypeError(f"{op}: activation {activation!r} of {dtype} is not defined")
    if activation and dtype == np.uint64:  # summed in int64, where large numbers look negative
        if activation != "relu":
            raise TypeError(f"{op}: activation {activation!r} of {dtype} is not supported")
        activation = None
    real = ComplexParts.geometry(geometry) if dtype.kind == "c" else geometry
    folded = operation == "input_gradient" and geometry.padding_mode != "zeros"
    problem = real.without_padding() if folded else real
    task = Task(problem, compute, operation, packed, channels_last)
    verdicts = tuple(_verdict(row, task) for row in ALGORITHMS)
    index, reason = choice(op, algorithm, verdicts)
    engine = ALGORITHMS[index].make(problem, compute, operation, activation)
    if epilogue is not None and isinstance(engine, Correlations) and engine.fuses:
        engine.epilogue = epilogue
    if folded:
        engine = FoldedBorder(engine, real)
    if dtype.kind == "c":
        engine = ComplexParts(engine, operation)
    elif dtype != compute:
        engine = Widened(engine, compute)
    decision = Decision(geometry, operation, str(dtype), ALGORITHMS[index].name, reason, verdicts)
    return decision, engine
