"""One task from processed cells to tidy rows: what is reused, what is refused, what is written."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_world import DROUGHT, GENES, OTHER, TASKS, make_cells, make_workspace
from sklearn.linear_model import LogisticRegression

from scarafm_utils import evaluation, fitting
from scarafm_utils.checkpoints import save_checkpoint
from scarafm_utils.configurations import Configuration
from scarafm_utils.errors import InputError
from scarafm_utils.evaluation import TIDY, collect_results, evaluate_task, read_nulls, read_results
from scarafm_utils.experiment import CLASS, load_experiment, make_split
from scarafm_utils.measures import bootstrap, metrics
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.nulls import COLUMNS
from scarafm_utils.scores import read_scores

REPLICATE = f"replicate:{DROUGHT}"


def give_encoder(workspace, *, corpus_real: bool = False, genes=GENES) -> None:
    config = ModelConfig(dim=8, depth=1, heads=2, dim_head=4, seed=0)
    save_checkpoint(ScAraFM(config, genes), workspace.checkpoint_dir("leaf"), corpus_real=corpus_real)


@pytest.fixture
def world(tmp_path):
    return make_workspace(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A workspace whose three tasks have run with the profile's own grid."""
    workspace = make_workspace(tmp_path_factory.mktemp("done"))
    return workspace, {task: evaluate_task(workspace, "leaf", task) for task in TASKS}


def count_fits(monkeypatch) -> list:
    fits, original = [], fitting.Battery._fit

    def counted(self, configuration, split, *rest):
        fits.append(configuration)
        return original(self, configuration, split, *rest)

    monkeypatch.setattr(fitting.Battery, "_fit", counted)
    return fits


def test_rows_are_tidy_and_agree_with_their_score_files(done):
    workspace, results = done
    for table in results.values():
        assert list(table.columns) == list(TIDY)
        for row in table.dropna(subset="auroc").itertuples():
            scores, facts = read_scores(workspace.scores_dir("leaf") / f"{row.key}.parquet")
            assert len(scores) == row.n_test
            assert metrics(scores)["auroc"].item() == row.auroc
            interval = bootstrap(scores, n_boot=50, seed=row.seed).iloc[0]
            assert (interval["auroc_low"], interval["auroc_high"]) == (row.auroc_low, row.auroc_high)
            assert facts["params"]["seed"] == row.seed and facts["n_train_cells"] == row.n_train_cells
            assert facts["fit_seconds"] >= 0 and facts["peak_memory_mb"] > 10
            assert {"python", "scikit-learn"} <= set(facts["versions"])


def test_raw_with_lr_equals_scikit_learn_on_the_same_cells(done):
    workspace, results = done
    plain = "representation == 'raw' and n_train == 'all' and fidelity == 'paper' and seed == 0"
    row = results[TASKS[0]].query(plain).iloc[0]
    experiment = load_experiment(workspace, "leaf", TASKS[0])
    split = make_split(experiment, seed=0)
    X = {side: experiment.cells[names].X.toarray() for side, names in zip(("a", "b"), split)}
    y = {side: experiment.cells.obs.loc[names, CLASS] for side, names in zip(("a", "b"), split)}
    model = LogisticRegression(max_iter=10_000).fit(X["a"], y["a"])
    table = pd.DataFrame(model.predict_proba(X["b"]), columns=["score:control", "score:stress"])
    expected = metrics(table.assign(y_true=y["b"].to_numpy()))["auroc"].item()
    assert row["auroc"] == pytest.approx(expected, abs=0.01)


def test_the_test_cells_are_the_same_for_every_training_size_and_representation(done):
    workspace, results = done
    rows = results[REPLICATE].query("fidelity == 'paper' and seed == 0 and held_out == 'rep1'")
    paths = [workspace.scores_dir("leaf") / f"{key}.parquet" for key in rows["key"]]
    names = {tuple(read_scores(path)[0]["obs_name"]) for path in paths}
    assert len(rows) >= 3 and len(names) == 1


