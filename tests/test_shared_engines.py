"""Engines are remembered, so several Python threads use one at a time."""

import numpy as np
import pytest
from conv_cases import case, integers

import fastconv
from fastconv.choose import _plan
from fastconv.cpu.engine import Correlations
from fastconv.cpu.gradient_engine import WeightGradient


class Cleared(dict):
    """A memory of jobs that another thread clears as soon as something was put into it."""

    def __setitem__(self, key, value):
        pass


@pytest.mark.parametrize("engine", [Correlations, WeightGradient])
def test_a_job_that_was_just_made_is_not_lost(engine, monkeypatch):
    original = engine.__init__

    def with_lossy_memory(self, *arguments):
        original(self, *arguments)
        self._jobs = Cleared()

    monkeypatch.setattr(engine, "__init__", with_lossy_memory)
    _plan.cache_clear()
    row = case("one", (1, 2, 9), (3, 2, 3))
    x, w, dy = integers(row.input), integers(row.weight, 1), integers(row.output, 2)
    assert np.array_equal(fastconv.conv1d(x, w)[0, 0, 0], (x[0, :, :3] * w[0]).sum())
    assert fastconv.grad.conv1d_weight(x, w.shape, dy)[0, 0, 0] == (x[0, 0, :7] * dy[0, 0]).sum()
    _plan.cache_clear()
