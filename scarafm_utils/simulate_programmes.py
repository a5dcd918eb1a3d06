"""Programmes of genes: what all data sets of a tissue share, and what a stress does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .simulate_fit import draw_quantiles, load_fit, scale_programmes
from .simulate_names import locus_names
from .simulate_samples import CELL_TYPES, Sample, cell_type_words

if TYPE_CHECKING:
    from .effects import Effects
    from .manifest import Dataset

MODULES = ("protoplasting", "soup")
MIN_MODULE = 3  # genes


@dataclass(frozen=True)
class Tissue:
    """What all data sets of a tissue share."""

    loci: np.ndarray  # (n_genes,) names
    log_mean: np.ndarray  # (n_genes,) log share of counts
    cell_types: tuple[str, ...]
    proportions: np.ndarray  # (n_types,)
    programmes: np.ndarray  # (n_types, n_genes)
    modules: dict[str, np.ndarray]  # gene numbers
    free: np.ndarray  # gene numbers outside the modules


def rng_of(*words) -> np.random.Generator:
    """Return a generator that depends on the words alone, in every process alike."""
    digest = hashlib.sha256("\x1f".join(map(str, words)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _modules(log_mean: np.ndarray, share: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Pick disjoint modules among the most expressed third of the genes, where they can be seen."""
    size = max(MIN_MODULE, round(share * len(log_mean)))
    expressed = np.argsort(-log_mean, kind="stable")[: len(log_mean) // 3]
    chosen = rng.permutation(expressed)[: size * len(MODULES)].reshape(len(MODULES), size)
    return {name: np.sort(genes) for name, genes in zip(MODULES, chosen, strict=True)}


def draw_tissue(dataset: Dataset, n_genes: int, seed: int, effects: Effects) -> Tissue:
    """Draw gene universe, gene means, cell types and modules of a tissue."""
    fit, tissue = load_fit()["genes"], dataset.tissue
    log_mean = draw_quantiles(fit["log_share_quantiles"], n_genes, rng_of(seed, tissue, "means"))
    phi = draw_quantiles(fit["dispersion_quantiles"], n_genes, rng_of(seed, tissue, "dispersions"))
    words = cell_type_words(dataset)
    proportions = np.array([rng_of(seed, tissue, "proportion", word).gamma(4.0) for word in words])
    proportions /= proportions.sum()
    programmes = np.array([rng_of(seed, tissue, "type", word).normal(size=n_genes) for word in words])
    usual = [word in CELL_TYPES[tissue] for word in words]
    # 1 + dispersion = (1 + 1 / NB size) (1 + squared variation between cell types)
    between = (1 + phi) / (1 + 1 / effects.nb_size) - 1
    programmes *= effects.cell_type * scale_programmes(programmes[usual], proportions[usual], between)
    modules = _modules(log_mean, effects.module_gene_share, rng_of(seed, tissue, "modules"))
    return Tissue(
        loci=locus_names(n_genes, rng=rng_of(seed, "loci")),
        log_mean=log_mean,
        cell_types=words,
        proportions=proportions,
        # Gene means stay what they are: a programme moves counts between cell types.
        programmes=programmes - np.log(proportions @ np.exp(programmes)),
        modules=modules,
        free=np.setdiff1d(np.arange(n_genes), np.concatenate(list(modules.values()))),
    )


def _programme(tissue: Tissue, share: float, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a programme: normal effects in a share of the genes, 0 elsewhere and in the modules."""
    n_genes = len(tissue.loci)
    genes = rng.permutation(tissue.free)[: max(1, round(share * n_genes))]
    effect = np.zeros(n_genes)
    effect[genes] = sd * rng.normal(size=len(genes))
    return effect


def draw_stress(dataset: Dataset, tissue: Tissue, samples: list[Sample], seed: int, effects: Effects) -> dict:
    """Draw the shared programme, the private ones by class, and the cell types' readiness."""
    stress, sd, share = dataset.stress or dataset.id, effects.private, effects.stress_gene_share
    classes = dict.fromkeys(sample.stress_class for sample in samples if sample.dose > 0)
    shared = _programme(tissue, share, effects.shared, rng_of(seed, dataset.tissue, "shared", stress))
    ready = [rng_of(seed, dataset.tissue, "ready", stress, w).uniform(0.3, 1.0) for w in tissue.cell_types]
    return {
        "shared": shared,
        "private": {
            c: _programme(tissue, share, sd, rng_of(seed, dataset.id, "private", c)) for c in classes
        },
        "responding": effects.responding * np.array(ready),
    }
