"""What a long training shows while it runs: a bar in a terminal, plain lines elsewhere.

A notebook shows neither.  Its kernel appends lines to a file (:func:`running_path`), and the
process that executes the notebook passes them on to the terminal (:func:`relayed`).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

#: What a line starts with that a notebook's kernel had passed on.
RUNNING = "running: "

#: Seconds between two plain lines.
EVERY = 30.0


@dataclass(frozen=True)
class Status:
    """Where a training stands: after a step, or, with `row`, after an epoch and its evaluation.

    `trained` cells took `seconds`; an epoch that goes on after a kill has more `cells` behind it.
    `loss` is the mean so far in this epoch, a number or a tensor that is read only when shown.
    """

    epoch: int
    epochs: int
    cells: int
    of: int
    trained: int
    seconds: float
    loss: Any
    row: dict[str, float] = field(default_factory=dict)

    @property
    def cells_per_second(self) -> float:
        return self.trained / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Until the end of this epoch; early stopping makes the end of the run unknown."""
        return (self.of - self.cells) / max(self.cells_per_second, 1e-9)


Report = Callable[[Status], None]


class Lines:
    """Plain lines through `write`: one every `every` seconds (`EVERY`), and one for each longer epoch."""

    def __init__(self, write: Callable[[str], Any], *, every: float | None = None):
        self.write, self.last = write, time.monotonic()
        self.every = EVERY if every is None else every

    def __call__(self, status: Status) -> None:
        long_epoch = status.row and status.seconds >= self.every
        if long_epoch or time.monotonic() - self.last >= self.every:
            self.write(line_of(status))
            self.last = time.monotonic()


def line_of(status: Status) -> str:
    """One line on a training.

    >>> line_of(Status(epoch=2, epochs=50, cells=300, of=1000, trained=200, seconds=4.0, loss=1.25))
    'epoch 2 of at most 50: 300 of 1,000 cells, 50 cells/s, loss 1.250, 0:14 left in this epoch'
    """
    start = f"epoch {status.epoch} of at most {status.epochs}"
    if status.row:
        numbers = ", ".join(f"{k} {v:.4g}" for k, v in status.row.items() if k != "epoch")
        return f"{start} took {clock(status.seconds)}, {speed(status)}: {numbers}"
    return (
        f"{start}: {status.cells:,} of {status.of:,} cells, {speed(status)}, "
        f"loss {float(status.loss):.3f}, {clock(status.seconds_left)} left in this epoch"
    )


def speed(status: Status) -> str:
    """Cells per second, in words."""
    return f"{status.cells_per_second:,.3g} cells/s"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(59.6), clock(3725)
    ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def reporting(stream: IO[str]) -> Iterator[Report]:
    """Yield what a training reports to: a bar where `stream` is a terminal, else plain lines."""
    if not stream.isatty():
        yield Lines(lambda line: print(line, file=stream, flush=True))
        return
    bar = _bar(stream)  # drawn from the first report on: of several processes only one reports
    task = bar.add_task("", total=None, note="")
    try:
        yield lambda status: _show(bar, task, status)
    finally:
        bar.stop()


def _bar(stream: IO[str]):
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(file=stream)
    text = TextColumn("[progress.description]{task.description}"), BarColumn(), TextColumn("{task.fields[note]}")
    return Progress(*text, console=console, refresh_per_second=2)


def _show(bar, task, status: Status) -> None:
    bar.start()
    if status.row:
        bar.console.print(line_of(status), highlight=False)
        return
    if status.cells < status.of and time.monotonic() - getattr(bar, "shown", 0.0) < 0.5:
        return  # the loss is on the GPU: reading it at every step would make the GPU wait
    bar.shown = time.monotonic()
    note = f"{speed(status)}, loss {float(status.loss):.3f}, {clock(status.seconds_left)} left"
    name = f"epoch {status.epoch} of at most {status.epochs}"
    bar.update(task, description=name, completed=status.cells, total=status.of, note=note)


def running_path(folder: Path, name: str) -> Path:
    """Where a run called `name` of the workspace at `folder` says how it is getting on."""
    return folder / "running" / f"{name}.log"


def lines_to_file(path: Path, *, title: str) -> Report:
    """Plain lines, each starting with `title`, appended to the file at `path`."""

    def write(line: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{title}: {line}\n")

    return Lines(write)


@contextmanager
def relayed(path: Path, *, every: float = 1.0) -> Iterator[None]:
    """While the block runs, print each line that another process appends to the file at `path`."""
    path.unlink(missing_ok=True)
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(path, ended, every), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)


def _follow(path: Path, ended: threading.Event, every: float) -> None:
    done, last = 0, False
    while not last:
        last = ended.wait(every)
        whole = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        for line in whole[done:]:
            if line.endswith("\n"):
                print(f"{RUNNING}{line.rstrip()}", file=sys.stderr, flush=True)
                done += 1
