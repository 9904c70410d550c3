"""Dense layers and what goes with them: Linear, Flatten, Dropout."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fastconv import functional as F
from fastconv import grad
from fastconv.arguments import Size, as_int
from fastconv.cpu.compile import name_of
from fastconv.cpu.lockstep_engine import LockstepDense, dense, fills_vectors, in_lockstep
from fastconv.cpu.program import noted, unwritten
from fastconv.device import cuda
from fastconv.nn import init
from fastconv.nn.layer import MOST_IN_LOCKSTEP, Array, Layer, Parameter, float_type


class Linear(Layer):
    """Dense layer, (N, in_features) to (N, out_features): ``x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool, default True
    dtype : float32 or float64
    rng : numpy.random.Generator or int, optional
        Source of the first weights: uniform in +-1/sqrt(in_features), as in PyTorch.

    Attributes
    ----------
    weight : Parameter
        (out_features, in_features).
    bias : Parameter or None
        (out_features,).

    Raises
    ------
    ValueError, TypeError
        If a size is not positive. `forward` raises for an input that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Linear(2, 1)
    >>> layer.load_state_dict({"weight": [[3.0, 4.0]], "bias": [0.5]})
    ([], [])
    >>> layer(np.array([[1, 1], [0, 2]], np.float32))
    array([[7.5],
           [8.5]], dtype=float32)
    """

    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: init.Random = None,
    ) -> None:
        self.in_features = as_int("Linear", "in_features", in_features, at_least=1)
        self.out_features = as_int("Linear", "out_features", out_features, at_least=1)
        self.dtype = float_type("Linear", dtype)
        shape = (self.out_features, self.in_features)
        generator = np.random.default_rng(rng)
        self.weight = Parameter(init.kaiming_uniform(shape, rng=generator, dtype=self.dtype))
        self.bias = None
        if bias:
            first = init.bias_uniform(shape, self.out_features, rng=generator, dtype=self.dtype)
            self.bias = Parameter(first)

    def forward(self, x: Array) -> Array:
        """(N, in_features) to (N, out_features)."""
        self.check_input(x, self.in_features, (2,), self.dtype)
        bias = None if self.bias is None else self.bias.data
        name = name_of(self.dtype)
        few = self.training or len(x) <= MOST_IN_LOCKSTEP
        if type(x) is np.ndarray and few and fills_vectors(len(x), name):
            engine = dense(len(x), self.in_features, self.out_features, name)
            turned = in_lockstep(x)
            output = engine.forward(turned, self.weight.data, bias)
            return self.remember(output, x if x.flags.c_contiguous else turned, engine)
        return self.remember(F.linear(x, self.weight.data, bias), x, None)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        x, engine = self.recall(gradient)
        if engine is not None:
            return self._backward_in_lockstep(engine, x, in_lockstep(gradient), input_gradient)
        self.weight.add_gradient(grad.linear_weight(x, gradient))
        if self.bias is not None:
            on_the_host = type(gradient) is np.ndarray
            total = np.add.reduce(gradient, axis=0) if on_the_host else gradient.sum(axis=0)
            self.bias.add_gradient(total)
        return grad.linear_input(self.weight.data, gradient) if input_gradient else None

    def _backward_in_lockstep(
        self, engine: LockstepDense, x: Array, gradient: Array, input_gradient: bool
    ) -> Array | None:
        """As `backward`, from a gradient in lockstep."""
        self.weight.add_gradient(engine.weight_gradient(x, gradient))
        if self.bias is not None:
            self.bias.add_gradient(engine.bias_gradient(gradient))
        return engine.input_gradient(self.weight.data, gradient) if input_gradient else None

    def output_shape(self, input_shape: Size) -> Size:
        """(N, out_features)."""
        if len(input_shape) != 2 or input_shape[1] != self.in_features:
            raise ValueError(
                f"Linear: input of shape {input_shape} is not (N, in_features) with in_features "
                f"{self.in_features}"
            )
        return (input_shape[0], self.out_features)

    def multiply_adds(self, input_shape: Size) -> int:
        """Multiply-adds of one forward pass, a bias counted as one more for each output."""
        terms = self.in_features + (self.bias is not None)
        return input_shape[0] * self.out_features * terms

    def windows(self, input_shape: Size) -> None:
        """None: every output sees the whole input."""

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        ending = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}{ending}"


def _reshaped(x: Array, shape: Size) -> Array:
    result = x.reshape(shape)
    if type(x) is np.ndarray and not np.may_share_memory(result, x):
        noted(unwritten)  # a copy
    return result


class Flatten(Layer):
    """Join axes: (N, C, H, W) to (N, C*H*W), in C order whatever the strides of the input.

    Parameters
    ----------
    start_dim, end_dim : int, default 1 and -1
        First and last of the axes that become one.

    Raises
    ------
    ValueError
        In `forward`, if the input lacks one of these axes or `end_dim` lies before `start_dim`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Flatten()(np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]))
    array([[1, 2, 3, 4],
           [5, 6, 7, 8]])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Array) -> Array:
        """The same values in fewer axes."""
        return self.remember(_reshaped(x, self.output_shape(x.shape)), x.shape)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        (shape,) = self.recall(gradient)
        return _reshaped(gradient, shape) if input_gradient else None

    def output_shape(self, input_shape: Size) -> Size:
        """The shape with the axes from `start_dim` to `end_dim` joined."""
        count = len(input_shape)
        first = self.start_dim % count if -count <= self.start_dim < count else -1
        last = self.end_dim % count if -count <= self.end_dim < count else -1
        if not 0 <= first <= last:
            raise ValueError(
                f"Flatten: cannot join axes {self.start_dim} to {self.end_dim} of shape "
                f"{input_shape}"
            )
        joined = math.prod(input_shape[first : last + 1])
        return (*input_shape[:first], joined, *input_shape[last + 1 :])

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        usual = (self.start_dim, self.end_dim) == (1, -1)
        return "" if usual else f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Dropout(Layer):
    """In training, zero each value with probability `p` and multiply the others by 1 / (1 - p).

    Parameters
    ----------
    p : float, default 0.5
        0 <= p <= 1.
    rng : numpy.random.Generator or int, optional
        Source of the choice.

    Raises
    ------
    ValueError
        If `p` is no probability.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
       overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Dropout(0.75, rng=0)
    >>> layer(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    array([4., 0., 0., 0., 0.])
    >>> layer.eval()(np.array([1.0, 2.0]))
    array([1., 2.])
    """

    def __init__(self, p: float = 0.5, *, rng: init.Random = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be between 0 and 1, not {p}")
        self.p = float(p)
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Array) -> Array:
        """Output of the shape of `x`; `x` itself in evaluation mode."""
        if not self.training:
            return self.remember(x)
        kept = self.rng.random(x.shape, dtype=np.float32) >= self.p
        # At p = 1 nothing is kept and the factor does not matter.
        scale = kept.astype(x.dtype) * x.dtype.type(1 / (1 - self.p) if self.p < 1 else 0)
        if type(x) is not np.ndarray:
            scale = cuda("layers").dropped(scale, x)
        return self.remember(x * scale, scale)

    def backward(self, gradient: Array, *, input_gradient: bool = True) -> Array | None:
        """See `Layer.backward`."""
        (scale,) = self.recall(gradient)
        return gradient * scale if input_gradient else None

    def arguments(self) -> str:
        """The constructor's arguments as `repr` shows them."""
        return f"p={self.p}"
