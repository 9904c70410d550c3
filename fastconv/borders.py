"""Input gradients under padding modes that repeat cells of the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from .folding import pad_input
from .geometry import ConvGeometry
from .plan import Engine


class FoldedBorder:
    """Input gradient of a convolution whose padding repeats cells.

    Wraps the engine without padding.
    """

    def __init__(self, engine: Engine, geometry: ConvGeometry) -> None:
        self._engine, self._geometry = engine, geometry

    def pack(self, weight: np.ndarray, bias: np.ndarray | None, once: bool = False) -> Any:
        """See `plan.Engine`."""
        return self._engine.pack(weight, bias, once)

    def run(self, source: np.ndarray, packed: Any, target: np.ndarray, threads: int | None) -> None:
        """See `plan.Engine`."""
        padded = np.empty(self._geometry.without_padding().input_shape, target.dtype)
        self._engine.run(source, packed, padded, threads)
        pairs = ((0, 0), (0, 0), *self._geometry.padding)
        np.copyto(target, pad_input(padded, pairs, self._geometry.padding_mode))

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """See `plan.Engine`; the padded gradient is not counted."""
        return self._engine.workspace_bytes(source, target, threads)
