"""Strict YAML: numbers are numbers, and nothing is converted silently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarafm_utils.config import Count, Strict, read_yaml, validate
from scarafm_utils.errors import InputError


class Inner(Strict):
    """A nested part."""

    size: Count | None = None
    words: list[str] = []
    text: str = ""


class Outer(Strict):
    """A part with a nested part, alone, optional, in a dict and in a list."""

    rate: float = 0.0
    one: Inner = Inner()
    maybe: Inner | None = None
    named: dict[str, Inner] = {}


@given(st.integers(1, 9), st.integers(-12, 12))
def test_exponents_are_numbers_as_in_yaml_1_2(tmp_path_factory, digit, power):
    path = tmp_path_factory.getbasetemp() / "numbers.yaml"
    path.write_text(f"rate: {digit}e{power}\n")
    assert read_yaml(path) == {"rate": float(f"{digit}e{power}")}


def test_unknown_is_read_by_the_type_of_the_key():
    inner = validate(Inner, {"size": "unknown", "words": "unknown", "text": "unknown"}, where="x")
    assert (inner.size, inner.words, inner.text) == (None, [], "unknown")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"one": {"sise": 1}},
            r"x.one.sise = 1: unknown key, did you mean 'size'\? Allowed: size, words, text",
        ),
        ({"maybe": {"sise": 1}}, r"x.maybe.sise = 1: unknown key, did you mean 'size'"),
        ({"named": {"a": {"sise": 1}}}, r"x.named.a.sise = 1: unknown key, did you mean 'size'"),
        ({"one": {"size": True}}, r"x.one.size = True: .*integer"),
        ({"one": {"size": "3"}}, r"x.one.size = '3': .*integer"),
        ({"rate": "fast"}, r"x.rate = 'fast': .*number"),
        ({"one": {"words": [1]}}, r"x.one.words\[0\] = 1: .*quote it if it is text"),
    ],
)
def test_mistakes_name_the_whole_path(values, message):
    with pytest.raises(InputError, match=message):
        validate(Outer, values, where="x")


def test_a_whole_number_is_a_number():
    assert validate(Outer, {"rate": 3}, where="x").rate == 3.0
