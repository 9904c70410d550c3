"""Plans: what they choose, say, hold and return; activations fused into the store."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conv_cases import CASES, assert_right, integers, operands

import fastconv
from fastconv import reference
from fastconv.choose import ALGORITHMS
from fastconv.plan import OPERATIONS

SHAPE, KERNEL = (2, 3, 7, 6), (4, 3, 3, 2)
NAMES = [row.name for row in ALGORITHMS]


def small_plan(shape=SHAPE, kernel=KERNEL, **options):
    """A plan of small integers with a bias, and the weight and bias."""
    weight, bias = integers(kernel, 1), integers(kernel[:1], 2)
    return fastconv.plan(shape, weight, bias, **options), weight, bias


# --- Calling ---


@pytest.mark.parametrize("memory_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("shape", [(2, 1, 7, 6), (2, 3, 1, 1)])
def test_an_input_in_both_formats_counts_as_the_plan_s(shape, memory_format):
    """One channel, or one pixel: its strides do not tell."""
    weight = integers((4, shape[1], 3, 2), 1)
    plan = fastconv.plan(shape, weight, padding=2, memory_format=memory_format)
    x = integers(shape)
    for same in (x, fastconv.channels_last(x)):
        y = plan(same)
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous == (memory_format == "channels_last")
        assert (y == fastconv.conv2d(x, weight, padding=2)).all()


@pytest.mark.parametrize("memory_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_a_plan_gives_what_the_door_gives(row, memory_format):
    """For inputs of both formats, whichever it was made for."""
    a = operands(row, "forward")
    plan = fastconv.plan(
        row.input, a["weight"], a["bias"], **row.options, memory_format=memory_format
    )
    last = np.moveaxis(a["input"], row.channel_axis("input"), -1).copy()
    for x in (a["input"], np.moveaxis(last, -1, row.channel_axis("input"))):
        assert_right(row, "forward", plan.algorithm, plan(x))
        assert_right(row, "forward", plan.algorithm, plan(x))  # the second call reuses the first's


def test_the_result_has_the_format_of_the_input():
    plan, *_ = small_plan(memory_format="channels_first")
    last = np.moveaxis(integers((2, 7, 6, 3)), -1, 1)
    assert plan(integers(SHAPE)).flags.c_contiguous
    assert np.moveaxis(plan(last), 1, -1).flags.c_contiguous


@pytest.mark.parametrize("shape", [(2, 3, 7, 6), (3, 7, 6)])
def test_out(shape):
    plan, *_ = small_plan(shape)
    x = integers(shape)
    expected = plan(x)
    guarded = np.full(expected.size + 40, -7.0)
    out = guarded[20:-20].reshape(expected.shape)
    out[...] = np.nan
    assert plan(x, out=out) is out
    assert np.array_equal(out, expected)
    assert (guarded[:20] == -7).all()
    assert (guarded[-20:] == -7).all()


def test_an_empty_batch():
    plan, *_ = small_plan((0, 3, 7, 6))
    assert plan(np.empty((0, 3, 7, 6))).shape == (0, 4, 5, 5)
    assert plan.flops == 0
    assert plan.workspace_bytes >= 0


def test_wrong_inputs():
    plan, weight, bias = small_plan(dtype=np.float32)
    good = integers(SHAPE).astype(np.float32)
    with pytest.raises(ValueError, match=r"plan: x has shape \(2, 3, 6, 7\), .* \(2, 3, 7, 6\)"):
        plan(good.reshape(2, 3, 6, 7))
    with pytest.raises(ValueError, match=r"plan: x has shape \(3, 7, 6\), .* \(2, 3, 7, 6\)"):
        plan(good[0])
    for wrong in ("float64", "complex64", "int8"):
        with pytest.raises(TypeError, match=f"plan: x has dtype {wrong}, .* float32"):
            plan(good.astype(wrong))
    for out, reason in [
        (np.empty((2, 4, 5, 4), np.float32), "plan: out has shape"),
        (np.empty((2, 4, 5, 5)), "plan: out has dtype float64"),
    ]:
        with pytest.raises(ValueError, match=reason):
            plan(good, out=out)
    for options, reason in [
        ({"memory_format": "NHWC"}, "memory_format must be one of .* not 'NHWC'"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"activation": "swish"}, "activation must be one of .* not 'swish'"),
    ]:
        with pytest.raises(ValueError, match=f"plan: {reason}"):
            fastconv.plan(SHAPE, weight, bias, **options)
    with pytest.raises(ValueError, match="plan: weight must have 3 to 5 dimensions"):
        fastconv.plan((3, 7), np.ones((4, 3)))


def test_dtype():
    """That of the weight unless given; what casts safely to it may come in."""
    weight = integers(KERNEL, 1)
    assert fastconv.plan(SHAPE, weight)(integers(SHAPE)).dtype == np.float64
    single = fastconv.plan(SHAPE, weight, dtype=np.float32)
    expected = single(integers(SHAPE).astype(np.float32))
    assert expected.dtype == np.float32
    assert np.array_equal(single(integers(SHAPE).astype(np.float16)), expected)
    assert fastconv.plan(SHAPE, weight, dtype=">f4")(integers(SHAPE).astype("f4")).dtype == "f4"
    whole = fastconv.plan(SHAPE, weight.astype(np.int8), dtype=np.int32)
    assert np.array_equal(whole(integers(SHAPE).astype(np.int16)), expected)
    assert whole(integers(SHAPE).astype(np.int16)).dtype == np.int32
    for dtype in (np.float64, np.complex64, np.bool_):
        with pytest.raises(TypeError, match="plan: "):
            fastconv.plan(SHAPE, weight.astype(np.int8), dtype=dtype)


def test_lists_and_big_endian_inputs():
    plan = fastconv.plan((1, 2, 3), [[[1.0, 2]] * 2], [10.0])
    assert plan([[[1.0, 2, 3], [4, 5, 6]]]).tolist() == [[[29, 35]]]
    assert plan(np.array([[[1.0, 2, 3], [4, 5, 6]]], ">f8")).tolist() == [[[29, 35]]]


@pytest.mark.parametrize("name", NAMES)
def test_weight_and_bias_are_copied(name):
    weight, bias = integers((68, 1, 3, 3), 1), integers((68,), 2)
    x = integers((2, 34, 9, 8))
    plan = fastconv.plan(x.shape, weight, bias, groups=34, algorithm=name)
    before = [plan(x), plan(fastconv.channels_last(x))]
    again = fastconv.plan(x.shape, weight, bias, groups=34, algorithm=name)
    weight[...] = bias[...] = 1000
    for p in (plan, again):  # one has been called before, the other has not
        for array, expected in zip((x, fastconv.channels_last(x)), before, strict=True):
            assert np.array_equal(p(array), expected)


def test_views_of_ever_new_strides():
    """More of them than an engine keeps jobs for."""
    plan, *_ = small_plan((1, 3, 7, 6))
    expected = plan(integers((1, 3, 7, 6)))
    for gap in range(1, 60):
        wide = np.zeros((1, 3, 7, 6 * gap))[..., ::gap]
        wide[...] = integers((1, 3, 7, 6))
        assert np.array_equal(plan(wide), expected), gap


def test_one_plan_in_many_python_threads():
    row = next(row for row in CASES if row.name == "2d several windows")
    weight = operands(row, "forward")["weight"]
    plan = fastconv.plan(row.input, weight, **row.options)
    inputs = [integers(row.input, seed) for seed in range(16)]
    expected = [plan(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for result, right in zip(pool.map(plan, inputs), expected, strict=True):
            assert np.array_equal(result, right)


# --- Choosing ---

# operation, input, weight, options, what is taken. Far from the borders between algorithms.
CHOICES = [
    ("forward", (1, 32, 9, 8), (32, 1, 3, 3), {"groups": 32}, "depthwise"),
    ("forward", (1, 16, 9), (48, 1, 3), {"groups": 16}, "depthwise"),
    ("input_gradient", (1, 16, 9), (48, 1, 3), {"groups": 16}, "depthwise"),
    ("forward", (1, 64, 9, 8), (64, 64, 3, 3), {"stride": 2}, "direct"),
    ("forward", (1, 64, 9, 8), (128, 32, 3, 3), {"groups": 2, "dilation": 2}, "direct"),
    ("forward", (1, 64, 56, 56), (64, 64, 3, 3), {}, "winograd_f4"),
    ("forward", (1, 64, 32, 4096), (128, 64, 1, 3), {}, "winograd_f4"),
    ("forward", (256, 128, 2, 2), (128, 128, 3, 3), {"padding": 1}, "winograd_f2"),
    ("input_gradient", (1, 64, 56, 56), (64, 64, 3, 3), {}, "winograd_f4"),
    ("weight_gradient", (1, 64, 56, 56), (64, 64, 3, 3), {}, "direct"),
    ("forward", (1, 1, 64, 66), (1, 1, 3, 3), {}, "depthwise"),
    ("forward", (1, 1, 120, 142), (1, 1, 15, 15), {}, "sliding"),
    ("forward", (1, 1, 9000), (1, 1, 70), {}, "sliding"),
    ("forward", (1, 64, 1000), (64, 1, 63), {"groups": 64}, "sliding"),
    ("forward", (1, 64, 60, 62), (64, 1, 21, 21), {"groups": 64}, "sliding"),
    ("input_gradient", (1, 64, 60, 62), (64, 1, 21, 21), {"groups": 64}, "sliding"),
    ("forward", (1, 1, 64, 66), (6, 1, 3, 3), {}, "planar"),
    ("forward", (1, 1, 250, 256), (64, 1, 3, 3), {}, "planar"),
    ("forward", (1, 1, 99_000), (1, 1, 4_000), {}, "fourier"),
    ("forward", (1, 64, 27, 27), (192, 64, 5, 5), {"padding": 2}, "direct"),
    ("forward", (16, 96, 27, 27), (256, 48, 5, 5), {"padding": 2, "groups": 2}, "direct"),
    ("input_gradient", (1, 8, 200, 180), (8, 8, 31, 29), {}, "fourier"),
    ("forward", (1, 5, 130), (2, 5, 3), {}, "planar"),
    ("input_gradient", (1, 32, 9, 8), (32, 1, 3, 3), {"groups": 32}, "depthwise"),
    ("forward", (1, 8, 200, 200), (8, 1, 2, 2), {"groups": 8, "stride": 5}, "planar"),
    ("input_gradient", (1, 64, 9, 8), (40, 64, 3, 2), {}, "direct"),
    ("input_gradient", (1, 3, 64, 64), (64, 3, 3, 3), {}, "planar"),
    ("weight_gradient", (1, 32, 9, 8), (32, 1, 3, 3), {"groups": 32}, "depthwise"),
    ("weight_gradient", (1, 1, 64, 66), (1, 1, 3, 3), {}, "planar"),
]


@pytest.mark.parametrize(("operation", "shape", "kernel", "options", "expected"), CHOICES)
def test_choice(operation, shape, kernel, options, expected):
    table = fastconv.explain(shape, kernel, **options, operation=operation)
    arrows = [line.split()[1] for line in table.splitlines() if line.startswith("->")]
    assert arrows == [expected]
    if operation == "forward":
        plan = fastconv.plan(shape, np.ones(kernel, np.float32), **options)
        assert plan.algorithm == expected


REFUSALS = [
    ("winograd_f4", "forward", (1, 6, 9), (4, 6, 5), 1, "kernels of 3 .* not .5"),
    ("winograd_f2", "weight_gradient", (1, 6, 9), (4, 6, 3), 1, "has no weight gradient"),
    ("depthwise", "forward", (1, 6, 9), (4, 6, 3), 1, "one input channel per group, not 6"),
    ("depthwise", "forward", (1, 6, 9), (4, 3, 3), 2, "not 3 .6 channels in 2 groups"),
    ("grouped", "weight_gradient", (1, 64, 9), (64, 2, 3), 32, "has no weight gradient"),
    ("grouped", "forward", (1, 6, 9), (6, 3, 3), 2, "groups of 3 to 3 must find their inputs"),
]


@pytest.mark.parametrize(("name", "operation", "shape", "kernel", "groups", "reason"), REFUSALS)
def test_refusals(name, operation, shape, kernel, groups, reason):
    """The table shows the reason, and forcing the algorithm raises with the same words."""
    table = fastconv.explain(shape, kernel, groups=groups, operation=operation)
    (line,) = [line for line in table.splitlines() if f" {name} " in line]
    with pytest.raises(ValueError, match=f"explain: algorithm '{name}': .*{reason}") as caught:
        fastconv.explain(shape, kernel, groups=groups, operation=operation, algorithm=name)
    assert str(caught.value).partition(f"'{name}': ")[2] in line
    size = fastconv.output_shape(shape, kernel, groups=groups)
    door = {
        "forward": lambda: fastconv.conv1d(
            np.ones(shape), np.ones(kernel), groups=groups, algorithm=name
        ),
        "input_gradient": lambda: fastconv.grad.conv1d_input(
            shape, np.ones(kernel), np.ones(size), groups=groups, algorithm=name
        ),
        "weight_gradient": lambda: fastconv.grad.conv1d_weight(
            np.ones(shape), kernel, np.ones(size), groups=groups, algorithm=name
        ),
    }
    with pytest.raises(ValueError, match=f"algorithm '{name}': .*{reason}"):
        door[operation]()


def test_unknown_algorithm():
    weight = np.ones(KERNEL)
    for call in (
        lambda: fastconv.plan(SHAPE, weight, algorithm="magic"),
        lambda: fastconv.explain(SHAPE, KERNEL, algorithm="magic"),
        lambda: fastconv.conv2d(np.ones(SHAPE), weight, algorithm="magic"),
    ):
        with pytest.raises(ValueError, match=r"algorithm must be 'auto' or one of .* not 'magic'"):
            call()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_table_has_every_row(operation):
    table = fastconv.explain(SHAPE, KERNEL, operation=operation, dtype=np.float64)
    head, titles, *rows = table.splitlines()
    for fact in (operation.replace("_", " "), str(SHAPE), str(KERNEL), "(2, 4, 5, 5)", "float64"):
        assert fact in head
    for title in ("algorithm", "MFLOP", "MB moved", "expected ms", "why"):
        assert title in titles
    assert [row.removeprefix("->").split()[0] for row in rows] == NAMES
    assert sum(row.startswith("->") for row in rows) == 1
    assert repr(table) == str(table)  # so that an interactive prompt shows it as it is


def test_the_table_of_a_forced_algorithm():
    table = fastconv.explain(SHAPE, KERNEL, algorithm="reference")
    (chosen,) = [line for line in table.splitlines() if line.startswith("->")]
    assert chosen.split()[1] == "reference"
    assert chosen.endswith("asked for by algorithm=")
    assert "reference should be faster" not in table


def test_the_table_says_why_a_possible_algorithm_is_not_taken():
    table = fastconv.explain((1, 64, 9, 8), (64, 64, 3, 3))
    (planar,) = [line for line in table.splitlines() if " planar " in line]
    assert "possible; direct should be faster" in planar or "winograd" in planar
    assert fastconv.plan((1, 64, 9), np.ones((64, 64, 3)), algorithm="planar").algorithm == "planar"


def test_a_plan_explains_itself():
    plan, *_ = small_plan(memory_format="channels_last")
    text = plan.explain()
    expected = fastconv.explain(
        SHAPE, KERNEL, dtype=np.float64, memory_format="channels_last", planned=True
    )
    assert text.startswith(expected)
    assert "tuned for channels_last" in text
    assert f"workspace: {plan.workspace_bytes / 1e6:.2f} MB" in text
    assert "channels_last input" in small_plan()[0].explain()


def test_explain_refuses():
    with pytest.raises(ValueError, match=r"operation must be one of .* not 'backward'"):
        fastconv.explain(SHAPE, KERNEL, operation="backward")
    with pytest.raises(TypeError, match="explain: dtype must be an integer"):
        fastconv.explain(SHAPE, KERNEL, dtype=bool)


def test_explain_of_sizes_that_no_memory_holds():
    """It is arithmetic: 2**48 cells, and a workspace that does not grow with them."""
    table = fastconv.explain((1, 1, 2**24, 2**24), (1, 1, 3, 3), padding=1)
    assert "(1, 1, 16777216, 16777216)" in table


# --- Facts ---


def test_flops():
    """2 images x 4 channels x 5 x 5 outputs, each of 3 x 3 x 2 products and one bias."""
    plan, weight, _ = small_plan()
    outputs = 2 * 4 * 5 * 5
    assert plan.flops == outputs * (2 * 3 * 3 * 2 + 1)
    assert fastconv.plan(SHAPE, weight).flops == outputs * 2 * 3 * 3 * 2
    assert small_plan((1, 6, 5), (4, 3, 2), groups=2)[0].flops == 4 * 4 * (2 * 3 * 2 + 1)


def test_workspace_is_no_padded_copy():
    """A large picture is worked on window by window, in both formats."""
    for memory_format in ("channels_first", "channels_last"):
        plan = fastconv.plan(
            (1, 8, 3000, 2900),
            np.ones((16, 8, 3, 3), np.float32),
            padding=1,
            memory_format=memory_format,
            threads=2,
        )
        assert 0 < plan.workspace_bytes < 4 * 8 * 3000 * 2900 / 20


def test_attributes():
    plan, *_ = small_plan(stride=(1, 2), memory_format="channels_last")
    assert plan.memory_format == "channels_last"
    assert plan.geometry.stride == (1, 2)
    assert plan.geometry.output_shape == (2, 4, 5, 3)


# --- Activations ---

# Largest error allowed, in units in the last place of the result, or of the argument: sums such as
# 1 + erf(x) cancel. Below 2**-100 the unit is that of 2**-100.
OF_RESULT = {
    "relu": 0,
    "relu6": 0,
    "leaky_relu": 1,
    "sigmoid": 4,
    "tanh": 4,
    "silu": 4,
    "hardswish": 2,
    "hardsigmoid": 2,
    "elu": 4,
    "softplus": 4,
}
OF_ARGUMENT = {"gelu": 32, "mish": 4}
ACTIVATIONS = [name for name in reference.ACTIVATIONS if name is not None]
assert {*OF_RESULT, *OF_ARGUMENT} == {*ACTIVATIONS}

# These change an argument or need more taps than one: a test of their own.
BEHIND_OTHER_SUMS = ("winograd_f4", "winograd_f2", "fourier", "sliding")


def arguments(dtype):
    """Numbers of every size, both signs, the kinks and their neighbours."""
    rng = np.random.default_rng(5)
    kinks = np.array([0, 3, 6, 20, 88.7, 709.7])
    near = np.concatenate([kinks, np.nextafter(kinks, 0), np.nextafter(kinks, 999)])
    spread = [scale * rng.standard_normal(3000) for scale in (1e-8, 1e-3, 0.3, 1, 4, 30, 900)]
    values = np.concatenate([*spread, near, -near]).astype(dtype)
    return values[np.isfinite(values)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_values(name, dtype):
    """Against the reference in float64, in every algorithm, forward and transposed."""
    x = arguments(dtype)
    with np.errstate(over="ignore"):
        expected = reference.activation(name, x.astype(np.float64))
    limit = OF_RESULT.get(name, 0) * np.spacing(np.maximum(abs(expected), 2.0**-100).astype(dtype))
    limit += OF_ARGUMENT.get(name, 0) * np.spacing(abs(x))
    rows = np.stack([x, x[::-1]])[None]  # (1, 2, L): two channels, so that depthwise takes it too
    ones = np.ones((2, 1, 1), dtype)
    for algorithm in (n for n in NAMES if n not in (*BEHIND_OTHER_SUMS, "grouped")):
        options = {"groups": 2, "activation": name, "algorithm": algorithm}
        for door in (fastconv.conv1d, fastconv.conv_transpose1d):
            result = door(rows, ones, **options)
            assert result.dtype == dtype
            for got in (result[0, 0], result[0, 1, ::-1]):
                error = abs(got.astype(np.float64) - expected)
                worst = (error - limit).argmax()
                assert error[worst] <= limit[worst], (algorithm, x[worst], got[worst])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_behind_other_sums(name):
    """The values of the plain convolution, activated as an identity would activate them."""
    x, w = (
        np.random.default_rng(i).standard_normal(s)
        for i, s in enumerate([(2, 3, 9, 7), (5, 3, 3, 3)])
    )
    x, w = x.astype(np.float32), w.astype(np.float32)
    for algorithm in BEHIND_OTHER_SUMS:
        plain = fastconv.conv2d(x, w, algorithm=algorithm)
        ones = np.ones((5, 1, 1, 1), np.float32)
        expected = fastconv.conv2d(plain, ones, groups=5, activation=name)
        got = fastconv.conv2d(x, w, activation=name, algorithm=algorithm)
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("padding", [0, 1])
def test_activation_behind_grouped_tiles(name, padding):
    """Once for every output, whatever blocks overlap and however many outputs a tile lacks."""
    for inputs, x in ((1, integers((1, 21, 11, 19))), (4, integers((1, 84, 11, 19)))):
        x = x.astype(np.float32) / 8
        w = integers((x.shape[1], inputs, 3, 3), 1).astype(np.float32) / 8
        options = {"groups": 21, "padding": padding}
        for array in (x, fastconv.channels_last(x), fastconv.channels_last(x)[:, :, :, 1:]):
            plain = fastconv.conv2d(array, w, **options)
            ones = np.ones((x.shape[1], 1, 1, 1), np.float32)
            kept = {"groups": x.shape[1], "algorithm": "direct"}
            expected = fastconv.conv2d(plain, ones, activation=name, **kept)
            got = fastconv.conv2d(array, w, activation=name, **options)
            assert np.array_equal(got, expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("size", [(5, 4), (11, 37)])
def test_activation_behind_rows_of_two_phases(name, size):
    """The same in a transposed convolution whose phases are woven into rows."""
    x = integers((2, 3, *size)).astype(np.float32) / 8
    w, ones = integers((3, 1, 3, 4), 1).astype(np.float32) / 8, np.ones((3, 1, 1, 1), np.float32)
    options = {"groups": 3, "stride": 2, "padding": 1}
    plain = fastconv.conv_transpose2d(x, w, **options)
    expected = fastconv.conv2d(plain, ones, groups=3, algorithm="direct", activation=name)
    got = fastconv.conv_transpose2d(x, w, activation=name, algorithm="depthwise", **options)
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("algorithm", ["direct", "planar"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_of_special_values(name, algorithm, channels_last):
    """NaN stays NaN, and the limits are the reference's, in whole tiles and in their rests."""
    x = np.resize([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30], 75).reshape(1, 1, 3, 25)
    with np.errstate(all="ignore"):
        expected = reference.activation(name, x)
    assert np.isnan(expected[0, 0, 0, 0])
    x = fastconv.channels_last(x) if channels_last else x
    result = fastconv.conv2d(x, np.ones((37, 1, 1, 1)), activation=name, algorithm=algorithm)
    np.testing.assert_allclose(result, np.broadcast_to(expected, result.shape), rtol=1e-15, atol=0)


