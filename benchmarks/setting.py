"""What the times of a run depend on, in words: no names of hosts, users or folders."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence

import llvmlite
import numba
import numpy as np

import fastconv
from benchmarks import timing
from benchmarks.rivals import Rival
from fastconv.machine import machine


def describe(
    options: argparse.Namespace, threads: int, rivals: Sequence[Rival], blas: str
) -> dict[str, str]:
    """Machine, threads, versions and rules."""
    cpu = machine()
    header = {
        "machine": f"{describe_machine()}, level-2 cache {cpu.level2_bytes // 1024} KiB",
        "threads": f"{threads}; {blas}",
        "made with": f"fastconv {fastconv.__version__}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, numba {numba.__version__}, llvmlite {llvmlite.__version__}",
        **{rival.name: f"{rival.version}: {rival.offers}" for rival in rivals},
        "rules": f"{options.repeats} blocks of each side in turn, the process idle before each; "
        f"void above median / minimum {options.spread:g} or with more than "
        f"{timing.OTHERS_LIMIT:g} cores in other hands",
    }
    if options.quick:
        header["quick"] = "tiny layers and short blocks: the times mean nothing"
    return header


def describe_machine() -> str:
    """The processor as code is compiled for it."""
    cpu = machine()
    bits = 8 * cpu.vector_bytes
    return f"{platform.machine()} {cpu.name}, {cpu.cores} cores, vectors of {bits} bits"
