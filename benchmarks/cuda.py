"""Time fastconv on a GPU, against PyTorch and CuPy where they are installed.

python -m benchmarks.cuda --output FILE       one table of ResNet-50's layers, pooling and sums

Times are those of CUDA events around several calls, each on operands of its own: together they
take `ROTATION` bytes, more than any cache holds. A row is compared with the rival's numbers first.
TF32 is set the same on both sides. Nothing here says anything before it was run on a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastconv
from benchmarks.cases import ConvCase
from benchmarks.suites import SUITES

ROTATION = 4 << 30
MOST_COPIES, REPEATS = 64, 7
OPERATIONS = ("forward", "input_gradient", "weight_gradient")


class Row(NamedTuple):
    """One timed call: medians in seconds, work in flops or bytes, error against the rival."""

    name: str
    kind: str
    algorithm: str
    seconds: float
    work: float
    rival: float | None
    error: float | None

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the rival."""
        return None if self.rival is None else self.rival / self.seconds


def _torch() -> Any:
    """PyTorch, if it is installed and sees a GPU."""
    with suppress(ImportError):
        import torch

        if torch.cuda.is_available():
            return torch
    return None


def _cupy() -> Any:
    """CuPy, if it is installed and sees a GPU."""
    with suppress(Exception):
        import cupy

        cupy.cuda.runtime.getDeviceCount()
        return cupy
    return None


class Ours:
    """Events of Numba; a clock in the simulator, which has none."""

    def __init__(self) -> None:
        from fastconv.cuda import backend

        self._backend = backend

    def __call__(self, calls: Sequence[Callable[[], Any]]) -> float:
        """Seconds of one call."""
        backend = self._backend
        if backend.SIMULATED:
            start = time.perf_counter()
            for call in calls:
                call()
            return (time.perf_counter() - start) / len(calls)
        begin, end = backend.cuda.event(), backend.cuda.event()
        stream = backend.current_stream().handle
        begin.record(stream)
        for call in calls:
            call()
        end.record(stream)
        end.synchronize()
        return float(backend.cuda.event_elapsed_time(begin, end)) * 1e-3 / len(calls)


def _torch_timer(torch: Any) -> Callable[[Sequence[Callable[[], Any]]], float]:
    def timer(calls: Sequence[Callable[[], Any]]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for call in calls:
            call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) * 1e-3 / len(calls)

    return timer


def median(timer: Callable, calls: Sequence[Callable[[], Any]], repeats: int) -> float:
    """Median over repeats, after one that warms up."""
    timer(calls)
    return statistics.median(timer(calls) for _ in range(repeats))


