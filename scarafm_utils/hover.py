"""A Sphinx extension: the first use of each glossary word on a page shows its definition on hover.

The definitions are those of the page `book/glossary`; a word already marked with ``{term}`` is left
where it stands.  Keyboard users see the same text on focus (``custom.css``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

#: Words of the glossary that everyday prose uses in other senses; they are linked by hand only.
COMMON = frozenset(
    {
        "bin", "binned", "class", "condition", "control", "cross", "depth", "fold", "head", "interval", "label",
        "leak", "library", "locus", "matched", "raw", "sample", "seed", "shuffled", "task", "tissue", "token", "tuning",
        "untrained", "vote",
    }
)  # fmt: skip


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-read", _keep_definitions)
    app.connect("doctree-resolved", _mark_words)
    return {"parallel_read_safe": False, "parallel_write_safe": True}


def _keep_definitions(app: Sphinx, doctree: nodes.document) -> None:
    """Remember what the glossary says, by word: (page, anchor, definition)."""
    from docutils import nodes
    from sphinx.addnodes import glossary

    if not hasattr(app.env, "scarafm_glossary"):
        app.env.scarafm_glossary = {}
    for item in (i for g in doctree.findall(glossary) for i in g.findall(nodes.definition_list_item)):
        text = " ".join(item.children[-1].astext().split())
        for term in item.findall(nodes.term):
            app.env.scarafm_glossary[term.astext()] = (app.env.docname, term["ids"][0], text)


def _mark_words(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give each link to the glossary its definition, and link the first plain use of each further word."""
    from docutils import nodes

    words = getattr(app.env, "scarafm_glossary", {})
    pages = {page for page, _, _ in words.values()}
    if docname in pages:
        return
    anchors = {anchor: text for _, anchor, text in words.values()}
    seen = set()
    for link in doctree.findall(nodes.reference):
        anchor = link.get("refuri", "").rpartition("#")[2]
        if anchor in anchors:
            link["reftitle"] = anchors[anchor]
            link["classes"].append("glossary-word")
            seen.add(anchor)
    _link_plain_uses(app, doctree, docname, {w: v for w, v in words.items() if v[1] not in seen and w not in COMMON})


def _link_plain_uses(app: Sphinx, doctree: nodes.document, docname: str, words: dict[str, tuple]) -> None:
    """Link the first plain use of each word in the paragraphs of a page; titles of references stay as they are."""
    from docutils import nodes

    paragraphs = [p for p in doctree.findall(nodes.paragraph) if not isinstance(p.parent, nodes.citation)]
    for text in [t for p in paragraphs for t in p.children if isinstance(t, nodes.Text)]:
        if not words:
            return
        match = re.search(pattern(words), text.astext())
        if match:
            word = next(w for w in words if w.lower() == match[1].lower())
            page, anchor, definition = words.pop(word)
            link = nodes.reference("", match[0], internal=True, reftitle=definition, classes=["glossary-word"])
            link["refuri"] = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
            before, after = match.string[: match.start()], match.string[match.end() :]
            text.parent.replace(text, [nodes.Text(before), link, nodes.Text(after)])


def pattern(words) -> str:
    """A regular expression for any of `words`, longest first, singular or plural, as a whole word.

    A word with capitals is found as it is written: MASK is a token, a mask is not.

    >>> re.search(pattern(["null contrast", "encoder"]), "Null contrasts and encoders")[0]
    'Null contrasts'
    >>> re.findall(pattern(["MASK"]), "masks and MASK")
    ['MASK']
    """
    ordered = sorted(words, key=len, reverse=True)
    choices = "|".join(re.escape(w) if w != w.lower() else f"(?i:{re.escape(w)})" for w in ordered)
    return rf"(?<![\w-])({choices})s?(?![\w-])"
