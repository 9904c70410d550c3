"""Filter an image and a sound with fastconv.signal, and time it beside SciPy.

    python examples/filter_signals.py

Every result is compared with SciPy's first; the script fails if one differs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import scipy.ndimage
import scipy.signal

import fastconv
from fastconv import ndimage, signal


def photograph(size: int) -> np.ndarray:
    """A picture to filter: rings, a bright square and noise, float32 from 0 to 1."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    picture = 0.5 + 0.3 * np.sin(150 * (x * x + y * y))
    picture[size // 4 : size // 3, size // 4 : size // 2] = 1
    noise = np.random.default_rng(0).standard_normal((size, size), np.float32)
    return (picture + 0.05 * noise).astype(np.float32)


def gaussian(size: int) -> np.ndarray:
    """A square Gaussian whose cells add up to 1."""
    bell = scipy.signal.windows.gaussian(size, size / 6)
    return (np.outer(bell, bell) / bell.sum() ** 2).astype(np.float32)


def chord(seconds: float, rate: int) -> np.ndarray:
    """Three tones and hiss, float32."""
    t = np.arange(int(seconds * rate), dtype=np.float32) / rate
    tones = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6))
    hiss = np.random.default_rng(1).standard_normal(len(t), np.float32)
    return (0.2 * tones + 0.1 * hiss).astype(np.float32)


def room(seconds: float, rate: int) -> np.ndarray:
    """The echo of a room: noise that fades, float32."""
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(2).standard_normal(len(t))
    return (noise * np.exp(-6 * t / seconds) / 40).astype(np.float32)


def median_ms(call: Callable[[], np.ndarray], repeats: int) -> float:
    """Median time of a call in milliseconds, after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main(arguments: Sequence[str] | None = None) -> None:
    """Filter, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="pixels of a side of the image")
    parser.add_argument("--seconds", type=float, default=10, help="length of the sound")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)

    rate = 44_100
    image, sound = photograph(options.size), chord(options.seconds, rate)
    blur, sharp = gaussian(15), np.float32([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    low_pass, echo = scipy.signal.firwin(101, 0.2).astype(np.float32), room(0.5, rate)

    ours, theirs = signal, scipy.signal
    calls = {
        "blur of 15x15, mirrored border": (
            lambda: ours.convolve2d(image, blur, "same", "symm"),
            lambda: theirs.convolve2d(image, blur, "same", "symm"),
        ),
        "sharpen, 3x3": (
            lambda: ndimage.convolve(image, sharp),
            lambda: scipy.ndimage.convolve(image, sharp),
        ),
        "find a patch of 64x64": (
            lambda: ours.correlate(image, image[:64, :64].copy(), "valid"),
            lambda: theirs.correlate(image, image[:64, :64].copy(), "valid"),
        ),
        "low pass of 101 taps": (
            lambda: ours.convolve(sound, low_pass, "same"),
            lambda: theirs.convolve(sound, low_pass, "same"),
        ),
        "echo of half a second": (
            lambda: ours.convolve(sound, echo),
            lambda: theirs.convolve(sound, echo),
        ),
    }
    print(f"{fastconv.get_threads()} threads; medians of {options.repeats} calls")
    print(f"{'':<34}{'fastconv':>12}{'scipy':>12}{'ratio':>8}")
    for name, (mine, other) in calls.items():
        expected = other()
        worst = abs(mine() - expected).max() / abs(expected).max()
        if not worst < 1e-4:
            raise SystemExit(f"{name}: differs from SciPy by {worst:.1e} of the largest value")
        left, right = median_ms(mine, options.repeats), median_ms(other, options.repeats)
        print(f"{name:<34}{left:>9.2f} ms{right:>9.2f} ms{right / left:>8.1f}")


if __name__ == "__main__":
    main()
