"""The driver's stand-in: Numba's CUDA package as it is, on `driver.c` and `ptx_machine`.

Compiling, linking, loading, memory, streams and launches take the way that they take on a GPU; the
stand-in hands every launch to the machine, and notes what is asked of streams.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
from ptx_machine import Machine, translated

NAME = "libcuda.so.1"


def build(folder, compiler="cc"):
    """The library in a folder, which the loader must be told of before Python starts."""
    source = Path(__file__).with_name("driver.c")
    command = [compiler, "-shared", "-fPIC", "-w", "-O1", "-o", str(folder / NAME), str(source)]
    subprocess.run([*command, "-ldl"], check=True, capture_output=True)


def install():
    """Connect the stand-in with a machine. Returns the list of its notes: (what, stream, other)."""
    from fastconv.cuda import launch

    library = ctypes.CDLL(NAME)
    machine, notes, texts, faults = Machine(), [], {}, []
    pointer, word = ctypes.c_void_p, ctypes.c_uint
    launches = ctypes.CFUNCTYPE(
        None, ctypes.c_char_p, ctypes.POINTER(word), ctypes.POINTER(word), pointer,
        ctypes.POINTER(pointer),
    )  # fmt: skip
    noting = ctypes.CFUNCTYPE(None, ctypes.c_char_p, pointer, pointer)
    memory = ctypes.CFUNCTYPE(None, pointer, ctypes.c_uint64)

    def run(name, grid, block, stream, parameters):
        try:
            notes.append(("launch", stream or 0, name.decode()))
            ptx = texts[name.decode()]
            values = [
                ctypes.cast(at, ctypes.POINTER(_PARAMETERS[kind]))[0]
                for (kind, _), at in zip(translated(ptx).parameters, parameters)
            ]
            assert block[1] == block[2] == 1
            machine.launch(ptx, tuple(grid[:3]), block[0], values)
        except Exception as fault:
            faults.append(fault)

    def note(what, stream, other):
        notes.append((what.decode(), stream or 0, other or 0))

    def adopt(address, size):
        cells = (ctypes.c_char * size).from_address(address)
        machine.memory.adopt(address, np.frombuffer(cells, np.uint8))

    hooks = (launches(run), noting(note), memory(adopt), memory(lambda at, _: drop(at)))

    def drop(address):
        machine.memory.drop(address)

    library.fake_hooks(*hooks)
    plain = launch.Kernel.__call__, launch.Kernel._compile

    def compiled(self):
        dispatcher = plain[1](self)
        for text in dispatcher.inspect_asm().values():
            texts[re.search(r"\.entry (\w+)", text)[1]] = text
        return dispatcher

    def start(self, grid, *arguments):
        plain[0](self, grid, *arguments)
        if faults:
            raise faults.pop()

    launch.Kernel.__call__, launch.Kernel._compile = start, compiled
    install.kept = (library, hooks)  # the driver calls them until the process ends
    return notes


_PARAMETERS = {"u64": ctypes.c_int64, "b64": ctypes.c_int64, "f64": ctypes.c_double}
