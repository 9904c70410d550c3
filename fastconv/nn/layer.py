"""Parameter and Layer: the two ideas the network API rests on.

There is no tape. `Layer.forward` keeps what its backward needs in one attribute; `Layer.backward`
consumes it, adds to the gradients of the layer's parameters and returns the gradient of the layer's
input. Neither ever writes into an array that it was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv.device import on_device, on_host, to_device
from fastconv.nn import state
from fastconv.nn.summary import Row, Signal, Size, Summary, Windows, summarise

Array = npt.NDArray[Any]

# In evaluation mode more images are taken as they lie: there weights that are packed once pay.
MOST_IN_LOCKSTEP = 256

FLOAT_TYPES = (np.dtype(np.float32), np.dtype(np.float64))


def float_type(name: str, dtype: npt.DTypeLike) -> np.dtype[Any]:
    """`dtype` if parameters can have it, else TypeError with the caller's `name`."""
    result = np.dtype(dtype)
    if result not in FLOAT_TYPES:
        raise TypeError(f"{name}: dtype must be float32 or float64, not {result}")
    return result


def moved(x: Array, device: str) -> Array:
    """An array on the device "cuda" or "cpu"."""
    if device not in ("cuda", "cpu"):
        raise ValueError(f"to: device must be 'cuda' or 'cpu', not {device!r}")
    return to_device(x) if device == "cuda" else on_host(x)


class Parameter:
    """A trainable array together with its gradient.

    Parameters
    ----------
    data : array_like
        The values, float32 or float64. They are copied.

    Attributes
    ----------
    data : ndarray
        The values. Assigning copies the given array into a new one of the same shape and dtype.
    grad : ndarray or None
        Gradient of the loss, of the same shape: `backward` adds to it, None stands for zero.
    version : int
        Number of changes so far, by assignment to `data`, by an optimizer, by loading or by
        `touch`.

    Raises
    ------
    TypeError
        If the values are neither float32 nor float64.

    Notes
    -----
    A layer in evaluation mode holds a packed copy of its weights and drops it when the version
    changes. NumPy does not tell when ``parameter.data[...] = values`` edits the array in place:
    call `touch` afterwards.

    Examples
    --------
    >>> from fastconv import nn
    >>> weight = nn.Parameter([0.5, -1.5])
    >>> weight.data[0] = 2.0
    >>> weight.touch()
    >>> weight
    Parameter(shape=(2,), dtype=float64, version=1)
    """

    __slots__ = ("_data", "grad", "version")

    def __init__(self, data: npt.ArrayLike) -> None:
        values = np.array(data, order="C")
        float_type("Parameter", values.dtype)
        self._data = values
        self.grad: Array | None = None
        self.version = 0

    @property
    def data(self) -> Array:
        return self._data

    @data.setter
    def data(self, values: npt.ArrayLike) -> None:
        on_its_device = on_device(self._data)
        replacement = np.array(on_host(values), dtype=self._data.dtype, order="C")
        if replacement.shape != self._data.shape:
            raise ValueError(
                f"Parameter: data of shape {replacement.shape} cannot replace shape {self.shape}"
            )
        self._data = to_device(replacement) if on_its_device else replacement
        self.version += 1

    def to(self, device: str) -> None:
        """Move values and gradient to "cuda" or "cpu"; see `Layer.to`."""
        self._data = moved(self._data, device)
        self.grad = None if self.grad is None else moved(self.grad, device)
        self.version += 1

    @property
    def shape(self) -> Size:
        """Shape of the values."""
        return self._data.shape

    @property
    def size(self) -> int:
        """Number of values."""
        return self._data.size

    def touch(self) -> None:
        """Tell that the values were edited in place."""
        self.version += 1

    def add_gradient(self, gradient: Array) -> None:
        """Add to `grad`; where that is None take the array itself, which must not be reused."""
        if self.grad is None:
            self.grad = gradient
        else:
            self.grad += gradient

    def zero_grad(self) -> None:
        """Forget the gradient: the next backward writes instead of adding."""
        self.grad = None

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self._data.dtype}, version={self.version})"


