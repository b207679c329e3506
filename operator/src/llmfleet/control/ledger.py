"""What became of the writes of one LLMDeployment's children: what the API server made of them, and who undoes them.

A new process finds out anew what the API server makes of a write, by one write that changes nothing.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llmfleet.api.names import MANAGER
from llmfleet.kube.difference import Difference, differences

ChildKey = tuple[str, str]
"""Kind and name of a child."""
Object = Mapping[str, Any]

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
        self._entries: dict[ChildKey, _Entry] = {}

    def forget(self, child: ChildKey) -> None:
        """Forget a child that was removed on purpose."""
        self._entries.pop(child, None)

    def is_as(self, child: ChildKey, is_now: str, wanted: str) -> bool:
        """Say by digests whether a child is as wanted, as far as the API server lets it be."""
        entry = self._entries.get(child)
        return is_now == wanted or (entry is not None and (entry.wanted, entry.got) == (wanted, is_now))

    def wait_s(self, child: ChildKey, wanted: str) -> float:
        """Return how long a child that differs, or is gone, must wait before it is put back; 0 for not at all."""
        entry = self._entries.get(child)
        if entry is None or entry.wanted != wanted:
            return 0.0
        return max(0.0, entry.at + entry.pause_s - self._clock())

    def wrote(self, child: ChildKey, wanted: str, got: str, sent: Object, stored: Object) -> None:
        """Take over the answer to a write of what was there before, or of what is not stored as it was sent."""
        now, before = self._clock(), self._entries.get(child)
        again = before is not None and before.wanted == wanted and now - before.at < _ROW_S + 2 * before.pause_s
        repairs, dispute = (before.repairs + 1, before.dispute) if before is not None and again else (0, "")
        altered = "" if got == wanted else _altered(sent, differences(sent, stored, MANAGER))
        self._entries[child] = _Entry(wanted, got, now, repairs, altered, dispute)

    def altered(self, child: ChildKey) -> str:
        """Return the sentence about what admission changed in the last write of a child, or nothing."""
        entry = self._entries.get(child)
        return entry.altered if entry else ""

    def dispute(self, child: ChildKey) -> tuple[str, float]:
        """Return the sentence about who undoes our writes, empty where nobody does, and when to look again.

        A dispute is over after as much quiet again as the last pause was long.
        """
        entry = self._entries.get(child)
        if entry is None or not entry.dispute:
            return "", 0.0
        since_s = self._clock() - entry.at
        if since_s >= 2 * entry.pause_s:
            return "", 0.0
        return entry.dispute, entry.pause_s * (1 if since_s < entry.pause_s else 2) - since_s

    def disputed(self, child: ChildKey, sent: Object, live: Object | None) -> None:
        """Note who changes a child each time, read from the live object; None: it is deleted each time."""
        if live is None:
            what = f"something deletes {' '.join(child)} each time that llmfleet makes it"
        else:
            found = differences(sent, live, MANAGER)
            culprit = _who(found) or "a webhook or policy"
            what = f"{culprit} changes {_what(sent, found)} each time that llmfleet puts it back"
        said = f"{what}: end that, or change the LLMDeployment instead; llmfleet tries again after growing pauses"
        if child in self._entries:
            self._entries[child] = replace(self._entries[child], dispute=said)


def put_back(sent: Object, live: Object) -> str:
    """Return a clause about what somebody changed of an object that is put back, and who."""
    found = differences(sent, live, MANAGER)
    who = _who(found)
    by = f" (changed by {who})" if who else ""
    return f"{sent['kind']} {sent['metadata']['name']}: {_fields(found)} put back{by}"


def _altered(sent: Object, found: Iterable[Difference]) -> str:
    return f"A webhook or policy of the cluster changes {_what(sent, found)} whenever it is written."


def _what(sent: Object, found: Iterable[Difference]) -> str:
    return f"{_fields(found)} of {sent['kind']} {sent['metadata']['name']}"


def _who(found: Iterable[Difference]) -> str:
    return ", ".join(sorted({difference.manager for difference in found if difference.manager}))


def _fields(found: Iterable[Difference]) -> str:
    paths = [difference.path for difference in found]
    named = ", ".join(paths[:_NAMED]) + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")
    return named or "fields"
