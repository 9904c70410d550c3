"""Optimizers: SGD, Adam and AdamW, in place and with PyTorch's formulas.

Letters: p the parameter, g its gradient, t the number of this step, from 1. No step after the first
allocates an array: intermediate results go to two scratch arrays of the largest parameter's size,
shared by all parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from fastconv.device import cuda, on_host
from fastconv.nn.layer import Array, Parameter

State = dict[str, Any]


class Optimizer:
    """Base of the optimizers.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``.
    lr : float
        Learning rate, at least 0. The attribute of this name may be changed at any time.

    Raises
    ------
    TypeError, ValueError
        If there is no parameter, one occurs twice or is something else, or an option is out of
        range.
    """

    # Names of the options, which are attributes, and of the arrays kept for each parameter.
    options: ClassVar[tuple[str, ...]] = ("lr",)
    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.parameters = list(parameters)
        name = type(self).__name__
        if not self.parameters:
            raise ValueError(f"{name}: parameters must not be empty")
        for parameter in self.parameters:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{name}: parameters must be Parameter objects, not {parameter!r}")
        if len(set(map(id, self.parameters))) != len(self.parameters):
            raise ValueError(f"{name}: the same parameter is given twice")
        self.lr = lr
        # One entry per parameter: the step count and the arrays of `slots`, empty until its first
        # step.
        self._states: list[State] = [{} for _ in self.parameters]
        self._scratch: list[tuple[Array, Array]] | None = None

    @property
    def lr(self) -> float:
        """Learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = self._at_least_zero("lr", value)

    def zero_grad(self) -> None:
        """Forget all gradients: the next backward writes instead of adding."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Change each parameter that has a gradient, in place.

        Raises
        ------
        ValueError
            If a gradient is not of its parameter's shape.
        """
        if self._scratch is None:
            self._scratch = self._make_scratch()
        for parameter, state, scratch in zip(self.parameters, self._states, self._scratch):
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.shape != parameter.shape:
                raise ValueError(
                    f"{type(self).__name__}: grad of shape {gradient.shape} is not of its "
                    f"parameter's shape {parameter.shape}"
                )
            if type(parameter.data) is not np.ndarray:
                cuda("optim").update(self, parameter.data, gradient, state)
            else:
                self._update(parameter.data, gradient, state, *scratch)
            parameter.version += 1

    def _update(self, p: Array, g: Array, state: State, scratch: Array, other: Array) -> None:
        """One step of one parameter; `scratch` and `other` are free arrays of its shape."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Copies of the options and of each parameter's state, in the order of the parameters."""
        states = [
            {key: np.copy(on_host(value)) for key, value in state.items()} for state in self._states
        ]
        return {"options": {name: getattr(self, name) for name in self.options}, "state": states}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where the optimizer that gave `saved` stood.

        Raises
        ------
        ValueError
            If it had other options, another number of parameters or other shapes.
        """
        name = type(self).__name__
        options, states = saved["options"], saved["state"]
        if set(options) != set(self.options):
            raise ValueError(
                f"{name}: options {sorted(options)} are not those of {name}, {sorted(self.options)}"
            )
        if len(states) != len(self.parameters):
            raise ValueError(
                f"{name}: state of {len(states)} parameters for an optimizer of "
                f"{len(self.parameters)}"
            )
        loaded: list[State] = []
        for parameter, state in zip(self.parameters, states):
            arrays = {key: np.array(state[key]) for key in self.slots if key in state}
            for key, array in arrays.items():
                if array.shape != parameter.shape:
                    raise ValueError(
                        f"{name}: {key} of shape {array.shape} does not fit a parameter of shape "
                        f"{parameter.shape}"
                    )
            steps = {"step": int(state["step"])} if "step" in state else {}
            loaded.append({**steps, **arrays})
        for option, value in options.items():
            setattr(self, option, value)
        self._states = loaded

    def _make_scratch(self) -> list[tuple[Array, Array]]:
        """Two arrays for each parameter, all of them views of the same two buffers."""
        bytes_needed = max(parameter.data.nbytes for parameter in self.parameters)
        buffers = np.empty(bytes_needed, np.uint8), np.empty(bytes_needed, np.uint8)
        scratch = []
        for parameter in self.parameters:
            data = parameter.data
            if type(data) is not np.ndarray:  # its kernels need none
                scratch.append((buffers[0][:0], buffers[1][:0]))
                continue
            first, second = (
                buffer[: data.nbytes].view(data.dtype).reshape(data.shape) for buffer in buffers
            )
            scratch.append((first, second))
        return scratch

    def _at_least_zero(self, option: str, value: float) -> float:
        if not 0 <= value < math.inf:
            raise ValueError(f"{type(self).__name__}: {option} must be at least 0, not {value}")
        return float(value)


def _squares(gradient: Any) -> float:
    """The sum of the squares of an array, in float64."""
    if type(gradient) is np.ndarray:
        return float(np.sum(np.square(gradient, dtype=np.float64)))
    wide = gradient.astype(np.float64)
    return float((wide * wide).sum().item())


def clip_gradients(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Shrink all gradients alike if their common norm is larger than `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a gradient are left out.
    max_norm : float
        Above 0.

    Returns
    -------
    float
        The norm before: the root of the sum of the squares of all gradients. Where it is infinite
        or NaN nothing is changed.

    Raises
    ------
    ValueError
        If `max_norm` is not positive.

    References
    ----------
    .. [1] R. Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> first, second = nn.Parameter([0.0]), nn.Parameter([0.0])
    >>> first.grad, second.grad = np.array([3.0]), np.array([4.0])
    >>> nn.clip_gradients([first, second], 1.0)
    5.0
    >>> first.grad, second.grad
    (array([0.6]), array([0.8]))
    """
    if not max_norm > 0:
        raise ValueError(f"clip_gradients: max_norm must be positive, not {max_norm}")
    found = [(p, p.grad) for p in parameters if p.grad is not None]
    squares = (_squares(gradient) for _, gradient in found)
    norm = math.sqrt(sum(squares))
    if max_norm < norm < math.inf:
        for parameter, gradient in found:
            parameter.grad = gradient * gradient.dtype.type(max_norm / norm)
    return norm


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted.

    Each step takes ``g += weight_decay p``; with momentum ``v = momentum v + (1 - dampening) g`` (v
    = g at first) and then v, or under Nesterov ``g + momentum v``, for g; and at last ``p -= lr
    g``.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``.
    lr : float, default 1e-3
        Learning rate, at least 0. The attribute of this name may be changed at any time.
    momentum, dampening, weight_decay : float, default 0
    nesterov : bool, default False
        Needs momentum and no dampening.

    Raises
    ------
    TypeError, ValueError
        If there is no parameter, one occurs twice or is something else, or an option is out of
        range.

    References
    ----------
    .. [1] I. Sutskever et al., "On the importance of initialization and momentum in deep learning",
       ICML 2013.

    Examples
    --------
    Two steps with the gradient 1: by 0.1 and, with half of the first step's speed left, by 0.15.

    >>> import numpy as np
    >>> from fastconv import nn
    >>> parameter = nn.Parameter([1.0])
    >>> optimizer = nn.SGD([parameter], lr=0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     parameter.grad = np.ones(1)
    ...     optimizer.step()
    >>> parameter.data
    array([0.75])
    """

    options = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
    slots = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, lr)
        self.momentum = self._at_least_zero("momentum", momentum)
        self.dampening = float(dampening)
        self.weight_decay = self._at_least_zero("weight_decay", weight_decay)
        self.nesterov = bool(nesterov)
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum above 0 and no dampening, not {momentum} and "
                f"{dampening}"
            )

    def _update(self, p: Array, g: Array, state: State, scratch: Array, other: Array) -> None:
        if self.weight_decay:
            np.multiply(p, self.weight_decay, out=other)
            g = np.add(other, g, out=other)
        if self.momentum:
            velocity = state.get("velocity")
            if velocity is None:
                velocity = state["velocity"] = np.array(g, dtype=p.dtype)
            else:
                velocity *= self.momentum
                velocity += np.multiply(g, 1 - self.dampening, out=scratch) if self.dampening else g
            if self.nesterov:
                np.multiply(velocity, self.momentum, out=scratch)
                g = np.add(scratch, g, out=scratch)
            else:
                g = velocity
        p -= np.multiply(g, self._lr, out=scratch)


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square.

    Each step takes ``g += weight_decay p``, ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 -
    beta2) g**2`` and ``p -= lr (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)``.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``.
    lr : float, default 1e-3
        Learning rate, at least 0. The attribute of this name may be changed at any time.
    betas : pair of float, default (0.9, 0.999)
        At least 0 and below 1.
    eps : float, default 1e-8
    weight_decay : float, default 0

    Raises
    ------
    TypeError, ValueError
        If there is no parameter, one occurs twice or is something else, or an option is out of
        range.

    References
    ----------
    .. [1] D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    The first step has the length `lr`, whatever the gradient.

    >>> import numpy as np
    >>> from fastconv import nn
    >>> parameter = nn.Parameter([1.0, 1.0])
    >>> optimizer = nn.Adam([parameter], lr=0.25)
    >>> parameter.grad = np.array([1000.0, -0.5])
    >>> optimizer.step()
    >>> parameter.data.round(6)
    array([0.75, 1.25])
    """

    options = ("lr", "betas", "eps", "weight_decay")
    slots = ("mean", "square")
    # Whether the decay goes into the gradient (and its means) or straight to the parameter.
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"{type(self).__name__}: betas must be two numbers from 0 to below 1, not {betas}"
            )
        self.betas = (float(betas[0]), float(betas[1]))
        self.eps = self._at_least_zero("eps", eps)
        self.weight_decay = self._at_least_zero("weight_decay", weight_decay)

    def _update(self, p: Array, g: Array, state: State, scratch: Array, other: Array) -> None:
        if self.weight_decay and self.decoupled:
            p *= 1 - self._lr * self.weight_decay
        elif self.weight_decay:
            np.multiply(p, self.weight_decay, out=other)
            g = np.add(other, g, out=other)
        if not state:
            state.update(step=0, mean=np.zeros_like(p), square=np.zeros_like(p))
        state["step"] += 1
        mean, square = state["mean"], state["square"]
        beta1, beta2 = self.betas
        np.subtract(g, mean, out=scratch)
        scratch *= 1 - beta1
        mean += scratch
        np.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        square *= beta2
        square += scratch
        # sqrt(v / c2) as sqrt(v) / sqrt(c2), and c1 with the learning rate: the corrections stay
        # scalars.
        np.sqrt(square, out=scratch)
        scratch /= math.sqrt(1 - beta2 ** state["step"])
        scratch += self.eps
        np.divide(mean, scratch, out=scratch)
        scratch *= self._lr / (1 - beta1 ** state["step"])
        p -= scratch


class AdamW(Adam):
    """`Adam` with the decay taken off the parameter: ``p -= lr weight_decay p``, then Adam's step.

    Parameters and errors are those of `Adam`; `weight_decay` is 0.01 by default.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> parameter = nn.Parameter([1.0])
    >>> optimizer = nn.AdamW([parameter], lr=0.25, weight_decay=0.4)
    >>> parameter.grad = np.array([3.0])
    >>> optimizer.step()
    >>> parameter.data.round(6)
    array([0.65])
    """

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)
