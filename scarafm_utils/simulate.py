"""A compendium whose causes are known: why scores drop when the replicate or the study changes.

Counts are negative binomial.  Their log means add up: the gene's mean, the cell type's programme,
a lab effect (data set), a replicate effect, a library effect (one library = one condition x one
replicate), two small modules of genes that move together from library to library, and a stress
programme with a part shared by all studies of that stress and a part private to one study.
Condition and library are confounded exactly where the manifest confounds them.

The library effect makes a random split easier than a held-out replicate; the private programme
makes a held-out replicate easier than another study.  That order is designed.  Nothing is designed
about pooling, small samples or the CNN.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from .effects import Effects
from .errors import InputError
from .simulate_fit import draw_quantiles, load_fit
from .simulate_names import MAX_LOCI, barcodes, other_rows, spell_raw
from .simulate_programmes import MODULES, Tissue, draw_stress, draw_tissue, rng_of
from .simulate_samples import Sample, allot, genotype_words, plan_samples

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from .manifest import Dataset

__all__ = ["Effects", "simulate_dataset"]

MIN_GENES = 30


def _module_scores(dataset, sample: Sample, seed: int, effects: Effects) -> dict[str, float]:
    """Draw the common score of each module in a library; uniform, so that no library is extreme."""
    limit = np.sqrt(3) * effects.module * effects.library
    return {m: rng_of(seed, dataset.id, "module", m, sample.name).uniform(-limit, limit) for m in MODULES}


def _nuisance(dataset, tissue: Tissue, sample: Sample, seed: int, effects: Effects) -> np.ndarray:
    """Add up what has nothing to do with the stress: lab, replicate, genotype, library, modules."""
    causes = {"lab": "", "replicate": sample.replicate, "library": sample.name}
    if sample.genotype != genotype_words(dataset)[0]:
        causes["genotype"] = sample.genotype
    total = np.zeros(len(tissue.loci))
    for cause, level in causes.items():
        total += getattr(effects, cause) * rng_of(seed, dataset.id, cause, level).normal(size=len(total))
    for module, score in _module_scores(dataset, sample, seed, effects).items():
        total[tissue.modules[module]] += score
    return total


def _draw_counts(log_share: np.ndarray, effects: Effects, rng: np.random.Generator) -> np.ndarray:
    """Draw the counts of one library from log shares (n_cells, n_genes)."""
    share = np.exp(log_share)
    share /= share.sum(axis=1, keepdims=True)
    soup = min(1.0, effects.ambient * rng.uniform(0.5, 1.5))
    share = (1 - soup) * share + soup * share.mean(axis=0)
    spread = draw_quantiles(load_fit()["library_sizes"]["log_ratio_quantiles"], len(share), rng)
    log_ratio = effects.count_spread * spread + effects.depth * rng.normal()
    mean = share * (effects.counts * np.exp(log_ratio))[:, None]
    noise = rng.gamma(effects.nb_size, 1 / effects.nb_size, size=mean.shape)
    return rng.poisson(mean * noise).astype(np.int32)


def _simulate_sample(dataset, tissue, stress, sample, n_cells, seed, effects) -> tuple:
    """Draw one library: counts (n_cells, n_genes) and the cell types' numbers (n_cells,)."""
    rng = rng_of(seed, dataset.id, "cells", sample.name)
    proportions = tissue.proportions * rng.lognormal(sigma=effects.composition, size=len(tissue.proportions))
    types = rng.choice(len(proportions), size=n_cells, p=proportions / proportions.sum())
    log_share = tissue.log_mean + tissue.programmes[types] + _nuisance(dataset, tissue, sample, seed, effects)
    if sample.dose > 0:
        responds = rng.random(n_cells) < stress["responding"][types]
        programme = stress["shared"] + stress["private"][sample.stress_class]
        log_share += sample.dose * responds[:, None] * programme
    return _draw_counts(log_share, effects, rng), types


def _check_sizes(dataset, n_cells: int, n_genes: int, n_samples: int) -> None:
    """Refuse sizes that cannot be had."""
    if n_cells < n_samples:
        raise InputError(
            f"{dataset.id}: {n_cells} simulated cells for {n_samples} samples: ask for more cells."
        )
    if not MIN_GENES <= n_genes <= MAX_LOCI:
        raise InputError(f"{n_genes} simulated genes: ask for {MIN_GENES} to {MAX_LOCI:,}.")