@pytest.mark.parametrize("row", CASES[::9], ids=lambda row: row.name)
@pytest.mark.parametrize("name, top", [("relu", np.inf), ("relu6", 6)])
def test_activation_follows_the_bias(row, name, top):
    """Forward, planned and transposed: exact for those that leave small integers what they are."""
    a = dict(operands(row, "forward"))
    a["bias"] = 4 * a["bias"]  # outputs in padding only are no more than that
    plain = row.run("forward", a)
    assert (plain > 6).any() or not plain.size
    expected = plain.clip(0, top)
    assert np.array_equal(row.run("forward", a, activation=name), expected)
    planned = fastconv.plan(row.input, a["weight"], a["bias"], **row.options, activation=name)
    assert np.array_equal(planned(a["input"]), expected)
    if row.geometry.padding_mode == "zeros" and "padding" not in row.options:
        door = getattr(fastconv, f"conv_transpose{row.rank}d")
        dy, bias = integers(row.output, 8), integers((row.geometry.in_channels,), 9)
        up = door(dy, a["weight"], bias, **row.options)
        lit = door(dy, a["weight"], bias, **row.options, activation=name)
        assert np.array_equal(lit, up.clip(0, top))


def test_activations_that_are_not_defined():
    whole, waves = np.ones((1, 1, 3), int), np.ones((1, 1, 3), complex)
    for name in ACTIVATIONS:
        with pytest.raises(TypeError, match=f"conv1d: activation '{name}' of complex128"):
            fastconv.conv1d(waves, waves, activation=name)
        if name not in ("relu", "relu6"):
            with pytest.raises(TypeError, match=f"conv1d: activation '{name}' of integers"):
                fastconv.conv1d(whole, whole, activation=name)
    with pytest.raises(ValueError, match="activation must be one of"):
        fastconv.conv_transpose1d(waves, waves, activation="ReLU")


