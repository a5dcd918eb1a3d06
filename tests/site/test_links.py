"""Every link inside the site, followed by LinkChecker from the first page on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from built import HTML, NO_SITE

pytest.importorskip("linkcheck", reason="linkchecker is not installed")
pytestmark = pytest.mark.site
#: What follows is no anchor but the state of the explorer.
STATE = "explorer/index.html#"
#: Started by root, LinkChecker becomes another user, who may not read the site.
START = "import os; os.geteuid = lambda: 1; from linkcheck.command.linkchecker import linkchecker; linkchecker()"


def broken_links(first: Path) -> list[str]:
    """Links to files that are not there, as LinkChecker tells them; other hosts are not asked."""
    options = ["--config", Path(__file__).with_name("linkcheckerrc"), "--output", "csv"]
    result = subprocess.run([sys.executable, "-c", START, *options, first.as_uri()], capture_output=True, text=True)
    lines = [line for line in result.stdout.splitlines() if line and not line.startswith(("#", "urlname;"))]
    assert result.returncode in (0, 1), result.stderr
    return [line for line in lines if STATE not in line.split(";")[0]]


def test_every_link_of_the_site_leads_somewhere():
    if not (HTML / "index.html").exists():
        pytest.skip(NO_SITE)
    assert broken_links(HTML / "index.html") == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "index.html").write_text('<a href="a.html">a</a> <a href="https://host.invalid/">elsewhere</a>')
    (tmp_path / "a.html").write_text('<a href="gone.html">b</a> <a href="index.html">home</a>')
    [line] = broken_links(tmp_path / "index.html")
    assert line.startswith("gone.html;")
