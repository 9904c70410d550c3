"""Users' functions that come from Numba's cache in another process, and after an upgrade."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv
from fastconv.cpu.compile import cache_folder

PACKAGE = Path(fastconv.__file__).parent
EXAMPLES = PACKAGE.parent / "examples"

USER = """
import time
import numba, numpy as np, fastconv

@numba.njit(cache=True)
def net(x, w):
    y = fastconv.conv2d(x, w, padding=1, activation="relu6")
    return fastconv.max_pool2d(y, 2)

begun = time.perf_counter()
x, w = np.full((1, 2, 4, 4), 3, np.float32), np.ones((3, 2, 3, 3), np.float32)
print(net(x, w)[0, 0, 0, 0], sum(net.stats.cache_hits.values()), time.perf_counter() - begun)
"""


def run(folder, package):
    """Run the user's program against a package: its output or error, and whether it was cached."""
    environment = dict(os.environ, PYTHONPATH=str(package), NUMBA_CACHE_DIR=str(folder / "numba"))
    environment["FASTCONV_CACHE_DIR"] = str(cache_folder().parent)
    command = [sys.executable, str(folder / "user.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170)
    return done.stdout.split(), done.stderr


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
    source = upgraded / "fastconv" / "cpu" / "activation.py"
    old = "_clip(load(element, values, i), 6))"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, old.replace("6", "4")))
    (value, hits, _), _ = run(tmp_path, upgraded)
    assert (value, hits) == ("4.0", "1")

    site = upgraded / "fastconv" / "jit" / "site.py"
    site.write_text(site.read_text() + "\n# calls look different now\n")
    output, error = run(tmp_path, upgraded)
    assert not output
    assert "RuntimeError" in error
    if "compiled and cached for another version" not in error:
        # Numba cannot make the arguments of an exception in a function that comes from its cache.
        pytest.xfail("errors of cached functions lose their text in another process")


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
