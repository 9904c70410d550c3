"""First values of parameters: each function returns a new array, the random ones take a generator.

`shape` is that of a weight: (K, C, *kernel) of a convolution or (out_features, in_features) of a
dense layer. Its fan-in is C times the kernel's cells, its fan-out K times the kernel's cells (as
PyTorch counts, also for the weights (C, K, *kernel) of transposed convolutions).

References
----------
.. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
   neural networks", AISTATS 2010.
.. [2] K. He et al., "Delving deep into rectifiers", ICCV 2015.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Size = tuple[int, ...]
Random = np.random.Generator | int | None


def fans(shape: Size) -> tuple[int, int]:
    """Fan-in and fan-out of a weight.

    Raises
    ------
    ValueError
        If `shape` has fewer than two dimensions.

    Examples
    --------
    >>> from fastconv.nn import init
    >>> init.fans((16, 6, 5, 5))
    (150, 400)
    """
    if len(shape) < 2:
        raise ValueError(f"init: a weight has at least two dimensions, not shape {tuple(shape)}")
    cells = math.prod(shape[2:])
    return shape[1] * cells, shape[0] * cells


def kaiming_uniform(
    shape: Size, *, rng: Random, slope: float = math.sqrt(5), dtype: npt.DTypeLike = np.float32
) -> Array:
    """Uniform in +-sqrt(6 / ((1 + slope**2) * fan_in)), He et al. [2]_.

    `slope` is the negative slope of the leaky ReLU that follows: 0 for a plain ReLU. PyTorch's
    layers start with sqrt(5), which makes the bound 1 / sqrt(fan_in).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.nn import init
    >>> weight = init.kaiming_uniform((32, 4, 5, 5), rng=np.random.default_rng(0))
    >>> bool(0.099 < abs(weight).max() <= 0.1)
    True
    """
    bound = math.sqrt(6 / ((1 + slope**2) * fans(shape)[0]))
    return _uniform(shape, bound, rng, dtype)


def kaiming_normal(
    shape: Size, *, rng: Random, slope: float = 0.0, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Normal with the variance 2 / ((1 + slope**2) * fan_in), He et al. [2]_.

    `slope` is that of `kaiming_uniform`.
    """
    return _normal(shape, math.sqrt(2 / ((1 + slope**2) * fans(shape)[0])), rng, dtype)


def xavier_uniform(
    shape: Size, *, rng: Random, gain: float = 1.0, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Uniform in +-gain * sqrt(6 / (fan_in + fan_out)), Glorot and Bengio [1]_."""
    return _uniform(shape, gain * math.sqrt(6 / sum(fans(shape))), rng, dtype)


def xavier_normal(
    shape: Size, *, rng: Random, gain: float = 1.0, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Normal with the variance gain**2 * 2 / (fan_in + fan_out), Glorot and Bengio [1]_."""
    return _normal(shape, gain * math.sqrt(2 / sum(fans(shape))), rng, dtype)


def bias_uniform(
    weight_shape: Size, size: int, *, rng: Random, dtype: npt.DTypeLike = np.float32
) -> Array:
    """PyTorch's first bias, (size,): uniform in +-1 / sqrt(fan_in of the weight)."""
    return _uniform((size,), 1 / math.sqrt(fans(weight_shape)[0]), rng, dtype)


def zeros(shape: Size, *, dtype: npt.DTypeLike = np.float32) -> Array:
    """All zero."""
    return np.zeros(shape, dtype)


def ones(shape: Size, *, dtype: npt.DTypeLike = np.float32) -> Array:
    """All one."""
    return np.ones(shape, dtype)


def _uniform(shape: Size, bound: float, rng: Random, dtype: npt.DTypeLike) -> Array:
    # Drawn in float64 whatever the dtype, so that a seed gives a float32 and a float64 model the
    # same weights.
    return np.random.default_rng(rng).uniform(-bound, bound, shape).astype(dtype)


def _normal(shape: Size, deviation: float, rng: Random, dtype: npt.DTypeLike) -> Array:
    return np.random.default_rng(rng).normal(0.0, deviation, shape).astype(dtype)
