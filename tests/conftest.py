"""What every test session shares: threads enough to differ, and reproducible random tests."""

import os
import sys
from pathlib import Path

from hypothesis import settings

# Three threads share out work unevenly, and a machine of one core would not start any.
os.environ.setdefault("NUMBA_NUM_THREADS", "3")

# The case lists of `benchmarks` are tested too, also where pytest is not started as a module.
sys.path.insert(0, str(Path(__file__).parent.parent))

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
