"""Where a profile keeps its files: one object that every chapter opens first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .manifest import Dataset, load_manifest, select
from .profiles import Profile, load_profile

if TYPE_CHECKING:
    import anndata as ad

#: The folder that holds data_manifest.yaml, notebooks/ and profiles/.
PROJECT = Path(__file__).resolve().parents[1]
#: Where downloads are kept unless the user names a folder.
DOWNLOADS = PROJECT / "data"
#: Ending of the file with the facts of processed cells that are not here themselves.
FACTS = ".facts.json"


@dataclass(frozen=True)
class Workspace:
    """A validated profile, its manifest, and the folder ``artifacts/<profile>``.

    `folder` holds ``processed/ vocabulary/ tokens/ checkpoints/ scores/ tables/ runs/`` and,
    for profiles that read local or downloaded files, ``data``: a link to the data folder,
    so that no notebook ever contains a path of this machine.
    """

    profile: Profile
    manifest: dict[str, Dataset]
    folder: Path

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def simulated(self) -> bool:
        return self.profile.source == "simulated"

    def datasets(self, tissue: str, role: str | None = None) -> list[Dataset]:
        """The data sets of `tissue` that this profile uses, in the manifest's order."""
        wanted = self.profile.dataset_ids(self.manifest, tissue)
        return [d for d in select(self.manifest, tissue=tissue, role=role) if d.id in wanted]

    def processed_path(self, tissue: str, dataset_id: str) -> Path:
        return self.folder / "processed" / tissue / f"{dataset_id}.h5ad"

    def vocabulary_path(self, tissue: str) -> Path:
        return self.folder / "vocabulary" / f"{tissue}.csv"

    def tokens_dir(self, tissue: str) -> Path:
        return self.folder / "tokens" / tissue

    def checkpoint_dir(self, tissue: str) -> Path:
        return self.folder / "checkpoints" / tissue

    def scores_dir(self, tissue: str) -> Path:
        return self.folder / "scores" / tissue

    @property
    def tables_dir(self) -> Path:
        return self.folder / "tables"

    @property
    def runs_dir(self) -> Path:
        return self.folder / "runs"

    def read_processed(self, tissue: str, dataset_id: str) -> ad.AnnData:
        """Read a processed data set; say which chapter makes it where it is absent."""
        import anndata as ad

        path = self.processed_path(tissue, dataset_id)
        if not path.exists():
            raise InputError(
                f"{dataset_id}: no processed cells in profile '{self.profile.name}'. "
                "Run the chapter 'preprocessing' first."
            )
        return ad.read_h5ad(path)


def profile_path(profile: str | Path) -> Path:
    """The file of a profile: a path to a YAML file as it is, a name below ``profiles/``."""
    path = Path(profile)
    return path if path.suffix in {".yaml", ".yml"} else PROJECT / "profiles" / f"{profile}.yaml"


def open_workspace(profile: str | Path, *, threads: int | None = None) -> Workspace:
    """Load a profile by name ('demo') or path and, where asked, fix the thread count.

    Parameters
    ----------
    profile
        Name of a file in ``profiles/`` without its ending, or a path to a YAML file.
    threads
        Threads for torch and BLAS in this process, and for every head, in place of the
        profile's; None leaves them as they are.  Scores are compared only at equal thread counts.
    """
    loaded = load_profile(profile_path(profile))
    manifest = load_manifest(PROJECT / loaded.manifest)
    loaded.check(manifest)
    if threads is not None:
        use_threads(threads)
        loaded = loaded.model_copy(update={"threads": threads})
    return Workspace(loaded, manifest, PROJECT / "artifacts" / loaded.name)


def processed_facts(path: Path) -> dict | None:
    """Source, checksum of the source file, and number of cells of a processed file; None where there is none.

    Where results came without cells (`scarafm unpack`), these facts stand in a JSON file beside.
    """
    import h5py

    if not path.exists():
        facts = path.with_suffix(FACTS)
        return json.loads(facts.read_text(encoding="utf-8")) if facts.exists() else None
    with h5py.File(path) as file:
        found = file["uns/provenance"]
        text = {key: found[key].asstr()[()] if key in found else "" for key in ("source", "sha256")}
        return {**text, "cells": int(file["X"].attrs["shape"][0])}


def use_threads(threads: int) -> None:
    """Set the threads of torch and of the BLAS and OpenMP pools already loaded."""
    import threadpoolctl
    import torch

    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
