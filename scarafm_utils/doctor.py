"""Is this machine fit for a profile?  Each check says what it found and what to do about it."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .errors import InputError
from .run_facts import available_cores, device_name
from .workspace import PROJECT, Workspace

#: Free memory and disk (GB) that each source of cells asks for at least; see the profiles' `cost`.
NEEDS = {"simulated": (2.0, 1.0), "local": (4.0, 2.0), "public": (8.0, 5.0), "release": (16.0, 20.0)}

#: Where Linux tells a container its memory limit: control groups, version 2 and 1.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Check:
    """One line of the report; `state` is ok, warning or problem."""

    name: str
    state: str
    found: str


def examine(workspace: Workspace, *, memory: float | None = None) -> list[Check]:
    """Check Python, packages, cores, memory, disk, device and data for one profile.

    Parameters
    ----------
    workspace
        An open profile.
    memory
        Free memory (GB) to ask for in place of what the profile's source of cells asks for.
    """
    needed, disk = NEEDS[workspace.profile.source]
    needed = needed if memory is None else memory
    return [
        check_python(), check_packages(PROJECT / "requirements.txt"), check_cores(),
        check_memory(needed), check_disk(disk), Check("device", "ok", device_name()), check_data(workspace),
    ]  # fmt: skip


def check_python() -> Check:
    """Python 3.11 or 3.12."""
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info[:2] in ((3, 11), (3, 12))
    return Check("Python", "ok" if good else "problem", found if good else f"{found}: install 3.11 or 3.12")


def check_packages(requirements: Path) -> Check:
    """Every pinned package is installed in the pinned version, as far as its pin applies here."""
    from packaging.requirements import Requirement

    lines = [line for line in requirements.read_text(encoding="utf-8").splitlines() if re.match(r"\w", line)]
    wanted = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate()]
    found = {r.name: _version(r.name) for r in wanted}
    wrong = [
        f"{r.name} ({found[r.name] or 'absent'})" for r in wanted
        if not found[r.name] or not r.specifier.contains(found[r.name], prereleases=True)
    ]  # fmt: skip
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        book = "make book does it, or " if (requirements.parent / "Makefile").exists() else ""
        remedy = f"Install them: {book}pip install -r {requirements.name}"
        return Check("packages", "problem", f"not as pinned: {shown}. {remedy}")
    return Check("packages", "ok", f"{len(wanted)} as pinned in {requirements.name}")


def _version(name: str) -> str:
    """The installed version without its local part (``2.13.0+cpu`` is 2.13.0); empty when absent."""
    try:
        return metadata.version(name).split("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def check_cores() -> Check:
    """At least two cores: the times in the profiles are for two."""
    n = available_cores()
    return Check("cores", "ok" if n > 1 else "warning", f"{n}" if n > 1 else "1: expect twice the stated times")


def check_memory(needed: float) -> Check:
    """Free memory (GB) of the machine, or what a hub's or Binder's container may have where that is less."""
    import psutil

    free = min([psutil.virtual_memory().available, *_limits()]) / 1e9
    return _amount("memory", free, needed, "close other programs, or lower memory_gb in the profile")


def _limits() -> list[float]:
    """Memory limits (bytes) of this process's container, where any is set."""
    texts = [path.read_text(encoding="utf-8").strip() for path in LIMITS if path.exists()]
    return [float(text) for text in texts if text.isdigit()]


def check_disk(needed: float) -> Check:
    """Free disk space (GB) where artifacts are written, and whether they can be written."""
    import os

    if not os.access(PROJECT, os.W_OK):
        return Check("disk", "problem", "the project's folder cannot be written to: copy it elsewhere")
    free = shutil.disk_usage(PROJECT).free / 1e9
    return _amount("disk", free, needed, "free some, or work on another disk")


def _amount(name: str, free: float, needed: float, remedy: str) -> Check:
    if free < needed:
        return Check(name, "problem", f"{free:.1f} GB free, {needed:.0f} GB needed: {remedy}")
    return Check(name, "ok", f"{free:.1f} GB free")


def check_data(workspace: Workspace) -> Check:
    """The files of a profile that reads a folder are there; downloads are only counted."""
    from .sources import fetch

    name, source = workspace.profile.name, workspace.profile.source
    wanted = [d for tissue in workspace.profile.tissues for d in workspace.datasets(tissue)]
    if source == "simulated":
        return Check("data", "ok", f"{len(wanted)} data sets are simulated, nothing to fetch")
    if source != "local":
        return Check("data", "ok", f"{len(wanted)} data sets are fetched when they are needed (network)")
    if not workspace.data_dir.is_dir():
        return Check("data", "warning", f"no folder yet: make book PROFILE={name} DATA_DIR=folder")
    missing = []
    for dataset in wanted:
        try:
            fetch(dataset, source="local", data_dir=workspace.data_dir)
        except InputError:
            missing.append(dataset.id)
    if missing:
        return Check("data", "problem", f"no file for {', '.join(missing)}")
    return Check("data", "ok", f"{len(wanted)} files found")
