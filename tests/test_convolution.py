"""Every algorithm, every operation, every case: exact results, whatever the memory looks like."""

import dataclasses
import math
from itertools import product

import numpy as np
import pytest
from conv_cases import (
    CASES,
    LAYOUTS,
    OPERANDS,
    ROUNDING,
    Surrounded,
    answer,
    assert_right,
    case,
    definition,
    integers,
    operands,
    poison,
    surrounded,
)

import fastconv
from fastconv import choose
from fastconv.arrays import is_channels_last
from fastconv.cpu import engine
from fastconv.cpu.engine import Correlations, element_strides
from fastconv.cpu.grouped_engine import Grouped
from fastconv.cpu.grouped_gradient_engine import GroupedGradient
from fastconv.cpu.grouped_gradients import channel_partials, pixel_partials
from fastconv.cpu.grouped_tiles import FAMILIES
from fastconv.cpu.job import OUTER, PHASES
from fastconv.machine import machine
from fastconv.plan import OPERATIONS

every_case = pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
every_operation = pytest.mark.parametrize("operation", OPERATIONS)
DTYPES = ("float32", "float64", "int64")
WITHIN = tuple(layout for layout in LAYOUTS if layout not in ("first", "last"))


def some(*names):
    """Those cases by name, where one of a kind is enough."""
    found = [row for row in CASES if row.name in names]
    assert len(found) == len(names)
    return pytest.mark.parametrize("row", found, ids=lambda row: row.name)


# --- Values ---


@pytest.mark.parametrize("dtype", DTYPES)
@every_operation
@every_case
def test_every_algorithm_in_every_layout(row, operation, dtype):
    """Exact, in the operands' dtype; they stand read-only amidst poison and stay as they are."""
    for algorithm in row.algorithms(operation, dtype):
        for layout in LAYOUTS if algorithm != "reference" else LAYOUTS[:1]:
            if dtype != "float32" and "crop" in layout:  # float32 has shown that strides count
                continue
            blocks = {
                name: surrounded(row, name, values, layout, dtype)
                for name, values in operands(row, operation).items()
            }
            before = [block.memory.tobytes() for block in blocks.values()]
            arrays = {name: block.array for name, block in blocks.items()}
            result = row.run(operation, arrays, algorithm=algorithm)
            assert result.dtype == dtype
            assert_right(row, operation, algorithm, result, layout)
            assert before == [block.memory.tobytes() for block in blocks.values()], layout


@every_operation
@every_case
def test_without_asking_for_an_algorithm(row, operation):
    """The default door gives the same numbers, on operands of unlike layouts."""
    arrays = {
        name: surrounded(row, name, values, layout, "float32").array
        for (name, values), layout in zip(
            operands(row, operation).items(), ("last", "odd", "first"), strict=False
        )
    }
    images = arrays["grad_output" if operation == "input_gradient" else "input"]
    last = is_channels_last(images if row.geometry.batched else images[None])
    algorithm = row.chosen(operation, "float32", last)
    assert_right(row, operation, algorithm, row.run(operation, arrays))


@pytest.fixture
def tiny_cache(monkeypatch):
    """Caches of 512 bytes and 2 KiB: nearly every case falls into many boxes."""
    small = dataclasses.replace(machine(), level1_bytes=512, level2_bytes=2048)
    monkeypatch.setattr(engine, "machine", lambda: small)
    choose._plan.cache_clear()
    yield
    choose._plan.cache_clear()


@every_operation
@every_case
def test_windows_of_a_tiny_cache(row, operation, tiny_cache):
    for algorithm in row.algorithms(operation, "float64"):
        result = row.run(operation, operands(row, operation), algorithm=algorithm, threads=2)
        assert_right(row, operation, algorithm, result)


