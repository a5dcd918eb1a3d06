"""Generated parts of prose pages: what the first page says, the state of every run, how to cite."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .chapters import evaluation_runs, page_runs
from .data_page import told_apart
from .files import write_text
from .provenance import origin_markdown, run_lines
from .real_numbers import DATASET, PROFILE, read_real_numbers
from .run_facts import failure_path
from .runs import read_run
from .statements import STATEMENTS, Statement
from .tidy import caption_notice, escape_markup, run_sizes, run_title
from .words import label_words
from .workspace import PROJECT, Workspace, open_workspace

if TYPE_CHECKING:
    import pandas as pd

    from .manifest import Dataset, Label

_QUOTES = """:::{{card}} What the paper claims
:class-card: front-card

{claims}

These are the paper's words, with their section; “…” marks a cut. {{doc}}`Each is tested <executed/claims/index>`.
:::
"""

_BUILD = """:::{{card}} {heading}
:class-card: front-card

{build}
:::
"""

_SIMULATED = """Profile `{profile}`, **simulated cells**: {sizes}
**This build states no finding.**

It shows how the analysis works: counts become tokens, an encoder learns to guess hidden ones, and
classifiers are tested by the three {{term}}`protocols <protocol>`.
What lowers a score is known here, and {{doc}}`one page <executed/compendium/index>` switches on one cause
at a time.
What the paper's data say, only real cells can show: {{ref}}`some numbers <sec-real-numbers>` stand below."""

_REAL = """Profile `{profile}`, **real cells** of {datasets} (source `{source}`). {label}
Mean AUROC over representations, heads and tasks; in brackets the same from hard labels:

{table}

Intervals, and every single result, stand in the chapters."""

_KEPT = """(sec-real-numbers)=
## Numbers from real cells

The table gives the AUROC of logistic regression on raw values, in a random split and with each of {n} libraries
held out in turn.
What is told apart are cell types or states of the cell cycle, not stress, so these numbers test no claim of the
paper; they show how much libraries of one study differ.
They are kept in the repository: {origin}.{part}

{table}

The {{doc}}`audit <executed/audit/index>` and the chapter of {{doc}}`rigor <executed/rigor/index>` tell what they
mean.
"""


def write_pages(workspace: Workspace, folder: Path) -> list[Path]:
    """Write the parts that prose pages include, one file for each."""
    parts = {
        "quotes.md": quotes_text(),
        "front.md": front_text(workspace),
        "kept.md": kept_text(),
        "claims.md": claims_text(linked=(folder.parent / "claims" / "index.ipynb").exists()),
        "status.md": status_text(workspace),
        "citation.bib": bibtex(yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))),
    }
    return [write_text(folder / name, text) for name, text in parts.items()]


def quotes_text() -> str:
    """The card of the paper's claims: whole sentences or their beginnings, with the section of each."""
    claims = "\n".join(dict.fromkeys(f"- “{s.sentence}” ({_place(s)})" for s in STATEMENTS.values()))
    return _QUOTES.format(claims=claims)


def _place(says: Statement) -> str:
    """Where the paper says it: the abstract, or a section by its number."""
    number = says.section.split()[0]
    return f"section\N{NO-BREAK SPACE}{number}" if number[0].isdigit() else number.lower()


def front_text(workspace: Workspace) -> str:
    """The card of the first page that says what this build is and shows.

    A simulated build states no finding; results stand here only where a profile's cells are real.
    """
    profile = workspace.profile
    if workspace.simulated:
        build = _SIMULATED.format(profile=profile.name, sizes=run_sizes(workspace))
        return _BUILD.format(heading="What this build shows", build=build)
    names = [d.id for tissue in profile.tissues for d in workspace.datasets(tissue, role="downstream")]
    table = found_table(workspace)
    facts = {"profile": profile.name, "source": profile.source, "label": caption_notice(workspace)}
    build = _REAL.format(**facts, datasets=", ".join(names), table=table)
    return _BUILD.format(heading="What this build found", build=build)


