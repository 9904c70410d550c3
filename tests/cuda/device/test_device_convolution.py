"""Convolutions on the device: exact results, in both formats, by every algorithm."""

import math
import os

import numpy as np
import pytest
from conv_cases import CASES, Surrounded, answer, definition, operands

import fastconv
from fastconv import reference
from fastconv.cuda import backend, choose, convolution, epilogue
from fastconv.cuda.arrays import DeviceArray, as_operand
from fastconv.plan import OPERATIONS

SHORT = backend.SIMULATED or "FASTCONV_TEST_DEVICE" in os.environ
# Multiply-adds of one case that those are given who take long.
MOST = 1600 if backend.SIMULATED else 50_000 if SHORT else math.inf
ROWS = [row for row in CASES if row.geometry.multiply_adds <= MOST]
ALGORITHMS = [row.name for row in choose.ALGORITHMS if row.name != "tensor"]


def some(*names):
    found = [row for row in CASES if row.name in names]
    assert len(found) == len(names)
    return pytest.mark.parametrize("row", found, ids=lambda row: row.name)


def placed(row, operation, dtype, last):
    """The operands on the device, images channels-last or not."""
    arrays = {}
    for name, values in operands(row, operation).items():
        x = values.astype(dtype)
        if last and name != "weight" and x.ndim == row.rank + 2:
            x = fastconv.channels_last(x)
        arrays[name] = fastconv.to_device(x)
    return arrays


def test_the_simulator_sees_most_cases():
    assert len(ROWS) > 45


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_algorithm(row, operation, algorithm):
    """Formats and types take turns, more of them where time is not short."""
    turn = sum(map(ord, row.name + operation))
    kinds = [(("float32", "float64")[turn % 2], turn % 4 > 1)]
    if not SHORT:
        kinds += [(("int64", "float32")[turn % 2], turn % 4 < 2)]
    for dtype, last in kinds:
        result = row.run(operation, placed(row, operation, dtype, last), algorithm=algorithm)
        assert type(result) is DeviceArray and result.dtype == dtype
        assert np.array_equal(result.copy_to_host(), answer(row, operation)), (dtype, last)


@some("1d", "2d three groups", "2d depthwise 5", "2d batch of five")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("dtype", ["float16", "int64", "int8"])
def test_other_types(row, operation, dtype):
    """float16 is summed in float32, integers wrap."""
    expected = answer(row, operation)
    result = row.run(operation, placed(row, operation, dtype, True))
    assert result.dtype == dtype
    with np.errstate(over="ignore"):
        assert np.array_equal(result.copy_to_host(), expected.astype(dtype))


@some("1d", "2d", "2d reflect", "2d 1x1 stride", "3d unbatched")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_into_memory_amidst_poison(row, operation):
    """Operands and `out` of another library, with gaps; nothing else is read or written."""
    blocks = {
        name: Surrounded(values.shape, "crop first", np.float32, np.nan)
        for name, values in operands(row, operation).items()
    }
    for name, values in operands(row, operation).items():
        blocks[name].array[...] = values
    target = Surrounded(row.result(operation), "crop first", np.float32, np.nan)
    shown = {name: Shown(block) for name, block in blocks.items()}
    out = Shown(target)
    assert row.run(operation, shown, out=out) is out
    assert np.array_equal(out.fetched(), answer(row, operation))
    assert target.kept()


class Shown:
    """A block as another library's array on the device: nothing but the interface."""

    def __init__(self, block):
        self._block, x = block, block.array
        self._memory = fastconv.to_device(block.memory)
        start = x.__array_interface__["data"][0] - block.memory.ctypes.data
        self._first = self._memory.address + start
        self.__cuda_array_interface__ = {
            "shape": x.shape,
            "strides": x.strides,
            "typestr": x.dtype.str,
            "data": (self._first, False),
            "version": 3,
        }

    def fetched(self):
        """The array's values; its whole memory goes back to the block."""
        self._block.memory[...] = self._memory.copy_to_host()
        return self._block.array


