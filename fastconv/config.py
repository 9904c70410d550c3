"""What this installation runs on."""

from __future__ import annotations

import platform

import llvmlite
import numba
import numpy as np
import scipy

from . import device
from ._version import __version__
from .cpu.compile import cache_folder
from .cpu.launch import get_threads
from .cpu.tiles import tile_height
from .machine import machine
from .plan import Table


def show_config() -> Table:
    """Versions, CPU, vector width, threads, cache folder and CUDA, as text.

    Returns
    -------
    str

    Examples
    --------
    >>> import fastconv
    >>> print(fastconv.show_config())  # doctest: +SKIP
    fastconv   0.1.0
    ...
    vectors    512 bits: 16 lanes of float32, 8 of float64; tiles of 14 x 2 vectors
    """
    cpu = machine()
    try:
        layer = numba.threading_layer()
    except ValueError:
        layer = "not started yet"
    rows = {
        "fastconv": __version__,
        "numba": f"{numba.__version__}, llvmlite {llvmlite.__version__}",
        "numpy": f"{np.__version__}, scipy {scipy.__version__}",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "cpu": f"{cpu.name}, {cpu.cores} cores, level-2 cache {cpu.level2_bytes // 1024} KiB",
        "vectors": (
            f"{8 * cpu.vector_bytes} bits: {cpu.lanes('float32')} lanes of float32, "
            f"{cpu.lanes('float64')} of float64; tiles of {tile_height(cpu)} x 2 vectors"
        ),
        "threads": f"{get_threads()}, threading layer: {layer}",
        "cache": str(cache_folder() or "none: no folder can be written"),
        "cuda": device.status(),
    }
    return Table("\n".join(f"{name:<10} {text}" for name, text in rows.items()))
