"""Pooling calls that crashed, hung or corrupted other libraries: each is an error that says why.

The first column says where such a call did harm: an issue, a CVE, or the kind of mistake.
"""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import grad

X = np.ones((2, 6, 7, 5))
Y, INDICES = fastconv.max_pool2d(X, 2, return_indices=True)
SIGNAL, VOLUME = np.ones((1, 2, 9)), np.ones((1, 2, 4, 5, 6))
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
EMPTY = np.ones((0, 6, 7, 5))


def max2(x=X, kernel=2, **options):
    return fastconv.max_pool2d(x, kernel, **options)


def avg2(x=X, kernel=2, **options):
    return fastconv.avg_pool2d(x, kernel, **options)


def lp2(x=X, norm=2, kernel=2, **options):
    return fastconv.lp_pool2d(x, norm, kernel, **options)


def bins2(x=X, size=2, **options):
    return fastconv.adaptive_avg_pool2d(x, size, **options)


def put2(y=Y, indices=INDICES, kernel=2, **options):
    return fastconv.max_unpool2d(y, indices, kernel, **options)


def to_max(dy=Y, indices=INDICES, size=X.shape, **options):
    return grad.max_pool2d(dy, indices, size, **options)


def to_avg(dy=Y, size=X.shape, kernel=2, **options):
    return grad.avg_pool2d(dy, size, kernel, **options)


def to_lp(dy=Y, x=X, y=Y, norm=2, kernel=2, **options):
    return grad.lp_pool2d(dy, x, y, norm, kernel, **options)


def read_only(shape):
    out = np.empty(shape)
    out.setflags(write=False)
    return out


