"""Words of the glossary carry their definition wherever a page uses them first."""

from __future__ import annotations

import io
import re
from pathlib import Path

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

from scarafm_utils import names
from scarafm_utils.hover import COMMON, pattern
from scarafm_utils.result_tables import TIDY
from scarafm_utils.tasks import PROTOCOLS

PROJECT = Path(__file__).resolve().parents[1]

GLOSSARY = """Glossary
========

.. glossary::

   null contrast
      A test with *nothing* to find.

   encoder
      Turns tokens into vectors.

   head
      The classifier.
"""
PAGE = """Encoder page
============

.. [Lit] A title about a null contrast.

An :term:`encoder` feeds the head; encoders and ``null contrast`` are words, null contrasts too.
A second null contrast stays plain.
"""


def built(tmp_path):
    (tmp_path / "index.rst").write_text(PAGE + "\n.. toctree::\n\n   words\n")
    (tmp_path / "words.rst").write_text(GLOSSARY)
    (tmp_path / "conf.py").write_text("extensions = ['scarafm_utils.hover']\n")
    out = tmp_path / "html"
    app = Sphinx(tmp_path, tmp_path, out, tmp_path / "trees", "html", status=None, warning=io.StringIO(), freshenv=True)
    app.build()
    return {name: BeautifulSoup((out / f"{name}.html").read_text(), "html.parser") for name in ("index", "words")}


def test_the_first_use_of_a_word_shows_its_definition_and_leads_to_it(tmp_path):
    pages = built(tmp_path)
    links = pages["index"].select("a.glossary-word")
    found = [(a.get_text(), a["title"], a["href"]) for a in links]
    assert found == [
        ("encoder", "Turns tokens into vectors.", "words.html#term-encoder"),
        ("null contrasts", "A test with nothing to find.", "words.html#term-null-contrast"),
    ]
    assert not pages["words"].select("a.glossary-word"), "the glossary does not point at itself"
    assert pages["index"].select_one("h1 a.glossary-word") is None
    assert "a null contrast" in pages["index"].select_one(".citation").get_text(), "a reference keeps its title plain"


def test_words_are_found_whole_in_singular_and_plural():
    found = re.compile(pattern(["AUROC", "encoder"])).findall
    assert found("auroc-like, AUROCs, (Encoder), decoder, encoder2") == ["AUROC", "Encoder"]
    assert re.findall(pattern(["MASK", "mask rate"]), "masks, a Mask rate, MASK") == ["Mask rate", "MASK"]


def test_the_glossary_has_every_name_that_a_reader_meets_in_a_table():
    text = (PROJECT / "book" / "glossary.md").read_text(encoding="utf-8")
    entries = text.split("```{glossary}\n")[1].split("\n```\n")[0].split("\n\n")
    terms = [line for entry in entries for line in entry.splitlines() if not line.startswith("  ")]
    assert len(terms) == len(set(terms)) and all("\n  " in entry for entry in entries)
    assert [e.lower() for e in entries] == sorted((e.lower() for e in entries), key=lambda e: e.splitlines()[0])
    shown = {*terms, *re.findall(r"`([\w:]+)`", text)}
    named = {*names.REPRESENTATIONS, *names.PLAIN, *names.HEADS, *names.ENCODERS}
    assert named - set(terms) == set(), "a name of its own asks for an entry of its own"
    assert {*PROTOCOLS, *TIDY} - shown == set()
    assert {"MASK", "PCA", "UMAP", "scPlantDB", "held-out replicate", "n_train", "downstream"} <= set(terms)
    assert set(COMMON) <= set(terms), "words that are linked by hand only have a definition to be linked to"
