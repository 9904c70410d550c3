"""Losses: each returns its mean value and the gradient with which `Layer.backward` starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.cpu.softmax import softmax_loss_of, takes
from fastconv.device import cuda, on_device, on_host, to_device
from fastconv.nn.layer import Array


def cross_entropy(
    logits: npt.ArrayLike, labels: npt.ArrayLike, *, label_smoothing: float = 0.0
) -> tuple[float, Array]:
    """Mean of -log softmax(logits)[label], and its gradient by the logits.

    Parameters
    ----------
    logits : array_like of float, (N, C) or (N, C, *spatial)
        One score per class, for each sample or each of its positions.
    labels : array_like of int, (N,) or (N, *spatial)
        The right classes, 0 to C - 1.
    label_smoothing : float, default 0
        Share of the target that is spread evenly over all classes, 0 to 1.

    Returns
    -------
    loss : float
        Natural logarithm, mean over samples and positions.
    gradient : ndarray
        Of the shape and dtype of `logits`: (softmax - target) / count.

    Raises
    ------
    ValueError
        If the shapes do not fit, there is no sample, or a label is no class.
    TypeError
        If the logits are not floats or the labels not integers.

    Examples
    --------
    Scores 0 and log 3 are the probabilities 1/4 and 3/4; the loss of the first class is log 4.

    >>> import numpy as np
    >>> from fastconv import nn
    >>> loss, gradient = nn.cross_entropy(np.array([[0.0, np.log(3)]]), [0])
    >>> round(loss, 6)
    1.386294
    >>> gradient
    array([[-0.75,  0.75]])
    """
    scores: Any
    classes: Any
    if on_device(logits):
        scores, classes = logits, np.asarray(on_host(labels))
        _check_scores(scores, classes, label_smoothing)
        _check_classes(scores, classes)
        return cuda("losses").cross_entropy(scores, to_device(classes), label_smoothing)
    scores, classes = np.asarray(logits), np.asarray(labels)
    _check_scores(scores, classes, label_smoothing)
    planes = _planes(scores)
    if planes is not None:
        return _in_lanes(scores, planes, classes, label_smoothing)
    _check_classes(scores, classes)
    count = scores.shape[1]
    flat = scores.ndim == 2
    rows = scores if flat else np.moveaxis(scores, 1, -1).reshape(-1, count)  # (M, C)
    targets = classes.reshape(-1)  # (M,)
    total = len(rows)
    picked = (np.arange(total), targets)
    # The maximum goes to zero first, so that exp cannot overflow.
    shifted = rows - rows.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = np.add.reduce(exponentials, axis=1, keepdims=True)  # (M, 1)
    reward = (1 - label_smoothing) * np.add.reduce(shifted[picked], dtype=np.float64)
    if label_smoothing:
        reward += label_smoothing / count * np.sum(shifted, dtype=np.float64)
    loss = float(np.add.reduce(np.log(sums), axis=None, dtype=np.float64) - reward) / total

    gradient = np.divide(exponentials, sums, out=exponentials)
    gradient[picked] -= 1 - label_smoothing
    if label_smoothing:
        gradient -= label_smoothing / count
    gradient /= total
    if flat:
        return loss, gradient
    unfolded = gradient.reshape(scores.shape[0], *scores.shape[2:], count)
    return loss, np.ascontiguousarray(np.moveaxis(unfolded, -1, 1))


def _planes(scores: Array) -> Array | None:
    """Scores as (P, C, M) in C order, if their positions lie side by side."""
    if not takes(scores):
        return None
    if scores.ndim == 2:
        return scores.T[np.newaxis] if scores.flags.f_contiguous else None
    return scores.reshape(*scores.shape[:2], -1) if scores.flags.c_contiguous else None


def _in_lanes(
    scores: Array, planes: Array, classes: Array, label_smoothing: float
) -> tuple[float, Array]:
    """As `cross_entropy`, by a kernel."""
    gradient, sums, rewards = softmax_loss_of(planes, classes.reshape(-1), label_smoothing)
    loss = float(np.add.reduce(np.log(sums) - rewards, dtype=np.float64)) / len(sums)
    if math.isnan(loss):  # perhaps for a label that is no class
        _check_classes(scores, classes)
    return loss, gradient[0].T if scores.ndim == 2 else gradient.reshape(scores.shape)


def mse_loss(prediction: npt.ArrayLike, target: npt.ArrayLike) -> tuple[float, Array]:
    """Mean of (prediction - target)**2 over all values, and its gradient by the prediction.

    Parameters
    ----------
    prediction : array_like of float, any shape
    target : array_like, the same shape

    Returns
    -------
    loss : float
    gradient : ndarray
        Of the shape and dtype of `prediction`: 2 (prediction - target) / size.

    Raises
    ------
    ValueError
        If the shapes differ or are empty. Nothing is broadcast.
    TypeError
        If the prediction is not of a float type.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.mse_loss(np.array([1.0, 4.0]), np.array([0.0, 2.0]))
    (2.5, array([1., 2.]))
    """
    guess: Any
    truth: Any
    if on_device(prediction):
        guess, truth = prediction, target if on_device(target) else to_device(np.asarray(target))
    else:
        guess, truth = np.asarray(prediction), np.asarray(target)
    if guess.dtype.kind != "f":
        raise TypeError(f"mse_loss: prediction must be of a float type, not {guess.dtype}")
    if guess.shape != truth.shape:
        raise ValueError(
            f"mse_loss: prediction of shape {guess.shape} is not of the target's {truth.shape}"
        )
    if not guess.size:
        raise ValueError(f"mse_loss: prediction of shape {guess.shape} has no values")
    if type(guess) is not np.ndarray:
        return cuda("losses").mse_loss(guess, truth)
    difference = guess - truth.astype(guess.dtype, copy=False)
    loss = float(np.square(difference).mean(dtype=np.float64))
    difference *= 2 / guess.size
    return loss, difference


def _check_scores(scores: Array, classes: Array, label_smoothing: float) -> None:
    if scores.dtype.kind != "f":
        raise TypeError(f"cross_entropy: logits must be of a float type, not {scores.dtype}")
    if classes.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: labels must be integers, not {classes.dtype}")
    if scores.ndim < 2 or classes.shape != scores.shape[:1] + scores.shape[2:]:
        raise ValueError(
            f"cross_entropy: labels of shape {classes.shape} are not (N, ...) for logits "
            f"(N, C, ...) of shape {scores.shape}"
        )
    if not scores.size:
        raise ValueError(
            f"cross_entropy: logits of shape {scores.shape} hold no sample or no class"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"cross_entropy: label_smoothing must be between 0 and 1, not {label_smoothing}"
        )


def _check_classes(scores: Array, classes: Array) -> None:
    """Refuse labels that are no classes."""
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= scores.shape[1]:
        raise ValueError(
            f"cross_entropy: labels run from {low} to {high}, but the logits have "
            f"{scores.shape[1]} classes, 0 to {scores.shape[1] - 1}"
        )
