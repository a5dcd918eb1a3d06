"""A file read in blocks is the file: same cells, same names, same errors, less memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from test_preprocessing import LOCI, local_workspace, tiny_workspace

from scarafm_utils.blocks import join_blocks, without_matrix
from scarafm_utils.errors import InputError
from scarafm_utils.manifest import Dataset, ObsColumns
from scarafm_utils.preprocessing import preprocess_tissue
from scarafm_utils.sources import iter_raw, load_raw

DATASET = Dataset(
    id="D", tissue="leaf", role="pretraining", n_cells=1, obs=ObsColumns(sample="Orig.ident", cell_type="Celltype")
)


def cells(n_cells: int = 40, n_genes: int = 12) -> ad.AnnData:
    """Counts of three libraries, cell by cell in turn; a cell type that appears late."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, size=(n_cells, n_genes)).astype(np.float32)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n_cells)])
    obs["Orig.ident"] = [f"s{i * 3 // n_cells}" for i in range(n_cells)]
    obs["Celltype"] = ["late" if i > 30 else [None, "early"][i % 2] for i in range(n_cells)]
    var = pd.DataFrame(index=[f"AT1G{i:05d}" for i in range(n_genes)])
    return ad.AnnData(X=sp.csr_matrix(counts), obs=obs, var=var)


def in_layer(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X / 2
    return adata


def in_raw(adata):
    adata.raw = adata.copy()
    adata.X = adata.X / 2
    return adata


def dense(adata):
    adata.X = adata.X.toarray()
    return adata


def carried(adata):
    for sample, first in (("s0", 0), ("s1", 2), ("s2", 5)):
        adata.var[f"measured_in_{sample}"] = np.arange(adata.n_vars) >= first
        adata.X[np.flatnonzero(adata.obs["Orig.ident"] == sample)[:, None], np.arange(first)] = 0
    return adata


def joined(folder, **options) -> tuple[ad.AnnData, sp.csr_matrix, int]:
    blocks = list(iter_raw(DATASET, source="local", data_dir=folder, **options))
    matrix = sp.vstack([block.X for block in blocks], format="csr")
    return join_blocks([without_matrix(block) for block in blocks], "D"), matrix, len(blocks)


@pytest.mark.parametrize("change", [lambda adata: adata, dense, in_layer, in_raw, carried])
@pytest.mark.parametrize("max_cells", [None, 17])
def test_blocks_together_are_the_whole_file(tmp_path, change, max_cells):
    change(cells()).write_h5ad(tmp_path / "D.h5ad")
    whole = load_raw(DATASET, source="local", data_dir=tmp_path, max_cells=max_cells)
    tables, matrix, n_blocks = joined(tmp_path, max_values=60, max_cells=max_cells)
    assert n_blocks > 4
    pd.testing.assert_frame_equal(tables.obs, whole.obs)
    assert np.array_equal(matrix.toarray(), whole.X.toarray()) and matrix.dtype == whole.X.dtype
    assert tables.uns["samples"] == whole.uns["samples"] and tables.uns["provenance"] == whole.uns["provenance"]
    assert np.array_equal(tables.varm["measured"], whole.varm["measured"])


def test_files_that_do_not_lie_cell_by_cell_are_one_block(tmp_path):
    adata = cells()
    adata.X = adata.X.tocsc()
    adata.write_h5ad(tmp_path / "D.h5ad")
    assert joined(tmp_path, max_values=60)[2] == 1


def test_a_cell_in_two_blocks_is_refused(tmp_path):
    adata = cells()
    adata.obs["Orig.ident"] = "s0"
    adata.obs_names = [*adata.obs_names[:-1], "c0"]
    adata.write_h5ad(tmp_path / "D.h5ad")
    with pytest.raises(InputError, match=r"D: 1 barcodes stand twice in one sample \(such as D:s0:c0\)"):
        joined(tmp_path, max_values=60)


def test_values_that_are_no_counts_are_found_in_the_last_block_too(tmp_path):
    adata = cells()
    adata.X[39, 1] = 0.5
    adata.write_h5ad(tmp_path / "D.h5ad")
    with pytest.raises(InputError, match="^D: no counts: X has 1 values that are not whole numbers"):
        joined(tmp_path, max_values=60)


def test_cells_with_counts_in_different_places_are_refused(tmp_path):
    adata = cells()
    adata.layers["other"] = adata.X.copy()
    adata.X[39, 1] = 0.5
    adata.write_h5ad(tmp_path / "D.h5ad")
    with pytest.raises(InputError, match="D: some cells have counts in X and some in layers/other"):
        joined(tmp_path, max_values=60)


def test_a_file_that_ends_in_the_middle_is_refused_in_one_line(tmp_path):
    import h5py

    cells().write_h5ad(tmp_path / "D.h5ad")
    with h5py.File(tmp_path / "D.h5ad", "a") as file:
        del file["var"]["_index"]
    with pytest.raises(InputError, match="^D: D.h5ad: cannot be read as .h5ad") as error:
        joined(tmp_path, max_values=60)
    assert "\n" not in str(error.value)


def test_results_do_not_depend_on_the_size_of_a_block(tmp_path):
    names = [f"AT1G{i:05d}" for i in range(40)]
    processed = []
    for name, max_values in (("whole", 10**9), ("blocks", 300)):
        workspace = local_workspace(tmp_path / name, {"A": names, "B": [*names[5:], "AT1G00007.1", "ATCG00010"]})
        report = preprocess_tissue(workspace, "leaf", max_values=max_values)
        processed.append((report, workspace.read_processed("leaf", "B")))
    (report, whole), (report_of_blocks, blocks) = processed
    pd.testing.assert_frame_equal(report, report_of_blocks)
    assert whole.var_names.equals(blocks.var_names) and whole.obs.equals(blocks.obs)
    assert np.array_equal(whole.X.toarray(), blocks.X.toarray()) and whole.n_obs == 30
    assert str(whole.uns) == str(blocks.uns)


def threaded(folder, threads: int, genes: dict):
    workspace = local_workspace(folder, genes)
    return replace(workspace, profile=workspace.profile.model_copy(update={"threads": threads}))


def test_results_do_not_depend_on_the_number_of_threads(tmp_path):
    names = [f"AT1G{i:05d}" for i in range(40)]
    genes = {"A": names, "B": [*names[5:], "AT1G00007.1"], "C": names[::-1], "D": names[:30]}
    written = []
    for threads in (1, 3):
        workspace = threaded(tmp_path / str(threads), threads, genes)
        preprocess_tissue(workspace, "leaf", max_values=300)
        files = sorted(p for p in workspace.folder.rglob("*") if p.is_file())
        written.append({p.relative_to(workspace.folder).as_posix(): p.read_bytes() for p in files})
    assert len(written[0]) == 4 + 4 + 3  # read, processed, tables
    assert written[0] == written[1]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_data_set_that_is_wrong_is_the_error_whoever_reads_it(tmp_path, threads, capfd):
    names = [f"AT1G{i:05d}" for i in range(40)]
    workspace = threaded(tmp_path, threads, dict.fromkeys("ABCD", names))
    for name in "BD":
        content = (tmp_path / "data" / f"{name}.h5ad").read_bytes()
        (tmp_path / "data" / f"{name}.h5ad").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="^B: B.h5ad: cannot be read as .h5ad") as error:
        preprocess_tissue(workspace, "leaf")
    assert "\n" not in str(error.value) and capfd.readouterr().err == ""
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [f"{name}.h5ad" for name in "ABCD"]
    assert not list(tmp_path.rglob(".partial"))


