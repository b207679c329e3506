"""What the demo prints: headings, what others said, and colours where a terminal shows them.

Everything goes through the cluster tool's progress display, so that no two voices write over each other.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from enum import Enum

from tests.cluster.progress import PROGRESS, duration

_MARGIN = 15
"""Columns of the time in front of what was seen."""


class Style(Enum):
    """ANSI styles, by what they mean here."""

    HEADING = "1"
    COMMAND = "36"
    QUOTE = "2"
    GOOD = "32"
    BAD = "1;31"


def styled(text: str, style: Style) -> str:
    """Return the text in a style, or as it is where colours are not wanted (NO_COLOR, no terminal)."""
    return f"\033[{style.value}m{text}\033[0m" if _COLOURS else text


def say(line: str = "") -> None:
    """Print a line above the live line."""
    PROGRESS.say(line)


def say_at(elapsed_s: float, text: str, style: Style) -> None:
    """Print what was seen after some seconds, broken into the lines of the terminal where there is one."""
    width = shutil.get_terminal_size().columns - _MARGIN - 1 if sys.stderr.isatty() else sys.maxsize
    first, *others = textwrap.wrap(printable(text), max(width, _MARGIN)) or [""]
    PROGRESS.say(f"{duration(elapsed_s):>{_MARGIN - 2}}  {styled(first, style)}")
    for line in others:
        PROGRESS.say(f"{'':{_MARGIN}}{styled(line, style)}")


def heading(text: str) -> None:
    """Begin a new part."""
    PROGRESS.say("")
    PROGRESS.say(styled(text, Style.HEADING))


def quote(text: str) -> None:
    """Print what somebody else said, such as a status or a log, line by line."""
    for line in text.rstrip().splitlines():
        PROGRESS.say(f"    {styled(printable(line), Style.QUOTE)}")


def command(text: str) -> None:
    """Print a command, ready to be copied."""
    PROGRESS.say(f"    {styled(text, Style.COMMAND)}")


def stream(text: str, *, last: bool = False) -> None:
    """Print a piece of a line at once; the last piece ends it. No step may be under way."""
    sys.stderr.write(printable(text) + ("\n" if last else ""))
    sys.stderr.flush()


def printable(text: str) -> str:
    """Return the text without what would move the cursor: a model may say anything."""
    return "".join(character if character.isprintable() else " " for character in text.replace("\ufffd", "?"))


_COLOURS = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
