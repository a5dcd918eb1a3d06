"""What a command on data asks for: which data sets, from which source, in which folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, suggest
from .manifest import Dataset, load_manifest, select
from .profiles import Profile
from .workspace import DOWNLOADS, PROJECT, open_workspace


@dataclass(frozen=True)
class Request:
    """What the options of a command ask for."""

    manifest: dict[str, Dataset]
    datasets: list[Dataset]
    source: str
    folder: Path
    profile: Profile | None = None

    def offers(self, dataset: Dataset) -> bool:
        """Whether the data set can be had from this source at all."""
        return self.source in ("local", *dataset.sources) or (self.source == "public" and bool(dataset.sources))


def read_request(
    ids: list[str] | None = None,
    *,
    tissue: str | None = None,
    role: str | None = None,
    profile: str | None = None,
    source: str | None = None,
    data_dir: Path | None = None,
    manifest: Path | None = None,
) -> Request:
    """Turn options into data sets, a source and a folder; refuse names that do not exist."""
    workspace = open_workspace(profile) if profile else None
    entries = load_manifest(manifest) if manifest else workspace.manifest if workspace else _own_manifest()
    for name in ids or []:
        if name not in entries:
            raise InputError(f"data set '{name}' is not in the manifest: {suggest(name, entries)}.")
    chosen = select(entries, tissue=tissue, role=role)
    if ids:
        chosen = [d for d in chosen if d.id in ids]
    elif workspace:
        chosen = [d for d in chosen if d in workspace.datasets(d.tissue)]
    if not chosen:
        raise InputError("no data set fits these options; scarafm data list shows all.")
    source = source or (workspace.profile.source if workspace else "public")
    if source == "simulated":
        raise InputError(f"profile '{profile}' simulates its cells: give --source public, or another profile.")
    known = ("public", "release", "local", *dict.fromkeys(key for d in entries.values() for key in d.sources))
    if source not in known:
        raise InputError(f"source '{source}' is not known: {suggest(source, dict.fromkeys(known))}.")
    linked = workspace.data_dir if workspace and workspace.data_dir.is_dir() else DOWNLOADS
    return Request(entries, chosen, source, data_dir or linked, workspace.profile if workspace else None)


def _own_manifest() -> dict[str, Dataset]:
    return load_manifest(PROJECT / "data_manifest.yaml")
