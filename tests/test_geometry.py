"""Sizes against counting, and the calls that crashed other libraries."""

import io
import math
import re
import tokenize
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv.arguments import LIMIT, as_int, as_shape, as_sizes
from fastconv.geometry import PADDING_NAMES, AdaptiveGeometry, ConvGeometry, PoolGeometry
from fastconv.sizes import (
    adaptive_bin,
    conv_size,
    phase_count,
    phase_taps,
    pool_size,
    receptive_field,
    transposed_size,
    window_extent,
)


def conv(input_shape, weight_shape, rank=2, **options):
    return ConvGeometry.forward(f"conv{rank}d", rank, input_shape, weight_shape, **options)


def conv1(size, kernel, **options):
    return conv((1, 1, size), (1, 1, kernel), rank=1, **options)


def transposed(input_shape, weight_shape, rank=2, **options):
    op = f"conv_transpose{rank}d"
    return ConvGeometry.transposed(op, rank, input_shape, weight_shape, **options)


def pool(input_shape, kernel_size, rank=2, **options):
    return PoolGeometry.sliding(f"max_pool{rank}d", rank, input_shape, kernel_size, **options)


def adaptive(input_shape, output_size, rank=2):
    op = f"adaptive_max_pool{rank}d"
    return AdaptiveGeometry.adaptive(op, rank, input_shape, output_size)


X, W = (2, 6, 7, 5), (4, 6, 3, 2)  # a convolution that works
XT, WT = (2, 6, 7, 5), (6, 4, 3, 2)  # a transposed one
VOLUME = (1, 2, 3, 4, 5)
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1

