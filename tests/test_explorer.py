"""The explorer carries every result, shows what is missing as missing, and needs nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from docutils.nodes import make_id

from scarafm_utils import explorer, words
from scarafm_utils.browser import open_browser, why_no_browser
from scarafm_utils.configurations import FIDELITIES
from scarafm_utils.explorer_data import NUMBERS, WHOLE, with_pages
from scarafm_utils.measures import METRICS
from scarafm_utils.result_tables import IDENTITY, TIDY
from scarafm_utils.workspace import PROJECT, Workspace, open_workspace

needs_browser = pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser())
STATIC = PROJECT / "book" / "_static"
EVIL = "more than 40 cells</script><script>alert(1)</script>"
TASKS = ["random:ERP132245", "random:SRP169576", "replicate:GSE273033", "cross:GSE273033:ERP132245"]
#: Dots of the chart, not those of its legend.
DOTS = "#explorer-chart .mark-symbol.role-mark path"
ROOT = {"random:SRP169576"}


def result(task: str, representation: str, head: str, n_train: int | str, seed: int) -> dict:
    protocol, *datasets = task.split(":")
    row = dict.fromkeys(TIDY, np.nan) | dict.fromkeys(METRICS, 0.25) | {
        "tissue": "root" if task in ROOT else "leaf", "task": task, "protocol": protocol, "label": "stress",
        "train_dataset": datasets[0], "test_dataset": datasets[-1], "representation": representation, "head": head,
        "n_train": n_train, "seed": seed, "fidelity": "paper", "tuning": "none", "vote": "majority", "n_test": 80,
        "held_out": "rep1" if protocol == "replicate" else np.nan, "interval_unit": "cell", "reason": "",
        "auroc": 0.8 + 0.01 * seed, "auroc_low": 0.7, "auroc_high": 0.9, "fit_seconds": 0.5, "peak_memory_mb": 400.0,
    }  # fmt: skip
    return row


@pytest.fixture
def results():
    """Sixteen results of the demo's grid, one of them of another fidelity, and one that could not be had."""
    rows = [result(t, r, "LR", n, 0) for t in TASKS for r in ("raw", "WM") for n in (100, "all")]
    rows[-1] |= {"fidelity": "released"}
    rows[0] |= dict.fromkeys(NUMBERS, np.nan) | {"reason": EVIL}
    rows[1] |= {"auroc_low": np.nan, "auroc_high": np.nan, "auprc": np.nan}
    return pd.DataFrame(rows)


@pytest.fixture
def workspace(tmp_path):
    opened = open_workspace("demo")
    return Workspace(opened.profile, opened.manifest, tmp_path / "artifacts")


@pytest.fixture
def executed(tmp_path):
    """A folder of executed notebooks: every task's but the last."""
    folder = tmp_path / "book" / "executed"
    for task in TASKS[:-1]:
        chapter = "root_results" if task in ROOT else "leaf_results"
        path = folder / chapter / "runs" / f"{task.replace(':', '-')}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        path.with_suffix(".html").write_text(f"<title>{task}</title>")
    return folder


@pytest.fixture
def html(workspace, results, executed):
    return explorer.explorer_html(workspace, with_pages(workspace, results, executed))


def page_data(html: str) -> dict:
    return json.loads(BeautifulSoup(html, "html.parser").find(id="explorer-data").string)


def decoded(html: str) -> pd.DataFrame:
    """The results as the page's script sees them."""
    data = page_data(html)
    table = pd.DataFrame(data["rows"], columns=data["columns"])
    return table.assign(**{name: [levels[i] for i in table[name]] for name, levels in data["levels"].items()})


def test_every_result_of_the_table_is_in_the_page(html, results):
    found = decoded(html)
    assert len(found) == len(results)
    for name in IDENTITY:
        assert list(found[name]) == ["" if pd.isna(v) else str(v) for v in results[name]], name
    for name in NUMBERS:
        half = 0.5 if name in WHOLE else 5e-4  # of the last place that is shown
        np.testing.assert_allclose(found[name].astype(float), results[name].astype(float), atol=half)
    assert page_data(html)["levels"]["n_train"] == ["100", "all"]


