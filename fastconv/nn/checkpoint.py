"""Checkpoints: all that a training needs to go on as if nothing had happened, in one file.

A safetensors file with the arrays of the model ("model."), of the optimizer ("optimizer.") and of
the best epoch so far ("best."); the numbers are JSON in its metadata.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.nn import state
from fastconv.nn.history import History
from fastconv.nn.layer import Array, Layer
from fastconv.nn.optim import Optimizer

VERSION = 1


def generators(model: Layer, order: np.random.Generator) -> list[np.random.Generator]:
    """All sources of chance of a training: the order of the images, then the layers' own."""
    found = (getattr(layer, "rng", None) for layer in model.layers())
    return [order, *(rng for rng in found if isinstance(rng, np.random.Generator))]


def write(
    path: str | os.PathLike[str],
    model: Layer,
    optimizer: Optimizer,
    sources: list[np.random.Generator],
    history: History,
    best: dict[str, Array] | None,
    settings: dict[str, Any],
) -> None:
    """Write a checkpoint beside `path` and move it there: a crash leaves the old or the new one."""
    saved = optimizer.state_dict()
    steps = [int(entry.pop("step", 0)) for entry in saved["state"]]
    arrays = {f"model.{name}": array for name, array in model.named_arrays()}
    for index, entry in enumerate(saved["state"]):
        arrays.update({f"optimizer.{index}.{slot}": array for slot, array in entry.items()})
    arrays.update({f"best.{name}": array for name, array in (best or {}).items()})
    course = asdict(history)
    del course["profile"]
    numbers = {
        "version": VERSION,
        "settings": settings,
        "history": course,
        "options": saved["options"],
        "steps": steps,
        "generators": [rng.bit_generator.state for rng in sources],
    }
    state.write(path, arrays, {"fastconv": json.dumps(numbers, default=_plain)})


def _plain(value: Any) -> Any:
    """Arrays in the state of a generator, as MT19937 has one, for JSON."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item()


def read(
    path: str | os.PathLike[str],
    model: Layer,
    optimizer: Optimizer,
    sources: list[np.random.Generator],
    settings: dict[str, Any],
) -> tuple[History, dict[str, Array] | None]:
    """Put model, optimizer and generators where they were; returns the history and the best state.

    Raises ValueError if the file is no checkpoint or one of another training.
    """
    arrays, metadata = state.read(path)
    if "fastconv" not in metadata:
        raise ValueError(f"fit: {Path(path)} is no checkpoint of fit")
    numbers = json.loads(metadata["fastconv"])
    if numbers["version"] != VERSION:
        raise ValueError(
            f"fit: {Path(path)} is a checkpoint of version {numbers['version']}, not {VERSION}"
        )
    for name, value in settings.items():
        if numbers["settings"].get(name) != value:
            raise ValueError(
                f"fit: {Path(path)} is of a training with {name} {numbers['settings'].get(name)}, "
                f"not {value}"
            )
    if len(numbers["generators"]) != len(sources):
        raise ValueError(
            f"fit: {Path(path)} has {len(numbers['generators'])} generators, the training "
            f"{len(sources)}"
        )
    model.load_state_dict(_under("model.", arrays))
    entries: list[dict[str, Any]] = []
    for index, steps in enumerate(numbers["steps"]):
        entry: dict[str, Any] = _under(f"optimizer.{index}.", arrays)
        entries.append({"step": steps, **entry} if steps else entry)
    optimizer.load_state_dict({"options": numbers["options"], "state": entries})
    for rng, remembered in zip(sources, numbers["generators"]):
        rng.bit_generator.state = remembered
    known = {field.name for field in fields(History)}
    history = History(**{key: value for key, value in numbers["history"].items() if key in known})
    return history, _under("best.", arrays) or None


def _under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