# (where such a call crashed, hung or gave a wrong answer; the call; what the ValueError says)
BAD_VALUES = [
    ("pytorch#27598", lambda: conv(X, W, stride=0), "stride must be at least 1 .* not 0"),
    ("pytorch#169255", lambda: conv(X, W, stride=(1, 0)), "stride must be at least 1 .* not 0"),
    ("pytorch#73193", lambda: conv(X, W, stride=0, dilation=0, groups=0), "groups .* not 0"),
    ("pytorch#121095", lambda: conv(VOLUME, (1, 2, 1, 1, 1), 3, stride=[]), "stride must .* not 0"),
    ("pytorch#121095", lambda: conv(X, W, stride=[]), "stride must have 2 entries.* not 0"),
    ("pytorch#121906", lambda: conv(X, W, stride=(1, 1, 1)), "stride must have 2 entries.* not 3"),
    ("pytorch#121906", lambda: conv(X, W, padding=(1, 1, 1)), "padding must have 2 .* not 3"),
    ("pytorch#121906", lambda: conv(X, W, dilation=()), "dilation must have 2 entries.* not 0"),
    ("pytorch#121188", lambda: pool(X, (2, 2, 2)), "kernel_size must have 2 entries.* not 3"),
    ("pairs", lambda: conv(X, W, padding=((1, 2),)), r"padding as pairs must be 2 pairs \(low"),
    ("triples", lambda: conv(X, W, padding=((1, 2, 3),) * 2), "padding as pairs must be 2 pairs"),
    ("no padding", lambda: conv(X, W, padding=[]), "padding as pairs must be 2 pairs"),
    ("padding name", lambda: conv(X, W, padding="half"), "padding must be one of .* not 'half'"),
    ("2-D causal", lambda: conv(X, W, padding="causal"), "for one dimension, not 2"),
    ("pytorch#3039", lambda: conv(X, (4, 6, 3)), r"weight must have 4 dim.* \(4, 6, 3\)"),
    (
        "pytorch#3039",
        lambda: conv(X, (4, 3, 3, 2), groups=4),
        r"in_channels of input \(6\) is not groups \(4\) times weight.shape\[1\] \(3\)",
    ),
    ("pytorch#39824", lambda: pool(X, 2, padding=50), r"\(50, 50\) must be .* half of .* \(2\)"),
    (
        "pytorch#5112",
        lambda: transposed(XT, WT, stride=2, output_padding=2),
        r"output_padding \(2\) must be smaller than stride \(2\) or dilation \(1\)",
    ),
    ("pytorch#4986", lambda: pool((1, 1, 4, 5), 6), "kernel of extent 6 .* padded input, 4"),
    (
        "pytorch#73190",
        lambda: pool((1, 1, 9), 1250999896764, 1, dilation=1250999896764),
        "extent 1565000741702287657774933 .* larger than the padded input, 9",
    ),
    ("pytorch#136719", lambda: pool(X, 2147483697), "extent 2147483697 .* padded input, 7"),
    ("pytorch#136719", lambda: pool(X, INT64_MAX), r"kernel_size .* below 2\*\*59, not 92233720"),
    ("pytorch#194112", lambda: pool(X, 2, padding=INT64_MAX), r"padding .* below 2\*\*59, not 92"),
    ("pytorch#73191", lambda: pool(VOLUME, 536870912, 3, dilation=1879048192), "of extent 1008806"),
    ("pytorch#136716", lambda: pool(VOLUME, 2, 3, dilation=(1, -1, 1)), "dilation .* not -1"),
    ("pytorch#189664", lambda: conv(X, W, dilation=INT32_MAX), "extent 4294967295 .* input, 7"),
    ("pytorch#94698", lambda: pool((1, 0, 2772747373535906632), 2, 1), r"input .* below 2\*\*59"),
    ("pytorch#94698", lambda: pool((0, 2**40, 2**40), 2, 1), r"input of shape .* limit 2\*\*59"),
    ("pytorch#145077", lambda: pool((1, 1, 5), 2**33, 1), "extent 8589934592 .* padded input, 5"),
    ("pytorch#188959", lambda: conv(X, W, padding=2**63 - 2), r"padding .* below 2\*\*59"),
    ("pytorch#188959", lambda: conv(X, W, stride=INT64_MAX), r"stride .* below 2\*\*59"),
    ("pytorch#68875", lambda: conv((1, 6, 2, 1), W), r"padded input, 2 \(size 2, padding \(0, 0\)"),
    ("pytorch#76617", lambda: as_shape("unfold", "input", (2, -1, 3)), "input must .* not -1"),
    ("pytorch#50967", lambda: pool(X, []), "kernel_size must have 2 entries.* not 0"),
    ("pytorch#107539", lambda: as_shape("max_unpool1d", "output_size", (2, 3, -4)), "not -4"),
    ("CVE-2021-29526", lambda: conv((0, 0, 0, 0), W), "dimension but the batch of input must be"),
    ("CVE-2021-29517", lambda: conv(VOLUME, (2, 2, 1, 1, 0), 3), "every dimension of weight must"),
    ("CVE-2021-41209", lambda: conv(X, (0, 0, 0, 0)), "every dimension of weight must be positive"),
    ("CVE-2021-29525", lambda: conv((2, 6, 0, 5), W), "dimension but the batch of input must be"),
    ("CVE-2021-29540", lambda: conv(X, (4, 5, 3, 2)), r"in_channels of input \(6\) .* \(5\)"),
    ("CVE-2021-29520", lambda: transposed((2, 5, 7, 5), WT), r"input \(5\) is not .*\[0\] \(6\)"),
    ("CVE-2021-41196", lambda: pool(VOLUME, (2, 2, 0), 3), "kernel_size must .* not 0"),
    ("CVE-2021-41196", lambda: pool((2, 3, -4, 5), 2), "input must be at least 0 .* not -4"),
    ("CVE-2021-41196", lambda: pool((-2, 3, 4, 5), 2), "input must be at least 0 .* not -2"),
    ("CVE-2022-35941", lambda: pool(X, -1), "kernel_size must be at least 1 .* not -1"),
    ("CVE-2022-35959", lambda: pool((1, 1, -536870912, 1879048192), 2), "not -536870912"),
    ("GHSA-37jf-mjv6-xfqw", lambda: transposed((3, 1, 0, 1), (1, 1, 1, 1)), "must be positive"),
    ("CVE-2022-21725", lambda: receptive_field([3, 3], [1, 0]), "strides must .* not 0"),
    ("CVE-2021-29585", lambda: conv(X, W, stride=0, padding="same"), "stride must .* not 0"),
    ("CVE-2021-29586", lambda: pool(X, 2, stride=(2, 0)), "stride must be at least 1 .* not 0"),
    ("CVE-2021-29594", lambda: transposed(XT, WT, stride=0), "stride must be at least 1 .* not 0"),
    ("tensorflow#65120", lambda: pool(X, 2**58), "kernel of extent 288230376151711744"),
    ("tensorflow#65120", lambda: pool(X, 2**58, padding=2**57), "input with padding of shape"),
    ("ort#32076", lambda: conv(X, W, padding=-1), "padding must be at least 0 .* not -1"),
    ("ort#32076", lambda: conv(X, W, padding=((0, 1), (0, -1))), "padding must be .* not -1"),
    ("ort#23088", lambda: pool(X, 2, padding=2), r"\(2, 2\) must be at most half of kernel_size"),
    ("dilated pool", lambda: pool(X, 3, padding=2, dilation=2), r"half of kernel_size \(3\)"),
    ("scipy#8814", lambda: conv1(4, 5), "extent 5 .* larger than the padded input, 4"),
    ("CVE-2021-41197", lambda: as_shape("conv2d", "input", (2**20,) * 3), "1152921504606846976 el"),
    ("output count", lambda: transposed(XT, WT, stride=2**30), "output with padding of shape"),
    ("padded count", lambda: conv(X, W, padding=2**30), "input with padding of shape"),
    ("empty batch", lambda: conv((0, *X[1:]), W, padding=2**30), "input with padding of shape"),
    ("bins overflow", lambda: adaptive((0, 1, 2**30), 2**30, 1), "input size times output_size"),
    ("opinfo", lambda: conv(X, W, stride=-1), "stride must be at least 1 .* not -1"),
    ("opinfo", lambda: conv(X, W, dilation=(1, -1)), "dilation must be at least 1 .* not -1"),
    ("opinfo", lambda: conv(X, W, groups=-1), "groups must be at least 1 .* not -1"),
    ("opinfo", lambda: conv(X, W, groups=0), "groups must be at least 1 .* not 0"),
    ("opinfo", lambda: conv((6, 5), W), r"input must have 4 dimensions .* or 3 .* \(6, 5\)"),
    ("opinfo", lambda: conv((1, *X), W), r"input must have 4 dimensions .* \(1, 2, 6, 7, 5\)"),
    ("pytorch#85656", lambda: conv(X, (1, 3, 3, 2), groups=2), r"\[0\] \(1\) .* groups \(2\)"),
    ("transposed groups", lambda: transposed(XT, WT, groups=4), r"\(6\) is not divis.* \(4\)"),
    ("transposed weight", lambda: transposed(XT, (6, 4, 3)), r"\(C, K/groups, \*kernel\), not"),
    (
        "cropped to nothing",
        lambda: transposed((1, 1, 2), (1, 1, 3), 1, padding=2),
        r"padding \(2, 2\) leaves no output for input size 2: 0",
    ),
    (
        "same and output_padding",
        lambda: transposed(XT, WT, stride=2, padding="same", output_padding=1),
        r"output_padding \(1, 1\) cannot be joined with 'same'",
    ),
    ("padding_mode", lambda: conv(X, W, padding_mode="mirror"), "one of .* not 'mirror'"),
    (
        "reflected too far",
        lambda: conv(X, W, padding=(1, 5), padding_mode="reflect"),
        r"padding \(5, 5\) is too large .* 'reflect' on input size 5; the limit is 4",
    ),
    (
        "more than one turn",
        lambda: conv(X, W, padding=((8, 0), (0, 0)), padding_mode="circular"),
        r"padding \(8, 0\) is too large .* 'circular' on input size 7; the limit is 7",
    ),
    (
        "a window around the input",
        lambda: pool((1, 1, 3), 2, 1, padding=1, dilation=4),
        "kernel_size 2 with dilation 4 and padding 1 steps over the input of size 3",
    ),
    ("no bins", lambda: adaptive(X, 0), "output_size must be at least 1 .* not 0"),
    ("negative bins", lambda: adaptive(X, (3, -1)), "output_size must be at least 1 .* not -1"),
    ("three bins", lambda: adaptive(X, (3, 2, 2)), "output_size must have 2 entries.* not 3"),
    ("layers", lambda: receptive_field([3, 3], [1, 1, 1]), "strides must have 2 entries.* not 3"),
    ("huge", lambda: conv(X, W, stride=10**30), r"stride .* below 2\*\*59, not 10+$"),
]