@some("1d", "2d three groups", "2d depthwise 5", "3d")
def test_without_bias(row):
    arrays = {n: v for n, v in operands(row, "forward").items() if n != "bias"}
    placed = {n: fastconv.to_device(v) for n, v in arrays.items()}
    expected = definition(row.geometry, "forward", arrays)
    assert np.array_equal(row.run("forward", placed).copy_to_host(), expected)


def test_a_view_goes_in_without_a_copy():
    x = fastconv.to_device(np.arange(24.0).reshape(2, 3, 4))
    assert as_operand("test", "x", x[1:, ::2]).address == x.address + 12 * 8


@pytest.mark.parametrize("operation", ["forward", "input_gradient"])
def test_nan_stays_in_its_windows(operation):
    """Padding and filled-up rows multiply nothing."""
    x = np.ones((1, 3, 5, 6), np.float32)
    x[0, 1, 2, 3] = np.nan
    w = np.ones((4, 3, 3, 2), np.float32)
    if operation == "forward":
        found = fastconv.conv2d(*map(fastconv.to_device, (x, w)), padding=1)
        expected = fastconv.conv2d(x, w, padding=1, algorithm="reference")
    else:
        w = np.ones((3, 4, 3, 2), np.float32)
        found = fastconv.conv_transpose2d(*map(fastconv.to_device, (x, w)), stride=2)
        expected = fastconv.conv_transpose2d(x, w, stride=2, algorithm="reference")
    assert np.array_equal(found.copy_to_host(), expected, equal_nan=True)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed(rank, bias):
    rng = np.random.default_rng(rank)
    x = rng.integers(-4, 5, (2, 4, *(4, 3, 5)[:rank])).astype(np.float32)
    w = rng.integers(-4, 5, (4, 3, *(3, 2, 3)[:rank])).astype(np.float32)
    b = rng.integers(-4, 5, 6).astype(np.float32) if bias else None
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    door = getattr(fastconv, f"conv_transpose{rank}d")
    on_device = [None if a is None else fastconv.to_device(a) for a in (x, w, b)]
    result = door(*on_device, **options)
    assert np.array_equal(result.copy_to_host(), door(x, w, b, **options, algorithm="reference"))


def test_linear_and_its_gradients():
    rng = np.random.default_rng(0)
    x, dy = (rng.integers(-4, 5, (2, 3, n)).astype(float) for n in (5, 7))
    w, b = rng.integers(-4, 5, (7, 5)).astype(float), rng.integers(-4, 5, 7).astype(float)
    X, W, B, DY = map(fastconv.to_device, (x, w, b, dy))
    y = fastconv.linear(X, W, B, activation="relu").copy_to_host()
    assert np.array_equal(y, np.maximum(x @ w.T + b, 0))
    assert np.array_equal(fastconv.grad.linear_input(W, DY).copy_to_host(), dy @ w)
    expected = np.einsum("abk,abc->kc", dy, x)
    assert np.array_equal(fastconv.grad.linear_weight(X, DY).copy_to_host(), expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("last", [False, True])
def test_bias_gradient(rank, last):
    dy = np.random.default_rng(0).integers(-4, 5, (3, 5, *(4, 3, 2)[:rank])).astype(np.float32)
    given = fastconv.to_device(fastconv.channels_last(dy) if last else dy)
    found = getattr(fastconv.grad, f"conv{rank}d_bias")(given)
    assert found.dtype == np.float32
    axes = tuple(a for a in range(dy.ndim) if a != 1)
    assert np.array_equal(found.copy_to_host(), dy.sum(axis=axes))
    one = getattr(fastconv.grad, f"conv{rank}d_bias")(fastconv.to_device(dy[0]))
    assert np.array_equal(
        one.copy_to_host(), dy[0].sum(axis=axes[1:] and tuple(range(1, rank + 1)))
    )


def test_the_whole_of_a_large_sum():
    """Chunks of the weight gradient are added up: a case that has several."""
    x = np.ones((3, 1, 300), np.float32)
    dy = np.ones((3, 2, 299), np.float32)
    X, DY = map(fastconv.to_device, (x, dy))
    found = fastconv.grad.conv1d_weight(X, (2, 1, 2), DY, algorithm="direct").copy_to_host()
    assert np.array_equal(found, np.full((2, 1, 2), math.prod((3, 299))))


@some("1d", "2d three groups", "2d pairs", "2d 1x1 stride", "3d unbatched", "2d 3x3 one cell")
@pytest.mark.parametrize("operation", OPERATIONS[:2])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tensor_cores(row, operation, dtype):
    """TF32 and float16 hold small integers exactly; sums are float32."""
    for last in (False,) if backend.SIMULATED and dtype == "float16" else (False, True):
        result = row.run(operation, placed(row, operation, dtype, last), algorithm="tensor")
        assert result.dtype == dtype
        assert np.array_equal(result.copy_to_host(), answer(row, operation))


@pytest.mark.parametrize("algorithm", ["direct", "narrow"])
@pytest.mark.parametrize("name", sorted(n for n in reference.ACTIVATIONS if n))
def test_fused_activations(name, algorithm):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 9)) * 4, rng.standard_normal((2, 3, 2))
    found = fastconv.conv1d(*map(fastconv.to_device, (x, w)), activation=name, algorithm=algorithm)
    expected = fastconv.conv1d(x, w, activation=name, algorithm="reference")
    assert np.allclose(found.copy_to_host(), expected, rtol=1e-12, atol=1e-12)