def test_replicates_take_turns_and_matched_protocols_share_test_cells(done):
    rows = done[1][REPLICATE]
    plain = rows.query("fidelity == 'paper' and representation == 'raw' and n_train == 'all'")
    assert set(zip(plain["held_out"], plain["seed"])) == {(r, s) for r in ("rep1", "rep2") for s in (0, 1)}
    matched = rows.query("fidelity == 'matched'").pivot_table(
        index=["held_out", "seed"], columns="protocol", values=["n_test", "n_train_cells"]
    )
    assert matched.shape == (4, 4)
    for column in ("n_test", "n_train_cells"):
        assert (matched[column]["random"] == matched[column]["replicate"]).all()


def test_a_second_run_fits_nothing_and_gives_the_same_rows(done, monkeypatch):
    workspace, results = done
    fits = count_fits(monkeypatch)
    again = evaluate_task(workspace, "leaf", REPLICATE)
    pd.testing.assert_frame_equal(again, results[REPLICATE])
    assert not fits


def test_the_same_seed_gives_the_same_scores_in_another_place(done, tmp_path):
    workspace, results = done
    other = evaluate_task(make_workspace(tmp_path), "leaf", TASKS[2])
    cost = ["fit_seconds", "peak_memory_mb"]
    pd.testing.assert_frame_equal(other.drop(columns=cost), results[TASKS[2]].drop(columns=cost))


def test_a_damaged_score_file_is_named_and_computed_again(world, monkeypatch):
    before = evaluate_task(world, "leaf", TASKS[0], heads=["LR"], n_train=["all"], representations=["raw"])
    path = world.scores_dir("leaf") / f"{before['key'][0]}.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    fits = count_fits(monkeypatch)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        after = evaluate_task(world, "leaf", TASKS[0], heads=["LR"], n_train=["all"], representations=["raw"])
    assert len(fits) == 1 and after["auroc"][0] == before["auroc"][0]
    assert len(read_scores(path)[0]) == before["n_test"][0]


def test_changed_cells_and_changed_code_are_fitted_again(world, monkeypatch):
    asked = {"heads": ["LR"], "n_train": ["all"], "representations": ["raw"]}
    keys = {evaluate_task(world, "leaf", TASKS[0], **asked)["key"][0]}
    monkeypatch.setattr(fitting, "code_of_fitting", lambda: "another")
    keys.add(evaluate_task(world, "leaf", TASKS[0], **asked)["key"][0])
    monkeypatch.undo()
    path = world.processed_path("leaf", DROUGHT)
    adata = world.read_processed("leaf", DROUGHT)
    adata.X = adata.X * np.float32(1.5)
    adata.write_h5ad(path)
    keys.add(evaluate_task(world, "leaf", TASKS[0], **asked)["key"][0])
    assert len(keys) == 3


def test_what_the_data_do_not_allow_is_a_row_with_a_reason_or_an_error(world):
    results = evaluate_task(world, "leaf", TASKS[0], representations=["raw", "WM"], n_train=[20, 9999])
    reasons = results.set_index(["representation", "n_train"])["reason"]
    assert reasons["raw", 20] == ""
    assert reasons["raw", 9999] == "n_train 9999 is above the 128 training cells"
    assert "Run the chapter 'pretraining' first" in reasons["WM", 20]
    missing = results[results["reason"] != ""]
    assert missing[["auroc", "auroc_hard", "n_test", "fit_seconds"]].isna().all().all()
    with pytest.raises(InputError, match="9999 is above the 128 training cells"):
        evaluate_task(world, "leaf", TASKS[0], n_train=[9999], strict=True)
    with pytest.raises(InputError, match="no combination could be evaluated"):
        evaluate_task(world, "leaf", TASKS[0], representations=["WM"])


