"""Element types, what becomes of them together, and arrays in awkward memory."""

import numpy as np
import pytest
from conv_cases import CASES, OPERANDS, ROUNDING, definition, integers

import fastconv
from fastconv import grad
from fastconv.plan import OPERATIONS

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
COMPLEX = ("complex64", "complex128")

# One case for each way through the engine.
SOME = [
    row
    for row in CASES
    if row.name
    in (
        "1d causal stride",
        "1d unbatched",
        "2d every option",
        "2d empty batch",
        "2d depthwise 17",
        "2d depthwise times 3",
        "2d reflect",
        "2d 1x1",
        "2d stride over kernel",
        "3d every option",
        "3d circular",
    )
]
assert len(SOME) == 11
some_cases = pytest.mark.parametrize("row", SOME, ids=lambda row: row.name)
every_operation = pytest.mark.parametrize("operation", OPERATIONS)


def conv(x, w, *args, **options):
    """conv1d of two rows."""
    return fastconv.conv1d(np.asarray(x)[None, None], np.asarray(w)[None, None], *args, **options)[
        0, 0
    ]


# --- Integers ---


@pytest.mark.parametrize("dtype", INTEGERS)
@every_operation
@some_cases
def test_integers_are_exact_modulo_their_width(row, operation, dtype):
    """Values over the whole range, compared with unlimited Python integers."""
    rng = np.random.default_rng(3)
    info = np.iinfo(dtype)
    arrays = {
        name: rng.integers(info.min, info.max, row.shape(name), dtype, endpoint=True)
        for name in OPERANDS[operation]
    }
    unlimited = {name: value.astype(object) for name, value in arrays.items()}
    exact = np.asarray(definition(row.geometry, operation, unlimited), object)
    wrapped = (exact - int(info.min)) % (1 << info.bits) + int(info.min)
    for algorithm in row.algorithms(operation, dtype):
        result = row.run(operation, arrays, algorithm=algorithm)
        assert result.dtype == dtype
        assert np.array_equal(result, wrapped.astype(dtype)), algorithm


def test_wrapping_by_hand():
    assert conv(np.int8([100, 100]), np.int8([1, 1])).tolist() == [200 - 256]
    assert conv(np.uint8([200, 100]), np.uint8([1, 1])).tolist() == [300 - 256]
    assert conv(np.int64([2**62]), np.int64([4])).tolist() == [0]
    assert conv(np.uint64([2**63]), np.uint64([1])).tolist() == [2**63]
    # Intermediate sums may leave the range of int8 as long as the result does not.
    assert conv(np.int8([100, 100, -100]), np.int8([1, 1, 1])).tolist() == [100]


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_activation_of_integers(dtype, activation):
    cells = np.array([0, 3, 7, 100] if dtype == "uint8" else [-100, -3, 5, 7, 100], dtype)
    result = conv(cells, np.ones(1, dtype), activation=activation)
    low = -128 if activation is None else 0
    assert result.dtype == dtype
    assert np.array_equal(result, cells.clip(low, 6 if activation == "relu6" else 127))


def test_relu_of_large_unsigned_numbers():
    large = np.array([2**63 + 5], np.uint64)
    assert conv(large, np.ones(1, np.uint64), activation="relu").tolist() == [2**63 + 5]
    with pytest.raises(TypeError, match="conv1d: activation 'relu6' of uint64"):
        conv(large, np.ones(1, np.uint64), activation="relu6")


# --- Floating point ---


def test_float16_is_summed_in_float32():
    """2048 + 1 is 2048 in float16: summed there, the 64 ones would be lost."""
    cells = np.array([2048] + [1] * 64, np.float16)
    result = conv(cells, np.ones(65, np.float16))
    assert result.dtype == np.float16
    assert result.tolist() == [2112.0]


@every_operation
@some_cases
def test_float16_rounds_once(row, operation):
    """Small integers: the sum in float32 is exact, and one rounding makes it float16."""
    rng = np.random.default_rng(4)
    arrays = {name: rng.integers(-40, 41, row.shape(name)) for name in OPERANDS[operation]}
    exact = definition(row.geometry, operation, arrays).astype(np.float32).astype(np.float16)
    halves = {name: value.astype(np.float16) for name, value in arrays.items()}
    result = row.run(operation, halves)
    assert result.dtype == np.float16
    assert np.array_equal(result, exact)


