"""Profiles: the shipped ones hold, and a refusal for each way to get one wrong."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scarafm_utils.errors import InputError
from scarafm_utils.manifest import load_manifest, matched_pairs, select
from scarafm_utils.names import FEATURES, REPRESENTATIONS
from scarafm_utils.profiles import Task, load_profile, parse_task

ROOT = Path(__file__).resolve().parents[1]
PROFILES = {p.stem: p for p in sorted((ROOT / "profiles").glob("*.yaml")) if not p.stem.endswith("_manifest")}
FULL = ("demo", "paper", "release")


@pytest.fixture(scope="module")
def manifest():
    return load_manifest(ROOT / "data_manifest.yaml")


def changed(tmp_path, keys="", value=None, *, profile="demo"):
    """Load a shipped profile with one key (a.b.c) set to `value`; ... removes it."""
    values = copy.deepcopy(yaml.safe_load(PROFILES[profile].read_text(encoding="utf-8")))
    *parents, last = keys.split(".")
    place = values
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return load_profile(path)


# ---- the shipped profiles


def test_all_six_are_there():
    assert set(PROFILES) == {"demo", "workshop", "laptop", "release", "paper", "real_root"}


@pytest.mark.parametrize("name", PROFILES)
def test_each_loads_and_fits_its_manifest(name):
    profile = load_profile(PROFILES[name])
    assert profile.name == name and profile.cost and profile.description
    assert profile.notice or profile.source == "simulated"  # there the sizes are filled in by the build
    profile.check(load_manifest(ROOT / profile.manifest))


@pytest.mark.parametrize(
    "path", [*PROFILES.values(), ROOT / "profiles/real_root_manifest.yaml"], ids=lambda p: p.stem
)
def test_no_shipped_file_holds_an_absolute_path(path):
    assert not re.search(r"[\s\"'\[](/|~/)[A-Za-z]", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PROFILES)
def test_each_key_has_a_comment_on_its_line_or_directly_above(name):
    lines = PROFILES[name].read_text(encoding="utf-8").splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        said = re.search(r"\s#\s*\w", line) or above.lstrip().startswith("#")
        assert said, f"{name}: no comment for: {line}"


@pytest.mark.parametrize("name", FULL)
def test_full_profiles_hold_the_tasks_of_the_paper_and_both_directions(name, manifest):
    tissues = load_profile(PROFILES[name]).tissues
    random = {t: {f"random:{d.id}" for d in select(manifest, tissue=t, role="downstream")} for t in tissues}
    cross = {f"cross:{a}:{b}" for a, b in matched_pairs(manifest, tissue="leaf")}
    assert set(tissues["leaf"].tasks) == random["leaf"] | {"replicate:GSE273033"} | cross
    assert set(tissues["root"].tasks) == random["root"] | {"replicate:GSE235495"}


def test_the_demo_uses_every_data_set_and_the_release_no_pretraining_cells(manifest):
    demo, release = load_profile(PROFILES["demo"]), load_profile(PROFILES["release"])
    both = demo.dataset_ids(manifest, "leaf") | demo.dataset_ids(manifest, "root")
    assert both == set(manifest)
    assert release.dataset_ids(manifest, "root") == {
        d.id for d in select(manifest, tissue="root", role="downstream")
    }


def test_laptop_takes_five_of_the_nine_and_four_small_corpora(manifest):
    laptop = load_profile(PROFILES["laptop"])
    assert laptop.dataset_ids(manifest, "leaf") == {"ERP132245", "DRP009643"}
    root = laptop.dataset_ids(manifest, "root")
    assert root == {"SRP148288", "SRP166333", "SRP169576", "SRP285817", "SRP285040", "SRP273996", "SRP182008"}
    sizes = [manifest[i].sources["scplantdb"].bytes for i in laptop.dataset_ids(manifest, "leaf") | root]
    assert sum(sizes) < 0.7e9


def test_paper_and_release_have_the_released_encoder():
    for name in ("paper", "release"):
        model = load_profile(PROFILES[name]).model
        assert (model.dim, model.depth, model.heads, model.dim_head, model.nb_features) == (
            200,
            3,
            10,
            64,
            266,
        )
    assert load_profile(PROFILES["paper"]).model.key_max == "head"
    assert load_profile(PROFILES["release"]).model.key_max == "batch"


def test_real_root_keeps_every_downstream_cell_for_held_out_libraries():
    profile = load_profile(PROFILES["real_root"])
    assert profile.data.max_cells.of("downstream") is None and profile.data.max_cells.of("pretraining") == 300
    assert (
        len(profile.evaluation.extra.seeds) == 10
        and profile.evaluation.extra.n_train == ["all"]
        and profile.evaluation.extra.hold_out_all
    )
    assert profile.preprocessing.feature_set == "union" and profile.preprocessing.n_vocabulary is None


def test_a_tissue_that_a_profile_leaves_out_has_no_data_sets(manifest):
    profile = load_profile(PROFILES["real_root"])
    assert profile.dataset_ids(manifest, "leaf") == set()
    with pytest.raises(InputError, match="tissue 'leaf' is not part of it, .*Allowed: root"):
        profile.grid("leaf")


def test_defaults_are_the_papers(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(
        "{name: a, description: b, source: public, cost: c, tissues: {leaf: {tasks: [random:ERP132245]}}}"
    )
    profile = load_profile(path)
    assert profile.evaluation.n_train == [1000, 5000, 10000, 20000, "all"]
    assert profile.evaluation.representations == list(REPRESENTATIONS) and profile.evaluation.max_test == 2000
    assert (profile.pretraining.epochs, profile.pretraining.batch_size) == (50, 20)
    assert (profile.model.dim, profile.model.depth) == (200, 3)
    assert profile.tissues["leaf"].labels == ["stress"] and profile.tissues["leaf"].pretraining == "all"


def test_features_are_representations_then_controls_each_once(tmp_path):
    evaluation = changed(tmp_path, "evaluation.controls", ["raw", "depth", "untrained:WM"]).evaluation
    assert evaluation.features == [*REPRESENTATIONS, "depth", "untrained:WM"]
    assert "shuffled:PCA_3" in FEATURES and "untrained:raw" not in FEATURES


# ---- tasks


def test_a_task_knows_its_names():
    cross, replicate = parse_task("cross:GSE273033:ERP132245"), parse_task("replicate:GSE273033")
    assert cross == Task("cross", "GSE273033", "ERP132245")
    assert (cross.name, cross.slug) == ("cross:GSE273033:ERP132245", "cross-GSE273033-ERP132245")
    assert cross.datasets == ("GSE273033", "ERP132245")
    assert (replicate.train_dataset, replicate.test_dataset) == ("GSE273033", "GSE273033")
    assert (replicate.datasets, replicate.slug) == (("GSE273033",), "replicate-GSE273033")


@given(
    st.sampled_from(["random", "replicate", "cross"]), st.from_regex(r"[A-Za-z0-9_.]{1,9}", fullmatch=True)
)
def test_reading_a_task_undoes_writing_it(protocol, name):
    task = Task(protocol, name, name + "x" if protocol == "cross" else name)
    assert parse_task(task.name) == task


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("randm:A", r"task 'randm:A': protocol 'randm' is not known, did you mean 'random'"),
        ("random", "write it as random:DATASET"),
        ("random:A:B", "write it as random:DATASET"),
        ("cross:A", "write it as cross:SOURCE:TARGET"),
        ("cross:A:", "write it as cross:SOURCE:TARGET"),
        ("cross:A:A", "source and target are the same data set; use random:A"),
    ],
)
def test_a_task_that_cannot_be_read_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_task(text)


# ---- refusals on load

BAD = {
    "evaluation.heads": (
        ["LR", "XGBoost"],
        r"evaluation.heads\[1\] = 'XGBoost': not known, did you mean 'XGB'",
    ),
    "evaluation.representations": (["WMM"], r"representations\[0\] = 'WMM': not known, did you mean 'WM'"),
    "evaluation.controls": (
        ["untrained:raw"],
        r"controls\[0\] = 'untrained:raw': not known.*Allowed: raw, CLS",
    ),
    "evaluation.n_train": (
        [100, "al"],
        r"evaluation.n_train\[1\] = 'al': use a whole number above 0, or all",
    ),
    "evaluation.seeds": ([0, 0], r"evaluation.seeds = \[0, 0\]: an entry stands twice"),
    "evaluation.tuning": ("groupcv", r"evaluation.tuning = 'groupcv': not known, did you mean 'group_cv'"),
    "evaluation.vote": ("median", r"evaluation.vote = 'median': .*majority, mean"),
    "evaluation.fidelity": ("code", r"evaluation.fidelity = 'code': .*paper, released"),
    "evaluation.n_boot": (0, r"evaluation.n_boot = 0: .*greater than 0"),
    "evaluation.memory_gb": (-1, r"evaluation.memory_gb = -1: .*greater than 0"),
    "evaluation.extra.fidelity": (["relesed"], r"extra.fidelity\[0\] = 'relesed': .*did you mean 'released'"),
    "evaluation.settings.tree": (3, r"evaluation.settings.tree = 3: unknown key, .*xgb_trees"),
    "evaluatoin": ({}, r"mine.yaml: evaluatoin = {}: unknown key, did you mean 'evaluation'"),
    "source": ("simulation", r"source = 'simulation': not known, did you mean 'simulated'"),
    "name": ("my profile", r"name = 'my profile': a name holds letters, digits"),
    "seed": ("one", r"seed = 'one': .*integer"),
    "threads": (0, r"threads = 0: .*greater than 0"),
    "manifest": ("../other.yaml", r"manifest = '../other.yaml': .*stays inside"),
    "cost": (..., r"mine.yaml: cost: this key is missing"),
    "tissues.stem": (
        {"tasks": ["random:A"]},
        r"tissues.stem.*did you mean|tissues.stem.*Allowed: leaf, root",
    ),
    "tissues": ({}, r"tissues"),
    "tissues.leaf.tasks": (
        ["crossing:A:B"],
        r"tissues.leaf.tasks\[0\] = 'crossing:A:B': .*did you mean 'cross'",
    ),
    "tissues.leaf.taks": ([], r"tissues.leaf.taks = \[\]: unknown key, did you mean 'tasks'"),
    "tissues.leaf.pretraining": (
        "every",
        r"tissues.leaf.pretraining = 'every': use a list of data sets, or all",
    ),
    "tissues.root.labels": ([], r"tissues.root.labels = \[\]: .*at least 1"),
    "model.dim": (16.5, r"model.dim = 16.5: .*integer"),
    "model.n_bins": (300, r"model.n_bins = 300: .*less than or equal to 250"),
    "model.key_max": ("cell", r"model.key_max = 'cell': .*head, batch"),
    "model.attention": ("flash", r"model.attention = 'flash': .*performer, softmax"),
    "model.gene_init": ("gene2vect", r"model.gene_init = 'gene2vect': .*did you mean 'gene2vec'"),
    "preprocessing.feature_set": ("unoin", r"feature_set = 'unoin': .*did you mean 'union'"),
    "pretraining.p_mask": (1.5, r"pretraining.p_mask = 1.5: .*less than 1"),
    "pretraining.bf16": ("yes", r"pretraining.bf16 = 'yes': .*boolean"),
    "data.max_cells": (100, r"data.max_cells = 100"),
    "data.max_cells.train": (3, r"data.max_cells.train = 3: unknown key, .*downstream, pretraining"),
}


@pytest.mark.parametrize("keys", BAD)
def test_a_mistake_is_one_line_with_key_value_and_what_is_allowed(tmp_path, keys):
    value, message = BAD[keys]
    with pytest.raises(InputError, match=message) as caught:
        changed(tmp_path, keys, value)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("mine.yaml: ")


def test_the_source_release_must_say_where_the_release_is(tmp_path):
    with pytest.raises(InputError, match="source 'release' needs the key 'release'"):
        changed(tmp_path, "source", "release")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text(PROFILES["demo"].read_text(encoding="utf-8") + "\nseed: 1\n")
    with pytest.raises(InputError, match=r"twice.yaml: line \d+: key 'seed' stands twice"):
        load_profile(path)


def test_a_missing_profile_names_those_there_are():
    message = r"demmo.yaml: no such file in 'profiles', did you mean 'demo.yaml'\? Allowed: demo.yaml, "
    with pytest.raises(InputError, match=message):
        load_profile(ROOT / "profiles" / "demmo.yaml")


# ---- refusals against a manifest

UNFIT = {
    "unknown data set": (
        "leaf.tasks",
        ["random:GSE273034"],
        r"'GSE273034' is not in data_manifest.yaml, did you mean",
    ),
    "wrong tissue": (
        "leaf.tasks",
        ["random:GSE235495"],
        r"'GSE235495' is a downstream data set of root, not a down",
    ),
    "wrong role": (
        "leaf.tasks",
        ["random:DRP009643"],
        r"'DRP009643' is a pretraining data set of leaf, not a down",
    ),
    "unknown corpus": (
        "leaf.pretraining",
        ["DRP00964"],
        r"leaf.pretraining: data set 'DRP00964' .*'DRP009643'",
    ),
    "downstream corpus": (
        "leaf.pretraining",
        ["ERP132245"],
        r"'ERP132245' is a downstream data set of leaf, not a pre",
    ),
    "one replicate": (
        "leaf.tasks",
        ["replicate:ERP132245"],
        r"'ERP132245' has 1 replicate\(s\).*Use random:ERP132245",
    ),
    "label": ("leaf.labels", ["stres"], r"has no label 'stres', did you mean 'stress'"),
    "classes": (
        "root.tasks",
        ["cross:SRP166333:SRP285817"],
        r"classes of label 'stress' differ: .*induction_08h",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_check_refuses_what_the_manifest_does_not_allow(tmp_path, manifest, case):
    keys, value, message = UNFIT[case]
    profile = changed(tmp_path, f"tissues.{keys}", value)
    with pytest.raises(InputError, match=message) as caught:
        profile.check(manifest)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("profile 'demo': tissues.")


def test_one_library_of_each_class_stands_in_for_a_replicate(tmp_path, manifest):
    changed(tmp_path, "tissues.root.tasks", ["replicate:SRP169576"]).check(manifest)  # ten libraries
    with pytest.raises(InputError, match="'SRP166333' has 1 replicate.*too few libraries"):  # three
        changed(tmp_path, "tissues.root.tasks", ["replicate:SRP166333"]).check(manifest)


def test_a_source_that_a_data_set_lacks_is_refused(tmp_path, manifest):
    profile = changed(tmp_path, "tissues.leaf.pretraining", ["SRP292306"], profile="release")
    with pytest.raises(InputError, match="SRP292306: no source 'release'"):
        profile.check(manifest)


def test_reading_a_profile_does_not_load_heavy_libraries():
    heavy = "{'torch', 'pandas', 'numpy', 'scanpy'}"
    code = f"import sys, scarafm_utils.profiles; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
