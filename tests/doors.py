"""Every public operation and gradient, each with arguments that fit.

What must hold for all of them is tested through this list; a door that is missing here is found by
`test_bad_inputs.test_every_door_is_listed`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastconv

SIZES = {1: (37,), 2: (13, 11), 3: (5, 7, 6)}
KERNELS = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}
BATCH, CHANNELS, OUTPUTS = 2, 4, 6


@dataclass(frozen=True)
class Door:
    """A function of fastconv and a call of it that fits; `rank` 0 where it has none."""

    name: str
    rank: int
    given: dict[str, Any]

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        found: Any = fastconv
        for part in self.name.split("."):
            found = getattr(found, part)
        return found

    @functools.cached_property
    def options(self) -> frozenset[str]:
        """Names of its arguments."""
        return frozenset(inspect.signature(self.function).parameters)

    @property
    def arrays(self) -> list[str]:
        """Names of the arguments that are arrays here."""
        return [name for name, value in self.given.items() if isinstance(value, np.ndarray)]

    def __call__(self, **changes: Any) -> Any:
        """Call it, with some arguments changed."""
        return self.function(**{**self.given, **changes})

    def results(self, **changes: Any) -> tuple[np.ndarray, ...]:
        """What it returns, in any case as a tuple of arrays."""
        result = self(**changes)
        return result if isinstance(result, tuple) else (result,)


def _convolutions(rank: int, array: Callable[..., np.ndarray]) -> list[Door]:
    size, kernel = SIZES[rank], KERNELS[rank]
    x, w = array(BATCH, CHANNELS, *size), array(OUTPUTS, CHANNELS, *kernel)
    dy = array(*fastconv.output_shape(x.shape, w.shape, padding=1))
    forward = {"input": x, "weight": w, "bias": array(OUTPUTS), "padding": 1}
    back = {"input": dy, "weight": w, "bias": array(CHANNELS), "padding": 1}
    names = {
        f"conv{rank}d": forward,
        f"conv_transpose{rank}d": back,
        f"grad.conv{rank}d_input": {"input_size": x.shape, "weight": w, "grad_output": dy},
        f"grad.conv{rank}d_weight": {"input": x, "weight_size": w.shape, "grad_output": dy},
        f"grad.conv{rank}d_bias": {"grad_output": dy},
    }
    for name in (f"grad.conv{rank}d_input", f"grad.conv{rank}d_weight"):
        names[name]["padding"] = 1
    return [Door(name, rank, given) for name, given in names.items()]


def _poolings(rank: int, array: Callable[..., np.ndarray]) -> list[Door]:
    size, doors = SIZES[rank], []
    x = array(BATCH, CHANNELS, *size)
    window = {"kernel_size": KERNELS[rank], "stride": 2}
    for kind, extra in (("max", {}), ("avg", {}), ("lp", {"norm_type": 3})):
        name = f"{kind}_pool{rank}d"
        forward = {"input": x, **extra, **window}
        y = Door(name, rank, forward)()
        dy = array(*y.shape)
        doors.append(Door(name, rank, forward))
        if kind == "max":
            doors[-1].given["return_indices"] = True
            _, indices = doors[-1]()
            back = {"grad_output": dy, "indices": indices, "input_size": x.shape}
            undo = {"input": dy, "indices": indices, **window, "output_size": size}
            doors.append(Door(f"max_unpool{rank}d", rank, undo))
            undone = {"grad_output": x, "indices": indices}
            doors.append(Door(f"grad.max_unpool{rank}d", rank, undone))
        elif kind == "avg":
            back = {"grad_output": dy, "input_size": x.shape, **window}
        else:
            back = {"grad_output": dy, "input": x, "output": y, **extra, **window}
        doors.append(Door(f"grad.{name}", rank, back))
    bins = tuple(range(3, 3 + rank))
    for kind in ("max", "avg"):
        name = f"adaptive_{kind}_pool{rank}d"
        forward = {"input": x, "output_size": bins}
        back = {"grad_output": array(BATCH, CHANNELS, *bins), "input_size": x.shape}
        if kind == "max":
            forward["return_indices"] = True
            back["indices"] = Door(name, rank, forward)()[1]
        doors += [Door(name, rank, forward), Door(f"grad.{name}", rank, back)]
    return doors


def _others(array: Callable[..., np.ndarray]) -> list[Door]:
    x, w = array(BATCH, CHANNELS, *SIZES[2]), array(OUTPUTS, CHANNELS)
    columns = fastconv.unfold(x, (3, 2), padding=1)
    rows, dy = array(5, 3, CHANNELS), array(5, 3, OUTPUTS)
    return [
        Door("unfold", 2, {"input": x, "kernel_size": (3, 2), "padding": 1}),
        Door(
            "fold",
            2,
            {"input": columns, "output_size": SIZES[2], "kernel_size": (3, 2), "padding": 1},
        ),
        Door("pad", 0, {"input": x, "pad": (1, 2, 3, 0), "mode": "reflect"}),
        Door("grad.pad", 0, {"grad_output": x, "pad": (1, 2, 3, 0), "mode": "reflect"}),
        Door("linear", 0, {"input": rows, "weight": w, "bias": array(OUTPUTS)}),
        Door("grad.linear_input", 0, {"weight": w, "grad_output": dy}),
        Door("grad.linear_weight", 0, {"input": rows, "grad_output": dy}),
    ]


@functools.cache
def doors(dtype: str = "float64") -> tuple[Door, ...]:
    """All of them, with arrays of random numbers."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(dtype)

    found = [door for rank in (1, 2, 3) for door in _convolutions(rank, array)]
    found += [door for rank in (1, 2, 3) for door in _poolings(rank, array)]
    return (*found, *_others(array))


def helpers() -> tuple[Door, ...]:
    """The doors that only decide or compute shapes; they give no arrays."""
    x, w = (BATCH, CHANNELS, *SIZES[2]), (OUTPUTS, CHANNELS, 3, 2)
    return (
        Door("plan", 2, {"input_shape": x, "weight": np.ones(w)}),
        Door("explain", 2, {"input_shape": x, "weight_shape": w}),
        Door("output_shape", 2, {"input_shape": x, "weight_shape": w}),
        Door("receptive_field", 0, {"kernel_sizes": (3, 3), "strides": (2, 1)}),
    )