def test_float16_overflow_is_infinite():
    with np.errstate(over="ignore"):
        assert conv(np.float16([60000, 60000]), np.float16([1, 1])).tolist() == [np.inf]


@pytest.mark.parametrize("dtype", FLOATS)
def test_bias_is_cast_to_the_result(dtype):
    bias = np.array([0.5])
    result = conv(np.ones(2, dtype), np.ones(2, dtype), bias)
    assert result.dtype == dtype
    assert result.tolist() == [2.5]
    assert conv(np.ones(2, dtype), np.ones(2, dtype), np.array([3], np.int8)).tolist() == [5]


# --- Complex ---


def test_complex_by_hand():
    """(1 + 2i)(5 + 6i) + (3 + 4i)(7 - i) = (-7 + 16i) + (25 + 25i): nothing is conjugated."""
    x, w = [1 + 2j, 3 + 4j], [5 + 6j, 7 - 1j]
    assert conv(x, w).tolist() == [18 + 41j]
    assert conv(x, w, [10 - 1j]).tolist() == [28 + 40j]
    # One output gradient dy = i: dx = w dy, dw = x dy.
    dx = grad.conv1d_input((1, 1, 2), np.array([[w]]), np.array([[[1j]]]))
    assert dx.tolist() == [[[-6 + 5j, 1 + 7j]]]
    dw = grad.conv1d_weight(np.array([[x]]), (1, 1, 2), np.array([[[1j]]]))
    assert dw.tolist() == [[[-2 + 1j, -4 + 3j]]]


@pytest.mark.parametrize("dtype", COMPLEX)
@every_operation
@some_cases
def test_complex_is_exact(row, operation, dtype):
    arrays = {
        name: (integers(row.shape(name), 2 * i) + 1j * integers(row.shape(name), 2 * i + 1))
        for i, name in enumerate(OPERANDS[operation])
    }
    expected = definition(row.geometry, operation, arrays)
    sizes = definition(row.geometry, operation, {n: abs(value) for n, value in arrays.items()})
    arrays = {name: value.astype(dtype) for name, value in arrays.items()}
    for algorithm in row.algorithms(operation, dtype):
        result = row.run(operation, arrays, algorithm=algorithm)
        assert result.dtype == dtype
        if algorithm in ROUNDING:
            bound = 2 * ROUNDING[algorithm] * np.finfo(dtype).eps * sizes.max(initial=1)
            assert (abs(result - expected) <= bound).all(), algorithm
        else:
            assert np.array_equal(result, expected), algorithm


@pytest.mark.parametrize("dtype", COMPLEX)
def test_complex_transposed_with_bias(dtype):
    """The first cell of the kernel goes to the even places, the second to the odd."""
    x, w = np.array([[[1j, 2]]], dtype), np.array([[[1 + 1j, 3]]], dtype)
    result = fastconv.conv_transpose1d(x, w, np.array([1j], dtype), stride=2)
    assert result.dtype == dtype
    assert result.tolist() == [[[-1 + 2j, 4j, 2 + 3j, 6 + 1j]]]


def test_complex_into_a_given_array():
    x, w = np.array([[[1j, 2, 3]]]), np.array([[[1, 1j]]])
    cells = np.full(5, 7 + 7j)
    out = cells[1:4:2].reshape(1, 1, 2)
    assert fastconv.conv1d(x, w, out=out) is out
    assert cells.tolist() == [7 + 7j, 3j, 7 + 7j, 2 + 3j, 7 + 7j]


# --- Mixing ---


