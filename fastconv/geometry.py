"""Shapes: every argument made canonical, every size known before anything runs.

A geometry is the problem as a value: made once at a public door, frozen, hashable, pure Python
ints. All four convolution operations (forward, input gradient, weight gradient, transposed) are
described by the *forward* geometry.

Sizes are unbounded Python ints until they are checked against `LIMIT`; nothing after the door can
overflow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .arguments import Pairs, Size, as_flag, as_int, as_shape, as_sizes, check_choice, check_count
from .sizes import conv_size, pool_size, same_size, transposed_size, window_extent

PADDING_NAMES = ("valid", "same", "same_lower", "full", "causal")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def as_padding(
    op: str, padding: Any, sizes: Size, kernel: Size, stride: Size, dilation: Size
) -> Pairs:
    """Any spelling of padding as (low, high) pairs per axis."""
    rank = len(kernel)
    if isinstance(padding, str):
        return _named_padding(op, padding, sizes, kernel, stride, dilation)
    try:
        items = tuple(padding)
        pairs = [tuple(item) for item in items]
    except TypeError:
        return tuple((p, p) for p in as_sizes(op, "padding", padding, rank, at_least=0))
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"{op}: padding as pairs must be {rank} pairs (low, high), one per axis, "
            f"not {padding!r}"
        )
    return tuple(
        (
            as_int(op, "padding", low, at_least=0),
            as_int(op, "padding", high, at_least=0),
        )
        for low, high in pairs
    )


def _named_padding(
    op: str, name: str, sizes: Size, kernel: Size, stride: Size, dilation: Size
) -> Pairs:
    reach = [d * (k - 1) for k, d in zip(kernel, dilation)]
    if name == "valid":
        return tuple((0, 0) for _ in reach)
    if name == "full":
        return tuple((r, r) for r in reach)
    if name == "causal":
        if len(kernel) != 1:
            raise ValueError(f"{op}: padding 'causal' is for one dimension, not {len(kernel)}")
        return ((reach[0], 0),)
    if name in ("same", "same_lower"):
        totals = [
            max((same_size(size, s) - 1) * s + r + 1 - size, 0)
            for size, s, r in zip(sizes, stride, reach)
        ]
        halves = [(total // 2, total - total // 2) for total in totals]
        return tuple(halves if name == "same" else [(high, low) for low, high in halves])
    raise ValueError(f"{op}: padding must be one of {PADDING_NAMES} or integers, not {name!r}")


# --- Geometries ---


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution problem, always seen in the forward direction.

    input (N, C, *in_size), weight (K, C/groups, *kernel_size), output (N, K, *out_size); the
    spatial tuples have one entry per axis (1 to 3). `batched` says whether the caller's arrays have
    the N axis.
    """

    batch: int
    in_channels: int
    out_channels: int
    groups: int
    in_size: Size
    kernel_size: Size
    stride: Size
    dilation: Size
    padding: Pairs
    padding_mode: str
    out_size: Size
    batched: bool

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_size)

    @property
    def input_shape(self) -> Size:
        """(N, C, *in_size)."""
        return (self.batch, self.in_channels, *self.in_size)

    @property
    def weight_shape(self) -> Size:
        """(K, C/groups, *kernel_size)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @property
    def output_shape(self) -> Size:
        """(N, K, *out_size)."""
        return (self.batch, self.out_channels, *self.out_size)

    @property
    def multiply_adds(self) -> int:
        """Multiplications of one call, those with padding included; the same for all operations."""
        return math.prod(self.output_shape) * math.prod(self.weight_shape[1:])

    @property
    def padded_size(self) -> Size:
        """Spatial size of the input with its padding."""
        return tuple(size + low + high for size, (low, high) in zip(self.in_size, self.padding))

    def without_padding(self) -> ConvGeometry:
        """The same problem on an input that has already been padded."""
        return replace(
            self,
            in_size=self.padded_size,
            padding=((0, 0),) * self.rank,
            padding_mode="zeros",
        )

    @classmethod
    def forward(
        cls,
        op: str,
        rank: int,
        input_shape: Size,
        weight_shape: Size,
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: Any = 1,
        padding_mode: str = "zeros",
    ) -> ConvGeometry:
        """From the arguments of a convolution's door."""
        input_shape = as_shape(op, "input", input_shape)
        weight_shape = as_shape(op, "weight", weight_shape)
        batched = _check_ndim(op, "input", input_shape, rank)
        if len(weight_shape) != rank + 2:
            raise ValueError(
                f"{op}: weight must have {rank + 2} dimensions (K, C/groups, *kernel), "
                f"not shape {weight_shape}"
            )
        batch, in_channels, *in_size = input_shape if batched else (1, *input_shape)
        out_channels, group_channels, *kernel = weight_shape
        groups = as_int(op, "groups", groups, at_least=1)
        _check_positive(op, "weight", weight_shape)
        _check_positive(op, "input", (in_channels, *in_size), "every dimension but the batch")
        if in_channels != groups * group_channels:
            raise ValueError(
                f"{op}: in_channels of input ({in_channels}) is not groups ({groups}) times "
                f"weight.shape[1] ({group_channels})"
            )
        if out_channels % groups:
            raise ValueError(
                f"{op}: weight.shape[0] ({out_channels}) is not divisible by groups ({groups})"
            )
        strides = as_sizes(op, "stride", stride, rank, at_least=1)
        dilations = as_sizes(op, "dilation", dilation, rank, at_least=1)
        pairs = as_padding(op, padding, tuple(in_size), tuple(kernel), strides, dilations)
        _check_mode(op, padding_mode, tuple(in_size), pairs)
        axes = zip(in_size, kernel, strides, dilations, pairs)
        out_size = tuple(
            _fitting_size(op, conv_size(size, k, s, d, low, high), size, k, d, low, high)
            for size, k, s, d, (low, high) in axes
        )
        geometry = cls(
            batch=batch,
            in_channels=in_channels,
            out_channels=out_channels,
            groups=groups,
            in_size=tuple(in_size),
            kernel_size=tuple(kernel),
            stride=strides,
            dilation=dilations,
            padding=pairs,
            padding_mode=padding_mode,
            out_size=out_size,
            batched=batched,
        )
        check_count(op, "input with padding", (batch, in_channels, *geometry.padded_size))
        check_count(op, "output", geometry.output_shape)
        return geometry

    @classmethod
    def transposed(
        cls,
        op: str,
        rank: int,
        input_shape: Size,
        weight_shape: Size,
        *,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: Any = 1,
        dilation: Any = 1,
    ) -> ConvGeometry:
        """From the arguments of a transposed convolution, the input gradient of this problem.

        The door's input is this geometry's output, so ``geometry.input_shape`` is the shape of the
        door's result.
        """
        input_shape = as_shape(op, "input", input_shape)
        weight_shape = as_shape(op, "weight", weight_shape)
        batched = _check_ndim(op, "input", input_shape, rank)
        if len(weight_shape) != rank + 2:
            raise ValueError(
                f"{op}: weight must have {rank + 2} dimensions (C, K/groups, *kernel), "
                f"not shape {weight_shape}"
            )
        batch, channels, *sizes = input_shape if batched else (1, *input_shape)
        weight_channels, group_channels, *kernel = weight_shape
        groups = as_int(op, "groups", groups, at_least=1)
        _check_positive(op, "weight", weight_shape)
        _check_positive(op, "input", (channels, *sizes), "every dimension but the batch")
        if channels != weight_channels:
            raise ValueError(
                f"{op}: in_channels of input ({channels}) is not weight.shape[0] "
                f"({weight_channels})"
            )
        if channels % groups:
            raise ValueError(
                f"{op}: in_channels of input ({channels}) is not divisible by groups ({groups})"
            )
        strides = as_sizes(op, "stride", stride, rank, at_least=1)
        dilations = as_sizes(op, "dilation", dilation, rank, at_least=1)
        extras = as_sizes(op, "output_padding", output_padding, rank, at_least=0)
        for extra, s, d in zip(extras, strides, dilations):
            if extra >= max(s, d):
                raise ValueError(
                    f"{op}: output_padding ({extra}) must be smaller than stride ({s}) "
                    f"or dilation ({d})"
                )
        # Under "same" the result is stride times the input: a size whose forward "same" size is it.
        goals = tuple(size * s for size, s in zip(sizes, strides))
        pairs = as_padding(op, padding, goals, tuple(kernel), strides, dilations)
        named_same = isinstance(padding, str) and padding.startswith("same")
        in_size = tuple(
            goal if named_same else transposed_size(size, k, s, d, low, high, extra)
            for goal, size, k, s, d, (low, high), extra in zip(
                goals, sizes, kernel, strides, dilations, pairs, extras
            )
        )
        if named_same and any(extras):
            raise ValueError(f"{op}: output_padding {extras} cannot be joined with {padding!r}")
        for size, result, (low, high) in zip(sizes, in_size, pairs):
            if result < 1:
                raise ValueError(
                    f"{op}: padding ({low}, {high}) leaves no output for input size {size}: "
                    f"{result}"
                )
        geometry = cls(
            batch=batch,
            in_channels=group_channels * groups,
            out_channels=channels,
            groups=groups,
            in_size=in_size,
            kernel_size=tuple(kernel),
            stride=strides,
            dilation=dilations,
            padding=pairs,
            padding_mode="zeros",
            out_size=tuple(sizes),
            batched=batched,
        )
        check_count(op, "output with padding", (batch, geometry.in_channels, *geometry.padded_size))
        return geometry


