"""Gene2Vec: a vector per gene from co-expression, the initial gene embedding of scAraFM.

After Du et al. 2019 ("Gene2vec", doi:10.1186/s12864-018-5370-x): genes that go together in a
data set form pairs, and word2vec with negative sampling is trained on the pairs.  The human
vectors of scBERT do not exist for Arabidopsis, and the paper does not say how its own were made;
here the pairs come from the pretraining corpus itself (its training cells only).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .files import atomic_path
from .tokens import TokenStore, mask_id

if TYPE_CHECKING:
    import pandas as pd

MAX_CELLS = 2_000
MIN_CELLS = 10
GENE_BLOCK = 512
#: Small corpora are passed over more often, until about this many pairs were seen.
PAIRS_SEEN = 1_000_000


def coexpression_pairs(
    store: TokenStore, *, n_neighbours: int = 10, min_correlation: float = 0.1, seed: int = 0
) -> Iterator[tuple[str, str]]:
    """Yield each gene with its most correlated genes, data set by data set.

    Pearson correlation of the bins over up to 2,000 cells per data set, among genes measured in
    all of them and seen in at least 10; each gene gets its `n_neighbours` best partners above
    `min_correlation`.  Deviation: Gene2Vec took all pairs above 0.9, a level that single cells
    with most counts at zero do not reach.
    """
    names = np.array(store.genes)
    for start, stop in store.ranges.values():
        rows = np.flatnonzero((store.rows >= start) & (store.rows < stop))
        rng = np.random.default_rng([seed, 3, start])
        tokens = store[np.sort(rng.permutation(rows)[:MAX_CELLS])]
        measured = (tokens != mask_id(store.n_bins)).all(axis=0)
        used = np.flatnonzero(measured & ((tokens > 0).sum(axis=0) >= MIN_CELLS) & (tokens.std(axis=0) > 0))
        for gene, partner in _nearest_columns(tokens[:, used], n_neighbours, min_correlation):
            yield names[used[gene]], names[used[partner]]


def _nearest_columns(tokens: np.ndarray, k: int, floor: float) -> Iterator[tuple[int, int]]:
    """Column and one of its `k` best partners, from blocks of the correlation matrix."""
    if tokens.shape[1] < 2:
        return
    z = tokens.astype(np.float32)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    k = min(k, z.shape[1] - 1)
    for start in range(0, z.shape[1], GENE_BLOCK):
        r = z[:, start : start + GENE_BLOCK].T @ z / len(z)  # (block, genes)
        r[np.arange(len(r)), start + np.arange(len(r))] = -1
        best = np.sort(np.argpartition(-r, k - 1, axis=1)[:, :k], axis=1)
        for row, partners in enumerate(best):
            yield from ((start + row, int(j)) for j in partners if r[row, j] > floor)


def train_gene2vec(
    store: TokenStore, path: str | Path, *, dim: int = 200, n_neighbours: int = 10,
    min_correlation: float = 0.1, seed: int = 0,
) -> Path:
    """Train gene vectors on co-expression pairs and write them as text, one gene per line.

    Skip-gram with five negative samples (gensim, one worker, so that the same seed gives the same
    bytes).  All vectors are scaled by one number to a mean square of 1 per dimension, so that
    they weigh as much as the N(0, 1) rows of genes without a vector and as the token embedding.

    Raises
    ------
    InputError
        Where no pair of genes is correlated.
    """
    from gensim.models import Word2Vec

    pairs = list(coexpression_pairs(
        store, n_neighbours=n_neighbours, min_correlation=min_correlation, seed=seed
    ))
    if not pairs:
        raise InputError(
            f"no two genes correlate above {min_correlation} in {len(store)} cells: "
            "set model.gene_init to random."
        )
    order = np.random.default_rng([seed, 4]).permutation(len(pairs))
    epochs = int(np.clip(PAIRS_SEEN / len(pairs), 5, 100))
    words = Word2Vec(
        [list(pairs[i]) for i in order], vector_size=dim, window=1, min_count=1, sg=1, negative=5,
        sample=0, workers=1, seed=seed + 1, epochs=epochs,
    ).wv
    vectors = words.vectors / np.sqrt(np.mean(np.square(words.vectors)))
    return write_gene2vec(path, words.index_to_key, vectors)


def write_gene2vec(path: str | Path, genes: Sequence[str], vectors: np.ndarray) -> Path:
    """Write vectors in the text format of word2vec, sorted by gene name."""
    vectors = np.asarray(vectors, dtype=np.float32)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        handle.write(f"{len(genes)} {vectors.shape[1]}\n")
        for i in np.argsort(np.array(genes)):
            handle.write(f"{genes[i]} {' '.join(f'{x:.9g}' for x in vectors[i])}\n")
    return Path(path)


def load_gene2vec(
    path: str | Path, genes: Sequence[str], *, dim: int, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Read vectors for `genes`; a gene that the file lacks gets a row from N(0, 1), as released.

    Parameters
    ----------
    path
        Text: a gene and `dim` numbers per line, with or without word2vec's line of two numbers.
        Names are compared without regard to case.
    genes
        The vocabulary, in order.
    seed
        Fixes the rows of genes without a vector; a gene's row does not depend on which others
        are missing.

    Returns
    -------
    vectors
        (G, dim), float32.
    coverage
        Share of `genes` that the file holds.

    Raises
    ------
    InputError
        Where a line does not hold `dim` numbers; both counts are given.
    """
    found = _read_vectors(path, dim, {gene.upper() for gene in genes})
    vectors = np.random.default_rng([seed, 5]).standard_normal((len(genes), dim)).astype(np.float32)
    for i, gene in enumerate(genes):
        if gene.upper() in found:
            vectors[i] = found[gene.upper()]
    return vectors, sum(gene.upper() in found for gene in genes) / max(len(genes), 1)


def _read_vectors(path: str | Path, dim: int, wanted: set[str]) -> dict[str, np.ndarray]:
    found = {}
    with open(path, encoding="utf-8") as handle:
        for number, line in enumerate(handle, start=1):
            fields = line.split()
            if not fields or (number == 1 and len(fields) == 2 != dim + 1):
                continue
            if len(fields) != dim + 1:
                raise InputError(
                    f"{Path(path).name}, line {number}: {len(fields) - 1} numbers, but model.dim is {dim}. "
                    "Set model.dim to the file's size or give another file."
                )
            if fields[0].upper() in wanted:
                found[fields[0].upper()] = np.array(fields[1:], dtype=np.float32)
    return found


def nearest_genes(vectors: np.ndarray, genes: Sequence[str], *, query: str, n_top: int = 5) -> pd.DataFrame:
    """The genes whose vectors point most in the direction of `query`'s: columns gene, cosine.

    `vectors` is (G, dim), for example ``model.gene_emb[:-1]`` as an array.
    """
    import pandas as pd

    from .errors import suggest

    names = list(genes)
    if query not in names:
        raise InputError(f"gene {query!r} is not in the vocabulary: {suggest(query, names[:20])} …")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit[names.index(query)]
    best = [i for i in np.argsort(-cosine, kind="stable") if names[i] != query][:n_top]
    return pd.DataFrame({"gene": [names[i] for i in best], "cosine": cosine[best]})