@pytest.mark.parametrize("first", INTEGERS + FLOATS + COMPLEX)
@pytest.mark.parametrize("second", INTEGERS + FLOATS + COMPLEX)
def test_result_type(first, second):
    """NumPy's, except that integers meet only integers, and never by way of floats."""
    x, w = np.ones((1, 1, 3), first), np.ones((1, 1, 2), second)
    kinds = {np.dtype(d).kind in "iu" for d in (first, second)}
    expected = np.result_type(first, second)
    lost = expected.kind == "f" and kinds == {True}  # int64 with uint64
    if len(kinds) == 2 or lost:
        reason = "no integer type holds both" if lost else "integers are not mixed"
        with pytest.raises(TypeError, match=f"conv1d: .*{reason}"):
            fastconv.conv1d(x, w)
        return
    results = [
        fastconv.conv1d(x, w),
        fastconv.conv_transpose1d(x, w),
        grad.conv1d_input((1, 1, 4), w, x),
        grad.conv1d_weight(np.ones((1, 1, 4), second), (1, 1, 2), x),
    ]
    assert [result.dtype for result in results] == [expected] * 4
    assert results[0].tolist() == [[[2, 2]]]


def test_float32_is_never_widened():
    x, w = np.ones((1, 1, 3), np.float32), np.ones((1, 1, 2), np.float32)
    assert fastconv.conv1d(x, w, np.ones(1)).dtype == np.float32
    assert fastconv.conv1d(x, w.astype(np.float16)).dtype == np.float32


# --- What is converted ---


def memories(values):
    """The same numbers in every kind of memory that NumPy has."""
    shape, kind = values.shape, values.dtype
    raw = np.zeros(values.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(kind).reshape(shape)
    unaligned[...] = values
    assert not unaligned.flags.aligned
    packed = np.zeros(shape, np.dtype([("tag", "u1"), ("value", kind)]))["value"]
    packed[...] = values
    wide = np.zeros((*shape[:-1], 3 * shape[-1]), kind)[..., ::3]
    wide[...] = values
    every = (slice(None, None, -1),) * values.ndim
    frozen = values.copy()
    frozen.setflags(write=False)
    return {
        "big-endian": values.astype(kind.newbyteorder(">")),
        "little-endian": values.astype(kind.newbyteorder("<")),
        "unaligned": unaligned,
        "field of packed records": packed,
        "Fortran order": np.asfortranarray(values),
        "every third": wide,
        "backwards": values[every].copy()[every],
        "swapped axes": values.swapaxes(-1, -2).copy().swapaxes(-1, -2),
        "read-only": frozen,
        "list": values.tolist(),
        "subclass": values.view(np.recarray),
        "memory view": memoryview(values.copy()),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "complex64"])
@every_operation
def test_awkward_memory(operation, dtype):
    row = next(row for row in CASES if row.name == "2d every option")
    arrays = {
        name: integers(row.shape(name), seed).astype(dtype)
        for seed, name in enumerate(OPERANDS[operation])
    }
    expected = row.run(operation, arrays)
    assert np.array_equal(expected, definition(row.geometry, operation, arrays))
    for name, plain in arrays.items():
        if plain.ndim == 1:
            continue
        for kind, other in memories(plain).items():
            if kind == "list" and dtype != "float64":
                other = np.array(other, dtype).tolist()  # Python's numbers are float64 and int64
            result = row.run(operation, {**arrays, name: other})
            assert np.array_equal(result, expected), (name, kind)
            if kind != "list":
                assert result.dtype == dtype, (name, kind)


def test_broadcast_operands():
    """Strides of zero: one number stands for a whole array."""
    x = np.broadcast_to(np.float32(3), (2, 4, 6, 5))
    w = np.broadcast_to(np.float32([2, 7]), (5, 4, 3, 2))
    expected = fastconv.conv2d(x.copy(), w.copy())
    assert np.array_equal(fastconv.conv2d(x, w), expected)
    assert np.array_equal(fastconv.conv2d(x, w, np.broadcast_to(np.float32(1), 5)), expected + 1)
    dy = np.broadcast_to(np.float32(2), expected.shape)
    assert np.array_equal(
        grad.conv2d_input(x.shape, w, dy), grad.conv2d_input(x.shape, w.copy(), dy.copy())
    )
    assert np.array_equal(
        grad.conv2d_weight(x, w.shape, dy), grad.conv2d_weight(x.copy(), w.shape, dy.copy())
    )


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_matrix_gives_an_array():
    x = np.matrix([[1.0, 2, 3], [4, 5, 6]])  # (C, L)
    result = fastconv.conv1d(x, np.ones((1, 2, 2)))
    assert type(result) is np.ndarray
    assert result.tolist() == [[12, 16]]


