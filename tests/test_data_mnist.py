"""MNIST from files: the places, the names, and files that are not what they should be."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import ARRAYS, NAME, assert_tiny, idx_bytes, use_tiny_mnist, write_files

from fastconv import data
from fastconv.data import DataUnavailable, mnist, mnist_files


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder that does not exist yet; mnist() expects the tiny arrays."""
    folder = tmp_path / "cache" / "mnist"
    use_tiny_mnist(monkeypatch, folder)
    return folder


@pytest.mark.parametrize("pattern", ["{}", "{}.gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_file_names(cache, tmp_path, pattern, dotted):
    write_files(tmp_path, pattern)
    if dotted:
        for file in tmp_path.glob("*-ubyte*"):
            file.rename(tmp_path / file.name.replace("-idx", ".idx"))
    assert_tiny(mnist(tmp_path))
    assert_tiny(mnist(str(tmp_path), download=False))


def test_order_of_the_places(cache, tmp_path, monkeypatch):
    for place in ("argument", "environment"):
        write_files(tmp_path / place)
    write_files(cache, without=[NAME])
    with pytest.raises(DataUnavailable, match=str(cache)):
        mnist(download=False)
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "environment"))
    assert_tiny(mnist(download=False))
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "nowhere"))
    assert_tiny(mnist(tmp_path / "argument"))
    monkeypatch.setenv("FASTCONV_DATA", "")
    with pytest.raises(DataUnavailable, match=str(cache)):
        mnist(download=False)


@pytest.mark.parametrize("by_argument", [True, False])
def test_a_named_folder_is_never_downloaded_into(cache, tmp_path, monkeypatch, by_argument):
    monkeypatch.setattr(
        mnist_files, "download_file", lambda *_: pytest.fail("a download was tried")
    )
    folder = tmp_path / "mine"
    write_files(folder, without=[NAME, "t10k-labels-idx1-ubyte"])
    if not by_argument:
        monkeypatch.setenv("FASTCONV_DATA", str(folder))
    with pytest.raises(DataUnavailable) as caught:
        mnist(folder if by_argument else None)
    message = str(caught.value)
    assert f"{folder} lacks {NAME}, t10k-labels-idx1-ubyte;" in message
    assert "--data DIR" in message
    assert "FASTCONV_DATA" in message
    assert "\n" not in message
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    "name, array, message",
    [
        (NAME, ARRAYS[NAME][:4], r"\(5, 28, 28\), found uint8 of shape \(4, 28, 28\)"),
        (NAME, ARRAYS[NAME].astype("i2"), r"uint8 of shape \(5, 28, 28\), found int16"),
        ("t10k-labels-idx1-ubyte", np.array([2, 10, 0], "u1"), "labels 0 to 9, found 10"),
    ],
)
def test_unfit_file(cache, tmp_path, name, array, message):
    write_files(tmp_path)
    (tmp_path / name).write_bytes(idx_bytes(array))
    with pytest.raises(ValueError, match=message) as caught:
        mnist(tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def test_cache_folder(monkeypatch):
    platformdirs = pytest.importorskip("platformdirs")
    assert mnist_files._cache_folder() == Path(
        platformdirs.user_cache_dir("fastconv", False), "mnist"
    )
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.join("some", "where"))
    assert mnist_files._cache_folder() == Path("some", "where", "fastconv", "mnist")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    assert mnist_files._cache_folder() == Path.home() / ".cache" / "fastconv" / "mnist"


@pytest.mark.mnist
def test_real_mnist():
    if not os.environ.get("FASTCONV_DATA"):
        pytest.skip("FASTCONV_DATA does not name a folder with the real MNIST")
    real = mnist()
    contents = [idx_bytes(array) for array in real]
    assert [hashlib.md5(content).hexdigest() for content in contents] == [
        file.md5 for file in mnist_files.MNIST_FILES.values()
    ]
    assert real.train_labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(real.train_labels).tolist() == counts


def test_names_of_the_package():
    """The functions are not hidden by submodules, and an error has the name it is caught by."""
    for name in data.__all__:
        assert callable(getattr(data, name))
    assert f"{DataUnavailable.__module__}.{DataUnavailable.__qualname__}" == (
        "fastconv.data.DataUnavailable"
    )


def test_fastconv_alone_loads_no_data():
    """The network modules cost time that a convolution does not need."""
    code = "import sys, fastconv; print([name for name in sys.modules if 'fastconv.data' in name])"
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
