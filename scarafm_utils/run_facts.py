"""What a run of a chapter took, on what kind of machine, and what a failed one leaves behind."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import ChapterError, InputError
from .files import write_json
from .workspace import Workspace


def failure_path(workspace: Workspace, chapter: str, name: str) -> Path:
    """Where a run that failed says so; a later attempt that goes well removes the file."""
    return workspace.folder / "failed" / f"{chapter}-{name}.json"


@contextmanager
def failure_kept(facts: dict[str, Any], path: Path) -> Iterator[None]:
    """Write `facts` and the error to `path` when the block fails; remove it when it does not."""
    try:
        yield
    except (InputError, ChapterError) as error:
        write_json(path, facts | {"error": str(error)})
        raise
    path.unlink(missing_ok=True)


def now() -> str:
    """Date and minute in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def cost_and_place() -> dict[str, Any]:
    """Peak memory of the kernels that have ended (MB), the kind of machine, and the versions."""
    from .scores import versions

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes here
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6
    return {"peak_mb": round(peak), "device": device_name(), "versions": versions()}


def device_name() -> str:
    """The kind of machine, never its name: the GPU where there is one, cores and memory elsewhere."""
    import platform

    import psutil

    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.splitlines()[0].strip()
    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.machine()}, {available_cores()} cores, {memory:.0f} GiB"


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
