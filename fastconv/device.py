"""Where the doors meet CUDA: which arrays lie on a device, and the package that serves them.

Nothing here imports CUDA before an array on a device, or `to_device`, asks for it.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np


def on_device(x: Any) -> bool:
    """Whether `x` says by `__cuda_array_interface__` that its memory is a GPU's."""
    return type(x) is not np.ndarray and hasattr(x, "__cuda_array_interface__")


def cuda(module: str) -> Any:
    """A module of `fastconv.cuda`, imported now.

    Raises RuntimeError, with the reason, where there is no package for CUDA.
    """
    backend = importlib.import_module("fastconv.cuda.backend")
    backend.require_package()
    return importlib.import_module(f"fastconv.cuda.{module}")


def on_host(x: Any) -> Any:
    """`x`, or the host's copy of what lies on the device."""
    return cuda("arrays").as_operand("on_host", "x", x).copy_to_host() if on_device(x) else x


def status() -> str:
    """What was found, in one line: the device, or why CUDA is off."""
    return importlib.import_module("fastconv.cuda.backend").status()


def to_device(x: Any) -> Any:
    """Copy an array to the GPU.

    Parameters
    ----------
    x : array_like
        Of a real dtype that the operations take; its memory format is kept. What lies on the device
        already is not copied.

    Returns
    -------
    fastconv.cuda.arrays.DeviceArray
        For every operation of this package; see also its `copy_to_host`. CuPy, PyTorch and Numba
        take it without a copy.

    Raises
    ------
    RuntimeError
        If there is no GPU, no driver or no package for it; the message says which.
    TypeError
        If the dtype is not supported.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = fastconv.to_device(np.ones((1, 1, 3, 3), np.float32))  # doctest: +SKIP
    >>> fastconv.max_pool2d(x, 3).copy_to_host()  # doctest: +SKIP
    array([[[[1.]]]], dtype=float32)
    """
    return cuda("arrays").to_device("to_device", "x", x)


def mixed(op: str, operands: dict[str, Any]) -> TypeError:
    """The error for operands of which some are on the device and some on the host."""
    sides = [
        [name for name, x in operands.items() if on_device(x) is side] for side in (True, False)
    ]
    device, host = map(", ".join, sides)
    return TypeError(
        f"{op}: {device} is on the device and {host} on the host; copy one of them, with "
        "fastconv.to_device or copy_to_host()"
    )