def test_unknown_activation():
    x = fastconv.to_device(np.ones((1, 1, 3)))
    with pytest.raises(ValueError, match=r"activation must be one of .*, not 'swoosh'"):
        fastconv.conv1d(x, x, activation="swoosh")
    x = fastconv.to_device(np.ones((1, 1, 3), np.int32))
    with pytest.raises(TypeError, match="activation 'gelu' of int32"):
        fastconv.conv1d(x, x, activation="gelu")


def scaled(y, scale, other):
    """A user's epilogue: a value for each channel, one for each output."""
    return y * scale + 2 * other


@pytest.mark.parametrize("algorithm", ["direct", "narrow", "tensor"])
@pytest.mark.parametrize("last", [False, True])
def test_a_users_function_is_fused(algorithm, last):
    row = next(row for row in CASES if row.name == "2d three groups")
    arrays = placed(row, "forward", "float32", last)
    scale = np.arange(1, 1 + row.output[1], dtype=np.float32)
    other = np.random.default_rng(0).integers(-4, 5, row.output).astype(np.float32)
    found = row.run(
        "forward",
        arrays,
        activation="relu",
        algorithm=algorithm,
        epilogue=scaled,
        epilogue_args=tuple(map(fastconv.to_device, (scale, other))),
    )
    y = np.maximum(answer(row, "forward"), 0)
    expected = y * scale[:, None, None] + 2 * other
    assert np.array_equal(found.copy_to_host(), expected)


def test_wrong_arguments_of_an_epilogue():
    x = fastconv.to_device(np.ones((1, 1, 3)))
    with pytest.raises(TypeError, match="epilogue scaled must take 2 numbers: the sum and one"):
        fastconv.conv1d(x, x, epilogue=scaled, epilogue_args=(x[0, 0, :1],))
    with pytest.raises(TypeError, match="epilogue must be a function in Python, not 3"):
        fastconv.conv1d(x, x, epilogue=3)
    geometry = CASES[0].geometry
    for arguments, error in (
        ((np.ones(4),) * 2, TypeError),
        ((fastconv.to_device(np.ones(3)),) * 2, ValueError),
    ):
        with pytest.raises(error, match=r"epilogue_args\[0\]"):
            convolution.as_epilogue("test", scaled, arguments, geometry, x)


