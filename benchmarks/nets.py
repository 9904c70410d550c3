"""Networks that fastconv.nn and PyTorch train in turn, from the same weights on the same images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Step = Callable[[], float]  # trains on the next batch, or on all of them, and returns its loss
RATE, MOMENTUM, CLASSES = 0.01, 0.9, 10


class Net(NamedTuple):
    """Layers as (name, numbers), in the words of both libraries; ReLU after all but the last."""

    title: str
    image: tuple[int, int, int]  # (C, H, W)
    layers: tuple[tuple[str, tuple[int, ...]], ...]
    epoch_images: int


NETS = {
    "lenet5": Net(
        "LeNet-5",
        (1, 28, 28),
        (
            ("conv", (1, 6, 5, 1, 2)),
            ("pool", (2,)),
            ("conv", (6, 16, 5)),
            ("pool", (2,)),
            ("flatten", ()),
            ("linear", (400, 120)),
            ("linear", (120, 84)),
            ("linear", (84, CLASSES)),
        ),
        6400,
    ),
    "vgg": Net(
        "VGG-like, 3x32x32",
        (3, 32, 32),
        (
            ("conv", (3, 64, 3, 1, 1)),
            ("conv", (64, 64, 3, 1, 1)),
            ("pool", (2,)),
            ("conv", (64, 128, 3, 1, 1)),
            ("conv", (128, 128, 3, 1, 1)),
            ("pool", (2,)),
            ("conv", (128, 256, 3, 1, 1)),
            ("conv", (256, 256, 3, 1, 1)),
            ("pool", (2,)),
            ("flatten", ()),
            ("linear", (256 * 4 * 4, CLASSES)),
        ),
        320,
    ),
}


def images_of(net: Net, count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (N, C, H, W) and classes (N,); the same on every run."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *net.image), dtype=np.uint8)
    return images, rng.integers(0, CLASSES, count)


class Batches:
    """The same batches in the same order for everyone, without end."""

    def __init__(self, net: Net, size: int) -> None:
        images, self._labels = images_of(net, 16 * size)
        self._images = images.astype(np.float32) / 255
        self._size, self._next = size, 0

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, C, H, W) and classes (N,)."""
        chosen = slice(self._next, self._next + self._size)
        self._next = (self._next + self._size) % len(self._images)
        return self._images[chosen], self._labels[chosen]


def our_model(net: Net) -> Any:
    """By fastconv.nn."""
    from fastconv import nn

    kinds: dict[str, Any] = {
        "conv": nn.Conv2d,
        "pool": nn.MaxPool2d,
        "flatten": nn.Flatten,
        "linear": nn.Linear,
    }
    return nn.Sequential(*_layers(net, kinds, nn.ReLU, rng=True))


def torch_model(net: Net, weights: dict[str, np.ndarray], channels_last: bool) -> Any:
    """The same by PyTorch, from the same weights."""
    import torch
    from torch import nn

    kinds: dict[str, Any] = {
        "conv": nn.Conv2d,
        "pool": nn.MaxPool2d,
        "flatten": nn.Flatten,
        "linear": nn.Linear,
    }
    model = nn.Sequential(*_layers(net, kinds, nn.ReLU))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(memory_format=layout)


def _layers(net: Net, kinds: dict[str, Any], relu: Any, rng: bool = False) -> list[Any]:
    found = []
    for number, (kind, sizes) in enumerate(net.layers):
        seed = {"rng": number} if rng and kind in ("conv", "linear") else {}
        found.append(kinds[kind](*sizes, **seed))
        if kind in ("conv", "linear") and number < len(net.layers) - 1:
            found.append(relu())
    return found


def our_step(net: Net, batch: int) -> tuple[Step, dict[str, np.ndarray]]:
    """A step by fastconv.nn, and a copy of the weights that it starts from."""
    from fastconv import nn

    model = our_model(net)
    optimizer = nn.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    batches = Batches(net, batch)

    def step() -> float:
        images, labels = batches()
        loss, gradient = nn.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        model.backward(gradient, input_gradient=False)
        optimizer.step()
        return float(loss)

    return step, {name: np.array(value) for name, value in model.state_dict().items()}


def torch_step(net: Net, batch: int, weights: dict[str, np.ndarray], channels_last: bool) -> Step:
    """The same step by PyTorch."""
    import torch

    model = torch_model(net, weights, channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
    batches = Batches(net, batch)

    def step() -> float:
        images, labels = map(torch.from_numpy, batches())
        return _train_torch(model, optimizer, images, labels)

    return step


def our_epoch(net: Net, batch: int) -> Step:
    """A whole epoch by `nn.fit`: shuffled uint8 images, loss and accuracy kept."""
    from fastconv import nn

    model = our_model(net)
    optimizer = nn.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    images, labels = images_of(net, net.epoch_images)

    def epoch() -> float:
        history = nn.fit(
            model,
            images,
            labels,
            epochs=1,
            batch_size=batch,
            optimizer=optimizer,
            progress=False,
        )
        return history.loss[-1]

    return epoch


def torch_epoch(net: Net, batch: int, channels_last: bool) -> Step:
    """The same by the usual loop over tensors in memory, without a DataLoader's cost."""
    import torch

    weights = {name: np.array(value) for name, value in our_model(net).state_dict().items()}
    model = torch_model(net, weights, channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
    images, labels = map(torch.from_numpy, images_of(net, net.epoch_images))

    def epoch() -> float:
        total = 0.0
        for chosen in torch.randperm(len(images)).split(batch):
            floats = images[chosen].float().div_(255)
            total += _train_torch(model, optimizer, floats, labels[chosen])
        return total

    return epoch


def _train_torch(model: Any, optimizer: Any, images: Any, labels: Any) -> float:
    from torch.nn.functional import cross_entropy

    loss = cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.item())
