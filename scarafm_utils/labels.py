"""Labels: a data set's own words become the classes that the manifest names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .manifest import Dataset
from .normalization import with_matrix

if TYPE_CHECKING:
    import anndata as ad


def add_labels(adata: ad.AnnData, dataset: Dataset) -> ad.AnnData:
    """Add ``label_<name>`` for each label of the manifest, and ``label``, the default one.

    Categories are in label order (control before stress); a cell whose word belongs to no class
    has none.

    Raises
    ------
    InputError
        Where a class of the default label has no cell, with the words found.
    """
    import pandas as pd

    result = with_matrix(adata, adata.X)
    for name, label in dataset.labels.items():
        if label.column not in result.obs:
            raise InputError(f"{dataset.id}: label '{name}' reads '{label.column}', absent from the source.")
        classes = {word: c for c, words in label.classes.items() for word in words}
        values = result.obs[label.column].astype(object).map(classes)
        result.obs[f"label_{name}"] = pd.Categorical(values, categories=list(label.classes))
        if missing := [c for c in label.classes if not (values == c).any()]:
            _refuse_empty_class(dataset, name, missing[0], result.obs[label.column])
    if dataset.default_label:
        result.obs["label"] = result.obs[f"label_{dataset.default_label}"]
    return result


def _refuse_empty_class(dataset: Dataset, name: str, missing: str, words) -> None:
    label = dataset.labels[name]
    found = ", ".join(repr(str(w)) for w in words.dropna().unique()[:15])
    raise InputError(
        f"{dataset.id}: no cell of class '{missing}' of label '{name}' (its words: "
        f"{', '.join(map(repr, label.classes[missing]))}; found in {label.column}: {found or 'nothing'}). "
        f"Set labels.{name}.classes in the manifest."
    )
