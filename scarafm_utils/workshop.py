"""What a class works with: two stored studies, one head, and what an exercise would otherwise repeat.

Nothing here needs torch or XGBoost: the build computes what an encoder makes of the cells
(`workshop_data`) and stores it, so that the episodes run where memory is small.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .logistic import fit_logistic
from .measures import metrics
from .splits import Split
from .tasks import PROTOCOLS
from .workspace import PROJECT, Workspace, open_workspace

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd

#: The two studies of one stress that the class works with.
STUDIES = ("GSE273033", "ERP132245")
#: Simulated cells and genes of a study, and the seed of everything (profiles/workshop.yaml).
N_CELLS, N_GENES, SEED = 500, 400, 8
#: Where the data of the class lie: beside the notebooks of a class folder, or where a build puts them.
CLASS = PROJECT / "artifacts" / "class"
FOLDERS = (PROJECT / "class_data", CLASS / "data")
#: Columns of a study's `obs`, where it tells them.
OBS = ("label", "condition", "replicate", "sample", "cell_type", "total_counts")

#: A line with a seed and its three AUROC.
_SEED_LINE = re.compile(r"(\d+)\s+([01]\.\d+)\s+([01]\.\d+)\s+([01]\.\d+)")


@dataclass(frozen=True)
class Study:
    """Simulated cells of one study.

    Attributes
    ----------
    obs
        One row per cell; the columns of `OBS` that the study tells.
    values
        Log-normalised counts per 10,000, cells × genes of the shared vocabulary.
    features
        What a head may see, by representation: ``raw`` (`values`), ``PCA_1`` (one number per gene),
        ``WM`` and ``CLS`` (one number per embedding dimension).
    whole
        As `values`, for every nuclear locus: what the vocabulary was chosen from.
    truth
        Genes behind each cause of the simulation, by name: what an exercise may look up.
    """

    name: str
    obs: pd.DataFrame
    values: pd.DataFrame
    features: dict[str, pd.DataFrame]
    whole: pd.DataFrame
    truth: dict[str, list[str]]


def class_workspace() -> Workspace:
    """The profile ``workshop`` with files of its own, apart from a build of that profile."""
    opened = open_workspace("workshop")
    return Workspace(opened.profile, opened.manifest, CLASS)


def data_file(name: str) -> Path:
    """Path of a stored file of the class.

    Raises
    ------
    InputError
        Where it was not made yet, with the command that makes it.
    """
    for folder in FOLDERS:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"no file {name} of the workshop: run `scarafm workshop --out folder`, or make book, first.")


def open_study(name: str) -> Study:
    """Read a stored study (`STUDIES`)."""
    import numpy as np
    import pandas as pd

    if name not in STUDIES:
        raise InputError(f"the workshop has no study '{name}': use {' or '.join(STUDIES)}.")
    with np.load(data_file(f"{name}.npz"), allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    cells = pd.Index(arrays["cells"], name="cell")
    obs = pd.DataFrame({c: arrays[f"obs:{c}"] for c in OBS if f"obs:{c}" in arrays}, index=cells)
    genes = arrays["genes"]
    features = {
        key.removeprefix("features:"): pd.DataFrame(
            value, index=cells, columns=genes if value.shape[1] == len(genes) else range(value.shape[1])
        )
        for key, value in arrays.items() if key.startswith("features:")
    }  # fmt: skip
    truth = {key.removeprefix("truth:"): value.tolist() for key, value in arrays.items() if key.startswith("truth:")}
    whole = pd.DataFrame(arrays["whole"], index=cells, columns=arrays["loci"])
    return Study(name, obs, features["raw"], features, whole, truth)


def raw_study(name: str) -> ad.AnnData:
    """Counts of a study with names as raw files spell them, simulated on the spot."""
    from .manifest import load_manifest
    from .sources import load_raw

    dataset = load_manifest(PROJECT / "data_manifest.yaml")[name]
    size = {"n_cells": N_CELLS, "n_genes": N_GENES, "seed": SEED}
    return load_raw(dataset, source="simulated", data_dir=".", **size)


def fit_and_score(values: pd.DataFrame, obs: pd.DataFrame, split: Split, *, label: str = "label") -> pd.DataFrame:
    """Fit logistic regression on the training cells and score the test cells.

    Parameters
    ----------
    values
        Features, cells × anything; `obs` has the same cells.
    label
        Column of `obs` with two classes; the second in alphabetical order is the positive one.

    Returns
    -------
    One row per test cell: ``obs_name``, ``y_true``, ``sample`` and ``score:<class>`` for both classes.

    Raises
    ------
    InputError
        A cell stands on both sides of the split, a cell or its values are not there, or the
        training cells have one class only.
    """
    import pandas as pd
    from scipy.special import expit

    _check_split(values, obs, split)
    fit, (negative, positive) = _fit(values, obs, split.train, label)
    margin = _matrix(values, split.test) @ fit.coef[0] + fit.intercept[0]
    rows = obs.loc[split.test]
    return pd.DataFrame({
        "obs_name": split.test, "y_true": rows[label].to_numpy(), "sample": rows["sample"].to_numpy(),
        f"score:{negative}": expit(-margin), f"score:{positive}": expit(margin),
    })  # fmt: skip


def gene_weights(values: pd.DataFrame, obs: pd.DataFrame, split: Split, *, label: str = "label") -> pd.Series:
    """What each feature adds to the log odds per standard deviation; the largest, of either sign, first."""
    import pandas as pd

    fit, _ = _fit(values, obs, split.train, label)
    weights = pd.Series(fit.coef[0] * _matrix(values, split.train).std(axis=0), index=values.columns)
    return weights.sort_values(key=abs, ascending=False, kind="stable")


def _check_split(values: pd.DataFrame, obs: pd.DataFrame, split: Split) -> None:
    both = set(split.train) & set(split.test)
    if both:
        raise InputError(
            f"{len(both)} test cells are training cells too, for example {min(both)}: "
            "choose training cells among obs.loc[split.train] only."
        )
    unknown = {*split.train, *split.test} - (set(values.index) & set(obs.index))
    if unknown:
        raise InputError(
            f"{len(unknown)} cells of the split have no values or no row in obs, for example {min(unknown)}: "
            "make the split from the same cells, and give values, obs, split in this order."
        )


def _fit(values: pd.DataFrame, obs: pd.DataFrame, train: pd.Index, label: str):
    import numpy as np

    classes = sorted(obs.loc[train, label].astype(str).unique())
    if len(classes) != 2:
        raise InputError(f"training cells of two classes are needed (found {', '.join(classes) or 'none'}).")
    codes = (obs.loc[train, label].astype(str) == classes[1]).to_numpy().astype(np.int64)
    return fit_logistic(_matrix(values, train), codes, n_classes=2), classes


def _matrix(values: pd.DataFrame, cells: pd.Index) -> np.ndarray:
    return values.loc[cells].to_numpy(dtype="float32")


def auroc(scores: pd.DataFrame) -> float:
    """AUROC from the scores of `fit_and_score`."""
    return float(metrics(scores)["auroc"].iloc[0])


def auroc_hard(scores: pd.DataFrame) -> float:
    """The "AUROC" of the labels that the scores decide at 0.5: balanced accuracy."""
    return float(metrics(scores)["auroc_hard"].iloc[0])


def join(first: Study, second: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values and obs of two studies, one below the other; both have the same genes."""
    import pandas as pd

    return pd.concat([first.values, second.values]), pd.concat([first.obs, second.obs])


