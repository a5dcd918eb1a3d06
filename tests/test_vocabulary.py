"""Variable genes and the vocabulary: scanpy's numbers, the rule for ties, and absent is not zero."""

from __future__ import annotations

import os
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

from scarafm_utils.errors import InputError
from scarafm_utils.preprocessing import normalize
from scarafm_utils.vocabulary import consensus_hvgs, hvg_overlap, hvg_table, rank_genes, to_vocabulary


def counts(n_cells=120, n_genes=150, *, seed=0, sample="S1") -> ad.AnnData:
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(-0.5, 1.2, size=n_genes)
    matrix = rng.poisson(mean * rng.gamma(0.7, 1 / 0.7, size=(n_cells, n_genes)))
    matrix[:, :3] = 0  # genes that nothing expresses
    genes = pd.DataFrame(index=[f"AT1G{i:05d}" for i in range(n_genes)])
    obs = pd.DataFrame({"sample": sample}, index=[f"{sample}:{i}" for i in range(n_cells)])
    return ad.AnnData(X=sp.csr_matrix(matrix), obs=obs, var=genes)


def table(values: dict[str, tuple[bool, float]]) -> pd.DataFrame:
    rows = {gene: {"highly_variable": hv, "dispersions_norm": d} for gene, (hv, d) in values.items()}
    return pd.DataFrame.from_dict(rows, orient="index").astype({"highly_variable": bool})


def test_hvgs_are_scanpys_of_the_seurat_flavour():
    adata = normalize(counts())
    ours = hvg_table(adata, n_top_genes=40)
    expressed = adata[:, np.asarray(adata.X.sum(axis=0)).ravel() > 0].copy()
    theirs = sc.pp.highly_variable_genes(expressed, flavor="seurat", n_top_genes=40, inplace=False)
    theirs.index = expressed.var_names
    same = ours.loc[theirs.index]
    pd.testing.assert_frame_equal(same, theirs[list(ours.columns)], check_dtype=False)
    assert ours["highly_variable"].sum() == 40
    assert ours.loc["AT1G00000"].tolist() == [0, 0, 0, False]


def test_consensus_is_scanpys_batch_ranking_where_every_gene_is_measured_everywhere():
    batches = [normalize(counts(seed=seed, sample=f"S{seed}")) for seed in range(3)]
    joined = ad.concat(batches, label="batch", keys=["0", "1", "2"])
    joined.uns["log1p"] = {}
    theirs = sc.pp.highly_variable_genes(
        joined, flavor="seurat", n_top_genes=60, batch_key="batch", inplace=False
    )
    theirs.index = joined.var_names
    ranked = rank_genes([hvg_table(b, n_top_genes=60) for b in batches]).set_index("gene")
    theirs = theirs.loc[ranked.index]
    assert ranked["n_datasets"].tolist() == theirs["highly_variable_nbatches"].tolist()
    np.testing.assert_allclose(ranked["mean_dispersion"], theirs["dispersions_norm"], rtol=1e-10)
    ours = consensus_hvgs([hvg_table(b, n_top_genes=60) for b in batches], n_top_genes=60)
    assert set(ours) == set(theirs.index[theirs["highly_variable"]])


def test_ties_go_by_mean_dispersion_over_the_data_sets_that_measure_a_gene_then_by_name():
    a = table(
        {"G1": (True, 1.0), "G2": (True, 3.0), "G3": (False, 9.0), "G4": (True, 2.0), "G5": (True, 2.0)}
    )
    b = table({"G1": (True, 1.0), "G3": (False, 1.0), "G5": (False, 2.0), "G6": (True, np.nan)})
    ranked = rank_genes([a, b])
    assert ranked["gene"].tolist() == ["G1", "G2", "G4", "G5", "G6", "G3"]
    assert ranked["n_datasets"].tolist() == [2, 1, 1, 1, 1, 0]
    assert ranked["mean_dispersion"].tolist()[:4] == [1, 3, 2, 2]
    assert consensus_hvgs([a, b], n_top_genes=2).tolist() == ["G1", "G2"]
    assert consensus_hvgs([b, a], n_top_genes=6).tolist() == ranked["gene"].tolist()


