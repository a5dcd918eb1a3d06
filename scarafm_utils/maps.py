"""Maps of cells (UMAP), beside the numbers that a map cannot show: who the neighbours of a cell are.

Distances in a UMAP prove nothing, so each colouring has a number from the representation itself:
the share of a cell's nearest neighbours that carry its label, beside the same for labels dealt out
at random.  A condition is dealt out over whole libraries as well, and neighbours are then sought in
other libraries: inside its own every cell shares its condition anyway.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .checkpoints import load_checkpoint, usable_checkpoint
from .errors import InputError
from .features import TaskFeatures, measured_everywhere
from .files import hash_of, sha256_file, write_csv
from .model import default_device
from .scores import code_behind
from .splits import cap
from .tasks import parse_task

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

    from .workspace import Workspace

REPRESENTATIONS = ("raw", "CLS", "WM")
COLOURINGS = ("condition", "library", "cell_type")
#: What neighbours may have in common: the colourings, and the third of all total counts that a cell lies in.
LABELS = (*COLOURINGS, "depth")
#: The condition again, with neighbours from other libraries only.
ACROSS = "condition, other libraries"
#: Cells on a map, of all its data sets together.
MAX_CELLS = 500
N_NEIGHBOURS = 15
N_PERMUTATIONS = 99
N_EPOCHS = 200
PURITY_COLUMNS = ("datasets", "representation", "colouring", "cells", "groups", "purity", "permuted", "highest",
                  "n_permuted", "reason")  # fmt: skip


@dataclass(frozen=True)
class CellMap:
    """The cells of one or two data sets in two dimensions, and the purity of their neighbourhoods.

    `points`: obs_name, dataset, `LABELS` and, for each representation that could be had, two
    coordinates ``raw_1``, ``raw_2`` and so on.  `purity`: columns `PURITY_COLUMNS`; a number that
    could not be had has a `reason`.
    """

    points: pd.DataFrame
    purity: pd.DataFrame


def shown_task(workspace: Workspace, tissue: str) -> str:
    """The task whose map the canonical page shows: the profile's first with a replicate held out, else its first."""
    tasks = workspace.profile.grid(tissue).tasks
    return next((task for task in tasks if parse_task(task).protocol == "replicate"), tasks[0])


def read_map(workspace: Workspace, tissue: str, task: str) -> CellMap:
    """The map of the data sets of a task (``all``: of `shown_task`); stored under the hash of all it depends on.

    Tasks on the same data sets share it, in either direction.  A map that is not at hand, or that was
    made by other code, of other cells or with other weights, is made anew.
    """
    import pandas as pd

    task = shown_task(workspace, tissue) if task == "all" else task
    datasets = sorted(set(parse_task(task).datasets))
    stem = "-".join(datasets)
    folder = workspace.tables_dir / "maps" / tissue / stem / _key(workspace, tissue, datasets)
    text = {column: str for column in ("obs_name", "dataset", *LABELS, "reason")}
    if not (folder / "purity.csv").exists():
        _write_map(make_map(workspace, tissue, datasets), folder)
    points = pd.read_csv(folder / "points.csv", dtype=text, float_precision="round_trip")
    purity = pd.read_csv(folder / "purity.csv", dtype=text, float_precision="round_trip")
    return CellMap(points, purity.assign(reason=purity["reason"].fillna("")))


def _write_map(made: CellMap, folder: Path) -> None:
    """Write a map, the table that says it is whole last, and remove older maps of the same data sets."""
    write_csv(folder / "points.csv", made.points)
    write_csv(folder / "purity.csv", made.purity)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _key(workspace: Workspace, tissue: str, datasets: Sequence[str]) -> str:
    for name in datasets:
        if not workspace.processed_path(tissue, name).exists():
            workspace.read_processed(tissue, name)  # says which chapter makes it
    weights = workspace.checkpoint_dir(tissue) / "model.safetensors"
    return hash_of({
        "cells": [sha256_file(workspace.processed_path(tissue, name)) for name in datasets],
        "weights": sha256_file(weights) if weights.exists() else None,
        "seed": workspace.profile.seed, "code": code_behind("maps"),
    })  # fmt: skip


def make_map(workspace: Workspace, tissue: str, datasets: Sequence[str]) -> CellMap:
    """Sample cells, take their features, lay them out, and look at their neighbours.

    At most `MAX_CELLS` cells, each data set the same number, its libraries in proportion.  Heads' rule
    holds: only genes that every sample measures.  Same cells, weights and seed, same map.
    """
    import pandas as pd

    seed = workspace.profile.seed
    parts = [_sample(workspace.read_processed(tissue, name), len(datasets), seed) for name in datasets]
    points = pd.concat([_labels(part, name) for part, name in zip(parts, datasets, strict=True)], ignore_index=True)
    if len(datasets) > 1:
        points["library"] = points["dataset"] + ":" + points["library"]
    points["depth"] = _thirds(points.pop("total_counts"))
    features, reason = _features(workspace, tissue, parts)
    rows = []
    for name in REPRESENTATIONS:
        found = features.get(name)
        if found is not None:
            points[[f"{name}_1", f"{name}_2"]] = layout(found, seed=seed).round(4)
            rows += [{"representation": name} | row for row in purities(found, points, seed=seed)]
        else:
            rows += [{"representation": name, "colouring": COLOURINGS[0], "reason": reason}]
    purity = pd.DataFrame(rows).assign(datasets=" + ".join(datasets)).reindex(columns=list(PURITY_COLUMNS))
    return CellMap(points, purity)


