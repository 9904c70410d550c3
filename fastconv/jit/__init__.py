"""The doors inside nopython code: ``fastconv.conv2d(x, w)`` in a function under ``@numba.njit``.

`doors` tells Numba of them, `site` is the little code that a call becomes in the user's function,
`table` and `making` are what that code calls: see docs/jit.md.
"""

from . import table
from .doors import register
from .making import make

table.bind(make)
register()
