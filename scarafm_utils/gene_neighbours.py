"""Neighbours in gene-embedding space, beside what is known of the genes and beside chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .checkpoints import load_checkpoint
from .errors import InputError
from .gene2vec import nearest_genes
from .tokens import TokenStore, mask_id

if TYPE_CHECKING:
    import pandas as pd

    from .workspace import Workspace

N_TOP = 5
#: Random assignments of genes to vectors that stand for chance.
N_PERMUTATIONS = 99
#: Held-out cells that correlations are taken over, at most.
MAX_CELLS = 500
BLOCK = 512


@dataclass(frozen=True)
class GeneVectors:
    """Vectors (n, d) of the genes that have one, in vocabulary order, and the size of the vocabulary.

    `frozen` says whether training left them as Gene2Vec made them.
    """

    genes: tuple[str, ...]
    vectors: np.ndarray
    n_vocabulary: int
    frozen: bool


def read_gene_vectors(workspace: Workspace, tissue: str) -> GeneVectors:
    """The gene embeddings of a tissue's checkpoint, without genes that Gene2Vec has no vector for.

    Those got random numbers, whose neighbours mean nothing.  Where the checkpoint came without a
    Gene2Vec file (released weights, random start) all genes are taken.
    """
    folder = workspace.checkpoint_dir(tissue)
    model = load_checkpoint(folder)
    vectors = model.gene_emb.detach().numpy()[:-1]
    path, known = folder / "gene2vec.txt", np.ones(len(vectors), dtype=bool)
    if path.exists() and workspace.profile.model.gene_init == "gene2vec":
        with open(path, encoding="utf-8") as handle:
            named = {line.split(" ", 1)[0] for line in handle}
        known = np.array([gene in named for gene in model.genes])
    genes = tuple(np.array(model.genes)[known])
    return GeneVectors(genes, vectors[known], len(vectors), model.config.gene_emb == "frozen")


def neighbour_table(found: GeneVectors, *, n_genes: int = 8, n_top: int = N_TOP) -> pd.DataFrame:
    """The nearest genes of the first `n_genes` genes, each with its cosine: one row per gene.

    The genes are in vocabulary order, that is by the number of data sets in which they vary most;
    nobody chose them.  Fewer genes than `n_top` have fewer neighbours.
    """
    import pandas as pd

    rows, n_top = {}, max(0, min(n_top, len(found.genes) - 1))
    for gene in found.genes[:n_genes]:
        nearest = nearest_genes(found.vectors, found.genes, query=gene, n_top=n_top)
        rows[gene] = [f"{r.gene} ({r.cosine:.2f})" for r in nearest.itertuples()]
    columns = [f"neighbour {i + 1}" for i in range(n_top)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("gene")


def nearest_rows(vectors: np.ndarray, *, n_top: int = N_TOP) -> np.ndarray:
    """For each of the (n, d) vectors the `n_top` others with the largest cosine: (n, n_top) rows."""
    if len(vectors) <= n_top:
        raise InputError(f"{len(vectors)} gene vectors: {n_top} neighbours need at least {n_top + 1}.")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = np.empty((len(unit), n_top), dtype=np.int64)
    for start in range(0, len(unit), BLOCK):
        cosine = unit[start : start + BLOCK] @ unit.T
        cosine[np.arange(len(cosine)), start + np.arange(len(cosine))] = -np.inf
        found[start : start + BLOCK] = np.argsort(-cosine, axis=1, kind="stable")[:, :n_top]
    return found


def agreement_table(workspace: Workspace, tissue: str, *, n_top: int = N_TOP) -> pd.DataFrame:
    """Do neighbours have something in common that random genes have not?

    Returns
    -------
    One row per question.  `neighbours`: mean over all genes and their `n_top` nearest; `random genes`:
    the same after the genes were dealt out to the vectors at random, mean of 99 times; `highest of
    99`: the largest of these.  Questions: the share of neighbours whose marker programme belongs to
    the same cell type (simulated cells only, where it is known), and the correlation of bins over
    cells that neither Gene2Vec nor the encoder was trained on, centred in each data set.  No row
    where so few genes have a vector that they have not `n_top` neighbours.
    """
    import pandas as pd

    found = read_gene_vectors(workspace, tissue)
    enough, rows = len(found.genes) > n_top, {}
    near = nearest_rows(found.vectors, n_top=n_top) if enough else np.empty((0, n_top), dtype=np.int64)
    if enough and workspace.simulated:
        types = marker_types(workspace, tissue)
        codes = np.unique([types[gene] for gene in found.genes], return_inverse=True)[1]
        rows["share with the same cell type's marker programme"] = against_chance(
            near, lambda one, other: codes[one] == codes[other]
        )
    if enough and (workspace.tokens_dir(tissue) / "store.json").exists():
        z = _held_out_bins(workspace, tissue, found.genes)
        rows["correlation over held-out cells"] = against_chance(
            near, lambda one, other: np.einsum("gc,gc->g", z[one], z[other])
        )
    columns = ["neighbours", "random genes", f"highest of {N_PERMUTATIONS}", "genes"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("question")


def against_chance(near: np.ndarray, score: Callable) -> tuple[float, float, float, int]:
    """Mean score of genes and their neighbours, the mean and the highest of permuted genes, and how many.

    `near` is (n, n_top); `score` takes two arrays of n rows and returns n numbers.
    """
    rng = np.random.default_rng(0)
    orders = [np.arange(len(near)), *(rng.permutation(len(near)) for _ in range(N_PERMUTATIONS))]
    found, *chance = (
        float(np.mean([score(order, order[column]).mean() for column in near.T])) for order in orders
    )
    return found, float(np.mean(chance)), max(chance), len(near)


def marker_types(workspace: Workspace, tissue: str) -> dict[str, str]:
    """The truth of a simulated tissue: for each locus the cell type that expresses it most above its mean."""
    from .effects import Effects
    from .simulate_programmes import draw_tissue

    dataset = workspace.datasets(tissue, role="pretraining")[0]
    profile = workspace.profile
    drawn = draw_tissue(dataset, profile.data.simulated_genes, profile.seed, Effects())
    best = drawn.programmes.argmax(axis=0)
    return {str(locus): drawn.cell_types[k] for locus, k in zip(drawn.loci, best, strict=True)}


def _held_out_bins(workspace: Workspace, tissue: str, genes: tuple[str, ...]) -> np.ndarray:
    """(n_genes, n_cells): bins of validation cells, centred in each data set, each gene of length 1.

    A gene that a cell does not measure, and a gene that never varies, is 0: it correlates with nothing.
    """
    store, seed = TokenStore.open(workspace.tokens_dir(tissue)), workspace.profile.seed
    _, val = store.split(val_fraction=workspace.profile.pretraining.val_fraction, seed=seed)
    order = np.sort(np.random.default_rng(seed).permutation(len(val))[:MAX_CELLS])
    position = {gene: i for i, gene in enumerate(store.genes)}
    tokens = val[order][:, [position[gene] for gene in genes]]
    z = np.where(tokens == mask_id(store.n_bins), np.nan, tokens.astype(np.float32))
    owner = np.searchsorted([stop for _, stop in store.ranges.values()], val.rows[order], side="right")
    for k in np.unique(owner):
        seen = np.isfinite(z[owner == k])
        sums = np.where(seen, z[owner == k], 0).sum(0)
        z[owner == k] -= sums / np.maximum(seen.sum(0), 1)
    z = np.nan_to_num(z.T)
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
