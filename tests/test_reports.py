"""What a long training shows: a bar in a terminal, plain lines elsewhere, nothing in a notebook."""

import io
import re

import pytest

from scarafm_utils import reports
from scarafm_utils.reports import Lines, Status, line_of, lines_to_file, relayed, reporting, running_path


def status(**change) -> Status:
    return Status(**{"epoch": 1, "epochs": 9, "cells": 40, "of": 100, "trained": 40, "seconds": 2.0,
                     "loss": 1.5} | change)


def test_speed_and_time_left_by_hand():
    one = status()
    assert one.cells_per_second == 20
    assert one.seconds_left == 3
    resumed = status(cells=90, trained=10, seconds=1.0)
    assert resumed.seconds_left == 1  # ten cells in a second; what was trained before the kill does not count


def test_an_epoch_in_one_line():
    row = {"epoch": 1, "train_loss": 1.23456, "val_accuracy": 0.5}
    assert line_of(status(seconds=61, row=row)) == (
        "epoch 1 of at most 9 took 1:01, 0.656 cells/s: train_loss 1.235, val_accuracy 0.5"
    )


def test_lines_come_seldom_and_each_long_epoch_has_one(monkeypatch):
    now, lines = [0.0], []
    monkeypatch.setattr(reports.time, "monotonic", lambda: now[0])
    report = Lines(lines.append, every=30)
    for second in range(100):
        now[0] = float(second)
        report(status(cells=second))
    assert [re.search(r": (\d+) of", line)[1] for line in lines] == ["30", "60", "90"]
    report(status(seconds=5.0, row={"val_loss": 1.0}))
    assert len(lines) == 3
    report(status(seconds=50.0, row={"val_loss": 1.0}))
    assert "took 0:50" in lines[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_and_a_file_gets_lines(monkeypatch):
    monkeypatch.setattr(reports, "EVERY", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with reporting(stream) as report:
            report(status())
            report(status(cells=100, trained=100, seconds=5.0))
            report(status(row={"val_loss": 1.25}, seconds=40.0))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "epoch 1 of at most 9" in shown
    assert "20 cells/s, loss 1.500, 0:00 left" in shown
    assert "val_loss 1.25" in shown
    assert "━" in shown
    assert "\x1b" not in file.getvalue()
    assert file.getvalue().splitlines()[-1].endswith("val_loss 1.25")


def test_a_process_that_reports_nothing_draws_nothing():
    terminal = Terminal()
    with reporting(terminal):
        pass
    assert terminal.getvalue().strip() == ""


def test_lines_of_another_process_reach_the_terminal(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(reports, "EVERY", 0.0)
    path = running_path(tmp_path, "pretraining-leaf")
    path.parent.mkdir()
    path.write_text("of an older run\n")
    with relayed(path, every=0.01):
        lines_to_file(path, title="pretraining leaf")(status())
    said = capfd.readouterr().err.splitlines()
    assert said == ["running: pretraining leaf: epoch 1 of at most 9: 40 of 100 cells, 20 cells/s, "
                    "loss 1.500, 0:03 left in this epoch"]
    assert not path.exists()


def test_what_was_said_before_a_failure_is_shown_too(tmp_path, capfd):
    path = running_path(tmp_path, "x")
    with pytest.raises(RuntimeError), relayed(path, every=60):
        path.parent.mkdir()
        path.write_text("a line\nhalf a li")
        raise RuntimeError
    assert capfd.readouterr().err == "running: a line\n"
