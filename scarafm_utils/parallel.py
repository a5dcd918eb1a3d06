"""Several processes that train as one: each takes its share of a batch, and sums are exchanged."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist

from .model import default_device

if TYPE_CHECKING:
    from .model import ScAraFM

#: Longest wait for another process: the first one alone writes the corpus and the gene vectors.
PATIENCE = datetime.timedelta(hours=12)


@contextlib.contextmanager
def processes() -> Iterator[torch.device]:
    """Join the process group that ``torchrun`` describes, if any; yield the device to train on."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    device = default_device()
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if several:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        if several:
            dist.destroy_process_group()


def is_first() -> bool:
    """Whether this is the process that speaks, or the only one; also before and after :func:`processes`."""
    return os.environ.get("RANK", "0") == "0"


def rank_and_world() -> tuple[int, int]:
    """This process's number and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def share_of(n_cells: int, *, micro_batch: int) -> list[slice]:
    """Which cells of a batch are this process's, `micro_batch` at a time.

    >>> share_of(5, micro_batch=2)
    [slice(0, 2, 1), slice(2, 4, 1), slice(4, 5, 1)]
    """
    rank, world = rank_and_world()
    step = micro_batch * world
    return [slice(start, min(start - rank + step, n_cells), world) for start in range(rank, n_cells, step)]


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def sum_over_processes(values: np.ndarray | list[float], device: torch.device) -> np.ndarray:
    """Add up float numbers over all processes; alone, the numbers themselves."""
    if not dist.is_initialized():
        return np.asarray(values, dtype=float)
    total = torch.tensor(np.asarray(values, dtype=float), device=device)
    dist.all_reduce(total)
    return total.cpu().numpy()


def sum_gradients(model: ScAraFM, loss_sum: torch.Tensor) -> torch.Tensor:
    """Add up the gradients, and the losses, of all processes; returns the loss on the device."""
    if not dist.is_initialized():
        return loss_sum
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    dist.all_reduce(loss_sum)
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = part.view_as(p)
    return loss_sum