def found_table(workspace: Workspace) -> str:
    """Mean AUROC by label (rows) and protocol (columns); a sentence where there are no results."""
    from .result_tables import read_results
    from .tables import in_words, protocol_means

    if not (workspace.tables_dir / "results.csv").exists():
        return "No run of this profile is finished."
    rows, shown = [], []
    for (tissue, label), results in read_results(workspace).groupby(["tissue", "label"], sort=False):
        means = protocol_means(results)
        means = means[means["n_tasks"] > 0]
        shown += [name for name in means.index if name not in shown]
        both = {p: f"{in_words(r['auroc'])} ({in_words(r['auroc_hard'])})" for p, r in means.iterrows()}
        rows.append((f"{tissue}, {label_words(label)}", both))
    table = [[name, *(both.get(protocol, "–") for protocol in shown)] for name, both in rows]
    return _markdown_table(["label", *shown], table)


def kept_text() -> str:
    """The numbers from real cells that are kept in the repository, with origin, date and command."""
    table, facts = read_real_numbers()
    shift = table[(table["panel"] == "shift") & (table["variant"] == "as it stands")]
    dataset = open_workspace(PROFILE).manifest[DATASET]
    rows = [_kept_row(dataset.labels[name], part) for name, part in shift.groupby("label", sort=False)]
    head = ["cells told apart", "random split", "held out: lowest", "held out: median", "held out: highest"]
    n, said = shift["held_out"].nunique(), origin_markdown(facts)
    return _KEPT.format(n=n, origin=said, part=_part_of(dataset, facts["cells"]), table=_markdown_table(head, rows))


def _part_of(dataset: Dataset, cells: int) -> str:
    """A sentence on the whole of a data set where a file holds fewer cells than it; else nothing."""
    if cells >= dataset.n_cells:
        return ""
    whole = f"{dataset.n_cells:,} cells" + (f" in {dataset.libraries} libraries" if dataset.libraries else "")
    return f"\nThat file is a reduced one: the data set has {whole}."


def _kept_row(label: Label, part: pd.DataFrame) -> list[str]:
    held_out = part.loc[part["protocol"] == "replicate", "auroc"]
    random = part.loc[part["protocol"] == "random", "auroc"].mean()
    values = [random, held_out.min(), held_out.median(), held_out.max()]
    return [told_apart(label), *(f"{value:.3f}" for value in values)]


def claims_text(*, linked: bool = False) -> str:
    """The paper map's list of claims: the sentence with the claim in bold, where it is tested, what is measured.

    Where `linked`, an item leads to the section of the claims chapter that is about it.
    """
    items = []
    for s in STATEMENTS.values():
        sentence = s.sentence.replace(s.quote, f"**{s.quote}**")
        section = f"{{ref}}`{claim_label(s.name)}`, " if linked else ""
        items += [
            f"1. “{sentence}” ({_place(s)})",
            f"   - Here: {section}`claims.{s.name}`",
            f"   - Measured: {s.estimand}",
            f"   - Unit: {s.unit}",
        ]
    return "\n".join(items)


def claim_label(name: str) -> str:
    """The label of a claim's section in the chapter of claims.

    >>> claim_label("cross_plateau")
    'claim-cross-plateau'
    """
    return f"claim-{name.replace('_', '-')}"


