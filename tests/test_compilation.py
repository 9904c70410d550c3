"""What is compiled, when, for which machine, and what becomes of it in the next process.

Most tests start processes of their own: a process compiles a kernel once only.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numba.core import types
from numba.core.ccallback import CFunc

import fastconv
from fastconv.cpu import compile as compiling
from fastconv.cpu.direct import correlate
from fastconv.cpu.tiles import tile_height
from fastconv.machine import machine, vector_unit

TESTS = Path(__file__).parent
X86 = platform.machine().lower() in ("x86_64", "amd64")


def python(program, **environment):
    """What a program prints last, as JSON, in a fresh process."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-1000:], done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


# Every kernel by name, wherever in the package it stands; and a log of all compiling and loading.
WATCH = """
import json, sys
import numba
from numba.core import event

numba.njit(lambda: 0)  # the first one sets up Numba, under the same lock
watching = event.install_recorder("numba:compiler_lock")  # held, else it stops at once
log = watching.__enter__()

def kernels():
    from fastconv.cpu.compile import Kernel
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("fastconv."):
            for value in vars(module).values():
                if isinstance(value, Kernel):
                    found[value.function.__name__] = value
    return found
"""


# --- How often ---


def test_importing_compiles_nothing():
    result = python(
        WATCH
        + """
import fastconv, fastconv.grad
print(json.dumps([len(log.buffer), {name: k.compilations for name, k in kernels().items()}]))
"""
    )
    events, compilations = result
    assert events == 0
    assert {"correlate", "pack_weights", "weight_partials", "reduce_weight"} <= set(compilations)
    assert not any(compilations.values())


def test_one_compilation_serves_all_problems():
    """Ten problems: batch, size, stride, padding, dilation, groups, rank, layout, read-only."""
    result = python(
        WATCH
        + """
import numpy as np, fastconv
from fastconv import grad
from fastconv.choose import ALGORITHMS
from fastconv.cpu import launch

def run(shape, kernel, last=False, frozen=False, threads=1, dtype="float32", **options):
    rank = len(kernel) - 2
    x, w = np.ones(shape, dtype), np.ones(kernel, dtype)
    if last:
        x = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    if frozen:
        x.setflags(write=False)
    for name in [row.name for row in ALGORITHMS]:
        calls = {
            "forward": lambda: getattr(fastconv, f"conv{rank}d")(
                x, w, threads=threads, algorithm=name, **options
            ),
            "input": lambda: getattr(grad, f"conv{rank}d_input")(
                shape, w, y, threads=threads, algorithm=name, **options
            ),
            "weight": lambda: getattr(grad, f"conv{rank}d_weight")(
                x, kernel, y, threads=threads, algorithm=name, **options
            ),
        }
        y = getattr(fastconv, f"conv{rank}d")(x, w, **options)
        for call in calls.values():
            try:
                call()
            except ValueError as refusal:
                assert "algorithm" in str(refusal)

for dtype in ("float32", "float64"):
    for threads in (1, 2):
        run((1, 4, 6, 25), (3, 4, 2, 2), threads=threads, dtype=dtype)
        run((1, 4, 6, 25), (4, 1, 2, 2), threads=threads, dtype=dtype, groups=4)
    run((1, 4, 6, 25), (3, 4, 2, 2), dtype=dtype, stride=2)  # phases
before = len(log.buffer)
for dtype in ("float32", "float64"):
    run((7, 4, 6, 5), (3, 4, 2, 2), dtype=dtype)
    run((1, 4, 60, 55), (3, 4, 2, 2), dtype=dtype, threads=2)
    run((1, 4, 6, 5), (3, 4, 2, 2), dtype=dtype, stride=(2, 3))
    run((1, 4, 6, 5), (3, 4, 2, 2), dtype=dtype, padding=((1, 2), (0, 3)))
    run((1, 4, 6, 5), (3, 4, 2, 2), dtype=dtype, dilation=(2, 3))
    run((1, 4, 6, 5), (6, 2, 2, 2), dtype=dtype, groups=2)
    run((1, 4, 6), (3, 4, 2), dtype=dtype)
    run((1, 4, 6, 5, 4), (3, 4, 2, 2, 1), dtype=dtype, padding="same")
    run((1, 4, 6, 5), (3, 4, 2, 2), dtype=dtype, last=True, threads=2)
    run((1, 70, 6, 5), (67, 70, 2, 2), dtype=dtype, frozen=True, padding=1, padding_mode="reflect")
print(json.dumps([
    before,
    len(log.buffer) - before,
    {name: k.compilations for name, k in kernels().items()},
    len(launch._serial.signatures),
    len(launch._parallel.signatures),
]))
"""
    )
    before, more, compilations, serial, parallel = result
    assert before > 0  # the log does log
    assert more == 0
    assert max(compilations.values()) == 2  # float32 and float64
    assert (serial, parallel) == (1, 1)


