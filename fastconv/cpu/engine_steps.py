"""What engines do, as steps of a program; see `program`.

The launches are those of the engines' own `pack` and `run`, which work on arrays that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .boxes import COPY, ZERO, box_job, copy_box
from .engine import Correlations, element_strides
from .epilogue import write_parameters
from .fused import Fused, kind_of, like
from .gradient_engine import WeightGradient
from .grouped import pack_rows
from .grouped_engine import Grouped, Weights
from .grouped_gradient_engine import GroupedGradient
from .grouped_gradients import reduce_partials
from .job import BLOCK, LANES
from .pack_weights import pack_weights
from .phases import Launch
from .program import Place, Program, Unwritten
from .winograd import transform_weights
from .winograd_engine import Winograd


def engine_steps(
    program: Program,
    engine: Any,
    x: np.ndarray,
    other: np.ndarray,
    bias: np.ndarray | None,
    y: np.ndarray,
    epilogue: Fused | None,
    parameters: Sequence[np.ndarray],
) -> None:
    """What an engine's `pack` and `run` do for these arrays (N, C, *spatial)."""
    if isinstance(engine, GroupedGradient):
        _grouped_gradient(engine, program, x, other, y)
    elif isinstance(engine, WeightGradient):
        _weight_gradient(engine, program, x, other, y)
    elif isinstance(engine, Correlations) and engine.epilogue is epilogue:
        _correlations(engine, program, x, other, bias, y, parameters)
    else:
        raise Unwritten


def planned_steps(program: Program, engine: Any, x: np.ndarray, y: np.ndarray, packed: Any) -> None:
    """What an engine's `run` does with weights and a bias that are packed already."""
    if not isinstance(engine, Correlations):
        raise Unwritten
    if isinstance(engine, Grouped) and isinstance(packed, Weights):
        found = engine.grouped(x.strides, y.strides, program.threads, packed.plain)
        if found is not None:
            family, made = found
            bias = program.constant(engine.no_bias if packed.bias is None else packed.bias)
            rows, indices = engine.rows(packed, family), program.constant(engine.indices)
            _launch(engine, program, made, x, y, rows, bias, indices)
            return
        packed = engine.ungrouped(packed)
    launch = engine.prepare(x.strides, y.strides, program.threads, packed.plain)
    assert launch is not None
    table = 0 if packed.parameters is None else program.constant(packed.parameters)
    more = packed.packing, table, packed.packing
    _launch(engine, program, launch, x, y, packed.weights, packed.bias, *more)


def box(program: Program, mode: int, source: np.ndarray | None, target: np.ndarray) -> None:
    """Copy or add a whole array to another of the same shape, or zero it."""
    place = program.place(target)
    origin = target if source is None else source
    job = box_job(mode, target.shape, element_strides(origin), element_strides(target))
    operands = place if source is None else program.place(source), place
    program.launch(copy_box, target.dtype.name, job, operands, int(job[1] * job[2]), 1)


def _correlations(
    engine: Correlations,
    p: Program,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    y: np.ndarray,
    parameters: Sequence[np.ndarray],
) -> None:
    if y.size == 0:
        return
    plain = engine.is_plain(bias)
    if isinstance(engine, Grouped):
        found = engine.grouped(x.strides, y.strides, p.threads, plain)
        if found is not None:
            _grouped(engine, found, p, x, weight, bias, y)
            return
    rows = _packed_weight(engine, p, weight, plain)
    padded = _padded_bias(engine, p, bias)
    made = engine.prepare(x.strides, y.strides, p.threads, plain)
    assert made is not None
    table = _parameter_table(p, parameters, y)
    _launch(engine, p, made, x, y, rows, padded, 0, table, 0)


def _launch(
    engine: Correlations,
    p: Program,
    made: Launch,
    x: np.ndarray,
    y: np.ndarray,
    weights: Place | int,
    bias: Place | int,
    *more: Place | int,
) -> None:
    if made.clears:
        box(p, ZERO, None, y)
    for job in made.phases:
        p.constant(job)
    work, goal = p.scratch(made.workspace), p.place(y).shifted(made.start)
    operands = p.place(x), weights, bias, goal, work, *more
    p.launch(made.kernel, engine.dtype, made.job, operands, made.items)


def _parameter_table(p: Program, parameters: Sequence[np.ndarray], y: np.ndarray) -> Place | int:
    """The table of an epilogue's parameters, written in each call."""
    if not parameters:
        return 0
    table, places = p.scratch(16 * len(parameters)), []
    for array in parameters:
        if array.strides == (y.strides if array.ndim > 1 else (y.itemsize,)):
            places.append(p.place(array))
            continue
        copied = like(y) if array.ndim > 1 else np.empty(array.shape, y.dtype)
        if min(copied.strides) < 0:
            raise Unwritten
        reach = sum((n - 1) * stride for n, stride in zip(copied.shape, copied.strides))
        p.assign(copied, p.scratch(reach + y.itemsize))
        box(p, COPY, array, copied)
        places.append(p.place(copied))
    job = np.array([len(parameters), *map(kind_of, parameters)], np.int64)
    p.launch(write_parameters, y.dtype.name, job, (table, p.place(y), *places), 1, 1)
    return table


