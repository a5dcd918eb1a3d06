"""Files that a disk, a hand or a kill has damaged: found before a build trusts them, and made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from .workspace import Workspace


def find_damaged(workspace: Workspace) -> dict[Path, str]:
    """Executed notebooks, processed cells, weights and scores of a profile that are not whole.

    Of the scores only those are read that a table of results names.

    Returns
    -------
    File → what is wrong with it.
    """
    found = {path: notebook_fault(path) for path in sorted(workspace.runs_dir.glob("*/*.ipynb"))}
    found |= {path: _cells_fault(path) for path in sorted((workspace.folder / "processed").glob("*/*.h5ad"))}
    weights = sorted((workspace.folder / "checkpoints").glob("*/model.safetensors"))
    found |= {path: _weights_fault(path) for path in weights}
    found |= {path: _scores_fault(path) for path in sorted(_score_files(workspace))}
    return {path: fault for path, fault in found.items() if fault}


def remove_damaged(workspace: Workspace) -> list[str]:
    """Remove what is damaged, and what would keep it from being made again.

    A run that is gone is made again, so what is damaged takes with it the run that makes it: processed
    cells their tissue's preprocessing (and vocabulary), weights their tissue's pretraining, scores the
    run whose table names them.

    Returns
    -------
    One line for each damaged file.
    """
    lines = []
    made_by = _score_files(workspace)
    for path, fault in find_damaged(workspace).items():
        tissue = path.parent.name
        if path.suffix == ".h5ad":
            run = workspace.runs_dir / "preprocessing" / f"{tissue}.ipynb"
            made_by[path] = [workspace.vocabulary_path(tissue), run]
        if path.suffix == ".safetensors":
            made_by[path] = [workspace.runs_dir / "pretraining" / f"{tissue}.ipynb"]
        for gone in (path, *made_by.get(path, ())):
            gone.unlink(missing_ok=True)  # two damaged files may have one run
        lines.append(f"{path.relative_to(workspace.folder.parent)} is damaged ({fault}) and is made again")
    return lines


def _score_files(workspace: Workspace) -> dict[Path, list[Path]]:
    """The score files of the grid's runs that are on disk, each with the notebooks of the runs that need it."""
    from .result_tables import read_table

    found: dict[Path, list[Path]] = {}
    for table in sorted((workspace.tables_dir / "runs").glob("*/*.csv")):
        tissue = table.parent.name
        run = workspace.runs_dir / f"{tissue}_results" / f"{table.stem}.ipynb"
        for key in read_table(table)["key"].dropna().unique():
            found.setdefault(workspace.scores_dir(tissue) / f"{key}.parquet", []).append(run)
    return {path: runs for path, runs in found.items() if path.exists()}


def _scores_fault(path: Path) -> str:
    from .scores import read_scores

    try:
        read_scores(path)
    except InputError as error:
        return str(error).partition(" (")[2].rpartition(")")[0] or "cannot be read"
    return ""


def notebook_fault(path: Path) -> str:
    """What is wrong with an executed notebook; empty where it is whole."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError) as error:
        return f"no notebook: {type(error).__name__}"
    executed = all(c.get("execution_count") for c in cells if c["cell_type"] == "code" and c["source"])
    return "" if executed else "a cell was not executed"


def _cells_fault(path: Path) -> str:
    import h5py

    try:
        with h5py.File(path) as file:
            return "" if {"X", "obs", "var"} <= set(file) else "parts are missing"
    except (OSError, RuntimeError):
        return "no HDF5 file, or cut short"


def _weights_fault(path: Path) -> str:
    from .checkpoints import read_checkpoint_facts
    from .files import sha256_file

    try:
        facts = read_checkpoint_facts(path.parent)
    except InputError as error:
        return str(error)
    return "" if sha256_file(path) == facts["weights_sha256"] else "its checksum differs from model.json"
