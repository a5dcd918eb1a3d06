"""Gene names: one spelling, one column for each locus, nothing dropped without a reason."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scarafm_utils.errors import InputError
from scarafm_utils.genes import (
    gene_report,
    harmonize_loci,
    keep_nuclear_loci,
    locus_kind,
    sum_duplicate_genes,
)


def make(names, counts=None, **kwargs) -> ad.AnnData:
    counts = np.arange(2 * len(names)).reshape(2, -1) if counts is None else np.asarray(counts)
    var = pd.DataFrame(index=pd.Index(names, dtype=object))
    return ad.AnnData(X=sp.csr_matrix(counts), var=var, obs=pd.DataFrame(index=["a", "b"]), **kwargs)


def clean(adata):
    return keep_nuclear_loci(sum_duplicate_genes(harmonize_loci(adata)))


@pytest.mark.parametrize(
    ("raw", "locus"),
    [
        ("AT1G01010", "AT1G01010"),
        ("at1g01010", "AT1G01010"),
        ("At5g67640.12", "AT5G67640"),
        ("gene:AT2G01020", "AT2G01020"),
        ("gene-at2g01020.1", "AT2G01020"),
        ("AT3G01010-1", "AT3G01010"),
        (" ATCG00010 ", "ATCG00010"),
        ("AthLNC017666", "ATHLNC017666"),
        ("atmg00180.1", "ATMG00180"),
    ],
)
def test_every_spelling_becomes_the_locus(raw, locus):
    assert list(harmonize_loci(make([raw])).var_names) == [locus]


@pytest.mark.parametrize(
    "name", ["AT6G01010", "AT1G0101", "AT1G010100", "XAT1G01010", "AT1G01010B", "ATCS", "ATM1"]
)
def test_what_is_no_locus_is_not_bent_into_one(name):
    kept = harmonize_loci(make([name, "AT1G01010"]))
    assert list(kept.var_names) == [name, "AT1G01010"]
    assert locus_kind(name) == "unknown"


def test_the_three_steps_by_hand():
    names = ["AT1G01010", "at1g01010.1", "gene:AT1G01020", "ATCG00010", "atmg00020", "AthLNC000001", "PIN1"]
    counts = [[1, 2, 4, 8, 16, 32, 64], [0, 5, 0, 1, 0, 0, 0]]
    result = clean(make(names, counts))
    assert list(result.var_names) == ["AT1G01010", "AT1G01020"]
    assert result.X.toarray().tolist() == [[3, 4], [5, 0]]
    assert gene_report(result) == {
        "read": 7,
        "matched": 6,
        "renamed": 4,
        "by_alias": 0,
        "unmatched": 1,
        "merged": 1,
        "kept": 2,
        "dropped_chloroplast": 1,
        "dropped_mitochondrion": 1,
        "dropped_lncRNA": 1,
        "dropped_transposon": 0,
        "dropped_unknown": 1,
    }
    assert result.uns["genes"]["unmatched_examples"] == "PIN1"


def test_symbols_become_loci_through_aliases_in_any_case():
    result = harmonize_loci(make(["plt1", "AT1G01010", "PIN1"]), aliases={"PLT1": "at3g20840.1"})
    assert list(result.var_names) == ["AT3G20840", "AT1G01010", "PIN1"]
    assert gene_report(result)["by_alias"] == 1
    assert list(result.var["source_name"]) == ["plt1", "AT1G01010", "PIN1"]


def test_a_locus_is_never_looked_up_among_aliases():
    result = harmonize_loci(make(["AT1G01010"]), aliases={"AT1G01010": "AT5G01010"})
    assert list(result.var_names) == ["AT1G01010"]


@pytest.mark.parametrize(
    ("aliases", "message"),
    [({"PLT1": "PLT"}, "points to 'PLT'"), ({"A": "AT1G01010", "a": "AT1G01020"}, "AT1G01010 and AT1G01020")],
)
def test_bad_aliases_are_refused(aliases, message):
    with pytest.raises(InputError, match=message):
        harmonize_loci(make(["AT1G01010"]), aliases=aliases)


def test_few_matches_are_refused_with_ten_examples():
    adata = make([f"Os01g{i:07d}" for i in range(12)] + ["AT1G01010"])
    adata.uns["dataset"] = "RICE"
    with pytest.raises(InputError, match=r"RICE: 1 of 13 .*'Os01g0000009'\. Give aliases") as error:
        harmonize_loci(adata)
    assert str(error.value).count("Os01g") == 10


def test_half_of_the_names_is_enough_and_no_feature_is_not():
    harmonize_loci(make(["x", "AT1G01010"]))
    with pytest.raises(InputError, match="0 of 0"):
        harmonize_loci(make([]))


def test_nothing_nuclear_is_refused():
    with pytest.raises(InputError, match="no nuclear locus .*ATCG00010"):
        keep_nuclear_loci(make(["ATCG00010", "AthLNC000001"]))


def test_organelles_go_in_any_letter_case():
    names = ["atcg00010", "ATMG00020", "athlnc000001", "AT1TE00010", "AT4G00010"]
    assert list(keep_nuclear_loci(make(names)).var_names) == ["AT4G00010"]


def test_a_merged_gene_is_measured_where_any_of_its_features_is():
    adata = make(["AT1G01010", "AT1G01010", "AT1G01020"])
    adata.varm["measured"] = np.array([[True, False, False], [False, True, False], [False, False, True]])
    merged = sum_duplicate_genes(adata)
    assert merged.varm["measured"].tolist() == [[True, True, False], [False, False, True]]


def test_layers_are_merged_alike_and_inputs_stay_as_they_are():
    adata = make(["AT1G01010", "AT1G01010"], [[1, 2], [3, 4]])
    adata.layers["spliced"] = sp.csr_matrix([[1, 1], [0, 1]])
    merged = sum_duplicate_genes(adata)
    assert merged.layers["spliced"].toarray().tolist() == [[2], [1]]
    assert adata.shape == (2, 2)
    assert "genes" not in adata.uns


def test_small_integers_do_not_overflow():
    counts = np.array([[200, 100], [255, 255]], dtype=np.uint8)
    assert sum_duplicate_genes(make(["AT1G01010"] * 2, counts)).X.toarray().tolist() == [[300], [510]]


spelling = st.builds(
    lambda chromosome, number, before, after, upper: (
        f"{before}{'AT' if upper else 'at'}{chromosome}{'G' if upper else 'g'}{number:05d}{after}"
    ),
    st.sampled_from("12345CM"),
    st.integers(0, 3),
    st.sampled_from(["", "gene:", "gene-", "Gene:"]),
    st.sampled_from(["", ".1", ".12", "-1"]),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(spelling, min_size=1, max_size=12), seed=st.integers(0, 2**16), dense=st.booleans())
def test_totals_are_preserved_and_the_result_is_unique_canonical_and_idempotent(names, seed, dense):
    counts = np.random.default_rng(seed).poisson(1.0, size=(2, len(names)))
    adata = make(names, counts)
    if dense:
        adata.X = counts
    once = sum_duplicate_genes(harmonize_loci(adata))
    assert np.array_equal(np.asarray(once.X.sum(axis=1)).ravel(), counts.sum(axis=1))
    assert once.var_names.is_unique
    assert all(locus_kind(name) != "unknown" and name == name.upper() for name in once.var_names)
    twice = sum_duplicate_genes(harmonize_loci(once))
    assert list(twice.var_names) == list(once.var_names)
    assert np.array_equal(np.asarray(twice.X.sum(axis=0)), np.asarray(once.X.sum(axis=0)))
    report = gene_report(once)
    assert report["read"] - report["merged"] == once.n_vars
