"""Tables of the rigor chapter: computed once for a profile, kept, and made again when anything changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .checkpoints import load_checkpoint, read_checkpoint_facts
from .errors import InputError
from .experiment import CLASS, Experiment, load_experiment
from .features import TaskFeatures, measured_everywhere
from .files import hash_of, sha256_file, write_csv
from .measures import metrics, reliability_curve
from .model import default_device
from .planted import planted_ladder, recover_counts
from .probes import (
    gene_set_enrichment,
    library_leakage,
    matched_types,
    unit_weights,
    within_types,
)
from .profiles import PROTOCOLS
from .scores import code_behind, read_scores
from .simulate import simulate_dataset

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

    from .workspace import Workspace

#: Representations whose leak of the library is measured; those of an encoder only up to so many tokens.
PLAIN_PROBED, ENCODED_PROBED = ("raw", "binned", "hvg_pca", "depth"), ("CLS", "WM", "PCA_1")
MAX_TOKENS = 1_000_000
#: Partitions of the libraries on which a stress is planted in a build.
MAX_PARTITIONS = 4
#: Controls that stand for one nuisance each.
NUISANCE = ("depth", "cell_type")


def kept_table(
    workspace: Workspace, name: str, *, inputs: object, compute: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """Read ``tables/kept/<name>-<key>.csv``, or compute and write it; an older one of that name goes.

    The key is a hash of `inputs` and of the code behind this module.
    """
    import pandas as pd

    folder = workspace.tables_dir / "kept"
    path = folder / f"{name}-{hash_of([inputs, code_behind('rigor')])}.csv"
    if not path.exists():
        table = compute()
        for old in folder.glob(f"{name}-*.csv"):
            old.unlink()
        write_csv(path, table)
    return pd.read_csv(path, keep_default_na=True, float_precision="round_trip")


def planted_table(workspace: Workspace) -> pd.DataFrame:
    """`planted_ladder` on the data set with the most libraries.

    Without rows where all have fewer than four, or where its values are no counts any more.
    """
    import pandas as pd

    tissue, name, n_samples = _most_libraries(workspace)
    cells = workspace.read_processed(tissue, name)
    cells = cells[:, measured_everywhere(cells)].copy()
    if n_samples < 4 or not _are_counts(cells):
        return pd.DataFrame(columns=["dataset", "log_fold_change", "protocol", "auroc"])

    def compute() -> pd.DataFrame:
        return planted_ladder(cells, seed=workspace.profile.seed, max_partitions=MAX_PARTITIONS)

    return kept_table(workspace, "planted", inputs=_checksum(workspace, tissue, name), compute=compute)


def leakage_table(workspace: Workspace) -> pd.DataFrame:
    """`library_leakage` of each replicate task, at its first label; columns `task` and `label` in front."""
    import pandas as pd

    parts = []
    for tissue, grid in workspace.profile.tissues.items():
        for task in grid.parsed_tasks:
            if task.protocol == "replicate":
                experiment = load_experiment(workspace, tissue, task, label=grid.labels[0])
                inputs = [task.name, grid.labels[0], experiment.checksums, _weights(workspace, tissue)]
                table = kept_table(
                    workspace, f"leakage-{task.slug}", inputs=inputs,
                    compute=lambda e=experiment: _leakage(workspace, e),
                )  # fmt: skip
                parts.append(table.assign(task=task.name, label=grid.labels[0]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def sign_weights(workspace: Workspace) -> pd.DataFrame:
    """Weights of LR on raw values for each replicate and study of the first cross task: (genes, units).

    Without a cross task the units are the libraries of the first replicate task at its first label.
    """
    tissue, task, label = _task_for_signs(workspace)
    experiment = load_experiment(workspace, tissue, task, label=label)
    table = kept_table(
        workspace, "signs", inputs=[task.name, label, experiment.checksums],
        compute=lambda: _unit_weights(experiment, workspace.profile.seed),
    )  # fmt: skip
    return table.set_index("gene")


def truth_table(workspace: Workspace) -> pd.DataFrame:
    """Do the top genes of two models belong to the cause that the simulator gave them?

    Two models on the first replicate task: stress under a random split, and one library against another
    of the same condition, cell types matched (mean weights over pairs).  Sets: the stress programme
    shared by studies, the private one, and the modules that move with the library.  Without rows where
    cells are real: nobody knows the cause of each gene.
    """
    import pandas as pd

    if not workspace.simulated:
        return pd.DataFrame(columns=["size", "found", "expected", "p_value"])
    found = [(t, task) for t, g in workspace.profile.tissues.items() for task in g.parsed_tasks]
    tissue, task = next((t, k) for t, k in found if k.protocol == "replicate")
    experiment = load_experiment(workspace, tissue, task)
    sets = _true_sets(workspace, task.train_dataset)
    seed, obs = workspace.profile.seed, experiment.cells.obs
    stress = unit_weights(experiment, {"all": obs.index}, seed=seed)["all"]
    library = _library_weights(experiment, seed)
    parts = [
        gene_set_enrichment(weights, sets).assign(model=model)
        for model, weights in (("stress, random split", stress), ("library against library", library))
    ]
    return pd.concat(parts, ignore_index=True).set_index(["model", "set"])


def calibration_table(workspace: Workspace, results: pd.DataFrame, *, representation: str = "raw") -> pd.DataFrame:
    """Reliability of LR under each protocol, cells of all tasks with two classes together.

    Returns
    -------
    Columns `protocol`, `n_tasks`, `low`, `high`, `stated`, `observed`, `n`.
    """
    import pandas as pd

    parts = []
    for protocol, rows in _first_rows(results, representation).groupby("protocol", sort=False):
        tables = [_scores_of(workspace, row) for row in rows.itertuples()]
        tables = [_as_positive(t) for t in tables if sum(c.startswith("score:") for c in t) == 2]
        if tables:
            curve = reliability_curve(pd.concat(tables, ignore_index=True))
            parts.append(curve.assign(protocol=protocol, n_tasks=len(tables)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["protocol", "stated"])


def within_type_table(workspace: Workspace, results: pd.DataFrame, *, min_cells: int = 8) -> pd.DataFrame:
    """AUROC of LR on raw values within each cell type, beside that over all types; tasks with two classes."""
    import pandas as pd

    parts = []
    for row in _first_rows(results, "raw").itertuples():
        scores = _scores_of(workspace, row)
        table = within_types(scores, min_cells=min_cells)
        if len(table):
            whole = float(metrics(scores)["auroc"].iloc[0])
            held_out = "" if pd.isna(row.held_out) else row.held_out
            parts.append({"task": row.task, "held out": held_out, "cell types": len(table), "all cells": whole,
                          "mean within types": table["auroc"].mean(), "least": table["auroc"].min(),
                          "most": table["auroc"].max()})  # fmt: skip
    return pd.DataFrame(parts).set_index(["task", "held out"]) if parts else pd.DataFrame()


def calibration_summary(results: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC, Brier score and calibration error of LR on raw values by protocol; tasks weigh alike.

    A protocol without results has a row without values.
    """
    rows = results[(results["representation"] == "raw") & (results["head"] == "LR")]
    rows = rows[(rows["fidelity"] == "paper") & (rows["n_train"].astype(str) == "all") & rows["auroc"].notna()]
    tasks = rows.groupby(["protocol", "task", "label"])[["auroc", "brier", "ece"]].mean()
    return tasks.groupby("protocol").mean().reindex(PROTOCOLS)


