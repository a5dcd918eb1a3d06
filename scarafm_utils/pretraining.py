"""Pretraining by masked bins (paper, section 2; scBERT): one visible loop that survives a kill.

The order of the cells depends on (seed, epoch) and the masks on (seed, epoch, step) alone, so
nothing random has to be stored: a run that was killed starts again from its last checkpoint and
ends with the same loss curve and, on a CPU at the same thread count, the same bytes.  Under
``torchrun`` each process takes its share of every batch and the gradients are summed, which gives
the losses of one process::

    torchrun --nproc-per-node 2 -m scarafm_utils.pretraining paper leaf

Deviations from the released code: cells are shuffled over all studies; validation masks are fixed
and hide the same share as in training; losses are means over all hidden tokens of an epoch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from .checkpoints import load_checkpoint, load_released_checkpoint, read_checkpoint_facts, save_checkpoint
from .corpus_report import corpus_table, guess_table, read_ones
from .errors import InputError
from .files import write_csv
from .gene2vec import load_gene2vec, train_gene2vec
from .masked import (
    DEFAULTS,
    TRAINING,
    PretrainConfig,
    choose_micro_batch,
    evaluate,
    forward_function,
    hide,
    masked_baselines,
    masked_loss,
    rank_and_world,
    sum_over_processes,
)
from .model import ModelConfig, ScAraFM
from .progress import Progress, end_epoch, fingerprint_of, record_cost, resume, save_progress
from .tokens import CHUNK_CELLS, TokenStore, tokenize

if TYPE_CHECKING:
    import pandas as pd

    from .profiles import ReleaseFiles
    from .workspace import Workspace

__all__ = [
    "PretrainConfig", "choose_micro_batch", "evaluate", "load_checkpoint", "load_released_checkpoint",
    "masked_baselines", "pretrain", "pretrain_tissue", "read_checkpoint_facts", "save_checkpoint",
]

BASELINE_COLUMNS = ("baseline_commonest", "baseline_gene", "baseline_cell")


def pretrain(
    model: ScAraFM, store: TokenStore, *, val: TokenStore, config: PretrainConfig = DEFAULTS,
    checkpoint_dir: str | Path, restart: bool = False, report: Callable[[str], None] | None = None, **facts,
) -> pd.DataFrame:
    """Train `model` in place, go on where a killed run stopped, and end with the best weights.

    Each epoch writes ``last.safetensors`` (weights, Adam, progress), ``cost.csv`` (seconds per
    epoch) and, where the validation loss is the lowest so far, ``model.safetensors`` with
    ``model.json``.  Training ends after `epochs`, or when the validation loss has not fallen by
    `min_delta` for `patience` epochs.

    Parameters
    ----------
    model
        On the device to train on.
    store, val
        Training and validation cells: token stores, or (n, G) uint8 arrays.
    checkpoint_dir
        Folder of this run.
    restart
        What to do where the folder holds a run with other settings, data or code: begin anew
        (True) or refuse (False).
    report
        Called with one line per epoch, for example ``print``.
    facts
        Passed on to :func:`save_checkpoint`: corpus_real, profile, and more.

    Returns
    -------
    One row per epoch: epoch, train_loss, val_loss, val_accuracy, val_accuracy_hard (see
    :func:`evaluate`).

    Raises
    ------
    InputError
        Where genes or bins of model and corpus differ, or the folder holds another run.
    """
    import pandas as pd

    folder, rank_world = Path(checkpoint_dir), rank_and_world()
    store, val = _as_store(store, model), _as_store(val, model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.learning_rate)
    progress = Progress(fingerprint_of(model, store, val, config), choose_micro_batch(model, config))
    progress = resume(model, optimizer, progress, folder, restart=restart)
    forward = forward_function(model, config)
    model.auto_redraw = False  # counted once per batch, whatever the micro-batch

    while progress.epoch < config.epochs and progress.waited < config.patience:
        started, first = time.perf_counter(), progress.step
        model.train()
        for step, tokens in store.batches(
            batch_size=config.batch_size, seed=config.seed, epoch=progress.epoch, start=first
        ):
            inputs, targets = hide(tokens, TRAINING, progress.epoch, step, config=config, n_bins=store.n_bins)
            n_masked = int((targets >= 0).sum())
            model.count_training_call()
            loss_sum = 0.0
            for part in torch.arange(len(tokens))[rank_world[0] :: rank_world[1]].split(progress.micro_batch):
                loss = masked_loss(forward(inputs[part]), targets[part])
                (loss / max(n_masked, 1)).backward()
                loss_sum += loss.item()
            progress.loss_sum += _sum_gradients(model, loss_sum)
            progress.n_masked += n_masked
            progress.step = step + 1
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if config.save_every and progress.step % config.save_every == 0:
                save_progress(model, optimizer, progress, folder)

        row = {"epoch": progress.epoch + 1, "train_loss": progress.loss_sum / max(progress.n_masked, 1)}
        row |= evaluate(model, val, config=config, micro_batch=progress.micro_batch, forward=forward)
        n_cells = len(store) - first * config.batch_size
        improved = end_epoch(progress, row, config)
        if improved and rank_world[0] == 0:
            save_checkpoint(model, folder, seed=config.seed, epoch=row["epoch"], **facts)
        save_progress(model, optimizer, progress, folder)
        record_cost(model, progress, folder, time.perf_counter() - started, n_cells)
        if report and rank_world[0] == 0:
            report(", ".join(f"{key} {value:.4g}" for key, value in row.items()))

    _wait_for_all()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.eval().auto_redraw = True
    return pd.DataFrame(progress.history)


def _sum_gradients(model: ScAraFM, loss_sum: float) -> float:
    """Add up the gradients, and the losses, of all processes."""
    if not dist.is_initialized():
        return loss_sum
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = part.view_as(p)
    return float(sum_over_processes([loss_sum], flat.device)[0])


def _as_store(cells, model: ScAraFM) -> TokenStore:
    if not isinstance(cells, TokenStore):
        cells = TokenStore.from_array(np.asarray(cells), genes=model.genes, n_bins=model.config.n_bins)
    if cells.genes != model.genes or cells.n_bins != model.config.n_bins:
        raise InputError(
            f"the corpus has {len(cells.genes)} genes in {cells.n_bins} bins, the model {len(model.genes)} "
            f"in {model.config.n_bins}; names and order must be the same."
        )
    return cells


def _wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()


@contextlib.contextmanager
def processes() -> Iterator[torch.device]:
    """Join the process group that ``torchrun`` describes, if any; yield the device to train on."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if several:
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        if several:
            dist.destroy_process_group()


