"""Results in one file: what comes out is what went in, and anything else is refused."""

from __future__ import annotations

import io
import json
import shutil
import tarfile

import nbformat
import pandas as pd
import pytest

from scarafm_utils import data_page, results_archive, site, tidy
from scarafm_utils.errors import InputError
from scarafm_utils.results_archive import LIST, pack_results, packed_profile, unpack_results
from scarafm_utils.workspace import PROJECT, Workspace, open_workspace


def workspace_in(folder, name="demo"):
    opened = open_workspace(name)
    return Workspace(opened.profile, opened.manifest, folder)


def leave_results(workspace, *, source="# Leaf\n\nText."):
    for chapter, slug in (("leaf_results", "index"), ("leaf_results", "cross-GSE273033-ERP132245")):
        facts = {"chapter": chapter, "run": slug, "parameters": {"task": "cross:GSE273033:ERP132245"}}
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source)])
        path = workspace.runs_dir / chapter / f"{slug}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(tidy.tidy(notebook, facts=facts, workspace=workspace), path)
    for name in ("tables/results.csv", "tables/maps-leaf.csv", "vocabulary/leaf.csv"):
        path = workspace.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a,b\n1,2\n")
    scores = workspace.scores_dir("leaf") / "key.parquet"
    scores.parent.mkdir(parents=True)
    pd.DataFrame({"obs_name": ["A:s:b"]}).to_parquet(scores)


@pytest.fixture
def packed(tmp_path):
    workspace = workspace_in(tmp_path / "there")
    leave_results(workspace)
    pack_results(workspace, tmp_path / "demo.tar.gz")
    return tmp_path / "demo.tar.gz"


def repack(archive, change):
    """Write an archive again with changed contents; `change` takes and gives a dict of bytes."""
    with tarfile.open(archive) as tar:
        contents = {m.name: tar.extractfile(m).read() for m in tar}
    results_archive._write(archive, change(contents))


def test_what_comes_out_is_what_went_in(tmp_path, packed):
    here = workspace_in(tmp_path / "here")
    names = unpack_results(here, packed)
    assert names == [
        "runs/leaf_results/cross-GSE273033-ERP132245.ipynb", "runs/leaf_results/index.ipynb",
        "tables/results.csv", "vocabulary/leaf.csv",
    ]  # fmt: skip
    assert all((here.folder / n).read_bytes() == (tmp_path / "there" / n).read_bytes() for n in names)
    assert not [p for p in here.folder.iterdir() if p.name not in ("runs", "tables", "vocabulary")]


def test_rows_of_cells_go_in_only_where_asked(tmp_path, packed):
    names = pack_results(workspace_in(tmp_path / "there"), tmp_path / "all.tar.gz", scores=True)
    assert {"scores/leaf/key.parquet", "tables/maps-leaf.csv"} <= set(names)


def test_equal_results_give_equal_bytes(tmp_path, packed):
    (tmp_path / "there" / "tables" / "results.csv").touch()
    pack_results(workspace_in(tmp_path / "there"), tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == packed.read_bytes()


def test_the_profile_is_known_without_unpacking(packed, tmp_path):
    assert packed_profile(packed) == "demo"
    (tmp_path / "x.tar.gz").write_bytes(b"<html>")
    with pytest.raises(InputError, match="not an archive of results"):
        packed_profile(tmp_path / "x.tar.gz")


def test_results_that_are_here_are_kept_unless_replaced(tmp_path, packed):
    here = workspace_in(tmp_path / "here")
    (here.tables_dir).mkdir(parents=True)
    (here.tables_dir / "mine.csv").write_text("mine")
    cells = here.processed_path("leaf", "ERP132245")
    cells.parent.mkdir(parents=True)
    cells.write_text("cells")
    with pytest.raises(InputError, match=r"has results here \(tables\): use --replace"):
        unpack_results(here, packed)
    assert {p.name for p in here.folder.rglob("*")} == {"tables", "mine.csv", "processed", "leaf", cells.name}
    unpack_results(here, packed, replace=True)
    assert [p.name for p in here.tables_dir.iterdir()] == ["results.csv"]
    assert cells.read_text() == "cells", "nobody asked to throw cells away"


def changed(name):
    return lambda contents: {**contents, name: contents[name] + b" "}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("tables/results.csv"), "tables/results.csv is missing or not as it was packed"),
        (lambda c: {k: v for k, v in c.items() if k != "tables/results.csv"}, "results.csv is missing"),
        (lambda c: {**c, "tables/more.csv": b"x"}, "tables/more.csv is missing or not as it was packed"),
        (lambda c: {**c, "runs/x.sh": b"x"}, "no archive of results: runs/x.sh"),
        (lambda c: {**c, "../runs/x.ipynb": b"x"}, "would land outside"),
        (lambda c: {k: v for k, v in c.items() if k != LIST}, "packed.json is missing"),
        (lambda c: {**c, LIST: b"{}"}, "not an archive of results"),
        (lambda c: {**c, LIST: c[LIST].replace(b'"profile_digest": "', b'"profile_digest": "x')}, "as it was there"),
    ],
)
def test_another_archive_is_refused_and_leaves_nothing(tmp_path, packed, change, message):
    repack(packed, change)
    here = workspace_in(tmp_path / "here")
    with pytest.raises(InputError, match=message):
        unpack_results(here, packed)
    assert not list(here.folder.iterdir())


