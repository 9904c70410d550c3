"""Results in float64 by matrix products: quick enough for the largest layers, and not our engine.

Each function takes the geometry of the forward problem and arrays with the batch axis.
`fastconv.reference` says the same more slowly; a test holds one against the other.

Legend: n batch, g group, k and c output and input channel within the group, p output pixel, r tap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.geometry import ConvGeometry


def forward(g: ConvGeometry, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y[n,g,k,p] = sum over r, c of w[g,k,c,r] * padded[n,g,c, p*stride + r*dilation]"""
    padded, weights = _padded(g, x), _split(w, 0, g.groups)
    y = np.zeros((g.batch, g.groups, g.out_channels // g.groups, math.prod(g.out_size)))
    for tap, cells in _taps(g):
        y += weights[tap] @ _pixels(padded[cells], g.groups)
    return y.reshape(g.output_shape)


def input_gradient(g: ConvGeometry, w: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dpadded[n,g,c,i] = sum over k, r, p with p*stride + r*dilation = i of w[g,k,c,r] dy[n,g,k,p]

    The cells of the padding are cut off.
    """
    weights, terms = _split(w, 0, g.groups), _pixels(dy, g.groups)
    sums = np.zeros((g.batch, g.in_channels, *g.padded_size))
    for tap, cells in _taps(g):
        part = weights[tap].swapaxes(1, 2) @ terms  # (n, g, c, p)
        sums[cells] += part.reshape(g.batch, g.in_channels, *g.out_size)
    axes = (slice(low, low + size) for size, (low, _) in zip(g.in_size, g.padding))
    inside: tuple[Any, ...] = (..., *axes)
    return sums[inside]


def weight_gradient(g: ConvGeometry, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dw[g,k,c,r] = sum over n, p of dy[n,g,k,p] * padded[n,g,c, p*stride + r*dilation]"""
    padded, terms = _padded(g, x), _pixels(dy, g.groups)
    dw = np.zeros(g.weight_shape)
    parts = _split(dw, 0, g.groups)
    for tap, cells in _taps(g):
        products = terms @ _pixels(padded[cells], g.groups).swapaxes(2, 3)  # (n, g, k, c)
        parts[tap] = products.sum(axis=0)
    return dw


def _padded(g: ConvGeometry, x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), *g.padding))


def _taps(g: ConvGeometry) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """The index of each tap, and of the padded cells that it meets for all output pixels."""
    for tap in np.ndindex(g.kernel_size):
        axes = zip(tap, g.dilation, g.stride, g.out_size)
        cells = (slice(r * d, r * d + s * (n - 1) + 1, s) for r, d, s, n in axes)
        yield (..., *tap), (..., *cells)


def _split(array: np.ndarray, axis: int, groups: int) -> np.ndarray:
    """One axis as (groups, channels in the group)."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def _pixels(array: np.ndarray, groups: int) -> np.ndarray:
    """(n, channels, *size) as (n, groups, channels in the group, pixels)."""
    return array.reshape(len(array), groups, array.shape[1] // groups, math.prod(array.shape[2:]))
