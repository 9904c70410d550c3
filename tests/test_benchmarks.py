"""The benchmark frame: statistics, float64 results, report. Nothing here is a test of speed."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmark_rows import timing_of

import fastconv
from benchmarks import contest, exact, jit, peak, signal, timing
from benchmarks.cases import ConvCase, PoolCase
from benchmarks.contest import Rules, compete
from benchmarks.ours import our_sides
from benchmarks.problem import (
    DISTINCT_IMAGES,
    MEMORY_FORMATS,
    OPERATIONS,
    Problem,
    Side,
    WrongResult,
)
from benchmarks.rivals import load_rivals
from benchmarks.suites import ALL_SUITES, POOL_SUITES, SUITES, standard_settings
from benchmarks.timing import Timing, measure, ratio
from fastconv import reference
from fastconv.choose import ALGORITHMS
from fastconv.machine import machine

CASES = [case for cases in SUITES.values() for case in cases]
POOLS = {case.pool: case for case in (*POOL_SUITES["pooling_1d_3d"], *POOL_SUITES["pooling"])}
RULES = Rules(threads=1, repeats=5, seconds=1e-3, spread_limit=1e9, patience=0.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Few threads are quick on a busy machine, and what the command sets ends here."""
    with fastconv.threads(1):
        yield


