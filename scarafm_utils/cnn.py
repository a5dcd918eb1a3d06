"""CNN: the encoder fine-tuned under scBERT's convolutional head (paper, section 2, (3c)).

One 1 × d filter reads the embedding of every gene of the task, then three linear layers read the
genes.  Trained
are the head, the final LayerNorm and one encoder block.  The blocks before that one never change,
so their output is computed once and kept where it fits in memory.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .embeddings import check_vocabulary
from .errors import InputError
from .estimators import encode_labels
from .tokens import eos_id, seeded_generator, tokenize

if TYPE_CHECKING:
    import anndata as ad

    from .model import ScAraFM

#: For a few hundred cells and a few epochs, where the paper's schedule would make almost no step:
#: 16 cells per step, a tenfold learning rate, no warm-up.
SMALL_DATA = {"batch_size": 16, "accumulation": 1, "learning_rate": 1e-3, "warmup": 0}


def cosine_restarts(
    epoch: int,
    *,
    maximum: float,
    minimum: float = 1e-6,
    cycle: int = 15,
    growth: int = 2,
    warmup: int = 5,
    gamma: float = 0.9,
) -> float:
    """Learning rate of an epoch under cosine annealing with warm restarts.

    A cycle rises linearly from `minimum` over `warmup` epochs and falls along a cosine; the part
    after the warm-up of each further cycle is `growth` times as long, and its peak `gamma` times
    as high.  As in scBERT, epoch 0 runs at `minimum` where there is a warm-up.

    >>> [round(cosine_restarts(e, maximum=1.0, minimum=0.0), 2) for e in (0, 4, 5, 10, 15, 20)]
    [0.0, 0.8, 1.0, 0.5, 0.0, 0.9]
    """
    while epoch >= cycle:
        epoch, cycle, maximum = epoch - cycle, (cycle - warmup) * growth + warmup, maximum * gamma
    if epoch < warmup:
        return minimum + (maximum - minimum) * epoch / warmup
    share = (epoch - warmup) / (cycle - warmup)
    return minimum + (maximum - minimum) * (1 + math.cos(math.pi * share)) / 2


class ConvolutionalHead(nn.Module):
    """1 × d filter → ReLU → N → 512 → 128 → classes, with ReLU and dropout between."""

    def __init__(
        self, n_tokens: int, dim: int, n_classes: int, *, dropout: float, generator: torch.Generator
    ):
        super().__init__()
        self.filter = nn.Linear(dim, 1)  # the same weights for every gene: a 1 × d convolution
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in ((n_tokens, 512), (512, 128), (128, n_classes))
        )
        self.dropout = dropout
        with torch.no_grad():
            for layer in (self.filter, *self.layers):
                for parameter in layer.parameters():
                    bound = 1 / math.sqrt(layer.in_features)
                    parameter.uniform_(-bound, bound, generator=generator)

    def masks(self, n_cells: int, *, generator: torch.Generator):
        """Dropout masks of a step, (n_cells, 512 + 128), scaled by 1 / (1 - dropout)."""
        width = sum(layer.out_features for layer in self.layers[:-1])
        kept = torch.rand(n_cells, width, generator=generator) >= self.dropout
        return (kept / (1 - self.dropout)).to(self.filter.weight.device)

    def forward(self, h, masks=None):
        """Embeddings (B, N, d) → logits (B, K); dropout only where masks are given."""
        x, start = F.relu(self.filter(h).squeeze(-1)), 0  # (B, N)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
            if masks is not None:
                x = x * masks[:, start : start + layer.out_features]
            start += layer.out_features
        return self.layers[-1](x)


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
        train, val = self._split(targets)
        self._train(inputs, targets, train, val)
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

    def _inputs(self, cells):
        """Tokens (n, G + 1) or, where they fit in memory, the output of the unchanging blocks."""
        check_vocabulary(self.encoder_, cells.var_names)
        config = self.encoder_.config
        tokens = torch.from_numpy(tokenize(cells, n_bins=config.n_bins))
        tokens = F.pad(tokens, (0, 1), value=eos_id(config.n_bins))
        if tokens.numel() * config.dim * 4 > self.memory_gb * 1e9:
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

    def _train(self, inputs, codes, train, val):
        parameters, best, waited, self.history_ = self._trained(), None, 0, []
        optimizer = torch.optim.Adam(parameters)
        for epoch in range(self.epochs):
            rate = cosine_restarts(epoch, **self.schedule)
            optimizer.param_groups[0]["lr"] = rate
            loss = self._epoch(optimizer, inputs, codes, train, epoch)
            logits = self._logits(inputs, val)
            accuracy = float((logits.argmax(1) == codes[val]).double().mean())
            val_loss = float(F.cross_entropy(logits, codes[val]))
            row = {"epoch": epoch, "learning_rate": rate, "train_loss": loss}
            self.history_.append(row | {"val_accuracy": accuracy, "val_loss": val_loss})
            waited = 0 if best is None or accuracy > best[0] else waited + 1
            if best is None or (accuracy, -val_loss) > best[:2]:
                best = (accuracy, -val_loss, [p.detach().clone() for p in parameters])
            if waited >= self.patience:
                break
        with torch.no_grad():
            for parameter, value in zip(parameters, best[2], strict=True):
                parameter.copy_(value)

    def _epoch(self, optimizer, inputs, codes, train, epoch: int) -> float:
        """One pass over the training cells in seeded order; returns the mean loss."""
        generator, total = seeded_generator(self.seed, 2, epoch), 0.0
        order = train[torch.randperm(len(train), generator=generator)]
        for step in order.split(self.step_cells):
            optimizer.zero_grad()
            masks = self.head_.masks(len(step), generator=generator).split(self.micro_batch)
            for rows, mask in zip(step.split(self.micro_batch), masks, strict=True):
                logits = self._forward(inputs[rows], mask)
                loss = F.cross_entropy(logits, codes[rows].to(logits.device), reduction="sum")
                (loss / len(step)).backward()
                total += float(loss.detach())
            optimizer.step()
        return total / len(train)
