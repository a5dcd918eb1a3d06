"""Tables of results that pages show; what else `tables.` offers a notebook comes from the modules above

Every function takes what a run stored and returns a DataFrame; nothing is computed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure_rows import fullest_size, main_fidelity, with_text_keys
from .figure_style import COLOURS
from .page_tables import ABSENT as ABSENT
from .page_tables import full_text as full_text
from .page_tables import or_absent as or_absent
from .profiles import PROTOCOLS, REPRESENTATIONS
from .tables_data import cell_table as cell_table
from .tables_data import gene_table as gene_table
from .tables_data import hvg_matrix as hvg_matrix
from .tables_data import label_table as label_table
from .tables_data import library_table as library_table
from .tables_data import read_report as read_report
from .tables_data import read_vocabulary as read_vocabulary
from .tables_data import shared_stress_table as shared_stress_table
from .tables_data import study_words as study_words
from .tables_data import supplementary_table_1 as supplementary_table_1
from .tables_data import supplementary_table_2 as supplementary_table_2
from .words import cause_table as cause_table
from .words import heading, number_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd


def in_figure_order(names: Iterable[str]) -> list[str]:
    """Each representation once: the paper's in the order of its figures, then controls as they come.

    >>> in_figure_order(["depth", "CLS", "raw", "ENS", "CLS"])
    ['raw', 'ENS', 'CLS', 'depth']
    """
    given = list(dict.fromkeys(names))
    return [name for name in COLOURS if name in given] + [name for name in given if name not in COLOURS]


def result_counts(results: pd.DataFrame) -> pd.DataFrame:
    """How many results have a value: a row for each representation, a column for each head."""
    counts = results.groupby(["representation", "head"], sort=False)["auroc"].count().unstack("head", fill_value=0)
    return counts.loc[in_figure_order(counts.index)].rename_axis(columns=None)


def result_table(results: pd.DataFrame) -> pd.DataFrame:
    """Results of the grid for a page: rounded to three digits, reasons spelt out.

    Training sizes from first to last, below each the representations in the order of the figures.  Repeats
    with other seeds and held-out units are left out: a figure shows them.  What was held out and the number
    of test cells stand in the caption where they are the same in every row.
    """
    keys = ["n_train", "representation", "head", "held_out", "n_test"]
    values = ["auroc", "auroc_hard", "auprc", "balanced_accuracy", "mcc", "brier", "ece"]
    rows = main_fidelity(with_text_keys(results))
    rows = rows[(rows["seed"] == rows["seed"].iloc[0]) & (rows["held_out"] == rows["held_out"].iloc[0])]
    rows = _sizes_first(rows)
    table = rows[[*keys, *values, "reason"]].copy()
    table[values] = table[values].astype(float).round(3)
    ends = zip(rows["auroc_low"], rows["auroc_high"], strict=True)
    texts = [[number_text(end, 3) for end in both] for both in ends]
    interval = ["" if "nan" in text else "\u00a0to\u00a0".join(text) for text in texts]
    table.insert(table.columns.get_loc("auroc_hard"), "interval", interval)
    table = table.astype(object).where(table.notna(), "")
    table = table.drop(columns=[c for c in ("held_out", "reason") if (table[c] == "").all()])
    return _same_in_caption(table.set_index(keys[:3]), ("held_out", "n_test"))


def _sizes_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by training size, then representation; `all` with its number of cells where the rows agree on it."""
    sizes, names = list(dict.fromkeys(rows["n_train"])), in_figure_order(rows["representation"])
    order = {"n_train": sizes.index, "representation": names.index}
    rows = rows.sort_values(list(order), key=lambda column: column.map(order[column.name]), kind="stable")
    every = rows["n_train"] == "all"
    known = rows.loc[every, "n_train_cells"].dropna().unique() if "n_train_cells" in rows else []
    return rows.assign(n_train=rows["n_train"].mask(every, f"all ({int(known[0]):,})")) if len(known) == 1 else rows


_TWO_CLASSES = "Balanced accuracy is the AUROC of hard labels here."
_MORE_CLASSES = (
    "With more than two classes the Brier score is summed over them and can reach 2, "
    "and balanced accuracy by chance is one divided by their number."
)


