"""Waiting for a condition, with a deadline and the last state in the error; never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    condition: Callable[[], T],
    *,
    within_s: float,
    what: str,
    last: Callable[[], object] | None = None,
    every_s: float = 0.1,
) -> T:
    """Return the first true value of a condition.

    Raises:
        AssertionError: It did not become true in time; the text says what was waited for and the last state.
    """
    deadline = time.monotonic() + within_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            state = f"; last: {last()}" if last else ""
            raise AssertionError(f"not within {within_s:g} s: {what}{state}")
        time.sleep(every_s)
