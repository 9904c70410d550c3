"""Every kernel becomes PTX with no GPU and no driver, and assembles as it was planned."""

import re
from pathlib import Path

import pytest

from fastconv.cuda import backend, inventory

if backend.SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

DOCUMENT = Path(__file__).parents[2] / "docs" / "cuda-kernels.md"
LARGE_EPILOGUE = "direct_float32_128x128x8_elements_first_far"
KERNELS = {kernel.name: kernel for kernel in inventory.kernels()}


def test_names_tell_kernels_apart():
    assert len(KERNELS) == len(inventory.kernels())


@pytest.fixture(scope="module")
def every():
    return inventory.check_all()


@pytest.mark.parametrize("cc", inventory.CAPABILITIES, ids=lambda cc: f"{cc[0]}.{cc[1]}")
def test_every_kernel(cc, every):
    found = every[cc]
    assert {name for name, _, _ in found} == {n for n, k in KERNELS.items() if k.least_cc <= cc}
    for name, ptx, assembled in found:
        assert re.search(rf"\.target sm_{cc[0]}{cc[1]}\b", ptx), name
        if assembled is not None:
            assert assembled.spilled_bytes == 0, name
            # 64 sums: a fused function as large as GELU's is not unrolled for each of them.
            stack = 256 if name == LARGE_EPILOGUE else 0
            assert assembled.stack_bytes <= stack, name
            assert assembled.shared_bytes == KERNELS[name].shared_bytes, name
            # 32-bit registers of one block, as they are granted.
            assert -(-assembled.registers // 8) * 8 * KERNELS[name].threads <= 65536, name


def test_products_use_their_instructions():
    """Multiply-adds for each pair of the registers' values, vectors of four from shared memory."""
    ptx = KERNELS["direct_float32_128x128x8_vectors_last"].compile_ptx((9, 0))
    assert ptx.count("fma.rn.f32") >= 64
    assert re.search(r"ld\.shared\.v4", ptx) and re.search(r"st\.shared\.v4", ptx)
    assert ".local" not in ptx
    assert ptx.count("bar.sync") <= 2


def test_the_document_has_every_kernel():
    """Its figures change with the assembler; its rows must not."""
    rows = re.findall(r"(?m)^\| (\w+) \| \d", DOCUMENT.read_text(encoding="utf-8"))
    assert rows == list(KERNELS), "run python -m fastconv.cuda.inventory docs/cuda-kernels.md"