def _copies(nbytes: int, rotation: int) -> int:
    return max(1, min(MOST_COPIES, rotation // max(nbytes, 1)))


def time_layer(
    case: ConvCase, batch: int, operation: str, tf32: bool, last: bool, torch: Any, options: Any
) -> Row:
    """One layer and operation, ours and PyTorch's."""
    rng = np.random.default_rng(0)
    geometry = {"stride": case.stride, "padding": case.padding, "groups": case.groups}
    shape, weight_shape = case.input_shape(batch), case.weight_shape
    out = fastconv.output_shape(shape, weight_shape, **geometry)
    arrays = [rng.standard_normal(s, np.float32) for s in (shape, weight_shape, out)]
    x, w, dy = arrays
    if last:
        x, dy = map(fastconv.channels_last, (x, dy))
    count = _copies(x.nbytes + dy.nbytes, options.rotation)
    sets = [[fastconv.to_device(a) for a in (x, w, dy)] for _ in range(count)]
    doors = {
        "forward": lambda x, w, dy: fastconv.conv2d(x, w, **geometry),
        "input_gradient": lambda x, w, dy: fastconv.grad.conv2d_input(shape, w, dy, **geometry),
        "weight_gradient": lambda x, w, dy: fastconv.grad.conv2d_weight(
            x, weight_shape, dy, **geometry
        ),
    }
    with fastconv.precision("tf32" if tf32 else "default"):
        calls = [lambda s=s: doors[operation](*s) for s in sets]
        result = calls[0]().copy_to_host()
        seconds = median(Ours(), calls, options.repeats)
        algorithm = _algorithm(shape, weight_shape, operation, geometry)
    rival = error = None
    if torch is not None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        theirs = [[torch.as_tensor(a, device="cuda") for a in s] for s in sets]
        mask = [operation == "input_gradient", operation == "weight_gradient", False]
        pair = [(n, n) if isinstance(n, int) else n for n in (case.stride, case.padding)]

        def call(x: Any, w: Any, dy: Any) -> Any:
            if operation == "forward":
                return torch.nn.functional.conv2d(x, w, None, *pair, 1, case.groups)
            made = torch.ops.aten.convolution_backward(
                dy, x, w, None, *pair, [1, 1], False, [0, 0], case.groups, mask
            )
            return made[mask.index(True)]

        calls = [lambda s=s: call(*s) for s in theirs]
        expected = calls[0]().cpu().numpy()
        error = float(abs(result - expected).max() / abs(expected).max())
        rival = median(_torch_timer(torch), calls, options.repeats)
    taps = math.prod(weight_shape[1:])
    kind = f"{operation}, {'TF32' if tf32 else 'float32'}, channels-{'last' if last else 'first'}"
    return Row(case.name, kind, algorithm, seconds, 2.0 * math.prod(out) * taps, rival, error)


def _algorithm(shape: Any, weight: Any, operation: str, geometry: dict[str, Any]) -> str:
    from fastconv.cuda.choose import plan_conv
    from fastconv.geometry import ConvGeometry

    problem = ConvGeometry.forward("benchmark", 2, shape, weight, **geometry)
    decision, _ = plan_conv("benchmark", problem, np.dtype("float32"), operation)
    return decision.algorithm


def time_memory(options: Any, torch: Any, cupy: Any) -> list[Row]:
    """Calls that memory bounds, over a plain copy: bytes read and written."""
    rng = np.random.default_rng(0)
    shape = (options.batch, 64, *options.plane)
    x = rng.standard_normal(shape, np.float32)
    sets = [fastconv.to_device(x) for _ in range(_copies(2 * x.nbytes, options.rotation))]
    cells = x.size
    pooled = cells // 4
    rows = []
    todo: list[tuple[str, Callable, float, Callable | None]] = [
        ("copy", lambda a: a.copy(), 8.0 * cells, lambda t, a: a.clone()),
        ("relu", lambda a: np.maximum(a, 0.0), 8.0 * cells, lambda t, a: t.relu(a)),
        ("add", lambda a: a + a, 8.0 * cells, lambda t, a: a + a),
        ("sum of channels", fastconv.grad.conv2d_bias, 4.0 * cells, lambda t, a: a.sum((0, 2, 3))),
        (
            "max_pool2d 2x2",
            lambda a: fastconv.max_pool2d(a, 2),
            4.0 * (cells + pooled),
            lambda t, a: t.nn.functional.max_pool2d(a, 2),
        ),
        (
            "avg_pool2d 3x3/2",
            lambda a: fastconv.avg_pool2d(a, 3, 2, 1),
            4.0 * (cells + pooled),
            lambda t, a: t.nn.functional.avg_pool2d(a, 3, 2, 1),
        ),
    ]
    for name, ours, work, theirs in todo:
        seconds = median(Ours(), [lambda a=a, f=ours: f(a) for a in sets], options.repeats)
        rival = None
        if torch is not None and theirs is not None:
            tensors = [torch.as_tensor(a, device="cuda") for a in sets]
            calls = [lambda a=a, f=theirs: f(torch, a) for a in tensors]
            rival = median(_torch_timer(torch), calls, options.repeats)
        elif cupy is not None and name == "add":
            arrays = [cupy.asarray(a) for a in sets]
            rival = median(Ours(), [lambda a=a: a + a for a in arrays], options.repeats)
        rows.append(Row(name, "memory", "", seconds, work, rival, None))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, defeats first, and the geometric means of the ratios."""
    lines = []
    for kind in dict.fromkeys(row.kind for row in rows):
        some = sorted(
            (row for row in rows if row.kind == kind), key=lambda row: (row.ratio or 9e9, row.name)
        )
        unit = "GB/s" if kind == "memory" else "TFLOP/s"
        scale = 1e9 if kind == "memory" else 1e12
        lines += [f"\n## {kind}\n", f"| call | algorithm | ms | {unit} | ratio to rival | error |"]
        lines += ["|---|---|---:|---:|---:|---:|"]
        for row in some:
            ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
            error = "-" if row.error is None else f"{row.error:.1e}"
            lines.append(
                f"| {row.name} | {row.algorithm} | {1e3 * row.seconds:.3f} | "
                f"{row.work / row.seconds / scale:.2f} | {ratio} | {error} |"
            )
        ratios = [row.ratio for row in some if row.ratio is not None]
        if ratios:
            lines.append(f"\nGeometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write the table; the status is 1 without a GPU or for a wrong result."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.cuda")
    parser.add_argument("--output", type=Path, help="file for the table")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--suite", choices=SUITES, default="resnet50")
    parser.add_argument("--layers", type=int, help="only so many of the suite's layers")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--rotation", type=int, default=ROTATION, help="bytes of operands")
    parser.add_argument("--stop-after", type=float, default=240.0, help="seconds")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try this program")
    options = parser.parse_args(arguments)
    options.plane = (4, 6) if options.small else (112, 112)
    from fastconv.cuda import backend

    if backend.why_off() is not None:
        print(f"CUDA is off: {backend.why_off()}")
        return 1
    torch, cupy = _torch(), _cupy()
    rows: list[Row] = []
    start = time.monotonic()
    cases = [case.shrunk() if options.small else case for case in SUITES[options.suite]]
    for operation in OPERATIONS:
        for tf32 in (False, True):
            for last in (False, True):
                for case in cases[: options.layers]:
                    if time.monotonic() - start > options.stop_after:
                        break
                    setting = (options.batch, operation, tf32, last, torch, options)
                    rows.append(time_layer(case, *setting))
    rows += time_memory(options, torch, cupy)
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    rivals = "none" if torch is None else f"PyTorch {torch.__version__}"
    head = f"# On a GPU\n\n{backend.status()}; rival: {rivals}; batch {options.batch}; {date}\n"
    text = head + table(rows)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    wrong = [row for row in rows if row.error is not None and not row.error < 1e-2]
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
