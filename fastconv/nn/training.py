"""Training and using a model on arrays: fit, predict, evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.arguments import as_int
from fastconv.nn.init import Random
from fastconv.nn.layer import Array, Layer
from fastconv.nn.losses import cross_entropy
from fastconv.nn.optim import Optimizer
from fastconv.nn.progress import Progress

Loss = Callable[[Array, Array], tuple[float, Array]]


@dataclass
class History:
    """Course of a training. Each list has one entry per finished epoch, `batch_loss` one per batch.

    The accuracies stay empty where the targets are no classes, the validation lists where there is
    no validation set.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    images_per_second: list[float] = field(default_factory=list)
    batch_loss: list[float] = field(default_factory=list, repr=False)

    def add_epoch(self, meter: _Meter, seconds: float) -> None:
        """Enter the training of one epoch; the time of the validation is not in `seconds`."""
        self.loss.append(meter.loss)
        if meter.accuracy is not None:
            self.accuracy.append(meter.accuracy)
        self.seconds.append(seconds)
        self.images_per_second.append(meter.count / seconds)

    def add_validation(self, meter: _Meter) -> None:
        """Enter the validation of one epoch."""
        self.validation_loss.append(meter.loss)
        if meter.accuracy is not None:
            self.validation_accuracy.append(meter.accuracy)


def fit(
    model: Layer,
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    validation: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    loss: Loss = cross_entropy,
    schedule: Callable[[float], float] | None = None,
    shuffle: bool = True,
    rng: Random = None,
    progress: bool | None = True,
) -> History:
    """Train `model` by stochastic gradient descent on batches.

    Parameters
    ----------
    model : Layer
        Put in training mode for each epoch and left in evaluation mode.
    images : array_like, (N, C, *spatial) or (N, features) of a float type, or uint8 (N, C, H, W) or
    (N, H, W)
        Batches are converted to the model's dtype; uint8 images also from 0..255 to 0..1, and (N,
        H, W) to one channel.
    labels : array_like, (N, ...)
        What `loss` compares the outputs with: classes as integers, or target values.
    epochs, batch_size : int
        The last batch of an epoch may be smaller.
    optimizer : Optimizer
        Of the model's parameters.
    validation : pair of images and labels, optional
        Evaluated after each epoch.
    loss : callable, default `cross_entropy`
        ``loss(output, labels) -> (value, gradient)``.
    schedule : callable, optional
        Before each batch ``optimizer.lr`` is set to its first value times ``schedule(done)``, where
        `done` runs from 0 to 1 over the whole training. At the end the first value is back.
    shuffle : bool, default True
        Whether each epoch draws a new order.
    rng : numpy.random.Generator or int, optional
        Source of the order.
    progress : bool or None, default True
        True shows a bar where tqdm is installed and stderr is a terminal, else writes one line per
        epoch to stderr; None shows the bar or nothing; False nothing.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        If sizes do not fit each other, or images are of another type.
    KeyboardInterrupt
        Passed on. The model is usable then: in evaluation mode, with the parameters reached so far.

    Examples
    --------
    One weight learns to triple its input; two samples in one batch, learning rate 0.1, so the error
    shrinks by half (1 - 0.1 * 2 * mean(x**2)) in each epoch.

    >>> import numpy as np
    >>> from fastconv import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.data = [[1.0]]
    >>> x = np.array([[1.0], [2.0]], np.float32)
    >>> history = nn.fit(model, x, 3 * x, epochs=2, batch_size=2, loss=nn.mse_loss,
    ...                  optimizer=nn.SGD(model.parameters(), lr=0.1), progress=False)
    >>> history.loss
    [10.0, 2.5]
    >>> model.weight.data
    array([[2.5]], dtype=float32)
    """
    samples, targets = _samples("fit", images, labels)
    held_out = None if validation is None else _samples("fit", *validation)
    epochs = as_int("fit", "epochs", epochs, at_least=1)
    size = as_int("fit", "batch_size", batch_size, at_least=1)
    generator = np.random.default_rng(rng)
    first_rate, history = optimizer.lr, History()
    reports = Progress(progress, epochs, len(samples))
    try:
        for epoch in range(epochs):
            order = generator.permutation(len(samples)) if shuffle else np.arange(len(samples))
            meter = _Meter()
            model.train()
            reports.start(epoch + 1)
            started = time.perf_counter()
            for batch, wanted in _batches(samples, targets, order, size, _dtype(model)):
                if schedule is not None:
                    optimizer.lr = first_rate * schedule(
                        (epoch + meter.count / len(order)) / epochs
                    )
                history.batch_loss.append(_step(model, optimizer, loss, batch, wanted, meter))
                reports.advance(len(batch), meter.loss, meter.accuracy)
            history.add_epoch(meter, time.perf_counter() - started)
            if held_out is not None:
                history.add_validation(_measure(model, *held_out, size, loss))
            reports.finish(epoch + 1, history)
    finally:
        reports.close()
        optimizer.lr = first_rate
        optimizer.zero_grad()
        model.eval()
    return history