def _raw_table(counts, samples: np.ndarray, tissue, dataset, seed, effects) -> tuple[np.ndarray, list[str]]:
    """Append rows that are no nuclear locus, and spell the names as raw files do."""
    counts, names = spell_raw(counts, tissue.loci, rng=rng_of(seed, dataset.id, "spelling"))
    rng = rng_of(seed, dataset.id, "other rows")
    extra, rates = other_rows(len(tissue.loci), rng=rng)
    level = rng.lognormal(sigma=effects.library * effects.module, size=samples.max() + 1)[samples]
    others = rng.poisson(np.outer(counts.sum(axis=1) * level, rates)).astype(np.int32)
    return np.hstack([counts, others]), names + extra


def _obs(dataset, cells: dict) -> pd.DataFrame:
    """Keep the columns that the manifest names, under its names; index by sample and barcode.

    Where the replicate stands in the same column as the sample, it is the sample.
    """
    import pandas as pd

    order = ("condition", "genotype", "replicate", "sample", "cell_type", "total_counts")
    named = {getattr(dataset.obs, column): column for column in order if getattr(dataset.obs, column)}
    index = [f"{sample}@@_{code}" for sample, code in zip(cells["sample"], cells["barcode"], strict=True)]
    return pd.DataFrame({theirs: cells[ours] for theirs, ours in named.items()}, index=index)


def _truth(dataset, tissue: Tissue, stress: dict, samples: list[Sample], seed, effects) -> dict:
    """What a learner or a test may look up: parameters, genes behind each cause, module scores."""
    scores = [_module_scores(dataset, sample, seed, effects) for sample in samples]
    return {
        "notice": "simulated cells, not data",
        "seed": seed,
        "effects": asdict(effects),
        "shared_genes": tissue.loci[stress["shared"] != 0],
        "private_genes": {name: tissue.loci[effect != 0] for name, effect in stress["private"].items()},
        "module_genes": {name: tissue.loci[genes] for name, genes in tissue.modules.items()},
        "module_scores": {m: {x.name: y[m] for x, y in zip(samples, scores, strict=True)} for m in MODULES},
        "cell_types": np.array(tissue.cell_types),
        "responding": stress["responding"],
    }


def simulate_dataset(
    dataset: Dataset, *, n_cells: int, n_genes: int, seed: int, effects: Effects = Effects()
) -> AnnData:
    """Simulate raw counts with the structure that the manifest gives a data set.

    Gene universe, gene means, cell-type programmes and modules depend on (seed, tissue), the
    shared stress programme on (seed, tissue, stress), everything else on (seed, data set): two
    data sets of one tissue and stress share what two studies of it would share.  The same
    arguments give the same bytes in every process.

    Parameters
    ----------
    dataset
        Entry of the manifest.  Its conditions, genotypes, replicates and libraries decide the
        samples, its `obs` the column names, its labels the words.
    n_cells
        Cells, at least one for each sample.
    n_genes
        Nuclear loci, the same ones for every data set with this `n_genes` and `seed`.
    seed
        Seed of the whole compendium.
    effects
        Sizes of the causes.

    Returns
    -------
    AnnData with integer counts, CSR (n_cells, n_genes + about 8 %): some loci are spelt in other
    ways or split over two rows, and some rows are no nuclear locus.  Cells are ordered by sample.
    ``uns['simulation']`` holds effects, seed and the truth.

    Raises
    ------
    InputError
        Too few cells for the samples, or a number of genes outside what can be named.
    """
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    samples = plan_samples(dataset)
    _check_sizes(dataset, n_cells, n_genes, len(samples))
    tissue = draw_tissue(dataset, n_genes, seed, effects)
    stress = draw_stress(dataset, tissue, samples, seed, effects)
    sizes = allot(n_cells, len(samples), rng_of(seed, dataset.id, "sizes"))
    blocks = [
        _simulate_sample(dataset, tissue, stress, sample, size, seed, effects)
        for sample, size in zip(samples, sizes, strict=True)
    ]
    sample_of = np.repeat(np.arange(len(samples)), sizes)
    counts, names = _raw_table(np.vstack([c for c, _ in blocks]), sample_of, tissue, dataset, seed, effects)
    cells = {
        "condition": [samples[k].condition for k in sample_of],
        "genotype": [samples[k].genotype for k in sample_of],
        "replicate": [f"rep{samples[k].replicate}" for k in sample_of],
        "sample": [samples[k].name for k in sample_of],
        "cell_type": [tissue.cell_types[t] for t in np.concatenate([types for _, types in blocks])],
        "total_counts": counts.sum(axis=1),
        "barcode": barcodes(n_cells, rng=rng_of(seed, dataset.id, "barcodes")),
    }
    adata = AnnData(csr_matrix(counts), obs=_obs(dataset, cells))
    adata.var_names = names
    adata.uns["simulation"] = _truth(dataset, tissue, stress, samples, seed, effects)
    return adata
