"""Check the files of the built site: nothing failed, nothing missing, too large, or loaded from elsewhere.

What only a browser can tell is checked by ``tests/site``.

Usage: python scripts/check_site.py [_build/html]
Prints one line for each fault and exits with status 1 if there is any.
"""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from bs4 import BeautifulSoup

PROJECT = Path(__file__).resolve().parents[1]
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
ELSEWHERE = re.compile(r"^(https?:)?//")
SIMULATED = "Simulated cells"
SITE_BYTES, PAGE_BYTES = 40_000_000, 3_000_000
#: GitHub's artifacts refuse these in file names, and so do some file systems.
AWKWARD = re.compile(r'[:<>|*?"\r\n]')


def external_loads(page: Path) -> list[str]:
    """Addresses on other hosts that a browser would fetch to show this page."""
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    found = [tag.get(attribute) for name, attribute in LOADING.items() for tag in soup.find_all(name)]
    found += [tag.get("href") for tag in soup.find_all("link") if "canonical" not in (tag.get("rel") or [])]
    for style in soup.find_all("style"):
        found += re.findall(r"url\(['\"]?([^)'\"]+)", style.get_text())
    return [address for address in found if address and ELSEWHERE.match(address)]


def style_loads(sheet: Path) -> list[str]:
    """Addresses on other hosts in a style sheet."""
    text = sheet.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"(?:url\(|@import\s+)['\"]?([^)'\";\s]+)", text)
    return [address for address in found if ELSEWHERE.match(address)]


def broken_cells(notebook: Path) -> list[str]:
    """Code cells that failed or were not executed."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    faults = []
    for number, cell in enumerate(cells, start=1):
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
        if cell["execution_count"] is None:
            faults.append(f"cell {number} was not executed")
        faults += [f"cell {number}: {o['ename']}" for o in cell["outputs"] if o["output_type"] == "error"]
    return faults


def is_simulated(executed: Path) -> bool:
    """Whether any executed notebook comes from simulated cells; those of the workshop always do."""
    paths = [p for p in executed.rglob("*.ipynb") if p.parent.name != "workshop"]
    books = [json.loads(p.read_text(encoding="utf-8")) for p in paths]
    return any(b["metadata"]["scarafm"]["source"] == "simulated" for b in books)


def unmarked(page: Path) -> bool:
    """Whether a page lacks the notice that its cells are simulated."""
    return SIMULATED not in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").get_text()


def figure_faults(page: Path) -> list[str]:
    """Pictures without alternative text; files of figures that are absent or empty; figures without files."""
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    article = soup.find("article") or soup
    silent = [i.get("src") for i in article.find_all("img") if not i.get("alt", "").strip()]
    faults = [f"{address} has no alternative text" for address in silent]
    files = [a.get("href") for box in article.select(".figure-files") for a in box.find_all("a")]
    found = {address: (page.parent / address).resolve() for address in files}
    faults += [f"{a} is absent or empty" for a, f in found.items() if not f.is_file() or not f.stat().st_size]
    pictures, boxes = article.select(".cell_output img"), article.select(".figure-files")
    if len(pictures) > len(boxes):
        faults.append(f"{len(pictures)} figures, but files of {len(boxes)}")
    return faults


class Outline(HTMLParser):
    """What a page offers and asks for: its anchors, its links and its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.pictures: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[k] for k in ("id", "name") if given.get(k) and (k == "id" or tag == "a")}
        self.links |= {given[k] for k in ("href", "src") if given.get(k)}
        if tag == "img":
            self.pictures.add(given.get("src", ""))


def outline(page: Path) -> Outline:
    """Read a page once."""
    found = Outline()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def dangling(html: Path, outlines: dict[Path, Outline]) -> list[str]:
    """Links of pages to files or anchors that are not there; ``#name=value`` is the state of a page, no anchor."""
    faults = []
    for page, found in outlines.items():
        for link in sorted(found.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path, anchor = urldefrag(link)
            anchor = "" if "=" in anchor else unquote(anchor)
            target = (page.parent / unquote(urlsplit(path).path)).resolve() if urlsplit(path).path else page
            if not target.is_file():
                faults.append(f"{page.relative_to(html)}: links to {link}, which is not there")
            elif anchor and target in outlines and anchor not in outlines[target].anchors:
                faults.append(f"{page.relative_to(html)}: links to {link}, which has no such anchor")
    return faults


def too_large(html: Path, outlines: dict[Path, Outline]) -> list[str]:
    """A site or a page (with its pictures) that is larger than it may be."""
    total = sum(p.stat().st_size for p in html.rglob("*") if p.is_file())
    faults = [f"the site has {total / 1e6:.1f} MB"] if total > SITE_BYTES else []
    for page, found in outlines.items():
        shown = [page, *((page.parent / unquote(urlsplit(p).path)) for p in found.pictures if not urlsplit(p).scheme)]
        size = sum(p.stat().st_size for p in shown if p.is_file())
        faults += [f"{page.relative_to(html)}: {size / 1e6:.1f} MB with its pictures"] if size > PAGE_BYTES else []
    return faults


def main() -> int:
    html = (Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "_build" / "html").resolve()
    executed = PROJECT / "book" / "executed"
    pages = [p for p in sorted(html.rglob("*.html")) if "_static" not in p.relative_to(html).parts]
    books = sorted(executed.rglob("*.ipynb"))
    outlines = {page: outline(page) for page in pages}
    faults = [] if pages else [f"{html}: no page"]
    faults += [] if books else ["book/executed: no executed notebook"]
    faults += [f"{p.relative_to(html)}: loads {a}" for p in sorted(html.rglob("*.html")) for a in external_loads(p)]
    faults += [f"{s.relative_to(html)}: loads {a}" for s in sorted(html.rglob("*.css")) for a in style_loads(s)]
    faults += [f"{b.relative_to(executed)}: {f}" for b in books for f in broken_cells(b)]
    faults += [f"{p.relative_to(html)}: {f}" for p in pages for f in figure_faults(p)]
    faults += dangling(html, outlines) + too_large(html, outlines)
    faults += [f"{p.relative_to(html)}: its name" for p in html.rglob("*") if AWKWARD.search(p.name)]
    shown = [p for p in pages if p != html / "index.html"]
    if not is_simulated(executed):  # the workshop is simulated in every build
        episodes = {p.stem for p in (executed / "workshop").glob("*.ipynb")}
        shown = [p for p in shown if p.parent.name == "workshop" and p.stem in episodes]
    faults += [f"{p.relative_to(html)}: does not say that its cells are simulated" for p in shown if unmarked(p)]
    size = sum(p.stat().st_size for p in html.rglob("*") if p.is_file()) / 1e6
    print("\n".join(faults) or f"{len(pages)} pages, {size:.1f} MB, {len(books)} notebooks: nothing wrong found")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
