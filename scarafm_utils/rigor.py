"""Tables of the rigor chapter: computed once for a profile, kept, and made again when anything changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .checkpoints import load_checkpoint, usable_checkpoint
from .errors import InputError
from .experiment import CLASS, Experiment, load_experiment
from .features import TaskFeatures, measured_everywhere
from .files import hash_of, sha256_file, write_csv
from .model import default_device
from .planted import planted_ladder, recover_counts
from .probes import (
    gene_set_enrichment,
    library_leakage,
    matched_types,
    sign_agreement,
    unit_weights,
)
from .scores import code_behind
from .simulate import simulate_dataset
from .standard import cap_per_sample

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

    from .tasks import Task
    from .workspace import Workspace

#: Representations whose leak of the library is measured; those of an encoder only up to so many tokens.
PLAIN_PROBED, ENCODED_PROBED = ("raw", "binned", "hvg_pca", "depth"), ("CLS", "WM", "PCA_1")
MAX_TOKENS = 1_000_000
#: Cells that planted stress and the leakage probe look at, drawn in proportion from every library.
MAX_CELLS = 5_000
#: Partitions of the libraries on which a stress is planted in a build.
MAX_PARTITIONS = 4


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
    cells = _fewer(cells[:, measured_everywhere(cells)], workspace.profile.seed)
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
                inputs = [task.name, grid.labels[0], experiment.checksums, _weights(workspace, experiment)]
                table = kept_table(
                    workspace, f"leakage-{task.slug}", inputs=inputs,
                    compute=lambda e=experiment: _leakage(workspace, e),
                )  # fmt: skip
                parts.append(table.assign(task=task.name, label=grid.labels[0]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def sign_table(workspace: Workspace) -> pd.DataFrame:
    """Share of the strongest genes of one unit whose sign holds in another: a square table of units.

    Units are each replicate and study of the first cross task, else of the first replicate task, or its
    libraries where each holds all classes.  No row where there are fewer than two units, or no such task.
    """
    import pandas as pd

    chosen = _task_for_signs(workspace)
    if chosen is None:
        return pd.DataFrame()
    tissue, task, label = chosen
    experiment = load_experiment(workspace, tissue, task, label=label)
    table = kept_table(
        workspace, "signs", inputs=[task.name, label, experiment.checksums],
        compute=lambda: _unit_weights(experiment, workspace.profile.seed),
    )  # fmt: skip
    weights = table.set_index("gene")
    if weights.shape[1] < 2:
        return pd.DataFrame()
    square = sign_agreement(weights).pivot(index="unit", columns="other", values="same_sign")
    return square.rename_axis(index=f"{label.replace('_', ' ')} in", columns="other")


def truth_table(workspace: Workspace) -> pd.DataFrame:
    """Do the top genes of two models belong to the cause that the simulator gave them?

    Two models on the first replicate task: stress under a random split, and one library against another
    of the same condition, cell types matched (mean weights over pairs).  Sets: the stress programme
    shared by studies, the private one, and the modules that move with the library.  Without rows where
    cells are real, since nobody knows the cause of each gene, and without a replicate task.
    """
    import pandas as pd

    found = [(t, task) for t, g in workspace.profile.tissues.items() for task in g.parsed_tasks]
    found = [(tissue, task) for tissue, task in found if task.protocol == "replicate"]
    if not workspace.simulated or not found:
        return pd.DataFrame()
    tissue, task = found[0]
    experiment = load_experiment(workspace, tissue, task)
    sets = _true_sets(workspace, task.train_dataset)
    seed, obs = workspace.profile.seed, experiment.cells.obs
    stress = unit_weights(experiment, {"all": obs.index}, seed=seed)["all"]
    library = _library_weights(experiment, seed)
    parts = [
        gene_set_enrichment(weights, sets).assign(model=model)
        for model, weights in (("stress, random split", stress), ("library against library", library))
    ]
    return pd.concat(parts, ignore_index=True).assign(task=task.name).set_index(["task", "model", "set"])


def _most_libraries(workspace: Workspace) -> tuple[str, str, int]:
    found = [
        (len(workspace.read_processed(tissue, d.id).uns["samples"]), tissue, d.id)
        for tissue in workspace.profile.tissues
        for d in workspace.datasets(tissue, role="downstream")
    ]
    n_samples, tissue, name = max(found)
    return tissue, name, n_samples


def _fewer(cells: ad.AnnData, seed: int) -> ad.AnnData:
    """A copy with at most `MAX_CELLS` cells, in proportion from every library."""
    if cells.n_obs <= MAX_CELLS:
        return cells.copy()
    return cells[cap_per_sample(cells.obs["sample"], MAX_CELLS, seed=seed)].copy()


def _are_counts(cells: ad.AnnData) -> bool:
    try:
        recover_counts(cells)
    except InputError:
        return False
    return True


def _checksum(workspace: Workspace, tissue: str, name: str) -> list:
    return [name, sha256_file(workspace.processed_path(tissue, name)), workspace.profile.seed]


def _weights(workspace: Workspace, experiment: Experiment) -> str | None:
    """Checksum of the encoder's weights where it may be used on these cells, else None."""
    folder = workspace.checkpoint_dir(experiment.tissue)
    return usable_checkpoint(folder, experiment.cells.var_names, simulated=workspace.simulated)[0]


def _leakage(workspace: Workspace, experiment: Experiment) -> pd.DataFrame:
    model = workspace.profile.model
    cells = _fewer(experiment.cells, workspace.profile.seed)
    experiment = replace(experiment, cells=cells)
    small = cells.n_obs * cells.n_vars <= MAX_TOKENS and _weights(workspace, experiment)
    folder = workspace.checkpoint_dir(experiment.tissue)
    models = {"": load_checkpoint(folder, device=default_device())} if small else {}
    features = TaskFeatures(cells, models=models, dim=model.dim, n_bins=model.n_bins)
    names: Sequence[str] = (*PLAIN_PROBED, *(ENCODED_PROBED if small else ()))
    return library_leakage(experiment, features, representations=names, seed=workspace.profile.seed)


def _task_for_signs(workspace: Workspace) -> tuple[str, Task, str] | None:
    """Tissue, task and first label of the first cross task, else of the first replicate task."""
    found = [(t, task, g.labels[0]) for t, g in workspace.profile.tissues.items() for task in g.parsed_tasks]
    order = [entry for protocol in ("cross", "replicate") for entry in found if entry[1].protocol == protocol]
    return order[0] if order else None


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
