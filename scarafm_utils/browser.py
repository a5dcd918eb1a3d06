"""Chromium without a window, where this machine has one: for printing the book and for looking at its pages"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: No sandbox: containers allow none, and only pages of this book are opened.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

_TYPESET = "() => window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => true) : true"


def why_no_browser() -> str:
    """What is missing for `open_browser`, and how to get it; empty where nothing is."""
    if not any(map(shutil.which, NAMES)):
        return "no Chromium on PATH (Debian: apt-get install chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "the Python package playwright is not installed (pip install 'scarafm-utils[test]')"
    return ""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start the system's Chromium for the length of a block.

    Raises
    ------
    InputError
        Where there is no Chromium, or no Playwright to drive it.
    """
    reason = why_no_browser()
    if reason:
        raise InputError(f"{reason}.")
    from playwright.sync_api import Error, sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            raise InputError(f"{path} does not start: {str(error).splitlines()[0]}") from error
        yield browser
        browser.close()


def site_pages(html: Path) -> dict[str, Path]:
    """Pages of a built site by their address in it, without the theme's own and those that only lead on."""
    found = {p.relative_to(html): p for p in sorted(html.rglob("*.html"))}
    return {
        name.as_posix(): path
        for name, path in found.items()
        if "_static" not in name.parts and 'http-equiv="Refresh"' not in path.read_text(encoding="utf-8")[:200]
    }


def settle(page: Page) -> None:
    """Wait until the mathematics of a loaded page is typeset."""
    page.evaluate(_TYPESET)
