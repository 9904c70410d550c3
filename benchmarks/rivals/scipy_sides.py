"""scipy.signal and scipy.ndimage, for one channel, stride 1 and borders that they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.cases import ConvCase, per_axis
from benchmarks.problem import Problem, Side

DIRECT_LIMIT = 3e8  # multiply-adds; above it direct sums take far longer than an FFT


class Scipy:
    """scipy.signal and scipy.ndimage, for one channel, stride 1 and borders that they have."""

    name = "scipy"
    offers = (
        "forward of one channel: scipy.signal's direct sums and scipy.ndimage where they take less "
        "than seconds, and the FFT of the whole or in blocks (oa)"
    )

    def __init__(self, threads: int) -> None:
        import scipy

        self.version, self._threads = scipy.__version__, threads

    def sides(self, problem: Problem) -> Iterator[Side]:
        """See `Rival`."""
        from scipy import ndimage, signal

        mode = _mode(problem)
        if mode is None:
            return
        x, w = problem.operands["x"][0, 0], problem.operands["w"][0, 0]
        flipped = np.ascontiguousarray(np.flip(w))
        if problem.flops / 2 <= DIRECT_LIMIT:
            if x.ndim == 2:
                yield Side("scipy.signal direct", lambda: signal.correlate2d(x, w, mode))
            else:
                yield Side("scipy.signal direct", lambda: signal.correlate(x, w, mode, "direct"))
            odd = all(size % 2 for size in w.shape)
            if mode == "same" and odd:
                yield Side(
                    "scipy.ndimage",
                    lambda: ndimage.correlate(x, w, mode="constant", output=x.dtype),
                )
        yield Side("scipy.signal fft", self._threaded(signal.fftconvolve, x, flipped, mode))
        yield Side("scipy.signal oa fft", self._threaded(signal.oaconvolve, x, flipped, mode))

    def _threaded(self, function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        from scipy import fft

        def call() -> Any:
            with fft.set_workers(self._threads):
                return function(*arguments)

        return call


def _mode(problem: Problem) -> str | None:
    """What scipy calls the padding, if it can do the problem at all."""
    case = problem.case
    if problem.operation != "forward" or problem.batch != 1 or not isinstance(case, ConvCase):
        return None
    plain = case.channels == case.out_channels == 1 and not case.transposed
    ones = (*per_axis(case.stride, case.rank), *per_axis(case.dilation, case.rank))
    if not plain or set(ones) != {1}:
        return None
    if case.padding_pairs == tuple(((k - 1) // 2, k // 2) for k in case.kernel):
        return "same"
    return "valid" if not any(map(any, case.padding_pairs)) else None