# --- The cache ---

PLAN = """
import json, fastconv, numpy as np
from fastconv.cpu import compile as compiling, launch
from fastconv.cpu.pack_weights import pack_weights

plan = fastconv.plan((1, 1, 3), np.array([[[1.0, 10]]], np.float32), algorithm="direct")
hits = [code.cache_hits for code in pack_weights._compiled.values()]
print(json.dumps([hits, sum(launch._serial.stats.cache_hits.values())]))
"""


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


def test_the_second_process_loads(tmp_path):
    """Nothing is written again, every kernel is a hit, and the first call is much faster."""
    program = """
import json, time, fastconv, numpy as np
from fastconv.cpu.direct import correlate
from fastconv.cpu.launch import _parallel

x, w = np.ones((1, 40, 30, 30), np.float32), np.ones((40, 40, 3, 3), np.float32)
start = time.perf_counter()
y = fastconv.conv2d(x, w, threads=2, algorithm="direct")
assert (y == 360).all()
hits = correlate._compiled["float32"].cache_hits + sum(_parallel.stats.cache_hits.values())
print(json.dumps([time.perf_counter() - start, hits]))
"""
    cold, hits = python(program, FASTCONV_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="2")
    assert hits == 0
    written = files(tmp_path)
    assert any("correlate" in name for name in written)
    warm, hits = python(program, FASTCONV_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="2")
    assert hits == 2
    assert files(tmp_path) == written
    assert warm < cold / 2


@pytest.fixture(scope="module")
def warm_cache(tmp_path_factory):
    """A folder in which one process has left its code."""
    folder = tmp_path_factory.mktemp("cache")
    assert python(PLAN, FASTCONV_CACHE_DIR=str(folder)) == [[0], 0]
    return folder


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("empty", "index"),
        ("truncated", "index"),
        ("other pickle", "index"),
        ("truncated", "code"),
        ("garbage", "code"),
    ],
)
def test_damaged_files_are_replaced(warm_cache, tmp_path, damage, kind):
    """The next process compiles anew and leaves files that the one after it loads."""
    folder = tmp_path / "cache"
    shutil.copytree(warm_cache, folder)
    spoilt = list(folder.rglob("*.nbi" if kind == "index" else "*.nbc"))
    assert len(spoilt) == 2
    for path in spoilt:
        whole = path.read_bytes()
        path.write_bytes(
            {
                "empty": b"",
                "truncated": whole[: len(whole) // 2],
                "garbage": bytes(range(256)) * 9,
                "other pickle": b"\x80\x04K\x01.",
            }[damage]
        )
    python(PLAN, FASTCONV_CACHE_DIR=str(folder))
    assert python(PLAN, FASTCONV_CACHE_DIR=str(folder)) == [[1], 1]


def test_no_folder_for_the_cache(tmp_path):
    """A file stands where the folder should be: everything works, nothing is kept."""
    (tmp_path / "file").write_text("in the way")
    assert python(PLAN, FASTCONV_CACHE_DIR=str(tmp_path / "file" / "deeper")) == [[0], 0]
    assert (tmp_path / "file").read_text() == "in the way"


def test_folder_that_vanishes(tmp_path):
    """Between two compilations of one process."""
    program = """
import json, os, shutil, fastconv, numpy as np
for dtype in ("float32", "float64"):
    fastconv.plan((1, 1, 3), np.ones((1, 1, 2), dtype), algorithm="direct")
    shutil.rmtree(os.environ["FASTCONV_CACHE_DIR"], ignore_errors=True)
print(json.dumps("alive"))
"""
    assert python(program, FASTCONV_CACHE_DIR=str(tmp_path / "cache")) == "alive"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
def test_folder_of_another_user(tmp_path, monkeypatch):
    """Cache files are run, so they must be our own."""
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(tmp_path))
    mine = compiling.cache_folder.__wrapped__()
    assert mine.parent == tmp_path
    assert mine.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert compiling.cache_folder.__wrapped__() is None


