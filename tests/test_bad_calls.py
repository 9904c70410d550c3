"""Calls of convolutions that crashed, hung or corrupted other libraries: errors that say why.

The first column says where such a call did harm: an issue, a CVE, or the kind of mistake. Whatever
may be wrong with a shape is tested in `test_geometry.py`, what all doors refuse alike in
`test_bad_inputs.py`.
"""

import time

import numpy as np
import pytest
from conv_cases import definition, integers
from hypothesis import event, given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import grad
from fastconv.geometry import ConvGeometry

X, W = np.ones((2, 6, 7, 5)), np.ones((4, 6, 3, 2))
DY = np.ones((2, 4, 5, 4))
SIGNAL, TAPS = np.ones((1, 2, 9)), np.ones((3, 2, 4))
VOLUME, BLOCK = np.ones((1, 2, 4, 5, 6)), np.ones((3, 2, 2, 2, 2))
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1


def conv(x=X, w=W, **options):
    return fastconv.conv2d(x, w, **options)


def up(x=DY, w=W, **options):
    return fastconv.conv_transpose2d(x, w, **options)


def to_input(size=X.shape, w=W, dy=DY, **options):
    return grad.conv2d_input(size, w, dy, **options)


def to_weight(x=X, size=W.shape, dy=DY, **options):
    return grad.conv2d_weight(x, size, dy, **options)


def plan(shape=X.shape, w=W, **options):
    return fastconv.plan(shape, w, **options)


def empty(*shape):
    return np.empty(shape)


def read_only(shape):
    out = np.empty(shape)
    out.setflags(write=False)
    return out


def unaligned(shape):
    """Records of nine bytes: writing 8-byte elements side by side would spoil their tags."""
    return np.zeros(shape, np.dtype([("tag", "u1"), ("value", "f8")]))["value"]


def repeated(shape):
    return np.lib.stride_tricks.as_strided(np.zeros(100), shape, (0, *(8,) * (len(shape) - 1)))


DOORS = {"conv2d": conv, "conv_transpose2d": up, "conv2d_input": to_input}
DOORS |= {"conv2d_weight": to_weight, "plan": plan}

