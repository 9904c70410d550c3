"""What engines launch from Python, and what `engine_steps` notes for compiled code: the same."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from fastconv.choose import plan_conv
from fastconv.cpu import launch
from fastconv.cpu.boxes import copy_box
from fastconv.cpu.engine_steps import engine_steps
from fastconv.cpu.memory import address_of
from fastconv.cpu.program import Program
from fastconv.geometry import ConvGeometry

# Channels, groups and output channels, stride, kernel; algorithm and memory format.
ROWS = [
    ((5, 1, 19), (1, 2), (3, 2), "direct", False),
    ((5, 1, 19), (1, 2), (3, 2), "direct", True),
    ((6, 2, 4), (2, 3), (2, 3), "planar", False),
    ((7, 1, 18), (1, 1), (3, 3), "winograd_f4", True),
    ((7, 1, 18), (1, 1), (3, 1), "winograd_f2", False),
    ((3, 1, 1), (1, 1), (7, 5), "sliding", False),
    ((17, 17, 17), (2, 1), (3, 3), "depthwise", True),
    ((17, 17, 34), (1, 1), (3, 2), "depthwise", False),
    ((64, 8, 64), (2, 2), (3, 3), "grouped", True),
]
OPERATIONS = ("forward", "input_gradient", "weight_gradient")


def arrays(geometry, operation, channels_last):
    """Source, the other operand, and the result."""
    shapes = {
        "forward": ("input_shape", "weight_shape", "output_shape"),
        "input_gradient": ("output_shape", "weight_shape", "input_shape"),
        "weight_gradient": ("input_shape", "output_shape", "weight_shape"),
    }[operation]
    made = []
    for name in shapes:
        array = np.ones(getattr(geometry, name), np.float32)
        if channels_last and name != "weight_shape":
            array = np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
        made.append(array)
    return made


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[3]}-{row[4]}")
def test_launches(monkeypatch, row, operation):
    """Kernel, job and items of each launch, in the same order, but for copies of small arrays."""
    (c, groups, k), stride, kernel, algorithm, channels_last = row
    geometry = ConvGeometry.forward(
        "test",
        2,
        (2, c, 21, 37),
        (k, c // groups, *kernel),
        stride=stride,
        padding=1,
        groups=groups,
    )
    options = {"algorithm": algorithm, "channels_last": channels_last}
    try:
        dtype = np.dtype(np.float32)
        _, engine = plan_conv("test", geometry, dtype, operation, **options)
    except ValueError:
        pytest.skip(f"{algorithm} refuses this {operation}")
    x, other, y = arrays(geometry, operation, channels_last)
    bias = np.ones(y.shape[1], np.float32) if operation == "forward" else None
    ran, original = [], launch.start

    def start(address, job, operands, count, threads):
        ran.append((address, job, count))
        original(address, job, operands, count, threads)

    monkeypatch.setattr(launch, "start", start)
    packed = engine.pack(other, bias)
    engine.run(x, packed, y, 1)

    program = Program([x, other, y, *([] if bias is None else [bias])], 1)
    engine_steps(program, engine, x, other, bias, y, None, ())
    noted = [step for step in program.steps if step.kernel is not copy_box and step.guard is None]
    assert [(step.kernel.address(step.dtype), step.items) for step in noted] == [
        (address, items) for address, _, items in ran
    ]
    for step, (_, job, _) in zip(noted, ran):
        known = np.array((ctypes.c_int64 * len(step.job)).from_address(job))
        assert job == address_of(step.job) or np.array_equal(known, step.job)
