"""Scratch memory for kernels, kept from call to call.

Fresh pages would cost more than many a kernel.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from .memory import address_of

# As many calls may run at once without an allocation; what more return is freed.
_kept: deque[tuple[np.ndarray, int]] = deque(maxlen=8)
# Larger blocks go back to the system after each call.
_LARGEST_KEPT = 64 << 20


class workspace:
    """A ``with`` block that has `size` bytes for itself; enters with their address, in lines of 64.

    A class, because a generator would take a microsecond.
    """

    __slots__ = ("_address", "_block", "_size")

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> int:
        try:
            self._block, self._address = _kept.pop()
        except IndexError:
            self._block = np.empty(0, np.uint8)
        if len(self._block) < self._size + 64:
            self._block = np.empty(self._size + 64, np.uint8)
            self._address = -(-address_of(self._block) // 64) * 64
        return self._address

    def __exit__(self, *reason: object) -> None:
        if len(self._block) <= _LARGEST_KEPT:
            _kept.append((self._block, self._address))
