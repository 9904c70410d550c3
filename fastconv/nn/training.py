"""Training and using a model on arrays: fit, predict, evaluate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.arguments import as_int
from fastconv.data.batching import scaled
from fastconv.device import on_device, on_host, to_device
from fastconv.nn import checkpoint as checkpoints
from fastconv.nn.history import History, Meter
from fastconv.nn.init import Random
from fastconv.nn.layer import Array, Layer
from fastconv.nn.losses import cross_entropy
from fastconv.nn.optim import Optimizer, clip_gradients
from fastconv.nn.profile import Profile, profiling
from fastconv.nn.progress import Progress
from fastconv.nn.schedules import Schedule

Loss = Callable[[Array, Array], tuple[float, Array]]


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
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    shuffle: bool = True,
    rng: Random = None,
    progress: bool | None = None,
    profile: bool = False,
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
        `fastconv.nn.schedules` makes the usual ones.
    clip_norm : float, optional
        Largest norm of the gradients, see `clip_gradients`.
    patience : int, optional
        Stop early: after so many epochs in a row without a smaller validation loss. Then, and at
        the end, the model is put back to its best epoch. Needs `validation`.
    checkpoint : path, optional
        File that is written before the first epoch and after each one: the old file stays until the
        new one is complete. Needs safetensors.
    resume : bool, default False
        Go on from the `checkpoint`, if there is one, to the same bits that the training would have
        reached without the interruption. An epoch that was interrupted is begun anew.
    shuffle : bool, default True
        Whether each epoch draws a new order.
    rng : numpy.random.Generator or int, optional
        Source of the order.
    progress : bool or None, default None
        None shows a bar where tqdm is installed and stderr is a terminal, and is silent elsewhere;
        True writes one line per epoch to stderr where no bar can be shown; False shows nothing.
    profile : bool, default False
        Take the times of the phases and layers: ``print(history.profile)``.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        If sizes or options do not fit each other, images are of another type, or the checkpoint is
        one of another training.
    KeyboardInterrupt
        Passed on. The model is usable then: in evaluation mode, with the parameters reached so far;
        and the checkpoint is that of the last whole epoch.

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
    ...                  optimizer=nn.SGD(model.parameters(), lr=0.1))
    >>> history.loss
    [10.0, 2.5]
    >>> model.weight.data
    array([[2.5]], dtype=float32)
    """
    samples, targets = _samples("fit", images, labels)
    held_out = None if validation is None else _samples("fit", *validation)
    epochs = as_int("fit", "epochs", epochs, at_least=1)
    size = as_int("fit", "batch_size", batch_size, at_least=1)
    _check_options(clip_norm, patience, held_out, checkpoint, resume)
    generator = np.random.default_rng(rng)
    keeper = _Keeper(model, optimizer, generator, checkpoint, patience)
    keeper.settings = {"batch_size": size, "samples": len(samples), "shuffle": bool(shuffle)}
    history = keeper.begin(resume)
    history.profile = Profile() if profile else None
    step = _Step(model, optimizer, loss, clip_norm, history.profile)
    first_rate = optimizer.lr
    reports = Progress(progress, epochs, len(samples))
    try:
        for epoch in range(len(history.loss), epochs):
            if keeper.exhausted(history):
                break
            order = generator.permutation(len(samples)) if shuffle else np.arange(len(samples))
            meter = Meter()
            model.train()
            reports.start(epoch + 1)
            started = time.perf_counter()
            batches = _batches(samples, targets, order, size, _dtype(model))
            with profiling(model, history.profile):
                while (pair := step.next_batch(batches)) is not None:
                    if schedule is not None:
                        done = (epoch + meter.count / len(order)) / epochs
                        optimizer.lr = first_rate * schedule(done)
                    history.batch_loss.append(step(*pair, meter))
                    reports.advance(len(pair[1]), meter.loss, meter.accuracy)
            history.add_epoch(meter, time.perf_counter() - started)
            if held_out is not None:
                history.add_validation(_measure(model, *held_out, size, loss))
            optimizer.lr = first_rate
            keeper.keep(history)
            reports.finish(epoch + 1, history)
        keeper.restore()
    finally:
        reports.close()
        optimizer.lr = first_rate
        optimizer.zero_grad()
        model.eval()
    return history


