"""fastconv.signal beside SciPy: ``python -m benchmarks.signal``.

Three tables: the same call of both libraries; filtering of one image against the fastest way that
SciPy has; and a grid of sizes from 8 to 10^6 cells, where nothing should be slower than 0.9 times.
By the rules of `timing`; ratios are SciPy's time over ours in one run, defeats are listed last.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
import scipy.ndimage
import scipy.signal

import fastconv
from benchmarks import timing
from benchmarks.setting import describe_machine
from fastconv import signal

SLOWEST = 0.9  # the goal of the grid


class Row(NamedTuple):
    """One comparison: a name, ours, SciPy's by name, and the least ratio that is wanted."""

    name: str
    ours: Callable[[], Any]
    theirs: dict[str, Callable[[], Any]]
    goal: float


def numbers(shape: int | tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def call(door: str, *arguments: Any, goal: float, note: str = "") -> Row:
    """The same call of both libraries."""
    shapes = " * ".join("x".join(map(str, a.shape)) for a in arguments[:2])
    options = " ".join(map(str, arguments[2:]))
    name = f"{door} {shapes} {arguments[0].dtype} {options}{note}"
    ours, theirs = getattr(signal, door), getattr(scipy.signal, door)
    return Row(name, lambda: ours(*arguments), {door: lambda: theirs(*arguments)}, goal)


def claims() -> Iterator[Row]:
    """What is claimed of single calls."""
    image, sound, volume = (1024, 1024), 441_000, (128, 128, 128)
    for dtype in ("float32", "float64"):
        x = numbers(image, dtype, 1)
        yield call("correlate2d", x, numbers((15, 15), dtype, 2), "same", goal=50)
        y = numbers(sound, dtype, 3)
        yield call("convolve", y, numbers(64, dtype, 4), goal=5)
        yield call("convolve", y, numbers(4096, dtype, 5), goal=1.5)
        yield call("oaconvolve", x, numbers((31, 31), dtype, 6), "same", goal=1.2)
        yield call("fftconvolve", x, numbers((63, 63), dtype, 7), "same", goal=1.2)
        yield call("fftconvolve", x, numbers(image, dtype, 8), "same", goal=1.2)
        yield call("oaconvolve", y, numbers(4096, dtype, 9), goal=1.2)
        v = numbers(volume, dtype, 10)
        yield call("convolve", v, numbers((7, 7, 7), dtype, 11), "same", goal=5)
    pixels = np.random.default_rng(12).integers(0, 256, image, np.uint8).astype(np.int32)
    yield call("convolve2d", pixels, np.arange(25, dtype=np.int32).reshape(5, 5), "same", goal=5)


def filtering() -> Iterator[Row]:
    """One image of 1024 x 1024 and square filters, against whatever is fastest in SciPy."""
    for dtype in ("float32", "float64"):
        x = numbers((1024, 1024), dtype, 1)
        for size in (3, 5, 7, 9, 11, 15, 19, 23, 27, 31):
            w = numbers((size, size), dtype, size)
            theirs = {
                "fftconvolve": lambda x=x, w=w: scipy.signal.fftconvolve(x, w, "same"),
                "oaconvolve": lambda x=x, w=w: scipy.signal.oaconvolve(x, w, "same"),
            }
            if size <= 11:
                theirs["ndimage"] = lambda x=x, w=w: scipy.ndimage.convolve(x, w, mode="constant")
                theirs["convolve2d"] = lambda x=x, w=w: scipy.signal.convolve2d(x, w, "same")
            name = f"filter of {size}x{size}, {dtype}"
            yield Row(name, lambda x=x, w=w: signal.convolve2d(x, w, "same"), theirs, 5)


def grid() -> Iterator[Row]:
    """Signals and images from 8 to 10^6 cells with short and long kernels."""
    for dtype in ("float32", "float64"):
        for cells in (8, 64, 512, 4096, 32_768, 262_144, 1_000_000):
            for taps in (3, 16, 101, 1024, 8192):
                if taps <= cells:
                    x, w = numbers(cells, dtype, 1), numbers(taps, dtype, 2)
                    for door in ("convolve", "correlate", "fftconvolve", "oaconvolve"):
                        yield call(door, x, w, "same", goal=SLOWEST)
        for side in (3, 8, 32, 100, 316, 1000):
            for taps in (3, 7, 15, 63, 255):
                if taps <= side:
                    x, w = numbers((side, side), dtype, 3), numbers((taps, taps), dtype, 4)
                    for door in ("convolve", "convolve2d", "fftconvolve", "oaconvolve"):
                        if door != "convolve2d" or side * taps < 10_000:
                            yield call(door, x, w, "same", goal=SLOWEST)


def compare(row: Row, repeats: int, block_seconds: float) -> tuple[float, str, timing.Measurement]:
    """SciPy's best time over ours, and which call that was; results are compared first."""
    ours, theirs = row.ours(), [side() for side in row.theirs.values()]
    scale = abs(theirs[0]).max() or 1
    for other in theirs:
        worst = abs(ours - other).max() / scale
        assert worst < 1e-3, f"{row.name}: results differ by {worst:g} of the largest"
    sides = {"ours": row.ours, **row.theirs}
    found = timing.measure(sides, repeats=repeats, block_seconds=block_seconds, attempts=2)
    best = min(row.theirs, key=lambda name: found.timings[name].median)
    return timing.ratio(found.timings[best], found.timings["ours"]), best, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables that were asked for; 1 if something is slower than its goal."""
    tables = {"claims": claims, "filtering": filtering, "grid": grid}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signal", description=__doc__)
    parser.add_argument("tables", nargs="*", help=f"some of {', '.join(tables)}; default: all")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--repeats", type=int, default=timing.MINIMUM_REPEATS)
    parser.add_argument("--block-seconds", type=float, default=0.02)
    options = parser.parse_args(arguments)
    unknown = set(options.tables) - set(tables)
    if unknown:
        parser.error(f"unknown tables {sorted(unknown)}")
    print(f"{describe_machine()}, {fastconv.get_threads()} threads")
    print(f"fastconv {fastconv.__version__}, scipy {scipy.__version__}, numpy {np.__version__}")
    missed = []
    for title in options.tables or tables:
        print(f"\n{title:<58} {'ours ms':>9} {'scipy ms':>9} {'ratio':>7} {'goal':>5}")
        for row in tables[title]():
            if options.only not in row.name:
                continue
            ratio, best, found = compare(row, options.repeats, options.block_seconds)
            ours, theirs = (1e3 * found.timings[side].median for side in ("ours", best))
            note = "  disturbed" if found.void else ""
            line = f"{row.name:<58} {ours:9.3f} {theirs:9.3f} {ratio:7.2f} {row.goal:5.4g}"
            print(f"{line}  {best}{note}", flush=True)
            if ratio < row.goal:
                missed.append(line)
    print(f"\n{len(missed)} below their goal" + "".join(f"\n{line}" for line in missed))
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
