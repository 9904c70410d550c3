"""What becomes of benchmark results: files, claims, causes, tables, the command."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmark_rows import row_of, timing_of

import fastconv
from benchmarks import compare, timing, train, widths
from benchmarks.causes import causes
from benchmarks.claims import CLAIMS, check_claims, claims_table
from benchmarks.contest import compete
from benchmarks.nets import NETS, our_step, torch_step
from benchmarks.problem import MEMORY_FORMATS, Problem
from benchmarks.regression import compare_ratios, load_ratios, save_ratios
from benchmarks.report import markdown
from benchmarks.rivals import load_rivals
from benchmarks.rows import Row, faster_format, geometric_mean
from benchmarks.store import Results, Store
from benchmarks.suites import ALL_SUITES, SUITES, standard_settings
from benchmarks.summary import BEGIN, END, summary, write_summary
from benchmarks.timing import measure
from fastconv.machine import vector_unit


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Few threads are quick on a busy machine, and what the command sets ends here."""
    with fastconv.threads(1):
        yield


class TestReport:
    def test_best_rival_and_ratio(self) -> None:
        row = row_of(2e-3, {"slow": 5e-3, "fast": 1e-3})
        assert (row.best_rival, row.ratio, row.defeat) == ("fast", 0.5, True)
        assert row.share == pytest.approx(2 * 64 * 64 * 9 * 56 * 56 / 2e-3 / 1e12)
        assert not row.as_void().defeat
        assert not row.memory_bound  # 0.17 ms of copying, 0.23 ms of multiply-adds
        assert row_of(1e-3, {}, copy_rate=7e9).memory_bound

    def test_the_same_format_and_library(self) -> None:
        times = {"torch": 3e-3, "torch channels_last": 2e-3, "onnxruntime": 1e-3}
        row = row_of(1e-3, times)
        assert (row.same_format, row.ratio_among(("torch",)), row.ratio) == (2, 2, 1)
        assert row_of(1e-3, times, memory_format="channels_first").same_format == 3
        assert row.ratio_among(("scipy",)) is None

    def test_the_faster_format(self) -> None:
        last, first = row_of(1e-3, {}), row_of(2e-3, {}, memory_format="channels_first")
        other = row_of(3e-3, {}, planned=False)
        assert faster_format([first, last, other]) == [last, other]

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
        text = markdown(Results({"machine": "some"}, rows))
        defeats = text.split("## Defeats")[1].split("## ")[0]
        assert text.index("## Defeats") < text.index("## Geometric means")
        assert "2 of 3 valid rows; 1 rows are void." in defeats
        assert defeats.index("256->256 14") < defeats.index("64->64 56")
        assert "128->128 28" not in defeats and "512->512" not in defeats
        means = text.split("## Geometric means per suite")[1].split("## ")[0]
        assert f" {geometric_mean([0.8, 4.0, 0.5]):.2f} |" in means
        assert "0.10 void" in text

    def test_no_rival_no_claim(self) -> None:
        text = markdown(Results(rows=[row_of(1e-3, {})]))
        assert text.count("No rival was timed") == 2 and "| direct " in text

    def test_wrong_results_stand_before_all(self) -> None:
        text = markdown(Results(rows=[row_of(1e-3, {})], wrong=["ours: element (0,) is 1"]))
        assert text.index("- ours: element (0,) is 1") < text.index("## Defeats")

    def test_narrower_vectors_have_a_section_and_no_claim(self) -> None:
        text = markdown(Results(rows=[row_of(1e-3, {}), row_of(2e-3, {}, target="avx2")]))
        section = text.split("## Narrower vectors")[1].split("\n## ")[0]
        assert section.count("avx2") == 3 and "0.12" in section