def test_a_missing_result_is_listed_with_its_reason_and_never_a_number(html):
    missing = decoded(html).iloc[0]
    assert missing[list(NUMBERS)].isna().all() and missing["reason"] == EVIL
    soup = BeautifulSoup(html, "html.parser")
    assert soup.find(id="explorer-missing").li.get_text() == f"{EVIL} (1: random:ERP132245)"
    cells = [cell.get_text() for cell in soup.find(id="explorer-table").tbody.tr.find_all(["th", "td"])]
    row = dict(zip(page_data(html)["table"], cells, strict=True))
    assert row["auroc"] == f"missing: {EVIL}"
    assert {row[name] for name in (*METRICS[1:], "n_test", "fit_seconds", "peak_memory_mb")} == {"–"}


def test_no_text_of_a_result_ends_the_element_that_holds_it(html):
    soup = BeautifulSoup(html, "html.parser")
    assert [s.get("id") or s["src"].rsplit("/", 1)[1] for s in soup.find_all("script")] == [
        "explorer-data", "explorer-spec", "vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "explorer.js",
    ]  # fmt: skip
    assert "<script>" not in html


def test_links_lead_to_pages_that_are_there_and_no_others(html, executed):
    addresses = {a["href"] for a in BeautifulSoup(html, "html.parser").find(id="explorer-table").find_all("a")}
    assert len(addresses) == len(TASKS) - 1
    assert all((executed / "explorer" / address).resolve().is_file() for address in addresses)
    pages = decoded(html).groupby("task")["page"].first()
    assert pages["cross:GSE273033:ERP132245"] == ""
    assert pages["random:SRP169576"] == "../root_results/runs/random-SRP169576.html"


def test_nothing_is_asked_from_another_host(html):
    assert not re.search(r"https?:|//[a-z]", html)
    for script in BeautifulSoup(html, "html.parser").find_all("script", src=True):
        assert (STATIC / script["src"].split("_static/")[1]).is_file()


def test_the_mark_of_simulated_cells_is_in_the_chart_and_only_there_where_it_is_true(html, results, executed):
    def spec(text):
        return json.loads(BeautifulSoup(text, "html.parser").find(id="explorer-spec").string)

    assert " ".join(spec(html)["title"]["subtitle"]) == page_data(html)["mark"] == "Simulated cells, not the paper's."
    text = explorer.explorer_html(open_workspace("real_root"), results.assign(page=""))
    assert spec(text)["title"]["subtitle"] == ["The label is the cell type, not stress."] and "imulated" not in text


def test_every_metric_and_every_filter_has_a_control_with_a_label(html):
    assert tuple(explorer.METRIC_NAMES) == METRICS
    form = BeautifulSoup(html, "html.parser").form
    labels = {label["for"]: label.get_text() for label in form.find_all("label")}
    assert [s["id"] for s in form.find_all("select")] == list(labels)
    names = [s["name"] for s in form.find_all("select")]
    assert names == ["tissue", "protocol", "dataset", "task", "representation", "head", "n_train", "fidelity",
                     "metric", "rows", "colour"]  # fmt: skip
    assert form.find("select", {"name": "fidelity"}).find("option", selected=True)["value"] == "paper"


def test_a_long_table_is_cut_and_says_so_but_the_data_are_whole(workspace, results, executed, monkeypatch):
    monkeypatch.setattr(explorer, "MAX_ROWS", 10)
    html = explorer.explorer_html(workspace, results.assign(page=""))
    table = BeautifulSoup(html, "html.parser").find(id="explorer-table")
    assert len(table.tbody.find_all("tr")) == 10 and table.caption.get_text() == "The first 10 of 16 results"
    assert len(decoded(html)) == 16


