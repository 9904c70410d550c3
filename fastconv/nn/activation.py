"""Activation layers: functions of one value at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from fastconv.cpu.elementwise import alike, relu_into, relu_slope_into
from fastconv.cpu.program import noted, rehearsing, unwritten
from fastconv.device import cuda, on_device
from fastconv.nn.layer import Array, Layer
from fastconv.recycling import empty_like


class _Activation(Layer):
    """``y = f(x)``; a subclass gives the values, what its slope needs, and the slope."""

    def _value(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        """f(x), and the arguments of `_slope`."""
        raise NotImplementedError

    def _slope(self, *kept: Array) -> Array:
        """df/dx at the last input."""
        raise NotImplementedError

    def formula(self) -> tuple[str, float]:
        """Name of the function in `fastconv.cuda.layers`, and its number if it has one."""
        return type(self).__name__.lower(), 0.0

    def forward(self, x: Array) -> Array:
        """Output of the shape of `x`."""
        if type(x) is not np.ndarray and on_device(x):
            return self.remember(cuda("layers").activate(*self.formula(), x), x)
        output, kept = self._value(x)
        return self.remember(output, *kept)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        kept = self.recall(gradient)
        if not input_gradient:
            return None
        if type(gradient) is not np.ndarray and on_device(gradient):
            return cuda("layers").activate_input(*self.formula(), gradient, *kept)
        return np.multiply(gradient, self._slope(*kept), out=empty_like(gradient))


def _few(x: Array) -> bool:
    """Whether NumPy is done with values before a kernel of ours is found and started."""
    return x.size < 4096 and not rehearsing()


class ReLU(_Activation):
    """max(x, 0), with the slope 0 at 0; NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.ReLU()
    >>> layer(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    >>> layer.backward(np.array([5.0, 6.0, 7.0]))
    array([0., 0., 7.])
    """

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        output = None if self._saved is None else self._saved[2][0]
        if type(output) is not np.ndarray or _few(output) or not alike(output, gradient):
            noted(unwritten)
            return super().backward(gradient, input_gradient=input_gradient)
        self.recall(gradient)
        if not input_gradient:
            return None
        result = empty_like(gradient)
        relu_slope_into(output, gradient, result)
        return result

    def _value(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        output = empty_like(x)
        if not _few(x) and alike(x, output):
            relu_into(x, output)
            return output, (output,)
        noted(unwritten)
        # Compared with one sample of zeros, because NumPy 2.4 vectorises the maximum of two arrays
        # only: 6 us instead of 23 for 75,000 values (AVX-512, 2026-11).
        np.maximum(x, np.zeros_like(x[:1]), out=output)
        return output, (output,)

    def _slope(self, *kept: Array) -> Array:
        (output,) = kept
        # A product with this mask took 13 us there, np.where 245.
        return output > 0


class LeakyReLU(_Activation):
    """x where it is positive, else `negative_slope` times x.

    Parameters
    ----------
    negative_slope : float, default 0.01

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.LeakyReLU(0.5)(np.array([-4.0, 3.0]))
    array([-2.,  3.])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = float(negative_slope)

    def formula(self) -> tuple[str, float]:
        """See `_Activation.formula`."""
        return "leaky_relu", self.negative_slope

    def _value(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        slope = np.multiply(x > 0, 1 - self.negative_slope, dtype=x.dtype)
        slope += self.negative_slope
        return x * slope, (slope,)

    def _slope(self, *kept: Array) -> Array:
        (slope,) = kept
        return slope

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        return f"negative_slope={self.negative_slope}"


class Tanh(_Activation):
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Tanh()(np.array([0.0, 1.0])).round(6)
    array([0.      , 0.761594])
    """

    def _value(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        output = np.tanh(x)
        return output, (output,)

    def _slope(self, *kept: Array) -> Array:
        (output,) = kept
        return 1 - output * output


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Sigmoid()(np.array([0.0, np.log(3)]))
    array([0.5 , 0.75])
    """

    def _value(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        output = expit(x)
        return output, (output,)

    def _slope(self, *kept: Array) -> Array:
        (output,) = kept
        return output * (1 - output)


class SiLU(_Activation):
    """x * sigmoid(x), also called swish.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.SiLU()(np.array([0.0, np.log(3)])).round(6)
    array([0.      , 0.823959])
    """

    def _value(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        gate = expit(x)
        return x * gate, (x, gate)

    def _slope(self, *kept: Array) -> Array:
        x, gate = kept
        return gate * (1 + x * (1 - gate))


class GELU(_Activation):
    """x * P(Z <= x) for a standard normal Z.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        "tanh" takes x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x**3))) instead.

    Raises
    ------
    ValueError
        If `approximate` is another word.

    References
    ----------
    .. [1] D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)",
       arXiv:1606.08415, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.GELU()(np.array([-1.0, 0.0, 1.0])).round(6)
    array([-0.158655,  0.      ,  0.841345])
    """

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', not {approximate!r}")
        self.approximate = approximate

    def formula(self) -> tuple[str, float]:
        """See `_Activation.formula`."""
        if self.approximate == "none":
            return "gelu", 0.0
        return "gelu_tanh", math.sqrt(2 / math.pi)

    def _value(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        if self.approximate == "none":
            gate = ndtr(x)
        else:
            gate = 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
        return x * gate, (x, gate)

    def _slope(self, *kept: Array) -> Array:
        x, gate = kept
        if self.approximate == "none":
            density = np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
        else:
            # The gate is the sigmoid of 2u, u the tanh's argument, so its slope is 2 gate (1 -
            # gate) du/dx.
            density = gate * (1 - gate) * (2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x))
        return gate + x * density

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"