BAD_VALUES = [
    # --- Shapes that do not fit each other ---
    ("pytorch#3039", lambda: conv(w=W[0]), r"conv2d: weight must have 4 dim.* \(6, 3, 2\)"),
    ("input ndim", lambda: conv(x=X[0, 0]), r"conv2d: input must have 4 dim.* \(7, 5\)"),
    ("input ndim", lambda: conv(x=X[None]), "conv2d: input must have 4 dimensions"),
    ("0-d", lambda: conv(x=1.0), r"conv2d: input must have 4 dim.* \(\)"),
    ("rank", lambda: fastconv.conv1d(X, W), "conv1d: input must have 3 dimensions"),
    ("rank", lambda: fastconv.conv3d(X, W), "conv3d: weight must have 5 dimensions"),
    ("channels", lambda: conv(w=W[:, :5]), r"conv2d: in_channels of input \(6\) .* \(5\)"),
    ("channels", lambda: conv(groups=2), r"in_channels of input \(6\) is not groups \(2\) times"),
    (
        "weight[0] < groups",
        lambda: conv(w=np.ones((4, 1, 3, 2)), groups=6),
        r"weight.shape\[0\] \(4\) is not divisible by groups \(6\)",
    ),
    ("channels", lambda: up(w=W[:3]), r"in_channels of input \(4\) is not weight.shape\[0\] \(3\)"),
    ("groups", lambda: up(groups=3), r"in_channels of input \(4\) is not divisible by groups \(3"),
    ("bias", lambda: conv(bias=np.ones(5)), r"conv2d: bias must have shape \(4,\), not \(5,\)"),
    ("bias", lambda: conv(bias=1.0), r"conv2d: bias must have shape \(4,\), not \(\)"),
    (
        "bias",
        lambda: conv(bias=np.ones((4, 1, 1))),
        r"bias must have shape \(4,\), not \(4, 1, 1\)",
    ),
    ("bias", lambda: up(bias=np.ones(4)), r"conv_transpose2d: bias must have shape \(6,\)"),
    ("bias", lambda: up(bias=np.ones(3), groups=2), r"bias must have shape \(12,\), not \(3,\)"),
    ("bias", lambda: plan(bias=np.ones(5)), r"plan: bias must have shape \(4,\), not \(5,\)"),
    # --- Empty, or larger than there is ---
    ("CVE-2021-29526", lambda: conv(empty(0, 0, 0, 0), W), "of input must be positive"),
    ("CVE-2021-29526", lambda: conv(X, empty(0, 0, 0, 0)), "of weight must be positive"),
    ("CVE-2021-29517", lambda: fastconv.conv3d(VOLUME, empty(3, 2, 2, 2, 0)), "must be positive"),
    ("CVE-2021-41209", lambda: conv(X, empty(4, 0, 3, 2)), "every dimension of weight must be"),
    (
        "no channels",
        lambda: conv(empty(2, 0, 7, 5)),
        "dimension but the batch of input must be pos",
    ),
    ("no pixels", lambda: conv(empty(2, 6, 0, 5)), "dimension but the batch of input must be pos"),
    (
        "pytorch#4986",
        lambda: conv(X[..., :1]),
        r"extent 2 \(.*\) is larger than the padded input, 1",
    ),
    (
        "scipy#822",
        lambda: conv(dilation=4),
        "kernel of extent 9 .* is larger than the padded input",
    ),
    ("pytorch#189664", lambda: conv(dilation=INT32_MAX), "is larger than the padded input, 7"),
    ("tensorflow#65120", lambda: fastconv.conv1d(SIGNAL, TAPS, dilation=4), "kernel of extent 13"),
    ("no output", lambda: up(padding=9), r"padding \(9, 9\) leaves no output"),
    ("pytorch#5112", lambda: up(output_padding=1), r"output_padding \(1\) must be smaller than"),
    ("pytorch#5112", lambda: up(stride=2, output_padding=(1, 2)), r"output_padding \(2\) must be"),
    ("output_padding", lambda: up(output_padding=-1), "output_padding must be at least 0"),
    ("output_padding", lambda: up(padding="same", stride=2, output_padding=1), "cannot be joined"),
    ("CVE-2021-41197", lambda: conv(padding=2**40), "spans .* elements, limit"),
    ("CVE-2021-41197", lambda: plan((2**40, 6, 2**30, 2), W), "spans .* elements, limit"),
    ("CVE-2021-41197", lambda: up(stride=2**40), "spans .* elements, limit"),
    ("reflect", lambda: conv(padding=7, padding_mode="reflect"), "the limit is 6"),
    ("circular", lambda: conv(padding=8, padding_mode="circular"), "the limit is 7"),
    ("mode", lambda: conv(padding_mode="symmetric"), "padding_mode must be one of .* 'symmetric'"),
    # --- Gradients ---
    (
        "CVE-2021-29540",
        lambda: to_weight(size=(4, 6, 3, 3)),
        r"grad_output has shape .* \(2, 4, 5, 3",
    ),
    ("CVE-2021-29540", lambda: to_weight(size=(4, 6, 9, 9)), "is larger than the padded input"),
    ("CVE-2021-29520", lambda: to_weight(dy=empty(2, 4, 0, 4)), "grad_output has shape .* 0, 4"),
    (
        "CVE-2021-29522",
        lambda: to_weight(size=(0, 6, 3, 2)),
        "dimension of weight must be positive",
    ),
    (
        "CVE-2021-29525",
        lambda: to_input(w=empty(4, 6, 0, 2)),
        "dimension of weight must be positive",
    ),
    ("GHSA-37jf", lambda: to_input(dy=empty(3, 1, 0, 1)), r"grad_output has shape \(3, 1, 0, 1\)"),
    ("CVE-2021-29524", lambda: to_input((2, 6, 0, 5)), "of input must be positive"),
    ("CVE-2022-35959", lambda: to_input((2, 6, -536870912, 5)), "input_size must be at least 0"),
    (
        "mismatch",
        lambda: to_input((2, 6, 8, 5)),
        r"grad_output has shape \(2, 4, 5, 4\), .* 6, 4\)",
    ),
    ("mismatch", lambda: to_input(dy=DY[:1]), r"grad_output has shape \(1, 4, 5, 4\)"),
    ("mismatch", lambda: to_input(dy=DY[0]), r"grad_output has shape \(4, 5, 4\)"),
    (
        "mismatch",
        lambda: to_weight(X[:1]),
        r"grad_output has shape \(2, 4, 5, 4\), .* \(1, 4, 5, 4\)",
    ),
    ("unbatched", lambda: to_input((6, 7, 5)), r"grad_output has shape .* has \(4, 5, 4\)"),
    ("bias", lambda: grad.conv2d_bias(np.ones((4, 5))), "grad_output must have 4 dimensions"),
    # --- Helpers that only compute shapes: CVE-2022-21725 ---
    (
        "shape",
        lambda: fastconv.output_shape((1, 2, 9), (3, 2, 4), stride=0),
        "output_shape: stride",
    ),
    ("shape", lambda: fastconv.explain((1, 2, 9), (3, 2, 4), stride=-1), "explain: stride must be"),
    (
        "shape",
        lambda: fastconv.output_shape((1, 2, 9), (3, 2)),
        "weight must have 3 to 5 dimensions",
    ),
    ("shape", lambda: fastconv.explain((1, -2, 9), (3, 2, 4)), "input_shape must be at least 0"),
    ("shape", lambda: fastconv.receptive_field([3], strides=[0]), "strides must be at least 1"),
    # --- out= ---
    (
        "shape",
        lambda: conv(out=empty(2, 4, 5, 5)),
        r"out has shape \(2, 4, 5, 5\), .* \(2, 4, 5, 4\)",
    ),
    ("shape", lambda: conv(X[0], out=empty(1, 4, 5, 4)), "out has shape"),
    (
        "shape",
        lambda: up(out=empty(2, 6, 7, 6)),
        r"conv_transpose2d: out has shape .* \(2, 6, 7, 5\)",
    ),
    ("shape", lambda: to_input(out=empty(2, 6, 5, 7)), "conv2d_input: out has shape"),
    ("shape", lambda: to_weight(out=empty(4, 6, 2, 3)), "conv2d_weight: out has shape"),
    (
        "dtype",
        lambda: conv(out=np.empty(DY.shape, np.float32)),
        "out has dtype float32, .* float64",
    ),
    ("dtype", lambda: conv(out=np.empty(DY.shape, ">f8")), "out has dtype >f8"),
    ("read-only", lambda: conv(out=read_only(DY.shape)), "conv2d: out is read-only"),
    ("read-only", lambda: to_weight(out=read_only(W.shape)), "conv2d_weight: out is read-only"),
    ("broadcast", lambda: conv(out=np.broadcast_to(np.empty(4), DY.shape)), "out is read-only"),
    ("unaligned", lambda: conv(out=unaligned(DY.shape)), "conv2d: out is not aligned"),
    ("unaligned", lambda: plan()(X, out=unaligned(DY.shape)), "plan: out is not aligned"),
    ("itself", lambda: conv(out=repeated(DY.shape)), "elements of out share memory"),
    ("itself", lambda: plan()(X, out=repeated(DY.shape)), "elements of out share memory"),
    # --- Other options ---
    ("threads", lambda: conv(threads=0), "conv2d: threads must be at least 1 .* not 0"),
    ("threads", lambda: up(threads=-1), "conv_transpose2d: threads must be at least 1 .* not -1"),
    ("threads", lambda: to_weight(threads=0), "conv2d_weight: threads must be at least 1 .* not 0"),
    (
        "algorithm",
        lambda: to_input(algorithm="gemm"),
        "algorithm must be 'auto' or one of .* 'gemm'",
    ),
    ("activation", lambda: conv(activation="swish"), "activation must be one of .* not 'swish'"),
]


