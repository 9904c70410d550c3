"""The rules by which every time in a report is taken.

1. Sides are timed in blocks, one after the other, in alternating order; a block of one side and
   the block of another in the same round are a pair. A ratio is the median over the pairs.
2. Before a block, this process must be idle: ONNX Runtime's threads spin for about 30 ms after a
   call and PyTorch's for about 8 ms, and whoever is timed on the same cores meanwhile reads up to
   40 times too slow.
3. A block begins with calls that do not count, which wake the side's own threads; long calls do not
   notice that.
4. The first call of all, which compiles, is timed apart: `first_call`.
5. A side whose median lies far above its minimum was disturbed, and so is every side while other
   processes keep a part of the processor: a parallel loop waits for its slowest thread, so one busy
   core makes each call slow by the same time slice, with no spread at all. The whole is measured
   again, at most `attempts` times, and if it stays so the side is void.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Call = Callable[[], Any]

MINIMUM_REPEATS = 5
WARM_CALLS = 2
LONG_CALL = 0.05  # seconds
SPREAD_LIMIT = 1.3  # median / minimum; an idle machine stays below 1.15
OTHERS_LIMIT = 0.25  # cores
TASKS = Path("/proc/self/task")
STATISTICS = Path("/proc/stat")


@dataclass(frozen=True)
class Timing:
    """What the blocks of one side took, in seconds."""

    block_medians: tuple[float, ...]
    minimum: float  # the best call of all blocks: what the code can do

    @classmethod
    def of(cls, blocks: Iterable[Sequence[float]]) -> Timing:
        """From the seconds of every counted call, by block."""
        blocks = list(blocks)
        return cls(tuple(map(statistics.median, blocks)), min(map(min, blocks)))

    @property
    def median(self) -> float:
        """Median of the blocks' medians: what to expect."""
        return statistics.median(self.block_medians)

    @property
    def spread(self) -> float:
        """Median over minimum; 1 is perfectly steady."""
        return self.median / self.minimum

    @property
    def once(self) -> bool:
        """Whether there was one call only."""
        return len(self.block_medians) == 1


def ratio(numerator: Timing, denominator: Timing) -> float:
    """Median over the pairs of blocks of the ratio of their medians.

    Of the medians alone where one side was called only once.

    >>> ratio(Timing((2.0, 6.0, 4.0), 2.0), Timing((1.0, 2.0, 2.0), 1.0))
    2.0
    """
    if numerator.once or denominator.once:
        return numerator.median / denominator.median
    pairs = zip(numerator.block_medians, denominator.block_medians, strict=True)
    return statistics.median(a / b for a, b in pairs)


@dataclass(frozen=True)
class Measurement:
    """Timings of sides that were measured together."""

    timings: Mapping[str, Timing]
    void: frozenset[str]  # sides that were disturbed to the end
    others: float  # cores that other processes used meanwhile
    attempts: int


