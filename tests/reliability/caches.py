"""Every way in which the compile cache can fail: the result is right, and a log line says why.

``python -m tests.reliability.caches`` tries them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .processes import ROOT, Ended, run

PROGRAM = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="LOG %(name)s %(message)s")
import numpy as np
{before}
import fastconv
from fastconv.cpu import compile as compiling, pack
values, places = np.ones((1, 1, 2)), np.array([[[0, 3]]])
right = fastconv.max_unpool1d(values, places, 2).tolist() == [[[1, 0, 0, 1]]]
right &= fastconv.max_unpool1d(values.astype("f4"), places, 2).tolist() == [[[1, 0, 0, 1]]]
hits = sum(code.cache_hits for kernel in compiling.KERNELS for code in kernel._compiled.values())
print(json.dumps([right, hits, str(compiling.cache_folder())]))
"""


def call(before: str = "", **environment: str | None) -> Ended:
    """Two kernels in a process of their own: (right, cache hits, folder)."""
    return run("-c", PROGRAM.format(before=before), **environment)


def log(ended: Ended) -> list[str]:
    """What fastconv logged."""
    return [line for line in ended.errors.splitlines() if line.startswith("LOG fastconv")]


def _nowhere(folder: Path) -> Ended:
    return call(FASTCONV_CACHE_DIR="/proc/fastconv")


def _no_home(folder: Path) -> Ended:
    """HOME and the cache folder below it cannot be made; the temporary folder takes its place."""
    nowhere = {"HOME": "/proc/home", "XDG_CACHE_HOME": None, "FASTCONV_CACHE_DIR": None}
    return call(TMPDIR=str(folder), **nowhere)


def _unset_home(folder: Path) -> Ended:
    unset = {"HOME": None, "XDG_CACHE_HOME": str(folder), "FASTCONV_CACHE_DIR": None}
    return call(**unset)


def _full_disk(folder: Path) -> Ended:
    before = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    before += "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    return call(before, FASTCONV_CACHE_DIR=str(folder))


def _damaged(content: Callable[[bytes], bytes], pattern: str) -> Callable[[Path], Ended]:
    def spoil(folder: Path) -> Ended:
        assert call(FASTCONV_CACHE_DIR=str(folder)).said[:2] == [True, 0]
        for path in folder.rglob(pattern):
            path.write_bytes(content(path.read_bytes()))
        ended = call(FASTCONV_CACHE_DIR=str(folder))
        again = call(FASTCONV_CACHE_DIR=str(folder))
        assert again.said[:2] == [True, 2] and not log(again), again
        return ended

    return spoil


def _another_cpu(folder: Path) -> Ended:
    """Code for one CPU is not run on another, and is still there for the first."""
    assert call(FASTCONV_CACHE_DIR=str(folder)).said[:2] == [True, 0]
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    ended = call(FASTCONV_CACHE_DIR=str(folder), **generic)
    assert ended.said[1] == 0
    assert call(FASTCONV_CACHE_DIR=str(folder)).said[1] == 2
    assert call(FASTCONV_CACHE_DIR=str(folder), **generic).said[1] == 2
    return ended


def _copy(folder: Path) -> Path:
    shutil.copytree(
        ROOT / "fastconv", folder / "fastconv", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder / "fastconv"


def _elsewhere(place: Path, **environment: str) -> Ended:
    """The program with the package of another place."""
    before = f"sys.path.insert(0, {str(place)!r})"
    return call(before, **environment)


def _upgraded(folder: Path) -> Ended:
    """Another version has another cache."""
    assert call(FASTCONV_CACHE_DIR=str(folder / "cache")).said[:2] == [True, 0]
    package = _copy(folder)
    (package / "_version.py").write_text('__version__ = "99.0"\n')
    ended = _elsewhere(folder, FASTCONV_CACHE_DIR=str(folder / "cache"))
    assert ended.said[1] == 0 and "99.0-" in ended.said[2], ended
    assert call(FASTCONV_CACHE_DIR=str(folder / "cache")).said[1] == 2
    return ended


def _read_only_package(folder: Path) -> Ended:
    """Nothing is ever written beside the sources."""
    package = _copy(folder)
    before = sorted(package.rglob("*"))
    settings = {"FASTCONV_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    for path in [*before, package]:
        path.chmod(path.stat().st_mode & ~0o222)
    ended = _elsewhere(folder, **settings)
    assert sorted(package.rglob("*")) == before
    return ended


def _zipped(folder: Path) -> Ended:
    """Sources in an archive cannot be hashed as files: no cache."""
    package = _copy(folder / "copy")
    with zipfile.ZipFile(folder / "fastconv.zip", "w") as archive:
        for path in package.rglob("*.py"):
            archive.write(path, path.relative_to(package.parent))
    return _elsewhere(folder / "fastconv.zip", FASTCONV_CACHE_DIR=str(folder / "cache"))


def _at_once(folder: Path) -> Ended:
    """Three processes that compile the same."""
    environment = {**os.environ, "FASTCONV_CACHE_DIR": str(folder)}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", PROGRAM.format(before="")]
    others: list[Any] = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = call(FASTCONV_CACHE_DIR=str(folder))
    for other in others:
        said = other.communicate()[0]
        assert other.returncode == 0 and said.startswith("[true"), said
    assert call(FASTCONV_CACHE_DIR=str(folder)).said[1] == 2
    return ended


# Each with the number of log lines that it should give.
FAULTS: dict[str, tuple[Callable[[Path], Ended], int]] = {
    "no folder can be written": (_nowhere, 1),
    "the home folder cannot be written": (_no_home, 1),
    "there is no HOME": (_unset_home, 0),
    "the disk is full": (_full_disk, 1),
    "index files cut off": (_damaged(lambda b: b[: len(b) // 2], "*.nbi"), 2),
    "code files of garbage": (_damaged(lambda b: b"\x80garbage" * 9, "*.nbc"), 2),
    "empty code files": (_damaged(lambda b: b"", "*.nbc"), 2),
    "another CPU": (_another_cpu, 0),
    "another version of fastconv": (_upgraded, 0),
    "a package that is read-only": (_read_only_package, 0),
    "a package in a zip archive": (_zipped, 1),
    "three processes compile at once": (_at_once, 0),
}


def outcome(name: str) -> str:
    """What came of a fault; raises if that was not right."""
    fault, lines = FAULTS[name]
    with tempfile.TemporaryDirectory() as folder:
        ended = fault(Path(folder))
    assert ended.said[0], name
    said = log(ended)
    assert len(said) == lines, (name, said)
    return "right; " + (f"{lines} log line{'s' * (lines > 1)}" if lines else "nothing to say")


if __name__ == "__main__":
    for case in FAULTS:
        print(f"{case}: {outcome(case)}", flush=True)
