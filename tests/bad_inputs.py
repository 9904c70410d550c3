"""Calls that crashed, hung or corrupted other libraries, as a table.

Each row has the number of the kind of mistake, where it did harm, and what is done about it here:
the arguments that are changed and the error that every door with those arguments gives
(`mistakes`), or calls of particular doors (`CALLS`). What must be right instead stands in
`test_bad_inputs`; `KINDS` says what each number means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from doors import Door

import fastconv
from fastconv import grad

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1

KINDS = {
    1: "stride 0 (pytorch#27598, #169255: SIGFPE)",
    2: "stride, dilation and groups 0 (pytorch#73193)",
    3: "an empty list of strides (pytorch#121095)",
    4: "tuples of the wrong length (pytorch#121906, #121188, onnx2c#41)",
    5: "a weight of the wrong rank or shape (pytorch#3039)",
    6: "axes of one cell with odd strides (pytorch#195394)",
    7: "padding far larger than the input (pytorch#39824)",
    8: "offsets beyond 2**31 (pytorch#9404)",
    9: "output_padding as large as stride and dilation (pytorch#5112)",
    10: "a window larger than the padded input (pytorch#4986)",
    11: "kernel and dilation whose product overflows (pytorch#73190, #142454)",
    12: "2147483697 and INT64_MAX (pytorch#136719, #194112)",
    13: "kernel 2**29 with dilation 1879048192 (pytorch#73191, #73192)",
    14: "negative dilation (pytorch#136716)",
    15: "dilation INT32_MAX (pytorch#189664)",
    16: "an empty input and a kernel of 2772747373535906632 (pytorch#94698)",
    17: "numbers over INT32_MAX that fit (pytorch#145077, #147613)",
    18: "padding 2**63 - 2, stride 2**63 - 1 (pytorch#188959)",
    19: "negative counts whose product is plausible (pytorch#68875)",
    20: "a kernel of -1 (pytorch#76617, #82718)",
    21: "an empty kernel_size (pytorch#50967)",
    22: "indices of the wrong shape (pytorch#141099)",
    23: "indices out of range, negative output size (pytorch#107539, #107541)",
    24: "windows of nothing but NaN or -inf (pytorch#1465, #40131)",
    25: "shape (0, 0, 0, 0) (CVE-2021-29526)",
    26: "a filter with a last dimension of 0 (CVE-2021-29517)",
    27: "an empty filter (CVE-2021-41209)",
    28: "gradients of nothing (CVE-2021-29525, -29524, -29538)",
    29: "sizes that do not match the data (CVE-2021-29540)",
    30: "gradients that are empty or do not match (CVE-2021-29520, -29522)",
    31: "windows of size 0 or less (CVE-2021-41196)",
    32: "a negative window (CVE-2022-35941)",
    33: "input sizes -536870912 and 1879048192 (CVE-2022-35959)",
    34: "gradients of pooling of another shape (CVE-2021-29577)",
    35: "an empty gradient of max pooling (CVE-2021-29579, -37674)",
    36: "an empty batch with indices (CVE-2021-29573)",
    37: "gradients of another size than the indices (CVE-2021-29574, -29576)",
    38: "an empty gradient of a convolution (GHSA-37jf-mjv6-xfqw)",
    39: "strides in functions that only compute shapes (CVE-2022-21725)",
    40: "stride 0 where padding is computed (CVE-2021-29585, -29588, -37684 and others)",
    41: "bins and ratios below 1 (CVE-2022-41900 and others; only bins are offered here)",
    42: "huge windows (tensorflow#65120)",
    43: "strides and padding below 0 (onnx#7764, onnxruntime#32076)",
    44: "padding as large as the window (onnxruntime#23088)",
    45: "stride 0, again (XNNPACK#11156, MNN#4809, Paddle#33036)",
    46: "kernels larger than the image, empty operands (scipy#8814, numpy#7625)",
    47: "out of another shape or dtype, read-only, overlapping (numba#10761)",
    48: "sizes whose product overflows 64 bits (CVE-2021-41197)",
    49: "dtypes that do not go together (pytorch's error_inputs)",
    50: "negative numbers, wrong ranks, groups, bias (pytorch#85656)",
    51: "NaN, infinities, denormals (pytorch#67797)",
    52: "objects, strings, booleans, masked and empty things (scipy#9104)",
    53: "arrays of every memory layout",
    54: "numbers that are no integers, integers that are no int",
}


class Mistake(NamedTuple):
    """Arguments changed, of every door that has them; the error, and what its message says."""

    number: int
    changes: dict[str, Any]
    error: type[Exception]
    message: str
    doors: str = ""  # only of those whose names hold this

    def applies(self, door: Door) -> bool:
        """Whether a door has all the arguments that are changed."""
        return self.doors in door.name and set(self.changes) <= door.options


LIMIT = r"2\*\*59"
# A geometry may notice first that a huge kernel does not fit, or that a count is too large.
TOO_LARGE = (
    rf"larger than|below {LIMIT}|limit {LIMIT}|no tap|half of|leaves no output|must differ|"
    "not a multiple of the"
)

SAME_FOR_ALL = (
    Mistake(1, {"stride": 0}, ValueError, "stride must be at least 1 .* not 0"),
    Mistake(
        2,
        {"stride": 0, "dilation": 0, "groups": 0},
        ValueError,
        "(stride|dilation|groups) must be at least 1 .* not 0",
    ),
    Mistake(3, {"stride": []}, ValueError, r"stride must have \d entr.* not 0: \[\]"),
    Mistake(
        4, {"stride": (1,) * 4}, ValueError, r"stride must have \d entr.*not 4: \(1, 1, 1, 1\)"
    ),
    Mistake(4, {"padding": (1,) * 4}, ValueError, r"padding .*\d.* (not 4: )?\(1, 1, 1, 1\)"),
    Mistake(4, {"dilation": (1,) * 4}, ValueError, r"dilation must have \d entr.* not 4"),
    Mistake(4, {"kernel_size": (2,) * 4}, ValueError, "kernel_size .* not 4"),
    Mistake(4, {"output_padding": (0,) * 4}, ValueError, r"output_padding must have \d .* not 4"),
    Mistake(4, {"output_size": (2,) * 6}, ValueError, "not 6|2, 2, 2, 2, 2, 2"),
    Mistake(
        4, {"padding": ((1, 2, 3),)}, ValueError, r"padding as pairs must be \d pairs? \(low, h"
    ),
    Mistake(9, {"output_padding": 7}, ValueError, r"output_padding \(7\) must be smaller than"),
    Mistake(10, {"kernel_size": 99}, ValueError, f"99|{TOO_LARGE}"),
    Mistake(11, {"kernel_size": 1250999896764, "dilation": 1250999896764}, ValueError, TOO_LARGE),
    Mistake(12, {"stride": INT64_MAX}, ValueError, rf"stride must be .* below {LIMIT}, not 92233"),
    Mistake(12, {"kernel_size": INT64_MAX}, ValueError, rf"kernel_size must be .* below {LIMIT}"),
    Mistake(12, {"padding": INT64_MAX}, ValueError, rf"padding must be .* below {LIMIT}"),
    Mistake(12, {"dilation": 10**30}, ValueError, rf"dilation must be .* below {LIMIT}"),
    Mistake(13, {"kernel_size": 2**29, "dilation": 1879048192}, ValueError, TOO_LARGE),
    Mistake(14, {"dilation": -1}, ValueError, "dilation must be at least 1 .* not -1"),
    Mistake(18, {"padding": 2**63 - 2, "stride": 2**63 - 1}, ValueError, rf"below {LIMIT}, not 92"),
    Mistake(20, {"kernel_size": -1}, ValueError, "kernel_size must be at least 1 .* not -1"),
    Mistake(21, {"kernel_size": []}, ValueError, "kernel_size .* not 0"),
    Mistake(31, {"kernel_size": 0}, ValueError, "kernel_size must be at least 1 .* not 0"),
    Mistake(32, {"kernel_size": -7}, ValueError, "kernel_size must be at least 1 .* not -7"),
    Mistake(33, {"input_size": (2, 4, -536870912)}, ValueError, "input_size .* not -536870912"),
    Mistake(41, {"output_size": 0}, ValueError, "output_size must be at least 1 .* not 0"),
    Mistake(42, {"kernel_size": INT32_MAX}, ValueError, f"2147483647|{TOO_LARGE}"),
    Mistake(43, {"stride": -3}, ValueError, "stride must be at least 1 .* not -3"),
    Mistake(43, {"padding": -1}, ValueError, "padding must be at least 0 .* not -1"),
    Mistake(50, {"groups": 0}, ValueError, "groups must be at least 1 .* not 0"),
    Mistake(50, {"groups": -1}, ValueError, "groups must be at least 1 .* not -1"),
    Mistake(50, {"groups": 7}, ValueError, r"\d.*7|7.*\d"),
    Mistake(50, {"bias": np.ones(5)}, ValueError, r"bias must have shape \(\d,\), not \(5,\)"),
    Mistake(50, {"bias": 1.0}, ValueError, r"bias must have shape \(\d,\), not \(\)"),
    Mistake(50, {"threads": 0}, ValueError, "threads must be at least 1 .* not 0"),
    Mistake(
        50, {"divisor_override": 0}, ValueError, "divisor_override must be at least 1 .* not 0"
    ),
    Mistake(50, {"norm_type": -2}, ValueError, "norm_type must be positive, not -2"),
    Mistake(50, {"algorithm": "gemm"}, ValueError, "algorithm must be 'auto' or .* not 'gemm'"),
    Mistake(50, {"activation": "swish"}, ValueError, "activation must be one of .* not 'swish'"),
    Mistake(50, {"padding_mode": "mirror"}, ValueError, "padding_mode must be .* not 'mirror'"),
    Mistake(50, {"padding": "half"}, ValueError, "padding must be one of .* not 'half'"),
    Mistake(50, {"mode": "mirror"}, ValueError, "mode must be one of .* not 'mirror'"),
    Mistake(50, {"memory_format": "NHWC"}, ValueError, "memory_format must be .* not 'NHWC'"),
    Mistake(49, {"bias": np.ones(6, complex)}, TypeError, "bias is complex128", "conv1d"),
    Mistake(52, {"out": [[0.0]]}, TypeError, "out must be a NumPy array, not list"),
    Mistake(52, {"algorithm": ["direct"]}, TypeError, r"algorithm must be .* not \['direct'\]"),
    Mistake(52, {"activation": {}}, TypeError, r"activation must be .* not \{\}"),
    Mistake(52, {"padding_mode": np.ones(2)}, TypeError, "padding_mode must be .* not array"),
    Mistake(52, {"mode": np.ones(2)}, TypeError, "mode must be .* not array"),
    Mistake(52, {"pad": "12"}, TypeError, "pad must be a sequence of integers, not '12'"),
    Mistake(52, {"norm_type": "two"}, TypeError, "norm_type must be a number, not 'two'"),
    Mistake(54, {"stride": 2.0}, TypeError, r"stride must be an integer, not 2\.0"),
    Mistake(54, {"stride": "2"}, TypeError, "stride must be an integer or .* not '2'"),
    Mistake(54, {"padding": 0.5}, TypeError, r"padding must be an integer, not 0\.5"),
    Mistake(54, {"dilation": np.float64(1)}, TypeError, r"dilation must be an integer, not .*1\.0"),
    Mistake(54, {"dilation": None}, TypeError, "dilation must be an integer, not None"),
    Mistake(54, {"groups": 1.0}, TypeError, r"groups must be an integer, not 1\.0"),
    Mistake(54, {"kernel_size": 2.0}, TypeError, r"kernel_size must be an integer, not 2\.0"),
    Mistake(54, {"kernel_size": "2"}, TypeError, "kernel_size must be an integer or .* not '2'"),
    Mistake(54, {"output_padding": 0.5}, TypeError, r"output_padding must be an integer, not 0\.5"),
    Mistake(54, {"input_size": 5}, TypeError, "input_size must be a sequence of integers, not 5"),
    Mistake(54, {"weight_size": None}, TypeError, "weight_size must be a sequence of .* not None"),
    Mistake(54, {"input_shape": (2, 4.0)}, TypeError, "input_shape must be a sequence of integers"),
    Mistake(54, {"threads": 1.5}, TypeError, r"threads must be an integer, not 1\.5"),
    Mistake(54, {"divisor_override": 2.0}, TypeError, r"divisor_override must be .* not 2\.0"),
    Mistake(54, {"ceil_mode": "no"}, TypeError, "ceil_mode must be True or False, not 'no'"),
    Mistake(54, {"ceil_mode": 2}, TypeError, "ceil_mode must be True or False, not 2"),
    Mistake(54, {"return_indices": 1.0}, TypeError, "return_indices must be True or False, not 1"),
    Mistake(54, {"count_include_pad": []}, TypeError, r"count_include_pad must be .* not \[\]"),
)


def mistakes(every: tuple[Door, ...]) -> Iterator[tuple[Mistake, Door]]:
    """Each mistake at each door that can make it."""
    for mistake in SAME_FOR_ALL:
        for door in every:
            if mistake.applies(door):
                yield mistake, door


# --- Calls of their own ---

X, W = np.ones((2, 6, 7, 5)), np.ones((4, 6, 3, 2))
DY = np.ones((2, 4, 5, 4))
SIGNAL, TAPS = np.ones((1, 2, 9)), np.ones((3, 2, 4))
VOLUME, BLOCK = np.ones((1, 2, 4, 5, 6)), np.ones((3, 2, 2, 2, 2))
Y, INDICES = fastconv.max_pool2d(X, 2, return_indices=True)
COLUMNS = fastconv.unfold(X, 2)


class BadCall(NamedTuple):
    """One call, its error, and what the message says."""

    number: int
    error: type[Exception]
    message: str
    call: Callable[[], Any]


def _read_only(shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(shape)
    out.setflags(write=False)
    return out


def _empty(*shape: int) -> np.ndarray:
    return np.empty(shape)


conv, up = fastconv.conv2d, fastconv.conv_transpose2d
to_input, to_weight = grad.conv2d_input, grad.conv2d_weight

CALLS = (
    BadCall(5, ValueError, r"conv2d: weight must have 4 dim.* \(6, 3, 2\)", lambda: conv(X, W[0])),
    BadCall(5, ValueError, r"in_channels of input \(6\).* \(5\)", lambda: conv(X, W[:, :5])),
    BadCall(5, ValueError, r"input \(4\) is not weight.shape\[0\] \(3\)", lambda: up(DY, W[:3])),
    BadCall(
        7, ValueError, r"padding \(9, 9\) .* half of .*2", lambda: fastconv.max_pool2d(X, 2, 1, 9)
    ),
    BadCall(7, ValueError, "the limit is 6", lambda: conv(X, W, padding=7, padding_mode="reflect")),
    BadCall(9, ValueError, r"\(2\) must be", lambda: up(DY, W, stride=2, output_padding=(1, 2))),
    BadCall(
        10, ValueError, "extent 2 .* larger than the padded input, 1", lambda: conv(X[..., :1], W)
    ),
    BadCall(
        15, ValueError, "larger than the padded input, 7", lambda: conv(X, W, dilation=INT32_MAX)
    ),
    BadCall(15, ValueError, "larger than", lambda: fastconv.max_pool2d(X, 2, dilation=INT32_MAX)),
    BadCall(
        16,
        ValueError,
        "kernel_size .* not 2772747373535906632",
        lambda: fastconv.avg_pool1d(_empty(0, 3, 1), 2772747373535906632),
    ),
    BadCall(17, ValueError, LIMIT, lambda: fastconv.avg_pool2d(X, 2, 2**62)),
    BadCall(19, ValueError, "24 columns, .* 35 windows", lambda: fastconv.fold(COLUMNS, (8, 6), 2)),
    BadCall(19, ValueError, "kernel of extent 9", lambda: fastconv.fold(COLUMNS, (2, 2), 2, 8)),
    BadCall(19, ValueError, "output_size .* not -7", lambda: fastconv.fold(COLUMNS, (-7, -6), 2)),
    BadCall(
        22,
        ValueError,
        r"indices has shape \(2, 6, 3, 1\)",
        lambda: grad.adaptive_max_pool2d(Y, INDICES[..., 1:], X.shape),
    ),
    BadCall(
        23,
        ValueError,
        "indices must be at least 0 and below 35.* not 35",
        lambda: grad.max_pool2d(Y, INDICES * 0 + 35, X.shape),
    ),
    BadCall(
        23, ValueError, "below 24.* not -1", lambda: fastconv.max_unpool2d(Y, INDICES * 0 - 1, 2)
    ),
    BadCall(
        23,
        ValueError,
        "output_size .* not -6|output_size",
        lambda: fastconv.max_unpool2d(Y, INDICES, 2, output_size=(-6, 4)),
    ),
    BadCall(23, ValueError, "below 6.* not 10", lambda: grad.max_unpool2d(Y, INDICES)),
    BadCall(
        23,
        ValueError,
        "indices must be at least 0",
        lambda: grad.max_pool2d(Y, np.full(Y.shape, 2**64 - 1, np.uint64), X.shape),
    ),
    BadCall(
        25, ValueError, r"must be positive, not \(0, 0, 0\)", lambda: conv(_empty(0, 0, 0, 0), W)
    ),
    BadCall(25, ValueError, "must be positive", lambda: fastconv.max_pool2d(_empty(0, 0, 0, 0), 1)),
    BadCall(
        26, ValueError, "must be positive", lambda: fastconv.conv3d(VOLUME, _empty(3, 2, 2, 2, 0))
    ),
    BadCall(27, ValueError, "of weight must be positive", lambda: conv(X, _empty(4, 0, 3, 2))),
    BadCall(27, ValueError, "of weight must be positive", lambda: conv(X, _empty(0, 6, 3, 2))),
    BadCall(
        28, ValueError, "weight must be positive", lambda: to_input(X.shape, _empty(4, 6, 0, 2), DY)
    ),
    BadCall(28, ValueError, "input must be positive", lambda: to_input((2, 6, 0, 5), W, DY)),
    BadCall(29, ValueError, r"has shape .*\(2, 4, 5, 3", lambda: to_weight(X, (4, 6, 3, 3), DY)),
    BadCall(29, ValueError, "larger than the padded input", lambda: to_weight(X, (4, 6, 9, 9), DY)),
    BadCall(30, ValueError, "has shape .* 0, 4", lambda: to_weight(X, W.shape, _empty(2, 4, 0, 4))),
    BadCall(30, ValueError, "weight must be positive", lambda: to_weight(X, (0, 6, 3, 2), DY)),
    BadCall(31, ValueError, "kernel_size .* not 0", lambda: fastconv.max_pool3d(VOLUME, (2, 2, 0))),
    BadCall(
        33,
        ValueError,
        r"grad_output has shape|limit|not \(|larger",
        lambda: grad.avg_pool2d(Y, (2, 6, 1879048192, 5), 2),
    ),
    BadCall(
        34, ValueError, r"shape \(2, 6, 3, 1\)", lambda: grad.avg_pool2d(Y[..., 1:], X.shape, 2)
    ),
    BadCall(35, ValueError, "grad_output", lambda: grad.max_pool2d(Y[:0], INDICES, X.shape)),
    BadCall(37, ValueError, "grad_output", lambda: grad.max_pool2d(Y[:1], INDICES[:1], X.shape)),
    BadCall(37, ValueError, "output has shape", lambda: grad.lp_pool2d(Y, X, Y[..., 1:], 2, 2)),
    BadCall(38, ValueError, r"\(3, 1, 0, 1\)", lambda: to_input(X.shape, W, _empty(3, 1, 0, 1))),
    BadCall(39, ValueError, "strides must be", lambda: fastconv.receptive_field([3], strides=[0])),
    BadCall(
        44, ValueError, r"padding \(2, 2\) .* half .*3", lambda: fastconv.max_pool2d(X, 3, 1, 2)
    ),
    BadCall(
        46, ValueError, "kernel of extent 13", lambda: fastconv.conv1d(SIGNAL, TAPS, dilation=4)
    ),
    BadCall(46, ValueError, "must be positive", lambda: fastconv.conv1d(_empty(1, 2, 0), TAPS)),
    BadCall(
        47,
        ValueError,
        r"shape \(2, 4, 5, 5\), .*\(2, 4, 5, 4\)",
        lambda: conv(X, W, out=_empty(2, 4, 5, 5)),
    ),
    BadCall(
        47, ValueError, "float32, .* float64", lambda: conv(X, W, out=np.empty(DY.shape, "f4"))
    ),
    BadCall(47, ValueError, "dtype >f8", lambda: conv(X, W, out=np.empty(DY.shape, ">f8"))),
    BadCall(47, ValueError, "out is read-only", lambda: conv(X, W, out=_read_only(DY.shape))),
    BadCall(47, ValueError, "out overlaps an input", lambda: fastconv.max_pool2d(X, 1, out=X)),
    BadCall(48, ValueError, "spans .* elements, limit", lambda: conv(X, W, padding=2**40)),
    BadCall(48, ValueError, LIMIT, lambda: fastconv.unfold(X, 2, padding=2**30)),
    BadCall(48, ValueError, LIMIT, lambda: fastconv.plan((2**40, 6, 2**30, 2), W)),
    BadCall(48, ValueError, LIMIT, lambda: fastconv.pad(X, (2**58,) * 4)),
    BadCall(48, (ValueError, MemoryError), "", lambda: fastconv.adaptive_avg_pool2d(X, 2**28)),
    BadCall(49, TypeError, "int64 and weight is float64", lambda: conv(X.astype(int), W)),
    BadCall(49, TypeError, "input .* not int64", lambda: fastconv.avg_pool2d(X.astype(int), 2)),
    BadCall(49, TypeError, "must be real, not complex128", lambda: fastconv.max_pool2d(X + 0j, 2)),
    BadCall(49, TypeError, "not float64", lambda: grad.max_pool2d(Y, Y, X.shape)),
    BadCall(
        50, ValueError, r"\(4\) .* groups \(6\)", lambda: conv(X, np.ones((4, 1, 3, 2)), groups=6)
    ),
    BadCall(50, ValueError, "must have 3 dimensions", lambda: fastconv.conv1d(X, W)),
    BadCall(50, ValueError, "must have 5 dimensions", lambda: fastconv.conv3d(X, W)),
)
