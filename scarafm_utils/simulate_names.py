"""Names as raw files spell them: loci and their variants, rows that are no nuclear locus, barcodes."""

from __future__ import annotations

import numpy as np

# Loci per chromosome: numbers run in steps of ten, as in the annotation.
FIRST_NUMBER, CHROMOSOME_ENDS = 1_010, (81_010, 49_010, 67_010, 40_110, 67_010)
MAX_LOCI = sum((end - FIRST_NUMBER) // 10 for end in CHROMOSOME_ENDS)
SYMBOLS = ("PDF1.2", "RBCS1A", "CAB1", "SCR", "ACT2", "UBQ10", "WOX5", "PIN1")

# Shares of the number of nuclear loci.  The first two are rows on top of the loci.
SPLIT_SHARE, OTHER_SHARE, RESPELT_SHARE = 0.04, 0.04, 0.03
# Rows that are no nuclear locus: their share among such rows, and their counts per nuclear count.
# An organelle has some 130 genes.
MAX_ROWS_OF_A_KIND = 130
OTHER_KINDS = {"ATCG": (0.4, 0.03), "ATMG": (0.2, 0.005), "AthLNC": (0.3, 0.005), "symbol": (0.1, 0.005)}


def locus_names(n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw `n` distinct nuclear loci (`AT1G01010` …), sorted.

    >>> len(set(locus_names(300, rng=np.random.default_rng(0))))
    300
    """
    numbers = [(c, k) for c, end in enumerate(CHROMOSOME_ENDS, 1) for k in range(FIRST_NUMBER, end, 10)]
    every = [f"AT{c}G{k:05d}" for c, k in numbers]
    return np.sort(rng.choice(np.array(every), size=n, replace=False))


def barcodes(n: int, *, rng: np.random.Generator) -> list[str]:
    """Draw `n` distinct 10x-like barcodes: 16 bases and the suffix ``-1``."""
    codes = rng.choice(2**32, size=n, replace=False)
    letters = np.array(list("ACGT"))[(codes[:, None] >> (2 * np.arange(16))) & 3]
    return ["".join(row) + "-1" for row in letters]


def other_rows(n_genes: int, *, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Names of the rows that are no nuclear locus, and their counts per nuclear count.

    Each kind has one row at least: chloroplast, mitochondrial, long non-coding, gene symbol.
    """
    names, rates = [], []
    n_rows = max(len(OTHER_KINDS), round(OTHER_SHARE * n_genes))
    for kind, (share, rate) in OTHER_KINDS.items():
        n = min(max(1, round(share * n_rows)), len(SYMBOLS) if kind == "symbol" else MAX_ROWS_OF_A_KIND)
        weight = rng.lognormal(sigma=1.0, size=n)
        names += list(_other_names(kind, n, rng))
        rates += list(rate * weight / weight.sum())
    return names, np.array(rates)


def _other_names(kind: str, n: int, rng: np.random.Generator) -> list[str]:
    """Draw `n` names of one kind."""
    if kind == "symbol":
        return list(rng.choice(np.array(SYMBOLS), size=n, replace=False))
    if kind == "AthLNC":
        return [f"AthLNC{k:06d}" for k in rng.choice(20_000, size=n, replace=False)]
    return [f"{kind}{k:05d}" for k in 10 * rng.choice(np.arange(1, 140), size=n, replace=False)]


def _variant(locus: str, kind: int) -> str:
    """Spell a locus as some files do: transcript suffix, lower case, prefix."""
    return (f"{locus}.1", locus.lower(), f"gene:{locus}")[kind]


def spell_raw(
    counts: np.ndarray, loci: np.ndarray, *, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Make clean columns look raw: some loci respelt, some split over two rows.

    Parameters
    ----------
    counts
        Counts of the nuclear loci, (n_cells, n_genes), integers.
    loci
        Their names.
    rng
        Decides which loci change, how, and how the counts of a split locus are shared.

    Returns
    -------
    The counts with the split loci's second rows appended, and the raw names.  Undoing the
    spelling and adding up rows of one locus gives `counts` back exactly.
    """
    n = len(loci)
    n_split, n_respelt = (max(1, round(share * n)) for share in (SPLIT_SHARE, RESPELT_SHARE))
    chosen = rng.permutation(n)[: n_split + n_respelt]
    kinds = np.arange(len(chosen)) % 3
    split, names = chosen[:n_split], [str(locus) for locus in loci]
    moved = rng.binomial(counts[:, split], 0.5).astype(counts.dtype)
    counts = np.hstack([counts, moved])
    counts[:, split] -= moved
    for gene, kind in zip(chosen[n_split:], kinds[n_split:], strict=True):
        names[gene] = _variant(names[gene], kind)
    names += [_variant(names[gene], kind) for gene, kind in zip(split, kinds[:n_split], strict=True)]
    return counts, names
