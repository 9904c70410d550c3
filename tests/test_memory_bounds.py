"""Nothing outside an array is touched: beyond its ends lie pages that kill who reads or writes.

Every operand, every result and the scratch memory of every case stand flush against such a page,
once with their last byte and once with their first. A fault kills the process, so the cases run in
one of their own, which says where it is.
"""

import ctypes
import mmap
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parent
PAGE = mmap.PAGESIZE


def fenced(size, at_end):
    """`size` bytes between two pages without access, all of them 255: a NaN in every float."""
    inside = -(-max(size, 1) // PAGE) * PAGE
    memory = mmap.mmap(-1, inside + 2 * PAGE)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (first, first + PAGE + inside):
        if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = PAGE + inside - size if at_end else PAGE
    array = np.frombuffer(memory, np.uint8, size, start)
    array[...] = 255
    return array


def fenced_array(shape, dtype, at_end, channel_axis=None):
    """An array in fenced memory; channels-last if it is told where its channels are."""
    order = list(range(len(shape)))
    if channel_axis is not None:
        order.append(order.pop(channel_axis))
    stored = tuple(shape[a] for a in order)
    block = fenced(int(np.prod(shape)) * np.dtype(dtype).itemsize, at_end)
    return block.view(dtype).reshape(stored).transpose(np.argsort(order))


def run_all_cases(dtype, at_end):
    """All cases in this process; prints where it is, and raises if a result is wrong.

    One thread: the scratch memory of a second one would lie between the first's and the fence.
    """
    from conv_cases import CASES, assert_right, operands

    from fastconv.cpu import engine, grouped_engine
    from fastconv.plan import OPERATIONS

    @contextmanager
    def fenced_workspace(size):
        block = fenced(-(-size // 64) * 64, at_end)
        yield block.ctypes.data

    engine.workspace = grouped_engine.workspace = fenced_workspace
    for row in CASES:
        for operation in OPERATIONS:
            for algorithm in row.algorithms(operation, dtype):
                for last in (False, True):
                    print(row.name, operation, algorithm, "last" if last else "first", flush=True)
                    arrays = {}
                    for name, value in operands(row, operation).items():
                        axis = row.channel_axis(name) if last else None
                        arrays[name] = fenced_array(value.shape, dtype, at_end, axis)
                        arrays[name][...] = value
                    shape = row.result(operation)
                    axis = row.channel_axis("weight" if "weight" in operation else "input")
                    out = fenced_array(shape, dtype, at_end, axis if last else None)
                    row.run(operation, arrays, algorithm=algorithm, out=out, threads=1)
                    assert_right(row, operation, algorithm, out)


@pytest.mark.skipif(os.name != "posix", reason="needs mprotect")
@pytest.mark.parametrize(
    ("dtype", "at_end"), [("float32", True), ("float32", False), ("float64", True)]
)
def test_every_case_between_forbidden_pages(dtype, at_end):
    program = f"import test_memory_bounds as t; t.run_all_cases({dtype!r}, {at_end})"
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout.splitlines()[-1:], done.stderr[-2000:])


@pytest.mark.skipif(os.name != "posix", reason="needs mprotect")
@pytest.mark.parametrize("at_end", [True, False])
def test_the_fence_works(at_end):
    """One byte further, the process dies."""
    step = "a.nbytes" if at_end else "-1"
    program = (
        f"import ctypes, test_memory_bounds as t; a = t.fenced(100, {at_end}); "
        f"ctypes.string_at(a.ctypes.data, 100); ctypes.string_at(a.ctypes.data + {step}, 1)"
    )
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": TESTS})
    assert done.returncode < 0