class TestSummary:
    def test_between_its_marks(self, tmp_path: Path) -> None:
        path = tmp_path / "README.md"
        path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
        for _ in range(2):
            write_summary(path, "new")
        assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"

    def test_a_file_without_marks_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "README.md"
        path.write_text(f"before\n{END}\n")
        with pytest.raises(ValueError, match="the summary goes between"):
            write_summary(path, "new")

    def test_the_readme_has_that_of_the_report(self) -> None:
        """Both come from one command, so neither was edited."""
        root = Path(compare.__file__).parent.parent
        readme, report = root / "README.md", root / "benchmarks" / "REPORT.md"
        text = readme.read_text().partition(BEGIN)[2].partition(END)[0].strip()
        assert text and text in report.read_text()

    def test_says_machine_and_day(self) -> None:
        header = {"machine": "abacus", "threads": "2; BLAS threads: 2"}
        row = row_of(1e-3, {"rival": 2e-3}, date="2026-11-24 15:00 UTC")
        later = replace(row, date="2026-11-25 01:00 UTC")
        text = summary(Results(header, [row, later]), [])
        assert text.startswith("abacus; 2 threads; 2026-11-24 to 2026-11-25. ")


class TestCauses:
    def test_bound_and_rival(self) -> None:
        row = row_of(1e-3, {"rival": 5e-4})
        (text,) = causes([row]).values()
        assert text == "compute-bound: direct at 0.23 of peak, the rival 0.46"
        (text,) = causes([row_of(1e-3, {"rival": 5e-4}, copy_rate=5e9)]).values()
        assert text.startswith("memory-bound: 0.35 of a copy's rate, the rival 0.70")

    def test_only_rows_that_lag(self) -> None:
        assert causes([row_of(1e-3, {"rival": 9.5e-4}), row_of(1e-3, {})]) == {}
        assert causes([row_of(1e-3, {"rival": 5e-4}, void=True)]) == {}

    def test_what_our_siblings_do_better(self) -> None:
        slow = row_of(1e-3, {"rival": 5e-4}, planned=False, memory_format="channels_first")
        plan = row_of(6e-4, {}, memory_format="channels_first")
        turned = row_of(8e-4, {}, planned=False, algorithm="winograd_f4")
        text = causes([slow, plan, turned])[slow.key]
        assert "; packing weights at each call is 40% of the time" in text
        assert "; channels-last arrays take 20% less (winograd_f4)" in text

    def test_small_calls(self) -> None:
        problem = Problem(SUITES["lenet5"][0])
        (text,) = causes([row_of(2e-5, {"rival": 1e-5}, problem=problem)]).values()
        assert "the call takes only 20 us" in text


class TestClaims:
    def test_what_counts(self) -> None:
        """The 3x3 claim: planned, both formats, but only the faster; void rows not at all."""
        first = row_of(2e-3, {"rival": 4e-3}, memory_format="channels_first")
        last = row_of(1e-3, {"rival": 4e-3})
        other = row_of(1e-3, {"rival": 1e-3}, problem=Problem(SUITES["resnet50"][2]))
        void = row_of(1e-3, {"rival": 1e-5}, problem=Problem(SUITES["resnet50"][3]), void=True)
        narrow = row_of(1e-3, {"rival": 1e-5}, target="avx2")
        finding = check_claims([first, last, other, void, narrow])[0]
        assert finding.claim.what == "3x3 stride 1, planned" and finding.void == 1
        assert sorted(finding.ratios) == [1, 4]
        assert finding.mean == pytest.approx(2) and finding.holds
        assert not check_claims([other])[0].holds

    def test_missed_claims_come_first(self) -> None:
        text = claims_table(check_claims([row_of(1e-3, {"rival": 1.3e-3})]))
        lines = text.splitlines()[2:]
        assert [line.count("missed") for line in lines] == [1, 0]
        assert "3x3 stride 1" in lines[0] and "all convolutions" in lines[1]

    def test_every_claim_has_rows(self) -> None:
        """Among the standard settings of the suites, so that no claim is silently empty."""
        rows = [
            row_of(1e-3, {}, suite=s, problem=Problem(c, b, d, o), planned=p, memory_format=f)
            for s, cases in ALL_SUITES.items()
            for o, d, b in standard_settings(s)
            for c in cases
            for p in (False, True)
            for f in MEMORY_FORMATS
        ]
        for claim in CLAIMS:
            assert any(map(claim.chosen, rows)), claim.what


