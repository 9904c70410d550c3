"""Edge detection in one Numba function: blur, gradients, and where they are strongest.

    python examples/numba_edges.py [--size 512]

Everything between the image and the edges is nopython code; the images of a stack are shared among
the threads of a `prange`. The exit status is 1 if the edges of a drawn disc are not found.

The operator is that of I. Sobel and G. Feldman, "A 3x3 isotropic gradient operator for image
processing", 1968; non-maximum suppression is left out.
"""

from __future__ import annotations

import argparse
import sys
import time

import numba
import numpy as np

import fastconv

SOBEL = np.array([[[[1, 0, -1], [2, 0, -2], [1, 0, -1]]], [[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]]])


def gaussian(sigma: float) -> np.ndarray:
    """A blurring filter, shape (1, 1, F, F), of sum one."""
    reach = int(np.ceil(3 * sigma))
    row = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return (np.outer(row, row) / row.sum() ** 2)[None, None].astype(np.float32)


@numba.njit(parallel=True)
def edges(images: np.ndarray, blur: np.ndarray, sobel: np.ndarray, threshold: float) -> np.ndarray:
    """Where the gradient's magnitude exceeds `threshold`; images (N, H, W)."""
    found = np.zeros(images.shape, np.bool_)
    for i in numba.prange(len(images)):
        image = images[i : i + 1]  # one channel (C, H, W)
        smooth = fastconv.conv2d(image, blur, padding="same", padding_mode="replicate")
        slopes = fastconv.conv2d(smooth, sobel, padding=1, padding_mode="replicate")
        for h in range(image.shape[1]):
            for w in range(image.shape[2]):
                found[i, h, w] = slopes[0, h, w] ** 2 + slopes[1, h, w] ** 2 > threshold**2
    return found


def disc(size: int, radius: float) -> np.ndarray:
    """A bright disc in the middle of a dark, slightly noisy image."""
    across = np.arange(size) - size / 2
    inside = np.hypot(across[:, None], across) < radius
    noise = np.random.default_rng(0).normal(0, 0.05, (size, size))
    return (inside + noise).astype(np.float32)


def main() -> int:
    """Find the edge of discs; it is a ring of known radius."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    size = parser.parse_args().size
    radii = np.linspace(0.2, 0.4, 8) * size
    images = np.stack([disc(size, radius) for radius in radii])
    arguments = images, gaussian(2.0), SOBEL.astype(np.float32), 0.5
    for run in ("first call, with compilation", "second call"):
        begun = time.perf_counter()
        found = edges(*arguments)
        print(f"{run}: {1e3 * (time.perf_counter() - begun):.1f} ms for {len(images)} images")
    across = np.arange(size) - size / 2
    from_middle = np.hypot(across[:, None], across)
    worst = 0.0
    for edge, radius in zip(found, radii):
        distances = np.abs(from_middle[edge] - radius)
        worst = max(worst, float(distances.max()) if len(distances) else np.inf)
    print(f"no edge pixel lies further than {worst:.1f} pixels from its circle")
    return 0 if worst < 5 else 1


if __name__ == "__main__":
    sys.exit(main())
