"""Pages of single runs: rendered beside the book, and nothing in a parameter is markup."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import nbformat
import pytest

from scarafm_utils import own_pages, tidy
from scarafm_utils.workspace import PROJECT, Workspace, open_workspace

NASTY = "</title><script>alert(1)</script> {{ 7*7 }} | `x` \"'"


@pytest.fixture
def workspace():
    (PROJECT / "artifacts").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=PROJECT / "artifacts"))
    demo = open_workspace("demo")
    yield Workspace(demo.profile, demo.manifest, folder)
    shutil.rmtree(folder)


def leave_run(workspace, folder, name, **parameters):
    cells = [nbformat.v4.new_markdown_cell("# Trial"), nbformat.v4.new_markdown_cell("Text of the run.")]
    facts = {"chapter": "leaf_results", "run": name, "parameters": {"task": "random:A"} | parameters}
    notebook = tidy.tidy(nbformat.v4.new_notebook(cells=cells), facts=facts, workspace=workspace)
    path = workspace.folder / folder / "leaf_results" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def test_a_run_is_rendered_and_listed_and_its_parameters_are_text(workspace):
    leave_run(workspace, "custom", "first", heads=["LR"])
    [page] = own_pages.render_pages(workspace, [leave_run(workspace, "custom", "second", vote=NASTY)])
    text = page.read_text(encoding="utf-8")
    listed = (page.parents[1] / "index.html").read_text(encoding="utf-8")
    for shown in (text, listed):
        assert "<script>alert" not in shown and "Simulated cells" in shown
    assert "&lt;script&gt;alert(1)" in listed and "{{ 7*7 }}" in listed, "shown as it is, not evaluated"
    assert "heads=LR" in listed and "Text of the run." in text


def test_a_run_of_the_grid_is_kept_among_the_single_runs(workspace):
    path = leave_run(workspace, "runs", "random-A")
    kept = own_pages.keep_page(workspace, path)
    assert kept.read_bytes() == path.read_bytes()
    assert kept.relative_to(workspace.folder).parts[0] == "custom"
    assert own_pages.keep_page(workspace, kept) == kept


def test_a_damaged_run_is_listed_and_keeps_no_other_from_its_page(workspace):
    cut = leave_run(workspace, "custom", "cut")
    cut.write_bytes(cut.read_bytes()[:-20])
    [page] = own_pages.render_pages(workspace, [leave_run(workspace, "custom", "whole")])
    listed = (page.parents[1] / "index.html").read_text(encoding="utf-8")
    assert "Text of the run." in page.read_text(encoding="utf-8")
    assert "leaf_results/cut" in listed and "damaged (no notebook: JSONDecodeError): run it again" in listed
