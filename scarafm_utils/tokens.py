"""Expression as tokens: six bins, masks, and a corpus on disk that is read in shuffled order.

A cell is one token per vocabulary gene, in vocabulary order.  With ``n_bins`` bins the ids are
``0 … n_bins - 1`` for the bins, ``n_bins`` for the extra token (EOS) that the model itself
appends at position G, and ``n_bins + 1`` for MASK, which also stands where a gene was not
measured.  Tokens are uint8 everywhere outside the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .files import atomic_path, hash_of, sha256_file, write_json, write_text

if TYPE_CHECKING:
    import anndata as ad
    import torch

#: A memory map is opened anew after about this many bytes, so that pages read do not pile up.
RESIDENT_BYTES = 256 << 20
#: What one random row costs in resident memory beyond itself: the kernel maps pages around it.
FAULT_BYTES = 128 << 10
CHUNK_CELLS = 2_000


def eos_id(n_bins: int) -> int:
    """The id of the extra token at position G."""
    return n_bins


def mask_id(n_bins: int) -> int:
    """The id of a hidden token and of a gene that was not measured."""
    return n_bins + 1


def seeded_generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on all numbers of `key`, for example (seed, epoch, step)."""
    import torch

    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def bin_expression(X, *, n_bins: int = 6) -> np.ndarray:
    """Floor log-normalised expression to the bins 0 … n_bins - 1 (paper, section A.1; scBERT).

    With six bins the edges lie at 1.72, 6.39, 19.1, 53.6 and 147.4 counts per 10,000: whatever
    lies below 1.72 is token 0, like a gene without a count.

    Parameters
    ----------
    X
        (n_cells, n_genes), log1p of counts per 10,000, dense or scipy sparse.
    n_bins
        Number of bins, 2 to 254.

    Returns
    -------
    (n_cells, n_genes), uint8, dense.

    Raises
    ------
    InputError
        Where `n_bins` is out of range or `X` holds a value that is not a number.

    Examples
    --------
    >>> bin_expression(np.array([[0.0, 0.99, 1.0, 5.2, 9.1]]))
    array([[0, 0, 1, 5, 5]], dtype=uint8)
    """
    from scipy import sparse

    if not 2 <= n_bins <= 254:
        raise InputError(f"n_bins is {n_bins}: give a number from 2 to 254.")
    if not sparse.issparse(X):
        return _floor(np.asarray(X), n_bins)
    X = X.tocsr()
    return sparse.csr_matrix((_floor(X.data, n_bins), X.indices, X.indptr), shape=X.shape).toarray()


def _floor(values: np.ndarray, n_bins: int) -> np.ndarray:
    if np.isnan(values).any():
        raise InputError("expression holds values that are not numbers: remove or fill them first.")
    return np.clip(values, 0, n_bins - 1).astype(np.uint8)


def tokenize(adata: ad.AnnData, *, n_bins: int = 6) -> np.ndarray:
    """Bin the cells of `adata` and put MASK where a sample does not carry a gene.

    Parameters
    ----------
    adata
        X: log1p of counts per 10,000.  Where ``varm['measured']`` (n_genes, n_samples) is
        present, ``uns['samples']`` names its columns and ``obs['sample']`` each cell's sample.

    Returns
    -------
    (n_cells, n_genes), uint8.

    Raises
    ------
    InputError
        Where a cell's sample is not among the columns of ``varm['measured']``.
    """
    tokens = bin_expression(adata.X, n_bins=n_bins)
    measured = measured_columns(adata)
    for sample, genes in measured.items():
        cells = np.flatnonzero(np.asarray(adata.obs["sample"].astype(str)) == sample)
        if len(cells) and not genes.all():
            tokens[np.ix_(cells, np.flatnonzero(~genes))] = mask_id(n_bins)
    return tokens


def measured_columns(adata: ad.AnnData) -> dict[str, np.ndarray]:
    """Which genes each sample carries: sample name → (n_genes,) bool; empty where all are carried."""
    if "measured" not in adata.varm:
        return {}
    table = np.asarray(adata.varm["measured"], dtype=bool)
    samples = [str(s) for s in adata.uns["samples"]]
    unknown = set(adata.obs["sample"].astype(str)) - set(samples)
    if unknown:
        raise InputError(
            f"obs['sample'] holds {min(unknown)!r}, which varm['measured'] has no column for "
            f"(it has {', '.join(samples[:5])}). Run the chapter 'preprocessing' again."
        )
    return dict(zip(samples, table.T, strict=True))


