"""Representations: known answers by hand, scikit-learn's PCA, and nothing learnt from test cells."""

from __future__ import annotations

import weakref

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA

from scarafm_utils import embeddings
from scarafm_utils.errors import InputError
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.representations import (
    EmbeddingPCA,
    TaskFeatures,
    cls_token,
    control_models,
    iter_dimensions,
    iter_hidden,
    weighted_mean,
)
from scarafm_utils.tokens import bin_expression, tokenize

N_CELLS, N_GENES, DIM = 30, 12, 6
MISSING = [2, 7]  # genes that sample "b" does not carry


def make_model(seed: int = 0) -> ScAraFM:
    config = ModelConfig(dim=DIM, depth=2, heads=2, dim_head=4, seed=seed)
    return ScAraFM(config, [f"g{i}" for i in range(N_GENES)])


def make_cells(*, seed: int = 0, missing: bool = True) -> ad.AnnData:
    """Thirty cells of samples "a" and "b"; two genes are not measured in "b"."""
    rng = np.random.default_rng(seed)
    X = rng.choice([0, 0.5, 1.2, 2.4, 3.3, 5.7], size=(N_CELLS, N_GENES)).astype(np.float32)
    sample = np.repeat(["a", "b"], N_CELLS // 2)
    measured = np.ones((N_GENES, 2), dtype=bool)
    if missing:
        measured[MISSING, 1] = False
        X[np.ix_(sample == "b", MISSING)] = 0
    obs = pd.DataFrame(
        {
            "sample": sample,
            "total_counts": rng.integers(500, 5000, N_CELLS).astype(float),
            "n_genes": (X > 0).sum(1),
            "cell_type": rng.choice(["mesophyll", "guard", "xylem"], N_CELLS),
        },
        index=[f"set:{s}:{i}" for i, s in enumerate(sample)],
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(X), obs=obs, var=var, varm={"measured": measured}, uns={"samples": ["a", "b"]})


def hidden_of(model: ScAraFM, cells: ad.AnnData) -> np.ndarray:
    with torch.no_grad():
        return model.eval().encode(torch.from_numpy(tokenize(cells, n_bins=6))).numpy()


# -- CLS and WM -----------------------------------------------------------------------------------


def test_weighted_mean_of_two_cells_and_three_genes_by_hand():
    h = torch.tensor(
        [
            [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [9.0, 9.0]],
            [[1.0, 1.0], [3.0, 5.0], [7.0, 7.0], [9.0, 9.0]],
        ]
    )
    x = torch.tensor([[1.0, 1.0, 2.0], [0.0, 4.0, 0.0]])
    expected = torch.tensor([[1.25, 1.25], [3.0, 5.0]])  # (1·h1 + 1·h2 + 2·h3) / 4, and gene 2 alone
    assert torch.equal(weighted_mean(h, x), expected)


def test_weighted_mean_is_zero_for_a_cell_without_expression():
    assert torch.equal(weighted_mean(torch.ones(1, 4, 2), torch.zeros(1, 3)), torch.zeros(1, 2))


def test_an_unmeasured_gene_contributes_nothing_to_the_weighted_mean():
    h = torch.tensor([[[1.0], [100.0], [3.0], [9.0]]])
    assert weighted_mean(h, np.array([[1.0, np.nan, 1.0]])).item() == 2.0
    assert weighted_mean(h, sparse.csr_matrix([[1.0, 0.0, 1.0]])).item() == 2.0


def test_the_extra_token_is_the_last_position():
    h = torch.arange(24.0).view(2, 4, 3)
    assert torch.equal(cls_token(h), torch.tensor([[9.0, 10, 11], [21, 22, 23]]))


# -- PCA ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pca_equals_scikit_learn_on_the_stacked_rows(k):
    h = np.random.default_rng(0).normal(size=(20, 6, 5)) @ np.diag([3, 2, 1.5, 1, 0.3]) + 4.0
    h = h.astype(np.float32)
    reference = PCA(k).fit(h[:, :-1].reshape(-1, 5))
    ours = EmbeddingPCA(k).fit([h[:7], h[7:]])
    components = ours.components_.numpy()
    signs = np.sign((components * reference.components_).sum(1))
    np.testing.assert_allclose(components, reference.components_ * signs[:, None], atol=1e-5)
    np.testing.assert_allclose(ours.explained_variance_, reference.explained_variance_, rtol=1e-5)
    scores = reference.transform(h[:, :-1].reshape(-1, 5)) * signs  # row c·G + g
    np.testing.assert_allclose(ours.transform(h), scores.reshape(20, 5 * k), atol=1e-4)


def test_pca_columns_go_gene_by_gene_and_leave_the_extra_token_out():
    h = torch.randn(8, 4, 5, generator=torch.Generator().manual_seed(0))
    pca = EmbeddingPCA(2).fit([h])
    by_hand = (h[3, 1].double() - pca.mean_) @ pca.components_[1]
    torch.testing.assert_close(pca.transform(h)[3, 1 * 2 + 1].double(), by_hand, atol=1e-5, rtol=0)
    other = h.clone()
    other[:, -1] = 1e6
    torch.testing.assert_close(EmbeddingPCA(2).fit([other]).components_, pca.components_)
    assert torch.equal(pca.transform(other), pca.transform(h))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 9))
