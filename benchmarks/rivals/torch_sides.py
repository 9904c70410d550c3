"""PyTorch on the CPU, in both memory formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.cases import ConvCase, PoolCase, per_axis
from benchmarks.problem import NORM, Problem, Side

Call = Callable[[], Any]


class Torch:
    """PyTorch on the CPU, in both memory formats."""

    name = "torch"
    offers = (
        "all operations, in both memory formats (1-D channels_last as 2-D with one row); gradients "
        "by aten's backward operators; packed: 2-D float32 with the weights in oneDNN's own order, "
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
            # Only 2-D and 3-D tensors can be channels-last, and only they have pooling gradients.
            lift = problem.case.rank == 1 and (last or problem.pools)
            arrays = {key: self._tensor(a, last, lift) for key, a in problem.operands.items()}
            if isinstance(problem.case, PoolCase):
                yield Side(name, self._pool(problem, problem.case, arrays, last))
                continue
            yield Side(name, self._convolution(problem, arrays, lift))
            packed = self._packed(problem, arrays, lift)
            if packed is not None:
                yield Side(f"{name} packed", packed, planned=True)

    def _tensor(self, array: np.ndarray, last: bool, lift: bool) -> Any:
        tensor = self._torch.from_numpy(array)
        if lift:
            tensor = tensor.unsqueeze(2)
        return tensor.contiguous(memory_format=self._format(tensor.ndim)) if last else tensor

    def _format(self, ndim: int) -> Any:
        torch = self._torch
        return torch.channels_last if ndim == 4 else torch.channels_last_3d

    def _pool(self, problem: Problem, case: PoolCase, arrays: dict[str, Any], last: bool) -> Call:
        functional, lift = self._torch.nn.functional, case.rank == 1
        name = f"{case.pool}_pool{case.rank + lift}d"
        windows: tuple[Any, ...] = ((1,) * lift + case.kernel,)
        if not case.adaptive:
            stride = per_axis(case.kernel if case.stride is None else case.stride, case.rank)
            padding = per_axis(case.padding, case.rank)
            windows = (*windows, (1,) * lift + stride, (0,) * lift + padding)
        x = arrays.get("x")
        if problem.operation == "forward":
            if case.pool == "lp":
                lp_pool = getattr(functional, name)
                return lambda: lp_pool(x, NORM, *windows[:2])
            if lift and not last:  # the 1-D operator itself
                x = x[:, :, 0]
                pool = getattr(functional, f"{case.pool}_pool1d")
                return lambda: pool(x, *(sizes[1:] for sizes in windows))
            pool = getattr(functional, name)
            return lambda: pool(x, *windows)
        return self._pool_gradient(problem, case, arrays, name, windows, last)

    def _pool_gradient(
        self,
        problem: Problem,
        case: PoolCase,
        arrays: dict[str, Any],
        name: str,
        windows: tuple[Any, ...],
        last: bool,
    ) -> Call:
        aten = self._torch.ops.aten
        dy, indices = arrays["dy"], arrays.get("indices")
        shape = (*problem.input_shape[:2], *(1,) * (case.rank == 1), *case.size)
        like = self._torch.empty(shape, dtype=dy.dtype)
        if last:
            like = like.contiguous(memory_format=self._format(like.ndim))
        x = arrays.get("x", like)  # the gradients of averages need its shape only
        joined = problem.operation == "forward_and_gradient"
        if case.keeps_maxima:
            if not case.adaptive:
                name, windows = f"{name}_with_indices", (*windows, [1] * (x.ndim - 2), False)
            pool, backward = getattr(aten, name), getattr(aten, f"{name}_backward")
            extra = () if case.adaptive else windows
            if joined:
                return lambda: backward(dy, x, *extra, pool(x, *windows)[1])
            return lambda: backward(dy, x, *extra, indices)
        backward = getattr(aten, f"_{name}_backward" if case.adaptive else f"{name}_backward")
        extra = () if case.adaptive else (*windows, False, True, None)
        if not joined:
            return lambda: backward(dy, x, *extra)
        pool = getattr(self._torch.nn.functional, name)

        def average() -> Any:
            pool(x, *windows)
            return backward(dy, x, *extra)

        return average

    def _convolution(self, problem: Problem, arrays: Any, lift: bool) -> Call:
        torch, case = self._torch, problem.case
        assert isinstance(case, ConvCase)
        stride, padding, dilation, extra, ahead = _options(case, lift)
        x, w, dy = (arrays.get(key, None) for key in ("x", "w", "dy"))
        widen = (lambda x: torch.nn.functional.pad(x, ahead)) if ahead else (lambda x: x)
        if problem.operation == "forward":
            return lambda: torch.convolution(
                widen(x), w, None, stride, padding, dilation, case.transposed, extra, case.groups
            )
        backward = torch.ops.aten.convolution_backward
        fixed = (None, stride, padding, dilation, case.transposed, extra, case.groups)
        if problem.operation == "weight_gradient":
            shape = (*case.weight_shape[:2], *(1,) * lift, *case.kernel)
            w = torch.empty(shape, dtype=x.dtype).to(memory_format=_format_of(torch, x))
            return lambda: backward(dy, widen(x), w, *fixed, (False, True, False))[1]
        shape = (problem.batch, case.channels, *(1,) * lift, *case.size)
        x = widen(torch.empty(shape, dtype=dy.dtype)).to(memory_format=_format_of(torch, dy))
        first = ahead[0] if ahead else 0
        return lambda: backward(dy, x, w, *fixed, (True, False, False))[0][..., first:]

    def _packed(self, problem: Problem, arrays: dict[str, Any], lift: bool) -> Call | None:
        """With the weights reordered ahead, by the operators that torch's own freezing puts in."""
        torch, case = self._torch, problem.case
        assert isinstance(case, ConvCase)
        if problem.operation != "forward" or problem.dtype != "float32" or case.transposed:
            return None
        stride, padding, dilation, _, ahead = _options(case, lift)
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


def _options(case: ConvCase, lift: bool) -> tuple[list[int], ...]:
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
    if tensor.is_contiguous():
        return torch.contiguous_format
    return torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d
