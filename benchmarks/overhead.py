"""What a call costs before it computes: tiny problems on one thread, warm, beside PyTorch's.

python -m benchmarks.overhead
"""

from __future__ import annotations

import statistics
import time

import fastconv
from benchmarks.small_calls import Call, our_calls, torch_calls

# Blocks of calls, in turns with the rival's; the median of the blocks is reported.
BLOCKS, CALLS = 9, 500


def microseconds(call: Call) -> float:
    """Mean of one block of calls."""
    begun = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - begun) / CALLS * 1e6


def compared(ours: Call, rival: Call | None) -> tuple[float, float | None]:
    """Median microseconds of both, after a block that warms up."""
    sides = [ours] if rival is None else [ours, rival]
    for side in sides:
        microseconds(side)
    rounds = [[microseconds(side) for side in sides] for _ in range(BLOCKS)]
    medians = [statistics.median(times) for times in zip(*rounds)]
    return medians[0], None if rival is None else medians[1]


def main() -> int:
    """Print the table."""
    rivals = torch_calls()
    print(f"{'microseconds per call':24}{'fastconv':>10}{'torch':>10}")
    with fastconv.threads(1):
        for name, call in our_calls().items():
            ours, theirs = compared(call, rivals.get(name))
            print(f"{name:24}{ours:10.1f}{'-' if theirs is None else f'{theirs:.1f}':>10}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
