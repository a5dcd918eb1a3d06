"""The simulated compendium: its structure, its causes one at a time, and its likeness to real cells."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData, read_h5ad
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from scarafm_utils.errors import InputError
from scarafm_utils.manifest import Dataset, Label, ObsColumns, load_manifest
from scarafm_utils.simulate import Effects, simulate_dataset
from scarafm_utils.simulate_fit import (
    compare_counts,
    describe_counts,
    fitted_reference,
    gene_statistics,
    load_fit,
    scale_programmes,
)
from scarafm_utils.simulate_names import locus_names, spell_raw
from scarafm_utils.simulate_samples import allot, plan_samples

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
OBS = {"condition": "Treatment", "genotype": "Line", "replicate": "Repeat", "sample": "Orig.ident"}
RECOMMENDED = Effects()
QUIET = Effects(library=0, lab=0, replicate=0, private=0)
SILENT = replace(QUIET, ambient=0, composition=0, shared=1.2)


def dataset(name: str = "A", **changes) -> Dataset:
    """A leaf study of drought with two conditions and two replicates, unless told otherwise."""
    label = Label(classes={"control": ["Wet"], "stress": ["Dry"]})
    given = {
        "tissue": "leaf", "role": "downstream", "n_cells": 1000, "stress": "Drought Response",
        "n_conditions": 2, "n_genotypes": 1, "n_replicates": 2, "labels": {"stress": label},
        "obs": ObsColumns(**OBS, cell_type="Celltype", total_counts="nCount_RNA"),
    }  # fmt: skip
    return Dataset(id=name, **{**given, **changes})


def clean(adata: AnnData) -> pd.DataFrame:
    """Undo the raw spelling by hand: counts per nuclear locus, columns sorted."""
    names = [re.sub(r"^gene:", "", name).upper() for name in adata.var_names]
    table = pd.DataFrame(adata.X.toarray(), index=adata.obs_names, columns=names)
    table.columns = [re.sub(r"\.\d+$", "", name) for name in names]
    nuclear = [name for name in table.columns if re.fullmatch(r"AT[1-5]G\d{5}", name)]
    return table.loc[:, table.columns.isin(nuclear)].T.groupby(level=0).sum().T


def simulate(name: str = "A", *, n_cells=400, n_genes=100, seed=0, effects=RECOMMENDED, **changes) -> AnnData:
    return simulate_dataset(
        dataset(name, **changes), n_cells=n_cells, n_genes=n_genes, seed=seed, effects=effects
    )


def digest(adata: AnnData) -> str:
    """Hash of everything in an AnnData."""
    X = adata.X.tocsr()
    parts = [X.data, X.indices, X.indptr, adata.obs.to_csv(), list(adata.var_names), str(adata.uns)]
    return hashlib.sha256(
        b"".join(p.tobytes() if hasattr(p, "tobytes") else str(p).encode() for p in parts)
    ).hexdigest()


# ---- structure ---------------------------------------------------------------------------------


def test_counts_are_integers_in_csr_and_obs_speaks_the_files_own_words():
    adata = simulate()
    assert sp.issparse(adata.X) and adata.X.format == "csr" and adata.X.dtype.kind == "i"
    assert adata.X.min() >= 0 and adata.n_obs == 400 and adata.obs_names.is_unique
    assert list(adata.obs) == [*OBS.values(), "Celltype", "nCount_RNA"]
    assert set(adata.obs["Treatment"]) == {"Wet", "Dry"} and set(adata.obs["Line"]) == {"Col-0"}
    assert (adata.obs["nCount_RNA"] == np.asarray(adata.X.sum(axis=1)).ravel()).all()


def test_a_sample_is_one_condition_of_one_replicate():
    crossed = pd.crosstab(simulate().obs["Orig.ident"], [simulate().obs[c] for c in ("Treatment", "Repeat")])
    assert crossed.shape == (4, 4) and ((crossed > 0).sum() == 1).all() and ((crossed.T > 0).sum() == 1).all()


def test_genotypes_are_crossed_with_conditions():
    adata = simulate(n_genotypes=3, n_replicates=1, genotypes=["Col-0", "VND7", "MYB46"], libraries=6)
    crossed = adata.obs.groupby(["Treatment", "Line"])["Orig.ident"].nunique()
    assert len(crossed) == 6 and (crossed == 1).all()


@pytest.mark.parametrize(
    ("changes", "per_word"),
    [
        ({"n_replicates": 1, "libraries": 10}, {"Wet": 5, "Dry": 5}),
        ({"n_replicates": 1, "libraries": 3}, {"Wet": 2, "Dry": 1}),
        ({"n_replicates": 1, "libraries_per_class": {"control": 1, "stress": 2}}, {"Wet": 1, "Dry": 2}),
        ({"n_replicates": 1, "libraries": 2}, {"Wet": 1, "Dry": 1}),
        ({"n_replicates": 2, "libraries": None}, {"Wet": 2, "Dry": 2}),
    ],
)  # fmt: skip
def test_libraries_follow_the_manifest(changes, per_word):
    samples = plan_samples(dataset(**changes))
    assert pd.Series([s.condition for s in samples]).value_counts().to_dict() == per_word
    assert len({s.name for s in samples}) == len(samples)


def test_pretraining_sets_have_one_condition_and_a_few_samples():
    adata = simulate(role="pretraining", stress=None, labels={}, n_replicates=None, n_conditions=None)
    assert set(adata.obs["Treatment"]) == {"Normal"} and adata.obs["Orig.ident"].nunique() == 3


def test_three_classes_get_rising_doses():
    label = Label(classes={"control": ["Normal"], "induction_08h": ["08 h"], "induction_20h": ["20 h"]})
    samples = plan_samples(dataset(labels={"stress": label}, n_replicates=1))
    assert [s.dose for s in samples] == [0, 0.5, 1]


def test_cell_type_labels_bring_their_words():
    label = Label(column="cell_type", classes={"g1": ["G1/G0 phase"], "s": ["S phase"]})
    adata = simulate(tissue="root", labels={"s_phase": label})
    assert {"G1/G0 phase", "S phase", "Root hair"} <= set(adata.obs["Celltype"])


def test_every_data_set_of_the_manifest_can_be_simulated():
    for entry in load_manifest(ROOT / "data_manifest.yaml").values():
        obs = simulate_dataset(entry, n_cells=60, n_genes=40, seed=3).obs
        named = {
            word for label in entry.labels.values() for words in label.classes.values() for word in words
        }
        assert not named or set(obs[entry.obs.condition]) == named, entry.id
        samples = entry.obs.sample and obs[entry.obs.sample].nunique()
        assert entry.role == "pretraining" or samples >= max(
            entry.libraries or 2, 2 * (entry.n_replicates or 1)
        )


def test_truth_survives_a_file(tmp_path):
    adata = simulate(effects=Effects(library=0.5))
    adata.write_h5ad(tmp_path / "a.h5ad")
    truth = read_h5ad(tmp_path / "a.h5ad").uns["simulation"]
    assert truth["effects"]["library"] == 0.5 and truth["seed"] == 0
    assert list(truth["shared_genes"]) == list(adata.uns["simulation"]["shared_genes"])


@given(st.integers(1, 12), st.integers(0, 300), st.integers(0, 99))
def test_every_sample_gets_a_cell_and_no_cell_is_lost(n_samples, more, seed):
    sizes = allot(n_samples + more, n_samples, np.random.default_rng(seed))
    assert sizes.sum() == n_samples + more and sizes.min() >= 1


# ---- randomness --------------------------------------------------------------------------------


def test_same_bytes_in_another_process():
    code = (
        "import sys; sys.path[:0] = ['tests', '.']; import test_simulate as t; "
        "print(t.digest(t.simulate(n_cells=60)))"
    )
    found = {digest(simulate(n_cells=60))}
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(run.stdout.strip())
    assert len(found) == 1


def test_another_seed_or_data_set_gives_other_counts():
    assert len({digest(simulate(n_cells=60, **k)) for k in ({}, {"seed": 1}, {"name": "B"})}) == 3


def test_studies_share_what_they_should_and_nothing_else():
    a, b, cold = simulate("A"), simulate("B"), simulate("C", stress="Cold")
    shared = [list(x.uns["simulation"]["shared_genes"]) for x in (a, b, cold)]
    private = [list(x.uns["simulation"]["private_genes"]["stress"]) for x in (a, b)]
    modules = [list(x.uns["simulation"]["module_genes"]["soup"]) for x in (a, b, cold)]
    assert shared[0] == shared[1] != shared[2] and private[0] != private[1]
    assert modules[0] == modules[1] == modules[2] and not set(modules[0]) & {*shared[0], *private[0]}
    assert list(clean(a)) == list(clean(b)) == list(clean(cold)) and clean(a).shape[1] == 100
    assert len(shared[0]) == len(private[0]) == 15


# ---- names -------------------------------------------------------------------------------------


def test_raw_names_hold_every_kind_of_junk():
    names = pd.Series(simulate(n_genes=400).var_names)
    assert names.is_unique and 0.05 <= len(names) / 400 - 1 <= 0.10
    for kind in (r"^AT[1-5]G\d{5}\.1$", r"^at[1-5]g\d{5}$", "^gene:AT", "^ATCG", "^ATMG", r"^AthLNC\d{6}$"):
        assert names.str.contains(kind).any(), kind
    assert (~names.str.contains(r"(?i)^(?:gene:)?at")).any(), "no symbol"


@settings(max_examples=30, deadline=None)
@given(st.integers(30, 200), st.integers(0, 1000))
def test_undoing_the_spelling_gives_the_counts_back(n_genes, seed):
    rng = np.random.default_rng(seed)
    loci, counts = locus_names(n_genes, rng=rng), rng.poisson(3, size=(5, n_genes)).astype(np.int32)
    raw, names = spell_raw(counts, loci, rng=rng)
    table = clean(AnnData(sp.csr_matrix(raw), var=pd.DataFrame(index=names)))
    assert list(table) == list(loci) and (table.to_numpy() == counts).all() and (raw >= 0).all()


# ---- each cause, with a known answer -----------------------------------------------------------


def test_scale_of_a_programme_by_hand():
    """Two equal types at exp(+s) and exp(-s) vary by tanh(s)^2."""
    found = scale_programmes(np.array([[1.0, 1.0], [-1.0, -1.0]]), np.array([2, 2]), np.tanh([0.3, 1.2]) ** 2)
    np.testing.assert_allclose(found, [0.3, 1.2], atol=1e-6)


def test_noise_alone_is_negative_binomial():
    one = replace(SILENT, shared=0, cell_type=0, counts=5000, count_spread=0)
    genes = gene_statistics(AnnData(sp.csr_matrix(clean(simulate(n_cells=1500, effects=one)).to_numpy())))
    dispersion = genes["dispersion"][genes["mean"] > 5]
    assert dispersion.median() == pytest.approx(0.5, abs=0.05)


def test_median_counts_and_their_spread_are_as_asked():
    total = clean(simulate(n_cells=2000, n_genes=300)).sum(axis=1)
    assert np.median(total) == pytest.approx(1000, rel=0.1)
    assert np.log(total).std() == pytest.approx(load_fit()["library_sizes"]["log_ratio_sd"], abs=0.08)
    between = simulate(n_cells=2000, effects=Effects(depth=1.0, count_spread=0.1)).obs
    between = between.groupby("Orig.ident")["nCount_RNA"].median()
    assert between.max() - between.min() > 500


def test_module_genes_move_by_the_librarys_score():
    effects = replace(SILENT, shared=0, library=0.02, module=30, counts=20_000)
    adata = simulate(n_cells=1200, effects=effects)
    truth, counts = adata.uns["simulation"], clean(adata).groupby(adata.obs["Orig.ident"].to_numpy()).sum()
    rest = counts.drop(columns=np.concatenate(list(truth["module_genes"].values()))).sum(axis=1)
    for module, genes in truth["module_genes"].items():
        level, score = np.log(counts[genes].sum(axis=1) / rest), pd.Series(truth["module_scores"][module])
        np.testing.assert_allclose(level - level.mean(), score - score.mean(), atol=0.25)


def test_only_stress_genes_change_in_a_quiet_world():
    effects = replace(SILENT, counts=20_000, cell_type=0, responding=1)
    adata = simulate(n_cells=1500, effects=effects)
    mean = np.log(clean(adata).groupby(adata.obs["Treatment"].to_numpy()).mean())
    change = (mean.loc["Dry"] - mean.loc["Wet"]).abs()
    stress = change.index.isin(adata.uns["simulation"]["shared_genes"])
    common = change[~stress].median()  # a larger total of stress genes lowers all others alike
    assert change[stress].median() > 2 * common + 0.1


def test_response_by_cell_type_is_bounded():
    truth = simulate(effects=Effects(responding=0.5)).uns["simulation"]
    assert ((truth["responding"] >= 0.15) & (truth["responding"] <= 0.5)).all()
    assert np.ptp(truth["responding"]) > 0.05


# ---- the order of difficulty -------------------------------------------------------------------


def three_scores(seed: int, effects: Effects, *, n_cells=800, n_genes=400, n_test=200) -> tuple[float, ...]:
    """AUROC under the three protocols: LR on log1p CP10K, one test set, equal numbers of training cells."""
    studies = [simulate(name, n_cells=n_cells, n_genes=n_genes, seed=seed, effects=effects) for name in "AB"]
    X, other = (np.log1p(t.div(t.sum(axis=1), axis=0) * 1e4).to_numpy() for t in map(clean, studies))
    y, y_other = ((s.obs["Treatment"] == "Dry").to_numpy() for s in studies)
    first = (studies[0].obs["Repeat"] == "rep1").to_numpy()
    rng = np.random.default_rng(seed)

    def pick(labels, cells, n):
        return np.concatenate([rng.permutation(cells[labels[cells] == c])[: n // 2] for c in (False, True)])

    test = pick(y, np.flatnonzero(first), n_test)
    pools = [
        (X, y, np.setdiff1d(np.arange(len(y)), test)),
        (X, y, np.flatnonzero(~first)),
        (other, y_other, np.arange(len(other))),
    ]
    n_train = min(int(0.4 * n_cells), *(2 * np.bincount(labels[cells]).min() for _, labels, cells in pools))
    scores = []
    for features, labels, cells in pools:
        train = pick(labels, cells, n_train)
        head = LogisticRegression(max_iter=10_000).fit(features[train], labels[train])
        scores.append(roc_auc_score(y[test], head.decision_function(X[test])))
    return tuple(scores)


def mean_scores(effects: Effects, *, n_seeds: int = 10, **sizes) -> np.ndarray:
    return np.mean([three_scores(seed, effects, **sizes) for seed in range(n_seeds)], axis=0)


def test_recommended_world_has_the_order_and_the_null_world_has_none():
    random, replicate, cross = mean_scores(Effects())
    assert random - replicate > 0.10 and replicate - cross > 0.03 and cross > 0.5
    random, replicate, cross = mean_scores(QUIET)
    assert abs(random - replicate) < 0.05 and abs(replicate - cross) < 0.05 and cross > 0.6


def test_dense_library_effects_alone_make_a_random_split_easy():
    random, replicate, _ = mean_scores(replace(SILENT, library=0.25, module=0), n_seeds=5)
    assert random - replicate > 0.10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("effects", "random_gap", "cross_gap"),
    [
        (SILENT, 0, 0),
        (replace(SILENT, library=0.25), 1, 0),
        (replace(SILENT, shared=0.8, private=1.5), 0, 1),
        (replace(SILENT, lab=0.8), 0, 0),
        (replace(SILENT, replicate=0.5), 0, 0),
        (replace(SILENT, ambient=0.3), 0, 0),
        (replace(Effects(), shared=0, private=0), 1, 0),
    ],
    ids=["none", "library", "private", "lab", "replicate", "ambient", "no stress"],
)
def test_each_step_of_the_order_has_one_cause(effects, random_gap, cross_gap):
    random, replicate, cross = mean_scores(effects, n_seeds=40)
    assert (random - replicate > 0.10) if random_gap else abs(random - replicate) < 0.05
    assert (replicate - cross > 0.10) if cross_gap else abs(replicate - cross) < 0.05


@pytest.mark.slow
def test_the_order_holds_at_the_size_of_the_demo():
    random, replicate, cross = mean_scores(Effects(), n_seeds=40, n_cells=500, n_genes=250, n_test=120)
    assert random - replicate > 0.10 and replicate - cross > 0.03


# ---- likeness to real cells --------------------------------------------------------------------


@pytest.fixture(scope="module")
def like_the_nuclei() -> AnnData:
    """As many cells, genes and counts as the real nuclei, and nothing adjusted otherwise."""
    fit = load_fit()
    effects = Effects(
        counts=fit["nuclei"]["median"],
        count_spread=fit["nuclei"]["log_sd"] / fit["library_sizes"]["log_ratio_sd"],
    )
    one = dataset(tissue="root", role="pretraining", labels={}, stress=None, n_replicates=None)
    adata = simulate_dataset(
        one, n_cells=fit["genes"]["n_cells"], n_genes=fit["genes"]["n_genes"], seed=0, effects=effects
    )
    return adata[:, adata.var_names.str.fullmatch(r"AT[1-5]G\d{5}")].copy()


# Largest difference from the real nuclei, as shares of genes or of cells.
LIKENESS = {"zero_share": 0.02, "genes_per_cell": 0.03, "zero_share_at_mean": 0.10}


def test_simulated_counts_look_like_the_nuclei_they_were_fitted_to(like_the_nuclei):
    table = compare_counts(fitted_reference(), like_the_nuclei).set_index("property")
    for prop, tolerance in LIKENESS.items():
        assert table.loc[prop, "difference"].abs().max() < tolerance, table.loc[prop]
    sizes = table.loc["library_size"]
    assert (sizes["difference"].abs() / sizes["real"]).max() < 0.15
    phi = table.loc["dispersion_at_mean"].set_index("group")
    assert (
        phi.loc["0.1 to 0.2":"1 to 3", "difference"].abs() / phi.loc["0.1 to 0.2":"1 to 3", "real"]
    ).max() < 0.3


def test_description_of_counts_by_hand():
    described = describe_counts(AnnData(np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0], [2.0, 0.0]])))
    assert described["library_size", "50%"] == 1 and described["genes_per_cell", "50%"] == 0.5
    assert described["zero_share", "50%"] == pytest.approx((0.25 + 0.5) / 2)
    assert described["zero_share_at_mean", "1 to 3"] == 0.25
    # Gene 1: mean 1.25, m = 1.25 in each cell, sum (x - m)^2 = 2.75: (2.75 - 5) / 6.25
    assert described["dispersion_at_mean", "1 to 3"] == pytest.approx(-0.36)


def test_committed_numbers_are_those_of_the_script(tmp_path):
    if not (DATA / "root_nuclei_10x.h5").exists():
        pytest.skip("needs the real cells in shared/data")
    script = runpy.run_path(str(ROOT / "scripts" / "fit_simulation.py"))
    committed = {key: value for key, value in load_fit().items() if key != "made"}
    assert json.loads(json.dumps(script["fit"](DATA))) == committed


# ---- refusals ----------------------------------------------------------------------------------


def test_refusals():
    with pytest.raises(InputError, match="A: 3 simulated cells for 4 samples"):
        simulate(n_cells=3)
    with pytest.raises(InputError, match="10 simulated genes: ask for 30 to"):
        simulate(n_genes=10)
    with pytest.raises(InputError, match=r"Effects: library = -0.1: it must be 0 or more"):
        Effects(library=-0.1)
    with pytest.raises(InputError, match=r"Effects: responding = 2: it must be from 0 to 1"):
        Effects(responding=2)
