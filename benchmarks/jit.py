"""Calls inside a user's own nopython code, and users' epilogues: ``python -m benchmarks.jit``.

What they cost: "processes" with cache=True, "loops" over small images, "epilogues" of layers,
"stencils" beside `scipy.ndimage` and `numba.stencil`.
By the rules of `timing`. "Kernels" is the same loop in which the user would call the kernels
himself: recipe known, results allocated beforehand.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import scipy.ndimage

import fastconv
from benchmarks import timing
from fastconv.cpu.memory import address_of, call, set_word, word
from fastconv.cpu.recipe import A_LINE, ANSWER_WORDS, LINE_WORDS, R_PERFORM, R_STATE, USERS_AT
from fastconv.cpu.shared import atomic_add
from fastconv.jit import table

IMAGES = 1000
LAYERS = ((64, 56), (128, 28), (256, 14), (512, 7))  # ResNet's 3x3: channels, size


@numba.njit
def loop(images: Any, weight: Any, bias: Any) -> float:
    """A convolution and a pooling of each image."""
    total = 0.0
    for i in range(len(images)):
        y = fastconv.conv2d(images[i], weight, bias, padding=1, activation="relu")
        total += fastconv.max_pool2d(y, 2)[0, 0, 0]
    return total


@numba.njit(parallel=True)
def parallel_loop(images: Any, weight: Any, bias: Any) -> float:
    """The same, images shared among threads."""
    total = 0.0
    for i in numba.prange(len(images)):
        y = fastconv.conv2d(images[i], weight, bias, padding=1, activation="relu")
        total += fastconv.max_pool2d(y, 2)[0, 0, 0]
    return total


@numba.njit
def kernels(recipes: Any, bases: Any, answer: Any, step: int, count: int) -> None:
    """The launches of `loop` alone: two recipes for each image, whose first base moves on."""
    for _ in range(count):
        for r in range(2):
            recipe, table_at = recipes[r], bases[r]
            state = word(recipe, R_STATE)
            atomic_add(word(state, USERS_AT), word(answer, A_LINE) * LINE_WORDS, 1)
            call(word(recipe, R_PERFORM), recipe, table_at, answer, 0, 0)
        set_word(bases[0], 0, word(bases[0], 0) + step)


def aligned(*shape: int) -> np.ndarray:
    """A new array that begins with a cache line, as results in compiled code do."""
    room = np.empty(math.prod(shape) + 16, np.float32)
    first = -address_of(room) % 64 // 4
    return room[first : first + math.prod(shape)].reshape(shape)


def direct_kernels(images: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> Callable[[], None]:
    """A call of `kernels` for the arrays of `loop`, whose two recipes are made anew."""
    table.forget()
    loop(images[:1], weight, bias)
    made = sorted(table._recipes.values(), key=lambda recipe: -recipe.arrays)
    size = images.shape[-1]
    y = aligned(len(weight), size, size)
    pooled = aligned(len(weight), size // 2, size // 2)
    first = np.zeros(made[0].arrays + 1, np.int64)
    second = np.zeros(made[1].arrays + 1, np.int64)
    answer = np.zeros(ANSWER_WORDS, np.int64)
    recipes = tuple(address_of(recipe.words) for recipe in made)

    def run() -> None:
        first[:4] = [address_of(array) for array in (images, weight, bias, y)]
        second[:2] = address_of(y), address_of(pooled)
        bases = address_of(first), address_of(second)
        kernels(recipes, bases, address_of(answer), images[0].nbytes, len(images))

    return run


def measured(
    sides: dict[str, Callable[[], Any]], rounds: int
) -> tuple[Callable[[str, str], float], Callable[[str], float], str]:
    """The ratio of two sides, the milliseconds of one, and a word where others disturbed them."""
    for side in sides.values():
        side()
    found = timing.measure(sides, repeats=rounds, attempts=2)
    times = found.timings
    note = "  disturbed" if found.void else ""
    return (lambda a, b: timing.ratio(times[a], times[b])), (lambda a: 1e3 * times[a].median), note


def loops() -> None:
    """A user's loop against the kernels alone, and on all cores."""
    random = np.random.default_rng(0)
    print(f"conv2d 3x3 + max_pool2d over {IMAGES} images, ms; {numba.get_num_threads()} threads")
    for channels, out_channels, size in ((3, 16, 32), (8, 16, 16), (16, 32, 24)):
        shape = (IMAGES, channels, size, size)
        images = random.standard_normal(shape, np.float32)
        weight = random.standard_normal((out_channels, channels, 3, 3), np.float32)
        arrays = images, weight, np.zeros(out_channels, np.float32)
        sides: dict[str, Callable[[], Any]] = {
            "kernels": direct_kernels(*arrays),
            "loop": lambda arrays=arrays: loop(*arrays),
            "prange": lambda arrays=arrays: parallel_loop(*arrays),
        }
        ratio, took, note = measured(sides, 15)
        print(
            f"  {channels}x{size}x{size} -> {out_channels}: kernels {took('kernels'):.2f}, "
            f"loop {took('loop'):.2f} ({ratio('loop', 'kernels'):.3f} times), "
            f"prange {took('prange'):.2f} (speed-up {ratio('loop', 'prange'):.2f}){note}",
            flush=True,
        )


