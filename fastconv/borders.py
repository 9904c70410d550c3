"""The adjoint of padding.

What gradients on a padded border mean for the cells the border was made of.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .geometry import ConvGeometry
from .plan import Engine


def fold_border(padded: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Add each border cell of (N, C, *padded) to the cell of (N, C, *in_size) that it repeats.

    Axis by axis; works in place on `padded` and returns a view of its inside.
    """
    for axis, (size, (low, high)) in enumerate(zip(geometry.in_size, geometry.padding), start=2):
        lines = np.moveaxis(padded, axis, 0)
        inside = lines[low : low + size]
        for j in range(low):
            inside[_repeated(j - low, size, geometry.padding_mode)] += lines[j]
        for j in range(high):
            inside[_repeated(size + j, size, geometry.padding_mode)] += lines[low + size + j]
        padded = np.moveaxis(inside, 0, axis)
    return padded


def _repeated(position: int, size: int, mode: str) -> int:
    """The cell that a border position repeats."""
    if mode == "reflect":
        return -position if position < 0 else 2 * (size - 1) - position
    if mode == "replicate":
        return 0 if position < 0 else size - 1
    return position % size


class FoldedBorder:
    """Input gradient of a convolution whose padding repeats cells.

    Wraps the engine without padding.
    """

    def __init__(self, engine: Engine, geometry: ConvGeometry) -> None:
        self._engine, self._geometry = engine, geometry

    def pack(self, weight: np.ndarray, bias: np.ndarray | None) -> Any:
        """See `plan.Engine`."""
        return self._engine.pack(weight, bias)

    def run(self, source: np.ndarray, packed: Any, target: np.ndarray, threads: int | None) -> None:
        """See `plan.Engine`."""
        padded = np.empty(self._geometry.without_padding().input_shape, target.dtype)
        self._engine.run(source, packed, padded, threads)
        np.copyto(target, fold_border(padded, self._geometry))

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """See `plan.Engine`; the padded gradient is not counted."""
        return self._engine.workspace_bytes(source, target, threads)