def test_a_link_is_refused(tmp_path, packed):
    info = tarfile.TarInfo("runs/a/b.ipynb")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(packed, "w:gz") as tar:
        tar.addfile(info)
    with pytest.raises(InputError, match="is a link or a device"):
        unpack_results(workspace_in(tmp_path / "here"), packed)


def test_a_path_of_this_machine_is_not_packed(tmp_path):
    workspace = workspace_in(tmp_path / "there")
    leave_results(workspace)
    (workspace.tables_dir / "results.csv").write_text(f"a\n{PROJECT / 'x.csv'}\n")
    with pytest.raises(InputError, match="tables/results.csv: holds a path of this machine"):
        pack_results(workspace, tmp_path / "demo.tar.gz")
    assert not (tmp_path / "demo.tar.gz").exists()


def test_without_runs_there_is_nothing_to_pack(tmp_path):
    with pytest.raises(InputError, match="has no runs to pack"):
        pack_results(workspace_in(tmp_path / "empty"), tmp_path / "demo.tar.gz")


def test_pages_come_from_an_archive_as_they_came_from_the_cells(tmp_path, monkeypatch):
    """The executed notebooks and the tables of the data page: everything that a build adds to the book's text."""
    import anndata as ad
    import scipy.sparse as sp

    there, here = workspace_in(tmp_path / "there"), workspace_in(tmp_path / "here")
    leave_results(there)
    path = there.processed_path("leaf", "ERP132245")
    path.parent.mkdir(parents=True)
    provenance = {"source": "simulated", "sha256": ""}
    ad.AnnData(sp.csr_matrix((3, 2), dtype="float32"), uns={"provenance": provenance}).write_h5ad(path)
    pack_results(there, tmp_path / "demo.tar.gz")
    unpack_results(here, tmp_path / "demo.tar.gz")
    assert not list(here.folder.rglob("*.h5ad")), "no cells"
    monkeypatch.setattr(site, "EXECUTED", tmp_path / "site" / "book" / "executed")
    pages = {}
    for name, workspace in (("there", there), ("here", here)):
        shutil.rmtree(site.EXECUTED, ignore_errors=True)
        site.fill_executed(workspace)
        data_page.write_data_tables(workspace, site.EXECUTED / "data")
        site.write_config(workspace)
        files = sorted(p for p in site.EXECUTED.rglob("*") if p.is_file())
        pages[name] = {str(p.relative_to(site.EXECUTED)): p.read_bytes() for p in files}
    assert pages["here"] == pages["there"]
    assert b"simulated, 3 cells" in pages["here"]["data/facts.html"]


def test_an_archive_lists_checksums_and_the_notice_of_its_pages(packed):
    with tarfile.open(packed) as tar:
        listed = json.load(io.BytesIO(tar.extractfile(LIST).read()))
        assert tar.getnames()[0] == LIST and {m.mtime for m in tar} == {0}
    assert "Simulated cells" in listed["notice"] and len(listed["files"]) == 4
