"""Training throughput by fastconv.nn and by PyTorch: steps, or whole epochs, in turn.

``python -m benchmarks.train --net lenet5 --batch 64 --threads 2``
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np

import fastconv
from benchmarks.nets import NETS, Step, our_epoch, our_step, torch_epoch, torch_step
from benchmarks.options import HERE
from benchmarks.rivals import limit_blas
from benchmarks.setting import describe_machine
from benchmarks.tables import table
from benchmarks.timing import MINIMUM_REPEATS, Measurement, first_call, measure, ratio

OURS = "fastconv"
FOLDER = "training"  # in the folder of results


def main(arguments: Sequence[str] | None = None) -> int:
    """Print images per second of each side; the exit status is 1 if the losses differ."""
    options = _parse(arguments)
    net = NETS[options.net]
    fastconv.set_threads(options.threads)
    blas = limit_blas(options.threads)
    if options.epoch:
        images, what = net.epoch_images, f"epoch of {net.epoch_images} images"
        steps = {OURS: our_epoch(net, options.batch)}
    else:
        images, what = options.batch, "step"
        step, weights = our_step(net, options.batch)
        steps = {OURS: step}
    first, _ = first_call((our_epoch if options.epoch else _our_step)(net, options.batch))
    try:
        import torch
    except ImportError:
        print("torch: not installed, left out")
    else:
        torch.set_num_threads(options.threads)
        torch.set_grad_enabled(True)
        for name, last in (("torch", False), ("torch channels_last", True)):
            steps[name] = (
                torch_epoch(net, options.batch, last)
                if options.epoch
                else torch_step(net, options.batch, weights, last)
            )
    if not options.epoch and (difference := same_course(steps)):
        print(f"FAILED {difference}")
        return 1
    title = f"{net.title}, batch {options.batch}, {what}"
    print(f"{title}, {options.threads} threads; {describe_machine()}; {blas}")
    print(f"first time, with compilation or loading from the cache: {first:.2f} s")
    found = measure(steps, repeats=options.repeats, block_seconds=0.2)
    record = _record(title, images, first, found)
    print(training_table([record]))
    if found.void:
        print(f"void: disturbed; other processes used {found.others:.2f} cores")
    folder = options.output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{options.net}-{options.batch}{'-epoch' if options.epoch else ''}.json"
    (folder / name).write_text(json.dumps(record), encoding="utf-8")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--net", choices=NETS, default="lenet5")
    parser.add_argument("--batch", type=int, help="default: 64 for LeNet-5, else 32")
    parser.add_argument("--epoch", action="store_true", help="whole epochs instead of steps")
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    parser.add_argument("--repeats", type=int, default=MINIMUM_REPEATS)
    parser.add_argument(
        "--output", type=Path, default=HERE / "results", help="folder of results, for --report"
    )
    options = parser.parse_args(arguments)
    if options.batch is None:
        options.batch = 64 if options.net == "lenet5" else 32
    if options.batch < 1:
        parser.error(f"--batch must be at least 1, not {options.batch}")
    return options


def _our_step(net: Any, batch: int) -> Step:
    return our_step(net, batch)[0]


def same_course(steps: Mapping[str, Step], count: int = 5) -> str | None:
    """What differs in the losses of the first steps, if anything.

    Rounding differs between the libraries and grows from step to step: the first losses agree to
    1e-5, the fifth still to 1e-3.
    """
    losses = {name: [step() for _ in range(count)] for name, step in steps.items()}
    expected = np.array(losses[OURS])
    for name, course in losses.items():
        error = np.abs(np.array(course) - expected) / expected
        if not (error[0] < 1e-5 and error.max() < 1e-3):
            return f"{name}: losses {course}, {OURS}: {expected.tolist()}"
    return None


def _record(title: str, images: int, first: float, found: Measurement) -> dict[str, Any]:
    """What a report needs of a measurement."""
    ours = found.timings[OURS]
    return {
        "title": title,
        "first": first,
        "void": bool(found.void),
        "rates": {name: images / timing.median for name, timing in found.timings.items()},
        "ratios": {
            name: ratio(timing, ours) for name, timing in found.timings.items() if name != OURS
        },
    }


def load_training(folder: Path) -> list[dict[str, Any]]:
    """The records that earlier runs left in the folder of results."""
    paths = sorted((folder / FOLDER).glob("*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def training_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Images per second of every side, and how many times faster we are than the best rival."""
    names = list(dict.fromkeys(name for record in records for name in record["rates"]))
    head = ("", *(f"{name} images/s" for name in names), "ratio")
    body = [
        (
            record["title"],
            *(f"{record['rates'][name]:.0f}" if name in record["rates"] else "-" for name in names),
            (f"{min(record['ratios'].values()):.2f}" if record["ratios"] else "-")
            + (" void" if record["void"] else ""),
        )
        for record in records
    ]
    return table(head, body)


if __name__ == "__main__":
    sys.exit(main())
