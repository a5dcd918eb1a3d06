"""A stored head on anybody's cells: a label and a score per class for each, and what they are worth."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .cell_files import CellFile, Coverage, as_h5ad, open_cells
from .embedding_files import check_meeting, refuse_to_replace
from .embeddings import SUMMARIES, iter_hidden
from .errors import InputError
from .features import hide_genes
from .files import atomic_path
from .hdf5_files import open_hdf5
from .stored_heads import StoredHead
from .vocabulary import measured_genes

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: Least share of the head's genes that a file must measure: a missing one is read as no expression.
MIN_COVERAGE = 0.9
REAL_HEAD = "Train one on real cells: scarafm train-head with a profile that reads them, such as laptop or release."


@dataclass(frozen=True)
class Predicted:
    """What was written: cells of each label, and what of the head's genes the file measures."""

    labels: dict[str, int]
    coverage: Coverage
    empty: int


def predict_file(
    path: str | Path,
    out: str | Path,
    *,
    stored: StoredHead,
    values: str = "auto",
    total_key: str | None = None,
    min_coverage: float = MIN_COVERAGE,
    batch_size: int = 32,
    force: bool = False,
    report: Callable[[str], None] | None = None,
) -> Predicted:
    """Write a label and a score per class for each cell of a file.

    Parameters
    ----------
    path, values, total_key
        See :func:`scarafm_utils.cell_files.open_cells`.
    out
        A ``.csv`` with obs_name, label and ``score:<class>``; or an ``.h5ad``, a copy of the cells with
        the obs columns ``scarafm_label`` and ``scarafm_score_<class>``.
    stored
        See :func:`scarafm_utils.stored_heads.load_head`.
    min_coverage
        Least share of the head's genes that must be measured.  One that is not measured has no
        expression for raw values and is MASK for the encoder.

    Raises
    ------
    InputError
        Real cells under a head of simulated ones, too few of its genes, an `out` that exists or has
        another ending, and whatever the file lacks.
    """
    path, out = Path(path), Path(out)
    refuse_to_replace(out, force=force)
    if out.suffix not in (".csv", ".h5ad"):
        raise InputError(f"{out.name}: name a file that ends in .csv or .h5ad.")
    with as_h5ad(path) as plain:
        with open_cells(plain, values=values, total_key=total_key) as cells:
            cells.name = path.name
            what = f"head of {stored.facts['task']}"
            check_meeting(cells, what, trained_on_real=stored.cells_real, way_out=REAL_HEAD)
            cells.coverage(stored.genes).check(min_coverage, cells.name)
            report = report or (lambda line: None)
            if cells.hint:
                report(cells.hint)
            table = _table(cells, stored, batch_size, report)
            found = Predicted(
                labels={name: int((table["label"] == name).sum()) for name in stored.classes},
                coverage=Coverage(len(stored.genes), cells.coverage(stored.genes).missing),
                empty=int(cells.empty.sum()),
            )
        with atomic_path(out) as temporary:
            if out.suffix == ".csv":
                table.to_csv(temporary, index_label="obs_name", lineterminator="\n")
            else:
                shutil.copyfile(plain, temporary)
                temporary.chmod(0o644)
                _add_columns(temporary, table, stored)
    return found


def caveats(stored: StoredHead) -> list[str]:
    """What a reader of scores must know, a line each."""
    f = stored.facts
    kind = "real" if stored.cells_real else "simulated"
    protocol = f["task"].split(":")[0]
    where = {
        "random": "cells of the same libraries as in training; expect less elsewhere",
        "replicate": f"held out: {'+'.join(f['held_out'])}; expect less on another study",
        "cross": "another study; a third may differ more",
    }
    return [
        f"trained on {f['n_train']:,} {kind} cells of {f['trained_on']} ({f['tissue']}), label {f['label']} "
        f"({', '.join(stored.classes)}), {stored.representation} with {stored.name}",
        f"tested there on {f['n_test']:,} cells of {f['tested_on']}, AUROC {f['auroc']:.2f} ({where[protocol]})",
        "a score orders the cells of one file; in another study it is no probability, and the label no measurement",
    ]


def _table(cells: CellFile, stored: StoredHead, batch_size: int, report) -> pd.DataFrame:
    """label and score:<class> of every cell, indexed by name."""
    import pandas as pd

    scores = []
    for rows, part in cells.parts(stored.vocabulary):
        scores.append(stored.head.predict_proba(features_of(part, stored, batch_size=batch_size)))
        report(f"{rows.stop:,} of {cells.n_cells:,} cells")
    values = np.concatenate(scores)
    table = pd.DataFrame({"label": np.asarray(stored.classes, dtype=object)[values.argmax(1)]}, index=cells.obs_names)
    for j, name in enumerate(stored.classes):
        table[f"score:{name}"] = values[:, j].astype(float)
    return table


def features_of(part: ad.AnnData, stored: StoredHead, *, batch_size: int = 32) -> np.ndarray:
    """Cells in the head's vocabulary → its features (n_cells, n_features), as they were in training.

    The encoder sees the head's genes and MASK everywhere else.
    """
    read = part.var_names.isin(stored.genes)
    columns = np.flatnonzero(read)
    x = part.X.tocsr()[:, columns]
    if stored.encoder is None:
        return x.toarray()
    shown = hide_genes(part, ~(read & measured_genes(part).all(axis=1)))
    return np.concatenate(list(_summaries(shown, x, columns, stored, batch_size)))


def _summaries(shown: ad.AnnData, x, columns: np.ndarray, stored: StoredHead, batch_size: int) -> Iterator[np.ndarray]:
    positions, start = np.append(columns, shown.n_vars), 0
    for h in iter_hidden(stored.encoder, shown, batch_size=batch_size):
        yield _summary(h[:, positions], x[start : start + len(h)], stored).cpu().numpy()
        start += len(h)


def _summary(h: torch.Tensor, x, stored: StoredHead) -> torch.Tensor:
    if stored.pca is None:
        return SUMMARIES[stored.representation](h, x)
    k = int(stored.representation[-1])
    return stored.pca.transform(h).reshape(len(h), -1, stored.pca.k)[:, :, :k].flatten(1)


def _add_columns(path: Path, table: pd.DataFrame, stored: StoredHead) -> None:
    """Put labels, scores and what they are worth into a copy of the cells."""
    from anndata.io import read_elem, write_elem

    with open_hdf5(path, "r+") as file:
        obs = read_elem(file["obs"])
        obs["scarafm_label"] = table["label"].astype("category").to_numpy()
        for name in stored.classes:
            obs[f"scarafm_score_{name}"] = table[f"score:{name}"].to_numpy()
        write_elem(file, "obs", obs)
        uns = file.require_group("uns")
        uns.attrs.setdefault("encoding-type", "dict")
        uns.attrs.setdefault("encoding-version", "0.1.0")
        about = {"task": stored.facts["task"], "about": np.array(caveats(stored), dtype=object)}
        write_elem(uns, "scarafm_head", about)
