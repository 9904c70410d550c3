"""Layers made of layers: one after the other, around a shortcut, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.device import cuda
from fastconv.nn.activation import ReLU
from fastconv.nn.layer import Array, Layer
from fastconv.nn.passes import Passes
from fastconv.nn.pooling import MaxPool1d, MaxPool2d, MaxPool3d
from fastconv.nn.summary import Row, Signal, Size

MAXIMA = (MaxPool1d, MaxPool2d, MaxPool3d)


def _check_layers(name: str, layers: dict[str, Any]) -> None:
    """Refuse what is no layer, and a layer at two places: it keeps one forward pass only."""
    places: dict[Layer, str] = {}
    for place, layer in layers.items():
        if not isinstance(layer, Layer):
            raise TypeError(f"{name}: {place} must be a layer, not {layer!r}")
        for part in layer.layers():
            if part in places:
                raise ValueError(
                    f"{name}: the same {type(part).__name__} object is in {places[part]} and in "
                    f"{place}; every place needs a layer of its own"
                )
            places[part] = place


def _trace_children(layer: Layer, name: str, signal: Signal) -> tuple[list[Row], list[Signal]]:
    """Rows of all children that take `signal`, and the signal behind each."""
    rows: list[Row] = []
    ends: list[Signal] = []
    for child_name, child in layer.children():
        more, end = child.trace(f"{name}.{child_name}".lstrip("."), signal)
        rows += more
        ends.append(end)
    return rows, ends


class Sequential(Layer):
    """Layers applied one after the other.

    Parameters
    ----------
    *layers : Layer
        Named "0", "1", ... in order.
    **named_layers : Layer
        Applied after these, under their names.

    Raises
    ------
    TypeError
        If one is no layer.
    ValueError
        If a layer object occurs twice, here or inside.

    Notes
    -----
    ``model[0]``, ``model[-1]`` and ``model["features"]`` give a layer, ``model[:3]`` a `Sequential`
    of the same layers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), head=nn.Linear(3, 1, bias=False))
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', 'head.weight']
    >>> for parameter in model.parameters():
    ...     parameter.data = np.ones(parameter.shape)
    >>> model(np.array([[1.0, 2.0]], np.float32))
    array([[12.]], dtype=float32)
    >>> model.backward(np.ones((1, 1), np.float32))
    array([[3., 3.]], dtype=float32)
    >>> model["head"].weight.grad
    array([[4., 4., 4.]], dtype=float32)
    """

    # While a training is profiled: what takes the times, and what the names of layers begin with.
    profile: tuple[Any, str] | None = None
    # Layers whose work another one did in the last forward pass: a ReLU of a maximum.
    absorbed: set[Layer] | None = None
    # Both passes for batches like the last ones, done without the layers.
    _passes: Passes | None = None
    transient = ("_saved", "absorbed", "_passes")

    def __init__(self, *layers: Layer, **named_layers: Layer) -> None:
        self._layers: dict[str, Layer] = {str(index): layer for index, layer in enumerate(layers)}
        for name in named_layers:
            if name in self._layers or not name or "." in name:
                raise ValueError(f"Sequential: {name!r} cannot be the name of a layer, or is taken")
        self._layers.update(named_layers)
        _check_layers("Sequential", self._layers)

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Names and layers, in order."""
        return iter(self._layers.items())

    def forward(self, x: Array) -> Array:
        """The layers' forward passes, first to last."""
        if self._passes is None:
            self._passes = Passes(self)
        output = None if self.profile else self._passes.forward(x)
        return self.forward_by_layers(x) if output is None else output

    def forward_by_layers(self, x: Array) -> Array:
        """As `forward`, one layer after the other."""
        absorbed: set[Layer] = set()
        order = self._order()
        for (name, layer), (_, following) in zip(order, [*order[1:], ("", None)]):
            if layer in absorbed:
                continue
            if isinstance(layer, MAXIMA) and type(following) is ReLU:
                engine = layer.lockstep_engine(x, True)
                if engine is not None:
                    absorbed.add(following)
                    x = self._timed(name, layer, False, layer.forward_in_lockstep, engine, x)
                    continue
            x = self._timed(name, layer, False, layer.forward, x)
        self.absorbed = absorbed
        return x

    def _order(self) -> list[tuple[str, Layer]]:
        """Names and layers in the order in which they run.

        A maximum of ReLUs is the ReLU of the maximum, and so are the gradients: the maximum first
        leaves the ReLU fewer values, a quarter of them behind windows of 2 x 2.
        """
        order = list(self._layers.items())
        for i in range(len(order) - 1):
            (_, first), (_, second) = order[i], order[i + 1]
            if type(first) is ReLU and type(second) in MAXIMA:
                order[i], order[i + 1] = order[i + 1], order[i]
        return order

    def _timed(
        self, name: str, layer: Layer, backward: bool, call: Any, *args: Any, **options: Any
    ) -> Any:
        """The result of a pass of a layer, whose time is taken while a training is profiled."""
        if self.profile is None or isinstance(layer, Sequential):
            return call(*args, **options)
        profile, prefix = self.profile
        kind = type(layer).__name__
        return profile.timed_layer(f"{prefix}{name}", kind, backward, call, *args, **options)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """The layers' backward passes, last to first.

        Without `input_gradient` it stops at the first layer that has parameters, whose input
        gradient is not computed either. See `Layer.backward`.
        """
        if self._passes is not None and self.profile is None:
            done = self._passes.backward(gradient, input_gradient)
            if done is not None:
                return done[0]
        return self.backward_by_layers(gradient, input_gradient)

    def backward_by_layers(self, gradient: Array, input_gradient: bool) -> Array | None:
        """As `backward`, one layer after the other."""
        layers = self._order()
        stop = 0 if input_gradient else self._first_trained(layers)
        flowing: Any = gradient
        absorbed = self.absorbed or set()
        for name, layer in reversed(layers[stop + 1 :]):
            if layer in absorbed:
                continue
            flowing = self._timed(name, layer, True, layer.backward, flowing)
        if stop < len(layers):
            name, layer = layers[stop]
            options = {"input_gradient": input_gradient}
            flowing = self._timed(name, layer, True, layer.backward, flowing, **options)
        return flowing if input_gradient else None

    @staticmethod
    def _first_trained(layers: list[tuple[str, Layer]]) -> int:
        """Index of the first layer with parameters; the number of layers if there is none."""
        for index, (_, layer) in enumerate(layers):
            if any(True for _ in layer.parameters()):
                return index
        return len(layers)

    def trace(self, name: str, signal: Signal) -> tuple[list[Row], Signal]:
        """The rows of the layers; none of its own."""
        rows: list[Row] = []
        for child_name, child in self.children():
            more, signal = child.trace(f"{name}.{child_name}".lstrip("."), signal)
            rows += more
        return rows, signal

    def output_shape(self, input_shape: Size) -> Size:
        """Shape of the last layer's output."""
        return self.trace("", Signal(input_shape))[1].shape

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers.values())

    def __getitem__(self, key: int | slice | str) -> Layer:
        if isinstance(key, str):
            return self._layers[key]
        if isinstance(key, slice):
            part = Sequential()
            part._layers = dict(list(self._layers.items())[key])
            return part
        return list(self._layers.values())[key]


