"""Moved thresholds: how much of a drop is lost ranking, and how much a score that shifted as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .measures import arrays_of

if TYPE_CHECKING:
    import pandas as pd


def recentred_accuracy(scores: pd.DataFrame) -> float:
    """Balanced accuracy when as many cells are called positive as there are positive cells.

    The ranking and the number of cells stay; only the threshold moves.  What this gives over the
    hard-label AUROC (the balanced accuracy at 0.5) is loss by a moved threshold.

    Raises
    ------
    InputError
        Other than two classes.
    """
    import numpy as np

    classes, truth, values = arrays_of(scores)
    if len(classes) != 2:
        raise InputError(f"A threshold needs two classes (found {len(classes)}).")
    positive = np.zeros(len(truth), dtype=bool)
    positive[np.argsort(-values[:, 1], kind="stable")[: int(truth.sum())]] = True
    return float((positive[truth == 1].mean() + (~positive[truth == 0]).mean()) / 2)


def shift_drops(shift: pd.DataFrame) -> pd.DataFrame:
    """Points lost from a random split to each held-out library, and how many are a moved threshold.

    Parameters
    ----------
    shift
        Panel ``shift`` of `real_numbers`: means over seeds by `label`, `variant`, `protocol`, `held_out`.

    Returns
    -------
    One row per label, variant and library: `drop` (AUROC), `drop_hard`, `drop_recentred` (hard labels
    with as many cells called positive as there are), and `threshold`, their difference: points of the
    hard-label drop that go when only the threshold is moved.
    """
    import pandas as pd

    found, measures = [], {"drop": "auroc", "drop_hard": "auroc_hard", "drop_recentred": "recentred"}
    rows = shift.assign(held_out=shift["held_out"].fillna(""))
    for (label, variant), part in rows.groupby(["label", "variant"], sort=False):
        random = part[part["protocol"] == "random"].set_index("held_out")
        for row in part[part["protocol"] == "replicate"].to_dict("records"):
            base = random.loc[row["held_out"] if row["held_out"] in random.index else ""]
            drops = {name: 100 * (base[column] - row[column]) for name, column in measures.items()}
            moved = drops["drop_hard"] - drops["drop_recentred"]
            found.append({"label": label, "variant": variant, "held_out": row["held_out"], **drops, "threshold": moved})
    return pd.DataFrame(found)


def drop_summary(drops: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over libraries of `shift_drops`, by variant and label, in points with one digit."""
    by = drops.groupby(["variant", "label"], sort=False)
    table = by[["drop", "drop_hard", "drop_recentred", "threshold"]].mean()
    table["threshold least"], table["threshold most"] = by["threshold"].min(), by["threshold"].max()
    table = table.round(1) + 0.0  # no minus before a zero
    table.insert(0, "libraries", by.size())
    return table
