"""Convolution and pooling for NumPy arrays, compiled for your CPU the first time you call it."""

__version__ = "0.1.0"
