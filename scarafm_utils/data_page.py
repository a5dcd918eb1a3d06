"""Tables of the data page: what each data set is, where it is, what its design allows, what a build has of it.

Every cell is text of the manifest, of the lock file or of a processed file; nothing is typed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from .designs import design_of_entry, partners, verdicts
from .files import write_text
from .hub import REPOSITORY
from .inventory import State, expected_files, in_bytes, inspect
from .manifest import ROLES, TISSUES, Dataset, Label, SourceKey, SourceSpec, select
from .workspace import Workspace, processed_facts

_CHECKSUM = "checksum (SHA-256)"
UNKNOWN = '<span class="unknown">unknown</span>'
#: What sources and formats of the manifest are called on a page.
_SOURCES: dict[SourceKey, str] = {
    "scplantdb": "scPlantDB",
    "geo": "GEO",
    "portal": "Single Cell Portal",
    "release": "authors' release",
    "local": "own folder",
}
_FORMATS = {
    "auto": "told by the file's name",
    "h5ad.gz": "h5ad, compressed",
    "10x_h5": "10x HDF5",
    "10x_folder": "10x folder",
    "raw_tar": "archive of files",
    "rds": "Seurat object",
    "manual": "fetched by hand",
}
#: What the states of `inventory` are called on a page.
_WORDS: dict[State, str] = {
    "absent": "absent",
    "by hand": "absent: converted or fetched by hand",
    "incomplete": "absent: an unfinished download",
    "there": "file present, not read",
    "whole": "file present, not read",
    "damaged": "file present, but damaged",
}


def write_data_tables(workspace: Workspace, folder: Path) -> list[Path]:
    """Write ``facts.html``, ``sources.html`` and ``designs.html``, which the page ``book/data`` includes."""
    pages = {"facts": facts_html(workspace), "sources": sources_html(workspace), "designs": designs_html(workspace)}
    return [write_text(folder / f"{name}.html", text) for name, text in pages.items()]


def facts_html(workspace: Workspace) -> str:
    """One table for each tissue and role: the paper's facts, and what this build has."""
    parts = []
    for role in ROLES:
        for tissue in TISSUES:
            datasets = select(workspace.manifest, tissue=tissue, role=role)
            rows = [_facts(workspace, d) for d in datasets]
            total = f"{len(rows)} data sets, {sum(d.n_cells for d in datasets):,} cells"
            parts += [_table(f"{tissue.capitalize()}, {role}: {total}", rows)] if rows else []
    return "\n".join(parts)


def sources_html(workspace: Workspace) -> str:
    """One row for each place where a data set can be had."""
    places = [(d, key, spec) for d in workspace.manifest.values() for key, spec in d.sources.items()]
    rows = [_source(workspace, d, key, spec) for d, key, spec in places]
    if all(row[_CHECKSUM] == f"{UNKNOWN}, recorded on the first fetch" for row in rows):
        rows = [row | {_CHECKSUM: ""} for row in rows]  # the page's text says it once
    return _table(f"{len(rows)} sources of {len(workspace.manifest)} data sets", rows)


def designs_html(workspace: Workspace) -> str:
    """One row for each label of a data set: what each protocol would do with it."""
    rows = []
    for d in select(workspace.manifest, role="downstream"):
        for label in d.labels:
            found = verdicts(design_of_entry(d, label), partners=partners(d, workspace.manifest, label))
            name = d.id if len(d.labels) == 1 else f"{d.id}, {told_apart(d.labels[label])}"
            texts = {v.protocol: f"<strong>{escape(v.answer)}</strong>: {escape(v.reason)}" for v in found}
            rows.append({"data set": escape(name), **texts})
    return _table("What the design of each downstream data set allows", rows, style="data-table fitted")


def told_apart(label: Label) -> str:
    """What a label of two classes tells apart, in the data set's own words, the positive class first."""
    *others, positive = (" or ".join(words) for words in label.classes.values())
    return f"{positive} against {' and '.join(others)}"


def build_state(workspace: Workspace, dataset: Dataset) -> str:
    """What this build has of a data set: simulated, read and verified, present, absent, or not used."""
    if dataset.id not in workspace.profile.dataset_ids(workspace.manifest, dataset.tissue):
        return "not used by this profile"
    facts = processed_facts(workspace.processed_path(dataset.tissue, dataset.id))
    if facts is None and workspace.simulated:
        return "not simulated yet"
    source, folder = workspace.profile.source, workspace.data_dir
    if facts is None:
        return _WORDS[inspect(dataset, source=source, data_dir=folder, hashed=False).state]
    cells = f"{facts['cells']:,} cells"
    if facts["source"] == "simulated":
        return f"simulated, {cells}"
    known = [f.sha256 for f in expected_files(dataset, source=source, data_dir=folder) if f.sha256]
    if known and facts["sha256"] in known:
        return f"read and verified, {cells}"
    short = f"sha256 {facts['sha256'][:12]}…" if facts["sha256"] else "no checksum"
    return f"read, {cells}; {short}, " + ("not the file recorded" if len(known) == 1 else "nothing to compare it with")


