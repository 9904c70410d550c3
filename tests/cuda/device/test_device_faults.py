"""The PTX machine sees what a kernel must not do: kernels with a line changed do not pass.

Only where the machine stands in for the GPU; elsewhere this file is not collected.
"""

import numpy as np
import pytest
from ptx_machine import Fault

import fastconv
from fastconv.cuda import launch
from fastconv.cuda.arrays import DeviceArray


def change(monkeypatch, begins, old, new, count=1):
    """Compile kernels whose name begins so with some text changed."""
    plain = launch.Kernel.compile_ptx

    def compile_ptx(self, cc):
        text = plain(self, cc)
        if self.name.startswith(begins):
            assert old in text
            text = text.replace(old, new, count)
        return text

    monkeypatch.setattr(launch.Kernel, "compile_ptx", compile_ptx)


def forget():
    """Kernels are compiled anew."""
    from fastconv.cuda import depthwise, direct, gradients, pack, tensor

    makers = (direct.correlate, tensor.correlate_tensor, gradients.weight_partials)
    for maker in (*makers, depthwise.correlate_narrow, pack.pack):
        maker.cache_clear()


@pytest.fixture(autouse=True)
def anew():
    forget()
    yield
    forget()


def convolve(algorithm, dtype="float32"):
    x = np.ones((1, 24, 9, 8), dtype)
    w = np.ones((4, 24, 3, 3), dtype)
    return fastconv.conv2d(*map(fastconv.to_device, (x, w)), algorithm=algorithm)


@pytest.mark.parametrize(
    ("algorithm", "old", "new", "fault"),
    [
        ("tensor", "cp.async.wait_group 2", "cp.async.wait_group 3", "under an asynchronous copy"),
        ("tensor", "bar.sync \t0;", "", "just written"),
        ("tensor", "bar.sync \t0;", "", "of shared memory|just"),
        ("direct", "bar.sync \t0;", "", "another thread has just"),
        ("narrow", "st.global.f32", "st.global.f32 [%rd0], %f0; st.global.f32", "no memory"),
    ],
)
def test_a_changed_kernel_is_caught(monkeypatch, algorithm, old, new, fault):
    change(monkeypatch, algorithm, old, new, -1)
    with pytest.raises(Fault, match=fault):
        convolve(algorithm)


def test_fragments_have_their_places(monkeypatch):
    """Two registers of the left fragment exchanged give another result."""
    plain = launch.Kernel.compile_ptx

    def compile_ptx(self, cc):
        text = plain(self, cc)
        if not self.name.startswith("tensor"):
            return text
        import re

        return re.sub(r"(mma\.sync\S+\s*\{[^}]*\},\s*\{)(%r\d+), *(%r\d+)", r"\1\3, \2", text)

    monkeypatch.setattr(launch.Kernel, "compile_ptx", compile_ptx)
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (1, 8, 9, 8)).astype(np.float32)
    w = rng.integers(-4, 5, (4, 8, 3, 3)).astype(np.float32)
    found = fastconv.conv2d(*map(fastconv.to_device, (x, w)), algorithm="tensor")
    assert not np.array_equal(found.copy_to_host(), fastconv.conv2d(x, w))


def test_beyond_an_array():
    x = fastconv.to_device(np.ones((1, 2, 8), np.float32))
    longer = DeviceArray(x._owner, x.address, (1, 2, 64), (512, 256, 4), np.float32)
    with pytest.raises(Fault, match="no memory of"):
        fastconv.max_pool1d(longer, 2)


def test_deleted_memory():
    x = fastconv.to_device(np.ones((1, 2, 8), np.float32))
    lost = DeviceArray(None, x.address, x.shape, x.strides, np.float32)
    del x
    with pytest.raises(Fault, match="no memory of"):
        fastconv.max_pool1d(lost, 2)
