"""Numbers from real cells that the book keeps, so that a build without real cells can show them.

`book/real_numbers.csv` is made by ``scripts/real_numbers.py`` from one file of SRP169576 and committed
with a description of where it comes from.  Columns that a panel does not need are empty.

- ``genes``: `variant` names the genes and the divisor; a random split, means over seeds.
- ``shift``: `variant` is ``as it stands`` (A.2) or ``same test cells``; one row per held-out library and
  one for the random split it is compared with; means over seeds.
- ``tuning``: `variant` says how C was chosen; means over the libraries held out in turn.
- ``library``: one library against another, cell types matched; `variant` is the representation.
- ``planted``: `value` is the log fold change; 0 is a made-up condition over the libraries.
- ``signs``: `groups` names two libraries; `value` is the share of top genes whose sign agrees.
- ``top``: `groups` is a gene among the ten of largest mean weight over libraries; `value` is that mean,
  `observed` the share of libraries that agree with its sign.
- ``reliability``: `value` is the stated probability, `observed` the share of positive cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .evaluation import evaluate_task
from .experiment import CLASS, Experiment, load_experiment
from .features import TaskFeatures, measured_everywhere
from .files import sha256_file, write_csv, write_json
from .genes import harmonize_loci, locus_kind, sum_duplicate_genes
from .hdf5_files import write_h5ad
from .measures import metrics, reliability_curve
from .normalization import normalize
from .planted import planted_ladder
from .preprocessing import preprocess_dataset
from .probes import fit_lr, library_leakage, sign_agreement, unit_weights
from .profiles import Evaluation, Extra, TissueGrid
from .scores import code_behind, read_scores, versions
from .sources import fetch, load_raw
from .splits import random_split
from .thresholds import recentred_accuracy
from .workspace import PROJECT, Workspace, open_workspace

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: The data set, the profile whose manifest reads it, and the committed table.
DATASET, PROFILE = "SRP169576", "real_root"
TABLE = PROJECT / "book" / "real_numbers.csv"
COLUMNS = (
    "panel", "label", "variant", "groups", "protocol", "held_out", "value", "observed", "n_seeds", "n_genes",
    "n_train_cells", "n_test", "auroc", "auroc_sd", "auroc_hard", "recentred", "brier", "ece",
)  # fmt: skip
PANELS = ("genes", "shift", "tuning", "library", "planted", "signs", "top", "reliability")
#: Representations told apart by library.
LEAKED = ("raw", "binned", "hvg_pca", "depth")


def compute_real_numbers(
    data_dir: str | Path, folder: str | Path, *, seeds: int = 10, panels: tuple[str, ...] = PANELS
) -> pd.DataFrame:
    """Compute the panels, with LR on raw values unless a row says otherwise.

    Parameters
    ----------
    data_dir
        Folder with the file of SRP169576 (see `profiles/real_root.yaml`).
    folder
        Where processed cells and scores go; an empty folder for numbers that owe nothing to a cache.
    seeds
        Splits per row of ``genes`` and ``shift``.
    panels
        Which of `PANELS`.

    Returns
    -------
    One row per number, columns `COLUMNS`.
    """
    import pandas as pd

    workspace, counts = _prepare(Path(data_dir), Path(folder), seeds)
    makers = {
        "genes": lambda: _gene_rows(workspace, counts, seeds),
        "shift": lambda: _shift_rows(workspace),
        "tuning": lambda: _tuning_rows(workspace),
        "library": lambda: _library_rows(_all_cells(workspace)),
        "planted": lambda: _planted_rows(_all_cells(workspace)),
        "signs": lambda: _sign_rows(workspace),
        "top": lambda: _top_rows(workspace),
        "reliability": lambda: _reliability_rows(workspace),
    }
    rows = [{"panel": name, **row} for name in panels for row in makers[name]()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_real_numbers(data_dir: str | Path, folder: str | Path, *, date: str, command: str) -> Path:
    """Compute all panels and write the table and its description beside it."""
    path = fetch(open_workspace(PROFILE).manifest[DATASET], source="local", data_dir=data_dir)
    facts = {
        "dataset": DATASET, "file": path.name, "sha256": sha256_file(path), "date": date, "command": command,
        "code": code_behind("real_numbers"), "versions": versions(),
    }  # fmt: skip
    table = compute_real_numbers(data_dir, folder)
    write_json(TABLE.with_suffix(".json"), facts | {"cells": _cells(Path(folder))})
    return write_csv(TABLE, table.round(5))


def read_real_numbers() -> tuple[pd.DataFrame, dict]:
    """The committed table and its description.

    Raises
    ------
    InputError
        A file is absent.
    """
    import json

    import pandas as pd

    facts = TABLE.with_suffix(".json")
    for path in (TABLE, facts):
        if not path.exists():
            raise InputError(f"book/{path.name} is absent. Make it with scripts/real_numbers.py.")
    text = dict.fromkeys(("label", "variant", "groups", "protocol", "held_out"), str)
    return pd.read_csv(TABLE, dtype=text), json.loads(facts.read_text(encoding="utf-8"))


def gene_table(table: pd.DataFrame) -> pd.DataFrame:
    """Panel ``genes`` as a page shows it: one row per label and choice of genes and divisor."""
    columns = {"n_genes": "genes", "auroc": "AUROC", "auroc_sd": "SD over splits", "auroc_hard": "from hard labels"}
    rows = table[table["panel"] == "genes"].astype({"n_genes": int}).rename(columns=columns)
    return rows.set_index(["label", "variant"])[list(columns.values())].round(3)


def origin(facts: dict) -> str:
    """Where the committed numbers come from, without the command that made them."""
    return (
        f"{facts['cells']:,} cells of {facts['dataset']} ({facts['file']}, SHA-256 {facts['sha256'][:12]}…), "
        f"computed on {facts['date']}, not by this build"
    )


def _prepare(data_dir: Path, folder: Path, seeds: int) -> tuple[Workspace, ad.AnnData]:
    """A workspace in `folder` that evaluates LR on raw values, with the cells processed; the counts."""
    opened = open_workspace(PROFILE, threads=1)
    labels = opened.profile.tissues["root"].labels
    own = Evaluation(
        representations=["raw"], heads=["LR"], n_train=["all"], seeds=list(range(seeds)), n_boot=10,
        extra=Extra(hold_out_all=True),
    )  # fmt: skip
    tasks = [f"random:{DATASET}", f"replicate:{DATASET}"]
    grid = {"root": TissueGrid(tasks=tasks, labels=labels, pretraining=[])}
    profile = opened.profile.model_copy(update={"evaluation": own, "tissues": grid})
    workspace = Workspace(profile, opened.manifest, folder)
    dataset = opened.manifest[DATASET]
    counts = load_raw(dataset, source="local", data_dir=data_dir)
    path = workspace.processed_path("root", DATASET)
    if not path.exists():
        write_h5ad(path, preprocess_dataset(counts, dataset))
    return workspace, sum_duplicate_genes(harmonize_loci(counts))


def _cells(folder: Path) -> int:
    import anndata as ad

    return ad.read_h5ad(folder / "processed" / "root" / f"{DATASET}.h5ad", backed="r").n_obs


def _all_cells(workspace: Workspace) -> ad.AnnData:
    """Every cell, whatever its type, with the genes that all libraries measure."""
    cells = workspace.read_processed("root", DATASET)
    return cells[:, measured_everywhere(cells)].copy()


def gene_variants(counts: ad.AnnData) -> dict[str, tuple[list[str], str | None]]:
    """Name → genes measured in all libraries, and the total they are divided by (None: their own sum)."""
    known = counts.var_names[measured_everywhere(counts)]
    kinds = {name: locus_kind(name) for name in known}
    nuclear = [g for g in known if kinds[g] == "nuclear"]
    plastid = [g for g in known if kinds[g] == "chloroplast"]
    rest = [g for g in known if kinds[g] != "chloroplast"]
    return {
        "nuclear loci, library's own total": (nuclear, "total_counts"),
        "with chloroplast, library's own total": (nuclear + plastid, "total_counts"),
        "nuclear loci, their own sum": (nuclear, None),
        "all genes, their own sum": (list(known), None),
        "all but chloroplast, their own sum": (rest, None),
    }


def _gene_rows(workspace: Workspace, counts: ad.AnnData, seeds: int) -> Iterator[dict]:
    """Random splits on other genes and with other divisors, everything else alike."""
    for label in workspace.profile.tissues["root"].labels:
        experiment = load_experiment(workspace, "root", f"random:{DATASET}", label=label)
        for variant, (genes, total_key) in gene_variants(counts).items():
            cells = normalize(counts[experiment.cells.obs_names, genes].copy(), total_key=total_key)
            cells.obs[CLASS] = experiment.cells.obs[CLASS]
            fits = []
            for seed in range(seeds):
                split = random_split(cells.obs, label_key=CLASS, seed=seed)
                fits.append(fit_lr(cells, split, classes=experiment.classes, seed=seed).scores)
            sizes = {"n_train_cells": len(split.train), "n_genes": len(genes)}
            yield {"label": label, "variant": variant, "protocol": "random", **sizes, **_summary(fits)}


def _shift_rows(workspace: Workspace) -> Iterator[dict]:
    """Each library held out in turn beside the random split: as the protocols stand, and paired."""
    for label in workspace.profile.tissues["root"].labels:
        for protocol in ("random", "replicate"):
            rows = evaluate_task(workspace, "root", f"{protocol}:{DATASET}", label=label)
            rows = rows.fillna({"held_out": ""})
            for (fidelity, kind, unit), part in rows.groupby(["fidelity", "protocol", "held_out"], sort=False):
                tables = [read_scores(workspace.scores_dir("root") / f"{key}.parquet")[0] for key in part["key"]]
                variant = "same test cells" if fidelity == "matched" else "as it stands"
                said = {"label": label, "variant": variant, "protocol": kind, "held_out": unit}
                yield said | {"n_train_cells": round(part["n_train_cells"].mean()), **_summary(tables)}


def _tuning_rows(workspace: Workspace) -> Iterator[dict]:
    """C chosen by random folds or with libraries kept together; each library held out, one seed."""
    for label in workspace.profile.tissues["root"].labels:
        task = f"replicate:{DATASET}"
        units = load_experiment(workspace, "root", task, label=label).held_out
        for tuning in ("none", "cv", "group_cv"):
            same = {"label": label, "tuning": tuning, "seeds": [0], "extra": False}
            parts = [evaluate_task(workspace, "root", task, held_out=unit, **same).iloc[0] for unit in units]
            means = {m: sum(p[m] for p in parts) / len(parts) for m in ("auroc", "auroc_hard", "brier", "ece")}
            yield {"label": label, "variant": tuning, "protocol": "replicate", "n_seeds": 1, **means}


def _library_rows(cells: ad.AnnData) -> Iterator[dict]:
    cells.obs[CLASS] = "all"
    experiment = Experiment("root", None, "all", "paper", cells, ("all",), (), "sample", {})
    features = TaskFeatures(cells, models={}, dim=16)
    for row in library_leakage(experiment, features, representations=LEAKED, seed=0).to_dict("records"):
        kept = {"groups": row["libraries"], "n_test": row["n_test"], "auroc": row["auroc"], "n_seeds": 1}
        yield {"label": "library", "variant": row["representation"], "protocol": "random", **kept}


def _planted_rows(cells: ad.AnnData) -> Iterator[dict]:
    for row in planted_ladder(cells, seed=0).to_dict("records"):
        kept = {k: row[k] for k in ("groups", "protocol", "held_out", "n_train_cells", "n_test", "auroc", "auroc_hard")}
        said = {"label": "planted", "value": row["log_fold_change"], "observed": row["share_found"], "n_seeds": 1}
        yield said | kept


def _library_weights(workspace: Workspace, label: str) -> pd.DataFrame:
    """Weights of LR fitted to each library's own cells: (genes, libraries)."""
    experiment = load_experiment(workspace, "root", f"random:{DATASET}", label=label)
    sample = experiment.cells.obs["sample"].astype(str)
    units = {name: sample.index[sample == name] for name in sample.unique()}
    return unit_weights(experiment, units, seed=0)