class TestStore:
    def outcome(self, *rows: Row) -> Any:
        return type("Some", (), {"rows": rows, "wrong": ["wrong"], "left_out": ["liar"]})()

    def test_rows_come_back(self, tmp_path: Path) -> None:
        store, row = Store(tmp_path), row_of(1e-3, {"torch": 2e-3})
        kept = store.add("resnet50", "native", row.problem, self.outcome(row), {"a": "b"}, "day")
        found = store.load()
        assert found.rows == kept == [replace(row, date="day", source=kept[0].source)]
        assert (found.header, found.wrong, found.left_out) == ({"a": "b"}, ["wrong"], ["liar"])
        assert store.done("resnet50", "native", {"a": "b"}) == {row.key}
        assert store.done("resnet50", "native", {"a": "c"}) == set()
        assert store.done("vgg16", "native", {"a": "b"}) == set()

    def test_small_layers_stay_small(self, tmp_path: Path) -> None:
        store, problem = Store(tmp_path), Problem(SUITES["resnet50"][1].shrunk(), 2)
        row = row_of(1e-3, {}, problem=problem)
        store.add("resnet50", "native", problem, self.outcome(row), {}, "")
        assert store.load().rows[0].problem == problem

    def test_a_later_run_replaces_its_rows_only(self, tmp_path: Path) -> None:
        store, old = Store(tmp_path), row_of(1e-3, {})
        other = replace(old, planned=False)
        for row in (old, other, replace(old, error=0.5)):
            store.add("resnet50", "native", old.problem, self.outcome(row), {}, "")
        assert sorted((row.planned, row.error) for row in store.load().rows) == [
            (False, 1e-7),
            (True, 0.5),
        ]

    def test_other_rules_replace_everything(self, tmp_path: Path) -> None:
        store, row = Store(tmp_path), row_of(1e-3, {})
        other = row_of(1e-3, {}, problem=Problem(SUITES["resnet50"][2]))
        store.add("resnet50", "native", row.problem, self.outcome(row), {"rules": "old"}, "")
        store.add("resnet50", "native", other.problem, self.outcome(other), {"rules": "new"}, "")
        assert [found.problem for found in store.load().rows] == [other.problem]

    def test_a_pretended_machine_is_not_in_the_header(self, tmp_path: Path) -> None:
        store, row = Store(tmp_path), row_of(1e-3, {})
        for target in ("native", "avx2"):
            header = {"machine": target}
            store.add("resnet50", target, row.problem, self.outcome(row), header, "")
        found = store.load()
        assert found.header == {"machine": "native"}
        assert sorted(row.target for row in found.rows) == ["avx2", "native"]

    def test_void_rows_are_not_done(self, tmp_path: Path) -> None:
        store, row = Store(tmp_path), row_of(1e-3, {}, void=True)
        store.add("resnet50", "native", row.problem, self.outcome(row), {}, "")
        assert store.done("resnet50", "native", {}) == set()

    def test_a_damaged_file_holds_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "resnet50.json").write_text('{"header": ')
        assert Store(tmp_path).load().rows == []


class TestRegression:
    def test_ratios_are_kept_and_compared(self, tmp_path: Path) -> None:
        problems = [Problem(case) for case in SUITES["resnet50"][1:4]]
        rows = [row_of(1e-3, {"rival": 2e-3}, problem=p) for p in problems]
        path = tmp_path / "baseline.json"
        assert save_ratios(rows, path) == 3
        slower = [replace(row, timing=timing_of(2e-3)) for row in rows[:2]]
        # Twice the time, but of both: the machine was slow.
        same = replace(rows[2], timing=timing_of(2e-3), rivals={"rival": timing_of(4e-3)})
        text, failures = compare_ratios([*slower, same], load_ratios(path))
        assert len(failures) == 3 and failures[0].startswith("resnet50, forward, float32")
        assert "64->64 56, channels_last: the ratio fell from 2.00 to 1.00" in failures[1]
        assert " 0.63 |" in text
        assert compare_ratios(rows, load_ratios(path))[1] == []

    def test_without_a_rival_the_share_is_compared(self, tmp_path: Path) -> None:
        row, path = row_of(1e-3, {}), tmp_path / "baseline.json"
        save_ratios([row], path)
        assert load_ratios(path).popitem()[1] == pytest.approx(row.share, rel=1e-3)

    def test_nothing_to_compare_is_a_failure(self) -> None:
        assert compare_ratios([row_of(1e-3, {})], {})[1]

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "other.json"
        path.write_text('{"header": {}}')
        with pytest.raises(ValueError, match="not a file of ratios"):
            load_ratios(path)


