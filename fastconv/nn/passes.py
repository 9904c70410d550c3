"""Passes of a network again: the launches of all its layers, laid down once for batches of a kind.

What Python does between the launches of small layers takes as long as the launches, and meanwhile
the other threads fall asleep. Layers whose whole work is launches on arrays of their own are
rehearsed once on a batch; for later ones like it their kernels do the same in the same memory.
Only parameters, their gradients and the batch may lie elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import recycling
from fastconv.cpu.launch import get_threads
from fastconv.cpu.program import Unwritten, rehearsal
from fastconv.cpu.replay import BEFORE_REPLAY, LongReplay, apart
from fastconv.nn.activation import ReLU
from fastconv.nn.convolution import Conv1d, Conv2d, Conv3d
from fastconv.nn.layer import Array, Layer, Parameter
from fastconv.nn.linear import Flatten, Linear
from fastconv.nn.pooling import MaxPool1d, MaxPool2d, MaxPool3d

if TYPE_CHECKING:
    from fastconv.nn.sequential import Sequential

# Layers that note all they do, or that it cannot be noted. A subclass may do something else.
NOTING = (Conv1d, Conv2d, Conv3d, MaxPool1d, MaxPool2d, MaxPool3d, ReLU, Linear, Flatten)
# Results are copied out of the memory of the passes: there Python's time is less than such a copy.
MOST_COPIED = 256 << 10
# Beside so much memory Python's time is nothing.
MOST_KEPT = 64 << 20

Kind = tuple[Any, ...]
# What a layer keeps for `backward`.
Saved = tuple[Any, ...]


class Passes:
    """The passes of a network in training, done again from some batches of one kind on."""

    def __init__(self, network: Sequential) -> None:
        self._network, self._layers = network, list(network)
        self._noting = all(type(layer) in NOTING for layer in self._layers)
        self._kind: Kind | None = None  # of the last batch that the layers took
        self._before = 0  # such batches, one after the other
        self._ready: _Ready | None = None

    def forward(self, x: Array) -> Array | None:
        """The output for a batch, or None if the layers must find it."""
        if not self._noting or type(x) is not np.ndarray:
            return None
        if not all([layer.training for layer in self._layers]):
            return None
        threads = get_threads()
        kind = x.shape, x.strides, x.dtype, threads
        ready = self._ready
        if ready is not None and ready.kind == kind and ready.is_valid():
            return ready.forward(x)
        self._before = self._before + 1 if kind == self._kind else 1
        self._kind = kind
        if self._before != BEFORE_REPLAY:
            return None
        self._ready = None  # before as much memory is taken again
        try:
            self._ready = _Ready(self._network, self._layers, kind, x)
        except Unwritten:
            return None
        return self._ready.forward(x)

    def backward(self, gradient: Array, input_gradient: bool) -> tuple[Array | None] | None:
        """The gradient of the batch, if wanted, in a tuple; None if the layers must go back."""
        ready = self._ready
        if ready is None or type(gradient) is not np.ndarray:
            return None
        try:
            return ready.backward(gradient, input_gradient)
        except Unwritten:
            return None


class _Ready:
    """Both passes for batches of one kind; the one backward is laid down when it is first made."""

    def __init__(self, network: Sequential, layers: list[Layer], kind: Kind, x: Array) -> None:
        """Raises Unwritten if the layers do not note all that they do."""
        self.kind, self._network = kind, network
        self._attributes = [
            (vars(layer), name, value)
            for layer in layers
            for name, value in vars(layer).items()
            if isinstance(value, Parameter)
        ]
        self._parameters = [parameter for _, _, parameter in self._attributes]
        self._makers = [partial(recycling.empty, p.shape, p.data.dtype) for p in self._parameters]
        for layer in layers:
            layer._saved = None
        batch = apart(x)
        with rehearsal() as notes:
            self._output = network.forward_by_layers(batch)
        self._absorbed = network.absorbed
        self._again = LongReplay(notes, [batch, *self._data()], kind[-1])
        _check(self._again, self._output, batch)
        # What the layers keep, and where the batch is in that.
        self._kept = [(x, x._saved, _places(x._saved, batch)) for x in layers if x._saved]
        # After a forward pass: the batch, and what each layer keeps of it.
        self._batch: Array | None = None
        self._saved: list[Saved] = []
        self._way_back: tuple[Kind, LongReplay | None, Array | None] | None = None

    def _data(self) -> list[Array]:
        return [parameter.data for parameter in self._parameters]

    def is_valid(self) -> bool:
        """Whether the layers have the parameters that they had."""
        return all([names.get(name) is value for names, name, value in self._attributes])

    def forward(self, x: Array) -> Array:
        """The output for a batch of the kind."""
        self._again([x, *self._data()])
        self._keep(x)
        return self._output.copy(order="K")

    def _keep(self, x: Array) -> None:
        """Let each layer keep what it would have kept itself."""
        self._batch, self._network.absorbed = x, self._absorbed
        self._saved = [_of(x, saved, places) for _, saved, places in self._kept]
        for (layer, _, _), saved in zip(self._kept, self._saved):
            layer._saved = saved

    def _forget(self) -> None:
        self._batch, self._saved = None, []
        for layer, _, _ in self._kept:
            layer._saved = None

    def backward(self, gradient: Array, input_gradient: bool) -> tuple[Array | None] | None:
        """The gradient of the batch, if wanted, in a tuple; None if the layers must go back."""
        x, output = self._batch, self._output
        if x is None or gradient.shape != output.shape or gradient.dtype != output.dtype:
            return None
        threads = get_threads()
        if not self.is_valid() or self.kind[-1] != threads:
            return None
        if any([parameter.grad is not None for parameter in self._parameters]):  # to be added to
            return None
        for (layer, _, _), saved in zip(self._kept, self._saved):
            if layer._saved is not saved:  # it went forward or backward by itself
                return None
        kind = gradient.strides, input_gradient
        if self._way_back is None or self._way_back[0] != kind:
            self._way_back = kind, None, None  # if it is unwritten
            self._way_back = kind, *self._lay_back(x, gradient, input_gradient)
        _, again, result = self._way_back
        if again is None:
            return None
        made = [make() for make in self._makers]
        again([x, gradient, *self._data(), *made])
        self._forget()
        for parameter, slope in zip(self._parameters, made):
            parameter.grad = slope
        return (None if result is None else result.copy(order="K"),)

    def _lay_back(
        self, x: Array, gradient: Array, input_gradient: bool
    ) -> tuple[LongReplay, Array | None]:
        """The pass backward, and where it leaves the gradient of the batch."""
        batch, slope = apart(x), apart(gradient)
        self._keep(batch)
        try:
            with rehearsal() as notes:
                result = self._network.backward_by_layers(slope, input_gradient)
            made = [p.grad for p in self._parameters if p.grad is not None]
        finally:
            self._keep(x)
            for parameter in self._parameters:
                parameter.grad = None
        if len(made) < len(self._parameters) or not all(g.flags.c_contiguous for g in made):
            raise Unwritten
        arrays = [batch, slope, *self._data()]
        again = LongReplay(notes, [*arrays, *made], self.kind[-1])
        if not again.used.issuperset(range(len(arrays), len(arrays) + len(made))):
            raise Unwritten  # NumPy made one
        _check(again, result, slope)
        return again, result


def _check(again: LongReplay, result: Array | None, given: Array) -> None:
    """Raises Unwritten where memory is large, or a result is not in that of the passes."""
    if again.kept_bytes > MOST_KEPT:
        raise Unwritten
    if result is None:
        return
    if result.nbytes > MOST_COPIED or np.may_share_memory(result, given):
        raise Unwritten


def _places(saved: Saved, batch: Array) -> list[int]:
    """Which of the things that a layer keeps are the batch, perhaps in another shape."""
    found = []
    for place, kept in enumerate(saved[2]):
        if isinstance(kept, np.ndarray) and np.may_share_memory(kept, batch):
            flat = kept.flags.c_contiguous and batch.flags.c_contiguous
            if kept is not batch and not (flat and kept.size == batch.size):
                raise Unwritten
            found.append(place)
    return found


def _of(x: Array, saved: Saved, places: list[int]) -> Saved:
    """The same things kept of another batch."""
    if not places:
        return saved
    shape, dtype, kept = saved
    renewed = [x.reshape(one.shape) if i in places else one for i, one in enumerate(kept)]
    return shape, dtype, tuple(renewed)
