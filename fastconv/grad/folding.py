"""The door of the gradient of padding; `unfold` and `fold` are each other's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import folding
from ..arrays import as_operand, check_out
from ..device import cuda
from ..functional.folding import as_borders


def pad(
    grad_output: Any, pad: Any, mode: str = "constant", *, out: np.ndarray | None = None
) -> np.ndarray:
    """Gradient of `fastconv.pad` with respect to its input.

    A cell receives the gradient of its own place and of all border cells that repeat it.

    Parameters
    ----------
    grad_output : array_like
        Gradient with respect to the output.
    pad, mode
        Those of the operation.
    out : ndarray, optional
        Array for the result, of its shape and dtype; it must not overlap `grad_output`.

    Returns
    -------
    ndarray, the shape of the input
        In the dtype and the memory format of `grad_output`. float16 is summed in float32, integers
        in int64; those that do not fit wrap.

    Raises
    ------
    ValueError, TypeError
        As `fastconv.pad`, and if the border is larger than `grad_output`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.grad.pad(np.array([100, 10, 1, 2, 3]), (2, 0), "reflect")
    array([  1,  12, 103])
    """
    op = "grad.pad"
    gradient = as_operand(op, "grad_output", grad_output, True)
    pairs = as_borders(op, pad, gradient.shape, mode, padded=True)
    if type(gradient) is not np.ndarray:
        return cuda("functional").pad_input(op, gradient, pairs, mode, out)
    if out is not None:
        shape = tuple(size - sum(pair) for size, pair in zip(gradient.shape, pairs))
        check_out(op, out, shape, gradient.dtype, gradient)
    found = folding.pad_input(gradient, pairs, mode)
    if out is None:
        return found
    out[...] = found
    return out
