"""A model seen from outside: a table of its layers with sizes, work and receptive fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastconv.arguments import as_int, as_shape
from fastconv.nn.memory import Memory, measured
from fastconv.sizes import receptive_field

if TYPE_CHECKING:
    from fastconv.nn.layer import Layer

Size = tuple[int, ...]
Windows = tuple[tuple[int, int, int], ...]  # (kernel size, stride, dilation) for each axis

COLUMNS = ("layer", "kind", "output shape", "parameters", "multiply-adds", "receptive field")


@dataclass(frozen=True)
class Signal:
    """What flows between two layers: its shape, batch included, and the windows it passed so far.

    `path` is None once the cells have mixed in another way than by windows, as in a dense layer.
    """

    shape: Size
    path: tuple[Windows, ...] | None = ()

    def through(self, shape: Size, windows: Windows | None) -> Signal:
        """The signal behind a layer that makes `shape` of it and mixes cells by `windows`."""
        if self.path is None or windows is None:
            return Signal(shape, None)
        return Signal(shape, (*self.path, windows) if windows else self.path)

    @property
    def field(self) -> Size | None:
        """Receptive field: cells of the input, for each axis, that one cell of the signal sees."""
        if not self.path:
            return None
        axes = (zip(*axis) for axis in zip(*self.path))
        return tuple(
            receptive_field(kernels, strides, dilations) for kernels, strides, dilations in axes
        )

    @classmethod
    def joined(cls, shape: Size, branches: Sequence[Signal]) -> Signal:
        """The signal where branches meet: it sees what the widest of them sees."""
        if any(branch.path is None for branch in branches):
            return cls(shape, None)
        return cls(shape, max(branches, key=lambda branch: branch.field or ()).path)


@dataclass(frozen=True)
class Row:
    """One layer of a summary; sizes are those of one sample.

    `receptive_field` is None where a cell does not see a window of the input: before the first
    window, behind a dense layer (which sees all of it) and behind a transposed convolution.
    """

    name: str
    kind: str
    output_shape: Size
    parameters: int
    multiply_adds: int
    receptive_field: Size | None


@dataclass(frozen=True)
class Summary:
    """The layers of a model with their shapes, sizes and work; ``str()`` makes the table.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of one sample, (C, *spatial).
    rows : tuple of Row
        One for each layer: name, kind, output_shape, parameters, multiply_adds, receptive_field.
    memory : Memory or None
        Bytes that a batch takes at most, if a `batch_size` was given: `training`, `inference`.

    Examples
    --------
    Ten 5x5 filters with padding 2 keep the size and have (5*5*3 + 1) * 10 parameters. Each of the
    32*32*10 outputs takes 75 multiply-adds and one more for the bias.

    >>> from fastconv import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 10, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    >>> print(model.summary((3, 32, 32)))
    layer  kind       output shape  parameters  multiply-adds  receptive field
           input      3x32x32
    0      Conv2d     10x32x32             760        778,240              5x5
    1      ReLU       10x32x32               0              0              5x5
    2      MaxPool2d  10x16x16               0              0              6x6
           total                           760        778,240
    """

    input_shape: Size
    rows: tuple[Row, ...]
    memory: Memory | None = None

    @property
    def parameters(self) -> int:
        """Number of trainable values."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass, a bias counted as one more for each output."""
        return sum(row.multiply_adds for row in self.rows)

    def __str__(self) -> str:
        table = [COLUMNS, ("", "input", _cross(self.input_shape), "", "", "")]
        for row in self.rows:
            field = "-" if row.receptive_field is None else _cross(row.receptive_field)
            counts = (f"{row.parameters:,}", f"{row.multiply_adds:,}")
            table.append((row.name, row.kind, _cross(row.output_shape), *counts, field))
        table.append(("", "total", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", ""))
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = [_aligned(line, widths) for line in table]
        return "\n".join(lines if self.memory is None else [*lines, str(self.memory)])


def summarise(model: Layer, input_shape: Any, batch_size: Any = None) -> Summary:
    """The summary of `model` for one sample of shape (C, *spatial), without the batch.

    With a `batch_size` some passes of a copy of the model are made to see what memory they take.

    Raises
    ------
    ValueError
        If a layer does not take the shape that reaches it, or `batch_size` is less than 1.
    """
    sample = as_shape("summary", "input_shape", input_shape)
    rows, _ = model.trace("", Signal((1, *sample)))
    if batch_size is None:
        return Summary(sample, tuple(rows))
    size = as_int("summary", "batch_size", batch_size, at_least=1)
    return Summary(sample, tuple(rows), measured(model, sample, size))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line of the table: words to the left, numbers to the right."""
    words = [cell.ljust(width) for cell, width in zip(cells[:3], widths)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:])]
    return "  ".join(words + numbers).rstrip()


def _cross(sizes: Size) -> str:
    """(10, 32, 32) as ``10x32x32``."""
    return "x".join(map(str, sizes))