@some("1d", "2d three groups", "2d depthwise 5", "3d unbatched")
def test_plans(row):
    """Weights are packed once, and copied."""
    arrays = placed(row, "forward", "float32", False)
    plan = fastconv.plan(row.input, arrays["weight"], arrays["bias"], **row.options)
    arrays["weight"][...] = 0
    for _ in range(2):
        assert np.array_equal(plan(arrays["input"]).copy_to_host(), answer(row, "forward"))
    assert plan.algorithm in plan.explain() and plan.workspace_bytes == 0
    with pytest.raises(ValueError, match="the plan is for"):
        plan(arrays["bias"])
    with pytest.raises(TypeError, match="x is on the host"):
        plan(np.ones(row.input, np.float32))


@pytest.mark.parametrize("last", [False, True])
def test_plans_have_epilogues(last):
    row = next(row for row in CASES if row.name == "2d three groups")
    arrays = placed(row, "forward", "float32", last)
    scale = np.arange(1, 1 + row.output[1], dtype=np.float32)
    other = np.random.default_rng(0).integers(-4, 5, row.output).astype(np.float32)
    args = tuple(map(fastconv.to_device, (scale, other)))
    plan = fastconv.plan(
        row.input,
        arrays["weight"],
        arrays["bias"],
        activation="relu",
        epilogue=scaled,
        epilogue_args=args,
        **row.options,
    )
    y = np.maximum(answer(row, "forward"), 0)
    for factor in (scale, scale[::-1].copy()):
        given = None if factor is scale else (fastconv.to_device(factor), args[1])
        found = plan(arrays["input"], epilogue_args=given).copy_to_host()
        assert np.array_equal(found, y * factor[:, None, None] + 2 * other)
    with pytest.raises(ValueError, match="epilogue_args must be 2 arrays, not 1"):
        plan(arrays["input"], epilogue_args=args[:1])
    with pytest.raises(TypeError, match=r"epilogue_args\[1\] is on the host"):
        plan(arrays["input"], epilogue_args=(args[0], other))
    with pytest.raises(ValueError, match="out overlaps an input"):
        plan(arrays["input"], out=args[1])


def test_an_epilogue_beside_gaps():
    """An argument of the result's shape lies otherwise than `out`, which has gaps."""
    row = next(row for row in CASES if row.name == "2d three groups")
    arrays = placed(row, "forward", "float32", False)
    other = np.random.default_rng(0).integers(-4, 5, row.output).astype(np.float32)
    out = Shown(Surrounded(row.output, "crop first", np.float32, np.nan))
    options = {"epilogue": lambda y, b: y - b, "epilogue_args": (fastconv.to_device(other),)}
    row.run("forward", arrays, out=out, **options)
    assert np.array_equal(out.fetched(), answer(row, "forward") - other)


def test_an_epilogue_is_not_compiled_twice():
    """A function that is defined anew for each call is known by its code."""
    makes = [lambda k: lambda y: y * k for _ in range(2)]
    twice, again, thrice = makes[0](2), makes[1](2), makes[0](3)
    assert epilogue.same(twice) is epilogue.same(again) is not epilogue.same(thrice)


def test_a_failing_door_says_where_operands_are():
    x = fastconv.to_device(np.ones((1, 1, 3)))
    with pytest.raises(TypeError, match="conv1d: weight is on the host"):
        fastconv.conv1d(x, np.ones((1, 1, 2)))
    with pytest.raises(TypeError, match="out must be an array on the device"):
        fastconv.conv1d(x, x, out=np.ones((1, 1, 1)))
    with pytest.raises(ValueError, match="out overlaps an input"):
        fastconv.conv1d(x, x[:, :, :1], out=x)
    with pytest.raises(TypeError, match="indices is on the device and grad_output on the host"):
        fastconv.grad.max_pool1d(np.ones((1, 1, 3)), x, (1, 1, 6))
    with pytest.raises(TypeError, match="to be on the device, not complex128"):
        fastconv.to_device(np.ones(3, complex))
    with pytest.raises(TypeError, match=r"use copy_to_host\(\)"):
        np.asarray(x)
