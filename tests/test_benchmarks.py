"""The benchmark frame: statistics, float64 results, report. Nothing here is a test of speed."""

from __future__ import annotations

import functools
import itertools
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from benchmarks import compare, exact, peak, timing
from benchmarks.cases import POOL_SUITES, SUITES, ConvCase, PoolCase
from benchmarks.contest import Rules, compete
from benchmarks.ours import our_sides
from benchmarks.problem import MEMORY_FORMATS, OPERATIONS, Problem, Side, WrongResult
from benchmarks.report import Report, Row, geometric_mean
from benchmarks.rivals import load_rivals
from benchmarks.timing import Timing, measure, ratio
from fastconv import reference
from fastconv.machine import machine

CASES = [case for cases in SUITES.values() for case in cases]
RULES = Rules(threads=1, repeats=5, block_seconds=1e-4, spread_limit=1e9, patience=0.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Few threads are quick on a busy machine, and what the command sets ends here."""
    with fastconv.threads(1):
        yield


def timing_of(*block_medians: float) -> Timing:
    return Timing(tuple((m,) for m in block_medians))


def row_of(ours: float, rivals: dict[str, float], **changes: Any) -> Row:
    """A row with steady times; the limit is 1000 GFLOP/s."""
    values: dict[str, Any] = {
        "suite": "resnet50",
        "problem": Problem(SUITES["resnet50"][1]),
        "memory_format": "channels_last",
        "planned": True,
        "algorithm": "direct",
        "first_seconds": 0.5,
        "error": 1e-7,
        "timing": timing_of(ours),
        "limit_rate": 1e12,
        "rivals": {name: timing_of(seconds) for name, seconds in rivals.items()},
        "void": False,
    }
    return Row(**(values | changes))


class TestTiming:
    def test_statistics_of_blocks(self) -> None:
        t = Timing(((3.0, 1.0, 2.0), (4.0, 6.0, 5.0), (9.0, 7.0, 8.0)))
        assert t.block_medians == [2.0, 5.0, 8.0]
        assert (t.minimum, t.median, t.spread) == (1.0, 5.0, 5.0)

    def test_ratio_is_taken_within_pairs(self) -> None:
        """The machine is ten times slower in the last block, for both: the ratio stays."""
        assert ratio(timing_of(2, 2, 20), timing_of(1, 1, 10)) == 2
        assert ratio(timing_of(2, 2, 4), timing_of(1, 4, 1)) == 2

    def test_ratio_needs_the_same_blocks(self) -> None:
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            ratio(timing_of(1, 2), timing_of(1))

    def test_sides_alternate_and_warm_calls_do_not_count(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timing, "wait_until_idle", lambda: calls.append("|"))
        calls: list[str] = []
        sides = {name: functools.partial(calls.append, name) for name in "ab"}
        found = measure(sides, repeats=5, block_seconds=0.0, attempts=1, spread_limit=1e9)
        assert "".join(calls) == "|aaa|bbb" + "|bbb|aaa" + "|aaa|bbb" + "|bbb|aaa" + "|aaa|bbb"
        assert [len(t.blocks) for t in found.timings.values()] == [5, 5]
        assert all(len(block) == 1 for block in found.timings["a"].blocks)

    def test_a_wide_spread_is_tried_again_then_void(self, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts = iter([timing_of(1, 9, 9), timing_of(1, 2, 2), timing_of(1, 5, 5)])
        steady = timing_of(1, 1, 1)
        monkeypatch.setattr(
            timing, "_rounds", lambda *_: {"wide": next(attempts), "steady": steady}
        )
        monkeypatch.setattr(timing, "wait_until_alone", lambda patience: True)
        monkeypatch.setattr(timing, "_busy", lambda: 0.0)
        found = measure({}, spread_limit=1.5)
        assert found.void == {"wide"} and found.attempts == 2
        assert found.timings["wide"].median == 2  # the steadiest of the three attempts

    def test_a_calm_attempt_ends_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts = iter([timing_of(1, 9, 9), timing_of(1, 1, 1)])
        monkeypatch.setattr(timing, "_rounds", lambda *_: {"a": next(attempts)})
        monkeypatch.setattr(timing, "wait_until_alone", lambda patience: True)
        monkeypatch.setattr(timing, "_busy", lambda: 0.0)
        found = measure({}, spread_limit=1.5)
        assert (found.void, found.attempts) == (frozenset(), 2)

    def test_only_decisive_sides_cost_another_attempt(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sides = {"ours": timing_of(1, 1, 1), "slow rival": timing_of(1, 9, 9)}
        monkeypatch.setattr(timing, "_rounds", lambda *_: sides)
        monkeypatch.setattr(timing, "_busy", lambda: 0.0)
        found = measure({}, spread_limit=1.5, decisive=lambda timings: ["ours"])
        assert (found.void, found.attempts) == ({"slow rival"}, 1)

    def test_steady_times_beside_another_process_are_void(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A parallel loop on a shared core is slow without any spread."""
        seconds = itertools.count(step=100.0)
        monkeypatch.setattr(timing, "_rounds", lambda *_: {"a": timing_of(1, 1, 1)})
        monkeypatch.setattr(timing, "_busy", lambda: next(seconds))
        found = measure({}, attempts=1)
        assert found.void == {"a"} and found.others > timing.OTHERS_LIMIT

    def test_few_repeats_are_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 5, not 4"):
            measure({}, repeats=4)

    def test_waits_for_the_other_threads_of_the_process(self) -> None:
        stop = threading.Event()

        def spin() -> None:
            while not stop.is_set():
                sum(range(1000))

        thread = threading.Thread(target=spin)
        thread.start()
        try:
            assert not timing.wait_until_idle(timeout=0.1)
        finally:
            stop.set()
            thread.join()
        assert timing.wait_until_idle(timeout=10)


class TestPeak:
    def test_the_burst_is_the_sum_it_says(self) -> None:
        """0.5 -> 0.5 * 0.5 + 0.5 three times is 15/16, in every lane of every sum."""
        lanes, chains = machine().lanes("float64"), peak.chains()
        values = np.full((2, (2 + chains) * lanes), 0.5)
        peak._fma(values, 3)
        assert (values[:, : 2 * lanes] == 0.5).all()
        assert (values[:, 2 * lanes :] == 0.9375).all()

    def test_work_of_a_burst(self) -> None:
        short, long = (peak.fma_limit("float32", 1, seconds=s) for s in (1e-4, 1e-3))
        assert long.work == pytest.approx(10 * short.work, rel=0.01)

    def test_copy(self) -> None:
        source = np.arange(1001, dtype=np.uint8)
        target = np.zeros_like(source)
        peak._copy(target, source, 3)
        assert (target == source).all()
        assert peak.copy_limit(1, 4096).work == 4096


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exact_results_are_those_of_the_reference(case: ConvCase) -> None:
    small, rng = case.shrunk(), np.random.default_rng(0)
    g = Problem(small, batch=2).geometry
    x, w, dy = (
        rng.integers(-4, 5, shape).astype(np.float64)
        for shape in (g.input_shape, g.weight_shape, g.output_shape)
    )
    np.testing.assert_array_equal(exact.forward(g, x, w), reference.conv(g, x, w))
    np.testing.assert_array_equal(exact.input_gradient(g, w, dy), reference.conv_input(g, w, dy))
    np.testing.assert_array_equal(exact.weight_gradient(g, x, dy), reference.conv_weight(g, x, dy))


class TestProblem:
    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "wavenet", "c3d"])
    def test_our_results_are_within_the_bound(self, name: str, dtype: str, operation: str) -> None:
        problem = Problem(SUITES[name][1].shrunk(), 2, dtype, operation)
        sides = list(our_sides(problem, MEMORY_FORMATS, True, True))
        assert len(sides) == (4 if operation == "forward" else 2)
        for _, side in sides:
            error = problem.check(side, side.call())
            assert error < 100 * np.finfo(dtype).eps

    @pytest.mark.parametrize("damage", [1e-3, np.nan, np.inf])
    def test_one_wrong_element_is_found(self, damage: float) -> None:
        problem = Problem(SUITES["resnet50"][1].shrunk(), dtype="float64")
        value = problem.expected[0].copy()
        side = Side("side", lambda: value)
        assert problem.check(side, value) == 0
        value[0, 1, 2, 3] += damage
        with pytest.raises(WrongResult, match=r"side: resnet 3x3 .* element \(0, 1, 2, 3\) is"):
            problem.check(side, value)

    def test_a_transform_may_err_by_the_largest_element(self) -> None:
        problem = Problem(SUITES["lenet5"][0].shrunk())
        value = problem.expected[0].astype(np.float32)
        value.flat[np.abs(value).argmin()] += 1e-5 * np.abs(value).max()
        with pytest.raises(WrongResult):
            problem.check(Side("sum", lambda: value), value)
        assert problem.check(Side("any", lambda: value, algorithm="fft"), value) < 2e-5

    def test_another_dtype_or_shape_is_wrong(self) -> None:
        problem = Problem(SUITES["lenet5"][0].shrunk())
        value = problem.expected[0]
        side = Side("side", lambda: value)
        with pytest.raises(WrongResult, match="result is float64"):
            problem.check(side, value)
        with pytest.raises(WrongResult, match="expected float32"):
            problem.check(side, value.astype(np.float32)[..., :-1])

    def test_work(self) -> None:
        assert Problem(SUITES["resnet50"][1]).work == 2 * 64 * 64 * 9 * 56 * 56
        assert Problem(POOL_SUITES["pooling"][0], 2, "float64").work == (
            8 * 2 * 64 * (112 * 112 + 56 * 56)
        )

    def test_what_is_missing_has_a_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        up = next(case for case in CASES if case.transposed)
        assert Problem(up).missing is None
        assert "plain convolutions" in str(Problem(up, operation="weight_gradient").missing)
        monkeypatch.delattr(fastconv, "max_pool2d", raising=False)
        pool = Problem(PoolCase("pool", "max", 3, (8, 9), (2, 2)))
        assert pool.missing == "fastconv.max_pool2d does not exist"

    def test_names_are_unique(self) -> None:
        names = [case.name for cases in compare.ALL_SUITES.values() for case in cases]
        assert len(set(names)) == len(names)

    def test_padding_pairs(self) -> None:
        causal = ConvCase("causal", 1, (99,), 1, (3,), padding="causal", dilation=4)
        assert causal.padding_pairs == ((8, 0),)
        assert Problem(causal).geometry.padding == ((8, 0),)
        assert SUITES["r3d18"][0].padding_pairs == ((1, 1), (3, 3), (3, 3))


