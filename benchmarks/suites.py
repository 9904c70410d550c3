"""The named layers, by the network that they come from."""

from __future__ import annotations

from benchmarks.cases import ConvCase, PoolCase

SUITES: dict[str, tuple[ConvCase, ...]] = {
    "resnet50": (
        ConvCase("resnet 7x7/2 3->64 224", 3, (224, 224), 64, (7, 7), 2, 3),
        ConvCase("resnet 3x3 64->64 56", 64, (56, 56), 64, (3, 3), 1, 1),
        ConvCase("resnet 3x3 128->128 28", 128, (28, 28), 128, (3, 3), 1, 1),
        ConvCase("resnet 3x3 256->256 14", 256, (14, 14), 256, (3, 3), 1, 1),
        ConvCase("resnet 3x3 512->512 7", 512, (7, 7), 512, (3, 3), 1, 1),
        ConvCase("resnet 3x3/2 128->128 56", 128, (56, 56), 128, (3, 3), 2, 1),
        ConvCase("resnet 3x3/2 512->512 14", 512, (14, 14), 512, (3, 3), 2, 1),
        ConvCase("resnet 1x1 64->64 56", 64, (56, 56), 64, (1, 1)),
        ConvCase("resnet 1x1 64->256 56", 64, (56, 56), 256, (1, 1)),
        ConvCase("resnet 1x1 256->64 56", 256, (56, 56), 64, (1, 1)),
        ConvCase("resnet 1x1 128->512 28", 128, (28, 28), 512, (1, 1)),
        ConvCase("resnet 1x1 512->128 28", 512, (28, 28), 128, (1, 1)),
        ConvCase("resnet 1x1 256->1024 14", 256, (14, 14), 1024, (1, 1)),
        ConvCase("resnet 1x1 1024->256 14", 1024, (14, 14), 256, (1, 1)),
        ConvCase("resnet 1x1 512->2048 7", 512, (7, 7), 2048, (1, 1)),
        ConvCase("resnet 1x1 2048->512 7", 2048, (7, 7), 512, (1, 1)),
        ConvCase("resnet 1x1/2 256->512 56", 256, (56, 56), 512, (1, 1), 2),
    ),
    "vgg16": (
        ConvCase("vgg 3x3 3->64 224", 3, (224, 224), 64, (3, 3), 1, 1),
        ConvCase("vgg 3x3 64->64 224", 64, (224, 224), 64, (3, 3), 1, 1),
        ConvCase("vgg 3x3 64->128 112", 64, (112, 112), 128, (3, 3), 1, 1),
        ConvCase("vgg 3x3 256->256 56", 256, (56, 56), 256, (3, 3), 1, 1),
        ConvCase("vgg 3x3 512->512 28", 512, (28, 28), 512, (3, 3), 1, 1),
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
        ConvCase("mobilenet depthwise 3x3 144 56", 144, (56, 56), 144, (3, 3), 1, 1, 1, 144),
        ConvCase("mobilenet depthwise 3x3 384 14", 384, (14, 14), 384, (3, 3), 1, 1, 1, 384),
        ConvCase("mobilenet depthwise 3x3 960 7", 960, (7, 7), 960, (3, 3), 1, 1, 1, 960),
        ConvCase("mobilenet 1x1 16->96 112", 16, (112, 112), 96, (1, 1)),
        ConvCase("mobilenet 1x1 144->24 56", 144, (56, 56), 24, (1, 1)),
        ConvCase("mobilenet 1x1 384->64 14", 384, (14, 14), 64, (1, 1)),
        ConvCase("mobilenet 1x1 320->1280 7", 320, (7, 7), 1280, (1, 1)),
    ),
    "grouped": (
        ConvCase("resnext 3x3 g32 128->128 56", 128, (56, 56), 128, (3, 3), 1, 1, 1, 32),
        ConvCase("resnext 3x3/2 g32 256->256 56", 256, (56, 56), 256, (3, 3), 2, 1, 1, 32),
        ConvCase("resnext 3x3 g32 512->512 14", 512, (14, 14), 512, (3, 3), 1, 1, 1, 32),
        ConvCase("alexnet 5x5 g2 96->256 27", 96, (27, 27), 256, (5, 5), 1, 2, 1, 2),
        ConvCase("depthwise times 4 3x3 32->128 28", 32, (28, 28), 128, (3, 3), 1, 1, 1, 32),
    ),
    "unet": (
        ConvCase("unet 3x3 1->64 256", 1, (256, 256), 64, (3, 3), 1, 1),
        ConvCase("unet 3x3 64->64 256", 64, (256, 256), 64, (3, 3), 1, 1),
        ConvCase("unet 3x3 128->64 128", 128, (128, 128), 64, (3, 3), 1, 1),
        ConvCase("unet 3x3 512->512 16", 512, (16, 16), 512, (3, 3), 1, 1),
        ConvCase("unet 3x3 d 4 64->64 64", 64, (64, 64), 64, (3, 3), 1, 4, 4),
        ConvCase("unet up 2x2/2 512->256 16", 512, (16, 16), 256, (2, 2), 2, transposed=True),
        ConvCase("unet up 2x2/2 256->128 32", 256, (32, 32), 128, (2, 2), 2, transposed=True),
        ConvCase("unet up 2x2/2 128->64 128", 128, (128, 128), 64, (2, 2), 2, transposed=True),
        ConvCase("unet 1x1 64->2 256", 64, (256, 256), 2, (1, 1)),
    ),
    "dcgan": (
        ConvCase("dcgan up 4x4 100->512 1", 100, (1, 1), 512, (4, 4), transposed=True),
        ConvCase("dcgan up 4x4/2 512->256 4", 512, (4, 4), 256, (4, 4), 2, 1, transposed=True),
        ConvCase("dcgan up 4x4/2 256->128 8", 256, (8, 8), 128, (4, 4), 2, 1, transposed=True),
        ConvCase("dcgan up 4x4/2 128->64 16", 128, (16, 16), 64, (4, 4), 2, 1, transposed=True),
        ConvCase("dcgan up 4x4/2 64->3 32", 64, (32, 32), 3, (4, 4), 2, 1, transposed=True),
    ),
    "c3d": (
        ConvCase("c3d 3x3x3 3->64 16x112", 3, (16, 112, 112), 64, (3, 3, 3), 1, 1),
        ConvCase("c3d 3x3x3 128->256 8x28", 128, (8, 28, 28), 256, (3, 3, 3), 1, 1),
        ConvCase("c3d 3x3x3 512->512 2x7", 512, (2, 7, 7), 512, (3, 3, 3), 1, 1),
        ConvCase("volume 3x3x3 1->16 64", 1, (64, 64, 64), 16, (3, 3, 3), 1, 1),
    ),
    "r3d18": (
        ConvCase("r3d 3x7x7/2 3->64", 3, (16, 112, 112), 64, (3, 7, 7), (1, 2, 2), (1, 3, 3)),
        ConvCase("r3d 3x3x3 64->64 16x56", 64, (16, 56, 56), 64, (3, 3, 3), 1, 1),
        ConvCase("r3d 3x3x3/2 128->256 8x28", 128, (8, 28, 28), 256, (3, 3, 3), 2, 1),
        ConvCase("r2plus1d 3x1x1 144->64 16x56", 144, (16, 56, 56), 64, (3, 1, 1), 1, (1, 0, 0)),
    ),
    "wavenet": (
        ConvCase("wavenet 2 1->32 16000", 1, (16000,), 32, (2,), 1, "causal"),
        ConvCase("wavenet 2 32->64 16000 d 1", 32, (16000,), 64, (2,), 1, "causal"),
        ConvCase("wavenet 2 32->64 16000 d 512", 32, (16000,), 64, (2,), 1, "causal", 512),
        ConvCase("wavenet 1 32->256 16000", 32, (16000,), 256, (1,)),
        ConvCase("wavenet 1 256->256 16000", 256, (16000,), 256, (1,)),
    ),
    "audio": (
        ConvCase("audio 9 128->128 4096", 128, (4096,), 128, (9,), 1, 4),
        ConvCase("audio 10/5 1->512 80000", 1, (80000,), 512, (10,), 5),
        ConvCase("audio 3/2 512->512 4000", 512, (4000,), 512, (3,), 2),
        ConvCase("audio depthwise 31 512 1000", 512, (1000,), 512, (31,), 1, 15, 1, 512),
        ConvCase("audio up 16/8 128->64 4096", 128, (4096,), 64, (16,), 8, 4, transposed=True),
        ConvCase("fir 255 of 1000000", 1, (1000000,), 1, (255,), 1, 127),
        ConvCase("fir 4095 of 1000000", 1, (1000000,), 1, (4095,), 1, 2047),
    ),
    "filtering": (
        ConvCase("filter 3x3 1024", 1, (1024, 1024), 1, (3, 3), 1, 1),
        ConvCase("filter 7x7 1024", 1, (1024, 1024), 1, (7, 7), 1, 3),
        ConvCase("filter 15x15 1024", 1, (1024, 1024), 1, (15, 15), 1, 7),
        ConvCase("filter 31x31 1024", 1, (1024, 1024), 1, (31, 31), 1, 15),
        ConvCase("filter 63x63 1024", 1, (1024, 1024), 1, (63, 63), 1, 31),
        ConvCase("filter 1x9 2048", 1, (2048, 2048), 1, (1, 9), 1, (0, 4)),
        ConvCase("filter 5x5 128", 1, (128, 128), 1, (5, 5), 1, 2),
        ConvCase("filter 101 of 100000", 1, (100000,), 1, (101,), 1, 50),
        ConvCase("filter 5x5x5 64", 1, (64, 64, 64), 1, (5, 5, 5), 1, 2),
    ),
}