def _facts(workspace: Workspace, d: Dataset) -> dict[str, str]:
    shared = {
        "material": _text(d.material),
        "organ": _text(d.tissue_detail),
        "made with": _text(d.library_kit),
        "lab": _text(d.lab),
        "citation": _linked(d.citation),
        "licence": _linked(d.licence),
        "note": escape(d.note),
    }
    here = {"in this build": escape(build_state(workspace, d))}
    first = {"data set": escape(d.id), "cells": f"{d.n_cells:,}", **here}
    if d.role == "pretraining":
        return {**first, "conditions": _words(d.conditions), "genotypes": _words(d.genotypes), **shared}
    counts = {"conditions": d.n_conditions, "genotypes": d.n_genotypes, "replicates": d.n_replicates}
    per_class = d.libraries_per_class or {}
    by_class = ", ".join(f"{name} {n}" for name, n in per_class.items())
    classes = {"libraries": _text(d.libraries), "libraries by class": escape(by_class) or UNKNOWN}
    return {**first, "stress": _text(d.stress), **{k: _text(v) for k, v in counts.items()}, **classes, **shared}


def _source(workspace: Workspace, d: Dataset, key: str, spec: SourceSpec) -> dict[str, str]:
    files = expected_files(d, source=key, data_dir=workspace.data_dir)
    recorded = next((f for f in files if f.sha256), None)
    size = spec.bytes or (files[0].bytes if files else None)
    checksum = f"{recorded.sha256[:12]}…" if recorded and recorded.sha256 else ""
    how = "in the manifest" if spec.sha256 else "recorded on the first fetch"
    return {
        "data set": escape(d.id),
        "source": _SOURCES[key],
        "address": _address(key, spec),
        "size": in_bytes(size) if size else UNKNOWN,
        _CHECKSUM: f"<code>{checksum}</code> {how}" if checksum else f"{UNKNOWN}, {how}",
        "format": _FORMATS.get(spec.format, spec.format),
        "terms of use": _linked(spec.terms),
        "note": escape(spec.note),
    }


def _address(key: str, spec: SourceSpec) -> str:
    if spec.url:
        return "<br>".join(map(_linked, (spec.url, *spec.parts)))
    if key == "release":
        repository = f'<a href="https://huggingface.co/datasets/{REPOSITORY}">{_breakable(REPOSITORY)}</a>'
        return f"{repository}<br>{_breakable(spec.path or '')}"
    return (_breakable(spec.path) if spec.path else "a folder of one's own") if key == "local" else UNKNOWN


def _words(values: Iterable[str]) -> str:
    return "; ".join(map(escape, values)) or UNKNOWN


def _text(value: object) -> str:
    return UNKNOWN if value in (None, "unknown") else escape(str(value))


def _linked(text: str) -> str:
    """Addresses and PubMed ids as links; the rest as text."""
    if text == "unknown":
        return UNKNOWN
    if pubmed := re.fullmatch(r"PMID (\d+)", text):
        return f'<a href="https://pubmed.ncbi.nlm.nih.gov/{pubmed[1]}/">{escape(text)}</a>'
    shown = [
        f'<a href="{escape(p)}">{_breakable(p)}</a>' if p.startswith("http") else escape(p)
        for p in re.split(r"(https?://[^\s()]+)", text)
    ]
    return "".join(shown)


def _breakable(address: str) -> str:
    """An address that may break after each slash, so that a column stays narrow."""
    return re.sub(r"([/_]|(?=\.rds))", r"\1<wbr>", escape(address.removeprefix("https://")))


def _table(caption: str, rows: Sequence[dict[str, str]], *, style: str = "data-table") -> str:
    """A table that scrolls inside its own box, with the data sets fixed at its left edge; cells are HTML.

    A column without a word is left out; one that is unknown throughout becomes a word of the caption.
    """
    unknown = [column for column in rows[0] if all(row[column] == UNKNOWN for row in rows)]
    kept = [column for column in rows[0] if any(row[column] for row in rows) and column not in unknown]
    caption += f"; unknown for all of them: {', '.join(unknown)}" if unknown else ""
    head = "".join(f'<th scope="col" class="{_css(column)}">{escape(column)}</th>' for column in kept)
    cells = ["".join(f'<td class="{_css(c)}">{row[c]}</td>' for c in kept[1:]) for row in rows]
    lines = [f'<tr><th scope="row">{row[kept[0]]}</th>{rest}</tr>' for row, rest in zip(rows, cells, strict=True)]
    body = "\n".join(lines)
    return (
        f'<div class="data-box" role="region" tabindex="0" aria-label="{escape(caption, quote=True)}">\n'
        f'<table class="{style}">\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
    )


def _css(column: str) -> str:
    """Long prose gets a wider column than words; numbers stand under one another."""
    long, numbers = ("note", "terms of use"), ("cells", "size")
    return "long" if column in long else "number" if column in numbers else "short"
