"""The thin seam to Numba's CUDA package: nothing else imports it.

There are two such packages with one interface, numba-cuda and its successor numba-cuda-mlir
(``FASTCONV_CUDA_BACKEND=numba-cuda-mlir``). Kernels keep to what both know. The extension interface
that `ptx` emits instructions through is numba-cuda's only; without it, and in the simulator,
`intrinsic` is None and plain Python takes its place.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

PACKAGES = {"numba-cuda": "numba_cuda", "numba-cuda-mlir": "numba_cuda_mlir"}
INSTALL = 'pip install "fastconv[cuda]"'


def _load() -> tuple[Any, Any, bool, str | None]:
    """The CUDA module, its `intrinsic`, whether it is the simulator, and why there is none."""
    name = os.environ.get("FASTCONV_CUDA_BACKEND", "numba-cuda")
    if name not in PACKAGES:
        return None, None, False, f"FASTCONV_CUDA_BACKEND must be one of {[*PACKAGES]}, not {name}"
    if importlib.util.find_spec(PACKAGES[name]) is None:
        return None, None, False, f"{name} is not installed: {INSTALL}"
    try:
        if name == "numba-cuda-mlir":
            module = importlib.import_module("numba_cuda_mlir").cuda
            return module, None, False, None
        module = importlib.import_module("numba.cuda")
        simulated = bool(importlib.import_module("numba").config.ENABLE_CUDASIM)
        if simulated:
            return module, None, True, None
        extending = importlib.import_module("numba.cuda.extending")
        return module, extending.intrinsic, False, None
    except Exception as error:  # versions that do not go together fail in any way
        return None, None, False, f"{name} cannot be imported: {type(error).__name__}: {error}"


cuda, intrinsic, SIMULATED, _failure = _load()


def why_off() -> str | None:
    """Why no array can be put on a device; None if one can."""
    if cuda is None:
        return _failure
    if SIMULATED or cuda.is_available():
        return None
    try:
        problem = cuda.cuda_error() or "the driver finds no device"
    except Exception as error:
        problem = error
    return " ".join(str(problem).split())


def require_package() -> None:
    """RuntimeError, with the reason, if kernels cannot even be compiled."""
    if cuda is None:
        raise RuntimeError(f"CUDA is off: {_failure}")


def require_device() -> None:
    """RuntimeError, with the reason, if kernels cannot be run."""
    reason = why_off()
    if reason is not None:
        raise RuntimeError(f"CUDA is off: {reason}")


def status() -> str:
    """The device, or why CUDA is off."""
    reason = why_off()
    if reason is not None:
        return f"off: {reason}"
    if SIMULATED:
        return "simulated (NUMBA_ENABLE_CUDASIM)"
    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    major, minor = device.compute_capability
    return f"{name}, compute capability {major}.{minor}, {device.MULTIPROCESSOR_COUNT} SMs"


# --- Memory ---


def new_memory(size: int) -> Any:
    """`size` bytes of device memory, uninitialised; poisoned in the simulator."""
    if SIMULATED:  # 0xFF: NaN in every floating-point type
        block = np.full(size + 256, 0xFF, np.uint8)
        return block[-block.ctypes.data % 256 :][:size]
    return cuda.device_array(size, np.uint8)


def address_of(memory: Any) -> int:
    """Where memory that `new_memory` gave begins."""
    if SIMULATED:
        return int(memory.ctypes.data)
    return int(memory.__cuda_array_interface__["data"][0])


def memory_at(address: int, size: int, owner: Any = None) -> Any:
    """The bytes at an address, as an array of the kind that `new_memory` gives."""
    if SIMULATED:  # its device is the host
        if not size:
            return np.empty(0, np.uint8)
        cells: Any = (ctypes.c_char * size).from_address(address)
        return np.frombuffer(cells, np.uint8)
    interface = {
        "shape": (size,),
        "strides": None,
        "typestr": "|u1",
        "data": (address, False),
        "version": 3,
    }
    return cuda.from_cuda_array_interface(interface, owner=owner, sync=False)


def copy_in(address: int, source: np.ndarray) -> None:
    """A dense host array to device memory, on the current stream."""
    if not source.nbytes:
        return
    flat = np.ascontiguousarray(source).reshape(-1).view(np.uint8)
    memory = memory_at(address, source.nbytes)
    if SIMULATED:
        memory[...] = flat
    else:
        memory.copy_to_device(flat, stream=_stream)


def copy_out(address: int, target: np.ndarray) -> None:
    """Device memory to a C-contiguous host array; returns when it is there."""
    if not target.nbytes:
        return
    flat = target.reshape(-1).view(np.uint8)
    memory = memory_at(address, target.nbytes)
    if SIMULATED:
        flat[...] = memory
    else:
        memory.copy_to_host(flat, stream=_stream)
        synchronize()


def synchronize() -> None:
    """Wait for the current stream."""
    if not SIMULATED:
        (cuda.default_stream() if _stream == 0 else _stream).synchronize()


# --- Streams ---

_stream: Any = 0  # the default stream, which waits for the others


def current_stream() -> Any:
    """The stream on which kernels are launched."""
    return _stream


def stream_address(stream: Any) -> int:
    """A stream as `__cuda_array_interface__` names it: 1 is the default one."""
    if stream == 0 or SIMULATED:
        return 1
    handle = stream.handle
    return int(getattr(handle, "value", handle) or 1)


@contextlib.contextmanager
def use_stream(stream: Any) -> Iterator[None]:
    """Launch on `stream` within a ``with`` block.

    Parameters
    ----------
    stream : stream of Numba, CuPy (`ptr`) or PyTorch (`cuda_stream`), or its address as an int
    """
    global _stream
    before = _stream
    address = getattr(stream, "ptr", getattr(stream, "cuda_stream", stream))
    _stream = cuda.external_stream(address) if isinstance(address, int) and address else stream
    if address == 0:
        _stream = 0
    try:
        yield
    finally:
        _stream = before


def wait_for(address: int | None) -> None:
    """Let the current stream wait for what was launched on the stream of that address."""
    if SIMULATED or not address or address == stream_address(_stream):
        return
    event = cuda.event(timing=False)
    event.record(0 if address == 1 else cuda.external_stream(address))
    event.wait(_stream)
