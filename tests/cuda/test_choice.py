"""Choices for devices that are not there, and what is said where nothing can run."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastconv
from fastconv.cuda import backend, choose, machine, tiles
from fastconv.geometry import ConvGeometry

if backend.SIMULATED:
    pytest.skip("the simulator has tiles of its own", allow_module_level=True)

DEVICES = (machine.T4, machine.A100, machine.H200)
every_device = pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)


def decide(device, x, w, dtype="float32", operation="forward", algorithm="auto", **options):
    geometry = ConvGeometry.forward("test", len(w) - 2, x, w, **options)
    with machine.pretend(device):
        return choose.plan_conv("test", geometry, np.dtype(dtype), operation, algorithm=algorithm)


@every_device
@pytest.mark.parametrize("operation", ["forward", "input_gradient", "weight_gradient"])
def test_depthwise_layers_are_narrow(device, operation):
    decision, _ = decide(
        device, (8, 64, 56, 56), (64, 1, 3, 3), padding=1, groups=64, operation=operation
    )
    assert decision.algorithm == "narrow"
    why = {v.algorithm: v.refusal or v.doubt for v in decision.verdicts}
    assert "filled by 1 channels" in why["direct"]


@every_device
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_layers_are_tiles(device, dtype):
    decision, engine = decide(device, (32, 64, 56, 56), (64, 64, 3, 3), dtype, padding=1)
    assert decision.algorithm == "direct"
    assert engine.tile in tiles.tiles(dtype)


def test_tensor_cores_are_asked_for():
    """TF32 only with permission; float16 without, as its products are exact in float32."""
    layer = ((32, 64, 56, 56), (128, 64, 3, 3))
    assert decide(machine.H200, *layer)[0].algorithm == "direct"
    with fastconv.precision("tf32"):
        assert decide(machine.H200, *layer)[0].algorithm == "tensor"
        assert decide(machine.H200, *layer, "float64")[0].algorithm == "direct"
        assert decide(machine.T4, *layer)[0].algorithm == "direct"
    assert decide(machine.H200, *layer, "float16")[0].algorithm == "tensor"


@pytest.mark.parametrize(
    ("device", "dtype", "operation", "reason"),
    [
        (machine.T4, "float32", "forward", "needs compute capability 8.0, not 7.5"),
        (machine.H200, "float64", "forward", "multiply float16 and TF32, not float64"),
        (machine.H200, "float32", "weight_gradient", "has no weight gradient"),
    ],
)
def test_refusals_say_why(device, dtype, operation, reason):
    with pytest.raises(ValueError, match=f"test: algorithm 'tensor': .*{reason}"):
        decide(device, (1, 4, 8, 8), (4, 4, 3, 3), dtype, operation, "tensor")


def test_unknown_algorithm():
    with pytest.raises(ValueError, match=r"one of .*'narrow'.*, not 'winograd_f4'"):
        decide(machine.H200, (1, 4, 8, 8), (4, 4, 3, 3), algorithm="winograd_f4")


def test_small_problems_take_small_tiles():
    """A last layer of 7 x 7 pixels would leave most multiprocessors idle with large ones."""
    large = tiles.choose_tile("float32", 32 * 112 * 112, 256, 576, 1, machine.H200)
    small = tiles.choose_tile("float32", 4 * 7 * 7, 512, 4608, 1, machine.H200)
    assert large.pixels * large.channels > small.pixels * small.channels


@every_device
def test_residence(device):
    """By registers, shared memory, and threads."""
    assert device.blocks(256, 128, 0) == 65536 // 128 // 256
    assert device.blocks(64, 32, device.block_shared_bytes) == device.shared_bytes // 50176
    assert device.blocks(1024, 16, 0) == device.threads // 1024


def test_explained():
    decision, _ = decide(machine.H200, (8, 64, 56, 56), (64, 64, 3, 3))
    lines = decision.table().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("->")] == ["direct"]


# --- Where nothing can run ---


class Fake:
    """An array on some device."""

    __cuda_array_interface__ = {  # noqa: RUF012
        "shape": (1, 1, 3, 3),
        "typestr": "<f4",
        "data": (1 << 20, False),
        "version": 3,
    }


@pytest.mark.skipif(backend.why_off() is None, reason="a GPU is there")
def test_without_a_gpu():
    with pytest.raises(RuntimeError, match="CUDA is off: "):
        fastconv.to_device(np.ones(3))
    with pytest.raises(RuntimeError, match="CUDA is off: "):
        fastconv.conv2d(Fake(), Fake())
    assert "off: " in fastconv.show_config()


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_touches_no_cuda():
    code = """
import sys, fastconv, fastconv.nn, fastconv.functional, fastconv.grad
import numpy as np
fastconv.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))
heavy = ("numba.cuda.cudadrv", "cuda", "fastconv.cuda")
print([name for name in sys.modules if name.startswith(heavy)])
"""
    assert run(code).strip() == "[]"


def test_a_package_that_is_not_there():
    code = """
import fastconv, numpy as np
from fastconv.cuda import backend
print(backend.status())
try:
    fastconv.to_device(np.ones(3))
except RuntimeError as error:
    print(error)
"""
    shown = run(code, FASTCONV_CUDA_BACKEND="numba-cuda-mlir").splitlines()
    if backend.importlib.util.find_spec("numba_cuda_mlir") is None:
        reason = 'numba-cuda-mlir is not installed: pip install "fastconv[cuda]"'
        assert shown == [f"off: {reason}", f"CUDA is off: {reason}"]
    shown = run(code, FASTCONV_CUDA_BACKEND="other").splitlines()
    assert "must be one of" in shown[0] and shown[1].startswith("CUDA is off: ")


def test_host_and_device_are_not_mixed():
    """Said before anything runs, whichever comes first."""
    x, w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(TypeError, match=r"conv2d: weight is on the device and .* on the host"):
        fastconv.conv2d(x, Fake())
    with pytest.raises(TypeError, match=r"conv2d: bias is on the device and .* on the host"):
        fastconv.conv2d(x, w, Fake())
