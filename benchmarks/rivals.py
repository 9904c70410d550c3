"""The other libraries: each adapter offers the sides that its library has for a problem.

Nothing here is needed to run the benchmarks: a library that is not installed is left out, and the
report says so.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from benchmarks.cases import ConvCase, PerAxis, PoolCase, per_axis
from benchmarks.problem import Problem, Side

DIRECT_LIMIT = 5e7  # multiply-adds; above it scipy's direct sums take far longer than its FFT


class Rival(Protocol):
    """A library beside ours."""

    name: str
    version: str
    offers: str

    def sides(self, problem: Problem) -> Iterator[Side]:
        """Every way in which the library computes the problem."""


class Torch:
    """PyTorch on the CPU, in both memory formats."""

    name = "torch"
    offers = (
        "all operations, in both memory formats (1-D channels_last as 2-D with one row); gradients "
        "by aten.convolution_backward; packed: 2-D float32 with the weights in oneDNN's own order, "
        "as frozen models have them"
    )

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._torch, self.version = torch, str(torch.__version__)

    def sides(self, problem: Problem) -> Iterator[Side]:
        """See `Rival`."""
        for last in (False, True):
            name = "torch channels_last" if last else "torch"
            lift = last and problem.case.rank == 1
            arrays = {key: self._tensor(a, last) for key, a in problem.operands.items()}
            if isinstance(problem.case, PoolCase):
                yield Side(name, self._pool(problem.case, arrays["x"], lift))
                continue
            call = self._convolution(problem, arrays, lift)
            yield Side(name, call)
            packed = self._packed(problem, arrays, lift)
            if packed is not None:
                yield Side(f"{name} packed", packed, planned=True)

    def _tensor(self, array: np.ndarray, last: bool) -> Any:
        tensor = self._torch.from_numpy(array)
        if not last:
            return tensor
        if tensor.ndim == 3:
            tensor = tensor.unsqueeze(2)
        names = {4: self._torch.channels_last, 5: self._torch.channels_last_3d}
        return tensor.contiguous(memory_format=names[tensor.ndim])

    def _pool(self, case: PoolCase, x: Any, lift: bool) -> Any:
        kernel, rank = case.kernel, case.rank + lift
        stride = per_axis(kernel if case.stride is None else case.stride, case.rank)
        padding = per_axis(case.padding, case.rank)
        if lift:
            kernel, stride, padding = (1, *kernel), (1, *stride), (0, *padding)
        pool = getattr(self._torch.nn.functional, f"{case.kind}_pool{rank}d")
        return lambda: pool(x, kernel, stride, padding)

    def _convolution(self, problem: Problem, arrays: Any, lift: bool) -> Any:
        torch, case = self._torch, problem.case
        assert isinstance(case, ConvCase)
        stride, padding, dilation, extra, ahead = _torch_options(case, lift)
        x, w, dy = (arrays.get(key, None) for key in ("x", "w", "dy"))
        widen = (lambda x: torch.nn.functional.pad(x, ahead)) if ahead else (lambda x: x)
        if problem.operation == "forward":
            return lambda: torch.convolution(
                widen(x), w, None, stride, padding, dilation, case.transposed, extra, case.groups
            )
        backward = torch.ops.aten.convolution_backward
        fixed: tuple[Any, ...] = (None, stride, padding, dilation, False, extra, case.groups)
        if problem.operation == "weight_gradient":
            like = torch.empty((case.out_channels, *case.weight_shape[1:2], *_kernel(case, lift)))
            like = like.to(x.dtype)
            return lambda: backward(dy, widen(x), like, *fixed, (False, True, False))[1]
        shape = (problem.batch, case.channels, *((1,) * lift), *case.size)
        like = widen(torch.empty(shape, dtype=dy.dtype)).to(memory_format=_format_of(torch, dy))
        first = ahead[0] if ahead else 0
        return lambda: backward(dy, like, w, *fixed, (True, False, False))[0][..., first:]

    def _packed(self, problem: Problem, arrays: dict[str, Any], lift: bool) -> Any:
        """With the weights reordered ahead, by the operators that torch's own freezing puts in."""
        torch, case = self._torch, problem.case
        assert isinstance(case, ConvCase)
        if problem.operation != "forward" or problem.dtype != "float32" or case.transposed:
            return None
        stride, padding, dilation, _, ahead = _torch_options(case, lift)
        if len(stride) != 2 or ahead or not torch.backends.mkldnn.is_available():
            return None
        x, w = arrays["x"], arrays["w"]
        try:
            weight = torch.ops.mkldnn._reorder_convolution_weight(
                w, padding, stride, dilation, case.groups, list(x.shape)
            )
            run = torch.ops.mkldnn._convolution_pointwise
        except (AttributeError, RuntimeError):  # private operators: another version may lack them
            return None
        fixed: tuple[Any, ...] = (None, padding, stride, dilation, case.groups, "none", [], "")
        return lambda: run(x, weight, *fixed)


