"""The other libraries: each adapter offers the sides that its library has for a problem.

Nothing here is needed to run the benchmarks: a library that is not installed is left out, and the
report says so.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from benchmarks.problem import Problem, Side
from benchmarks.rivals.jax_sides import Jax
from benchmarks.rivals.onnx_sides import OnnxRuntime
from benchmarks.rivals.scipy_sides import Scipy
from benchmarks.rivals.torch_sides import Torch


class Rival(Protocol):
    """A library beside ours."""

    name: str
    version: str
    offers: str

    def sides(self, problem: Problem) -> Iterator[Side]:
        """Every way in which the library computes the problem."""


RIVALS: dict[str, Callable[[int], Rival]] = {
    "torch": Torch,
    "onnxruntime": OnnxRuntime,
    "jax": Jax,
    "scipy": Scipy,
}


def load_rivals(names: Iterable[str], threads: int) -> tuple[list[Rival], list[str]]:
    """The installed ones of the named libraries, and a line for each that is missing."""
    found: list[Rival] = []
    missing = []
    for name in names:
        if name not in RIVALS:
            raise ValueError(f"rivals must be among {', '.join(RIVALS)}, not {name!r}")
        try:
            found.append(RIVALS[name](threads))
        except ImportError as reason:
            missing.append(f"{name}: not installed, left out ({reason})")
    return found, missing


def limit_blas(threads: int) -> str:
    """Hold BLAS to `threads` where threadpoolctl is installed; what was done, in words."""
    try:
        import threadpoolctl
    except ImportError:
        return "BLAS threads: not limited, threadpoolctl is not installed"
    threadpoolctl.threadpool_limits(threads, user_api="blas")
    return f"BLAS threads: {threads}, threadpoolctl {importlib.metadata.version('threadpoolctl')}"
