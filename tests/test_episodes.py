"""Episodes: each has every section, solutions stand in no learner's notebook, and answers are asserted."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from scarafm_utils import episodes, workshop
from scarafm_utils.errors import InputError
from scarafm_utils.workspace import Workspace

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


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("1_splits", ["GSE273033"]),
        ("2_vocabulary", ["ERP132245", "GSE273033"]),
        ("3_masked_model", ["SCP2703", "SRP247828"]),
        ("5_transfer", ["ERP132245", "GSE273033"]),
    ],
)
def test_an_episode_keeps_the_checksums_of_the_cells_it_reads(name, read, tmp_path):
    opened = workshop.class_workspace()
    workspace = Workspace(opened.profile, opened.manifest, tmp_path)
    digests = {}
    for dataset in ("ERP132245", "GSE273033", "SCP2703", "SRP247828"):
        cells = ad.AnnData(
            sparse.csr_matrix(np.ones((3, 2), "float32")),
            uns={"provenance": {"source": "simulated", "dataset": dataset}},
        )
        path = workspace.processed_path("leaf", dataset)
        path.parent.mkdir(parents=True, exist_ok=True)
        cells.write_h5ad(path)
        digests[dataset] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert episodes.episode_data(episodes.read_episode(name), workspace) == {d: digests[d] for d in read}


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


def schedules() -> list[list[tuple[int, int, str, str]]]:
    """Both tables of the instructor guide: clock in minutes, minutes, part and what."""
    text = (PROJECT / "book" / "workshop" / "instructor.md").read_text(encoding="utf-8").replace("&nbsp;", " ")
    rows = re.findall(r"^\| (\d):(\d\d) \| (\d+) \| (.*?) ?\| (.*?) ?\|$", text, re.MULTILINE)
    found = [(60 * int(h) + int(m), int(minutes), part, what) for h, m, minutes, part, what in rows]
    starts = [i for i, row in enumerate(found) if row[0] == 0]
    assert len(starts) == 2
    return [found[: starts[1]], found[starts[1] :]]


@pytest.mark.parametrize(("table", "limit", "parts"), [(0, 210, [1, 2, 3, 4, 5]), (1, 120, [1, 4, 5])])
def test_schedules_of_the_instructor_guide_add_up_minute_by_minute(table, limit, parts):
    rows = schedules()[table]
    for before, after in zip(rows, rows[1:]):
        assert before[0] + before[1] == after[0]
    assert rows[-1][0] + rows[-1][1] == limit
    starts = {part: i for i, (_, _, part, _) in enumerate(rows) if part.startswith("episode")}
    assert list(starts) == [f"episode {number}" for number in parts]
    for number in parts:
        text = text_of(episodes.read_episode(episodes.EPISODES[number - 1])).split("## Timing")[1].split("\n## ")[0]
        wanted = [(int(m), what) for m, what in re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE)]
        first = starts[f"episode {number}"]
        assert [(minutes, what) for _, minutes, _, what in rows[first : first + len(wanted)]] == wanted


def test_every_question_of_the_quiz_has_three_choices_and_one_explained_answer():
    text = (PROJECT / "book" / "workshop" / "quiz.md").read_text(encoding="utf-8")
    questions = text.split(":::{admonition} ")[1:]
    right = []
    for number, question in enumerate(questions, start=1):
        assert question.startswith(f"{number}. ")
        choices = question.split("```")[0]
        assert re.findall(r"^\*\*([A-Z])\.\*\* \S", choices, re.MULTILINE) == ["A", "B", "C"]
        assert "\n- " not in choices, "a bullet before a letter counts twice"
        answer = question.split("```{dropdown} Answer\n")[1]
        letter = re.match(r"\*\*([ABC])\.\*\*\n", answer)[1]
        others = set("ABC") - {letter}
        named = set(re.findall(r"[(; ]([ABC])(?=[);]| and )", answer))
        assert named == others, f"question {number}: why are {others} wrong?"
        right.append(letter)
    assert len(questions) == 7 and set(right) == {"A", "B", "C"} and max(map(right.count, right)) < 4