# (what is no integer; the call; what the TypeError says)
BAD_TYPES = [
    ("stride", lambda: conv(X, W, stride=2.0), "stride must be an integer, not 2.0"),
    ("one stride", lambda: conv(X, W, stride=(2, 1.5)), "stride must be an integer, not 1.5"),
    ("str stride", lambda: conv(X, W, stride="22"), "stride must be an integer or 2 integers"),
    ("nested stride", lambda: conv(X, W, stride=((1, 1), (1, 1))), "stride must be an integer"),
    ("dilation", lambda: conv(X, W, dilation=None), "dilation must be an integer, not None"),
    ("padding", lambda: conv(X, W, padding=0.5), "padding must be an integer, not 0.5"),
    ("pair", lambda: conv(X, W, padding=((0, 1), (0, 1.0))), "padding must .* not 1.0"),
    ("groups", lambda: conv(X, W, groups=np.float64(1)), "groups must be an integer"),
    ("input", lambda: conv((2, 6.0, 7, 5), W), "input must be a sequence of integers, not .*6.0"),
    ("weight", lambda: conv(X, 5), "weight must be a sequence of integers, not 5"),
    ("kernel_size", lambda: pool(X, 2.0), "kernel_size must be an integer, not 2.0"),
    ("extra", lambda: transposed(XT, WT, output_padding=0.0), "output_padding must .* not 0.0"),
    ("output_size", lambda: adaptive(X, "33"), "output_size must be an integer, not '3'"),
    ("kernel_sizes", lambda: receptive_field(3.0), "kernel_sizes must be an integer, not 3.0"),
]


