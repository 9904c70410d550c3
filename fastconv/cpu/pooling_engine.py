"""Pooling bound to jobs: made from geometries, run by `pool`, or noted as a step of a program."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ..machine import machine
from .compile import name_of
from .launch import start, thread_count
from .memory import address_of
from .pool_job import H_PLACE, ITEMS, SCRATCH, SUM, WORK, pool_job
from .pooling import pool
from .program import Program, Unwritten, noted
from .windows import SLIDING, AnyPool, axes, shares, window
from .workspace import workspace


class Job(NamedTuple):
    """The words of a job, their address, and numbers out of them."""

    words: np.ndarray
    address: int
    items: int
    work: int
    scratch: int
    # Strides of the input in elements where they are not those of the array.
    steps: tuple[int, ...] | None


def _made(
    geometry: AnyPool,
    mode: int,
    padded: bool,
    divisor: int,
    covering: bool,
    channels_last: bool,
    dtype: str,
    dense: bool,
) -> Job:
    if 0 in (geometry.batch, geometry.channels):  # however long its axes, tables of them are not
        nothing = np.zeros(1, np.int64)
        return Job(nothing, address_of(nothing), 0, 0, 0, None)
    sizes, along = (geometry.batch, geometry.channels), axes(geometry, padded)
    steps = None
    lone = dense and not channels_last and _is_whole(along)
    if lone:  # one window of all cells: planes are the rows of one picture
        planes, cells = geometry.batch * geometry.channels, along[0][0] * along[1][0] * along[2][0]
        if divisor == 0:
            divisor = int(np.prod([shares(axis)[0] for axis in along]))
        sizes, steps = (1, 1), (0, 0, 0, 1 if covering else cells, 1)
        unit = (1, 1, 1, 1, 1, 0, 0, SLIDING)
        along = (
            unit,
            (planes, planes, 1, 1, 1, 0, 0, SLIDING),
            (cells, 1, cells, cells, 1, 0, 0, SLIDING),
        )
    lanes = machine().lanes(dtype) if dense and not lone else 0
    item_size = {"float32": 4, "float64": 8, "int64": 8}[dtype]
    job = pool_job(mode, *sizes, channels_last, along, divisor, covering, lanes, item_size)
    if lone:
        job[H_PLACE] = 0
    return Job(job, address_of(job), int(job[ITEMS]), int(job[WORK]), int(job[SCRATCH]), steps)


def _is_whole(along: Any) -> bool:
    """Whether there is one output, whose window is the whole input."""
    return all(axis[1] == 1 and window(axis, 0)[:2] == (0, axis[0]) for axis in along)


@functools.lru_cache(maxsize=256)
def forward_job(
    geometry: AnyPool,
    mode: int,
    padded: bool,
    divisor: int,
    channels_last: bool,
    dtype: str,
    dense: bool,
) -> Job:
    """Pooling the input; `padded` counts padding in the divisor, unless a `divisor` is given."""
    return _made(geometry, mode, padded, divisor, False, channels_last, dtype, dense)


@functools.lru_cache(maxsize=256)
def backward_job(
    geometry: AnyPool, divisor: int, channels_last: bool, dtype: str, dense: bool
) -> Job:
    """Summing the output's gradient over the windows that cover each cell of the input."""
    return _made(geometry, SUM, False, divisor, True, channels_last, dtype, dense)


def element_steps(x: np.ndarray) -> tuple[int, ...]:
    """Strides in elements of the axes (N, C, D, H, W), of which `x` may lack some."""
    size = x.itemsize
    n, c, *others = [stride // size for stride in x.strides]
    return (n, c, *(0,) * (3 - len(others)), *others)


def pool_into(
    job: Job, x: np.ndarray, y: np.ndarray, indices: np.ndarray | None, threads: int | None
) -> None:
    """Fill `y` and with ARGMAX `indices`, dense in the job's format; all are (N, C, *spatial)."""
    if noted(pool_steps, job, x, y, indices) or job.items == 0:
        return
    threads = thread_count(job.work, threads)
    found = 0 if indices is None else address_of(indices)
    kernel, numbers = pool.address(name_of(x.dtype)), (address_of(x), address_of(y), found)
    steps = job.steps or element_steps(x)
    if job.scratch == 0:
        start(kernel, job.address, (*numbers, 0, *steps), job.items, threads)
        return
    with workspace(threads * job.scratch * x.itemsize) as work:
        start(kernel, job.address, (*numbers, work, *steps), job.items, threads)


def pool_steps(
    program: Program, job: Job, x: np.ndarray, y: np.ndarray, indices: np.ndarray | None
) -> None:
    """What `pool_into` does, as a step of a program."""
    if str(x.dtype) not in pool.dtypes:
        raise Unwritten
    found = 0 if indices is None else program.place(indices)
    scratch = program.scratch(program.threads * job.scratch * x.itemsize)
    steps = job.steps or element_steps(x)
    operands = program.place(x), program.place(y), found, scratch, *steps
    program.launch(pool, x.dtype.name, job.words, operands, job.items)