def _grouped(
    engine: Grouped,
    found: tuple[int, Launch],
    p: Program,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    y: np.ndarray,
) -> None:
    family, made = found
    jobs = engine.row_jobs(weight.strides, engine.is_plain(bias), family)
    rows = p.scratch(sum(count for *_, count in jobs) * weight.itemsize)
    goal = rows
    for job, blocks, count in jobs:
        p.launch(pack_rows, engine.dtype, job, (p.place(weight), goal), blocks)
        goal = goal.shifted(count * weight.itemsize)
    start = p.constant(engine.no_bias)
    if bias is not None:
        copied = np.empty_like(engine.no_bias)
        start = p.scratch(copied.nbytes)
        p.assign(copied, start)
        box(p, COPY, bias, copied)
    _launch(engine, p, made, x, y, rows, start, p.constant(engine.indices), 0, 0)


def _packed_weight(engine: Correlations, p: Program, weight: np.ndarray, plain: bool) -> Place:
    """The weights of all correlations as tile rows."""
    size, dtype, items = weight.itemsize, engine.dtype, engine.groups * engine._blocks
    jobs = engine._weight_jobs(weight.strides, plain)
    if not isinstance(engine, Winograd):
        rows = p.scratch(sum(count for _, count in jobs) * size)
        goal = rows
        for job, count in jobs:
            p.launch(pack_weights, dtype, job, (p.place(weight), goal), items)
            goal = goal.shifted(count * size)
        return rows
    ((job, count),) = jobs
    words, products, taps = engine.weight_words()
    rows = p.scratch(count // taps * products * size)
    scratch = p.scratch(p.threads * taps * engine._block * size)
    operands = p.place(weight), rows, scratch, p.constant(words)
    p.launch(transform_weights, dtype, job, operands, items)
    return rows


def _padded_bias(engine: Correlations, p: Program, bias: np.ndarray | None) -> Place:
    """The bias in whole blocks."""
    if bias is None:
        return p.constant(engine._zeros)
    padded = engine._zeros.copy()
    place = p.scratch(padded.nbytes)
    p.assign(padded, place)
    box(p, ZERO, None, padded)
    box(p, COPY, bias.reshape(engine.groups, engine.targets), padded[:, : engine.targets])
    return place


def _grouped_gradient(
    engine: GroupedGradient, p: Program, x: np.ndarray, gradient: np.ndarray, y: np.ndarray
) -> None:
    made = engine.slides(element_strides(x), element_strides(gradient))
    if made is None or engine.geometry.batch == 0:
        _weight_gradient(engine.packing, p, x, gradient, y)
        return
    nan, work, partials = map(p.scratch, engine.sizes(made, p.threads))
    extra = p.constant(made.extra)
    operands: tuple[Place | int, ...] = p.place(x), partials, nan, p.place(gradient), work, extra
    p.launch(made.kernel, engine.dtype, made.job, operands, made.items)
    job = engine.reduction_job(element_strides(y), made.family)
    p.launch(reduce_partials, engine.dtype, job, (partials, p.place(y), nan, extra), made.units)
    _weight_gradient(engine.packing, p, x, gradient, y, guard=nan)


def _weight_gradient(
    engine: WeightGradient,
    p: Program,
    x: np.ndarray,
    gradient: np.ndarray,
    y: np.ndarray,
    guard: Place | None = None,
) -> None:
    if engine.geometry.batch == 0:
        box(p, ZERO, None, y)
        return
    job, extra = engine._job(element_strides(x), element_strides(gradient))
    nan, work, packed, partials = map(p.scratch, engine._sizes(job, extra, p.threads))
    zeros = p.constant(np.zeros(max(int(job[BLOCK]), int(job[LANES])), y.dtype))
    operands: tuple[Place | int, ...] = (
        p.place(x),
        p.place(gradient),
        partials,
        zeros,
        work,
        packed,
        p.constant(extra),
        nan,
    )
    items = engine.groups * engine.parts * int(extra[2]) * int(extra[5])
    p.launch(engine._kernels[0], engine.dtype, job, operands, items, guard=guard)
    reduction, items = engine._reduction(element_strides(y), job, extra)
    operands = partials, p.place(y), nan
    p.launch(engine._kernels[1], engine.dtype, reduction, operands, items, guard=guard)
    anew = engine.anew()
    if anew is not None:
        _weight_gradient(anew, p, x, gradient, y, guard=nan)
