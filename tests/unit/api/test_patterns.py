"""Which regular expressions the API server, pydantic and Python all understand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmfleet.api.patterns import check_pattern

GOOD = [
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
    r"^([0-9]+h)?([0-9]+m)?$",
    r"^(?:a|b)+?$",
    r"^(?P<name>a{1,1000})$",
    r"^(?i)a$".replace("^(?i)", "(?i)^"),
    r"\A\d\D\s\S\w\W\b\.\[\]\\\-$",
    r"[\d\-\]]",
    r"[]a]",
    r"[^]a]",
    r"[(?=]",
    r"\(\?=",
    r"a{,}",
    r"x\x41\n\t",
    "ä+",
    "",
]
BAD = {
    r"(?=a)b": "look-ahead",
    r"(?!a)b": "look-ahead",
    r"(?<=a)b": "look-behind",
    r"(?<!a)b": "look-behind",
    r"(a)\1": "a back-reference",
    r"(?P<x>a)(?P=x)": "a back-reference",
    r"(?>a)b": "an atomic group",
    r"(a)?(?(1)b|c)": "a conditional group",
    r"a(?#note)b": "a comment",
    r"a*+b": "a possessive quantifier",
    r"a{1,2}+b": "a possessive quantifier",
    r"a{1001}": "a repetition above 1000",
    r"a{1,1001}": "a repetition above 1000",
    r"a\Z": r"the escape \Z",
    r"(?x)a": "the group (?x",
    r"[a": "does not compile",
    r"a)": "does not compile",
    r"[[a]": "does not compile",
    r"[a--b]": "does not compile",
}


@pytest.mark.parametrize("pattern", GOOD)
def test_is_understood(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(("pattern", "construct"), BAD.items())
def test_is_refused_by_name(pattern: str, construct: str) -> None:
    with pytest.raises(ValueError, match=re.escape(construct)):
        check_pattern(pattern)


@given(st.text())
def test_escaped_text_is_understood(text: str) -> None:
    check_pattern(f"^{re.escape(text)}$")


@given(st.text(alphabet="()[]{}?*+|\\^$<>=!:P1ab-,", max_size=12))
def test_any_text_is_understood_or_refused(pattern: str) -> None:
    try:
        check_pattern(pattern)
    except ValueError:
        return
    assert not re.search(r"\(\?(<?[=!]|>|\()", pattern.replace("\\(", "").replace("[", "")) or "[" in pattern
