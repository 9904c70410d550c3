"""A machine that executes PTX in NumPy: kernels as they are compiled, where there is no GPU.

All threads of a block run an instruction together, as far as they are at the same place. It is
stricter than a GPU. Every access must lie in an allocation and be aligned; two threads must not
meet in an element between two barriers, nor two blocks in a launch; a barrier waits for all; a copy
by ``cp.async`` lands when its thread waits for its group, and nobody may look before; ``mma.sync``
takes whole warps, and places its fragments as the PTX manual says.

`Machine.launch` runs one kernel; `Program` is its text, translated to Python block by block.
"""

from __future__ import annotations

import numpy as np
from ptx_memory import Allocations, Block
from ptx_program import translated
from ptx_words import Fault

__all__ = ["Fault", "Machine", "translated"]


class Machine:
    """Device memory, and launches on it."""

    def __init__(self):
        self.memory = Allocations()
        self.launches = 0

    def launch(self, ptx, grid, threads, parameters):
        """Run every block, one after the other."""
        program = translated(ptx)
        assert len(parameters) == len(program.parameters), (len(parameters), program.parameters)
        if not (0 < grid[0] < 2**31 and 0 < grid[1] < 65536 and 0 < grid[2] < 65536):
            raise Fault(f"a grid of {grid} blocks")
        if threads > 1024:
            raise Fault(f"a block of {threads} threads")
        values = [
            np.float64(p) if kind == "f64" else np.int64(p)
            for (kind, _), p in zip(program.parameters, parameters)
        ]
        self.launches += 1
        self.memory.begin()
        number = 0
        with np.errstate(all="ignore"):
            for z in range(grid[2]):
                for y in range(grid[1]):
                    for x in range(grid[0]):
                        block = Block(self, program, number, (x, y, z), grid, threads, values)
                        self._run(program, block)
                        number += 1

    @staticmethod
    def _run(program, block):
        registers = program.registers(block.threads)
        at = np.zeros(block.threads, np.int64)
        ready = np.ones(block.threads, bool)
        while True:
            if not ready.any():
                waiting = at[at != -1]
                if not waiting.size:
                    break
                if (waiting != waiting[0]).any():
                    raise Fault("threads wait at different barriers")
                block.barrier()
                at[at != -1] = -2 - waiting[0]
                ready = at >= 0
            first = at[ready].min()
            chosen = ready & (at == first)
            act = slice(None) if chosen.all() else np.flatnonzero(chosen)
            at[act] = program.functions[first](registers, block, act)
            ready = at >= 0
