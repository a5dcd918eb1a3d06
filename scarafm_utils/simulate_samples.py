"""Which libraries a simulated data set has, and the words for them, as the manifest says."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np

CELL_TYPES = {
    "leaf": ("Mesophyll", "Epidermis", "Guard cell", "Bundle sheath", "Phloem", "Xylem", "Vascular"),
    "root": ("Root hair", "Non-hair", "Root cortex", "Root endodermis", "Root stele", "Xylem", "Phloem",
             "Lateral root cap"),
}  # fmt: skip
PRETRAINING_SAMPLES = 3
SAMPLE_SIZE_SD = 0.15  # log standard deviation of the number of cells of a sample


@dataclass(frozen=True)
class Sample:
    """One library: its name, what was done to it, and how strong the stress is (0 to 1)."""

    name: str
    replicate: int
    condition: str
    stress_class: str
    dose: float
    genotype: str


def cell_type_words(dataset) -> tuple[str, ...]:
    """Cell types of the tissue, after those that the data set's labels name."""
    named = [
        word
        for label in dataset.labels.values()
        if label.column == "cell_type"
        for words in label.classes.values()
        for word in words
    ]
    return tuple(dict.fromkeys([*named, *CELL_TYPES[dataset.tissue]]))


def _condition_words(dataset) -> list[tuple[str, str, float]]:
    """Word, class and dose (0 to 1 from the first class to the last) of each condition."""
    label = next((label for label in dataset.labels.values() if label.column == "condition"), None)
    if dataset.role == "pretraining":
        return [((dataset.conditions or ["Normal"])[0], "", 0.0)]
    classes = label.classes if label else {"control": ["control"], "stress": ["stress"]}
    last = max(1, len(classes) - 1)
    return [(word, name, k / last) for k, (name, words) in enumerate(classes.items()) for word in words]


def genotype_words(dataset) -> list[str]:
    """Genotypes that labels name, then the manifest's list, then made-up ones; at least one."""
    labels = [label for label in dataset.labels.values() if label.column == "genotype"]
    named = [word for label in labels for words in label.classes.values() for word in words]
    n = max(len(named), dataset.n_genotypes or 1)
    made_up = ["Col-0", *(f"mutant {k}" for k in range(1, n))]
    return list(dict.fromkeys([*named, *(dataset.genotypes or []), *made_up]))[:n]


def plan_samples(dataset) -> list[Sample]:
    """Cross conditions, genotypes and replicates; add libraries where the manifest knows of more."""
    words, genotypes = _condition_words(dataset), genotype_words(dataset)
    crossed = [(*word, genotype) for genotype in genotypes for word in words]
    pretraining = dataset.role == "pretraining"
    n_replicates = -(-PRETRAINING_SAMPLES // len(crossed)) if pretraining else dataset.n_replicates or 1
    quota = {} if pretraining else dataset.libraries_per_class or {}
    n_libraries = 0 if pretraining else sum(quota.values()) or dataset.libraries or 0
    plan = [(r, cell) for r in range(1, n_replicates + 1) for cell in crossed]
    n_of_class = Counter(cell[1] for _, cell in plan)
    for r, cell in itertools.product(range(n_replicates + 1, n_replicates + n_libraries + 1), crossed):
        if len(plan) < n_libraries and n_of_class[cell[1]] < quota.get(cell[1], n_libraries):
            n_of_class[cell[1]] += 1
            plan.append((r, cell))
    return [Sample(f"S{k:02d}", r, *cell) for k, (r, cell) in enumerate(plan, 1)]


def allot(n_cells: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Share cells among samples: one each, the rest in uneven proportions."""
    weight = rng.lognormal(sigma=SAMPLE_SIZE_SD, size=n_samples)
    ideal = (n_cells - n_samples) * weight / weight.sum()
    sizes = np.floor(ideal).astype(int)
    sizes[np.argsort(sizes - ideal, kind="stable")[: n_cells - n_samples - sizes.sum()]] += 1
    return sizes + 1
