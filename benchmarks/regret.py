"""What the choice of algorithms costs: the time of the chosen one over that of the best.

python -m benchmarks.regret --suite alexnet --batch 1,16     layers of the suites
python -m benchmarks.regret --random 50 --seed 3             layers that nobody tuned for
python -m benchmarks.regret --suite none --times FILE        times kept earlier, the choice of today

`--times FILE` keeps what was timed, so that a change of the cost model is judged without timing
anything anew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cases import ConvCase
from benchmarks.ours import can_plan, decide, our_sides
from benchmarks.problem import DTYPES, MEMORY_FORMATS, Problem
from benchmarks.suites import SUITES
from benchmarks.timing import first_call, measure
from fastconv.choose import PLAIN

OPERATIONS = ("forward", "input_gradient", "weight_gradient")
# Times of the best algorithm after which one is not timed any more, from its first warm call.
HOPELESS = 3
# Operations of a call, elements of its largest array.
LONG, LARGE = 8e9, 1 << 26


class Choice(NamedTuple):
    """The seconds of every algorithm that may be chosen for one way of calling."""

    problem: Problem
    memory_format: str
    planned: bool
    times: dict[str, float]

    @property
    def chosen(self) -> str:
        """What is chosen today."""
        return decide(self.problem, self.memory_format, self.planned).algorithm

    @property
    def regret(self) -> float:
        """Time of the chosen over that of the best; one too slow to be timed counts so."""
        best = min(self.times.values())
        return self.times.get(self.chosen, HOPELESS * best) / best

    def __str__(self) -> str:
        p = self.problem
        way = "planned" if self.planned else "functional"
        verdicts = decide(p, self.memory_format, self.planned).verdicts
        expected = {v.algorithm: v.seconds for v in verdicts}
        times = ", ".join(
            f"{name} {seconds * 1e3:.3g} ({expected[name] * 1e3:.3g})"
            for name, seconds in sorted(self.times.items(), key=lambda item: item[1])
        )
        setting = f"{p.operation} {p.dtype} x{p.batch} {self.memory_format} {way}"
        return f"{self.regret:5.2f}  {p.case.name} | {setting} | {self.chosen} | {times}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, keep and print; the status is 1 if nothing was timed."""
    options = _parse(arguments)
    kept = _load(options.times) if options.times and options.times.exists() else []
    known = {(c.problem, c.memory_format, c.planned) for c in kept}
    for problem in _problems(options):
        for memory_format, planned in itertools.product(MEMORY_FORMATS, (False, True)):
            if (problem, memory_format, planned) in known or (planned and not can_plan(problem)):
                continue
            kept.append(_timed(problem, memory_format, planned, options.seconds))
            if options.times:
                _save(options.times, kept)
        problem.forget()
    kept.sort(key=lambda choice: choice.regret)
    shown = kept if options.all else [c for c in kept if c.regret > options.above]
    for choice in shown:
        print(choice)
    if not kept:
        return 1
    regrets = [choice.regret for choice in kept]
    mean = math.exp(statistics.fmean(map(math.log, regrets)))
    print(f"{len(kept)} choices: geometric mean {mean:.3f}, worst {max(regrets):.2f}; expected ms "
          "in brackets")  # fmt: skip
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regret",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--suite", default="all", help=f"some of {', '.join(SUITES)}; or all, or none")
    add("--case", default="", help="only cases whose name contains this text")
    add("--random", type=int, default=0, metavar="N", help="N layers drawn at random instead")
    add("--seed", type=int, default=0)
    add("--batch", default="1")
    add("--dtype", default="float32", help="one or both of float32,float64")
    add("--operations", default="forward", help=f"of {', '.join(OPERATIONS)}; or all")
    add("--seconds", type=float, default=0.01, help="of a block of calls")
    add("--times", type=Path, metavar="FILE", help="where times are kept")
    add("--above", type=float, default=1.1, help="print choices of more regret")
    add("--all", action="store_true", help="print all choices")
    options = parser.parse_args(arguments)
    for name, known in (("suite", tuple(SUITES)), ("dtype", DTYPES), ("operations", OPERATIONS)):
        text = getattr(options, name)
        names = known if text == "all" else () if text == "none" else tuple(text.split(","))
        if not set(names) <= set(known):
            parser.error(f"--{name}: {text!r} is not of {', '.join(known)}")
        setattr(options, name, names)
    return options


