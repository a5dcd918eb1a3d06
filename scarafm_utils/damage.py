"""Files that a disk, a hand or a kill has damaged: found before a build trusts them, and made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from .workspace import Workspace


def find_damaged(workspace: Workspace) -> dict[Path, str]:
    """Executed notebooks, processed cells and weights of a profile that are not whole.

    Score files need no such look: each is checked when it is read, and computed again.

    Returns
    -------
    File → what is wrong with it.
    """
    found = {path: notebook_fault(path) for path in sorted(workspace.runs_dir.glob("*/*.ipynb"))}
    found |= {path: _cells_fault(path) for path in sorted((workspace.folder / "processed").glob("*/*.h5ad"))}
    weights = sorted((workspace.folder / "checkpoints").glob("*/model.safetensors"))
    found |= {path: _weights_fault(path) for path in weights}
    return {path: fault for path, fault in found.items() if fault}


def remove_damaged(workspace: Workspace) -> list[str]:
    """Remove what is damaged, and what would keep it from being made again.

    A run that is gone is made again; processed cells are made with their tissue's vocabulary,
    so that goes with them.

    Returns
    -------
    One line for each damaged file.
    """
    lines = []
    for path, fault in find_damaged(workspace).items():
        path.unlink()
        if path.suffix == ".h5ad":
            workspace.vocabulary_path(path.parent.name).unlink(missing_ok=True)
        lines.append(f"{path.relative_to(workspace.folder.parent)} is damaged ({fault}) and is made again")
    return lines


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
