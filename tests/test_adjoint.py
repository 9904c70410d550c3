"""Gradients as adjoints, transposed convolution as a gradient, and random problems.

For integers the inner products <conv(x, w), dy> = <x, conv_input(w, dy)> = <w, conv_weight(x, dy)>
hold exactly, and they hold without asking the reference.
"""

import re

import numpy as np
import pytest
from conv_cases import CASES, LAYOUTS, Case, answer, assert_right, integers, operands, surrounded
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv.arrays import is_channels_last
from fastconv.geometry import PADDING_MODES, PADDING_NAMES, ConvGeometry
from fastconv.plan import OPERATIONS
from fastconv.sizes import transposed_size

WITHOUT_MODE = [row for row in CASES if row.geometry.padding_mode == "zeros"]


def inner(a, b):
    assert a.shape == b.shape
    return (a * b).sum()


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_inner_products(row):
    x, weight, dy = integers(row.input, 1), integers(row.weight, 2), integers(row.output, 3)
    with fastconv.precision("strict"):  # spectra round
        product = inner(row.run("forward", {"input": x, "weight": weight}), dy)
        dx = row.run("input_gradient", {"weight": weight, "grad_output": dy})
        dw = row.run("weight_gradient", {"input": x, "grad_output": dy})
    assert inner(x, dx) == product
    assert inner(weight, dw) == product


def transposed_options(geometry):
    """The options under which a transposed convolution is the input gradient of a convolution."""
    g = geometry
    axes = zip(g.in_size, g.out_size, g.kernel_size, g.stride, g.dilation, g.padding, strict=True)
    extra = tuple(
        size - transposed_size(out, k, s, d, low, high, 0)
        for size, out, k, s, d, (low, high) in axes
    )
    return {
        "stride": g.stride,
        "padding": g.padding,
        "output_padding": extra,
        "groups": g.groups,
        "dilation": g.dilation,
    }


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("row", WITHOUT_MODE, ids=lambda row: row.name)
def test_transposed_is_the_input_gradient(row, dtype):
    """The same weight array serves both, and a bias of the result's channels is added."""
    door = getattr(fastconv, f"conv_transpose{row.rank}d")
    a = operands(row, "input_gradient")
    bias = integers((row.geometry.in_channels,), 9)
    channels = bias.reshape(-1, *(1,) * row.rank)
    for layout in ("first", "last", "odd") if dtype == "float32" else ("last",):
        dy = surrounded(row, "grad_output", a["grad_output"], layout, dtype).array
        weight = surrounded(row, "weight", a["weight"], layout, dtype).array
        for algorithm in row.algorithms("input_gradient", dtype):
            options = {**transposed_options(row.geometry), "algorithm": algorithm}
            plain = door(dy, weight, **options)
            assert plain.dtype == dtype
            assert_right(row, "input_gradient", algorithm, plain, layout)
            shifted = door(dy, weight, bias.astype(dtype), **options)
            assert_right(row, "input_gradient", algorithm, shifted - channels.astype(dtype))


def test_transposed_by_hand():
    """Two cells, each adding its multiple of the kernel; worked out on paper."""
    x, w = np.array([[[1, 2]]]), np.array([[[1, 10, 100]]])
    cases = [
        ({"stride": 2}, [1, 10, 102, 20, 200]),
        ({"stride": 2, "padding": 1}, [10, 102, 20]),
        ({"stride": 2, "padding": ((1, 0),)}, [10, 102, 20, 200]),
        ({"stride": 3, "output_padding": 2}, [1, 10, 100, 2, 20, 200, 0, 0]),
        ({"dilation": 2}, [1, 2, 10, 20, 100, 200]),
        ({"stride": 4}, [1, 10, 100, 0, 2, 20, 200]),
        ({"stride": 2, "padding": "same"}, [1, 10, 102, 20]),
        ({"stride": 2, "padding": "full"}, [102]),
    ]
    for options, expected in cases:
        assert fastconv.conv_transpose1d(x, w, **options).tolist() == [[expected]], options
    grouped = fastconv.conv_transpose1d([[[1], [2]]], [[[1], [10]], [[3], [4]]], groups=2)
    assert grouped.tolist() == [[[1], [10], [6], [8]]]


def test_transposed_same_undoes_the_shape_of_same():
    for size, kernel, stride in [(7, 3, 2), (8, 5, 3), (5, 2, 4)]:
        x, w = integers((1, 2, size)), integers((2, 3, kernel))
        up = fastconv.conv_transpose1d(x, w, stride=stride, padding="same")
        assert up.shape == (1, 3, size * stride)
        down = integers((2, 3, kernel), 4)
        assert fastconv.conv1d(up, down, stride=stride, padding="same").shape == x.shape


def test_infinite_weight_meets_the_zeros_beyond_the_border():
    """As documented: the zeros around the input are multiplied too, and 0 * inf is NaN."""
    x, w = np.ones((1, 1, 2)), np.array([[[np.inf, 1.0]]])
    first, second, last = fastconv.conv_transpose1d(x, w)[0, 0]
    assert first == second == np.inf
    assert np.isnan(last)


# --- Random problems ---

PADDINGS = st.one_of(
    st.sampled_from(PADDING_NAMES),
    st.integers(0, 4),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=3),
)


@st.composite
def problems(draw):
    """A rank, two shapes and options; most of them fit together, some do not."""
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 4))
    in_group, out_group = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    batch = draw(st.sampled_from([(), (0,), (1,), (2,), (3,)]))
    per_axis = st.lists(st.integers(1, 4), min_size=rank, max_size=rank)
    size = draw(st.lists(st.integers(2, 12 - 2 * rank), min_size=rank, max_size=rank))
    kernel = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    padding = draw(PADDINGS)
    if isinstance(padding, list):
        padding = tuple(padding[a % len(padding)] for a in range(rank))
    options = {
        "stride": tuple(draw(per_axis)),
        "padding": padding,
        "dilation": tuple(draw(per_axis)) if draw(st.booleans()) else 1,
        "groups": groups if draw(st.integers(0, 19)) else groups + 1,
        "padding_mode": draw(st.sampled_from(PADDING_MODES)),
    }
    shape = (*batch, groups * in_group, *size)
    return rank, shape, (groups * out_group, in_group, *kernel), options


@settings(max_examples=600)
@given(
    problems(),
    st.sampled_from(OPERATIONS),
    st.sampled_from(["float32", "float64", "int64", "int32", "float16"]),
    st.sampled_from(LAYOUTS),
    st.sampled_from([1, 2, None]),
)
def test_random_problems(problem, operation, dtype, layout, threads):
    """Exactly right, or a ValueError; never anything else."""
    rank, shape, weight, options = problem
    try:
        ConvGeometry.forward("conv", rank, shape, weight, **options)
    except ValueError as refusal:
        reason = str(refusal).partition(": ")[2]
        with pytest.raises(ValueError, match=re.escape(reason)):
            getattr(fastconv, f"conv{rank}d")(integers(shape), integers(weight), **options)
        return
    row = Case(f"random {problem}", shape, weight, options)
    if dtype == "float16" and abs(answer(row, operation)).max(initial=0) > 2048:
        dtype = "float32"  # larger integers are rounded in float16
    arrays = {
        name: surrounded(row, name, values, layout, dtype).array
        for name, values in operands(row, operation).items()
    }
    result = row.run(operation, arrays, threads=threads)
    assert result.dtype == dtype
    images = arrays["grad_output" if operation == "input_gradient" else "input"]
    last = is_channels_last(images if row.geometry.batched else images[None])
    assert_right(row, operation, row.chosen(operation, dtype, last), result)
