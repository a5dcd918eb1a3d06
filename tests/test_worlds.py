"""Worlds with one cause each: what is switched on, where the numbers come from, and what figures show."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import pytest

from scarafm_utils import figures, worlds
from scarafm_utils.effects import Effects
from scarafm_utils.simulate_fit import fit_origin
from scarafm_utils.workspace import Workspace, open_workspace


def test_each_world_switches_on_one_cause_at_its_usual_size():
    quiet, usual = asdict(worlds.QUIET), asdict(Effects())
    for name, effects in worlds.WORLDS.items():
        changed = {key: value for key, value in asdict(effects).items() if value != quiet[key]}
        assert all(value == usual[key] for key, value in changed.items())
        if name not in ("no nuisance", "all together"):
            assert len(changed) == 1, name
    assert worlds.WORLDS["all together"] == Effects()


def test_the_library_alone_makes_a_random_split_easy_and_nothing_else():
    table = pd.DataFrame([worlds.protocol_scores(worlds.WORLDS["library"], seed=seed) for seed in range(4)])
    random, replicate, cross = table.mean()
    assert random - replicate > 0.15 and abs(replicate - cross) < 0.1


def test_steps_of_the_summary_by_hand():
    rows = [("a", 0, 0.9, 0.7, 0.6), ("a", 1, 0.7, 0.7, 0.5), ("b", 0, 0.5, 0.5, 0.5)]
    table = pd.DataFrame(rows, columns=["world", "seed", "random", "replicate", "cross"])
    summary = worlds.world_summary(table)
    assert summary.loc["a"].tolist() == pytest.approx([0.8, 0.7, 0.55, 10, 15])
    assert list(summary.index) == ["a", "b"]


def test_worlds_are_computed_once_and_not_for_real_cells(tmp_path, monkeypatch):
    calls = []

    def scores(effects, *, seed):
        calls.append(seed)
        return {"random": 0.9, "replicate": 0.7, "cross": 0.6}

    monkeypatch.setattr(worlds, "protocol_scores", scores)
    demo, real = (open_workspace(name) for name in ("demo", "real_root"))
    workspace = Workspace(demo.profile, demo.manifest, tmp_path)
    table = worlds.world_table(workspace)
    assert len(table) == len(worlds.WORLDS) * len(worlds.SEEDS) == len(calls)
    pd.testing.assert_frame_equal(worlds.world_table(workspace), table)
    assert len(calls) == len(table)
    monkeypatch.setattr(worlds, "N_CELLS", 601)
    assert len(worlds.world_table(workspace)) and len(calls) == 2 * len(table), "another setting is another file"
    nothing = worlds.world_table(Workspace(real.profile, real.manifest, tmp_path / "real"))
    assert nothing.empty and worlds.world_summary(nothing).empty


def test_the_figure_draws_every_seed_its_mean_and_says_that_cells_are_simulated():
    rows = [("a", 0, 0.9, 0.7, 0.6), ("a", 1, 0.7, 0.7, 0.5)]
    table = pd.DataFrame(rows, columns=["world", "seed", "random", "replicate", "cross"])
    figure = figures.worlds_figure(table)
    drawn = [line for line in figure.axes[0].lines if line.get_gid() == "a|random"]
    assert sorted(drawn[0].get_xdata()) == [0.7, 0.9] and list(drawn[1].get_xdata()) == pytest.approx([0.8])
    assert any(text.get_gid() == "watermark" for text in figure.texts)
    nothing = figures.worlds_figure(table.iloc[:0])
    assert "cells of this profile are real" in nothing.axes[0].texts[0].get_text()


def test_the_comparison_draws_both_sides_of_every_panel():
    groups = {"library_size": ["5%", "95%"], "genes_per_cell": ["5%", "95%"]}
    groups |= dict.fromkeys(("zero_share_at_mean", "dispersion_at_mean"), ["0.1 to 0.2", "1 to 3"])
    rows = [(p, g, 0.5, 0.4) for p, names in groups.items() for g in names]
    figure = figures.likeness_figure(pd.DataFrame(rows, columns=["property", "group", "real", "simulated"]))
    sides = {line.get_gid() for ax in figure.axes for line in ax.lines}
    assert sides == {f"{p}|{side}" for p in groups for side in ("real", "simulated")}


def test_the_origin_of_the_fit_names_files_cells_date_and_command():
    origin = fit_origin()
    assert origin["cells"].tolist() == [1251, 15561] and origin["sha256"].str.len().eq(64).all()
    assert origin["command"].str.startswith("python scripts/fit_simulation.py").all()
    assert origin["date"].str.fullmatch(r"20\d\d-\d\d-\d\d").all()