def test_expression_that_is_no_number_is_the_reason_whatever_is_asked(world):
    adata = world.read_processed("leaf", DROUGHT)
    adata.X = adata.X.copy()
    adata.X.data[7] = np.nan
    adata.write_h5ad(world.processed_path("leaf", DROUGHT))
    give_encoder(world)
    for name in ("raw", "binned", "hvg_pca", "WM", "PCA_1"):
        with pytest.raises(InputError, match=r"1 of [\d,]+ expression values are not finite"):
            evaluate_task(world, "leaf", TASKS[0], representations=[name], heads=["LR"], n_train=[20])


def test_memory_for_not_even_one_dimension_is_a_reason_with_numbers(tmp_path):
    world = make_workspace(tmp_path, representations=["raw", "WM", "ENS"], n_train=["all"], memory_gb=1e-9)
    give_encoder(world)
    rows = evaluate_task(world, "leaf", TASKS[0], extra=False).set_index("representation")
    assert (rows.loc[["raw", "WM", "depth"], "reason"] == "").all()
    reason = rows.loc["ENS", "reason"]
    assert re.search(r"one embedding dimension of .* cells × 30 genes takes .* GB, memory_gb is", reason)
    with pytest.raises(InputError, match="memory_gb is 1e-09"):
        evaluate_task(world, "leaf", TASKS[0], representations=["ENS"], strict=True)


def test_a_class_without_cells_is_refused(world):
    adata = world.read_processed("leaf", DROUGHT)
    adata[(adata.obs["label_stress"] == "control").to_numpy()].write_h5ad(world.processed_path("leaf", DROUGHT))
    with pytest.raises(InputError, match=f"{DROUGHT}: no cell in class stress of label 'stress'"):
        evaluate_task(world, "leaf", TASKS[0])


