"""Under each figure stands how it was made, with files that hold what the figure shows."""

from __future__ import annotations

import base64
import hashlib
import re

import nbformat
import pandas as pd
import pytest

from scarafm_utils import chapters, claims, episodes, figures, provenance
from scarafm_utils.figure_style import FIGURE_TYPE, PageFigure, styled

FACTS = {
    "chapter": "leaf_results", "run": "index", "parameters": {"profile": "demo", "task": "all"}, "profile": "demo",
    "source": "simulated", "seconds": 5.2, "peak_mb": 512, "date": "2026-11-22 10:00 UTC", "device": "x86_64, 2 cores",
    "data": {"GSE273033": "ab" * 32}, "versions": {"numpy": "2.4.6"}, "code": {"version": "0.1.0", "digest": "cd" * 10},
}  # fmt: skip
RESULTS = pd.DataFrame({
    "representation": ["raw", "WM"], "head": ["LR", "LR"], "protocol": ["random", "cross"],
    "auroc": [0.9, 0.6], "auroc_hard": [0.8, 0.5], "note": ["a", "b"],
})  # fmt: skip


def metric_cell(**metadata):
    """The cell of the leaf chapter that draws hard labels against scores, as papermill leaves it."""
    source = next(s for s in provenance._code_cells("notebooks/03_leaf_results.md") if "metric_figure" in s)
    figure = figures.metric_figure(RESULTS, simulated=True)
    data = figure._repr_mimebundle_() | {"image/png": base64.b64encode(figure._repr_png_()).decode()}
    cell = nbformat.v4.new_code_cell(source, execution_count=1, metadata=metadata)
    cell.outputs = [nbformat.v4.new_output("execute_result", data=data, execution_count=1)]
    return cell


def page_of(tmp_path, *cells, facts=FACTS):
    notebook = nbformat.v4.new_notebook(cells=list(cells), metadata={"scarafm": facts})
    nbformat.write(notebook, tmp_path / "run.ipynb")
    page = tmp_path / "book" / "executed" / "leaf_results" / "index.ipynb"
    files = tmp_path / "book" / "executed" / "files"
    written = provenance.write_page(tmp_path / "run.ipynb", page, project=tmp_path, files=files)
    return nbformat.read(page, as_version=4), written


def test_the_files_of_a_figure_hold_what_it_shows(tmp_path):
    page, written = page_of(tmp_path, metric_cell())
    files = {path.suffix: path for path in written}
    table = pd.read_csv(files[".csv"])
    assert table[["protocol", "auroc", "auroc_hard"]].equals(RESULTS[["protocol", "auroc", "auroc_hard"]])
    assert files[".svg"].read_text().startswith("<?xml") and "</svg>" in files[".svg"].read_text()
    assert {p.name for p in written} == {f"simulated-leaf_results-index-1-metric_figure.{e}" for e in ("csv", "svg")}
    assert 'download="leaf_results-index.ipynb"' in page.cells[1].source, "not index.ipynb, as every chapter's is"


def test_the_page_says_under_the_figure_how_it_was_made_and_links_its_files(tmp_path):
    page, written = page_of(tmp_path, metric_cell())
    assert FIGURE_TYPE not in page.cells[0].outputs[0].data, "the page keeps the picture only"
    text = page.cells[1].source
    for fact in ("simulated", "notebooks/03_leaf_results.md", "figures.metric_figure", "task = all", "`demo`", "5.2 s",
                 "512 MB", "2026-11-22", "x86_64", "scarafm_utils 0.1.0", "GSE273033", "numpy 2.4.6"):  # fmt: skip
        assert fact in text, fact
    number = int(re.search(r"code cell (\d+) of", text)[1])
    assert "metric_figure" in provenance._code_cells("notebooks/03_leaf_results.md")[number - 1]
    csv = next(p for p in written if p.suffix == ".csv")
    assert hashlib.sha256(csv.read_bytes()).hexdigest() in text
    here = tmp_path / "book" / "executed" / "leaf_results"
    links = re.findall(r'href="([^"]+)"', text)
    assert {(here / a).resolve() for a in links if "/executed/files/" in a} == set(written)
    shown = base64.b64decode(page.cells[0].outputs[0].data["image/png"])
    assert f"../../../_images/{hashlib.sha256(shown).hexdigest()}.png" in links
    assert "../../../_sources/book/executed/leaf_results/index.ipynb" in links
    assert str(tmp_path) not in "\n".join(c.source for c in page.cells)


