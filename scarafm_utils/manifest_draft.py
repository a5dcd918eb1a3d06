"""A first manifest entry from a file: columns guessed, libraries counted, the rest left to fill in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .designs import Design, design_of_cells
from .errors import InputError
from .genes import harmonize_name, locus_kind
from .manifest import ObsColumns
from .readers import find_counts, read_head
from .tenx import MEASURED

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: What stands where only a person can say it; a manifest that still holds it does not load.
FILL_IN = "FILL_IN"

#: Names of columns in lower case without marks, the likeliest first.
_COLUMN_NAMES = {
    "condition": ("condition", "treatment", "stress", "stimulus", "group"),
    "genotype": ("genotype", "line", "strain", "ecotype", "accession"),
    "replicate": ("replicate", "repeat", "biologicalreplicate", "biorep", "rep"),
    "sample": ("sample", "sampleid", "samplename", "origident", "library", "libraryid", "run", "batch"),
    "cell_type": ("celltype", "celltypes", "annotation", "cellannotation", "cellidentity"),
    "total_counts": ("ncountrna", "totalcounts", "ncounts", "numi", "numis", "totalumis"),
}
_CONTROL = re.compile(r"(normal|control|ctrl|mock|untreated|unstressed|wild.?type|wt)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Draft:
    """What a file shows of itself.

    `columns` are guesses; `words` the values of the condition, in order of appearance; `classes`
    the class of each word, where one of them reads like a control; `design` that of the classes, or
    of the words; None where there are not two; `remarks` what a person should know before the entry
    is completed.
    """

    dataset_id: str
    n_cells: int
    columns: ObsColumns
    words: tuple[str, ...]
    genotypes: tuple[str, ...]
    classes: dict[str, list[str]]
    design: Design | None
    n_libraries: int
    counts: str
    measured: str | None
    remarks: tuple[str, ...]


def look_at(path: str | Path, *, dataset_id: str | None = None) -> Draft:
    """Read the table of cells and the first thousand cells of a file, and guess what they mean.

    Parameters
    ----------
    path
        ``.h5ad``, ``.h5ad.gz``, 10x ``.h5`` or a folder of libraries.  10x files hold no table of
        cells: the remarks say what is missing.
    dataset_id
        Id of the entry; None makes one of the file's name.

    Raises
    ------
    InputError
        Where the file cannot be read or holds no cells.
    """
    path = Path(path)
    head, obs = read_head(path)
    if len(obs) == 0 or head.n_vars == 0:
        raise InputError(f"{path.name}: {len(obs)} cells and {head.n_vars} features: nothing to describe.")
    columns = guess_columns(obs)
    cells = _standard_cells(obs, columns)
    classes = guess_classes(list(cells["condition"].dropna().unique())) if "condition" in cells else {}
    counts, remarks = _counts(head)
    if columns.total_counts and not counts:
        remarks.append("Whether the file carries part of the genes cannot be said without counts.")
    elif columns.total_counts and _carries_whole_cells(head, columns.total_counts):
        remarks.append(f"{columns.total_counts} is the sum of the file's own counts, so total_counts stays null.")
        columns = columns.model_copy(update={"total_counts": None})
    return Draft(
        dataset_id=dataset_id or re.sub(r"[^A-Za-z0-9._-]", "_", re.sub(r"\.(h5ad|h5)(\.gz)?$", "", path.name)),
        n_cells=len(obs),
        columns=columns,
        words=_values(cells, "condition"),
        genotypes=_values(cells, "genotype"),
        classes=classes,
        design=_design(cells, classes),
        n_libraries=cells["sample"].nunique() if "sample" in cells else 1,
        counts=counts,
        measured=_measured_prefix(head, cells),
        remarks=(*remarks, *_gene_remarks(head), *_column_remarks(cells, columns, classes)),
    )


def guess_columns(obs: pd.DataFrame) -> ObsColumns:
    """Which column holds what, by its name and by whether its values can be that; None where none can."""
    plain = {re.sub(r"[^a-z0-9]", "", str(c).lower()): str(c) for c in reversed(obs.columns)}
    found: dict[str, str] = {}
    for standard, names in _COLUMN_NAMES.items():
        numeric = standard == "total_counts"
        fitting = (plain[n] for n in names if n in plain and _can_be(obs[plain[n]], numeric=numeric))
        if column := next(fitting, None):
            found[standard] = column
    if "library" in obs and "sample" not in found:
        found["sample"] = "library"
    return ObsColumns(**found)


def guess_classes(words: list[str]) -> dict[str, list[str]]:
    """Control and stress from a file's own words; nothing where no word, or every one, reads like a control.

    >>> guess_classes(["Heat shock", "Normal"])
    {'control': ['Normal'], 'stress': ['Heat shock']}
    """
    control = [w for w in words if _CONTROL.match(w)]
    others = [w for w in words if w not in control]
    if not control or not others:
        return {}
    if len(others) == 1:
        return {"control": control, "stress": others}
    slugs = [re.sub(r"[^a-z0-9]+", "_", w.lower()).strip("_") or f"class_{i}" for i, w in enumerate(others)]
    if len({*slugs, "control", "stress"}) < len(slugs) + 2:
        return {}
    return {"control": control, **{slug: [w] for slug, w in zip(slugs, others, strict=True)}}


def entry_text(draft: Draft, *, tissue: str = FILL_IN, local_name: str | None = None) -> str:
    """The YAML of a manifest with the draft as its one entry; what is not known is marked."""
    role = "downstream" if len(draft.words) > 1 else "pretraining"
    unit = draft.design.unit if draft.design else None
    replicates = draft.design.n_units if unit == "replicate" and draft.design else 1
    columns = ", ".join(f"{k}: {_yaml(v)}" for k, v in draft.columns.model_dump().items())
    lines = [
        "# Written by `scarafm data init`.  Guesses: check every line, and fill in what is marked.",
        "# data_manifest.yaml explains all keys at its top.",
        "datasets:",
        f"  {draft.dataset_id}:",
        f"    tissue: {tissue}" + ("  # leaf or root" if tissue == FILL_IN else ""),
        f"    role: {role}  # downstream: something is predicted; pretraining: cells for the encoder",
        f"    n_cells: {draft.n_cells}",
        "    stress: unknown  # the words of another data set make the two a cross-experiment pair",
        f"    n_conditions: {len(draft.words) or 'unknown'}",
        f"    n_genotypes: {len(draft.genotypes) or 'unknown'}",
        f"    n_replicates: {replicates}",
        f"    libraries: {draft.n_libraries}",
        *_per_class_lines(draft),
        f"    conditions: {_yaml(list(draft.words))}",
        f"    genotypes: {_yaml(list(draft.genotypes))}",
        "    material: unknown  # nuclei or protoplasts",
        "    lab: unknown",
        "    citation: unknown",
        "    licence: unknown",
        f"    obs: {{{columns}}}",
        *(_label_lines(draft) if role == "downstream" else []),
        f"    counts: {draft.counts or FILL_IN}" + ("" if draft.counts else "  # or normalised: true, see below"),
        *([f"    measured: {draft.measured}  # var columns: genes of each sample"] if draft.measured else []),
        *([f"    sources:\n      local: {{path: {_yaml(local_name)}}}"] if local_name else []),
        *(f"    # {remark}" for remark in draft.remarks),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _per_class_lines(draft: Draft) -> list[str]:
    if not draft.classes or draft.design is None:
        return []
    return [f"    libraries_per_class: {_yaml(draft.design.per_class)}"]


def _label_lines(draft: Draft) -> list[str]:
    classes = [f"          {name}: {_yaml(words)}" for name, words in draft.classes.items()]
    if not classes:
        classes = [f"          control: {FILL_IN}  # which of the words above", f"          stress: {FILL_IN}"]
    return ["    labels:", "      stress:", "        column: condition", "        classes:", *classes]


def _yaml(value) -> str:
    """JSON is YAML: quoted, so that no word is read as a truth or a number."""
    return json.dumps(value, ensure_ascii=False)


def _can_be(values: pd.Series, *, numeric: bool) -> bool:
    """Totals are numbers; words are shared by cells, so there are fewer of them than cells."""
    import pandas as pd

    if numeric:
        return bool(pd.api.types.is_numeric_dtype(values) and values.notna().all() and (values >= 0).all())
    return 1 <= values.nunique() <= max(1, len(values) // 2)


def _standard_cells(obs: pd.DataFrame, columns: ObsColumns) -> pd.DataFrame:
    """The guessed columns as text under their standard names."""
    import pandas as pd

    named = {k: v for k, v in columns.model_dump().items() if v and k != "total_counts"}
    text = {k: obs[v].astype(object).map(str, na_action="ignore") for k, v in named.items()}
    return pd.DataFrame(text, index=obs.index)


def _values(cells: pd.DataFrame, column: str) -> tuple[str, ...]:
    return tuple(cells[column].dropna().unique()) if column in cells else ()


def _design(cells: pd.DataFrame, classes: dict[str, list[str]]) -> Design | None:
    words = _values(cells, "condition")
    if len(words) < 2:
        return None
    classes = classes or {word: [word] for word in words}
    by_word = {word: name for name, own in classes.items() for word in own}
    labelled = cells.assign(label=cells["condition"].map(by_word))
    return design_of_cells(labelled, label_key="label", classes=list(classes))


def _counts(head: ad.AnnData) -> tuple[str, list[str]]:
    """Where counts lie, or why none were found."""
    try:
        return find_counts(head)[1], []
    except InputError as error:
        return "", [f"{error} If X holds log1p of counts per 10,000, write normalised: true instead of counts."]


def _carries_whole_cells(head: ad.AnnData, total: str) -> bool:
    """Whether the counts of the first cells add up to their totals, as they do where no gene was dropped."""
    import numpy as np

    sums = np.asarray(find_counts(head)[0].X.sum(axis=1)).ravel()
    return bool(np.median(sums / np.maximum(head.obs[total].to_numpy(dtype=float), 1)) > 0.99)


def _measured_prefix(head: ad.AnnData, cells: pd.DataFrame) -> str | None:
    """What stands before a sample's name in the var columns that say which genes it carries."""
    samples = [str(s) for s in cells["sample"].dropna().unique()] if "sample" in cells else []
    for column in map(str, head.var.columns if samples else []):
        prefix = column.removesuffix(samples[0])
        if prefix not in ("", column) and all(f"{prefix}{s}" in head.var for s in samples):
            return prefix
    return MEASURED if any(str(c).startswith(MEASURED) for c in head.var) else None


