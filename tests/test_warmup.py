"""Compiling ahead of time, and the command line."""

import pytest

import fastconv
from fastconv.__main__ import main
from fastconv.cpu.compile import KERNELS, cache_folder


def test_everything_is_compiled_for_the_dtypes_asked_for():
    assert fastconv.warmup(["float32"], progress=False) >= 0
    assert all("float32" in kernel._compiled for kernel in KERNELS)
    assert len({kernel.function.__name__ for kernel in KERNELS}) == len(KERNELS)


def test_progress_goes_to_stderr(capsys):
    fastconv.warmup(["float32"], progress=True)
    printed = capsys.readouterr()
    assert "correlate of float32" in printed.err
    assert printed.out == ""


def test_unknown_dtype():
    with pytest.raises(ValueError, match=r"dtypes must be some of .* not 'float16'"):
        fastconv.warmup(["float16"])


def test_commands(capsys):
    assert main(["warmup", "--dtypes", "float32"]) == 0
    assert str(cache_folder()) in capsys.readouterr().out
    assert main(["warmup", "--dtypes", "float32", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["config"]) == 0
    assert capsys.readouterr().out.strip() == str(fastconv.show_config())
    with pytest.raises(SystemExit) as stopped:
        main(["warmup", "--dtypes", "float99"])
    assert stopped.value.code == 2
    assert "float99" in capsys.readouterr().err


def test_without_a_cache(capsys, monkeypatch):
    monkeypatch.setattr("fastconv.__main__.cache_folder", lambda: None)
    with pytest.raises(SystemExit) as stopped:
        main(["warmup"])
    assert stopped.value.code == 1
    assert "no folder can be written" in capsys.readouterr().err
