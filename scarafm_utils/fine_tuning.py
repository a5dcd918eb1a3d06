"""Where a fine-tuning stands, as one file that is written in one step.

The file holds the parameters, the best ones so far, Adam's moments and, as JSON in its header, the
rest.  There is no state of a random generator in it: order and dropout follow from the seed, the
epoch and the step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .files import atomic_path


@dataclass
class Standing:
    """All that the next step depends on beside parameters and optimiser.

    `step` counts the steps of the running epoch and `loss` sums over its cells; `best` is the
    validation accuracy and the negative loss of the best epoch.
    """

    fingerprint: str
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    waited: int = 0
    best: list[float] | None = None
    history: list[dict] = field(default_factory=list)
    finished: bool = False

    def end_epoch(self, row: dict, *, epochs: int, patience: int) -> bool:
        """Move on to the next epoch; tell whether this one is the best so far.

        Higher validation accuracy is better and, among equals, lower validation loss; patience
        counts epochs without a higher accuracy.
        """
        score = [row["val_accuracy"], -row["val_loss"]]
        self.waited = 0 if self.best is None or score[0] > self.best[0] else self.waited + 1
        improved = self.best is None or score > self.best
        self.best = score if improved else self.best
        self.history.append(row)
        self.epoch, self.step, self.loss = self.epoch + 1, 0, 0.0
        self.finished = self.waited >= patience or self.epoch >= epochs
        return improved


def digest_of(tensors: Iterable[torch.Tensor]) -> str:
    """SHA-256 over the bytes of tensors, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_standing(path: str | Path | None, at: Standing, parameters, best, optimizer) -> None:
    """Write where a training stands, whole or not at all; nothing where `path` is None."""
    if path is None:
        return
    tensors = {f"now.{i}": p for i, p in enumerate(parameters)}
    tensors |= {f"best.{i}": p for i, p in enumerate(best)}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{name}": value for name, value in state.items()}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"standing": json.dumps(dataclasses.asdict(at))})


@torch.no_grad()
def load_standing(path: str | Path | None, fingerprint: str, parameters, best, optimizer) -> Standing:
    """Put a saved training back into `parameters`, `best` and `optimizer`.

    A new beginning where there is no file, or it is damaged or of another training.
    """
    fresh = Standing(fingerprint)
    if path is None or not Path(path).exists():
        return fresh
    try:
        with safe_open(path, framework="pt") as file:
            at = Standing(**json.loads(file.metadata()["standing"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return fresh
    if at.fingerprint != fingerprint:
        return fresh
    for i, parameter in enumerate(parameters):
        parameter.copy_(tensors[f"now.{i}"])
        best[i].copy_(tensors[f"best.{i}"])
    states: dict[int, dict] = {}
    for name in tensors:
        if name.startswith("adam."):
            _, i, key = name.split(".")
            states.setdefault(int(i), {})[key] = tensors[name]
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return at
