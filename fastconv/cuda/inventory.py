"""Every kernel there is, and what the assembler makes of it; no GPU is needed for either.

``python -m fastconv.cuda.inventory docs/cuda-kernels.md`` writes the table.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from . import (
    activation,
    depthwise,
    direct,
    elementwise,
    folding,
    gradients,
    layers,
    losses,
    optim,
    pack,
    pooling,
    reductions,
    scatter,
    tensor,
    tiles,
)
from .epilogue import finish
from .launch import Kernel
from .machine import H200

FLOATS = ("float32", "float64", "float16")
Capability = tuple[int, int]
CAPABILITIES: tuple[Capability, ...] = ((7, 5), (8, 0), (9, 0))


def _products() -> Iterator[Kernel]:
    """Kernels of tiles and of narrow groups."""
    for dtype in FLOATS:
        compute = activation.COMPUTE[dtype]
        after = finish(compute, None)
        for tile in tiles.tiles(compute)[: 1 if dtype == "float16" else None]:
            for last in (False, True):
                for vectors in (False, True):
                    yield direct.correlate(dtype, tile, vectors, last, False, after, ())
                yield gradients.weight_partials(dtype, tile, last, False)
        for last in (False, True):
            yield depthwise.correlate_narrow(dtype, last, False, after, ())
            if dtype != "float64":
                yield tensor.correlate_tensor(dtype, last, False, after, ())
        yield gradients.narrow_partials(dtype, False)
        yield gradients.reduce_weight(dtype)
        yield pack.pack(dtype)
    # 64-bit tables, an activation, and a user's function.
    fused = finish("float32", "gelu", _example, "co")
    tile = tiles.tiles("float32")[0]
    kinds = ("float32", "float32")
    yield direct.correlate("float32", tile, False, False, True, fused, kinds)
    yield gradients.weight_partials("float32", tile, False, True)
    yield depthwise.correlate_narrow("float32", True, True, fused, kinds)


def _example(y, a, b):  # type: ignore[no-untyped-def]
    """An epilogue of a value for each channel and one for each output."""
    return y * a + b


def _windows() -> Iterator[Kernel]:
    """Kernels of pooling and folding."""
    for dtype in FLOATS:
        sums = elementwise.compute_type(dtype).name
        for last in (False, True):
            for mode in range(5):
                yield pooling.pool(dtype, mode, last)
            yield scatter.scatter(dtype, sums, True, last)
            yield scatter.scatter(dtype, dtype, False, last)
            yield scatter.gather(dtype, last)
        yield folding.gather(dtype)
        yield folding.collect(dtype, sums)


def _elements() -> Iterator[Kernel]:
    """Kernels of single elements, of sums, losses and optimizers."""
    for dtype in FLOATS:
        for name in ("add", "positive", "tanh"):
            function = elementwise.FUNCTIONS[name]
            pattern = "aa" if name == "add" else "a"
            kinds = (dtype,) * len(pattern)
            for flat in (False, True):
                yield elementwise.kernel(name, function, pattern, kinds, dtype, flat)
        for last in (False, True):
            yield reductions.partial_sums(dtype, reductions._identity, last)
    yield reductions.add_chunks("float64")
    for dtype in FLOATS[:2]:
        for name in ("gelu", "mish", "leaky_relu"):
            value, slope = layers._functions(name, dtype)
            yield elementwise.kernel(name, value, "as", (dtype,), dtype, True)
            yield elementwise.kernel(f"{name}_gradient", slope, "aas", (dtype,) * 2, dtype, True)
        yield reductions.partial_sums(dtype, layers.squared_distance, False)
        kinds = (dtype, dtype, "float64", "float64", "float64", "float64", "float64")
        function = layers._input_gradient
        yield elementwise.kernel("normalise_input", function, "a" * 7, kinds, dtype, False)
        yield losses.softmax_loss(dtype)
        for momentum, nesterov in ((False, False), (True, False), (True, True)):
            yield optim.sgd(dtype, momentum, nesterov)
        yield optim.adam(dtype, False)
        yield optim.adam(dtype, True)


def kernels() -> list[Kernel]:
    """All of them; of those that differ by a function of single elements, some."""
    return [*_products(), *_windows(), *_elements()]


# --- Assembling ---


class Assembled(NamedTuple):
    """What ptxas says of a kernel."""

    registers: int
    spilled_bytes: int
    stack_bytes: int
    shared_bytes: int


def ptxas() -> str | None:
    """The assembler: that of the package nvidia-cuda-nvcc, or one on the path."""
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        for path in sorted(Path(folder).glob("*/bin/ptxas*")):
            return str(path)
    return shutil.which("ptxas")


def assemble(ptx: str, cc: tuple[int, int]) -> Assembled:
    """Assemble a kernel; an assembler older than the compiler is told that the text is as old.

    Raises RuntimeError, with what it says, if it refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        for _ in range(2):
            file.write_text(ptx)
            command = [str(ptxas()), "-v", f"-arch=sm_{cc[0]}{cc[1]}", str(file)]
            done = subprocess.run(
                [*command, "-o", str(file.with_suffix(".cubin"))], capture_output=True, text=True
            )
            older = re.search(r"Unsupported \.version.*current version is '([\d.]+)'", done.stderr)
            if not older:
                break
            ptx = re.sub(r"(?m)^\.version .*$", f".version {older[1]}", ptx)
    if done.returncode:
        raise RuntimeError(f"ptxas: {done.stderr}")

    def number(pattern: str) -> int:
        return sum(map(int, re.findall(pattern, done.stderr)))

    return Assembled(
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes spill"),
        number(r"(\d+) bytes stack frame"),
        number(r"(\d+) bytes smem"),
    )


