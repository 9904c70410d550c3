"""Compiling kernels: on first use, once per element type, then from the disk cache.

A kernel is a Python function ``f(element, job, operands, begin, end, thread)`` that does the work
items ``begin .. end``. `element` is a null pointer whose type is the element type, so one source
serves every dtype; `job` and `operands` are addresses of int64 arrays: the numbers of the
problem, and the addresses of the arrays of this call. Every kernel has the same machine
signature, so one launcher starts them all, and shapes, strides and memory formats are data: a new
one never recompiles.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import caching, types
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from .._version import __version__

log = logging.getLogger("fastconv")

PACKAGE = Path(__file__).resolve().parent.parent
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# For the functions that kernels are made of; compiled with the kernel.
compiled = numba.njit(**OPTIONS)
# For large ones that are called once: Numba optimises the code of a callee once for itself and once
# more within every caller.
inlined = numba.njit(inline="always", **OPTIONS)


@functools.cache
def name_of(dtype: np.dtype[Any]) -> str:
    """`dtype.name`, which NumPy takes microseconds to make."""
    return dtype.name


@functools.cache
def source_stamp() -> str:
    """A hash of all that compiled code depends on: our version and sources, Numba's version.

    Numba notices only changes in the file of the function itself; a kernel is made of several
    files.
    """
    digest = hashlib.sha256(f"{__version__} {numba.__version__}".encode())
    for path in (
        PACKAGE / "geometry.py",
        PACKAGE / "machine.py",
        *sorted(PACKAGE.glob("cpu/*.py")),
    ):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:20]


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, or None if no folder can be written.

    ``FASTCONV_CACHE_DIR``, else the user's cache folder, else the temporary folder.
    """
    candidates = [Path(tempfile.gettempdir()) / f"fastconv-{getattr(os, 'getuid', lambda: 0)()}"]
    with suppress(RuntimeError):  # no home folder
        candidates.insert(0, _user_cache() / "fastconv")
    chosen = os.environ.get("FASTCONV_CACHE_DIR")
    for folder in [Path(chosen)] if chosen else candidates:
        try:
            target = folder / f"{__version__}-{source_stamp()}"
            target.mkdir(parents=True, exist_ok=True, mode=0o700)
            _refuse_foreign(folder)
            _refuse_foreign(target)
            tempfile.TemporaryFile(dir=target).close()
        except OSError as reason:
            log.info("no compile cache in %s: %s", folder, reason)
            continue
        return target
    return None


def _user_cache() -> Path:
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _refuse_foreign(folder: Path) -> None:
    """Cache files are unpickled and run, so nobody else may own their folder."""
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")


class _Locator(caching._CacheLocator):
    """One folder per state of our sources; Numba's own locators look at one file only."""

    def __init__(self, line: int) -> None:
        self._line = line

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return source_stamp()

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(py_func.__code__.co_firstlineno)


class _CacheImpl(caching.CompileResultCacheImpl):
    def __init__(self, py_func: Any) -> None:
        self._locator = _Locator.from_function(py_func, "")
        name = f"{py_func.__module__}.{py_func.__qualname__}"
        self._filename_base = self.get_filename_base(name, getattr(sys, "abiflags", ""))
        self._lineno = py_func.__code__.co_firstlineno


class _Cache(caching.FunctionCache):
    """Numba's cache with our locator, for which a cache that fails is a cache that is not there."""

    _impl_class = _CacheImpl
    _full = False  # whether a file could not be written

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except (
            Exception
        ) as reason:  # a truncated or foreign file may raise anything from its unpickling
            log.info("compile cache of %s is unreadable, compiling anew: %r", self._name, reason)
            self._forget()  # else the index stays as it is, and nothing can be saved beside it
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if _Cache._full:
            return
        try:
            super().save_overload(sig, data)
        except OSError as reason:  # of a full disk more would be said for each kernel
            log.info("compile cache is not written any more: %r", reason)
            _Cache._full = True
        except Exception as reason:  # an unreadable index
            log.info("compile cache of %s was not written: %r", self._name, reason)
            self._forget()

    def _forget(self) -> None:
        with suppress(OSError):
            self.flush()


def cached(dispatcher: Any) -> Any:
    """Let a jitted function use our cache; the folder is looked for at its first compilation."""
    if numba.config.DISABLE_JIT:
        return dispatcher
    original = dispatcher.compile

    @functools.wraps(original)
    def compile_with_cache(sig: Any) -> Any:
        if isinstance(dispatcher._cache, caching.NullCache) and cache_folder() is not None:
            dispatcher._cache = _Cache(dispatcher.py_func)
        return original(sig)

    dispatcher.compile = compile_with_cache
    return dispatcher


if hasattr(os, "register_at_fork"):
    # A child that was forked while another thread compiled would wait for that thread for ever.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


class Kernel:
    """A kernel's source, and its machine code for each element type that has been asked for."""

    def __init__(
        self, function: Callable[..., None], dtypes: tuple[str, ...], on_disk: bool = True
    ) -> None:
        functools.update_wrapper(self, function)  # type: ignore[arg-type]
        self.function, self.dtypes, self._on_disk = function, dtypes, on_disk
        self._compiled: dict[str, CFunc] = {}

    def address(self, dtype: str) -> int:
        """Address of the machine code for elements of `dtype`, compiled or loaded at first use."""
        code = self._compiled.get(dtype)
        return (code or self._compile(dtype)).address

    def _compile(self, dtype: str) -> CFunc:
        if numba.config.DISABLE_JIT:
            raise RuntimeError("fastconv runs compiled code only: unset NUMBA_DISABLE_JIT")
        with global_compiler_lock:
            if dtype not in self._compiled:
                element = types.CPointer(getattr(types, dtype))
                numbers = (types.int64,) * 5
                code = CFunc(self.function, ((element, *numbers), types.void), {}, dict(OPTIONS))
                if self._on_disk and cache_folder() is not None:
                    code._cache = _Cache(self.function)
                code.compile()
                self._compiled[dtype] = code
            return self._compiled[dtype]

    @property
    def compilations(self) -> int:
        """How many element types this process has compiled or loaded.

        Tests hold it against calls.
        """
        return len(self._compiled)


FLOATS = ("float32", "float64")
# Every kernel whose module has been imported.
KERNELS: list[Kernel] = []


def kernel(function: Callable[..., None]) -> Kernel:
    """Mark a function as a kernel for floats and integers."""
    KERNELS.append(Kernel(function, (*FLOATS, "int64")))
    return KERNELS[-1]


def float_kernel(function: Callable[..., None]) -> Kernel:
    """Mark a function as a kernel for floats only."""
    KERNELS.append(Kernel(function, FLOATS))
    return KERNELS[-1]
