"""Users' functions that come from Numba's cache in another process, and after an upgrade."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fastconv
from fastconv.cpu.compile import cache_folder
from fastconv.jit import table

PACKAGE = Path(fastconv.__file__).parent
EXAMPLES = PACKAGE.parent / "examples"

USER = """
import time
import numba, numpy as np, fastconv

@numba.njit(cache=True)
def net(x, w):
    y = fastconv.conv2d(x, w, padding=1, activation="relu6")
    return fastconv.max_pool2d(y, 2)

begun = time.process_time()
x, w = np.full((1, 2, 4, 4), 3, np.float32), np.ones((3, 2, 3, 3), np.float32)
print(net(x, w)[0, 0, 0, 0], sum(net.stats.cache_hits.values()), time.process_time() - begun)
"""


def run(folder, package, whole=False):
    """Run the user's program against a package: the words that it prints, and its errors.

    If `whole`, also all that it prints.
    """
    environment = dict(os.environ, PYTHONPATH=str(package), NUMBA_CACHE_DIR=str(folder / "numba"))
    environment["FASTCONV_CACHE_DIR"] = str(cache_folder().parent)
    command = [sys.executable, str(folder / "user.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170)
    return (done.stdout.split(), done.stderr, *([done.stdout] if whole else []))


def test_cached_functions(tmp_path):
    """A second process starts from the cache; after an upgrade it runs the new kernels.

    If calls themselves have come to look different, the function says so instead.
    """
    (tmp_path / "user.py").write_text(USER)
    (value, hits, _), _ = run(tmp_path, PACKAGE.parent)
    assert (value, hits) == ("6.0", "0")
    (value, hits, seconds), _ = run(tmp_path, PACKAGE.parent)
    assert (value, hits) == ("6.0", "1")
    assert float(seconds) < 5  # about 0.2 on an idle machine

    upgraded = tmp_path / "site"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, upgraded / "fastconv", ignore=ignored)
    source = upgraded / "fastconv" / "cpu" / "emit.py"
    old = "i64(TO_SIX)), 6, most)"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, old.replace(" 6,", " 4,")))
    (value, hits, _), _ = run(tmp_path, upgraded)
    assert (value, hits) == ("4.0", "1")

    site = upgraded / "fastconv" / "jit" / "site.py"
    site.write_text(site.read_text() + "\n# calls look different now\n")
    output, error = run(tmp_path, upgraded)
    assert not output
    assert "RuntimeError: this function was compiled and cached for another version" in error


FAILING = """
import numba, numpy as np, fastconv

@numba.njit(cache=True)
def inner(x, w, stride):
    return fastconv.conv2d(x, w, stride=stride)

@numba.njit(cache=True)
def outer(x, w, stride):
    return inner(x, w, stride)

@numba.njit(cache=True, parallel=True)
def loop(x, w, stride):
    found = np.zeros(len(x))
    for i in numba.prange(len(x)):
        found[i] = fastconv.conv2d(x[i], w, stride=stride)[0, 0, 0]
    return found

x, w = np.ones((9, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32)
numba.set_num_threads(1)  # Numba loses errors of other threads
for function in inner, outer, loop:
    function(x, w, 1)  # nor does it report all those of a first call
    try:
        function(x, w, 0)
    except (ValueError, SystemError) as error:
        said = error if function is not loop else error.__cause__  # Numba calls it its own error
        print(sum(function.stats.cache_hits.values()), type(said).__name__, said)
"""


def test_errors_of_cached_functions(tmp_path):
    """Type and text are those of Python, in the process that compiled and in the next one."""
    (tmp_path / "user.py").write_text(FAILING)
    for hits in "01":
        _, error, output = run(tmp_path, PACKAGE.parent, whole=True)
        said = f"{hits} ValueError conv2d: stride must be at least 1 and below 2**59, not 0"
        assert output.splitlines() == [said] * 3, error


LOST = """
import numba, numpy as np, fastconv

@numba.njit(parallel=True)
def loop(x, w):
    for i in numba.prange(len(x)):
        if i == len(x) - 1:
            fastconv.conv2d(x[i], w, stride=i - i)

loop(np.ones((9, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32))
"""


def test_errors_that_numba_loses_are_logged(tmp_path):
    """The last thread is none of Python's."""
    (tmp_path / "user.py").write_text(LOST)
    _, error = run(tmp_path, PACKAGE.parent)
    assert "in a thread of Numba's" in error
    assert "conv2d: stride must be at least 1 and below 2**59, not 0" in error


FUSED = """
import numba, numpy as np, fastconv

@numba.njit(cache=True)
def halved(a, offset):
    return a * np.float32(0.5) + offset

@numba.njit(cache=True)
def net(x, w, b):
    return fastconv.conv2d(x, w, epilogue=halved, epilogue_args=(b,))

x, w = np.full((1, 2, 4, 4), 3, np.float32), np.ones((3, 2, 3, 3), np.float32)
b = np.arange(3, dtype=np.float32)
compiled, python = net(x, w, b), fastconv.conv2d(x, w, epilogue=halved, epilogue_args=(b,))
assert (compiled == python).all()
print(compiled[0, 1, 0, 0], *(sum(f.stats.cache_hits.values()) for f in (net, halved)))
"""


def test_cached_functions_with_an_epilogue(tmp_path):
    """Both functions come from the cache, and the epilogue is looked at as if it were new."""
    (tmp_path / "user.py").write_text(FUSED)
    for hits in "01":
        output, error = run(tmp_path, PACKAGE.parent)
        assert output == ["28.0", hits, hits], error


def test_nothing_is_compiled_or_changed_by_importing():
    """And Numba programs without fastconv never hear of it."""
    code = (
        "import fastconv, sys; from fastconv.cpu.compile import KERNELS; "
        "assert not any(kernel.compilations for kernel in KERNELS); "
        "assert 'numba.cuda' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert "entry-points" not in (PACKAGE.parent / "pyproject.toml").read_text()


def test_examples():
    for name in ("numba_edges.py", "numba_lenet.py"):
        command = [sys.executable, str(EXAMPLES / name)]
        subprocess.run(command, check=True, timeout=170, stdout=subprocess.DEVNULL)


def test_the_stamp_covers_kernels_in_users_functions(tmp_path, monkeypatch):
    """Those of epilogues are compiled into them."""
    shutil.copytree(PACKAGE, tmp_path / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(table, "__file__", str(tmp_path / "fastconv" / "jit" / "table.py"))
    before = table.stamp.__wrapped__()
    assert before == table.stamp()
    fused = tmp_path / "fastconv" / "cpu" / "fused.py"
    fused.write_text(fused.read_text() + "\n# changed")
    assert table.stamp.__wrapped__() != before