class TestTraining:
    @pytest.mark.parametrize("options", [["--net", "lenet5"], ["--net", "lenet5", "--epoch"]])
    def test_command_and_report(
        self,
        options: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.setitem(NETS, "lenet5", NETS["lenet5"]._replace(epoch_images=6))
        monkeypatch.setattr(train, "measure", functools.partial(measure, attempts=1))
        arguments = ["--batch", "3", "--threads", "1", "--output", str(tmp_path), *options]
        assert train.main(arguments) == 0
        assert "torch: not installed, left out" in capsys.readouterr().out
        (record,) = train.load_training(tmp_path)
        what = "epoch of 6 images" if "--epoch" in options else "step"
        assert record["title"] == f"LeNet-5, batch 3, {what}" and record["ratios"] == {}
        assert record["rates"]["fastconv"] > 0
        assert f"LeNet-5, batch 3, {what}" in markdown(Results(), [record])

    def test_ratio_is_that_to_the_best_rival(self) -> None:
        timings = {"fastconv": timing_of(1, 1), "slow": timing_of(4, 4), "fast": timing_of(3, 3)}
        found = timing.Measurement(timings, frozenset(), 0.0, 1)
        text = train.training_table([train._record("LeNet", 10, 0.1, found)])
        assert [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]] == [
            *("LeNet", "10", "2", "3", "3.00"),
        ]

    def test_both_libraries_take_the_same_steps(self) -> None:
        pytest.importorskip("torch")
        import torch

        with torch.enable_grad():
            step, weights = our_step(NETS["lenet5"], 2)
            steps = {"fastconv": step, "torch": torch_step(NETS["lenet5"], 2, weights, False)}
            assert train.same_course(steps) is None
            wrong = {"fastconv": lambda: 1.0, "torch": lambda: 1.1}
            assert "torch: losses [1.1," in str(train.same_course(wrong))


