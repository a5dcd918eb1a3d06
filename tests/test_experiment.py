"""The cells of a task: classes, what can be held out, and the splits of every fidelity."""

from __future__ import annotations

import anndata as ad
import pytest
from evaluation_world import DROUGHT, OTHER, make_cells, make_workspace

from scarafm_utils.errors import InputError
from scarafm_utils.experiment import CLASS, load_experiment, make_split
from scarafm_utils.splits import random_split


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("world"))


def load(world, task, **kwargs):
    return load_experiment(world, "leaf", task, **kwargs)


def change(world, name, edit):
    """Rewrite the processed cells of a data set after `edit`."""
    path = world.processed_path("leaf", name)
    adata = ad.read_h5ad(path)
    edit(adata)
    adata.write_h5ad(path)


def test_classes_stand_in_label_order_and_replicates_in_order_of_appearance(world):
    experiment = load(world, f"replicate:{DROUGHT}")
    assert experiment.classes == ("control", "stress")
    assert experiment.held_out == (("rep1",), ("rep2",)) and experiment.held_out_key == "replicate"
    assert set(experiment.checksums) == {DROUGHT}


def test_the_split_of_a_task_is_the_protocols_own(world):
    experiment = load(world, f"random:{DROUGHT}")
    ours = make_split(experiment, seed=3)
    theirs = random_split(experiment.cells.obs, label_key=CLASS, seed=3)
    assert list(ours.test) == list(theirs.test) and list(ours.train) == list(theirs.train)


def test_cross_cells_stand_together_and_samples_keep_apart(world):
    experiment = load(world, f"cross:{DROUGHT}:{OTHER}")
    obs = experiment.cells.obs
    assert set(obs.loc[obs["dataset"] == OTHER, "sample"]) == {f"{OTHER}:c1", f"{OTHER}:s1"}
    assert set(obs["library"]) == {"c1", "c2", "s1", "s2"}
    assert experiment.cells.varm["measured"].shape == (experiment.cells.n_vars, 6)
    assert len(experiment.cells.uns["samples"]) == 6
    split = make_split(experiment, seed=0)
    assert set(obs.loc[split.train, "dataset"]) == {DROUGHT}
    assert set(obs.loc[split.test, "dataset"]) == {OTHER}


def test_without_replicates_one_library_of_each_class_is_held_out(tmp_path):
    world, name = make_workspace(tmp_path), "SRP148288"  # six libraries, one replicate by the paper's table
    path = world.processed_path("root", name)
    path.parent.mkdir(parents=True)
    make_cells(name, replicates=2, per_library=10, seed=0).write_h5ad(path)
    experiment = load_experiment(world, "root", f"replicate:{name}")
    assert set(experiment.held_out) == {(c, s) for c in ("c1", "c2") for s in ("s1", "s2")}
    split = make_split(experiment, seed=0, held_out=("c2", "s1"))
    assert set(experiment.cells.obs.loc[split.test, "sample"]) == {"c2", "s1"}
    assert set(experiment.cells.obs.loc[split.train, "sample"]) == {"c1", "s2"}


def test_released_labels_are_alphabetical_words_and_can_invert_a_target(world, tmp_path):
    alone = load(world, f"random:{DROUGHT}", fidelity="released:labels")
    assert alone.classes == ("Mild drought - Col-0", "Normal - Col-0")
    other = make_workspace(tmp_path)

    def rename(adata):  # the stressed cells of the target sort last, those of the source first
        adata.obs["condition"] = adata.obs["condition"].astype(str).replace("Mild drought", "Withered")

    change(other, OTHER, rename)
    experiment = load(other, f"cross:{DROUGHT}:{OTHER}", fidelity="released:labels")
    target = experiment.cells.obs.query(f"dataset == '{OTHER}'")
    assert set(target.loc[target["condition"] == "Withered", CLASS]) == {"Normal - Col-0"}


def test_released_training_leaves_a_tenth_out_and_keeps_the_test_set(world):
    task = f"random:{DROUGHT}"
    paper = make_split(load(world, task), seed=0)
    released = make_split(load(world, task, fidelity="released:train_90"), seed=0)
    assert list(paper.test) == list(released.test)
    assert len(released.train) == round(0.9 * len(paper.train))
    assert set(released.train) < set(paper.train)