def test_where_the_cache_is_looked_for(tmp_path, monkeypatch):
    """The user's cache folder, and where that cannot be made, the temporary folder."""
    monkeypatch.delenv("FASTCONV_CACHE_DIR", raising=False)
    monkeypatch.setattr(compiling, "_user_cache", lambda: tmp_path / "user")
    monkeypatch.setattr(compiling.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert tmp_path / "user" / "fastconv" in compiling.cache_folder.__wrapped__().parents
    shutil.rmtree(tmp_path / "user")
    (tmp_path / "user").write_text("in the way")
    assert tmp_path / "temporary" in compiling.cache_folder.__wrapped__().parents


def test_the_stamp_covers_every_source_of_the_engine(tmp_path, monkeypatch):
    """A change to any file that kernels are made of makes another cache."""
    copy = tmp_path / "fastconv"
    shutil.copytree(TESTS.parent / "fastconv", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiling, "PACKAGE", copy)
    before = compiling.source_stamp.__wrapped__()
    assert before == compiling.source_stamp()
    for name in ("geometry.py", "machine.py", "cpu/emit.py", "cpu/pack.py"):
        path = copy / name
        path.write_text(path.read_text() + "\n# changed")
        after = compiling.source_stamp.__wrapped__()
        assert after != before
        before = after


# --- For which machine ---

AVX512 = "+avx2,+fma,+avx512f,+avx512dq,+avx512vl"


@pytest.mark.parametrize(
    ("architecture", "features", "expected"),
    [
        ("x86_64", AVX512, (64, 32)),
        ("AMD64", AVX512, (64, 32)),
        ("x86_64", AVX512.replace("+avx512vl", "-avx512vl"), (32, 16)),
        ("x86_64", "+avx2,+fma", (32, 16)),
        ("x86_64", "+avx2,-fma", (16, 16)),
        ("x86_64", "+avx", (16, 16)),
        ("x86_64", "", (16, 16)),
        ("aarch64", "+neon,+sve", (16, 32)),
        ("arm64", "", (16, 32)),
    ],
)
def test_vector_unit(architecture, features, expected):
    """Bytes of a vector and number of registers."""
    assert vector_unit(architecture, features)[:2] == expected


AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma"


@pytest.mark.skipif(not X86, reason="names of x86 features")
@pytest.mark.parametrize(
    ("features", "vector_bytes", "dtype"),
    [("", 16, "float32"), (AVX2, 32, "float64")],
    ids=["SSE2", "AVX2"],
)
def test_narrower_machine(features, vector_bytes, dtype):
    """Exact there too, in every algorithm and operation."""
    if vector_bytes >= machine().vector_bytes:
        pytest.skip("this machine is no wider")
    program = f"""
import json
from conv_cases import CASES, assert_right, operands
from fastconv.machine import machine
from fastconv.plan import OPERATIONS

done = 0
for row in CASES[::3]:
    for operation in OPERATIONS:
        arrays = {{name: a.astype("{dtype}") for name, a in operands(row, operation).items()}}
        for algorithm in row.algorithms(operation, "{dtype}"):
            result = row.run(operation, arrays, algorithm=algorithm)
            assert_right(row, operation, algorithm, result)
            done += 1
print(json.dumps([machine().vector_bytes, machine().vector_registers, done]))
"""
    found = python(program, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    assert found[:2] == [vector_bytes, 16]
    assert found[2] > 200


def test_emitted_code():
    """Multiply-adds as wide as the machine, and no register of a tile is spilled in its loop."""
    arguments = (types.CPointer(types.float32), *[types.int64] * 5)
    code = CFunc(correlate.function, (arguments, types.void), {}, dict(compiling.OPTIONS))
    code.compile()
    lanes, sums = machine().lanes("float32"), 2 * tile_height(machine())
    if machine().has_fma:
        assert f"@llvm.fma.v{lanes}f32(" in code._library.get_llvm_str()
    if not (X86 and machine().has_fma):
        return
    register = {64: "zmm", 32: "ymm"}[machine().vector_bytes]
    asm = code._library.get_asm_str()
    blocks = re.split(r"^\.?L\w+:.*$", asm, flags=re.MULTILINE)
    loops = [b for b in blocks if len(re.findall(rf"vfmadd\w+ps.*%{register}", b)) == sums]
    assert loops, "no inner loop has all multiply-adds of a tile"
    for loop in loops:
        assert not re.search(rf"%{register}\d+, -?\d*\(%r[sb]p\)", loop), loop
        assert not re.search(rf"-?\d*\(%r[sb]p\), .*%{register}", loop), loop


# --- Processes ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_a_forked_child_goes_on(layer):
    """Used before the fork and again after it, in parallel: no hang, no kill, the same bits."""
    program = """
import json, os, signal, fastconv, numpy as np

rng = np.random.default_rng(1)
x, w = rng.standard_normal((2, 16, 40, 40)), rng.standard_normal((16, 16, 3, 3))
before = fastconv.conv2d(x, w, threads=2)
child = os.fork()
if child == 0:
    signal.alarm(60)
    after = fastconv.conv2d(x, w, threads=2)
    fastconv.grad.conv2d_weight(x, w.shape, after, threads=2)
    os._exit(0 if after.tobytes() == before.tobytes() else 1)
_, status = os.waitpid(child, 0)
again = fastconv.conv2d(x, w, threads=2)
print(json.dumps([status, again.tobytes() == before.tobytes()]))
"""
    environment = {} if layer == "default" else {"NUMBA_THREADING_LAYER": layer}
    assert python(program, NUMBA_NUM_THREADS="2", **environment) == [0, True]


def test_many_python_threads_launch_at_once():
    """Each gets right results, and Numba's threading layer stays out of it (numba#8563)."""
    program = """
import json, fastconv, numpy as np
from concurrent.futures import ThreadPoolExecutor
import numba

rng = np.random.default_rng(1)
w = rng.standard_normal((16, 16, 3, 3))
inputs = [rng.standard_normal((2, 16, 40, 40)) for _ in range(24)]

def both(x):
    y = fastconv.conv2d(x, w, threads=2)
    return y.tobytes() + fastconv.grad.conv2d_weight(x, w.shape, y, threads=2).tobytes()

with ThreadPoolExecutor(6) as pool:
    together = list(pool.map(both, inputs))
try:
    layer = numba.threading_layer()
except ValueError:
    layer = None
print(json.dumps([together == [both(x) for x in inputs], layer]))
"""
    assert python(program, NUMBA_NUM_THREADS="2") == [True, None]


def test_what_importing_imports():
    program = """
import json, sys, fastconv
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules} | {
    name for name in sys.modules if name.startswith("numba.cuda")
})))
"""
    imported = set(python(program))
    optional = {"torch", "matplotlib", "tqdm", "safetensors", "sklearn", "platformdirs"}
    optional |= {"numba.cuda", "numba_cuda", "numba_cuda_mlir", "pytest", "onnxruntime"}
    assert not imported & optional


def test_time_of_importing(tmp_path):
    """At most 0.3 s over Numba's own, or less than Numba itself takes on a slow machine."""
    program = """
import json, time
start = time.perf_counter()
import numba
middle = time.perf_counter()
import fastconv
print(json.dumps([middle - start, time.perf_counter() - middle]))
"""
    # As installed, with Python's bytecode on the disk, even where the tests may not write it.
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    _, *times = (python(program, **bytecode) for _ in range(4))
    numba_alone, ours = zip(*times, strict=True)
    assert statistics.median(ours) < max(0.3, statistics.median(numba_alone))


def test_config_says_what_runs():
    text = fastconv.show_config()
    for fact in (fastconv.__version__, np.__version__, f"{8 * machine().vector_bytes} bits"):
        assert fact in text
