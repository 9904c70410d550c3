"""Our own threads: every piece is done once, and no launch waits for who has not begun."""

import ctypes
import threading
import time

import numpy as np
import pytest

from fastconv.cpu.compile import Kernel
from fastconv.cpu.memory import address_of, set_word, word
from fastconv.cpu.shared import atomic_add, atomic_word
from fastconv.cpu.team import BOX, MOST_REGIONS, RESERVED, Team, share


def count(element, job, operands, begin, end, thread):
    """Count each item, and leave who did it."""
    for item in range(begin, end):
        atomic_add(word(operands, 0), item, 1)
        set_word(word(operands, 1), item, thread)


def hold(element, job, operands, begin, end, thread):
    """Say that an item is under way, which ends when the job says so.

    Those of the launching thread end when so many are under way.
    """
    for _ in range(begin, end):
        atomic_add(operands, 0, 1)
        while atomic_word(job, 0) == 0:
            if thread == 0 and atomic_word(operands, 0) == word(operands, 1):
                break


def launch(element, team, launched, items, threads, unused):
    """A launch as compiled code starts it: a kernel's address, its job and its operands."""
    share(team, word(launched, 0), word(launched, 1), word(launched, 2), items, threads)


COUNT, HOLD, LAUNCH = (Kernel(f, ("int64",), on_disk=False) for f in (count, hold, launch))


def words(*numbers):
    return np.array(numbers, np.int64)


@pytest.fixture(scope="module")
def crowd():
    """A team of four, on however many cores."""
    made = Team(3)
    made.grow(4)
    assert made.workers == 3
    return made


@pytest.fixture
def start():
    """Start launches, without the interpreter's lock as all are."""
    code = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)(LAUNCH.address("int64"))

    def started(team, kernel, job, operands, items, threads):
        launched = words(kernel.address("int64"), address_of(job), address_of(operands))
        code(0, team.address, address_of(launched), items, threads, 0)

    return started


def counted(start, team, items, threads):
    """Who did each item, each of which was done once."""
    times, who = np.zeros(items, np.int64), np.full(items, -1)
    start(team, COUNT, times, words(address_of(times), address_of(who)), items, threads)
    assert (times == 1).all()
    assert who.min() >= 0 and who.max() < threads
    return who


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7, MOST_REGIONS + 5])
def test_every_item_is_done_once(crowd, start, threads):
    for items in [1, 2, 3, 5, 8, 31, 1000]:
        for _ in range(20):
            counted(start, crowd, items, threads)


def test_workers_that_sleep(crowd, start):
    """They do after 50 us, and come again."""
    for pause in [0, 20e-6, 45e-6, 60e-6, 1e-3] * 20:
        time.sleep(pause)
        counted(start, crowd, 64, 4)


def test_a_launch_does_the_work_of_who_does_not_come(crowd, start):
    """As beside other processes, where a thread may wait for a core."""
    time.sleep(0.05)
    boxes = crowd._lines[1:, BOX]
    before = boxes.copy()
    boxes[:] = RESERVED
    try:
        assert (counted(start, crowd, 64, 4) == 0).all()
    finally:
        boxes[:] = before
    other = Team(2)  # nobody has been started
    assert (counted(start, other, 64, 3) == 0).all()


def test_launches_at_once(crowd, start):
    """A second one is done beside a first that has all the workers, and waits for none."""
    ended, under_way = words(0), words(0, 4)
    first = threading.Thread(target=start, args=(crowd, HOLD, ended, under_way, 4, 4))
    first.start()
    while under_way[0] < 4:
        time.sleep(1e-3)
    assert (counted(start, crowd, 64, 4) == 0).all()
    time.sleep(0.01)  # its own piece is done, it sleeps until theirs are
    ended[0] = 1
    first.join(20)
    assert not first.is_alive()
    counted(start, crowd, 64, 4)


def test_a_launch_waits_for_pieces_under_way(crowd, start):
    """It sleeps meanwhile."""
    for waiting in [0, 1e-4, 1e-2] * 5:
        ended, under_way = words(0), words(0, 2)
        launching = threading.Thread(target=start, args=(crowd, HOLD, ended, under_way, 2, 2))
        launching.start()
        while under_way[0] < 2:
            time.sleep(1e-4)
        time.sleep(waiting)
        assert launching.is_alive()
        ended[0] = 1
        launching.join(20)
        assert not launching.is_alive()
    counted(start, crowd, 64, 4)


def test_many_threads_launch(crowd, start):
    wrong = []

    def work(seed):
        random = np.random.default_rng(seed)
        try:
            for _ in range(300):
                counted(start, crowd, int(random.integers(1, 100)), int(random.integers(1, 6)))
        except AssertionError as error:
            wrong.append(error)

    started = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in started)