@dataclass(frozen=True)
class PoolGeometry:
    """A pooling problem: input (N, C, *in_size), output (N, C, *out_size), sliding windows."""

    batch: int
    channels: int
    in_size: Size
    kernel_size: Size
    stride: Size
    dilation: Size
    padding: Pairs
    out_size: Size
    batched: bool

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_size)

    @property
    def input_shape(self) -> Size:
        """(N, C, *in_size)."""
        return (self.batch, self.channels, *self.in_size)

    @property
    def output_shape(self) -> Size:
        """(N, C, *out_size)."""
        return (self.batch, self.channels, *self.out_size)

    @property
    def padded_size(self) -> Size:
        """Spatial size of the input with its padding, without the overhang of ceil_mode."""
        return tuple(size + low + high for size, (low, high) in zip(self.in_size, self.padding))

    @classmethod
    def sliding(
        cls,
        op: str,
        rank: int,
        input_shape: Size,
        kernel_size: Any,
        *,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> PoolGeometry:
        """From the arguments of a pooling door; a stride of None is the kernel size."""
        batch, channels, in_size, batched = _pool_input(op, rank, input_shape)
        kernel = as_sizes(op, "kernel_size", kernel_size, rank, at_least=1)
        strides = kernel if stride is None else as_sizes(op, "stride", stride, rank, at_least=1)
        dilations = as_sizes(op, "dilation", dilation, rank, at_least=1)
        pairs = as_padding(op, padding, in_size, kernel, strides, dilations)
        ceiling = as_flag(op, "ceil_mode", ceil_mode)
        for k, pair in zip(kernel, pairs):
            if 2 * max(pair) > k:
                raise ValueError(f"{op}: padding {pair} must be at most half of kernel_size ({k})")
        out_size = tuple(
            _fitting_size(op, pool_size(size, k, s, d, low, high, ceiling), size, k, d, low, high)
            for size, k, s, d, (low, high) in zip(in_size, kernel, strides, dilations, pairs)
        )
        for size, k, d, (low, _) in zip(in_size, kernel, dilations, pairs):
            _check_windows_reach_input(op, size, k, d, low)
        geometry = cls(
            batch, channels, in_size, kernel, strides, dilations, pairs, out_size, batched
        )
        check_count(op, "input with padding", (batch, channels, *geometry.padded_size))
        check_count(op, "output", geometry.output_shape)
        return geometry


@dataclass(frozen=True)
class AdaptiveGeometry:
    """Adaptive pooling: bin i of an axis covers `adaptive_bin(i, in_size, out_size)`."""

    batch: int
    channels: int
    in_size: Size
    out_size: Size
    batched: bool

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.in_size)

    @property
    def input_shape(self) -> Size:
        """(N, C, *in_size)."""
        return (self.batch, self.channels, *self.in_size)

    @property
    def output_shape(self) -> Size:
        """(N, C, *out_size)."""
        return (self.batch, self.channels, *self.out_size)

    @classmethod
    def adaptive(cls, op: str, rank: int, input_shape: Size, output_size: Any) -> AdaptiveGeometry:
        """From the arguments of an adaptive pooling door; None in `output_size` keeps that axis."""
        batch, channels, in_size, batched = _pool_input(op, rank, input_shape)
        try:
            wanted = tuple(output_size)
        except TypeError:
            wanted = (output_size,)
        if len(wanted) == 1:
            wanted = wanted * rank
        if len(wanted) == rank:
            wanted = tuple(size if o is None else o for o, size in zip(wanted, in_size))
        out_size = as_sizes(op, "output_size", wanted, rank, at_least=1)
        for size, bins in zip(in_size, out_size):
            check_count(op, "input size times output_size", (size, bins))  # as in `adaptive_bin`
        geometry = cls(batch, channels, in_size, out_size, batched)
        check_count(op, "output", geometry.output_shape)
        return geometry


