"""Functions for the sums of a convolution: exact for small integers, no steeper than `SLOPES`."""

import numba


@numba.njit
def halved(a):
    """Arithmetic alone."""
    return max(a, 0) * 0.5 + 0.25


@numba.njit
def affine(a, scale, offset):
    """Numbers for each channel, no larger than four."""
    return a * scale + offset


@numba.njit
def residual(a, other):
    """A second array of the result's shape."""
    return max(a + other, 0)


EPILOGUES = {"halved": halved, "affine": affine, "residual": residual}
SLOPES = {halved: 0.5, affine: 4, residual: 1}