class TestTiming:
    def test_statistics_of_blocks(self) -> None:
        t = Timing.of([(3.0, 1.0, 2.0), (4.0, 6.0, 5.0), (9.0, 7.0, 8.0)])
        assert t.block_medians == (2.0, 5.0, 8.0)
        assert (t.minimum, t.median, t.spread) == (1.0, 5.0, 5.0)

    def test_ratio_is_taken_within_pairs(self) -> None:
        """The machine is ten times slower in the last block, for both: the ratio stays."""
        assert ratio(timing_of(2, 2, 20), timing_of(1, 1, 10)) == 2
        assert ratio(timing_of(2, 2, 4), timing_of(1, 4, 1)) == 2

    def test_ratio_needs_the_same_blocks(self) -> None:
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            ratio(timing_of(1, 2, 3), timing_of(1, 2))

    def test_one_call_is_compared_with_a_median(self) -> None:
        assert ratio(timing_of(12), timing_of(1, 4, 3)) == 4
        assert timing_of(12).once and not timing_of(1, 2).once

    def test_sides_alternate_and_warm_calls_do_not_count(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timing, "wait_until_idle", lambda: calls.append("|"))
        calls: list[str] = []
        sides = {name: functools.partial(calls.append, name) for name in "ab"}
        found = measure(sides, repeats=5, block_seconds=0.0, attempts=1, spread_limit=1e9)
        assert "".join(calls) == "|aaa|bbb" + "|bbb|aaa" + "|aaa|bbb" + "|bbb|aaa" + "|aaa|bbb"
        assert [len(t.block_medians) for t in found.timings.values()] == [5, 5]

    def test_a_long_call_needs_no_warming(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[str] = []
        monkeypatch.setattr(timing, "LONG_CALL", 0.0)
        assert len(timing._block(lambda: calls.append("x"), 1.0)) == len(calls) == 1

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
    @pytest.mark.parametrize("operation", OPERATIONS[:3])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "wavenet", "c3d"])
    def test_our_results_are_within_the_bound(self, name: str, dtype: str, operation: str) -> None:
        problem = Problem(SUITES[name][1].shrunk(), 2, dtype, operation)
        sides = list(our_sides(problem, MEMORY_FORMATS, True, True))
        assert len(sides) == (4 if operation == "forward" else 2)
        for _, side in sides:
            error = problem.check(side, side.call())
            assert error < 100 * np.finfo(dtype).eps

    @pytest.mark.parametrize("operation", OPERATIONS[:3])
    def test_our_transposed_results_are_within_the_bound(self, operation: str) -> None:
        case = replace(SUITES["dcgan"][1].shrunk(), output_padding=1)
        problem = Problem(case, 2, "float32", operation)
        for _, side in our_sides(problem, MEMORY_FORMATS, True, True):
            assert problem.check(side, side.call()) < 100 * np.finfo(np.float32).eps

    @pytest.mark.parametrize("operation", ["forward", "input_gradient", "forward_and_gradient"])
    @pytest.mark.parametrize("case", POOLS.values(), ids=POOLS)
    def test_our_pooling_is_within_the_bound(self, case: PoolCase, operation: str) -> None:
        problem = Problem(case.shrunk(), 2, "float32", operation)
        if case.pool == "lp" and operation != "forward":
            assert problem.missing == "no rival has the gradient of lp pooling by itself"
            return
        for _, side in our_sides(problem, MEMORY_FORMATS, True, True):
            assert problem.check(side, side.call()) < 10 * np.finfo(np.float32).eps

    @pytest.mark.parametrize("operation", OPERATIONS[:3])
    def test_a_batch_repeats_few_images(self, operation: str) -> None:
        """The result of eight images, three of them distinct, is that of eight images."""
        case, batch = SUITES["lenet5"][1].shrunk(), 8
        problem = Problem(case, batch, "float64", operation)
        arrays = problem.operands
        images = next(array for key, array in arrays.items() if key != "w")
        np.testing.assert_array_equal(images[DISTINCT_IMAGES:6], images[:DISTINCT_IMAGES])
        assert (images[0] != images[1]).any()
        functions = (exact.forward, exact.input_gradient, exact.weight_gradient)
        function = dict(zip(OPERATIONS, functions))[operation]
        value = function(problem.geometry, *arrays.values())
        side = Side("side", lambda: value)
        assert problem.check(side, value) < 1e-15
        value.flat[-1] += 1e-3
        with pytest.raises(WrongResult):
            problem.check(side, value)

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

    def test_every_algorithm_of_ours_is_right_by_its_bound(self) -> None:
        """Also those that a shrunk layer would not choose: their bound goes by their names."""
        case = ConvCase("3x3", 9, (21, 17), 11, (3, 3), 1, 1)
        problem = Problem(case)
        x, w = problem.operands.values()
        for algorithm in ALGORITHMS:
            if not algorithm.refuses(problem.geometry, "float32", "forward"):
                result = fastconv.conv2d(x, w, padding=1, algorithm=algorithm.name)
                problem.check(Side("ours", lambda: None, algorithm=algorithm.name), result)

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
        assert "pooling only" in str(Problem(up, operation="forward_and_gradient").missing)
        monkeypatch.delattr(fastconv, "max_pool2d", raising=False)
        pool = Problem(PoolCase("pool", "max", 3, (8, 9), (2, 2)))
        assert pool.missing == "fastconv.max_pool2d does not exist"

    def test_bytes_moved(self) -> None:
        pool = POOL_SUITES["pooling"][0]
        x, y = 64 * 112 * 112, 64 * 56 * 56
        assert Problem(pool, operation="input_gradient").moved_bytes == 4 * (x + y) + 8 * y
        assert Problem(pool, operation="forward_and_gradient").work == 2 * (4 * (x + y) + 8 * y)
        case = SUITES["resnet50"][1]
        assert Problem(case, 2).moved_bytes == 4 * (4 * 64 * 56 * 56 + 64 * 64 * 9)

    def test_kinds_of_layers(self) -> None:
        kinds = {case.name: case.kind for case in CASES}
        assert kinds["resnet 3x3 64->64 56"] == "3x3 stride 1"
        assert kinds["resnet 3x3/2 128->128 56"] == "other 2-D"
        assert kinds["unet 3x3 d 4 64->64 64"] == "other 2-D"
        assert kinds["mobilenet depthwise 3x3 384 14"] == "depthwise and grouped"
        assert kinds["audio up 16/8 128->64 4096"] == "transposed"
        assert kinds["fir 255 of 1000000"] == kinds["filter 5x5x5 64"] == "single channel"
        assert kinds["wavenet 1 32->256 16000"] == "1-D"

    def test_standard_settings_exist(self) -> None:
        for suite, cases in ALL_SUITES.items():
            settings = standard_settings(suite)
            assert ("forward", "float32", 1) in settings
            for operation, dtype, batch in settings:
                assert Problem(cases[0], batch, dtype, operation).missing is None

    def test_names_are_unique(self) -> None:
        names = [case.name for cases in ALL_SUITES.values() for case in cases]
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
        assert all(len(row.timing.block_medians) == 5 and row.limit_rate > 0 for row in rows)
        assert "operands" not in vars(problem)

    def test_a_wrong_rival_is_named_and_not_timed(self) -> None:
        problem = Problem(SUITES["lenet5"][1].shrunk())
        ours = our_sides(problem, ("channels_first",), functional=True, planned=False)
        rival = Fake(("liar", False, 1.0))
        (row,), wrong, left_out = compete("lenet5", problem, ours, [rival], RULES)
        assert row.rivals == {} and row.best_rival is None and row.ratio is None
        assert wrong == [] and left_out[0].startswith("liar: lenet 5x5 6->16 14: element")

    def test_what_a_side_raises_is_a_complaint(self) -> None:
        problem = Problem(SUITES["lenet5"][1].shrunk())

        def refuse() -> None:
            raise RuntimeError("not on this machine")

        def sides(problem: Problem) -> Iterator[Side]:
            yield Side("refuses", refuse)
            yield from Fake(("fake", False, 0.0)).sides(problem)
            raise MemoryError("no more")

        rival = Fake()
        rival.sides = sides  # type: ignore[method-assign]
        ours = our_sides(problem, ("channels_first",), functional=True, planned=False)
        (row,), wrong, left_out = compete("lenet5", problem, ours, [rival], RULES)
        assert sorted(row.rivals) == ["fake"] and wrong == []
        assert left_out == [
            "lenet 5x5 6->16 14, forward: RuntimeError: not on this machine",
            "lenet 5x5 6->16 14, forward: MemoryError: no more",
        ]

    def test_a_hopeless_rival_is_called_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(contest, "HOPELESS", 0.0)
        problem = Problem(SUITES["lenet5"][1].shrunk())
        ours = our_sides(problem, ("channels_first",), functional=True, planned=False)
        rules = RULES._replace(seconds=0.0)
        (row,), _, _ = compete("lenet5", problem, ours, [Fake(("fake", False, 0.0))], rules)
        assert row.rivals["fake"].once and not row.timing.once and row.ratio

    def test_a_wrong_result_of_ours_has_no_row(self) -> None:
        problem = Problem(SUITES["lenet5"][1].shrunk())
        side = Side("ours", lambda: problem.expected[0].astype(np.float32) * 2)
        rows, wrong, _ = compete("lenet5", problem, [("channels_first", side)], [], RULES)
        assert rows == [] and len(wrong) == 1 and wrong[0].startswith("ours: lenet")


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "jax", "scipy"])
def test_installed_rivals_compute_the_same(name: str) -> None:
    """Every adapter on small layers of each suite; a rival yields what it offers."""
    rivals, missing = load_rivals([name], threads=1)
    if missing:
        pytest.skip(missing[0])
    seen = set()
    for suite, cases in ALL_SUITES.items():
        for case, operation in itertools.product(
            (cases[0].shrunk(), cases[-1].shrunk()), OPERATIONS
        ):
            problem = Problem(case, 1 if suite == "filtering" else 2, "float32", operation)
            if problem.missing:
                continue
            for side in rivals[0].sides(problem):
                problem.check(side, side.call())
                seen.add((side.name, operation))
    assert (name if name != "scipy" else "scipy.signal fft", "forward") in seen


def test_scipy_agrees_where_it_can() -> None:
    (scipy,), _ = load_rivals(["scipy"], threads=1)
    names = set()
    for case in SUITES["filtering"][-2:]:
        problem = Problem(case.shrunk(), dtype="float64")
        for side in scipy.sides(problem):
            problem.check(side, side.call())
            names.add(side.name)
    assert names == {
        *("scipy.signal direct", "scipy.ndimage", "scipy.signal fft", "scipy.signal oa fft"),
    }
    assert list(scipy.sides(Problem(SUITES["resnet50"][1].shrunk()))) == []


@pytest.mark.parametrize("main", [jit.main, signal.main])
def test_options_of_tables(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Help runs nothing, and no more does a table that there is not."""
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "default: all" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["nothing"])
    assert "unknown tables ['nothing']" in capsys.readouterr().err