def by_name(rows):
    return [pytest.param(*row, id=name) for name, *row in rows]


@pytest.mark.parametrize(("call", "message"), by_name(BAD_VALUES))
def test_bad_values_are_refused(call, message):
    with pytest.raises(ValueError, match=rf"^\w+: .*{message}"):
        call()


@pytest.mark.parametrize(("call", "message"), by_name(BAD_TYPES))
def test_bad_types_are_refused(call, message):
    with pytest.raises(TypeError, match=rf"^\w+: .*{message}"):
        call()


# (what is unusual, the call, out_size)
UNUSUAL = [
    ("pytorch#39824", lambda: conv1(2, 1, padding=50), (102,)),
    ("pytorch#9404", lambda: conv((1, 64, 1167, 1167), (1, 64, 3, 3), dilation=500), (167, 167)),
    ("pytorch#147613", lambda: pool(X, (3, 2), stride=2**31), (1, 1)),
    ("pytorch#136719", lambda: conv(X, W, stride=2147483697), (1, 1)),
    ("pytorch#145077", lambda: pool((1, 1, 5), 2**33, 1, padding=2**32, stride=1), (6,)),
    ("dilation of one tap", lambda: conv1(5, 1, dilation=INT32_MAX), (5,)),
    ("CVE-2021-29573", lambda: pool((0, 3, 6, 4), 2), (3, 2)),
    ("empty batch", lambda: conv((0, 6, 7, 5), W), (5, 4)),
    ("np.int64 and bool", lambda: conv(X, W, stride=np.int64(2), padding=True), (4, 3)),
    ("0-d array", lambda: conv(X, W, stride=np.array(2)), (3, 2)),
    ("arrays", lambda: conv(X, W, padding=np.array([[1, 0], [0, 2]])), (6, 6)),
    ("one entry", lambda: conv(X, W, stride=[2], padding=(1,)), (4, 3)),
    ("replicate", lambda: conv1(2, 3, padding=9, padding_mode="replicate"), (18,)),
    ("reflect", lambda: conv1(4, 3, padding=3, padding_mode="reflect"), (8,)),
    ("circular", lambda: conv1(4, 3, padding=4, padding_mode="circular"), (10,)),
]


