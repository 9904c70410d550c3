"""What the project wants to show, and whether the rows show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.cases import ConvCase, per_axis
from benchmarks.rows import WIDEST, Row, faster_format, geometric_mean
from benchmarks.tables import table

Choice = Callable[[Row], bool]
SCIPY = ("scipy",)
LONGEST_FILTER = 31


class Claim(NamedTuple):
    """A geometric mean of ratios over some rows, and what it should be."""

    what: str
    rivals: str  # in words
    goal: float
    chosen: Choice
    ratio: Callable[[Row], float | None]
    best_format: bool = False  # of our two formats only the faster one counts


class Finding(NamedTuple):
    """A claim's rows and their mean."""

    claim: Claim
    ratios: list[float]
    void: int

    @property
    def mean(self) -> float | None:
        """Geometric mean; None without a row."""
        return geometric_mean(self.ratios) if self.ratios else None

    @property
    def holds(self) -> bool | None:
        """None if nothing is known."""
        return None if self.mean is None else self.mean >= self.claim.goal


def check_claims(rows: Sequence[Row]) -> list[Finding]:
    """One finding for each claim, in their order; void rows and narrower targets do not count."""
    findings = []
    for claim in CLAIMS:
        chosen = [row for row in rows if row.target == WIDEST and claim.chosen(row)]
        valid = [row for row in chosen if not row.void]
        counted = faster_format(valid) if claim.best_format else valid
        ratios = [ratio for row in counted if (ratio := claim.ratio(row)) is not None]
        findings.append(Finding(claim, ratios, len(chosen) - len(valid)))
    return findings


def claims_table(findings: Sequence[Finding]) -> str:
    """Claims that do not hold come first."""
    head = ("layers", "against", "times as fast", "worst", "goal", "", "rows", "void")
    order = sorted(findings, key=lambda finding: {False: 0, True: 1, None: 2}[finding.holds])
    body = [
        (
            finding.claim.what,
            finding.claim.rivals,
            f"{finding.mean:.2f}",
            f"{min(finding.ratios):.2f}",
            f"{finding.claim.goal:.2f}",
            "" if finding.holds else "missed",
            str(len(finding.ratios)),
            str(finding.void),
        )
        for finding in order
        if finding.mean is not None
    ]
    return table(head, body) if body else "No rival was timed."


def _rows(
    kind: str | None = None,
    *,
    operation: str = "forward",
    dtype: str = "float32",
    planned: bool | None = None,
    pools: bool = False,
    memory_format: str | None = None,
    suite: str | None = None,
    batch: int | None = None,
) -> Choice:
    def chosen(row: Row) -> bool:
        p = row.problem
        return (
            p.pools == pools
            and (p.operation, p.dtype) == (operation, dtype)
            and kind in (None, p.case.kind)
            and planned in (None, row.planned)
            and memory_format in (None, row.memory_format)
            and suite in (None, row.suite)
            and batch in (None, p.batch)
        )

    return chosen


def _best(row: Row) -> float | None:
    return row.ratio


def _same_format(row: Row) -> float | None:
    return row.same_format


def _torch(row: Row) -> float | None:
    return row.ratio_among(("torch",))


def _scipy(row: Row) -> float | None:
    return row.ratio_among(SCIPY)


def _short_filter(row: Row) -> bool:
    case = row.problem.case
    return isinstance(case, ConvCase) and max(per_axis(case.kernel, case.rank)) <= LONGEST_FILTER


def _single_channel(row: Row) -> bool:
    return _rows("single channel", planned=False)(row) and _short_filter(row)


def _maximum(row: Row) -> bool:
    return _rows(operation="input_gradient", pools=True)(row) and getattr(
        row.problem.case, "keeps_maxima", False
    )


FIRST, LAST = "channels_first", "channels_last"
BEST, TORCH = "best rival, any format", "PyTorch, its faster format"
ALIKE = "PyTorch, same format"

CLAIMS = (
    Claim("3x3 stride 1, planned", BEST, 1.5, _rows("3x3 stride 1", planned=True), _best, True),
    Claim("1x1, planned", BEST, 1.0, _rows("1x1", planned=True), _best, True),
    Claim("all convolutions, planned", BEST, 1.25, _rows(planned=True), _best, True),
    Claim(
        "all convolutions, functional, channels-first",
        ALIKE,
        1.5,
        _rows(planned=False, memory_format=FIRST),
        _same_format,
    ),
    Claim(
        "all convolutions, functional, channels-last",
        ALIKE,
        1.2,
        _rows(planned=False, memory_format=LAST),
        _same_format,
    ),
    Claim("all convolutions, float64", TORCH, 4.0, _rows(dtype="float64"), _torch, True),
    Claim(
        "pooling, channels-first", ALIKE, 5.0, _rows(pools=True, memory_format=FIRST), _same_format
    ),
    Claim(
        "pooling, channels-last", ALIKE, 1.0, _rows(pools=True, memory_format=LAST), _same_format
    ),
    Claim("3-D, planned", BEST, 1.3, _rows("3-D", planned=True), _best, True),
    Claim("1-D, planned", BEST, 1.3, _rows("1-D", planned=True), _best, True),
    Claim("transposed, functional", BEST, 1.2, _rows("transposed"), _best, True),
    Claim(
        "depthwise and grouped, planned",
        BEST,
        1.2,
        _rows("depthwise and grouped", planned=True),
        _best,
        True,
    ),
    Claim(
        f"single-channel filters up to {LONGEST_FILTER}x{LONGEST_FILTER}, functional",
        "scipy.signal and scipy.ndimage",
        5.0,
        _single_channel,
        _scipy,
        True,
    ),
    *(
        Claim(
            f"ResNet-50 {operation.replace('_', ' ')}, {dtype}",
            TORCH,
            goal,
            _rows(operation=operation, dtype=dtype, suite="resnet50"),
            _torch,
            True,
        )
        for dtype, goal in (("float32", 1.2), ("float64", 3.0))
        for operation in ("input_gradient", "weight_gradient")
    ),
    Claim(
        "pooling forward and gradient, channels-first",
        ALIKE,
        3.0,
        _rows(operation="forward_and_gradient", pools=True, memory_format=FIRST),
        _same_format,
    ),
    Claim("gradient of maxima, indices given", ALIKE, 1.0, _maximum, _same_format),
)
