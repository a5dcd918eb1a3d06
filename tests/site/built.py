"""Where the built site is, and what is said where there is none."""

from pathlib import Path

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
NO_SITE = "no built site in _build/html: make book"