def pretrain_tissue(
    workspace: Workspace, tissue: str, *, report: Callable[[str], None] | None = None
) -> pd.DataFrame:
    """Train the encoder of one tissue on its processed pretraining data sets.

    Writes the corpus to ``tokens/<tissue>`` and, to ``checkpoints/<tissue>``: the checkpoint,
    ``history.csv``, ``baselines.csv``, ``guesses.csv`` and ``ones.csv`` (see `corpus_report`),
    ``cost.csv``, ``corpus.csv`` (cells per data set) and ``gene2vec.txt``.  Validation cells are
    drawn by cell, in each data set; gene vectors see training cells only.  With the source
    ``release`` nothing is trained: the authors' weights are fetched and converted, and the table
    is one row without losses.

    Returns
    -------
    The table of :func:`pretrain`, with the accuracy of the three guesses of
    :func:`masked_baselines` as columns baseline_commonest, baseline_gene and baseline_cell.
    """
    if workspace.profile.source == "release" and workspace.profile.release:
        return _convert_release(workspace, workspace.profile.release, tissue)
    settings, folder = workspace.profile.pretraining, workspace.checkpoint_dir(tissue)
    names = {f.name for f in dataclasses.fields(PretrainConfig)}
    config = PretrainConfig(
        seed=workspace.profile.seed, **{k: v for k, v in settings.model_dump().items() if k in names}
    )
    with processes() as device:
        store = _write_corpus(workspace, tissue)
        train, val = store.split(val_fraction=settings.val_fraction, seed=workspace.profile.seed)
        model = _new_model(workspace, tissue, train).to(device)
        history = pretrain(
            model, train, val=val, config=config, checkpoint_dir=folder, restart=True, report=report,
            corpus_real=not workspace.simulated, profile=workspace.profile.name, tissue=tissue,
        )
        baselines = masked_baselines(train, val, config=config, model=model)
        guesses = guess_table(train, val, model=model, config=config)
    for column, accuracy in zip(BASELINE_COLUMNS, baselines["accuracy"], strict=False):
        history[column] = accuracy
    write_csv(folder / "baselines.csv", baselines)
    write_csv(folder / "guesses.csv", guesses)
    write_csv(folder / "ones.csv", read_ones(workspace, tissue))
    write_csv(folder / "corpus.csv", corpus_table(store, train, val))
    write_csv(folder / "history.csv", history)
    return history


