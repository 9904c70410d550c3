"""Learning-rate schedules: factors of the first rate over a training, for `fastconv.nn.fit`.

A schedule is any function of the part of the training that is done, 0 to 1; these make the usual
ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[float], float]


def _check_part(name: str, option: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: {option} must be between 0 and 1, not {value}")
    return float(value)


def _half_cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))


def step(drops: Sequence[float] = (0.5, 0.75), factor: float = 0.1) -> Schedule:
    """Multiply the rate by `factor` at each of some points.

    Parameters
    ----------
    drops : sequence of float, default (0.5, 0.75)
        Parts of the training, each between 0 and 1.
    factor : float, default 0.1

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If a point lies outside 0 to 1, or `factor` is not positive.

    Examples
    --------
    >>> from fastconv.nn import schedules
    >>> rate = schedules.step((0.5,), factor=0.25)
    >>> [rate(done) for done in (0.0, 0.49, 0.5, 1.0)]
    [1.0, 1.0, 0.25, 0.25]
    """
    points = [_check_part("step", "drops", point) for point in drops]
    if not factor > 0:
        raise ValueError(f"step: factor must be positive, not {factor}")
    return lambda done: float(factor) ** sum(done >= point for point in points)


def cosine(warmup: float = 0.0, final: float = 0.0) -> Schedule:
    """Rise in a line to the full rate, then fall along half a cosine.

    Parameters
    ----------
    warmup : float, default 0
        Part of the training that the rise takes.
    final : float, default 0
        Factor at the end.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If `warmup` or `final` lies outside 0 to 1.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
       ICLR 2017.

    Examples
    --------
    >>> from fastconv.nn import schedules
    >>> rate = schedules.cosine(warmup=0.2)
    >>> [round(rate(done), 3) for done in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    rise, last = _check_part("cosine", "warmup", warmup), _check_part("cosine", "final", final)

    def factor(done: float) -> float:
        if done < rise:
            return done / rise
        return _half_cosine(1.0, last, (done - rise) / (1 - rise) if rise < 1 else 1.0)

    return factor


def one_cycle(rise: float = 0.3, first: float = 0.04, final: float = 4e-6) -> Schedule:
    """Rise to the full rate and fall far below the first, both along half a cosine.

    Parameters
    ----------
    rise : float, default 0.3
        Part of the training before the full rate.
    first, final : float, default 0.04 and 4e-6
        Factors at the beginning and the end.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If an argument lies outside 0 to 1.

    References
    ----------
    .. [1] L. Smith and N. Topin, "Super-convergence: very fast training of neural networks using
       large learning rates", 2018.

    Examples
    --------
    >>> from fastconv.nn import schedules
    >>> rate = schedules.one_cycle(rise=0.5, first=0.2, final=0.0)
    >>> [round(rate(done), 3) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.2, 0.6, 1.0, 0.5, 0.0]
    """
    top = _check_part("one_cycle", "rise", rise)
    low = _check_part("one_cycle", "first", first)
    last = _check_part("one_cycle", "final", final)

    def factor(done: float) -> float:
        if done < top:
            return _half_cosine(low, 1.0, done / top)
        return _half_cosine(1.0, last, (done - top) / (1 - top) if top < 1 else 1.0)

    return factor