@pytest.mark.parametrize("task", [f"random:{DROUGHT}", f"cross:{DROUGHT}:{OTHER}"])
def test_released_balancing_draws_the_same_pool_for_every_seed(tmp_path, task):
    world = make_workspace(tmp_path)
    path = world.processed_path("leaf", DROUGHT)
    ad.read_h5ad(path)[10:].copy().write_h5ad(path)  # ten control cells fewer: balancing has a choice
    pools = {
        fidelity: [set(s.train) | (set(s.test) if "random" in task else set()) for s in splits]
        for fidelity in ("paper", "released:global_seed")
        for splits in [[make_split(load(world, task, fidelity=fidelity), seed=seed) for seed in (0, 1)]]
    }
    assert pools["paper"][0] != pools["paper"][1]
    assert pools["released:global_seed"][0] == pools["released:global_seed"][1]
    assert len(pools["released:global_seed"][1]) == len(pools["paper"][1])


def test_a_balanced_test_set_has_equal_classes(tmp_path):
    world = make_workspace(tmp_path)

    def thin(adata):  # few stressed cells in the first replicate
        few = (adata.obs["sample"] == "s1") & (adata.obs_names.str.split(":").str[-1].astype(int) % 4 > 0)
        adata.obs["label_stress"] = adata.obs["label_stress"].where(~few)

    change(world, DROUGHT, thin)
    counts = {}
    for fidelity in ("paper", "balanced_test"):
        experiment = load(world, f"replicate:{DROUGHT}", fidelity=fidelity)
        names = make_split(experiment, seed=0).test
        counts[fidelity] = experiment.cells.obs.loc[names, CLASS].value_counts().to_dict()
    assert counts["paper"]["control"] > counts["paper"]["stress"] == 10
    assert counts["balanced_test"] == {"control": 10, "stress": 10}


def test_matched_protocols_share_test_cells_and_the_number_of_training_cells(world):
    experiment = load(world, f"replicate:{DROUGHT}", fidelity="matched")
    obs = experiment.cells.obs
    random, replicate = (
        make_split(experiment, seed=0, held_out=("rep2",), protocol=p) for p in ("random", "replicate")
    )
    assert list(random.test) == list(replicate.test)
    assert set(obs.loc[random.test, "replicate"]) == {"rep2"}
    assert len(random.train) == len(replicate.train)
    assert set(obs.loc[replicate.train, "replicate"]) == {"rep1"}
    assert set(obs.loc[random.train, "replicate"]) == {"rep1", "rep2"}
    assert not set(random.train) & set(random.test)


@pytest.mark.parametrize(
    ("task", "changes", "words"),
    [
        ("random:ERP132254", {}, "did you mean 'ERP132245'"),
        (f"random:{DROUGHT}", {"label": "heat"}, "no label 'heat'"),
        (f"random:{DROUGHT}", {"fidelity": "release"}, "did you mean 'released'"),
        (f"replicate:{OTHER}", {}, "no second replicate to hold out"),
        ("random:SRP398011", {}, "Run the chapter 'preprocessing' first"),
    ],
)
def test_what_cannot_be_loaded_is_refused(world, task, changes, words):
    with pytest.raises(InputError, match=words):
        load(world, task, **changes)


def test_an_empty_class_and_other_genes_are_refused(tmp_path):
    world = make_workspace(tmp_path)

    def forget(adata):
        adata.obs["label_stress"] = adata.obs["label_stress"].where(adata.obs["label_stress"] == "control")

    change(world, OTHER, forget)
    with pytest.raises(InputError, match=f"{OTHER}: no cell in class stress"):
        load(world, f"cross:{DROUGHT}:{OTHER}")
    world = make_workspace(tmp_path)
    path = world.processed_path("leaf", OTHER)
    ad.read_h5ad(path)[:, ::-1].copy().write_h5ad(path)
    with pytest.raises(InputError, match=r"genes of GSE273033 \(30\) and ERP132245 \(30\) differ"):
        load(world, f"cross:{DROUGHT}:{OTHER}")
