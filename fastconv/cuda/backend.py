"""The thin seam to Numba's CUDA package: nothing else imports it.

There are two such packages with one interface, numba-cuda and its successor numba-cuda-mlir
(``FASTCONV_CUDA_BACKEND=numba-cuda-mlir``). Kernels keep to what both know. The extension interface
that `ptx` emits instructions through is numba-cuda's only; without it, and in the simulator,
`intrinsic` is None and plain Python takes its place.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import importlib
import importlib.util
import os
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

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
    """A dense host array to device memory, on the current stream; returns when it was read."""
    if not source.nbytes:
        return
    flat = np.ascontiguousarray(source).reshape(-1).view(np.uint8)
    memory = memory_at(address, source.nbytes)
    if SIMULATED:
        memory[...] = flat
    else:
        memory.copy_to_device(flat, stream=current_stream().handle)
        if current_stream().handle:
            synchronize()


def copy_out(address: int, target: np.ndarray) -> None:
    """Device memory to a C-contiguous host array; returns when it is there."""
    if not target.nbytes:
        return
    flat = target.reshape(-1).view(np.uint8)
    memory = memory_at(address, target.nbytes)
    if SIMULATED:
        flat[...] = memory
    else:
        memory.copy_to_host(flat, stream=current_stream().handle)
        synchronize()


def synchronize() -> None:
    """Wait for the current stream."""
    if not SIMULATED:
        (current_stream().handle or cuda.default_stream()).synchronize()


# --- Streams ---


class Stream(NamedTuple):
    """A stream as Numba takes it (0 is the default one, which waits for most others).

    The address is that of `__cuda_array_interface__`, where 1 is the default stream; `owner` is the
    user's object, which keeps the stream alive.
    """

    handle: Any
    address: int
    owner: Any


DEFAULT = Stream(0, 1, None)
_stream = contextvars.ContextVar("fastconv_cuda_stream", default=DEFAULT)


def current_stream() -> Stream:
    """The stream on which this thread launches kernels."""
    return _stream.get()


@contextlib.contextmanager
def use_stream(stream: Any) -> Iterator[None]:
    """Launch on `stream` within a ``with`` block, in this thread.

    Arrays may be made on one stream and used on another: that one waits for the first.

    Parameters
    ----------
    stream : stream of Numba, CuPy (`ptr`) or PyTorch (`cuda_stream`), or its address as an int
        An address alone must stay valid as long as arrays that were made on the stream.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    address = getattr(stream, "ptr", getattr(stream, "cuda_stream", None))
    if address is None:
        address = 1 if SIMULATED else _as_address(stream)
    if address in (0, 1):
        token = _stream.set(Stream(0, 1, stream))
    else:
        token = _stream.set(Stream(cuda.external_stream(address), address, stream))
    try:
        yield
    finally:
        _stream.reset(token)


def _as_address(stream: Any) -> int:
    """The address of an integer or of one of Numba's streams."""
    handle = getattr(stream, "handle", stream)
    try:
        return int(getattr(handle, "value", handle) or 0)
    except (TypeError, ValueError):
        raise TypeError(
            "use_stream: stream must be one of Numba, CuPy or PyTorch, or its address, not "
            f"{type(stream).__name__}"
        ) from None


def wait_for(address: int | None) -> None:
    """Let the current stream wait for what was launched on the stream of that address."""
    stream = current_stream()
    if SIMULATED or not address or address == stream.address:
        return
    event = cuda.event(timing=False)
    event.record(0 if address == 1 else cuda.external_stream(address))
    event.wait(stream.handle)


# --- Launches ---

_lock = threading.Lock()


def configured(dispatcher: Any, grid: Any, threads: int) -> Any:
    """A kernel to be started with that many blocks and threads on the current stream.

    Small problems have few blocks: Numba's warning of that is for those who choose them.
    """
    launch = (grid, threads, current_stream().handle)
    config: Any = getattr(importlib.import_module(type(dispatcher).__module__), "config", None)
    if SIMULATED or not hasattr(config, "CUDA_LOW_OCCUPANCY_WARNINGS"):
        return dispatcher[launch]
    with _lock:
        before = config.CUDA_LOW_OCCUPANCY_WARNINGS
        config.CUDA_LOW_OCCUPANCY_WARNINGS = 0
        try:
            return dispatcher[launch]
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = before
