"""Tables from stored scores: controls, cell types, and how far a probability can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .measures import metrics, reliability_curve
from .names import PLAIN
from .probes import within_types
from .scores import read_scores
from .tasks import PROTOCOLS

if TYPE_CHECKING:
    import pandas as pd

    from .workspace import Workspace


#: Controls without an encoder, in the order of a table.
CONTROLS = tuple(name for name in PLAIN if name != "raw")


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
    """AUROC of LR on raw values within each cell type, beside that over all types.

    A task without a type that holds `min_cells` test cells of every class has a row without values; where
    no task has one, there is no row.
    """
    import pandas as pd

    parts = []
    for row in _first_rows(results, "raw").itertuples():
        scores = _scores_of(workspace, row)
        found = within_types(scores, min_cells=min_cells)["auroc"].astype(float)
        held_out = "" if pd.isna(row.held_out) else row.held_out
        parts.append({"task": row.task, "label": row.label, "held out": held_out, "cell types": len(found),
                      "all cells": float(metrics(scores)["auroc"].iloc[0]), "mean within types": found.mean(),
                      "least": found.min(), "most": found.max()})  # fmt: skip
    table = pd.DataFrame(parts)
    return table.set_index(["task", "label", "held out"]) if len(table) and table["cell types"].any() else table.head(0)


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
    controls = [r for r in dict.fromkeys(first["representation"]) if r in CONTROLS or ":" in r]
    sizes = first[first["representation"].isin(controls)].groupby(["task", "label"])["n_train"].first().astype(str)
    known = first[["task", "label", "n_train"]].itertuples(index=False)
    wanted = [sizes.get((task, label)) == str(n) for task, label, n in known]
    kept = first[wanted].drop_duplicates(["task", "label", "representation"])
    table = kept.pivot_table(index="representation", columns="protocol", values="auroc", aggfunc="mean", sort=False)
    return table[[p for p in PROTOCOLS if p in table]].rename_axis(columns=None)


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
