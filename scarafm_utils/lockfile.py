"""What was downloaded, in a lock file beside the downloads: name, address, size, checksum, date."""

from __future__ import annotations

import datetime
import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError
from .files import sha256_file, write_json

LOCK_FILE = "downloads.lock.json"
#: Folder beside the downloads for what is unfinished and for locks between processes.
HIDDEN = ".downloads"


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, computed once for each state of it."""
    stat = os.stat(path)
    return _checksum_of(str(path), stat.st_size, stat.st_mtime_ns)


def read_lock(folder: str | Path) -> dict[str, dict]:
    """The lock file of `folder`: name → url, bytes, sha256, first_fetched.

    Raises
    ------
    InputError
        Where it is no JSON.
    """
    path = Path(folder) / LOCK_FILE
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{LOCK_FILE}: not valid JSON ({error}). Delete it to record anew.") from error


def remember(folder: str | Path, name: str, entry: dict) -> None:
    """Record `entry` under `name` in the lock file; the date of the first time stays."""
    folder = Path(folder)
    with one_process(folder, LOCK_FILE):
        lock = read_lock(folder)
        old = lock.get(name, {})
        first = old.get("first_fetched") or datetime.date.today().isoformat()
        if old != (new := {**entry, "first_fetched": first}):
            write_json(folder / LOCK_FILE, {**lock, name: new})


@contextmanager
def one_process(folder: Path, name: str) -> Iterator[None]:
    """Only one process at a time works on `name`; the lock of a killed process is released."""
    from filelock import FileLock

    (folder / HIDDEN).mkdir(parents=True, exist_ok=True)
    with FileLock(folder / HIDDEN / f"{name}.lock"):
        yield


@functools.lru_cache(maxsize=256)
def _checksum_of(path: str, size: int, mtime_ns: int) -> str:
    return sha256_file(path)
