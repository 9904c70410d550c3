"""Streams: work goes to the current one, and waits for what another does with its arrays."""

import threading

import numpy as np
import pytest

import fastconv
from fastconv.cuda import backend
from fastconv.cuda.backend import cuda, use_stream

X = np.random.default_rng(0).integers(-4, 5, (1, 2, 6)).astype(np.float32)


def address(stream):
    return 1 if backend.SIMULATED else int(stream)


class OfTorch:
    def __init__(self, stream):
        self.cuda_stream = address(stream)


class OfCupy:
    def __init__(self, stream):
        self.ptr = address(stream)


def happened(notes, *kinds):
    """(what, stream) of some kinds of notes, in their order."""
    return [(what, stream) for what, stream, _ in notes if what in kinds]


@pytest.mark.parametrize("of", [lambda s: s, OfTorch, OfCupy, address])
def test_launches_go_to_the_current_stream(of, notes):
    stream = cuda.stream()
    with use_stream(of(stream)):
        x = fastconv.to_device(X)
        y = fastconv.max_pool1d(x, 2)
        assert y.__cuda_array_interface__["stream"] == address(stream)
        found = y.copy_to_host()
    assert np.array_equal(found, fastconv.max_pool1d(X, 2))
    if notes is not None:
        assert set(happened(notes, "launch", "copy in", "copy out")) == {
            (what, address(stream)) for what in ("launch", "copy in", "copy out")
        }
    assert backend.current_stream().address == 1


def test_another_stream_waits_for_the_first(notes):
    """Also for tables that an engine keeps, and when an array only goes to the host."""
    first, second = cuda.stream(), cuda.stream()
    with use_stream(first):
        y = fastconv.max_pool1d(fastconv.to_device(X), 2)
    with use_stream(second):
        if notes is not None:
            notes.clear()
        z = y + 1
        if notes is not None:
            assert happened(notes, "record", "wait", "launch")[:3] == [
                ("record", address(first)),
                ("wait", address(second)),
                ("launch", address(second)),
            ]
            notes.clear()
        z = z + 1
        if notes is not None:
            assert happened(notes, "record", "wait", "launch") == [("launch", address(second))]
            notes.clear()
    found = z.copy_to_host()
    if notes is not None:
        assert happened(notes, "record", "wait") == [("record", address(second)), ("wait", 0)]
    assert np.array_equal(found, fastconv.max_pool1d(X, 2) + 2)


def test_memory_of_two_streams_is_not_reused():
    """One of them may still read it when the other is done."""
    x = fastconv.to_device(X)
    stays = x._owner
    assert not stays._roams
    with use_stream(cuda.stream()):
        y = x + 1
    if not backend.SIMULATED:
        assert stays._roams and not y._owner._roams


def test_each_thread_has_its_own():
    seen = []
    with use_stream(cuda.stream()):
        thread = threading.Thread(target=lambda: seen.append(backend.current_stream().address))
        thread.start()
        thread.join()
    assert seen == [1]


def test_what_is_no_stream():
    if backend.SIMULATED:
        return
    wrong = use_stream("default")
    with pytest.raises(TypeError, match=r"use_stream: stream must be one of Numba, .* not str"):
        wrong.__enter__()


def test_arrays_of_the_package():
    """Its own device arrays, in and out."""
    if backend.SIMULATED:  # they have no interface there
        return
    x = cuda.to_device(X)
    y = fastconv.max_pool1d(x, 2)
    assert np.array_equal(y.copy_to_host(), fastconv.max_pool1d(X, 2))
    assert np.array_equal(cuda.as_cuda_array(y).copy_to_host(), y.copy_to_host())
