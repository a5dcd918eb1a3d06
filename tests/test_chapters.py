"""Chapters: parameters are validated before a kernel starts, a failed run leaves nothing."""

from __future__ import annotations

import nbformat
import pytest

from scarafm_utils import chapters, provenance, tidy
from scarafm_utils.errors import ChapterError, InputError
from scarafm_utils.workspace import open_workspace


def test_parameters_have_type_default_and_help():
    found = chapters.parameters("leaf_results")
    assert found["task"].type == "str"
    assert found["n_train"].type == "list" and found["n_train"].default == []
    assert all(p.help for p in found.values())


@pytest.mark.parametrize("chapter", chapters.CHAPTERS)
def test_every_parameter_of_every_chapter_has_help_and_a_known_type(chapter):
    for p in chapters.parameters(chapter).values():
        assert p.help and p.type in {"str", "int", "float", "list"}, p


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"n_train": "100,all"}, {"n_train": [100, "all"]}),
        ({"n_train": [100]}, {"n_train": [100]}),
        ({"representations": "raw,WM"}, {"representations": ["raw", "WM"]}),
        ({"threads": "2"}, {"threads": 2}),
        ({"task": 'random:"x'}, {"task": 'random:"x'}),
    ],
)
def test_values_get_the_type_of_their_default(given, kept):
    assert chapters.validate("leaf_results", given) == kept


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_tran": "100"}, r"no parameter 'n_tran': did you mean 'n_train'"),
        ({"representations": "raw,CSL"}, r"'representations': unknown value 'CSL': did you mean 'CLS'"),
        ({"heads": "LRR"}, r"'heads': unknown value 'LRR': did you mean 'LR'"),
        ({"n_train": "0"}, r"'n_train': '0' is not allowed, use a number of cells or 'all'"),
        ({"seeds": "x,1"}, r"'seeds': 'x' is not allowed, use whole numbers from 0"),
        ({"seeds": "-1"}, r"'seeds': '-1' is not allowed"),
        ({"threads": "0"}, r"'threads': 0 is not allowed, use 1 or more"),
        ({"n_train": ""}, r"an empty list"),
        ({"threads": "two"}, r"'two' is not of type int"),
        ({"fidelity": "papr"}, r"did you mean 'paper'"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(params, message):
    with pytest.raises(InputError, match=message) as caught:
        chapters.validate("leaf_results", params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("chapter", "params", "message"),
    [
        ("leef_results", {}, r"unknown chapter 'leef_results': did you mean 'leaf_results'"),
        ("leaf_results", {"task": "random:GSE000"}, r"'GSE000' is not in data_manifest"),
        ("leaf_results", {"task": "random:SRP169576"}, r"'SRP169576' is a downstream data set of root"),
        ("leaf_results", {"task": "replicate:ERP132245"}, r"'ERP132245' has 1 replicate"),
        ("leaf_results", {"task": "randm:ERP132245"}, r"did you mean 'random'"),
        ("leaf_results", {"task": "random:ERP132245", "label": "s_phase"}, r"has no label 's_phase'"),
        ("preprocessing", {"tissue": "flower"}, r"has no tissue 'flower'"),
        ("leaf_results", {"profile": "workshop"}, r"choose the profile with --profile NAME, not with -p"),
    ],
)
def test_bad_tasks_are_refused_before_a_kernel_starts_and_leave_nothing(chapter, params, message, tmp_path):
    out = tmp_path / "run.ipynb"
    with pytest.raises(InputError, match=message):
        chapters.run(chapter, params, profile="demo", out=out)
    assert list(tmp_path.iterdir()) == []


def test_slugs_are_page_addresses():
    assert chapters.unit_slug("cross:GSE273033:ERP132245") == "cross-GSE273033-ERP132245"
    assert chapters.unit_slug("random:A", label="hair") == "random-A-hair"
    assert chapters.unit_slug("all") == "index"
    assert chapters.unit_slug("root") == "root"


SOURCE = """---
kernelspec: {name: python3, display_name: Python 3, language: python}
---
(sec-trial)=
# Trial

```{code-cell} ipython3
:tags: [parameters]
task: str = "random:ERP132245"  # a task
label: str = "stress"  # a label
profile: str = "demo"  # a profile
```

```{code-cell} ipython3
---
mystnb:
  figure:
    name: fig-trial
    caption: What was tried.
---
print(task, __file__ if "__file__" in globals() else "")
```
"""


def run_source(monkeypatch, tmp_path, source, params):
    (tmp_path / "trial.md").write_text(source)
    spec = chapters.Chapter("leaf_results", str(tmp_path / "trial.md"), unit="task", tissue="leaf")
    monkeypatch.setattr(chapters, "CHAPTERS", {"leaf_results": spec})
    return chapters.run("leaf_results", params, profile="demo", out=tmp_path / "out.ipynb")


def test_a_run_is_executed_tidied_and_stored(monkeypatch, tmp_path):
    path = run_source(monkeypatch, tmp_path, SOURCE, {"task": "random:SRP398011"})
    text = path.read_text()
    book = nbformat.reads(text, as_version=4)
    assert "random:SRP398011" in book.cells[-1].outputs[0].text
    assert book.cells[0].source.startswith("# Leaf, random: SRP398011")
    assert tidy.SIMULATED in book.cells[0].source
    assert "figure" not in book.cells[-1].metadata["mystnb"], "a grid page must not repeat a figure name"
    assert "papermill" not in text and str(tmp_path) not in text
    assert book.metadata["scarafm"]["parameters"]["task"] == "random:SRP398011"


def test_the_canonical_run_keeps_labels_and_marks_its_captions(monkeypatch, tmp_path):
    book = nbformat.read(run_source(monkeypatch, tmp_path, SOURCE, {"task": "all"}), as_version=4)
    assert book.cells[0].source.startswith("(sec-trial)=\n# Trial\n")
    figure = book.cells[-1].metadata["mystnb"]["figure"]
    assert figure["name"] == "fig-trial" and "Simulated cells" in figure["caption"]


def test_a_figure_of_committed_real_numbers_is_not_called_simulated():
    cell = nbformat.v4.new_code_cell("draw()", metadata={"tags": ["real-cells"]})
    cell.metadata["mystnb"] = {"figure": {"name": "fig-real", "caption": "Real cells."}}
    tidy._tidy_code(cell, index=True, notice="**Simulated cells, not the paper's.**")
    assert cell.metadata["mystnb"]["figure"]["caption"] == "Real cells."


@pytest.mark.parametrize("index", [True, False])
def test_a_caption_says_what_is_true_of_this_drawing_only(index):
    from scarafm_utils.figure_style import FIGURE_TYPE

    data = {"image/png": "", FIGURE_TYPE: {"function": "x", "svg": "", "csv": "", "remark": "Hollow marks are new."}}
    cell = nbformat.v4.new_code_cell("draw()", metadata={"mystnb": {"figure": {"caption": "What was drawn."}}})
    cell.outputs = [nbformat.v4.new_output("execute_result", data=data, execution_count=1)]
    tidy._tidy_code(cell, index=index, notice="Simulated.")
    caption = cell.metadata["mystnb"]["figure"]["caption"] if index else cell.metadata["caption"]
    assert caption == "What was drawn.\nHollow marks are new.\nSimulated."


def test_a_drawing_without_cells_is_not_called_simulated():
    for cell in chapters.read_notebook(chapters.get_chapter("pretraining")).cells:
        if "architecture_figure" in cell.source:
            tidy._tidy_code(cell, index=True, notice="**Simulated cells, not the paper's.**")
            assert "Simulated" not in cell.metadata["mystnb"]["figure"]["caption"]
            assert provenance._cells(cell, {"source": "simulated"}) == "none, a drawing"
            break
    else:
        pytest.fail("the chapter draws no architecture")


def test_an_input_error_inside_a_notebook_is_one_line_and_leaves_nothing(monkeypatch, tmp_path):
    failing = "from scarafm_utils.errors import InputError\nraise InputError('no cells')\n(task"
    source = SOURCE.replace("print(task", failing)
    with pytest.raises(InputError, match="^no cells$"):
        run_source(monkeypatch, tmp_path, source, {})
    assert not (tmp_path / "out.ipynb").exists()


def test_an_unexecuted_cell_is_refused():
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    with pytest.raises(InputError, match="cell 1 was not executed"):
        tidy.check_executed(book, name="trial")


def test_paths_of_this_machine_are_hidden_and_everything_else_is_left_alone(monkeypatch):
    home = str(tidy.Path.home())
    text = f"{tidy.PROJECT}/scarafm_utils/x.py and {home}/secret and {home}land <td>1</td>"
    assert tidy._scrub(text) == f"./scarafm_utils/x.py and ~/secret and {home}land <td>1</td>"
    monkeypatch.setenv("HOME", "/")
    assert tidy._scrub({"text/html": ["<td>1</td>"]}) == {"text/html": ["<td>1</td>"]}
    assert tidy._scrub({"image/png": "a/b+/c"}) == {"image/png": "a/b+/c"}


def test_a_page_of_real_cells_carries_the_notice_of_its_profile_and_not_the_simulated_one():
    workspace = open_workspace("real_root")
    assert "Simulated" not in tidy.page_notice(workspace) + tidy.caption_notice(workspace)
    assert "The label is the cell type, not stress." in tidy.page_notice(workspace)
    assert "The label is the cell type, not stress." in tidy.caption_notice(workspace)


def test_a_kernel_that_dies_is_named_and_leaves_nothing(monkeypatch, tmp_path):
    source = SOURCE.replace("print(task", "import os\nos._exit(9)\n(task")
    with pytest.raises(ChapterError, match="leaf_results random-ERP132245: its kernel died"):
        run_source(monkeypatch, tmp_path, source, {})
    assert not (tmp_path / "out.ipynb").exists()


def test_threads_of_a_run_are_those_of_every_head():
    assert open_workspace("demo", threads=2).profile.threads == 2
    open_workspace("demo", threads=1)


def test_a_run_with_a_label_of_its_own_does_not_take_the_place_of_an_index_page():
    demo = open_workspace("demo")

    def folder(chapter, slug, **params):
        path = chapters.default_output(chapters.get_chapter(chapter), slug, params, demo)
        return path.relative_to(demo.folder).parts[0]

    assert folder("claims", "index") == "runs"
    assert folder("claims", "index", label="hair") == folder("leaf_results", "index", label="hair") == "custom"
    assert folder("leaf_results", "random-A-hair", label="hair", task="random:A") == "runs"
