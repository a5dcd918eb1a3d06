"""The profile `laptop` from start to end: downloads, real cells, an encoder, scores and pages.

A server on loopback stands in for scPlantDB.  Its files have scPlantDB's form and hold real root cells under
the names of the profile's data sets; which cells are called stressed goes by their type, so that a chain that
mixes up cells, labels or genes is noticed.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import loopback
import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_project import PROJECT, copy_project, scarafm

DATA = PROJECT.parent / "shared" / "data"
NEEDED = ("SRP169576.h5ad", "SRP182008.h5ad")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all((DATA / name).exists() for name in NEEDED), reason=f"needs the real files {', '.join(NEEDED)}"
    ),
]

#: Types of root cells that stand in for the classes of a label, control first.
TYPES = (
    ["Root stele", "Root endodermis", "Root cortex"],
    ["Root hair", "Non-hair", "Lateral root cap"],
    ["S phase", "G1/G0 phase", "Root cap", "Columella root cap"],
)
SMALLER = {
    "preprocessing": {"n_top_genes": 150, "n_vocabulary": 100},
    "model": {"dim": 8, "depth": 1, "heads": 2, "dim_head": 4},
    "pretraining": {"epochs": 1},
    "evaluation": {"n_train": [40, "all"], "n_boot": 50, "max_test": 40},
}


def smaller_profile(text: str) -> dict:
    """The profile with its source, tasks, representations and heads, and sizes for a minute."""
    values = yaml.safe_load(text)
    values["data"]["max_cells"] = {"downstream": 120, "pretraining": 150}
    values["workshop"] = False
    for key, sizes in SMALLER.items():
        values[key] |= sizes
    values["evaluation"]["settings"] |= {"xgb_trees": 3, "mlp_epochs": 3, "cnn_epochs": 1, "ens_members": 2}
    values["evaluation"]["extra"] |= {"seeds": [1], "representations": ["raw"], "repeats": 2}
    return values


def downstream_file(entry: dict, cells, rng) -> bytes:
    """Cells of one real library as a data set of the manifest's design: its libraries, words and columns."""
    classes = list(entry["labels"]["stress"]["classes"].values())
    number = entry["libraries"]
    chosen, obs = [], []
    for library in range(number):
        kind = library % len(classes)
        own = np.flatnonzero(cells.obs["Celltype"].isin(TYPES[kind]))
        own = rng.choice(own, size=150 // number, replace=False)
        chosen.append(own)
        words = {"Condition": classes[kind][0], "Genotype": entry["genotypes"][0], "Orig.ident": f"library{library}"}
        obs.append(cells.obs.iloc[own][["Celltype", "nCount_RNA"]].assign(**words))
    return packed(cells[np.concatenate(chosen)], pd.concat(obs))


def pretraining_file(cells, rng) -> bytes:
    own = rng.choice(cells.n_obs, size=150, replace=False)
    obs = cells.obs.iloc[own][[]].assign(
        Condition="Normal", Genotype="Col-0", Celltype="Unknow", **{"Orig.ident": "library"}
    )
    return packed(cells[own], obs)


def packed(cells, obs) -> bytes:
    """One file as scPlantDB has them: counts and Seurat's columns in a packed h5ad, barcodes after the library."""
    import anndata as ad

    numbers = map(str, range(len(obs)))
    obs.index = [f"{library}@@_{number}" for library, number in zip(obs["Orig.ident"], numbers)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        ad.AnnData(cells.X, obs=obs, var=pd.DataFrame(index=cells.var_names)).write_h5ad(path)
        return gzip.compress(path.read_bytes(), compresslevel=1)


@pytest.fixture
def scplantdb():
    server = loopback.Server()
    yield server
    server.close()


def serve_real_cells(server, folder) -> list[str]:
    """Fill the server, and let the copy's manifest name it; returns the data sets of the profile."""
    import anndata as ad

    path = folder / "data_manifest.yaml"
    manifest = yaml.safe_load(path.read_text())
    tissues = yaml.safe_load((folder / "profiles" / "laptop.yaml").read_text())["tissues"].values()
    wanted = sorted({name for grid in tissues for name in datasets_of(grid)})
    stressed, healthy = (ad.read_h5ad(DATA / name) for name in NEEDED)
    libraries = iter(sorted(stressed.obs["Orig.ident"].unique()))
    rng = np.random.default_rng(0)
    for name in wanted:
        entry = manifest["datasets"][name]
        if entry["role"] == "downstream":
            library = next(libraries)
            cells = stressed[stressed.obs["Orig.ident"] == library, stressed.var[f"measured_in_{library}"]]
            content = downstream_file(entry, cells, rng)
        else:
            content = pretraining_file(healthy, rng)
        server.files[f"/{name}.h5ad.gz"] = content
        entry["sources"]["scplantdb"] |= {"url": server.url(f"/{name}.h5ad.gz"), "bytes": len(content)}
    path.write_text(yaml.safe_dump(manifest, sort_keys=False))
    return wanted


def datasets_of(grid: dict) -> list[str]:
    """The data sets that a tissue of a profile names."""
    return [*(task.split(":")[1] for task in grid["tasks"]), *grid["pretraining"]]


def test_downloads_become_scores_and_pages_and_are_not_fetched_twice(scplantdb, tmp_path):
    folder = copy_project(tmp_path)
    profile = folder / "profiles" / "laptop.yaml"
    wanted = serve_real_cells(scplantdb, folder)
    profile.write_text(yaml.safe_dump(smaller_profile(profile.read_text())))
    for _ in range(2):
        process = scarafm(folder, "build", "--profile", "laptop", "--cores", "2", NO_PROXY="127.0.0.1")
        output = process.communicate()[0]
        assert process.returncode == 0, output
    assert sorted(path for kind, path, _ in scplantdb.log if kind == "GET") == [f"/{name}.h5ad.gz" for name in wanted]
    check_results(folder, yaml.safe_load(profile.read_text()))
    check_pages(folder, yaml.safe_load(profile.read_text()))


def check_results(folder, profile) -> None:
    """Every task has scores from raw values and from an encoder of real cells; the labels are not mixed up."""
    results = pd.read_csv(folder / "artifacts" / "laptop" / "tables" / "results.csv")
    assert set(results["task"]) == {task for grid in profile["tissues"].values() for task in grid["tasks"]}
    own = results[(results["n_train"] == "all") & (results["seed"] == 0) & (results["fidelity"] == "paper")]
    for representation in profile["evaluation"]["representations"]:
        rows = own[own["representation"] == representation]
        assert set(rows.dropna(subset="auroc")["task"]) == set(results["task"]), representation
    raw = own[(own["representation"] == "raw") & (own["head"] == "LR") & (own["protocol"] == "random")]
    assert raw["auroc"].mean() > 0.75 and raw["auroc"].min() > 0.5, "types of real cells can be told apart"


def check_pages(folder, profile) -> None:
    """Each task has a page with the profile's notice, and no page says that cells are simulated."""
    html = folder / "_build" / "html" / "book" / "executed"
    pages = {p.stem: p.read_text(encoding="utf-8") for p in html.glob("*_results/runs/*.html")}
    assert set(pages) == {task.replace(":", "-") for grid in profile["tissues"].values() for task in grid["tasks"]}
    assert all("Real cells, capped" in page and "Simulated cells: not" not in page for page in pages.values())
    assert {p.parent.name for p in html.glob("*/index.html")} >= {"preprocessing", "pretraining", "claims", "explorer"}
