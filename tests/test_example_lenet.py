"""The LeNet example as its users run it: a process of its own, in a folder of its own."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "lenet_mnist.py"

needs_mnist = pytest.mark.skipif(
    not os.environ.get("FASTCONV_DATA"), reason="FASTCONV_DATA names no folder with MNIST"
)


def run(folder, *arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-W", "error", str(EXAMPLE), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def accuracy(result):
    """The number in ``test accuracy 98.61 %; ...``."""
    line = next(line for line in result.stdout.splitlines() if line.startswith("test accuracy"))
    return float(line.split()[2])


def test_digits_reach_their_target_and_leave_model_and_picture(tmp_path):
    result = run(tmp_path, "--digits", "--threads", "2")
    assert result.returncode == 0, result.stderr
    assert accuracy(result) >= 97
    for part in ("7,190 training and 359 test images", "61,706", "true \\ predicted", "images/s"):
        assert part in result.stdout
    assert result.stderr.count("epoch ") == 10
    assert (tmp_path / "lenet_mnist.png").read_bytes().startswith(b"\x89PNG")

    from safetensors.numpy import load_file

    arrays = load_file(tmp_path / "lenet_mnist.safetensors")
    assert arrays["0.weight"].shape == (6, 1, 5, 5)
    assert arrays["11.weight"].shape == (10, 84)
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_missed_target_is_exit_status_1(tmp_path):
    options = ("--digits", "--epochs", "1", "--target", "100", "--output", "made/here", "--quiet")
    result = run(tmp_path, *options, "--dense")
    assert result.returncode == 1
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr.startswith("error: test accuracy ")
    assert "under the target, 100.00 %" in result.stderr
    assert sorted(os.listdir(tmp_path / "made" / "here")) == [
        "lenet_mnist.png",
        "lenet_mnist.safetensors",
    ]


def test_a_seed_repeats_the_result(tmp_path):
    options = ("--digits", "--epochs", "1", "--target", "0", "--seed", "3", "--batch-size", "100")
    files = []
    for folder in ("one", "two"):
        assert run(tmp_path, *options, "--quiet", "--output", folder).returncode == 0
        files.append((tmp_path / folder / "lenet_mnist.safetensors").read_bytes())
    assert files[0] == files[1]


def test_without_a_network_one_line_and_the_digits(tmp_path):
    # Nothing listens on the discard port of this machine: every mirror fails at once. The cache of
    # compiled kernels moves along with that of the data, so this also starts from nothing.
    unreachable = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    options = ("--epochs", "1", "--target", "0", "--quiet")
    result = run(
        tmp_path, *options, FASTCONV_DATA="", XDG_CACHE_HOME=str(tmp_path / "cache"), **unreachable
    )
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mnist: cannot download")
    assert lines[0].endswith("training on scikit-learn's digits instead")


def test_a_corrupt_file_is_one_line_and_exit_status_2(tmp_path):
    header = b"\0\0\x08\3" + b"".join(size.to_bytes(4, "big") for size in (60000, 28, 28))
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte.gz").write_bytes(gzip.compress(header + b"\1\2\3"))
    result = run(tmp_path, "--data", str(tmp_path))
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert "train-images-idx3-ubyte.gz" in result.stderr


def test_a_folder_without_the_files_is_exit_status_2(tmp_path):
    for result in (
        run(tmp_path, "--data", str(tmp_path)),
        run(tmp_path, FASTCONV_DATA=str(tmp_path)),
    ):
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
        assert "lacks train-images-idx3-ubyte" in result.stderr


def test_an_unusable_output_folder_is_exit_status_2_before_the_training(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    result = run(tmp_path, "--digits", "--output", "file/folder")
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", [("--epochs", "0"), ("--threads", "-1"), ("--batch-size", "x")])
def test_bad_options_are_refused(tmp_path, option):
    result = run(tmp_path, *option)
    assert result.returncode == 2
    assert "argument " + option[0] in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.mnist
@needs_mnist
def test_mnist_reaches_99_percent(tmp_path):
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr
    assert accuracy(result) >= 99.0


@pytest.mark.mnist
@needs_mnist
def test_mnist_with_a_dense_network(tmp_path):
    result = run(tmp_path, "--dense")
    assert result.returncode == 0, result.stderr
    assert accuracy(result) >= 98.0
