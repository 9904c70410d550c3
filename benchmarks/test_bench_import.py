"""pytest-benchmark: how long a new process takes to import fastconv, and to convolve once."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

PROGRAMS = {
    "python alone": "pass",
    "numpy": "import numpy",
    "numba": "import numba",
    "fastconv": "import fastconv",
    "first conv2d": (
        "import numpy as np, fastconv; "
        "fastconv.conv2d(np.ones((1, 3, 32, 32), np.float32), np.ones((8, 3, 3, 3), np.float32))"
    ),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_new_process(benchmark: Any, program: str) -> None:
    """Bytecode and compiled code are on the disk after the first round, which does not count."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}

    def run() -> None:
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