@pytest.mark.parametrize(("call", "out_size"), by_name(UNUSUAL))
def test_unusual_but_right(call, out_size):
    assert call().out_size == out_size


def test_huge_sizes_take_no_time():
    """No formula walks over cells, windows or taps: the extents here could not be walked."""
    geometry = pool((1, 1, 2**58), 2**57, 1, stride=1, padding=2**56, dilation=2)
    assert geometry.out_size == (2**57 + 2,)
    assert conv1(2**50, 2**40, dilation=2**9, padding="same").out_size == (2**50,)
    assert pool((1, 1, 2**56), 2, 1, stride=1, padding=1, dilation=2**56).out_size == (2,)
    with pytest.raises(ValueError, match="steps over the input"):
        pool((1, 1, 2**56), 2, 1, stride=1, padding=1, dilation=2**56 + 1)


def test_integers_are_python_ints():
    geometry = conv(
        np.array(X), W, stride=np.int64(2), padding=np.array([1, 2]), dilation=True, groups=True
    )
    values = (geometry.batch, *geometry.in_size, *geometry.stride, *sum(geometry.padding, ()))
    assert {type(value) for value in values} == {int}
    assert as_int("op", "x", np.uint8(200), at_least=0) == 200
    assert as_sizes("op", "x", range(2, 4), 2, at_least=0) == (2, 3)
    assert as_int("op", "x", LIMIT - 1, at_least=0) == 2**59 - 1


def test_equal_problems_are_equal_and_hash_equally():
    spellings = [
        conv(X, W, padding=1, stride=2),
        conv(X, W, padding=(1, 1), stride=[2, 2]),
        conv(X, W, padding=((1, 1), (1, 1)), stride=np.array([2, 2])),
    ]
    assert len(set(spellings)) == 1
    assert conv(X, W, stride=2) not in spellings
    with pytest.raises(AttributeError):
        spellings[0].stride = (1, 1)


def test_shapes_of_a_convolution():
    geometry = conv((2, 6, 9, 8), (4, 3, 3, 2), groups=2, padding=((1, 2), (0, 3)), stride=(2, 1))
    assert geometry.input_shape == (2, 6, 9, 8)
    assert geometry.weight_shape == (4, 3, 3, 2)
    assert geometry.output_shape == (2, 4, 5, 10)  # (9 + 3 - 3) // 2 + 1 and 8 + 3 - 2 + 1
    assert geometry.padded_size == (12, 11)
    assert geometry.multiply_adds == 2 * 4 * 5 * 10 * 3 * 3 * 2
    assert geometry.rank == 2
    assert geometry.batched
    padded = geometry.without_padding()
    assert padded.in_size == (12, 11)
    assert padded == conv((2, 6, 12, 11), (4, 3, 3, 2), groups=2, stride=(2, 1))


