"""How long an algorithm should take: multiply-adds that it does, and what it moves.

Work is counted in multiply-adds, in empty lanes as well; what is no multiply-add counts as so many
as would take as long. How many these are depends on the machine: `Rates`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .cpu.engine import planar_tile
from .cpu.fourier_engine import tile
from .cpu.grouped_engine import channel_family
from .cpu.grouped_tiles import PAIRS
from .cpu.launch import SERIAL_WORK
from .cpu.sliding_engine import sliding_share
from .cpu.winograd_engine import most_tiles
from .geometry import ConvGeometry
from .machine import machine
from .sizes import phase_count


class Task(NamedTuple):
    """A problem and how it comes: `planned` weights are packed once for many calls."""

    geometry: ConvGeometry
    dtype: str
    operation: str
    planned: bool
    channels_last: bool

    @property
    def problem(self) -> tuple[ConvGeometry, str, str]:
        """What is asked for, however it comes."""
        return self.geometry, self.dtype, self.operation

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return machine().lanes(self.dtype)

    @property
    def targets(self) -> int:
        """See `group_targets`."""
        return group_targets(self.geometry, self.operation)

    @property
    def terms(self) -> int:
        """Products that are summed for an element of what the operation writes."""
        g = self.geometry
        channels = g.out_channels if self.operation == "input_gradient" else g.in_channels
        return channels // g.groups * math.prod(g.kernel_size)


def group_targets(geometry: ConvGeometry, operation: str) -> int:
    """Channels of a group that an operation writes."""
    channels = geometry.in_channels if operation == "input_gradient" else geometry.out_channels
    return channels // geometry.groups


class Estimate(NamedTuple):
    """What an algorithm should cost."""

    seconds: float
    flops: int
    moved_bytes: int


class Rates(NamedTuple):
    """What machines of one kind take for the parts of the work."""

    # Part of the fma peak that the sums of an algorithm reach. Depthwise has channels in the lanes;
    # "planes" are those whose pixels lie there, "signals" those of one row, whose channels are
    # brought there.
    efficiency: Mapping[str, float]
    # Seconds that a group of one image takes by itself, where they do not share vectors.
    plane: Mapping[str, float]
    # Seconds per element of input and output to turn images into the format of an algorithm.
    turning: Mapping[str, float]
    # The same to pick one channel at a time from among those of a pixel, and to put it back there.
    picking: float
    # Multiply-adds of a sum that take as long as going from one tile to the next.
    between_tiles: float
    # The same for planar tiles of several output channels.
    between_planar: float
    # The same of an output, for gathering one of its pixels from a row with a stride.
    gathering: float
    # Times that a tile of one vector, bound by its loads, takes longer.
    one_vector: float
    # The same for planar tiles of one output channel.
    one_channel: float
    # The same for planar tiles of neither 1 nor 6 output channels.
    even_block: float
    # Seconds that a call of planar tiles takes more, for the tables of its first box.
    planar_call: float
    # Times that grouped tiles take longer whose neighbours share fewer inputs: 0.83 loads for each
    # fma, not 0.54.
    strided: float
    # Multiply-adds that take as long as a transform of one product of one channel by Winograd.
    winograd: float
    # Seconds per byte of input and output.
    moving: float
    # Seconds per byte of weights that stream from beyond the second-level cache, and that do so
    # once more, as transformed ones for each box of tiles; and per packed element to put them in
    # order, or to transform them.
    streaming: float
    restreaming: float
    packing: float
    transforming: float


# Two cores of Zen 4, AVX-512, 2026-11: ResNet and VGG layers, and `docs/notes/0010`.
WIDE = Rates(
    efficiency={
        "depthwise": 0.5,
        "planes": 0.65,
        "signals": 0.25,
        "grouped": 0.7,
        "planar": 0.7,
        "sliding": 0.85,
        "winograd": 0.85,
        "direct": 0.85,
    },
    plane={"planes": 0.07e-6, "sliding": 0.08e-6, "planar": 0.12e-6},
    turning={"grouped": 2e-9, "planar": 0.3e-9, "sliding": 0.3e-9, "direct": 0.15e-9},
    picking=2e-9,
    between_tiles=8,
    between_planar=0,
    gathering=20,
    one_vector=1.35,
    one_channel=2,
    even_block=1,
    planar_call=0,
    strided=1,
    winograd=7,
    moving=1 / 10e9,
    streaming=1 / 60e9,
    restreaming=0,
    packing=0.3e-9,
    transforming=0.8e-9,
)
# Two cores of Zen 3, AVX2, 2026-11.
NARROW = Rates(
    efficiency={
        "depthwise": 0.35,
        "planes": 0.45,
        "signals": 0.2,
        "grouped": 0.45,
        "planar": 0.6,
        "sliding": 1,
        "winograd": 0.6,
        "direct": 0.75,
    },
    plane={"planes": 0.15e-6, "sliding": 0.17e-6, "planar": 0.25e-6},
    turning={
        "depthwise": 1e-9,
        "grouped": 2e-9,
        "planar": 0.4e-9,
        "sliding": 0.4e-9,
        "direct": 0.65e-9,
    },
    picking=2e-9,
    between_tiles=14,
    between_planar=1.5,
    gathering=10,
    one_vector=2,
    one_channel=2,
    even_block=1.3,
    planar_call=1e-6,
    strided=1.5,
    winograd=8,
    moving=1 / 25e9,
    streaming=1 / 20e9,
    restreaming=1 / 50e9,
    packing=0.5e-9,
    transforming=1.5e-9,
)


# Seconds until the first kernel of a call runs.
CALL = 10e-6


def rates() -> Rates:
    """By the number of registers, which tiles and what they keep depend on."""
    return WIDE if machine().vector_registers >= 32 else NARROW


def _estimate(
    task: Task,
    kind: str,
    work: float,
    growth: float = 1,
    works_last: bool | None = None,
    passes: int = 1,
) -> Estimate:
    """Of so many multiply-adds.

    Weights grow by packing, and are read in so many passes; images are turned into one format.
    """
    cpu, r, g = machine(), rates(), task.geometry
    size = 4 if task.dtype == "float32" else 8
    weights = growth * math.prod(g.weight_shape)
    shapes = g.input_shape, g.output_shape
    images = sum(map(math.prod, shapes))
    threads = 1 if g.multiply_adds < SERIAL_WORK else cpu.cores
    peak = cpu.peak_flops(task.dtype) * threads / cpu.cores
    seconds = CALL + 2 * work / (peak * r.efficiency.get(kind, 1))
    if g.groups > 1:
        seconds += g.batch * g.groups * r.plane.get(kind, 0) / threads
    seconds += size * images * r.moving
    if weights * size > cpu.level2_bytes:
        seconds += weights * size * (r.streaming + (passes - 1) * r.restreaming)
    if not task.planned:
        seconds += weights * (r.packing if growth == 1 else r.transforming)
    if works_last is not None and works_last != task.channels_last:
        turned = sum(math.prod(shape) for shape in shapes if shape[1] > 1)
        seconds += turned * r.turning.get(kind, r.turning["direct"])
    return Estimate(seconds, round(2 * work), size * (images + round(weights)))


def _share(count: int, multiple: int) -> float:
    """Part of whole multiples that `count` fills."""
    return count / (_ceiling(count, multiple) * multiple)


def _ceiling(count: int, multiple: int) -> int:
    return -(-count // multiple)


def depthwise(task: Task) -> Estimate:
    """Every input channel meets its own weights; pixels in the lanes lie one apart or two."""
    g = task.geometry
    works_last, kind, alone = None, "depthwise", g.in_channels == 1
    if alone:
        works_last = False
    elif g.stride[-1] > 2:
        works_last = True
    by_planes = not works_last and (alone or not task.channels_last)
    if by_planes and task.operation != "weight_gradient" and g.out_channels == g.in_channels:
        kind = "planes" if (1, *g.out_size)[-2] > 1 else "signals"
    return _estimate(task, kind, g.multiply_adds, works_last=works_last)


def grouped(task: Task) -> Estimate:
    """Channels of several groups in the lanes; images are not turned, planar tiles take over."""
    pairs = channel_family(*task.problem) == PAIRS
    work = task.geometry.multiply_adds * (1.5 if pairs else 1.0)
    if max(task.geometry.stride) > 1:
        work *= rates().strided
    return _estimate(task, "grouped", work, works_last=True)


def direct(task: Task) -> Estimate:
    """Channels fill whole vectors."""
    work = task.geometry.multiply_adds / _share(task.targets, task.lanes)
    work *= 1 + rates().between_tiles / task.terms
    if task.targets <= task.lanes:
        work *= rates().one_vector
    return _estimate(task, "direct", work, works_last=True)


def planar(task: Task) -> Estimate:
    """Rows fill vectors, channels fill blocks."""
    g, targets, r = task.geometry, task.targets, rates()
    row = g.out_size[-1]
    if task.operation == "input_gradient":  # the longest row of a phase
        row = phase_count(g.in_size[-1], 0, g.stride[-1])
    block, _ = planar_tile(targets, task.operation == "weight_gradient")
    share = _share(row, task.lanes) * _share(targets, block)
    work = g.multiply_adds / share
    if block not in (1, 6):
        work *= r.even_block
    if targets == 1:
        work *= r.one_channel * (1 + r.between_tiles / task.terms)
    else:
        work *= 1 + r.between_planar / task.terms
    if task.operation != "input_gradient" and g.stride[-1] > 1:
        work += g.multiply_adds / targets * r.gathering
    estimate = _estimate(task, "planar", work, works_last=False)
    return estimate._replace(seconds=estimate.seconds + r.planar_call)


def sliding(task: Task) -> Estimate:
    """One output channel."""
    g = task.geometry
    work = g.multiply_adds / sliding_share(*task.problem)
    work *= 1 + rates().between_tiles / task.terms
    estimate = _estimate(task, "sliding", work, works_last=False)
    if g.groups == 1 or not task.channels_last:
        return estimate
    picked = math.prod(g.input_shape) + math.prod(g.output_shape)
    return estimate._replace(seconds=estimate.seconds + picked * rates().picking)


def winograd(outputs: int) -> Callable[[Task], Estimate]:
    """F(outputs, 3): the products, and the transforms as so many multiply-adds."""

    def estimate(task: Task) -> Estimate:
        g, lanes, targets = task.geometry, task.lanes, task.targets
        size = g.in_size if task.operation == "input_gradient" else g.out_size
        plane, kernel = (1, *size)[-2:], (1, *g.kernel_size)[-2:]
        made = [outputs if taps == 3 else 1 for taps in kernel]
        tiles = g.batch * math.prod(size[:-2]) * math.prod(map(_ceiling, plane, made))
        products = math.prod(m + 2 if m > 1 else 1 for m in made)
        sources = g.in_channels * g.out_channels // g.groups**2 // targets
        wide, narrow = _ceiling(targets, lanes) * lanes, _ceiling(sources, lanes) * lanes
        depth = math.prod(g.kernel_size[:-2])
        r = rates()
        each = (depth * sources + r.between_tiles) * wide + r.winograd * (wide + narrow)
        work = float(tiles * products * g.groups * each)
        growth = products / math.prod(kernel)
        boxes = _ceiling(tiles, most_tiles(sources, targets, task.dtype, (made[0], made[1])))
        return _estimate(task, "winograd", work, growth, True, boxes)

    return estimate


def fourier(task: Task) -> Estimate:
    """Transforms tile by tile, and the products of spectra."""
    tiling = tile(*task.problem)
    work = tiling.work if task.planned else tiling.work + tiling.packing
    return _estimate(task, "fourier", work)


def reference(task: Task) -> Estimate:
    """NumPy, a few elements at a time; and so many calls of it."""
    return _estimate(task, "reference", (task.geometry.multiply_adds + 1e5) / 0.002)
