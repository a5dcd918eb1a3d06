"""What a benchmark says of its machine, and whether it may start."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

#: Load above which a benchmark refuses to start: contention does not cancel in a ratio.
MAX_LOAD = 0.3


def processor() -> str:
    """Name of the processor and number of cores this process may use."""
    names = [platform.processor() or platform.machine()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        names = found[:1] or names
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0]}, {cores} cores"


def require_idle(*, force: bool = False) -> None:
    """Print the machine and its load, or exit with one line where other jobs run.

    With `force` it goes on, and says that no number may be quoted.
    """
    load = os.getloadavg()[0]
    if load > MAX_LOAD and not force:
        sys.exit(f"The load is {load:.2f}, above {MAX_LOAD}: wait for other jobs to end, or use --force.")
    note = "" if load <= MAX_LOAD else ", NOT IDLE: do not quote these numbers"
    print(f"{processor()}; load {load:.2f}{note}")