def mask_tokens(
    tokens, *, p_mask: float, generator: torch.Generator, keep_probability: float = 0.1, n_bins: int = 6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide a share of the non-zero tokens, to be predicted from the rest (scBERT's masking).

    Each non-zero bin is chosen with probability `p_mask`, independently; zeros, EOS and genes
    that were not measured never are.  Of the chosen ones 1 - `keep_probability` become MASK,
    the others stay as they are; none is replaced by a random bin.  Deviation: scBERT chooses
    exactly the share, rounded up, in each cell.

    Parameters
    ----------
    tokens
        (B, G), uint8 tensor or array.
    generator
        A CPU generator: the masks are the same on every device.

    Returns
    -------
    inputs
        (B, G), uint8: what the model sees.
    targets
        (B, G), int64: the true bin where a token was chosen, -100 elsewhere.
    """
    import torch

    tokens = torch.as_tensor(tokens, dtype=torch.uint8)
    eligible = (tokens > 0) & (tokens < n_bins)
    chosen = (torch.rand(tokens.shape, generator=generator) < p_mask) & eligible
    kept = torch.rand(tokens.shape, generator=generator) < keep_probability
    inputs = tokens.masked_fill(chosen & ~kept, mask_id(n_bins))
    targets = tokens.long().masked_fill(~chosen, -100)
    return inputs, targets


@dataclass(frozen=True)
class TokenStore:
    """A corpus of cells as uint8 tokens, memory-mapped, read in any order.

    Make one with :meth:`write` (from chunks, to disk), :meth:`open` or :meth:`from_array`.
    ``store[rows]`` is a (len(rows), G) uint8 array; ``ranges`` says which rows each data set has
    in the whole corpus; a subset (:meth:`subset`, :meth:`split`) shares the file.  Reading needs
    memory for the rows asked for and at most `RESIDENT_BYTES` of mapped pages.
    """

    genes: tuple[str, ...]
    n_bins: int
    ranges: dict[str, tuple[int, int]]
    digest: str
    rows: np.ndarray
    source: _Rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows) -> np.ndarray:
        return self.source.read(self.rows[rows])

    @classmethod
    def from_array(cls, tokens, *, genes: Sequence[str] | None = None, n_bins: int = 6) -> TokenStore:
        """A store in memory, for tests and small trials."""
        tokens = np.ascontiguousarray(tokens, dtype=np.uint8)
        names = tuple(genes) if genes is not None else tuple(f"gene{i}" for i in range(tokens.shape[1]))
        digest = hash_of([tokens.shape, hashlib.sha256(tokens).hexdigest(), names, n_bins])
        return cls(names, n_bins, {"array": (0, len(tokens))}, digest, np.arange(len(tokens)), _Rows(tokens))

    @classmethod
    def write(
        cls, folder: str | Path, chunks: Iterable[tuple[str, Sequence[str], np.ndarray]], *,
        genes: Sequence[str], n_bins: int = 6,
    ) -> TokenStore:
        """Write chunks one after another and open the result; a killed run leaves no store.

        Parameters
        ----------
        folder
            Gets ``tokens.u8`` (rows of G bytes), ``cells.txt`` (one obs name per row) and
            ``store.json`` (genes, ranges, checksum), the last one last.
        chunks
            (data set, obs names, (n, G) uint8 tokens); the chunks of a data set in a row.
        """
        folder = Path(folder)
        ranges: dict[str, tuple[int, int]] = {}
        names: list[str] = []
        with atomic_path(folder / "tokens.u8") as temporary, open(temporary, "wb") as handle:
            for dataset, cells, tokens in chunks:
                if tokens.dtype != np.uint8 or tokens.shape != (len(cells), len(genes)):
                    raise InputError(
                        f"{dataset}: a chunk of {tokens.dtype} {tokens.shape} does not fit "
                        f"{len(cells)} cells × {len(genes)} genes of uint8."
                    )
                start = ranges.get(dataset, (len(names), 0))[0]
                handle.write(np.ascontiguousarray(tokens).data)
                names.extend(cells)
                ranges[dataset] = (start, len(names))
        write_text(folder / "cells.txt", "".join(f"{name}\n" for name in names))
        write_json(folder / "store.json", {
            "genes": list(genes), "n_bins": n_bins, "n_cells": len(names), "ranges": ranges,
            "sha256": sha256_file(folder / "tokens.u8"),
        })
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = False) -> TokenStore:
        """Open a store; with `verify`, compare the checksum of the tokens.

        Raises
        ------
        InputError
            Where there is no store, its size is wrong, or its checksum is.
        """
        folder = Path(folder)
        if not (folder / "store.json").exists():
            raise InputError(f"{folder.name}: no token store there. Run the chapter 'pretraining' first.")
        facts = json.loads((folder / "store.json").read_text())
        shape = (facts["n_cells"], len(facts["genes"]))
        path, expected = folder / "tokens.u8", shape[0] * shape[1]
        if path.stat().st_size != expected:
            raise InputError(
                f"{path.name}: {path.stat().st_size} bytes, expected {expected}. Delete the folder and rerun."
            )
        if verify and sha256_file(path) != facts["sha256"]:
            raise InputError(f"{path.name}: checksum differs from store.json. Delete the folder and rerun.")
        ranges = {name: tuple(ends) for name, ends in facts["ranges"].items()}
        digest = hash_of([facts["sha256"], facts["genes"], facts["n_bins"]])
        genes = tuple(facts["genes"])
        return cls(genes, facts["n_bins"], ranges, digest, np.arange(shape[0]), _Rows(path, shape))

    def subset(self, rows) -> TokenStore:
        """The cells at `rows` of this store, in that order."""
        rows = self.rows[np.asarray(rows)]
        digest = hash_of([self.digest, hashlib.sha256(rows).hexdigest()])
        return replace(self, rows=rows, digest=digest)

    def split(self, *, val_fraction: float, seed: int) -> tuple[TokenStore, TokenStore]:
        """Training and validation cells: `val_fraction` of each data set, at least one cell in all."""
        if len(self) < 2:
            raise InputError(f"the corpus has {len(self)} cells: training and validation need two or more.")
        order = np.random.default_rng([seed, 1]).permutation(len(self))
        chosen = np.zeros(len(self), dtype=bool)
        for start, stop in self.ranges.values():
            rows = order[(self.rows[order] >= start) & (self.rows[order] < stop)]
            chosen[rows[: round(val_fraction * len(rows))]] = True
        if not chosen.any() or chosen.all():
            chosen[:] = np.arange(len(self)) == order[0]
        return self.subset(np.flatnonzero(~chosen)), self.subset(np.flatnonzero(chosen))

    def batches(
        self, *, batch_size: int, seed: int | None = None, epoch: int = 0, start: int = 0
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (step, (B, G) uint8), from step `start` on.

        With a seed the whole corpus is shuffled anew each epoch, across data sets; the order
        depends on (seed, epoch) alone, so that reading can go on anywhere.  Without, in order.
        """
        n = len(self)
        order = np.arange(n) if seed is None else np.random.default_rng([seed, 2, epoch]).permutation(n)
        for step in range(start, -(-n // batch_size)):
            yield step, self[order[step * batch_size : (step + 1) * batch_size]]


class _Rows:
    """Rows of an array, or of a file of uint8 that is mapped anew before its pages pile up."""

    def __init__(self, source, shape: tuple[int, int] | None = None):
        self.source, self.shape = source, shape
        self.map: np.ndarray | None = None
        self.resident = 0

    def read(self, rows) -> np.ndarray:
        if self.shape is None:
            return self.source[rows]
        if self.map is None or self.resident > RESIDENT_BYTES:
            self.map = np.memmap(self.source, dtype=np.uint8, mode="r", shape=self.shape)
            self.resident = 0
        self.resident += np.size(rows) * (self.shape[1] + FAULT_BYTES)
        return np.array(self.map[rows])