# --- Threads ---


def test_threads_are_a_setting_of_one_python_thread():
    with fastconv.threads(1):
        assert fastconv.get_threads() == 1
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(fastconv.get_threads).result()
        with fastconv.threads(2):
            assert fastconv.get_threads() == 2
        assert fastconv.get_threads() == 1
    assert other == fastconv.get_threads() > 1


def test_threads_are_put_back_after_an_error():
    before = fastconv.get_threads()
    with pytest.raises(ZeroDivisionError), fastconv.threads(1):
        raise ZeroDivisionError
    assert fastconv.get_threads() == before


@pytest.mark.parametrize("wrong", [0, -1])
def test_too_few_threads(wrong):
    with pytest.raises(ValueError, match=f"threads must be at least 1 .* not {wrong}"):
        fastconv.set_threads(wrong)
    with pytest.raises(TypeError, match=r"threads must be an integer, not 1\.5"):
        fastconv.set_threads(1.5)


# --- Shapes alone ---


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_output_shape(row):
    options = {key: value for key, value in row.options.items() if key != "padding_mode"}
    assert fastconv.output_shape(row.input, row.weight, **options) == row.output
    a = operands(row, "forward")
    assert row.run("forward", a).shape == row.output
    assert math.prod(row.output) == row.run("forward", a).size


