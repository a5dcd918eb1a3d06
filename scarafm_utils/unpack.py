"""Archives that come from elsewhere: unpacked inside one folder, up to a size, or refused."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from .errors import InputError
from .files import room_for

#: Largest size that a compressed file, or all members of an archive, may unpack to, in bytes.
MAX_UNPACKED = 64 * 2**30
MAX_MEMBERS = 10_000
#: What is worth unpacking of a GEO archive: 10x triplets, 10x HDF5 and h5ad files.
CELLS = re.compile(
    r"(matrix\.mtx|barcodes\.tsv|(features|genes)\.tsv)(\.gz)?$|\.h5$|\.h5ad(\.gz)?$", re.IGNORECASE
)


def gunzip(source: str | Path, target: str | Path, *, max_bytes: int = MAX_UNPACKED) -> Path:
    """Decompress `source` to `target` in blocks; stop at `max_bytes`.

    Raises
    ------
    InputError
        Where the file is no gzip file, is cut short, becomes larger than `max_bytes` or than the
        disk has room for; `target` is then gone.
    """
    source, target, written = Path(source), Path(target), 0
    try:
        with room_for(source.name), gzip.open(source, "rb") as packed, open(target, "wb") as out:
            while block := packed.read(1 << 20):
                written += len(block)
                if written > max_bytes:
                    raise InputError(f"{source.name}: unpacks to more than {max_bytes:,} bytes; refused.")
                out.write(block)
    except InputError:
        target.unlink(missing_ok=True)
        raise
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise InputError(f"{source.name}: not a whole gzip file ({error}). Fetch it again.") from error
    return target


@contextmanager
def unpacked(path: Path, *, max_bytes: int | None = None) -> Iterator[Path]:
    """Yield a file without its ``.gz``: itself, or a copy beside it that is gone afterwards."""
    if path.suffix.lower() != ".gz":
        yield path
        return
    beside = path.parent if os.access(path.parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=beside) as folder:
        yield gunzip(path, Path(folder) / path.stem, max_bytes=max_bytes or MAX_UNPACKED)


def extract_tar(
    archive: str | Path, folder: str | Path, *, max_bytes: int = MAX_UNPACKED, wanted: re.Pattern[str] = CELLS
) -> Path:
    """Unpack the files of `archive` whose names hold `wanted` (by default those with cells), all or none.

    Other members (ATAC fragments, tables, pictures) stay packed.  A folder that was there is replaced.

    Raises
    ------
    InputError
        Where a member would land outside the folder or is a link or device, where members add up to
        more than `max_bytes` or than the disk has room for, and where the file is no whole archive or
        holds none of the wanted files.
    """
    archive, folder = Path(archive), Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.parent) as scratch:
        try:
            with room_for(archive.name), tarfile.open(archive, "r:*") as tar:
                members = _checked_members(tar, archive.name, max_bytes, wanted)
                tar.extractall(Path(scratch) / "x", members=members, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise InputError(f"{archive.name}: not a whole tar archive ({error}). Fetch it again.") from error
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(Path(scratch) / "x", folder)
    return folder


def _checked_members(
    tar: tarfile.TarFile, name: str, max_bytes: int, wanted: re.Pattern[str]
) -> list[tarfile.TarInfo]:
    """Members to unpack; one that is dangerous makes the whole archive suspect."""
    found: list[tarfile.TarInfo] = []
    seen: list[str] = []
    total = 0
    for member in tar:
        if len(seen) >= MAX_MEMBERS:
            raise InputError(f"{name}: more than {MAX_MEMBERS:,} members; refused.")
        seen.append(member.name)
        _refuse_unsafe(member, name)
        if member.isfile() and wanted.search(member.name):
            found.append(member)
            total += member.size
            if total > max_bytes:
                raise InputError(f"{name}: unpacks to more than {max_bytes:,} bytes; refused.")
    if not found:
        kind = "10x or h5ad file" if wanted is CELLS else "file of the expected kind"
        raise InputError(f"{name}: no {kind} in this archive (it holds {', '.join(seen[:5]) or 'nothing'}).")
    return found


def _refuse_unsafe(member: tarfile.TarInfo, archive: str) -> None:
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{archive}: member '{member.name}' would land outside its folder; archive refused.")
    if not (member.isfile() or member.isdir()):
        raise InputError(f"{archive}: member '{member.name}' is a link or a device; archive refused.")
