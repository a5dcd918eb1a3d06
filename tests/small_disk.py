"""A real file system of a few hundred kilobytes, to see what a full disk does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, *, kilobytes: int) -> Iterator[Path]:
    """Mount memory of this size at `folder`; skip the test where that is not allowed."""
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)):
        pytest.skip("only root may mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def grow(folder: Path, *, kilobytes: int) -> None:
    """Make room on a small disk, as a user would."""
    assert _mount("-o", f"remount,size={kilobytes}k", str(folder)) == 0


def make_read_only(folder: Path) -> None:
    """Let nobody write to a small disk, not even root."""
    assert _mount("-o", "remount,ro", str(folder)) == 0


def make_writable(folder: Path, *, kilobytes: int) -> None:
    """Let it be written to again, with room for so much."""
    assert _mount("-o", f"remount,rw,size={kilobytes}k", str(folder)) == 0


def _mount(*arguments: str) -> int:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True).returncode
    except FileNotFoundError:
        return 1
