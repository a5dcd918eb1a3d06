"""Every page of the built site in a real browser: alone, whole, legible, and fit for a telephone."""

from __future__ import annotations

import re

import pytest
from bs4 import BeautifulSoup

pytest.importorskip("playwright", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
from visit import STILL, log_requests, serious, visit  # noqa: E402 - needs both

from scarafm_utils.browser import settle  # noqa: E402
from scarafm_utils.printing import one_document  # noqa: E402

pytestmark = pytest.mark.site


def test_a_page_asks_no_other_host(browser, html, name):
    assert visit(browser, html / name).elsewhere == []


def test_a_page_shows_its_pictures_and_its_mathematics(browser, html, name):
    seen = visit(browser, html / name)
    assert seen.unshown == [] and seen.broken == []
    assert seen.typeset[0] <= seen.typeset[1], "mathematics that was not typeset"


def test_each_figure_says_where_it_comes_from(html, name):
    """A figure of a run's cells with all that a reader would ask; one of other cells, or of none, with the rest."""
    boxes = BeautifulSoup((html / name).read_text(encoding="utf-8"), "html.parser").select("details.figure-facts")
    for text in (box.get_text(" ", strip=True) for box in boxes):
        if not text.startswith("How this figure was made"):
            continue
        wanted = {"Cells", "Drawn by", "Code"}
        if "Cells: none, a drawing" not in text:
            wanted |= {"Source", "Run", "Versions", "The table behind it"}
            wanted |= set() if "Cells: real cells, from numbers kept" in text else {"Profile", "Data (SHA-256"}
        assert not [fact for fact in wanted if fact not in text], text[:200]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_page_is_accessible(browser, html, name, mode):
    assert visit(browser, html / name).violations[mode] == []


def test_a_page_fits_a_telephone(browser, html, name):
    seen = visit(browser, html / name)
    assert seen.phone_width <= 390, seen.too_wide


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_on_a_telephone_the_menu_and_the_contents_open_and_close(browser, html, mode):
    page = browser.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce").new_page()
    page.goto((html / "book" / "executed" / "leaf_results" / "index.html").as_uri())
    page.add_style_tag(content=STILL)
    page.evaluate("mode => document.documentElement.dataset.theme = mode", mode)
    for button, words in (("primary", "How to rerun"), ("secondary", "What the metric hides")):
        page.locator(f"button.{button}-toggle:visible").click()
        opened = page.locator("dialog[open]")
        opened.get_by_role("link", name=words).wait_for()
        page.mouse.move(5, 800)
        assert serious(page) == []
        page.keyboard.press("Escape")
        opened.wait_for(state="detached")
    page.locator("button.primary-toggle:visible").click()
    page.locator("dialog[open]").get_by_role("link", name="How to rerun").click()
    page.wait_for_url("**/how_to_rerun.html")
    page.context.close()


def test_on_a_desktop_the_menu_makes_room(page, html):
    page.goto((html / "book" / "glossary.html").as_uri())
    menu, button = page.locator("#pst-primary-sidebar"), page.locator("button.primary-toggle:visible")
    assert menu.bounding_box()["x"] == 0
    button.click()
    page.wait_for_function("document.querySelector('#pst-primary-sidebar').getBoundingClientRect().right <= 0")
    button.click()
    page.wait_for_function("document.querySelector('#pst-primary-sidebar').getBoundingClientRect().x === 0")


def test_the_methods_hold_typeset_mathematics(browser, html):
    assert visit(browser, html / "book" / "methods.html").typeset[1] > 0


def test_the_printed_book_sets_its_formulas(page, html):
    """Its first page has none, so that neither MathJax nor its settings stand there."""
    document = html / ".tmp-test-book.html"
    try:
        document.write_text(one_document(html, ["book/index", "book/methods"]), encoding="utf-8")
        page.goto(document.as_uri())
        settle(page)
        assert page.locator("mjx-container").count() > 0 and "\\(" not in page.inner_text("main")
    finally:
        document.unlink(missing_ok=True)


def test_on_a_telephone_letters_of_figures_can_be_read_and_the_box_of_a_dot_is_whole(browser, html):
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    page.goto((html / "book" / "executed" / "claims" / "index.html").as_uri())
    shown = page.locator(".figure-box.wide img").first
    drawn = float(shown.get_attribute("width"))
    assert shown.bounding_box()["width"] == pytest.approx(0.85 * drawn, abs=1), "letters of 9 points are 10 pixels high"
    page.goto((html / "book" / "executed" / "explorer" / "index.html").as_uri() + "#protocol=cross&head=LR")
    page.locator("#explorer-chart svg .mark-symbol path").nth(3).hover(force=True)
    box = page.locator("#vg-tooltip-element.visible").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.context.close()


EXPLORER = "book/executed/explorer/index.html"
DOTS = "#explorer-chart .mark-symbol.role-mark path"


def test_skipping_to_the_content_of_the_explorer_keeps_what_was_chosen(page, html):
    page.goto(f"{(html / EXPLORER).as_uri()}#metric=mcc&rows=head")
    page.evaluate("window.led = 0; addEventListener('hashchange', () => led++)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to main content"
    page.keyboard.press("Enter")
    page.wait_for_function("led == 1")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('main')")
    page.locator("h1 a.headerlink").click(force=True)
    page.wait_for_function("led == 2")
    assert page.evaluate("location.hash") == "#metric=mcc&rows=head" and page.input_value("#explorer-metric") == "mcc"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_button_that_leads_back_to_the_top_can_be_read(page, html, mode):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((html / EXPLORER).as_uri())
    page.add_style_tag(content=STILL)
    page.evaluate("mode => document.documentElement.dataset.theme = mode", mode)
    for place in (1500, 1000):  # it shows on the way back
        page.evaluate("place => scrollTo({top: place, behavior: 'instant'})", place)
        page.wait_for_timeout(300)
    assert page.locator("#pst-back-to-top").is_visible() and serious(page) == []


def test_a_result_by_other_rules_leads_to_where_the_audit_compares_them(page, html):
    page.goto((html / EXPLORER).as_uri())
    other = page.locator("#explorer-fidelity option[value='balanced_test']")
    if not other.count():
        pytest.skip("this site was built without results by other rules")
    page.select_option("#explorer-fidelity", "balanced_test")
    page.wait_for_function("document.querySelector('#explorer-status').textContent.includes('Shown')")
    page.locator(DOTS).first.click(force=True)
    page.locator("#explorer-chosen a", has_text="audit").click()
    page.wait_for_url("**/audit/index.html#*")
    assert page.locator(":target h2").first.inner_text().startswith("Every difference")


HINT = "e => [getComputedStyle(e, '::before').height, getComputedStyle(e).getPropertyValue('--fade-right')]"


def test_a_table_that_slides_says_so_until_its_end_and_one_that_fits_says_nothing(browser, html):
    context = browser.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=False)
    page = context.new_page()
    page.goto((html / "book" / "data.html").as_uri())
    box = page.locator(".data-box").first
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")
    height, fade = box.evaluate(HINT)
    assert float(height[:-2]) > 10 and fade != "0px", "words above the table, and its right side fades"
    box.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
    page.wait_for_timeout(200)
    assert box.evaluate(HINT)[1] == "0px", "nothing more to see"
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto((html / "book" / "methods.html").as_uri())
    fits = page.locator(".slides").first
    assert fits.evaluate("e => e.scrollWidth <= e.clientWidth") and fits.evaluate(HINT) == ["0px", "0px"]
    context.close()


def test_a_figure_that_slides_on_a_telephone_fades_and_its_hint_looks_like_no_link(browser, html):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto((html / "book" / "methods.html").as_uri())
    box = page.locator(".figure-box.wide").first
    height, fade = box.evaluate(HINT)
    assert float(height[:-2]) > 10 and fade != "0px"
    hint = box.evaluate("e => getComputedStyle(e, '::before').color")
    assert hint == page.locator(".bd-article p").first.evaluate("e => getComputedStyle(e).color")
    assert box.evaluate("e => getComputedStyle(e).textDecorationLine") == "none"
    context.close()


def test_nothing_fades_on_paper(page, html):
    """A browser prints what has a mask as pixels: letters that nobody can select, and megabytes of them."""
    page.goto((html / "book" / "how_to_rerun.html").as_uri())
    boxes = page.locator(".pst-scrollable-table-container, .highlight pre")
    masks = "all => all.map(e => getComputedStyle(e).maskImage)"
    assert all(mask != "none" for mask in boxes.evaluate_all(masks)), "on a screen they may fade"
    page.emulate_media(media="print")
    assert set(boxes.evaluate_all(masks)) == {"none"}
    page.goto((html / "book" / "executed" / "workshop" / "1_splits.html").as_uri())
    shadows = page.locator(".admonition, .sd-card").evaluate_all("all => all.map(e => getComputedStyle(e).boxShadow)")
    assert set(shadows) == {"none"}, "pictures of shadows took a fifth of the book's PDF"


CUT_OFF = """() => {
  const article = document.querySelector('article.bd-article');
  const paper = article.getBoundingClientRect();
  const shown = [...article.querySelectorAll('*')].filter(e => e.checkVisibility());
  const wide = shown.filter(e => e.matches('table, pre, img') && e.getBoundingClientRect().right > paper.right + 1);
  const shut = shown.filter(e => getComputedStyle(e).overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1);
  return [...wide, ...shut].map(e => `${e.tagName} ${e.className}: ${e.textContent.trim().slice(0, 40)}`);
}"""


def test_paper_cuts_off_no_table_figure_or_line_of_code(browser, html, name):
    """Nobody can slide a box of paper: what a screen keeps for later has to be narrower there."""
    page = browser.new_context(viewport={"width": 642, "height": 900}).new_page()  # A4 between margins of 20 mm
    page.emulate_media(media="print")
    page.goto((html / name).as_uri())
    settle(page)
    if page.locator("article.bd-article").count():
        assert page.evaluate(CUT_OFF) == []
    page.context.close()


def test_the_printed_book_shows_the_notes_of_its_data(page, html):
    """At the width that its pages have, once they are shrunk to their letters."""
    document = html / ".tmp-test-data.html"
    try:
        document.write_text(one_document(html, ["book/data"]), encoding="utf-8")
        page.set_viewport_size({"width": 1030, "height": 900})
        page.emulate_media(media="print")
        page.goto(document.as_uri())
        notes = page.locator("table.data-table td.long").filter(has_text=re.compile(r"\w"))
        assert notes.count() > 5 and page.evaluate(CUT_OFF) == []
        assert min(notes.evaluate_all("all => all.map(e => e.getBoundingClientRect().width)")) > 80
    finally:
        document.unlink(missing_ok=True)


def test_a_box_that_slides_is_reached_by_keyboard_and_one_that_fits_is_passed_by(page, html):
    page.goto((html / "book" / "status.html").as_uri())
    box = page.locator(".slides").first
    assert box.get_attribute("role") == "region" and box.get_attribute("aria-label").startswith("Table 1 of this page")
    for width in (300, 1400):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(600)  # the theme's script waits until the window is still
        assert box.evaluate("e => e.tabIndex === (e.scrollWidth > e.clientWidth ? 0 : -1)"), width


def test_links_have_one_colour_in_tables_and_in_prose(page, html):
    page.goto((html / "book" / "paper_map.html").as_uri())
    colour = "e => getComputedStyle(e).color"
    inside, outside = page.locator("article table a.reference").first, page.locator("article p > a.reference").first
    assert inside.evaluate(colour) == outside.evaluate(colour)


def test_the_first_page_says_everything_on_one_screen(browser, html):
    """Question, what the build shows, where to go and the paper's claims, at the size of a small desktop."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.goto((html / "book" / "index.html").as_uri())
    settle(page)
    boxes = [card.bounding_box() for card in page.locator(".front-card").all()]
    assert len(boxes) == 3 and max(box["y"] + box["height"] for box in boxes) <= 900
    page.context.close()


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
