"""What a running training tells: a bar on a terminal, else one line per epoch, on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv.nn.history import History

_REFRESH = 0.1  # seconds between two updates of the numbers behind the bar


class Progress:
    """Reports of one training.

    `wanted` True gives a bar where tqdm is installed and stderr is a terminal, else one line per
    epoch; None gives the bar or nothing; False nothing.
    """

    def __init__(self, wanted: bool | None, epochs: int, images: int) -> None:
        self._epochs = epochs
        self._images = images
        self._tqdm = None if wanted is False else _terminal_bar()
        self._lines = wanted is True and self._tqdm is None
        self._bar: Any = None
        self._due = 0.0

    def start(self, epoch: int) -> None:
        """Begin epoch number `epoch`, from 1."""
        if self._tqdm is not None:
            title = f"epoch {epoch}/{self._epochs}"
            self._bar = self._tqdm(total=self._images, desc=title, unit=" images", file=sys.stderr)
            self._due = 0.0

    def advance(self, images: int, loss: float, accuracy: float | None) -> None:
        """Tell of one batch and of the epoch's means so far."""
        if self._bar is None:
            return
        if time.perf_counter() >= self._due:
            self._bar.set_postfix_str(_numbers(loss, accuracy), refresh=False)
            self._due = time.perf_counter() + _REFRESH
        self._bar.update(images)

    def finish(self, epoch: int, history: History) -> None:
        """End the epoch with its final numbers."""
        text = _numbers(history.loss[-1], _last(history.accuracy))
        if history.validation_loss:
            held_out = _numbers(history.validation_loss[-1], _last(history.validation_accuracy))
            text = f"{text}; validation {held_out}"
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif self._lines:
            speed = f"{history.images_per_second[-1]:,.0f} images/s"
            sys.stderr.write(f"epoch {epoch}/{self._epochs}: {text}; {speed}\n")
        self.close()

    def close(self) -> None:
        """Leave the terminal in order, also after an interruption."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _last(values: list[float]) -> float | None:
    return values[-1] if values else None


def _numbers(loss: float, accuracy: float | None) -> str:
    text = f"loss {loss:.4f}"
    return text if accuracy is None else f"{text}, accuracy {accuracy:.2%}"


def _terminal_bar() -> Any:
    """tqdm's class if there is a terminal to draw on, else None."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
