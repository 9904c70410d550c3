"""Calls remembered: a door looks at arguments of one kind once.

To check, canonicalise and choose takes ten times as long as a small layer. What a door finds out
depends on the shapes, strides and dtypes of its arrays and on its options, so these are the key
to it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from .arguments import plain
from .precision import get_precision

Key = tuple[Any, ...]
Call = TypeVar("Call")

PLAIN = frozenset({int, bool, str, type(None), tuple})
# More means that somebody walks through ever new shapes; then all are forgotten.
MOST = 1024


def key_of(op: str, options: tuple[Any, ...], *arrays: np.ndarray | None) -> Key | None:
    """What a call depends on, or None if its options are not plain: 2.0 equals 2 but is refused."""
    types = tuple(map(type, options))
    if not PLAIN.issuperset(types) or (tuple in types and not plain(options)):
        return None
    kinds = tuple([x if x is None else (x.shape, x.strides, x.dtype) for x in arrays])
    return op, options, types, get_precision(), kinds


class Calls(dict[Key | None, Call]):
    """Calls by their keys; single operations on a dictionary need no lock."""

    def keep(self, key: Key | None, call: Call) -> Call:
        """`call`, remembered if it has a key."""
        if key is not None:
            if len(self) >= MOST:
                self.clear()
            self[key] = call
        return call
