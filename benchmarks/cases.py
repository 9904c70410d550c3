"""Named problems from real networks, shared by the benchmarks and the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

Size = tuple[int, ...]
PerAxis = int | tuple[int, ...]


def per_axis(value: PerAxis, rank: int) -> Size:
    """One number per spatial axis."""
    return (value,) * rank if isinstance(value, int) else value


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
    kind: str  # "max" or "avg"
    channels: int
    size: Size
    kernel: Size
    stride: PerAxis | None = None  # None: the kernel size, so that windows do not overlap
    padding: PerAxis = 0

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    def input_shape(self, batch: int) -> Size:
        """(N, C, *size)."""
        return (batch, self.channels, *self.size)

    def shrunk(self) -> PoolCase:
        """The same layer with few channels and a small picture."""
        size = tuple(min(n, k + 9 + i) for i, (n, k) in enumerate(zip(self.size, self.kernel)))
        return replace(self, channels=min(self.channels, 7), size=size)


SUITES: dict[str, tuple[ConvCase, ...]] = {
    "resnet50": (
        ConvCase("resnet 7x7/2 3->64 224", 3, (224, 224), 64, (7, 7), 2, 3),
        ConvCase("resnet 3x3 64->64 56", 64, (56, 56), 64, (3, 3), 1, 1),
        ConvCase("resnet 3x3 128->128 28", 128, (28, 28), 128, (3, 3), 1, 1),
        ConvCase("resnet 3x3 256->256 14", 256, (14, 14), 256, (3, 3), 1, 1),
        ConvCase("resnet 3x3 512->512 7", 512, (7, 7), 512, (3, 3), 1, 1),
        ConvCase("resnet 3x3/2 128->128 56", 128, (56, 56), 128, (3, 3), 2, 1),
        ConvCase("resnet 1x1 64->256 56", 64, (56, 56), 256, (1, 1)),
        ConvCase("resnet 1x1 256->64 56", 256, (56, 56), 64, (1, 1)),
        ConvCase("resnet 1x1 1024->256 14", 1024, (14, 14), 256, (1, 1)),
        ConvCase("resnet 1x1 2048->512 7", 2048, (7, 7), 512, (1, 1)),
    ),
    "vgg16": (
        ConvCase("vgg 3x3 3->64 224", 3, (224, 224), 64, (3, 3), 1, 1),
        ConvCase("vgg 3x3 64->64 224", 64, (224, 224), 64, (3, 3), 1, 1),
        ConvCase("vgg 3x3 256->256 56", 256, (56, 56), 256, (3, 3), 1, 1),
        ConvCase("vgg 3x3 512->512 14", 512, (14, 14), 512, (3, 3), 1, 1),
    ),
    "lenet5": (
        ConvCase("lenet 5x5 1->6 28", 1, (28, 28), 6, (5, 5), 1, 2),
        ConvCase("lenet 5x5 6->16 14", 6, (14, 14), 16, (5, 5)),
        ConvCase("lenet 5x5 16->120 5", 16, (5, 5), 120, (5, 5)),
    ),
    "alexnet": (
        ConvCase("alexnet 11x11/4 3->64 224", 3, (224, 224), 64, (11, 11), 4, 2),
        ConvCase("alexnet 5x5 64->192 27", 64, (27, 27), 192, (5, 5), 1, 2),
        ConvCase("alexnet 3x3 192->384 13", 192, (13, 13), 384, (3, 3), 1, 1),
        ConvCase("alexnet 3x3 256->256 13", 256, (13, 13), 256, (3, 3), 1, 1),
    ),
    "mobilenet_v2": (
        ConvCase("mobilenet 3x3/2 3->32 224", 3, (224, 224), 32, (3, 3), 2, 1),
        ConvCase("mobilenet depthwise 3x3 32 112", 32, (112, 112), 32, (3, 3), 1, 1, 1, 32),
        ConvCase("mobilenet depthwise 3x3/2 96 112", 96, (112, 112), 96, (3, 3), 2, 1, 1, 96),
        ConvCase("mobilenet depthwise 3x3 384 14", 384, (14, 14), 384, (3, 3), 1, 1, 1, 384),
        ConvCase("mobilenet 1x1 16->96 112", 16, (112, 112), 96, (1, 1)),
        ConvCase("mobilenet 1x1 144->24 56", 144, (56, 56), 24, (1, 1)),
        ConvCase("mobilenet 1x1 320->1280 7", 320, (7, 7), 1280, (1, 1)),
    ),
    "unet": (
        ConvCase("unet 3x3 1->64 256", 1, (256, 256), 64, (3, 3), 1, 1),
        ConvCase("unet 3x3 128->64 128", 128, (128, 128), 64, (3, 3), 1, 1),
        ConvCase("unet 3x3 512->512 16", 512, (16, 16), 512, (3, 3), 1, 1),
        ConvCase("unet up 2x2/2 256->128 32", 256, (32, 32), 128, (2, 2), 2, transposed=True),
        ConvCase("unet 1x1 64->2 256", 64, (256, 256), 2, (1, 1)),
    ),
    "dcgan": (
        ConvCase("dcgan up 4x4 100->512 1", 100, (1, 1), 512, (4, 4), transposed=True),
        ConvCase("dcgan up 4x4/2 512->256 4", 512, (4, 4), 256, (4, 4), 2, 1, transposed=True),
        ConvCase("dcgan up 4x4/2 128->64 16", 128, (16, 16), 64, (4, 4), 2, 1, transposed=True),
        ConvCase("dcgan up 4x4/2 64->3 32", 64, (32, 32), 3, (4, 4), 2, 1, transposed=True),
    ),
    "c3d": (
        ConvCase("c3d 3x3x3 3->64 16x112", 3, (16, 112, 112), 64, (3, 3, 3), 1, 1),
        ConvCase("c3d 3x3x3 128->256 8x28", 128, (8, 28, 28), 256, (3, 3, 3), 1, 1),
        ConvCase("c3d 3x3x3 512->512 2x7", 512, (2, 7, 7), 512, (3, 3, 3), 1, 1),
    ),
    "r3d18": (
        ConvCase("r3d 3x7x7/2 3->64", 3, (16, 112, 112), 64, (3, 7, 7), (1, 2, 2), (1, 3, 3)),
        ConvCase("r3d 3x3x3 64->64 16x56", 64, (16, 56, 56), 64, (3, 3, 3), 1, 1),
        ConvCase("r3d 3x3x3/2 128->256 8x28", 128, (8, 28, 28), 256, (3, 3, 3), 2, 1),
    ),
    "wavenet": (
        ConvCase("wavenet 2 1->32 16000", 1, (16000,), 32, (2,), 1, "causal"),
        ConvCase("wavenet 2 32->64 16000 d 1", 32, (16000,), 64, (2,), 1, "causal"),
        ConvCase("wavenet 2 32->64 16000 d 512", 32, (16000,), 64, (2,), 1, "causal", 512),
        ConvCase("wavenet 1 32->256 16000", 32, (16000,), 256, (1,)),
    ),
    "filtering": (
        ConvCase("filter 3x3 1024", 1, (1024, 1024), 1, (3, 3), 1, 1),
        ConvCase("filter 15x15 1024", 1, (1024, 1024), 1, (15, 15), 1, 7),
        ConvCase("filter 101 of 100000", 1, (100000,), 1, (101,), 1, 50),
        ConvCase("filter 5x5x5 64", 1, (64, 64, 64), 1, (5, 5, 5), 1, 2),
    ),
}

POOL_SUITES: dict[str, tuple[PoolCase, ...]] = {
    "pooling": (
        PoolCase("max 2x2 64 112", "max", 64, (112, 112), (2, 2)),
        PoolCase("max 3x3/2 64 112", "max", 64, (112, 112), (3, 3), 2, 1),
        PoolCase("max 3x3/1 256 28", "max", 256, (28, 28), (3, 3), 1, 1),
        PoolCase("max 2x2x2 64 16x56", "max", 64, (16, 56, 56), (2, 2, 2)),
        PoolCase("avg 2x2 64 112", "avg", 64, (112, 112), (2, 2)),
        PoolCase("avg 3x3/1 256 28", "avg", 256, (28, 28), (3, 3), 1, 1),
        PoolCase("avg 7x7 2048 7", "avg", 2048, (7, 7), (7, 7)),
        PoolCase("avg 4 64 of 16000", "avg", 64, (16000,), (4,)),
    ),
}