def _sign_rows(workspace: Workspace) -> Iterator[dict]:
    """Of the top genes of one library's own model, the share whose sign holds in another's."""
    for label in workspace.profile.tissues["root"].labels:
        for row in sign_agreement(_library_weights(workspace, label)).itertuples():
            groups = f"{row.unit} | {row.other}"
            yield {"label": label, "groups": groups, "value": row.same_sign, "n_genes": row.n_genes, "n_seeds": 1}


def _top_rows(workspace: Workspace) -> Iterator[dict]:
    """Genes of largest mean weight, and how many libraries agree with its sign."""
    import numpy as np

    for label in workspace.profile.tissues["root"].labels:
        weights = _library_weights(workspace, label)
        mean = weights.mean(axis=1)
        for gene in mean.abs().nlargest(10).index:
            agree = float((np.sign(weights.loc[gene]) == np.sign(mean[gene])).mean())
            yield {"label": label, "groups": gene, "value": mean[gene], "observed": agree, "n_seeds": 1}


def _reliability_rows(workspace: Workspace) -> Iterator[dict]:
    """Stated against observed probability over all seeds and libraries: random, and held out."""
    import pandas as pd

    for label in workspace.profile.tissues["root"].labels:
        for protocol in ("random", "replicate"):
            rows = evaluate_task(workspace, "root", f"{protocol}:{DATASET}", label=label)
            keys = rows.loc[rows["fidelity"] == "paper", "key"]
            scores = [read_scores(workspace.scores_dir("root") / f"{key}.parquet")[0] for key in keys]
            for row in reliability_curve(pd.concat(scores, ignore_index=True)).itertuples():
                yield {"label": label, "protocol": protocol, "value": row.stated, "observed": row.observed,
                       "n_test": row.n}  # fmt: skip


def _summary(tables: list[pd.DataFrame]) -> dict:
    """Means over seeds of the metrics, and the standard deviation of AUROC."""
    import pandas as pd

    found = pd.concat([metrics(table) for table in tables])
    names = ["auroc", "auroc_hard", "brier", "ece"]
    recentred = sum(map(recentred_accuracy, tables)) / len(tables)
    sizes = {"n_seeds": len(tables), "n_test": round(sum(map(len, tables)) / len(tables))}
    return {**sizes, **found[names].mean().to_dict(), "auroc_sd": found["auroc"].std(), "recentred": recentred}
