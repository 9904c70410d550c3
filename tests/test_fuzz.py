"""Random calls in a process of their own, and that such a process would notice what it is for."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzz import convolutions, nopython, worker
from fuzz.bounds import Expected, differs
from fuzz.chances import Call, Chances
from fuzz.draw import draw
from fuzz.nopython import compiles
from fuzz.operands import EVERY_LAYOUT, Operand
from fuzz.worker import judge

import fastconv

ROOT = Path(__file__).parent.parent


def fuzz(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--json", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


def test_two_thousand_calls():
    status, said = fuzz("--calls", 2000, "--seed", 7)
    assert status == 0, said
    outcomes = json.loads(said.splitlines()[-1])["outcomes"]
    assert outcomes["right"] > 1000 and outcomes["refused"] > 300
    assert outcomes["inside njit"] > 150


def test_a_call_depends_on_its_number_alone():
    assert [draw(3, i).script() for i in range(20)] == [draw(3, i).script() for i in range(20)]
    assert len({draw(3, i).door for i in range(200)}) > 30
    scripts = "".join(draw(3, i).script() for i in range(200))
    assert "nopython(" in scripts and "epilogue=EPILOGUES[" in scripts


def test_calls_of_one_form_share_a_compiled_function(monkeypatch):
    """They differ in sizes, numbers, memory and contents."""
    made = {}
    monkeypatch.setattr(nopython, "made", made)
    monkeypatch.setattr(nopython, "_function", lambda *what: what)
    calls = [convolutions.conv(Chances(1, i, form=(4,))) for i in range(30)]
    assert len({call.source() for call in calls}) == 30
    inside = 0
    for call in calls:
        given = {n: eval(text, dict(worker.NAMES)) for n, text in call.arguments.items()}
        inside += compiles(call.door, **{n: worker._arrays(value) for n, value in given.items()})
    assert inside > 20 and len(made) == 1


def test_a_call_is_made_in_compiled_code():
    """And is caught if it gives other bits there, or there alone an error."""
    random = {"input": "Operand((2, 9), 'float32', 'last')", "kernel_size": "2"}
    call = Call("max_pool1d", random, nopython=True)
    assert judge(call) == ("right", None)
    given = {"input": np.ones((2, 9), np.float32), "kernel_size": 2}
    assert compiles("max_pool1d", **given)
    for other in (
        {"kernel_size": 2**63},
        {"kernel_size": ("a",)},
        {"input": [[1.0]]},
        {"input": np.ones((2, 9), np.int16)},
        {"input": np.ma.masked_array(np.ones((2, 9)))},
    ):
        assert not compiles("max_pool1d", **{**given, **other})
    assert not compiles("plan", **given)


def test_other_bits_in_compiled_code_are_noticed(monkeypatch):
    given = {"input": "Operand((2, 3, 9), 'float32')", "kernel_size": "2"}
    call = Call("max_pool1d", given, nopython=True)
    monkeypatch.setattr(worker, "nopython", lambda door, **given: -fastconv.max_pool1d(**given))
    assert judge(call)[1] == "other bits than from Python"


def test_epilogues_are_expected():
    given = {"input": "Operand((2, 3, 9))", "weight": "Operand((4, 3, 2))"}
    given |= {"epilogue": "EPILOGUES['affine']"}
    given["epilogue_args"] = "(Operand((4,), seed=1), Operand((4,), seed=2),)"
    call = Call("conv1d", given)
    assert judge(call) == ("right", None)
    assert "seed=2).array," in call.source()
    given["epilogue_args"] = "(Operand((5,), seed=1), Operand((4,), seed=2),)"
    assert "fits" in judge(call)[1]


@pytest.mark.parametrize("layout", EVERY_LAYOUT)
def test_operands_hold_the_same_in_every_layout(layout):
    operand = Operand((2, 3, 4), "float64", layout, 5)
    if layout != "broadcast":
        assert np.array_equal(operand.array, Operand((2, 3, 4), "float64", "first", 5).array)
    assert operand.kept()


def test_wrong_results_are_noticed(monkeypatch):
    """Of a door that errs in one cell, writes to its input, or refuses what it should not."""
    call = Call("max_pool1d", {"input": "Operand((2, 3, 8))", "kernel_size": "2"})
    assert judge(call) == ("right", None)

    def errs(input, kernel_size):
        y = input.reshape(2, 3, 4, 2).max(axis=3)
        y[1, 2, 3] += 1
        return y

    def writes(input, kernel_size):
        input.setflags(write=True)
        input[0, 0, 0] += 1
        return input.reshape(2, 3, 4, 2).max(axis=3)

    def refuses(input, kernel_size):
        raise ValueError("max_pool1d: not today")

    for door, fault in ((errs, "1 of 24 values wrong"), (writes, "changed"), (refuses, "fits")):
        monkeypatch.setattr(fastconv, "max_pool1d", door)
        assert fault in judge(call)[1]
    call.fits = False
    assert judge(call) == ("refused", None)


def test_an_error_within_its_bound_is_none():
    wanted = Expected(np.array([1.0, 2.0]), np.dtype("float32"), 1e-3)
    assert differs(np.array([1.0005, 2.0], np.float32), wanted) is None
    assert differs(np.array([1.002, 2.0], np.float32), wanted) is not None
    assert differs(np.array([1.0, 2.0]), wanted) is not None


@pytest.mark.parametrize(
    ("body", "fault", "patience"),  # seconds: a busy machine may take some to begin
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died with status -11", 60),
        ("import time; time.sleep(60)", "hung", 8),
    ],
)
def test_crashes_and_hangs_are_reported(tmp_path, body, fault, patience):
    """By a door that does it in its third call; the calls after it are made all the same."""
    program = f"""
import sys
sys.argv = ["fuzz", "--calls", "6", "--seed", "1"]
from tests.fuzz import __main__ as command, worker
command.SECONDS = {patience}
start = command.subprocess.Popen
def popen(arguments, **options):
    spoilt = '''
from tests.fuzz import worker, __main__ as command
def judged(call):
    if call.script() == command.draw(1, 2).script():
        {body}
    return "right", None
worker.judge = judged
raise SystemExit(command.main())
'''
    return start([arguments[0], "-c", spoilt, *arguments[3:]], **options)
command.subprocess.Popen = popen
raise SystemExit(command.main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert fault in done.stdout and "--begin 2" in done.stdout
    assert "'faults': 1" in done.stdout
    assert draw(1, 2).script() in done.stdout