@dataclass(frozen=True)
class TrainingRun:
    """A finished pretraining: losses by epoch, and its guesses of hidden tokens of validation cells.

    Attributes
    ----------
    history
        One row per epoch, as :func:`scarafm_utils.pretraining.pretrain` returns it.
    inputs
        (n_cells, n_genes) tokens as the encoder saw them; hidden ones have the number `mask`.
    targets
        (n_cells, n_genes) the bin to be guessed; -100 where nothing is to be guessed.
    guesses
        (n_cells, n_genes) the encoder's likeliest bin.
    """

    history: pd.DataFrame
    inputs: np.ndarray
    targets: np.ndarray
    guesses: np.ndarray
    n_bins: int
    mask: int


def training_run() -> TrainingRun:
    """Read the finished pretraining of the class."""
    import numpy as np
    import pandas as pd

    with np.load(data_file("training.npz"), allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    facts = json.loads(data_file("facts.json").read_text(encoding="utf-8"))
    return TrainingRun(pd.read_csv(data_file("history.csv")), **arrays, n_bins=facts["n_bins"], mask=facts["mask"])


def commonest_visible(run: TrainingRun) -> np.ndarray:
    """The commonest visible bin above 0 of each cell, for every gene: (n_cells, n_genes); ties to the lower."""
    import numpy as np

    visible = np.where((run.targets >= 0) | (run.inputs >= run.n_bins), 0, run.inputs)
    counts = np.stack([(visible == b).sum(axis=1) for b in range(1, run.n_bins)], axis=1)
    return np.repeat(counts.argmax(axis=1)[:, None] + 1, run.targets.shape[1], axis=1)


def seed_table() -> pd.DataFrame:
    """AUROC of the three protocols for the seeds that the build computed: seed, random, replicate, cross."""
    import pandas as pd

    return pd.read_csv(data_file("seeds.csv"))


def seed_scores(seed: int) -> dict[str, float]:
    """A compendium of one's own: AUROC of the three protocols for `seed` (seconds).

    Raises
    ------
    InputError
        `seed` is no whole number from 0 on.
    """
    from .effects import Effects
    from .worlds import protocol_scores

    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"{seed!r} is no seed: write a whole number without quotes, such as 4711.")
    return {"seed": seed, **protocol_scores(Effects(), seed=seed)}


def seed_line(scores: dict[str, float]) -> str:
    """One's own numbers as one line for the class: seed, random, replicate, cross.

    >>> seed_line({"seed": 7, "random": 0.96, "replicate": 0.7314, "cross": 0.5})
    '7 0.960 0.731 0.500'
    """
    return " ".join([str(scores["seed"]), *(f"{scores[protocol]:.3f}" for protocol in PROTOCOLS)])


def pooled_seeds(lines: str) -> pd.DataFrame:
    """Everybody's lines as one table with the columns of `seed_table`.

    Parameters
    ----------
    lines
        What `seed_line` printed, one line for each person; empty lines are skipped, and a seed that
        stands there twice with the same numbers counts once.

    Raises
    ------
    InputError
        A line that is no seed and three AUROC, or one seed with two results.
    """
    import pandas as pd

    rows: dict[int, tuple[float, ...]] = {}
    for number, line in enumerate(lines.splitlines(), start=1):
        found = _SEED_LINE.fullmatch(line.replace(",", " ").strip())
        if line.strip() and not found:
            raise InputError(f"line {number}, '{line.strip()}', is no seed with three AUROC: print seed_line(mine).")
        if found:
            seed, values = int(found[1]), tuple(map(float, found.groups()[1:]))
            if rows.setdefault(seed, values) != values:
                raise InputError(f"line {number}: seed {seed} stands there twice with different numbers: ask who.")
    return pd.DataFrame([(seed, *values) for seed, values in rows.items()], columns=["seed", *PROTOCOLS])
