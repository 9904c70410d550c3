"""A pytest plugin that puts fastconv.signal's functions in the place of scipy.signal's.

Loaded by `test_scipy_suite` in a process of its own, which runs SciPy's tests. SciPy itself stays
reachable for what our doors hand on; nothing counts as too small for the engine.

Of a test with hundreds of variants every so many-th is run, or all if FASTCONV_EVERY_VARIANT is
set: 11,700 tests in two minutes.
"""

import os
from collections import Counter, defaultdict
from types import SimpleNamespace

import pytest
import scipy.signal

from fastconv import signal
from fastconv.signal import convolution, filtering, planes, spectra

NAMES = tuple(signal.__all__)
VARIANTS = 40
calls: Counter[str] = Counter()


def _counted(name):
    ours = getattr(signal, name)

    def function(*args, **kwargs):
        calls[name] += 1
        return ours(*args, **kwargs)

    return function


def pytest_collection_modifyitems(items):
    """Replace the names in SciPy's test modules, after their decorators have seen the originals."""
    if "FASTCONV_EVERY_VARIANT" not in os.environ:
        _thin_out(items)
    originals = SimpleNamespace(**{name: getattr(scipy.signal, name) for name in NAMES})
    for module in (convolution, filtering, planes, spectra):
        module.scipy_signal = originals
    filtering.SMALLEST = planes.SMALLEST = 0
    run = filtering.run

    def counted(*args, **kwargs):
        calls["engine"] += 1
        return run(*args, **kwargs)

    filtering.run = counted
    for name in NAMES:
        function = _counted(name)
        setattr(scipy.signal, name, function)
        for module in {item.module for item in items}:
            if hasattr(module, name):
                setattr(module, name, function)


def _thin_out(items):
    variants = defaultdict(list)
    for item in items:
        variants[item.cls, item.function].append(item)
    kept = {one for group in variants.values() for one in group[:: -(-len(group) // VARIANTS)]}
    items[:] = [item for item in items if item in kept]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """How often each function, and the engine behind them, was called."""
    counts = ", ".join(f"{name} {count}" for name, count in sorted(calls.items()))
    terminalreporter.write_line(f"fastconv calls: {counts}")
