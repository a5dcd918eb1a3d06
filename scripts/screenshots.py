"""Photograph every page of the built site: desktop and phone, light and dark, with an index to look through.

Usage: python scripts/screenshots.py [--html FOLDER] [--out FOLDER] [--only TEXT]
       [--forms desktop-light …] [--unfold]
Needs Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import argparse
import sys
import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from scarafm_utils.browser import open_browser, settle, site_pages
from scarafm_utils.errors import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROJECT = Path(__file__).resolve().parents[1]
SIZES = {"desktop": (1400, 900), "phone": (390, 844)}
FORMS = [f"{size}-{scheme}" for size in SIZES for scheme in ("light", "dark")]
#: A longer page is taken in several pictures: no browser draws more in one piece.
TALLEST = 15_000
_UNFOLD = """() => {
  document.querySelectorAll("details").forEach((box) => box.setAttribute("open", ""));
  document.querySelectorAll("button.toggle-button-hidden").forEach((button) => button.click());
}"""


def photograph(
    browser: Browser, pages: dict[str, Path], out: Path, *, form: str, unfold: bool = False
) -> dict[str, list[str]]:
    """Take pictures of each page in one form, from its head to its foot; the files' names by page."""
    size, scheme = form.split("-")
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    # The theme keeps how far the menu was scrolled, and lets the list of contents grow slowly.
    context.add_init_script("sessionStorage.clear()")
    page = context.new_page()
    (out / form).mkdir(parents=True, exist_ok=True)
    taken = {}
    for name, path in pages.items():
        page.set_viewport_size({"width": width, "height": height})
        page.goto(path.resolve().as_uri())
        settle(page)
        page.add_style_tag(content="* {transition: none !important}")
        if unfold:
            page.evaluate(_UNFOLD)
        taken[name] = take_pieces(page, out / form, name, width=width)
    context.close()
    return taken


def take_pieces(page: Page, folder: Path, name: str, *, width: int) -> list[str]:
    """Pictures of one open page, none higher than `TALLEST`; their names."""
    tall = page.evaluate("() => document.scrollingElement.scrollHeight")
    names = []
    for top in range(0, tall, TALLEST):
        names.append(f"{name}.png" if top == 0 else f"{name}-part{len(names) + 1}.png")
        piece = {"x": 0, "y": top, "width": width, "height": min(TALLEST, tall - top)}
        page.screenshot(path=folder / names[-1], full_page=True, clip=piece)
    return names


def write_index(taken: dict[str, dict[str, list[str]]], out: Path) -> Path:
    """One page that shows all pictures: a row for each page, a column for each form."""
    rows = [f"<tr><th></th>{''.join(f'<th>{form}</th>' for form in taken)}</tr>"]
    for name in next(iter(taken.values())):
        cells = ["".join(map(_shown, [f"{form}/{file}" for file in taken[form][name]])) for form in taken]
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    style = "img {height: 22rem; max-width: 24rem; object-fit: cover; object-position: top; border: 1px solid #888}"
    text = f"<!DOCTYPE html><meta charset=utf-8><title>Screenshots</title><style>{style}</style>"
    (out / "index.html").write_text(f"{text}<table>{''.join(rows)}</table>", encoding="utf-8")
    return out / "index.html"


def _shown(file: str) -> str:
    return f'<a href="{escape(file)}"><img src="{escape(file)}" alt="{escape(file)}"></a>'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--html", type=Path, default=PROJECT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=PROJECT / "_build" / "screenshots")
    parser.add_argument("--only", default="", help="only pages whose address holds this text")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--unfold", action="store_true", help="open every box and solution first")
    arguments = parser.parse_args()
    found = {name: path for name, path in site_pages(arguments.html).items() if arguments.only in name}
    pages = {name.removesuffix(".html").replace("/", "-"): path for name, path in found.items()}
    if not pages:
        print(f"screenshots: no page of {arguments.html} has {arguments.only!r} in its address.", file=sys.stderr)
        return 1
    started = time.monotonic()
    try:
        with open_browser() as browser:
            taken = {
                form: photograph(browser, pages, arguments.out, form=form, unfold=arguments.unfold)
                for form in arguments.forms
            }
    except InputError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    index = write_index(taken, arguments.out)
    pictures = sum(len(files) for pages_taken in taken.values() for files in pages_taken.values())
    print(f"{pictures} screenshots in {time.monotonic() - started:.0f} s: {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
