"""JAX on the CPU: XLA's convolution and window reduction, compiled for the shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.cases import ConvCase, PoolCase, per_axis
from benchmarks.problem import Problem, Side

SPATIAL = "DHW"


class Jax:
    """JAX on the CPU: XLA's convolution and window reduction, compiled for the shapes."""

    name = "jax"
    offers = (
        "convolution and its gradients, max and avg pooling forward; in both memory formats, with "
        "XLA's own threads"
    )

    def __init__(self, threads: int) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_platforms", "cpu")
        self._jax, self.version = jax, jax.__version__

    def sides(self, problem: Problem) -> Iterator[Side]:
        """See `Rival`."""
        case = problem.case
        if isinstance(case, PoolCase) and (
            problem.operation != "forward" or case.pool not in ("max", "avg")
        ):
            return
        for last in (False, True):
            name = "jax channels_last" if last else "jax"
            arrays = {key: self._array(a, last) for key, a in problem.operands.items()}
            if isinstance(case, PoolCase):
                function = self._pool(case, last)
                yield Side(name, self._compiled(function, [arrays["x"]], last))
                continue
            function, names = self._convolution(problem, case, last)
            yield Side(name, self._compiled(function, [arrays[key] for key in names], last))

    def _array(self, array: np.ndarray, last: bool) -> Any:
        """Channels at the end, of weights as well: JAX names the axes, so any order will do."""
        return self._jax.numpy.asarray(np.moveaxis(array, 1, -1) if last else array)

    def _compiled(self, function: Callable[..., Any], arrays: list[Any], last: bool) -> Any:
        compiled = self._jax.jit(function).lower(*arrays).compile()

        class Result:
            """Ready when the call ends; brought into (N, C, *spatial) only to be compared."""

            def __init__(self) -> None:
                self._value = compiled(*arrays).block_until_ready()

            def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
                value = np.asarray(self._value)
                return np.moveaxis(value, -1, 1) if last else value

        return Result

    def _convolution(
        self, problem: Problem, case: ConvCase, last: bool
    ) -> tuple[Callable[..., Any], tuple[str, ...]]:
        jax, axes = self._jax, SPATIAL[-case.rank :]
        order = f"N{axes}C" if last else f"NC{axes}"
        kernel = f"O{axes}I" if last else f"OI{axes}"
        g = problem.geometry  # of the forward problem, also of a transposed convolution

        def conv(x: Any, w: Any) -> Any:
            return jax.lax.conv_general_dilated(
                x,
                w,
                g.stride,
                g.padding,
                rhs_dilation=g.dilation,
                dimension_numbers=(order, kernel, order),
                feature_group_count=g.groups,
            )

        def empty(shape: tuple[int, ...]) -> Any:
            moved = (shape[0], *shape[2:], shape[1]) if last else shape
            return jax.ShapeDtypeStruct(moved, problem.dtype)

        def input_gradient(w: Any, dy: Any) -> Any:
            return jax.linear_transpose(lambda x: conv(x, w), empty(g.input_shape))(dy)[0]

        def weight_gradient(x: Any, dy: Any) -> Any:
            return jax.linear_transpose(lambda w: conv(x, w), empty(g.weight_shape))(dy)[0]

        operation = problem.operation
        if operation == "weight_gradient":
            return weight_gradient, ("dy", "x") if case.transposed else ("x", "dy")
        data = "x" if operation == "forward" else "dy"
        if (operation == "forward") == case.transposed:
            return input_gradient, ("w", data)
        return conv, (data, "w")

    def _pool(self, case: PoolCase, last: bool) -> Callable[..., Any]:
        jax, rank = self._jax, case.rank

        def spread(sizes: tuple[Any, ...], other: Any) -> tuple[Any, ...]:
            return (other, *sizes, other) if last else (other, other, *sizes)

        stride = per_axis(case.kernel if case.stride is None else case.stride, rank)
        pairs = tuple((p, p) for p in per_axis(case.padding, rank))
        window = (spread(case.kernel, 1), spread(stride, 1), spread(pairs, (0, 0)))
        if case.pool == "max":
            return lambda x: jax.lax.reduce_window(x, -np.inf, jax.lax.max, *window)
        count = float(np.prod(case.kernel))
        return lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, *window) / count
