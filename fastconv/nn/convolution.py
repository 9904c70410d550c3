"""Convolutions: one class for 1, 2 and 3 dimensions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import fastconv
from fastconv import functional as F
from fastconv import grad
from fastconv.arguments import Pairs, Size, as_int, as_sizes, check_choice
from fastconv.arrays import is_channels_last
from fastconv.cpu.lockstep_engine import LockstepConvolution, fills_vectors, in_lockstep
from fastconv.cpu.lockstep_engine import convolution as lockstep_convolution
from fastconv.geometry import PADDING_MODES, ConvGeometry, as_padding
from fastconv.nn import init
from fastconv.nn.layer import MOST_IN_LOCKSTEP, Array, Layer, Parameter, float_type
from fastconv.nn.summary import Windows

# The operations by rank.
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_INPUT = {1: grad.conv1d_input, 2: grad.conv2d_input, 3: grad.conv3d_input}
CONV_BIAS = {1: grad.conv1d_bias, 2: grad.conv2d_bias, 3: grad.conv3d_bias}
CONV_WEIGHT = {1: grad.conv1d_weight, 2: grad.conv2d_weight, 3: grad.conv3d_weight}

# Training takes images in lockstep where one side has few channels and the other not many: LeNet's
# layers then take 0.9 ms instead of 1.6, from 3 to 16 channels of 32x32 a fifth less. With 16 and
# more on both sides Winograd's products win (batch 64, one thread of Zen 4, AVX-512, 2026-11).
FEW, MANY = 8, 32


class Convolution(Layer):
    """What convolutions and transposed convolutions share: arguments, parameters and checks."""

    rank: ClassVar[int]
    bias: Parameter | None

    def _setup(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        padding_mode: str,
    ) -> None:
        """Check the arguments and store them in their canonical form."""
        name, rank = type(self).__name__, self.rank
        self.in_channels = as_int(name, "in_channels", in_channels, at_least=1)
        self.out_channels = as_int(name, "out_channels", out_channels, at_least=1)
        self.kernel_size = as_sizes(name, "kernel_size", kernel_size, rank, at_least=1)
        self.stride = as_sizes(name, "stride", stride, rank, at_least=1)
        self.dilation = as_sizes(name, "dilation", dilation, rank, at_least=1)
        self.groups = as_int(name, "groups", groups, at_least=1)
        for side, channels in (("in", self.in_channels), ("out", self.out_channels)):
            if channels % self.groups:
                raise ValueError(
                    f"{name}: {side}_channels ({channels}) is not divisible by groups "
                    f"({self.groups})"
                )
        check_choice(name, "padding_mode", padding_mode, PADDING_MODES)
        self.padding_mode = padding_mode
        # "same" depends on the input's size: the name is kept and resolved at each call.
        pairs = as_padding(
            name, padding, self.kernel_size, self.kernel_size, self.stride, self.dilation
        )
        self.padding: str | Pairs = padding if isinstance(padding, str) else pairs

    def _initialise(
        self, weight_shape: Size, bias: bool, dtype: npt.DTypeLike, rng: init.Random
    ) -> None:
        """Draw the first weights as PyTorch does."""
        self.dtype = float_type(type(self).__name__, dtype)
        generator = np.random.default_rng(rng)
        self.weight = Parameter(init.kaiming_uniform(weight_shape, rng=generator, dtype=self.dtype))
        self.bias = None
        if bias:
            first = init.bias_uniform(
                weight_shape, self.out_channels, rng=generator, dtype=self.dtype
            )
            self.bias = Parameter(first)

    def _bias_data(self) -> Array | None:
        return None if self.bias is None else self.bias.data

    def _check(self, x: Array) -> None:
        self.check_input(x, self.in_channels, (self.rank + 2,), self.dtype)

    def _geometry(self, input_shape: Size) -> ConvGeometry:
        """The forward problem that this layer is, or whose input gradient it is."""
        raise NotImplementedError

    def multiply_adds(self, input_shape: Size) -> int:
        """Multiply-adds of one forward pass, a bias counted as one more for each output."""
        outputs = math.prod(self.output_shape(input_shape))
        biases = 0 if self.bias is None else outputs
        return self._geometry(input_shape).multiply_adds + biases

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        shown = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        for name, usual in (
            ("stride", (1,) * self.rank),
            ("padding", ((0, 0),) * self.rank),
            ("dilation", (1,) * self.rank),
            ("groups", 1),
            ("padding_mode", "zeros"),
        ):
            value = getattr(self, name)
            if value != usual:
                shown.append(f"{name}={value!r}")
        if self.bias is None:
            shown.append("bias=False")
        return ", ".join(shown)


class _Conv(Convolution):
    """Cross-correlation with a weight (K, C/groups, *kernel)."""

    transient = ("_saved", "_planned", "_lockstep")
    # In evaluation mode: input and parameters as they were when the plan was made, and the plan.
    _planned: tuple[tuple[Any, ...], Any] | None = None
    # The shape of the last input, and the engine for its images in lockstep, if any.
    _lockstep: tuple[Size, LockstepConvolution | None] | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: init.Random = None,
    ) -> None:
        self._setup(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            padding_mode,
        )
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self._initialise(shape, bias, dtype, rng)

    def forward(self, x: Array) -> Array:
        """(N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        self._check(x)
        engine = self._lockstep_engine(x)
        if engine is not None:
            source = engine.arranged(x)
            output = engine.forward(source, self.weight.data, self._bias_data())
            return self.remember(output, source, engine)
        if not self.training and type(x) is np.ndarray:
            return self._plan(x)(x)
        output = CONV[self.rank](
            x,
            self.weight.data,
            self._bias_data(),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            padding_mode=self.padding_mode,
        )
        return self.remember(output, x, None)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        x, engine = self.recall(gradient)
        if engine is not None:
            return self._backward_in_lockstep(engine, x, gradient, input_gradient)
        options = (self.stride, self.padding, self.dilation, self.groups)
        weight = self.weight
        weight.add_gradient(
            CONV_WEIGHT[self.rank](
                x, weight.shape, gradient, *options, padding_mode=self.padding_mode
            )
        )
        if self.bias is not None:
            self.bias.add_gradient(CONV_BIAS[self.rank](gradient))
        if not input_gradient:
            return None
        return CONV_INPUT[self.rank](
            x.shape, weight.data, gradient, *options, padding_mode=self.padding_mode
        )

    def _backward_in_lockstep(
        self, engine: LockstepConvolution, x: Array, gradient: Array, input_gradient: bool
    ) -> Array | None:
        """As `backward`, from an arranged input."""
        gradient = in_lockstep(gradient)
        for_weight, for_bias = engine.weight_gradient(x, gradient, self.bias is not None)
        self.weight.add_gradient(for_weight)
        if self.bias is not None and for_bias is not None:
            self.bias.add_gradient(for_bias)
        return engine.input_gradient(self.weight.data, gradient) if input_gradient else None

    def _lockstep_engine(self, x: Array) -> LockstepConvolution | None:
        """What takes images in lockstep, where few channels would leave lanes empty."""
        if type(x) is not np.ndarray or not (self.training or len(x) <= MOST_IN_LOCKSTEP):
            return None
        if self._lockstep is None or self._lockstep[0] != x.shape:
            sides = sorted((self.in_channels, self.out_channels))
            narrow = sides[0] <= FEW and sides[1] <= MANY and self.groups == 1
            zeros = self.padding_mode == "zeros"
            engine = None
            if narrow and zeros and fills_vectors(len(x), self.dtype.name):
                engine = lockstep_convolution(self._geometry(x.shape), self.dtype.name)
            self._lockstep = x.shape, engine
        return self._lockstep[1]

    def _plan(self, x: Array) -> Any:
        """The plan for inputs like `x`, made anew when these or a parameter changed."""
        versions = (self.weight.version, None if self.bias is None else self.bias.version)
        last = is_channels_last(x)
        key = (x.shape, last, versions)
        if self._planned is not None and self._planned[0] == key:
            return self._planned[1]
        plan = fastconv.plan(
            x.shape,
            self.weight.data,
            self._bias_data(),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
            dtype=self.dtype,
            memory_format="channels_last" if last else "channels_first",
        )
        self._planned = (key, plan)
        return plan

    def _geometry(self, input_shape: Size) -> ConvGeometry:
        return ConvGeometry.forward(
            type(self).__name__,
            self.rank,
            input_shape,
            self.weight.shape,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
        )

    def output_shape(self, input_shape: Size) -> Size:
        """(N, out_channels, *spatial)."""
        return self._geometry(input_shape).output_shape

    def windows(self, input_shape: Size) -> Windows:
        """(kernel size, stride, dilation) for each axis."""
        return tuple(zip(self.kernel_size, self.stride, self.dilation))


class Conv1d(_Conv):
    """Convolution of (N, C, L) to (N, K, P), in fact cross-correlation as in every network library.

    Parameters
    ----------
    in_channels, out_channels : int
        C and K.
    kernel_size : int or tuple of int
        One per axis, or one for all.
    stride, dilation : int or tuple of int, default 1
    padding : int, tuple, pairs or str, default 0
        As in `fastconv.conv1d`: also ``"same"``, ``"causal"`` or ``((low, high),)``.
    groups : int, default 1
    bias : bool, default True
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    dtype : float32 or float64
        Of the parameters and the inputs.
    rng : numpy.random.Generator or int, optional
        Source of the first weights: uniform in +-1/sqrt(fan_in), as in PyTorch.

    Attributes
    ----------
    weight : Parameter
        (K, C/groups, *kernel_size).
    bias : Parameter or None
        (K,).

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range. `forward` raises for an input that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Conv1d(1, 1, 2, bias=False)
    >>> layer.weight.data = [[[-1.0, 1.0]]]
    >>> layer(np.array([[[1, 4, 9, 16]]], np.float32))
    array([[[3., 5., 7.]]], dtype=float32)
    """

    rank = 1


class Conv2d(_Conv):
    """Convolution of (N, C, H, W) to (N, K, P, Q); parameters and attributes as in `Conv1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Conv2d(1, 1, 2, padding="same")
    >>> layer.load_state_dict({"weight": np.ones((1, 1, 2, 2)), "bias": [0.5]})
    ([], [])
    >>> layer(np.array([[[[1, 2], [3, 4]]]], np.float32))
    array([[[[10.5,  6.5],
             [ 7.5,  4.5]]]], dtype=float32)
    """

    rank = 2


class Conv3d(_Conv):
    """Convolution of (N, C, D, H, W) to (N, K, O, P, Q); parameters and attributes as in `Conv1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Conv3d(2, 1, 3, bias=False)
    >>> layer.weight.data = np.ones((1, 2, 3, 3, 3))
    >>> layer(np.ones((1, 2, 3, 3, 4), np.float32))
    array([[[[[54., 54.]]]]], dtype=float32)
    """

    rank = 3
