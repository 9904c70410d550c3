"""The doors inside nopython code: the same bits, the same checks, as from Python."""

from __future__ import annotations

import functools
import inspect

import conv_cases
import numba
import numpy as np
import pool_cases
import pytest
from numba.core.errors import TypingError

import fastconv
from fastconv import functional, grad
from fastconv.jit import making, table
from fastconv.jit.doors import NOT_HERE, RULES

ROWS = {
    "forward": "conv{}d",
    "input_gradient": "conv{}d_input",
    "weight_gradient": "conv{}d_weight",
}
RANDOM = np.random.default_rng(0)


def random(shape, dtype="float32"):
    return RANDOM.standard_normal(shape).astype(dtype)


def any_layout(x):
    """`x` as an array whose Numba type promises nothing about strides."""
    wide = np.zeros((*x.shape, 2), x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


def last(x):
    """`x` in channels-last memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def same(a, b):
    """Equal in every bit, and in shape, strides of dense arrays, and dtype."""
    assert type(a) is type(b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def performed_in_python(function, *arguments):
    """How many of the recipes that a call needs are handed to the door each time."""
    before = set(table._recipes)
    function(*arguments)
    made = [table._recipes[address] for address in set(table._recipes) - before]
    assert made
    return sum(recipe.program is None for recipe in made)


# --- Every door is there ---


def test_every_door_is_registered():
    doors = {name for name in functional.__all__ if name not in NOT_HERE}
    assert set(RULES) == doors | {f"grad.{name}" for name in grad.__all__}
    for name in RULES:
        assert callable(making.door_named(name))


# --- Convolutions ---


def conv_door(operation, rank):
    name = ROWS[operation].format(rank)
    return getattr(fastconv if operation == "forward" else grad, name)


@functools.cache
def convolution(operation, rank, mode):
    """A nopython function of one operation; padding as pairs, so that one serves all cases."""
    door = conv_door(operation, rank)
    if operation == "forward":

        @numba.njit
        def call(x, w, stride, padding, dilation, groups):
            return door(x, w, None, stride, padding, dilation, groups, padding_mode=mode)

    else:

        @numba.njit
        def call(x, size, w, stride, padding, dilation, groups):
            return door(x, size, w, stride, padding, dilation, groups, padding_mode=mode)

    return call


def operands(row, operation, dtype):
    found = [random(row.shape(name), dtype) for name in ("input", "weight", "grad_output")]
    x, w, dy = (any_layout(each) for each in found)
    return {
        "forward": (x, w),
        "input_gradient": (row.input, w, dy),
        "weight_gradient": (x, row.weight, dy),
    }[operation]


@pytest.mark.parametrize("operation", ROWS)
def test_convolutions(operation):
    """Every case, whatever its memory looks like."""
    for row in conv_cases.CASES:
        g = row.geometry
        arguments = operands(row, operation, "float32")
        options = (g.stride, g.padding, g.dilation, g.groups)
        call = convolution(operation, row.rank, g.padding_mode)
        result = call(*arguments, *options)
        options = dict(zip(("stride", "padding", "dilation", "groups"), options))
        door = functools.partial(conv_door(operation, row.rank), padding_mode=g.padding_mode)
        assert same(result, door(*arguments, **options)), row.name


@pytest.mark.parametrize("channels", [(17, 17, 17), (32, 32, 64), (64, 8, 64), (48, 3, 48)])
def test_channels_last_groups(channels):
    """Tiles that read their source in place, with and without an epilogue, and the way back."""
    c, groups, k = channels
    scaled = _scaled()

    @numba.njit
    def call(x, w, dy, b, stride):
        y = fastconv.conv2d(x, w, b, stride, 1, 1, groups)
        z = fastconv.conv2d(x, w, b, stride, 1, 1, groups, epilogue=scaled, epilogue_args=(b, y))
        return y, z, grad.conv2d_input(x.shape, w, dy, stride, 1, 1, groups)

    x, w, b = last(random((2, c, 7, 9))), random((k, c // groups, 3, 3)), random(k)
    options = {"padding": 1, "groups": groups}
    for stride in ((1, 1), (2, 1)):
        y = fastconv.conv2d(x, w, b, stride, **options)
        dy, epilogue = last(random(y.shape)), {"epilogue": scaled, "epilogue_args": (b, y)}
        expected = (
            y,
            fastconv.conv2d(x, w, b, stride, **options, **epilogue),
            grad.conv2d_input(x.shape, w, dy, stride, **options),
        )
        assert performed_in_python(call, x, w, dy, b, stride) == 0
        for found, wanted in zip(call(x, w, dy, b, stride), expected):
            assert same(found, wanted) and found.strides == wanted.strides


@functools.cache
def _scaled():
    return numba.njit(lambda a, scale, other: a * scale + other)


# --- Pooling ---


def pooling(door, *names):
    """A nopython function of a door that takes the arrays and numbers of these names."""
    taken = ", ".join(names)
    namespace = {"door": door}
    code = f"def call({taken}):\n    return door({', '.join(f'{n}={n}' for n in names)})"
    exec(code, namespace)
    return numba.njit(namespace["call"])


@functools.cache
def pooling_of(door, *names):
    return pooling(door, *names)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling(kind):
    for row in pool_cases.CASES:
        if "dilation" in row.options and kind == "avg":
            continue
        x = any_layout(random(row.input))
        if row.batched and len(row.name) % 2:
            x = last(x)
        door = row.door(kind)
        options = dict(row.options)
        if "kernel_size" in options:
            options.pop("padding", 0)
            options["kernel_size"] = row.geometry.kernel_size
            options["stride"], options["padding"] = row.geometry.stride, row.geometry.padding
            options["ceil_mode"] = options.get("ceil_mode", False)
        else:
            options["output_size"] = row.geometry.out_size
        call = pooling_of(door, "input", *options)
        assert same(call(x, **options), door(x, **options)), row.name


@pytest.mark.parametrize("row", [pool_cases.CASES[28], pool_cases.ADAPTIVE[4]])
def test_maxima_and_their_way_back(row):
    x, rank = random((2, 3, 9, 10)[: row.rank + 2]), row.rank
    pool, back = getattr(fastconv, f"max_pool{rank}d"), getattr(grad, f"max_pool{rank}d")
    unpool = getattr(fastconv, f"max_unpool{rank}d")

    @numba.njit
    def call(x):
        y, places = pool(x, 3, 2, return_indices=True)
        return y, places, back(y, places, x.shape), unpool(y, places, 3, 2, output_size=x.shape)

    y, places = pool(x, 3, 2, return_indices=True)
    expected = y, places, back(y, places, x.shape), unpool(y, places, 3, 2, 0, x.shape)
    assert same(call(x), expected)
    assert performed_in_python(call, random((3, *x.shape[1:]))) == 0


def test_an_index_outside_is_told_as_from_python():
    """Seen by the kernel, in the second call of a recipe too."""
    back = numba.njit(lambda y, places: grad.max_pool1d(y, places, (1, 2, 9)))
    y, places = random((1, 2, 3)), np.array([[[0, 4, 8], [8, 1, 2]]])
    expected = grad.max_pool1d(y, places, (1, 2, 9))
    for _ in range(2):
        assert same(back(y, places), expected)
    places[0, 1, 0] = 9
    with pytest.raises(ValueError) as python:
        grad.max_pool1d(y, places, (1, 2, 9))
    for _ in range(2):
        with pytest.raises(ValueError) as compiled:
            back(y, places)
        assert str(compiled.value) == str(python.value)


# --- The other doors, which run in Python where they are not kernels alone ---

OTHERS = {
    "conv_transpose2d": lambda f: f(X, np.ascontiguousarray(W.swapaxes(0, 1)), BIAS, 2, 1, 1),
    "linear": lambda f: f(ROWS_OF_FEATURES, FEATURES, BIAS),
    "lp_pool2d": lambda f: f(X, 2.0, 3, 2),
    "avg_pool2d": lambda f: f(X, (3, 2), ceil_mode=True, count_include_pad=False),
    "unfold": lambda f: f(X, (2, 3), 1, 1, 2),
    "fold": lambda f: f(COLUMNS, (5, 6), (2, 3)),
    "pad": lambda f: f(X, (1, -2, 3, 0), "reflect"),
    "grad.linear_input": lambda f: f(FEATURES, ROWS_OF_FEATURES @ FEATURES.T),
    "grad.linear_weight": lambda f: f(ROWS_OF_FEATURES, ROWS_OF_FEATURES @ FEATURES.T),
    "grad.conv2d_bias": lambda f: f(X),
    "grad.avg_pool2d": lambda f: f(X[..., :4, :3].copy(), (2, 3, 8, 6), 2),
    "grad.adaptive_avg_pool2d": lambda f: f(X, (2, 3, 15, 16)),
    "grad.lp_pool1d": lambda f: f(*[X[..., :4].copy().reshape(6, 9, 4)] * 3, 2.0, 1),
    "grad.pad": lambda f: f(X, (1, 2), "circular"),
}
X, W, BIAS = random((2, 3, 9, 10)), random((4, 3, 3, 3)), random(4)
ROWS_OF_FEATURES, FEATURES, COLUMNS = random((2, 3, 7)), random((4, 7)), random((2, 12, 16))


@pytest.mark.parametrize("name", OTHERS)
def test_other_doors(name):
    door = making.door_named(name)
    passed = []
    expected = OTHERS[name](
        lambda *args, **options: passed.append((args, options)) or door(*args, **options)
    )
    ((args, options),) = passed
    names = [*list(inspect.signature(door).parameters)[: len(args)], *options]
    values = [*args, *options.values()]
    text = [n for n, v in zip(names, values) if isinstance(v, (str, bool))]
    taken = [n for n in names if n not in text]
    namespace = {"door": door}
    given = ", ".join(f"{n}={v!r}" if n in text else f"{n}={n}" for n, v in zip(names, values))
    exec(f"def call({', '.join(taken)}):\n    return door({given})", namespace)
    call = numba.njit(namespace["call"])
    arguments = [v for n, v in zip(names, values) if n not in text]
    for _ in range(2):
        assert same(call(*arguments), expected)


# --- Types ---


def conv(x, w, b):
    return fastconv.conv2d(x, w, b, 2, padding="same", activation="relu")


compiled_conv = numba.njit(conv)


@pytest.mark.parametrize("dtype", ["float64", "int64", "int16", "complex64"])
def test_element_types(dtype):
    x, w, b = (
        np.round(8 * random(shape)).astype(dtype) for shape in ((2, 3, 7, 6), (4, 3, 3, 2), 4)
    )
    if dtype == "complex64":
        call = numba.njit(lambda x, w, b: fastconv.conv2d(x, w, b))
        assert same(call(x, w, b), fastconv.conv2d(x, w, b))
    else:
        assert same(compiled_conv(x, w, b), conv(x, w, b))


def test_float64_weights_widen_float32_images():
    x, w = random((1, 2, 5, 6)), random((3, 2, 2, 3), "float64")
    call = numba.njit(lambda x, w: fastconv.conv2d(x, w))
    assert same(call(x, w), fastconv.conv2d(x, w))
    assert call(x, w).dtype == np.float64


def test_layouts():
    """C, Fortran, read-only, reversed and channels-last memory; the result is in its format."""
    w, b = random((4, 3, 3, 2)), random(4)
    x = random((2, 3, 7, 6))
    frozen = x.copy()
    frozen.flags.writeable = False
    for each in (x, np.asfortranarray(x), frozen, x[:, :, ::-1, ::-1], last(x)):
        result, expected = compiled_conv(each, w, b), conv(each, w, b)
        assert same(result, expected) and result.strides == expected.strides
    assert numba.typeof(compiled_conv(x, w, b)).layout == "C"
    assert compiled_conv(last(x), w, b).strides == last(conv(x, w, b)).strides


def test_out():
    @numba.njit
    def call(x, w, out):
        return fastconv.conv2d(x, w, padding=1, out=out)

    x, w, out = random((2, 3, 6, 5)), random((4, 3, 3, 3)), random((2, 4, 6, 10))[..., ::2]
    result = call(x, w, out)
    assert result.__array_interface__["data"] == out.__array_interface__["data"]
    assert same(out, fastconv.conv2d(x, w, padding=1))
    memory = np.zeros((2, 4, 6, 5), np.float32)
    with pytest.raises(ValueError, match="out overlaps an input"):
        call(memory[:, 1:], w, memory)
    beside = random((2, 7, 6, 5))  # bounds that meet, elements that do not
    y = call(beside[:, :3], w, beside[:, 3:])
    assert same(y.copy(), fastconv.conv2d(beside[:, :3], w, padding=1))
    with pytest.raises(ValueError, match=r"out has shape \(2, 4, 6, 4\)"):
        call(x, w, np.zeros((2, 4, 6, 4), np.float32))


def test_equal_arguments_are_not_taken_for_one_another():
    """The first call has the same array twice, the second two of the same shape."""
    call = numba.njit(lambda x, w: fastconv.conv2d(x, w))
    x, y = random((3, 3, 2, 2)), random((3, 3, 2, 2))
    assert same(call(x, x), fastconv.conv2d(x, x))
    assert same(call(x, y), fastconv.conv2d(x, y))


# --- Errors ---


@pytest.mark.parametrize(
    "arguments",
    [
        (X, W[:, :2].copy(), BIAS, 1, 0),
        (X, W, BIAS, 0, 0),
        (X, W, BIAS, 1, -1),
        (X, W, BIAS, 2**62, 2**62),
        (X, W, BIAS[:3].copy(), 1, 0),
        (X[..., :2].copy(), W, BIAS, 1, 0),
    ],
)
def test_errors_are_those_of_python(arguments):
    call = _with_numbers()
    with pytest.raises(ValueError) as python:
        fastconv.conv2d(*arguments)
    with pytest.raises(ValueError) as compiled:
        call(*arguments)
    assert str(compiled.value) == str(python.value)


@functools.cache
def _with_numbers():
    return numba.njit(lambda x, w, b, stride, padding: fastconv.conv2d(x, w, b, stride, padding))


def test_errors_can_be_caught_in_compiled_code():
    @numba.njit
    def call(x, w):
        try:
            return fastconv.conv2d(x, w, stride=x.shape[0] - 1)
        except Exception:
            return fastconv.conv2d(x, w)

    x, w = random((1, 3, 6, 5)), random((4, 3, 3, 3))
    assert same(call(x, w), fastconv.conv2d(x, w))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, s: fastconv.conv2d(x, x, padding=s), "padding must be a literal string"),
        (lambda x, s: fastconv.conv2d(x, x.astype(np.int64)), "integers are not mixed"),
        (lambda x, s: fastconv.conv2d(x > 0, x), "input must be an integer, float16"),
        (lambda x, s: fastconv.conv2d(x, x, out=x > 0), "out has dtype bool"),
        (lambda x, s: fastconv.conv2d(3, x), "input must be an array"),
        (lambda x, s: fastconv.conv2d(x, x, None, 1, 0, 1, 1, "zeros"), "too many positional"),
        (
            lambda x, s: fastconv.max_pool2d(x, 2, return_indices=x.shape[0] > 1),
            "must be a literal",
        ),
        (lambda x, s: grad.conv2d_input(x.shape[0], x, x), "input_size must be a tuple"),
    ],
)
def test_what_types_cannot_do_is_said_at_compile_time(call, message):
    with pytest.raises(TypingError, match=message):
        numba.njit(call)(random((1, 1, 1, 1)), "same")


def test_precision_is_heeded():
    """A recipe made before is not used after `set_precision`."""
    call = numba.njit(lambda x, w: fastconv.conv2d(x, w, padding=1))
    x, w = random((1, 64, 56, 56)), random((64, 64, 3, 3))
    assert same(call(x, w), fastconv.conv2d(x, w, padding=1))
    with fastconv.precision("strict"):
        strict = fastconv.conv2d(x, w, padding=1)
        assert same(call(x, w), strict)
    assert not same(call(x, w), strict)  # Winograd


# --- Threads ---


def test_many_images_in_the_users_own_loop():
    @numba.njit(parallel=True)
    def call(images, w):
        found = np.zeros((len(images), 4, 3, 2), np.float32)
        for i in numba.prange(len(images)):
            y = fastconv.conv2d(images[i], w, activation="relu", padding=1)
            found[i] = fastconv.max_pool2d(y, 2)
        return found

    images, w = random((64, 3, 6, 5)), random((4, 3, 3, 3))
    expected = fastconv.max_pool2d(fastconv.conv2d(images, w, activation="relu", padding=1), 2)
    np.testing.assert_allclose(call(images, w), expected, rtol=1e-5, atol=1e-6)


def test_threads():
    call = numba.njit(nogil=True)(lambda x, w: fastconv.conv2d(x, w, threads=2))
    x, w = random((3, 8, 40, 40)), random((16, 8, 3, 3))
    assert same(call(x, w), fastconv.conv2d(x, w))


def test_ever_new_shapes_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(table, "MOST_RECIPES", 8)
    call = numba.njit(lambda x: fastconv.avg_pool1d(x, 2))
    for size in range(2, 60):
        x = random((1, 1, size))
        assert same(call(x), fastconv.avg_pool1d(x, 2))
    assert len(table._recipes) <= 8
    assert len(table._retired) <= 1