# --- Checks ---


def _check_ndim(op: str, name: str, shape: Size, rank: int) -> bool:
    """Whether `shape` has the batch axis."""
    if len(shape) not in (rank + 1, rank + 2):
        raise ValueError(
            f"{op}: {name} must have {rank + 2} dimensions (N, C, *spatial) or {rank + 1} without "
            f"the batch, not shape {shape}"
        )
    return len(shape) == rank + 2


def _check_positive(
    op: str, name: str, sizes: Sequence[int], which: str = "every dimension"
) -> None:
    if min(sizes) < 1:
        raise ValueError(f"{op}: {which} of {name} must be positive, not {tuple(sizes)}")


def _check_mode(op: str, mode: str, sizes: Size, padding: Pairs) -> None:
    """Reflection needs a cell beyond the border one; a circle cannot be walked twice."""
    check_choice(op, "padding_mode", mode, PADDING_MODES)
    for size, pair in zip(sizes, padding):
        largest = {"reflect": size - 1, "circular": size}.get(mode)
        if largest is not None and max(pair) > largest:
            raise ValueError(
                f"{op}: padding {pair} is too large for padding_mode {mode!r} on input size "
                f"{size}; the limit is {largest}"
            )


def _fitting_size(
    op: str, count: int, size: int, kernel: int, dilation: int, low: int, high: int
) -> int:
    if count < 1:
        raise ValueError(
            f"{op}: kernel of extent {window_extent(kernel, dilation)} (size {kernel}, dilation "
            f"{dilation}) is larger than the padded input, {size + low + high} (size {size}, "
            f"padding ({low}, {high}))"
        )
    return count


def _pool_input(op: str, rank: int, shape: Size) -> tuple[int, int, Size, bool]:
    shape = as_shape(op, "input", shape)
    batched = _check_ndim(op, "input", shape, rank)
    batch, channels, *sizes = shape if batched else (1, *shape)
    _check_positive(op, "input", (channels, *sizes), "every dimension but the batch")
    return batch, channels, tuple(sizes), batched


def _check_windows_reach_input(op: str, size: int, kernel: int, dilation: int, low: int) -> None:
    """A dilated window may step over a short input: it would pool nothing.

    Padding of at most half of the kernel leaves one such case, and it has one window: two taps, one
    before and one after the input. So it is enough that the first window has a tap inside.
    """
    if -low % dilation >= size:
        raise ValueError(
            f"{op}: kernel_size {kernel} with dilation {dilation} and padding {low} steps over the "
            f"input of size {size}: no tap falls inside"
        )
