"""SciPy's own tests of its convolutions, with our functions in their place."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = ("scipy.signal.tests.test_signaltools", "scipy.signal.tests.test_bsplines")
TESTS = "Convolve or Correlate or sepfir or choose_conv"

# Test, and why it is not run.
LEFT_OUT = {
    "test_fft_nan": "wants a warning that a NaN has spread; ours stays in its windows",
    "test_sepfir2d_invalid_filter": "wants the text of an error of SciPy's C code; ours is other",
    "test_sepfir2d_invalid_image": "likewise",
}


def found(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_scipys_own_tests_pass(tmp_path):
    missing = [module for module in MODULES if not found(module)]
    if missing:
        pytest.skip(f"SciPy was installed without its tests ({', '.join(missing)})")
    path = [str(Path(__file__).parent), *sys.path]
    left_out = "".join(f" and not {name}" for name in LEFT_OUT)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--pyargs", *MODULES]
    command += ["-p", "scipy_suite", "-p", "no:cacheprovider", "-k", f"({TESTS}){left_out}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed > 300, done.stdout[-500:]
    counted = re.search(r"fastconv calls: (.*)", done.stdout)[1]
    calls = {name: int(count) for name, count in (c.split() for c in counted.split(", "))}
    names = {"choose_conv_method", "convolve", "convolve2d", "correlate", "correlate2d"}
    assert set(calls) == {*names, "fftconvolve", "oaconvolve", "sepfir2d", "engine"}
    assert calls["engine"] > 500, calls


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_there(name):
    """So that the list does not outlive SciPy's tests."""
    if not all(map(found, MODULES)):
        pytest.skip("SciPy was installed without its tests")
    files = (importlib.util.find_spec(module).origin for module in MODULES)
    assert any(f"def {name}(" in Path(file).read_text(encoding="utf-8") for file in files)
