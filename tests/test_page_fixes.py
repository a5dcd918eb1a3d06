"""Pages as the theme and its extensions write them, mended."""

from __future__ import annotations

import pytest

from scarafm_utils.page_fixes import mend_page


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        (
            '<p class="admonition-title">Exercise (2: hold out (all of) a replicate)</p>',
            '<p class="admonition-title">Exercise 2: hold out (all of) a replicate</p>',
        ),
        (
            'Solution to<a href="#ex"> Exercise (Spare: is it the size?)</a>',
            'Solution to<a href="#ex"> Spare exercise: is it the size?</a>',
        ),
        ('<section id="solution-content">\n<p>x</p>', "<section>\n<p>x</p>"),
        ("<p>Exercise (1) of the book, and Exercise (2: x) in a text</p>",) * 2,
    ],
)
def test_exercises_have_plain_titles_and_no_name_is_there_twice(written, mended):
    assert mend_page(written) == mended == mend_page(mended)
