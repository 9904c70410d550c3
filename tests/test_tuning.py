"""plan(tune=True): measured, remembered, and never misled by what is on the disk."""

import json
import logging

import numpy as np
import pytest

import fastconv
from fastconv import tuning
from fastconv.choose import PLAIN
from fastconv.cpu import compile as compiling

SHAPE, WEIGHT = (2, 5, 9, 20), np.arange(7 * 5 * 9, dtype=np.float32).reshape(7, 5, 3, 3) % 5 - 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own for the times."""
    monkeypatch.setattr(tuning, "cache_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def turns(monkeypatch):
    """The tables that were measured, of made-up times: the later a candidate, the faster."""
    made = []

    def measure(candidates):
        for call in candidates.values():
            call()
        made.append({name: 1 / (1 + i) for i, name in enumerate(candidates)})
        return made[-1]

    monkeypatch.setattr(tuning, "_measure", measure)
    return made


@pytest.mark.parametrize("memory_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("batched", [True, False])
def test_the_fastest_is_taken_and_right(folder, memory_format, batched):
    shape = SHAPE if batched else SHAPE[1:]
    bias, x = np.arange(7, dtype=np.float32), np.arange(np.prod(shape)).reshape(shape) % 7 - 3.0
    options = {"padding": 1, "activation": "relu"}
    plan = fastconv.plan(shape, WEIGHT, bias, tune=True, memory_format=memory_format, **options)
    times = plan.decision.times
    assert plan.algorithm == min(times, key=times.get)
    assert {"planar", "direct", "winograd_f4"} <= times.keys()
    expected = fastconv.conv2d(x.astype(np.float32), WEIGHT, bias, algorithm="reference", **options)
    np.testing.assert_allclose(plan(x.astype(np.float32)), expected, atol=1e-3)
    table = plan.explain()
    assert "measured ms" in table
    assert f"{times[plan.algorithm] * 1e3:.3f}" in table
    assert "the fastest when they were measured" in table


def test_times_are_remembered_for_the_problem_alone(folder, turns):
    first = fastconv.plan(SHAPE, WEIGHT, tune=True)
    again = fastconv.plan(SHAPE, 2 * WEIGHT, tune=True)
    assert (len(turns), again.algorithm) == (1, first.algorithm)
    assert again.decision.times == first.decision.times
    assert "an earlier time" in again.decision.reason
    fastconv.plan(SHAPE, WEIGHT, np.zeros(7, np.float32), tune=True)
    fastconv.plan(SHAPE, WEIGHT, tune=True, memory_format="channels_last")
    fastconv.plan(SHAPE, WEIGHT, tune=True, threads=1)
    fastconv.plan(SHAPE, WEIGHT, tune=True, dtype=np.float64)
    fastconv.plan(SHAPE, WEIGHT, padding=1, tune=True)
    assert len(turns) == 6
    assert len(list(folder.iterdir())) == 6  # no draft is left


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "[1.0]",
        "{}",
        '{"direct": 1.0}',
        "\x80",
        "number",
        "negative",
        "NaN",
    ],
)
def test_a_damaged_file_is_measured_anew(folder, turns, text, caplog):
    fastconv.plan(SHAPE, WEIGHT, tune=True)
    (path,) = folder.iterdir()
    good = json.loads(path.read_text("utf-8"))
    if text in ("number", "negative", "NaN"):
        wrong = {"number": "1", "negative": -1.0, "NaN": float("nan")}[text]
        text = json.dumps({**good, "direct": wrong})
    path.write_bytes(text.encode("latin-1"))
    with caplog.at_level(logging.INFO, "fastconv"):
        fastconv.plan(SHAPE, WEIGHT, tune=True)
    assert len(turns) == 2
    assert "measured anew" in caplog.text
    assert json.loads(path.read_text("utf-8")) == good


@pytest.mark.parametrize("folder_found", [True, False])
def test_without_a_place_to_keep_them(tmp_path, turns, monkeypatch, folder_found, caplog):
    gone = tmp_path / "gone" if folder_found else None
    monkeypatch.setattr(tuning, "cache_folder", lambda: gone)
    with caplog.at_level(logging.INFO, "fastconv"):
        assert fastconv.plan(SHAPE, WEIGHT, tune=True).decision.times
    assert ("not kept" in caplog.text) == folder_found


def test_precision_and_dtype_limit_the_contenders(folder, turns):
    fastconv.plan(SHAPE, WEIGHT, tune=True, dtype=np.float64)
    previous = fastconv.get_precision()
    fastconv.set_precision("strict")
    try:
        fastconv.plan(SHAPE, WEIGHT, padding=1, tune=True)
    finally:
        fastconv.set_precision(previous)
    fastconv.plan(SHAPE, WEIGHT.astype(int), tune=True)
    assert len(turns) == 3
    for table in turns:
        assert table.keys() <= set(PLAIN)


def test_nothing_to_measure(folder, turns):
    assert not fastconv.plan((0, 5, 9, 20), WEIGHT, tune=True).decision.times
    assert not turns


def test_epilogues_are_measured_with_the_rest(folder, turns):
    plan = fastconv.plan(SHAPE, WEIGHT, tune=True, epilogue=lambda a: a + np.float32(1))
    x = np.ones(SHAPE, np.float32)
    assert np.array_equal(plan(x), fastconv.conv2d(x, WEIGHT, algorithm="reference") + 1)
    assert len(turns) == 1


def test_errors():
    with pytest.raises(ValueError, match="needs algorithm='auto', not 'direct'"):
        fastconv.plan(SHAPE, WEIGHT, tune=True, algorithm="direct")
    with pytest.raises(TypeError, match="plan: tune must be True or False, not 'yes'"):
        fastconv.plan(SHAPE, WEIGHT, tune="yes")


def test_the_folder_is_that_of_the_kernels():
    assert tuning.cache_folder is compiling.cache_folder
