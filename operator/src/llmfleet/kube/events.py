"""Writes Kubernetes Events: sentences that `kubectl describe` shows under an object.

Events are a courtesy. Recording one never waits and never fails, and writing them gives way to all other work: what
cannot be written is counted in `dropped` and logged once. The name of an Event follows from what it says, so a sentence
that is said again becomes a higher count of the same Event, also after a restart, and within two minutes not even that;
unless a sentence of the other type came between: the end of a trouble is told however often it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmfleet.kube.errors import AlreadyExists, ApiError, NotFound
from llmfleet.kube.resources import Ref

if TYPE_CHECKING:
    from llmfleet.kube.client import Client

log = logging.getLogger(__name__)

_MANAGER = "llmfleet"
_COMPONENT = "llmfleet"
_WINDOW_S = 120.0
_QUEUE_EVENTS = 2000
_REMEMBERED = 10_000
# Per object: so many sentences at once, then one in so many seconds. One noisy object does not silence the others.
_BURST = 10.0
_REFILL_S = 20.0
# After an Event that took so long to write, a pause of so many times as long: what slows the API server down for us,
# such as a whole fleet that is made at once, slows Events down more.
_PAUSES = 4.0
_NAME_CHARACTERS = 200
_MESSAGE_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class Regarding:
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(slots=True)
class _Said:
    """One sentence about one object."""

    regarding: Regarding
    type: str
    reason: str
    message: str
    first: dt.datetime
    last: dt.datetime
    count: int = 1
    recorded_at: dt.datetime | None = None

    @property
    def name(self) -> str:
        """The Event's name: readable, and the same for the same sentence about the same object."""
        said = f"{self.regarding.uid}\n{self.type}\n{self.reason}\n{self.message}"
        mark = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
        return f"{self.regarding.name[:_NAME_CHARACTERS].rstrip('.-')}.{mark}"

    @property
    def ref(self) -> Ref:
        """Where the Event lies."""
        return Ref.to("Event", self.name, self.regarding.namespace)


class Recorder:
    """Takes Events and writes them in the background while `run` runs.

    Args:
        client: to reach the API server.
        instance: who says it, such as the pod's name.

    Attributes:
        dropped: how many Events were not written: too many of one object, queue full, or the API server refused.
    """

    def __init__(self, client: Client, *, instance: str) -> None:
        self._client = client
        self._instance = instance
        self._queue: asyncio.Queue[_Said] = asyncio.Queue(_QUEUE_EVENTS)
        self._said: OrderedDict[tuple[str, str], _Said] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, dt.datetime]] = OrderedDict()
        self._types: OrderedDict[str, str] = OrderedDict()
        self._failing = ""
        self.dropped = 0

    def event(
        self,
        regarding: Regarding,
        type: Literal["Normal", "Warning"],  # noqa: A002 - the name that Kubernetes gives it
        reason: str,
        message: str,
        *,
        now: dt.datetime,
    ) -> None:
        """Say something about an object; returns at once.

        Args:
            regarding: the object.
            type: `Warning` for what a person should look at.
            reason: CamelCase, from a closed set.
            message: one sentence.
            now: wall-clock time with time zone; it is shown to people and measures the two minutes.
        """
        fresh = _Said(regarding, type, reason, message[:_MESSAGE_CHARACTERS], first=now, last=now)
        key = (regarding.uid, fresh.name)
        said = self._said.setdefault(key, fresh)
        self._said.move_to_end(key)
        if said is not fresh:
            said.count += 1
            said.last = now
            recent = said.recorded_at is not None and (now - said.recorded_at).total_seconds() < _WINDOW_S
            if recent and self._types.get(regarding.uid) == type:
                return
        while len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        if not self._allowed(regarding.uid, now):
            self.dropped += 1
            return
        try:
            self._queue.put_nowait(said)
        except asyncio.QueueFull:
            self.dropped += 1
        else:
            said.recorded_at = now
            self._types[regarding.uid] = type
            self._types.move_to_end(regarding.uid)
            while len(self._types) > _REMEMBERED:
                self._types.popitem(last=False)

    async def run(self) -> None:
        """Write what was said, one Event after the other, until cancelled."""
        while True:
            said = await self._queue.get()
            begin = time.monotonic()
            try:
                await self._write(said)
                self._failing = ""
            except ApiError as error:
                self.dropped += 1
                kind = f"{type(error).__name__} {error.reason}"
                if kind != self._failing:
                    self._failing = kind
                    log.warning("an Event could not be written, others like it are not mentioned: %s", error)
            finally:
                self._queue.task_done()
            await asyncio.sleep(_PAUSES * (time.monotonic() - begin))

    async def drain(self, timeout_s: float) -> None:
        """Wait until everything was written, but not longer than `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._queue.join()

    def _allowed(self, uid: str, now: dt.datetime) -> bool:
        """Take a token out of the object's bucket."""
        tokens, since = self._buckets.pop(uid, (_BURST, now))
        tokens = min(_BURST, tokens + max(0.0, (now - since).total_seconds()) / _REFILL_S)
        allowed = tokens >= 1.0
        self._buckets[uid] = (tokens - 1.0 if allowed else tokens, now)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed

    async def _write(self, said: _Said) -> None:
        """Create the Event, or raise the count of the one that is there."""
        if said.count > 1 and await self._count(said, said.count):
            return
        try:
            await self._client.create(self._object(said), manager=_MANAGER)
        except AlreadyExists:
            # Said before we were started, or before we forgot it.
            known = await self._client.get(said.ref)
            said.count += int(known.get("count") or 1)
            await self._count(said, said.count)

    async def _count(self, said: _Said, count: int) -> bool:
        """Set count and time of an Event that is there; False if it is not (Events expire after an hour)."""
        changes: list[dict[str, Any]] = [
            {"op": "add", "path": "/count", "value": count},
            {"op": "add", "path": "/lastTimestamp", "value": _time(said.last)},
        ]
        try:
            await self._client.patch_json(said.ref, changes, manager=_MANAGER)
        except NotFound:
            return False
        return True

    def _object(self, said: _Said) -> dict[str, Any]:
        about = said.regarding
        ref = said.ref
        involved = {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": ref.name, "namespace": ref.namespace},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "type": said.type,
            "reason": said.reason,
            "message": said.message,
            "count": said.count,
            "firstTimestamp": _time(said.first),
            "lastTimestamp": _time(said.last),
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._instance,
        }


def _time(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