def texts(kernel: Kernel, capabilities: Sequence[Capability]) -> list[str]:
    """The kernel's PTX for each compute capability.

    Typing and lowering, four fifths of the time, do not depend on it and are done once, where
    numba-cuda has the function for that.
    """
    compiler = importlib.import_module("numba.cuda.compiler")
    lower = getattr(compiler, "_compile_pyfunc_with_fixup", None)
    if lower is None:
        return [kernel.compile_ptx(cc) for cc in capabilities]
    library, _ = lower(
        kernel.function, kernel.types, debug=None, lineinfo=False, device=False, fastmath=False,
        cc=capabilities[0], opt=None, abi="numba", abi_info=None, forceinline=False,
        launch_bounds=None, lto=False,
    )  # fmt: skip
    return ["\n".join(library.get_asm_strs(cc=cc)) for cc in capabilities]


class Checked(NamedTuple):
    """A kernel's PTX, and what ptxas says of it, if there is one."""

    name: str
    ptx: str
    assembled: Assembled | None


def smaller(name: str) -> bool:
    """Whether a kernel differs from another by a smaller tile only."""
    return "_128x64x" in name or "_64x64x8_" in name


def checked(index: int, capabilities: Sequence[Capability]) -> dict[Capability, Checked]:
    """The kernel of that number for those compute capabilities that have it.

    Smaller tiles are assembled for the newest only, to save time.
    """
    kernel = kernels()[index]
    able = [cc for cc in capabilities if kernel.least_cc <= cc]
    there = ptxas() is not None
    found = {}
    for cc, ptx in zip(able, texts(kernel, able)):
        wanted = there and (cc == capabilities[-1] or not smaller(kernel.name))
        found[cc] = Checked(kernel.name, ptx, assemble(ptx, cc) if wanted else None)
    return found


def check_all(
    capabilities: Sequence[Capability] = CAPABILITIES, processes: int = 2
) -> dict[Capability, list[Checked]]:
    """`checked` for all kernels."""
    numbers = range(len(kernels()))
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        found = list(pool.map(checked, numbers, [tuple(capabilities)] * len(numbers), chunksize=4))
    return {cc: [each[cc] for each in found if cc in each] for cc in capabilities}


# --- The table ---

HEAD = """\
# Kernels of the CUDA engine

Made by `python -m fastconv.cuda.inventory docs/cuda-kernels.md`: what `ptxas` makes of each kernel
for compute capability 9.0, and how many of the threads of an H200's multiprocessor (2048) its
blocks can keep resident, by registers and shared memory. No kernel spills. These are figures of the
assembler, not measurements on a GPU.

| kernel | threads | registers | shared memory | resident blocks | occupancy |
|---|---:|---:|---:|---:|---:|
"""


def table() -> str:
    """The kernels as a Markdown table."""
    rows = []
    every = {kernel.name: kernel for kernel in kernels()}
    for name, _, found in check_all([(9, 0)])[9, 0]:
        assert found is not None, "ptxas was not found"
        threads = every[name].threads
        blocks = H200.blocks(threads, found.registers, found.shared_bytes)
        share = f"{100 * blocks * threads / H200.threads:.0f} %"
        shared = f"{found.shared_bytes:,}"
        rows.append(f"| {name} | {threads} | {found.registers} | {shared} | {blocks} | {share} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(table(), encoding="utf-8")
