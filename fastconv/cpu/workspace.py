"""Scratch memory for kernels, kept from call to call.

Fresh pages would cost more than many a kernel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .memory import address_of

# As many calls may run at once without an allocation; what more return is freed.
_kept: deque[tuple[np.ndarray, int]] = deque(maxlen=8)
# Larger blocks go back to the system after each call.
_LARGEST_KEPT = 64 << 20


@contextmanager
def workspace(size: int) -> Iterator[int]:
    """Address, a multiple of 64, of `size` bytes for the caller's ``with`` block alone."""
    try:
        block, address = _kept.pop()
    except IndexError:
        block, address = np.empty(0, np.uint8), 0
    if len(block) < size + 64:
        block = np.empty(size + 64, np.uint8)
        address = -(-address_of(block) // 64) * 64
    try:
        yield address
    finally:
        if len(block) <= _LARGEST_KEPT:
            _kept.append((block, address))