def test_pca_does_not_depend_on_batches_or_the_order_of_cells(seed, cut):
    h = torch.randn(10, 4, 5, generator=torch.Generator().manual_seed(seed))
    whole = EmbeddingPCA(3).fit([h])
    torch.testing.assert_close(
        EmbeddingPCA(3).fit([h[cut:], h[:cut]]).components_, whole.components_, atol=1e-7, rtol=0
    )
    largest = whole.components_.abs().argmax(1, keepdim=True)
    assert (whole.components_.gather(1, largest) > 0).all()


def test_pca_refuses_what_it_cannot_do():
    with pytest.raises(InputError, match="k = 0"):
        EmbeddingPCA(0)
    with pytest.raises(InputError, match="no cells"):
        EmbeddingPCA(1).fit([])
    with pytest.raises(InputError, match="k = 4 of embeddings with 3 dimensions"):
        EmbeddingPCA(4).fit([torch.randn(5, 3, 3)])
    with pytest.raises(InputError, match="not fitted"):
        EmbeddingPCA(1).transform(torch.randn(5, 3, 3))


# -- reading the encoder --------------------------------------------------------------------------


def test_hidden_states_come_in_order_and_leave_the_model_as_it_was():
    model, cells = make_model().train(), make_cells()
    parts = list(iter_hidden(model, cells, batch_size=7))
    assert model.training and [len(p) for p in parts] == [7, 7, 7, 7, 2]
    np.testing.assert_allclose(torch.cat(parts), hidden_of(model, cells), atol=1e-5)


def test_cells_of_another_vocabulary_are_refused_with_both_numbers():
    cells = make_cells()[:, :5]
    with pytest.raises(InputError, match="model knows 12 genes, the cells have 5, 5 in common"):
        next(iter_hidden(make_model(), cells, batch_size=4))
    with pytest.raises(InputError, match="12 in common, or in another order"):
        next(iter_hidden(make_model(), make_cells()[:, ::-1], batch_size=4))


@pytest.mark.parametrize("held", [1, 4, 100])
def test_dimensions_are_slices_of_the_hidden_states_whatever_the_memory(held):
    model, cells = make_model(), make_cells()
    memory = held * 4 * N_CELLS * N_GENES / 1e9
    found = list(iter_dimensions(model, cells, memory_gb=memory * 1.001))
    hidden = hidden_of(model, cells)
    assert [j for j, _ in found] == list(range(DIM))
    for j, values in found:
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, hidden[:, :-1, j], atol=1e-5)


def test_too_little_memory_for_one_dimension_is_refused_with_numbers():
    with pytest.raises(InputError, match=r"30 cells × 12 genes takes 1.44e-06 GB, memory_gb is 1e-06"):
        next(iter_dimensions(make_model(), make_cells(), memory_gb=1e-6))