class Residual(Layer):
    """``body(x) + shortcut(x)``: a block around which the signal also takes a short way.

    Parameters
    ----------
    body : Layer
        Its parameters are named ``"body...."``.
    shortcut : Layer, optional
        ``"shortcut...."``; x itself if not given. Usually a 1x1 convolution where the body changes
        the shape.

    Raises
    ------
    TypeError, ValueError
        As `Sequential`. `forward` raises ValueError if the two results have different shapes.

    References
    ----------
    .. [1] K. He et al., "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Residual(nn.ReLU())
    >>> layer(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    >>> layer.backward(np.array([[10.0, 10.0]]))
    array([[10., 20.]])
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        parts = {"body": body} if shortcut is None else {"body": body, "shortcut": shortcut}
        _check_layers("Residual", parts)
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Array) -> Array:
        """Sum of the two ways."""
        long = self.body.forward(x)
        short = x if self.shortcut is None else self.shortcut.forward(x)
        if long.shape != short.shape:
            raise ValueError(
                f"Residual: body gives shape {long.shape}, the shortcut shape {short.shape}"
            )
        return long + short

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        long = self.body.backward(gradient, input_gradient=input_gradient)
        short: Array | None = gradient
        if self.shortcut is not None:
            short = self.shortcut.backward(gradient, input_gradient=input_gradient)
        if long is None or short is None or not input_gradient:
            return None
        return long + short

    def trace(self, name: str, signal: Signal) -> tuple[list[Row], Signal]:
        """The rows of both ways and one for the sum."""
        rows, ends = _trace_children(self, name, signal)
        if self.shortcut is None:
            ends.append(signal)
        if ends[0].shape != ends[1].shape:
            raise ValueError(
                f"Residual: the two ways give shapes {ends[0].shape} and {ends[1].shape}"
            )
        after = Signal.joined(ends[0].shape, ends)
        return [*rows, Row(name, "Residual", after.shape[1:], 0, 0, after.field)], after

    def output_shape(self, input_shape: Size) -> Size:
        """Shape of the sum."""
        return self.trace("", Signal(input_shape))[1].shape


class Concat(Layer):
    """The results of several branches side by side along the channel axis.

    Parameters
    ----------
    *branches : Layer
        At least one. Their parameters are named ``"0...."``, ``"1...."``, ...

    Raises
    ------
    TypeError, ValueError
        As `Sequential`, and if there is no branch. `forward` raises ValueError if the results
        differ in more than their channels.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Concat(nn.ReLU(), nn.Flatten())
    >>> layer(np.array([[-1.0, 2.0]]))
    array([[ 0.,  2., -1.,  2.]])
    >>> layer.backward(np.array([[1.0, 2.0, 10.0, 20.0]]))
    array([[10., 22.]])
    """

    def __init__(self, *branches: Layer) -> None:
        if not branches:
            raise ValueError("Concat: needs at least one branch, not 0")
        self._branches = {str(index): branch for index, branch in enumerate(branches)}
        _check_layers("Concat", self._branches)

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Names and branches, in order."""
        return iter(self._branches.items())

    def forward(self, x: Array) -> Array:
        """(N, sum of the branches' channels, ...)."""
        outputs = [branch.forward(x) for branch in self._branches.values()]
        self._check_shapes([output.shape for output in outputs])
        channels = [output.shape[1] for output in outputs]
        if type(outputs[0]) is np.ndarray:
            joined = np.concatenate(outputs, axis=1)
        else:
            joined = cuda("layers").concatenate(outputs)
        return self.remember(joined, np.cumsum([0, *channels]))

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        (edges,) = self.recall(gradient)
        total: Array | None = None
        for branch, start, stop in zip(self._branches.values(), edges, edges[1:]):
            part = branch.backward(gradient[:, start:stop], input_gradient=input_gradient)
            total = part if total is None or part is None else total + part
        return total if input_gradient else None

    @staticmethod
    def _check_shapes(shapes: list[Size]) -> None:
        """Refuse results that differ in another axis than the channels."""
        first = shapes[0]
        for index, shape in enumerate(shapes):
            if shape[:1] + shape[2:] != first[:1] + first[2:]:
                raise ValueError(
                    f"Concat: branch 0 gives shape {first}, branch {index} shape {shape}; only the "
                    f"channels may differ"
                )

    def trace(self, name: str, signal: Signal) -> tuple[list[Row], Signal]:
        """The rows of the branches and one for the joint result."""
        rows, ends = _trace_children(self, name, signal)
        shapes = [end.shape for end in ends]
        self._check_shapes(shapes)
        channels = sum(shape[1] for shape in shapes)
        after = Signal.joined((shapes[0][0], channels, *shapes[0][2:]), ends)
        return [*rows, Row(name, "Concat", after.shape[1:], 0, 0, after.field)], after

    def output_shape(self, input_shape: Size) -> Size:
        """Shape of the joint result."""
        return self.trace("", Signal(input_shape))[1].shape
