"""The data sets: what they are, where they are, how each file is read, what its words mean.

``data_manifest.yaml`` explains every key at its top.  A mistake in a manifest is an
:class:`~scarafm_utils.errors.InputError` of one line that names the file, the key, the
value and what is allowed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import InputError, suggest

UNKNOWN = "unknown"
PUBLIC = ("scplantdb", "geo", "portal")  # the order in which `public` looks for a data set
Count = Annotated[int, Field(gt=0)]
SafeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
StandardColumn = Literal["condition", "genotype", "replicate", "sample", "cell_type", "total_counts"]


class Strict(BaseModel):
    """A part of a YAML file: frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _unknown_is_none(cls, values: Any) -> Any:
        """Read the word `unknown` as None (or as an empty list) where the key allows that."""
        if not isinstance(values, dict):
            return values
        blank = {}
        for name, field in cls.model_fields.items():
            if values.get(name) == UNKNOWN and type(None) in get_args(field.annotation):
                blank[name] = None
            elif values.get(name) == UNKNOWN and get_origin(field.annotation) is list:
                blank[name] = []
        return {**values, **blank}


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
    counts: Literal["auto", "X", "raw"] | Annotated[str, Field(pattern="^layers/.+")] | None = None
    normalised: bool | None = None
    measured: str | None = None
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
    tissue: Literal["leaf", "root"]
    role: Literal["downstream", "pretraining"]
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
    material: Literal["nuclei", "protoplasts", "unknown"] = UNKNOWN
    lab: str = UNKNOWN
    citation: str = UNKNOWN
    licence: str = UNKNOWN
    note: str = ""
    obs: ObsColumns = ObsColumns()
    obs_known: bool = True
    labels: dict[SafeName, Label] = {}
    counts: Literal["auto", "X", "raw"] | Annotated[str, Field(pattern="^layers/.+")] = "auto"
    normalised: bool = False
    measured: str | None = None
    sources: dict[Literal["scplantdb", "geo", "portal", "release", "local"], SourceSpec] = {}

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

    def source_name(self, source: str) -> str:
        """Turn a profile's source (``public``, ``local``, …) into a key of `sources`.

        Raises
        ------
        InputError
            Where this data set cannot be had from `source`.
        """
        wanted = PUBLIC if source == "public" else (source,)
        for name in wanted:
            if name in self.sources or name == "local":
                return name
        known = ", ".join(self.sources) or "none"
        raise InputError(f"{self.id}: no source '{source}' in the manifest (it names: {known}).")

    def read_from(self, source: str) -> Dataset:
        """This data set as `source` holds it: obs, counts, normalised, measured replaced."""
        spec = self.sources.get(self.source_name(source), SourceSpec())
        keys = ("obs", "counts", "normalised", "measured")
        changes = {key: getattr(spec, key) for key in keys if getattr(spec, key) is not None}
        return self.model_copy(update=changes)


def held_out_unit(dataset: Dataset, label: str) -> Literal["replicate", "sample", "library_set"] | None:
    """What a replicate split of `dataset` holds out for `label`; None where it cannot.

    ``replicate``: a value of the replicate column.  ``sample``: a single library, where the
    label varies inside libraries (cell type).  ``library_set``: one library of each class,
    since with condition as label a single library has one class.
    """
    chosen, libraries = dataset.labels[label], dataset.libraries or 0
    if (dataset.n_replicates or 0) > 1:
        return "replicate"
    if dataset.obs.sample is None:
        return None
    if chosen.column == "cell_type":
        return "sample" if libraries > 1 else None
    return "library_set" if libraries >= 2 * len(chosen.classes) else None


