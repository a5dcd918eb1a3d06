"""From the encoder's output to features: CLS, weighted mean, principal components, dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from .errors import InputError
from .model import ScAraFM
from .names import POOLED
from .tokens import tokenize

if TYPE_CHECKING:
    import anndata as ad


def check_vocabulary(model: ScAraFM, genes: Sequence[str]) -> None:
    """Refuse cells whose genes are not the model's, in the model's order."""
    genes = tuple(map(str, genes))
    if genes == model.genes:
        return
    shared = len(set(genes) & set(model.genes))
    raise InputError(
        f"the model knows {len(model.genes)} genes, the cells have {len(genes)}, {shared} in common, or in "
        "another order: bring the cells to the model's vocabulary first (preprocessing.to_vocabulary)."
    )


def iter_hidden(model: ScAraFM, adata: ad.AnnData, *, batch_size: int = 32) -> Iterator[torch.Tensor]:
    """Embed the cells of `adata` in order, batch by batch.

    Parameters
    ----------
    model
        The encoder; used as it stands, without gradients, on its own device.
    adata
        Processed cells: X log-normalised, the model's genes in the model's order; a gene that a
        sample does not carry (``varm['measured']``) is MASK to the model.

    Yields
    ------
    (B, G + 1, d) float32 tensors on the model's device; the extra token is position G.
    """
    check_vocabulary(model, adata.var_names)
    tokens = torch.from_numpy(tokenize(adata, n_bins=model.config.n_bins))
    training, device = model.training, model.gene_emb.device
    model.eval()
    try:
        for batch in tokens.split(batch_size):
            with torch.no_grad():
                hidden = model.encode(batch.to(device)).float()
            yield hidden
    finally:
        model.train(training)


def cls_token(h, x=None):
    """The embedding of the extra token: (B, G + 1, d) → (B, d), position G (paper, section 2, (1)).

    `x` is not looked at; summaries are called with embeddings and expression alike.
    """
    return h[:, -1]


def weighted_mean(h, x):
    """Mean of the gene embeddings weighted by expression (paper, section 2, (2)).

    Parameters
    ----------
    h
        (B, G + 1, d) embeddings, tensor or array; position G is left out.
    x
        (B, G) log-normalised expression, tensor, array or scipy sparse.  A gene that was not
        measured, 0 or NaN here, contributes nothing.

    Returns
    -------
    (B, d), of the type of `h`; zeros for a cell without expression.

    Examples
    --------
    >>> h = np.array([[[1.0], [3.0], [9.0]]])
    >>> weighted_mean(h, np.array([[1.0, 3.0]]))
    array([[2.5]])
    """
    if not isinstance(h, torch.Tensor):
        return weighted_mean(torch.as_tensor(h), x).numpy()
    x = torch.as_tensor(x.toarray() if hasattr(x, "toarray") else x).to(h).nan_to_num(0.0)
    total = x.sum(1, keepdim=True)  # (B, 1)
    weights = x / torch.where(total > 0, total, torch.ones_like(total))
    return torch.bmm(weights.unsqueeze(1), h[:, :-1]).squeeze(1)


#: What turns embeddings and expression into one vector per cell, by representation.
SUMMARIES: dict[str, Callable] = {name: globals()[function] for name, function in POOLED.items()}


class EmbeddingPCA:
    """Principal components of gene embeddings: d numbers per gene become k (paper, section 2, (3b)).

    The rows of the analysis are all (cell, gene) pairs of the cells it is fitted on, without the
    extra token.  Only their number, sum and second moment (d × d) are kept, in float64, so that
    fitting is one pass over batches.  Equal to scikit-learn's PCA on the stacked rows; the sign
    of a component makes its largest loading positive.

    Attributes
    ----------
    components_, mean_, explained_variance_
        (k, d), (d,) and (k,), float64 tensors.
    """

    def __init__(self, k: int):
        if k < 1:
            raise InputError(f"PCA with k = {k}: give a number of 1 or more.")
        self.k = k

    def fit(self, batches: Iterable) -> EmbeddingPCA:
        """Fit on an iterable of (B, G + 1, d) embeddings, tensors or arrays; returns self."""
        moments = None
        for h in batches:
            moments = add_moments(moments, h)
        if moments is None:
            raise InputError("PCA was given no cells to fit.")
        return self.fit_moments(*moments)

    def fit_moments(self, count: int, total, second) -> EmbeddingPCA:
        """Fit on the number of rows, their sum (d,) and their second moment (d, d)."""
        if count < 2:
            raise InputError(f"PCA was given {count} rows of embeddings: two or more are needed.")
        if self.k > len(total):
            raise InputError(f"PCA with k = {self.k} of embeddings with {len(total)} dimensions: lower k.")
        self.mean_ = total / count
        covariance = (second - count * torch.outer(self.mean_, self.mean_)) / (count - 1)
        values, vectors = torch.linalg.eigh(covariance)
        components = vectors.T.flip(0)[: self.k]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        self.components_ = components * torch.sign(largest)
        self.explained_variance_ = values.flip(0)[: self.k].clamp(min=0)
        return self

    def transform(self, h):
        """Embeddings (B, G + 1, d) → (B, G·k), of the type of `h`; column g·k + j, position G left out."""
        if not hasattr(self, "components_"):
            raise InputError("EmbeddingPCA is not fitted: call fit first.")
        if not isinstance(h, torch.Tensor):
            return self.transform(torch.as_tensor(h)).numpy()
        scores = (h[:, :-1] - self.mean_.to(h)) @ self.components_.to(h).T  # (B, G, k)
        return scores.flatten(1)


class Moments:
    """Number, sum and second moment of the gene embeddings of several sets of cells.

    Cells that belong to the same sets form a group; each cell is counted once, in its group.
    """

    def __init__(self, fits: list[np.ndarray], n_cells: int):
        member = np.zeros((n_cells, len(fits)), dtype=bool)
        for i, rows in enumerate(fits):
            member[rows, i] = True
        self.patterns, group = np.unique(member, axis=0, return_inverse=True)
        self.group = group.reshape(-1)
        self.sums: dict[int, tuple] = {}

    def add(self, h: torch.Tensor, rows) -> None:
        """Count the embeddings (B, G + 1, d) of the cells at `rows`."""
        groups = self.group[rows]
        for group in np.unique(groups):
            if self.patterns[group].any():
                chosen = torch.from_numpy(groups == group).to(h.device)
                self.sums[group] = add_moments(self.sums.get(group), h[chosen])

    def total(self, i: int) -> tuple:
        """Number of rows, sum (d,) and second moment (d, d) of set `i`."""
        parts = [sums for group, sums in sorted(self.sums.items()) if self.patterns[group, i]]
        return tuple(sum(column) for column in zip(*parts, strict=True))


def add_moments(old: tuple | None, h) -> tuple:
    """Add the gene embeddings of `h` (B, G + 1, d) to a number of rows, a sum and a second moment."""
    rows = torch.as_tensor(h)[:, :-1].flatten(0, 1).double()  # (B·G, d)
    new = len(rows), rows.sum(0), rows.T @ rows
    return new if old is None else tuple(a + b for a, b in zip(old, new, strict=True))


def iter_dimensions(
    model: ScAraFM,
    adata: ad.AnnData,
    *,
    memory_gb: float,
    batch_size: int = 32,
    genes: np.ndarray | None = None,
    start: int = 0,
    dtype=np.float32,
) -> Iterator[tuple[int, np.ndarray]]:
    """Read the embedding dimension by dimension within a memory budget.

    As many dimensions as fit in `memory_gb` are held at once; each such block is one pass of the
    encoder over the cells: ⌈d · n · G · bytes / memory⌉ passes and never a file.

    Parameters
    ----------
    memory_gb
        What a block may take, in units of 10⁹ bytes.
    genes
        Positions of the genes wanted; None takes all.
    start
        The first dimension wanted.
    dtype
        In which a block is held; float16, with twice as many dimensions in a block, rounds values to
        three digits.

    Yields
    ------
    j and (n, G) float32, for j = start … d - 1; the extra token is left out.

    Raises
    ------
    InputError
        Where not even one dimension fits.
    """
    check_vocabulary(model, adata.var_names)
    genes = np.arange(adata.n_vars) if genes is None else np.asarray(genes)
    dim, need = model.config.dim, np.dtype(dtype).itemsize * adata.n_obs * len(genes)
    held = min(dim, int(memory_gb * 1e9 // max(need, 1)))
    if held < 1:
        raise InputError(
            f"one embedding dimension of {adata.n_obs} cells × {len(genes)} genes takes {need / 1e9:.3g} GB, "
            f"memory_gb is {memory_gb:g}: raise it or take fewer cells."
        )
    for first in range(start, dim, held):
        shape = (min(held, dim - first), adata.n_obs, len(genes))
        block, row = np.empty(shape, dtype=dtype), 0
        for h in iter_hidden(model, adata, batch_size=batch_size):
            keep_dimensions(block, slice(row, row + len(h)), h[:, genes, first:])
            row += len(h)
        for j in range(len(block)):
            yield first + j, block[j].astype(np.float32)  # a copy: nobody holds the block but this loop
        del block


def keep_dimensions(block: np.ndarray, rows: slice, h: torch.Tensor) -> None:
    """Write the first dimensions of gene embeddings (B, G, d) into the `rows` of a block (m, n, G)."""
    block[:, rows] = h[..., : len(block)].permute(2, 0, 1).cpu().numpy()
