"""Downloads as a person sees them: how much, how far, how it went; what fails does not stop the rest."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from .data_requests import Request
from .downloads import PATIENT, Network, Watcher
from .errors import InputError
from .hub import fetch_release
from .inventory import bytes_to_fetch, expected_files, in_bytes, inspect
from .manifest import Dataset
from .sources import SOURCES, fetch


def fetch_all(asked: Request, *, network: Network = PATIENT) -> list[str]:
    """Fetch what is asked for, one line for each data set, a bar or plain lines while it lasts.

    Returns
    -------
    The data sets that failed; each said why, and the others were fetched all the same.

    Raises
    ------
    InputError
        Where the disk cannot hold what is known to come.
    """
    _announce(asked)
    with _watching() as watcher:
        tell = {"network": network, "watcher": watcher}
        failed = [d.id for i, d in enumerate(asked.datasets, start=1) if not _fetch_one(asked, d, i, tell)]
        return failed + _fetch_encoder(asked)


def count_of(n: int, what: str) -> str:
    """A number and what it counts.

    >>> count_of(1, "data set"), count_of(2, "data set")
    ('1 data set', '2 data sets')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def shown(folder: Path) -> str:
    """A folder as the user would write it."""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def _complain(text: str) -> None:
    typer.echo(text, err=True)


def _announce(asked: Request) -> None:
    """Say how much will be fetched; refuse where the disk cannot hold it."""
    offered = filter(asked.offers, asked.datasets)
    files = [f for d in offered for f in expected_files(d, source=asked.source, data_dir=asked.folder)]
    known, unknown = bytes_to_fetch(files)
    parts = [in_bytes(known)] if known or not unknown else []
    parts += [f"{count_of(unknown, 'file')} of unknown size"] if unknown else []
    typer.echo(f"{count_of(len(asked.datasets), 'data set')} from {asked.source}: {' and '.join(parts)} to fetch.")
    asked.folder.mkdir(parents=True, exist_ok=True)
    if known > (free := shutil.disk_usage(asked.folder).free):
        raise InputError(f"{shown(asked.folder)} has room for {in_bytes(free)}: {in_bytes(known)} are needed.")


def _fetch_one(asked: Request, dataset: Dataset, number: int, tell: dict) -> bool:
    """Fetch one data set and say in one line how it went."""
    if asked.source in dataset.sources:
        dataset = dataset.model_copy(update={"sources": {asked.source: dataset.sources[asked.source]}})
    source = asked.source if asked.source in SOURCES else "public"
    place, started = f"[{number}/{len(asked.datasets)}] {dataset.id}", time.monotonic()
    try:
        before = inspect(dataset, source=asked.source, data_dir=asked.folder, hashed=False).state
        release = asked.profile.release if asked.profile else None
        fetch(dataset, source=source, data_dir=asked.folder, release=release, **tell)
        found = inspect(dataset, source=asked.source, data_dir=asked.folder, hashed=True)
    except InputError as error:
        tell["watcher"].end()
        _complain(f"{place}: failed: {str(error).removeprefix(f'{dataset.id}: ')}")
        return False
    tell["watcher"].end()
    seconds = time.monotonic() - started
    how = "was there" if before == "there" else f"fetched in {seconds:.0f} s"
    typer.echo(f"{place}: {how}, {in_bytes(found.have)}, {found.detail or found.state}")
    return True


def _fetch_encoder(asked: Request) -> list[str]:
    """Weights and gene lists that a profile takes from the release, beside its cells."""
    release = asked.profile.release if asked.profile and asked.source == "release" else None
    if release is None or asked.profile is None:
        return []
    wanted = [files[t] for files in (release.weights, release.vocabulary) for t in asked.profile.tissues if t in files]
    try:
        found = fetch_release(wanted, data_dir=asked.folder, repo=release.repo, revision=release.revision)
    except InputError as error:
        _complain(f"weights and gene lists: failed: {error}")
        return ["weights and gene lists"]
    typer.echo(f"weights and gene lists: {', '.join(p.name for p in found)}")
    return []


class _Lines(Watcher):
    """Plain lines, for a log: every tenth of a file of more than 20 MB, and each interruption."""

    def __init__(self) -> None:
        self.tenths: dict[str, int] = {}

    def at(self, name: str, have: int, total: int | None) -> None:
        tenth = 10 * have // total if total else have // 100_000_000
        if tenth != self.tenths.get(name, 0) and (total is None or 20_000_000 < total != have):
            typer.echo(f"  {name}: {in_bytes(have)}" + (f" of {in_bytes(total)}" if total else ""))
        self.tenths[name] = tenth

    def waits(self, name: str, reason: str, seconds: float) -> None:
        _complain(f"  {name}: {reason}; going on in {seconds:g} s")

    def end(self) -> None:
        """The data set is done, or was given up."""


class _Bar(_Lines):
    """A bar with bytes, speed and remaining time, for a person."""

    def __init__(self, progress) -> None:
        super().__init__()
        self.progress, self.tasks = progress, {}

    def at(self, name: str, have: int, total: int | None) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.tasks[name], completed=have, total=total)

    def end(self) -> None:
        for task in self.tasks.values():
            self.progress.remove_task(task)
        self.tasks = {}


@contextmanager
def _watching() -> Iterator[_Lines]:
    """A bar on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield _Lines()
        return
    from rich import progress as rich

    times = (rich.DownloadColumn(), rich.TransferSpeedColumn(), rich.TimeRemainingColumn())
    with rich.Progress(rich.TextColumn("{task.description}"), rich.BarColumn(), *times, transient=True) as progress:
        yield _Bar(progress)
