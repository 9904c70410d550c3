"""The doors that decide without running: plan, explain, output_shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..arguments import as_flag, as_shape, as_sizes, as_threads, check_choice, is_empty
from ..arrays import as_operand
from ..choose import contenders, plan_conv
from ..cpu.fused import Fused
from ..cpu.launch import get_threads
from ..device import cuda, on_device
from ..dtypes import KINDS, check_bias
from ..geometry import ConvGeometry
from ..machine import machine
from ..plan import OPERATIONS, ConvPlan, Table
from ..tuning import measured
from .convolution import FORWARD, as_epilogue

MEMORY_FORMATS = ("channels_first", "channels_last")


def plan(
    input_shape: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    epilogue: Callable[..., Any] | None = None,
    epilogue_args: tuple[Any, ...] = (),
    algorithm: str = "auto",
    dtype: Any = None,
    memory_format: str = "channels_first",
    threads: int | None = None,
    tune: bool = False,
) -> ConvPlan:
    """Choose an algorithm and pack the weights once, for many inputs of one shape.

    Parameters
    ----------
    input_shape : sequence of int, (N, C, *spatial) or (C, *spatial)
    weight : array_like, shape (K, C/groups, *kernel)
        One to three spatial axes. It is copied: later changes to it do not reach the plan.
    bias : array_like, shape (K,), optional
    stride, padding, dilation, groups, padding_mode, activation, algorithm, threads
        As in `conv2d`.
    epilogue, epilogue_args
        As in `conv2d`; a call may bring other arrays.
    dtype : dtype-like, optional
        Of input and result; by default that of `weight`.
    memory_format : {"channels_first", "channels_last"}
        What the plan is made for; it accepts the other too.
    tune : bool
        Measure the algorithms instead of estimating their times, which takes some tenths of a
        second. The times are kept beside the compiled kernels, for this problem, machine and
        number of threads, and `ConvPlan.explain` shows them.

    Returns
    -------
    ConvPlan
        Call it with an input; see also its `explain()`, `flops` and `workspace_bytes`.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`; if `memory_format` is unknown or `dtype` cannot hold the weights; and if `tune`
        comes with an `algorithm`, or with weights on a device.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> w = np.array([[[[1, 2], [3, 4]]]], np.float32)
    >>> blur = fastconv.plan((1, 1, 3, 3), w, padding="same", activation="relu")
    >>> blur(np.eye(3, dtype=np.float32)[None, None])[0, 0]
    array([[5., 3., 0.],
           [2., 5., 3.],
           [0., 2., 1.]], dtype=float32)
    """
    op = "plan"
    if as_flag(op, "tune", tune) and algorithm != "auto":
        raise ValueError(f"{op}: tune=True needs algorithm='auto', not {algorithm!r}")
    if type(weight) is not np.ndarray and on_device(weight):
        options = (stride, padding, dilation, groups, padding_mode)
        _is_last(op, memory_format)
        if tune:
            raise ValueError(f"{op}: tune=True measures host algorithms, but weight is on a device")
        return cuda("planning").plan(
            _rank(op, tuple(weight.shape)),
            input_shape,
            weight,
            bias,
            dict(zip(FORWARD, options)),
            activation=activation,
            epilogue=epilogue,
            epilogue_args=epilogue_args,
            algorithm=algorithm,
            dtype=dtype,
            memory_format=memory_format,
            threads=threads,
        )
    w = as_operand(op, "weight", weight)
    shape = as_shape(op, "input_shape", input_shape)
    rank = _rank(op, w.shape)
    geometry = ConvGeometry.forward(
        op,
        rank,
        shape,
        w.shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    result = w.dtype if dtype is None else as_operand(op, "dtype", np.empty(0, dtype)).dtype
    if KINDS[result.kind] != KINDS[w.dtype.kind] or not np.can_cast(w.dtype, result, "same_kind"):
        raise TypeError(f"{op}: weight is {w.dtype}, which does not cast to dtype {result}")
    b = None
    if bias is not None:
        b = as_operand(op, "bias", bias)
        check_bias(op, b, result, geometry.out_channels)
        b = b.astype(result)
    channels_last = _is_last(op, memory_format)
    threads = as_threads(op, threads)
    fused: Fused | None = None
    parameters: tuple[np.ndarray, ...] = ()
    if epilogue is not None or not is_empty(epilogue_args):
        fused, parameters = as_epilogue(op, epilogue, epilogue_args, result)

    def made(algorithm: str) -> ConvPlan:
        decision, engine = plan_conv(
            op,
            geometry,
            result,
            "forward",
            activation,
            algorithm,
            packed=True,
            channels_last=channels_last,
            epilogue=fused,
        )
        return ConvPlan(
            geometry,
            decision,
            engine,
            engine.pack(w.astype(result), b),
            has_bias=b is not None,
            result_dtype=result,
            memory_format=memory_format,
            threads=threads,
            epilogue=fused,
            epilogue_args=parameters,
        )

    if not tune:
        return made(algorithm)
    workers = get_threads() if threads is None else threads
    extras = activation, b is not None, fused is not None
    return _fastest(made, (geometry, str(result), memory_format, extras, workers, machine()))


def _fastest(made: Callable[[str], ConvPlan], problem: tuple[object, ...]) -> ConvPlan:
    """Of the plans that `made` makes for the contenders the one that takes least time."""
    first = made("auto")
    names = contenders(first.decision)
    if first.geometry.multiply_adds == 0 or len(names) < 2:
        return first
    plans = {name: made(name) for name in names}
    times, remembered = measured(problem, {name: p.rehearsal() for name, p in plans.items()})
    best = min(times, key=times.__getitem__)
    reason = f"the fastest when they were measured{', an earlier time' if remembered else ''}"
    plan = plans[best]
    plan.decision = replace(plan.decision, reason=reason, times=times)
    return plan


def explain(
    input_shape: Any,
    weight_shape: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    dtype: Any = np.float32,
    operation: str = "forward",
    algorithm: str = "auto",
    memory_format: str = "channels_first",
    planned: bool = False,
) -> Table:
    """The table of algorithms for a problem, with the reason for or against each.

    Parameters
    ----------
    input_shape : sequence of int, (N, C, *spatial) or (C, *spatial)
    weight_shape : sequence of int, (K, C/groups, *kernel)
    stride, padding, dilation, groups, padding_mode, algorithm
        As in `conv2d`.
    dtype : dtype-like, default float32
    operation : {"forward", "input_gradient", "weight_gradient"}
    memory_format : {"channels_first", "channels_last"}
        In which the images lie.
    planned : bool, default False
        Whether the weights are packed once for many calls, as by `plan`.

    Returns
    -------
    str
        One row for each algorithm: operations, bytes moved at least, expected time, reason. The
        times are estimates from clock, lanes and cores, to compare rows by.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    >>> import fastconv
    >>> table = fastconv.explain((1, 32, 56, 56), (32, 1, 3, 3), padding=1, groups=32)
    >>> [line.split()[1] for line in table.splitlines() if line.startswith("->")]
    ['depthwise']
    """
    op = "explain"
    check_choice(op, "operation", operation, OPERATIONS)
    shape = as_shape(op, "input_shape", input_shape)
    weight = as_shape(op, "weight_shape", weight_shape)
    geometry = ConvGeometry.forward(
        op,
        _rank(op, weight),
        shape,
        weight,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    kind = as_operand(op, "dtype", np.empty(0, dtype)).dtype
    last = _is_last(op, memory_format)
    decision, _ = plan_conv(
        op, geometry, kind, operation, None, algorithm, packed=planned, channels_last=last
    )
    return decision.table()


def _is_last(op: str, memory_format: Any) -> bool:
    check_choice(op, "memory_format", memory_format, MEMORY_FORMATS)
    return bool(memory_format == "channels_last")


def output_shape(
    input_shape: Any,
    weight_shape: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    transposed: bool = False,
    output_padding: Any = 0,
) -> tuple[int, ...]:
    """Shape of the result of a convolution or transposed convolution, by arithmetic alone.

    Parameters
    ----------
    input_shape : sequence of int, (N, C, *spatial) or (C, *spatial)
    weight_shape : sequence of int
        (K, C/groups, *kernel); if `transposed`, (C, K/groups, *kernel).
    stride, padding, dilation, groups
        As in `conv2d`.
    transposed : bool, default False
    output_padding : int or tuple of int, default 0
        As in `conv_transpose2d`; only if `transposed`.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError, TypeError
        As `conv2d` and `conv_transpose2d`.

    Examples
    --------
    Ten 5x5 filters on a 32x32 image, and a 3x3 window at stride 3 on 7 cells, where the last cell
    is dropped:

    >>> import fastconv
    >>> fastconv.output_shape((3, 32, 32), (10, 3, 5, 5), padding=2)
    (10, 32, 32)
    >>> fastconv.output_shape((1, 7, 7), (1, 1, 3, 3), stride=3)
    (1, 2, 2)
    """
    op = "output_shape"
    shape = as_shape(op, "input_shape", input_shape)
    weight = as_shape(op, "weight_shape", weight_shape)
    rank = _rank(op, weight)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        g = ConvGeometry.transposed(
            op, rank, shape, weight, output_padding=output_padding, **options
        )
        return g.input_shape if g.batched else g.input_shape[1:]
    if any(as_sizes(op, "output_padding", output_padding, rank, at_least=0)):
        raise ValueError(
            f"{op}: output_padding ({output_padding}) must be smaller than 1, but for transposed"
        )
    g = ConvGeometry.forward(op, rank, shape, weight, **options)
    return g.output_shape if g.batched else g.output_shape[1:]


def _rank(op: str, weight_shape: tuple[int, ...]) -> int:
    if not 3 <= len(weight_shape) <= 5:
        raise ValueError(
            f"{op}: weight must have 3 to 5 dimensions (K, C/groups, *kernel), not {weight_shape}"
        )
    return len(weight_shape) - 2
