"""Pictures of pages go from head to foot, however long the page, and open its boxes when asked."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from PIL import Image  # noqa: E402 - needs the line above

pytestmark = pytest.mark.site

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "screenshots.py"
PAGE = """<!DOCTYPE html><title>Long</title>
<style>body, p {margin: 0} div {background: #fff} p {height: 50px}</style>
<div style="height: {tall}px"></div><details><summary>More</summary><div style="height: 700px"></div></details>
<p style="background: #f00"></p>"""


@pytest.fixture(scope="module")
def screenshots():
    spec = importlib.util.spec_from_file_location("screenshots", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def take(screenshots, browser, folder, *, tall, **options):
    (folder / "long.html").write_text(PAGE.replace("{tall}", str(tall)), encoding="utf-8")
    taken = screenshots.photograph(browser, {"long": folder / "long.html"}, folder, form="phone-light", **options)
    return [Image.open(folder / "phone-light" / file).convert("RGB") for file in taken["long"]]


def test_the_foot_of_a_long_page_is_in_the_last_picture(browser, screenshots, tmp_path):
    pictures = take(screenshots, browser, tmp_path, tall=2 * screenshots.TALLEST)
    assert [picture.height for picture in pictures[:2]] == [screenshots.TALLEST] * 2
    last = pictures[-1]
    assert last.width == 390 and last.getpixel((100, last.height - 10)) == (255, 0, 0)


def test_a_short_page_is_one_picture(browser, screenshots, tmp_path):
    (picture,) = take(screenshots, browser, tmp_path, tall=100)
    assert picture.size == (390, 844)


def test_boxes_are_opened_when_asked(browser, screenshots, tmp_path):
    (closed,) = take(screenshots, browser, tmp_path, tall=2_000)
    (opened,) = take(screenshots, browser, tmp_path, tall=2_000, unfold=True)
    assert opened.height == closed.height + 700


def test_the_index_shows_every_picture(screenshots, tmp_path):
    taken = {"phone-light": {"a": ["a.png", "a-part2.png"]}, "phone-dark": {"a": ["a.png"]}}
    text = screenshots.write_index(taken, tmp_path).read_text(encoding="utf-8")
    for file in ("phone-light/a.png", "phone-light/a-part2.png", "phone-dark/a.png"):
        assert f'<img src="{file}"' in text
