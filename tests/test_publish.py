"""Publishing: the workflow says what the README says, and a branch gets exactly what was built."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


def workflow(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(loaded):
    return [step for job in loaded["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_actions_are_pinned_to_commits_and_may_do_little(path):
    loaded = workflow(path)
    used = [step["uses"] for step in steps(loaded) if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in used)
    assert loaded["permissions"] == {"contents": "read"}
    assert [name for name, job in loaded["jobs"].items() if "permissions" in job] == ["publish"]
    assert loaded["jobs"]["publish"]["permissions"] == {"contents": "write"}
    assert "pull_request_target" not in loaded[True], "a pull request never meets a token that writes"


def test_the_site_is_built_with_the_commands_of_the_readme():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    jobs = workflow(PROJECT / ".github" / "workflows" / "site.yml")["jobs"]
    commands = {name: [step.get("run") for step in job["steps"]] for name, job in jobs.items()}
    for command in ("make book", "make test"):
        assert f"    {command} " in readme and command in commands["demo"]
    assert "make check" in commands["demo"] and "make book PROFILE=laptop" in commands["laptop"]


def test_every_command_of_the_workflow_exists():
    targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    for step in steps(workflow(PROJECT / ".github" / "workflows" / "site.yml")):
        program, *arguments = step.get("run", "make book").split()
        assert arguments[0] in targets if program == "make" else (PROJECT / arguments[0]).is_file(), step


def test_artifacts_have_names_that_github_takes():
    for step in steps(workflow(PROJECT / ".github" / "workflows" / "site.yml")):
        if "upload-artifact" in step.get("uses", ""):
            name = re.sub(r"\$\{\{.*?\}\}", "x", step["with"]["name"])
            assert re.fullmatch(r"[\w-]+", name)


def test_pull_requests_and_the_week_have_their_jobs():
    loaded = workflow(PROJECT / ".github" / "workflows" / "site.yml")
    assert "pull_request" in loaded[True] and loaded[True]["schedule"][0]["cron"].endswith("* * 0")
    assert "github.event_name != 'pull_request'" in loaded["jobs"]["publish"]["if"]


def sh(script, *arguments, cwd):
    return subprocess.run(["sh", f"scripts/{script}", *map(str, arguments)], cwd=cwd, capture_output=True, text=True)


def git(*arguments, cwd):
    done = subprocess.run(["git", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.fixture
def checkout(tmp_path):
    """A clone with the scripts, beside a bare repository that plays the remote."""
    git("init", "-q", "--bare", tmp_path / "remote.git", cwd=tmp_path)
    folder = tmp_path / "clone"
    git("clone", "-q", tmp_path / "remote.git", folder, cwd=tmp_path)
    shutil.copytree(PROJECT / "scripts", folder / "scripts")
    shutil.copy(PROJECT / "_config.yml", folder)
    return folder


def site_folder(folder, *names):
    folder.mkdir(parents=True)
    for name in ("index.html", *names):
        (folder / name).write_text(name)
    return folder


def published(checkout):
    return sorted(git("ls-tree", "-r", "--name-only", "gh-pages", cwd=checkout.parent / "remote.git"))


@needs_git
def test_a_site_is_published_and_another_beside_it(checkout, tmp_path):
    def publish(*arguments):
        done = sh("publish.sh", *arguments, cwd=checkout)
        assert done.returncode == 0, done.stderr

    publish(site_folder(tmp_path / "a", "old.html", "_x.css"))
    assert published(checkout) == [".nojekyll", "_x.css", "index.html", "old.html"]
    publish(site_folder(tmp_path / "b", "real.html"), "laptop")
    publish(site_folder(tmp_path / "c", "new.html"))
    beside = ["laptop/.beside", "laptop/index.html", "laptop/real.html"]
    assert published(checkout) == [".nojekyll", "index.html", *beside, "new.html"]
    publish(site_folder(tmp_path / "d"), "laptop")
    assert published(checkout) == [".nojekyll", "index.html", *beside[:2], "new.html"]
    assert git("rev-list", "--count", "gh-pages", cwd=tmp_path / "remote.git") == ["1"]


@needs_git
def test_a_folder_without_a_site_is_not_published(checkout, tmp_path):
    (tmp_path / "empty").mkdir()
    done = sh("publish.sh", tmp_path / "empty", cwd=checkout)
    assert done.returncode == 1 and "holds no site" in done.stderr


@needs_git
def test_what_is_gathered_holds_the_site_and_its_sources(checkout):
    (checkout / "notebooks").mkdir()
    (checkout / "notebooks" / "a.md").write_text("a")
    (checkout / ".hidden").write_text("")
    git("add", "-A", cwd=checkout)
    assert "no site" in sh("gather_site.sh", "out", cwd=checkout).stderr
    site_folder(checkout / "_build" / "html")
    assert sh("gather_site.sh", "_build/public", cwd=checkout).returncode == 0
    names = {p.relative_to(checkout / "_build/public").as_posix() for p in (checkout / "_build/public").rglob("*")}
    assert {"index.html", "notebooks/a.md", "postBuild", ".nojekyll", "_config.yml"} <= names
    assert not {".hidden", ".git"} & names


def test_the_repository_is_named_in_one_line(checkout):
    before = yaml.safe_load((checkout / "_config.yml").read_text())
    assert sh("name_repository.sh", "https://github.com/o/r", cwd=checkout).returncode == 0
    after = yaml.safe_load((checkout / "_config.yml").read_text())
    assert after["repository"].pop("url") == "https://github.com/o/r"
    assert before["repository"].pop("url") != "https://github.com/o/r" and after == before
    assert sh("name_repository.sh", "nonsense", cwd=checkout).returncode == 1
