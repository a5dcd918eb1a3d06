"""The site holds the pages of one profile, says what is missing, and is checked by a script."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from scarafm_utils import grid, site
from scarafm_utils.errors import InputError
from scarafm_utils.workspace import Workspace, open_workspace

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "EXECUTED", tmp_path / "executed")
    opened = open_workspace("demo")
    return Workspace(opened.profile, opened.manifest, tmp_path / "artifacts")


def add_run(workspace, chapter, name):
    path = workspace.runs_dir / chapter / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(), path)


def test_runs_of_a_chapter_stand_in_the_order_of_the_paper(workspace, tmp_path, monkeypatch):
    runs = tmp_path / "book" / "executed" / "leaf_results" / "runs"
    runs.mkdir(parents=True)
    for name in ("cross-A-B", "replicate-A", "random-B", "random-A"):
        (runs / f"{name}.ipynb").write_text("{}")
    (tmp_path / "book" / "_toc.yml").write_text((PROJECT / "book" / "_toc.yml").read_text())
    monkeypatch.setattr(site, "PROJECT", tmp_path)
    chapters = yaml.safe_load(site.write_toc(workspace).read_text())["parts"][0]["chapters"]
    pages = {c["file"]: [Path(s["file"]).name for s in c.get("sections", [])] for c in chapters}
    assert pages["book/executed/leaf_results/index"] == ["random-A", "random-B", "replicate-A", "cross-A-B"]
    assert pages["book/executed/root_results/index"] == [], "Sphinx warns about what is not there"


def test_pages_of_two_profiles_never_mix(workspace, tmp_path):
    old = tmp_path / "executed" / "leaf_results" / "runs" / "random-OLD.ipynb"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    add_run(workspace, "leaf_results", "index")
    add_run(workspace, "leaf_results", "random-ERP132245")
    site.fill_executed(workspace)
    found = {str(p.relative_to(tmp_path / "executed")) for p in (tmp_path / "executed").rglob("*") if p.is_file()}
    assert "leaf_results/index.ipynb" in found and "leaf_results/runs/random-ERP132245.ipynb" in found
    assert not old.exists()
    assert "leaf_results/index.md" not in found


def test_a_task_that_left_the_profile_has_no_page(workspace, tmp_path):
    add_run(workspace, "leaf_results", "random-ERP132245")
    add_run(workspace, "leaf_results", "random-ERP132245-other_label")
    add_run(workspace, "left_over", "index")
    site.fill_executed(workspace)
    runs = tmp_path / "executed" / "leaf_results" / "runs"
    assert [p.stem for p in runs.iterdir()] == ["random-ERP132245"]
    assert not (tmp_path / "executed" / "left_over").exists()


def test_a_chapter_without_data_is_a_page_that_says_so(workspace, tmp_path):
    add_run(workspace, "leaf_results", "index")
    site.fill_executed(workspace)
    text = (tmp_path / "executed" / "root_results" / "index.md").read_text()
    assert "`demo` has no data for this chapter" in text
    assert text.startswith("(sec-root)=\n(fig-root)=\n"), "links to its sections and figures still end"
    assert "(fig-map-root)=\n# Root results" in text


def test_episodes_are_pages_where_they_were_run_and_the_profile_wants_them(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "episode_run", lambda name: tmp_path / "class" / f"{name}.ipynb")
    (tmp_path / "class").mkdir()
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "class" / "1_splits.ipynb")
    pages = tmp_path / "executed" / "workshop"
    site.fill_executed(workspace)
    assert (pages / "1_splits.ipynb").exists() and not (pages / "1_splits.md").exists()
    assert "has no data for this chapter" in (pages / "5_transfer.md").read_text()
    without = Workspace(workspace.profile.model_copy(update={"workshop": False}), workspace.manifest, workspace.folder)
    site.fill_executed(without)
    assert (pages / "1_splits.md").exists() and not (pages / "1_splits.ipynb").exists()


def test_the_banner_of_a_simulated_build_is_in_the_configuration(workspace):
    config = yaml.safe_load(site.write_config(workspace).read_text())
    assert "Simulated cells" in config["sphinx"]["config"]["html_theme_options"]["announcement"]


def configuration_with(url, folder, monkeypatch):
    text, n = re.subn(r'(?m)^  url: ".*"$', f'  url: "{url}"', (PROJECT / "_config.yml").read_text())
    assert n == 1, "the address of the repository is one line"
    folder.mkdir(exist_ok=True)
    (folder / "_config.yml").write_text(text)
    monkeypatch.setattr(site, "PROJECT", folder)
    return site.read_config()


def test_without_a_repository_there_is_nothing_to_launch_from(tmp_path, monkeypatch):
    config = configuration_with("", tmp_path, monkeypatch)
    assert not {"repository", "launch_buttons"} & set(config) and not config["html"]["use_repository_button"]


def test_launch_buttons_lead_to_the_published_notebooks(tmp_path, monkeypatch):
    config = configuration_with("https://github.com/o/r", tmp_path, monkeypatch)
    assert config["repository"] == {"url": "https://github.com/o/r", "branch": "gh-pages", "path_to_book": "_sources"}
    assert set(config["launch_buttons"]) == {"notebook_interface", "binderhub_url", "colab_url"}
    assert config["html"]["use_repository_button"]


def load_checker():
    spec = importlib.util.spec_from_file_location("check_site", PROJECT / "scripts" / "check_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_checker_finds_what_a_page_loads_from_elsewhere(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<link rel="canonical" href="https://a.example/"><link rel="stylesheet" href="https://b.example/x.css">'
        '<script src="//c.example/x.js"></script><img src="figure.png"><a href="https://d.example">link</a>'
        "<style>p {background: url('http://e.example/x.png')}</style>"
    )
    assert sorted(load_checker().external_loads(page)) == [
        "//c.example/x.js", "http://e.example/x.png", "https://b.example/x.css",
    ]  # fmt: skip


def test_the_checker_finds_figures_without_text_or_files(tmp_path):
    (tmp_path / "a.csv").write_text("x\n")
    (tmp_path / "b.csv").write_text("")
    page = tmp_path / "page.html"
    page.write_text(
        '<article><div class="cell_output"><img src="1.png" alt="Bars"><img src="2.png" alt=" "></div>'
        '<p class="figure-files"><a href="a.csv">x</a><a href="b.csv">y</a><a href="c.csv">z</a></p></article>'
    )
    assert load_checker().figure_faults(page) == [
        "2.png has no alternative text", "b.csv is absent or empty", "c.csv is absent or empty",
        "2 figures, but files of 1",
    ]  # fmt: skip


def test_the_checker_finds_failed_and_unexecuted_cells(tmp_path):
    failed = nbformat.v4.new_code_cell("1/0", execution_count=1)
    failed.outputs = [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])]
    path = tmp_path / "book.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[failed, nbformat.v4.new_code_cell("2")]), path)
    assert load_checker().broken_cells(path) == ["cell 1: ZeroDivisionError", "cell 2 was not executed"]


def site_of(folder, **pages):
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    checker = load_checker()
    return checker, {p: checker.outline(p) for p in sorted(folder.glob("*.html"))}


def test_the_checker_finds_links_to_nothing(tmp_path):
    checker, outlines = site_of(
        tmp_path,
        a='<a href="b.html#there"></a><a href="b.html#gone"></a><a href="#here"></a><a href="#nowhere"></a>'
        '<a href="c.html"></a><a href="https://x.example/#y"></a><a href="b.html?q=1"></a>'
        '<a href="b.html#task=x"></a><a href="mailto:x"></a>',
        b='<p id="there"></p><img src="gone.png">',
    )
    assert checker.dangling(tmp_path, outlines) == [
        "a.html: links to #here, which has no such anchor",
        "a.html: links to #nowhere, which has no such anchor",
        "a.html: links to b.html#gone, which has no such anchor",
        "a.html: links to c.html, which is not there",
        "b.html: links to gone.png, which is not there",
    ]


def test_the_checker_weighs_a_page_with_its_pictures(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(bytes(900))
    checker, outlines = site_of(tmp_path, a='<img src="x.png"><img src="x.png">', b="<p>")
    monkeypatch.setattr(checker, "PAGE_BYTES", 1000)
    assert checker.too_large(tmp_path, outlines) == []
    (tmp_path / "a.html").write_text("x" * 101)
    assert checker.too_large(tmp_path, outlines) == ["a.html: 0.0 MB with its pictures"]
    monkeypatch.setattr(checker, "SITE_BYTES", 1000)
    assert checker.too_large(tmp_path, outlines)[0] == "the site has 0.0 MB"


def test_the_data_folder_is_a_link_and_is_remembered(workspace, tmp_path):
    local = open_workspace("real_root")
    mine = Workspace(local.profile, local.manifest, tmp_path / "real")
    with pytest.raises(InputError, match="say where they are"):
        grid.link_data(mine, None)
    (tmp_path / "files").mkdir()
    grid.link_data(mine, tmp_path / "files")
    grid.link_data(mine, None)
    assert mine.data_dir.resolve() == tmp_path / "files"


def test_a_profile_that_downloads_needs_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "DOWNLOADS", tmp_path / "downloads")
    opened = open_workspace("laptop")
    workspace = Workspace(opened.profile, opened.manifest, tmp_path / "laptop")
    grid.link_data(workspace, None)
    assert workspace.data_dir.resolve() == tmp_path / "downloads"


def test_sources_of_a_chapter_follow_the_imports():
    files = grid.source_files("leaf_results")
    assert "notebooks/03_leaf_results.md" in files
    assert {"scarafm_utils/heads.py", "scarafm_utils/model.py", "scarafm_utils/files.py"} <= set(files)
    assert "scarafm_utils/cli.py" not in files


def test_style_sheets_name_no_file_that_the_site_leaves_out(tmp_path):
    fonts, sheet = tmp_path / "vendor" / "icons" / "webfonts", tmp_path / "styles" / "theme.css"
    fonts.mkdir(parents=True)
    sheet.parent.mkdir()
    for name in ("a.woff2", "a.ttf", "b.map"):
        (fonts / name).write_text("x")
    font = "url(../vendor/icons/webfonts/a."
    source = f'{font}woff2) format("woff2"),{font}ttf) format("truetype")'
    sheet.write_text(f"@font-face{{src:{source}}} b{{color:red}}")
    site._remove_ballast(tmp_path)
    assert [path.name for path in fonts.iterdir()] == ["a.woff2"]
    text = sheet.read_text()
    assert re.findall(r"url\(([^)]*)\)", text) == ["../vendor/icons/webfonts/a.woff2"]
    assert text.endswith('format("woff2")} b{color:red}')
