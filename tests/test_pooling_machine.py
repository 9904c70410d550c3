"""What the pooling kernel is compiled to, how often, and for which machine."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conv_cases import LAYOUTS, Surrounded
from numba.core import types
from numba.core.ccallback import CFunc
from pool_cases import CASES, numbers

import fastconv
from fastconv.cpu.compile import OPTIONS
from fastconv.cpu.pooling import pool
from fastconv.machine import machine

X86 = platform.machine().lower() in ("x86_64", "amd64")
AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma"


def test_one_kernel_for_every_shape():
    """Shapes, strides, formats, options and read-only flags are data."""
    fastconv.max_pool1d(np.zeros((1, 1, 1), np.float32), 1)
    before = pool.compilations
    for row in CASES:
        for layout in LAYOUTS:
            x = Surrounded(row.input, layout, "float32", 0, row.channel_axis).array
            x[...] = numbers(row)
            x.setflags(write=layout == "odd")
            row.door("max")(x, **row.options)
    assert pool.compilations == before <= 3


def test_emitted_code():
    """Maxima as wide as the machine, and the loops over taps stand once and are not unrolled."""
    arguments = (types.CPointer(types.float32), *[types.int64] * 5)
    code = CFunc(pool.function, (arguments, types.void), {}, dict(OPTIONS))
    code.compile()
    lanes = machine().lanes("float32")
    assert f"fcmp ogt <{lanes} x float>" in code._library.get_llvm_str()
    asm = code._library.get_asm_str()
    assert len(re.findall(r"^_?fastconv_max_sheet_float32:", asm, flags=re.MULTILINE)) == 1
    if X86 and machine().vector_bytes >= 32:
        register = {64: "zmm", 32: "ymm"}[machine().vector_bytes]
        found = re.findall(rf"v?maxps.*%{register}", asm)
        assert 20 <= len(found) <= 80  # eight ways of one block, four of four blocks, along rows


@pytest.mark.skipif(not X86, reason="names of x86 features")
@pytest.mark.parametrize(("features", "width"), [("", 16), (AVX2, 32)], ids=["SSE2", "AVX2"])
def test_narrower_machine(features, width):
    """Exact there too, at the ends of rows and channels, and for NaN."""
    if width >= machine().vector_bytes:
        pytest.skip("this machine is no wider")
    program = """
import numpy as np
from fastconv import grad
from fastconv.machine import machine
from pool_cases import CASES, maxima, numbers, specials, terms
from fastconv import channels_last, reference

for row in CASES[::2]:
    for x, special in ((numbers(row), False), (specials(row), True)):
        for dtype in ("float32", "float64"):
            x = channels_last(x) if row.batched and dtype == "float64" else x
            found = row.door("max")(x.astype(dtype), **row.options, return_indices=True)
            for y, expected in zip(found, maxima(row, special)):
                assert np.array_equal(y, expected, equal_nan=True), row.name
            y = row.door("max")(x.astype(dtype), **row.options)
            assert np.array_equal(y, maxima(row, special)[0], equal_nan=True), row.name
    if row.plain:
        y = row.door("avg")(numbers(row), **row.options)
        expected = reference.avg_pool(row.geometry, row.lifted(numbers(row)))
        assert np.array_equal(y, row.lowered(expected)), row.name
        options = {} if row.adaptive else row.options
        dx = row.door("avg", grad)(terms(row), row.input, **options)
        expected = reference.avg_pool_input(row.geometry, row.lifted(terms(row)))
        assert np.array_equal(dx, row.lowered(expected)), row.name
print(machine().vector_bytes)
"""
    tests = Path(__file__).parent
    path = os.pathsep.join([str(tests), str(tests.parent)])
    narrow = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **narrow},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == width