@pytest.mark.parametrize(("spare", "kinds"), [(0, [".csv", ".svg"]), (-1, [".csv"])])
def test_an_svg_above_the_limit_is_left_out(tmp_path, spare, kinds):
    cell = metric_cell()
    size = len(cell.outputs[0].data[FIGURE_TYPE]["svg"])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"scarafm": FACTS}), tmp_path / "run.ipynb")
    page, files = tmp_path / "book" / "x.ipynb", tmp_path / "files"
    written = provenance.write_page(
        tmp_path / "run.ipynb", page, project=tmp_path, files=files, largest_svg=size + spare
    )
    assert [p.suffix for p in written] == kinds
    text = nbformat.read(page, as_version=4).cells[1].source
    assert "PNG" in text and ("figure (SVG" in text) == (".svg" in kinds)
    assert (f"As SVG: {-(-size // 1000):,} kB, left out" in text) == (".svg" not in kinds), "a reader is told why"


def test_every_page_ends_with_its_own_facts_and_an_older_run_shows_what_it_has(tmp_path):
    old = {k: v for k, v in FACTS.items() if k in ("chapter", "run", "parameters", "profile", "source", "seconds")}
    page, _ = page_of(tmp_path, nbformat.v4.new_markdown_cell("# Title"), facts=old)
    assert "How this page was made" in page.cells[-1].source and "Versions" not in page.cells[-1].source


def test_committed_real_numbers_are_not_called_simulated(tmp_path):
    page, _ = page_of(tmp_path, metric_cell(tags=["real-cells"]))
    assert "Cells: real cells, from numbers kept" in page.cells[1].source
    text = page.cells[1].source
    assert "simulated" not in text and "GSE273033" not in text, "nothing of the build's own cells"
    assert "SRP169576.h5ad" in text and "not by this build" in text
    assert 'download="leaf_results-index-1-metric_figure.csv"' in text


def test_a_grid_page_keeps_its_captions_without_a_number(tmp_path):
    page, _ = page_of(tmp_path, metric_cell(caption="**What was drawn.**"))
    assert page.cells[1].source.startswith("**What was drawn.**\n\n<p")


def test_a_drawing_without_a_notebook_names_its_files_with_their_sizes(tmp_path):
    (tmp_path / "one.svg").write_bytes(b"x" * 1500)
    text = provenance.drawing_details("figures_methods.draw", [tmp_path / "one.svg"], "../files")
    assert '<a href="../files/one.svg" download="one.svg">figure (SVG, 2 kB)</a>' in text
    assert "it has no notebook" in text and str(tmp_path) not in text


def test_a_parameter_is_shown_as_text(tmp_path):
    page, _ = page_of(tmp_path, metric_cell(), facts=FACTS | {"parameters": {"vote": "<script>{{ 7*7 }}`"}})
    assert "<script>" not in page.cells[1].source and "{{" not in page.cells[1].source


def test_a_figure_keeps_the_table_that_it_was_given_or_that_it_draws():
    @styled
    def whole(table, *, simulated=False):
        return PageFigure()

    @styled
    def part(table):
        figure = PageFigure()
        figure.data = table.head(1)
        return figure

    assert whole(RESULTS).data is RESULTS and len(part(RESULTS).data) == 1
    assert whole(table=RESULTS).made_by == "test_provenance.whole"
    assert figures.protocol_schematic()._repr_mimebundle_()[FIGURE_TYPE]["csv"] == ""


def test_a_claim_without_results_has_a_table_with_its_columns_only():
    columns = "tissue task protocol train_dataset test_dataset label held_out representation head n_train seed"
    empty = pd.DataFrame(columns=[*columns.split(), "fidelity", "auroc"])
    claim = claims.assess_claims(empty, simulated=True)[1]
    csv = figures.claim_figure(claim)._repr_mimebundle_()[FIGURE_TYPE]["csv"]
    assert csv.splitlines() == ["claim,dataset,unit,value,scale"]


def notebooks():
    read = {name: chapters.read_notebook(chapter) for name, chapter in chapters.CHAPTERS.items()}
    return read | {name: episodes.read_episode(name) for name in episodes.EPISODES}


@pytest.mark.parametrize("name", [*chapters.CHAPTERS, *episodes.EPISODES])
def test_every_figure_of_every_notebook_has_a_caption_and_alternative_text(name):
    for cell in notebooks()[name].cells:
        last = cell.source.strip().splitlines()[-1] if cell.source.strip() else ""
        if cell.cell_type == "code" and re.match(r"figures\w*\.\w+\(", last):
            shown = cell.metadata.get("mystnb", {})
            assert shown.get("figure", {}).get("caption", "").strip(), last
            assert len(shown.get("image", {}).get("alt", "")) > 20, last
