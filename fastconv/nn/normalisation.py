"""Batch normalisation: one class for 1, 2 and 3 dimensions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv.arguments import Size, as_int
from fastconv.arrays import channel_sums
from fastconv.device import cuda, on_device
from fastconv.nn.layer import Array, Layer, Parameter, float_type


class _BatchNorm(Layer):
    """Normalise each channel of (N, C, *spatial) over the batch and all positions.

    Letters: m values per channel, x the input, z the normalised input, y = weight z + bias, g =
    dL/dy.
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
        own = self.running_mean is None or (self.training and not self.frozen)
        if own:
            mean, variance, normal = self._statistics(x)
        else:
            mean, variance = self._spread(self.running_mean, x), self._spread(self.running_var, x)
            normal = x - mean
        scale = 1 / np.sqrt(variance + self.eps)
        normal *= scale
        if self.weight is None or self.bias is None:
            return self.remember(normal, normal, scale, own)
        output = normal * self._spread(self.weight.data, x)
        output += self._spread(self.bias.data, x)
        return self.remember(output, normal, scale, own)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """dL/dx = scale weight (g - mean(g) - z mean(g z)); no means under running statistics."""
        if type(gradient) is not np.ndarray and on_device(gradient):
            (kept,) = self.recall(gradient)
            return cuda("layers").batch_norm_input(self, gradient, kept, input_gradient)
        normal, scale, own = self.recall(gradient)
        if not (input_gradient or self.weight is not None):
            return None
        total, moment = self._total(gradient), self._total(gradient * normal)
        if self.weight is not None and self.bias is not None:
            self.weight.add_gradient(moment.reshape(-1).astype(self.dtype))
            self.bias.add_gradient(total.reshape(-1).astype(self.dtype))
            scale = scale * self._spread(self.weight.data, gradient)
        if not input_gradient:
            return None
        if not own:
            return gradient * scale
        count = self._count(gradient.shape)
        result = normal * (moment / -count).astype(self.dtype)
        result += gradient
        result -= (total / count).astype(self.dtype)
        result *= scale
        return result

    def _statistics(self, x: Array) -> tuple[Array, Array, Array]:
        """Mean, variance and x minus the mean; in training the running statistics move."""
        count = self._count(x.shape)
        if count < 2:
            raise ValueError(
                f"{type(self).__name__}: needs at least 2 values per channel to normalise by, not "
                f"{count} from an input of shape {x.shape}"
            )
        mean = (self._total(x) / count).astype(self.dtype)
        centred = x - mean
        variance = self._total(centred * centred) / count
        if self.training and self.running_mean is not None:
            self.num_batches_tracked += 1
            share = self.momentum
            if share is None:  # the plain average of all batches so far
                share = 1 / int(self.num_batches_tracked)
            self.running_mean += share * (mean.reshape(-1) - self.running_mean)
            unbiased = (variance * (count / (count - 1))).reshape(-1)
            self.running_var += (share * (unbiased - self.running_var)).astype(self.dtype)
        return mean, variance.astype(self.dtype), centred

    def _count(self, shape: Size) -> int:
        """Values per channel."""
        return math.prod(shape) // self.num_features

    def _total(self, x: Array) -> Array:
        """Sum over each channel in float64, shape (1, C, 1, ...)."""
        return self._spread(channel_sums(x, np.float64), x)

    def _spread(self, values: Any, x: Array) -> Array:
        """Values of the channels, (C,), in a shape that goes with `x`."""
        return values.reshape(1, -1, *(1,) * (x.ndim - 2))

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
