"""Sizes of one axis: every formula in its one place. Whatever divides by a stride does so here.

They take plain numbers, so that they can be compiled into nopython code as well.
"""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from .arguments import as_sizes


@register_jitable
def window_extent(kernel: int, dilation: int) -> int:
    """Input cells from the first to the last tap of a window."""
    return dilation * (kernel - 1) + 1


@register_jitable
def same_size(size: int, stride: int) -> int:
    """Outputs of an axis under padding "same": ceil(size / stride)."""
    return -(-size // stride)


@register_jitable
def conv_size(size: int, kernel: int, stride: int, dilation: int, low: int, high: int) -> int:
    """Outputs of an axis: the windows that fit into the padded input; below 1 if none does."""
    return (size + low + high - window_extent(kernel, dilation)) // stride + 1


@register_jitable
def transposed_size(
    size: int, kernel: int, stride: int, dilation: int, low: int, high: int, extra: int
) -> int:
    """Outputs of a transposed axis: the smallest input of forward size `size`, and `extra` more."""
    return (size - 1) * stride - low - high + window_extent(kernel, dilation) + extra


@register_jitable
def pool_size(
    size: int, kernel: int, stride: int, dilation: int, low: int, high: int, ceil_mode: bool
) -> int:
    """As `conv_size`; `ceil_mode` adds a partial last window unless it starts in the padding."""
    span = size + low + high - window_extent(kernel, dilation)
    if span < 0 or not ceil_mode:
        return span // stride + 1
    count = -(-span // stride) + 1
    return count - 1 if (count - 1) * stride >= size + low else count


@register_jitable
def adaptive_bin(index: int, size: int, bins: int) -> tuple[int, int]:
    """First and one-past-last input cell of a bin: floor(i L / o) .. ceil((i + 1) L / o)."""
    return index * size // bins, -(-(index + 1) * size // bins)


@register_jitable
def phase_taps(
    phase: int, kernel: int, stride: int, dilation: int, low: int
) -> list[tuple[int, int]]:
    """Taps that reach the input cells phase, phase + stride, ... in the transposed direction.

    Cell ``phase + stride*j`` receives ``weight[k] * output[j + shift]`` for each returned
    ``(k, shift)``: the pairs with ``phase + low - k*dilation == shift * stride``.
    """
    reached = []
    for k in range(kernel):
        distance = phase + low - k * dilation
        if distance % stride == 0:
            reached.append((k, distance // stride))
    return reached


@register_jitable
def phase_count(size: int, phase: int, stride: int) -> int:
    """Cells phase, phase + stride, ... below `size`."""
    return -(-(size - phase) // stride)


def receptive_field(kernel_sizes: Any, strides: Any = 1, dilations: Any = 1) -> int:
    """Input cells along one axis that one cell of the last layer sees.

    Parameters
    ----------
    kernel_sizes : int or sequence of int
        Kernel size of each layer, first layer first.
    strides, dilations : int or sequence of int, default 1
        One for all layers or one per layer.

    Returns
    -------
    int
        ``1 + sum over l of (kernel_l - 1) * dilation_l * product of the strides before l``.

    Raises
    ------
    ValueError
        If a value is not positive or the lengths differ.

    Examples
    --------
    Three 3-wide layers see 7 cells; a stride of 2 in the first doubles the steps of the others.

    >>> import fastconv
    >>> fastconv.receptive_field([3, 3, 3])
    7
    >>> fastconv.receptive_field([3, 3, 3], strides=[2, 1, 1])
    11
    """
    op = "receptive_field"
    layers = len(kernel_sizes) if hasattr(kernel_sizes, "__len__") else 1
    field, jump = 1, 1
    for kernel, stride, dilation in zip(
        as_sizes(op, "kernel_sizes", kernel_sizes, layers, at_least=1),
        as_sizes(op, "strides", strides, layers, at_least=1),
        as_sizes(op, "dilations", dilations, layers, at_least=1),
    ):
        field += (window_extent(kernel, dilation) - 1) * jump
        jump *= stride
    return field
