"""What is published, in environments of its own: wheel and sdist, oldest versions, other Pythons.

``python -m tests.reliability.supply wheel|sdist|oldest|interpreters``; needs a package index that
pip knows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .processes import ROOT

CALLS, SECONDS = 300, 10
PYTHONS = ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "python3.14t")
SMOKE = """
import json, sys
import numpy as np, numba, scipy, fastconv
from fastconv import nn
x, w = np.arange(64.0).reshape(1, 1, 8, 8), np.ones((2, 1, 3, 3))
assert fastconv.conv2d(x, w)[0, 0, 0, 0] == x[0, 0, :3, :3].sum()
assert fastconv.grad.conv2d_weight(x, w.shape, np.ones((1, 2, 6, 6))).sum() == 2 * 9 * x[
    0, 0, 1:7, 1:7
].mean() * 36
assert fastconv.max_pool2d(x, 2)[0, 0, 3, 3] == 63
assert nn.Linear(4, 2)(np.ones((3, 4), np.float32)).shape == (3, 2)
found = {m.__name__: m.__version__ for m in (np, numba, scipy)}
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    found["global lock"] = "off"
print(json.dumps(found | {"fastconv": fastconv.__file__}))
"""


def _environment(folder: Path, *packages: str, base: str = sys.executable) -> Path:
    """Python of a new environment of `base` with these packages."""
    subprocess.run([base, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", *packages]
    subprocess.run(pip, check=True, stdout=subprocess.DEVNULL)
    return python


def _smoke(python: Path, folder: Path) -> dict[str, str]:
    """Versions found by a program that convolves, away from this repository."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUMBA"))}
    environment["FASTCONV_CACHE_DIR"] = str(folder / "cache")
    done = subprocess.run(
        [str(python), "-c", SMOKE], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    assert str(folder) in found.pop("fastconv")
    return found


def build(kind: str, folder: Path) -> Path:
    """The wheel or the sdist."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


def contents(wheel: Path) -> dict[str, Any]:
    """That it is pure Python, and how large."""
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    code = [n for n in names if ".dist-info/" not in n]
    strangers = [n for n in code if not n.endswith((".py", "py.typed")) or "test" in n]
    assert not strangers and all(n.startswith("fastconv/") for n in code), strangers
    size = wheel.stat().st_size
    assert size < 500_000, size
    return {"files": len(names), "KiB": round(size / 1024)}


def published(kind: str) -> dict[str, Any]:
    """Build, install in an empty environment, convolve."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = build(kind, folder)
        facts = contents(made) if kind == "wheel" else {"KiB": round(made.stat().st_size / 1024)}
        return {**facts, **_smoke(_environment(folder / "environment", str(made)), folder)}


def lower_bounds() -> list[str]:
    """The oldest versions that pyproject.toml allows, as requirements."""
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"^dependencies = (\[.*\])$", text, re.MULTILINE)
    assert found is not None
    return [re.sub(r">=(\d+\.\d+)$", r"==\1.*", name) for name in json.loads(found.group(1))]


def _tried(*packages: str, base: str = sys.executable) -> dict[str, Any]:
    """The wheel beside these packages: a smoke test, random calls, 16 threads for a while."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build("wheel", folder)
        python = _environment(folder / "environment", *packages, str(wheel), base=base)
        found = _smoke(python, folder)
        environment = {
            **os.environ,
            "FASTCONV_CACHE_DIR": str(folder / "cache"),
            "PYTHONPATH": str(ROOT / "tests"),
        }
        for program in (
            ("tests.fuzz", "--json", f"--calls={CALLS}"),
            ("tests.reliability.threads", f"--seconds={SECONDS}"),
        ):
            done = subprocess.run(
                [str(python), "-m", *program],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["wrong"] == [], done.stdout
        return {**found, "random calls": CALLS, "seconds of 16 threads": SECONDS}


def oldest() -> dict[str, Any]:
    """The oldest dependencies."""
    return _tried(*lower_bounds())


def interpreters() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every other Python that can be found, by its name."""
    this = "python{}.{}".format(*sys.version_info)
    for name in PYTHONS:
        base = shutil.which(name)
        if base is not None and name != this:
            yield name, _tried(base=base)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    given = {
        "wheel": partial(published, "wheel"),
        "sdist": partial(published, "sdist"),
        "oldest": oldest,
        "interpreters": lambda: dict(interpreters()),
    }
    parser.add_argument("what", choices=list(given))
    print(json.dumps(given[parser.parse_args().what]()))
