"""How much rounding an algorithm may add for speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .arguments import check_choice

PRECISIONS = ("default", "strict", "tf32")

_chosen = PRECISIONS[0]
# Called after each change: who keeps choices must forget them.
when_changed: list[Callable[[], None]] = []


def set_precision(precision: str) -> None:
    """Say how much rounding automatic choices may add, for all threads of the process.

    Parameters
    ----------
    precision : {"default", "strict", "tf32"}
        "default" allows float32 convolutions by algorithms that save multiplications and round
        more than a plain sum does: Winograd's (F(4, 3) about ten times as much, F(2, 3) twice);
        and, in float32 and float64, products of spectra for large kernels, whose error is small
        against the largest output of a tile, not against each.
        "strict" allows sums of plain products only; so NaN and infinity then stay within the
        windows that hold them. "tf32" also allows float32 convolutions on a GPU by tensor cores,
        which keep 11 bits of each factor: an error of about 1e-3. On the CPU it is "default".

    Raises
    ------
    ValueError
        If it is neither of them.

    Notes
    -----
    ``algorithm=`` goes before: who names an algorithm gets it. A plan keeps what was chosen when it
    was made.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_precision("strict")
    >>> fastconv.get_precision()
    'strict'
    >>> fastconv.set_precision("default")
    """
    global _chosen
    check_choice("set_precision", "precision", precision, PRECISIONS)
    _chosen = precision
    for told in when_changed:
        told()


def get_precision() -> str:
    """What `set_precision` has set.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_precision()
    'default'
    """
    return _chosen


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Use a precision within a ``with`` block; see `set_precision`.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.precision("strict"):
    ...     fastconv.get_precision()
    'strict'
    """
    before = _chosen
    set_precision(name)
    try:
        yield
    finally:
        set_precision(before)
