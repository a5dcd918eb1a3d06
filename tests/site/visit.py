"""One visit to a page in a real browser, and what was seen there."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from scarafm_utils.browser import settle

#: What stays on this machine.
LOCAL = {"file", "data", "blob", "about"}
#: A colour that is on its way to another has no contrast to measure.
STILL = "*, *::before, *::after {transition: none !important; animation: none !important}"
UNSHOWN = "() => [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src.slice(0, 120))"
SERIOUS = """() => axe.run({resultTypes: ['violations']}).then(found => found.violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .map(v => ({id: v.id, help: v.help, times: v.nodes.length, example: v.nodes[0].html.slice(0, 160)})))"""
WIDTH = "() => document.scrollingElement.scrollWidth"
WIDE = """() => [...document.querySelectorAll('main *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('mjx-container'))
    .slice(0, 3).map(e => e.tagName + '.' + e.className + ' ' + (e.textContent || '').trim().slice(0, 40))"""


@dataclass
class Visit:
    """What a browser saw of one page, opened from its file."""

    elsewhere: list[str] = field(default_factory=list)
    unshown: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    typeset: tuple[int, int] = (0, 0)
    phone_width: int = 0
    too_wide: list[str] = field(default_factory=list)
    violations: dict[str, list[str]] = field(default_factory=dict)


def log_requests(page: Page) -> list[str]:
    """A list that fills with every address on another host that a page asks for."""
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if urlsplit(r.url).scheme not in LOCAL else None)
    page.on("websocket", lambda socket: asked.append(socket.url))
    return asked


def serious(page: Page) -> list[str]:
    """Serious and critical violations of axe-core's rules on a page as it stands."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(Axe().axe_script)
    return [
        f"{v['id']}: {v['help']}; {v['times']} times, such as {v['example']}" for v in page.evaluate(SERIOUS)
    ]


@cache
def visit(browser: Browser, path: Path) -> Visit:
    """Open a page once, look at it in both modes, then at the width of a telephone."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page, seen = context.new_page(), Visit()
    seen.elsewhere = log_requests(page)
    page.on("pageerror", lambda error: seen.broken.append(str(error)))
    page.goto(path.as_uri())
    settle(page)
    page.add_style_tag(content=STILL)
    seen.unshown = page.evaluate(UNSHOWN)
    seen.typeset = page.locator("article .math").count(), page.locator("article mjx-container").count()
    for mode in ("light", "dark"):
        page.emulate_media(color_scheme=mode)
        page.evaluate("mode => document.documentElement.dataset.theme = mode", mode)
        seen.violations[mode] = serious(page)
    page.set_viewport_size({"width": 390, "height": 844})
    seen.phone_width = page.evaluate(WIDTH)
    seen.too_wide = page.evaluate(WIDE) if seen.phone_width > 390 else []
    context.close()
    return seen
