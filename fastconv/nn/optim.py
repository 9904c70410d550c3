"""Optimizers: SGD, Adam and AdamW, in place and with PyTorch's formulas.

Letters: p the parameter, g its gradient, t the number of this step, from 1. A step is one pass
over each parameter and what is kept for it, see `fastconv.cpu.elementwise`; none after the first
allocates an array.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from fastconv.cpu.compile import Kernel
from fastconv.cpu.elementwise import (
    DECAY,
    DECOUPLED,
    FIRST,
    FLAGS,
    NESTEROV,
    NUMBERS,
    Steps,
    adam_step,
    plain_step,
    sgd_step,
)
from fastconv.cpu.memory import address_of
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
        self._passes: dict[Any, Steps] = {}

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
        for parameter in self.parameters:
            gradient = parameter.grad
            if gradient is not None and gradient.shape != parameter.shape:
                raise ValueError(
                    f"{type(self).__name__}: grad of shape {gradient.shape} is not of its "
                    f"parameter's shape {parameter.shape}"
                )
        here: dict[np.dtype[Any], list[tuple[Array, Array, State]]] = {}
        for parameter, state in zip(self.parameters, self._states):
            p, gradient = parameter.data, parameter.grad
            if gradient is None:
                continue
            if type(p) is not np.ndarray:
                cuda("optim").update(self, p, gradient, state)
            else:
                g = np.ascontiguousarray(gradient, p.dtype)
                here.setdefault(p.dtype, []).append((p, g, state))
            parameter.version += 1
        for dtype, group in here.items():
            self._update(dtype, group)

    def _update(self, dtype: np.dtype[Any], group: list[tuple[Array, Array, State]]) -> None:
        """One step of parameters of one dtype, each with its gradient and state."""
        table, numbers = [], []
        for p, g, state in group:
            slots, factors, flags = self._numbers(p, state)
            addresses = [address_of(array) for array in (p, g, *slots)]
            table += [*addresses, *[0] * (FLAGS - len(addresses)), flags]
            numbers += [*factors, *[0.0] * (NUMBERS - len(factors))]
        sizes = tuple(p.size for p, _, _ in group)
        kernel = self._kernel()
        known = self._passes.get((kernel, dtype, sizes))
        if known is None:
            known = self._passes[kernel, dtype, sizes] = Steps(kernel, sizes, dtype.name)
        known(table, numbers)

    def _kernel(self) -> Kernel:
        """What changes a parameter by its numbers."""
        raise NotImplementedError

    def _numbers(self, p: Array, state: State) -> tuple[list[Array], list[float], int]:
        """The arrays of `slots`, and the numbers and flags of the kernel, for one parameter."""
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
            arrays = {
                key: np.array(state[key], parameter.data.dtype, order="C")
                for key in self.slots
                if key in state
            }
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

    def _kernel(self) -> Kernel:
        return sgd_step if self.momentum else plain_step

    def _numbers(self, p: Array, state: State) -> tuple[list[Array], list[float], int]:
        numbers = [self._lr, self.momentum, 1 - self.dampening, self.weight_decay]
        flags = (DECAY if self.weight_decay else 0) | (NESTEROV if self.nesterov else 0)
        if not self.momentum:
            return [], numbers, flags
        if "velocity" not in state:
            state["velocity"] = np.zeros_like(p)
            flags |= FIRST
        return [state["velocity"]], numbers, flags


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

    def _kernel(self) -> Kernel:
        return adam_step

    def _numbers(self, p: Array, state: State) -> tuple[list[Array], list[float], int]:
        if not state:
            state.update(step=0, mean=np.zeros_like(p), square=np.zeros_like(p))
        state["step"] += 1
        beta1, beta2 = self.betas
        flags = 0
        if self.weight_decay:
            flags = DECOUPLED if self.decoupled else DECAY
        # sqrt(v / c2) as sqrt(v) / sqrt(c2), and c1 with the learning rate: the corrections stay
        # scalars.
        rate, root = self._lr / (1 - beta1 ** state["step"]), math.sqrt(1 - beta2 ** state["step"])
        numbers = [rate, 1 - beta1, beta2, 1 - beta2, root, self.eps]
        numbers += [self.weight_decay, 1 - self._lr * self.weight_decay]
        return [state["mean"], state["square"]], numbers, flags


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
