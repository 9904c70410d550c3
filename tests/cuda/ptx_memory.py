"""Memory as PTX sees it, strictly: nobody reads or writes what is another's."""

from __future__ import annotations

import bisect

import numpy as np
from ptx_words import Fault, wide

SHARED, LOCAL = 1 << 24, 1 << 26  # where these spaces begin, for addresses to be told apart
GAP = 512  # bytes between shared arrays, which nobody may touch
UNIT = 2  # bytes that are watched together


class Allocations:
    """Device memory: blocks of bytes, by their addresses."""

    def __init__(self):
        self._blocks = []  # (address, size, bytes), sorted
        self._marks = {}

    def new(self, size):
        """A block, all its bytes 0xFF."""
        memory = np.full(size + 512, 0xFF, np.uint8)
        memory = memory[-memory.ctypes.data % 256 :][:size]
        self.adopt(memory.ctypes.data, memory)
        return memory

    def adopt(self, address, memory):
        """Know the block of these bytes."""
        bisect.insort(self._blocks, (address, len(memory), memory), key=lambda b: b[0])

    def drop(self, address):
        """Forget the block at an address."""
        at = bisect.bisect_left(self._blocks, address, key=lambda b: b[0])
        del self._blocks[at]

    def find(self, address, size):
        """The bytes at an address."""
        at = bisect.bisect_right(self._blocks, address, key=lambda b: b[0]) - 1
        if at >= 0:
            start, length, memory = self._blocks[at]
            if address + size <= start + length:
                return start, memory
        raise Fault(f"no memory of {size} bytes at {address:#x}")

    def begin(self):
        """A launch begins: nobody has written."""
        self._marks = {}

    def _parts(self, address, size):
        low, high = int(address.min()), int(address.max())
        try:
            yield slice(None), *self.find(low, high + size - low)
        except Fault:
            for lane, one in enumerate(address.tolist()):
                yield slice(lane, lane + 1), *self.find(one, size)

    def load(self, block, address, kind, count):
        size = kind.itemsize * count
        if np.any(address % size):
            raise Fault(f"global load of {size} bytes, not aligned")
        out = np.empty((len(address), count), kind)
        for lanes, start, memory in self._parts(address, size):
            at = (address[lanes] - start) // kind.itemsize
            whole = memory[: len(memory) // kind.itemsize * kind.itemsize].view(kind)
            out[lanes] = whole[at[:, None] + np.arange(count)]
            if id(memory) in self._marks:
                writers = self._marks[id(memory)][0][(address[lanes] - start) // UNIT]
                if np.any((writers >= 0) & (writers != block.number)):
                    raise Fault("global memory is read that another block has written")
        return [out[:, i] for i in range(count)]

    def store(self, block, threads, address, kind, values):
        size = kind.itemsize * len(values)
        if np.any(address % size):
            raise Fault(f"global store of {size} bytes, not aligned")
        data = np.stack(values, 1).astype(kind)
        for lanes, start, memory in self._parts(address, size):
            at = (address[lanes] - start) // kind.itemsize
            whole = memory[: len(memory) // kind.itemsize * kind.itemsize].view(kind)
            cells = at[:, None] + np.arange(len(values))
            same = (whole[cells] == data[lanes]).all(1)
            if id(memory) not in self._marks:
                units = len(memory) // UNIT + 1
                self._marks[id(memory)] = np.full((3, units), -1, np.int64)
            marks = self._marks[id(memory)]
            first = (address[lanes] - start) // UNIT
            units = first[:, None] + np.arange(max(size // UNIT, 1))
            of, who, when = marks[:, units]
            other = (of >= 0) & (of != block.number)
            other |= (of >= 0) & (when == block.epoch) & (who != threads[lanes, None])
            if np.any(other.any(1) & ~same):
                raise Fault("two threads write one element of global memory")
            if kind.itemsize > 1:  # neighbouring bytes share a unit
                marks[0, units], marks[2, units] = block.number, block.epoch
                marks[1, units] = threads[lanes, None]
                if len(np.unique(units[~same])) != units[~same].size:
                    raise Fault("two threads write one element of global memory")
            whole[cells] = data[lanes]


class Shared:
    """Shared memory of one block, with who touched it since which barrier."""

    def __init__(self, sizes):
        self.at, end = {}, GAP
        for name, (size, alignment) in sizes.items():
            start = -(-end // alignment) * alignment
            self.at[name] = SHARED + start
            end = start + size + GAP
        self.bytes = np.full(end, 0xFF, np.uint8)
        self.valid = np.zeros(end // UNIT, bool)
        for name, (size, _) in sizes.items():
            start = self.at[name] - SHARED
            self.valid[start // UNIT : (start + size) // UNIT] = True
        self.writer, self.written, self.reader, self.read = (
            np.full(end // UNIT, -1, np.int64) for _ in range(4)
        )
        self.pending = np.zeros(end // UNIT, bool)

    def units(self, address, size):
        if np.any(address % size):
            raise Fault(f"shared access of {size} bytes, not aligned")
        start = address - SHARED
        if np.any((start < 0) | (start + size > len(self.bytes))):
            raise Fault("shared access outside the arrays")
        units = (start // UNIT)[:, None] + np.arange(max(size // UNIT, 1))
        if not self.valid[units].all():
            raise Fault("shared access outside the arrays")
        return units

    def load(self, block, threads, address, kind, count):
        units = self.units(address, kind.itemsize * count)
        if self.pending[units].any():
            raise Fault("shared memory is read under an asynchronous copy")
        t = threads[:, None]
        if np.any((self.written[units] == block.epoch) & (self.writer[units] != t)):
            raise Fault("shared memory is read that another thread has just written")
        fresh = self.read[units] != block.epoch
        self.reader[units] = np.where(fresh | (self.reader[units] == t), t, -2)
        self.read[units] = block.epoch
        # Several threads in this instruction: whoever is not kept makes it many.
        self.reader[units[self.reader[units] != t]] = -2
        at = (address - SHARED) // kind.itemsize
        whole = self.bytes[: len(self.bytes) // 16 * 16].view(kind)
        return [whole[at + i] for i in range(count)]

    def _claim(self, block, threads, units):
        t = threads[:, None]
        if self.pending[units].any():
            raise Fault("shared memory is written under an asynchronous copy")
        if np.any((self.written[units] == block.epoch) & (self.writer[units] != t)):
            raise Fault("two threads write one element of shared memory")
        if np.any((self.read[units] == block.epoch) & (self.reader[units] != t)):
            raise Fault("shared memory is written that another thread has just read")
        if len(np.unique(units)) != units.size:
            raise Fault("two threads write one element of shared memory")

    def store(self, block, threads, address, kind, values):
        units = self.units(address, kind.itemsize * len(values))
        self._claim(block, threads, units)
        self.writer[units], self.written[units] = threads[:, None], block.epoch
        at = (address - SHARED) // kind.itemsize
        whole = self.bytes[: len(self.bytes) // 16 * 16].view(kind)
        for i, value in enumerate(values):
            whole[at + i] = value

    def copy(self, block, threads, address, data):
        """A copy begins: rows of bytes to addresses."""
        units = self.units(address, data.shape[1])
        self._claim(block, threads, units)
        self.pending[units] = True

    def land(self, block, threads, address, data):
        """Copies have arrived."""
        units = self.units(address, data.shape[1])
        self.pending[units] = False
        self.writer[units], self.written[units] = threads[:, None], block.epoch
        self.bytes[(address - SHARED)[:, None] + np.arange(data.shape[1])] = data


class Block:
    """What the threads of one block share."""

    def __init__(self, machine, program, number, index, grid, threads, parameters):
        self.memory, self.number, self.index, self.grid = machine.memory, number, index, grid
        self.threads, self.parameters, self.epoch = threads, parameters, 0
        self.lanes = np.arange(threads)
        self.shared = Shared(program.shared)
        self.local = np.full((threads, program.local_bytes), 0xFF, np.uint8)
        self.copies = []
        self.groups = np.zeros(threads, np.int64)

    def special(self, name, act):
        values = {"tid": (self.lanes[act], 0, 0), "ntid": (self.threads, 1, 1)}
        values |= {"ctaid": self.index, "nctaid": self.grid}
        kind, axis = name.split(".")
        value = np.asarray(values[kind]["xyz".index(axis)] if kind != "tid" else 0, np.int32)
        if kind == "tid" and axis == "x":
            value = self.lanes[act]
        return np.broadcast_to(value, len(self.lanes[act])).astype(np.int32)

    def load(self, space, act, address, kind, count):
        t = self.lanes[act]
        address = wide(address, len(t))
        if space == "shared":
            return self.shared.load(self, t, address, kind, count)
        if space == "local":
            at = (address - LOCAL)[:, None] + np.arange(kind.itemsize * count)
            data = self.local[t[:, None], at].view(kind)
            return [data[:, i] for i in range(count)]
        return self.memory.load(self, address, kind, count)

    def store(self, space, act, address, kind, values):
        t = self.lanes[act]
        address = wide(address, len(t))
        values = [wide(v, len(t)) for v in values]
        values = [
            v.view(kind) if v.dtype.itemsize == kind.itemsize else v.astype(kind) for v in values
        ]
        if space == "shared":
            self.shared.store(self, t, address, kind, values)
        elif space == "local":
            at = (address - LOCAL)[:, None] + np.arange(kind.itemsize * len(values))
            self.local[t[:, None], at] = np.stack(values, 1).view(np.uint8)
        else:
            self.memory.store(self, t, address, kind, values)

    def copy_async(self, act, target, source, size, taken):
        t = self.lanes[act]
        target, source, taken = (wide(x, len(t)) for x in (target, source, taken))
        data = np.zeros((len(t), size), np.uint8)
        if not np.isin(taken, (0, size)).all():
            raise Fault(f"cp.async of {taken} of {size} bytes")
        some = taken == size
        if some.any():
            kind = np.dtype(np.int32)
            words = self.memory.load(self, source[some], kind, size // 4)
            data[some] = np.ascontiguousarray(np.stack(words, 1)).view(np.uint8)
        self.shared.copy(self, t, target, data)
        self.copies.append([t, target, data, self.groups[t].copy()])

    def commit(self, act):
        self.groups[self.lanes[act]] += 1

    def wait(self, act, left):
        waiting = np.zeros(self.threads, bool)
        waiting[self.lanes[act]] = True
        kept = []
        for t, target, data, group in self.copies:
            done = waiting[t] & (group < self.groups[t] - left)
            if done.any():
                self.shared.land(self, t[done], target[done], data[done])
            if not done.all():
                rest = ~done
                kept.append([t[rest], target[rest], data[rest], group[rest]])
        self.copies = kept

    def barrier(self):
        self.epoch += 1