POOL_SUITES: dict[str, tuple[PoolCase, ...]] = {
    "pooling": (
        PoolCase("max 2x2 64 112", "max", 64, (112, 112), (2, 2)),
        PoolCase("max 3x3/2 64 112", "max", 64, (112, 112), (3, 3), 2, 1),
        PoolCase("max 3x3/1 256 28", "max", 256, (28, 28), (3, 3), 1, 1),
        PoolCase("max 13x13/1 512 13", "max", 512, (13, 13), (13, 13), 1, 6),
        PoolCase("max 2x2 6 28", "max", 6, (28, 28), (2, 2)),
        PoolCase("avg 2x2 64 112", "avg", 64, (112, 112), (2, 2)),
        PoolCase("avg 3x3/1 256 28", "avg", 256, (28, 28), (3, 3), 1, 1),
        PoolCase("avg 7x7 2048 7", "avg", 2048, (7, 7), (7, 7)),
        PoolCase("lp 2x2 64 112", "lp", 64, (112, 112), (2, 2)),
        PoolCase("adaptive avg 1x1 2048 7", "adaptive_avg", 2048, (7, 7), (1, 1)),
        PoolCase("adaptive avg 6x6 256 13", "adaptive_avg", 256, (13, 13), (6, 6)),
        PoolCase("adaptive max 7x7 512 20", "adaptive_max", 512, (20, 20), (7, 7)),
    ),
    "pooling_1d_3d": (
        PoolCase("max 4 64 of 16000", "max", 64, (16000,), (4,)),
        PoolCase("avg 4 64 of 16000", "avg", 64, (16000,), (4,)),
        PoolCase("adaptive avg 50 128 of 4000", "adaptive_avg", 128, (4000,), (50,)),
        PoolCase("max 2x2x2 64 16x56", "max", 64, (16, 56, 56), (2, 2, 2)),
        PoolCase("max 3x3x3/2 64 16x56", "max", 64, (16, 56, 56), (3, 3, 3), 2, 1),
        PoolCase("avg 2x2x2 64 16x56", "avg", 64, (16, 56, 56), (2, 2, 2)),
        PoolCase("adaptive avg 1x1x1 512 2x7", "adaptive_avg", 512, (2, 7, 7), (1, 1, 1)),
    ),
}

ALL_SUITES: dict[str, tuple[ConvCase, ...] | tuple[PoolCase, ...]] = {**SUITES, **POOL_SUITES}

# What the report times of a suite: (operation, dtype, batch).
_FORWARD = [("forward", "float32", 1), ("forward", "float32", 16), ("forward", "float64", 1)]
_GRADIENTS = ("input_gradient", "weight_gradient")
_SINGLE = ("filtering", "audio", "wavenet")  # signals come one at a time


def standard_settings(suite: str) -> list[tuple[str, str, int]]:
    """The operations, dtypes and batches that the report wants of a suite."""
    if suite in POOL_SUITES:
        joined = [(name, "float32", 16) for name in ("input_gradient", "forward_and_gradient")]
        return [*_FORWARD, *joined]
    forward = [setting for setting in _FORWARD if setting[2] == 1 or suite not in _SINGLE]
    if suite == "filtering":
        return forward
    batch = 16 if suite in ("resnet50", "lenet5") else 1
    gradients = [(name, "float32", batch) for name in _GRADIENTS]
    if suite == "resnet50":
        gradients += [(name, "float64", 1) for name in _GRADIENTS]
    return forward + gradients
