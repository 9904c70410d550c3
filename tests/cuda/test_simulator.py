"""The tests of `device` where no GPU is: in the simulator, as PTX, and on the driver's stand-in.

Each run is a process of its own, as the simulator must be on before Numba is imported; two of them
run at a time.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stand_in

DEVICE = Path(__file__).parent / "device"
COMPILER = shutil.which("cc") or shutil.which("gcc")

# The longest first.
FILES = ("convolution", "network", "pooling", "folding", "benchmark", "bad_inputs", "streams")
# Of each kind of kernel some, with the tiles, vectors and warps that the simulator has not.
KERNELS = (
    "test_device_faults.py or test_tensor_cores or test_a_users_function or test_unpooling"
    " or test_arrays_that_run_backwards or test_bias_gradient"
    " or test_every_algorithm and direct and (three or five)"
)
HOST = "test_device_streams.py or test_linear_and or test_it_runs"


def run(chosen, **environment):
    """The chosen tests, none of which may be skipped."""
    command = [sys.executable, "-m", "pytest", "-v", "-x", "-p", "no:cacheprovider", *chosen]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By their names all runs, which have begun."""
    with ThreadPoolExecutor(2) as pool:
        started = {
            name: pool.submit(
                run, [str(DEVICE / f"test_device_{name}.py")], NUMBA_ENABLE_CUDASIM="1"
            )
            for name in FILES
        }
        started["ptx"] = pool.submit(run, [str(DEVICE), "-k", KERNELS], FASTCONV_TEST_DEVICE="ptx")
        if COMPILER is not None:
            folder = tmp_path_factory.mktemp("driver")
            stand_in.build(folder, COMPILER)
            places = {"FASTCONV_TEST_DEVICE": "driver", "LD_LIBRARY_PATH": str(folder)}
            started["driver"] = pool.submit(run, [str(DEVICE), "-k", HOST], **places)
        yield started
        for each in started.values():
            each.cancel()


def check(done):
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout), done.stdout
    assert "skipped" not in done.stdout, done.stdout


def test_every_file_is_run():
    names = {path.stem.removeprefix("test_device_") for path in DEVICE.glob("test_*.py")}
    assert names == {*FILES, "faults"}


@pytest.mark.parametrize("file", FILES)
def test_in_the_simulator(file, runs):
    """Every kernel, on tiny sizes."""
    check(runs[file].result())


def test_kernels_as_ptx(runs):
    """Exact results, every access checked, no race: see `ptx_machine`."""
    check(runs["ptx"].result())


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
def test_host_code_with_the_drivers_stand_in(runs):
    """What the package makes of launches, memory, streams and events."""
    check(runs["driver"].result())
