"""How much memory the passes of a model take: measured, since layers share and reuse arrays."""

from __future__ import annotations

import copy
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastconv import recycling
from fastconv.cpu.replay import BEFORE_REPLAY

if TYPE_CHECKING:
    from fastconv.nn.layer import Layer


@dataclass(frozen=True)
class Memory:
    """Bytes at most, parameters included.

    Attributes
    ----------
    batch_size : int
    training : int
        A step: the passes forward and back, with gradients, without an optimizer's own arrays.
    inference : int
        A pass in evaluation mode.
    """

    batch_size: int
    training: int
    inference: int

    def __str__(self) -> str:
        return (
            f"memory for a batch of {self.batch_size:,}: training {_mebibytes(self.training)}, "
            f"inference {_mebibytes(self.inference)}"
        )


def measured(model: Layer, sample: tuple[int, ...], batch_size: int) -> Memory:
    """The memory of a copy of a model on the host, for a batch of zeros."""
    weight, dtype = _weight(model)
    x = np.zeros((batch_size, *sample), dtype)
    _peaks(copy.deepcopy(model), x)  # compiles, which takes memory too
    inference, training = _peaks(copy.deepcopy(model), x)
    given = weight + x.nbytes
    return Memory(batch_size, given + training, given + inference)


def _weight(model: Layer) -> tuple[int, np.dtype]:
    """Bytes of all parameters, and the dtype of the first."""
    arrays = [parameter.data for parameter in model.parameters()]
    return sum(x.nbytes for x in arrays), arrays[0].dtype if arrays else np.dtype(np.float32)


def _peaks(model: Layer, x: np.ndarray) -> list[int]:
    """Bytes at most in a pass in evaluation mode, and in some steps of training."""
    model.eval()
    with _peak() as inference:
        model(x)
    model.train()
    with _peak() as training:
        for _ in range(BEFORE_REPLAY + 1):  # later ones may be done in memory of their own
            output = model(x)
            model.backward(np.zeros_like(output), input_gradient=False)
            model.zero_grad()
            del output
    return inference + training


@contextmanager
def _peak() -> Iterator[list[int]]:
    """A list that gets the bytes that were there at once at most within the ``with`` block."""
    found: list[int] = []
    recycling.forget()
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        yield found
        found.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        if not traced:
            tracemalloc.stop()


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
