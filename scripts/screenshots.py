"""Photograph every page of the built site: desktop and phone, light and dark.

Usage: python scripts/screenshots.py [--html FOLDER] [--out FOLDER] [--only TEXT] [--forms desktop-light …]
Needs Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FORMS = {
    "desktop-light": ("1400,4200", []),
    "desktop-dark": ("1400,4200", ["--blink-settings=preferredColorScheme=0"]),
    "phone-light": ("500,4200", []),
    "phone-dark": ("500,4200", ["--blink-settings=preferredColorScheme=0"]),
}
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=30000",
]  # fmt: skip


def photograph(browser: str, page: Path, target: Path, *, form: str) -> None:
    """Write one screenshot of a page."""
    size, more = FORMS[form]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as user_data:
        subprocess.run(
            [browser, *FLAGS, *more, f"--window-size={size}", f"--user-data-dir={user_data}",
             f"--screenshot={target}", page.resolve().as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--html", type=Path, default=PROJECT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=PROJECT / "_build" / "screenshots")
    parser.add_argument("--only", default="", help="only pages whose address holds this text")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    arguments = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("screenshots: no Chromium on PATH; install it (Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    pages = [p for p in sorted(arguments.html.rglob("*.html")) if "_static" not in p.parts]
    pages = [p for p in pages if arguments.only in str(p.relative_to(arguments.html))]
    for page in pages:
        name = "-".join(page.relative_to(arguments.html).with_suffix("").parts)
        for form in arguments.forms:
            photograph(browser, page, arguments.out / form / f"{name}.png", form=form)
    print(f"{len(pages) * len(arguments.forms)} screenshots in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