def load_manifest(path: str | Path) -> dict[str, Dataset]:
    """Read and validate a manifest; the order of the file is kept.

    Raises
    ------
    InputError
        One line that names the file, the key, its value and what is allowed.
    """
    path = Path(path)
    entries = read_yaml(path).get("datasets")
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{path.name}: no data sets. Put them under the key 'datasets', one entry for each id.")
    manifest = {}
    for dataset_id, entry in entries.items():
        if not isinstance(entry, dict):
            raise InputError(f"{path.name}: datasets.{dataset_id}: expected keys and values, found {entry!r}.")
        if "id" in entry:
            raise InputError(f"{path.name}: datasets.{dataset_id}.id: the entry's name is its id; remove this key.")
        where = f"{path.name}: datasets.{dataset_id}"
        manifest[str(dataset_id)] = validate(Dataset, {**entry, "id": str(dataset_id)}, where=where)
    return manifest


def select(manifest: dict[str, Dataset], *, tissue: str | None = None, role: str | None = None) -> list[Dataset]:
    """Data sets of one tissue and role, in the manifest's order; None takes all."""
    for name, value, allowed in (("tissue", tissue, ("leaf", "root")), ("role", role, ("downstream", "pretraining"))):
        if value is not None and value not in allowed:
            raise InputError(f"{name} '{value}' is not known: {suggest(value, allowed)}.")
    return [d for d in manifest.values() if tissue in (None, d.tissue) and role in (None, d.role)]


def matched_pairs(manifest: dict[str, Dataset], *, tissue: str) -> list[tuple[str, str]]:
    """(source, target) of downstream data sets that share a stress, both directions."""
    sets = [d for d in select(manifest, tissue=tissue, role="downstream") if d.stress]
    return [(a.id, b.id) for a in sets for b in sets if a is not b and a.stress == b.stress]


class _Loader(yaml.SafeLoader):
    """YAML without code, without repeated keys, and with 1e-4 as a number (as in YAML 1.2)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise InputError(f"line {line}: key '{key.value}' stands twice. Keep one of the two.")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file that holds keys and values; refuse code and repeated keys."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path.name}: no such file in '{path.parent.name}'. {_yaml_files(path.parent)}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path.name}: expected keys and values, found {_short(values)}.")
    return values


def validate(model: type[Strict], values: dict, *, where: str) -> Any:
    """Build `model` from `values`; the first mistake becomes one line that starts with `where`."""
    try:
        return model.model_validate(values)
    except ValidationError as errors:
        first, *others = errors.errors(include_url=False)
        more = f" (and {len(others)} more)" if others else ""
        raise InputError(f"{where}{_explain(model, first)}{more}") from None


def _explain(model: type[Strict], error: Any) -> str:
    """Say which key, which value, what is allowed."""
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error["loc"] if p != "[key]")
    value, kind = _short(error["input"]), error["type"]
    if kind == "missing":
        return f"{path}: this key is missing. Add it."
    if kind == "extra_forbidden":
        return f"{path} = {value}: unknown key, {suggest(error['loc'][-1], _keys_at(model, error['loc'][:-1]))}."
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", error["ctx"]["expected"]) or [error["ctx"]["expected"]]
        return f"{path} = {value}: not known, {suggest(error['input'], allowed)}."
    message = str(error["ctx"]["error"]) if kind == "value_error" else error["msg"]
    quote = " (quote it if it is text)" if kind == "string_type" else ""
    shown = "" if isinstance(error["input"], dict) else f" = {value}"
    return f"{path}{shown}: {' '.join(message.split())}{quote}."


def _keys_at(model: Any, loc: tuple) -> list[str]:
    """Names of the keys allowed at `loc` below `model`."""
    for part in loc:
        step = model.model_fields[part].annotation if _is_model(model) else get_args(model)[-1]
        optional = [a for a in get_args(step) if get_origin(a) or _is_model(a)]
        model = optional[0] if type(None) in get_args(step) and optional else step
    return list(model.model_fields) if _is_model(model) else []


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _yaml_files(folder: Path) -> str:
    found = ", ".join(sorted(p.name for p in folder.glob("*.yaml"))) if folder.is_dir() else ""
    return f"YAML files there: {found or 'none'}."