def _gene_remarks(head: ad.AnnData) -> list[str]:
    known = sum(locus_kind(harmonize_name(name)) != "unknown" for name in head.var_names)
    odd = [str(n) for n in head.var_names if locus_kind(harmonize_name(n)) == "unknown"][:3]
    such = f" (not: {', '.join(odd)})" if odd else ""
    return [f"{known:,} of {head.n_vars:,} feature names are Arabidopsis loci{such}."]


def _column_remarks(cells: pd.DataFrame, columns: ObsColumns, classes: dict) -> list[str]:
    """What the table of cells does not tell, or tells in a way that should be looked at."""
    if cells.columns.empty:
        return [
            "The file has no table of cells: say per library under sources.local.samples what each is, "
            "or write an .h5ad with columns for condition, replicate, genotype, sample and cell type."
        ]
    missing = [k for k, v in columns.model_dump().items() if v is None and k != "total_counts"]
    remarks = [f"No column was found for {', '.join(missing)}: name it under obs if there is one."] if missing else []
    if "condition" in cells and cells["condition"].nunique() > 1 and not classes:
        remarks.append("Which word means control could not be guessed: fill in labels.stress.classes.")
    if len(_values(cells, "condition")) < 2 and {"cell_type", "sample"} <= set(cells):
        n = cells["sample"].nunique()
        held = f"each of {n} libraries can be held out" if n > 1 else "one library allows a random split only"
        remarks.append(f"No two conditions; with a pair of cell types as label, {held}.")
    if "condition" in cells and "sample" in cells:
        per_sample = cells.groupby("sample")["condition"].nunique()
        if (per_sample > 1).any():
            remarks.append(f"'{per_sample.idxmax()}' holds several conditions: is obs.sample the library?")
    return remarks