# -- features of a task ---------------------------------------------------------------------------


@pytest.fixture
def task():
    cells, model = make_cells(), make_model()
    features = TaskFeatures(cells, models={"": model} | control_models(model, seed=3), batch_size=7)
    return cells, model, features


MATRICES = ["raw", "binned", "hvg_pca", "depth", "cell_type", "CLS", "WM", "PCA_1", "PCA_2", "PCA_3"]
MATRICES += ["untrained:WM", "shuffled:PCA_1"]
KEPT = [i for i in range(N_GENES) if i not in MISSING]


def test_heads_see_only_genes_measured_in_every_sample(task):
    cells, _, features = task
    names = cells.obs_names[[20, 3]]
    same = {"fit": cells.obs_names[:10], "names": names}
    X = cells.X.toarray()[[20, 3]][:, KEPT]
    assert list(features.genes) == [f"g{i}" for i in KEPT]
    np.testing.assert_array_equal(features.matrix("raw", **same), X)
    np.testing.assert_array_equal(features.matrix("binned", **same), bin_expression(X))
    for k in (1, 2, 3):
        assert features.matrix(f"PCA_{k}", **same).shape == (2, len(KEPT) * k)
    assert all(values.shape == (2, len(KEPT)) for _, values in features.dimensions(names))


def swap_samples(cells: ad.AnnData) -> ad.AnnData:
    """The same cells, as if the other sample had been sequenced: what is carried changes, nothing else."""
    other = cells.copy()
    other.obs["sample"] = np.where(cells.obs["sample"] == "a", "b", "a")
    X = other.X.toarray()
    X[:, MISSING] = np.where((other.obs["sample"] == "a").to_numpy()[:, None], 2.0, 0.0)
    other.X = sparse.csr_matrix(X)
    other.obs["n_genes"] = (X > 0).sum(1)
    return other


@pytest.mark.parametrize("representation", MATRICES)
def test_no_feature_tells_a_sample_by_the_genes_it_carries(representation, task):
    cells, model, features = task
    other = TaskFeatures(swap_samples(cells), models=features.models, batch_size=7)
    same = {"fit": cells.obs_names[:20], "names": cells.obs_names}
    np.testing.assert_array_equal(features.matrix(representation, **same), other.matrix(representation, **same))
    embedded = [torch.cat(list(iter_hidden(model, c)))[:, KEPT] for c in (cells, swap_samples(cells))]
    assert (embedded[0] - embedded[1]).abs().max() > 0.01  # attention alone would tell it


