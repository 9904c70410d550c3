"""Input gradients under padding modes that repeat cells, by way of the padded input."""

from __future__ import annotations

from ..geometry import ConvGeometry
from .arrays import DeviceArray, empty, is_channels_last
from .engine import Correlations, Epilogue, Packed
from .folding import pad_input


class FoldedBorder:
    """As `fastconv.borders.FoldedBorder`: wraps the engine without padding."""

    def __init__(self, engine: Correlations, geometry: ConvGeometry) -> None:
        self._engine, self._geometry = engine, geometry

    def pack(self, weight: DeviceArray, bias: DeviceArray | None) -> Packed:
        """See `plan.Engine`."""
        return self._engine.pack(weight, bias)

    def run(
        self,
        source: DeviceArray,
        packed: Packed,
        target: DeviceArray,
        threads: int | None = None,
        epilogue: Epilogue | None = None,
    ) -> None:
        """See `plan.Engine`."""
        shape = self._geometry.without_padding().input_shape
        padded = empty(shape, target.dtype, is_channels_last(target))
        self._engine.run(source, packed, padded, threads)
        pairs = ((0, 0), (0, 0), *self._geometry.padding)
        target[...] = pad_input(padded, pairs, self._geometry.padding_mode)

    def workspace_bytes(
        self, source: tuple[int, ...], target: tuple[int, ...], threads: int | None
    ) -> int:
        """See `plan.Engine`; the padded gradient is not counted."""
        return self._engine.workspace_bytes(source, target, threads)
