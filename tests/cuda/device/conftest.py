"""These tests need a device: a GPU, or what stands in for one.

`test_simulator.py` runs them in the simulator, with its small tiles, and as PTX;
``python -m pytest tests/cuda -m gpu`` on a GPU.
"""

import importlib.util
import os
import sys
import threading
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

HERE = Path(__file__).parent

# Kernels are not even compiled without the package.
collect_ignore_glob = [] if importlib.util.find_spec("numba_cuda") else ["test_*.py"]


# This one is about the machine.
if os.environ.get("FASTCONV_TEST_DEVICE") != "ptx":
    collect_ignore_glob.append("test_device_faults.py")


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


# What stands in for a GPU, besides the simulator: see `ptx_device` and `stand_in`.
PLACE = os.environ.get("FASTCONV_TEST_DEVICE")
NOTES = None
if PLACE == "ptx":
    import ptx_device

    ptx_device.install()
elif PLACE == "driver":
    import stand_in

    NOTES = stand_in.install()

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


@pytest.fixture
def notes():
    """What the driver's stand-in is asked from now on; None if it is not there."""
    if NOTES is not None:
        NOTES.clear()
    return NOTES
