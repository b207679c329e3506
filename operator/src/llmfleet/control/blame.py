"""Whose matter it is that a reconcile fails: that object's, whose status tells it, or no single object's.

An API server that asks for fewer requests, or has a fault of its own, must not be answered by a status and an Event
for every object that meets it. But an object whose own requests are answered so, or not at all, because of a webhook
that hangs or a proxy in between, is told like any other trouble.
"""

from collections.abc import Callable
from typing import Final

from llmfleet.control.cache import Key
from llmfleet.kube.errors import ApiError, NotLeading, ServerError, TooManyRequests, Unreachable

_SEVERAL: Final = 4
"""So many objects that fail alike have one cause, and it is none of theirs."""


class Blame:
    """Knows with what the objects fail.

    Args:
        since_write_s: returns how long ago a write last succeeded, in seconds.
    """

    def __init__(self, since_write_s: Callable[[], float]) -> None:
        self._since_write_s = since_write_s
        self._failing: dict[Key, type[ApiError]] = {}

    def failed(self, key: Key, error: ApiError) -> None:
        """Note with what an object fails."""
        self._failing[key] = type(error)

    def over(self, key: Key) -> None:
        """Note that an object does not fail so any more."""
        self._failing.pop(key, None)

    def own(self, error: ApiError, failing_s: float) -> bool:
        """Say whether a failure is the object's own.

        Args:
            error: what it fails with.
            failing_s: for how long it has failed, in seconds.
        """
        if isinstance(error, NotLeading):
            return False
        if not isinstance(error, Unreachable | TooManyRequests | ServerError):
            return True
        if sum(kind is type(error) for kind in self._failing.values()) < _SEVERAL:
            return True
        return isinstance(error, Unreachable) and self._since_write_s() < failing_s
