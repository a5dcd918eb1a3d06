"""What a run of a chapter took, on what kind of machine, and what a failed one leaves behind."""

from __future__ import annotations

import os
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
from .tasks import parse_task
from .workspace import PROJECT, Workspace, processed_facts


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
    """Peak memory of the kernels that have ended (MB), the kind of machine, the versions and the code."""
    import resource  # not on Windows, where a class may look at the other facts

    from .scores import versions

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes here
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6
    return {"peak_mb": round(peak), "device": device_name(), "versions": versions(), "code": code_version()}


def code_version() -> dict[str, str]:
    """The version of the package, a digest of all its modules, and the commit where nothing differs from it."""
    from . import __version__
    from .files import code_digest

    modules = [path.stem for path in Path(__file__).parent.glob("*.py")]
    known = {"version": __version__, "digest": code_digest(*modules)}
    if not shutil.which("git") or not (PROJECT / ".git").exists():
        return known
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=PROJECT, capture_output=True, text=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
    clean = changed.returncode == commit.returncode == 0 and not changed.stdout.strip()
    return known | ({"commit": commit.stdout.strip()} if clean else {})


def data_checksums(workspace: Workspace, tissue: str | None, unit: str) -> dict[str, str]:
    """SHA-256 of the cells behind a run, by data set: of the source file, or of the processed cells without one.

    The data sets are those of the task or the tissue that `unit` names; where it is ``all``, every downstream
    one of the profile (of `tissue`, if a chapter is bound to one).  What is not processed is left out.
    """
    from .files import sha256_file

    found = {}
    for folder, name in _datasets_of(workspace, tissue, unit):
        path = workspace.processed_path(folder, name)
        facts = processed_facts(path)
        if facts is not None:
            found[name] = facts["sha256"] or sha256_file(path)
    return found


def _datasets_of(workspace: Workspace, tissue: str | None, unit: str) -> list[tuple[str, str]]:
    """(tissue, data set) of a run."""
    if tissue and ":" in unit:
        return [(tissue, name) for name in parse_task(unit).datasets]
    if unit in workspace.profile.tissues:
        return [(unit, d.id) for d in workspace.datasets(unit)]
    tissues = [t for t in workspace.profile.tissues if tissue in (None, t)]
    return [(t, d.id) for t in tissues for d in workspace.datasets(t, role="downstream")]


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
