"""Transposed convolutions: one class for 1, 2 and 3 dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import functional as F
from fastconv.arguments import Pairs, Size, as_sizes
from fastconv.geometry import ConvGeometry
from fastconv.nn import init
from fastconv.nn.convolution import CONV, CONV_BIAS, CONV_WEIGHT, Convolution
from fastconv.nn.layer import Array

# The operation by rank.
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _ConvTranspose(Convolution):
    """Input gradient of a convolution, with a weight (C, K/groups, *kernel)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
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
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode must be 'zeros', not {padding_mode!r}")
        extras = as_sizes(name, "output_padding", output_padding, self.rank, at_least=0)
        for extra, step, spread in zip(extras, self.stride, self.dilation):
            if extra >= max(step, spread):
                raise ValueError(
                    f"{name}: output_padding ({extra}) must be smaller than stride ({step}) or "
                    f"dilation ({spread})"
                )
        self.output_padding = extras
        shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        self._initialise(shape, bias, dtype, rng)

    def forward(self, x: Array) -> Array:
        """(N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        self._check(x)
        output = CONV_TRANSPOSE[self.rank](
            x,
            self.weight.data,
            self._bias_data(),
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )
        return self.remember(output, x)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`; both gradients come from the forward convolution."""
        (x,) = self.recall(gradient)
        weight = self.weight
        seen, padding = self._seen(gradient, self._geometry(x.shape))
        options = (self.stride, padding, self.dilation, self.groups)
        weight.add_gradient(CONV_WEIGHT[self.rank](seen, weight.shape, x, *options))
        if self.bias is not None:
            self.bias.add_gradient(CONV_BIAS[self.rank](gradient))
        if not input_gradient:
            return None
        return CONV[self.rank](seen, weight.data, None, *options)

    def _seen(self, gradient: Array, geometry: ConvGeometry) -> tuple[Array, Pairs]:
        """The part of `gradient` that windows reach, and a padding that gives one window per input.

        With dilation, `output_padding` may reach the stride; the plain forward convolution would
        then have more windows than the layer had inputs. So it is taken from the high padding first
        and from the array then.
        """
        if not any(self.output_padding):
            return gradient, geometry.padding
        kept = [slice(None), slice(None)]
        padding = []
        axes = zip(gradient.shape[2:], self.output_padding, geometry.padding)
        for size, extra, (low, high) in axes:
            kept.append(slice(size - max(extra - high, 0)))
            padding.append((low, max(high - extra, 0)))
        return gradient[tuple(kept)], tuple(padding)

    def _geometry(self, input_shape: Size) -> ConvGeometry:
        """The forward problem whose input gradient this is: its input is this layer's output."""
        return ConvGeometry.transposed(
            type(self).__name__,
            self.rank,
            input_shape,
            self.weight.shape,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=self.groups,
            dilation=self.dilation,
        )

    def output_shape(self, input_shape: Size) -> Size:
        """(N, out_channels, *spatial)."""
        return self._geometry(input_shape).input_shape

    def windows(self, input_shape: Size) -> None:
        """None: an output cell sees fractional windows of the input."""


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution, (N, C, L) to (N, K, P): the input gradient of a `Conv1d` from K to C.

    Parameters
    ----------
    in_channels, out_channels : int
        C and K.
    kernel_size, stride, padding, dilation, groups, bias, padding_mode
        Those of the convolution whose input gradient this is; `padding_mode` must be ``"zeros"``.
        The order is PyTorch's.
    output_padding : int or tuple of int, default 0
        Cells added at the high end, smaller than the stride or the dilation.
    dtype : float32 or float64
    rng : numpy.random.Generator or int, optional
        Source of the first weights, as in `Conv1d`.

    Attributes
    ----------
    weight : Parameter
        (C, K/groups, *kernel_size).
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
    >>> layer = nn.ConvTranspose1d(1, 1, 3, stride=2, bias=False)
    >>> layer.weight.data = [[[1.0, 2.0, 3.0]]]
    >>> layer(np.array([[[10, 1]]], np.float32))
    array([[[10., 20., 31.,  2.,  3.]]], dtype=float32)
    """

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution, (N, C, H, W) to (N, K, P, Q); parameters as in `ConvTranspose1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.ConvTranspose2d(1, 1, 2, bias=False)
    >>> layer.weight.data = [[[[1.0, 2.0], [3.0, 4.0]]]]
    >>> layer(np.array([[[[1, 10]]]], np.float32))
    array([[[[ 1., 12., 20.],
             [ 3., 34., 40.]]]], dtype=float32)
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution, (N, C, D, H, W) to (N, K, O, P, Q); see `ConvTranspose1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.ConvTranspose3d(1, 1, (1, 1, 2), stride=(1, 1, 2), bias=False)
    >>> layer.weight.data = [[[[[1.0, -1.0]]]]]
    >>> layer(np.array([[[[[5, 7]]]]], np.float32))
    array([[[[[ 5., -5.,  7., -7.]]]]], dtype=float32)
    """

    rank = 3