# Source of the case, the exception, what its message says, the call.
CALLS = (
    # --- Numbers ---
    ("XNNPACK#11156", ValueError, "max_pool2d: stride .* not 0", lambda: max2(stride=0)),
    ("pytorch#121095", ValueError, "avg_pool2d: stride .* not 0", lambda: avg2(stride=[])),
    ("pytorch#50967", ValueError, "max_pool2d: kernel_size .* not 0", lambda: max2(kernel=[])),
    ("onnx2c#41", ValueError, "kernel_size .* not 3", lambda: max2(kernel=(2, 2, 2))),
    (
        "CVE-2021-41196",
        ValueError,
        "kernel_size .* not 0",
        lambda: fastconv.max_pool3d(VOLUME, (2, 2, 0)),
    ),
    ("CVE-2022-35941", ValueError, "kernel_size .* not -2", lambda: avg2(kernel=-2)),
    (
        "pytorch#136716",
        ValueError,
        "dilation .* not -1",
        lambda: fastconv.max_pool3d(VOLUME, 2, dilation=-1),
    ),
    ("onnx#7764", ValueError, "padding .* not -1", lambda: avg2(padding=-1)),
    ("pytorch#4986", ValueError, r"extent 8 .* padded input, 7", lambda: max2(kernel=(8, 2))),
    (
        "tensorflow#65120",
        ValueError,
        "larger than the padded input",
        lambda: avg2(kernel=INT32_MAX),
    ),
    (
        "ORT#23088",
        ValueError,
        r"padding \(2, 2\) .* half of .*3",
        lambda: max2(kernel=3, padding=2),
    ),
    (
        "pytorch#73190",
        ValueError,
        "larger than the padded input",
        lambda: fastconv.max_pool1d(SIGNAL, 1250999896764, dilation=1250999896764),
    ),
    ("pytorch#136719", ValueError, "below 2\\*\\*59", lambda: max2(kernel=INT64_MAX)),
    (
        "pytorch#73191",
        ValueError,
        "larger than",
        lambda: fastconv.max_pool3d(VOLUME, 536870912, dilation=1879048192),
    ),
    ("pytorch#189664", ValueError, "larger than", lambda: max2(dilation=INT32_MAX)),
    (
        "pytorch#94698",
        ValueError,
        "kernel_size .* not 2772747373535906632",
        lambda: fastconv.avg_pool1d(np.empty((0, 3, 1)), 2772747373535906632),
    ),
    ("pytorch#147613", ValueError, "below 2\\*\\*59", lambda: avg2(stride=2**62)),
    (
        "dilation steps over",
        ValueError,
        "no tap",
        lambda: fastconv.max_pool1d(np.ones((1, 1, 1)), 2, padding=1, dilation=2),
    ),
    (
        "divisor 0",
        ValueError,
        "avg_pool2d: divisor_override .* not 0",
        lambda: avg2(divisor_override=0),
    ),
    ("norm 0", ValueError, "lp_pool2d: norm_type must be positive, not 0", lambda: lp2(norm=0)),
    (
        "norm NaN",
        ValueError,
        "lp_pool2d: norm_type must be positive, not nan",
        lambda: lp2(norm=np.nan),
    ),
    ("no norm", TypeError, "lp_pool2d: norm_type must be a number", lambda: lp2(norm=None)),
    ("0 bins", ValueError, "output_size .* not 0", lambda: bins2(size=(2, 0))),
    ("3 sizes of bins", ValueError, "output_size .* not 3", lambda: bins2(size=(2, 2, 2))),
    ("threads 0", ValueError, "max_pool2d: threads .* not 0", lambda: max2(threads=0)),
    # --- Types of numbers ---
    ("float stride", TypeError, "stride must be an integer, not 2.0", lambda: max2(stride=2.0)),
    (
        "float in a tuple",
        TypeError,
        "kernel_size must be an integer, not 2.0",
        lambda: max2(kernel=(2.0, 2)),
    ),
    ("float bins", TypeError, "output_size must be an integer, not 2.5", lambda: bins2(size=2.5)),
    ("word", TypeError, "kernel_size", lambda: max2(kernel="2")),
    ("unknown padding", ValueError, "padding must be one of", lambda: max2(padding="samee")),
    ("float divisor", TypeError, "divisor_override", lambda: avg2(divisor_override=2.0)),
    # --- Arrays ---
    (
        "CVE-2021-29526",
        ValueError,
        "every dimension but the batch",
        lambda: max2(np.ones((0, 0, 0, 0))),
    ),
    (
        "empty channels",
        ValueError,
        r"must be positive, not \(0, 7, 5\)",
        lambda: avg2(np.ones((2, 0, 7, 5))),
    ),
    (
        "axes",
        ValueError,
        r"max_pool2d: input must have 4 dimensions",
        lambda: max2(np.ones((2, 2))),
    ),
    (
        "average of integers",
        TypeError,
        "avg_pool2d: input .* not int64",
        lambda: avg2(X.astype(int)),
    ),
    (
        "bins of integers",
        TypeError,
        "adaptive_avg_pool2d: input .* not int64",
        lambda: bins2(X.astype(int)),
    ),
    ("norm of integers", TypeError, "lp_pool2d: input .* not int64", lambda: lp2(X.astype(int))),
    (
        "complex maximum",
        TypeError,
        "max_pool2d: input must be real, not complex128",
        lambda: max2(X + 0j),
    ),
    ("complex norm", TypeError, "lp_pool2d: input .* not complex128", lambda: lp2(X + 0j)),
    ("booleans", TypeError, "max_pool2d: input .* not bool", lambda: max2(X > 0)),
    ("objects", TypeError, "max_pool2d: input .* not object", lambda: max2(X.astype(object))),
    (
        "masked",
        TypeError,
        "max_pool2d: input is a masked array",
        lambda: max2(np.ma.masked_equal(X, 1)),
    ),
    # --- out ---
    ("out shape", ValueError, r"avg_pool2d: out has shape \(1,\)", lambda: avg2(out=np.empty(1))),
    (
        "out dtype",
        ValueError,
        "out has dtype float32",
        lambda: max2(out=np.empty(Y.shape, np.float32)),
    ),
    ("out read-only", ValueError, "out is read-only", lambda: max2(out=read_only(Y.shape))),
    ("out overlaps", ValueError, "out overlaps an input", lambda: max2(X, 1, out=X)),
    ("out overlaps", ValueError, "out overlaps an input", lambda: to_lp(x=Y, kernel=1, out=Y)),
    (
        "out overlaps",
        ValueError,
        "out overlaps an input",
        lambda: put2(Y[:1], Y[:1].view(int) * 0, 1, out=Y[:1]),
    ),
    # --- Gradients and indices ---
    (
        "pytorch#141099",
        ValueError,
        "indices has shape",
        lambda: grad.adaptive_max_pool2d(Y, INDICES[..., 1:], X.shape),
    ),
    ("CVE-2021-29579", ValueError, "grad_output", lambda: to_max(Y[:0])),
    (
        "CVE-2021-29577",
        ValueError,
        r"grad_output has shape \(2, 6, 3, 1\)",
        lambda: to_avg(Y[..., 1:]),
    ),
    (
        "CVE-2022-35959",
        ValueError,
        "input_size .* not -536870912",
        lambda: to_avg(size=(2, 6, -536870912, 5)),
    ),
    ("CVE-2021-29574", ValueError, "grad_output has shape", lambda: to_max(Y[:1], INDICES[:1])),
    ("too few axes", ValueError, "grad_output has shape .* input_size", lambda: to_max(Y[0])),
    ("too few sizes", ValueError, "input_size", lambda: to_max(size=(7, 5))),
    ("empty plane", ValueError, "must be positive", lambda: to_max(size=(2, 6, 0, 5))),
    (
        "pytorch#107541",
        ValueError,
        "indices must be at least 0 and below 35.* not 35",
        lambda: to_max(indices=INDICES * 0 + 35),
    ),
    ("pytorch#107541", ValueError, "below 24.* not -1", lambda: put2(indices=INDICES * 0 - 1)),
    (
        "pytorch#107541",
        ValueError,
        "below 24.* not 24",
        lambda: put2(indices=np.where(INDICES == 10, 24, 0)),
    ),
    ("pytorch#107539", ValueError, "output_size", lambda: put2(output_size=(-6, 4))),
    (
        "wrong unpooled index",
        ValueError,
        "grad.max_unpool2d: indices .* below 6.* not 10",
        lambda: grad.max_unpool2d(Y, INDICES),
    ),
    (
        "float indices",
        TypeError,
        "indices must be integers, not float64",
        lambda: to_max(indices=Y),
    ),
    (
        "wrapped index",
        ValueError,
        "indices must be at least 0",
        lambda: to_max(indices=np.full(Y.shape, 2**64 - 1, np.uint64)),
    ),
    (
        "gradient of integers",
        TypeError,
        "grad.avg_pool2d: grad_output .* not int64",
        lambda: to_avg(INDICES),
    ),
    ("integer output", TypeError, "grad.lp_pool2d: output .* not int64", lambda: to_lp(y=INDICES)),
    ("input mismatch", ValueError, "grad.lp_pool2d: output has shape", lambda: to_lp(y=Y[..., 1:])),
    (
        "too many bins",
        ValueError,
        "grad.adaptive_avg_pool2d: grad_output",
        lambda: grad.adaptive_avg_pool2d(Y[:1], X.shape),
    ),
    (
        "padding eats all",
        ValueError,
        "padding .* leaves no output",
        lambda: put2(Y[:, :, :1, :1], INDICES[:, :, :1, :1], 2, padding=1),
    ),
)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [row[1:] for row in CALLS],
    ids=[f"{i} {row[0]}" for i, row in enumerate(CALLS)],
)
def test_a_bad_call_says_why(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_a_remembered_shape_does_not_excuse_a_float():
    """2.0 equals 2, also as a key."""
    assert max2(kernel=2, stride=2).shape == max2(kernel=(2, 2), stride=True + True).shape
    for options in ({"stride": 2.0}, {"padding": 0.0}, {"dilation": (1, 1.0)}):
        with pytest.raises(TypeError, match="must be an integer"):
            max2(kernel=2, **options)
    with pytest.raises(TypeError, match="must be an integer"):
        bins2(size=(2, 2)), bins2(size=(2.0, 2))


def test_integers_of_every_kind():
    """By the rule of `operator.index`."""
    expected = max2(kernel=2, stride=1)
    assert np.array_equal(max2(kernel=np.int8(2), stride=True), expected)
    assert np.array_equal(max2(kernel=np.array([2, 2]), stride=[1, 1]), expected)


def test_large_numbers_that_are_right():
    """pytorch#145077: one window is one window, however large the stride."""
    assert avg2(kernel=2, stride=2**31).shape == (2, 6, 1, 1)
    assert fastconv.max_pool1d(SIGNAL, 9, 2**58).tolist() == [[[1], [1]]]
    assert to_avg(np.ones((2, 6, 1, 1)), stride=2**31).sum() == 12
    assert np.array_equal(max2(kernel=1, dilation=2**58, return_indices=True)[0], X)


def test_an_empty_batch():
    """Empty results, empty gradients, nothing launched (CVE-2021-29573)."""
    values, indices = max2(EMPTY, return_indices=True)
    assert values.shape == indices.shape == (0, 6, 3, 2)
    assert avg2(EMPTY).shape == lp2(EMPTY).shape == (0, 6, 3, 2)
    assert to_max(values, indices, EMPTY.shape).shape == EMPTY.shape
    assert to_avg(values, EMPTY.shape).shape == EMPTY.shape
    assert to_lp(values, EMPTY, values).shape == EMPTY.shape
    assert put2(values, indices).shape == (0, 6, 6, 4)
    assert grad.max_unpool2d(EMPTY, indices).shape == (0, 6, 3, 2)


def test_all_windows_have_a_valid_index():
    """pytorch#1465: all NaN, all -inf, the smallest integer."""
    for x in (np.full(X.shape, np.nan), np.full(X.shape, -np.inf), np.full(X.shape, -128, np.int8)):
        _, indices = fastconv.max_pool2d(x, 3, 2, 1, return_indices=True)
        assert indices[0, 0].tolist() == [[0, 1, 3], [5, 6, 8], [15, 16, 18], [25, 26, 28]]


def test_nothing_is_written_where_no_index_points():
    """A wrong index is found before it does harm; `out` is all that may change."""
    memory = np.full(100, 7.0)
    out = memory[30:70].reshape(1, 1, 5, 8)
    for wrong in (-1, 40, 10**15, -(10**15)):
        places = np.array([[[[3, wrong]]]])
        with pytest.raises(ValueError, match=f"not {wrong}"):
            grad.max_pool2d(np.ones((1, 1, 1, 2)), places, out.shape, out=out)
        assert (memory[:30] == 7).all() and (memory[70:] == 7).all()


sizes = st.one_of(st.integers(-1, 6), st.sampled_from([2**47, 2**59, 2**63, -(2**40)]))
several = st.one_of(sizes, st.tuples(sizes, sizes), st.none(), st.floats(0, 3), st.just("same"))


@settings(max_examples=300)
@given(
    st.sampled_from(["max_pool2d", "avg_pool2d", "adaptive_max_pool2d", "max_unpool2d"]),
    st.lists(st.integers(0, 6), min_size=2, max_size=5),
    several,
    several,
    several,
)
def test_any_call_is_right_or_refused(name, shape, first, second, third):
    x = np.zeros(shape, np.float32)
    arguments = (first,) if "adaptive" in name else (first, second, third)
    if name == "max_unpool2d":
        arguments = (np.zeros(shape, int), *arguments)
    try:
        y = getattr(fastconv, name)(x, *arguments)
    except (ValueError, TypeError) as refusal:
        event(type(refusal).__name__)
        assert str(refusal).startswith(f"{name}: ")
    except MemoryError:
        event("MemoryError")  # of the result, asked for before anything else is done
    else:
        event("result")
        assert y.ndim == x.ndim and not y.any()
