"""`benchmarks.regret`: what the choice of algorithms costs."""

import itertools

from benchmarks import regret
from benchmarks.problem import Problem
from benchmarks.suites import SUITES


def test_times_kept_are_judged_by_the_choice_of_today(tmp_path, capsys) -> None:
    problem = Problem(SUITES["alexnet"][1])
    chosen = regret.decide(problem, "channels_last", True).algorithm
    times = {"planar": 2e-3, "sliding": 8e-3, chosen: 3e-3}
    slow = {"planar": 2e-3}  # the chosen was too slow to be timed
    choices = [
        regret.Choice(problem, "channels_last", True, times),
        regret.Choice(problem, "channels_last", True, slow),
    ]
    assert [choice.regret for choice in choices] == [1.5, regret.HOPELESS]
    regret._save(tmp_path / "times.json", choices)
    assert regret._load(tmp_path / "times.json") == choices
    assert regret.main(["--suite", "none", "--times", str(tmp_path / "times.json")]) == 0
    assert "2 choices: geometric mean 2.121, worst 3.00" in capsys.readouterr().out


def test_random_layers_are_layers() -> None:
    cases = list(itertools.islice(regret.random_cases(5), 200))
    assert {case.kind for case in cases} >= {"3x3 stride 1", "other 2-D", "3-D", "1-D"}
    assert all(min(Problem(case).output_shape) >= 1 for case in cases)
    assert cases[:9] == list(itertools.islice(regret.random_cases(5), 9))


def test_all_possible_algorithms_are_timed() -> None:
    problem = Problem(SUITES["lenet5"][1].shrunk())
    timed = regret._timed(problem, "channels_first", False, 1e-4)
    assert {"direct", "planar"} & timed.times.keys()
    assert "reference" not in timed.times
    assert timed.regret >= 1