def test_precision():
    shape, kernel = (1, 64, 56, 56), (64, 64, 3, 3)
    assert fastconv.get_precision() == "default"
    with fastconv.precision("strict"):
        assert fastconv.get_precision() == "strict"
        assert "-> direct" in fastconv.explain(shape, kernel)
        assert "set_precision has excluded" in fastconv.explain(shape, kernel)
        forced = fastconv.plan((1, 2, 5, 5), np.ones((2, 2, 3, 3)), algorithm="winograd_f2")
        assert forced.algorithm == "winograd_f2"
    assert fastconv.get_precision() == "default"
    assert "-> winograd_f4" in fastconv.explain(shape, kernel)
    assert "-> direct" in fastconv.explain(shape, kernel, dtype=np.float64)
    with pytest.raises(ValueError, match=r"precision must be one of .* not 'exact'"):
        fastconv.set_precision("exact")


@pytest.mark.parametrize("options", [{"stride": 2}, {"dilation": 2}])
def test_winograd_refuses(options):
    with pytest.raises(ValueError, match="needs stride 1 and dilation 1"):
        fastconv.conv2d(
            np.ones((1, 2, 9, 9)), np.ones((3, 2, 3, 3)), **options, algorithm="winograd_f4"
        )
    with pytest.raises(ValueError, match="cannot compute integers"):
        fastconv.conv2d(
            np.ones((1, 2, 9, 9), int), np.ones((3, 2, 3, 3), int), algorithm="winograd_f4"
        )


def test_the_choice_knows_the_memory_format():
    """Lanes along pixels are better where pixels lie side by side, if there are enough of them."""
    shape, kernel = (1, 16, 112, 112), (96, 16, 1, 1)
    assert "-> planar" in fastconv.explain(shape, kernel, memory_format="channels_first")
    assert "-> direct" in fastconv.explain(shape, kernel, memory_format="channels_last")
    with pytest.raises(ValueError, match="memory_format must be one of"):
        fastconv.explain(shape, kernel, memory_format="NCHW")
