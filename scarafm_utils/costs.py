"""What a piece of work costs: its seconds and its peak of memory."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def measured() -> Iterator[dict]:
    """Fill a dict with `fit_seconds` and `peak_memory_mb` of the block.

    The peak is the largest resident memory of the process in the block where Linux lets it be
    reset, else since the process began.
    """
    cost: dict = {}
    _reset_peak()
    start = time.perf_counter()
    yield cost
    cost["fit_seconds"] = round(time.perf_counter() - start, 4)
    cost["peak_memory_mb"] = round(_peak_mb(), 1)


def _reset_peak() -> bool:
    """Ask Linux to forget the peak so far; False where it does not."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 1024 if os.uname().sysname != "Darwin" else 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
