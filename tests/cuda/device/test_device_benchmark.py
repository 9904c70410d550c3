"""The program that times a GPU runs, wherever."""

import os

from benchmarks import compare
from fastconv.cuda import backend


def test_it_runs(tmp_path, capsys):
    """On tiny sizes, by the door of `benchmarks.compare`."""
    file = tmp_path / "table.md"
    small = ["--small", "--layers", "1", "--batch", "1", "--repeats", "1", "--rotation", "0"]
    if backend.SIMULATED or "FASTCONV_TEST_DEVICE" in os.environ:
        small += ["--stop-after", "3"]
    assert compare.main(["--device", "cuda", *small, "--output", str(file)]) == 0
    text = file.read_text()
    assert "## forward, float32, channels-first" in text and "| max_pool2d 2x2 |" in text
    assert text in capsys.readouterr().out