def test_a_tiny_cache_needs_less_workspace(tiny_cache):
    """So the test above tests something: that workspace cannot hold the whole window."""
    row = next(row for row in CASES if row.name == "2d several windows")
    plan = fastconv.plan(row.input, np.ones(row.weight), **row.options)
    assert plan.workspace_bytes < 8 * np.prod(row.input)


@some("1d", "2d every option", "2d depthwise 17", "3d every option", "2d reflect")
@every_operation
def test_without_bias(row, operation):
    arrays = {name: value for name, value in operands(row, operation).items() if name != "bias"}
    result = row.run(operation, arrays)
    assert np.array_equal(result, definition(row.geometry, operation, arrays))


@some("2d every option", "2d depthwise 17", "2d 9 groups of 4 to 4", "2d 3x3", "3d 3x3x3")
@every_operation
def test_kernels_whose_axes_are_swapped_in_memory(row, operation):
    """Each is dense, and begins and ends where one in the usual order would."""
    arrays = dict(operands(row, operation))
    swapped = np.ascontiguousarray(arrays.get("weight", np.empty(row.weight)).swapaxes(-1, -2))
    arrays["weight" if "weight" in arrays else "out"] = swapped.swapaxes(-1, -2)
    for algorithm in row.algorithms(operation, "float64"):
        result = row.run(operation, arrays, algorithm=algorithm)
        assert_right(row, operation, algorithm, result)
    if operation == "forward":
        planned = fastconv.plan(row.input, arrays["weight"], arrays["bias"], **row.options)
        assert_right(row, operation, planned.algorithm, planned(arrays["input"]))