def epilogues() -> None:
    """What epilogues add to a planned ResNet layer, and what a second pass adds."""
    random = np.random.default_rng(0)
    print("epilogues on ResNet's 3x3 layers, planned, channels-last, times of a plain convolution")
    for channels, size in LAYERS:
        x = fastconv.channels_last(random.standard_normal((1, channels, size, size), np.float32))
        w = random.standard_normal((channels, channels, 3, 3), np.float32)
        scale, offset = (random.standard_normal(channels, np.float32) for _ in range(2))
        for algorithm in ("direct", "winograd_f4"):
            options: dict[str, Any] = {"padding": 1, "algorithm": algorithm}
            options["memory_format"] = "channels_last"
            plain = fastconv.plan(x.shape, w, **options)
            clip = fastconv.plan(x.shape, w, epilogue=lambda a: max(a, 0) * 0.5 + 0.1, **options)
            affine = fastconv.plan(
                x.shape,
                w,
                epilogue=lambda a, s, t: a * s + t,
                epilogue_args=(scale, offset),
                **options,
            )
            sides = {
                "plain": lambda plain=plain, x=x: plain(x),
                "clip": lambda clip=clip, x=x: clip(x),
                "affine": lambda affine=affine, x=x: affine(x),
                "numpy": lambda plain=plain, x=x: np.maximum(plain(x), 0) * 0.5 + 0.1,
            }
            ratio, _, note = measured(sides, 15)
            print(
                f"  {channels}x{size}x{size} {algorithm}: max(a, 0) * 0.5 + 0.1 "
                f"{ratio('clip', 'plain'):.3f}, a * scale + offset {ratio('affine', 'plain'):.3f}, "
                f"the first in NumPy afterwards {ratio('numpy', 'plain'):.2f}{note}",
                flush=True,
            )


@numba.stencil(standard_indexing=("w",))
def _dilated(x: Any, w: Any) -> Any:
    """The largest of nine sums; a result of zero at the border."""
    top = max(x[-1, -1] + w[0, 0], x[-1, 0] + w[0, 1], x[-1, 1] + w[0, 2])
    middle = max(x[0, -1] + w[1, 0], x[0, 0] + w[1, 1], x[0, 1] + w[1, 2])
    return max(top, middle, x[1, -1] + w[2, 0], x[1, 0] + w[2, 1], x[1, 1] + w[2, 2])


@numba.njit(parallel=True)
def numba_stencil(x: Any, w: Any) -> Any:
    """The stencil on all cores."""
    return _dilated(x, w)


def stencils() -> None:
    """Grey-scale dilation of an image, and the same as a user of Numba would write it."""
    random = np.random.default_rng(0)
    print("grey-scale dilation of 1024 x 1024, ms")
    for dtype, taps in itertools.product(("float32", "float64"), (3, 5, 9)):
        x = random.standard_normal((1024, 1024)).astype(dtype)
        w = random.standard_normal((taps, taps)).astype(dtype)
        border: dict[str, Any] = {"padding": taps // 2, "padding_value": -np.inf}
        sides: dict[str, Callable[[], Any]] = {
            "fastconv": lambda x=x, w=w, border=border: fastconv.stencil(
                x, w[::-1, ::-1], lambda x, w: x + w, max, **border
            ),
            "scipy.ndimage": lambda x=x, w=w: scipy.ndimage.grey_dilation(
                x, structure=w, mode="constant", cval=-np.inf
            ),
        }
        assert np.array_equal(sides["fastconv"](), sides["scipy.ndimage"]())
        if taps == 3:
            sides["numba.stencil"] = lambda x=x, w=w: numba_stencil(x, w)
        _, took, note = measured(sides, 5)
        text = ", ".join(f"{name} {took(name):.2f}" for name in sides)
        print(f"  {taps}x{taps} {dtype}: {text}{note}", flush=True)


_CACHED = """
import time
import numba, numpy as np, fastconv
begun = time.perf_counter()
@numba.njit(cache=True)
def net(x, w):
    return fastconv.max_pool2d(fastconv.conv2d(x, w, padding=1, activation="relu"), 2)
x, w = np.ones((1, 2, 8, 8), np.float32), np.ones((3, 2, 3, 3), np.float32)
net.compile((numba.typeof(x), numba.typeof(w)))
compiled = time.perf_counter()
net(x, w)
print(compiled - begun, time.perf_counter() - compiled)
"""


def processes() -> None:
    """A function with cache=True in its first and in its second process."""
    print("a function with conv2d + max_pool2d and cache=True, seconds")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "user.py"
        program.write_text(_CACHED)
        environment = dict(os.environ, NUMBA_CACHE_DIR=folder)
        for name in ("first process", "second process"):
            done = subprocess.run(
                [sys.executable, str(program)],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
            compiling, calling = map(float, done.stdout.split())
            print(f"  {name}: compile or load {compiling:.2f}, first call {calling:.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for."""
    tables = {f.__name__: f for f in (processes, loops, epilogues, stencils)}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jit", description=__doc__)
    parser.add_argument("tables", nargs="*", help=f"some of {', '.join(tables)}; default: all")
    options = parser.parse_args(arguments)
    unknown = set(options.tables) - set(tables)
    if unknown:
        parser.error(f"unknown tables {sorted(unknown)}")
    for title in options.tables or tables:
        tables[title]()


if __name__ == "__main__":
    main()
