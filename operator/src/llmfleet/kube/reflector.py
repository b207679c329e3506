"""Keeps a trimmed copy of all objects of one resource up to date: LIST once, then WATCH.

What is promised: after any disturbance (dropped, silent or refused connections, an expired version, a garbled stream)
the copy becomes equal to the API server's again, and every difference was reported through `on_change`, deletions
that happened meanwhile included. What is not: that every intermediate state is seen. An object that was deleted
and made anew while we were away shows as a change from the old to the new one. What is older than what is known of an
object changes nothing: a late event must not undo what a write of ours returned. An object that cannot be read, such as
somebody's own with our label, ends nothing: it counts as it was last known, and as not there if it never was.

A watch that ended is resumed where it was. After one that broke, everything is listed anew, because whatever broke it
may have lost some events before; but listings take at most a twentieth of the time, so that a connection that breaks
every minute does not cost a large fleet a listing every minute.
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
from llmfleet.kube.errors import ApiError, Forbidden, Gone, Unreachable
from llmfleet.kube.newest import Newest
from llmfleet.kube.resources import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmfleet.kube.client import Client
    from llmfleet.kube.resources import Resource

log = logging.getLogger(__name__)

T = TypeVar("T")

Key = tuple[str, str]
"""Namespace and name."""

_WATCH_S = (290, 580)
_SHORT_WATCH_S = 1.0
_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 10.0
_LISTING_SHARE = 0.05
_LISTING_EVERY_S = 5.0


@dataclass(slots=True)
class _Stream:
    """How far one namespace (None: all of them) is followed."""

    namespace: str | None
    version: str | None = None
    listed: bool = False
    listed_at: float = 0.0
    listing_s: float = 0.0
    alive_at: float | None = None
    stands: bool = False
    failures: int = 0
    error: ApiError | None = None
    logged: str = ""


class Reflector(Generic[T]):
    """A live copy of one resource's objects.

    Args:
        client: how to reach the API server.
        resource: what to copy.
        namespaces: which namespaces; None means all.
        label_selector: as in kubectl's `--selector`.
        trim: makes what is kept out of a full object, at once on arrival. An object that it raises on is left as it
            was last known.
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
        self._newest: Newest[Key] = Newest()
        self._odd: dict[Key, int] = {}
        self.synced = asyncio.Event()

    @property
    def refused(self) -> frozenset[str]:
        """The namespaces that refuse us now (403), of those that are followed one by one."""
        return frozenset(
            stream.namespace for stream in self._streams if stream.namespace and isinstance(stream.error, Forbidden)
        )

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
        self._keep(obj, kept)
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
                if isinstance(error, Gone) or self._may_have_missed(stream, error):
                    stream.version = None
                self._failed(stream, error)
            else:
                stream.stands = False
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
        version, begun = "", time.monotonic()
        page: dict[str, Any] = {}
        pages = self._client.pages(self._resource, stream.namespace, label_selector=self._label_selector, limit=limit)
        async with aclosing(pages):
            async for page in pages:
                stream.alive_at = time.monotonic()
                version = page["metadata"]["resourceVersion"]
                for obj in page.pop("items", None) or ():
                    seen.add(_key(obj))
                    self._put(obj)
        as_of = version_of(page) if page else 0
        for key in [key for key in self.store if key not in seen and stream.namespace in (None, key[0])]:
            self._drop(key, as_of)
        stream.listed_at = time.monotonic()
        stream.listing_s = stream.listed_at - begun
        return version

    @staticmethod
    def _may_have_missed(stream: _Stream, error: ApiError) -> bool:
        """Say whether to list after a failure: a watch that stood broke, and listing once more costs little."""
        stood, stream.stands = stream.stands, False
        if not stood or not isinstance(error, Unreachable):
            return False
        return time.monotonic() - stream.listed_at > max(_LISTING_EVERY_S, stream.listing_s / _LISTING_SHARE)

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
                stream.error, stream.stands = None, True
                if not event:
                    continue
                stream.failures, stream.logged = 0, ""
                obj = event["object"]
                if event["type"] == "DELETED":
                    self._drop(_key(obj), version_of(obj))
                elif event["type"] != "BOOKMARK":
                    self._put(obj)
                stream.version = obj["metadata"]["resourceVersion"]

    def _put(self, obj: dict[str, Any]) -> None:
        """Take an object over. One that cannot be read is named, once per version, and must not end the others."""
        key, version = _key(obj), version_of(obj)
        if key in self.store and 0 < version <= self._newest.of(key):
            return  # the echo of a write of ours, above all
        try:
            kept = self._trim(obj)
        except Exception:
            if self._odd.get(key) != version:
                self._odd[key] = version
                log.exception("%s %s/%s cannot be read and is left out of account", self._resource.kind, *key)
            return
        self._odd.pop(key, None)
        self._keep(obj, kept)

    def _keep(self, obj: dict[str, Any], new: T) -> None:
        key = _key(obj)
        if not self._newest.put(key, version_of(obj)):
            return
        old = self.store.get(key)
        if old != new:
            self.store[key] = new
            self._on_change(key, old, new)

    def _drop(self, key: Key, as_of: int) -> None:
        """Forget what is gone, unless we know something of that name that is newer than its being gone."""
        if not self._newest.drop(key, as_of):
            return
        self._odd.pop(key, None)
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
    return metadata["namespace"], metadata["name"]
