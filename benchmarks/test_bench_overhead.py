"""pytest-benchmark: what a call costs before it computes."""

from __future__ import annotations

from typing import Any

import pytest

import fastconv
from benchmarks.small_calls import our_calls

NAMES = (
    "conv2d",
    "plan, out",
    "conv2d_input",
    "conv2d_weight",
    "max_pool2d",
    "grad.max_pool2d",
    "avg_pool2d",
    "linear",
)


@pytest.mark.parametrize("name", NAMES)
def test_overhead(benchmark: Any, name: str) -> None:
    call = our_calls()[name]
    with fastconv.threads(1):
        benchmark(call)
