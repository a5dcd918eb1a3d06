"""One build or run at a time in a folder, and no process that outlives the build that started it.

A build holds a lock that the system releases at its death, however it dies.  Every process
that it starts knows it by the variable ``SCARAFM_BUILD`` (host and process number): runs ask
once a second whether it is still there and end when it is not, so that no orphan goes on
writing under a build that has begun anew.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

#: The variable that names the build which started a process.
NAME = "SCARAFM_BUILD"

#: From linux/prctl.h: a signal at the parent's death; adopting the orphans of one's children.
_PDEATHSIG, _SUBREAPER = 1, 36


@contextmanager
def exclusive(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a folder of artifacts.

    Parameters
    ----------
    folder
        Holds the file ``.lock``; made when missing.
    wait
        Wait for another build or run to end, saying so once, instead of refusing.

    Raises
    ------
    InputError
        Another process holds the lock, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "w")  # noqa: SIM115 - closed below, and by the system at death
    except OSError as error:
        raise InputError(f"{folder.name}/: {error.strerror}. Work in a folder that can be written to") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise InputError(
                    "another build works in this folder: wait until it ends, then run again"
                ) from None
            sys.stderr.write("Another build or run works in this folder: waiting until it ends …\n")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_environment() -> dict[str, str]:
    """This environment with the name of this build, for the processes it starts."""
    return {**os.environ, NAME: f"{socket.gethostname()}:{os.getpid()}"}


def follow_build(every: float = 1.0) -> None:
    """End this process and its children once the build that started it is gone.

    Does nothing outside a build, and on another host than the build's (a cluster's scheduler
    looks after its own jobs).
    """
    host, _, pid = os.environ.get(NAME, "").partition(":")
    if host == socket.gethostname():
        threading.Thread(target=_follow, args=(int(pid), every), daemon=True).start()


def _follow(pid: int, every: float) -> None:
    import psutil

    while psutil.pid_exists(pid):
        time.sleep(every)
    end_children()
    os._exit(1)


def end_children(patience: float = 5.0) -> None:
    """Kill every process below this one, and wait until they are gone."""
    from contextlib import suppress

    import psutil

    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=patience)


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies."""
    _prctl(_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Ask Linux to make this process the parent of whatever its children leave behind."""
    _prctl(_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6", use_errno=True).prctl(option, value)
