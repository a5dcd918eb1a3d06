"""The cells of one task, their classes, and the splits that its protocol and fidelity ask for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from .configurations import FIDELITIES
from .errors import InputError, suggest
from .files import sha256_file
from .manifest import held_out_unit
from .splits import Split, balance_classes, cap, cross_experiment_split, random_split, replicate_split
from .tasks import Task, parse_task
from .vocabulary import measured_genes, sample_names

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

    from .configurations import Configuration
    from .manifest import Dataset
    from .workspace import Workspace

#: Column of the class of each cell, and the columns every table of scores has.
CLASS = "class"
KEPT = ("condition", "genotype", "replicate", "sample", "cell_type", "total_counts", "n_genes")
#: The seed by which the released code balances classes, whatever seed its split is given.
GLOBAL_SEED = 0


@dataclass(frozen=True)
class Experiment:
    """The labelled cells of one task.

    `cells.obs` has `CLASS` (text), `dataset`, `library` (the sample's own name) and, as far as
    known, `KEPT`; `classes` is in label order, the last one positive; `checksums` are those of
    the processed files.
    """

    tissue: str
    task: Task
    label: str
    fidelity: str
    cells: ad.AnnData
    classes: tuple[str, ...]
    held_out: tuple[tuple[str, ...], ...]
    held_out_key: str
    checksums: dict[str, str]


def load_experiment(
    workspace: Workspace, tissue: str, task: str | Task, *, label: str = "stress", fidelity: str = "paper"
) -> Experiment:
    """Read the processed cells of a task and give each its class.

    With the switch ``labels`` (released code) classes are `condition - genotype` in
    alphabetical order, and the classes of a target are matched to those of the source by
    their place in that order, not by their meaning.

    Raises
    ------
    InputError
        Unknown names, no processed cells, a missing label, a label on one side only, genes of
        two data sets that differ, or nothing that could be held out.
    """
    task = task if isinstance(task, Task) else parse_task(task)
    if fidelity not in FIDELITIES:
        raise InputError(f"fidelity '{fidelity}' is not known: {suggest(fidelity, FIDELITIES)}.")
    parts, classes = [], []
    for name in task.datasets:
        dataset = _dataset(workspace, tissue, name, label)
        adata = workspace.read_processed(tissue, name)
        values, order = _classes_of(adata.obs, dataset, label, FIDELITIES[fidelity])
        parts.append(_labelled(adata, values, name))
        classes.append(order)
    _align_classes(parts, classes, task, label, FIDELITIES[fidelity])
    key, units = _held_out(workspace.manifest[task.train_dataset], label, parts[0].obs, task)
    return Experiment(
        tissue=tissue,
        task=task,
        label=label,
        fidelity=fidelity,
        cells=parts[0] if len(parts) == 1 else _stack(*parts),
        classes=tuple(classes[0]),
        held_out=units,
        held_out_key=key,
        checksums={name: sha256_file(workspace.processed_path(tissue, name)) for name in task.datasets},
    )


def make_split(
    experiment: Experiment,
    *,
    seed: int,
    held_out: tuple[str, ...] = (),
    protocol: str | None = None,
    max_test: int = 2000,
) -> Split:
    """Split the cells of an experiment by its protocol and fidelity.

    Parameters
    ----------
    held_out
        Replicates (or libraries) to test on; empty: the first of `experiment.held_out`.
    protocol
        Only with fidelity ``matched``: ``random`` or ``replicate``, both tested on the same cells.
    """
    obs, protocol = experiment.cells.obs, protocol or experiment.task.protocol
    switches = FIDELITIES[experiment.fidelity]
    if "global_seed" in switches:  # balanced once for all seeds; balancing again keeps every cell
        obs = _balanced_once(obs)
    same = {"label_key": CLASS, "seed": seed, "max_test": max_test}
    if experiment.fidelity == "matched":
        split = _matched_split(experiment, protocol, held_out or experiment.held_out[0], same)
    elif protocol == "random":
        split = random_split(obs, **same)
    elif protocol == "replicate":
        units = held_out or experiment.held_out[0]
        split = replicate_split(obs, replicate_key=experiment.held_out_key, held_out=units, **same)
    else:
        source = (obs["dataset"] == experiment.task.train_dataset).to_numpy()
        split = cross_experiment_split(obs[source], obs[~source], **same)
    if "train_90" in switches:  # the released code sets 10 % of the pool aside for validation
        n = max(len(experiment.classes), round(0.9 * len(split.train)))
        split = split._replace(train=cap(obs.loc[split.train], n, label_key=CLASS, seed=seed))
    if "balanced_test" in switches:  # the text calls test sets balanced; A.2 does not balance a replicate
        split = split._replace(test=balance_classes(obs.loc[split.test], label_key=CLASS, seed=seed))
    return split


def split_or_reason(experiment: Experiment, configuration: Configuration, *, max_test: int) -> Split | str:
    """The split of a configuration, or why there is none."""
    c = configuration
    try:
        return make_split(
            experiment, seed=c.seed, held_out=c.held_out, protocol=c.protocol, max_test=max_test
        )
    except InputError as error:
        return str(error)


def _balanced_once(obs: pd.DataFrame) -> pd.DataFrame:
    """Equal classes in each data set, the same cells for every seed of a split."""
    parts = [part for _, part in obs.groupby("dataset", sort=False)]
    names = [name for p in parts for name in balance_classes(p, label_key=CLASS, seed=GLOBAL_SEED)]
    return obs.loc[obs.index.isin(names)]


def _matched_split(experiment: Experiment, protocol: str, held_out: tuple[str, ...], same: dict) -> Split:
    """Test on half of a held-out unit; train on the other units, or on as many of all other cells."""
    obs, seed = experiment.cells.obs, same["seed"]
    whole = replicate_split(
        obs, replicate_key=experiment.held_out_key, held_out=held_out, **(same | {"max_test": len(obs)})
    )
    n_test = max(1, min(len(whole.test) // 2, same["max_test"]))
    test = cap(obs.loc[whole.test], n_test, label_key=CLASS, seed=seed)
    if protocol == "replicate":
        return Split(whole.train, test)
    others = whole.train.union(whole.test, sort=False).difference(test, sort=False)
    return Split(cap(obs.loc[others], len(whole.train), label_key=CLASS, seed=seed), test)


def _dataset(workspace: Workspace, tissue: str, name: str, label: str) -> Dataset:
    """A data set of the manifest, checked for its tissue and label."""
    known = [d.id for d in workspace.manifest.values() if d.tissue == tissue and d.role == "downstream"]
    if name not in known:
        raise InputError(f"'{name}' is no downstream data set of {tissue}: {suggest(name, known)}.")
    dataset = workspace.manifest[name]
    if label not in dataset.labels:
        raise InputError(f"{name} has no label '{label}': {suggest(label, dataset.labels)}.")
    return dataset


def _classes_of(
    obs: pd.DataFrame, dataset: Dataset, label: str, switches: tuple[str, ...]
) -> tuple[pd.Series, list[str]]:
    """The class of each cell (missing where it has none) and the classes in order."""
    import pandas as pd

    column = f"label_{label}"
    if column not in obs:
        raise InputError(
            f"{dataset.id}: the processed cells have no column '{column}'. "
            "Run the chapter 'preprocessing' again."
        )
    values = obs[column].astype(object).where(obs[column].notna(), None)
    values = values.where(values != "", None)
    if "labels" not in switches:
        return values, list(dataset.labels[label].classes)
    if dataset.labels[label].column == "condition":
        words = obs["condition"].astype(str)
        if "genotype" in obs and obs["genotype"].notna().all():
            words = words + " - " + obs["genotype"].astype(str)
        values = words.where(values.notna(), None)
    return values, sorted(pd.unique(values.dropna()))


def _labelled(adata: ad.AnnData, values: pd.Series, name: str) -> ad.AnnData:
    """The cells that have a class, with the columns of `Experiment.cells`."""
    known = values.notna().to_numpy()
    if not known.any():
        raise InputError(f"{name}: no cell belongs to a class of this label.")
    cells = adata[known].copy()
    obs = cells.obs[[column for column in KEPT if column in cells.obs]].copy()
    for column in obs.columns.difference(["total_counts", "n_genes"]):
        obs[column] = obs[column].astype(object).where(obs[column].notna(), None)
    obs[CLASS] = values[known].astype(str)
    obs["dataset"], obs["library"] = name, obs["sample"]
    cells.obs = obs
    return cells


def _align_classes(
    parts: list[ad.AnnData], classes: list[list[str]], task: Task, label: str, switches: tuple[str, ...]
) -> None:
    """Refuse classes of one side only; with released labels, name the target's by their place."""
    for part, order, name in zip(parts, classes, task.datasets, strict=True):
        empty = [c for c in order if not (part.obs[CLASS] == c).any()]
        if empty:
            raise InputError(f"{name}: no cell in class {', '.join(empty)} of label '{label}'.")
    if len(parts) == 1 or classes[0] == classes[1]:
        return
    if "labels" in switches and len(classes[0]) == len(classes[1]):
        parts[1].obs[CLASS] = parts[1].obs[CLASS].map(dict(zip(classes[1], classes[0], strict=True)))
        return
    raise InputError(
        f"{task.name}: the classes of label '{label}' differ: {task.train_dataset} has "
        f"{', '.join(classes[0])}; {task.test_dataset} has {', '.join(classes[1])}. "
        "A cross task needs the same classes on both sides."
    )


def _held_out(
    dataset: Dataset, label: str, obs: pd.DataFrame, task: Task
) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Column and values of every unit that a replicate split can hold out, in order of appearance."""
    unit = held_out_unit(dataset, label)
    key = "replicate" if unit == "replicate" else "sample"
    if unit is None or key not in obs or obs[key].isna().any():
        if task.protocol == "replicate":
            raise InputError(
                f"{task.name}: {dataset.id} has no second replicate to hold out for label '{label}' "
                f"(found in obs: {', '.join(obs.columns)}). Use random:{dataset.id}."
            )
        return key, ()
    if unit != "library_set":
        return key, tuple((str(value),) for value in obs[key].unique())
    owned = obs.groupby(CLASS, sort=False)["sample"].unique()
    return key, tuple(tuple(map(str, libraries)) for libraries in product(*owned))


def _stack(source: ad.AnnData, target: ad.AnnData) -> ad.AnnData:
    """Source above target; samples are told apart by their data set's name."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    if not source.var_names.equals(target.var_names):
        raise InputError(
            f"The genes of {source.obs['dataset'].iloc[0]} ({source.n_vars}) and "
            f"{target.obs['dataset'].iloc[0]} ({target.n_vars}) differ. "
            "Run the chapter 'preprocessing' again."
        )
    for part in (source, target):
        name = part.obs["dataset"].iloc[0]
        part.uns["samples"] = [f"{name}:{sample}" for sample in sample_names(part)]
        part.obs["sample"] = name + ":" + part.obs["sample"].astype(str)
    return ad.AnnData(
        X=sp.vstack([sp.csr_matrix(source.X), sp.csr_matrix(target.X)], format="csr"),
        obs=pd.concat([source.obs, target.obs]),
        var=source.var[[]].copy(),
        varm={"measured": np.hstack([measured_genes(source), measured_genes(target)])},
        uns={"samples": [*source.uns["samples"], *target.uns["samples"]]},
    )
