"""The whole grid of a profile: one call of Snakemake under a lock that dies with the process."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

from .chapters import CHAPTERS, read_notebook
from .damage import remove_damaged
from .episodes import episode_path, read_episode
from .errors import InputError
from .files import require_writable, write_text
from .inventory import require_servers
from .lifeline import adopt_orphans, build_environment, die_with_parent, end_children, exclusive
from .reports import RUNNING
from .sources import fetch
from .workspace import DOWNLOADS, PROJECT, Workspace, open_workspace

ARTIFACTS = PROJECT / "artifacts"

#: What a line starts with that says a step is done.
DONE = "done: "


def build_book(profile: str, *, data_dir: Path | None = None, cores: int = 2, slurm: bool = False) -> Path:
    """Run what is stale of a profile's grid, then render the book.

    Parameters
    ----------
    profile
        Name of a profile, or path to a YAML file.
    data_dir
        Folder with the files of a profile whose source is not ``simulated``.  It is
        remembered (as the link ``artifacts/<profile>/data``), so a second call needs none.
    cores
        Cores for Snakemake.
    slurm
        Hand the runs to Slurm as ``profiles/slurm/config.yaml`` says; `cores` then counts for what
        runs here.

    Returns
    -------
    The first page, relative to the project.

    Raises
    ------
    InputError
        A bad profile, a missing data folder, no network for what is still to be fetched, a folder that
        cannot be written to, a run that failed, or another build at work.
    """
    workspace = open_workspace(profile)
    link_data(workspace, data_dir)
    _require_servers(workspace)
    with exclusive(ARTIFACTS):
        require_writable(workspace.folder)
        _sweep(workspace.folder)
        for line in remove_damaged(workspace):
            print(line, flush=True)
        _mark_current(workspace)
        _snakemake(profile, cores, slurm=slurm)
    return Path("_build/html/index.html")


def link_data(workspace: Workspace, data_dir: Path | None) -> None:
    """Point ``artifacts/<profile>/data`` at the user's folder; notebooks never see its path.

    Profiles that download keep their files in ``data/`` of the project where no folder is given.
    """
    name, source, link = workspace.profile.name, workspace.profile.source, workspace.data_dir
    if source == "simulated" and data_dir is not None:
        raise InputError(
            f"profile '{name}' simulates its cells and reads no folder: "
            "leave DATA_DIR out, or choose a profile that reads files, such as real_root"
        )
    if source == "simulated" or (data_dir is None and link.is_dir()):
        return
    if data_dir is None and source == "local":
        raise InputError(
            f"profile '{name}' reads files: say where they are, make book PROFILE={name} DATA_DIR=folder"
        )
    if data_dir is None:
        data_dir = DOWNLOADS
        data_dir.mkdir(exist_ok=True)
    if not data_dir.is_dir():
        raise InputError(f"DATA_DIR: {data_dir} is not a folder")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(data_dir.resolve(), target_is_directory=True)


def _require_servers(workspace: Workspace) -> None:
    """What has yet to be downloaded is missed now, not after other work; a tissue with a vocabulary has its cells."""
    source = workspace.profile.source
    if source in ("public", "release"):
        new = [t for t in workspace.profile.tissues if not workspace.vocabulary_path(t).exists()]
        datasets = [d for tissue in new for d in workspace.datasets(tissue)]
        require_servers(datasets, source=source, data_dir=workspace.data_dir)


def _sweep(folder: Path) -> None:
    """Remove what killed runs left half-written; the lock says that nobody is writing now."""
    for path in folder.rglob(".tmp-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _mark_current(workspace: Workspace) -> None:
    """Name the profile whose pages the book holds; changed only when it is another one."""
    current = ARTIFACTS / ".current"
    if not current.exists() or current.read_text() != workspace.profile.name:
        write_text(current, workspace.profile.name)


def _snakemake(profile: str, cores: int, *, slurm: bool) -> None:
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--cores", str(cores),
        "--config", f"profile={profile}", "--nolock", "--rerun-incomplete", "--keep-going",
        "--quiet", "rules", "host", "reason", *(["--workflow-profile", "profiles/slurm"] if slurm else []),
    ]  # fmt: skip
    adopt_orphans()
    process = subprocess.Popen(
        command, cwd=PROJECT, env=_environment(), text=True, preexec_fn=die_with_parent,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    threading.Thread(target=_end_with, args=(process,), daemon=True).start()
    log = _relay(process)
    if process.wait() != 0:
        path = write_text(ARTIFACTS / "build.log", "".join(log))
        raise InputError(_failure(log, path.relative_to(PROJECT)))


def _end_with(process: subprocess.Popen) -> None:
    """When Snakemake fails or is killed, end what it leaves behind: it would keep the log open."""
    if process.wait() != 0:
        end_children()


def snakemake_plan(profile: str) -> dict[str, str]:
    """What Snakemake would do with each of its outputs: ``no update`` or ``update pending``.

    Returns
    -------
    Output file, relative to the project → plan.  Nothing is run.
    """
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--summary", "--nolock",
        "--config", f"profile={profile}",
    ]  # fmt: skip
    result = subprocess.run(command, cwd=PROJECT, env=_environment(), text=True, capture_output=True)
    lines = [line.split("\t") for line in result.stdout.splitlines() if "\t" in line]
    if result.returncode != 0 or not lines:
        raise InputError(_failure(result.stderr.splitlines(), Path("artifacts")))
    return {line[0]: line[-1] for line in lines[1:]}


def _environment() -> dict[str, str]:
    """This environment, with this Python's own programs first."""
    return {**build_environment(), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def _relay(process: subprocess.Popen) -> list[str]:
    """Show what a person wants to see: how long runs get on, each finished run, how many, and the time."""
    log, finished, started = [], [], time.monotonic()
    assert process.stdout is not None
    for line in process.stdout:
        log.append(line)
        progress = re.match(r"(\d+) of (\d+) steps", line)
        if line.startswith(DONE):
            finished.append(line.removeprefix(DONE).strip())
        elif progress:
            minutes, seconds = divmod(int(time.monotonic() - started), 60)
            print(f"[{progress[1]}/{progress[2]}] {minutes}:{seconds:02d} {', '.join(finished)}", flush=True)
            finished = []
        elif line.startswith(("scarafm: ", RUNNING)):
            print(line.rstrip(), flush=True)
    return log


def _failure(log: list[str], path: Path) -> str:
    reasons = [line.strip().removeprefix("scarafm: ") for line in log if line.startswith("scarafm: ")]
    other = (line.strip() for line in reversed(log) if re.search(r"Error|Exception", line))
    shown = reasons[0] if reasons else next(other, "no reason given")
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"the build stopped: {shown}{more}. The whole log is {path}."


def data_files(workspace: Workspace, tissue: str) -> list[str]:
    """The files that a tissue's preprocessing reads, where they are at hand already."""
    if workspace.profile.source != "local":
        return []
    found = [fetch(d, source="local", data_dir=workspace.data_dir) for d in workspace.datasets(tissue)]
    return [str(path.relative_to(PROJECT)) for path in found]


def source_files(name: str) -> list[str]:
    """A chapter's notebook, or a module, and every module of the package it reaches.

    Snakemake reruns what depends on a changed file, so the list is exact: it follows the
    import statements.
    """
    if name in CHAPTERS:
        chapter = CHAPTERS[name]
        code = [c.source for c in read_notebook(chapter).cells if c.cell_type == "code"]
        start, files = _imports("\n".join(code)) | {"chapters"}, [chapter.path]
    else:
        start, files = {name}, []
    return sorted(str(p.relative_to(PROJECT)) for p in [*files, *_closure(start)])


def episode_files(name: str) -> list[str]:
    """The source of an episode of the workshop and every module of the package it reaches."""
    code = "\n".join(c.source for c in read_episode(name).cells if c.cell_type == "code")
    found = [episode_path(name), *_closure(_imports(code) | {"episodes"})]
    return sorted(str(p.relative_to(PROJECT)) for p in found)


def _closure(modules: set[str]) -> set[Path]:
    package, found, waiting = PROJECT / "scarafm_utils", {}, list(modules)
    while waiting:
        module = waiting.pop()
        path = package / f"{module}.py"
        if module not in found and path.exists():
            found[module] = path
            waiting += _imports_of(path, path.stat().st_mtime_ns)
    return set(found.values())


@cache
def _imports_of(path: Path, changed: int) -> frozenset[str]:
    """Imports of a module; `changed`, when it was written, keeps an older answer from being given."""
    return frozenset(_imports(path.read_text(encoding="utf-8")))


def _imports(code: str) -> set[str]:
    """Modules of this package that `code` imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if node.level == 1 and module:
            found.add(module.split(".")[0])
        elif node.level == 1 or module == "scarafm_utils":
            found |= {alias.name for alias in node.names}
        elif module.startswith("scarafm_utils."):
            found.add(module.split(".")[1])
    return found