class Fake:
    """A rival that computes the float64 result, rounded, and can be told to err."""

    name, version, offers = "fake", "1", "everything"

    def __init__(self, *sides: tuple[str, bool, float]) -> None:
        self._sides = sides

    def sides(self, problem: Problem) -> Iterator[Side]:
        value = problem.expected[0]
        for name, planned, damage in self._sides:
            result = (value + damage).astype(problem.dtype)
            yield Side(name, functools.partial(np.copy, result), planned)


class TestContest:
    def test_planned_rivals_meet_plans_only(self) -> None:
        problem = Problem(SUITES["lenet5"][1].shrunk())
        ours = our_sides(problem, ("channels_last",), functional=True, planned=True)
        rival = Fake(("fake", False, 0.0), ("fake packed", True, 0.0))
        rows, wrong, left_out = compete("lenet5", problem, ours, [rival], RULES)
        assert (wrong, left_out) == ([], [])
        assert [(row.planned, sorted(row.rivals)) for row in rows] == [
            (False, ["fake"]),
            (True, ["fake", "fake packed"]),
        ]
        assert all(len(row.timing.blocks) == 5 and row.limit_rate > 0 for row in rows)
        assert "operands" not in vars(problem)

    def test_a_wrong_rival_is_named_and_not_timed(self) -> None:
        problem = Problem(SUITES["lenet5"][1].shrunk())
        ours = our_sides(problem, ("channels_first",), functional=True, planned=False)
        rival = Fake(("liar", False, 1.0))
        (row,), wrong, left_out = compete("lenet5", problem, ours, [rival], RULES)
        assert row.rivals == {} and row.best_rival is None and row.ratio is None
        assert wrong == [] and left_out[0].startswith("liar: lenet 5x5 6->16 14: element")

    def test_a_wrong_result_of_ours_has_no_row(self) -> None:
        problem = Problem(SUITES["lenet5"][1].shrunk())
        side = Side("ours", lambda: problem.expected[0].astype(np.float32) * 2)
        rows, wrong, _ = compete("lenet5", problem, [("channels_first", side)], [], RULES)
        assert rows == [] and len(wrong) == 1 and wrong[0].startswith("ours: lenet")


