"""Pooling layers: one class for 1, 2 and 3 dimensions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastconv import functional as F
from fastconv import grad
from fastconv.arguments import Pairs, Size, as_int, as_sizes
from fastconv.cpu.lockstep_engine import (
    MOST_TAPS,
    LockstepMaximum,
    fills_vectors,
    is_lockstep,
)
from fastconv.cpu.lockstep_engine import maximum as lockstep_maximum
from fastconv.geometry import AdaptiveGeometry, PoolGeometry, as_padding
from fastconv.nn.layer import FLOAT_TYPES, Array, Layer
from fastconv.nn.summary import Windows
from fastconv.sizes import adaptive_bin

# The operations by rank.
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MAX_INPUT = {1: grad.max_pool1d, 2: grad.max_pool2d, 3: grad.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_AVERAGE_INPUT = {1: grad.avg_pool1d, 2: grad.avg_pool2d, 3: grad.avg_pool3d}
_ADAPTIVE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_ADAPTIVE_INPUT = {
    1: grad.adaptive_avg_pool1d,
    2: grad.adaptive_avg_pool2d,
    3: grad.adaptive_avg_pool3d,
}


class _Pool(Layer):
    """What sliding windows share: arguments and shapes."""

    rank: ClassVar[int]

    def _setup(
        self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
    ) -> None:
        """Check the arguments and store them in their canonical form."""
        name, rank = type(self).__name__, self.rank
        self.kernel_size = as_sizes(name, "kernel_size", kernel_size, rank, at_least=1)
        self.stride = self.kernel_size
        if stride is not None:
            self.stride = as_sizes(name, "stride", stride, rank, at_least=1)
        self.dilation = as_sizes(name, "dilation", dilation, rank, at_least=1)
        pairs = as_padding(
            name, padding, self.kernel_size, self.kernel_size, self.stride, self.dilation
        )
        # "same" depends on the input's size: the name is kept and resolved at each call.
        self.padding: str | Pairs = padding if isinstance(padding, str) else pairs
        self.ceil_mode = bool(ceil_mode)

    def output_shape(self, input_shape: Size) -> Size:
        """(N, C, *spatial)."""
        return self._geometry(input_shape).output_shape

    def _geometry(self, input_shape: Size) -> PoolGeometry:
        return PoolGeometry.sliding(
            type(self).__name__,
            self.rank,
            input_shape,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )

    def windows(self, input_shape: Size) -> Windows:
        """(kernel size, stride, dilation) for each axis."""
        return tuple(zip(self.kernel_size, self.stride, self.dilation))

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        shown = [f"kernel_size={self.kernel_size}"]
        for name, usual in (
            ("stride", self.kernel_size),
            ("padding", ((0, 0),) * self.rank),
            ("dilation", (1,) * self.rank),
            ("ceil_mode", False),
        ):
            value = getattr(self, name)
            if value != usual:
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)


class _MaxPool(_Pool):
    transient = ("_saved", "_lockstep")
    # The kind of the last input, and the engine for images in lockstep, if any.
    _lockstep: tuple[Any, LockstepMaximum | None] | None = None

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self._setup(kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: Array) -> Array:
        """(N, C, *spatial) to the maxima of its windows."""
        options = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        engine = self.lockstep_engine(x, False)
        if engine is not None:
            return self.forward_in_lockstep(engine, x)
        if not self.training:
            return self.remember(_MAX[self.rank](x, *options))
        output, indices = _MAX[self.rank](x, *options, return_indices=True)
        return self.remember(output, indices, x.shape)

    def forward_in_lockstep(self, engine: LockstepMaximum, x: Array) -> Array:
        """As `forward`; the engine may make a ReLU of the maxima, which `backward` then undoes."""
        output, choices = engine.forward(x)
        return self.remember(output, choices, engine)

    def lockstep_engine(self, x: Array, rectified: bool) -> LockstepMaximum | None:
        """What pools images that lie in lockstep, as a narrow convolution leaves them."""
        if type(x) is not np.ndarray or x.ndim != self.rank + 2:
            return None
        if x.dtype not in FLOAT_TYPES or not is_lockstep(x):
            return None
        key = (x.shape, x.dtype, rectified)
        if self._lockstep is None or self._lockstep[0] != key:
            name = x.dtype.name
            engine = None
            if fills_vectors(len(x), name) and math.prod(self.kernel_size) <= MOST_TAPS:
                engine = lockstep_maximum(self._geometry(x.shape), name, rectified)
            self._lockstep = key, engine
        return self._lockstep[1]

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        indices, shape = self.recall(gradient)
        if isinstance(shape, LockstepMaximum):
            return shape.backward(gradient, indices) if input_gradient else None
        return _MAX_INPUT[self.rank](gradient, indices, shape) if input_gradient else None


class MaxPool1d(_MaxPool):
    """Maximum of the windows of (N, C, L).

    Parameters
    ----------
    kernel_size : int or tuple of int
        One per axis, or one for all.
    stride : int or tuple of int, optional
        The kernel size if not given.
    padding : int, tuple, pairs or str, default 0
        Cells of minus infinity on each side, at most half a window.
    dilation : int or tuple of int, default 1
    ceil_mode : bool, default False
        Whether a last partial window counts.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range. `forward` raises for an input that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.MaxPool1d(2)(np.array([[[1.0, 5.0, 2.0, 4.0]]]))
    array([[[5., 4.]]])
    """

    rank = 1


class MaxPool2d(_MaxPool):
    """Maximum of the windows of (N, C, H, W); parameters as in `MaxPool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.MaxPool2d(2)
    >>> layer(np.array([[[[1.0, 2.0], [4.0, 3.0]]]]))
    array([[[[4.]]]])
    >>> layer.backward(np.array([[[[7.0]]]]))
    array([[[[0., 0.],
             [7., 0.]]]])
    """

    rank = 2


class MaxPool3d(_MaxPool):
    """Maximum of the windows of (N, C, D, H, W); parameters as in `MaxPool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.MaxPool3d((1, 2, 3))(np.arange(12.0).reshape(1, 1, 2, 2, 3))
    array([[[[[ 5.]],
             [[11.]]]]])
    """

    rank = 3


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._setup(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = bool(count_include_pad)
        self.divisor_override = divisor_override
        if divisor_override is not None:
            self.divisor_override = as_int(
                type(self).__name__, "divisor_override", divisor_override, at_least=1
            )

    def _options(self) -> tuple[Any, ...]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def forward(self, x: Array) -> Array:
        """(N, C, *spatial) to the means of its windows."""
        return self.remember(_AVERAGE[self.rank](x, *self._options()), x.shape)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        (shape,) = self.recall(gradient)
        if not input_gradient:
            return None
        return _AVERAGE_INPUT[self.rank](gradient, shape, *self._options())


class AvgPool1d(_AvgPool):
    """Mean of the windows of (N, C, L).

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As in `MaxPool1d`; the padding is of zeros.
    count_include_pad : bool, default True
        Whether the padding counts in the divisor.
    divisor_override : int, optional
        Divisor of every window, instead of its size.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range. `forward` raises for an input that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.AvgPool1d(2)(np.array([[[1.0, 5.0, 2.0, 4.0]]]))
    array([[[3., 3.]]])
    """

    rank = 1


class AvgPool2d(_AvgPool):
    """Mean of the windows of (N, C, H, W); parameters as in `AvgPool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.AvgPool2d(2)
    >>> layer(np.array([[[[1.0, 2.0], [4.0, 3.0]]]]))
    array([[[[2.5]]]])
    >>> layer.backward(np.array([[[[8.0]]]]))
    array([[[[2., 2.],
             [2., 2.]]]])
    """

    rank = 2


class AvgPool3d(_AvgPool):
    """Mean of the windows of (N, C, D, H, W); parameters as in `AvgPool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.AvgPool3d((1, 2, 3))(np.arange(12.0).reshape(1, 1, 2, 2, 3))
    array([[[[[2.5]],
             [[8.5]]]]])
    """

    rank = 3


class _AdaptiveAvgPool(Layer):
    """Means of bins that share out the input evenly."""

    rank: ClassVar[int]

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size
        # A size of None keeps an axis: the check needs some size to put there.
        AdaptiveGeometry.adaptive(
            type(self).__name__, self.rank, (1, 1, *(1,) * self.rank), output_size
        )

    def forward(self, x: Array) -> Array:
        """(N, C, *spatial) to (N, C, *output_size)."""
        return self.remember(_ADAPTIVE[self.rank](x, self.output_size), x.shape)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        (shape,) = self.recall(gradient)
        return _ADAPTIVE_INPUT[self.rank](gradient, shape) if input_gradient else None

    def _geometry(self, input_shape: Size) -> AdaptiveGeometry:
        name = type(self).__name__
        return AdaptiveGeometry.adaptive(name, self.rank, input_shape, self.output_size)

    def output_shape(self, input_shape: Size) -> Size:
        """(N, C, *output_size)."""
        return self._geometry(input_shape).output_shape

    def windows(self, input_shape: Size) -> Windows | None:
        """The bins as windows if they are all alike, else None."""
        geometry = self._geometry(input_shape)
        axes = list(zip(geometry.in_size, geometry.out_size))
        if any(size % bins for size, bins in axes):
            return None
        widths = [adaptive_bin(0, size, bins)[1] for size, bins in axes]
        return tuple((width, width, 1) for width in widths)

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        return f"{self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of (N, C, L) over `output_size` bins, whatever L is.

    Parameters
    ----------
    output_size : int or tuple of int or None
        Bins per axis, or one for all; None keeps an axis.

    Raises
    ------
    ValueError, TypeError
        If a size is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.AdaptiveAvgPool1d(2)(np.array([[[1.0, 2.0, 6.0]]]))
    array([[[1.5, 4. ]]])
    """

    rank = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of (N, C, H, W) over the bins of `output_size`; see `AdaptiveAvgPool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.AdaptiveAvgPool2d(1)(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[[[1.5]],
            [[5.5]]]])
    """

    rank = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of (N, C, D, H, W) over the bins of `output_size`; see `AdaptiveAvgPool1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.AdaptiveAvgPool3d((1, 1, None))(np.arange(8.0).reshape(1, 1, 2, 2, 2))
    array([[[[[3., 4.]]]]])
    """

    rank = 3
