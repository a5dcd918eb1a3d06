"""Tables of the data: the paper's supplementary tables beside what was read, cells, libraries, genes, classes"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .page_tables import ABSENT
from .tasks import parse_task

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
    table = pd.concat(parts)
    first = [c for c in ("condition", "genotype", "replicate", "label") if c in table]
    return table[[*first, *table.columns.drop(first)]]


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


def study_words(workspace: Workspace, task: str) -> str:
    """The data sets of a task and their stress, for prose; one stress that both share is said once."""
    entries = [workspace.manifest[name] for name in dict.fromkeys(parse_task(task).datasets)]
    stresses = list(dict.fromkeys(entry.stress or "stress not named" for entry in entries))
    if len(stresses) == 1:
        return f"{' and '.join(entry.id for entry in entries)} ({stresses[0]})"
    return " and ".join(f"{entry.id} ({stress})" for entry, stress in zip(entries, stresses, strict=True))