def test_unbatched_input():
    geometry = conv(X[1:], W)
    assert not geometry.batched
    assert geometry.input_shape == (1, *X[1:])
    assert not pool(X[1:], 2).batched
    assert not adaptive(X[1:], 2).batched
    assert not transposed(XT[1:], WT).batched


# --- Padding ---


@pytest.mark.parametrize("name", PADDING_NAMES)
def test_named_padding_against_its_definition(name):
    for size, kernel, stride, dilation in product(
        range(1, 12), range(1, 5), range(1, 5), (1, 2, 3)
    ):
        extent = dilation * (kernel - 1) + 1
        if name == "valid" and extent > size:
            continue
        geometry = conv1(size, kernel, stride=stride, dilation=dilation, padding=name)
        ((low, high),), (count,) = geometry.padding, geometry.out_size
        if name == "valid":
            assert (low, high) == (0, 0)
        elif name == "full":
            assert (low, high) == (extent - 1, extent - 1)
        elif name == "causal":
            assert (low, high) == (extent - 1, 0)  # output p ends on input s p
            assert count == math.ceil(size / stride)
        else:
            assert count == math.ceil(size / stride)
            needed = max((count - 1) * stride + extent - size, 0)
            assert low + high == needed
            assert high - low == (needed % 2 if name == "same" else -(needed % 2))


def test_same_padding_puts_the_odd_cell_at_the_end():
    assert conv1(5, 4, padding="same").padding == ((1, 2),)
    assert conv1(5, 4, padding="same_lower").padding == ((2, 1),)
    assert conv1(6, 3, stride=2, padding="same").padding == ((0, 1),)
    assert conv1(5, 3, stride=2, padding="same").padding == ((1, 1),)


def test_padding_pairs_are_kept():
    geometry = conv(X, W, padding=((1, 0), (0, 2)))
    assert geometry.padding == ((1, 0), (0, 2))
    assert geometry.out_size == (6, 6)
    assert pool(X, 3, padding=((1, 0), (0, 1))).padding == ((1, 0), (0, 1))


# --- Sizes against counting ---

# size, kernel, stride, dilation, low, high
AXES = list(product(range(1, 9), range(1, 5), range(1, 4), range(1, 4), (0, 1, 2), (0, 1, 2)))
POOL_AXES = [
    (size, kernel, stride, dilation, low, high)
    for size, kernel, stride, dilation, low, high in AXES
    if 2 * max(low, high) <= kernel and window_extent(kernel, dilation) <= size + low + high
]


def test_conv_size_counts_whole_windows():
    for size, kernel, stride, dilation, low, high in AXES:
        extent = window_extent(kernel, dilation)
        starts = [p for p in range(0, 50, stride) if p + extent <= size + low + high]
        count = conv_size(size, kernel, stride, dilation, low, high)
        assert max(count, 0) == len(starts)


def test_transposed_size_is_the_smallest_with_that_forward_size():
    for size, kernel, stride, dilation, low, high in AXES:
        result = transposed_size(size, kernel, stride, dilation, low, high, 0)
        assert conv_size(result, kernel, stride, dilation, low, high) == size
        assert conv_size(result - 1, kernel, stride, dilation, low, high) == size - 1
        assert transposed_size(size, kernel, stride, dilation, low, high, 2) == result + 2


def test_pool_size_with_ceil_mode_counts_windows_until_the_end_is_covered():
    for size, kernel, stride, dilation, low, high in POOL_AXES:
        extent, end = window_extent(kernel, dilation), size + low + high
        starts = [
            p
            for p in range(0, 50, stride)
            if (p == 0 or p - stride + extent < end) and p < size + low
        ]
        assert pool_size(size, kernel, stride, dilation, low, high, True) == len(starts)
        floor = conv_size(size, kernel, stride, dilation, low, high)
        assert pool_size(size, kernel, stride, dilation, low, high, False) == floor


