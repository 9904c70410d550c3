"""Convolution and pooling for NumPy arrays, compiled for your CPU the first time you call it."""

from typing import Any

from . import functional, grad, jit
from ._version import __version__
from .arrays import channels_first, channels_last
from .config import show_config
from .cpu.launch import get_threads, set_threads, threads
from .device import to_device
from .functional import *
from .precision import get_precision, precision, set_precision
from .sizes import receptive_field
from .stencils import stencil
from .warmup import warmup


def __getattr__(name: str) -> Any:
    """Some modules are imported when they are first asked for."""
    if name in ("nn", "data", "cuda", "signal", "ndimage"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