def test_a_gene_that_a_sample_does_not_carry_stays_out_of_the_dispersions():
    adata = normalize(counts())
    adata.obs["sample"] = ["A"] * 60 + ["B"] * 60
    adata.uns["samples"] = ["A", "B"]
    measured = np.ones((adata.n_vars, 2), dtype=bool)
    measured[10:60, 1] = False
    adata.varm["measured"] = measured
    result = hvg_table(adata, n_top_genes=30)
    assert list(result.index) == list(adata.var_names[[*range(10), *range(60, 150)]])
    alone = adata[:, result.index].copy()
    pd.testing.assert_frame_equal(result, hvg_table(alone, n_top_genes=30))


def test_fewer_genes_than_asked_for_are_all_taken():
    result = hvg_table(normalize(counts(n_genes=20)), n_top_genes=2000)
    assert result["highly_variable"].sum() >= 16


def test_counts_and_empty_tables_are_refused():
    with pytest.raises(InputError, match="these are counts"):
        hvg_table(counts())
    with pytest.raises(InputError, match="no table"):
        consensus_hvgs([])
    silent = normalize(counts())
    silent.X = sp.csr_matrix(silent.shape, dtype=np.float32)
    with pytest.raises(InputError, match="no gene .* has a count"):
        hvg_table(silent)


def test_vocabulary_by_hand():
    adata = ad.AnnData(
        X=np.array([[1.0, 2.0, 3.0], [0.0, 5.0, 0.0]], dtype=np.float32),
        obs=pd.DataFrame({"sample": ["s", "t"]}, index=["a", "b"]),
        var=pd.DataFrame(index=["G1", "G2", "G3"]),
        uns={"samples": ["s", "t"]},
    )
    adata.varm["measured"] = np.array([[True, False], [True, True], [True, True]])
    result = to_vocabulary(adata, ["G3", "G9", "G1"])
    assert list(result.var_names) == ["G3", "G9", "G1"]
    assert sp.issparse(result.X) and result.X.dtype == np.float32
    assert result.X.toarray().tolist() == [[3, 0, 1], [0, 0, 0]]
    assert result.varm["measured"].tolist() == [[True, True], [False, False], [True, False]]
    assert result.uns["samples"] == ["s", "t"]
    assert result.obs.equals(adata.obs)


def test_vocabulary_without_measured_takes_present_genes_as_measured():
    result = to_vocabulary(normalize(counts(n_genes=5)), ["AT1G00004", "AT1G99999"])
    assert result.varm["measured"].tolist() == [[True], [False]]


def test_vocabulary_refusals():
    adata = normalize(counts(n_genes=5))
    with pytest.raises(InputError, match="'AT1G00001' stands twice"):
        to_vocabulary(adata, ["AT1G00001", "AT1G00001"])
    with pytest.raises(InputError, match="none of the 1 genes"):
        to_vocabulary(adata, ["AT5G00001"])


def test_overlap_by_hand():
    a = table({"G1": (True, 1), "G2": (True, 1), "G3": (False, 1)})
    b = table({"G2": (True, 1), "G3": (True, 1), "G4": (True, 1)})
    rows = hvg_overlap({"A": a, "B": b}).set_index(["dataset", "other"])
    assert rows.loc[("A", "B")].tolist() == [2, 3, 1, 0.25]
    assert rows.loc[("B", "A"), "jaccard"] == 0.25
    assert rows.loc[("A", "A"), "jaccard"] == 1


def test_looking_for_variable_genes_leaves_the_threads_of_torch_alone():
    """numba, started by scanpy, sets the threads of OpenMP; two jobs with two threads each crawl on two cores."""
    code = """
import anndata as ad, numpy as np, scipy.sparse as sp, torch
from scarafm_utils.preprocessing import normalize
from scarafm_utils.vocabulary import hvg_table
torch.set_num_threads(1)
counts = ad.AnnData(X=sp.csr_matrix(np.random.default_rng(0).poisson(1.0, (50, 40)).astype(np.float32)))
counts.var_names = [f"AT1G{i:05d}" for i in range(40)]
assert torch.get_num_threads() == 1  # torch has started its threads
hvg_table(normalize(counts), n_top_genes=10)
print(torch.get_num_threads())
"""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "1"
