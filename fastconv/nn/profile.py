"""Where the time of a training goes: by phase, and by layer of the outermost networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastconv.nn.layer import Layer
from fastconv.nn.sequential import Sequential

PHASES = ("data", "forward", "loss", "backward", "optimizer")


class Profile:
    """Seconds by phase and by layer; ``str()`` makes a table of milliseconds per batch.

    Attributes
    ----------
    batches : int
        Batches timed.
    phases : dict of str to float
        Seconds of all batches in "data", "forward", "loss", "backward" and "optimizer".
    layers : dict of str to [str, float, float]
        Of each layer its kind and its seconds forward and backward. Layers that are fused appear
        together. They go one by one here; without a profile small ones take less, see `passes`.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.phases = dict.fromkeys(PHASES, 0.0)
        self.layers: dict[str, list[Any]] = {}

    def timed(self, phase: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The result of a call whose time counts for a phase."""
        begun = time.perf_counter()
        result = call(*args, **options)
        self.phases[phase] += time.perf_counter() - begun
        return result

    def timed_layer(
        self, name: str, kind: str, backward: bool, call: Callable[..., Any], *args: Any, **k: Any
    ) -> Any:
        """The same for a layer."""
        begun = time.perf_counter()
        result = call(*args, **k)
        row = self.layers.setdefault(name, [kind, 0.0, 0.0])
        row[1 + backward] += time.perf_counter() - begun
        return result

    def __str__(self) -> str:
        total = sum(self.phases.values()) or 1.0
        each = 1e3 / max(self.batches, 1)
        rows = [("layer", "kind", "forward ms", "backward ms", "share")]
        for name, (kind, ahead, back) in self.layers.items():
            share = f"{(ahead + back) / total:.1%}"
            rows.append((name, kind, f"{ahead * each:.3f}", f"{back * each:.3f}", share))
        for phase, seconds in self.phases.items():
            milliseconds = f"{seconds * each:.3f}"
            both = ("", milliseconds) if phase == "backward" else (milliseconds, "")
            rows.append((phase, "", *both, f"{seconds / total:.1%}"))
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}  "
            f"{e:>{widths[4]}}"
            for a, b, c, d, e in rows
        )


@contextmanager
def profiling(model: Layer, profile: Profile | None) -> Iterator[None]:
    """Have the networks inside `model` enter the times of their layers, for a while."""
    networks = [layer for layer in model.layers() if isinstance(layer, Sequential)]
    try:
        if profile is not None:
            for name, layer in _named_networks(model, ""):
                layer.profile = profile, name
        yield
    finally:
        for layer in networks:
            layer.profile = None


def _named_networks(layer: Layer, prefix: str) -> Iterator[tuple[str, Sequential]]:
    """The networks whose layers are timed: those in no other, but for networks made of networks."""
    if isinstance(layer, Sequential):
        yield prefix, layer
        for name, child in layer.children():
            if isinstance(child, Sequential):
                yield from _named_networks(child, f"{prefix}{name}.")
        return
    for name, child in layer.children():
        yield from _named_networks(child, f"{prefix}{name}.")