def predict(model: Layer, images: npt.ArrayLike, *, batch_size: int = 256) -> Array:
    """Outputs of `model` in evaluation mode; afterwards all modes are as before.

    Parameters
    ----------
    model : Layer
    images : array_like
        As in `fit`.
    batch_size : int, default 256
        Bounds the memory; the result does not depend on it.

    Returns
    -------
    ndarray, (N, ...)

    Raises
    ------
    ValueError, TypeError
        If there is no image, or images are of another type or shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> nn.predict(model, np.array([[[0, 51], [102, 255]]], np.uint8))
    array([[0. , 0.2, 0.4, 1. ]], dtype=float32)
    """
    samples = _images("predict", images)
    size = as_int("predict", "batch_size", batch_size, at_least=1)
    with _evaluating(model):
        chunks = (samples[start : start + size] for start in range(0, len(samples), size))
        return np.concatenate([model(_converted(chunk, _dtype(model))) for chunk in chunks])


def evaluate(
    model: Layer,
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    batch_size: int = 256,
    loss: Loss = cross_entropy,
) -> tuple[float, float | None]:
    """Mean loss and accuracy of `model` in evaluation mode; afterwards all modes are as before.

    Parameters
    ----------
    model : Layer
    images, labels, loss
        As in `fit`.
    batch_size : int, default 256

    Returns
    -------
    loss : float
    accuracy : float or None
        Share of samples whose largest output is that of their class; None if the labels are no
        classes.

    Raises
    ------
    ValueError, TypeError
        As `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> model = nn.Sequential(nn.ReLU())
    >>> scores = np.array([[9.0, 1.0], [0.0, 5.0], [3.0, 2.0], [4.0, 1.0]], np.float32)
    >>> nn.evaluate(model, scores, [0, 1, 1, 0])[1]
    0.75
    """
    samples, targets = _samples("evaluate", images, labels)
    size = as_int("evaluate", "batch_size", batch_size, at_least=1)
    meter = _measure(model, samples, targets, size, loss)
    return meter.loss, meter.accuracy


class _Meter:
    """Running means over samples."""

    def __init__(self) -> None:
        self.count = 0
        self._loss = 0.0
        self._hits: float | None = 0.0

    def add(self, loss: float, output: Array, targets: Array) -> None:
        """One batch: its mean loss, the outputs (N, C, ...) and what they should be."""
        size = len(targets)
        self.count += size
        self._loss += loss * size
        if self._hits is None or targets.dtype.kind not in "iu" or output.ndim != targets.ndim + 1:
            self._hits = None
        else:
            right = int(np.count_nonzero(output.argmax(axis=1) == targets))
            self._hits += right * size / targets.size

    @property
    def loss(self) -> float:
        return self._loss / self.count

    @property
    def accuracy(self) -> float | None:
        return None if self._hits is None else self._hits / self.count


def _step(
    model: Layer, optimizer: Optimizer, loss: Loss, batch: Array, targets: Array, meter: _Meter
) -> float:
    """One batch forward, backward and into the parameters; returns its loss."""
    optimizer.zero_grad()
    output = model.forward(batch)
    value, gradient = loss(output, targets)
    model.backward(gradient, input_gradient=False)
    optimizer.step()
    meter.add(value, output, targets)
    return value


def _measure(model: Layer, samples: Array, targets: Array, size: int, loss: Loss) -> _Meter:
    meter = _Meter()
    order = np.arange(len(samples))
    with _evaluating(model):
        for batch, wanted in _batches(samples, targets, order, size, _dtype(model)):
            output = model(batch)
            meter.add(loss(output, wanted)[0], output, wanted)
    return meter


@contextmanager
def _evaluating(model: Layer) -> Iterator[None]:
    """Evaluation mode for a while; layers may stand in different modes before and after."""
    training = [layer for layer in model.layers() if layer.training]
    model.eval()
    try:
        yield
    finally:
        for layer in training:
            layer.set_mode(True)


def _images(op: str, images: npt.ArrayLike) -> Array:
    """(N, ...) of a float type or uint8; grey uint8 images (N, H, W) get their channel axis."""
    samples = np.asarray(images)
    if samples.dtype != np.uint8 and samples.dtype.kind != "f":
        raise TypeError(f"{op}: images must be uint8 or of a float type, not {samples.dtype}")
    if samples.ndim < 2 or not len(samples):
        raise ValueError(f"{op}: images of shape {samples.shape} hold no sample (N, ...)")
    return samples[:, np.newaxis] if samples.dtype == np.uint8 and samples.ndim == 3 else samples


def _samples(op: str, images: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Array, Array]:
    """Checked images and labels of the same number."""
    samples, targets = _images(op, images), np.asarray(labels)
    if targets.shape[:1] != samples.shape[:1]:
        raise ValueError(f"{op}: labels of shape {targets.shape} do not fit {len(samples)} images")
    return samples, targets


def _batches(
    samples: Array, targets: Array, order: Array, size: int, dtype: np.dtype[Any]
) -> Iterator[tuple[Array, Array]]:
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield _converted(samples[chosen], dtype), targets[chosen]


def _converted(batch: Array, dtype: np.dtype[Any]) -> Array:
    """Images in the model's dtype, from 0..255 to 0..1 if they were bytes."""
    if batch.dtype == np.uint8:
        return np.divide(batch, dtype.type(255), dtype=dtype)
    return batch.astype(dtype, copy=False)


def _dtype(model: Layer) -> np.dtype[Any]:
    """That of the first parameter; float32 for a model without any."""
    for parameter in model.parameters():
        return parameter.data.dtype
    return np.dtype(np.float32)
