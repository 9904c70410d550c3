"""Memory of results: reused only after the last array that shows it, and never without bound."""

import gc
import threading

import numpy as np
import pytest

import fastconv
from fastconv import recycling

SIZE = 4 * recycling.SMALLEST


@pytest.fixture(autouse=True)
def empty_store():
    gc.collect()
    recycling._store.clear()
    yield
    recycling._store.clear()


def address(x):
    return x.__array_interface__["data"][0]


def test_memory_comes_back_after_the_last_view():
    x = recycling.empty((SIZE // 4,), np.float32)
    first, view = address(x), x[5:].reshape(-1, 1)
    del x
    assert not recycling._store  # the view still shows it
    assert address(recycling.empty((SIZE // 4,), np.float32)) != first
    recycling._store.clear()
    del view
    assert len(recycling._store) == 1
    again = recycling.empty((SIZE // 8,), np.float64)  # another dtype of as many bytes
    assert address(again) == first
    assert again.flags.writeable and again.flags.c_contiguous and again.flags.aligned


def test_results_of_calls_never_share_memory():
    x = np.random.default_rng(0).standard_normal((2, 4, 64, 64)).astype(np.float32)
    w = np.ones((8, 4, 3, 3), np.float32)
    kept = [fastconv.conv2d(x * n, w, padding=1) for n in range(6)]
    for n, result in enumerate(kept):
        np.testing.assert_array_equal(result, fastconv.conv2d(x * n, w, padding=1))
    for i, one in enumerate(kept):
        assert not any(np.shares_memory(one, other) for other in kept[i + 1 :])


def test_small_and_very_large_arrays_are_not_kept():
    for size in (recycling.SMALLEST - 1, recycling.LARGEST + 1):
        x = recycling.empty((size,), np.uint8)
        del x
        assert not recycling._store


def test_the_store_is_bounded(monkeypatch):
    monkeypatch.setattr(recycling, "MOST_BYTES", 3 * SIZE)
    many = [recycling.empty((SIZE,), np.uint8) for _ in range(recycling.MOST_BLOCKS + 9)]
    del many
    assert sum(len(memory) for memory, _, _ in recycling._store) <= 3 * SIZE


def test_many_threads():
    """Each thread fills arrays with its own number and must find it there."""
    wrong = []

    def work(number):
        for _ in range(300):
            one = recycling.empty((SIZE,), np.uint8)
            one[:] = number
            other = recycling.empty((SIZE,), np.uint8)
            other[:] = number + 100
            if (one != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
