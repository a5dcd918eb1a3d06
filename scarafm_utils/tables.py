"""Tables that pages show: the paper's supplementary tables beside what was read, and results.

Every function takes what a run stored and returns a DataFrame; nothing is computed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_rows import fullest_size, main_fidelity, with_text_keys
from .page_tables import ABSENT
from .page_tables import full_text as full_text
from .page_tables import or_absent as or_absent
from .profiles import PROTOCOLS, REPRESENTATIONS
from .words import cause_table as cause_table
from .words import heading, number_text

if TYPE_CHECKING:
    import pandas as pd

    from .workspace import Workspace


def read_report(workspace: Workspace) -> pd.DataFrame:
    """The preprocessing reports of all tissues of a profile, one row for each data set."""
    import pandas as pd

    parts = []
    for tissue in workspace.profile.tissues:
        path = workspace.tables_dir / f"preprocessing-{tissue}.csv"
        if not path.exists():
            raise InputError(f"no report for tissue '{tissue}': run the chapter 'preprocessing' first")
        parts.append(pd.read_csv(path).assign(tissue=tissue))
    return pd.concat(parts, ignore_index=True)


#: Columns of Supplementary Table 1, by the manifest's name and by that of the preprocessing report.
COMPARED = {
    "# Conditions": ("n_conditions", "conditions"),
    "# Genotypes": ("n_genotypes", "genotypes"),
    "# Replicates": ("n_replicates", "replicates"),
}


def supplementary_table_1(workspace: Workspace) -> pd.DataFrame:
    """Supplementary Table 1: the downstream data sets, the paper's numbers beside what was read.

    Where this build read another number of conditions, genotypes or replicates, the cell shows
    both, and a column names what differs; numbers of cells have a column each.
    """
    rows = _described(workspace, "downstream")
    columns = {
        "tissue": "Tissue", "dataset": "Dataset ID", "stress": "Stress",
        **{paper: name for name, (paper, _) in COMPARED.items()}, "n_cells": "# Cells (paper)",
        "cells_kept": "# Cells (here)", "samples": "# Libraries (here)",
    }  # fmt: skip
    table = rows[list(columns)].rename(columns=columns).astype(object)
    for name, (paper, here) in COMPARED.items():
        table[name] = [_both(a, b) for a, b in zip(rows[paper], rows[here], strict=True)]
    table.insert(2, "Differs in", [_differences(row) for _, row in rows.iterrows()])
    return table.where(table.notna(), ABSENT).set_index(["Tissue", "Dataset ID"])


def _both(paper, here):
    """The paper's number, and what was read where that is another one."""
    import pandas as pd

    if pd.isna(here) or (not pd.isna(paper) and paper == here):
        return paper
    return f"{ABSENT if pd.isna(paper) else paper} (here {here})"


def _differences(row: pd.Series) -> str:
    """What of a data set was read otherwise than the paper says, in words."""
    import pandas as pd

    if pd.isna(row["cells_kept"]):
        return "not read"
    known = {here: (row[paper], row[here]) for paper, here in COMPARED.values() if not pd.isna(row[here])}
    return ", ".join(word for word, (a, b) in known.items() if pd.isna(a) or a != b) or "nothing"


def supplementary_table_2(workspace: Workspace) -> pd.DataFrame:
    """Supplementary Table 2: the pretraining data sets with totals, the paper's cells beside those read."""
    import pandas as pd

    rows = _described(workspace, "pretraining")
    columns = {
        "tissue": "Tissue", "dataset": "Dataset ID", "n_cells": "# Cells (paper)", "cells_kept": "# Cells (here)",
    }  # fmt: skip
    table = rows[list(columns)].rename(columns=columns)
    totals = table.groupby("Tissue", sort=False)[["# Cells (paper)", "# Cells (here)"]].sum().reset_index()
    totals.insert(1, "Dataset ID", "Total")
    parts = [part for t in totals["Tissue"] for part in (table[table["Tissue"] == t], totals[totals["Tissue"] == t])]
    whole = pd.concat(parts, ignore_index=True).astype({"# Cells (here)": "Int64"})
    whole["Difference"] = whole["# Cells (here)"] - whole["# Cells (paper)"]
    return whole.set_index(["Tissue", "Dataset ID"])


def _described(workspace: Workspace, role: str) -> pd.DataFrame:
    """The manifest's entries of one role, joined to the report; a data set not read has no numbers."""
    import pandas as pd

    keys = ("tissue", "stress", "n_conditions", "n_genotypes", "n_replicates", "n_cells")
    entries = [d for d in workspace.manifest.values() if d.role == role]
    facts = pd.DataFrame([{"dataset": d.id, **{k: getattr(d, k) for k in keys}} for d in entries])
    counted = ["cells_kept", "samples", *(here for _, here in COMPARED.values())]
    read = read_report(workspace).reindex(columns=["dataset", *counted])
    whole = [paper for paper, _ in COMPARED.values()] + counted
    return facts.merge(read, on="dataset", how="left").astype({column: "Int64" for column in whole})


def gene_table(workspace: Workspace) -> pd.DataFrame:
    """What harmonisation did to the gene names of each data set: counts by fate."""
    report = read_report(workspace)
    counts = [c for c in report.columns if c.startswith(("genes_", "matched", "renamed", "merged", "dropped", "n_"))]
    table = report[["tissue", "dataset", *counts]].set_index(["tissue", "dataset"])
    return table.rename(columns=lambda name: name.replace("_", " "))