def control_table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC of LR by protocol, at the largest size of the grid, for raw values and every control."""
    rows = results[(results["head"] == "LR") & (results["fidelity"] == "paper") & results["auroc"].notna()]
    first = rows[rows["seed"] == rows["seed"].min()]
    controls = [r for r in dict.fromkeys(first["representation"]) if r in _CONTROL_NAMES or ":" in r]
    sizes = first[first["representation"].isin(controls)].groupby(["task", "label"])["n_train"].first().astype(str)
    known = first[["task", "label", "n_train"]].itertuples(index=False)
    wanted = [sizes.get((task, label)) == str(n) for task, label, n in known]
    kept = first[wanted].drop_duplicates(["task", "label", "representation"])
    table = kept.pivot_table(index="representation", columns="protocol", values="auroc", aggfunc="mean", sort=False)
    return table[[p for p in ("random", "replicate", "cross") if p in table]]


_CONTROL_NAMES = ("binned", "hvg_pca", *NUISANCE)


def _first_rows(results: pd.DataFrame, representation: str) -> pd.DataFrame:
    """LR on all training cells, one row for each task and held-out unit, at the first seed."""
    rows = results[(results["representation"] == representation) & (results["head"] == "LR")]
    rows = rows[(rows["fidelity"] == "paper") & (rows["n_train"].astype(str) == "all") & rows["auroc"].notna()]
    rows = rows[rows["seed"] == rows["seed"].min()]
    return rows.drop_duplicates(["tissue", "task", "label", "held_out"])


def _scores_of(workspace: Workspace, row) -> pd.DataFrame:
    return read_scores(workspace.scores_dir(row.tissue) / f"{row.key}.parquet")[0]


def _as_positive(scores: pd.DataFrame) -> pd.DataFrame:
    """The same scores under the class names 0 and 1, so that tasks can be put together."""
    import pandas as pd

    negative, positive = [c for c in scores if c.startswith("score:")]
    truth = (scores["y_true"] == positive.removeprefix("score:")).map({True: "1", False: "0"})
    return pd.DataFrame({"y_true": truth, "score:0": scores[negative], "score:1": scores[positive]})


def _most_libraries(workspace: Workspace) -> tuple[str, str, int]:
    found = [
        (len(workspace.read_processed(tissue, d.id).uns["samples"]), tissue, d.id)
        for tissue in workspace.profile.tissues
        for d in workspace.datasets(tissue, role="downstream")
    ]
    n_samples, tissue, name = max(found)
    return tissue, name, n_samples


def _are_counts(cells: ad.AnnData) -> bool:
    try:
        recover_counts(cells)
    except InputError:
        return False
    return True


def _checksum(workspace: Workspace, tissue: str, name: str) -> list:
    return [name, sha256_file(workspace.processed_path(tissue, name)), workspace.profile.seed]


def _weights(workspace: Workspace, tissue: str) -> str | None:
    """Checksum of the encoder's weights where it may be used on these cells, else None."""
    try:
        facts = read_checkpoint_facts(workspace.checkpoint_dir(tissue))
    except InputError:
        return None
    return facts["weights_sha256"] if facts["corpus_real"] or workspace.simulated else None


