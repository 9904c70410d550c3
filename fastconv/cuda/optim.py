"""Steps of the optimizers of `fastconv.nn`: one kernel for each parameter."""

from __future__ import annotations

import functools
import math
from typing import Any

from .activation import number
from .arrays import DeviceArray, contiguous, to_device, zeros
from .backend import cuda
from .launch import THREADS, Kernel, blocks_for


@functools.cache
def sgd(dtype: str, momentum: bool, nesterov: bool) -> Kernel:
    """g += decay p; v = momentum v + (1 - dampening) g; p -= lr (g + momentum v, or v, or g)"""
    REAL = number(dtype)

    def kernel(p, g, v, lr, momentum_, gain, decay, count):  # type: ignore[no-untyped-def]
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            step = g[i] + REAL(decay) * p[i]
            if momentum:
                velocity = REAL(momentum_) * v[i] + REAL(gain) * step
                v[i] = velocity
                step = step + REAL(momentum_) * velocity if nesterov else velocity
            p[i] = p[i] - REAL(lr) * step

    kind = "nesterov" if nesterov else "momentum" if momentum else "plain"
    arguments = [dtype, dtype, dtype, "real", "real", "real", "real", "number"]
    return Kernel(f"sgd_{kind}_{dtype}", kernel, arguments, THREADS)


@functools.cache
def adam(dtype: str, decoupled: bool) -> Kernel:
    """m += (1 - b1)(g - m); v = b2 v + (1 - b2) g g; p -= rate m / (sqrt(v) / root + eps)"""
    REAL = number(dtype)

    def kernel(p, g, m, v, beta1, beta2, rate, root, eps, decay, count):  # type: ignore[no-untyped-def]
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            value, gradient = p[i], g[i]
            if decoupled:
                value = value - REAL(decay) * value
            else:
                gradient = gradient + REAL(decay) * value
            mean = m[i] + REAL(1 - beta1) * (gradient - m[i])
            square = REAL(beta2) * v[i] + REAL(1 - beta2) * gradient * gradient
            m[i], v[i] = mean, square
            p[i] = value - REAL(rate) * mean / (math.sqrt(square) / REAL(root) + REAL(eps))

    arguments = [dtype, dtype, dtype, dtype, *["real"] * 6, "number"]
    return Kernel(f"adam{'w' if decoupled else ''}_{dtype}", kernel, arguments, THREADS)


def _slot(state: dict[str, Any], name: str, p: DeviceArray) -> DeviceArray:
    """A state array on the device; one that was loaded is on the host."""
    if name not in state:
        state[name] = zeros(p.shape, p.dtype)
    elif type(state[name]) is not DeviceArray:
        state[name] = to_device("optimizer", name, state[name].astype(p.dtype))
    return state[name]


def update(optimizer: Any, p: DeviceArray, g: DeviceArray, state: dict[str, Any]) -> None:
    """One step of one parameter, of an `SGD`, `Adam` or `AdamW`."""
    g, dtype, blocks = contiguous(g.astype(p.dtype, copy=False)), p.dtype.name, blocks_for(p.size)
    if "velocity" in optimizer.slots:
        o = optimizer
        first = o.momentum and "velocity" not in state  # the velocity is the gradient at first
        v = _slot(state, "velocity", p) if o.momentum else g
        gain = 1.0 if first else 1 - o.dampening
        kernel = sgd(dtype, bool(o.momentum), o.nesterov)
        kernel(blocks, p, g, v, o.lr, o.momentum, gain, o.weight_decay, p.size)
        return
    state["step"] = state.get("step", 0) + 1
    beta1, beta2 = optimizer.betas
    m, v = _slot(state, "mean", p), _slot(state, "square", p)
    rate = optimizer.lr / (1 - beta1 ** state["step"])
    root = math.sqrt(1 - beta2 ** state["step"])
    decay = optimizer.weight_decay * (optimizer.lr if optimizer.decoupled else 1)
    numbers = (beta1, beta2, rate, root, optimizer.eps, decay)
    adam(dtype, optimizer.decoupled)(blocks, p, g, m, v, *numbers, p.size)
