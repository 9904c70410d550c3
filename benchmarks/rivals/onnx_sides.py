"""ONNX Runtime: a model of one node, its weights packed when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.cases import ConvCase, PoolCase, per_axis
from benchmarks.problem import NORM, Problem, Side

POOLS = {"max": "MaxPool", "avg": "AveragePool", "lp": "LpPool"}
GLOBAL = {"adaptive_max": "GlobalMaxPool", "adaptive_avg": "GlobalAveragePool"}


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
        case = problem.case
        if problem.operation != "forward" or problem.dtype != "float32":
            return
        if isinstance(case, PoolCase) and case.adaptive and set(case.kernel) != {1}:
            return
        refused = self._runtime.capi.onnxruntime_pybind11_state.NotImplemented
        try:
            session = self._runtime.InferenceSession(
                self._model(problem), self._options, providers=["CPUExecutionProvider"]
            )
        except refused:
            return
        x, binding = problem.operands["x"], session.io_binding()
        out = np.empty(problem.output_shape, problem.dtype)
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
            operator, options = _pool(case)
            inputs = ["x"]
        else:
            operator, options = _convolution(case)
            inputs = ["x", "w"]
            weights = [self._onnx.numpy_helper.from_array(problem.operands["w"], "w")]
        graph = helper.make_graph(
            [helper.make_node(operator, inputs, ["y"], **options)],
            "layer",
            [helper.make_tensor_value_info("x", kind, problem.input_shape)],
            [helper.make_tensor_value_info("y", kind, None)],
            weights,
        )
        # Opset 18 and its file version are read by every ONNX Runtime since 1.14.
        opset = [helper.make_opsetid("", 18)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        return model.SerializeToString()


def _pool(case: PoolCase) -> tuple[str, dict[str, Any]]:
    if case.adaptive:
        return GLOBAL[case.pool], {}
    stride = case.kernel if case.stride is None else case.stride
    options: dict[str, Any] = {
        "kernel_shape": case.kernel,
        "strides": per_axis(stride, case.rank),
        "pads": per_axis(case.padding, case.rank) * 2,
    }
    options |= {"avg": {"count_include_pad": 1}, "lp": {"p": int(NORM)}}.get(case.pool, {})
    return POOLS[case.pool], options


def _convolution(case: ConvCase) -> tuple[str, dict[str, Any]]:
    pairs = case.padding_pairs
    options = {
        "kernel_shape": case.kernel,
        "strides": per_axis(case.stride, case.rank),
        "pads": [low for low, _ in pairs] + [high for _, high in pairs],
        "dilations": per_axis(case.dilation, case.rank),
        "group": case.groups,
    }
    if not case.transposed:
        return "Conv", options
    return "ConvTranspose", options | {"output_padding": per_axis(case.output_padding, case.rank)}