def _same_in_caption(table: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Columns of some names that hold one value leave the table and are said in its caption.

    So does balanced accuracy where it is the AUROC of hard labels, as it is with two classes.
    """
    twice = table["balanced_accuracy"].equals(table["auroc_hard"])
    table = table.drop(columns=["balanced_accuracy"] if twice else [])
    same = [name for name in names if name in table and table[name].nunique() == 1 and len(table) > 1]
    said = ", ".join(f"{heading(name)} {table[name].iloc[0]}" for name in same)
    table = table.drop(columns=same)
    parts = [f"The same in every row: {said}."] if same else []
    parts += [_TWO_CLASSES] if twice else []
    had = table[table["auroc_hard"] != ""]
    parts += [_MORE_CLASSES] if not twice and (had["balanced_accuracy"] != had["auroc_hard"]).any() else []
    table.attrs["caption"] = " ".join(parts)
    return table


#: What makes two rows the same configuration, apart from the split they were measured on.
CONFIGURATION = ["tissue", "task", "label", "protocol", "representation", "head", "n_train"]


def paper_grid(results: pd.DataFrame) -> pd.DataFrame:
    """The rows that the paper's bars show: its representations, at the size that figures draw."""
    rows = main_fidelity(with_text_keys(results))
    rows = rows[rows["representation"].isin(REPRESENTATIONS)]
    return rows[rows["n_train"] == drawn_size(rows)]


def drawn_size(rows: pd.DataFrame) -> str:
    """The training size that figures draw: repeats of one configuration count once."""
    return fullest_size(rows[rows["auroc"].notna()].drop_duplicates(CONFIGURATION))


def protocol_means(results: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC and hard-label AUROC by protocol: each configuration weighs the same, then each task.

    A configuration that was repeated (seeds, held-out units) is averaged first.
    """
    by_configuration = paper_grid(results).groupby(CONFIGURATION)[["auroc", "auroc_hard"]].mean()
    by_task = by_configuration.groupby(["protocol", "task"]).mean()
    means = by_task.groupby("protocol").mean().reindex(PROTOCOLS)
    means["n_tasks"] = by_task.groupby("protocol").size().reindex(means.index).fillna(0).astype(int)
    return means.round(3)


def in_words(value: float, digits: int = 2) -> str:
    """A number for prose, or the words for its absence; never ``nan``.

    >>> in_words(0.8217), in_words(-0.004), in_words(-0.31, 1), in_words(float("nan"))
    ('0.82', '0.00', '−0.3', 'no result')
    """
    return "no result" if value != value else number_text(value, digits)


#: Columns of `drop_table`.
DROPS = (
    "data set", "label", "held-out units", "AUROC, random", "AUROC, held out", "drop (points)", "least", "most",
    "drop from hard labels (points)",
)  # fmt: skip


def drop_table(results: pd.DataFrame) -> pd.DataFrame:
    """What a random split promises too much: raw values with LR, one row for each data set and label.

    Both scores of a pair come from the same test cells (rows of fidelity ``matched``): the model
    trained with cells of the held-out unit beside them, and the model trained without.  Seeds are
    averaged within a unit; the range is over units.  In points of AUROC (1 point = 0.01).  A data set of
    which nothing was held out has a row without numbers.
    """
    import pandas as pd

    rows = with_text_keys(results)
    asked = rows[rows["protocol"] != "cross"][["train_dataset", "label"]].drop_duplicates()
    rows = rows[(rows["fidelity"] == "matched") & (rows["representation"] == "raw") & (rows["head"] == "LR")]
    keys = ["train_dataset", "label", "held_out"]
    units = rows.pivot_table(index=keys, columns="protocol", values=["auroc", "auroc_hard"], aggfunc="mean")
    found = []
    for (dataset, label), part in units.groupby(level=keys[:2], sort=False):
        drop, hard = (100 * (part[m, "random"] - part[m, "replicate"]) for m in ("auroc", "auroc_hard"))
        found.append({
            "data set": dataset, "label": label, "held-out units": len(part),
            "AUROC, random": part["auroc", "random"].mean().round(3),
            "AUROC, held out": part["auroc", "replicate"].mean().round(3),
            "drop (points)": drop.mean().round(1), "least": drop.min().round(1), "most": drop.max().round(1),
            "drop from hard labels (points)": hard.mean().round(1),
        })  # fmt: skip
    done = {(row["data set"], row["label"]) for row in found}
    found += [{"data set": d, "label": k, "held-out units": 0} for d, k in asked.to_numpy() if (d, k) not in done]
    return pd.DataFrame(found, columns=list(DROPS))


def gain_table(results: pd.DataFrame) -> pd.DataFrame:
    """What the largest training size gains over the smallest, in points of AUROC.

    Both ends of a curve share task, label, head, seed and held-out unit, hence the test cells; a
    gain without its pair is missing.  One row for each task, one column for each representation,
    mean over the pairs.
    """
    import pandas as pd

    rows = main_fidelity(with_text_keys(results))
    rows = rows[rows["representation"].isin(REPRESENTATIONS)]
    sizes = pd.to_numeric(rows["n_train"], errors="coerce")
    pair = ["tissue", "task", "label", "representation", "head", "seed", "held_out"]
    small = rows[sizes == sizes.min()].groupby(pair, sort=False)["auroc"].first()
    large = rows[rows["n_train"] == drawn_size(rows)].groupby(pair, sort=False)["auroc"].first()
    gain = (100 * (large - small)).groupby(level=pair[:4], sort=False).mean().unstack("representation")
    gain = gain.loc[[task for task in rows.set_index(pair[:3]).index.unique() if task in gain.index]]
    order = in_figure_order(gain.columns)
    if set(gain.index.get_level_values("label")) == {"stress"}:
        gain = gain.droplevel("label")
    return gain[order].round(1).rename_axis(columns=None)