def first_call(call: Call) -> tuple[float, Any]:
    """Seconds and result of a call; for the first one, compilation included."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def wait_until_idle(timeout: float = 2.0) -> bool:
    """Sleep until no other thread of this process runs; False if they still do after `timeout`.

    Where the system shows no thread states, the processor time that the process uses while this
    thread sleeps tells.
    """
    deadline = time.perf_counter() + timeout
    quiet = 0
    while quiet < 2:
        quiet = 0 if _others_run() else quiet + 1
        if time.perf_counter() > deadline:
            return False
    return True


def _others_run(window: float = 0.001) -> bool:
    if TASKS.exists():
        time.sleep(window)
        own = str(threading.get_native_id())
        return any(_runs(task) for task in TASKS.iterdir() if task.name != own)
    window = 20 * window  # a clock may tick every 16 ms only
    start, used = time.perf_counter(), time.process_time()
    time.sleep(window)
    return time.process_time() - used > 0.2 * (time.perf_counter() - start)


def _runs(task: Path) -> bool:
    try:
        fields = (task / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return False
    return fields[0] == "R"


class OtherLoad:
    """How much of the processor all others use from now on; 0 where the system does not tell."""

    def __init__(self) -> None:
        self._start, self._used, self._own = time.perf_counter(), _busy(), time.process_time()

    @property
    def cores(self) -> float:
        """Cores in use by other processes, on average until now; stolen time counts."""
        elapsed = time.perf_counter() - self._start
        others = _busy() - self._used - (time.process_time() - self._own)
        return max(0.0, others / elapsed)


def wait_until_alone(patience: float, window: float = 0.25) -> bool:
    """Sleep until other processes leave the processor alone; False if not within `patience`."""
    deadline = time.perf_counter() + patience
    while True:
        load = OtherLoad()
        time.sleep(window)
        if load.cores <= OTHERS_LIMIT:
            return True
        if time.perf_counter() > deadline:
            return False


def _busy() -> float:
    """Seconds in which any core did anything, or was withheld, since the system started."""
    try:
        user, nice, system, _, _, *rest = STATISTICS.read_text().split("\n", 1)[0].split()[1:9]
    except (OSError, ValueError):
        return 0.0
    return sum(map(int, (user, nice, system, *rest))) / os.sysconf("SC_CLK_TCK")


def measure(
    sides: Mapping[str, Call],
    *,
    repeats: int = MINIMUM_REPEATS,
    block_seconds: float = 0.02,
    attempts: int = 3,
    patience: float = 5.0,
    spread_limit: float = SPREAD_LIMIT,
    decisive: Callable[[Mapping[str, Timing]], Collection[str]] = tuple,
) -> Measurement:
    """Time all sides in paired blocks.

    Parameters
    ----------
    sides : mapping of name to callable without arguments
        Called once before already, so that nothing compiles here.
    repeats : int
        Blocks of each side, at least 5.
    block_seconds : float
        About how long a block's counted calls take together; a block has at least one.
    attempts : int
        How often the whole may be measured until no decisive side is disturbed.
    patience : float
        Seconds to wait, before another attempt, until other processes leave the processor alone.
    spread_limit : float
        A side is disturbed if its median is more than this times its minimum. All are if other
        processes use more than `OTHERS_LIMIT` cores.
    decisive : callable, optional
        Names of the sides whose disturbance is worth another attempt; by default all.

    Returns
    -------
    Measurement
        Of the least disturbed attempt.

    Raises
    ------
    ValueError
        If `repeats` is less than 5.
    """
    if repeats < MINIMUM_REPEATS:
        raise ValueError(f"repeats must be at least {MINIMUM_REPEATS}, not {repeats}")
    found: list[tuple[float, Measurement]] = []
    while len(found) < attempts and (not found or found[-1][0] > 1):
        if found:
            wait_until_alone(patience)
        load = OtherLoad()
        timings = _rounds(sides, repeats, block_seconds)
        others = load.cores
        crowded = others > OTHERS_LIMIT
        void = {name for name, t in timings.items() if crowded or t.spread > spread_limit}
        worst = max((timings[name].spread for name in decisive(timings)), default=1.0)
        disturbance = max(worst / spread_limit, others / OTHERS_LIMIT)
        found.append((disturbance, Measurement(timings, frozenset(void), others, len(found) + 1)))
    return min(found, key=lambda attempt: attempt[0])[1]


def _rounds(sides: Mapping[str, Call], repeats: int, block_seconds: float) -> dict[str, Timing]:
    blocks: dict[str, list[Sequence[float]]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(repeats):
        for name in order:
            wait_until_idle()
            blocks[name].append(_block(sides[name], block_seconds))
        order.reverse()
    return {name: Timing.of(found) for name, found in blocks.items()}


def _block(call: Call, block_seconds: float) -> Sequence[float]:
    seconds = first_call(call)[0]
    if seconds > LONG_CALL:
        return [seconds]
    warm = min(seconds, *(first_call(call)[0] for _ in range(WARM_CALLS - 1)))
    count = max(1, min(1000, round(block_seconds / max(warm, 1e-9))))
    return [first_call(call)[0] for _ in range(count)]