def status_text(workspace: Workspace) -> str:
    """One row for each run of the profile's grid: state, date, duration, memory, machine, versions, code."""
    asked, runs = evaluation_runs(workspace), page_runs(workspace)
    facts = [_facts_of(workspace, chapter, slug) for chapter, slug in runs]
    keys = list(dict.fromkeys(_environment(f) for f in facts if _environment(f)))
    names = {key: chr(ord("A") + i) for i, key in enumerate(keys)}
    rows = []
    for (chapter, slug), found in zip(runs, facts, strict=True):
        task, label = asked.get((chapter, slug), (None, "stress"))
        title = _title(chapter, slug, task, label)
        link = f"{{doc}}`{title} </book/executed/{chapter}/{'index' if slug == 'index' else f'runs/{slug}'}>`"
        done = found and "error" not in found
        shown = [found.get(key, "") for key in ("date", "seconds", "peak_mb", "device")]
        shown[0], shown[3] = shown[0].removesuffix(" UTC"), _machine(shown[3])
        rows.append([link if done else title, _state(found), *shown, names.get(_environment(found), "")])
    head = ["run", "state", "date (UTC)", "seconds", "peak MB", "machine", "versions"]
    listed = "\n".join((f"- **{name}**: {key}." if len(names) > 1 else f"{key}.") for key, name in names.items())
    done = sum(row[1] == "done" for row in rows)
    counted = f"{done} of {len(rows)} runs of profile `{workspace.profile.name}` are done."
    machines = {row[5] for row in rows} - {""}
    if len(names) == 1:  # one sentence in place of a column
        counted += " All of them had the same versions, which stand below."
        head, *rows = [line[:6] for line in (head, *rows)]
    if len(machines) == 1:
        counted += f" All of them ran on one kind of machine: {machines.pop()}."
        head, *rows = [[*line[:5], *line[6:]] for line in (head, *rows)]
    return f"{counted}\n\n{_markdown_table(head, rows)}\n\n## Versions\n\n{listed or 'No run kept its versions.'}\n"


def _machine(device: str) -> str:
    """A machine as the page names it: one that is told by its cores had no GPU."""
    return f"{device}, no GPU" if re.search(r"\d+ cores", device) else device


def _facts_of(workspace: Workspace, chapter: str, slug: str) -> dict[str, Any]:
    """What a run kept; what its failure left behind; nothing where it was never made."""
    failed, path = failure_path(workspace, chapter, slug), workspace.runs_dir / chapter / f"{slug}.ipynb"
    if failed.exists():
        return json.loads(failed.read_text(encoding="utf-8"))
    return read_run(path).facts if path.exists() else {}


def _state(facts: dict[str, Any]) -> str:
    if "error" in facts:
        return f"failed: {escape_markup(str(facts['error']).splitlines()[0])}"
    return "done" if facts else "not run"


def _environment(facts: dict[str, Any]) -> str:
    """Versions and code of a run, as one line."""
    lines = run_lines(facts) if facts else {}
    return "; ".join(lines[name] for name in ("Versions", "Code") if name in lines)


def _title(chapter: str, slug: str, task: str | None, label: str) -> str:
    if task:
        return run_title(chapter, {"task": task, "label": label})
    words = chapter.replace("_", " ").capitalize()
    return words if slug == "index" else f"{words}: {slug}"


def _markdown_table(head: list[str], rows: list[list[Any]]) -> str:
    """A table; columns of numbers only stand at the right."""
    filled = [[str(value) for value in column if value not in ("", None)] for column in zip(*rows, strict=True)]
    numbers = [bool(column) and all(re.fullmatch(r"-?[\d.]+", value) for value in column) for column in filled]
    lines = [head, ["---:" if right else "---" for right in numbers or [False] * len(head)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def bibtex(citation: dict[str, Any]) -> str:
    """BibTeX of the paper and of this book, from ``CITATION.cff``."""
    entries = [("inproceedings", "paper", entry) for entry in citation.get("references", [])]
    return "\n\n".join(_bibtex_entry(*e) for e in [*entries, ("software", "book", citation)]) + "\n"


def _bibtex_entry(kind: str, suffix: str, entry: dict[str, Any]) -> str:
    people = [
        f"{{{p['name']}}}" if "name" in p else f"{p['family-names']}, {p['given-names']}" for p in entry["authors"]
    ]
    fields = {"author": " and ".join(people), "title": f"{{{entry['title']}}}"}
    fields["booktitle"] = entry.get("conference", {}).get("name")
    date = str(entry.get("date-released", ""))
    fields |= {"year": entry.get("year") or date[:4], "version": entry.get("version")}
    fields |= {name: entry.get(name) for name in ("doi", "url", "license")}
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    return f"@{kind}{{scarafm-{suffix},\n{body}\n}}"