class Layer:
    """Base of every layer, and of your own.

    A subclass implements `forward` and `backward`; attributes that are a `Parameter` or a `Layer`
    are found by themselves and named after the attribute, as in PyTorch.

    Attributes
    ----------
    training : bool
        True at first. In evaluation mode (`eval`) a layer keeps nothing for `backward`.

    Notes
    -----
    A layer keeps one forward pass: it can stand at one place of a network only, and one thread at a
    time can train it. It keeps its input, not a copy: do not change that before `backward`.

    Examples
    --------
    A layer with one trainable factor:

    >>> import numpy as np
    >>> from fastconv import nn
    >>> class Scale(nn.Layer):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter([3.0])
    ...     def forward(self, x):
    ...         return self.remember(x * self.factor.data, x)
    ...     def backward(self, gradient, *, input_gradient=True):
    ...         (x,) = self.recall(gradient)
    ...         self.factor.add_gradient(np.array([np.vdot(gradient, x)]))
    ...         return gradient * self.factor.data if input_gradient else None
    >>> layer = Scale()
    >>> layer(np.array([1.0, 2.0]))
    array([3., 6.])
    >>> layer.backward(np.array([10.0, 1.0]))
    array([30.,  3.])
    >>> layer.factor.grad
    array([12.])
    """

    training: bool = True
    # Names of the attributes that are arrays of the state but not trained, such as running
    # statistics.
    buffers: ClassVar[tuple[str, ...]] = ()
    # Attributes that hold work in progress: left out when the layer is copied or pickled.
    transient: ClassVar[tuple[str, ...]] = ("_saved",)
    # Shape and dtype of the last output, and what `backward` needs.
    _saved: tuple[Size, np.dtype[Any], tuple[Any, ...]] | None = None

    # --- computing

    def forward(self, x: Array) -> Array:
        """Output of the layer for the input `x`, (N, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """Gradient of the loss by the input of the last `forward`, given that by its output.

        Parameters
        ----------
        gradient : ndarray
            Of the shape and dtype of the last output.
        input_gradient : bool, default True
            False computes the gradients of the parameters only and returns None; the first layer of
            a network needs no more.

        Returns
        -------
        ndarray or None
            Of the shape of the last input.

        Raises
        ------
        RuntimeError
            If no forward in training mode came before.
        ValueError, TypeError
            If `gradient` has another shape or dtype than the output.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, x: Any) -> Array:
        return self.forward(x if on_device(x) else np.asarray(x))

    def remember(self, output: Array, *kept: Any) -> Array:
        """Keep for `recall` what backward needs, in training mode; returns `output`."""
        self._saved = (output.shape, output.dtype, kept) if self.training else None
        return output

    def recall(self, gradient: Array) -> tuple[Any, ...]:
        """What the last `forward` kept, once, after checking `gradient` against its output."""
        name = type(self).__name__
        if self._saved is None:
            raise RuntimeError(
                f"{name}: backward needs a forward in training mode first, one for each backward"
            )
        shape, dtype, kept = self._saved
        if gradient.shape != shape:
            raise ValueError(
                f"{name}: gradient of shape {gradient.shape} is not of the output's shape {shape}"
            )
        if gradient.dtype != dtype:
            raise TypeError(f"{name}: gradient is {gradient.dtype}, the output was {dtype}")
        self._saved = None
        return kept

    def check_input(self, x: Array, channels: int, dimensions: tuple[int, ...], dtype: Any) -> None:
        """Refuse an input (N, C, ...) of other dimensions, channels or dtype."""
        name = type(self).__name__
        if x.ndim not in dimensions:
            wanted = " or ".join(map(str, dimensions))
            raise ValueError(
                f"{name}: input must have {wanted} dimensions, batch first, not shape {x.shape}"
            )
        if x.shape[1] != channels:
            raise ValueError(
                f"{name}: input of shape {x.shape} has {x.shape[1]} channels, the layer takes "
                f"{channels}"
            )
        if x.dtype != dtype:
            raise TypeError(
                f"{name}: input is {x.dtype}, the layer is {dtype}; convert it with "
                f"x.astype(np.{dtype})"
            )

    # --- parts

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Names and layers of the layers held directly."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Layer))

    def layers(self) -> Iterator[Layer]:
        """This layer and all layers inside it."""
        yield self
        for _, child in self.children():
            yield from child.layers()

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Names such as ``"features.0.weight"`` and parameters, inner layers included."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, inner layers included."""
        return (parameter for _, parameter in self.named_parameters())

    def named_arrays(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Names and arrays of the whole state: parameters, buffers, inner layers, as PyTorch."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value.data
        for name in self.buffers:
            if getattr(self, name) is not None:
                yield prefix + name, getattr(self, name)
        for name, child in self.children():
            yield from child.named_arrays(f"{prefix}{name}.")

    # --- modes

    def train(self, mode: bool = True) -> Layer:
        """Switch this layer and all inside it to training (or evaluation) mode; returns it."""
        for layer in self.layers():
            layer.set_mode(bool(mode))
        return self

    def set_mode(self, training: bool) -> None:
        """Switch this layer alone; work in progress of the other mode is dropped."""
        if training != self.training:
            self.training = training
            for name in self.transient:
                setattr(self, name, None)

    def eval(self) -> Layer:
        """Switch to evaluation mode: no dropout, running statistics, packed weights; returns it."""
        return self.train(False)

    def to(self, device: str) -> Layer:
        """Move this layer and all inside it to a device; returns it.

        There it takes arrays on that device only, `fit`, `predict` and `evaluate` excepted, which
        send their batches after it. What it kept for `backward` is dropped; optimizers go on.

        Parameters
        ----------
        device : {"cuda", "cpu"}

        Raises
        ------
        ValueError
            If it is neither of them.
        RuntimeError
            If there is no GPU to move to; the message says why.
        """
        for layer in self.layers():
            for name in layer.transient:
                setattr(layer, name, None)
            for name in layer.buffers:
                value = getattr(layer, name)
                if value is not None and value.ndim:  # a count stays on the host
                    setattr(layer, name, moved(value, device))
        for parameter in self.parameters():
            parameter.to(device)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    # --- state

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers by name; the names and layouts are PyTorch's."""
        return state.state_dict(self)

    def load_state_dict(self, arrays: Any, strict: bool = True) -> tuple[list[str], list[str]]:
        """Take over arrays by name; see `fastconv.nn.state.load_state_dict`."""
        return state.load_state_dict(self, arrays, strict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a safetensors file, replacing it at once or not at all."""
        state.save(self, path)

    def load(
        self, path: str | os.PathLike[str], strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """Read the state from a safetensors file, also one that PyTorch wrote."""
        return state.load(self, path, strict)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self.transient}

    # --- description

    def output_shape(self, input_shape: Size) -> Size:
        """Shape of the output for an input of that shape, batch included."""
        return input_shape

    def multiply_adds(self, input_shape: Size) -> int:
        """Multiply-adds of one forward pass, a bias counted as one more for each output."""
        return 0

    def windows(self, input_shape: Size) -> Windows | None:
        """(kernel size, stride, dilation) of each axis; () if no cells mix, None if all may."""
        return ()

    def trace(self, name: str, signal: Signal) -> tuple[list[Row], Signal]:
        """Rows of the summary for this layer, and the signal behind it."""
        after = signal.through(self.output_shape(signal.shape), self.windows(signal.shape))
        parameters = sum(parameter.size for parameter in self.parameters())
        work = self.multiply_adds(signal.shape)
        row = Row(name, type(self).__name__, after.shape[1:], parameters, work, after.field)
        return [row], after

    def summary(self, input_shape: Size, batch_size: int | None = None) -> Summary:
        """Table of the layers for one sample of shape `input_shape`, without the batch.

        See `fastconv.nn.summary.Summary`; ``print(model.summary((1, 28, 28)))`` shows it. With a
        `batch_size` also the memory that training and inference take, which is measured.
        """
        return summarise(self, input_shape, batch_size)

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        return ""

    def __repr__(self) -> str:
        inner = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        if not inner:
            return f"{type(self).__name__}({self.arguments()})"
        return "\n  ".join([f"{type(self).__name__}({self.arguments()}", *inner]) + "\n)"
