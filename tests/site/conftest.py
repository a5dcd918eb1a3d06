"""The built site and one browser for all tests of it; where either is missing they are skipped and say why."""

from __future__ import annotations

import pytest
from built import HTML, NO_SITE

from scarafm_utils.browser import open_browser, site_pages, why_no_browser


def pytest_generate_tests(metafunc):
    """One test for each page; all tests of a page run in the same worker, which visits it once."""
    if "name" in metafunc.fixturenames:
        shown = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in site_pages(HTML)]
        skipped = [pytest.param("", marks=pytest.mark.skip(reason=NO_SITE))]
        metafunc.parametrize("name", shown or skipped)


@pytest.fixture(scope="session")
def browser():
    reason = why_no_browser()
    if reason:
        pytest.skip(reason)
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def html(browser):
    if not (HTML / "index.html").exists():
        pytest.skip(NO_SITE)
    return HTML


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()
