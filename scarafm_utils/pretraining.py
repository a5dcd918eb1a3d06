"""Pretraining by masked bins (paper, section 2; scBERT): one visible loop that survives a kill.

The order of the cells depends on (seed, epoch) and the masks on (seed, epoch, step) alone, so
nothing random has to be stored: a run that was killed starts again from its last checkpoint and
ends with the same loss curve and, on a CPU at the same thread count, the same bytes.  Under
``torchrun`` each process takes its share of every batch and the gradients are summed, which gives
the losses of one process; each takes the GPU of its number where there are GPUs::

    torchrun --nproc-per-node 8 --no-python scarafm pretrain leaf --profile paper

Deviations from the released code: cells are shuffled over all studies; validation masks are fixed
and hide the same share as in training; losses are means over all hidden tokens of an epoch.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .checkpoints import load_checkpoint, load_released_checkpoint, read_checkpoint_facts, save_checkpoint
from .corpus_report import corpus_table, guess_table, read_ones
from .errors import InputError
from .files import write_csv
from .gene2vec import load_gene2vec, train_gene2vec
from .masked import (
    DEFAULTS,
    PretrainConfig,
    choose_micro_batch,
    evaluate,
    forward_function,
    masked_baselines,
    masked_batches,
    masked_loss,
)
from .model import ModelConfig, ScAraFM
from .parallel import processes, rank_and_world, share_of, sum_gradients, wait_for_all
from .progress import Progress, end_epoch, fingerprint_of, record_cost, resume, save_progress, weights_of
from .reports import Report, Status, lines_to_file, running_path
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
    checkpoint_dir: str | Path, restart: bool = False, report: Report | None = None, **facts,
) -> pd.DataFrame:
    """Train `model` in place, go on where a killed run stopped, and end with the best weights.

    Each epoch writes ``last.safetensors`` (all that a later start needs), ``cost.csv`` (seconds per
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
        Called with a :class:`~scarafm_utils.reports.Status` after each step and each epoch, by the
        first process alone.
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

    folder, first_process = Path(checkpoint_dir), rank_and_world()[0] == 0
    device = next(model.parameters()).device
    store, val = _as_store(store, model), _as_store(val, model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.learning_rate)
    progress = Progress(fingerprint_of(model, store, val, config), choose_micro_batch(model, config))
    progress = resume(model, optimizer, progress, folder, restart=restart)
    wait_for_all()  # the first process may replace the file that the others read
    forward = forward_function(model, config, micro_batch=progress.micro_batch)
    model.auto_redraw = False  # counted once per batch, whatever the micro-batch

    while progress.epoch < config.epochs and progress.waited < config.patience:
        started, first = time.perf_counter(), progress.step
        total = torch.tensor(progress.loss_sum, dtype=torch.float64, device=device)
        model.train()
        for step, inputs, targets, n_masked in masked_batches(
            store, progress.epoch, config=config, device=device, start=first
        ):
            model.count_training_call()
            loss_sum = torch.zeros_like(total)
            for part in share_of(len(inputs), micro_batch=progress.micro_batch):
                loss = masked_loss(forward(inputs[part]), targets[part])
                (loss / max(n_masked, 1)).backward()
                loss_sum += loss.detach()
            total += sum_gradients(model, loss_sum)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.n_masked += n_masked
            progress.step = step + 1
            if config.save_every and progress.step % config.save_every == 0:
                progress.loss_sum = float(total)
                save_progress(model, optimizer, progress, folder)
            if report and first_process:
                report(_status(progress, config, len(store), first, started, loss=total / max(progress.n_masked, 1)))

        row = {"epoch": progress.epoch + 1, "train_loss": float(total) / max(progress.n_masked, 1)}
        row |= evaluate(model, val, config=config, micro_batch=progress.micro_batch, forward=forward)
        status = _status(progress, config, len(store), first, started, loss=row["train_loss"], row=row)
        if end_epoch(progress, row, config):
            progress.best_state = weights_of(model)
            if first_process:
                save_checkpoint(model, folder, seed=config.seed, epoch=row["epoch"], **facts)
        save_progress(model, optimizer, progress, folder)
        record_cost(model, progress, folder, status.seconds, status.trained)
        if report and first_process:
            report(status)

    model.load_state_dict(progress.best_state)
    if first_process and not _is_there(folder):
        save_checkpoint(model, folder, seed=config.seed, epoch=_best_epoch(progress), **facts)
    wait_for_all()
    model.eval().auto_redraw = True
    return pd.DataFrame(progress.history)


def _status(progress: Progress, config: PretrainConfig, n: int, first: int, started: float, **shown) -> Status:
    """What a report says; `first` is the step that this process began the epoch with."""
    cells, before = (min(step * config.batch_size, n) for step in (progress.step, first))
    return Status(
        epoch=progress.epoch + 1, epochs=config.epochs, cells=cells, of=n, trained=cells - before,
        seconds=time.perf_counter() - started, **shown,
    )


def _is_there(folder: Path) -> bool:
    """Whether the checkpoint is: Snakemake removes the declared output of a job that was killed."""
    return all((folder / f"model.{ending}").exists() for ending in ("safetensors", "json"))


def _best_epoch(progress: Progress) -> int:
    return min(progress.history, key=lambda row: row["val_loss"])["epoch"]


def _as_store(cells, model: ScAraFM) -> TokenStore:
    if not isinstance(cells, TokenStore):
        cells = TokenStore.from_array(np.asarray(cells), genes=model.genes, n_bins=model.config.n_bins)
    if cells.genes != model.genes or cells.n_bins != model.config.n_bins:
        raise InputError(
            f"the corpus has {len(cells.genes)} genes in {cells.n_bins} bins, the model {len(model.genes)} "
            f"in {model.config.n_bins}; names and order must be the same."
        )
    return cells


def pretrain_tissue(workspace: Workspace, tissue: str, *, report: Report | None = None) -> pd.DataFrame:
    """Train the encoder of one tissue on its processed pretraining data sets.

    Writes the corpus to ``tokens/<tissue>`` and, to ``checkpoints/<tissue>``: the checkpoint,
    ``history.csv``, ``baselines.csv``, ``guesses.csv`` and ``ones.csv`` (see `corpus_report`),
    ``cost.csv``, ``corpus.csv`` (cells per data set) and ``gene2vec.txt``.  Validation cells are
    drawn by cell, in each data set; gene vectors see training cells only.  With the source
    ``release`` nothing is trained: the authors' weights are fetched and converted, and the table
    is one row without losses.

    Parameters
    ----------
    report
        See :func:`pretrain`; None writes lines to a file, for the process that runs the notebook.

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
    name = f"pretraining-{tissue}"
    report = report or lines_to_file(running_path(workspace.folder, name), title=f"pretraining {tissue}")
    with processes() as device:
        store = _write_corpus(workspace, tissue)
        train, val = store.split(val_fraction=settings.val_fraction, seed=workspace.profile.seed)
        model, facts = _new_model(workspace, tissue, train)
        history = pretrain(
            model.to(device), train, val=val, config=config, checkpoint_dir=folder, restart=True, report=report,
            corpus_real=not workspace.simulated, profile=workspace.profile.name, tissue=tissue, **facts,
        )
        baselines = masked_baselines(train, val, config=config, model=model)
        guesses = guess_table(train, val, model=model, config=config)
        for column, accuracy in zip(BASELINE_COLUMNS, baselines["accuracy"], strict=False):
            history[column] = accuracy
        if rank_and_world()[0] == 0:
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
    wait_for_all()
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


def _new_model(workspace: Workspace, tissue: str, train: TokenStore) -> tuple[ScAraFM, dict]:
    """An untrained model of the profile's shape, with Gene2Vec vectors where asked, and their coverage."""
    shape, seed = workspace.profile.model.model_dump(), workspace.profile.seed
    facts, vectors, path = {}, None, workspace.checkpoint_dir(tissue) / "gene2vec.txt"
    if shape.pop("gene_init") == "gene2vec":
        if rank_and_world()[0] == 0:
            train_gene2vec(train, path, dim=shape["dim"], seed=seed)
        wait_for_all()
        vectors, coverage = load_gene2vec(path, train.genes, dim=shape["dim"], seed=seed)
        facts["gene2vec_coverage"] = coverage
    return ScAraFM(ModelConfig(seed=seed, **shape), train.genes, gene_vectors=vectors), facts