class TestReport:
    def test_best_rival_and_ratio(self) -> None:
        row = row_of(2e-3, {"slow": 5e-3, "fast": 1e-3})
        assert (row.best_rival, row.ratio, row.defeat) == ("fast", 0.5, True)
        assert row.share == pytest.approx(2 * 64 * 64 * 9 * 56 * 56 / 2e-3 / 1e12)
        assert not row.as_void().defeat

    def test_geometric_mean(self) -> None:
        assert geometric_mean([4.0, 0.25]) == pytest.approx(1.0)
        assert geometric_mean([1.0, 8.0, 27.0]) == pytest.approx(6.0)

    def test_defeats_come_first_worst_first_and_void_rows_do_not_count(self) -> None:
        problems = [Problem(case) for case in SUITES["resnet50"][1:5]]
        rows = [
            row_of(1e-3, {"rival": rival}, problem=problem, void=void)
            for problem, rival, void in zip(
                problems, (8e-4, 4e-3, 5e-4, 1e-4), (False, False, False, True)
            )
        ]
        text = Report(header={"date": "today"}, rows=rows).markdown()
        defeats = text.split("## Defeats")[1].split("## ")[0]
        assert text.index("## Defeats") < text.index("## Geometric means")
        assert "2 of 3 valid rows; 1 rows are void." in defeats
        assert defeats.index("256->256 14") < defeats.index("64->64 56")
        assert "128->128 28" not in defeats and "512->512" not in defeats
        means = text.split("## Geometric means")[1].split("## ")[0]
        assert f" {geometric_mean([0.8, 4.0, 0.5]):.2f} |" in means
        assert "0.10 void" in text

    def test_no_rival_no_claim(self) -> None:
        text = Report(rows=[row_of(1e-3, {})]).markdown()
        assert "No rival was timed" in text and "| direct " in text

    def test_wrong_results_stand_before_all(self) -> None:
        text = Report(rows=[row_of(1e-3, {})], wrong=["ours: element (0,) is 1"]).markdown()
        assert text.index("- ours: element (0,) is 1") < text.index("## Defeats")