def test_ceil_mode_by_hand():
    assert pool((1, 1, 7, 8), 3, stride=2).out_size == (3, 3)
    assert pool((1, 1, 7, 8), 3, stride=2, ceil_mode=True).out_size == (3, 4)
    # ceil(4 / 3) + 1 = 3 windows would start at -1, 2 and 5, and 5 is in the right padding.
    assert pool((1, 1, 5), 3, 1, stride=3, padding=1, ceil_mode=True).out_size == (2,)


def test_every_pooling_window_has_a_tap_in_the_input():
    refused = set()
    for size, kernel, stride, dilation, low, high in POOL_AXES:
        count = pool_size(size, kernel, stride, dilation, low, high, True)
        taps = [[p * stride - low + t * dilation for t in range(kernel)] for p in range(count)]
        options = dict(stride=stride, padding=((low, high),), dilation=dilation, ceil_mode=True)
        if all(any(0 <= cell < size for cell in window) for window in taps):
            assert pool((1, 1, size), kernel, 1, **options).out_size == (count,)
        else:
            refused.add((size, kernel, dilation, low, high))
            with pytest.raises(ValueError, match="steps over"):
                pool((1, 1, size), kernel, 1, **options)
    assert refused == {(1, 2, 2, 1, 1), (2, 2, 3, 1, 1)}


def test_output_padding():
    shapes = (1, 1, 4), (1, 1, 3)
    assert transposed(*shapes, 1, stride=3, padding=1).in_size == (10,)  # 3*3 - 2 + 3
    assert transposed(*shapes, 1, stride=3, padding=1, output_padding=2).in_size == (12,)
    assert transposed(*shapes, 1, dilation=3, output_padding=2).in_size == (12,)  # 3 + 7 + 2
    geometry = transposed(
        (2, 6, 4, 5), (6, 2, 3, 2), stride=(2, 3), groups=3, output_padding=(1, 0)
    )
    assert geometry.input_shape == (2, 6, 10, 14)  # 3*2 + 3 + 1 and 4*3 + 2
    assert geometry.output_shape == (2, 6, 4, 5)
    assert geometry.weight_shape == (6, 2, 3, 2)


@pytest.mark.parametrize("name", ["same", "same_lower"])
def test_transposed_same_multiplies_by_the_stride(name):
    for size, kernel, stride, dilation in product(range(1, 6), range(1, 5), (1, 2, 3), (1, 2)):
        geometry = transposed(
            (1, 1, size), (1, 1, kernel), 1, stride=stride, dilation=dilation, padding=name
        )
        assert geometry.in_size == (size * stride,)
        forward = conv1(size * stride, kernel, stride=stride, dilation=dilation, padding=name)
        assert geometry == forward


def test_adaptive_bins():
    assert [adaptive_bin(i, 5, 3) for i in range(3)] == [(0, 2), (1, 4), (3, 5)]
    assert [adaptive_bin(i, 2, 4) for i in range(4)] == [(0, 1), (0, 1), (1, 2), (1, 2)]
    for size, bins in product(range(1, 10), repeat=2):
        for index in range(bins):
            first, stop = adaptive_bin(index, size, bins)
            assert first == math.floor(index * size / bins)
            assert stop == math.ceil((index + 1) * size / bins)


def test_adaptive_output_sizes():
    assert adaptive(X, 3).out_size == (3, 3)
    assert adaptive(X, (3, None)).out_size == (3, 5)
    assert adaptive(X, None).out_size == (7, 5)
    assert adaptive(X, [2]).out_size == (2, 2)
    assert adaptive(X, np.array([2, 9])).output_shape == (2, 6, 2, 9)


