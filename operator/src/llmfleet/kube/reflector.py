"""Keeps a trimmed copy of all objects of one resource up to date: LIST once, then WATCH.

What is promised: after any disturbance (dropped, silent or refused connections, an expired version, a garbled stream)
the copy becomes equal to the API server's again, and every difference was reported through `on_change`, deletions
that happened meanwhile included. What is not: that every intermediate state is seen. An object that was deleted
and made anew while we were away shows as a change from the old to the new one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llmfleet.kube.client import PAGE_ITEMS
from llmfleet.kube.errors import ApiError, Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmfleet.kube.client import Client
    from llmfleet.kube.resources import Resource

log = logging.getLogger(__name__)

T = TypeVar("T")

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""

_WATCH_S = (290, 580)
_SHORT_WATCH_S = 1.0
_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 30.0


@dataclass(slots=True)
class _Stream:
    """How far one namespace (None: all of them) is followed."""

    namespace: str | None
    version: str | None = None
    listed: bool = False
    alive_at: float | None = None
    failures: int = 0
    error: ApiError | None = None
    logged: str = ""


class Reflector(Generic[T]):
    """A live copy of one resource's objects.

    Args:
        client: how to reach the API server.
        resource: what to copy.
        namespaces: which namespaces; None means all, or a cluster-scoped resource.
        label_selector: as in kubectl's `--selector`.
        trim: makes what is kept out of a full object, at once on arrival. Must not raise.
        on_change: called with the key, the old and the new trimmed object (None: not there) after `store` was
            changed, and not if old and new are equal. Synchronous, quick; must not raise.
        silence_s: a watch without a byte for so long is dead.
        backoff_s: first and longest pause after failures, in seconds; doubled each time, with jitter.

    Attributes:
        store: the copy. For reading only.
        synced: set once everything was listed for the first time.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespaces: Sequence[str] | None,
        trim: Callable[[dict[str, Any]], T],
        on_change: Callable[[Key, T | None, T | None], None],
        label_selector: str | None = None,
        silence_s: float = 90.0,
        backoff_s: tuple[float, float] = (_BACKOFF_FIRST_S, _BACKOFF_LAST_S),
    ) -> None:
        self._client = client
        self._resource = resource
        self._label_selector = label_selector
        self._trim = trim
        self._on_change = on_change
        self._silence_s = silence_s
        self._backoff_s = backoff_s
        self._streams = [_Stream(namespace) for namespace in (namespaces if namespaces is not None else (None,))]
        self.store: dict[Key, T] = {}
        self.synced = asyncio.Event()

    @property
    def last_error(self) -> ApiError | None:
        """What the latest attempt failed with; None while every watch stands."""
        return next((stream.error for stream in self._streams if stream.error is not None), None)

    def age_s(self) -> float:
        """Seconds since the last sign of life of the stalest watch (bookmarks count); infinite before the first."""
        now = time.monotonic()
        return max(
            (math.inf if stream.alive_at is None else now - stream.alive_at for stream in self._streams), default=0
        )

    async def run(self) -> None:
        """List and watch until cancelled. No API error ends it; it tries on, also when access is refused."""
        if not self._streams:
            self.synced.set()
        async with asyncio.TaskGroup() as group:
            for stream in self._streams:
                group.create_task(
                    self._follow(stream), name=f"reflect {self._resource.plural} {stream.namespace or '*'}"
                )

    def absorb(self, obj: dict[str, Any]) -> T:
        """Take over what a write of ours returned, so that the next decision sees it before the watch tells it.

        Returns:
            What is kept of it.
        """
        kept = self._trim(obj)
        self._put(_key(obj), kept)
        return kept

    async def _follow(self, stream: _Stream) -> None:
        """Keep one stream going."""
        while True:
            started = time.monotonic()
            try:
                if stream.version is None:
                    stream.version = await self._list(stream)
                    self._listed(stream)
                await self._watch(stream, stream.version)
            except ApiError as error:
                if isinstance(error, Gone):
                    stream.version = None
                self._failed(stream, error)
            else:
                if time.monotonic() - started >= _SHORT_WATCH_S:
                    continue
                # A server that ends every watch at once (it is stopping, or a proxy is in the way) is not hammered.
                stream.failures += 1
            await asyncio.sleep(self._pause_s(stream.failures))

    async def _list(self, stream: _Stream) -> str:
        """Take over everything there is; return the version to watch from."""
        try:
            return await self._replace(stream, PAGE_ITEMS)
        except Gone:
            # The server forgot the moment of the first page before the last was fetched; one large answer cannot.
            return await self._replace(stream, 0)

    async def _replace(self, stream: _Stream, limit: int) -> str:
        seen: set[Key] = set()
        version = ""
        pages = self._client.pages(self._resource, stream.namespace, label_selector=self._label_selector, limit=limit)
        async with aclosing(pages):
            async for page in pages:
                stream.alive_at = time.monotonic()
                version = page["metadata"]["resourceVersion"]
                for obj in page.pop("items", None) or ():
                    key = _key(obj)
                    seen.add(key)
                    self._put(key, self._trim(obj))
        for key in [key for key in self.store if key not in seen and stream.namespace in (None, key[0])]:
            self._drop(key)
        return version

    async def _watch(self, stream: _Stream, version: str) -> None:
        """Follow changes until the watch ends or fails; `stream.version` is how far it came."""
        events = self._client.watch(
            self._resource,
            stream.namespace,
            resource_version=version,
            label_selector=self._label_selector,
            timeout_s=random.randint(*_WATCH_S),  # noqa: S311 - spreads the reconnects of many watches
            silence_s=self._silence_s,
        )
        async with aclosing(events):
            async for event in events:
                stream.alive_at = time.monotonic()
                stream.error = None
                if not event:
                    continue
                stream.failures, stream.logged = 0, ""
                obj = event["object"]
                if event["type"] == "DELETED":
                    self._drop(_key(obj))
                elif event["type"] != "BOOKMARK":
                    self._put(_key(obj), self._trim(obj))
                stream.version = obj["metadata"]["resourceVersion"]

    def _put(self, key: Key, new: T) -> None:
        old = self.store.get(key)
        if old != new:
            self.store[key] = new
            self._on_change(key, old, new)

    def _drop(self, key: Key) -> None:
        old = self.store.pop(key, None)
        if old is not None:
            self._on_change(key, old, None)

    def _listed(self, stream: _Stream) -> None:
        stream.listed = True
        if all(other.listed for other in self._streams) and not self.synced.is_set():
            log.info("%s: %d listed", self._resource.plural, len(self.store))
            self.synced.set()

    def _failed(self, stream: _Stream, error: ApiError) -> None:
        """Note a failure; log the first of its kind in a row, not the repetitions (their texts may differ)."""
        kind = f"{type(error).__name__} {error.status}"
        expected = isinstance(error, Gone) or kind == stream.logged
        where = stream.namespace or "all namespaces"
        log.log(logging.DEBUG if expected else logging.WARNING, "%s in %s: %s", self._resource.plural, where, error)
        stream.error = error
        stream.logged = kind
        stream.failures += 1

    def _pause_s(self, failures: int) -> float:
        """Exponential with half of it random, so that many watches do not come back together."""
        first, last = self._backoff_s
        ceiling = min(last, first * 2.0 ** min(failures - 1, 16))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311


def _key(obj: dict[str, Any]) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace") or "", metadata["name"]
