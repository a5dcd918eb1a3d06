"""Photograph every page of the built site: desktop and phone, light and dark, with an index to look through.

Usage: python scripts/screenshots.py [--html FOLDER] [--out FOLDER] [--only TEXT] [--forms desktop-light …]
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
    from playwright.sync_api import Browser

PROJECT = Path(__file__).resolve().parents[1]
SIZES = {"desktop": (1400, 900), "phone": (390, 844)}
FORMS = [f"{size}-{scheme}" for size in SIZES for scheme in ("light", "dark")]
#: A picture that is taller is cut off here: no browser draws more in one piece.
TALLEST = 16_000


def photograph(browser: Browser, pages: dict[str, Path], out: Path, *, form: str) -> None:
    """Write one picture of each page in one form."""
    size, scheme = form.split("-")
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    for name, path in pages.items():
        target = out / form / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        page.set_viewport_size({"width": width, "height": height})
        page.goto(path.resolve().as_uri())
        settle(page)
        tall = min(page.evaluate("() => document.scrollingElement.scrollHeight"), TALLEST)
        page.set_viewport_size({"width": width, "height": max(height, tall)})
        page.screenshot(path=target)
    context.close()


def write_index(names: list[str], forms: list[str], out: Path) -> Path:
    """One page that shows all pictures, a row for each page."""
    rows = [f"<tr><th></th>{''.join(f'<th>{form}</th>' for form in forms)}</tr>"]
    for name in names:
        files = [f"{form}/{name}.png" for form in forms]
        cells = [f'<td><a href="{file}"><img src="{file}" alt="{file}"></a>' for file in files]
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    style = "img {height: 22rem; max-width: 24rem; object-fit: cover; object-position: top; border: 1px solid #888}"
    text = f"<!DOCTYPE html><meta charset=utf-8><title>Screenshots</title><style>{style}</style>"
    (out / "index.html").write_text(f"{text}<table>{''.join(rows)}</table>", encoding="utf-8")
    return out / "index.html"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--html", type=Path, default=PROJECT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=PROJECT / "_build" / "screenshots")
    parser.add_argument("--only", default="", help="only pages whose address holds this text")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    arguments = parser.parse_args()
    found = {name: path for name, path in site_pages(arguments.html).items() if arguments.only in name}
    pages = {name.removesuffix(".html").replace("/", "-"): path for name, path in found.items()}
    started = time.monotonic()
    try:
        with open_browser() as browser:
            for form in arguments.forms:
                photograph(browser, pages, arguments.out, form=form)
    except InputError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    index = write_index(list(pages), arguments.forms, arguments.out)
    print(f"{len(pages) * len(arguments.forms)} screenshots in {time.monotonic() - started:.0f} s: {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
