"""What became of the writes of one LLMDeployment's children: what the API server made of them, and who undoes them.

A new process finds out anew what the API server makes of a write, by one write that changes nothing.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llmfleet.kube.difference import Difference, differences
from llmfleet.observe.views import Child

_FREE: Final = 3
"""So often in a row an object is put back at once: a person who edits by hand is not a controller."""
_FIRST_PAUSE_S: Final = 5.0
_LAST_PAUSE_S: Final = 300.0
_ROW_S: Final = 60.0
"""Repairs with longer quiet between them are no row."""
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class _Entry:
    """The last write of one object.

    Attributes:
        wanted: digest of what was sent.
        got: digest of what was stored.
        at: when, in seconds of the clock.
        repairs: how often in a row the same was sent again because somebody had changed it.
        altered: a sentence about what admission changed, empty where it changed nothing.
        dispute: a sentence about who changes it each time, empty until it was looked up.
    """

    wanted: str
    got: str
    at: float
    repairs: int
    altered: str
    dispute: str

    @property
    def pause_s(self) -> float:
        """How long to wait before it is put back once more."""
        over = self.repairs - _FREE
        return 0.0 if over < 0 else min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(over, 16))


class Ledger:
    """Remembers the last write of every child that was written more than once, or stored otherwise than sent.

    Args:
        clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_entries")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def forget(self, uid: str) -> None:
        """Forget an object that is gone."""
        self._entries.pop(uid, None)

    def is_as(self, view: Child, wanted: str) -> bool:
        """Say whether an object is as wanted, as far as the API server lets it be."""
        if view.digest == wanted:
            return True
        entry = self._entries.get(view.uid)
        return entry is not None and (entry.wanted, entry.got) == (wanted, view.digest)

    def wait_s(self, uid: str, wanted: str) -> float:
        """Return how long an object that differs must wait before it is put back; 0 for not at all."""
        entry = self._entries.get(uid)
        if entry is None or entry.wanted != wanted:
            return 0.0
        return max(0.0, entry.at + entry.pause_s - self._clock())

    def wrote(self, sent: Mapping[str, Any], stored: Mapping[str, Any], wanted: str, got: str, manager: str) -> None:
        """Take over the answer to a write of an object that was there, or one that is not what was sent."""
        uid, now = stored["metadata"]["uid"], self._clock()
        before = self._entries.pop(uid, None)
        again = before is not None and before.wanted == wanted and now - before.at < _ROW_S + 2 * before.pause_s
        repairs, dispute = (before.repairs + 1, before.dispute) if before is not None and again else (0, "")
        altered = "" if got == wanted else _altered(sent, differences(sent, stored, manager))
        self._entries[uid] = _Entry(wanted, got, now, repairs, altered, dispute)

    def altered(self, uid: str) -> str:
        """Return the sentence about what admission changed in the last write of an object, or nothing."""
        entry = self._entries.get(uid)
        return entry.altered if entry else ""

    def dispute(self, uid: str) -> tuple[str, float]:
        """Return the sentence about who undoes our writes, empty where nobody does, and when to look again.

        A dispute is over after as much quiet again as the last pause was long.
        """
        entry = self._entries.get(uid)
        if entry is None or not entry.dispute:
            return "", 0.0
        since_s = self._clock() - entry.at
        if since_s >= 2 * entry.pause_s:
            return "", 0.0
        return entry.dispute, entry.pause_s * (1 if since_s < entry.pause_s else 2) - since_s

    def disputed(self, sent: Mapping[str, Any], live: Mapping[str, Any], manager: str) -> None:
        """Note who changes an object each time, read from the live object."""
        uid, found = live["metadata"]["uid"], differences(sent, live, manager)
        who = sorted({difference.manager for difference in found if difference.manager})
        said = (
            f"{', '.join(who) or 'a webhook or policy'} changes {_what(sent, found)} each time that llmfleet puts it "
            "back: end that, or change the LLMDeployment instead; llmfleet tries again after growing pauses"
        )
        if uid in self._entries:
            self._entries[uid] = replace(self._entries[uid], dispute=said)


def _altered(sent: Mapping[str, Any], found: Iterable[Difference]) -> str:
    return f"A webhook or policy of the cluster changes {_what(sent, found)} whenever it is written."


def _what(sent: Mapping[str, Any], found: Iterable[Difference]) -> str:
    paths = [difference.path for difference in found]
    named = ", ".join(paths[:_NAMED]) + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")
    return f"{named or 'fields'} of {sent['kind']} {sent['metadata']['name']}"
