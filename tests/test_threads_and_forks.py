"""Many Python threads at once, and processes started in every way, under each threading layer."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import pytest
from reliability.forks import CASES, answer
from reliability.processes import run

import fastconv


@pytest.fixture(scope="module", params=["omp", "workqueue", "tbb"])
def layer(request):
    program = "import numba; numba.get_num_threads()"
    if run("-c", program, NUMBA_THREADING_LAYER=request.param).status:
        pytest.skip(f"there is no {request.param}")
    return request.param


def test_sixteen_threads_call_everything(layer):
    """No abort, no wrong bit, and a user's own parallel loop beside them."""
    said = run(
        *("-m", "tests.reliability.threads", "--seconds", "2"),
        NUMBA_THREADING_LAYER=layer,
        NUMBA_NUM_THREADS="3",
    ).said
    assert said["wrong"] == [] and said["layer"] == layer
    assert said["calls"] > 50  # 5,000 on an idle machine


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")
@pytest.mark.parametrize("name", [name for name in CASES if "compiles" not in name])
def test_processes(name, layer):
    if layer != "omp" and "processes by" in name:
        pytest.skip("that the layer matters not is shown by os.fork")
    settings = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    assert run("-m", "tests.reliability.forks", name, **settings).said == ["the same bits", layer]


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")
def test_a_fork_waits_for_the_compiler(tmp_path):
    """Else the child waits for ever for a thread that it has not."""
    name = "os.fork while another thread compiles"
    settings = {"FASTCONV_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}
    assert run("-m", "tests.reliability.forks", name, **settings).said[0] == "the same bits"


def test_workers_of_executors():
    """Threads of concurrent.futures, joblib and dask, if they are installed."""
    before = answer()
    with ThreadPoolExecutor(4) as executor:
        assert set(executor.map(answer, [0] * 12)) == {before}
    joblib = pytest.importorskip("joblib")
    for backend in ("threading", "loky"):
        if backend == "loky" and numba.config.NUMBA_NUM_THREADS < 2:
            continue
        found = joblib.Parallel(n_jobs=2, backend=backend)(
            joblib.delayed(answer)() for _ in range(4)
        )
        assert set(found) == {before}


def test_dask_workers():
    dask = pytest.importorskip("dask")
    found = dask.compute(*[dask.delayed(answer)() for _ in range(6)], scheduler="threads")
    assert set(found) == {answer()}


def test_threads_of_each_python_thread():
    """set_threads is the calling thread's own affair."""
    seen = {}

    def work(count):
        fastconv.set_threads(count)
        time.sleep(0.05)
        seen[count] = fastconv.get_threads()

    before = fastconv.get_threads()
    started = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert seen == {n: min(n, numba.config.NUMBA_NUM_THREADS) for n in (1, 2, 3)}
    assert fastconv.get_threads() == before


def test_a_call_while_the_interpreter_ends():
    """An exit handler may still convolve, when no thread can be started any more."""
    program = """
import atexit, numpy as np, fastconv
x, w = np.ones((1, 2, 50)), np.ones((1, 2, 3))

@atexit.register
def last():
    assert (fastconv.conv1d(x, w, threads=2) == 6).all()
    print("right")
"""
    done = run("-c", program, NUMBA_NUM_THREADS="2")
    assert done.output == "right\n", done


def test_an_interrupt_leaves_a_usable_process():
    """Ctrl-C in the middle of long calls."""
    program = """
import os, signal, threading, time, numpy as np, fastconv
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
x, w = np.ones((4, 32, 60, 60)), np.ones((32, 32, 3, 3))
right = fastconv.conv2d(x, w, threads=2)
stopped = 0
for _ in range(20):
    try:
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
        while True:
            fastconv.conv2d(x, w, threads=2)
    except KeyboardInterrupt:
        stopped += 1
    assert np.array_equal(fastconv.conv2d(x, w, threads=2), right)
print(stopped)
"""
    done = run("-c", program, NUMBA_NUM_THREADS="2")
    assert done.output == "20\n", done
