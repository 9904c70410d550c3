"""Stencils: what a user's two functions make of the cells that a window covers.

    y[n, d, h, w] = reduce(... reduce(initial, combine(x[n, taps 0], w0)) ..., combine(x[...], wT))

A run of outputs stays in the first-level cache while the taps are walked, a few at a time: each is
one loop over neighbours, which the compiler makes vectors of. The rows that a block of output rows
reaches are copied once, so that in the copy there is neither border nor stride: positions that lie
`stride` apart become neighbours, a phase of the row for each remainder. What needs no copy is read
in place.

Legend: n planes (all leading axes), d h w output axes; a span is what the windows of a block cover.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import intrinsic

from ..geometry import PADDING_MODES
from ..sizes import phase_count
from .compile import compiled, kernel
from .memory import call, copy, load, shift, store, word

# Words of a job: outputs; rows and columns of a block, and how many blocks of them there are; taps
# along depth and what lies between them; strides of the source; of the copy: rows that one output
# spans, rows of a whole span, phases of a row and their length; what lies beyond the border; words
# of three axes, then the phases, and where the number and the places of taps are.
(OUT_DEPTH, OUT_HEIGHT, OUT_WIDTH, ROWS, ROW_BLOCKS, COLUMNS, COLUMN_BLOCKS) = range(7)
(DEPTH_TAPS, DEPTH_GAP, PLANE_STRIDE, DEPTH_STRIDE, ROW_STRIDE, COLUMN_STRIDE) = range(7, 13)
(IN_PLACE, EXTENT, SPAN, PHASES, PITCH, THREAD_BYTES, MODE, TAPS_AT, AXES) = range(13, 22)
# Words of an axis: cells of the padding before it, its own, all with padding; between two outputs.
(LOW, SIZE, PADDED, STEP, AXIS_WORDS) = range(5)
PHASES_AT = AXES + 3 * AXIS_WORDS
# What lies beyond the border, in the order of the names.
(ZEROS, REFLECT, REPLICATE, CIRCULAR, SYMMETRIC) = range(5)
MODES = (*PADDING_MODES, "symmetric")

# Outputs whose taps are walked together: 2 KiB of float32. Taps of one pass over them, after the
# first one: at most as many as the vectorizer checks for overlap; eights suit odd squares, and are
# a tenth faster than fours (Zen 3, 2026-11).
RUN, PASSES = 512, (8, 4, 1)


@kernel
def stencil(element: Any, job: int, operands: int, begin: int, end: int, thread: int) -> None:
    """Items are blocks of rows and columns (n, d, rows, columns).

    Operands: source, target, numbers, workspace, address of a kernel of `taps_source`. Numbers: the
    value of the padding, the initial one, the weight of each tap.
    """
    source, target, numbers = word(operands, 0), word(operands, 1), word(operands, 2)
    work = word(operands, 3) + thread * word(job, THREAD_BYTES)
    depth, height, width = word(job, OUT_DEPTH), word(job, OUT_HEIGHT), word(job, OUT_WIDTH)
    row_step, taps = word(_axis(job, 1), STEP), job + 8 * word(job, TAPS_AT)
    for item in range(begin, end):
        left = item % word(job, COLUMN_BLOCKS) * word(job, COLUMNS)
        block = item // word(job, COLUMN_BLOCKS)
        top = block % word(job, ROW_BLOCKS) * word(job, ROWS)
        d, n = block // word(job, ROW_BLOCKS) % depth, block // word(job, ROW_BLOCKS) // depth
        rows, columns = min(word(job, ROWS), height - top), min(word(job, COLUMNS), width - left)
        plane = shift(element, source, n * word(job, PLANE_STRIDE))
        if word(job, IN_PLACE):
            step = row_step * word(job, ROW_STRIDE)
            depths = d * word(_axis(job, 0), STEP) * word(job, DEPTH_STRIDE)
            x = shift(element, plane, depths + top * step + left)
        else:
            x, step = work, row_step * word(job, PHASES) * word(job, PITCH)
            _fill(element, job, plane, d, top, rows, left, load(element, numbers, 0), x)
        y = shift(element, target, ((n * depth + d) * height + top) * width + left)
        for first in range(0, columns, RUN):
            count = min(RUN, columns - first)
            for r in range(rows):
                here = shift(element, x, r * step + first)
                goal = shift(element, y, r * width + first)
                call(word(operands, 4), goal, here, numbers, count, taps)


@compiled
def _axis(job: int, number: int) -> int:
    """Address of the words of an axis."""
    return job + 8 * (AXES + number * AXIS_WORDS)


@compiled
def _cell(job: int, axis: int, position: int) -> int:
    """The cell at a position of an axis with its padding; -1 for none."""
    mode, size, cell = word(job, MODE), word(axis, SIZE), position - word(axis, LOW)
    if 0 <= cell < size:
        return cell
    if mode == ZEROS or position >= word(axis, PADDED):
        return -1
    if mode == REFLECT:
        return -cell if cell < 0 else 2 * (size - 1) - cell
    if mode == REPLICATE:
        return 0 if cell < 0 else size - 1
    if mode == CIRCULAR:
        return cell + size if cell < 0 else cell - size
    return -1 - cell if cell < 0 else 2 * size - 1 - cell


@compiled
def _fill(
    element: Any,
    job: int,
    plane: int,
    d: int,
    top: int,
    rows: int,
    left: int,
    border: Any,
    buffer: int,
) -> None:
    """Copy the rows that `rows` output rows reach, those of each tap along depth."""
    phases, pitch, step = word(job, PHASES), word(job, PITCH), word(_axis(job, 1), STEP)
    for tap in range(word(job, DEPTH_TAPS)):
        at = d * word(_axis(job, 0), STEP) + tap * word(job, DEPTH_GAP)
        z = _cell(job, _axis(job, 0), at)
        for i in range((rows - 1) * step + word(job, EXTENT)):
            row = shift(element, buffer, (tap * word(job, SPAN) + i) * phases * pitch)
            h = _cell(job, _axis(job, 1), top * step + i)
            if z < 0 or h < 0:
                for k in range(phases * pitch):
                    store(element, row, k, border)
                continue
            from_ = z * word(job, DEPTH_STRIDE) + h * word(job, ROW_STRIDE)
            _fill_row(element, job, shift(element, plane, from_), left, border, row)


@compiled
def _fill_row(element: Any, job: int, source: int, left: int, border: Any, row: int) -> None:
    """row[p, i] = source[cell at position (left + i) * step + phase[p]]"""
    pitch, axis, stride = word(job, PITCH), _axis(job, 2), word(job, COLUMN_STRIDE)
    step, low, size = word(axis, STEP), word(axis, LOW), word(axis, SIZE)
    for p in range(word(job, PHASES)):
        phase = left * step + word(job, PHASES_AT + p)
        begin = min(max(phase_count(low, phase, step), 0), pitch)
        end = min(max(phase_count(low + size, phase, step), begin), pitch)
        goal = shift(element, row, p * pitch)
        first = (begin * step + phase - low) * stride
        if step * stride == 1:
            copy(element, shift(element, goal, begin), shift(element, source, first), end - begin)
        else:
            for i in range(end - begin):
                store(element, goal, begin + i, load(element, source, first + i * step * stride))
        for i in range(pitch - (end - begin)):
            k = i if i < begin else i + end - begin
            w = _cell(job, axis, k * step + phase)
            store(element, goal, k, border if w < 0 else load(element, source, w * stride))


@intrinsic
def rounded(typing: Any, element: Any, value: Any) -> Any:
    """A number as one of the element type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[1]

    return element.dtype(element, element.dtype), generate