@pytest.mark.parametrize(
    ("call", "reason"), [row[1:] for row in BAD_VALUES], ids=[row[0] for row in BAD_VALUES]
)
def test_bad_value(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()


BAD_TYPES = [
    ("size", lambda: to_input(5), "conv2d_input: input_size must be a sequence of integers, not 5"),
    (
        "size",
        lambda: to_weight(size=None),
        "conv2d_weight: weight_size must be a sequence of integ",
    ),
    ("size", lambda: to_input((2, 6, 7.0, 5)), "input_size must be a sequence of integers"),
    ("threads", lambda: conv(threads=1.5), r"conv2d: threads must be an integer, not 1\.5"),
    ("threads", lambda: plan(threads="2"), "plan: threads must be an integer, not '2'"),
    ("out", lambda: conv(out=[[0.0]]), "conv2d: out must be a NumPy array, not list"),
    ("out", lambda: conv(out=np.ma.masked_array(DY)), "out must be a NumPy array, not MaskedArray"),
    ("pytorch error_inputs", lambda: conv(X.astype(int)), "input is int64 and weight is float64"),
    ("pytorch error_inputs", lambda: conv(bias=np.ones(4, complex)), "bias is complex128"),
    ("unknown option", lambda: conv(data_format="NHWC"), "unexpected keyword argument"),
    (
        "positional",
        lambda: fastconv.conv2d(X, W, None, 1, 0, 1, 1, "zeros"),
        "positional arguments",
    ),
]


@pytest.mark.parametrize(
    ("call", "reason"), [row[1:] for row in BAD_TYPES], ids=[row[0] for row in BAD_TYPES]
)
def test_bad_type(call, reason):
    with pytest.raises(TypeError, match=reason):
        call()


# --- Overlap ---


def test_out_overlaps_an_input():
    """Also where only a corner does, and whichever operand it is."""
    memory = np.zeros(2000)
    x = memory[:420].reshape(X.shape)
    w = memory[420:564].reshape(W.shape)
    b = memory[564:568]
    for start in (0, 419, 420, 563, 564, 567):
        with pytest.raises(ValueError, match="conv2d: out overlaps an input"):
            fastconv.conv2d(x, w, b, out=memory[start : start + 160].reshape(DY.shape))
    beside = memory[568:728].reshape(DY.shape)
    assert fastconv.conv2d(x, w, b, out=beside) is beside
    with pytest.raises(ValueError, match="plan: out overlaps an input"):
        fastconv.plan(X.shape, w)(x, out=memory[400:560].reshape(DY.shape))
    with pytest.raises(ValueError, match="conv2d_input: out overlaps an input"):
        to_input(w=w, out=memory[500:920].reshape(X.shape))
    with pytest.raises(ValueError, match="conv2d_weight: out overlaps an input"):
        to_weight(x=x, out=memory[100:244].reshape(W.shape))
    with pytest.raises(ValueError, match="conv_transpose2d: out overlaps an input"):
        up(w=w, out=memory[500:920].reshape(X.shape))


def test_out_between_the_cells_of_an_input():
    """Even and odd cells of one array share no byte."""
    memory = np.arange(40.0)
    x, out = memory[::2].reshape(1, 1, 20), memory[1::2].reshape(1, 1, 20)
    assert fastconv.conv1d(x, np.full((1, 1, 1), 3.0), out=out) is out
    assert np.array_equal(memory, np.repeat(np.arange(0.0, 40, 2), 2) * np.tile([1, 3], 20))


def test_nothing_is_written_when_a_call_is_refused():
    out = np.full(DY.shape, -7.0)
    for options in ({"threads": 0}, {"algorithm": "gemm"}, {"activation": "?"}, {"stride": 0}):
        with pytest.raises(ValueError, match="conv2d: "):
            conv(out=out, **options)
    assert (out == -7).all()


# --- What other libraries refuse or spoil, and this one must not ---


def test_integers_of_other_kinds():
    """Whatever `operator.index` takes: NumPy's integers, and True as 1."""
    expected = fastconv.conv2d(X, W, None, 2, 1, 1, 1)
    for one, two in ((np.int64(1), np.uint8(2)), (True, np.array(2))):
        assert np.array_equal(fastconv.conv2d(X, W, None, two, one, one, one), expected)
        assert np.array_equal(fastconv.conv2d(X, W, None, [two], (one, one), [one, one]), expected)


def test_sizes_beyond_32_bits_that_fit():
    """One window is left, whatever the stride; one tap is left, whatever the dilation."""
    assert conv(stride=2**40).shape == (2, 4, 1, 1)
    assert conv(w=np.ones((4, 6, 1, 1)), dilation=2**40).shape == (2, 4, 7, 5)
    assert fastconv.conv1d(np.ones((1, 1, 1)), np.ones((1, 1, 1)), dilation=2**58).item() == 1
    far = fastconv.conv1d(
        integers((1, 1, 5)), np.ones((1, 1, 3)), padding=2**40, stride=2**40, dilation=2**40
    )
    assert far.tolist() == [[[integers((1, 1, 5))[0, 0, 0]]]]


def test_empty_batches_of_endless_planes():
    """Nothing is asked for, so it takes no time and no table of the windows."""
    many = 2**40
    x, short = np.zeros((0, 1, many), np.float32), np.zeros((0, 1, 4), np.float16)
    half, w = x[..., ::2], np.ones((2, 1, 3), np.float32)
    assert fastconv.conv1d(x, w, padding=1).shape == (0, 2, many)
    assert (
        fastconv.grad.conv1d_input(x.shape, w, np.broadcast_to(x, (0, 2, many)), padding=1).size
        == 0
    )
    assert fastconv.max_pool1d(x, 2, return_indices=True)[1].shape == half.shape
    assert fastconv.avg_pool1d(x, 2).shape == fastconv.lp_pool1d(x, 2, 2).shape == half.shape
    assert fastconv.adaptive_avg_pool1d(short, many).shape == x.shape
    assert fastconv.adaptive_max_pool1d(short, many).shape == x.shape
    assert fastconv.grad.adaptive_avg_pool1d(x, short.shape).shape == short.shape
    assert fastconv.grad.avg_pool1d(half, x.shape, 2).shape == x.shape


def test_offsets_beyond_32_bits():
    """Two rows of 2**30 cells each: pages that nobody touches cost nothing (pytorch#9404)."""
    try:
        x = np.zeros((1, 1, 3, 2**30), np.float32)
    except MemoryError:
        pytest.skip("no address space for 12 GiB")
    x[0, 0, :, 0], x[0, 0, :, -2:] = (1, 2, 3), [(4, 5), (6, 7), (8, 9)]
    w = np.array([[[[1, 10]], [[100, 1000]]]], np.float32).reshape(1, 1, 2, 2)
    stride = (1, 2**30 - 2)
    near = [[1 + 200, 4 + 50 + 600 + 7000], [2 + 300, 6 + 70 + 800 + 9000]]
    far = [[1000, 4000], [10 + 2000, 40 + 6000], [20 + 3000, 60 + 8000]]  # a cell to the left
    for algorithm in ("depthwise", "planar", "direct"):
        result = fastconv.conv2d(x, w, stride=stride, algorithm=algorithm)
        assert result.tolist() == [[near]], algorithm
        padding = ((1, 0), (1, 1))
        result = fastconv.conv2d(x, w, stride=stride, padding=padding, algorithm=algorithm)
        assert result.tolist() == [[far]], algorithm
    gradient = grad.conv2d_weight(x, w.shape, np.ones((1, 1, 2, 2), np.float32), stride=stride)
    assert gradient.tolist() == [[[[1 + 4 + 2 + 6, 5 + 7], [2 + 6 + 3 + 8, 7 + 9]]]]


# --- Any argument at all ---

# Nothing whose result would be large and yet fit into memory: 2**31 cells are a fair request.
ANYTHING = st.sampled_from(
    [
        *(-1, 0, 1, 2, 3, 7, 2**58, 2**59, INT64_MAX, 10**30, True, np.int64(2), 1.5, None),
        *("same", "full", b"1", [], {}, (1,), (2, 1), (1, 2, 3), ((1, 0), (0, 2)), ((1,), (2,))),
    ]
)
USUAL = st.sampled_from([1, 2, (2, 1)])
OPTION = st.one_of(USUAL, USUAL, USUAL, ANYTHING)
GROUPS = st.one_of(st.just(1), st.just(2), st.just(1), ANYTHING)
FITTING = st.tuples(*(st.integers(1, n) for n in (2, 3, 6, 6)))
SHAPE = st.one_of(FITTING, FITTING, FITTING, st.lists(st.integers(0, 4), max_size=6).map(tuple))


def output_shape(shape, kernel, options):
    """Of the convolution, or any shape if there is none."""
    try:
        return fastconv.output_shape(shape, kernel, **options)
    except (ValueError, TypeError):
        return shape


@settings(max_examples=500)
@given(SHAPE, SHAPE, OPTION, OPTION, OPTION, GROUPS, st.sampled_from(list(DOORS)))
def test_any_argument(shape, kernel, stride, padding, dilation, groups, door):
    """A right answer, or an error that names the door; no crash, no hang, no other exception."""
    if len(shape) > 1 and len(kernel) > 1 and groups in (1, 2, 3):  # else hardly any would fit
        shape = (shape[0], groups * kernel[1], *shape[2:])
        kernel = (groups * kernel[0], *kernel[1:])
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x, w = integers(shape, 1), integers(kernel, 2)
    dy = np.ones(output_shape(shape, kernel, options))
    calls = {
        "conv2d": lambda: fastconv.conv2d(x, w, **options),
        "conv_transpose2d": lambda: fastconv.conv_transpose2d(dy, w, **options),
        "conv2d_input": lambda: grad.conv2d_input(shape, w, dy, **options),
        "conv2d_weight": lambda: grad.conv2d_weight(x, kernel, dy, **options),
        "plan": lambda: fastconv.plan(shape, w, **options),
    }
    try:
        result = calls[door]()
    except (ValueError, TypeError) as refusal:
        event("refused")
        assert str(refusal).startswith(f"{door}: ")
        return
    except MemoryError:
        event("no memory")
        return
    event(f"{door} succeeds")
    if door == "conv2d":
        geometry = ConvGeometry.forward("conv2d", 2, shape, kernel, **options)
        assert np.array_equal(result, definition(geometry, "forward", {"input": x, "weight": w}))


def test_an_overlap_that_nobody_can_find_in_time():
    """Whether strides like these meet in a cell is a problem that may take NumPy minutes."""
    memory = np.zeros(192_163_377, np.float16)
    view = np.lib.stride_tricks.as_strided
    x = view(memory, (1, 1, 1049, 1049, 1049), (0, 0, 73348, 122238, 171138))
    out = view(memory[64_023_025:], (1, 1, 1049, 1049, 1), (0, 0, 24446, 24448, 2))
    w = np.zeros((1, 1, 1, 1, 1049), np.float16)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="conv3d: out overlaps an input, or its strides"):
        fastconv.conv3d(x, w, out=out)
    assert time.perf_counter() - start < 30
