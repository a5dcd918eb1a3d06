"""Generated parts of prose pages: a simulated build states no finding, and no run is left out."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from scarafm_utils import chapters, claims, real_numbers, site_pages
from scarafm_utils.files import write_json
from scarafm_utils.run_facts import failure_path
from scarafm_utils.statements import STATEMENTS
from scarafm_utils.workspace import Workspace, open_workspace

PROJECT = Path(__file__).resolve().parents[1]
CITATION = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
MAP = (PROJECT / "book" / "paper_map.md").read_text(encoding="utf-8")


def opened(name, folder):
    found = open_workspace(name)
    return Workspace(found.profile, found.manifest, folder)


def test_the_first_page_quotes_a_sentence_for_every_claim_and_none_twice():
    text = site_pages.quotes_text()
    quoted = re.findall(r"^- “([A-Z].*(?:\.| …))” \((.+)\)$", text, re.MULTILINE)
    places = {"Abstract": "abstract", "3.1": "section 3.1", "3.2": "section 3.2", "4": "section 4"}
    quoted = [(sentence, place.replace("\N{NO-BREAK SPACE}", " ")) for sentence, place in quoted]
    assert set(quoted) == {(s.sentence, places[s.section.split()[0]]) for s in STATEMENTS.values()}
    assert len(quoted) == text.count("\n- ") == len(set(quoted))


def test_the_first_page_of_a_simulated_build_states_no_finding(tmp_path):
    workspace = opened("demo", tmp_path)
    workspace.tables_dir.mkdir(parents=True)
    (workspace.tables_dir / "results.csv").write_text("auroc\n0.987\n")
    page = (PROJECT / "book" / "index.md").read_text(encoding="utf-8")
    own = re.sub(r"“[^”]*” \([^)]*\)", "", site_pages.quotes_text() + site_pages.front_text(workspace) + page)
    assert "**This build states no finding.**" in own
    assert not re.findall(r"\d\.\d\d|\d ?%|\d[\d.]* points|AUROC (?:of|is)", own)


def test_real_results_stand_on_the_first_page_of_a_real_build_only(tmp_path, monkeypatch):
    workspace = opened("real_root", tmp_path)
    assert "No run of this profile is finished." in site_pages.front_text(workspace)
    keys = {"tissue": "root", "label": "hair", "task": "random:SRP169576", "protocol": "random", "head": "LR",
            "representation": "raw", "n_train": "all", "held_out": "", "seed": 0, "fidelity": "paper",
            "tuning": "none", "vote": "majority"}  # fmt: skip
    rows = pd.DataFrame([keys | {"auroc": 0.91, "auroc_hard": 0.82}, keys | {"auroc": 0.95, "auroc_hard": 0.88}])
    other = keys | {"label": "s_phase", "protocol": "replicate", "auroc": 0.7, "auroc_hard": 0.6}
    workspace.tables_dir.mkdir(parents=True)
    (workspace.tables_dir / "results.csv").touch()
    monkeypatch.setattr("scarafm_utils.result_tables.read_results", lambda _: rows)
    text = site_pages.front_text(workspace)
    monkeypatch.setattr("scarafm_utils.result_tables.read_results", lambda _: pd.concat([rows, pd.DataFrame([other])]))
    assert "| root, S phase | – | 0.70 (0.60) |" in site_pages.front_text(workspace), "a protocol that was not run"
    assert "| label | random |" in text and "| root, root hair | 0.93 (0.85) |" in text
    assert "**real cells** of SRP169576" in text
    assert "not stress.**" in text, "what the label is stands beside the numbers"


def test_numbers_kept_from_real_cells_come_with_origin_date_and_command():
    text = site_pages.kept_text()
    table, facts = real_numbers.read_real_numbers()
    assert all(facts[key] in text for key in ("dataset", "date", "command")) and "not by this build" in text
    rows = table[(table["panel"] == "shift") & (table["label"] == "hair") & (table["variant"] == "as it stands")]
    held_out = rows.loc[rows["protocol"] == "replicate", "auroc"]
    assert "cell types or states of the cell cycle, not stress" in text and f"`{facts['command']}`" in text
    assert "| S phase against G1/G0 phase |" in text, "in the words of the data, not of the code"
    random = rows.loc[rows["protocol"] == "random", "auroc"].item()
    assert f"| Root hair against Non-hair | {random:.3f} | {held_out.min():.3f} |" in text
    assert "That file is a reduced one: the data set has 35,665 cells in 10 libraries." in text


def test_a_whole_file_of_real_cells_is_not_called_a_reduced_one(monkeypatch):
    table, facts = real_numbers.read_real_numbers()
    monkeypatch.setattr(site_pages, "read_real_numbers", lambda: (table, facts | {"cells": 35_665}))
    assert "35,665 cells of SRP169576" in site_pages.kept_text() and "reduced" not in site_pages.kept_text()


def test_the_status_page_lists_every_run_in_its_state(tmp_path):
    workspace = opened("demo", tmp_path)
    facts = {"chapter": "claims", "run": "index", "date": "2026-11-22 10:00 UTC", "seconds": 4.5, "peak_mb": 300,
             "device": "x86_64, 2 cores, 24 GiB", "versions": {"numpy": "2.4.6"}, "parameters": {}}  # fmt: skip
    path = workspace.runs_dir / "claims" / "index.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(metadata={"scarafm": facts}), path)
    write_json(failure_path(workspace, "audit", "index"), {"chapter": "audit", "error": "no | cells\nmore"})
    text = site_pages.status_text(workspace)
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    runs = chapters.page_runs(workspace)
    assert len(rows) == len(runs) and text.startswith(f"1 of {len(runs)} runs")
    done = next(r for r in rows if "executed/claims/index" in r)
    assert "| done | 2026-11-22 10:00 | 4.5 | 300 |\n" in f"{done}\n", "one machine and one set of versions: no columns"
    assert "All of them ran on one kind of machine: x86_64, 2 cores, 24 GiB, no GPU." in text
    assert "## Versions\n\nnumpy 2.4.6." in text and "| --- | --- | --- | ---: | ---: |\n" in text
    assert next(r for r in rows if r.startswith("| Audit")).startswith("| Audit | failed: no &#124; cells |")
    assert sum("| not run |" in row for row in rows) == len(runs) - 2


def test_bibtex_names_the_paper_with_its_workshop_and_this_book():
    text = site_pages.bibtex(CITATION)
    paper, book = text.split("\n\n")
    assert paper.startswith("@inproceedings{") and book.startswith("@software{")
    for field in ("author", "title", "booktitle", "year", "url"):
        assert f"  {field} = {{" in paper, "an entry of this type asks for it, or a reader does"
    assert "Fernández Burda, Manuel and Bonazzola, Rodrigo and" in paper
    assert f"version = {{{CITATION['version']}}}" in book and "year = {2026}" in book
    assert text.count("{") == text.count("}")


def test_package_citation_and_changelog_name_one_version_and_one_date():
    released = re.search(r"^## \[([\d.]+)\] - ([\d-]+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    package = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert released.groups() == (package["version"], str(CITATION["date-released"]))
    assert CITATION["version"] == package["version"]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+\.\w+)`", MAP)) - {"data_manifest.yaml"}))
def test_everything_that_the_paper_map_names_exists(name):
    if name.endswith(".md"):
        assert (PROJECT / "notebooks" / name).exists()
    else:
        module, function = name.split(".")
        if (PROJECT / "scarafm_utils" / f"{module}.py").exists() and function != "py":
            assert callable(getattr(importlib.import_module(f"scarafm_utils.{module}"), function))
        else:
            assert (PROJECT / "scarafm_utils" / name).exists()


def test_every_page_and_module_of_the_paper_map_exists():
    pages = re.findall(r"\{doc\}`(?:[^<`]*<)?([\w/]+)>?`", MAP)
    assert pages
    for page in pages:
        chapter = re.fullmatch(r"executed/(\w+)/index", page)
        assert chapter[1] in chapters.CHAPTERS if chapter else (PROJECT / "book" / f"{page}.md").exists()
    cells = re.findall(r"^  - (`.*`.*)$", MAP, re.MULTILINE)
    modules = {m for cell in cells for m in re.findall(r"`([a-z_0-9]+)`", cell)}
    assert modules and all((PROJECT / "scarafm_utils" / f"{m}.py").exists() for m in modules)


def test_the_paper_map_has_every_figure_table_section_and_claim():
    parts = ["Figure 1", "Figure 2", *(f"Supplementary Figure {n}" for n in (1, 2, 3)),
             *(f"Supplementary Table {n}" for n in (1, 2)), "3.1", "3.2", "4, discussion", "A.1.1", "A.1.2", "A.2",
             "A.3", "A.4", "2, data", "2, foundation model", "2, representation", "2, experimental design"]  # fmt: skip
    assert [p for p in parts if f"* - {p}" not in MAP] == []
    assert "{include} executed/pages/claims.md" in MAP
    rows = site_pages.claims_text().split("1. ")[1:]
    for says, row in zip(STATEMENTS.values(), rows, strict=True):
        assert row.startswith("“") and f"**{says.quote}**" in row and says.estimand in row
        assert row.replace("**", "").startswith(f"“{says.sentence}” (") and row.count("\n   - ") == 3
        assert getattr(claims, says.name).__module__ == "scarafm_utils.claims" and f"`claims.{says.name}`" in row
    assert json.loads((PROJECT / "book" / "real_numbers.json").read_text())["dataset"] in MAP


def test_a_claim_of_the_paper_map_leads_to_its_section_where_there_is_one():
    chapter = (PROJECT / "notebooks" / "06_claims.md").read_text(encoding="utf-8")
    text = site_pages.claims_text(linked=True)
    for says in STATEMENTS.values():
        label = site_pages.claim_label(says.name)
        section = chapter.partition(f"\n({label})=\n## ")[2].partition("\n## ")[0]
        assert f'found["{says.name}"]' in section, "the label stands above the section that draws the claim"
        assert f"{{ref}}`{label}`, `claims.{says.name}`" in text
    assert "{ref}" not in site_pages.claims_text(), "a build without that chapter has nothing to lead to"


def test_every_reference_has_a_doi_or_where_none_exists_an_address():
    entries = (PROJECT / "book" / "references.bib").read_text(encoding="utf-8").split("\n@")[1:]
    assert len(entries) > 10
    without = [e.split("{")[1].split(",")[0] for e in entries if not re.search(r"^  doi = \{10\.\d{4,}/\S+\}", e, re.M)]
    assert without == ["pedregosa2011scikit"] and "  url = {https://" in next(e for e in entries if without[0] in e)


def test_what_a_class_needs_is_said_once_and_as_its_check_asks():
    setup = (PROJECT / "book" / "workshop" / "setup.md").read_text(encoding="utf-8")
    check = (PROJECT / "workshop" / "0_check.md").read_text(encoding="utf-8")
    assert re.search(r"(\d+) GB of free memory", setup)[1] == re.search(r"examine\(.*memory=(\d+)\)", check)[1]
    others = [p for p in (PROJECT / "book").glob("**/*.md") if p.name != "setup.md" and "executed" not in p.parts]
    rows = [line for p in others for line in p.read_text(encoding="utf-8").splitlines() if "`workshop` |" in line]
    assert len(rows) == 1 and "GB" not in rows[0]
