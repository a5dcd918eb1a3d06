"""Conventions of the repository, each a test."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "scarafm_utils"
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.md"))
EPISODES = sorted((PROJECT / "workshop").glob("*.md"))
#: Characters of code that a page shows beside both side bars, 765 pixels at 12.8 pixels a letter.
CODE_WIDTH = 96
MODULES = sorted(p.stem for p in PACKAGE.glob("*.py") if p.stem != "__init__")

#: A module imports only modules that stand before it.
ORDER = """
errors files hdf5_files config manifest designs tasks names profiles workspace
effects words simulate_samples simulate_fit simulate_names simulate_programmes simulate
rows unpack tenx readers file_blocks standard lockfile downloads hub sources inventory
genes manifest_draft normalization vocabulary blocks labels processing_tables preprocessing
tokens gene2vec model checkpoints parallel masked corpus_report progress reports pretraining gene_neighbours
embeddings hidden plain_features features representations
splits costs
logistic perceptron estimators ensemble convolution fine_tuning cnn heads
scores maps measures paired variance configurations result_tables experiment fitting probes nulls planted repeats
evaluation
thresholds differences worlds audit rigor score_tables real_numbers
workshop workshop_data
contrasts statements claims
figure_style figure_rows comparisons
figures_bars figures_data figures_methods figures_maps figures_pretraining figures_scaling figures_units
figures_claims figures_rigor figures_worlds figures_workshop figures
page_tables attachments tables_data tables tables_pretraining data_page
cell_files embedding_files stored_heads predictions
browser printing page_fixes
tidy run_facts execution chapters explorer_data explorer run_picker provenance runs site_pages hover episodes site
results_archive lifeline damage grid own_pages own_data own_example doctor
run_commands cell_commands workshop_commands site_commands
data_requests fetching data_commands cli
""".split()  # noqa: SIM905 - groups of a line each


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module.split(".")[0]} if node.module else {a.name for a in node.names}
    return found & set(MODULES)


def test_every_module_has_a_place_in_the_order():
    assert set(MODULES) == set(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_before_it(module):
    before = set(ORDER[: ORDER.index(module)])
    assert imported_modules(PACKAGE / f"{module}.py") <= before


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_small_enough_to_hold_in_the_head(module):
    assert len((PACKAGE / f"{module}.py").read_text(encoding="utf-8").splitlines()) <= 330


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_take_few_positional_arguments_and_say_what_they_do(module):
    loaded = importlib.import_module(f"scarafm_utils.{module}")
    for name, function in inspect.getmembers(loaded, inspect.isfunction):
        if name.startswith("_") or function.__module__ != loaded.__name__:
            continue
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
        if module not in ("cli", "data_commands"):  # typer turns positional arguments into options
            assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 5, name
        assert function.__doc__, f"{module}.{name} has no docstring"


def test_light_modules_import_nothing_heavy():
    code = (
        "import sys, scarafm_utils, scarafm_utils.cli, scarafm_utils.manifest, scarafm_utils.profiles;"
        "print([m for m in ('torch', 'scanpy', 'anndata', 'pandas', 'sklearn', 'xgboost') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def code_cells(path: Path) -> list:
    return [c for c in jupytext.read(path, fmt="md:myst").cells if c.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_tell_a_story(path):
    notebook = jupytext.read(path, fmt="md:myst")
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.metadata.get("tags") for c in code].count(["parameters"]) == 1
    assert notebook.metadata["jupytext"]["text_representation"]["format_name"] == "myst"
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert len(code) <= 15
    for before, cell in zip(notebook.cells, notebook.cells[1:]):
        assert cell.cell_type == "markdown" or before.cell_type == "markdown", "prose before every cell"
    for cell in code:
        assert len(cell.source.splitlines()) <= 12, cell.source
        assert not re.search(r"^\s*(def|class|try)\b", cell.source, re.MULTILINE), cell.source
    assert notebook.cells[-1].cell_type == "markdown", "the last cell says what was learnt"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_hold_no_path_outside_the_parameters_cell(path):
    for cell in jupytext.read(path, fmt="md:myst").cells:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            strings = [n.value for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Constant)]
            assert not [s for s in strings if isinstance(s, str) and ("/" in s or re.search(r"\.\w{2,7}$", s))]


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EPISODES], ids=lambda p: p.stem)
def test_lines_of_code_are_shown_whole_on_a_page_of_1400_pixels(path):
    lines = [line for cell in code_cells(path) for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > CODE_WIDTH]


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EPISODES], ids=lambda p: p.stem)
def test_every_name_and_every_call_of_a_notebook_exists(path):
    """What would fail only when a chapter is run: a name never set, a function that is gone, an argument too many."""
    code = "\n".join(cell.source for cell in code_cells(path))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F821", "-"]
    checked = subprocess.run(command, input=code, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    modules = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "scarafm_utils":
            modules |= {a.asname or a.name: importlib.import_module(f"scarafm_utils.{a.name}") for a in node.names}
    assert modules
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), ast.unparse(node)
        name, _, function = ast.unparse(node.func).partition(".") if isinstance(node, ast.Call) else ("", "", "")
        if name in modules and "." not in function:
            assert fits(getattr(modules[name], function), node), ast.unparse(node)


def fits(function, call: ast.Call) -> bool:
    """Whether a function takes the arguments of a call; what is unpacked may be any of them."""
    unpacked = any(isinstance(a, ast.Starred) for a in call.args) or None in [k.arg for k in call.keywords]
    signature = inspect.signature(function)
    bind = signature.bind_partial if unpacked else signature.bind
    try:
        bind(*[a for a in call.args if not isinstance(a, ast.Starred)], **{k.arg: k for k in call.keywords if k.arg})
    except TypeError:
        return False
    return True


def test_a_call_that_does_not_fit_is_found():
    def two(one, *, other=0): ...

    right, wrong = ["f(1)", "f(1, other=2)", "f(1, **more)"], ["f()", "f(1, 2)", "f(1, x=2)"]
    assert [text for text in (*right, *wrong) if fits(two, ast.parse(text).body[0].value)] == right


@pytest.mark.parametrize("name", ["07_audit", "08_rigor"])
def test_counts_in_prose_are_glued(name):
    cells = jupytext.read(PROJECT / "notebooks" / f"{name}.md", fmt="md:myst").cells
    prose = " ".join(c.source for c in cells if c.cell_type == "markdown")
    shown = [c.metadata.get("mystnb", {}) for c in cells]
    prose += " ".join(s.get("figure", {}).get("caption", "") + s.get("image", {}).get("alt", "") for s in shown)
    numbers = r"\d[\d.,]*|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|hundred"
    things = r"librar|label|gene|pair|way|task|data set|stud|neighbour|strongest|marks|cells|points"
    assert re.findall(rf"\b(?:{numbers}) (?:\w+ )?(?:{things})\w*", prose) == []


def test_labels_are_unique_across_pages():
    pages = [*NOTEBOOKS, *sorted((PROJECT / "book").glob("*.md"))]
    text = "\n".join(p.read_text(encoding="utf-8") for p in pages)
    labels = re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)
    labels += re.findall(r"^\s*:?name:\s+\"?((?:fig|tab)-[\w-]+)", text, re.MULTILINE)
    assert len(labels) == len(set(labels))


def test_no_tracked_text_names_a_machine_path_or_a_host_for_packages():
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in listed.split():
        if name.endswith((".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".sh")) or name == "Makefile":
            text = (PROJECT / name).read_text(encoding="utf-8")
            assert str(PROJECT.parent) + "/" not in text.replace("tests/test_conventions.py", ""), name
            assert "index-url" not in text or name == "tests/test_conventions.py", name


def test_conda_installs_the_same_pins_as_pip():
    conda = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert "-r requirements.txt" in pip


def test_every_direct_dependency_is_pinned_exactly_and_no_cuda_package_is_named():
    pins = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    names = {line.split("==")[0].lower() for line in pins.splitlines() if "==" in line}
    project = re.search(r"^dependencies = \[(.*?)^\]", (PROJECT / "pyproject.toml").read_text(), re.S | re.M)[1]
    direct = {re.split(r"[=><;]", d)[0].lower().replace("_", "-") for d in re.findall(r'^\s+"([^"]+)"', project, re.M)}
    assert direct <= names
    assert not [n for n in names if n.startswith(("nvidia", "cuda", "triton"))]
    assert all("==" in line for line in pins.splitlines() if line and not line.startswith("#"))


def test_the_readme_has_one_line_for_each_module_in_import_order():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8").split("## The package")[1]
    assert re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE) == ORDER
