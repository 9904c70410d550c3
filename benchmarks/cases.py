"""Named problems from real networks, shared by the benchmarks and the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ConvCase:
    """One convolution layer; shapes as in `fastconv.conv2d`, the batch is the caller's choice."""

    name: str
    channels: int
    size: tuple[int, ...]
    out_channels: int
    kernel: tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] | str = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    transposed: bool = False
    output_padding: int | tuple[int, ...] = 0

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    def input_shape(self, batch: int) -> tuple[int, ...]:
        """(N, C, *size)."""
        return (batch, self.channels, *self.size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(K, C/groups, *kernel), or (C, K/groups, *kernel) if transposed."""
        if self.transposed:
            return (self.channels, self.out_channels // self.groups, *self.kernel)
        return (self.out_channels, self.channels // self.groups, *self.kernel)

    def shrunk(self) -> ConvCase:
        """The same layer small enough for the slow reference: fewer channels, a smaller picture."""
        extent = [d * (k - 1) + 1 for k, d in zip(self.kernel, self._per_axis(self.dilation))]
        size = tuple(min(n, e + 9 + i) for i, (n, e) in enumerate(zip(self.size, extent)))
        groups = min(self.groups, 5) if self.groups == self.channels else min(self.groups, 2)
        channels, outputs = (
            groups * max(1, min(n // self.groups, limit))
            for n, limit in ((self.channels, 7), (self.out_channels, 9))
        )
        return replace(self, channels=channels, size=size, out_channels=outputs, groups=groups)

    def _per_axis(self, value: int | tuple[int, ...]) -> tuple[int, ...]:
        return (value,) * self.rank if isinstance(value, int) else value


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
}
