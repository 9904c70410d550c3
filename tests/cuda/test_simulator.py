"""The tests of `device` in Numba's simulator, which must be on before Numba is imported."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEVICE = Path(__file__).parent / "device"


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
@pytest.mark.parametrize("file", sorted(path.name for path in DEVICE.glob("test_*.py")))
def test_in_the_simulator(file):
    """Every kernel, on tiny sizes; no test is skipped."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "pytest", "-v", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(DEVICE / file)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout), done.stdout
    assert "skipped" not in done.stdout, done.stdout