def test_a_profile_without_results_has_a_page_that_says_so(workspace, executed):
    page = explorer.write_explorer(workspace, executed)
    assert "`demo` has no results yet" in page.read_text() and not (page.parent / "explorer.html").exists()


def test_the_page_offers_the_whole_table(workspace, results, executed):
    workspace.tables_dir.mkdir(parents=True)
    results.to_csv(workspace.tables_dir / "results.csv", index=False)
    page = explorer.write_explorer(workspace, executed)
    assert "Simulated cells" in page.read_text() and "{download}`simulated-results.csv <" in page.read_text()
    assert len(pd.read_csv(page.parent / "simulated-results.csv")) == len(results)


def test_the_charts_scripts_are_those_that_altair_writes_for():
    from altair.vegalite.v6.display import VEGA_VERSION, VEGAEMBED_VERSION, VEGALITE_VERSION

    wanted = {"vega": VEGA_VERSION, "vega-lite": VEGALITE_VERSION, "vega-embed": VEGAEMBED_VERSION}
    for name, version in wanted.items():
        vendored = json.loads((STATIC / "vega" / "versions.json").read_text())[name]
        assert f"{vendored}.".startswith(f"{version}."), name
        assert (STATIC / "vega" / f"{name}.LICENSE").is_file()


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture
def address(html, executed):
    """The page as a file, with the book's static files where it looks for them."""
    shutil.copytree(STATIC, executed.parents[1] / "_static", ignore=shutil.ignore_patterns("mathjax"))
    path = executed / "explorer" / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = '<meta charset="utf-8"><link rel="stylesheet" href="../../../_static/custom.css">'
    body = f'<body><main id="main-content">{html}</main></body>'
    path.write_text(f'<!doctype html><html lang="en"><head>{head}<title>t</title></head>{body}</html>')
    return path.as_uri()