def _sample(adata: ad.AnnData, n_datasets: int, seed: int) -> ad.AnnData:
    n = MAX_CELLS // n_datasets
    if adata.n_obs <= n:
        return adata
    names = cap(adata.obs, n, label_key="sample", seed=seed)
    return adata[adata.obs_names.isin(names)].copy()


def _labels(adata: ad.AnnData, dataset: str) -> pd.DataFrame:
    """Names and labels; the condition is the class that heads predict where the manifest names one."""
    import pandas as pd

    obs = adata.obs
    condition = "label_stress" if "label_stress" in obs and obs["label_stress"].notna().any() else "condition"
    sources = {"condition": condition, "library": "sample", "cell_type": "cell_type"}
    table = pd.DataFrame({"obs_name": adata.obs_names.astype(str), "dataset": dataset})
    for label, column in sources.items():
        values = obs[column].astype(object).to_numpy() if column in obs else np.full(len(obs), None)
        table[label] = [str(v) if v is not None and v == v and v != "" else None for v in values]
    table["total_counts"] = obs["total_counts"].to_numpy(dtype=float) if "total_counts" in obs else np.nan
    return table


def _thirds(totals: pd.Series) -> np.ndarray:
    """Low, middle or high: the third of the known totals that each lies in; None where it is not known."""
    words = np.full(len(totals), None, dtype=object)
    known = totals.notna().to_numpy()
    place = totals[known].rank(method="first").to_numpy() - 1  # 0 to n - 1
    words[known] = np.array(["low", "middle", "high"], dtype=object)[(3 * place // max(known.sum(), 1)).astype(int)]
    return words


def _features(workspace: Workspace, tissue: str, parts: list[ad.AnnData]) -> tuple[dict[str, np.ndarray], str]:
    """(n, p) features by representation, and why those of an encoder are missing if they are."""
    genes = parts[0].var_names[np.all([measured_everywhere(part) for part in parts], axis=0)]
    folder = workspace.checkpoint_dir(tissue)
    _, reason = usable_checkpoint(folder, parts[0].var_names, simulated=workspace.simulated)
    models = {} if reason else {"": load_checkpoint(folder, device=default_device())}
    wanted = REPRESENTATIONS if models else ("raw",)
    found: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    for part in parts:
        features = TaskFeatures(part, models=models, memory_gb=0, seed=workspace.profile.seed, genes=genes)
        for name in wanted:
            found[name].append(features.matrix(name, fit=part.obs_names, names=part.obs_names))
    return {name: np.concatenate(values) for name, values in found.items()}, reason


def layout(features: np.ndarray, *, seed: int) -> np.ndarray:
    """UMAP of (n, p) features from `N_NEIGHBOURS` neighbours and a start at two principal components: (n, 2).

    Raises
    ------
    InputError
        Fewer cells than neighbours.
    """
    if len(features) <= N_NEIGHBOURS:
        raise InputError(f"a map of {len(features)} cells: {N_NEIGHBOURS} neighbours need more cells.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        same = {"random_state": seed, "n_jobs": 1, "init": "pca"}
        return UMAP(n_neighbors=N_NEIGHBOURS, min_dist=0.3, n_epochs=N_EPOCHS, **same).fit_transform(features)


def purities(features: np.ndarray, labels: pd.DataFrame, *, seed: int) -> list[dict]:
    """One row for each label and one for `ACROSS`: how often the nearest neighbours share the label.

    Parameters
    ----------
    features
        (n, p); distances are Euclidean, in all p dimensions.
    labels
        n rows, columns `LABELS`; cells whose label is not known are left out of its row.
    """
    from sklearn.metrics import pairwise_distances

    distances = pairwise_distances(features)
    np.fill_diagonal(distances, np.inf)
    rows = [_purity(distances, labels[name], name, seed) for name in LABELS]
    return [rows[0], _purity_across(distances, labels, seed), *rows[1:]]


def _purity(distances: np.ndarray, values: pd.Series, name: str, seed: int) -> dict:
    known = np.flatnonzero(values.notna())
    row = {"colouring": name, "cells": len(known), "groups": values.nunique()}
    if row["groups"] < 2 or len(known) <= N_NEIGHBOURS:
        return row | {"reason": "not known" if row["groups"] == 0 else "one value only"}
    codes = values.iloc[known].astype("category").cat.codes.to_numpy()
    near = _nearest(distances[np.ix_(known, known)])
    rng = np.random.default_rng(seed)
    return row | _beside_chance(near, codes, [rng.permutation(codes) for _ in range(N_PERMUTATIONS)])


def _purity_across(distances: np.ndarray, labels: pd.DataFrame, seed: int) -> dict:
    """Do cells of other libraries with the same condition lie nearer?  Dealt out over whole libraries."""
    known = np.flatnonzero(labels["condition"].notna() & labels["library"].notna())
    part = labels.iloc[known]
    owner = part.groupby("library", sort=False)["condition"].agg(["first", "nunique"])
    row = {"colouring": ACROSS, "cells": len(known), "groups": part["condition"].nunique()}
    if row["groups"] < 2 or (owner["nunique"] > 1).any():
        return row | {"reason": "the condition is not known, or is no property of whole libraries"}
    others = other_assignments(owner["first"].tolist(), seed=seed)
    if not others:
        return row | {"reason": "too few libraries"}
    library = part["library"].map({name: i for i, name in enumerate(owner.index)}).to_numpy()
    elsewhere = np.where(library[:, None] == library, np.inf, distances[np.ix_(known, known)])
    codes = owner["first"].astype("category").cat.codes.to_numpy()
    return row | _beside_chance(_nearest(elsewhere), codes[library], [np.array(o)[library] for o in others])


def other_assignments(conditions: Sequence[str], *, seed: int, n_draws: int = 200) -> list[tuple[int, ...]]:
    """Other ways to deal the conditions out to the libraries; swapping two names is no other way.

    Of all of them as many as `n_draws` seeded shuffles meet, at most `N_PERMUTATIONS`.

    >>> other_assignments(["a", "a", "b", "b"], seed=0)
    [(0, 1, 0, 1), (0, 1, 1, 0)]
    """
    rng = np.random.default_rng(seed)
    truth = _renamed(conditions)
    met = {_renamed(rng.permutation(np.array(conditions, dtype=object))) for _ in range(n_draws)}
    return sorted(met - {truth})[:N_PERMUTATIONS]


def _renamed(values: Sequence) -> tuple[int, ...]:
    """Each value as the number of distinct values met before its first appearance."""
    order: dict = {}
    return tuple(order.setdefault(value, len(order)) for value in values)


def _nearest(distances: np.ndarray) -> np.ndarray:
    """Rows of the nearest cells, (n, N_NEIGHBOURS); ties to the lower row."""
    return np.argsort(distances, axis=1, kind="stable")[:, :N_NEIGHBOURS]


def _beside_chance(near: np.ndarray, codes: np.ndarray, dealt: list[np.ndarray]) -> dict:
    def share(values):
        return float((values[near] == values[:, None]).mean())

    chance = [share(values) for values in dealt]
    return {
        "purity": share(codes), "permuted": float(np.mean(chance)), "highest": max(chance),
        "n_permuted": len(chance), "reason": "",
    }  # fmt: skip


def write_maps(workspace: Workspace, tissue: str) -> pd.DataFrame:
    """Make every map of a tissue in one process and write their purities to ``tables/maps-<tissue>.csv``."""
    import pandas as pd

    tasks = {tuple(sorted(set(parse_task(t).datasets))): t for t in workspace.profile.grid(tissue).tasks}
    table = pd.concat([read_map(workspace, tissue, task).purity for task in tasks.values()], ignore_index=True)
    write_csv(workspace.tables_dir / f"maps-{tissue}.csv", table)
    return table


def purity_table(workspace: Workspace, tissue: str, task: str = "all") -> pd.DataFrame:
    """For a page: purity by data set, representation and colouring, below it mean and highest of permuted labels.

    `task` ``all`` shows every map of the tissue, each data set or pair once.
    """
    import pandas as pd

    tasks = workspace.profile.grid(tissue).tasks if task == "all" else [task]
    table = pd.concat([read_map(workspace, tissue, one).purity for one in tasks]).drop_duplicates(
        ["datasets", "representation", "colouring"]
    )
    table["text"] = [_purity_text(row) for row in table.to_dict("records")]
    order = ["condition", ACROSS, "library", "cell_type", "depth"]
    wide = table.pivot_table(
        index=["datasets", "representation"], columns="colouring", values="text", aggfunc="first", sort=False
    )
    words = {"cell_type": "cell type", "depth": "depth, in thirds"}
    return wide.reindex(columns=order).rename(columns=words).rename_axis(columns=None)


def _purity_text(row: dict) -> str:
    if row["purity"] != row["purity"]:
        return row["reason"]
    return f"{row['purity']:.2f}\n({row['permuted']:.2f},\u00a0{row['highest']:.2f})"
