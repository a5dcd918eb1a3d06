"""Check the built site: nothing failed, nothing loaded from elsewhere, nothing mistaken for the paper's.

Usage: python scripts/check_site.py [_build/html]
Prints one line for each fault and exits with status 1 if there is any.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from bs4 import BeautifulSoup

PROJECT = Path(__file__).resolve().parents[1]
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
ELSEWHERE = re.compile(r"^(https?:)?//")
SIMULATED = "Simulated cells"


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


def main() -> int:
    html = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "_build" / "html"
    executed = PROJECT / "book" / "executed"
    pages = sorted(html.rglob("*.html"))
    books = sorted(executed.rglob("*.ipynb"))
    faults = [] if pages else [f"{html}: no page"]
    faults += [] if books else ["book/executed: no executed notebook"]
    faults += [f"{p.relative_to(html)}: loads {a}" for p in pages for a in external_loads(p)]
    faults += [f"{p.relative_to(html)}: {f}" for p in pages for f in figure_faults(p)]
    faults += [f"{s.relative_to(html)}: loads {a}" for s in sorted(html.rglob("*.css")) for a in style_loads(s)]
    faults += [f"{b.relative_to(executed)}: {f}" for b in books for f in broken_cells(b)]
    shown = [p for p in pages if "_static" not in p.parts and p != html / "index.html"]
    if not is_simulated(executed):  # the workshop is simulated in every build
        episodes = {p.stem for p in (executed / "workshop").glob("*.ipynb")}
        shown = [p for p in shown if p.parent.name == "workshop" and p.stem in episodes]
    faults += [f"{p.relative_to(html)}: does not say that its cells are simulated" for p in shown if unmarked(p)]
    print("\n".join(faults) or f"{len(pages)} pages, {len(books)} notebooks: nothing wrong found")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
