"""Words that pages show in place of names of columns, with units, and numbers as a page writes them

Files keep the names of columns; what a reader sees goes through `heading`, `shown_cell` and `number_text`.
Representations have one name everywhere: in files, tables, axes and prose.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from .effects import Effects
from .names import FEATURES

if TYPE_CHECKING:
    import pandas as pd

#: Columns by name; in any other name underscores become spaces.
HEADINGS = {
    "effect": "effect in this build",
    "dataset": "data set", "datasets": "data sets", "n_datasets": "data sets", "n_units": "units",
    "n_train": "training cells", "n_test": "test cells", "n_cells": "cells", "n_tasks": "tasks",
    "n_train_cells": "cells trained on", "n_boot": "resamples", "n_dropped": "resamples dropped",
    "fit_seconds": "fit (s)", "peak_memory_mb": "peak (MB)", "n_rows": "results",
    "n_pairs": "pairs of results", "n_hvg": "variable genes", "n_tokens": "hidden tokens",
    "n_hard": "tokens where the third guess is wrong",
    "n vocabulary": "genes in the vocabulary", "n hvg": "variable genes",
    "auroc": "AUROC", "auroc_low": "AUROC, low", "auroc_high": "AUROC, high", "auroc_hard": "AUROC, hard labels",
    "auprc": "AUPRC", "mcc": "MCC", "f1_macro": "macro F1", "brier": "Brier score", "ece": "calibration error",
    "loss": "lost to hard labels (points)", "change": "change in AUROC (points)",
    "change_hard": "change, hard labels (points)", "drop": "drop in AUROC (points)",
    "drop_hard": "drop, hard labels (points)", "drop_recentred": "drop, threshold put back (points)",
    "threshold": "made by the threshold (points)", "threshold least": "least", "threshold most": "most",
    "p_value": "p (one-sided)", "accuracy_hard": "accuracy where the third guess is wrong",
    "train_loss": "loss, training", "val_loss": "loss, validation", "val_accuracy": "accuracy, validation",
    "val_accuracy_hard": "accuracy where the third guess is wrong", "baseline_commonest": "commonest bin",
    "baseline_gene": "commonest bin of the gene", "baseline_cell": "commonest visible bin of the cell",
    "median_total_counts": "median counts per cell", "median_n_genes": "median genes per cell",
    "mean_dispersion": "mean normalised dispersion", "sha256": "SHA-256", "signs p": "p of signs",
    "ranks p": "p of ranks", "ranks q": "q of ranks",
    "random - replicate (points)": "random − replicate (points)",
    "replicate - cross (points)": "replicate − cross (points)",
    "interval": "95 % interval", "quote": "in the paper's words", "estimand": "what is measured",
}  # fmt: skip

#: Words in place of cells, by the name of their column.
CELLS = {
    "label": {"s_phase": "S phase", "root_caps": "root caps", "hair": "root hair"},
    "class": {"induction_08h": "root induction, 8 h", "induction_20h": "root induction, 20 h"},
    "predictor": {"model": "encoder"},
    "group": {f"{q}%": f"{q} %" for q in (5, 25, 50, 75, 95)},
    "property": {
        "library_size": "counts of a cell / median, by quantile",
        "genes_per_cell": "genes detected, share, by quantile",
        "zero_share": "zeros of a gene, share, by quantile",
        "zero_share_at_mean": "zeros of genes, share, by mean count",
        "dispersion_at_mean": "dispersion of genes, by mean count",
    },
}
#: By which rules a result was made, for each value of the column `fidelity`.
FIDELITIES = {
    "paper": "the paper's text, with correct arithmetic",
    "matched": "both protocols on the same test cells, equally many training cells",
    "released": "the released code where it differs from the text",
    "released:labels": "only the classes of the released code",
    "released:train_90": "only a tenth of the training cells left aside, as in the released code",
    "released:global_seed": "only classes balanced once for all seeds, as in the released code",
    "balanced_test": "equally many test cells of each class",
}
#: Columns of p and q values: three decimals, and below them a bound.
P_VALUES = ("p_value", "signs p", "ranks p", "ranks q")

_LOGS = "SD of natural\N{NO-BREAK SPACE}logs, over\N{NO-BREAK SPACE}genes"
_TIMES = "times what\N{NO-BREAK SPACE}real\N{NO-BREAK SPACE}"
#: Causes of the simulated compendium: what each setting of `Effects` is, and what its size measures.
CAUSES = {
    "library": ("one library against another", _LOGS),
    "module": ("genes of a module, which move together in a library", "times the size of library"),
    "module_gene_share": ("genes of each module", "share of all genes"),
    "replicate": ("one replicate against another", _LOGS),
    "lab": ("one data set against another", _LOGS),
    "genotype": ("one genotype against the first", _LOGS),
    "shared": ("stress programme of all studies", _LOGS),
    "private": ("stress programme of one study", _LOGS),
    "stress_gene_share": ("genes of each stress programme", "share of all genes"),
    "responding": ("cells that respond, in the type that responds most", "share of cells"),
    "cell_type": ("programmes of cell types", _TIMES + "nuclei have"),
    "composition": ("proportions of cell types between libraries", "SD of natural\N{NO-BREAK SPACE}logs"),
    "ambient": ("counts that come from the library's average cell", "share of counts"),
    "nb_size": ("size s of the negative binomial", "variance = m + m² / s"),
    "counts": ("counts of a cell", "median"),
    "count_spread": ("spread of counts within a library", _TIMES + "cells have"),
    "depth": ("counts per cell between libraries", "SD of natural\N{NO-BREAK SPACE}logs"),
}


def heading(name: object) -> str:
    """What a page calls a column; representations keep their names.

    >>> heading("auroc_hard"), heading("held_out"), heading("PCA_1"), heading("share (points)")
    ('AUROC, hard labels', 'held out', 'PCA_1', 'share (points)')
    """
    text = "" if name is None else str(name)
    kept = text in FEATURES and text != "cell_type"
    return HEADINGS.get(text, text if kept else text.replace("_", " "))


def shown_cell(column: object, value: object) -> object:
    """What a page shows for a value of a column: words where there are some, else the value itself.

    >>> shown_cell("label", "s_phase"), shown_cell("gene", "s_phase"), shown_cell("label", 3)
    ('S phase', 's_phase', 3)
    """
    return CELLS.get(str(column), {}).get(value, value) if isinstance(value, str) else value


def label_words(label: str) -> str:
    """What a page calls a label of the manifest.

    >>> label_words("s_phase"), label_words("root_hair")
    ('S phase', 'root hair')
    """
    return CELLS["label"].get(label, label.replace("_", " "))


def class_words(name: str) -> str:
    """What a page calls a class of a label.

    >>> class_words("induction_08h"), class_words("control")
    ('root induction, 8 h', 'control')
    """
    return CELLS["class"].get(name, name)


def number_text(value: float, digits: int, *, sign: bool = False) -> str:
    """A number with fixed decimals and a true minus; what rounds to zero has no sign.

    >>> number_text(-0.46, 1), number_text(-0.04, 1), number_text(1234, 0), number_text(0.5, 1, sign=True)
    ('−0.5', '0.0', '1,234', '+0.5')
    """
    shown = round(float(value), digits) + 0.0
    return f"{shown:{'+' if sign and shown else ''},.{digits}f}".replace("-", "−")


def p_text(value: float) -> str:
    """A p value to three decimals, or that it is below them.

    >>> p_text(0.0312), p_text(2e-9)
    ('0.031', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else number_text(value, 3)


def cause_table() -> pd.DataFrame:
    """The causes of the simulated compendium at their usual sizes: setting, what it is, size, and its unit."""
    import pandas as pd

    sizes = asdict(Effects())
    rows = [{"setting": k, "what it is": what, "size": f"{sizes[k]:,g}", "unit": u} for k, (what, u) in CAUSES.items()]
    return pd.DataFrame(rows).set_index("setting")