def _check_options(
    clip_norm: float | None, patience: int | None, held_out: Any, checkpoint: Any, resume: bool
) -> None:
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"fit: clip_norm must be positive, not {clip_norm}")
    if patience is not None:
        as_int("fit", "patience", patience, at_least=1)
        if held_out is None:
            raise ValueError(f"fit: patience={patience} needs a validation set")
    if resume and checkpoint is None:
        raise ValueError("fit: resume=True needs checkpoint=, the file to go on from")


class _Keeper:
    """What outlives an epoch: the checkpoint, and the best state for early stopping."""

    settings: dict[str, Any]

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        order: np.random.Generator,
        path: str | os.PathLike[str] | None,
        patience: int | None,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._sources = checkpoints.generators(model, order)
        self._path, self._patience = path, patience
        self._best: dict[str, Array] | None = None

    def begin(self, resume: bool) -> History:
        """The history so far: a new one, or that of the checkpoint."""
        if self._path is None:
            return History()
        if resume and Path(self._path).exists():
            places = self._model, self._optimizer, self._sources
            history, self._best = checkpoints.read(self._path, *places, self.settings)
            return history
        history = History()
        self._write(history)
        return history

    def keep(self, history: History) -> None:
        """After an epoch."""
        if self._patience is not None and history.best_epoch == len(history.loss) - 1:
            self._best = self._model.state_dict()
        if self._path is not None:
            self._write(history)

    def _write(self, history: History) -> None:
        assert self._path is not None
        parts = self._model, self._optimizer, self._sources, history, self._best, self.settings
        checkpoints.write(self._path, *parts)

    def exhausted(self, history: History) -> bool:
        """Whether too many epochs in a row have not been better."""
        if self._patience is None:
            return False
        return len(history.loss) - 1 - history.best_epoch >= self._patience

    def restore(self) -> None:
        """Back to the best epoch, if one was looked for."""
        if self._best is not None:
            self._model.load_state_dict(self._best)


class _Step:
    """One batch forward, backward and into the parameters."""

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        loss: Loss,
        clip_norm: float | None,
        profile: Profile | None,
    ) -> None:
        self._model, self._optimizer, self._loss = model, optimizer, loss
        self._clip_norm, self._profile = clip_norm, profile

    def _timed(self, phase: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self._profile is None:
            return call(*args, **options)
        return self._profile.timed(phase, call, *args, **options)

    def next_batch(self, batches: Iterator[tuple[Array, Array]]) -> tuple[Array, Array] | None:
        """The next batch, None after the last one."""
        return self._timed("data", next, batches, None)

    def __call__(self, batch: Array, targets: Array, meter: Meter) -> float:
        """Learn from a batch; returns its loss."""
        self._optimizer.zero_grad()
        placed = self._timed("data", _placed, self._model, batch)
        output = self._timed("forward", self._model.forward, placed)
        value, gradient = self._timed("loss", self._loss, output, targets)
        self._timed("backward", self._model.backward, gradient, input_gradient=False)
        self._timed("optimizer", self._update)
        if self._profile is not None:
            self._profile.batches += 1
        meter.add(value, output, targets)
        return value

    def _update(self) -> None:
        if self._clip_norm is not None:
            clip_gradients(self._optimizer.parameters, self._clip_norm)
        self._optimizer.step()


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
        outputs = (model(_placed(model, scaled(chunk, _dtype(model)))) for chunk in chunks)
        return np.concatenate([on_host(output) for output in outputs])


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


def _measure(model: Layer, samples: Array, targets: Array, size: int, loss: Loss) -> Meter:
    meter = Meter()
    order = np.arange(len(samples))
    with _evaluating(model):
        for batch, wanted in _batches(samples, targets, order, size, _dtype(model)):
            output = model(_placed(model, batch))
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
        yield scaled(samples[chosen], dtype), targets[chosen]


def _placed(model: Layer, batch: Array) -> Array:
    """The batch where the model is."""
    for parameter in model.parameters():
        return to_device(batch) if on_device(parameter.data) else batch
    return batch


def _dtype(model: Layer) -> np.dtype[Any]:
    """That of the first parameter; float32 for a model without any."""
    for parameter in model.parameters():
        return parameter.data.dtype
    return np.dtype(np.float32)
