"""The long runs of `reliability`, for a moment: caches, files, memory."""

import importlib.util
import os

import numpy as np
import pytest
from reliability import caches, files
from reliability.processes import run

import fastconv
from fastconv import nn

# Those that `test_compilation` does not have already.
OFTEN = (
    "the disk is full",
    "another version of fastconv",
    "a package in a zip archive",
    "three processes compile at once",
)


@pytest.mark.skipif(os.name != "posix", reason="needs /proc or limits of files")
@pytest.mark.parametrize(
    "name",
    [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in caches.FAULTS],
)
def test_a_compile_cache_that_fails(name):
    assert caches.outcome(name).startswith("right")


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_process_leaves_a_whole_file():
    found = files.killed(5)
    assert found["kills"] == 5 and found["different files"] >= 1


@pytest.mark.parametrize(("reader", "count"), [("idx", 3000), ("safetensors", 500)])
def test_damaged_files_are_read_or_refused(reader, count):
    assert files.mutations(reader, count, seed=1) == count


@pytest.mark.slow
@pytest.mark.parametrize("reader", list(files.READERS))
def test_files_guided_by_coverage(reader):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("needs atheris")
    found = files.guided(reader, 20)
    assert found["fault"] == "" and found["runs"] > 1000


def test_a_safetensors_file_cannot_name_a_place(tmp_path):
    """Names of arrays are names of parameters, never paths; nothing is unpickled."""
    import safetensors.numpy

    layer = nn.Linear(2, 1)
    path = tmp_path / "evil.safetensors"
    safetensors.numpy.save_file({"../../evil": np.zeros(1, np.float32)}, path)
    with pytest.raises(ValueError, match=r"unexpected: \.\./\.\./evil"):
        layer.load(path)
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch evil'\ntR.")
    with pytest.raises(ValueError, match="cannot be read as a safetensors file"):
        layer.load(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_does_not_grow_with_calls():
    found = run("-m", "tests.reliability.endurance", "leak", "--calls", "6000").said
    assert found["after"] - found["before"] < 20_000  # KiB; a leak of each array would be 200 MB


@pytest.mark.slow
def test_a_hundred_thousand_calls():
    found = run("-m", "tests.reliability.endurance", "leak").said
    assert found["after"] - found["before"] < 20_000


@pytest.mark.slow
def test_arrays_of_more_elements_than_32_bits_count():
    assert len(run("-m", "tests.reliability.endurance", "big").said["done"]) == 6


def test_what_is_remembered_is_bounded():
    """3,000 shapes do not leave 3,000 plans behind."""
    from fastconv import remembered
    from fastconv.calls import calls
    from fastconv.choose import _plan

    w = np.ones((1, 1, 2))
    for size in range(3, 3003):
        fastconv.conv1d(np.zeros((1, 1, size)), w)
    assert len(calls) <= remembered.MOST == 1024
    assert _plan.cache_info().currsize <= _plan.cache_info().maxsize == 512
