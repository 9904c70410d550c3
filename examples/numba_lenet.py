"""LeNet-5 as one Numba function: the inference loop of a trained network without Python in it.

    python examples/numba_lenet.py [--weights lenet_mnist.safetensors]

With no weights it takes random ones, which is enough to compare the answers with those of the same
network in `fastconv.nn`. The exit status is 1 if they differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numba
import numpy as np

import fastconv
from fastconv import nn


@numba.njit(parallel=True)
def lenet(
    images: np.ndarray, first: Any, second: Any, third: Any, fourth: Any, last: Any
) -> np.ndarray:
    """The most likely class of each image; images (N, 1, 28, 28), each layer (weight, bias)."""
    labels = np.empty(len(images), np.int64)
    for i in numba.prange(len(images)):
        x = fastconv.conv2d(images[i], first[0], first[1], padding=2, activation="relu")
        x = fastconv.max_pool2d(x, 2)
        x = fastconv.conv2d(x, second[0], second[1], activation="relu")
        x = fastconv.max_pool2d(x, 2)
        y = fastconv.linear(x.reshape(1, 400), third[0], third[1], activation="relu")
        y = fastconv.linear(y, fourth[0], fourth[1], activation="relu")
        labels[i] = fastconv.linear(y, last[0], last[1]).argmax()
    return labels


def network() -> nn.Sequential:
    """The same layers in `fastconv.nn`."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def main() -> int:
    """Classify random images both ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="a file of `examples/lenet_mnist.py`")
    arguments = parser.parse_args()
    model = network()
    if arguments.weights:
        model.load(arguments.weights)
    model.eval()
    state = model.state_dict()
    names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    layers = [(state[f"{name}.weight"], state[f"{name}.bias"]) for name in names]
    images = np.random.default_rng(0).standard_normal((2000, 1, 28, 28)).astype(np.float32)
    for run in ("first call, with compilation", "second call"):
        begun = time.perf_counter()
        labels = lenet(images, *layers)
        print(f"{run}: {len(images) / (time.perf_counter() - begun):,.0f} images/s")
    expected = model(images).argmax(axis=1)
    equal = int((labels == expected).sum())
    print(f"{equal} of {len(images)} answers are those of fastconv.nn")
    return 0 if equal >= 0.999 * len(images) else 1  # sums in another order may tip a balance


if __name__ == "__main__":
    sys.exit(main())
