"""Estimates of the algorithms: what they count."""

import numpy as np
import pytest
import scipy.fft

from fastconv.algorithms import ALGORITHMS
from fastconv.choose import plan_conv
from fastconv.cpu.fourier_engine import fast_size
from fastconv.estimates import Task
from fastconv.geometry import ConvGeometry


def test_sizes_of_transforms_are_those_that_scipy_likes():
    for least in (*range(1, 2000), 10**6 + 1, 2**31 + 1):
        assert fast_size(least) == scipy.fft.next_fast_len(least, True)


@pytest.mark.parametrize("row", ALGORITHMS, ids=lambda row: row.name)
def test_weights_that_come_with_the_call_cost_time(row):
    """Even where transforming them is most of the work."""
    taps = 3 if "winograd" in row.name else 5
    groups = 64 if row.name in ("depthwise", "grouped") else 1
    weight = (192, 64 // groups, taps, taps)
    geometry = ConvGeometry.forward("test", 2, (1, 64, 27, 27), weight, groups=groups)
    task = Task(geometry, "float32", "forward", True, True)
    planned, functional = row.estimate(task), row.estimate(task._replace(planned=False))
    assert planned.seconds < functional.seconds
    if row.name == "fourier":
        assert 2 * planned.seconds < functional.seconds


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("planned", [False, True])
def test_tens_of_taps_of_many_channels_are_no_work_for_spectra(batch, planned):
    """The products of small tiles' spectra took three times as long as was thought."""
    shape, weight = (batch, 64, 27, 27), (192, 64, 5, 5)
    geometry = ConvGeometry.forward("test", 2, shape, weight, padding=2)
    decision, _ = plan_conv("test", geometry, np.dtype("float32"), "forward", packed=planned)
    seconds = {v.algorithm: v.seconds for v in decision.verdicts}
    assert seconds["direct"] < seconds["fourier"]


def test_a_signal_costs_what_a_picture_of_one_row_costs():
    signal = ConvGeometry.forward("test", 1, (1, 64, 4000), (96, 64, 3))
    picture = ConvGeometry.forward("test", 2, (1, 64, 1, 4000), (96, 64, 1, 3))
    for row in ALGORITHMS:
        if row.name not in ("depthwise", "grouped", "sliding"):
            costs = [
                row.estimate(Task(g, "float32", "forward", True, True)) for g in (signal, picture)
            ]
            assert costs[0] == costs[1], row.name
