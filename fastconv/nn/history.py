"""The course of a training: what `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fastconv.device import on_host
from fastconv.nn.layer import Array
from fastconv.nn.profile import Profile


@dataclass
class History:
    """Course of a training. Each list has one entry per finished epoch, `batch_loss` one per batch.

    The accuracies stay empty where the targets are no classes, the validation lists where there is
    no validation set. `profile` tells where the time of the batches went, if that was asked for.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    images_per_second: list[float] = field(default_factory=list)
    batch_loss: list[float] = field(default_factory=list, repr=False)
    profile: Profile | None = field(default=None, repr=False, compare=False)

    def add_epoch(self, meter: Meter, seconds: float) -> None:
        """Enter the training of one epoch; the time of the validation is not in `seconds`."""
        self.loss.append(meter.loss)
        if meter.accuracy is not None:
            self.accuracy.append(meter.accuracy)
        self.seconds.append(seconds)
        self.images_per_second.append(meter.count / seconds)

    def add_validation(self, meter: Meter) -> None:
        """Enter the validation of one epoch."""
        self.validation_loss.append(meter.loss)
        if meter.accuracy is not None:
            self.validation_accuracy.append(meter.accuracy)

    @property
    def best_epoch(self) -> int:
        """Index of the first epoch with the smallest validation loss."""
        return int(np.nanargmin([np.inf, *self.validation_loss])) - 1


class Meter:
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
            right = int(np.count_nonzero(on_host(output).argmax(axis=1) == targets))
            self._hits += right * size / targets.size

    @property
    def loss(self) -> float:
        """Mean loss of all samples so far."""
        return self._loss / self.count

    @property
    def accuracy(self) -> float | None:
        """Share of right classes so far, None where there are none."""
        return None if self._hits is None else self._hits / self.count
