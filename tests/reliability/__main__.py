"""The command that makes `docs/reliability.md`: runs the parts that it is told, or all of them.

What each part found is kept in `docs/reliability.json`, so one part can be run anew without the
others; a part that fails is said to have failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .processes import PATIENCE, ROOT, Ended, run

Rows = list[tuple[str, str]]
KEPT, PAGE = ROOT / "docs" / "reliability.json", ROOT / "docs" / "reliability.md"
TEXT = Path(__file__).parent / "page.md"


def bad_inputs() -> Rows:
    """Every row of the table, at every door."""
    from bad_inputs import CALLS, KINDS, SAME_FOR_ALL, mistakes
    from doors import doors, helpers
    from test_jit_bad_inputs import EVERY, arguments
    from test_jit_bad_inputs import mistakes as compiled_mistakes

    every = (*doors(), *helpers())
    files = ("tests/test_bad_inputs.py", "tests/test_jit_bad_inputs.py")
    ended = run("-m", "pytest", *files, "-p", "no:cacheprovider")
    assert ended.status == 0, ended.output[-2000:]
    on_device = "tests/cuda/device/test_device_bad_inputs.py"
    device = run("-m", "pytest", on_device, "-p", "no:cacheprovider", NUMBA_ENABLE_CUDASIM="1")
    assert device.status == 0, device.output[-2000:]
    placed = re.search(r"(\d+) passed", device.output)
    assert placed is not None, device.output[-2000:]
    same = sum(1 for _ in mistakes(every))
    inside = sum(1 for door in EVERY for _ in compiled_mistakes(door, arguments(door)))
    return [
        ("kinds of bad input", f"{len(KINDS)}, of {len(every)} functions"),
        (
            "calls refused for an option",
            f"{same} ({len(SAME_FOR_ALL)} mistakes, wherever they apply)",
        ),
        ("calls refused for what they are", str(len(CALLS))),
        (
            "calls inside `@njit` that end as they do outside",
            f"{inside}, of {len(EVERY)} functions",
        ),
        (
            "mistakes in calls for arrays on the device, simulated, that end as on the host",
            placed[1],
        ),
    ]


def fuzz() -> Rows:
    """Three seeds of 20,000 calls, and 5,000 on machines of narrower vectors."""
    narrower = {"SSE2": "", "AVX2": "+avx,+avx2,+fma"} if platform.machine() == "x86_64" else {}
    runs: list[tuple[int, int, str, dict[str, str]]] = [
        *((seed, 20_000, "", {}) for seed in (11, 12, 13)),
        *(
            (14, 5000, f", {name}", {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features})
            for name, features in narrower.items()
        ),
    ]

    def work(what: tuple[int, int, str, dict[str, str]]) -> Ended:
        seed, calls, _, settings = what
        command = ("-m", "tests.fuzz", "--json", f"--calls={calls}", f"--seed={seed}")
        return run(*command, seconds=3 * PATIENCE, **settings)

    with ThreadPoolExecutor(2) as executor:
        every = list(executor.map(work, runs))
    rows = []
    for (seed, calls, machine, _), ended in zip(runs, every):
        said = json.loads(ended.output.splitlines()[-1])
        assert ended.status == 0 and not said["faults"], ended.output[-3000:]
        counts = said["outcomes"]
        inside = counts.pop("inside njit")
        text = f"no crash, hang or mismatch: {counts.pop('right')} right, "
        text += f"{counts.pop('refused')} refused, {inside} of all inside `@njit`"
        rest = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        name = f"{calls:,} random calls, seed {seed}{machine}"
        rows.append((name, f"{text}, {rest}" if rest else text))
    return rows


def _layers() -> list[str]:
    program = "import numba; numba.get_num_threads()"
    return [
        layer
        for layer in ("omp", "tbb", "workqueue")
        if run("-c", program, NUMBA_THREADING_LAYER=layer).status == 0
    ]


def threads() -> Rows:
    """16 Python threads for a minute under each threading layer."""
    rows = []
    for layer in _layers():
        said = run(
            *("-m", "tests.reliability.threads", "--seconds", "60"),
            NUMBA_THREADING_LAYER=layer,
            NUMBA_NUM_THREADS="3",
        ).said
        assert said["wrong"] == [] and said["layer"] == layer, said
        rows.append((f"16 threads, 1 minute, {layer}", f"{said['calls']} calls, every bit right"))
    return rows


def forks() -> Rows:
    """Every way to start a process."""
    from .forks import CASES

    rows = []
    for layer in _layers():
        for name in CASES:
            settings = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "3"}
            said = run("-m", "tests.reliability.forks", name, **settings).said
            assert said[0] == "the same bits", (layer, name, said)
        rows.append((f"fork, spawn, forkserver, {layer}", f"{len(CASES)} ways, the same bits"))
    return rows


def caches() -> Rows:
    """Every fault of the compile cache."""
    from .caches import FAULTS, outcome

    return [(f"compile cache: {name}", outcome(name)) for name in FAULTS]


def memory() -> Rows:
    """100,000 calls, and more than 2**31 elements."""
    said = run("-m", "tests.reliability.endurance", "leak", seconds=3 * PATIENCE).said
    growth = (said["after"] - said["before"]) / 1024
    assert growth < 20, said
    rows = [(f"{said['calls']:,} calls", f"{growth:+.1f} MiB after the first fifth")]
    said = run("-m", "tests.reliability.endurance", "big", seconds=3 * PATIENCE).said
    rows.append((f"{said['elements']:,} elements", f"right: {', '.join(said['done'])}"))
    return rows


def files() -> Rows:
    """Killed savers, damaged files, coverage-guided fuzzing."""
    from . import files as work

    found = work.killed(40)
    rows = [(f"a process killed while it saves, {found['kills']} times", "the file was whole")]
    for reader in work.READERS:
        count = work.mutations(reader, 20_000)
        rows.append((f"{count:,} damaged {reader} files", "read or refused"))
    try:
        import atheris  # noqa: F401
    except ImportError:
        return rows
    for reader in work.READERS:
        said = work.guided(reader, 30)
        assert not said["fault"] and said["runs"], said
        rows.append((f"{said['runs']:,} {reader} files guided by coverage", "read or refused"))
    return rows


def numerics() -> Rows:
    """Errors of every algorithm."""
    from .numerics import every_error, table

    return [
        (f"{algorithm}, {dtype}", f"{share} of the bound; {units} u")
        for algorithm, dtype, share, units in table(every_error())[1:]
    ]


def denormals() -> Rows:
    """What denormals cost; wants an idle machine."""
    from .numerics import denormal_ratio

    ratios = {dtype: denormal_ratio(dtype) for dtype in ("float32", "float64")}
    assert max(ratios.values()) < 1.5, ratios
    return [
        (f"time of denormal {k} numbers", f"{v:.2f} of ordinary ones") for k, v in ratios.items()
    ]


def supply() -> Rows:
    """Wheel, sdist, oldest versions, other interpreters."""
    from .supply import interpreters, oldest, published

    rows = []
    for kind in ("wheel", "sdist"):
        found = published(kind)
        size = found.pop("KiB")
        rows.append((f"{kind} in an empty environment", f"{size} KiB; {_versions(found)}"))
    rows.append(("the oldest versions", _versions(oldest())))
    return [*rows, *((name, _versions(found)) for name, found in interpreters())]


def _versions(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items())


PARTS: dict[str, Callable[[], Rows]] = {
    "bad_inputs": bad_inputs,
    "fuzz": fuzz,
    "threads": threads,
    "forks": forks,
    "caches": caches,
    "memory": memory,
    "files": files,
    "numerics": numerics,
    "denormals": denormals,
    "supply": supply,
}


def page(kept: dict[str, Any]) -> str:
    """The text with the tables in their places."""
    text = TEXT.read_text()
    for name in PARTS:
        part = kept.get(name)
        if part is None:
            table = f"Not run: `python -m tests.reliability {name}`."
        else:
            lines = ["| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in part["rows"])]
            table = "\n".join([*lines, "", f"({part['date']}, {part['machine']})"])
        text = text.replace(f"<!-- {name} -->", table)
    return text


def main() -> int:
    """Returns 1 if a part failed."""
    parser = argparse.ArgumentParser("python -m tests.reliability", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    names = parser.parse_args().parts or list(PARTS)
    if not PARTS.keys() >= set(names):
        parser.error(f"PART must be some of {', '.join(PARTS)}, not {names}")
    failed = False
    for name in names:
        try:
            rows = PARTS[name]()
        except Exception:
            traceback.print_exc()
            rows, failed = [(name, "FAILED")], True
        for row in rows:
            print(" | ".join(row), flush=True)
        today = datetime.date.today().isoformat()
        kind = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        kept[name] = {"date": today, "machine": kind, "rows": rows}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        PAGE.write_text(page(kept))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
