"""The same bits on every run, for every number of threads, in every process."""

import hashlib

import numpy as np
import pytest
from conv_cases import OPERANDS, case
from doors import doors
from reliability.processes import run

import fastconv
from fastconv.choose import ALGORITHMS
from fastconv.plan import OPERATIONS

# Enough work and outputs for several boxes, chunks and tiles; sizes that divide by nothing.
X, W = (3, 10, 37, 41), (22, 10, 3, 3)


def digest(results):
    return hashlib.sha256(b"".join(np.ascontiguousarray(r).tobytes() for r in results)).hexdigest()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16"])
def test_every_door(dtype):
    """Run again, with any number of threads, into `out` of another format."""
    for door in doors(dtype if dtype != "complex64" else "float32"):
        changes = {}
        if dtype == "complex64":
            if not door.name.removeprefix("grad.").startswith(("conv", "avg", "linear", "pad")):
                continue
            changes = {n: door.given[n] * np.complex64(1 - 0.7j) for n in door.arrays}
        expected = digest(door.results(**changes))
        assert digest(door.results(**changes)) == expected, door.name
        if "threads" in door.options:
            for threads in (1, 2, 3, 64):
                assert digest(door.results(threads=threads, **changes)) == expected, door.name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS if row.name != "reference"])
def test_every_algorithm(algorithm, operation, dtype):
    """A problem large enough for several boxes of pixels and chunks of sums."""
    random = np.random.default_rng(0)
    x_shape, w_shape, groups = X, W, 1
    if algorithm == "depthwise":
        w_shape, groups = (X[1], 1, 3, 3), X[1]
    if algorithm == "grouped":
        x_shape, w_shape, groups = (3, 36, 37, 41), (36, 4, 3, 3), 9
    row = case("large", x_shape, w_shape, padding=1, groups=groups)
    if algorithm not in row.algorithms(operation, dtype):
        pytest.skip("refuses")
    operands = {
        name: random.standard_normal(row.shape(name)).astype(dtype) for name in OPERANDS[operation]
    }
    images = "grad_output" if operation == "input_gradient" else "input"
    if algorithm == "grouped":  # which reads others by way of "direct"
        operands[images] = fastconv.channels_last(operands[images])
    expected = row.run(operation, operands, algorithm=algorithm, threads=1)
    for threads in (1, 2, 3):
        result = row.run(operation, operands, algorithm=algorithm, threads=threads)
        assert np.array_equal(result, expected)
    out = np.full_like(expected, np.nan)
    assert np.array_equal(row.run(operation, operands, algorithm=algorithm, out=out), expected)


def test_another_process_makes_the_same_bits():
    """Whatever number of threads it may have, and under another threading layer."""
    program = "from test_reproducibility import *; print('\"' + digest(everything()) + '\"')"
    found = {
        run("-c", program, NUMBA_NUM_THREADS=threads, NUMBA_THREADING_LAYER=layer).said
        for threads, layer in (("1", "omp"), ("2", "workqueue"), ("3", "omp"))
    }
    assert found == {digest(everything())}


def everything():
    """What all doors give."""
    return [result for door in doors("float32") for result in door.results()]


def test_a_batch_is_its_images():
    """The bits of an image do not depend on what else is in the batch, for a given algorithm."""
    random = np.random.default_rng(1)
    x, w = (random.standard_normal(shape).astype(np.float32) for shape in (X, W))
    for algorithm in ("direct", "planar", "winograd_f4"):
        whole = fastconv.conv2d(x, w, padding=1, algorithm=algorithm)
        for n in range(X[0]):
            one = fastconv.conv2d(x[n : n + 1], w, padding=1, algorithm=algorithm)
            assert np.array_equal(one[0], whole[n])