def test_strict_refuses_only_what_was_asked_for_here(tmp_path, monkeypatch):
    world = make_workspace(
        tmp_path, representations=["raw", "WM", "CNN"], controls=["depth", "untrained:WM"],
        heads=["LR", "CNN"], n_train=[20, 20000],
    )  # fmt: skip
    adata = world.read_processed("leaf", DROUGHT)
    adata.obs = adata.obs.drop(columns=["total_counts"])
    adata.write_h5ad(world.processed_path("leaf", DROUGHT))
    rows = evaluate_task(world, "leaf", TASKS[0], heads=["LR"], strict=True)
    reasons = rows.set_index(["representation", "n_train"])["reason"]
    assert reasons["raw", 20] == "" and "20000 is above the 128" in reasons["raw", 20000]
    assert "'pretraining' first" in reasons["WM", 20]
    rows = evaluate_task(world, "leaf", TASKS[0], n_train=[20], strict=True)
    assert "obs['total_counts']" in rows.set_index("representation")["reason"]["depth"]
    fits = count_fits(monkeypatch)
    for asked, words in (
        ({"n_train": [30, 999999]}, "n_train 999999 is above the 128 training cells"),
        ({"n_train": [1, 30]}, "n_train 1 is below the 2 classes"),
        ({"representations": ["raw", "WM"], "seeds": [5]}, "'pretraining' first"),
        ({"representations": ["raw"], "controls": ["untrained:WM"], "seeds": [5]}, "'pretraining' first"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate_task(world, "leaf", TASKS[0], strict=True, **asked)
    assert not fits  # refused before anything is fitted
    with pytest.raises(InputError, match="total_counts"):
        evaluate_task(world, "leaf", TASKS[0], representations=["raw", "depth"], n_train=[20], strict=True)


def test_every_representation_and_head_has_its_row(tmp_path):
    everything = ["raw", "CLS", "WM", "ENS", "PCA_1", "CNN"]
    world = make_workspace(
        tmp_path,
        representations=everything,
        controls=["binned", "hvg_pca", "depth", "cell_type", "untrained:WM", "shuffled:PCA_1"],
        heads=["LR", "XGB", "MLP", "CNN"],
        n_train=["all"],
        settings={"xgb_trees": 3, "mlp_epochs": 2, "mlp_hidden": 8, "cnn_epochs": 1, "ens_members": 3},
    )
    give_encoder(world)
    results = evaluate_task(world, "leaf", TASKS[2], extra=False)
    assert len(results) == 5 * 3 + 1 + 6
    assert (results["reason"] == "").all()
    assert results["auroc"].between(0, 1).all()
    cnn = results.query("head == 'CNN'")
    assert list(cnn["representation"]) == ["CNN"]
    fits = read_scores(world.scores_dir("leaf") / f"{cnn['key'].item()}.parquet")[1]
    assert len(fits["history"]) == 1
    assert json.loads(json.dumps(fits))["params"]["checkpoint"]


def test_every_control_goes_with_every_head_in_any_grid(tmp_path):
    plain = ["binned", "hvg_pca", "depth", "cell_type"]
    encoded = [f"{e}:{r}" for e in ("untrained", "shuffled") for r in ("CLS", "WM", "PCA_2", "ENS")]
    world = make_workspace(
        tmp_path, n_train=["all"], heads=["LR", "XGB", "MLP", "CNN"],
        settings={"xgb_trees": 2, "mlp_epochs": 1, "mlp_hidden": 4, "cnn_epochs": 1, "ens_members": 2},
    )  # fmt: skip
    give_encoder(world)
    asked = {"representations": [*plain, *encoded, "untrained:CNN"], "controls": ["shuffled:CNN"]}
    results = evaluate_task(world, "leaf", TASKS[1], **asked, extra=False, strict=True)
    pairs = set(zip(results["representation"], results["head"]))
    assert pairs == {(r, h) for r in plain + encoded for h in ("LR", "XGB", "MLP")} | {
        ("untrained:CNN", "CNN"), ("shuffled:CNN", "CNN"),
    }  # fmt: skip
    assert (results["reason"] == "").all() and results["auroc"].between(0, 1).all()


def test_hvg_pca_is_as_wide_as_the_embedding(world):
    dim = world.profile.model.dim
    model = ScAraFM(ModelConfig(dim=dim, depth=1, heads=2, dim_head=4), GENES)
    save_checkpoint(model, world.checkpoint_dir("leaf"))
    battery = fitting.Battery(world, load_experiment(world, "leaf", TASKS[1]), tuning="none", vote="majority")
    names = battery.experiment.cells.obs_names[:60]
    plain = battery.plain_features.matrix("hvg_pca", fit=names, names=names)
    assert plain.shape == battery.features.matrix("CLS", fit=names, names=names).shape == (60, dim)


def test_a_cnn_that_is_killed_goes_on_and_leaves_nothing_behind(tmp_path, monkeypatch):
    step, asked = torch.optim.Adam.step, {"representations": ["CNN"], "heads": ["CNN"], "n_train": ["all"]}
    steps = []

    def dying(self):
        steps.append(1)
        if len(steps) == 20:
            raise KeyboardInterrupt
        return step(self)

    def probabilities(folder):
        world = make_workspace(folder, settings={"cnn_epochs": 4})
        give_encoder(world)
        rows = evaluate_task(world, "leaf", TASKS[1], controls=[], extra=False, **asked)
        assert [p.suffix for p in world.scores_dir("leaf").iterdir()] == [".parquet"]
        return read_scores(world.scores_dir("leaf") / f"{rows['key'].item()}.parquet")

    expected, facts = probabilities(tmp_path / "whole")
    monkeypatch.setattr(torch.optim.Adam, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        probabilities(tmp_path / "killed")
    assert [p.name.endswith(".state.safetensors") for p in (tmp_path / "killed/scores/leaf").iterdir()] == [True]
    found, resumed = probabilities(tmp_path / "killed")
    pd.testing.assert_frame_equal(found, expected)
    assert resumed["history"] == facts["history"]
    per_epoch = len(facts["history"]) and -(-facts["n_train_cells"] * 9 // 10 // 16)
    assert len(steps) < 19 + 4 * per_epoch  # not from the beginning


def test_tuned_ensembles_take_the_settings_that_raw_values_chose(world):
    give_encoder(world)
    asked = {"representations": ["ENS"], "heads": ["LR"], "n_train": [20]}
    results = evaluate_task(world, "leaf", TASKS[0], tuning="cv", **asked)
    assert results["tuning"].item() == "cv" and results["reason"].item() == ""
    found = [read_scores(p)[1] for p in world.scores_dir("leaf").glob("*.parquet")]
    raw = [f for f in found if f["params"]["representation"] == "raw"]
    assert len(raw) == 1 and set(raw[0]["best_settings"]) == {"C"}


def test_an_encoder_of_a_simulated_corpus_never_meets_real_cells(world):
    real = dataclasses.replace(world, profile=world.profile.model_copy(update={"source": "local"}))
    give_encoder(real, corpus_real=False)
    results = evaluate_task(real, "leaf", TASKS[0], representations=["raw", "WM"], n_train=["all"])
    assert results["reason"].str.contains("simulated cells and never meets real").tolist() == [False, True]
    give_encoder(real, corpus_real=True)
    results = evaluate_task(real, "leaf", TASKS[0], representations=["raw", "WM"], n_train=["all"])
    assert (results["reason"] == "").all()


def test_an_encoder_of_other_genes_is_not_used(world):
    give_encoder(world, genes=GENES[::-1])
    results = evaluate_task(world, "leaf", TASKS[0], representations=["raw", "CLS"], n_train=["all"])
    assert "run the chapter 'pretraining' again" in results["reason"][1]


def test_tables_are_collected_and_come_back_as_they_were(done):
    workspace, results = done
    collected = collect_results(workspace)
    expected = pd.concat(results.values(), ignore_index=True)
    pd.testing.assert_frame_equal(collected, expected, check_dtype=False)
    pd.testing.assert_frame_equal(read_results(workspace), collected, check_dtype=False)
    assert set(collected["n_train"]) == {20, "all"}


def test_a_readers_own_grid_never_enters_the_results(done):
    workspace, _ = done
    before = len(collect_results(workspace))
    evaluate_task(workspace, "leaf", TASKS[0], n_train=[30])
    assert len(collect_results(workspace)) == before
    assert len(list((workspace.tables_dir / "custom" / "leaf").glob("*.csv"))) == 1


def test_null_contrasts_are_kept_apart(done):
    workspace, _ = done
    collect_results(workspace)
    nulls = read_nulls(workspace)
    assert set(nulls["dataset"]) == {DROUGHT, OTHER} or set(nulls["dataset"]) == {DROUGHT}
    library = nulls.query("contrast == 'library'")
    assert set(library["groups"]) == {"c1 | c2", "s1 | s2"}
    permuted = nulls.query("contrast == 'permuted' and protocol == 'random'")
    assert len(permuted) == 3 and permuted["is_true"].sum() == 1
    assert not nulls.duplicated().any()


def test_without_null_contrasts_their_table_has_columns_and_no_rows(tmp_path):
    world = make_workspace(tmp_path)
    evaluate_task(world, "leaf", TASKS[0])
    collect_results(world)
    assert len(read_nulls(world))
    extra = world.profile.evaluation.extra.model_copy(update={"null_contrasts": False})
    own = world.profile.evaluation.model_copy(update={"extra": extra})
    other = dataclasses.replace(world, profile=world.profile.model_copy(update={"evaluation": own}))
    collect_results(other)  # the tables of the first run still lie there
    nulls = read_nulls(other).query("tissue == 'leaf'")
    assert nulls.empty and tuple(nulls.columns) == COLUMNS


def test_one_library_of_each_condition_leaves_null_contrasts_empty(world):
    make_cells(DROUGHT, replicates=1, per_library=40, seed=3).write_h5ad(world.processed_path("leaf", DROUGHT))
    evaluate_task(world, "leaf", TASKS[0])
    collect_results(world)
    assert tuple(read_nulls(world).columns) == COLUMNS and read_nulls(world).empty


def test_null_contrasts_of_a_readers_own_grid_stay_apart(world):
    evaluate_task(world, "leaf", TASKS[0])
    collect_results(world)
    before = read_nulls(world)
    evaluate_task(world, "leaf", TASKS[0], seeds=[7], extra=True)
    collect_results(world)
    pd.testing.assert_frame_equal(read_nulls(world), before)


def test_a_task_that_has_not_run_is_said(world):
    with pytest.raises(InputError, match="No results in profile 'demo'"):
        collect_results(world)
    with pytest.raises(InputError, match=r"No table results\.csv"):
        read_results(world)


def test_the_unit_held_out_can_be_asked_for(world):
    asked = {"representations": ["raw"], "n_train": ["all"]}
    results = evaluate_task(world, "leaf", REPLICATE, held_out="rep2", **asked)
    assert set(results["held_out"]) == {"rep2"}
    with pytest.raises(InputError, match="rep9"):
        evaluate_task(world, "leaf", REPLICATE, held_out="rep9", **asked)
    with pytest.raises(InputError, match="holds no replicate out"):
        evaluate_task(world, "leaf", TASKS[0], held_out="rep1", **asked)


def test_the_public_names_stand_in_one_place():
    assert evaluation.metrics is metrics and evaluation.bootstrap is bootstrap


def test_only_cells_that_are_trained_or_tested_on_are_embedded(world):
    give_encoder(world)
    experiment = load_experiment(world, "leaf", TASKS[2])
    split = make_split(experiment, seed=0, max_test=20)
    battery = fitting.Battery(world, experiment, tuning="none", vote="majority")
    asked = [Configuration("PCA_1", "LR", n) for n in (20, 50)] + [Configuration("raw", "LR", "all")]
    battery.expect([(configuration, split) for configuration in asked])
    assert battery.features.cells.n_obs <= 20 + 50 + 20
    assert set(split.test) <= set(battery.features.cells.obs_names)
    alone = fitting.Battery(world, experiment, tuning="none", vote="majority")
    for configuration in asked[:2]:
        table, _ = battery._fit(configuration, split, {})
        expected, _ = alone._fit(configuration, split, {})
        np.testing.assert_allclose(table["score:stress"], expected["score:stress"], atol=1e-4)


def lack_genes(workspace, dataset: str = DROUGHT) -> None:
    """Two genes that the first library does not carry."""
    adata = workspace.read_processed("leaf", dataset)
    adata.varm["measured"][[3, 8], 0] = False
    values = adata.X.toarray()
    values[np.ix_((adata.obs["sample"] == adata.uns["samples"][0]).to_numpy(), [3, 8])] = 0
    adata.X = type(adata.X)(values)
    adata.write_h5ad(workspace.processed_path("leaf", dataset))


def test_heads_see_the_genes_measured_in_every_sample_of_the_task_whatever_is_embedded(world, monkeypatch):
    give_encoder(world)
    lack_genes(world)
    experiment = load_experiment(world, "leaf", TASKS[0])
    common = [gene for i, gene in enumerate(GENES) if i not in (3, 8)]
    seen = []
    original = fitting.CNNHead._build
    monkeypatch.setattr(fitting.CNNHead, "_build", lambda head: (original(head), seen.append(head)))
    split = make_split(experiment, seed=0)
    obs = experiment.cells.obs
    elsewhere = split._replace(  # no cell of the library that lacks genes
        train=[n for n in split.train if obs["sample"][n] != "c1"],
        test=[n for n in split.test if obs["sample"][n] != "c1"],
    )
    battery = fitting.Battery(world, experiment, tuning="none", vote="majority")
    asked = [Configuration("CNN", "CNN"), Configuration("PCA_1", "LR")]
    elsewhere = elsewhere._replace(train=pd.Index(elsewhere.train), test=pd.Index(elsewhere.test))
    battery.expect([(configuration, elsewhere) for configuration in asked])
    battery._fit(asked[0], elsewhere, {})
    assert seen[0].head_.layers[0].in_features == len(common) + 1
    assert list(battery.features.genes) == list(battery.plain_features.genes) == common


def test_the_cnn_does_not_tell_a_library_by_the_genes_it_carries(world):
    give_encoder(world)
    lack_genes(world)
    experiment = load_experiment(world, "leaf", TASKS[0])
    other = dataclasses.replace(experiment, cells=experiment.cells.copy())
    other.cells.varm["measured"] = other.cells.varm["measured"][:, ::-1]  # another library lacks them
    split, asked = make_split(experiment, seed=0), Configuration("CNN", "CNN", 50)
    tables = [
        fitting.Battery(world, e, tuning="none", vote="majority")._fit(asked, split, {})[0]
        for e in (experiment, other)
    ]
    np.testing.assert_array_equal(tables[0]["score:stress"], tables[1]["score:stress"])


def test_features_without_an_encoder_are_as_wide_and_coarse_as_the_profiles_encoder(world):
    small = dataclasses.replace(
        world, profile=world.profile.model_copy(
            update={"model": world.profile.model.model_copy(update={"dim": 5, "n_bins": 4})}
        ),
    )  # fmt: skip
    experiment = load_experiment(small, "leaf", TASKS[0])
    battery = fitting.Battery(small, experiment, tuning="none", vote="majority")
    names = experiment.cells.obs_names
    assert battery.plain_features.matrix("hvg_pca", fit=names[:50], names=names).shape == (len(names), 5)
    binned = battery.plain_features.matrix("binned", fit=names[:50], names=names)
    assert set(np.unique(binned)) == {0, 1, 2, 3}
    auroc = [
        evaluate_task(small, "leaf", TASKS[0], representations=[r], n_train=[20])["auroc"].item()
        for r in ("raw", "hvg_pca")
    ]
    assert auroc[0] != auroc[1]


@pytest.mark.parametrize(
    ("representation", "key", "changes"),
    [
        ("hvg_pca", "dim", True), ("raw", "dim", False), ("binned", "n_bins", True), ("raw", "n_bins", False),
        ("untrained:WM", "seed", True), ("shuffled:PCA_1", "seed", True), ("WM", "seed", False),
        ("raw", "seed", False),
    ],
)  # fmt: skip
def test_a_score_file_depends_on_what_its_features_depend_on(world, representation, key, changes):
    give_encoder(world)
    experiment = load_experiment(world, "leaf", TASKS[0])
    profile = world.profile
    other = profile.model_copy(update={"model": profile.model.model_copy(update={key: 7})})
    if key == "seed":
        other = profile.model_copy(update={"seed": 99})
    params = [
        fitting.Battery(
            dataclasses.replace(world, profile=p), experiment, tuning="none", vote="majority"
        ).params(Configuration(representation, "LR"))
        for p in (profile, other)
    ]  # fmt: skip
    assert (params[0] != params[1]) == changes


def test_what_a_control_lacks_is_its_rows_reason(world):
    adata = world.read_processed("leaf", DROUGHT)
    adata.obs = adata.obs.drop(columns=["cell_type", "total_counts"])
    adata.write_h5ad(world.processed_path("leaf", DROUGHT))
    asked = {"representations": ["raw", "depth", "cell_type"], "n_train": ["all"]}
    reasons = evaluate_task(world, "leaf", TASKS[0], **asked).set_index("representation")["reason"]
    assert reasons["raw"] == ""
    assert "obs['total_counts']" in reasons["depth"]
    assert "obs['cell_type']" in reasons["cell_type"]
