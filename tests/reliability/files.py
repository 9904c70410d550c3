"""Files: models saved while the process is killed, and readers fed with hostile bytes.

``python -m tests.reliability.files kill --times 100`` and, where atheris is installed,
``... files fuzz idx|safetensors --seconds 60``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import nn

from .processes import PATIENCE, ROOT, run

SAVER = """
import sys, numpy as np
from fastconv import nn
layer = nn.Linear(500, 400)
print("ready", flush=True)
number = 0
while True:
    number += 1
    layer.weight.data[...] = number
    layer.bias.data[...] = number
    layer.save(sys.argv[1])
"""


def killed(times: int) -> dict[str, int]:
    """A process that saves without end is killed at random moments; the file is always whole."""
    wait, seen, left = random.Random(0), set(), 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        for _ in range(times):
            process = subprocess.Popen(
                [sys.executable, "-c", SAVER, str(path)], env=environment, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait.uniform(0.005, 0.06))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            if not path.exists():
                continue
            layer = nn.Linear(500, 400)
            layer.load(path)
            numbers = np.unique(np.concatenate([layer.weight.data.ravel(), layer.bias.data]))
            assert len(numbers) == 1, numbers
            seen.add(int(numbers[0]))
            # What a killed process leaves behind is a hidden file beside it, never the file itself.
            others = [p for p in Path(folder).iterdir() if p != path]
            assert all(p.name.startswith(".model.safetensors.") for p in others)
            left += len(others)
            for p in others:
                p.unlink()
    return {"kills": times, "different files": len(seen), "unfinished beside them": left}


def read_idx(content: bytes) -> None:
    """A right array, or ValueError."""
    try:
        array = fastconv.data.read_idx(content)
    except ValueError as error:
        assert str(error).startswith("read_idx: ")
        return
    assert array.nbytes <= 1032 * len(content)


_layer = nn.Linear(2, 1)


def read_safetensors(content: bytes) -> None:
    """A model that took it, or ValueError."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(content)
        file.flush()
        try:
            _layer.load(file.name)
        except (ValueError, TypeError) as error:
            assert re.match("load: |load_state_dict: ", str(error)), error


READERS = {"idx": read_idx, "safetensors": read_safetensors}


def samples(name: str) -> list[bytes]:
    """Whole files to begin with."""
    if name == "idx":
        header = b"\0\0\x0b\2" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big")
        content = header + np.arange(6, dtype=">i2").tobytes()
        import gzip

        return [content, gzip.compress(content), b"\0\0\x08\1\0\0\0\2ab"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.safetensors"
        _layer.save(path)
        return [path.read_bytes()]


def mutations(name: str, count: int, seed: int = 0) -> int:
    """Files with random damage, without knowing which bytes matter; how many were read."""
    chosen, read = random.Random(seed), READERS[name]
    whole = samples(name)
    for _ in range(count):
        content = bytearray(chosen.choice(whole))
        for _ in range(chosen.randint(1, 6)):
            what, at = chosen.randrange(4), chosen.randrange(len(content) + 1)
            if what == 0 and content:
                content[at % len(content)] = chosen.randrange(256)
            elif what == 1:
                content[at:at] = chosen.randbytes(chosen.randint(1, 8))
            elif what == 2:
                del content[at : at + chosen.randint(1, 8)]
            elif content:
                content[at % len(content)] ^= 1 << chosen.randrange(8)
        read(bytes(content))
    return count


def guided(name: str, seconds: int) -> dict[str, Any]:
    """Coverage-guided fuzzing in a process of its own, where atheris is installed."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(samples(name)):
            (Path(corpus) / str(number)).write_bytes(content)
        options = [f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-verbosity=1"]
        ended = run(
            *("-m", "tests.reliability.guided", name, corpus, *options),
            seconds=seconds + PATIENCE,
        )
    done = re.search(r"Done (\d+) runs", ended.errors + ended.output)
    fault = "" if ended.status == 0 and done else ended.errors[-2000:]
    return {"reader": name, "runs": int(done.group(1)) if done else 0, "fault": fault}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["kill", "fuzz"])
    parser.add_argument("reader", nargs="?", choices=list(READERS), default="idx")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    if given.what == "kill":
        print(json.dumps(killed(given.times)))
    else:
        print(json.dumps(guided(given.reader, given.seconds)))
