"""Where a training run stands, as one file that is written in one step.

``last.safetensors`` holds the weights, the best weights so far, Adam's moments and, as JSON in its
header, everything else that the next step depends on.  There is no state of a random generator in
it: order and masks follow from the seed and the step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .errors import InputError
from .files import atomic_path, code_digest, write_csv
from .masked import PretrainConfig
from .model import ScAraFM
from .parallel import rank_and_world
from .tokens import TokenStore

CODE = ("tokens", "model", "parallel", "masked", "progress", "pretraining")


@dataclass
class Progress:
    """Where a run stands: all that the next step depends on beside weights and optimiser.

    `best_state` holds the weights of the epoch with the lowest validation loss, on the CPU.
    """

    fingerprint: dict
    micro_batch: int
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_masked: int = 0
    best: float = float("inf")
    reference: float = float("inf")
    waited: int = 0
    history: list[dict] = field(default_factory=list)
    best_state: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def as_json(self) -> str:
        return json.dumps({f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "best_state"})


def end_epoch(progress: Progress, row: dict, config: PretrainConfig) -> bool:
    """Move `progress` to the next epoch; tell whether this one has the lowest validation loss."""
    improved = row["val_loss"] < progress.best or not progress.history
    progress.best = min(progress.best, row["val_loss"])
    if row["val_loss"] < progress.reference - config.min_delta:
        progress.reference, progress.waited = row["val_loss"], 0
    else:
        progress.waited += 1
    progress.history.append(row)
    progress.epoch, progress.step, progress.loss_sum, progress.n_masked = progress.epoch + 1, 0, 0.0, 0
    return improved


def fingerprint_of(model: ScAraFM, store: TokenStore, val: TokenStore, config: PretrainConfig) -> dict:
    """What must be equal for a run to go on; `epochs` and `save_every` may change."""
    free = ("epochs", "save_every")
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in free}
    vectors = b"" if model.gene_emb.requires_grad else model.gene_emb.detach().cpu().numpy().tobytes()
    return {
        **settings, **{f"model.{k}": v for k, v in dataclasses.asdict(model.config).items()},
        "corpus": store.digest, "validation": val.digest,
        "gene embeddings": hashlib.sha256(vectors).hexdigest(), "code": code_digest(*CODE),
    }


def weights_of(model: ScAraFM) -> dict[str, torch.Tensor]:
    """A copy of all weights and buffers, on the CPU."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}


def save_progress(model: ScAraFM, optimizer: torch.optim.Adam, progress: Progress, folder: Path) -> None:
    """Write weights, best weights, Adam and progress into one file, in one step."""
    if rank_and_world()[0] != 0:
        return
    tensors = {f"model.{name}": tensor for name, tensor in weights_of(model).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best_state.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": tensor.detach().cpu().contiguous() for k, tensor in state.items()}
    with atomic_path(folder / "last.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"progress": progress.as_json()})


def resume(model, optimizer, fresh: Progress, folder: Path, *, restart: bool) -> Progress:
    """Load the last state where it belongs to this run, else `fresh`."""
    path = folder / "last.safetensors"
    if not path.exists():
        return fresh
    with safe_open(path, framework="pt") as file:
        saved = Progress(**json.loads(file.metadata()["progress"]))
    other = [key for key, value in fresh.fingerprint.items() if saved.fingerprint.get(key) != value]
    if other and restart:
        return fresh
    if other:
        there, now = saved.fingerprint.get(other[0]), fresh.fingerprint[other[0]]
        raise InputError(
            f"{folder.name}: holds a run with another {other[0]} (there {there}, now {now}). "
            "Use another checkpoint_dir, or restart=True to replace it."
        )
    tensors = load_file(path)
    model.load_state_dict(_part(tensors, "model."))
    saved.best_state = _part(tensors, "best.")
    states: dict[int, dict] = {}
    for name, tensor in _part(tensors, "adam.").items():
        index, key = name.split(".")
        states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return saved


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): tensor for k, tensor in tensors.items() if k.startswith(prefix)}


def record_cost(model, progress: Progress, folder: Path, seconds: float, n_cells: int) -> None:
    """Append to ``cost.csv``; apart from the history, since no two runs take the same time."""
    import pandas as pd

    if rank_and_world()[0] != 0:
        return
    path, epoch = folder / "cost.csv", progress.epoch
    before = pd.read_csv(path) if path.exists() and epoch > 1 else pd.DataFrame({"epoch": []}, dtype=int)
    row = {
        "epoch": epoch, "seconds": seconds, "cells": n_cells, "cells_per_second": n_cells / seconds,
        "device": str(next(model.parameters()).device), "threads": torch.get_num_threads(),
        "micro_batch": progress.micro_batch, "peak_memory_mb": round(peak_memory_mb(model.gene_emb.device)),
    }
    rows = [*before[before["epoch"] < epoch].to_dict("records"), row]
    write_csv(path, pd.DataFrame(rows))


def peak_memory_mb(device: torch.device) -> float:
    """The most memory so far, in MB of 2²⁰ bytes: of the GPU where one trains, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