class TestMinimumShare:
    def test_rows_that_count(self) -> None:
        good, bad = row_of(3e-4, {}), row_of(1e-3, {})  # 0.77 and 0.23 of 1000 GFLOP/s
        assert compare.check_share([good], 0.7) == []
        (line,) = compare.check_share([good, bad], 0.7)
        assert line == "resnet 3x3 64->64 56, batch 1: 0.23 of the measured peak, less than 0.7"
        for others in (
            {"planned": False},
            {"memory_format": "channels_first"},
            {"problem": Problem(SUITES["resnet50"][0])},
            {"problem": Problem(SUITES["resnet50"][1], dtype="float64")},
        ):
            assert compare.check_share([good, row_of(1e-3, {}, **others)], 0.7) == []

    def test_nothing_to_check_is_a_failure(self) -> None:
        (line,) = compare.check_share([], 0.7)
        assert line.startswith("no planned channels-last")


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Any:
        def call(*arguments: str) -> tuple[int, str]:
            options = ["--quick", "--rivals", "none", "--threads", "1", "--output", str(tmp_path)]
            status = compare.main([*options, *arguments])
            return status, (tmp_path / "REPORT.md").read_text(encoding="utf-8")

        return call

    def test_report(self, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status, text = run("--suites", "lenet5", "--operations", "forward,weight_gradient")
        assert status == 0
        assert "## Defeats\n\nNo rival was timed" in text
        means = text.split("## Geometric means")[1].split("## ")[0]
        assert means.count("| lenet5 | forward, float32, batch 1, planned ") == 2
        assert "| lenet5 | weight gradient, float32, batch 1, functional | last " in means
        table = text.split("## lenet5: forward, float32, batch 1, functional")[1].split("## ")[0]
        assert sum(line.startswith("| lenet 5x5") for line in table.splitlines()) == 6
        assert "times mean nothing" in text and "Python 3." in text
        assert f" {socket.gethostname()} " not in text and str(tmp_path) not in text
        assert "18 rows, 0 defeats" in capsys.readouterr().out

    def test_what_does_not_exist_is_left_out(self, run: Any) -> None:
        status, text = run("--suites", "dcgan", "--planned")
        assert status == 1  # no row at all is no success
        assert "- dcgan, forward: there is no plan of this operation" in text

    def test_minimum_share_needs_full_layers(
        self, run: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status, _ = run("--suites", "lenet5", "--min-share", "0.7")
        assert status == 1
        assert "FAILED no planned channels-last" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--suites", "resnet51"], "'resnet51' is not one of resnet50"),
            (["--repeats", "4"], "--repeats must be at least 5, not 4"),
            (["--batch", "one"], "--batch must be integers, not 'one'"),
            (["--rivals", "cudnn"], "'cudnn' is not one of torch"),
            (["--threads", "0"], "--threads must be at least 1, not 0"),
        ],
    )
    def test_bad_options(
        self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            compare.main(arguments)
        assert message in capsys.readouterr().err

    def test_a_missing_rival_is_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        rivals, missing = load_rivals(["torch", "scipy"], threads=1)
        assert [rival.name for rival in rivals] == ["scipy"]
        assert len(missing) == 1 and missing[0].startswith("torch: not installed, left out")


def test_scipy_agrees_where_it_can() -> None:
    (scipy,), _ = load_rivals(["scipy"], threads=1)
    names = set()
    for case in SUITES["filtering"]:
        problem = Problem(case.shrunk(), dtype="float64")
        for side in scipy.sides(problem):
            problem.check(side, side.call())
            names.add(side.name)
    assert names == {"scipy direct", "scipy fft"}
    assert list(scipy.sides(Problem(SUITES["resnet50"][1].shrunk()))) == []