class TestWidths:
    @pytest.mark.parametrize("target", widths.TARGETS)
    def test_the_command_runs_again_with_narrower_vectors(
        self, target: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[Any] = []

        def run(command: list[str], env: dict[str, str], check: bool) -> Any:
            calls.append((command[1:], env))
            return type("Done", (), {"returncode": 7})()

        monkeypatch.setattr(widths.subprocess, "run", run)
        arguments = ["--suite", "lenet5", "--target", target]
        assert compare.main(arguments) == 7
        ((command, environment),) = calls
        assert command == ["-m", "benchmarks.compare", *arguments]
        assert widths.TARGETS[target].items() <= environment.items()
        features = environment["NUMBA_CPU_FEATURES"]
        assert 8 * vector_unit("x86_64", features)[0] == {"avx2": 256, "sse2": 128}[target]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert widths.is_restricted(target)

    def test_the_limit_without_fma_multiplies_and_adds(self) -> None:
        """Where the machine has no fma, LLVM's would be a call of the C library."""
        program = (
            "import numpy as np; from benchmarks import peak; "
            "peak._fma(np.full((1, 200), 0.5, np.float32), 3); "
            "code = '\\n'.join(peak._fma.inspect_asm().values()); "
            "assert 'mulps' in code and 'fmaf' not in code"
        )
        environment = {**os.environ, **widths.TARGETS["sse2"]}
        environment["PYTHONPATH"] = str(Path(compare.__file__).parent.parent)
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)


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
    def run(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> Any:
        """The command on small layers; no row is void, however busy the machine."""
        monkeypatch.setattr(timing, "OTHERS_LIMIT", 1e9)

        def call(*arguments: str) -> tuple[int, str]:
            options = ["--quick", "--rivals", "none", "--threads", "1", "--output", str(tmp_path)]
            options += ["--spread", "1e9"]
            status = compare.main([*options, *arguments])
            return status, capsys.readouterr().out

        return call

    def test_table_and_report(self, run: Any, tmp_path: Path) -> None:
        status, out = run("--suite", "lenet5", "--operations", "forward,weight_gradient")
        assert status == 0
        assert "lenet5: weight gradient, float32, batch 1, functional" in out
        assert "18 rows, 0 defeats" in out
        report = tmp_path / "REPORT.md"
        status, _ = run("--report", str(report))
        text = report.read_text(encoding="utf-8")
        assert status == 0
        assert "## Defeats\n\nNo rival was timed" in text
        means = text.split("## Geometric means per suite")[1].split("## ")[0]
        assert "| lenet5 | forward, float32, batch 1, planned " in means
        table = text.split("## lenet5: forward, float32, batch 1, functional")[1].split("## ")[0]
        assert sum(line.startswith("| lenet 5x5") for line in table.splitlines()) == 6
        assert "times mean nothing" in text and "Python 3." in text
        assert f" {socket.gethostname()} " not in text and str(tmp_path) not in text
        assert (tmp_path / "figures" / "roofline-float32.png").stat().st_size > 1000

    def test_resume_times_what_is_missing(self, run: Any) -> None:
        options = ("--suite", "lenet5", "--planned")
        assert "2 rows" in run(*options, "--case", "lenet 5x5 6->16 14")[1]
        assert "4 rows" in run(*options, "--resume")[1]
        assert run(*options, "--resume")[0] == 0
        assert "0 rows" in run(*options, "--resume")[1]

    def test_an_interrupted_run_keeps_what_it_has(
        self, run: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(suite: str, problem: Problem, *rest: Any) -> Any:
            if problem.case.name == "lenet 5x5 16->120 5":
                raise KeyboardInterrupt
            return compete(suite, problem, *rest)

        monkeypatch.setattr(compare, "compete", interrupted)
        status, out = run("--suite", "lenet5", "--planned")
        assert status == 0 and "4 rows" in out
        assert "stopped with 1 problems to do: --resume goes on" in out

    def test_a_run_may_be_cut_short(self, run: Any) -> None:
        status, out = run("--suite", "lenet5", "--planned", "--stop-after", "1e-9")
        assert status == 1 and "stopped with 3 problems to do: --resume goes on" in out

    def test_against_kept_ratios(self, run: Any, tmp_path: Path) -> None:
        kept = tmp_path / "kept.json"
        status, out = run("--suite", "lenet5", "--planned", "--save", str(kept))
        assert status == 0 and f"ratios kept in {kept}" in out
        assert run("--against", str(kept))[0] == 0
        better = {key: 10 * value for key, value in load_ratios(kept).items()}
        kept.write_text(json.dumps(better))
        status, out = run("--against", str(kept))
        assert status == 1 and "ratios fell to 0.10 of the kept ones" in out

    def test_what_does_not_exist_is_left_out(self, run: Any) -> None:
        status, out = run("--suites", "dcgan", "--planned")
        assert status == 1  # no row at all is no success
        assert "forward: there is no plan of this operation" in out

    def test_minimum_share_needs_full_layers(self, run: Any) -> None:
        status, out = run("--suites", "lenet5", "--min-share", "0.7")
        assert status == 1 and "FAILED no planned channels-last" in out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--suite", "resnet51"], "'resnet51' is not one of resnet50"),
            (["--repeats", "4"], "--repeats must be at least 5, not 4"),
            (["--batch", "one"], "--batch must be integers, not 'one'"),
            (["--rivals", "cudnn"], "'cudnn' is not one of torch"),
            (["--threads", "0"], "--threads must be positive, not 0"),
            (["--seconds", "-1"], "--seconds must be positive, not -1.0"),
            (["--operations", "sideways"], "'sideways' is not one of forward"),
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
