"""What a named layer is; `suites` has the layers. Shared by the benchmarks and the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

Size = tuple[int, ...]
PerAxis = int | tuple[int, ...]


def per_axis(value: PerAxis, rank: int) -> Size:
    """One number per spatial axis."""
    return (value,) * rank if isinstance(value, int) else value


CONV_KINDS = (
    *("3x3 stride 1", "1x1", "other 2-D", "depthwise and grouped", "transposed"),
    *("3-D", "1-D", "single channel"),
)


@dataclass(frozen=True)
class ConvCase:
    """One convolution layer; shapes as in `fastconv.conv2d`, the batch is the caller's choice."""

    name: str
    channels: int
    size: Size
    out_channels: int
    kernel: Size
    stride: PerAxis = 1
    padding: PerAxis | str = 0
    dilation: PerAxis = 1
    groups: int = 1
    transposed: bool = False
    output_padding: PerAxis = 0

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    def input_shape(self, batch: int) -> Size:
        """(N, C, *size)."""
        return (batch, self.channels, *self.size)

    @property
    def weight_shape(self) -> Size:
        """(K, C/groups, *kernel), or (C, K/groups, *kernel) if transposed."""
        if self.transposed:
            return (self.channels, self.out_channels // self.groups, *self.kernel)
        return (self.out_channels, self.channels // self.groups, *self.kernel)

    @property
    def kind(self) -> str:
        """One of `CONV_KINDS`: the layers among which speed is averaged."""
        if self.transposed:
            return "transposed"
        if self.channels == self.out_channels == 1:
            return "single channel"
        if self.rank != 2:
            return f"{self.rank}-D"
        if self.groups > 1:
            return "depthwise and grouped"
        once = set(per_axis(self.stride, 2)) == set(per_axis(self.dilation, 2)) == {1}
        if self.kernel == (3, 3) and once:
            return "3x3 stride 1"
        return "1x1" if self.kernel == (1, 1) else "other 2-D"

    @property
    def padding_pairs(self) -> tuple[tuple[int, int], ...]:
        """(low, high) per axis, for rivals that know no names; "causal" is the one name in use."""
        if self.padding == "causal":
            reach = per_axis(self.dilation, 1)[0] * (self.kernel[0] - 1)
            return ((reach, 0),)
        if isinstance(self.padding, str):
            raise ValueError(f"{self.name}: padding {self.padding!r} is not spelled out here")
        return tuple((p, p) for p in per_axis(self.padding, self.rank))

    def shrunk(self) -> ConvCase:
        """The same layer small enough for the slow reference: fewer channels, a smaller picture."""
        dilation = per_axis(self.dilation, self.rank)
        extent = [d * (k - 1) + 1 for k, d in zip(self.kernel, dilation)]
        size = tuple(min(n, e + 9 + i) for i, (n, e) in enumerate(zip(self.size, extent)))
        groups = min(self.groups, 5) if self.groups == self.channels else min(self.groups, 2)
        channels, outputs = (
            groups * max(1, min(n // self.groups, limit))
            for n, limit in ((self.channels, 7), (self.out_channels, 9))
        )
        return replace(self, channels=channels, size=size, out_channels=outputs, groups=groups)


@dataclass(frozen=True)
class PoolCase:
    """One pooling layer; arguments as in `fastconv.max_pool2d`."""

    name: str
    pool: str  # "max", "avg", "lp" (of norm 2), "adaptive_max" or "adaptive_avg"
    channels: int
    size: Size
    kernel: Size  # of adaptive pooling: the size of the output
    stride: PerAxis | None = None  # None: the kernel size, so that windows do not overlap
    padding: PerAxis = 0
    kind = "pooling"

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    @property
    def adaptive(self) -> bool:
        """Whether `kernel` is the size of the output."""
        return self.pool.startswith("adaptive")

    @property
    def keeps_maxima(self) -> bool:
        """Whether a result is one of the inputs, so that its place is an index."""
        return self.pool.endswith("max")

    def input_shape(self, batch: int) -> Size:
        """(N, C, *size)."""
        return (batch, self.channels, *self.size)

    def shrunk(self) -> PoolCase:
        """The same layer with few channels and a small picture."""
        size = tuple(min(n, k + 9 + i) for i, (n, k) in enumerate(zip(self.size, self.kernel)))
        return replace(self, channels=min(self.channels, 7), size=size)
