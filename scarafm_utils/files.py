"""Files that are either whole or absent, and hashes that notice every change."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

#: What the system says where nothing more can be written: no space, no quota, a limit on file sizes.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: What it says where nothing may be written at all.
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def room_for(name: str) -> Iterator[None]:
    """Say in one line that the disk is full, where writing `name` fails for that reason."""
    try:
        yield
    except OSError as error:  # HDF5 tells its number in words only
        if error.errno in _NO_ROOM or any(f"errno = {n}," in str(error) for n in _NO_ROOM):
            raise InputError(f"{name}: the disk is full. Free some space and run again.") from error
        raise


def _reserve(temporary: Path) -> None:
    """Make an empty file, so that a folder that cannot be written to is found before the work, not after it."""
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        name = temporary.parent.name or temporary.parent
        raise InputError(f"{name}/ cannot be written to ({error.strerror}). Make it writable and run again.") from error


def require_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to; it is made where it is missing."""
    probe = folder / f".tmp-{secrets.token_hex(4)}"
    _reserve(probe)
    probe.unlink()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` only if the block succeeds.

    The temporary name keeps the suffix of `path`, since many writers look at it.  A killed
    process leaves at most a file whose name starts with ``.tmp-``.

    Raises
    ------
    InputError
        Where the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
    with room_for(path.name):
        _reserve(temporary)
    try:
        with room_for(path.name):
            yield temporary
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | Path, value) -> Path:
    """Write `value` as indented JSON with sorted keys, atomically."""
    return write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_csv(path: str | Path, table, *, index: bool = False) -> Path:
    """Write a DataFrame as CSV, atomically; floats keep their shortest exact form."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=index, lineterminator="\n")
    return Path(path)


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hash_of(value) -> str:
    """Hash any JSON-like value; equal values have equal hashes whatever the key order.

    >>> hash_of({"a": 1, "b": [2]}) == hash_of({"b": [2], "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def code_digest(*modules: str) -> str:
    """Hash the source of modules of this package, given by name ('model', 'heads', …)."""
    folder = Path(__file__).parent
    return hash_of({name: sha256_file(folder / f"{name}.py") for name in sorted(modules)})
