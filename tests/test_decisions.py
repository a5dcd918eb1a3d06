"""The decisions page: every decision is a parameter or names its function, and both exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from scarafm_utils.chapters import parameters
from scarafm_utils.manifest import load_manifest
from scarafm_utils.profiles import load_profile

PROJECT = Path(__file__).resolve().parents[1]
TEXT = (PROJECT / "book" / "decisions.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
PARTS = ("Paper", "Here", "Alternative", "Where")

#: What the paper leaves open and every reader may ask for.
ASKED = (
    "AUROC for three or more classes", "The score behind a majority vote", "Ties in the consensus",
    "Which data sets vote on highly variable genes", "Balance before the split", "Resamples and interval",
    "The cells a PCA is fitted on", "Settings of LR, XGB and MLP", "Labels with genotypes",
    "Direction of cross pairs", "Genes that are not measured",
)  # fmt: skip


def test_what_the_paper_leaves_open_is_decided():
    assert not set(ASKED) - set(SECTIONS)


@pytest.mark.parametrize("title", SECTIONS)
def test_a_decision_says_what_the_paper_says_what_is_done_what_else_would_change_and_where(title):
    assert tuple(re.findall(r"^- \*\*(\w+):\*\* \S", SECTIONS[title], re.MULTILINE)) == PARTS


def in_profile(name: str) -> bool:
    """Whether a dotted name is a key of the demo profile, whatever stands there."""
    value = load_profile(PROJECT / "profiles" / "demo.yaml")
    for part in name.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, BaseModel) and part in type(value).model_fields:
            value = getattr(value, part)
        else:
            return False
    return True


def in_manifest(name: str) -> bool:
    value = load_manifest(PROJECT / "data_manifest.yaml")["SRP169576"]
    for part in name.split("."):
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def in_package(name: str) -> bool:
    package, _, rest = name.partition(".")
    module, *attributes = rest.split(".")
    if package != "scarafm_utils" or not (PROJECT / package / f"{module}.py").exists():
        return False
    value = importlib.import_module(f"{package}.{module}")
    for attribute in attributes:
        if not hasattr(value, attribute):
            return False
        value = getattr(value, attribute)
    return True


WHERE = [
    (title, kind, name)
    for title, text in SECTIONS.items()
    for kind, name in re.findall(r"(parameter )?`([^`]+)`", text.split("**Where:**")[1])
]


@pytest.mark.parametrize(("title", "kind", "name"), WHERE, ids=[f"{t}: {n}" for t, _, n in WHERE])
def test_what_holds_a_decision_exists(title, kind, name):
    if kind:
        assert name in parameters("leaf_results")
    elif name == "varm['measured']":  # a field of processed data sets
        assert "varm" in (PROJECT / "scarafm_utils" / "vocabulary.py").read_text(encoding="utf-8")
    else:
        assert in_package(name) or in_profile(name) or in_manifest(name), f"{title} names {name}"


@pytest.mark.parametrize("choice", sorted(set(re.findall(r"`(\w+: \w+)`", TEXT))))
def test_an_alternative_can_be_had_by_setting_a_key_of_a_profile(choice):
    key, value = choice.split(": ")
    profile = load_profile(PROJECT / "profiles" / "demo.yaml").model_dump()
    holders = [part for part in (profile["model"], profile["evaluation"]) if key in part]
    assert len(holders) == 1, choice
    holders[0][key] = value
    assert type(load_profile(PROJECT / "profiles" / "demo.yaml")).model_validate(profile)
