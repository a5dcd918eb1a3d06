"""Cells of one's own: which tasks their metadata allow, and the whole way through them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
from tiny_project import copy_project, scarafm

from scarafm_utils import own_data
from scarafm_utils.errors import InputError
from scarafm_utils.manifest import load_manifest
from scarafm_utils.own_example import write_example
from scarafm_utils.profiles import load_profile


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    write_example(folder, n_cells=120, n_genes=200)
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Results go to a folder of the test; profiles are those of the project."""
    (tmp_path / "profiles").symlink_to(own_data.PROJECT / "profiles")
    monkeypatch.setattr(own_data, "PROJECT", tmp_path)
    return tmp_path


def test_the_example_has_names_of_its_own_and_a_manifest_that_describes_it(example):
    manifest = load_manifest(example / "example_manifest.yaml")
    assert list(manifest) == ["study_a", "study_b"]
    for name, dataset in manifest.items():
        cells = ad.read_h5ad(example / f"{name}.h5ad")
        words = {w for group in dataset.labels["stress"].classes.values() for w in group}
        assert words == set(cells.obs["treatment"]) and cells.n_obs == dataset.n_cells
        assert cells.obs["library"].nunique() == dataset.libraries
        assert (dataset.obs.replicate == "rep") == ("rep" in cells.obs)
    with pytest.raises(InputError, match="study_a.h5ad is there already"):
        write_example(example)


def test_every_task_that_the_metadata_allow_is_found_and_no_other(example):
    manifest = load_manifest(example / "example_manifest.yaml")
    assert own_data.allowed_tasks(manifest, tissue="leaf", label="stress") == (
        "random:study_a", "random:study_b", "replicate:study_a",
        "cross:study_a:study_b", "cross:study_b:study_a",
    )  # fmt: skip
    other = manifest["study_b"].model_copy(update={"stress": "heat"})
    alone = own_data.allowed_tasks(manifest | {"study_b": other}, tissue="leaf", label="stress")
    assert not any(task.startswith("cross") for task in alone), "two different stresses are no pair"
    assert own_data.allowed_tasks(manifest, tissue="root", label="stress") == ()


def test_a_profile_is_written_with_the_sizes_of_another(example, project, monkeypatch):
    seen = []
    monkeypatch.setattr(own_data, "open_workspace", lambda profile: profile)
    monkeypatch.setattr(own_data, "link_data", lambda workspace, folder: seen.append(folder))
    study = own_data.plan_own_study(
        example / "example_manifest.yaml", example, chapter="leaf_results", base="workshop"
    )
    assert study.profile == "artifacts/example_manifest/profile.yaml" and seen == [example]
    own, base = load_profile(project / study.profile), load_profile(own_data.PROJECT / "profiles" / "workshop.yaml")
    assert own.evaluation == base.evaluation and own.source == "local"
    assert own.tissues["leaf"].tasks == list(study.tasks)
    assert "not use them" in own.notice


