"""CNN: the encoder fine-tuned under scBERT's convolutional head (paper, section 2, (3c)).

One 1 × d filter reads the embedding of every gene of the task, then three linear layers read the
genes.  Trained are the head, the final LayerNorm and one encoder block.  The blocks before that
one never change, so their output is computed once and kept where it fits in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .convolution import ConvolutionalHead, cosine_restarts
from .embeddings import check_vocabulary
from .errors import InputError
from .estimators import encode_labels
from .files import code_digest, hash_of
from .fine_tuning import Standing, digest_of, load_standing, save_standing
from .tokens import eos_id, seeded_generator, tokenize

if TYPE_CHECKING:
    import anndata as ad

    from .model import ScAraFM

#: For a few hundred cells and a few epochs, where the paper's schedule would make almost no step:
#: 16 cells per step, a tenfold learning rate, no warm-up.
SMALL_DATA = {"batch_size": 16, "accumulation": 1, "learning_rate": 1e-3, "warmup": 0}


class CNNHead:
    """Fine-tune a copy of an encoder to tell labels; the encoder given stays as it is.

    Parameters
    ----------
    model
        The encoder.
    classes
        Labels in order; the columns of ``predict_proba`` follow it.  None sorts the labels.
    genes
        Genes that the head reads beside the extra token: those measured in every sample of the
        task, since a gene that some samples lack tells the sample.  None takes the vocabulary.
    block
        Which encoder block is trained, as an index: the last but one, as scBERT does; with one
        block, that one.
    batch_size, accumulation
        A step of Adam averages the gradient over ``batch_size · accumulation`` cells, the last
        step of an epoch over those that are left.
    learning_rate, minimum, cycle, growth, warmup, gamma
        See :func:`cosine_restarts`; the defaults are the paper's.  `SMALL_DATA` holds settings
        for a few hundred cells.
    patience
        Stop after so many epochs without a better validation accuracy.
    val_fraction
        Share of the training cells, per class, that is held out to choose the epoch.
    micro_batch
        Cells per forward pass: memory only, the result is the same up to round-off.
    memory_gb
        What the outputs of the unchanging blocks may take; above it they are computed each epoch.
    state
        A file in which the training keeps where it stands: killed at any moment and called again
        with the same cells and settings, `fit` goes on from there and ends with the same numbers.
        What another training left there is replaced.  Remove the file once the predictions are
        stored; until then `fit` returns at once.  None keeps nothing.
    save_every
        Steps after which `state` is written, beside the end of each epoch.

    Attributes
    ----------
    history_
        One dict per epoch: epoch, learning_rate, train_loss, val_accuracy, val_loss.

    Notes
    -----
    Deviations: the epoch kept is the one of best validation accuracy, and of lowest validation
    loss among equals; the step that ends an epoch is made even when it is not full.
    """

    def __init__(
        self,
        model: ScAraFM,
        *,
        seed: int,
        classes: Sequence | None = None,
        genes: Sequence[str] | None = None,
        epochs: int = 100,
        batch_size: int = 1,
        accumulation: int = 60,
        learning_rate: float = 1e-4,
        minimum: float = 1e-6,
        cycle: int = 15,
        growth: int = 2,
        warmup: int = 5,
        gamma: float = 0.9,
        patience: int = 5,
        val_fraction: float = 0.1,
        dropout: float = 0.2,
        block: int = -2,
        micro_batch: int = 16,
        memory_gb: float = 1.0,
        state: str | Path | None = None,
        save_every: int = 50,
    ):
        depth = len(model.blocks)
        self.block = 0 if depth == 1 else block + depth * (block < 0)
        if not 0 <= self.block < depth:
            raise InputError(f"block is {block}: the encoder has {depth} blocks.")
        if epochs < 1 or batch_size * accumulation < 1:
            raise InputError(
                f"CNN: epochs {epochs}, batch_size {batch_size}, accumulation {accumulation}: "
                "each must be 1 or more."
            )
        self.model, self.seed, self.classes = model, seed, classes
        self.genes, self.epochs, self.patience = genes, epochs, patience
        self.step_cells, self.micro_batch, self.memory_gb = batch_size * accumulation, micro_batch, memory_gb
        self.val_fraction, self.dropout = val_fraction, dropout
        self.state, self.save_every = state, save_every
        self.schedule = dict(
            maximum=learning_rate,
            minimum=min(minimum, learning_rate),
            cycle=cycle,
            growth=growth,
            warmup=warmup,
            gamma=gamma,
        )

    def fit(self, cells: ad.AnnData, y) -> CNNHead:
        """Train on processed cells (X log-normalised, the model's genes) and their labels."""
        codes, order = encode_labels(y, self.classes)
        if len(codes) != cells.n_obs:
            raise InputError(f"{cells.n_obs} cells but {len(codes)} labels: give one label per cell.")
        check_vocabulary(self.model, cells.var_names)
        self.classes_ = order
        self._build()
        inputs, targets = self._inputs(cells), torch.from_numpy(codes)
        self._train(inputs, targets, self._fingerprint(cells, targets))
        return self

    def predict_proba(self, cells: ad.AnnData) -> np.ndarray:
        """Class probabilities (n_cells, n_classes)."""
        if not hasattr(self, "encoder_"):
            raise InputError("CNNHead is not fitted: call fit first.")
        inputs = self._inputs(cells)
        return torch.softmax(self._logits(inputs, torch.arange(cells.n_obs)).double(), 1).numpy()

    def predict(self, cells: ad.AnnData) -> np.ndarray:
        """The most probable label of each cell; ties go to the first class."""
        return self.classes_[self.predict_proba(cells).argmax(1)]

    def _build(self):
        self.encoder_ = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.encoder_.blocks[self.block].requires_grad_(True)
        self.encoder_.norm.requires_grad_(True)
        config, generator = self.encoder_.config, seeded_generator(self.seed, 0)
        self.positions_ = self._positions().to(self.encoder_.gene_emb.device)
        self.head_ = ConvolutionalHead(
            len(self.positions_), config.dim, len(self.classes_), dropout=self.dropout, generator=generator
        ).to(self.encoder_.gene_emb.device)

    def _positions(self) -> torch.Tensor:
        """Positions that the head reads: its genes in the model's order, then the extra token."""
        known, wanted = self.model.genes, set(self.model.genes if self.genes is None else self.genes)
        if not wanted or wanted - set(known):
            raise InputError(
                f"CNN: {len(wanted)} genes to read, {len(wanted - set(known))} of them not among the model's "
                f"{len(known)}: give genes of the model, or None for all."
            )
        return torch.tensor([i for i, gene in enumerate(known) if gene in wanted] + [len(known)])

    def _trained(self) -> list[nn.Parameter]:
        parts = (self.encoder_.blocks[self.block], self.encoder_.norm, self.head_)
        return [p for part in parts for p in part.parameters()]

    def _tokens(self, cells):
        """Tokens of the cells and the extra one, (n, G + 1)."""
        check_vocabulary(self.encoder_, cells.var_names)
        n_bins = self.encoder_.config.n_bins
        return F.pad(torch.from_numpy(tokenize(cells, n_bins=n_bins)), (0, 1), value=eos_id(n_bins))

    def _inputs(self, cells):
        """Tokens (n, G + 1) or, where they fit in memory, the output of the unchanging blocks."""
        tokens = self._tokens(cells)
        if tokens.numel() * self.encoder_.config.dim * 4 > self.memory_gb * 1e9:
            return tokens
        with torch.no_grad():
            return torch.cat([self._below(part) for part in tokens.split(self.micro_batch)])

    def _below(self, tokens):
        """Tokens (B, N) → what enters the trained block (B, N, d); passes embeddings through."""
        if tokens.is_floating_point():
            return tokens
        x = self.encoder_.token_emb(tokens.to(self.encoder_.gene_emb.device).long()) + self.encoder_.gene_emb
        for block in self.encoder_.blocks[: self.block]:
            x = block(x)
        return x

    def _forward(self, inputs, masks=None):
        with torch.no_grad():
            x = self._below(inputs)
        for block in self.encoder_.blocks[self.block :]:
            x = block(x)
        return self.head_(self.encoder_.norm(x[:, self.positions_]), masks)

    @torch.no_grad()
    def _logits(self, inputs, rows):
        return torch.cat([self._forward(inputs[part]).cpu() for part in rows.split(self.micro_batch)])

    def _split(self, codes):
        """Rows of training and validation cells; each class keeps at least one training cell."""
        generator, train, val = seeded_generator(self.seed, 1), [], []
        for k in range(len(self.classes_)):
            rows = torch.nonzero(codes == k)[:, 0]
            rows = rows[torch.randperm(len(rows), generator=generator)]
            n_val = min(max(1, round(self.val_fraction * len(rows))), len(rows) - 1)
            val.append(rows[:n_val])
            train.append(rows[n_val:])
        train, val = torch.cat(train), torch.cat(val)
        return train, val if len(val) else train

    def _fingerprint(self, cells, codes) -> str:
        """Hash of all that the result depends on; empty where no state is kept."""
        if self.state is None:
            return ""
        settings = (
            self.seed, self.epochs, self.patience, self.step_cells, self.micro_batch, self.memory_gb,
            self.val_fraction, self.dropout, self.block, self.schedule, torch.get_num_threads(),
        )  # fmt: skip
        tensors = [*self.encoder_.state_dict().values(), self.positions_, codes, self._tokens(cells)]
        where = str(self.positions_.device)
        code = code_digest("cnn", "convolution", "fine_tuning", "model", "tokens")
        return hash_of([settings, digest_of(tensors), list(map(str, self.classes_)), where, code])

    def _train(self, inputs, codes, fingerprint: str):
        train, val = self._split(codes)
        parameters = self._trained()
        best = [p.detach().clone() for p in parameters]
        optimizer = torch.optim.Adam(parameters)
        at = load_standing(self.state, fingerprint, parameters, best, optimizer)
        while not at.finished:
            rate = cosine_restarts(at.epoch, **self.schedule)
            optimizer.param_groups[0]["lr"] = rate
            for step in self._epoch(optimizer, inputs, codes, train, at):
                if step % self.save_every == 0:
                    save_standing(self.state, at, parameters, best, optimizer)
            logits = self._logits(inputs, val)
            row = {"epoch": at.epoch, "learning_rate": rate, "train_loss": at.loss / len(train)}
            row["val_accuracy"] = float((logits.argmax(1) == codes[val]).double().mean())
            row["val_loss"] = float(F.cross_entropy(logits, codes[val]))
            if at.end_epoch(row, epochs=self.epochs, patience=self.patience):
                best = [p.detach().clone() for p in parameters]
            save_standing(self.state, at, parameters, best, optimizer)
        with torch.no_grad():
            for parameter, value in zip(parameters, best, strict=True):
                parameter.copy_(value)
        self.history_ = at.history

    def _epoch(self, optimizer, inputs, codes, train, at: Standing):
        """The steps of an epoch that are still to do, in seeded order; yields after each."""
        shuffled = torch.randperm(len(train), generator=seeded_generator(self.seed, 2, at.epoch))
        for step in train[shuffled].split(self.step_cells)[at.step :]:
            optimizer.zero_grad()
            generator = seeded_generator(self.seed, 3, at.epoch, at.step)
            masks = self.head_.masks(len(step), generator=generator).split(self.micro_batch)
            for rows, mask in zip(step.split(self.micro_batch), masks, strict=True):
                logits = self._forward(inputs[rows], mask)
                loss = F.cross_entropy(logits, codes[rows].to(logits.device), reduction="sum")
                (loss / len(step)).backward()
                at.loss += float(loss.detach())
            optimizer.step()
            at.step += 1
            yield at.step