def cell_table(workspace: Workspace, tissue: str) -> pd.DataFrame:
    """One row for each processed cell of a tissue: data set, role, total counts, genes detected."""
    import pandas as pd

    parts = []
    for dataset in workspace.datasets(tissue):
        obs = workspace.read_processed(tissue, dataset.id).obs
        parts.append(obs.reindex(columns=["total_counts", "n_genes"]).assign(dataset=dataset.id, role=dataset.role))
    return pd.concat(parts)


def library_table(workspace: Workspace, tissue: str) -> pd.DataFrame:
    """One row for each library of a tissue: what it is, its cells, median counts and genes, genes measured."""
    import pandas as pd

    from .preprocessing import sample_table

    parts = []
    for dataset in workspace.datasets(tissue):
        table = sample_table(workspace.read_processed(tissue, dataset.id))
        parts.append(table.assign(dataset=dataset.id).set_index(["dataset", "sample"]))
    return pd.concat(parts)


def hvg_matrix(workspace: Workspace, tissue: str) -> pd.DataFrame:
    """Square table: highly variable genes that each pair of data sets shares."""
    import pandas as pd

    pairs = pd.read_csv(workspace.tables_dir / f"hvg-{tissue}.csv")
    names = list(dict.fromkeys(pairs["dataset"]))
    return pairs.pivot(index="dataset", columns="other", values="n_shared").loc[names, names]


def read_vocabulary(workspace: Workspace, tissue: str) -> pd.DataFrame:
    """The tissue's vocabulary in rank order: gene, n_datasets, mean_dispersion."""
    import pandas as pd

    return pd.read_csv(workspace.vocabulary_path(tissue))


def result_table(results: pd.DataFrame) -> pd.DataFrame:
    """Results of the grid for a page: rounded to three digits, reasons spelt out.

    Repeats with other seeds and held-out units are left out: a figure shows them.  What was held out and
    the number of test cells stand in the caption where they are the same in every row.
    """
    keys = ["representation", "head", "n_train", "held_out", "n_test"]
    values = ["auroc", "auroc_hard", "auprc", "balanced_accuracy", "mcc", "brier", "ece"]
    rows = main_fidelity(with_text_keys(results))
    first = (rows["seed"] == rows["seed"].iloc[0]) & (rows["held_out"] == rows["held_out"].iloc[0])
    table = rows.loc[first, [*keys, *values, "reason"]].copy()
    table[values] = table[values].astype(float).round(3)
    ends = zip(rows.loc[first, "auroc_low"], rows.loc[first, "auroc_high"], strict=True)
    texts = [[number_text(end, 3) for end in both] for both in ends]
    interval = ["" if "nan" in text else "\u00a0to\u00a0".join(text) for text in texts]
    table.insert(table.columns.get_loc("auroc_hard"), "interval", interval)
    table = table.astype(object).where(table.notna(), "")
    table = table.drop(columns=[c for c in ("held_out", "reason") if (table[c] == "").all()])
    return _same_in_caption(table.set_index(["representation", "head", "n_train"]), ("held_out", "n_test"))


def _same_in_caption(table: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Columns of some names that hold one value leave the table and are said in its caption.

    So does balanced accuracy where it is the AUROC of hard labels, as it is with two classes.
    """
    twice = table["balanced_accuracy"].equals(table["auroc_hard"])
    table = table.drop(columns=["balanced_accuracy"] if twice else [])
    same = [name for name in names if name in table and table[name].nunique() == 1 and len(table) > 1]
    said = "; ".join(f"{heading(name)}: {table[name].iloc[0]}" for name in same)
    table = table.drop(columns=same)
    parts = [f"In every row {said}."] if same else []
    parts += ["Balanced accuracy is the AUROC of hard labels here."] if twice else []
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
    order = [r for r in REPRESENTATIONS if r in gain.columns]
    if set(gain.index.get_level_values("label")) == {"stress"}:
        gain = gain.droplevel("label")
    return gain[order].round(1).rename_axis(columns=None)


def label_table(workspace: Workspace) -> pd.DataFrame:
    """Which words of each downstream data set mean which class, one row for each class."""
    import pandas as pd

    rows = []
    for tissue in workspace.profile.tissues:
        for dataset in workspace.datasets(tissue, role="downstream"):
            for name, label in dataset.labels.items():
                for class_name, words in label.classes.items():
                    assumed = "assumed" if class_name in label.assumed else "as in the data"
                    rows.append((dataset.id, name, class_name, label.column, "; ".join(words), assumed))
    columns = ["data set", "label", "class", "column", "its words", "known"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])


def shared_stress_table(workspace: Workspace, tissue: str) -> pd.DataFrame:
    """Which downstream data sets of a tissue share a stress, as the manifest says; one row for each."""
    import pandas as pd

    entries = [d for d in workspace.manifest.values() if d.tissue == tissue and d.role == "downstream"]
    rows = [
        {
            "data set": d.id,
            "stress": d.stress or ABSENT,
            "other studies of it": ", ".join(o.id for o in entries if o is not d and d.stress and o.stress == d.stress)
            or "none",
        }
        for d in entries
    ]
    return pd.DataFrame(rows).set_index("data set")
