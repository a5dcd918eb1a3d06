"""Words of the glossary carry their definition wherever a page uses them first."""

from __future__ import annotations

import io
import re

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

from scarafm_utils.hover import pattern

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
