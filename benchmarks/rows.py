"""One row of a report: a way of calling fastconv on a problem, its rivals and the limits."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.problem import Problem
from benchmarks.suites import ALL_SUITES
from benchmarks.timing import Timing, ratio

CASES = {case.name: case for cases in ALL_SUITES.values() for case in cases}
WIDEST = "native"  # target: the machine as it is


@dataclass(frozen=True)
class Row:
    """One way of calling fastconv on one problem, beside all rivals that it has to bear."""

    suite: str
    problem: Problem
    memory_format: str
    planned: bool
    algorithm: str
    first_seconds: float
    error: float  # largest, relative to the largest element of the result
    timing: Timing
    fma_rate: float  # operations per second in registers, timed beside it
    copy_rate: float  # bytes per second of a copy of as many bytes, timed beside it
    rivals: Mapping[str, Timing]
    void: bool
    target: str = WIDEST  # the vector width that was compiled for
    date: str = ""
    source: str = ""  # a hash of fastconv's files

    @property
    def key(self) -> tuple[Any, ...]:
        """What a later run of the same has in common with it."""
        p = self.problem
        names = (self.suite, p.case.name, p.operation, p.dtype, p.batch)
        return (*names, self.memory_format, self.planned, self.target)

    @property
    def rate(self) -> float:
        """Operations (convolution) or bytes (pooling) per second, in the best call."""
        return self.problem.work / self.timing.minimum

    @property
    def limit_rate(self) -> float:
        """The rate to compare with: that of multiply-adds, or of the copy for pooling."""
        return self.copy_rate if self.problem.pools else self.fma_rate

    @property
    def share(self) -> float:
        """Rate over that of the limit; of a convolution above 1 with fewer multiplications."""
        return self.rate / self.limit_rate

    @property
    def copy_share(self) -> float:
        """Bytes that must move at least per second, over those of the copy."""
        return self.problem.moved_bytes / self.timing.minimum / self.copy_rate

    @property
    def memory_bound(self) -> bool:
        """Whether moving the bytes must take longer than the direct sum's multiply-adds."""
        p = self.problem
        return p.pools or p.moved_bytes / self.copy_rate > p.flops / self.fma_rate

    @property
    def ratios(self) -> dict[str, float]:
        """Each rival's time over ours: above 1 we are faster."""
        return {name: ratio(timing, self.timing) for name, timing in self.rivals.items()}

    @property
    def best_rival(self) -> str | None:
        """The rival that is fastest against us."""
        ratios = self.ratios
        return min(ratios, key=ratios.__getitem__) if ratios else None

    @property
    def ratio(self) -> float | None:
        """Time of the best rival over ours."""
        return min(self.ratios.values(), default=None)

    def ratio_among(self, names: Sequence[str]) -> float | None:
        """Time of the best of those rivals whose name begins with one of these, over ours."""
        chosen = [r for name, r in self.ratios.items() if name.startswith(tuple(names))]
        return min(chosen, default=None)

    @property
    def same_format(self) -> float | None:
        """PyTorch's time over ours, called alike and in the same memory format."""
        name = "torch channels_last" if self.memory_format == "channels_last" else "torch"
        return self.ratios.get(name)

    @property
    def defeat(self) -> bool:
        """Whether a rival was faster, in times that count."""
        return self.ratio is not None and self.ratio < 1 and not self.void

    def as_void(self) -> Row:
        """The same, not to be counted."""
        return replace(self, void=True)

    @property
    def calling(self) -> str:
        """ "planned" or "functional"."""
        return "planned" if self.planned else "functional"

    @property
    def setting(self) -> str:
        """What the rows of one table have in common beside the suite."""
        p = self.problem
        words = f"{p.operation.replace('_', ' ')}, {p.dtype}, batch {p.batch}, {self.calling}"
        return words if self.target == WIDEST else f"{words}, {self.target}"

    def as_record(self) -> dict[str, Any]:
        """Numbers and strings only, for a file."""
        p, record = self.problem, asdict(self)
        small = p.case != CASES[p.case.name]
        return record | {"problem": [p.case.name, small, p.batch, p.dtype, p.operation]}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Row | None:
        """The row of a record; None if its case is no longer there."""
        name, small, *rest = record["problem"]
        if name not in CASES:
            return None
        case = CASES[name].shrunk() if small else CASES[name]
        timings = {key: _timing(value) for key, value in record["rivals"].items()}
        changed = {"problem": Problem(case, *rest), "timing": _timing(record["timing"])}
        return cls(**(record | changed | {"rivals": timings}))


def _timing(record: Mapping[str, Any]) -> Timing:
    return Timing(tuple(record["block_medians"]), record["minimum"])


def faster_format(rows: Iterable[Row]) -> list[Row]:
    """Of rows that differ in the memory format only, the one with the shorter time."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(part for part in row.key if part != row.memory_format)
        if key not in best or row.timing.median < best[key].timing.median:
            best[key] = row
    return list(best.values())


def geometric_mean(values: Sequence[float]) -> float:
    """Exponential of the mean logarithm.

    >>> round(geometric_mean([0.5, 2.0, 8.0]), 6)
    2.0
    """
    return math.exp(statistics.fmean(map(math.log, values)))
