"""Which of the namespaces to look after let us in.

A namespace that is deleted takes its Roles along, and one that is made later has none until somebody brings them. Such
a namespace must not keep the operator from the others: it is left out for one life of the process, which begins anew
when that changes. At once when one is lost, because what follows them all stumbles over it; when one is won, not soon
after the last time, so that nobody who gives and takes a right of his own namespace keeps the others from being
looked after. Whoever looks after the whole cluster has one right for all of it, and nothing to find out.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from llmfleet.control.cache import WATCHED
from llmfleet.kube.client import Client
from llmfleet.kube.errors import ApiError, Forbidden
from llmfleet.kube.resources import RESOURCES

log = logging.getLogger(__name__)

_LOOK_S: Final = 20.0
_ANEW_EVERY_S: Final = 600.0
_IN_FLIGHT: Final = 16


class Access:
    """Finds out which namespaces may be read.

    Args:
        client: to ask.
        namespaces: those to look after; none means the whole cluster.
        anew_at: when the process last began anew because of them, None if it did not; seconds of the clock.
        clock: monotonic seconds.

    Attributes:
        closed: those that were left out, with what the API server said.
        outdated: set when others let us in than were found.
    """

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str],
        *,
        anew_at: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespaces = namespaces
        self._anew_at = anew_at
        self._clock = clock
        self._turns = asyncio.Semaphore(_IN_FLIGHT)
        self.closed: Mapping[str, str] = {}
        self.outdated = asyncio.Event()

    async def find(self) -> tuple[str, ...]:
        """Wait until at least one namespace lets us in; return all that do, in order."""
        told: Mapping[str, str] = {}
        while True:
            self.closed = await self._refused(self._namespaces)
            for namespace in self.closed.keys() - told.keys():
                log.error("namespace %s is left out: %s", namespace, self.closed[namespace])
            told = self.closed
            if len(self.closed) < len(self._namespaces):
                return tuple(namespace for namespace in self._namespaces if namespace not in self.closed)
            if not self._namespaces:
                return ()
            await asyncio.sleep(_LOOK_S)

    async def watch(self, refused: Callable[[], Collection[str]]) -> None:
        """Wait until other namespaces let us in than `find` found, and that twice in a row; then say so.

        Args:
            refused: returns the namespaces that refuse something that is followed. These are asked, and those that
                were left out; while there are none, nothing is asked.
        """
        last = self.closed.keys()
        while True:
            await asyncio.sleep(_LOOK_S)
            doubtful = [name for name in self._namespaces if name in self.closed.keys() | refused()]
            now = (await self._refused(doubtful)).keys()
            if now == last != self.closed.keys() and (now - self.closed.keys() or self._may_begin_anew()):
                log.warning("left out so far: %s; now: %s", ", ".join(self.closed), ", ".join(now))
                self.outdated.set()
                return
            last = now

    def _may_begin_anew(self) -> bool:
        return self._anew_at is None or self._clock() - self._anew_at >= _ANEW_EVERY_S

    async def _refused(self, namespaces: Sequence[str]) -> Mapping[str, str]:
        """Return which of the namespaces refuse us something that has to be followed, and what they say."""
        said = await asyncio.gather(*(self._refusal(namespace) for namespace in namespaces))
        return {namespace: words for namespace, words in zip(namespaces, said, strict=True) if words}

    async def _refusal(self, namespace: str) -> str:
        """Return what a namespace says if it refuses us, or nothing; where it says neither, what it last said."""
        async with self._turns:
            try:
                for kind in WATCHED:
                    await self._look(kind, namespace)
            except Forbidden as error:
                return str(error)
            except ApiError as error:
                # What else goes wrong says nothing about rights, and whoever follows tries on.
                log.debug("namespace %s: %s", namespace, error)
                return self.closed.get(namespace, "")
        return ""

    async def _look(self, kind: str, namespace: str) -> None:
        async with aclosing(self._client.pages(RESOURCES[kind], namespace, limit=1, metadata_only=True)) as pages:
            async for _ in pages:
                return