def test_lists_of_python_numbers():
    assert fastconv.conv1d([[1, 2, 3]], [[[1, 1]]]).dtype == np.int64
    assert fastconv.conv1d([[1.0, 2, 3]], [[[1.0, 1]]]).tolist() == [[3.0, 5.0]]


def test_file_in_memory(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(1, 2, 9))
    x[...] = integers(x.shape)
    w = integers((3, 2, 4)).astype(np.float32)
    assert np.array_equal(fastconv.conv1d(x, w), fastconv.conv1d(np.array(x), w))


# --- What is refused ---

MASKED = np.ma.masked_array(np.ones((1, 1, 4)), mask=False)

REFUSED = [
    ("bool", np.ones((1, 1, 4), bool), "must be an integer, .* not bool"),
    ("object", np.ones((1, 1, 4), object), "must be an integer, .* not object"),
    ("str", np.full((1, 1, 4), "a"), "must be an integer, .* not <U1"),
    ("bytes", np.full((1, 1, 4), b"a"), r"must be an integer, .* not \|S1"),
    ("datetime", np.zeros((1, 1, 4), "M8[s]"), "must be an integer, .* not datetime64"),
    ("timedelta", np.zeros((1, 1, 4), "m8[s]"), "must be an integer, .* not timedelta64"),
    ("record", np.zeros((1, 1, 4), [("a", "f4")]), "must be an integer, "),
    ("masked", MASKED, r"is a masked array; fill it first: \w+.filled\(0\)"),
    ("None", None, "must be an integer, .* not object"),
    ("string", "abcd", "must be an integer, .* not <U4"),
    ("set", {1, 2}, "must be an integer, .* not object"),
]
if np.dtype(np.longdouble).itemsize > 8:
    REFUSED.append(
        ("long double", np.ones((1, 1, 4), np.longdouble), "must be an integer, .* not float")
    )


@pytest.mark.parametrize(("value", "reason"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(value, reason):
    """By every door and for every operand, naming the operand."""
    x, w = np.ones((1, 1, 4)), np.ones((1, 1, 4))
    calls = {
        "conv1d: input": lambda: fastconv.conv1d(value, w),
        "conv1d: weight": lambda: fastconv.conv1d(x, value),
        "conv_transpose1d: input": lambda: fastconv.conv_transpose1d(value, w),
        "conv_transpose1d: weight": lambda: fastconv.conv_transpose1d(x, value),
        "conv1d_input: weight": lambda: grad.conv1d_input((1, 1, 4), value, x),
        "conv1d_input: grad_output": lambda: grad.conv1d_input((1, 1, 4), w, value),
        "conv1d_weight: input": lambda: grad.conv1d_weight(value, (1, 1, 4), x),
        "conv1d_weight: grad_output": lambda: grad.conv1d_weight(x, (1, 1, 4), value),
        "conv1d_bias: grad_output": lambda: grad.conv1d_bias(value),
        "plan: weight": lambda: fastconv.plan((1, 1, 4), value),
        "plan: x": lambda: fastconv.plan((1, 1, 4), w)(value),
    }
    if value is not None:
        calls["conv1d: bias"] = lambda: fastconv.conv1d(x, w, value)
        calls["conv_transpose1d: bias"] = lambda: fastconv.conv_transpose1d(x, w, value)
        calls["plan: bias"] = lambda: fastconv.plan((1, 1, 4), w, value)
    for start, call in calls.items():
        with pytest.raises(TypeError, match=f"^{start} {reason}"):
            call()


def test_bias_that_does_not_cast():
    real, whole = np.ones((1, 1, 4)), np.ones((1, 1, 4), int)
    with pytest.raises(TypeError, match=r"conv1d: bias is complex128.* float64"):
        fastconv.conv1d(real, real, np.ones(1, complex))
    with pytest.raises(TypeError, match=r"conv1d: bias is float64.* int64"):
        fastconv.conv1d(whole, whole, np.ones(1))
    with pytest.raises(TypeError, match=r"plan: bias is float64.* int64"):
        fastconv.plan((1, 1, 4), whole, np.ones(1))


def test_ragged_lists():
    with pytest.raises(TypeError, match="inhomogeneous"):
        fastconv.conv1d([[1, 2], [3]], np.ones((1, 2, 1)))