@pytest.fixture
def page(browser):
    """A page whose requests and errors are kept; an error fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.asked, errors = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    opened.close()
    assert errors == []


def status(page) -> str:
    return page.locator("#explorer-status").inner_text()


def dots(page, number: int) -> None:
    """Wait until the chart has this many dots."""
    page.wait_for_function(f"document.querySelectorAll('{DOTS}').length == {number}")


@needs_browser
def test_three_filters_narrow_chart_table_and_address_without_the_network(page, address):
    page.goto(address)
    dots(page, 14)  # sixteen less the missing one and the one of another fidelity
    assert status(page) == "Shown: 14 of 16 results; missing: 1."
    page.select_option("#explorer-protocol", "random")
    page.select_option("#explorer-representation", "raw")
    page.select_option("#explorer-metric", "auprc")
    dots(page, 2)
    assert status(page) == "Shown: 2 of 16 results; missing: 1; without AUPRC (average precision): 1."
    assert page.locator("#explorer-table tbody tr").count() == 4
    assert page.evaluate("location.hash") == "#protocol=random&representation=raw&metric=auprc"
    assert "AUPRC" in page.locator("#explorer-chart").get_attribute("aria-label")
    assert page.asked and all(url.startswith("file://") for url in page.asked)


@needs_browser
@pytest.mark.parametrize(("width", "most"), [(1280, 13), (390, 5)])
def test_labels_of_the_value_axis_are_few_enough_to_be_read(page, address, width, most):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    dots(page, 14)
    labels = page.locator("#explorer-chart .role-axis-label text").all_text_contents()
    values = [text for text in labels if text.replace(".", "").isdigit()]
    assert 2 <= len(values) <= most


def test_what_differs_most_stands_first_in_the_table():
    names = list(explorer.TABLE)
    assert names[:6] == ["task", "representation", "head", "n_train", "auroc", "protocol"]
    rest = ("seed", "label", "fidelity", "fit_seconds")
    assert max(map(names.index, METRICS)) < min(map(names.index, rest))


@needs_browser
def test_a_row_without_any_value_is_drawn_as_missing(page, address):
    page.goto(f"{address}#task=random:ERP132245&representation=raw&rows=n_train&metric=auroc")
    dots(page, 1)
    assert page.locator("#explorer-chart .mark-text.role-mark text").all_text_contents() == ["no value (1)"]


@needs_browser
def test_a_deep_link_sets_the_controls_and_says_what_it_does_not_know(page, address):
    page.goto(f"{address}#task=cross:GSE273033:ERP132245&fidelity=&metric=brier&head=SVM")
    dots(page, 4)
    assert page.input_value("#explorer-task") == "cross:GSE273033:ERP132245"
    assert page.input_value("#explorer-metric") == "brier" and page.input_value("#explorer-fidelity") == ""
    assert "This build has no head “SVM”." in status(page)
    page.evaluate("location.hash = '#tissue=root'")
    dots(page, 4)
    page.get_by_role("button", name="Start again").click()
    dots(page, 14)
    assert page.evaluate("location.hash") == ""


@needs_browser
def test_the_keyboard_reaches_every_control_and_changes_what_is_shown(page, address):
    page.goto(address)
    dots(page, 14)
    seen = []
    for _ in range(11):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.name"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert seen[:4] == ["tissue", "protocol", "dataset", "task"] and seen[-1] == "colour"
    page.locator("#explorer-tissue").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    dots(page, 4)
    assert page.evaluate("location.hash") == "#tissue=root"


@needs_browser
def test_pointing_shows_interval_and_cost_and_choosing_leads_to_the_run(page, address):
    page.goto(f"{address}#task=random:SRP169576&representation=WM&n_train=100")
    dots(page, 1)
    page.locator(DOTS).hover()
    shown = page.locator("#vg-tooltip-element").inner_text()
    for text in ("0.700 to 0.900, over test cells", "0.500 s, 400 MB", "0.800", "80"):
        assert text in shown
    page.locator(DOTS).click()
    page.get_by_role("link", name="Open the page of this run").click()
    page.wait_for_url("**/root_results/runs/random-SRP169576.html")


@needs_browser
def test_a_phone_scrolls_down_only(page, address):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(address)
    dots(page, 14)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@needs_browser
def test_without_javascript_the_table_stands_alone(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.locator("#explorer-table tbody tr").count() == 16
    assert page.locator("#explorer-table").is_visible() and page.locator("#explorer-missing").is_visible()
    assert not page.locator("#explorer-controls").is_visible() and not page.locator("#explorer-chart").is_visible()


@needs_browser
def test_without_its_libraries_the_page_says_so_and_the_table_still_answers(page, address, executed):
    (executed.parents[1] / "_static" / "vega" / "vega-embed.min.js").write_text("")
    page.goto(f"{address}#tissue=root")
    assert "The chart could not be drawn" in status(page)
    assert page.locator("#explorer-table tbody tr").count() == 4


# --- one name for each result --------------------------------------------------------------------------

#: What the task says: a data set is of one tissue.
IN_THE_TASK = {"tissue", "train_dataset", "test_dataset"}


def twins(**different: tuple) -> pd.DataFrame:
    """Two results that differ in some columns only."""
    rows = [result("replicate:GSE273033", "raw", "LR", "all", 0) | {"fidelity": "matched"} for _ in range(2)]
    for name, values in different.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    rows[0]["auroc"], rows[1]["auroc"] = 0.935, 0.705
    return pd.DataFrame(rows)


def test_the_table_has_every_column_that_tells_two_results_apart():
    assert set(IDENTITY) - IN_THE_TASK <= set(explorer.TABLE)


@pytest.mark.parametrize(
    "different",
    [{"protocol": ("random", "replicate")}, {"tuning": ("none", "cv")}, {"vote": ("majority", "mean")},
     {"label": ("stress", "s_phase")}, {"fidelity": ("matched", "released")}, {"held_out": ("rep1", "rep2")}],
    ids=lambda d: "".join(d),
)  # fmt: skip
def test_no_two_results_bear_the_same_name_in_the_table(workspace, results, different):
    rows = pd.concat([results, twins(**different)], ignore_index=True)
    html = explorer.explorer_html(workspace, rows.assign(page=""))
    columns = list(page_data(html)["table"])
    lines = BeautifulSoup(html, "html.parser").find(id="explorer-table").tbody.find_all("tr")
    shown = pd.DataFrame([[c.get_text() for c in line.find_all(["th", "td"])] for line in lines], columns=columns)
    names = [name for name in columns if name in IDENTITY]
    assert len(shown) == 18 and not shown.duplicated(names).any()


def test_tuning_and_vote_are_no_columns_where_they_are_always_the_same(html):
    assert {"tuning", "vote"}.isdisjoint(page_data(html)["table"]) and "protocol" in page_data(html)["table"]


@pytest.fixture
def matched(results):
    """Replaces the results of the page by those of one run, with its two matched halves among them."""
    rows = results[results["task"] == "replicate:GSE273033"]
    return pd.concat([rows, twins(protocol=("random", "replicate"))], ignore_index=True)


def opened(workspace, rows, address: str, executed) -> str:
    """The page of `address` with other results."""
    path = executed / "explorer" / "index.html"
    before, _, rest = path.read_text().partition('<div class="explorer">')
    html = explorer.explorer_html(workspace, with_pages(workspace, rows, executed))
    path.write_text(f"{before}{html}</main></body></html>")
    return address


@needs_browser
def test_pointing_and_choosing_say_protocol_and_fidelity(page, address, workspace, matched, executed):
    page.goto(opened(workspace, matched, address, executed) + "#fidelity=matched")
    dots(page, 2)
    said = []
    for dot in page.locator(DOTS).all():
        dot.hover()
        hover = page.locator("#vg-tooltip-element").inner_text()
        dot.click()
        chosen = page.locator("#explorer-chosen").inner_text()
        assert "matched" in hover and "fidelity matched (both protocols on the same test cells" in chosen
        [protocol] = re.findall(r"protocol (\w+)", chosen)
        assert re.search(rf"protocol\s+{protocol}\b", hover)
        said.append(protocol)
    assert sorted(said) == ["random", "replicate"]


@needs_browser
def test_a_result_that_its_runs_page_only_counts_leads_to_the_audit_too(page, address, workspace, results, executed):
    rows = results.assign(fidelity=["balanced_test" if s == "WM" else "paper" for s in results["representation"]])
    page.goto(opened(workspace, rows, address, executed) + "#task=random:SRP169576&n_train=all&fidelity=")
    dots(page, 2)
    said = {}
    for dot in page.locator(DOTS).all():
        dot.click()
        links = page.locator("#explorer-chosen a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        said["not show" in page.locator("#explorer-chosen").inner_text()] = links
    run = "../root_results/runs/random-SRP169576.html"
    assert said == {False: [run], True: [run, explorer.AUDIT]}


def test_the_audit_has_the_section_that_the_explorer_leads_to():
    anchor = explorer.AUDIT.split("#")[1]
    text = (PROJECT / "notebooks" / "07_audit.md").read_text(encoding="utf-8")
    sections = [make_id(line[3:]) for line in text.splitlines() if line.startswith("## ")]
    assert explorer.AUDIT.startswith("../audit/index.html#") and anchor in sections


# --- choices and what is left of them ------------------------------------------------------------------


def test_every_filter_begins_with_any_and_all_training_cells_are_called_so(html):
    form = BeautifulSoup(html, "html.parser").form
    options = {s["name"]: {o["value"]: o.get_text() for o in s.find_all("option")} for s in form.find_all("select")}
    assert {named[""] for name, named in options.items() if name not in ("metric", "rows", "colour")} == {"any"}
    assert options["n_train"] == {"": "any", "100": "100", "all": "all cells"}
    assert options["fidelity"]["paper"] == "paper (the paper's text, with correct arithmetic)"
    for name, named in options.items():
        assert len(set(named.values())) == len(named), name


@needs_browser
def test_a_link_to_a_place_on_the_page_leaves_the_choice_as_it_is(page, address):
    page.goto(f"{address}#tissue=root&head=LR")
    dots(page, 4)
    page.evaluate("document.body.insertAdjacentHTML('afterbegin', '<a href=\"#main-content\">Skip</a>')")
    page.evaluate("window.led = 0; addEventListener('hashchange', () => led++)")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("led == 1")
    assert page.evaluate("location.hash") == "#tissue=root&head=LR"
    assert page.input_value("#explorer-tissue") == "root" and page.input_value("#explorer-head") == "LR"
    assert status(page).startswith("Shown: 4 of 16")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "tissue", "the keyboard is in the page's content"


@needs_browser
def test_where_nothing_is_left_the_page_says_which_filter_to_undo(page, address):
    page.goto(f"{address}#tissue=leaf&task=random:SRP169576&representation=raw")
    page.wait_for_selector("#explorer-undo button")
    assert status(page).startswith("Nothing matches this choice: 0 of 16 results.")
    names = page.locator("#explorer-undo button").all_text_contents()
    assert names == ["Tissue: any (2)", "Run: any (6)"]
    assert not page.locator("#explorer-table").is_visible() and not page.locator("#explorer-chart").is_visible()
    page.locator("#explorer-undo button").first.press("Enter")
    dots(page, 2)
    assert page.evaluate("[location.hash, document.activeElement.name]") == [
        "#task=random:SRP169576&representation=raw", "tissue"
    ]  # fmt: skip
    assert page.locator("#explorer-table").is_visible() and not page.locator("#explorer-undo").is_visible()


@needs_browser
def test_where_no_single_filter_is_to_blame_one_can_start_again(page, address):
    page.goto(f"{address}#tissue=root&task=random:ERP132245&dataset=GSE273033")
    assert status(page).endswith("No single filter is the reason: start again.")
    assert page.locator("#explorer-undo").is_hidden()
    page.get_by_role("button", name="Start again").click()
    dots(page, 14)
    assert page.evaluate("location.hash") == "" and page.locator("#explorer-table").is_visible()


@needs_browser
def test_the_table_says_the_same_with_and_without_javascript(page, browser, address, workspace, results, executed):
    hard = {"mcc": -0.0544, "auroc": 0.93347, "auroc_low": 0.93249, "auroc_high": 0.96, "brier": -0.0004,
            "n_test": 1478, "peak_memory_mb": 1400.5, "fit_seconds": 4.44049}  # fmt: skip
    rows = results.assign(**hard, reason="")
    opened(workspace, rows, address, executed)
    plain = browser.new_context(java_script_enabled=False).new_page()
    texts = []
    for tab in (plain, page):
        tab.goto(f"{address}#fidelity=")
        texts.append(tab.locator("#explorer-table tbody tr").all_inner_texts())
    plain.context.close()
    assert sorted(texts[0]) == sorted(texts[1])
    for text in ("−0.054", "0.933 (0.932 to 0.960)", "\t0.000", "1,478", "1,400", "4.440"):
        assert text in texts[0][0]
    assert "-0" not in texts[0][0] and "−0.000" not in texts[0][0]


def test_every_fidelity_has_words_and_stands_in_the_glossary():
    assert set(words.FIDELITIES) == set(FIDELITIES) and len(set(words.FIDELITIES.values())) == len(FIDELITIES)
    glossary = (PROJECT / "book" / "glossary.md").read_text(encoding="utf-8")
    entry = next(e for e in glossary.split("\n\n") if e.startswith("fidelity\n"))
    assert all(f"`{name}`" in entry for name in FIDELITIES)
