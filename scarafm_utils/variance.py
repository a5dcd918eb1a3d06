"""What moves a score: its variance split into library, split, seed and test sampling.

The model is a nested random-effects model of the scores of one kind of model on one data set,

    score(u, k, s) = mean + library(u) + split(u, k) + seed(u, k, s),

with u the held-out unit, k the split (which cells are balanced away, capped, trained and tested on) and
s the seed of the fit alone.  Its components are estimated by the method of moments: the variance of
the means at each level, less what the level below adds to it.  In a balanced design this is the analysis
of variance, and where no component is negative also REML.

Test sampling is what finitely many test cells add.  It is no level of its own: its variance v is known
for each score (`paired.auroc_covariance`).  Two splits of a unit share a part o of their test cells, so
that o·v lies in the differences between units and (1 - o)·v in those between splits; both are taken out
of the two components and shown by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: Components, from what a reader cannot choose to what a better experiment would remove.
COMPONENTS = ("library", "split", "seed", "test sampling")


def variance_components(scores: pd.DataFrame, *, value: str = "auroc", overlap: float = 1.0) -> pd.DataFrame:
    """Split the variance of repeated scores of one model on one data set.

    Parameters
    ----------
    scores
        One row per fit: `unit` (the held-out library or replicate), `split`, `seed`, the column `value`
        and `test_variance`, the variance over test cells of that score (0 or absent: left in the levels).
        Levels are nested and need not be balanced; each mean counts once, whatever is behind it.
    overlap
        Mean share of test cells that two splits of one unit have in common.

    Returns
    -------
    One row per component of `COMPONENTS`: `variance` (unbiased, so below 0 by chance where a component
    is small; NaN where a level has one group everywhere), `sd` (its root, 0 where it is negative),
    `share` (of the sum of the components that are known, negative ones counting 0) and `n`, the number of
    units, splits, fits and scores behind it.

    Raises
    ------
    InputError
        Missing columns, or a score without a value.
    """
    import pandas as pd

    lacking = [name for name in ("unit", "split", "seed", value) if name not in scores]
    if lacking or scores[value].isna().any() or scores.empty:
        raise InputError(f"Variance components need {', '.join(lacking) or value} for every fit, and at least one.")
    test = float(scores["test_variance"].mean()) if "test_variance" in scores else 0.0
    rows = scores.assign(value=scores[value], noise=0.0, everything="")
    seed, fits = _level(rows, ["unit", "split", "everything"])
    split, splits = _level(fits, ["unit", "everything"])
    library, _ = _level(splits, ["everything"])
    library, split = library - overlap * test, split - (1 - overlap) * test
    table = pd.DataFrame({"component": COMPONENTS, "variance": [library, split, seed, test]})
    table["sd"] = table["variance"].clip(lower=0) ** 0.5
    table["share"] = table["sd"] ** 2 / (table["sd"] ** 2).sum()
    return table.assign(n=[len(splits), len(fits), len(scores), len(scores)])


def variance_table(repeats: pd.DataFrame) -> pd.DataFrame:
    """What moves a score, one row for each task and label of ``tables/repeats.csv``.

    Returns
    -------
    `mean AUROC`; for each of `COMPONENTS` its standard deviation in points of AUROC (missing where the
    task has one unit, split or seed; 0 where the estimate is negative); numbers of units and fits.  Fits
    without a value are left out.
    """
    import pandas as pd

    rows = []
    for keys, fits in repeats[repeats["auroc"].notna()].groupby(["task", "label"], sort=False):
        found = variance_components(fits, overlap=fits["overlap"].mean()).set_index("component")
        spread = [round(100 * found.loc[name, "sd"], 1) for name in COMPONENTS]
        rows.append((*keys, round(fits["auroc"].mean(), 3), *spread, found.loc["library", "n"], len(fits)))
    columns = ["task", "label", "mean AUROC", *(f"{name} (SD, points)" for name in COMPONENTS), "units", "fits"]
    table = pd.DataFrame(rows, columns=columns)
    keys = ["task", "label"] if (table["label"] != "stress").any() else ["task"]
    return table.drop(columns={"label"} - set(keys)).set_index(keys)


def _level(rows: pd.DataFrame, keys: list[str]) -> tuple[float, pd.DataFrame]:
    """The component of one level, and the means of its groups with the variance that they carry up.

    `rows` has a `value` and, as `noise`, the variance of that value from the levels below.  Where every
    group has one row the component is NaN and stays in the level above.
    """
    grouped = rows.groupby(keys, sort=False)
    found = grouped.agg(value=("value", "mean"), spread=("value", "var"), below=("noise", "mean"), n=("value", "size"))
    component = float((found["spread"] - found["below"]).mean())
    known = 0.0 if component != component else component
    return component, found.assign(noise=(known + found["below"]) / found["n"]).reset_index()
