"""Compiling everything ahead of time, into the disk cache."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from functools import partial

from .cpu import (  # noqa: F401 (their kernels)
    channelwise,
    direct,
    elementwise,
    fourier,
    gradients,
    lockstep,
    planar,
    pooling,
    product,
    scatter,
    sliding,
    winograd,
)
from .cpu.compile import FLOATS, KERNELS
from .cpu.launch import prepare

DTYPES = (*FLOATS, "int64")


def warmup(dtypes: Iterable[str] = FLOATS, progress: bool | None = None) -> float:
    """Compile all kernels for some element types, or load them from the disk cache.

    Parameters
    ----------
    dtypes : iterable of {"float32", "float64", "int64"}
        float16 is computed in float32, complex numbers in the type of their parts, integers in
        int64.
    progress : bool, optional
        Whether to tell on stderr what is being compiled; by default if it is a terminal.

    Returns
    -------
    float
        The seconds that it took.

    Raises
    ------
    ValueError
        If a dtype is none of the three.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.warmup(["float32"])  # doctest: +SKIP
    21.3
    """
    dtypes = tuple(dtypes)
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise ValueError(f"warmup: dtypes must be some of {DTYPES}, not {dtype!r}")
    if progress is None:
        progress = sys.stderr.isatty()
    begun = time.perf_counter()
    steps = [
        (f"{kernel.function.__name__} of {dtype}", partial(kernel.address, dtype))
        for kernel in KERNELS
        for dtype in dtypes
        if dtype in kernel.dtypes
    ]
    prepare()
    for number, (name, step) in enumerate(steps, 1):
        if progress:
            sys.stderr.write(f"\r\x1b[Kfastconv: {number} of {len(steps)}: {name}")
            sys.stderr.flush()
        step()
    if progress:
        sys.stderr.write("\r\x1b[K")
    return time.perf_counter() - begun