def _write_corpus(workspace: Workspace, tissue: str) -> TokenStore:
    """Tokenise the pretraining data sets, one in memory at a time, in chunks of cells."""
    datasets = [d.id for d in workspace.datasets(tissue, role="pretraining")]
    if not datasets:
        raise InputError(
            f"profile '{workspace.profile.name}' names no pretraining data for {tissue}: nothing to train."
        )
    genes = _vocabulary(workspace, tissue)
    n_bins = workspace.profile.model.n_bins

    def chunks():
        for dataset in datasets:
            adata = workspace.read_processed(tissue, dataset)
            if list(adata.var_names) != genes:
                raise InputError(f"{dataset}: genes differ from the vocabulary. Preprocess {tissue} again.")
            for start in range(0, adata.n_obs, CHUNK_CELLS):
                part = adata[start : start + CHUNK_CELLS]
                yield dataset, list(part.obs_names), tokenize(part, n_bins=n_bins)

    if rank_and_world()[0] == 0:
        TokenStore.write(workspace.tokens_dir(tissue), chunks(), genes=genes, n_bins=n_bins)
    _wait_for_all()
    return TokenStore.open(workspace.tokens_dir(tissue))


def _vocabulary(workspace: Workspace, tissue: str) -> list[str]:
    import pandas as pd

    if not workspace.vocabulary_path(tissue).exists():
        raise InputError(f"{tissue}: no vocabulary. Run the chapter 'preprocessing' first.")
    return pd.read_csv(workspace.vocabulary_path(tissue))["gene"].astype(str).tolist()


def _convert_release(workspace: Workspace, release: ReleaseFiles, tissue: str) -> pd.DataFrame:
    """Fetch the authors' weights and write them as a checkpoint of this workspace."""
    import pandas as pd

    from .hub import fetch_release

    folder = workspace.checkpoint_dir(tissue)
    pattern = {str(k): v for k, v in release.weights.items()}[tissue]
    found = fetch_release(
        [pattern], data_dir=workspace.data_dir, repo=release.repo, revision=release.revision
    )
    if len(found) != 1:
        raise InputError(f"release.weights.{tissue}: '{pattern}' matches {len(found)} files; name one.")
    genes, key_max = _vocabulary(workspace, tissue), workspace.profile.model.key_max
    load_released_checkpoint(found[0], genes, key_max=key_max, out=folder)
    columns = ["train_loss", "val_loss", "val_accuracy", "val_accuracy_hard", *BASELINE_COLUMNS]
    epoch = read_checkpoint_facts(folder)["epoch"]
    history = pd.DataFrame([{"epoch": epoch, **dict.fromkeys(columns, np.nan)}])
    write_csv(folder / "history.csv", history)
    return history


def _new_model(workspace: Workspace, tissue: str, train: TokenStore) -> ScAraFM:
    """An untrained model of the profile's shape, with Gene2Vec vectors where asked."""
    shape, seed = workspace.profile.model.model_dump(), workspace.profile.seed
    vectors, path = None, workspace.checkpoint_dir(tissue) / "gene2vec.txt"
    if shape.pop("gene_init") == "gene2vec":
        if rank_and_world()[0] == 0:
            train_gene2vec(train, path, dim=shape["dim"], seed=seed)
        _wait_for_all()
        vectors, _ = load_gene2vec(path, train.genes, dim=shape["dim"], seed=seed)
    return ScAraFM(ModelConfig(seed=seed, **shape), train.genes, gene_vectors=vectors)


def main(arguments: list[str]) -> None:
    """Pretrain one tissue of a profile: the entry point for ``torchrun``."""
    from .workspace import open_workspace

    if len(arguments) != 2:
        raise InputError("give a profile and a tissue, for example: paper leaf")
    pretrain_tissue(open_workspace(arguments[0]), arguments[1], report=print)


if __name__ == "__main__":
    main(sys.argv[1:])