def test_threads_leave_the_filters_of_warnings_as_they_were(tmp_path):
    import warnings

    before = list(warnings.filters)
    preprocess_tissue(threaded(tmp_path, 3, dict.fromkeys("ABCD", ["AT1G00001"] * 2 + LOCI)), "leaf")
    assert warnings.filters == before


def peak_bytes(folder, n_datasets: int, max_values: int) -> int:
    """Largest memory while a tissue is processed, of what Python and numpy allocate."""
    names = [f"AT1G{i:05d}" for i in range(400)]
    workspace = big_workspace(folder, {f"D{k}": names for k in range(n_datasets)})
    tracemalloc.start()
    preprocess_tissue(workspace, "leaf", max_values=max_values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def big_workspace(folder, genes):
    workspace = local_workspace(folder, genes, n_vocabulary=50, n_top_genes=50)
    counts = np.random.default_rng(0).integers(0, 9, size=(1000, 400)).astype(np.float32)
    for name, names in genes.items():
        adata = ad.AnnData(X=sp.csr_matrix(counts), var=pd.DataFrame(index=names))
        adata.write_h5ad(workspace.data_dir / f"{name}.h5ad")
    return workspace


def test_memory_grows_neither_with_data_sets_nor_with_cells_beyond_a_block(tmp_path):
    peak_bytes(tmp_path / "warm", 1, 10**9)
    one, three = (peak_bytes(tmp_path / str(n), n, 10**9) for n in (1, 3))
    assert three < 1.2 * one
    assert peak_bytes(tmp_path / "blocks", 1, 30_000) < 0.6 * one


def test_simulated_cells_are_one_block(tmp_path):
    workspace = tiny_workspace(tmp_path)
    blocks = iter_raw(
        workspace.manifest["ERP132245"], source="simulated", data_dir=tmp_path, n_cells=60, n_genes=60, max_values=1
    )
    assert [block.n_obs for block in blocks] == [60]