@some("1d", "2d every option", "2d depthwise 17", "2d 3 groups of 16 to 16", "2d filter")
@every_operation
def test_operands_that_repeat(row, operation):
    """Strides of zero, along the second or the last axis of one operand."""
    for repeated, axis in product(OPERANDS[operation][:2], (1, -1)):
        arrays = {
            name: surrounded(row, name, value, "last", "float64").array
            for name, value in operands(row, operation).items()
        }
        x = arrays[repeated]
        arrays[repeated] = np.broadcast_to(x.take([0], axis), x.shape)
        expected = definition(row.geometry, operation, arrays)
        for algorithm in row.algorithms(operation, "float64"):
            result = row.run(operation, arrays, algorithm=algorithm)
            error = 1e-12 * abs(expected).max() if algorithm in ROUNDING else 0
            assert (abs(result - expected) <= error).all(), algorithm


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@some("1d", "2d pairs", "2d three groups", "2d depthwise 5", "2d batch of five", "3d")
def test_special_values_spread_as_in_the_sum(row, value):
    """One such pixel spoils the outputs whose window holds it, and no other."""
    arrays = dict(operands(row, "forward"))
    arrays["weight"] = abs(arrays["weight"]) + 1
    x = arrays["input"].copy()
    x[(-1, *(n // 2 for n in x.shape[1:]))] = value
    spoilt = definition(row.geometry, "forward", {**arrays, "input": x})
    plain = np.isfinite(spoilt)
    assert 0 < plain.sum() < plain.size
    for algorithm in row.algorithms("forward", "float64"):
        if algorithm in ROUNDING:  # there it spoils the whole tile
            continue
        result = row.run("forward", {**arrays, "input": x}, algorithm=algorithm)
        assert np.array_equal(result, spoilt, equal_nan=True), algorithm


def test_subnormal_numbers_survive():
    tiny = np.finfo(np.float32).smallest_subnormal
    x = np.full((1, 1, 20), tiny, np.float32)
    assert (fastconv.conv1d(x, np.ones((1, 1, 3), np.float32)) == 3 * tiny).all()


# --- Bias gradient ---


@every_case
def test_bias_gradient_is_a_sum(row):
    gradient = integers(row.output)
    channel_axis = row.channel_axis("grad_output")
    axes = tuple(a for a in range(gradient.ndim) if a != channel_axis)
    for dtype in (*DTYPES, "float16", "int8", "complex64"):
        result = getattr(fastconv.grad, f"conv{row.rank}d_bias")(gradient.astype(dtype))
        assert result.dtype == dtype
        if dtype != "float16" or gradient.size < 1000:  # above, float16 rounds
            assert np.array_equal(result, gradient.sum(axis=axes).astype(dtype))


# --- out= ---


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@every_operation
@every_case
def test_out_is_filled_and_nothing_beside_it(row, operation, dtype):
    """`out` holds NaN, stands amidst poison and may be any view; it comes back itself."""
    arrays = {name: value.astype(dtype) for name, value in operands(row, operation).items()}
    expected = answer(row, operation)
    at = 1 if operation == "weight_gradient" else row.channel_axis("grad_output")
    for algorithm, layout in product(row.algorithms(operation, dtype), WITHIN):
        block = Surrounded(expected.shape, layout, dtype, -777, at)
        block.array[...] = poison(dtype)
        result = row.run(operation, arrays, out=block.array, algorithm=algorithm)
        assert result is block.array
        assert_right(row, operation, algorithm, result, layout)
        assert block.kept(), f"{algorithm} wrote beside out in layout {layout}"


def test_out_for_an_empty_batch():
    out = np.empty((0, 4, 9), np.float32)
    x, w = np.empty((0, 2, 11), np.float32), np.ones((4, 2, 3), np.float32)
    assert fastconv.conv1d(x, w, out=out) is out
    gradient = np.full(w.shape, np.nan, np.float32)
    fastconv.grad.conv1d_weight(x, w.shape, out, out=gradient)
    assert not gradient.any()


def test_gradient_of_an_empty_batch_is_zero():
    dy, w = np.empty((0, 4, 9)), np.ones((4, 2, 3))
    assert fastconv.grad.conv1d_input((0, 2, 11), w, dy).shape == (0, 2, 11)
    assert np.array_equal(
        fastconv.grad.conv1d_weight(np.empty((0, 2, 11)), w.shape, dy), np.zeros(w.shape)
    )


# --- Threads ---


@every_operation
@every_case
def test_bits_do_not_depend_on_threads(row, operation):
    """Random floats, so that another order of summation would show."""
    rng = np.random.default_rng(7)
    arrays = {
        name: rng.standard_normal(value.shape).astype("float32")
        for name, value in operands(row, operation).items()
    }
    for algorithm in row.algorithms(operation, "float32"):
        alone = row.run(operation, arrays, algorithm=algorithm, threads=1)
        for threads in (2, None):
            shared = row.run(operation, arrays, algorithm=algorithm, threads=threads)
            assert alone.tobytes() == shared.tobytes(), (algorithm, threads)


# --- Memory format ---

FORMATS = [((2, 5, 7), 1), ((2, 5, 7, 6), 2), ((2, 5, 4, 3, 6), 3)]


@pytest.mark.parametrize("groups", [1, 5])
@pytest.mark.parametrize(("shape", "rank"), FORMATS)
def test_result_has_the_format_of_the_input(shape, rank, groups):
    """Also gradients: that of the output gradient."""
    first = integers(shape)
    last = np.moveaxis(np.moveaxis(first, 1, -1).copy(), -1, 1)
    weight = integers((5, 5 // groups, *(2,) * rank))
    door, back = getattr(fastconv, f"conv{rank}d"), getattr(fastconv.grad, f"conv{rank}d_input")
    up = getattr(fastconv, f"conv_transpose{rank}d")
    bigger = (*shape[:2], *(n + 1 for n in shape[2:]))
    for algorithm in case("", shape, weight.shape, groups=groups).algorithms("forward", float):
        options = {"groups": groups, "algorithm": algorithm}
        for x, order in ((first, lambda y: y), (last, lambda y: np.moveaxis(y, 1, -1))):
            results = [door(x, weight, **options), up(x, weight, **options)]
            results.append(back(bigger, weight, x, **options))
            for y in results:
                assert order(y).flags.c_contiguous, algorithm


def test_format_of_results_where_both_are_the_same():
    """One channel, or one pixel, is channels-first; so is what is neither format."""
    for x in (np.ones((2, 1, 5, 4)), np.ones((2, 3, 1, 1)), np.ones((2, 3, 10, 4))[:, :, ::2]):
        assert fastconv.conv2d(x, np.ones((6, x.shape[1], 1, 1))).flags.c_contiguous


def test_strides_of_axes_of_length_one_mean_nothing():
    """NumPy allows any there (pytorch#195394)."""
    for shape in ((1, 3, 5, 4), (2, 1, 5, 4), (2, 3, 1, 4), (2, 3, 5, 1), (1, 1, 1, 1)):
        plain = integers(shape)
        strides = [s if n > 1 else 123_456 * 8 for n, s in zip(shape, plain.strides, strict=True)]
        x = np.lib.stride_tricks.as_strided(plain, shape, strides)
        w = integers((5, shape[1], 2, 3))
        for pad in (2, ((1, 1), (2, 2))):
            assert np.array_equal(
                fastconv.conv2d(x, w, padding=pad), fastconv.conv2d(plain, w, padding=pad)
            )
        one = integers((5, shape[1], 1, 1))
        assert np.array_equal(fastconv.conv2d(x, one), fastconv.conv2d(plain, one))


# --- The case list ---


def test_the_cases_reach_every_algorithm():
    """In every operation that it has, and by choice as well as by request."""
    for operation in OPERATIONS:
        offered = {name for row in CASES for name in row.algorithms(operation, "float32")}
        taken = {row.chosen(operation, "float32", last) for row in CASES for last in (False, True)}
        assert taken == offered - {"reference"}
        assert {"direct", "reference"} <= offered
    assert set(OPERANDS) == set(OPERATIONS)


# --- Which kernel runs ---


@some("2d depthwise 5x5 stride", "2d depthwise short rows", "2d depthwise odd row")
def test_phases_of_a_row_are_woven(row):
    """No phase is packed and stored pixel by pixel where the gradients lie channel by channel."""
    made = Grouped(row.geometry, "float32", "input_gradient")
    dy, dx = np.empty(row.output, "float32"), np.empty(row.input, "float32")
    family, _ = made.grouped(dy.strides, dx.strides, 2, True)
    assert FAMILIES[family] == "woven"


@some("1d phases", "2d phases", "3d phases")
def test_phases_of_a_row_share_a_box(row):
    """What they make of it is stored as a row, and not every second or third pixel by itself."""
    made = Correlations(row.geometry, "float32", "input_gradient", OUTER)
    dy, dx = np.empty(row.output, "float32"), np.empty(row.input, "float32")
    launch = made.prepare(dy.strides, dx.strides, 2, True)
    stride = row.geometry.stride
    assert len(launch.phases or [launch.job]) == math.prod(stride[:-1])
    assert all(job[PHASES] == stride[-1] for job in launch.phases or [launch.job])


@some("2d depthwise 3x4", "2d depthwise 5x5 stride", "2d depthwise replicate")
@pytest.mark.parametrize("kernel", [channel_partials, pixel_partials])
def test_depthwise_weight_gradients_are_read_in_place(row, kernel):
    """Channels in the lanes, or pixels of a row, which cannot be padded in other modes."""
    made = GroupedGradient(row.geometry, "float32")
    x, dy = np.empty(row.input, "float32"), np.empty(row.output, "float32")
    if kernel is channel_partials:
        x, dy = fastconv.channels_last(x), fastconv.channels_last(dy)
    slides = made.slides(element_strides(x), element_strides(dy))
    padded = row.geometry.padding_mode != "zeros" and kernel is pixel_partials
    assert slides is None if padded else slides.kernel is kernel
