"""Every page of the built site in a real browser: alone, whole, legible, and fit for a telephone."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
from visit import log_requests, serious, visit  # noqa: E402 - needs both

pytestmark = pytest.mark.site


def test_a_page_asks_no_other_host(browser, html, name):
    assert visit(browser, html / name).elsewhere == []


def test_a_page_shows_its_pictures_and_its_mathematics(browser, html, name):
    seen = visit(browser, html / name)
    assert seen.unshown == [] and seen.broken == []
    assert seen.typeset[0] <= seen.typeset[1], "mathematics that was not typeset"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_page_is_accessible(browser, html, name, mode):
    assert visit(browser, html / name).violations[mode] == []


def test_a_page_fits_a_telephone(browser, html, name):
    seen = visit(browser, html / name)
    assert seen.phone_width <= 390, seen.too_wide


def test_the_methods_hold_typeset_mathematics(browser, html):
    assert visit(browser, html / "book" / "methods.html").typeset[1] > 0


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_cheat_sheet_of_the_workshop_is_printed_on_one_page(page, html, paper):
    page.goto((html / "book" / "workshop" / "cheat_sheet.html").as_uri())
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "10mm")
    printed = page.pdf(format=paper, margin=margin)
    assert len(re.findall(rb"/Type ?/Page\b", printed)) == 1


def test_a_copied_command_has_no_prompt(page, html):
    """The copy button leaves out what its settings name; in a command that is the prompt and no more."""
    page.goto((html / "book" / "workshop" / "setup.html").as_uri())
    settings = (html / "_static" / "copybutton.js").read_text(encoding="utf-8")
    left_out = re.search(r"let exclude = '(.*)'", settings)[1]
    first = page.locator(".highlight-console pre").first
    assert first.inner_text().startswith("$ python3 -m venv .venv\n$ ")
    first.evaluate("(pre, left) => pre.querySelectorAll(left).forEach(node => node.remove())", left_out)
    assert first.inner_text().startswith("python3 -m venv .venv\n.venv/bin/pip install")


def test_search_works_without_a_server(page, html):
    page.goto((html / "search.html").as_uri())
    box = page.locator("main input[name=q], .bd-content input[name=q], input[name=q]").locator("visible=true").first
    box.fill("vocabulary")
    box.press("Enter")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a").count() >= 3


def test_the_log_of_requests_sees_what_a_page_asks_for(page, tmp_path):
    asked = log_requests(page)
    (tmp_path / "a.html").write_text('<img src="http://127.0.0.1:9/x.png"><script src="https://host.invalid/x.js"></script>')
    page.goto((tmp_path / "a.html").as_uri())
    assert sorted(asked) == ["http://127.0.0.1:9/x.png", "https://host.invalid/x.js"]


def test_axe_finds_pale_text_and_pictures_without_words(page):
    page.set_content('<html lang="en"><title>t</title><main><h1 style="color:#ccc">Pale</h1><img src="data:,"></main>')
    assert [fault.split(":")[0] for fault in serious(page)] == ["color-contrast", "image-alt"]
