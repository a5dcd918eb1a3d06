"""What a class works with: one head that equals the book's, and guesses worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scarafm_utils import workshop
from scarafm_utils.errors import InputError
from scarafm_utils.splits import Split, cap, random_split
from scarafm_utils.workspace import open_workspace


@pytest.fixture
def table():
    """Sixty cells, three genes: the second tells the label, the third the library."""
    rng = np.random.default_rng(0)
    names = pd.Index([f"c{i:02d}" for i in range(60)], name="cell")
    label = np.array(["control", "stress"] * 30)
    obs = pd.DataFrame({"label": label, "sample": np.repeat(["one", "two"], 30)}, index=names)
    values = rng.normal(size=(60, 3)).astype("float32")
    values[:, 1] += 3 * (label == "stress")
    return pd.DataFrame(values, index=names, columns=["noise", "signal", "batch"]), obs


def test_scores_are_those_of_scikit_learn(table):
    from sklearn.linear_model import LogisticRegression

    values, obs = table
    split = random_split(obs, label_key="label", seed=0, test_size=0.4)
    scores = workshop.fit_and_score(values, obs, split)
    head = LogisticRegression(tol=1e-8, max_iter=5000).fit(values.loc[split.train], obs.loc[split.train, "label"])
    expected = head.predict_proba(values.loc[split.test])
    np.testing.assert_allclose(scores[["score:control", "score:stress"]], expected, atol=0.01)
    assert list(scores["obs_name"]) == list(split.test) and list(scores["y_true"]) == list(obs.loc[split.test, "label"])


def test_the_gene_that_tells_the_label_has_the_largest_weight(table):
    values, obs = table
    weights = workshop.gene_weights(values, obs, Split(values.index, values.index))
    assert weights.index[0] == "signal" and weights.iloc[0] > 0


def test_another_label_may_be_asked_for_and_one_class_is_refused(table):
    values, obs = table
    scores = workshop.fit_and_score(values, obs, Split(values.index[::2], values.index[1::2]), label="sample")
    assert [c for c in scores if c.startswith("score:")] == ["score:one", "score:two"]
    with pytest.raises(InputError, match=r"two classes are needed \(found one\)"):
        workshop.fit_and_score(values, obs, Split(values.index[:10], values.index[10:]), label="sample")


def test_a_cell_on_both_sides_is_refused(table):
    """What a learner gets who cuts down all cells instead of the training cells (episode 1, spare exercise)."""
    values, obs = table
    split = random_split(obs, label_key="label", seed=0)
    few = cap(obs, len(split.train), label_key="label", seed=0)
    with pytest.raises(InputError, match=r"\d+ test cells are training cells too, for example c\d\d: choose"):
        workshop.fit_and_score(values, obs, Split(few, split.test))


def test_cells_without_values_and_swapped_tables_are_refused(table):
    values, obs = table
    split = random_split(obs, label_key="label", seed=0)
    with pytest.raises(InputError, match=r"30 cells of the split have no values or no row in obs, for example c\d\d"):
        workshop.fit_and_score(values[:30], obs, split)


def test_a_moved_threshold_changes_labels_and_not_the_order(table):
    values, obs = table
    scores = workshop.fit_and_score(values, obs, random_split(obs, label_key="label", seed=0))
    moved = scores.assign(**{"score:stress": 0.4 * scores["score:stress"]})
    moved["score:control"] = 1 - moved["score:stress"]
    assert workshop.auroc(moved) == workshop.auroc(scores) > 0.9
    assert workshop.auroc_hard(moved) == 0.5 < workshop.auroc_hard(scores)


def test_the_rival_says_the_commonest_visible_bin_of_the_cell():
    import torch

    from scarafm_utils import masked

    inputs = np.array([[1, 1, 2, 7, 0], [3, 2, 2, 3, 7], [7, 0, 0, 0, 0]], dtype=np.int16)
    targets = np.array([[-100, 1, -100, 5, -100], [-100, -100, -100, -100, 1], [4, -100, -100, -100, -100]])
    run = workshop.TrainingRun(pd.DataFrame(), inputs, targets, inputs, n_bins=6, mask=7)
    guessed = workshop.commonest_visible(run)
    assert guessed.shape == inputs.shape
    assert guessed[:, 0].tolist() == [1, 2, 1]  # one 1 is a target; a tie goes to the lower; nothing visible: 1
    theirs = masked.commonest_visible(torch.tensor(inputs.astype("uint8")), torch.tensor(targets), n_bins=6)
    assert theirs.tolist() == guessed[:, 0].tolist()


def test_sizes_and_seed_are_those_of_the_profile():
    profile = open_workspace("workshop").profile
    sizes = (profile.data.simulated_cells.downstream, profile.data.simulated_genes, profile.seed)
    assert sizes == (workshop.N_CELLS, workshop.N_GENES, workshop.SEED)
    tasks = profile.tissues["leaf"].tasks
    assert f"cross:{':'.join(workshop.STUDIES)}" in tasks


def test_raw_studies_are_simulated_counts_with_raw_names():
    raw = workshop.raw_study("ERP132245")
    assert raw.n_obs == workshop.N_CELLS and raw.n_vars > workshop.N_GENES
    assert not raw.var_names.str.fullmatch(r"AT[1-5]G\d{5}").all()
    assert (raw.X.data == raw.X.data.round()).all()


def test_what_is_not_there_is_told_with_the_command_that_makes_it(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no study 'GSE000': use GSE273033 or ERP132245"):
        workshop.open_study("GSE000")
    monkeypatch.setattr(workshop, "FOLDERS", (tmp_path,))
    with pytest.raises(InputError, match="no file GSE273033.npz of the workshop: run `scarafm workshop"):
        workshop.open_study("GSE273033")


def test_two_studies_are_joined_cell_by_cell():
    def study(name, cells):
        values = pd.DataFrame(1.0, index=cells, columns=["g"])
        return workshop.Study(name, pd.DataFrame({"label": "control"}, index=cells), values, {}, values, {})

    values, obs = workshop.join(study("a", ["x", "y"]), study("b", ["z"]))
    assert list(values.index) == list(obs.index) == ["x", "y", "z"]


@pytest.mark.parametrize("seed", ["4711", -3, 47.11, True])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(InputError, match="is no seed: write a whole number without quotes"):
        workshop.seed_scores(seed)


def test_the_lines_of_a_class_become_one_table():
    own = [{"seed": s, "random": 0.9 + s / 1e4, "replicate": 0.7, "cross": 1.0} for s in range(12)]
    lines = "\n".join(map(workshop.seed_line, own))
    table = workshop.pooled_seeds(f"\n{lines}\n  {workshop.seed_line(own[3])}  \n20, 0.95, 0.7, 0.6\n")
    assert list(table) == ["seed", *workshop.PROTOCOLS] and table["seed"].tolist() == [*range(12), 20]
    np.testing.assert_allclose(table["random"], [0.9 + s / 1e4 for s in range(12)] + [0.95], atol=5e-4)


def test_a_line_that_somebody_changed_is_told_by_its_number():
    with pytest.raises(InputError, match="line 2, '7 96.0 73.1 50.0', is no seed with three AUROC"):
        workshop.pooled_seeds("6 0.960 0.731 0.500\n7 96.0 73.1 50.0")
    with pytest.raises(InputError, match="line 2: seed 6 stands there twice with different numbers"):
        workshop.pooled_seeds("6 0.960 0.731 0.500\n6 0.960 0.731 0.600")


def test_the_commands_of_the_cheat_sheet_run_in_their_order(monkeypatch):
    def study(name):
        rng = np.random.default_rng(len(name))
        cells = pd.Index([f"{name}{i:03d}" for i in range(240)], name="cell")
        obs = pd.DataFrame({"label": np.tile(["control", "stress"], 120)}, index=cells)
        obs = obs.assign(replicate=np.repeat(["rep1", "rep2"], 120), sample=lambda t: t["replicate"] + t["label"])
        values = pd.DataFrame(rng.normal(size=(240, 3)), index=cells, columns=list("abc"))
        return workshop.Study(name, obs, values, {"WM": values}, values, {})

    tokens = np.ones((2, 3), dtype=np.int16)
    own = {"random": 0.9, "replicate": 0.7, "cross": 0.6}
    monkeypatch.setattr(workshop, "open_study", study)
    monkeypatch.setattr(workshop, "training_run", lambda: workshop.TrainingRun(None, tokens, tokens, tokens, 6, 7))
    monkeypatch.setattr(workshop, "seed_scores", lambda seed: {"seed": seed} | own)
    monkeypatch.setattr(workshop, "seed_table", lambda: pd.DataFrame([own] * 5).assign(seed=range(5)))
    sheet = (Path(__file__).resolve().parents[1] / "book" / "workshop" / "cheat_sheet.md").read_text(encoding="utf-8")
    commands = re.findall(r"`([^`]+)`", sheet.partition("| to do | write |")[2].partition("\n## ")[0])
    assert len(commands) > 25
    typed = {}
    for command in commands:
        exec(command, typed)
    assert len(typed["split"].train) == 100 and "AT" in typed["cells"].var_names[0]
