"""Tests of the CUDA engine: what needs no device stands here, the others in `device`."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

# Kernels are not even compiled without the package.
if importlib.util.find_spec("numba_cuda") is None:
    collect_ignore = [
        *(f"test_{name}.py" for name in ("lowering", "choice", "ptx", "simulator")),
        "ptx_device.py",
    ]
