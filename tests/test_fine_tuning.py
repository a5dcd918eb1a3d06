"""A fine-tuning that is killed goes on and ends with the same numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_heads import CLASSES, make_cells, make_encoder

from scarafm_utils.cnn import CNNHead
from scarafm_utils.fine_tuning import Standing

#: 44 cells, 40 for training: steps of 16, 16 and 8 in each of three epochs.
SETTINGS = {"seed": 3, "classes": CLASSES, "epochs": 3, "batch_size": 4, "accumulation": 4, "warmup": 0}


class Killed(Exception):
    """Stands for the end of a process in the middle of a step."""


def fit(state: Path | None, *, cells=None, **settings) -> CNNHead:
    cells = cells or make_cells(44)
    return CNNHead(make_encoder(), state=state, **(SETTINGS | {"save_every": 2} | settings)).fit(*cells)


@pytest.fixture
def dying(monkeypatch):
    """Let the optimiser die at its n-th step and count the steps of the next training."""
    original, count = torch.optim.Adam.step, [0, None]

    def step(self):
        count[0] += 1
        if count[0] == count[1]:
            raise Killed
        return original(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)

    def set_up(n: int | None):
        count[:] = [0, n]
        return count

    return set_up


def outcome(head: CNNHead) -> tuple[bytes, list]:
    return head.predict_proba(make_cells(44)[0]).tobytes(), head.history_


@pytest.mark.parametrize("death", range(1, 10))
def test_a_training_that_dies_at_any_step_ends_with_the_same_bytes(tmp_path, dying, death):
    expected, state = outcome(fit(None)), tmp_path / "run.state.safetensors"
    dying(death)
    with pytest.raises(Killed):
        fit(state)
    count = dying(None)
    assert outcome(fit(state)) == expected
    # saved after steps 2 and 3 of each epoch, the third by its end
    done = [0, 0, 2, 3, 3, 5, 6, 6, 8][death - 1]
    assert count[0] == 9 - done


def test_what_is_finished_is_not_trained_again(tmp_path, dying):
    state = tmp_path / "run.state.safetensors"
    expected, count = outcome(fit(state)), dying(None)
    assert outcome(fit(state)) == expected and count[0] == 0


def test_another_training_or_a_damaged_file_is_not_taken_up(tmp_path, dying):
    state = tmp_path / "run.state.safetensors"
    fit(state)
    cells, y = make_cells(44)
    turned = (cells, y[::-1].copy())
    masked = (make_cells(44, seed=1)[0], y)
    for other in ({"seed": 4}, {"cells": turned}, {"cells": masked}, {"learning_rate": 1e-3}, {"patience": 2}):
        fit(state)
        count = dying(None)
        found = outcome(fit(state, **other))
        assert count[0] > 0, other
        assert found == outcome(fit(None, **other))
    state.write_bytes(state.read_bytes()[:500])
    assert outcome(fit(state)) == outcome(fit(None))


def test_an_epoch_is_better_by_accuracy_and_then_by_loss_by_hand():
    at, seen = Standing(""), []
    for accuracy, loss in ((0.5, 0.7), (0.5, 0.6), (0.6, 0.9), (0.6, 0.9), (0.5, 0.1), (0.6, 0.95)):
        row = {"val_accuracy": accuracy, "val_loss": loss}
        seen.append((at.end_epoch(row, epochs=10, patience=3), at.waited, at.finished))
    assert seen == [
        (True, 0, False), (True, 1, False), (True, 0, False), (False, 1, False), (False, 2, False), (False, 3, True),
    ]  # fmt: skip
    assert at.best == [0.6, -0.9] and at.epoch == 6


PROGRAM = """
import sys
from pathlib import Path
from test_fine_tuning import fit, outcome
from test_heads import make_cells
head = fit(Path(sys.argv[1]), cells=make_cells(100), epochs=25, patience=25, save_every=1)
Path(sys.argv[2]).write_bytes(head.predict_proba(make_cells(44)[0]).tobytes())
"""


@pytest.mark.slow
def test_sigkill_changes_nothing(tmp_path):
    def start(state: str, out: str):
        call = [sys.executable, "-c", PROGRAM, str(tmp_path / state), str(tmp_path / out)]
        folder = str(Path(__file__).parent)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}
        return subprocess.Popen(call, env=environment)

    assert start("whole", "expected").wait() == 0
    for _ in range(2):
        before = stamp(tmp_path / "state")
        process = start("state", "found")
        while stamp(tmp_path / "state") == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "state").exists()
    assert start("state", "found").wait() == 0
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()
    assert np.frombuffer((tmp_path / "found").read_bytes()).size == 88


def stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
