"""Episodes: each has every section, solutions stand in no learner's notebook, and answers are asserted."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scarafm_utils import episodes
from scarafm_utils.errors import InputError

PROJECT = Path(__file__).resolve().parents[1]
SECTIONS = ["Questions", "Objectives", "Before you start", "Timing", "Common mistakes", "Key points"]
EXERCISES = ["Exercise 1", "Exercise 2", "Spare exercise"]
each = pytest.mark.parametrize("name", episodes.EPISODES)


def text_of(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


def solution_code(name: str) -> list[str]:
    """Code cells that only the notebook with solutions has."""
    learner = [c.source for c in episodes.class_notebook(name, solutions=False).cells if c.cell_type == "code"]
    whole = [c.source for c in episodes.class_notebook(name, solutions=True).cells if c.cell_type == "code"]
    return [code for code in whole if code not in learner]


@each
def test_an_episode_has_every_section_and_takes_thirty_minutes(name):
    text = text_of(episodes.read_episode(name))
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [s for s in found if s in SECTIONS] == SECTIONS
    table = text.split("## Timing")[1].split("\n## ")[0]
    assert sum(map(int, re.findall(r"^\| (\d+) \|", table, re.MULTILINE))) == 30


@each
def test_two_exercises_and_a_spare_one_each_with_a_hidden_solution(name):
    text = text_of(episodes.read_episode(name))
    titles = re.findall(r"^```\{exercise-start\} (.+)$", text, re.MULTILINE)
    assert [title.split(": ")[0] for title in titles] == ["1", "2", "Spare"]
    labels = re.findall(r"^```\{exercise-start\}.+\n:label: (.+)$", text, re.MULTILINE)
    assert re.findall(r"^```\{solution-start\} (.+)\n:class: dropdown$", text, re.MULTILINE) == labels


def test_labels_of_exercises_are_unique():
    text = "\n".join(text_of(episodes.read_episode(name)) for name in episodes.EPISODES)
    labels = re.findall(r"^:label: (.+)$", text, re.MULTILINE)
    assert len(labels) == len(set(labels)) == 15


@each
def test_every_solution_asserts_its_answer(name):
    text = text_of(episodes.read_episode(name))
    assert text.count("{solution-start}") == text.count("{solution-end}") == 3
    asserting = [code for code in solution_code(name) if re.search(r"^\s*assert ", code, re.MULTILINE)]
    assert len(asserting) == 3


@each
def test_a_learner_finds_no_solution_and_an_empty_cell_in_its_place(name):
    learner = episodes.class_notebook(name, solutions=False)
    text = text_of(learner)
    assert "olution" not in text and "assert" not in text
    assert [c.source for c in learner.cells].count("# your answer\n") == 3
    assert re.findall(r"^### (Exercise \d|Spare exercise):", text, re.MULTILINE) == EXERCISES and solution_code(name)
    for code in solution_code(name):
        assert "\n" not in code or code not in text  # a text may name a function that a solution calls alone


@each
def test_no_cell_of_a_learner_needs_a_name_that_only_a_solution_makes(name):
    """Ruff's F821: a name that is used and never assigned."""
    cells = episodes.class_notebook(name, solutions=False).cells
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F821", "-"]
    result = subprocess.run(command, input=code, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@each
@pytest.mark.parametrize("solutions", [True, False])
def test_what_is_handed_out_is_plain_markdown_and_says_that_its_cells_are_simulated(name, solutions):
    notebook = episodes.class_notebook(name, solutions=solutions)
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert not re.search(r"\{[\w-]+\}`|^(```|:::)\{|^:label:|^\([\w-]+\)=", prose, re.MULTILINE)
    assert "Simulated cells" in notebook.cells[0].source
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in notebook.cells)


@each
def test_episodes_are_written_like_chapters(name):
    cells = episodes.read_episode(name).cells
    code = [c.source for c in cells if c.cell_type == "code"]
    assert len(code) <= 15
    for before, cell in zip(cells, cells[1:]):
        assert cell.cell_type == "markdown" or before.cell_type == "markdown", "prose before every cell"
    for source in code:
        assert len(source.splitlines()) <= 12, source
        assert not [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.Try))]


def test_a_solution_that_does_not_end_is_refused():
    import nbformat

    open_ended = nbformat.v4.new_markdown_cell("```{solution-start} ex-1\n:class: dropdown\n```\nThe answer.")
    with pytest.raises(InputError, match="not ended"):
        episodes._without_solutions([open_ended])


def test_an_unknown_episode_gets_a_suggestion():
    with pytest.raises(InputError, match="unknown episode '1_split': did you mean '1_splits'"):
        episodes.episode_path("1_split")


def test_the_class_folder_holds_all_that_is_needed_and_is_never_written_over(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    (data / "facts.json").write_text("{}")
    monkeypatch.setattr(episodes, "FOLDERS", (data,))
    folder = episodes.write_class_folder(tmp_path / "class", solutions=False)
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {f"{name}.ipynb" for name in (episodes.CHECK, *episodes.EPISODES)} <= names
    assert {"requirements.txt", "runtime.txt", "README.md", "data_manifest.yaml", "profiles/workshop.yaml"} <= names
    assert {"class_data/facts.json", "scarafm_utils/workshop.py", "scarafm_utils/simulation_fit.json"} <= names
    assert not [n for n in names if "solution" in n or "__pycache__" in n]
    with pytest.raises(InputError, match="is not empty"):
        episodes.write_class_folder(folder, solutions=True)


def test_without_data_no_folder_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(episodes, "FOLDERS", (tmp_path / "nothing",))
    with pytest.raises(InputError, match="were not made yet"):
        episodes.write_class_folder(tmp_path / "class", solutions=False)
    assert not (tmp_path / "class").exists()


def test_the_light_environment_has_the_pins_of_the_project_and_nothing_heavy():
    whole = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = (episodes.SOURCES / "folder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    light = [line for line in asked if "==" in line]
    assert len(light) > 8 and set(light) <= set(whole)
    assert not [line for line in light if line.startswith(("torch", "xgboost", "scanpy", "gensim"))]


def test_schedules_of_the_instructor_guide_add_up():
    text = (PROJECT / "book" / "workshop" / "instructor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d):(\d\d) \| (\d+) \|", text, re.MULTILINE)
    clock = [60 * int(h) + int(m) for h, m, _ in rows]
    starts = [i for i, minute in enumerate(clock) if minute == 0]
    assert len(starts) == 2
    for first, last, limit in ((0, starts[1], 240), (starts[1], len(rows), 120)):
        for i in range(first, last - 1):
            assert clock[i] + int(rows[i][2]) == clock[i + 1]
        assert clock[last - 1] + int(rows[last - 1][2]) <= limit
    assert clock[-1] + int(rows[-1][2]) == 120
