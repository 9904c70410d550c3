"""The command line: workers one after another, each until it ends, dies or hangs."""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from .draw import draw

ROOT = Path(__file__).resolve().parents[2]
# A worker also compiles within these, perhaps beside other processes; no call takes a tenth of it.
SECONDS, STARTING = 600, 600


def _worker(seed: int, begin: int, end: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    environment.setdefault("NUMBA_NUM_THREADS", "3")
    command = [sys.executable, "-m", "tests.fuzz", "--worker", f"--seed={seed}"]
    return subprocess.Popen(
        [*command, f"--begin={begin}", f"--calls={end - begin}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(seed: int, begin: int, end: int) -> tuple[Counter[str], list[dict[str, object]]]:
    """All calls of a seed: how many had which outcome, and every fault."""
    counts: Counter[str] = Counter()
    faults: list[dict[str, object]] = []
    while begin < end:
        worker = _worker(seed, begin, end)
        assert worker.stdout is not None
        watch = selectors.DefaultSelector()
        watch.register(worker.stdout, selectors.EVENT_READ)
        hung, begun, at = False, False, begin
        pending = b""
        os.set_blocking(worker.stdout.fileno(), False)
        while True:
            if not watch.select(SECONDS if begun else STARTING):
                hung = True
                worker.send_signal(signal.SIGKILL)
                break
            begun, chunk = True, os.read(worker.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                told = json.loads(line)
                if isinstance(told, int):
                    at = told
                elif "counts" in told:
                    counts.update(told["counts"])
                    at = end
                else:
                    faults.append(told)
        status = worker.wait()
        if at == end and status == 0:
            break
        fault = f"hung for {SECONDS} s" if hung else f"the process died with status {status}"
        script = draw(seed, at).script()
        faults.append({"index": at, "fault": fault, "script": script})
        counts["died"] += 1
        begin = at + 1
    return counts, faults


def main() -> int:
    """Returns 1 if anything was wrong."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="how many; default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="which; default %(default)s")
    parser.add_argument("--begin", type=int, default=0, help="number of the first call")
    parser.add_argument("--json", action="store_true", help="print the outcome as one line of JSON")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    end = options.begin + options.calls
    if options.worker:
        from .worker import work

        work(options.seed, options.begin, end, print)
        return 0
    start = time.perf_counter()
    counts, faults = run(options.seed, options.begin, end)
    for fault in faults:
        again = f"python -m tests.fuzz --seed {options.seed} --begin {fault['index']} --calls 1"
        print(f"--- {fault['fault']}\n# {again}\n{fault['script']}\n", flush=True)
    outcome = {"seed": options.seed, "calls": options.calls, "faults": len(faults)}
    outcome |= {"seconds": round(time.perf_counter() - start), "outcomes": dict(counts)}
    print(json.dumps(outcome) if options.json else outcome)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
