"""These tests need a device: a GPU, or the simulator with its small tiles and smaller cases.

`test_simulator.py` runs them in the simulator; ``python -m pytest tests/cuda -m gpu`` on a GPU.
"""

import importlib.util
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

HERE = Path(__file__).parent

# Kernels are not even compiled without the package.
collect_ignore_glob = [] if importlib.util.find_spec("numba_cuda") else ["test_*.py"]


def _off():
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    from fastconv.cuda import backend

    return backend.why_off()


def _simulated():
    if importlib.util.find_spec("numba_cuda") is None:
        return False
    from fastconv.cuda import backend

    return backend.SIMULATED


if _simulated():
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    # The simulator's threads are threads of the system that wait for each other.
    sys.setswitchinterval(1e-5)

    class OneAtATime(dict):
        """Shared arrays by their places in the code: whoever finds none holds the others up.

        The simulator looks for an array and keeps a new one in two steps, between which another
        thread would make one of its own.
        """

        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

        def get(self, place):
            self.lock.acquire()
            found = super().get(place)
            if found is not None:
                self.lock.release()
            return found

        def __setitem__(self, place, array):
            super().__setitem__(place, array)
            self.lock.release()

    begin = FakeCUDAShared.__init__

    def begin_safely(self, size):
        begin(self, size)
        self._allocations = OneAtATime()

    FakeCUDAShared.__init__ = begin_safely


def pytest_collection_modifyitems(items):
    reason = _off()
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.gpu)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def simulated():
    return _simulated()