def _leakage(workspace: Workspace, experiment: Experiment) -> pd.DataFrame:
    model = workspace.profile.model
    cells = experiment.cells
    small = cells.n_obs * cells.n_vars <= MAX_TOKENS and _weights(workspace, experiment.tissue)
    folder = workspace.checkpoint_dir(experiment.tissue)
    models = {"": load_checkpoint(folder, device=default_device())} if small else {}
    features = TaskFeatures(cells, models=models, dim=model.dim, n_bins=model.n_bins)
    names: Sequence[str] = (*PLAIN_PROBED, *(ENCODED_PROBED if small else ()))
    return library_leakage(experiment, features, representations=names, seed=workspace.profile.seed)


def _task_for_signs(workspace: Workspace):
    found = [(t, g, task) for t, g in workspace.profile.tissues.items() for task in g.parsed_tasks]
    for protocol in ("cross", "replicate"):
        for tissue, grid, task in found:
            if task.protocol == protocol:
                return tissue, task, grid.labels[0]
    raise InputError(f"profile '{workspace.profile.name}' has no cross or replicate task to compare signs in.")


def _unit_weights(experiment: Experiment, seed: int) -> pd.DataFrame:
    units = {}
    for name, study in experiment.cells.obs.groupby("dataset", sort=False):
        column = _own_unit(study)
        parts = study.groupby(column, sort=False) if column else [("", study)]
        units |= {f"{name} {unit}".strip(): part.index for unit, part in parts}
    return unit_weights(experiment, units, seed=seed).rename_axis("gene").reset_index()


def _own_unit(study: pd.DataFrame) -> str | None:
    """The column whose values hold all classes each, replicate before library; None: the study is one unit."""
    for column in ("replicate", "library"):
        known = column in study and study[column].notna().all()
        if known and (study.groupby(column)[CLASS].nunique() == study[CLASS].nunique()).all():
            return column
    return None


def _true_sets(workspace: Workspace, name: str) -> dict[str, Sequence[str]]:
    """Which genes the simulator gave to which cause."""
    data, profile = workspace.profile.data, workspace.profile
    cells = simulate_dataset(
        workspace.manifest[name],
        n_cells=data.simulated_cells.downstream,
        n_genes=data.simulated_genes,
        seed=profile.seed,
    )
    truth = cells.uns["simulation"]
    private = {gene for genes in truth["private_genes"].values() for gene in genes}
    modules = {gene for genes in truth["module_genes"].values() for gene in genes}
    return {"stress, shared": truth["shared_genes"], "stress, private": private, "library modules": modules}


def _library_weights(experiment: Experiment, seed: int) -> pd.Series:
    """Mean absolute weights of one library against another of its class, over all pairs."""
    from itertools import combinations

    import pandas as pd

    obs, found = experiment.cells.obs, []
    for _, part in obs.groupby(CLASS):
        for two in combinations(part["sample"].astype(str).unique(), 2):
            made = part[part["sample"].astype(str).isin(two)].copy()
            made[CLASS] = made["sample"].astype(str)
            found.append(_weights_of_pair(experiment, made.loc[matched_types(made, seed=seed)], two, seed))
    return pd.concat(found, axis=1).abs().mean(axis=1)


def _weights_of_pair(experiment: Experiment, made: pd.DataFrame, two: tuple[str, str], seed: int) -> pd.Series:
    cells = experiment.cells[made.index].copy()
    cells.obs = made
    own = replace(experiment, cells=cells, classes=two)
    return unit_weights(own, {"pair": made.index}, seed=seed)["pair"]
