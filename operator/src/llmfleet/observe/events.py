"""From a pod's Events to what keeps its node from making its container: volumes and sandbox. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from llmfleet.observe.objects import Object

_MOUNT_FAILURES: Final = frozenset({"FailedMount", "FailedMapVolume"})
_ATTACH_FAILURES: Final = frozenset({"FailedAttachVolume"})
_SANDBOX_FAILURES: Final = frozenset({"FailedCreatePodSandBox"})
_SANDBOX_ID: Final = re.compile(r' "?[0-9a-f]{64}"?')
"""Another one with each attempt."""
_ATTACHED: Final = frozenset({"SuccessfulAttachVolume"})
_MOUNTED: Final = frozenset({"Pulling", "Pulled", "Created", "Started"})
"""What a kubelet does only when all volumes of the pod are mounted."""
_SUMMARY: Final = "Unable to attach or mount volumes"
"""Begins the Event by which the kubelet sums up failures that other Events explain."""


def obstacle(events: Sequence[Object]) -> str:
    """Return why volumes or sandbox of a pod cannot be had, in the words of the newest Event about it that still holds.

    Empty where no Event tells of such a failure, or later ones tell that it is over.
    """
    mounted, attached = _last(events, _MOUNTED), _last(events, _MOUNTED | _ATTACHED)
    failures = [
        event
        for event in events
        if (event.get("reason") in _MOUNT_FAILURES | _SANDBOX_FAILURES and _when(event) > mounted)
        or (event.get("reason") in _ATTACH_FAILURES and _when(event) > attached)
    ]
    newest = max(failures, key=lambda event: (not _said(event).startswith(_SUMMARY), _when(event)), default={})
    return _said(newest)


def volumes_mounted(events: Sequence[Object]) -> bool:
    """Say whether the pod has its volumes and waits for its image."""
    return _last(events, _MOUNTED) > "" and not obstacle(events)


def _last(events: Iterable[Object], reasons: frozenset[str]) -> str:
    return max((_when(event) for event in events if event.get("reason") in reasons), default="")


def _when(event: Object) -> str:
    """Return when it was last seen: RFC 3339 in UTC, texts that compare as times."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((time for time in times if time), event["metadata"].get("creationTimestamp") or "")


def _said(event: Object) -> str:
    return _SANDBOX_ID.sub("", str(event.get("message") or ""))