def _problems(options: argparse.Namespace) -> Iterator[Problem]:
    batches = map(int, options.batch.split(","))
    cases = [case for suite in options.suite for case in SUITES[suite] if options.case in case.name]
    if options.random:
        cases = list(itertools.islice(random_cases(options.seed), options.random))
    for case, batch, dtype, operation in itertools.product(
        cases, batches, options.dtype, options.operations
    ):
        problem = Problem(case, batch, dtype, operation)
        largest = max(math.prod(problem.input_shape), math.prod(problem.output_shape))
        if problem.flops <= LONG and largest <= LARGE:
            yield problem


def random_cases(seed: int) -> Iterator[ConvCase]:
    """Layers of every kind, without end."""
    rng = random.Random(seed)

    def scale(low: int, high: int) -> int:
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))

    for number in itertools.count():
        rank = rng.choice((1, 2, 2, 2, 3))
        kernel = (rng.choice((1, 2, 3, 3, 3, 4, 5, 7, 9, 11)),) * rank
        size = (scale(5, (0, 40_000, 512, 64)[rank]),) * rank
        channels, outputs, groups = scale(1, 1024), scale(1, 1024), 1
        if rng.random() < 0.2:
            groups = 2 ** rng.randrange(1, 6)
            channels, outputs = (-(-n // groups) * groups for n in (channels, outputs))
        stride, dilation = rng.choice((1, 1, 1, 2, 3)), rng.choice((1, 1, 1, 1, 2))
        padding = kernel[0] // 2
        if size[0] + 2 * padding > dilation * (kernel[0] - 1):
            name = f"random {seed}.{number}: {channels}->{outputs}/{groups} {size} by {kernel}"
            name += f" s{stride} d{dilation}"
            yield ConvCase(name, channels, size, outputs, kernel, stride, padding, dilation, groups)


def _timed(problem: Problem, memory_format: str, planned: bool, seconds: float) -> Choice:
    names = [
        v.algorithm
        for v in decide(problem, memory_format, planned).verdicts
        if v.refusal is None and (v.doubt is None or v.algorithm in PLAIN)
    ]
    calls: dict[str, Any] = {}
    for name in names:
        ((_, side),) = our_sides(problem, (memory_format,), not planned, planned, name)
        side.call()
        calls[name] = side.call
    warm = {name: min(first_call(call)[0] for _ in range(3)) for name, call in calls.items()}
    least = min(warm.values())
    calls = {name: call for name, call in calls.items() if warm[name] <= HOPELESS * least}
    if len(calls) == 1:
        return Choice(problem, memory_format, planned, {name: least for name in calls})
    timings = measure(calls, block_seconds=seconds, attempts=2, patience=1).timings
    times = {name: timing.median for name, timing in timings.items()}
    return Choice(problem, memory_format, planned, times)


def _save(path: Path, choices: Sequence[Choice]) -> None:
    rows = [(asdict(c.problem), c.memory_format, c.planned, c.times) for c in choices]
    path.write_text(json.dumps(rows))


def _load(path: Path) -> list[Choice]:
    def value(x: Any) -> Any:
        return tuple(x) if isinstance(x, list) else x

    found = []
    for problem, *rest in json.loads(path.read_text()):
        case = {key: value(x) for key, x in problem.pop("case").items()}
        found.append(Choice(Problem(ConvCase(**case), **problem), *rest))
    return found


if __name__ == "__main__":
    sys.exit(main())
