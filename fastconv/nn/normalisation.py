"""Batch normalisation: one class for 1, 2 and 3 dimensions."""

from __future__ import annotations

import functools
import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv import arrays
from fastconv.arguments import Size, as_int
from fastconv.cpu.channelwise import MOMENTS, PRODUCTS, SCALED, SLOPES, Channels
from fastconv.device import cuda, on_device
from fastconv.nn.layer import Array, Layer, Parameter, float_type


@functools.lru_cache(maxsize=64)
def _channels(shape: Size, channels_last: bool, dtype: np.dtype) -> Channels:
    return Channels(shape, channels_last, dtype)


def _passes(x: Array, channels_last: bool) -> Channels:
    return _channels(x.shape, channels_last, x.dtype)


def _laid(x: Array, channels_last: bool) -> Array:
    """The same values, dense in a memory format; the same array, if it is."""
    if channels_last:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    return np.ascontiguousarray(x)


class _BatchNorm(Layer):
    """Normalise each channel of (N, C, *spatial) over the batch and all positions.

    Letters: m values per channel, x the input, z the normalised input, y = weight z + bias, g =
    dL/dy. In training two passes over memory, one for the statistics and one for y, and two back.
    """

    buffers = ("running_mean", "running_var", "num_batches_tracked")
    dimensions: ClassVar[tuple[int, ...]]
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Any  # arrays, or None where no statistics are kept
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        name = type(self).__name__
        self.num_features = as_int(name, "num_features", num_features, at_least=1)
        if not eps > 0:
            raise ValueError(f"{name}: eps must be positive, not {eps}")
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"{name}: momentum must be between 0 and 1 or None, not {momentum}")
        self.eps = float(eps)
        self.momentum = momentum
        self.dtype = float_type(name, dtype)
        self.frozen = False
        channels = self.num_features
        self.weight = Parameter(np.ones(channels, self.dtype)) if affine else None
        self.bias = Parameter(np.zeros(channels, self.dtype)) if affine else None
        self.running_mean = np.zeros(channels, self.dtype) if track_running_stats else None
        self.running_var = np.ones(channels, self.dtype) if track_running_stats else None
        self.num_batches_tracked = np.array(0, np.int64) if track_running_stats else None

    def forward(self, x: Array) -> Array:
        """Output of the shape of `x`."""
        self.check_input(x, self.num_features, self.dimensions, self.dtype)
        if type(x) is not np.ndarray and on_device(x):
            output, kept = cuda("layers").batch_norm(self, x)
            return self.remember(output, kept)
        x = arrays.as_operand(type(self).__name__, "input", x)
        channels_last = x.ndim > 2 and arrays.is_channels_last(x)
        x = _laid(x, channels_last)
        own = self.running_mean is None or (self.training and not self.frozen)
        if own:
            mean, variance = self._statistics(x, channels_last)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = 1 / np.sqrt(variance.astype(np.float64) + self.eps)
        slope, level = scale, np.zeros_like(scale)
        if self.weight is not None and self.bias is not None:
            slope, level = scale * self.weight.data, self.bias.data
        output = arrays.empty(x.shape, x.dtype, channels_last)
        _passes(x, channels_last).scale(SCALED, x, None, [mean, slope, level], output)
        return self.remember(output, x, channels_last, mean, scale, own)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """dL/dx = scale weight (g - mean(g) - z mean(g z)); no means under running statistics."""
        if type(gradient) is not np.ndarray and on_device(gradient):
            (kept,) = self.recall(gradient)
            return cuda("layers").batch_norm_input(self, gradient, kept, input_gradient)
        x, channels_last, mean, scale, own = self.recall(gradient)
        gradient = arrays.as_operand(type(self).__name__, "gradient", gradient)
        gradient = _laid(gradient.astype(x.dtype, copy=False), channels_last)
        passes = _passes(x, channels_last)
        share, slope, level = scale, np.zeros_like(scale), np.zeros_like(scale)
        if self.weight is not None:
            share = scale * self.weight.data
        if self.weight is not None or (own and input_gradient):
            total, moment = passes.sums(PRODUCTS, x, gradient, mean)
            if self.weight is not None and self.bias is not None:
                self.weight.add_gradient((moment * scale).astype(self.dtype))
                self.bias.add_gradient(total.astype(self.dtype))
            if own:
                count = self._count(x.shape)
                slope, level = -share * scale**2 * moment / count, -share * total / count
        if not input_gradient:
            return None
        result = arrays.empty(x.shape, x.dtype, channels_last)
        passes.scale(SLOPES, x, gradient, [mean, slope, level, share], result)
        return result

    def _statistics(self, x: Array, channels_last: bool) -> tuple[Array, Array]:
        """Mean and variance; in training the running statistics move."""
        count = self._count(x.shape)
        if count < 2:
            raise ValueError(
                f"{type(self).__name__}: needs at least 2 values per channel to normalise by, not "
                f"{count} from an input of shape {x.shape}"
            )
        # Sums around some value of the channel lose nothing where the mean is large.
        near = x[0].reshape(self.num_features, -1)[:, 0].copy()
        first, second = _passes(x, channels_last).sums(MOMENTS, x, None, near) / count
        mean = (near + first).astype(self.dtype)
        variance = np.maximum(second - first * first, 0)
        if self.training and self.running_mean is not None:
            self.num_batches_tracked += 1
            share = self.momentum
            if share is None:  # the plain average of all batches so far
                share = 1 / int(self.num_batches_tracked)
            self.running_mean += share * (mean - self.running_mean)
            unbiased = variance * (count / (count - 1))
            self.running_var += (share * (unbiased - self.running_var)).astype(self.dtype)
        return mean, variance.astype(self.dtype)

    def _count(self, shape: Size) -> int:
        """Values per channel."""
        return math.prod(shape) // self.num_features

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"

    def multiply_adds(self, input_shape: Size) -> int:
        """One for each value."""
        return math.prod(input_shape)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L).

    In training each channel is shifted and scaled to mean 0 and variance 1 over the batch and all
    positions; in evaluation mode the running statistics are used instead. Then it is multiplied by
    `weight` and `bias` is added.

    Parameters
    ----------
    num_features : int
        C.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float or None, default 0.1
        Share of the new batch in the running statistics; None averages all batches alike.
    affine : bool, default True
        Whether there are `weight` and `bias`.
    track_running_stats : bool, default True
        False uses the batch's own statistics in evaluation mode too.
    dtype : float32 or float64

    Attributes
    ----------
    weight, bias : Parameter or None
        (C,), at first 1 and 0.
    running_mean, running_var : ndarray or None
        (C,); the variance is the unbiased one, as in PyTorch.
    num_batches_tracked : ndarray or None
        Number of batches, a 0-d int64 array.
    frozen : bool
        Set it to True to use the running statistics, unchanged, in training as well.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range. In training also for an input with a single value per
        channel.

    References
    ----------
    .. [1] S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by
       reducing internal covariate shift", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.BatchNorm1d(1, eps=1e-12)
    >>> layer(np.array([[1.0], [3.0]], np.float32))
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> layer.running_mean, layer.running_var
    (array([0.2], dtype=float32), array([1.1], dtype=float32))
    """

    dimensions = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W); parameters and attributes as in `BatchNorm1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.BatchNorm2d(1, eps=1e-12, affine=False)
    >>> layer(np.array([[[[0, 0], [4, 4]]]], np.float32))
    array([[[[-1., -1.],
             [ 1.,  1.]]]], dtype=float32)
    """

    dimensions = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W); parameters and attributes as in `BatchNorm1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.BatchNorm3d(1, eps=1e-12).eval()
    >>> layer(np.array([[[[[5.0, 7.0]]]]], np.float32))
    array([[[[[5., 7.]]]]], dtype=float32)
    """

    dimensions = (5,)