@pytest.mark.parametrize(
    ("chapter", "label", "rename", "message"),
    [
        ("root_results", "", "mine", r"mine.yaml: no downstream data set of root \(found: leaf\)"),
        ("leaf_results", "hair", "mine", r"no data set has the label 'hair', Allowed: stress"),
        ("scaling_curves", "", "mine", r"'scaling_curves' evaluates nothing, use leaf_results or root_results"),
        ("leaf_results", "", "demo", r"'demo' is the name of a profile of the project. Rename the manifest"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(example, project, tmp_path, chapter, label, rename, message):
    manifest = tmp_path / f"{rename}.yaml"
    manifest.write_text((example / "example_manifest.yaml").read_text())
    with pytest.raises(InputError, match=message) as caught:
        own_data.plan_own_study(manifest, example, chapter=chapter, label=label)
    assert "\n" not in str(caught.value) and not (project / "artifacts").exists()


def test_the_command_needs_manifest_and_folder():
    command = [Path(sys.executable).with_name("scarafm"), "run", "leaf_results", "--manifest", "mine.yaml"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "scarafm: cells of your own need both: --manifest FILE and --data-dir FOLDER\n"


STUDY = own_data.OwnStudy("demo", "leaf", "stress", ("random:GSE273033", "replicate:GSE273033"))


def test_each_set_of_parameters_meets_each_task_or_the_one_it_names():
    sets = [{"heads": "LR"}, {"heads": "XGB", "task": "replicate:GSE273033"}]
    found = [(r["heads"], r["task"], r["label"]) for r in own_data.own_runs(STUDY, "leaf_results", sets)]
    assert found == [
        ("LR", "random:GSE273033", "stress"), ("LR", "replicate:GSE273033", "stress"),
        ("XGB", "replicate:GSE273033", "stress"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hads": "LR"}, "has no parameter 'hads': did you mean 'heads'"),
        ({"task": "random:GSE27303"}, "task 'random:GSE27303' is not possible with this manifest: did you mean"),
    ],
)
def test_a_wrong_parameter_is_refused_before_the_first_run(params, message):
    with pytest.raises(InputError, match=message):
        own_data.own_runs(STUDY, "leaf_results", [{}, params])


def commands_of(page: Path) -> list[list[str]]:
    """The page's `scarafm` commands as a shell reads them: a backslash at the end of a line goes on in the next."""
    lines = page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ scarafm ")) for line in lines if line.startswith("$ scarafm ")]


def test_the_page_shows_commands_that_end():
    """Quick stand-in for the slow walk below: no command of the page is cut at the end of a line."""
    commands = commands_of(Path(__file__).resolve().parents[1] / "book" / "own_cells.md")
    assert [c[:2] for c in commands] == [["data", "example"], ["data", "init"]] + [["run", "leaf_results"]] * 2
    assert not [word for command in commands for word in command if "\\" in word]
    assert commands[2][-1] == "--dry-run" and commands[3][-2:] == ["--profile", "demo"]


@pytest.mark.slow
def test_the_page_can_be_followed_from_start_to_end(tmp_path):
    """Every command of the page is run as it stands there, with the sizes of a small profile."""
    folder = copy_project(tmp_path)
    commands = commands_of(folder / "book" / "own_cells.md")
    for command in commands:
        process = scarafm(folder, *("tiny" if word == "demo" else word for word in command))
        printed = process.communicate()[0]
        assert process.returncode == 0, printed
    assert printed.count("page: ") == 6 and "not computed: WM, PCA_1" in printed
    assert "profile 'release'" in printed, "the reason says how to get real weights"
    results = pd.read_csv(folder / "artifacts" / "example_manifest" / "tables" / "results.csv")
    raw = results[results["representation"] == "raw"]
    assert raw["auroc"].notna().all() and raw["task"].nunique() == 5
    pages = [folder / line.removeprefix("page: ") for line in printed.splitlines() if line.startswith("page: ")]
    assert all("The paper did not use them" in page.read_text(encoding="utf-8") for page in pages)
    check_that_grid_and_out_are_heeded(folder)


def check_that_grid_and_out_are_heeded(folder: Path) -> None:
    """One task with two heads, one run each; then one of them into a file of one's own."""
    command = "run leaf_results --manifest my_cells/other.yaml --data-dir my_cells --profile tiny"
    command += " -p task=random:study_a"
    (folder / "my_cells" / "other.yaml").write_text((folder / "my_cells" / "example_manifest.yaml").read_text())
    process = scarafm(folder, *command.split(), "--grid", "heads=LR,XGB")
    printed = process.communicate()[0]
    assert process.returncode == 0 and "done: [2/2] random:study_a" in printed and "not computed: WM" in printed
    assert len([line for line in printed.splitlines() if line.startswith("page: ") and "random-study_a" in line]) == 2
    process = scarafm(folder, *command.split(), "-p", "heads=LR", "--out", "mine.ipynb")
    printed = process.communicate()[0]
    assert process.returncode == 0 and "page: " not in printed and (folder / "mine.ipynb").exists(), printed
