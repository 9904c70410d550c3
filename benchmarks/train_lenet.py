"""Training throughput: LeNet-5 by fastconv.nn and by PyTorch, steps in turn on the same images.

``python -m benchmarks.train_lenet --batch 64 --threads 2``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

import fastconv
from benchmarks.compare import describe_machine
from benchmarks.rivals import limit_blas
from benchmarks.timing import MINIMUM_REPEATS, Measurement, first_call, measure, ratio

Step = Callable[[], float]  # trains on the next batch and returns its loss
IMAGES = 1024
RATE, MOMENTUM = 0.01, 0.9


class Batches:
    """The same batches in the same order for everyone, without end."""

    def __init__(self, size: int) -> None:
        rng = np.random.default_rng(0)
        self._images = rng.random((IMAGES, 1, 28, 28), dtype=np.float32)
        self._labels = rng.integers(0, 10, IMAGES)
        self._size, self._next = size, 0

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 1, 28, 28) and classes (N,)."""
        chosen = slice(self._next, self._next + self._size)
        self._next += self._size
        if self._next + self._size > IMAGES:
            self._next = 0
        return self._images[chosen], self._labels[chosen]


def our_step(batch: int) -> tuple[Step, dict[str, np.ndarray]]:
    """A step by fastconv.nn, and a copy of the weights that it starts from."""
    from fastconv import nn

    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, rng=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120, rng=2),
        nn.ReLU(),
        nn.Linear(120, 84, rng=3),
        nn.ReLU(),
        nn.Linear(84, 10, rng=4),
    )
    optimizer = nn.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    batches = Batches(batch)

    def step() -> float:
        images, labels = batches()
        loss, gradient = nn.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        model.backward(gradient, input_gradient=False)
        optimizer.step()
        return float(loss)

    return step, {name: np.array(value) for name, value in model.state_dict().items()}


def torch_step(batch: int, weights: dict[str, np.ndarray], channels_last: bool) -> Step:
    """The same step by PyTorch, from the same weights."""
    import torch
    from torch import nn

    model: Any = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
    batches = Batches(batch)

    def step() -> float:
        images, labels = map(torch.from_numpy, batches())
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def same_course(steps: dict[str, Step], count: int = 5) -> str | None:
    """What differs in the losses of the first steps, if anything.

    Rounding differs between the libraries and grows from step to step: the first losses agree to
    1e-5, the fifth still to 1e-3.
    """
    losses = {name: [step() for _ in range(count)] for name, step in steps.items()}
    expected = np.array(losses["fastconv"])
    for name, course in losses.items():
        error = np.abs(np.array(course) - expected) / expected
        if not (error[0] < 1e-5 and error.max() < 1e-3):
            return f"{name}: losses {course}, fastconv: {expected.tolist()}"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print images per second of each side; the exit status is 1 if the losses differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_lenet", description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    parser.add_argument("--repeats", type=int, default=MINIMUM_REPEATS)
    options = parser.parse_args(arguments)
    if not 1 <= options.batch <= IMAGES:
        parser.error(f"--batch must be 1 to {IMAGES}, not {options.batch}")
    fastconv.set_threads(options.threads)
    blas = limit_blas(options.threads)
    try:
        step, weights = our_step(options.batch)
    except (ImportError, AttributeError) as reason:
        print(f"fastconv.nn cannot train yet: {reason}")
        return 0
    first, _ = first_call(our_step(options.batch)[0])
    steps = {"fastconv": step}
    try:
        import torch
    except ImportError:
        print("torch: not installed, left out")
    else:
        torch.set_num_threads(options.threads)
        for name, last in (("torch", False), ("torch channels_last", True)):
            steps[name] = torch_step(options.batch, weights, last)
    difference = same_course(steps)
    if difference:
        print(f"FAILED {difference}")
        return 1
    print(
        f"LeNet-5, batch {options.batch}, {options.threads} threads; {describe_machine()}; {blas}"
    )
    print(f"first step with compilation or loading from the cache: {first:.2f} s")
    for line in _lines(measure(steps, repeats=options.repeats, block_seconds=0.2), options.batch):
        print(line)
    return 0


def _lines(measured: Measurement, batch: int) -> list[str]:
    ours: Any = measured.timings["fastconv"]
    lines = [f"{'':<20} {'images/s':>10} {'best':>10} {'step ms':>9} {'over fastconv':>14}"]
    for name, timing in measured.timings.items():
        void = "  void" if name in measured.void else ""
        lines.append(
            f"{name:<20} {batch / timing.median:>10.0f} {batch / timing.minimum:>10.0f} "
            f"{timing.median * 1e3:>9.3f} {ratio(timing, ours):>14.2f}{void}"
        )
    if measured.void:
        lines.append(f"void: disturbed; other processes used {measured.others:.2f} cores")
    return lines


if __name__ == "__main__":
    sys.exit(main())
