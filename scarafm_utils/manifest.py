"""The data sets: what they are, where they are, how each file is read, what its words mean.

``data_manifest.yaml`` explains every key at its top.  A mistake in a manifest is an
:class:`~scarafm_utils.errors.InputError` of one line that names the file, the key, the
value and what is allowed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from .config import UNKNOWN, Count, SafeName, Strict, read_yaml, validate
from .errors import InputError, suggest

Tissue = Literal["leaf", "root"]
Role = Literal["downstream", "pretraining"]
SourceKey = Literal["scplantdb", "geo", "portal", "release", "local"]
Material = Literal["nuclei", "protoplasts", "unknown"]
TISSUES: tuple[Tissue, ...] = ("leaf", "root")
ROLES: tuple[Role, ...] = ("downstream", "pretraining")
PUBLIC: tuple[SourceKey, ...] = ("scplantdb", "geo", "portal")  # the order of looking for a data set
HeldOutUnit = Literal["replicate", "sample", "library_set"]
StandardColumn = Literal["condition", "genotype", "replicate", "sample", "cell_type", "total_counts"]


def _counts_place(place: str) -> str:
    if place in ("auto", "X", "raw") or re.match("layers/.", place):
        return place
    raise ValueError("counts lie in auto, X, raw or layers/<name>")


CountsPlace = Annotated[str, AfterValidator(_counts_place)]


class ObsColumns(Strict):
    """Which obs column of the source file holds what; None where the file does not say."""

    condition: str | None = None
    genotype: str | None = None
    replicate: str | None = None
    sample: str | None = None
    cell_type: str | None = None
    total_counts: str | None = None


class Label(Strict):
    """Classes to tell apart, from negative to positive, each with the data set's own words.

    `classes` always holds words: where the manifest says `unknown`, the class name itself
    stands in and `assumed` lists the class, so that a reader of real files can say so.
    """

    column: Literal["condition", "cell_type", "genotype"] = "condition"
    classes: dict[SafeName, list[str]]
    assumed: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill_unknown_words(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("classes"), dict):
            return values
        classes = values["classes"]
        unknown = tuple(name for name, words in classes.items() if words == UNKNOWN)
        filled = {name: [name] if name in unknown else words for name, words in classes.items()}
        return {**values, "classes": filled, "assumed": unknown}

    @field_validator("classes")
    @classmethod
    def _unambiguous(cls, classes: dict[str, list[str]]) -> dict[str, list[str]]:
        names, words = list(classes), [w for own in classes.values() for w in own]
        if len(names) < 2 or not all(classes.values()):
            raise ValueError("a label needs two classes or more, each with at least one word")
        if len(set(words)) < len(words):
            raise ValueError("one word stands for two classes; each word may stand once")
        if "control" in names[1:] or "stress" in names[:-1]:
            raise ValueError("classes run from negative to positive: control first, stress last")
        return classes


class SourceSpec(Strict):
    """One place a data set can be had, and what is different when it is read from there."""

    url: str | None = None
    path: str | None = None
    parts: list[str] = []
    bytes: Count | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    format: Literal["auto", "h5ad", "h5ad.gz", "10x_h5", "10x_folder", "raw_tar", "rds", "manual"] = "auto"
    samples: dict[str, dict[StandardColumn, str]] | None = None
    obs: ObsColumns | None = None
    counts: CountsPlace | None = None
    normalised: bool | None = None
    measured: str | None = None
    terms: str = UNKNOWN
    note: str = ""

    @field_validator("url")
    @classmethod
    def _web_address(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"https?://\S+$", url):
            raise ValueError("a URL starts with https:// (or http://)")
        return url

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str | None) -> str | None:
        if path is not None and (Path(path).is_absolute() or ".." in Path(path).parts):
            raise ValueError("a path is relative to the data folder (or release) and stays inside it")
        return path


class Dataset(Strict):
    """One data set of a manifest; None and ``"unknown"`` mean that nobody has said."""

    id: SafeName
    tissue: Tissue
    role: Role
    n_cells: Count
    stress: str | None = None
    n_conditions: Count | None = None
    n_genotypes: Count | None = None
    n_replicates: Count | None = None
    libraries: Count | None = None
    libraries_per_class: dict[str, int] | None = None
    conditions: list[str] = []
    genotypes: list[str] = []
    scplantdb_id: str | None = None
    accession: str | None = None
    tissue_detail: str = UNKNOWN
    library_kit: str = UNKNOWN
    material: Material = "unknown"
    lab: str = UNKNOWN
    citation: str = UNKNOWN
    licence: str = UNKNOWN
    note: str = ""
    obs: ObsColumns = ObsColumns()
    obs_known: bool = True
    labels: dict[SafeName, Label] = {}
    counts: CountsPlace = "auto"
    normalised: bool = False
    measured: str | None = None
    aliases: dict[str, str] = {}
    sources: dict[SourceKey, SourceSpec] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Dataset:
        if self.role == "downstream" and not self.labels:
            raise ValueError("a downstream data set needs at least one label under 'labels'")
        for name, label in self.labels.items():
            if getattr(self.obs, label.column) is None:
                raise ValueError(f"label '{name}' reads '{label.column}', but obs.{label.column} is not set")
        if (self.n_replicates or 0) > 1 and self.obs.replicate is None:
            raise ValueError("more than one replicate, but obs.replicate names no column")
        return self

    @property
    def default_label(self) -> str | None:
        """Name of the first label; None where there is none."""
        return next(iter(self.labels), None)

    def source_name(self, source: str) -> SourceKey:
        """Turn a profile's source (``public``, ``local``, …) into a key of `sources`.

        Raises
        ------
        InputError
            Where this data set cannot be had from `source`.
        """
        if source == "local":
            return "local"
        for name in self.sources if source != "public" else PUBLIC:
            if name in self.sources and source in ("public", name):
                return name
        known = ", ".join(self.sources) or "none"
        raise InputError(f"{self.id}: no source '{source}' in the manifest (it names: {known}).")

    def read_from(self, source: str) -> Dataset:
        """This data set as `source` holds it: obs, counts, normalised, measured replaced."""
        spec = self.sources.get(self.source_name(source), SourceSpec())
        keys = ("obs", "counts", "normalised", "measured")
        changes = {key: getattr(spec, key) for key in keys if getattr(spec, key) is not None}
        return self.model_copy(update=changes)


def held_out_unit(dataset: Dataset, label: str) -> HeldOutUnit | None:
    """What a replicate split of `dataset` holds out for `label`; None where it cannot.

    ``replicate``: a value of the replicate column.  ``sample``: a single library, where the
    label varies inside libraries (cell type).  ``library_set``: one library of each class,
    since with condition as label a single library has one class; every class needs two.
    """
    chosen, libraries = dataset.labels[label], dataset.libraries or 0
    if (dataset.n_replicates or 0) > 1:
        return "replicate"
    if dataset.obs.sample is None:
        return None
    if chosen.column == "cell_type":
        return "sample" if libraries > 1 else None
    per_class = dataset.libraries_per_class or {}
    if set(per_class) == set(chosen.classes):
        return "library_set" if min(per_class.values()) > 1 else None
    return "library_set" if libraries >= 2 * len(chosen.classes) else None


def load_manifest(path: str | Path) -> dict[str, Dataset]:
    """Read and validate a manifest; the order of the file is kept.

    Raises
    ------
    InputError
        One line that names the file, the key, its value and what is allowed.
    """
    path = Path(path)
    values = read_yaml(path)
    entries = values.pop("datasets", None)
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{path.name}: no data sets. Put them under the key 'datasets', one entry per id.")
    for key in values:
        raise InputError(f"{path.name}: '{key}': unknown key, {suggest(key, ['datasets'])}.")
    manifest = {}
    for dataset_id, entry in entries.items():
        where = f"{path.name}: datasets.{dataset_id}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected keys and values, found {entry!r}.")
        if "id" in entry:
            raise InputError(f"{where}.id: the name of the entry is its id; remove this key.")
        if isinstance(named := entry.get("aliases"), str):
            entry = {**entry, "aliases": {} if named == UNKNOWN else _read_aliases(path.parent / named, where=where)}
        manifest[str(dataset_id)] = validate(Dataset, {**entry, "id": str(dataset_id)}, where=where)
    return manifest


def _read_aliases(path: Path, *, where: str) -> dict[str, str]:
    """A table of symbol and locus, tab- or comma-separated, with or without a heading."""
    if not path.is_file():
        raise InputError(f"{where}.aliases: no file '{path.name}' beside the manifest.")
    rows = [re.split(r"[\t,]", line.strip()) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if bad := next((number for number, row in enumerate(rows, start=1) if len(row) != 2), None):
        raise InputError(f"{where}.aliases: {path.name}, line {bad}: expected a symbol and a locus.")
    table: dict[str, str] = {}
    for symbol, locus in rows[1:] if rows and rows[0][1].strip().lower() in ("locus", "gene") else rows:
        if table.setdefault(symbol.strip(), locus.strip()) != locus.strip():
            raise InputError(f"{where}.aliases: {path.name}: '{symbol}' stands for two loci; keep one.")
    return table


def select(
    manifest: dict[str, Dataset], *, tissue: str | None = None, role: str | None = None
) -> list[Dataset]:
    """Data sets of one tissue and role, in the manifest's order; None takes all."""
    for name, value, allowed in (("tissue", tissue, TISSUES), ("role", role, ROLES)):
        if value is not None and value not in allowed:
            raise InputError(f"{name} '{value}' is not known: {suggest(value, allowed)}.")
    return [d for d in manifest.values() if tissue in (None, d.tissue) and role in (None, d.role)]


def matched_pairs(manifest: dict[str, Dataset], *, tissue: str) -> list[tuple[str, str]]:
    """(source, target) of downstream data sets that share a stress, both directions."""
    sets = [d for d in select(manifest, tissue=tissue, role="downstream") if d.stress]
    return [(a.id, b.id) for a in sets for b in sets if a is not b and a.stress == b.stress]