# --- Walking the taps ---


def taps_source(initial: bool) -> str:
    """The kernel of functions `combine` and `reduce`: acc[i] over all taps, i below `count`.

    Numbers as in `stencil`; `taps` has how many there are and the place of each after x. Every
    intermediate value is one of the element type.
    """
    one = "combined(element, x0, i, w0)"
    start = f"rounded(element, reduce(first, {one}))" if initial else one
    return (
        "@compiled\n"
        "def combined(element, x, i, w):\n"
        "    return rounded(element, combine(load(element, x, i), w))\n"
        "@compiled\n"
        "def joined(element, a, x, i, w):\n"
        "    return rounded(element, reduce(a, combined(element, x, i, w)))\n"
        "def kernel(element, acc, x, numbers, count, taps):\n"
        "    x0 = shift(element, x, word(taps, 1))\n"
        "    first, w0 = load(element, numbers, 1), load(element, numbers, 2)\n"
        "    for i in range(count):\n"
        f"        store(element, acc, i, {start})\n"
        "    t = 1\n"
        f"{''.join(map(_passes, PASSES))}"
    )


def _passes(count: int) -> str:
    """Code for passes of so many taps each, while there are as many."""
    lines = [f"    while t + {count} <= word(taps, 0):"]
    for j in range(count):
        lines.append(f"        x{j} = shift(element, x, word(taps, 1 + t + {j}))")
        lines.append(f"        w{j} = load(element, numbers, 2 + t + {j})")
    lines.append("        for i in range(count):")
    lines.append("            a = load(element, acc, i)")
    lines += [f"            a = joined(element, a, x{j}, i, w{j})" for j in range(count)]
    lines.append("            store(element, acc, i, a)")
    lines.append(f"        t += {count}")
    return "\n".join(lines) + "\n"


def _words() -> dict[str, Any]:
    """What the source speaks of."""
    known: dict[str, Any] = {"load": load, "store": store, "shift": shift, "word": word}
    return {**known, "rounded": rounded, "compiled": compiled, "__name__": __name__}


def taps_of(combine: Any, reduce: Any, initial: bool) -> Callable[..., None]:
    """The kernel of two jitted functions.

    A closure: of global functions Numba takes those of equal code for the same.
    """
    inner = taps_source(initial).replace("\n", "\n    ")
    names = _words()
    exec(f"def make(combine, reduce):\n    {inner}return kernel\n", names)
    return names["make"](combine, reduce)  # type: ignore[no-any-return]


def _own(name: str, combine: Callable[..., Any], reduce: Callable[..., Any]) -> Callable[..., None]:
    """A kernel of ours, of that name; not a closure, which no disk cache would know again."""
    names = {**_words(), "combine": compiled(combine), "reduce": compiled(reduce)}
    exec(taps_source(False).replace("def kernel(", f"def {name}("), names)
    return names[name]  # type: ignore[no-any-return]


# Grey-scale morphology; a NaN is larger and smaller than nothing.
dilate = kernel(_own("dilate", lambda x, w: x + w, lambda a, b: b if b > a else a))
erode = kernel(_own("erode", lambda x, w: x - w, lambda a, b: b if b < a else a))
