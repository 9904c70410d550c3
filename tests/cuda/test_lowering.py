"""The numbers of the jobs, for every case: NumPy does with them what the kernels do."""

import numpy as np
import pytest
from conv_cases import CASES, answer, operands

from fastconv.cpu.lowering import geometry_words
from fastconv.cuda import job as j
from fastconv.cuda.lowering import NOWHERE, correlations, source_positions, weight_rows
from fastconv.plan import OPERATIONS

DEPTH = 4


def steps(x):
    return tuple(stride // x.itemsize for stride in x.strides)


def numbers(geometry, forward, source, target, far=False):
    """(host, where) of each correlation, and the weight offsets of its rows."""
    words = geometry_words(geometry)
    sides = (geometry.in_channels, geometry.out_channels)
    channels = tuple(n // geometry.groups for n in (sides if forward else sides[::-1]))
    for c in correlations(words, forward, steps(source), steps(target), far):
        options = {"depth": DEPTH, "pitch": channels[1], "tiles": 1, "far": far}
        yield j.job_numbers(c, channels, (steps(source)[1], steps(target)[1]), **options)


def places(host):
    """Image, depth, height, width of every pixel."""
    sizes = [int(host[word]) for word in (j.DEPTH, j.HEIGHT, j.WIDTH)]
    return np.unravel_index(np.arange(host[j.PIXELS]), (10**6, *sizes))


def matrix(host, where, x, group):
    """What each pixel meets in each row, zeros of the padding included: (pixels, rows)."""
    n, d, h, w = places(host)
    rows = host[j.ROWS_AT :].reshape(-1, j.ROW_WORDS)
    flat = x.reshape(-1)
    found = np.zeros((len(n), len(rows)))
    for r, (at_d, at_h, at_w, channel) in enumerate(rows):
        offset = where[at_d + d].astype(np.int64) + where[at_h + h] + where[at_w + w] + channel
        base = n * host[j.SOURCE_IMAGE] + group * host[j.SOURCE_GROUP]
        found[:, r] = np.where(offset >= 0, flat[np.where(offset >= 0, base + offset, 0)], 0)
    return found


def targets(host, group):
    """Element of every pixel and channel in the target: (pixels, channels)."""
    n, d, h, w = places(host)
    o = host[j.START] + n * host[j.TARGET_IMAGE] + d * host[j.TARGET_DEPTH]
    o = o + h * host[j.TARGET_HEIGHT] + w * host[j.TARGET_WIDTH] + group * host[j.TARGET_GROUP]
    return o[:, None] + np.arange(host[j.TARGETS]) * host[j.TARGET_CHANNEL]


def computed(geometry, operation, arrays):
    """The operation from jobs, all arrays in C order with a batch axis."""
    g = geometry
    forward = operation != "input_gradient"
    x = arrays["input"] if forward else arrays["grad_output"]
    shape = g.output_shape if forward else g.input_shape
    target = np.full(shape, np.nan)
    if operation == "weight_gradient":
        target = arrays["grad_output"]
    weight = np.full(g.weight_shape, np.nan) if "weight" not in arrays else arrays["weight"]
    s = steps(weight)
    sources = (g.in_channels if forward else g.out_channels) // g.groups
    source_step, target_step = (s[1], s[0]) if forward else (s[0], s[1])
    rows = weight_rows(geometry_words(g), forward, s, sources, source_step)
    for (host, where), offsets in zip(numbers(g, forward, x, target), rows, strict=True):
        for group in range(g.groups):
            left = matrix(host, where, x, group)
            at = group * (g.out_channels // g.groups) * s[0] + offsets[:, None]
            at = at + np.arange(host[j.TARGETS]) * target_step
            goals = targets(host, group)
            if operation == "weight_gradient":
                weight.reshape(-1)[at] = (left.T @ target.reshape(-1)[goals])[: len(offsets)]
            else:
                assert not left[:, len(offsets) :].any()
                product = left[:, : len(offsets)] @ weight.reshape(-1)[at]
                target.reshape(-1)[goals] = product
    return weight if operation == "weight_gradient" else target


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_every_case(row, operation):
    g = row.geometry
    if operation == "input_gradient" and g.padding_mode != "zeros":
        pytest.skip("goes by way of the padded input, see borders")
    if not g.batch:
        pytest.skip("starts no kernel")
    arrays = dict(operands(row, operation))
    bias = arrays.pop("bias", None)
    if not g.batched:
        arrays = {n: a if n == "weight" else a[None] for n, a in arrays.items()}
    found = computed(g, operation, arrays)
    if bias is not None:
        found = found + bias.reshape(-1, *(1,) * g.rank)
    if operation != "weight_gradient" and not g.batched:
        found = found[0]
    assert np.array_equal(found, answer(row, operation))


def test_tables_of_far_arrays():
    """The same places, whatever the width of the tables."""
    row = next(row for row in CASES if row.name == "2d every option")
    x, y = np.zeros(row.input), np.zeros(row.output)
    (near,), (far,) = (list(numbers(row.geometry, True, x, y, f)) for f in (False, True))
    assert near[1].dtype == np.int32 and far[1].dtype == np.int64
    assert np.array_equal(near[0], far[0])
    for table, wide in ((near[1], False), (far[1], True)):
        assert set(table[table < 0]) == {NOWHERE[wide]}
    assert np.array_equal(near[1] >= 0, far[1] >= 0)


def test_nowhere_stays_below_zero():
    """Three of them do not wrap, and no offset of an element lifts one above zero."""
    for far, kind in ((False, np.int32), (True, np.int64)):
        assert 3 * NOWHERE[far] >= np.iinfo(kind).min
    from fastconv.cuda.lowering import NEAR

    assert NOWHERE[False] + (NEAR - 1) < 0


@pytest.mark.parametrize("mode", range(4))
def test_positions_are_those_of_the_cpu(mode):
    from fastconv.cpu.pack import source_position

    size, positions = 5, np.arange(-4, 9)
    plain = getattr(source_position, "py_func", source_position)
    expected = [plain(int(p), size, mode) for p in positions]
    assert source_positions(positions, size, mode).tolist() == expected
