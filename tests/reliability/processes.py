"""Python programs in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

# Seconds after which a program hangs, on however busy a machine.
PATIENCE = 1800
ROOT = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    """How a program ended, what it printed, and the last line of that as JSON if it is some."""

    status: int
    output: str
    errors: str

    @property
    def said(self) -> Any:
        """The last line, read as JSON."""
        assert self.status == 0, (self.status, self.output[-1000:], self.errors[-3000:])
        return json.loads(self.output.splitlines()[-1])


def run(*command: str, seconds: float = PATIENCE, **environment: str | None) -> Ended:
    """Run ``python *command`` from the root of the repository; None unsets a variable."""
    changed = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    # Where pip puts TBB; the loader looks there only if it is told.
    libraries = [str(Path(sys.prefix) / "lib"), os.environ.get("LD_LIBRARY_PATH")]
    changed["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    for name, value in environment.items():
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = value
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=changed,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as late:
        return Ended(124, str(late.stdout), f"still running after {seconds} s")
    return Ended(done.returncode, done.stdout, done.stderr)