def test_phases_against_zero_stuffing():
    """A transposed axis: zeros between the values, then a full convolution, then the crop."""
    for size, kernel, stride, dilation, low, high in AXES:
        result = transposed_size(size, kernel, stride, dilation, low, high, 1)
        values = np.arange(1, size + 1)
        weight = 10 ** np.arange(kernel)
        stuffed = np.zeros((size - 1) * stride + 1, int)
        stuffed[::stride] = values
        spread = np.zeros(window_extent(kernel, dilation), int)
        spread[::dilation] = weight
        full = np.pad(np.convolve(stuffed, spread), (0, low + high + 1))
        expected = full[low : low + max(result, 0)]

        found = np.full(max(result, 0), -1)
        for phase in range(stride):
            taps = phase_taps(phase, kernel, stride, dilation, low)
            for j in range(phase_count(len(found), phase, stride)):
                terms = [(weight[k], j + shift) for k, shift in taps if 0 <= j + shift < size]
                found[phase + stride * j] = sum(w * values[place] for w, place in terms)
        assert found.tolist() == expected.tolist()


def test_phase_taps_by_hand():
    # stride 2, three taps, padding 1: even cells see the middle tap, odd cells the outer two.
    assert phase_taps(0, 3, 2, 1, 1) == [(1, 0)]
    assert phase_taps(1, 3, 2, 1, 1) == [(0, 1), (2, 0)]
    assert [phase_count(5, phase, 2) for phase in (0, 1)] == [3, 2]


# --- Textbook numbers ---


def test_textbook_layers():
    """A 5x5 layer keeps 32x32 with padding 2; without it, it makes 28x28; 7x7 at stride 3: 2.33."""
    assert conv((1, 3, 32, 32), (10, 3, 5, 5), padding=2).output_shape == (1, 10, 32, 32)
    assert conv((1, 3, 32, 32), (6, 3, 5, 5)).output_shape == (1, 6, 28, 28)
    assert conv((1, 6, 28, 28), (10, 6, 5, 5)).output_shape == (1, 10, 24, 24)
    assert [conv((1, 1, 7, 7), (1, 1, 3, 3), stride=s).out_size[0] for s in (1, 2, 3)] == [5, 3, 2]


def test_receptive_field():
    for layers in range(1, 6):
        for kernel in range(1, 6):
            assert receptive_field([kernel] * layers) == 1 + layers * (kernel - 1)
    assert receptive_field(5) == 5
    assert receptive_field([3, 3], dilations=[1, 2]) == 7
    assert receptive_field([3, 2, 3], strides=2) == 1 + 2 + 1 * 2 + 2 * 4
    assert receptive_field(np.array([7, 3]), strides=(2, 2)) == 1 + 6 + 2 * 2


def test_receptive_field_is_the_input_that_one_output_needs():
    kernels, strides, dilations = [3, 2, 4], [2, 3, 1], [1, 2, 3]
    size = receptive_field(kernels, strides, dilations)
    for wanted, length in ((1, size), (0, size - 1)):
        for kernel, stride, dilation in zip(kernels, strides, dilations, strict=True):
            length = conv_size(length, kernel, stride, dilation, 0, 0)
        assert length == wanted


# --- One place for every formula ---

DIVIDES = re.compile(r"//?=?\s*\(?\s*(\w+\s*\.\s*)*strides?\b|//=?\s*s\b")


def code_of(path):
    """The lines of a file without comments and strings."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    skipped = (tokenize.COMMENT, tokenize.STRING)
    lines = {}
    for token in tokens:
        if token.type not in skipped:
            lines.setdefault(token.start[0], []).append(token.string)
    return {number: " ".join(words) for number, words in lines.items()}


def test_only_one_file_divides_by_a_stride():
    assert all(map(DIVIDES.search, ["n // s", "n//stride + 1", "n / g.stride[0]", "n //= strides"]))
    assert not any(map(DIVIDES.search, ["n // size", "n / scale", "n * stride", "strided // 2"]))
    package = Path(fastconv.__file__).parent
    found = {
        f"{path.relative_to(package)}:{number}"
        for path in package.rglob("*.py")
        for number, line in code_of(path).items()
        if DIVIDES.search(line)
    }
    places = {place.rsplit(":", 1)[0] for place in found}
    assert places == {"sizes.py"}, sorted(found)
