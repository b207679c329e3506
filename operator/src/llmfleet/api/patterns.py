r"""Regular expressions that both the API server and Python can compile.

The API server uses Go's regexp (RE2 syntax: https://github.com/google/re2/wiki/Syntax), pydantic Rust's regex, tests
and tools of users Python's re. Only constructs that all three know are allowed; classes such as ``\d`` hold more
characters in Python than in RE2, so that Python accepts whatever the API server has accepted.
"""

import re
import warnings
from functools import cache
from typing import Final

_MAX_REPEAT: Final = 1000
"""RE2 refuses larger counted repetitions."""
_ESCAPED_LETTERS: Final = frozenset("AabBdDfnrsStvwWx")
_TOKEN: Final = re.compile(
    r"""
      \\(?P<escape>.)                         # an escaped character, in a class or outside
    | \[\^?\]?(?P<set>(?:\\.|[^\]\\])*)\]     # a character class as a whole
    | \((?P<group>\?(?:P?[<=!>][=!]?|[^)]))   # a special group and the character that says which
    | (?P<possessive>(?:[*+?]|\{\d+(?:,\d*)?\})\+)
    | \{(?P<repeat>\d+(?:,\d*)?)\}
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_GROUPS: Final = {
    "?=": "look-ahead",
    "?!": "look-ahead",
    "?<=": "look-behind",
    "?<!": "look-behind",
    "?>": "an atomic group",
    "?(": "a conditional group",
    "?P=": "a back-reference",
    "?#": "a comment",
}


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that RE2 does not compile or reads differently.

    Raises:
        ValueError: The message names the construct.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as a set operation in a class, which Rust reads as one
            re.compile(pattern)
    except (re.error, FutureWarning, DeprecationWarning) as error:
        raise ValueError(f"pattern {pattern!r} does not compile: {error}") from error
    for token in _TOKEN.finditer(pattern):
        construct = _foreign(token)
        if construct is not None:
            raise ValueError(f"pattern {pattern!r} uses {construct}, which RE2 does not know")


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    r"""Compile a pattern that `check_pattern` accepts so that it means in Python what it means to the API server.

    There `$` is the end of the text, not also what stands before a line break at the end, and `\w` knows ASCII only.

    Raises:
        ValueError: The API server does not know a construct of it.
    """
    check_pattern(pattern)
    translated = (r"\Z" if token[0] == "$" else token[0] for token in _TOKEN.finditer(pattern))
    return re.compile("".join(translated), re.ASCII)


def _foreign(token: re.Match[str]) -> str | None:
    """Name what RE2 does not know in a token, if anything."""
    if token["escape"] is not None:
        return _foreign_escape(token["escape"])
    if token["set"] is not None:
        escapes = re.findall(r"\\(.)", token["set"], re.DOTALL)
        return next((found for found in map(_foreign_escape, escapes) if found is not None), None)
    if token["group"] is not None:
        return _foreign_group(token["group"])
    if token["possessive"] is not None:
        return "a possessive quantifier"
    if token["repeat"] is not None and any(int(n) > _MAX_REPEAT for n in token["repeat"].split(",") if n):
        return f"a repetition above {_MAX_REPEAT}"
    return None


def _foreign_group(group: str) -> str | None:
    if group in _GROUPS:
        return _GROUPS[group]
    if group in {"?:", "?P<"} or group[1:] in set("imsU-"):
        return None
    return f"the group ({group}"


def _foreign_escape(letter: str) -> str | None:
    if letter.isdigit():
        return "a back-reference"
    if letter.isalpha() and letter not in _ESCAPED_LETTERS:
        return f"the escape \\{letter}"
    return None
