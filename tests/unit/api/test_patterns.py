"""Which regular expressions the API server, pydantic and Python all understand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmfleet.api.patterns import check_pattern, compiled
from tests.unit.api.pattern_cases import BAD, GOOD


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


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^a$", "a", True),
        ("^a$", "a\n", False),  # Python's own `$` would find it
        (r"^\w$", "ä", False),
        (r"^[$]\$$", "$$", True),
    ],
)
def test_a_compiled_pattern_finds_what_the_api_server_finds(pattern: str, text: str, found: bool) -> None:  # noqa: FBT001
    assert (compiled(pattern).search(text) is not None) == found


def test_a_pattern_that_the_api_server_does_not_know_is_not_compiled() -> None:
    with pytest.raises(ValueError, match="look-ahead"):
        compiled("(?=a)b")