def _kernel(case: ConvCase, lift: bool) -> tuple[int, ...]:
    return (1, *case.kernel) if lift else case.kernel


def _torch_options(case: ConvCase, lift: bool) -> tuple[list[int], ...]:
    """stride, padding, dilation, output_padding, and what is padded ahead (last axis first)."""
    rank, pairs = case.rank, case.padding_pairs
    stride, dilation = list(per_axis(case.stride, rank)), list(per_axis(case.dilation, rank))
    extra = list(per_axis(case.output_padding, rank))
    uneven = any(low != high for low, high in pairs)
    ahead = [cells for pair in reversed(pairs) for cells in pair] if uneven else []
    padding = [0 if uneven else low for low, _ in pairs]
    if lift:
        stride, padding, dilation, extra = [1, *stride], [0, *padding], [1, *dilation], [0, *extra]
    return stride, padding, dilation, extra, ahead


def _format_of(torch: Any, tensor: Any) -> Any:
    for name in ("channels_last", "channels_last_3d"):
        memory_format = getattr(torch, name)
        if tensor.ndim == (5 if name.endswith("3d") else 4) and tensor.is_contiguous(
            memory_format=memory_format
        ):
            return memory_format
    return torch.contiguous_format


class OnnxRuntime:
    """ONNX Runtime: a model of one node, its weights packed when it is loaded."""

    name = "onnxruntime"
    offers = "forward, float32, NCHW, planned; input and output bound to arrays"

    def __init__(self, threads: int) -> None:
        import onnx
        import onnxruntime

        self._onnx, self._runtime = onnx, onnxruntime
        self.version = onnxruntime.__version__
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 3

    def sides(self, problem: Problem) -> Iterator[Side]:
        """See `Rival`."""
        if problem.operation != "forward" or problem.dtype != "float32":
            return
        refused = self._runtime.capi.onnxruntime_pybind11_state.NotImplemented
        try:
            session = self._runtime.InferenceSession(
                self._model(problem), self._options, providers=["CPUExecutionProvider"]
            )
        except refused:
            return
        x, binding = problem.operands["x"], session.io_binding()
        out = np.empty(_result_shape(problem), problem.dtype)
        for bind, name, array in ((binding.bind_input, "x", x), (binding.bind_output, "y", out)):
            bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

        def call() -> np.ndarray:
            session.run_with_iobinding(binding)
            return out

        yield Side("onnxruntime", call, planned=not problem.pools)

    def _model(self, problem: Problem) -> bytes:
        helper, case = self._onnx.helper, problem.case
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(problem.dtype))
        weights = []
        if isinstance(case, PoolCase):
            operator, inputs = {"max": "MaxPool", "avg": "AveragePool"}[case.kind], ["x"]
            stride: PerAxis = case.kernel if case.stride is None else case.stride
            pairs = [(p, p) for p in per_axis(case.padding, case.rank)]
            options: dict[str, Any] = {} if case.kind == "max" else {"count_include_pad": 1}
        else:
            operator, inputs = "ConvTranspose" if case.transposed else "Conv", ["x", "w"]
            stride, pairs = case.stride, list(case.padding_pairs)
            options = {"dilations": per_axis(case.dilation, case.rank), "group": case.groups}
            if case.transposed:
                options["output_padding"] = per_axis(case.output_padding, case.rank)
            weights = [self._onnx.numpy_helper.from_array(problem.operands["w"], "w")]
        options |= {
            "kernel_shape": case.kernel,
            "strides": per_axis(stride, case.rank),
            "pads": [low for low, _ in pairs] + [high for _, high in pairs],
        }
        graph = helper.make_graph(
            [helper.make_node(operator, inputs, ["y"], **options)],
            "layer",
            [helper.make_tensor_value_info("x", kind, case.input_shape(problem.batch))],
            [helper.make_tensor_value_info("y", kind, None)],
            weights,
        )
        # Opset 18 and its file version are read by every ONNX Runtime since 1.14.
        opset = [helper.make_opsetid("", 18)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        return model.SerializeToString()


class Scipy:
    """scipy.signal, for one channel, stride 1 and borders that it has a name for."""

    name = "scipy"
    offers = "forward of one channel: scipy.signal's direct sums where they are short, and its FFT"

    def __init__(self, threads: int) -> None:
        import scipy

        self.version, self._threads = scipy.__version__, threads

    def sides(self, problem: Problem) -> Iterator[Side]:
        """See `Rival`."""
        from scipy import fft, signal

        mode = _scipy_mode(problem)
        if mode is None:
            return
        x, w = problem.operands["x"][0, 0], problem.operands["w"][0, 0]
        flipped = np.ascontiguousarray(np.flip(w))
        if problem.work / 2 <= DIRECT_LIMIT:
            if x.ndim == 2:
                yield Side("scipy direct", lambda: signal.correlate2d(x, w, mode))
            else:
                yield Side("scipy direct", lambda: signal.correlate(x, w, mode, "direct"))

        def through_fft() -> np.ndarray:
            with fft.set_workers(self._threads):
                return signal.fftconvolve(x, flipped, mode)

        yield Side("scipy fft", through_fft)


def _scipy_mode(problem: Problem) -> str | None:
    case = problem.case
    if problem.operation != "forward" or problem.batch != 1 or not isinstance(case, ConvCase):
        return None
    plain = case.channels == case.out_channels == 1 and not case.transposed
    ones = (*per_axis(case.stride, case.rank), *per_axis(case.dilation, case.rank))
    if not plain or set(ones) != {1}:
        return None
    if case.padding_pairs == tuple(((k - 1) // 2, k // 2) for k in case.kernel):
        return "same"
    return "valid" if not any(map(any, case.padding_pairs)) else None


def _result_shape(problem: Problem) -> tuple[int, ...]:
    g = problem.geometry
    return g.input_shape if getattr(problem.case, "transposed", False) else g.output_shape


RIVALS: dict[str, Callable[[int], Rival]] = {
    "torch": Torch,
    "onnxruntime": OnnxRuntime,
    "scipy": Scipy,
}


def load_rivals(names: Iterable[str], threads: int) -> tuple[list[Rival], list[str]]:
    """The installed ones of the named libraries, and a line for each that is missing."""
    found: list[Rival] = []
    missing = []
    for name in names:
        if name not in RIVALS:
            raise ValueError(f"rivals must be among {', '.join(RIVALS)}, not {name!r}")
        try:
            found.append(RIVALS[name](threads))
        except ImportError as reason:
            missing.append(f"{name}: not installed, left out ({reason})")
    return found, missing


def limit_blas(threads: int) -> str:
    """Hold BLAS to `threads` where threadpoolctl is installed; what was done, in words."""
    try:
        import threadpoolctl
    except ImportError:
        return "BLAS threads: not limited, threadpoolctl is not installed"
    threadpoolctl.threadpool_limits(threads, user_api="blas")
    return f"BLAS threads: {threads}, threadpoolctl {importlib.metadata.version('threadpoolctl')}"