def test_no_embedding_dimension_tells_a_sample_by_the_genes_it_carries(task):
    cells, _, features = task
    for memory_gb in (1.0, 2e-6):
        features = TaskFeatures(cells, models=features.models, memory_gb=memory_gb)
        other = TaskFeatures(swap_samples(cells), models=features.models, memory_gb=memory_gb)
        for (_, ours), (_, theirs) in zip(
            features.dimensions(cells.obs_names), other.dimensions(cells.obs_names), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_gene_is_kept_where_only_absent_samples_lack_it():
    cells = make_cells()
    assert len(TaskFeatures(cells[:15]).genes) == N_GENES  # sample "a" alone carries everything


def test_encoder_features_are_what_their_definitions_say(task):
    cells, model, features = task
    alike = cells.copy()
    alike.varm["measured"][MISSING] = False  # in both samples
    hidden, fit = hidden_of(model, alike), np.arange(4, 25)
    same = {"fit": cells.obs_names[fit], "names": cells.obs_names}
    np.testing.assert_allclose(features.matrix("CLS", **same), hidden[:, -1], atol=1e-5)
    x = cells.X.toarray()[:, KEPT]
    wm = np.einsum("cg,cgd->cd", x, hidden[:, KEPT]) / x.sum(1, keepdims=True)
    np.testing.assert_allclose(features.matrix("WM", **same), wm, atol=1e-5)
    rows = hidden[fit][:, KEPT].reshape(-1, DIM)
    pca = EmbeddingPCA(2).fit([hidden[fit][:, [*KEPT, N_GENES]]])
    scores = PCA(2).fit(rows).transform(hidden[:, KEPT].reshape(-1, DIM)).reshape(N_CELLS, -1)
    ours = features.matrix("PCA_2", **same)
    np.testing.assert_allclose(np.abs(ours), np.abs(scores), atol=1e-4)
    np.testing.assert_allclose(ours, pca.transform(hidden[:, [*KEPT, N_GENES]]), atol=1e-4)
    for j, values in features.dimensions(cells.obs_names):
        np.testing.assert_allclose(values, hidden[:, KEPT, j], atol=1e-5)


@pytest.mark.parametrize("representation", MATRICES)
def test_changing_test_cells_does_not_change_the_features_of_training_cells(representation, task):
    cells, _, features = task
    fit = cells.obs_names[:18]
    changed = cells.copy()
    rng = np.random.default_rng(9)
    X = changed.X.toarray()
    X[18:, KEPT] = rng.uniform(0, 6, size=(12, len(KEPT)))
    changed.X = sparse.csr_matrix(X)
    changed.obs.loc[changed.obs_names[18:], ["total_counts", "n_genes"]] = [[99999.0, 7]]
    changed.obs.loc[changed.obs_names[18:], "cell_type"] = "phloem"
    other = TaskFeatures(changed, models=features.models, batch_size=7)
    before = features.matrix(representation, fit=fit, names=fit)
    after = other.matrix(representation, fit=fit, names=fit)
    np.testing.assert_array_equal(after, before)
    assert before.dtype == np.float32 and before.flags["C_CONTIGUOUS"] and np.isfinite(before).all()


@pytest.mark.parametrize("representation", MATRICES)
def test_the_order_of_training_names_changes_nothing(representation, task):
    cells, models = task[0], task[2].models
    names = cells.obs_names[:18]
    first = TaskFeatures(cells, models=models).matrix(representation, fit=names, names=names[:4])
    second = TaskFeatures(cells, models=models).matrix(representation, fit=names[::-1], names=names[:4])
    np.testing.assert_array_equal(first, second)


def test_controls_without_an_encoder_have_their_known_answers(task):
    cells, _, features = task
    fit, names = cells.obs_names[:20], cells.obs_names
    raw = features.matrix("raw", fit=fit, names=names)
    reference = PCA(DIM).fit(raw[:20]).transform(raw)
    np.testing.assert_allclose(features.matrix("hvg_pca", fit=fit, names=names), reference, atol=1e-4)
    depth = features.matrix("depth", fit=fit, names=names)
    assert depth.shape == (N_CELLS, 2)
    np.testing.assert_allclose(depth[:20].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(depth[:20].std(0), 1, atol=1e-5)
    logs = np.log1p(cells.obs["total_counts"].to_numpy())
    np.testing.assert_allclose(depth[:, 0], (logs - logs[:20].mean()) / logs[:20].std(), atol=1e-5)


def test_a_cell_type_unseen_in_training_is_all_zeros():
    cells = make_cells()
    cells.obs["cell_type"] = ["guard", "xylem"] * 10 + ["phloem"] * 9 + [None]
    X = TaskFeatures(cells).matrix("cell_type", fit=cells.obs_names[:20], names=cells.obs_names)
    np.testing.assert_array_equal(X[:2], [[1, 0], [0, 1]])
    assert not X[20:].any()


def count_cells(monkeypatch, model) -> list[int]:
    """Record how many cells each call of the encoder embeds."""
    seen, encode = [], model.encode
    monkeypatch.setattr(model, "encode", lambda tokens: (seen.append(len(tokens)), encode(tokens))[1])
    return seen


# 10 genes, 6 dimensions: 7,200 bytes in float32, 3,600 in float16, 600 for one dimension of 30 cells
@pytest.mark.parametrize(("memory_gb", "atol"), [(1.0, 1e-5), (5e-6, 2e-3), (2e-6, 2e-3)])
def test_each_cell_passes_the_encoder_once_where_memory_allows(memory_gb, atol, monkeypatch):
    cells, model = make_cells(), make_model()
    reference = TaskFeatures(cells, models={"": model})
    fits = [cells.obs_names[:12], cells.obs_names[:20], cells.obs_names[6:25]]
    asked = [(r, fit) for fit in fits for r in ("CLS", "WM", "PCA_1", "PCA_3")]
    expected = [reference.matrix(r, fit=fit, names=fit) for r, fit in asked]
    planes = list(reference.dimensions(fits[0]))
    features = TaskFeatures(cells, models={"": model}, memory_gb=memory_gb, batch_size=8)
    seen = count_cells(monkeypatch, model)
    features.prepare(fits)
    assert sum(seen) == N_CELLS
    for (j, ours), (i, theirs) in zip(features.dimensions(fits[0]), planes, strict=True):
        assert i == j and ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=atol)
    assert sum(seen) == N_CELLS + (12 if memory_gb == 2e-6 else 0)  # three dimensions are at hand
    for (r, fit), theirs in zip(asked, expected, strict=True):
        np.testing.assert_allclose(features.matrix(r, fit=fit, names=fit), theirs, atol=5 * atol)
    assert sum(seen) == (N_CELLS if memory_gb > 2e-6 else N_CELLS + 12 + 3 * N_CELLS)


def test_scores_of_several_fits_share_a_pass_where_their_cells_fit(monkeypatch):
    cells, model = make_cells(), make_model()
    fits = [cells.obs_names[:8], cells.obs_names[2:10]]
    features = TaskFeatures(cells, models={"": model}, memory_gb=3e-6)
    seen = count_cells(monkeypatch, model)
    features.prepare(fits, used=[cells.obs_names[:10], cells.obs_names[:12]])
    for fit in fits:  # (10 + 12) cells · 10 genes · 3 · 4 bytes = 2,640
        features.matrix("PCA_3", fit=fit, names=cells.obs_names[:10])
    assert sum(seen) == N_CELLS + 12
    beyond = features.matrix("PCA_3", fit=fits[0], names=cells.obs_names[25:])  # not foreseen
    expected = TaskFeatures(cells, models={"": model}).matrix("PCA_3", fit=fits[0], names=cells.obs_names[25:])
    np.testing.assert_allclose(beyond, expected, atol=1e-5)


def test_hidden_states_leave_memory_batch_by_batch(monkeypatch):
    cells, model, alive = make_cells(), make_model(), []

    def watched(*args, **kwargs):
        for h in iter_hidden(*args, **kwargs):
            alive.append(weakref.ref(h.untyped_storage()))
            yield h
            del h
            most.append(sum(ref() is not None for ref in alive))

    most: list[int] = []
    monkeypatch.setattr("scarafm_utils.hidden.iter_hidden", watched)
    features = TaskFeatures(cells, models={"": model}, memory_gb=2e-6, batch_size=3, genes=cells.var_names)
    features.matrix("CLS", fit=cells.obs_names, names=cells.obs_names)
    assert len(most) == 10 and max(most) <= 2


def test_blocks_leave_memory_before_the_next_is_read(monkeypatch):
    cells, model, alive = make_cells(), make_model(), []
    keep = embeddings.keep_dimensions

    def watched(block, rows, h):
        keep(block, rows, h)
        alive.append(weakref.ref(block))

    monkeypatch.setattr(embeddings, "keep_dimensions", watched)
    planes = []
    for _, plane in iter_dimensions(model, cells, memory_gb=2e-6, dtype=np.float16):
        planes.append(plane)  # whoever keeps planes keeps no block
        assert len({id(ref()) for ref in alive if ref() is not None}) == 1
    assert len(planes) == DIM


def test_a_scratch_folder_saves_passes_and_is_left_empty(tmp_path, monkeypatch):
    cells, model = make_cells(), make_model()
    reference = TaskFeatures(cells, models={"": model})
    features = TaskFeatures(cells, models={"": model}, memory_gb=2e-6, scratch=tmp_path)
    seen = count_cells(monkeypatch, model)
    fit, names = cells.obs_names[:12], cells.obs_names
    planes, scores = list(features.dimensions(names)), features.matrix("PCA_2", fit=fit, names=names)
    assert sum(seen) == N_CELLS and not list(tmp_path.iterdir())
    np.testing.assert_allclose(scores, reference.matrix("PCA_2", fit=fit, names=names), atol=1e-2)
    for (_, ours), (_, theirs) in zip(planes, reference.dimensions(names), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=2e-3)  # float16


def test_hvg_pca_chooses_its_genes_on_training_cells(monkeypatch):
    cells, chosen, seen = make_cells(missing=False), [f"g{i}" for i in (1, 4, 6, 9)], []

    def hvg_table(adata, *, n_top_genes):
        seen.append((list(adata.obs_names), n_top_genes))
        return pd.DataFrame({"highly_variable": adata.var_names.isin(chosen)}, index=adata.var_names)

    monkeypatch.setattr("scarafm_utils.plain_features.N_TOP_GENES", 6)
    monkeypatch.setattr("scarafm_utils.plain_features.hvg_table", hvg_table)
    fit, names = cells.obs_names[:20], cells.obs_names
    X = TaskFeatures(cells, dim=3).matrix("hvg_pca", fit=fit, names=names)
    assert seen == [(list(fit), 6)]
    values = cells[:, chosen].X.toarray()
    reference = PCA(3).fit(values[:20]).transform(values)
    np.testing.assert_allclose(np.abs(X), np.abs(reference), atol=1e-4)


def test_bad_requests_are_refused(task):
    cells, model, features = task
    same = {"fit": cells.obs_names, "names": cells.obs_names}
    with pytest.raises(InputError, match="representation 'PCA_4'.*PCA_"):
        features.matrix("PCA_4", **same)
    with pytest.raises(InputError, match="no encoder has the prefix 'other'"):
        features.matrix("other:WM", **same)
    with pytest.raises(InputError, match=r"given: none"):
        TaskFeatures(cells).matrix("CLS", **same)
    with pytest.raises(InputError, match="ENS is no matrix"):
        features.matrix("ENS", **same)
    with pytest.raises(InputError, match="1 of 2 cells are not in the task, first 'nobody'"):
        features.matrix("raw", fit=cells.obs_names, names=[cells.obs_names[0], "nobody"])
    with pytest.raises(InputError, match="model knows 12 genes, the cells have 6"):
        TaskFeatures(cells[:, :6], models={"": model})
    twice = cells.copy()
    twice.obs_names = ["same"] * N_CELLS
    with pytest.raises(InputError, match="'same' occurs twice"):
        TaskFeatures(twice)
    nothing = make_cells()
    nothing.varm["measured"] = np.repeat([[True, False], [False, True]], N_GENES // 2, axis=0)
    with pytest.raises(InputError, match="none of 12 genes is measured in all 2 samples"):
        TaskFeatures(nothing)


# -- controls -------------------------------------------------------------------------------------


def test_control_encoders_differ_in_one_thing_and_leave_the_model_alone():
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    controls = control_models(model, seed=5)
    untrained, shuffled = controls["untrained"], controls["shuffled"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(untrained.gene_emb, model.gene_emb)
    assert not torch.equal(untrained.token_emb.weight, model.token_emb.weight)
    assert torch.equal(shuffled.token_emb.weight, model.token_emb.weight)
    assert torch.equal(shuffled.gene_emb[-1], model.gene_emb[-1])
    assert not torch.equal(shuffled.gene_emb, model.gene_emb)
    rows = {tuple(row) for row in model.gene_emb[:-1].tolist()}
    assert rows == {tuple(row) for row in shuffled.gene_emb[:-1].tolist()}
    again = control_models(model, seed=5)["shuffled"]
    assert torch.equal(again.gene_emb, shuffled.gene_emb)
