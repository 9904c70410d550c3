"""Convolution and pooling for NumPy arrays, compiled for your CPU the first time you call it."""

from . import functional, grad
from ._version import __version__
from .arrays import channels_first, channels_last
from .config import show_config
from .cpu.launch import get_threads, set_threads, threads
from .functional import *
from .geometry import receptive_field
