"""Run pickers lead from any page of a grid to any other, and to no page that is not there."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup

from scarafm_utils.browser import open_browser, why_no_browser
from scarafm_utils.chapters import page_runs
from scarafm_utils.run_picker import PICKERS, _insert, write_pickers
from scarafm_utils.workspace import PROJECT, Workspace, open_workspace

needs_browser = pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser())
NOT_RUN = "random-GSE226826"


@pytest.fixture
def executed(tmp_path):
    """The pages of the demo's grid, all but one, with their pickers as HTML files beside them."""
    opened = open_workspace("demo")
    workspace = Workspace(opened.profile, opened.manifest, tmp_path / "artifacts")
    folder = tmp_path / "book" / "executed"
    for chapter, slug in page_runs(workspace):
        path = folder / chapter / ("" if slug == "index" else "runs") / f"{slug}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        if slug != NOT_RUN:
            path.write_text("{}")
    write_pickers(workspace, folder)
    for page, html in pickers(folder).items():
        script = f'<script src="{(PROJECT / "book" / "_static" / "run_picker.js").as_uri()}"></script>'
        (folder / f"{page}.html").write_text(f"<h1>{page}</h1>{html}{script}", encoding="utf-8")
    (folder / "explorer").mkdir()
    (folder / "explorer" / "index.html").write_text("")
    return folder


def pickers(folder) -> dict[str, str]:
    return json.loads((folder / PICKERS).read_text(encoding="utf-8"))


def test_every_page_of_a_grid_has_a_picker_and_no_other(executed):
    pages = set(pickers(executed))
    assert {"leaf_results/index", "leaf_results/runs/random-ERP132245", "preprocessing/runs/leaf"} <= pages
    assert f"leaf_results/runs/{NOT_RUN}" not in pages
    assert not [page for page in pages if page.startswith(("claims", "scaling_curves"))]


def test_links_and_choices_lead_to_pages_that_are_there(executed):
    for page, html in pickers(executed).items():
        soup = BeautifulSoup(html, "html.parser")
        addresses = [a["href"] for a in soup.find_all("a")] + [o["value"] for o in soup.find_all("option")]
        for address in addresses:
            assert (executed / page).parent.joinpath(address.split("#")[0]).resolve().is_file(), (page, address)


def test_both_ways_offer_the_same_runs_under_names_that_are_unique(executed):
    for html in pickers(executed).values():
        soup = BeautifulSoup(html, "html.parser")
        names = [a.get("aria-label") or a.get_text() for a in soup.find_all("a")]
        choices = [option.get_text() for option in soup.find_all("option")]
        assert len(set(names)) == len(names) and len(set(choices)) == len(choices)
        assert len(soup.find_all("option", selected=True)) == 1
        for link in soup.find_all("a", attrs={"aria-label": True}):
            assert link.get_text() in link["aria-label"], "what is said holds what is shown"
        assert {a["href"] for a in soup.table.find_all("a")} < {o["value"] for o in soup.find_all("option")}
        assert soup.find("label")["for"] == soup.find("select")["id"]


def test_a_run_that_is_not_there_is_named_and_is_no_link(executed):
    soup = BeautifulSoup(pickers(executed)["leaf_results/index"], "html.parser")
    assert "GSE226826 (not run)" in soup.table.get_text()
    assert NOT_RUN not in str(soup)


def test_a_run_is_marked_on_its_own_page_and_shown_in_the_explorer(executed):
    soup = BeautifulSoup(pickers(executed)["leaf_results/runs/cross-GSE273033-ERP132245"], "html.parser")
    assert soup.find(attrs={"aria-current": "page"}).get_text() == "GSE273033 → ERP132245"
    assert soup.find("option", selected=True).get_text() == "Leaf, cross: GSE273033 → ERP132245"
    explorer = soup.find("a", string="These results in the explorer")["href"]
    assert explorer == "../../explorer/index.html#task=cross:GSE273033:ERP132245&label=stress"


def test_sphinx_puts_the_picker_below_the_heading_of_its_page_only(executed):
    loaded = []
    app = SimpleNamespace(srcdir=executed.parents[1], add_js_file=lambda name, **_: loaded.append(name))
    context = {"body": "<section><h1>Leaf</h1><p>text</p></section>"}
    _insert(app, "book/executed/leaf_results/index", "page.html", context, None)
    assert context["body"].startswith("<section><h1>Leaf</h1>\n<nav ") and loaded == ["run_picker.js"]
    other = {"body": "<h1>Data</h1>"}
    _insert(app, "book/data", "page.html", other, None)
    assert other == {"body": "<h1>Data</h1>"} and len(loaded) == 1


@needs_browser
def test_a_choice_opens_its_page_and_the_links_work_without_javascript(executed):
    address = (executed / "leaf_results" / "index.html").as_uri()
    with open_browser() as browser:
        page = browser.new_page()
        page.goto(address)
        page.get_by_label("Go to a run").select_option("Leaf, replicate: GSE273033")
        page.get_by_role("button", name="Open").press("Enter")
        page.wait_for_url("**/runs/replicate-GSE273033.html")
        plain = browser.new_context(java_script_enabled=False).new_page()
        plain.goto(address)
        assert not plain.locator("form").is_visible()
        plain.locator("summary").click()
        plain.get_by_role("link", name="Leaf, cross: GSE273033 → ERP132245").click()
        plain.wait_for_url("**/runs/cross-GSE273033-ERP132245.html")
