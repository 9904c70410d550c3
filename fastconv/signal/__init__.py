"""scipy.signal's convolutions on this library's engine.

The functions have SciPy's names, arguments and results; what SciPy lacks is keyword-only. Calls
that are too small to gain, and operands that the engine does not know, go to SciPy itself.
"""

from .convolution import choose_conv_method, convolve, correlate
from .planes import convolve2d, correlate2d
from .separable import sepfir2d
from .spectra import fftconvolve, oaconvolve

__all__ = [
    "choose_conv_method",
    "convolve",
    "convolve2d",
    "correlate",
    "correlate2d",
    "fftconvolve",
    "oaconvolve",
    "sepfir2d",
]
