"""Listens to how somebody else follows one resource over a session of ours, and tells what it may have missed.

kopf follows the LLMDeployments and does not tell how that goes: bookmarks stay inside it, a list that is fetched anew
looks to a handler like a series of changes, and what vanished meanwhile is not told at all. All of it passes the
session that it was lent, and there it can be seen. Nothing is changed on the way but the pace: a watch that would
begin within a second of the one before waits, because kopf opens watches that end at once without any pause.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmfleet.kube.resources import Resource

log = logging.getLogger(__name__)

_WATCH_EVERY_S = 1.0


@dataclass(slots=True)
class _Stream:
    """What was seen of one collection (one namespace, or all of them: None)."""

    namespace: str | None
    refused: bool = False
    listed: bool = False
    troubled: str = ""
    error: str = ""
    asked_at: float = float("-inf")
    alive_at: float | None = None
    watch: aiohttp.ClientResponse | None = None
    received: int = 0


class Wiretap:
    """A listener for `session.lend_session`.

    Args:
        resource: whose collections to listen for.
        namespaces: the namespaces that are followed; empty means all, in one stream.
        doubt: called with the cause when something may have been missed and the stream stands again: the collection
            was listed anew, or a watch broke or was refused before the present one.
        clock: monotonic seconds.

    Attributes:
        begun: set once one of the collections was asked for since the last `restart`.
        synced: set once all collections were listed for the first time.
    """

    def __init__(
        self,
        resource: Resource,
        namespaces: Sequence[str],
        doubt: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = {resource.path(namespace): _Stream(namespace) for namespace in (namespaces or (None,))}
        self._doubt = doubt
        self._clock = clock
        self._asking = 0
        self._asked_at = clock()
        self.begun = asyncio.Event()
        self.synced = asyncio.Event()

    def restart(self) -> None:
        """Note that the follower is started anew, or is not there for a while for a good reason."""
        self.begun.clear()
        self._asked_at = self._clock()
        for stream in self._streams.values():
            stream.watch, stream.alive_at = None, None

    def idle_s(self) -> float:
        """Seconds since the follower last asked for anything or got an answer; 0 while it waits for one."""
        return 0.0 if self._asking else self._clock() - self._asked_at

    def age_s(self) -> float:
        """Seconds since the last sign of life of the stalest stream, bookmarks included; 0 where none is followed."""
        return max((self._age_s(stream) for stream in self._streams.values()), default=0.0)

    @property
    def last_error(self) -> str:
        """What the latest attempt failed with; empty while every stream stands."""
        return next((stream.error for stream in self._streams.values() if stream.error), "")

    @property
    def refused(self) -> frozenset[str]:
        """The namespaces that refuse the follower now (403), of those that are followed one by one."""
        return frozenset(
            stream.namespace for stream in self._streams.values() if stream.namespace is not None and stream.refused
        )

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Pass one attempt of one request on."""
        stream = self._streams.get(request.url.path) if request.method == "GET" else None
        self._asking += 1
        try:
            if stream is None:
                return await handler(request)
            self.begun.set()
            watching = "watch" in request.url.query
            if watching:
                await self._pace(stream)
            try:
                response = await handler(request)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                stream.troubled = stream.error = f"{type(error).__name__}: {error}"
                raise
            stream.refused = response.status == HTTPStatus.FORBIDDEN
            if response.status != HTTPStatus.OK:
                stream.troubled = stream.error = f"HTTP {response.status}"
            elif watching:
                self._watched(stream, response)
            elif "continue" not in request.url.query:
                self._listed(stream)
            return response
        finally:
            self._asking -= 1
            self._asked_at = self._clock()

    async def _pace(self, stream: _Stream) -> None:
        """See how the last watch ended, and let not too many begin."""
        if stream.watch is not None:
            ended = stream.watch.content.exception()
            if ended is not None:
                stream.troubled = stream.error = f"the watch broke ({type(ended).__name__})"
            stream.watch = None
        await asyncio.sleep(max(0.0, stream.asked_at + _WATCH_EVERY_S - self._clock()))
        stream.asked_at = self._clock()

    def _watched(self, stream: _Stream, response: aiohttp.ClientResponse) -> None:
        stream.watch, stream.received, stream.alive_at, stream.error = response, 0, self._clock(), ""
        if stream.troubled:
            why, stream.troubled = stream.troubled, ""
            self._doubt(why)

    def _listed(self, stream: _Stream) -> None:
        """Note a listing. It shows everything that is there, but a follower may not tell what is there no more."""
        again, stream.listed, stream.troubled, stream.error = stream.listed, True, "", ""
        stream.alive_at = self._clock()
        if again:
            self._doubt("it was listed anew")
        if all(other.listed for other in self._streams.values()):
            self.synced.set()

    def _age_s(self, stream: _Stream) -> float:
        """Bytes are counted by the stream itself; what came since the last look counts as having come now."""
        now = self._clock()
        if stream.watch is not None and stream.watch.content.total_bytes != stream.received:
            stream.received, stream.alive_at = stream.watch.content.total_bytes, now
        return 0.0 if stream.alive_at is None else now - stream.alive_at
