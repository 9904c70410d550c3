"""The runs of windows against every window looked at one by one."""

from hypothesis import given
from hypothesis import strategies as st

from fastconv.cpu.windows import (
    ADAPTIVE,
    BEGIN,
    COUNT,
    FIRST,
    GAP,
    PADDED,
    SHARE,
    SLIDING,
    STEP,
    TAPS,
    covering_runs,
    shares,
    window_runs,
)
from fastconv.sizes import adaptive_bin, pool_size


def cells_of(axis, output):
    """The input cells of a window, and its share in the divisor."""
    size, count, kernel, stride, dilation, low, high, kind = axis
    if kind == ADAPTIVE:
        cells = list(range(*adaptive_bin(output, size, count)))
        return cells, len(cells)
    taps = [output * stride - low + k * dilation for k in range(kernel)]
    cells = [cell for cell in taps if 0 <= cell < size]
    return cells, len([cell for cell in taps if cell < size + high]) if kind == PADDED else len(
        cells
    )


def outputs_of(runs):
    """Each output of the runs with its first cell, taps and share; every output is there once."""
    found = {}
    for run in runs.tolist():
        for i in range(run[COUNT]):
            output = run[BEGIN] + i * run[GAP]
            assert output not in found
            found[output] = run[FIRST] + i * run[STEP], run[TAPS], run[SHARE]
    return found


@st.composite
def axes(draw, dilated):
    """An axis whose windows all meet the input."""
    size, count = draw(st.integers(1, 40)), draw(st.integers(1, 15))
    if draw(st.booleans()):
        return size, count, 1, 1, 1, 0, 0, ADAPTIVE
    kernel, stride = draw(st.integers(1, 8)), draw(st.integers(1, 10))
    dilation = draw(st.integers(1, 4)) if dilated else 1
    low, high = (draw(st.integers(0, kernel // 2)) for _ in range(2))
    kind = PADDED if not dilated and draw(st.booleans()) else SLIDING
    count = max(pool_size(size, kernel, stride, dilation, low, high, draw(st.booleans())), 1)
    axis = size, count, kernel, stride, dilation, low, high, kind
    if all(cells_of(axis, output)[0] for output in range(count)):
        return axis
    return size, 1, 1, 1, 1, 0, 0, SLIDING


@given(axes(dilated=True), st.integers(1, 9))
def test_window_runs(axis, limit):
    runs = window_runs(axis, limit)
    assert runs[:, COUNT].max() <= limit
    expected = {}
    for output in range(axis[1]):
        cells, share = cells_of(axis, output)
        expected[output] = cells[0], len(cells), share
    assert outputs_of(runs) == expected
    assert shares(axis).tolist() == [share for *_, share in expected.values()]


@given(axes(dilated=False), st.integers(1, 9))
def test_covering_runs(axis, limit):
    """For each cell the neighbouring outputs whose windows hold it, maybe none."""
    runs = covering_runs(axis, limit)
    assert runs[:, COUNT].max() <= limit
    found = outputs_of(runs)
    assert sorted(found) == list(range(axis[0]))
    windows = [cells_of(axis, output)[0] for output in range(axis[1])]
    for cell, (first, taps, share) in found.items():
        holding = [output for output, cells in enumerate(windows) if cell in cells]
        assert holding == list(range(first, first + taps)) and share == 1


def test_long_axes_are_cheap():
    """A million million cells have as few runs as ten."""
    size = 10**12
    for stride in (1, 2, 7):
        count = (size - 1) // stride + 1
        axis = (size, count, 3, stride, 1, 1, 1, SLIDING)
        assert len(window_runs(axis, 10**12)) <= 3
        runs = covering_runs(axis, 10**12)
        assert len(runs) <= stride + 10
        assert runs[:, COUNT].sum() == size
    assert covering_runs((size, 1, size, size, 1, 0, 0, SLIDING), size).tolist() == [
        [0, 1, 1, 0, size, 1, 0]
    ]
