"""The CUDA engine on `ptx_machine`: its own kernels, tiles and launches, without a GPU."""

from __future__ import annotations

import numpy as np
from ptx_machine import Machine

from fastconv.cuda import backend, launch, machine, memory


def _flat(arguments):
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from _flat(argument)
        else:
            yield argument


def install(cc=(9, 0)):
    """Put the machine in the driver's place, for the rest of the process."""
    device = Machine()
    space = device.memory

    def memory_at(address, size, owner=None):
        if not size:
            return np.empty(0, np.uint8)
        start, block = space.find(address, size)
        return block[address - start :][:size]

    def copy_in(address, source):
        flat = np.ascontiguousarray(source).reshape(-1).view(np.uint8)
        memory_at(address, flat.size)[...] = flat

    def copy_out(address, target):
        target.reshape(-1).view(np.uint8)[...] = memory_at(address, target.nbytes)

    backend.why_off = lambda: None
    backend.status = lambda: "PTX machine"
    backend.new_memory, backend.memory_at = space.new, memory_at
    backend.address_of = lambda block: block.ctypes.data
    backend.copy_in, backend.copy_out = copy_in, copy_out
    backend.synchronize = lambda: None
    backend.wait_for = lambda address: None
    # Memory has its exact size, and is gone with its owner: later uses are faults.
    memory.rounded = lambda size: max(size, 1)

    def forget(self):
        if getattr(self, "_memory", None) is not None:
            space.drop(self.address)

    memory.Memory.__del__ = forget

    def start(self, grid, *arguments):
        if self._dispatcher is None:
            self._dispatcher = self.compile_ptx(cc)
        sizes = (grid,) if isinstance(grid, (int, np.integer)) else tuple(grid)
        numbers = list(_flat(map(launch.address, arguments)))
        device.launch(self._dispatcher, (*sizes, 1, 1)[:3], self.threads, numbers)

    launch.Kernel.__call__ = start
    small = machine.Gpu("PTX machine", cc, 4, 65536, 64 << 10, 48 << 10, 1024, 1e9, 1e11)
    machine._override.append(small)
    return device
