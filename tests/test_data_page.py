"""The data page says what the manifest, the lock file and the processed files say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from bs4 import BeautifulSoup
from scipy.sparse import csr_matrix

from scarafm_utils.data_page import build_state, designs_html, facts_html, sources_html, write_data_tables
from scarafm_utils.files import sha256_file
from scarafm_utils.lockfile import remember
from scarafm_utils.workspace import Workspace, open_workspace

DATASET = "ERP132245"
CHECKSUM, HAIR = "checksum (SHA-256)", "Root hair against Non-hair"


def workspace(name: str, folder: Path) -> Workspace:
    opened = open_workspace(name)
    return Workspace(opened.profile, opened.manifest, folder)


@pytest.fixture
def laptop(tmp_path):
    """A profile that reads downloads, its data folder empty."""
    (tmp_path / "data").mkdir()
    return workspace("laptop", tmp_path)


def rows(html: str) -> list[dict[str, str]]:
    """Every row of every table: column → text."""
    found = []
    for table in BeautifulSoup(html, "html.parser").find_all("table"):
        names = [cell.get_text() for cell in table.thead.find_all("th")]
        for row in table.tbody.find_all("tr"):
            cells = [cell.get_text().strip() for cell in row.find_all(["th", "td"])]
            found.append(dict(zip(names, cells, strict=True)))
    return found


def process(opened: Workspace, *, source: str, sha256: str = "") -> None:
    adata = ad.AnnData(csr_matrix(np.ones((7, 2), dtype=np.float32)))
    adata.uns["provenance"] = {"source": source} | ({"sha256": sha256} if sha256 else {})
    path = opened.processed_path("leaf", DATASET)
    path.parent.mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(path)


def test_all_data_sets_stand_with_the_papers_facts_and_unknown_as_unknown(tmp_path):
    demo = workspace("demo", tmp_path)
    table = {row["data set"]: row for row in rows(facts_html(demo))}
    assert list(table) != [] and set(table) == set(demo.manifest)
    for name, row in table.items():
        d = demo.manifest[name]
        assert row["cells"] == f"{d.n_cells:,}" and row.get("organ", "unknown") == d.tissue_detail
        assert row["citation"] == d.citation.removeprefix("https://")
    assert table["SRP169576"]["stress"] == "Sucrose Response" and table["SRP169576"]["libraries"] == "10"
    assert table["ERP132245"]["libraries by class"] == "control 1, stress 1"
    assert table["GSE226826"]["libraries"] == "unknown" and table["GSE226826"]["material"] == "nuclei"
    assert "Root, pretraining: 11 data sets, 877,551 cells; unknown for all of them: " in facts_html(demo)


def test_a_column_that_is_unknown_throughout_is_said_in_the_caption_only(tmp_path):
    demo = workspace("demo", tmp_path)
    for table in BeautifulSoup(facts_html(demo), "html.parser").find_all("table"):
        caption, names = table.caption.get_text(), [cell.get_text() for cell in table.thead.find_all("th")]
        assert "unknown for all of them: " in caption and not {"lab", "licence"} & set(names)
        for i, name in enumerate(names[1:]):
            column = [row.find_all("td")[i].get_text() for row in table.tbody.find_all("tr")]
            assert set(column) != {"unknown"} and name not in caption.partition(": ")[2].partition(": ")[2]


def test_every_source_has_its_address_size_checksum_and_terms(laptop):
    table = {(row["data set"], row["source"]): row for row in rows(sources_html(laptop))}
    assert len(table) == sum(len(d.sources) for d in laptop.manifest.values())
    row = table[DATASET, "scPlantDB"]
    assert row["address"] == "biobigdata.nju.edu.cn/scplantdb/datasets/ERP132245.h5ad.gz"
    assert row["size"] == "25.9 MB"
    assert CHECKSUM not in row, "one sentence of the page, not a column of unknowns"
    assert row["terms of use"] == "unknown"
    assert table["GSE235495", "GEO"]["terms of use"].startswith("NCBI restricts neither use")
    remember(laptop.data_dir, "ERP132245.h5ad.gz", {"bytes": 25_925_673, "sha256": "ab" * 32})
    row = {(r["data set"], r["source"]): r for r in rows(sources_html(laptop))}[DATASET, "scPlantDB"]
    assert row[CHECKSUM] == "abababababab… recorded on the first fetch"


def test_the_state_of_a_simulated_build(tmp_path):
    demo = workspace("demo", tmp_path)
    dataset = demo.manifest[DATASET]
    assert build_state(demo, dataset) == "not simulated yet"
    process(demo, source="simulated")
    assert build_state(demo, dataset) == "simulated, 7 cells"


def test_the_state_of_a_build_that_reads_files(laptop):
    dataset = laptop.manifest[DATASET]
    assert build_state(laptop, laptop.manifest["GSE273033"]) == "not used by this profile"
    assert build_state(laptop, dataset) == "absent"
    path = laptop.data_dir / "ERP132245.h5ad.gz"
    path.write_bytes(b"x")
    assert build_state(laptop, dataset) == "file present, but damaged"
    process(laptop, source="public", sha256=sha256_file(path))
    assert build_state(laptop, dataset).endswith("nothing to compare it with")
    remember(laptop.data_dir, path.name, {"bytes": 1, "sha256": sha256_file(path)})
    assert build_state(laptop, dataset) == "read and verified, 7 cells"
    remember(laptop.data_dir, path.name, {"bytes": 1, "sha256": "0" * 64})
    assert build_state(laptop, dataset).endswith("not the file recorded")


def test_sources_and_formats_stand_in_words(laptop):
    found = rows(sources_html(laptop))
    places = {"scPlantDB", "GEO", "Single Cell Portal", "authors' release", "own folder"}
    assert {row["source"] for row in found} == places
    assert not {"rds", "raw_tar", "manual", "auto"} & {row["format"] for row in found}


def test_designs_say_what_each_protocol_would_do(tmp_path):
    table = {row["data set"]: row for row in rows(designs_html(workspace("demo", tmp_path)))}
    assert table[DATASET]["random"] == "with care: 2 libraries: a random split measures the library"
    assert table["GSE273033"]["replicate"] == "yes: 2 replicates, held out in turn"
    three = {row["data set"]: row for row in rows(designs_html(workspace("real_root", tmp_path)))}
    pairs = [name.removeprefix("SRP169576, ") for name in three]
    assert pairs == ["S phase against G1/G0 phase", "Lateral root cap against Columella root cap", HAIR]
    assert three[f"SRP169576, {HAIR}"]["random"].startswith("yes")


def test_words_of_a_manifest_are_escaped_and_tables_scroll_in_boxes(tmp_path):
    demo = workspace("demo", tmp_path)
    odd = demo.manifest[DATASET].model_copy(update={"note": "<script>alert(1)</script>"})
    changed = Workspace(demo.profile, {**demo.manifest, DATASET: odd}, tmp_path)
    pages = write_data_tables(changed, tmp_path / "tables")
    assert [p.name for p in pages] == ["facts.html", "sources.html", "designs.html"]
    for page in pages:
        soup = BeautifulSoup(page.read_text(), "html.parser")
        assert not soup.find("script")
        assert all(t.parent["class"] == ["data-box"] and t.parent["tabindex"] == "0" for t in soup.find_all("table"))
    assert "&lt;script&gt;" in pages[0].read_text()
